import Client
import ServerSupport
import ServiceSupport
import Testing
import WebSocket
import Wire

/// What backends say on `chat:{id}` and `user:{id}`, in the forms that the existing services use.
struct FleetBridgeTests {
    /// Two instances, and bob connected to each in each dialect, following a chat with alice.
    private final class Audience {
        let fleet: Fleet
        let chat: String
        let bobs: [TestClient]

        init(bridge: String = "in") throws {
            var options = Fleet.Options()
            options.arguments = ["--bridge", bridge]
            fleet = try Fleet.together(options)
            chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            var bobs: [TestClient] = []
            for node in fleet.nodes.indices {
                for dialect in Dialect.plain {
                    bobs.append(try fleet.client("bob", at: node, dialect: dialect))
                }
            }
            self.bobs = bobs
            for bob in bobs { try bob.join(chat) }
        }

        @discardableResult
        func publish(_ channel: String, _ payload: String) throws -> Int {
            try fleet.publish(channel, payload)
        }

        /// A message in the form of the existing services.
        func message(_ content: String, id: String, in chat: String? = nil) -> String {
            let chat = chat ?? self.chat
            return """
                {"type":"new-message","chatId":"\(chat)","message":{"id":"\(id)",\
                "chatId":"\(chat)","senderId":"alice","encryptedContent":"\(content)",\
                "type":"text","replyToId":null,"createdAt":"2026-01-02T03:04:05.678Z"}}
                """
        }

        /// Every client hears this next, with this seq: 0 where it is not of the log.
        func expectEverywhere(
            _ content: String, seq: Int64, file: StaticString = #fileID, line: UInt = #line
        ) throws {
            for bob in bobs {
                try bob.expect([content], in: chat, from: seq, file: file, line: line)
            }
        }

        func unreadable() throws -> [Int] { try fleet.unreadable() }
    }

    @Test("A backend's message on chat:{id} reaches each client of each instance once, unnumbered")
    func onChat() async throws {
        try await apart {
            let audience = try Audience()
            let heard = try audience.publish(
                "chat:\(audience.chat)", audience.message("of a backend", id: "b-1"))
            try check(heard == 2, "\(heard) instances follow the chat")
            try audience.expectEverywhere("of a backend", seq: 0)
            // Names that some of them use instead.
            try audience.publish(
                "chat:\(audience.chat)",
                """
                {"type":"new-message","message":{"messageId":"b-2",\
                "conversationId":"\(audience.chat)","userId":"alice","content":"in other words"}}
                """)
            try audience.expectEverywhere("in other words", seq: 0)
            let alice = try audience.fleet.client("alice", at: 1)
            try alice.send("of a client", to: audience.chat)
            try audience.expectEverywhere("of a client", seq: 1)
            try check(
                try Fleet.history(audience.chat, of: "bob", at: audience.fleet[0]).count == 1,
                "what backends say is not stored")
        }
    }

    @Test("Notifications and messages on user:{id} reach that user's clients at each instance once")
    func onUser() async throws {
        try await apart {
            let audience = try Audience()
            let alice = try audience.fleet.client("alice", at: 0, dialect: .ws)
            // She follows all her chats unasked, but from a moment that nobody tells her.
            try alice.join(audience.chat)
            try audience.publish("user:bob", audience.message("to bob alone", id: "b-1"))
            try audience.expectEverywhere("to bob alone", seq: 0)
            let payload = #"{"id":"n-1","title":"Hello","body":"Bob","data":{"list":[1,2.5,null]}}"#
            for form in [
                #"{"type":"notification","payload":\#(payload)}"#,
                #"{"type":"notification","notification":\#(payload)}"#,
                #"{"type":"notification",\#(payload.dropFirst())"#,
            ] {
                try audience.publish("user:bob", form)
                for bob in audience.bobs {
                    guard case .text(let text) = try bob.plain.receive(timeoutMs: 20_000) else {
                        throw SupportError("no notification")
                    }
                    let name = bob.plain.subprotocol == nil ? "NOTIFICATION" : "notification"
                    try check(
                        String(decoding: text, as: UTF8.self)
                            == #"{"type":"\#(name)","payload":\#(payload)}"#,
                        String(decoding: text, as: UTF8.self))
                }
            }
            // The next thing they hear, so nothing came twice.
            try alice.send("on", to: audience.chat)
            for bob in audience.bobs {
                try bob.expect(["on"], in: audience.chat, from: 1)
                try check(bob.events.isEmpty, "\(bob.events)")
            }
            try alice.expect(["on"], in: audience.chat, from: 1)
            try check(alice.events.isEmpty, "alice heard what was for bob: \(alice.events)")
        }
    }

