import LoadCore
import ServerSupport
import Testing

/// The harness notices what a server does wrong. Its silence about a real one means something only
/// because of these.
struct LyingServerTests {
    private static let rooms = """
        layout = rooms
        connections = 20
        room-size = 5
        traffic = message
        rate = 300
        size = 64
        warm-up = 0
        duration = 1s
        cool-down = 3s
        """

    private func run(_ lie: LyingServer.Lie?, _ words: [String] = []) throws -> LoadRun {
        let server = try LyingServer(lie)
        defer { server.stop() }
        return try LoadRun(Self.rooms, url: "ws://127.0.0.1:\(server.port)", words)
    }

    private func findings(_ run: LoadRun) -> [Int] {
        ["lost", "repeated", "reordered", "foreign"].map { run.count("oracle", $0) }
    }

    @Test("An honest server passes, and every delivery was looked at", arguments: [1, 2])
    func honest(workers: Int) throws {
        let run = try run(nil, ["--workers", "\(workers)"])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(findings(run) == [0, 0, 0, 0])
        #expect(run.count("sent") > 150)
        #expect(run.count("oracle", "checked") == 5 * run.count("sent"))
        #expect(run.count("latencyUs", "delivery", "count") == 5 * run.count("sent"))
        #expect(run.output.hasSuffix("passed\n"))
    }

    @Test("A delivery that is left out is lost, and nothing else")
    func drops() throws {
        let run = try run(.drop)
        #expect(run.exit == .code(1))
        let found = findings(run)
        #expect(found[0] >= 20)
        // One in forty.
        #expect(abs(found[0] - 5 * run.count("sent") / 40) <= 1)
        #expect(Array(found.dropFirst()) == [0, 0, 0])
        #expect(run.output.hasSuffix("FAILED\n"))
    }

    @Test("A delivery that comes twice is a repeat, and nothing else")
    func repeats() throws {
        let run = try run(.again)
        #expect(run.exit == .code(1))
        let found = findings(run)
        #expect(found[1] >= 20)
        #expect([found[0], found[2], found[3]] == [0, 0, 0])
    }

    @Test("Deliveries that change places are reordered, where they have one sender")
    func reorders() throws {
        let server = try LyingServer(.late)
        defer { server.stop() }
        // One sender a room: who is late is late behind the same sender's next.
        let run = try LoadRun(
            Self.rooms, url: "ws://127.0.0.1:\(server.port)", ["senders=1"])
        #expect(run.exit == .code(1))
        let found = findings(run)
        #expect(found[2] >= 15)
        #expect(found[1] == 0 && found[3] == 0)
        // One that was held back when the run ended never came.
        #expect(found[0] <= 20)
    }

    @Test("A delivery into another room is foreign")
    func astray() throws {
        let run = try run(.astray)
        #expect(run.exit == .code(1))
        #expect(findings(run)[3] >= 20)
    }

    @Test("A delivery with another byte in it is foreign, and the true one is lost")
    func damage() throws {
        let run = try run(.damage)
        #expect(run.exit == .code(1))
        let found = findings(run)
        #expect(found[3] >= 20)
        #expect(found[0] == found[3])
    }

    @Test("A connection that the server closes is an error with its code")
    func closes() throws {
        let run = try run(.close)
        #expect(run.exit == .code(1))
        #expect(run.count("connections", "lost") >= 1)
        #expect(run.result["errors"].object.keys.contains { $0.contains("with 4000") })
    }

    @Test("A closed loop goes on when a delivery is lost, and several workers see it alike")
    func closedLoop() throws {
        let server = try LyingServer(.drop)
        defer { server.stop() }
        let run = try LoadRun(
            """
            layout = room
            connections = 12
            traffic = message
            in-flight = 4
            size = 64
            warm-up = 0
            duration = 1s
            cool-down = 1s
            """, url: "ws://127.0.0.1:\(server.port)", ["--workers", "2"])
        #expect(run.exit == .code(1))
        #expect(run.count("sent") > 100)
        let found = findings(run)
        #expect(abs(found[0] - run.count("oracle", "checked") / 39) <= 2 + run.count("sent") / 100)
        #expect(found[1] == 0 && found[2] == 0)
    }

    @Test("A threshold that does not hold fails the run and is named")
    func threshold() throws {
        let run = try run(nil, ["threshold.delivery-p50=1us"])
        #expect(run.exit == .code(1))
        #expect(run.output.contains("NOT HELD     delivery-p50"))
        #expect(run.result["thresholds"].array.filter { !$0["held"].bool }.count == 1)
    }
}
