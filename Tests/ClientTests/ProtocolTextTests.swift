import Basics
import Domain
import Testing
import WebSocket
import Wire

@testable import Client

@Suite("Frames of the client, and events of the server")
struct ProtocolTextTests {
    private func decode(_ frame: [UInt8]) -> (CommandName?, RequestID?, Command?) {
        var reader = JSONReader()
        let decoded = CommandDecoder.decode(frame.span, with: &reader, limits: Limits())
        guard case .success(let command) = decoded.command else {
            return (decoded.name, decoded.id, nil)
        }
        return (decoded.name, decoded.id, command)
    }

    @Test("The server reads each frame as what it says")
    func frames() {
        if case (.join, .integer(3)?, .join(let chat, since: 7)?) = decode(
            Frames.join("c", since: 7, id: 3))
        {
            #expect(chat.text == "c")
        } else {
            Issue.record("chat.join")
        }
        if case (.send, .integer(4)?, .send(let send)?) = decode(
            Frames.send("a\"\u{1B}ä\n", to: "c", clientMessageID: "k", id: 4))
        {
            #expect(send.chat.text == "c")
            #expect(send.clientMessageID == "k")
            #expect(send.message.encryptedContent == Array("a\"\u{1B}ä\n".utf8))
        } else {
            Issue.record("message.send")
        }
        if case (.resume, nil, .resume(let chats)?) = decode(Frames.resume([("c", 9), ("d", 0)])) {
            #expect(chats.map(\.chat.text) == ["c", "d"])
            #expect(chats.map(\.after) == [9, 0])
        } else {
            Issue.record("resume")
        }
        if case (.acknowledge, nil, .acknowledge(_, seq: 5)?) = decode(
            Frames.delivered("c", seq: 5))
        {
        } else {
            Issue.record("delivery.ack")
        }
        if case (.read, nil, .read(_, .seq(5), isPrivate: true)?) = decode(
            Frames.read("c", seq: 5, isPrivate: true))
        {
        } else {
            Issue.record("read.set")
        }
        if case (.type, nil, .type(_, isTyping: true)?) = decode(
            Frames.typing("c", isTyping: true))
        {
        } else {
            Issue.record("typing")
        }
        if case (.leave, .integer(1)?, .leave?) = decode(Frames.leave("c", id: 1)) {
        } else {
            Issue.record("chat.leave")
        }
        if case (.subscribe, .integer(2)?, .subscribe(let topics)?) = decode(
            Frames.subscribe(["job:1", "job:\"2"], id: 2))
        {
            #expect(topics.map(\.text) == ["job:1", "job:\"2"])
        } else {
            Issue.record("topic.subscribe")
        }
        if case (.unsubscribe, nil, .unsubscribe(let topics)?) = decode(
            Frames.unsubscribe(["job:1"]))
        {
            #expect(topics.map(\.text) == ["job:1"])
        } else {
            Issue.record("topic.unsubscribe")
        }
        if case (.authenticate, nil, .authenticate(token: "t", let device)?) = decode(
            Frames.authenticate(token: "t", device: "d"))
        {
            #expect(device?.text == "d")
        } else {
            Issue.record("session.auth")
        }
    }

    private func read(_ event: EncodedEvent, _ dialect: Dialect) -> ServerEvent {
        var text: [UInt8] = []
        event.append(in: dialect, to: &text)
        var reader = ServerEventReader()
        return reader.read(text)
    }

    private let chat = ChatID(trusted: "c")
    private let bob = UserID(trusted: "bob")

