import Basics
import BusCore
import Domain
import Foundation
import Gateway
import Server
import Testing
import Wire

/// What the pages for backends and operators say, held against the program.
struct BackendPageTests {
    // MARK: Redis

    /// The public channel and the payload of each `redis-cli PUBLISH` of a page.
    private static func publications(in page: String) throws -> [(channel: String, json: String)] {
        try Tree.text(page).matches(of: /\nredis-cli PUBLISH (\S+) '([^']+)'\n/)
            .map { (String($0.1), String($0.2)) }
    }

    private static func decode(_ json: String, on channel: String) -> ForeignEvent? {
        var reader = JSONReader()
        let parts = channel.split(separator: ":", maxSplits: 1).map(String.init)
        let place: ForeignEvent.Place
        switch parts[0] {
        case "chat": place = .chat(ChatID(trusted: parts[1]))
        case "user": place = .user
        default:
            guard let topic = TopicName(channel) else { return nil }
            place = .topic(topic)
        }
        return ForeignEvent.decode(
            json.utf8.span, with: &reader, on: place, at: WallTime(milliseconds: 0),
            maximumContent: Limits().ciphertextBytes)
    }

    @Test("Each example of something published for Martlet is understood")
    func examplesAreUnderstood() throws {
        var kinds: Set<String> = []
        for page in ["Protocol/redis.md", "Protocol/postgres.md"] {
            let examples = try Self.publications(in: page)
            #expect(!examples.isEmpty, "\(page)")
            for (channel, json) in examples {
                switch Self.decode(json, on: channel) {
                case .message: kinds.insert("message")
                case .notification: kinds.insert("notification")
                case .topicEvent: kinds.insert("topicEvent")
                case .disconnect: kinds.insert("disconnect")
                case .own, nil: Issue.record("\(page): \(json)")
                }
            }
        }
        #expect(kinds == ["message", "notification", "topicEvent", "disconnect"])
    }

    @Test("The example of what goes out is known as our own, and has the fields of what goes out")
    func outgoingExample() throws {
        let page = try Tree.text("Protocol/redis.md")
        let example = try #require(page.firstMatch(of: /```json\n(.+)\n```/)).1
        guard case .own? = Self.decode(String(example), on: "chat:conv-1") else {
            Issue.record("not known as our own")
            return
        }
        let entry = LogEntry(
            chat: ChatID(trusted: "conv-1"), seq: 1, id: MessageID(trusted: "m"),
            author: UserID(trusted: "ann"), device: DeviceID(trusted: "phone"),
            createdAt: WallTime(milliseconds: 0),
            body: .message(Message(encryptedContent: [65], type: "text")))
        let said = try Self.keys(Data(example.utf8))
        let written = try Self.keys(Data(ForeignEvent.encode(entry)))
        #expect(said == written)
    }

    /// Names of the object and of the message in it.
    private static func keys(_ json: Data) throws -> [Set<String>] {
        let root = try #require(JSONSerialization.jsonObject(with: json) as? [String: Any])
        let message = try #require(root["message"] as? [String: Any])
        return [Set(root.keys), Set(message.keys)]
    }

    @Test("The sizes that redis.md names are those of the program")
    func sizes() throws {
        let page = try Tree.text("Protocol/redis.md").replacing(/\s+/, with: " ")
        for (words, number) in [
            ("would take more than **%@ bytes**", PublicationCodec.maximumEntryBytes),
            ("lists at most **%@** chats", Digest.maximumHeads),
            ("Over %@ chats in a second", BusRelay.maximumHeads),
        ] {
            let text = words.replacing("%@", with: Self.grouped(number))
            #expect(page.contains(text), "\(text)")
        }
    }

    /// 16384 as 16,384.
    private static func grouped(_ number: Int) -> String {
        var text = ""
        for (place, digit) in String(number).reversed().enumerated() {
            if place > 0, place.isMultiple(of: 3) { text = "," + text }
            text = String(digit) + text
        }
        return text
    }

    // MARK: Postgres

    @Test("postgres.md has every column of the inbox and every error it raises, and no other")
    func inbox() throws {
        let source = try Tree.text("Sources/StorePostgres/InboxSchema.swift")
        let page = try Tree.text("Protocol/postgres.md")
        let columns = Set(source.matches(of: /NEW\.(\w+)/).map { String($0.1) })
        let rows = page.split(separator: "\n").filter { $0.hasPrefix("| `") }
        let named = Set(
            rows.flatMap { row in
                row.split(separator: "|")[0].matches(of: /`(\w+)`/).map { String($0.1) }
            })
        #expect(named == columns)
        let raised = Set(source.matches(of: /RAISE ([a-z_]+)/).map { String($0.1) })
        #expect(raised == Set(page.matches(of: /\| \d{5} `(\w+)` \|/).map { String($0.1) }))
    }

    // MARK: Operation

    @Test("Every metric that a page names exists")
    func metrics() throws {
        let sources =
            try Tree.text("Sources/Gateway/MetricsText.swift")
            + Tree.text("Sources/Basics/Metrics.swift")
        for page in try Tree.files(".md") {
            for match in try Tree.text(page).matches(of: /`(martlet_[a-z_]+)`/) {
                #expect(sources.contains("\"\(match.1)\""), "\(page) names \(match.1)")
            }
        }
    }

    @Test("The Dockerfile has no list, port, path or version that is not the program's")
    func dockerfile() throws {
        let file = try Tree.text("Dockerfile")
        let library = try Tree.text("Scripts/lib.sh")
        #expect(file.contains("install_missing \"${build_packages[@]}\""))
        #expect(file.contains("install_missing \"${run_packages[@]}\""))
        #expect(!file.contains("apt-get"))
        let swift = try #require(file.firstMatch(of: /\nFROM swift:([\d.]+)-bookworm AS/)).1
        #expect(library.contains("= \(swift) ]"), "need_swift")
        let port = try Configuration(ConfigurationSources()).port
        #expect(file.contains("\nEXPOSE \(port)\n"))
        #expect(file.contains("${MARTLET_PORT:-${PORT:-\(port)}}"))
        #expect(file.contains("GET \(HTTPRoute.live.rawValue) HTTP/1.1"))
        #expect(file.contains("\nUSER 10001\n"))
    }
}
