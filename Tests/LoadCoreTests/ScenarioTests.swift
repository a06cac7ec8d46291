import Foundation
import LoadCore
import Testing

struct ScenarioTests {
    private static func complaint(_ text: String, _ overrides: [String] = []) -> String? {
        do throws(ScenarioError) {
            _ = try Scenario(text: text, overrides: overrides)
            return nil
        } catch {
            return error.description
        }
    }

    @Test("Lines are keys and values; comments and empty lines are passed over")
    func lines() throws {
        let scenario = try Scenario(
            text: """
                # What it shows.
                layout = rooms   # disjoint

                connections=40
                traffic = message
                rate = 12.5
                duration = 1500ms
                threshold.delivery-p99 = 50ms
                """)
        #expect(scenario.layout == .rooms)
        #expect(scenario.connections == 40)
        #expect(scenario.rate == 12.5)
        #expect(scenario.duration == 1_500_000_000)
        #expect(scenario.thresholds == [Threshold(.deliveryP99, limit: 50_000)])
        #expect(scenario.effectiveRoomSize == 10)
        #expect(scenario.effectiveSenders == 10)
    }

    @Test("Words override the lines, and a rate takes the place of a number in flight")
    func overrides() throws {
        let text = "layout = echo\ntraffic = message\nin-flight = 4"
        let scenario = try Scenario(text: text, overrides: ["rate=100", "connections=7"])
        #expect(scenario.rate == 100)
        #expect(scenario.inFlight == nil)
        #expect(scenario.connections == 7)
    }

    @Test("The settings in force read back as the same scenario")
    func settingsReadBack() throws {
        let text = """
            layout = group
            connections = 300
            connections-per-user = 2
            ramp-up = 2s
            room-size = 12
            chats-per-user = 3
            senders = 4
            traffic = message
            rate = 33
            arrival = uniform
            size = 200
            slow = 0.25
            reconnect-at = 2s
            reconnect-share = 0.5
            typing-share = 1.5
            read-share = 2
            threshold.lost = 3
            threshold.ack-p99 = 20ms
            """
        let scenario = try Scenario(text: text)
        let lines = scenario.settings.map { "\($0.key) = \($0.value)" }.joined(separator: "\n")
        #expect(try Scenario(text: lines) == scenario)
    }

    @Test(
        "What is wrong is named with its line, its key and its range",
        arguments: [
            ("connections = 0", "line 1: connections takes a whole number within 1...1000000"),
            ("\nfoo = 1", "line 2: there is no key 'foo'"),
            ("layout = star", "line 1: layout takes one of idle, echo, room, rooms, group"),
            ("size = 52", "line 1: size takes a whole number within 53...60000"),
            ("duration = 99ms", "line 1: duration takes a duration such as 500ms"),
            ("duration = 10", "line 1: duration takes a duration"),
            ("slow = 1.01", "line 1: slow takes a number within 0.0...1.0"),
            ("slow = 0\nslow = 0", "line 2: slow is set twice"),
            ("connections", "line 1: a setting is `key = value`"),
            ("threshold.joy = 1", "line 1: threshold.joy: there is no threshold 'joy'"),
            ("threshold.late = 1.01", "line 1: threshold.late: takes a share of the messages"),
            ("threshold.ack-p99 = 5", "line 1: threshold.ack-p99: takes a duration such as 50ms"),
        ])
    func errors(text: String, complaint: String) {
        #expect(Self.complaint(text)?.hasPrefix(complaint) == true, "\(Self.complaint(text) ?? "")")
    }

    @Test("The ends of the ranges are taken")
    func ends() {
        #expect(Self.complaint("connections = 1") == nil)
        #expect(Self.complaint("connections = 1000000") == nil)
        #expect(Self.complaint("connections = 1000001") != nil)
        #expect(Self.complaint("size = 53") == nil)
        #expect(Self.complaint("size = 60000") == nil)
        #expect(Self.complaint("size = 60001") != nil)
        #expect(Self.complaint("duration = 100ms") == nil)
        #expect(Self.complaint("slow = 1") == nil)
    }

    @Test(
        "What does not go together is refused",
        arguments: [
            "traffic = message", "traffic = message\nrate = 1\nlayout = idle", "rate = 1",
            "traffic = typing\nin-flight = 1\nlayout = rooms",
            "traffic = typing\nrate = 1000\nconnections = 100\nlayout = rooms",
            "traffic = message\nin-flight = 1\nreconnect-at = 1s",
            "traffic = message\nrate = 1\nthink-time = 1s",
            "traffic = message\nrate = 1\nin-flight = 1",
            "traffic = message\nin-flight = 1\nrate = 1",
            "traffic = message\nrate = 1\nlayout = rooms\nreconnect-at = 10s\nduration = 10s",
            "layout = room\nconnections = 100000\nsenders = 1000\ntraffic = message\nrate = 1",
        ])
    func together(text: String) {
        #expect(Self.complaint(text) != nil)
    }

    @Test("A word that overrides may not break the rules either")
    func overridesAreChecked() {
        let text = "layout = echo\ntraffic = message\nin-flight = 4"
        #expect(Self.complaint(text, ["size=1"])?.contains("'size=1'") == true)
        #expect(Self.complaint(text, ["traffic=none"]) != nil)
        #expect(Self.complaint(text, ["rate=1", "in-flight=2"])?.contains("exclude") == true)
    }

    @Test("Durations are read in their units, and written in the largest that is whole")
    func durations() {
        #expect(Durations.parse("250us") == 250_000)
        #expect(Durations.parse("1.5s") == 1_500_000_000)
        #expect(Durations.parse("2m") == 120_000_000_000)
        #expect(Durations.parse("24h") == 86_400_000_000_000)
        for text in ["", "s", "1", "1d", "-1s", "25h", "1 s", "1.2.3s"] {
            #expect(Durations.parse(text) == nil, "\(text)")
        }
        for text in ["0", "250us", "1500ms", "90s", "2m", "1h"] {
            #expect(Durations.parse(text).map(Durations.text) == text)
        }
    }

    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("LoadTests/Scenarios").path

    private static let names = [
        "connect-storm", "echo", "fan-out", "hot-group", "idle", "mixed-day", "reconnect-storm",
        "rooms-of-ten", "slow-consumers", "typing",
    ]

    @Test("The scenarios that come with the program are these")
    func scenariosAreThere() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder).sorted()
        #expect(files == Self.names.map { $0 + ".conf" })
    }

    @Test("Each of them says what it shows, and can be run in the dialect v1", arguments: names)
    func scenarioIsValid(name: String) throws {
        let path = "\(Self.folder)/\(name).conf"
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.hasPrefix("# "))
        #expect(LoadDialect.v1.complaint(about: try Scenario(text: text)) == nil)
    }
}