    @Test("Each event of the server is read in either dialect", arguments: Dialect.plain)
    func events(dialect: Dialect) {
        let entry = LogEntry(
            chat: chat, seq: 4, id: MessageID(trusted: "m"), author: bob,
            device: DeviceID(trusted: "d"), createdAt: WallTime(milliseconds: 0),
            body: .message(Message(encryptedContent: Array("hi".utf8), type: "text")))
        var message = ServerEvent.Message()
        message.id = "m"
        message.chat = "c"
        message.seq = 4
        message.sender = "bob"
        message.senderDevice = "d"
        message.content = "hi"
        message.createdAt = "1970-01-01T00:00:00.000Z"
        #expect(read(EventEncoder.entry(entry), dialect) == .message(message))

        let typing = EventEncoder.typing(Typing(chat: chat, user: bob, isTyping: true))
        #expect(read(typing, dialect) == .typing(chat: "c", user: "bob", isTyping: true))
        #expect(read(EventEncoder.caughtUp([(chat, 9)]), dialect) == .caughtUp(["c": 9]))
        #expect(read(EventEncoder.sessionExpiring(inMs: 5), dialect) == .expiring(inMs: 5))

        var ready = ServerEvent.Ready()
        ready.user = "bob"
        ready.device = "d"
        ready.session = "s"
        ready.frameBytes = 1_000_000
        ready.ciphertextBytes = 256_000
        ready.pingIntervalMs = Int64(Limits().pingIntervalMs)
        let actor = Actor(user: bob, device: DeviceID(trusted: "d"))
        #expect(
            read(
                EventEncoder.sessionReady(
                    actor: actor, session: "s", now: WallTime(milliseconds: 0), limits: Limits()),
                dialect) == .ready(ready))
        #expect(
            read(
                EventEncoder.messageStored(
                    id: MessageID(trusted: "m"), clientMessageID: nil, chat: chat, seq: 2), dialect)
                == .stored(messageID: "m", clientMessageID: nil, chat: "c", seq: 2))
    }

    @Test("Acks and refusals are read in either dialect", arguments: Dialect.plain)
    func answers(dialect: Dialect) {
        var reader = ServerEventReader()
        let ack = EventEncoder.ack(.integer(7), in: dialect) { json in
            json.key("seq")
            json.integer(3)
            json.key("duplicate")
            json.bool(true)
        }
        var expected = ServerEvent.Ack()
        expected.isOK = true
        expected.seq = 3
        expected.isDuplicate = true
        #expect(reader.read(ack) == .ack(id: .number(7), expected))

        let error = CommandError(.rateLimited, "wait", retryAfterMs: 20)
        let problem = ServerEvent.Problem(code: "RATE_LIMITED", message: "wait", retryAfterMs: 20)
        var refused = ServerEvent.Ack()
        refused.problem = problem
        #expect(
            reader.read(
                EventEncoder.refusal(error, id: .text("x"), event: .send, in: dialect))
                == .ack(id: .text("x"), refused))
        #expect(
            reader.read(EventEncoder.refusal(error, id: nil, event: .type, in: dialect))
                == .error(problem, event: "typing"))
    }

    @Test("What is no event is told apart from an unknown one, and neither traps")
    func others() {
        var reader = ServerEventReader()
        #expect(reader.read(Array(#"{"type":"new.thing"}"#.utf8)) == .other(type: "new.thing"))
        for text in ["", "[]", "{", #"{"type":7}"#, #"{"type":"ack"}"#] {
            guard case .unreadable = reader.read(Array(text.utf8)) else {
                Issue.record("read as an event: \(text)")
                continue
            }
        }
        #expect(reader.read(Array(#"{"type":"receipt"}"#.utf8)) == .receipt(.init()))
    }
}

@Suite("Addresses")
struct URLPartsTests {
    @Test(
        "An address is taken apart",
        arguments: [
            ("ws://127.0.0.1:3001", "127.0.0.1", 3001, "/", "127.0.0.1:3001"),
            ("http://localhost", "localhost", 80, "/", "localhost"),
            ("WS://H.example:80/ws/messages?x=1", "H.example", 80, "/ws/messages?x=1", "H.example"),
            ("ws://[::1]:65535/ws", "::1", 65_535, "/ws", "[::1]:65535"),
            ("ws://h?q", "h", 80, "/?q", "h"),
        ] as [(String, String, UInt16, String, String)])
    func valid(text: String, host: String, port: UInt16, target: String, field: String) throws {
        let url = try URLParts(text)
        #expect(url == URLParts(host: host, port: port, target: target))
        #expect(url.hostField == field)
    }

