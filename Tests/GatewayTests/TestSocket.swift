import BusCore
import Gateway
import HTTP
import Testing
import WebSocket
import Wire

/// A client's end of a connection: bytes out, bytes in, and what they mean.
final class TestSocket {
    let node: TestNode
    private(set) var shard: Int
    private(set) var key: ConnectionKey

    /// Not read yet.
    private(set) var received: [UInt8] = []
    /// Bytes that it will still take; nil for any number.
    private(set) var window: Int?
    /// The socket is gone for the server.
    var isReset = false
    /// The server closed the connection.
    var isClosed = false
    /// The server shut its half.
    var isHalfClosed = false

    private var isUpgraded = false
    private var decoder = MessageDecoder(role: .client)
    private var inbox: [Event] = []
    private var texts: [[UInt8]] = []
    private(set) var pings: [[UInt8]] = []
    private(set) var pongs: [[UInt8]] = []
    private(set) var closing: (code: Int?, reason: String)?
    private var requests = 1_000

    init(node: TestNode, shard: Int, key: ConnectionKey) {
        self.node = node
        self.shard = shard
        self.key = key
    }

    /// The shard that accepted it has handed it to another.
    func move(to shard: Int, as key: ConnectionKey) {
        self.shard = shard
        self.key = key
    }

    // MARK: The socket's own side