    @Test("Who is disconnected on user:{id} is closed with 4005 at each instance, others are not")
    func disconnect() async throws {
        try await apart {
            let audience = try Audience()
            let alice = try audience.fleet.client("alice", at: 1)
            try alice.join(audience.chat)
            try audience.publish("user:bob", #"{"type":"disconnect"}"#)
            for bob in audience.bobs {
                let code = try bob.close()
                try check(code == .revoked, "closed with \(code?.rawValue ?? 0)")
            }
            try alice.send("still here", to: audience.chat)
            let back = try audience.fleet.client("bob", at: 0)
            try back.join(audience.chat, since: 0)
            try back.expect(["still here"], in: audience.chat, from: 1)
        }
    }

    @Test("A row inserted through martlet.inbox comes once and with its seq, announced or not")
    func inbox() async throws {
        try await apart {
            let audience = try Audience()
            let session = try audience.fleet.session()
            func insert(_ content: String) throws -> (id: String, seq: Int64) {
                let row = try session.run(
                    """
                    INSERT INTO martlet.inbox (chat_id, sender_id, encrypted_content)
                    VALUES ('\(audience.chat)', 'alice', '\(content)') RETURNING id, seq
                    """)
                guard let id = row.first?[0], let seq = row.first?[1].flatMap({ Int64($0) }) else {
                    throw SupportError("no row: \(row)")
                }
                return (id, seq)
            }
            let silent = try insert("not announced")
            try audience.expectEverywhere("not announced", seq: silent.seq)
            for number in 2...10 {
                let row = try insert("row \(number)")
                try check(row.seq == Int64(number), "\(row)")
                try audience.publish(
                    "chat:\(audience.chat)", audience.message("row \(number)", id: row.id))
                try audience.publish("user:bob", audience.message("row \(number)", id: row.id))
            }
            for number in 2...10 {
                try audience.expectEverywhere("row \(number)", seq: Int64(number))
            }
            let alice = try audience.fleet.client("alice", at: 0)
            try alice.send("eleven", to: audience.chat)
            try audience.expectEverywhere("eleven", seq: 11)
            // Twice in the log is twice at the clients; a roll-back is nothing.
            try session.run("BEGIN")
            _ = try insert("rolled back")
            try session.run("ROLLBACK")
            let last = try insert("twelve")
            try check(last.seq == 12, "no seq was burnt: \(last)")
            try audience.expectEverywhere("twelve", seq: 12)
        }
    }

    // MARK: Garbage

    @Test("P12 What backends say in no known form is dropped and counted, and all goes on")
    func garbage() async throws {
        try await apart {
            let audience = try Audience()
            let chat = audience.chat
            let nested = String(repeating: "[", count: 100_000)
            let deep = String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
            let message = #""message":{"id":"x","senderId":"alice","encryptedContent":"no"}"#
            let onBoth = [
                "", " ", "nothing", "null", "[]", "1e999", "\"new-message\"", "{", "{}", nested,
                "{\"type\":\"new-message\",\"message\":\"\u{0}\"}", #"{"type":null}"#,
                #"{"type":5}"#, #"{"type":["new-message"]}"#, #"{"type":"frobnicate"}"#,
                #"{"type":"new-message"}"#, #"{"type":"new-message","message":null}"#,
                #"{"type":"new-message","message":[]}"#, #"{"type":"new-message","message":{}}"#,
                #"{"type":"new-message","message":{"id":"x","senderId":"alice"}}"#,
                #"{"type":"new-message","message":{"id":"","senderId":"alice","content":"no"}}"#,
                #"{"type":"new-message","message":{"id":"x","senderId":7,"content":"no"}}"#,
                #"{"type":"new-message","message":{"id":"x","senderId":"alice","content":{}}}"#,
                #"{"type":"new-message","message":{"id":"x","senderId":"alice","content":"no","type":5}}"#,
                #"{"type":"new-message","message":{"id":"x","senderId":"alice","content":"no","type":""}}"#,
                #"{"type":"new-message","deep":\#(deep),\#(message)}"#,
                #"{"type":"new-message","type":"new-message",\#(message)}"#,
                #"{"type":"new-message",\#(message)} trailing"#,
                audience.message(String(repeating: "x", count: 300_000), id: "large"),
                audience.message(String(repeating: "x", count: 2_000_000), id: "huge"),
            ]
            let onChat = [
                audience.message("no", id: "x", in: "another chat"),
                #"{"type":"new-message","chatId":7,\#(message)}"#,
                #"{"type":"notification","payload":{"title":"not for chats"}}"#,
                #"{"type":"disconnect"}"#,
            ]
            let onUser = [
                #"{"type":"notification","payload":"text"}"#,
                #"{"type":"notification","payload":[]}"#,
                #"{"type":"new-message",\#(message)}"#,
            ]
            let internally = ["", "nothing", "\u{1}", "\u{1}\u{10}\u{0}", nested, "{}"]
            let said: [(String, [String])] = [
                ("chat:\(chat)", onBoth + onChat), ("user:bob", onBoth + onUser),
                ("martlet:c:\(chat)", internally), ("martlet:u:bob", internally),
                ("martlet:digest", internally),
            ]
            let before = try audience.unreadable()
            let reconnects = try audience.fleet.failures()
            var count = 0
            for (channel, payloads) in said {
                for payload in payloads {
                    let heard = try audience.publish(channel, payload)
                    try check(heard == 2, "\(heard) instances follow \(channel)")
                    count += 1
                    // One at a time, so that a failure says which.
                    do {
                        try eventually("", withinMs: 10_000) {
                            try audience.unreadable() == before.map { $0 + count }
                        }
                    } catch {
                        throw SupportError(
                            "\(channel) \(payload.prefix(100)): \(try audience.unreadable())"
                                + " are counted, not \(before) + \(count)")
                    }
                }
            }
            try check(
                try audience.fleet.failures() == reconnects, "no connection to Redis was lost")
            let alice = try audience.fleet.client("alice", at: 0)
            try alice.send("all is well", to: chat)
            for bob in audience.bobs {
                try bob.expect(["all is well"], in: chat, from: 1)
                try check(bob.events.isEmpty, "\(bob.events)")
            }
            try audience.publish("chat:\(chat)", audience.message("still heard", id: "y"))
            try audience.expectEverywhere("still heard", seq: 0)
        }
    }

    @Test("P12 A backend says 1,048,576 bytes at once; one byte more is dropped unread and counted")
    func largest() async throws {
        try await apart {
            let audience = try Audience()
            let rest = audience.message("", id: "").utf8.count
            for channel in ["chat:\(audience.chat)", "user:bob"] {
                let before = try audience.unreadable()
                for (content, bytes) in [
                    ("below", 1_048_575), ("at", 1_048_576), ("above", 1_048_577),
                ] {
                    // The bytes lie in a field that says nothing: an outbox has less room.
                    let id = "\(content)-\(channel)"
                    let said = audience.message(content, id: id)
                    let padding = String(
                        repeating: "x",
                        count: bytes - rest - content.utf8.count - id.utf8.count
                            - #","padding":"""#.utf8.count)
                    let payload = #"\#(said.dropLast()),"padding":"\#(padding)"}"#
                    try check(payload.utf8.count == bytes, "\(payload.utf8.count), not \(bytes)")
                    try check(try audience.publish(channel, payload) == 2, "two listen")
                    guard content == "above" else {
                        try audience.expectEverywhere(content, seq: 0)
                        try check(try audience.unreadable() == before, "\(content) is readable")
                        continue
                    }
                    try eventually("what is too large is counted") {
                        try audience.unreadable() == before.map { $0 + 1 }
                    }
                }
                try audience.publish(channel, audience.message("next", id: "next-\(channel)"))
                try audience.expectEverywhere("next", seq: 0)
            }
        }
    }

    // MARK: Modes

    @Test("With --bridge both our messages go out on chat:{id}, marked, and are heard once")
    func both() async throws {
        try await apart {
            let audience = try Audience(bridge: "both")
            let backend = try Subscriber(
                to: "chat:\(audience.chat)", at: audience.fleet.redis.port)
            let alice = try audience.fleet.client("alice", at: 0)
            for number in 1...10 {
                let ack = try alice.send("message \(number)", to: audience.chat)
                let payload = try backend.next()
                for part in [
                    #""type":"new-message""#, #""chatId":"\#(audience.chat)""#,
                    #""origin":"martlet""#, #""senderId":"alice""#, #""seq":\#(number)"#,
                    #""encryptedContent":"message \#(number)""#, #""id":"\#(ack.messageID ?? "")""#,
                ] {
                    try check(payload.contains(part), "\(part) is missing in \(payload)")
                }
                try audience.expectEverywhere("message \(number)", seq: Int64(number))
            }
            // In the other direction, and behind all that was said.
            let foreign = audience.message("of a backend", id: "b-1")
            try audience.publish("chat:\(audience.chat)", foreign)
            try audience.expectEverywhere("of a backend", seq: 0)
            try check(try backend.next() == foreign, "and nothing else is said on the channel")
        }
    }

    @Test("With --bridge off nobody listens on the public channels, and messages go as ever")
    func off() async throws {
        try await apart {
            let audience = try Audience(bridge: "off")
            let backend = try Subscriber(
                to: "chat:\(audience.chat)", at: audience.fleet.redis.port)
            for (channel, payload, listeners) in [
                ("chat:\(audience.chat)", audience.message("no", id: "x"), 1),
                ("user:bob", #"{"type":"disconnect"}"#, 0),
                ("user:bob", #"{"type":"notification","payload":{}}"#, 0),
            ] {
                let heard = try audience.publish(channel, payload)
                try check(heard == listeners, "\(heard) listen on \(channel)")
            }
            let alice = try audience.fleet.client("alice", at: 0)
            for number in 1...5 {
                try alice.send("\(number)", to: audience.chat)
                try audience.expectEverywhere("\(number)", seq: Int64(number))
            }
            _ = try backend.next()
            try audience.publish("chat:\(audience.chat)", "the end")
            try check(try backend.next() == "the end", "nothing of ours went out")
        }
    }
}

extension Fleet {
    /// As `redis-cli PUBLISH` does. Returns how many heard it.
    @discardableResult
    func publish(_ channel: String, _ payload: String) throws -> Int {
        let reply = try redis.command("PUBLISH", channel, payload)
        guard reply.hasPrefix(":"), let count = Int(reply.dropFirst().prefix { $0.isNumber })
        else {
            throw SupportError("PUBLISH: \(reply)")
        }
        return count
    }

    /// What was dropped as unreadable, per instance.
    func unreadable() throws -> [Int] {
        try nodes.map { node in
            let metrics = try Metrics(node)
            return try metrics["martlet_bridge_unreadable_total"]
                + metrics["martlet_bus_unreadable_total"]
        }
    }

    /// Connections to Redis that were lost, by instance.
    func failures() throws -> [Int] {
        try nodes.map { try Metrics($0)["martlet_redis_failures_total"] }
    }
}

/// A backend that listens on a channel of Redis.
private final class Subscriber {
    private let socket: RawSocket
    private var waiting: [UInt8] = []

    init(to channel: String, at port: UInt16) throws {
        socket = try RawSocket(port: port)
        socket.send("*2\r\n$9\r\nSUBSCRIBE\r\n$\(channel.utf8.count)\r\n\(channel)\r\n")
        // *3 $9 subscribe, the channel, :1
        _ = try (line(), word(), word(), line())
    }

    /// The payload of the next message.
    func next() throws -> String {
        let head = try line()
        try check(head == "*3", head)
        let kind = try word()
        try check(kind == "message", kind)
        _ = try word()
        return try word()
    }

    private func word() throws -> String {
        let head = try line()
        guard head.hasPrefix("$"), let count = Int(head.dropFirst()) else {
            throw SupportError("Redis said \(head)")
        }
        while waiting.count < count + 2 { try more() }
        defer { waiting.removeFirst(count + 2) }
        return String(decoding: waiting[..<count], as: UTF8.self)
    }

    private func line() throws -> String {
        while true {
            if let end = waiting.firstIndex(of: UInt8(ascii: "\r")), end + 1 < waiting.count {
                defer { waiting.removeFirst(end + 2) }
                return String(decoding: waiting[..<end], as: UTF8.self)
            }
            try more()
        }
    }

    private func more() throws {
        guard case .bytes(let bytes) = socket.receive(timeoutMs: 20_000) else {
            throw SupportError("Redis says nothing")
        }
        waiting += bytes
    }
}
