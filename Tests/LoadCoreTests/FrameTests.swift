import Basics
import Domain
import LoadCore
import Testing
import WebSocket
import Wire

/// Frames of all dialects: what is scanned cheaply is what the real readers read.
struct FrameTests {
    @safe private static func with<Value>(
        _ bytes: [UInt8], _ body: (UnsafePointer<UInt8>, Int) -> Value
    ) -> Value? {
        unsafe bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return nil }
            return unsafe body(base, buffer.count)
        }
    }

    // MARK: WebSocket

    @Test(
        "A server's frame is found whole at every length, and not a byte earlier",
        arguments: [0, 1, 125, 126, 127, 65_535, 65_536])
    func serverFrames(length: Int) throws {
        var bytes: [UInt8] = []
        FrameHeader.encode(opcode: .text, length: length, into: &bytes)
        let head = bytes.count
        bytes += [UInt8](repeating: 7, count: length)
        let whole = try #require(
            Self.with(bytes) { unsafe ServerFrame($0, count: $1) })
        #expect(whole.status == .whole)
        #expect(whole.headCount == head && whole.payloadCount == length)
        for count in [0, 1, head - 1, head, bytes.count - 1] where count < bytes.count {
            let part = try #require(
                Self.with(bytes) { base, _ in
                    unsafe ServerFrame(base, count: count)
                })
            #expect(part.status == .partial, "\(count) of \(bytes.count)")
        }
    }

    @Test(
        "What no server may send is refused",
        arguments: [
            [0x81, 0x80], [0xC1, 0x01], [0x01, 0x01], [0x80, 0x01],
            [0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0], [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1],
        ] as [[UInt8]])
    func refused(bytes: [UInt8]) {
        #expect(Self.with(bytes) { unsafe ServerFrame($0, count: $1).status } == .refused)
    }

    @Test(
        "A client's frame is what a server reads back",
        arguments: [0, 1, 7, 8, 9, 125, 126, 1_000, 65_535, 65_536])
    func clientFrames(length: Int) {
        let payload = (0..<length).map { UInt8(truncatingIfNeeded: $0 % 26 + 97) }
        var frame = [UInt8](
            repeating: 0, count: ClientFrame.headCount(forPayload: length) + length)
        _ = unsafe frame.withUnsafeMutableBufferPointer { target in
            Self.with(payload + [0]) { source, _ in
                guard let base = target.baseAddress else { return }
                unsafe ClientFrame.write(
                    opcode: ServerFrame.text, source, count: length, key: 0x1234_5678, to: base)
            }
        }
        var decoder = MessageDecoder(role: .server)
        var offset = 0
        var span = frame.mutableSpan
        guard
            case .message(.text, let found) = decoder.next(
                in: &span, at: &offset, limits: MessageLimits())
        else {
            Issue.record("no message")
            return
        }
        #expect(found.copy(from: span.span) == payload)
        #expect(offset == frame.count)
    }

    // MARK: Martlet's own

    private static func entry(_ content: String, seq: Int64, user: String) -> EncodedEvent {
        EventEncoder.entry(
            LogEntry(
                chat: ChatID(trusted: "0192f0c1-2f6e-7c3a-9a55-ba9876543210"), seq: seq,
                id: MessageID(trusted: "0192f0c1-2f6e-7c3a-9a55-0123456789ab"),
                author: UserID(trusted: user), device: DeviceID(trusted: "d1"),
                createdAt: WallTime(milliseconds: 1_700_000_000_000),
                body: .message(
                    Message(encryptedContent: Array(content.utf8), type: "text"))))
    }

    private static func text(_ event: EncodedEvent, _ dialect: Dialect) -> [UInt8] {
        var text: [UInt8] = []
        event.append(in: dialect, to: &text)
        return text
    }

    private static func scan(_ text: [UInt8], _ dialect: Dialect, hint: inout Int) -> ProductFrame?
    {
        let names = ProductFrame.Names(dialect)
        return unsafe text.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return nil }
            return unsafe ProductFrame.scan(base, count: buffer.count, names, hint: &hint)
        }
    }

    private static func read(_ text: [UInt8]) -> ProductFrame? {
        var reader = JSONReader()
        return ProductFrame.read(text.span, with: &reader)
    }

    @Test("A message is scanned as the JSON reader reads it", arguments: Dialect.plain)
    func messages(dialect: Dialect) throws {
        var hint = 0
        for (number, user) in ["a", "load-0011aabb-0000007", "somebody with a longer name"]
            .enumerated()
        {
            for seq in [1, 9, 10, 123_456, 9_007_199_254_740_991] as [Int64] {
                let content = String(repeating: "x", count: 60 + number)
                let text = Self.text(Self.entry(content, seq: seq, user: user), dialect)
                let scanned = try #require(Self.scan(text, dialect, hint: &hint))
                #expect(scanned == Self.read(text))
                #expect(scanned.kind == .message)
                #expect(scanned.seq == UInt64(seq))
                #expect(String(decoding: text[scanned.content], as: UTF8.self) == content)
            }
        }
    }

    @Test("A content that must be decoded, and a frame written otherwise, are left to the reader")
    func unusualMessages() throws {
        var hint = 0
        let escaped = Self.text(Self.entry("a\"b\\c", seq: 4, user: "u"), .v1)
        #expect(Self.scan(escaped, .v1, hint: &hint) == nil)
        let spaced = Array(
            #"{"payload": {"seq": 12, "encryptedContent": "abc"}, "type": "message.new"}"#.utf8)
        #expect(Self.scan(spaced, .v1, hint: &hint) == nil)
        let frame = try #require(Self.read(spaced))
        #expect(frame.kind == .message && frame.seq == 12)
        #expect(String(decoding: spaced[frame.content], as: UTF8.self) == "abc")
    }

    @Test("A hint from another frame misleads nobody")
    func wrongHint() {
        let text = Self.text(Self.entry("content", seq: 4, user: "u"), .v1)
        for start in [-5, 0, 1, 30, text.count - 3, text.count, text.count + 50, .max / 2] {
            var hint = start
            #expect(Self.scan(text, .v1, hint: &hint) == Self.read(text))
        }
    }

    @Test("A message that is cut off anywhere is neither scanned nor read")
    func cutMessages() {
        let text = Self.text(Self.entry("content", seq: 41, user: "u"), .v1)
        for count in 1..<text.count {
            var hint = 0
            let part = Array(text.prefix(count))
            #expect(Self.scan(part, .v1, hint: &hint) == nil, "\(count)")
            #expect(Self.read(part) == nil, "\(count)")
        }
    }

    @Test("The ack of a message is scanned as it is read", arguments: Dialect.plain)
    func acks(dialect: Dialect) throws {
        var hint = 0
        for id in [0, 7, 4_294_967_296] as [Int64] {
            let text = EventEncoder.ack(.integer(id), in: dialect) { json in
                json.key("messageId")
                json.string("m")
                json.key("seq")
                json.integer(5)
                json.key("duplicate")
                json.bool(false)
            }
            let scanned = try #require(Self.scan(text, dialect, hint: &hint))
            #expect(scanned == Self.read(text))
            #expect(scanned.kind == .ack && scanned.isOK && scanned.id == UInt64(id))
        }
    }

    @Test("A refusal, and the ack of a join, are left to the reader, which has their fields")
    func otherAcks() throws {
        var hint = 0
        let refusal = EventEncoder.refusal(
            CommandError(.rateLimited, "slow down"), id: .integer(3), event: .send, in: .v1)
        #expect(Self.scan(refusal, .v1, hint: &hint) == nil)
        let refused = try #require(Self.read(refusal))
        #expect(refused.kind == .ack && !refused.isOK && refused.id == 3)
        #expect(String(decoding: refusal[refused.code], as: UTF8.self) == "RATE_LIMITED")
        let join = EventEncoder.ack(.integer(1), in: .v1) { json in
            json.key("chatId")
            json.string("c")
            json.key("lastSeq")
            json.integer(17)
        }
        #expect(Self.scan(join, .v1, hint: &hint) == nil)
        #expect(Self.read(join)?.lastSeq == 17)
    }

    @Test("Typing is scanned as it is read", arguments: [true, false])
    func typing(isTyping: Bool) throws {
        var hint = 0
        let user = LoadDialect.userName(run: 0xAB, user: 42)
        let event = EventEncoder.typing(
            Typing(
                chat: ChatID(trusted: "c"), user: UserID(trusted: user), isTyping: isTyping))
        for dialect in Dialect.plain {
            let text = Self.text(event, dialect)
            let scanned = try #require(Self.scan(text, dialect, hint: &hint))
            #expect(scanned == Self.read(text))
            #expect(scanned.kind == .typing && scanned.isTyping == isTyping)
            let number = scanned.user.dropFirst(LoadDialect.userNumberOffset)
            #expect(Int(String(decoding: text[number], as: UTF8.self)) == 42)
        }
    }

    @Test("Other events are told apart by the reader", arguments: Dialect.plain)
    func others(dialect: Dialect) {
        let caughtUp = Self.text(EventEncoder.caughtUp([]), dialect)
        #expect(Self.read(caughtUp)?.kind == .caughtUp)
        let error = EventEncoder.refusal(
            CommandError(.notFound, "no"), id: nil, event: .join, in: dialect)
        #expect(Self.read(error)?.kind == .error)
        #expect(Self.read(Array("[]".utf8)) == nil)
    }

    // MARK: NATS, Socket.IO

    @Test("NATS operations are read one behind the other, however a payload looks")
    func nats() {
        let text =
            "INFO {\"a\":1}\r\nPING\r\nMSG room.a 1 6\r\na\r\nb\r\n\r\nMSG r 1 x.y 2\r\nhi\r\n"
            + "PONG\r\n+OK\r\n-ERR 'no'\r\n"
        let bytes = Array(text.utf8)
        var found: [NatsReader.Operation] = []
        var place = 0
        while place < bytes.count {
            let rest = Array(bytes[place...])
            guard
                case .operation(let operation, let length)? = Self.with(
                    rest, { unsafe NatsReader.next($0, count: $1) })
            else { break }
            found.append(operation)
            place += length
        }
        #expect(
            found == [
                .info, .ping, .message(16..<22), .message(15..<17), .pong, .other, .error(0..<9),
            ])
        #expect(place == bytes.count)
    }

    @Test("A NATS operation that is cut off needs more, one that is none is broken")
    func brokenNats() {
        let whole = Array("MSG room.a 1 3\r\nabc\r\n".utf8)
        for count in 1..<whole.count {
            let step = Self.with(Array(whole.prefix(count))) {
                unsafe NatsReader.next($0, count: $1)
            }
            #expect(step == .needMore, "\(count)")
        }
        for text in ["MSG\r\n", "MSG a 1 x\r\n", "MSG a 1 99999999999\r\n", "what\r\n", "\r\n\r\n"]
        {
            let step = Self.with(Array(text.utf8)) { unsafe NatsReader.next($0, count: $1) }
            #expect(step == .broken, "\(text)")
        }
    }

    @Test(
        "Socket.IO packets are told apart",
        arguments: [
            ("0{\"sid\":\"x\"}", .open), ("2", .ping), ("40{\"sid\":\"y\"}", .connected),
            ("430[]", .ack), ("42[\"msg\",\"hello\"]", .message(10..<15)),
            ("42[\"other\",1]", .other), ("3", .other), ("4", .other),
        ] as [(String, SocketIO.Packet)])
    func socketIO(text: String, packet: SocketIO.Packet) {
        #expect(Self.with(Array(text.utf8)) { unsafe SocketIO.read($0, count: $1) } == packet)
    }

    // MARK: Where they go

    @Test("Each dialect opens the path that its servers know")
    func targets() {
        func target(_ dialect: LoadDialect, _ base: String, _ layout: Scenario.Layout) -> String {
            dialect.target(base: base, layout: layout, room: "r-1")
        }
        #expect(target(.raw, "/bench", .echo) == "/bench/echo")
        #expect(target(.raw, "/", .idle) == "/echo")
        #expect(target(.raw, "/bench/", .room) == "/bench/room/r-1")
        #expect(target(.raw, "/bench/echo", .echo) == "/bench/echo")
        #expect(target(.raw, "/echo", .room) == "/room/r-1")
        #expect(target(.nchan, "/", .rooms) == "/sub/r-1")
        #expect(
            LoadDialect.nchan.target(base: "/x", layout: .room, room: "r", isOutlet: true)
                == "/x/pub/r")
        #expect(target(.nats, "/", .room) == "/")
        #expect(target(.sio, "/", .room) == "/socket.io/?EIO=4&transport=websocket")
        #expect(target(.sio, "/io?a=b", .room) == "/io?a=b&EIO=4&transport=websocket")
        #expect(target(.v1, "/", .group) == "/ws")
        #expect(target(.plain, "/ws/messages", .group) == "/ws/messages")
    }

    @Test("A dialect refuses what it has no word for")
    func complaints() throws {
        let typing = try Scenario(
            text: "layout = rooms\nconnections = 100\ntraffic = typing\nrate = 10")
        #expect(LoadDialect.v1.complaint(about: typing) == nil)
        #expect(LoadDialect.raw.complaint(about: typing) != nil)
        let many = try Scenario(text: "layout = rooms\nchats-per-user = 2")
        #expect(LoadDialect.plain.complaint(about: many) == nil)
        #expect(LoadDialect.nats.complaint(about: many) != nil)
    }
}