    func take(_ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Int {
        var bytes: [UInt8] = []
        for index in 0..<chunks.count { unsafe bytes.append(contentsOf: chunks[index]) }
        return take(bytes)
    }

    func take(_ bytes: [UInt8]) -> Int {
        if isReset { return -1 }
        let count = min(bytes.count, window ?? bytes.count)
        received += bytes[..<count]
        if let left = window { window = left - count }
        return count
    }

    /// Stops reading, or reads so many bytes more.
    func limit(to bytes: Int?) {
        window = bytes
        if bytes != 0 { node.give(.writable(key), to: shard) }
    }

    func send(_ bytes: [UInt8]) { node.give(.bytes(key, bytes), to: shard) }
    func send(_ text: String) { send(Array(text.utf8)) }
    func end() { node.give(.ended(key), to: shard) }

    /// Everything that came and was not read, as text.
    func takeText() -> String {
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    func takeBytes() -> [UInt8] {
        defer { received = [] }
        return received
    }

    // MARK: HTTP

    struct Response {
        var status: Int
        var fields: [(name: String, value: String)]
        var body: [UInt8]

        func field(_ name: String) -> String? {
            fields.first { $0.name.lowercased() == name.lowercased() }?.value
        }

        var json: JSONValue { JSONValue(parsing: body) }
        var text: String { String(decoding: body, as: UTF8.self) }
    }

    /// Sends a request and returns its answer.
    func request(
        _ method: String, _ path: String, token: String? = nil, fields: [String] = [],
        body: String? = nil
    ) -> Response {
        send(Self.request(method, path, token: token, fields: fields, body: body))
        return response(isHead: method == "HEAD")
    }

    static func request(
        _ method: String, _ path: String, token: String? = nil, fields: [String] = [],
        body: String? = nil
    ) -> [UInt8] {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: test\r\n"
        if let token { text += "Authorization: Bearer \(token)\r\n" }
        for field in fields { text += field + "\r\n" }
        if let body { text += "Content-Length: \(body.utf8.count)\r\n" }
        return Array((text + "\r\n" + (body ?? "")).utf8)
    }

    /// The next answer; status 0 where none came.
    func response(isHead: Bool = false) -> Response {
        let none = Response(status: 0, fields: [], body: [])
        let end = Array("\r\n\r\n".utf8)
        guard let start = received.firstRange(of: end)?.lowerBound else { return none }
        var lines = String(decoding: received[..<start], as: UTF8.self)
            .split(separator: "\r\n", omittingEmptySubsequences: false)
        guard let status = Int(lines.removeFirst().split(separator: " ")[1]) else { return none }
        let fields = lines.map { line in
            let parts = line.split(separator: ":", maxSplits: 1)
            return (name: String(parts[0]), value: String(parts[1].drop { $0 == " " }))
        }
        var response = Response(status: status, fields: fields, body: [])
        received.removeFirst(start + 4)
        if !isHead, let length = response.field("Content-Length").flatMap({ Int($0) }) {
            guard received.count >= length else {
                Issue.record("the body is shorter than announced")
                return none
            }
            response.body = Array(received[..<length])
            received.removeFirst(length)
        }
        return response
    }

    var hasUnread: Bool { !received.isEmpty }

    // MARK: The handshake

    static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    static func upgrade(
        _ path: String = "/ws", version: String? = "13", key: String? = TestSocket.key,
        upgrade: String? = "websocket", connection: String? = "Upgrade", fields: [String] = [],
        method: String = "GET", http: String = "HTTP/1.1"
    ) -> [UInt8] {
        var text = "\(method) \(path) \(http)\r\nHost: test\r\n"
        if let upgrade { text += "Upgrade: \(upgrade)\r\n" }
        if let connection { text += "Connection: \(connection)\r\n" }
        if let version { text += "Sec-WebSocket-Version: \(version)\r\n" }
        if let key { text += "Sec-WebSocket-Key: \(key)\r\n" }
        for field in fields { text += field + "\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// Upgrades, and returns the answer; from a 101 on the connection is read as frames.
    @discardableResult
    func upgrade(_ path: String = "/ws", fields: [String] = []) -> Response {
        send(Self.upgrade(path, fields: fields))
        return switched()
    }

    @discardableResult
    func switched() -> Response {
        let answer = response()
        if answer.status == 101 { isUpgraded = true }
        return answer
    }

    // MARK: Frames

    struct Event {
        var type: String
        var id: JSONValue
        var payload: JSONValue
    }

    static func frame(
        _ opcode: Opcode, _ payload: [UInt8], isFinal: Bool = true
    ) -> [UInt8] {
        let mask = MaskingKey(word: 0x1234_5678)
        var frame: [UInt8] = []
        FrameHeader.encode(
            opcode: opcode, fin: isFinal, length: payload.count, mask: mask, into: &frame)
        let start = frame.count
        frame += payload
        let end = frame.count
        var span = frame.mutableSpan
        Masking.apply(mask, to: &span, in: start..<end)
        return frame
    }

    static func text(_ text: String) -> [UInt8] { frame(.text, Array(text.utf8)) }

    static func close(_ code: UInt16?, _ reason: String = "") -> [UInt8] {
        guard let code else { return frame(.close, []) }
        return frame(.close, [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8))
    }

    func sendText(_ text: String) { send(Self.text(text)) }

    static func say(_ type: String, _ payload: JSONValue, id: JSONValue = .missing) -> [UInt8] {
        var members: [String: JSONValue] = ["type": .string(type), "payload": payload]
        if id != .missing { members["id"] = id }
        return text(JSONValue.object(members).text)
    }

    func say(_ type: String, _ payload: JSONValue, id: JSONValue = .missing) {
        send(Self.say(type, payload, id: id))
    }

    /// Sends a request with an id of its own and returns the payload of its ack; `.missing` where
    /// none came.
    @discardableResult
    func ask(_ type: String, _ payload: JSONValue) -> JSONValue {
        requests += 1
        let id = JSONValue.number(Double(requests))
        say(type, payload, id: id)
        return answer(to: id)
    }

    /// Takes the ack of a request out of what has come.
    func answer(to id: JSONValue) -> JSONValue {
        read()
        guard
            let index = inbox.firstIndex(where: { $0.type.lowercased() == "ack" && $0.id == id })
        else { return .missing }
        return inbox.remove(at: index).payload
    }

    /// The events that came since the last call.
    func events() -> [Event] {
        read()
        defer { inbox = [] }
        return inbox
    }

    func events(_ type: String) -> [JSONValue] {
        events().filter { $0.type == type }.map(\.payload)
    }

    /// The types of the events that came since the last call.
    func types() -> [String] { events().map(\.type) }

    /// The contents of the messages that came since the last call.
    func contents() -> [String] {
        events().filter { $0.type == "message.new" || $0.type == "MESSAGE" }
            .map { $0.payload.encryptedContent.stringValue ?? "?" }
    }

    /// Texts as they came, unparsed.
    func takeTexts() -> [String] {
        decodeFrames()
        defer { texts = [] }
        return texts.map { String(decoding: $0, as: UTF8.self) }
    }

    var closeCode: Int? {
        decodeFrames()
        return closing?.code
    }

    private func read() {
        decodeFrames()
        for text in texts {
            let json = JSONValue(parsing: text)
            if json == .missing {
                Issue.record("no JSON: \(String(decoding: text, as: UTF8.self))")
            }
            inbox.append(
                Event(type: json.type.stringValue ?? "?", id: json.id, payload: json.payload))
        }
        texts = []
    }

    func decodeFrames() {
        guard isUpgraded else { return }
        var bytes = received
        received = []
        var offset = 0
        let limits = MessageLimits(frameBytes: 20_000_000, messageBytes: 20_000_000)
        while true {
            var span = bytes.mutableSpan
            switch decoder.next(in: &span, at: &offset, limits: limits) {
            case .needMore: return
            case .message(_, let payload): texts.append(payload.copy(from: bytes.span))
            case .ping(let payload): pings.append(payload.copy(from: bytes.span))
            case .pong(let payload): pongs.append(payload.copy(from: bytes.span))
            case .close(let code, let reason):
                #expect(closing == nil, "a second close frame")
                closing = (
                    code.map { Int($0.rawValue) },
                    String(decoding: reason.copy(from: bytes.span), as: UTF8.self)
                )
            case .violation(let violation):
                Issue.record("the server broke RFC 6455: \(violation.text)")
                return
            }
        }
    }
}

extension TestNode {
    /// A client that has said who it is, and has read its greeting.
    func client(
        _ user: String, device: String? = nil, dialect: Dialect = .v1, shard: Int = 0,
        seconds: Int64 = 86_400
    ) -> TestSocket {
        let socket = connect(shard: shard, address: address())
        var fields = ["Authorization: Bearer \(token(user, device: device, seconds: seconds))"]
        if dialect == .v1 { fields.append("Sec-WebSocket-Protocol: martlet.v1") }
        #expect(socket.upgrade(fields: fields).status == 101)
        let events = socket.events()
        #expect(events.first?.type == (dialect == .v1 ? "session.ready" : "READY"))
        return socket
    }

    /// As `client`, joined to chats.
    func member(
        _ user: String, of chats: String..., device: String? = nil, shard: Int = 0
    ) -> TestSocket {
        let socket = client(user, device: device, shard: shard)
        for chat in chats {
            #expect(socket.ask("chat.join", ["chatId": .string(chat)]).ok == true)
        }
        _ = socket.events()
        return socket
    }

    /// A socket in a bench room.
    func roomMember(_ room: String = "r", shard: Int = 0) -> TestSocket {
        let socket = connect(shard: shard, address: address())
        #expect(socket.upgrade("/bench/room/\(room)").status == 101)
        return socket
    }

    /// Another address each time: connections are limited by address.
    private func address() -> String {
        addresses += 1
        return "10.\(addresses >> 16 & 255).\(addresses >> 8 & 255).\(addresses & 255)"
    }
}