    @Test("Without a path the socket is at /ws, with one there")
    func socket() throws {
        #expect(try URLParts("ws://h:1").socket.target == "/ws")
        #expect(try URLParts("ws://h:1/bench/echo").socket.target == "/bench/echo")
    }

    @Test(
        "What is no address is refused",
        arguments: [
            "", "h:3001", "ws:/h", "ftp://h", "ws://", "ws://:80", "ws://h:", "ws://h:0",
            "ws://h:65536", "ws://h:+1", "ws://::1", "ws://[::1", "ws://[h]:1", "ws://[::1]x",
            "ws://u@h", "ws://h/#f", "ws://h/a b", "ws://h\r\nX: y", "ws://h/\u{E4}",
        ])
    func invalid(text: String) {
        #expect(throws: ClientError.self) { try URLParts(text) }
    }

    @Test("TLS schemes are refused with what to do instead", arguments: ["wss://h", "https://h"])
    func tls(text: String) {
        #expect {
            try URLParts(text)
        } throws: { error in
            "\(error)".hasPrefix("TLS is not supported by this client yet; use ws:// behind")
        }
    }

    @Test("An id stays within its segment of a path")
    func segment() {
        #expect(URLParts.encodeSegment("conv-123_~") == "conv-123_~")
        #expect(URLParts.encodeSegment("../a?b#c%/ä") == "%2E%2E%2Fa%3Fb%23c%25%2F%C3%A4")
    }
}

@Suite("Answers over HTTP")
struct HTTPAnswerTests {
    private func parse(
        _ text: String, isHead: Bool = false, isEnded: Bool = false
    ) throws(ClientError) -> HTTPAnswer? {
        var scanned = 0
        return try HTTPExchange.parse(
            Array(text.utf8), isHead: isHead, isEnded: isEnded, scannedFrom: &scanned)
    }

    @Test("A body is as long as Content-Length says, and is waited for")
    func contentLength() throws {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"
        #expect(try parse(text) == nil)
        #expect(try parse(text + "c")?.body == Array("abc".utf8))
        #expect(try parse(text + "cd")?.body == Array("abc".utf8))
        #expect(try parse(text, isHead: true)?.body == [])
    }

    @Test("A body without a length ends with the connection")
    func untilEnd() throws {
        let text = "HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\nab"
        #expect(try parse(text) == nil)
        let answer = try #require(try parse(text, isEnded: true))
        #expect(answer.status == 503)
        #expect(answer.field("x") == "y")
        #expect(answer.body == Array("ab".utf8))
    }

    @Test("Chunks are put together; the last one is waited for")
    func chunked() throws {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(try parse(head + "3\r\nabc\r\n") == nil)
        #expect(
            try parse(head + "3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\n\r\n")?.body
                == Array("abc0123456789".utf8))
        #expect(throws: ClientError.self) { try parse(head + "zz\r\nabc") }
    }

    @Test("An interim answer is passed over, and 204 has no body")
    func interim() throws {
        let answer = try parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
        #expect(answer?.status == 204)
    }

    @Test(
        "What is no answer is refused",
        arguments: [
            "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ])
    func invalid(text: String) {
        #expect(throws: ClientError.self) { try parse(text) }
    }

    @Test("A refusal carries the API's code and message, or the first line of another's text")
    func refusals() {
        func refusal(_ body: String) -> ClientError {
            ChatAPI.refusal(
                HTTPAnswer(
                    status: 429, fields: [.init(name: "retry-after", value: "2")],
                    body: Array(body.utf8)))
        }
        #expect(
            refusal(#"{"success":false,"error":{"code":"RATE_LIMITED","message":"wait"}}"#)
                == .refused(
                    status: 429, code: "RATE_LIMITED", message: "wait", retryAfterMs: 2_000))
        #expect(
            refusal("too many\nplease wait")
                == .refused(status: 429, code: nil, message: "too many", retryAfterMs: 2_000))
    }
}
