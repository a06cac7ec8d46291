import Wire

/// What the server says on the plain-JSON face, read. Either dialect's names are understood; fields
/// that are not known here are ignored, as the contract asks of clients.
package enum ServerEvent: Hashable, Sendable {
    case ready(Ready)
    /// The token ends soon: `session.auth` with a new one renews the session.
    case expiring(inMs: Int64)
    case ack(id: ID, Ack)
    /// A refusal of a frame without an id.
    case error(Problem, event: String?)
    case message(Message)
    case changed(MembershipChange)
    case stored(messageID: String, clientMessageID: String?, chat: String, seq: Int64)
    case receipt(Receipt)
    case typing(chat: String, user: String, isTyping: Bool)
    case caughtUp([String: Int64])
    /// An event that this client does not know.
    case other(type: String)
    /// Not a frame of the protocol, and why.
    case unreadable(String)

    /// The id of a request, as it was sent.
    package enum ID: Hashable, Sendable {
        case number(Int64)
        case text(String)
    }

    package struct Ready: Hashable, Sendable {
        package var user = ""
        package var device = ""
        package var session = ""
        package var frameBytes: Int64?
        package var ciphertextBytes: Int64?
        package var pingIntervalMs: Int64?

        package init() {}
    }

    /// The payload of an ack: which fields are there depends on the request.
    package struct Ack: Hashable, Sendable {
        package var isOK = false
        package var problem: Problem?
        package var chat: String?
        package var messageID: String?
        package var seq: Int64?
        package var createdAt: String?
        package var isDuplicate: Bool?
        package var lastSeq: Int64?
        package var readSeq: Int64?
        package var deliveredSeq: Int64?
        package var expiresAt: Int64?
        /// Of `resume`: chats that were refused, with the code.
        package var refused: [String: String] = [:]

        package init() {}
    }

    package struct Problem: Hashable, Sendable {
        /// Such as `RATE_LIMITED`.
        package var code: String
        package var message: String
        package var retryAfterMs: Int64?

        package init(code: String, message: String, retryAfterMs: Int64? = nil) {
            self.code = code
            self.message = message
            self.retryAfterMs = retryAfterMs
        }
    }

    package struct Message: Hashable, Sendable {
        package var id = ""
        package var chat = ""
        package var seq: Int64 = 0
        package var sender = ""
        package var senderDevice = ""
        package var content = ""
        package var type = "text"
        package var createdAt = ""

        package init() {}
    }

    package struct MembershipChange: Hashable, Sendable {
        package var chat = ""
        package var seq: Int64 = 0
        /// `memberAdded`, `memberRemoved`, …
        package var kind = ""
        package var user = ""
        package var by = ""

        package init() {}
    }

    package struct Receipt: Hashable, Sendable {
        package var chat = ""
        package var user = ""
        package var deliveredSeq: Int64?
        package var readSeq: Int64?

        package init() {}
    }
}

/// From the text of a frame to a `ServerEvent`. Keeps the JSON reader's scratch between frames.
package struct ServerEventReader: ~Copyable {
    private var json = JSONReader(maximumNodes: 1 << 20)

    package init() {}

    package mutating func read(_ text: [UInt8]) -> ServerEvent {
        let span = text.span
        let root: JSONNode
        do throws(JSONError) {
            root = try json.parse(span)
        } catch {
            return .unreadable("not JSON: \(error.text) (at byte \(error.offset))")
        }
        let frame = JSONFields(root)
        guard let type = frame.string("type", json, span) else {
            return .unreadable("a frame without a type")
        }
        guard let name = Self.names[type] else { return .other(type: type) }
        let payload = JSONFields(frame.node("payload", json, span))
        return event(name, frame, payload, span)
    }

    /// Both spellings of every event.
    private static let names: [String: EventName] = {
        var names: [String: EventName] = [:]
        for name in EventName.allCases {
            for dialect in Dialect.plain { names["\(name.name(in: dialect))"] = name }
        }
        return names
    }()

    private func event(
        _ name: EventName, _ frame: JSONFields, _ payload: JSONFields,
        _ text: borrowing Span<UInt8>
    ) -> ServerEvent {
        switch name {
        case .ack:
            let id: ServerEvent.ID
            if let number = frame.integer("id", json, text) {
                id = .number(number)
            } else if let string = frame.string("id", json, text) {
                id = .text(string)
            } else {
                return .unreadable("an ack without an id")
            }
            return .ack(id: id, ack(payload, text))
        case .error:
            return .error(problem(payload, text), event: payload.string("event", json, text))
        case .sessionReady:
            return .ready(ready(payload, text))
        case .sessionExpiring:
            return .expiring(inMs: payload.integer("inMs", json, text) ?? 0)
        case .messageNew:
            return .message(Self.message(payload, json, text))
        case .chatChanged:
            return .changed(Self.change(payload, json, text))
        case .messageStored:
            return .stored(
                messageID: payload.string("messageId", json, text) ?? "",
                clientMessageID: payload.string("clientMsgId", json, text),
                chat: payload.string("chatId", json, text) ?? "",
                seq: payload.integer("seq", json, text) ?? 0)
        case .receipt:
            var receipt = ServerEvent.Receipt()
            receipt.chat = payload.string("chatId", json, text) ?? ""
            receipt.user = payload.string("userId", json, text) ?? ""
            receipt.deliveredSeq = payload.integer("deliveredSeq", json, text)
            receipt.readSeq = payload.integer("readSeq", json, text)
            return .receipt(receipt)
        case .typing:
            return .typing(
                chat: payload.string("chatId", json, text) ?? "",
                user: payload.string("userId", json, text) ?? "",
                isTyping: payload.bool("isTyping", json, text) ?? false)
        case .caughtUp:
            var chats: [String: Int64] = [:]
            payload.forEachMember(of: "chats", json, text) { key, value, json, text in
                chats[key] = json.integer(value, in: text)
            }
            return .caughtUp(chats)
        case .notification, .topicEvent:
            // Of a backend; the terminal shows chats.
            return .other(type: name.rawValue)
        }
    }

    private func ready(
        _ payload: JSONFields, _ text: borrowing Span<UInt8>
    ) -> ServerEvent.Ready {
        var ready = ServerEvent.Ready()
        ready.user = payload.string("userId", json, text) ?? ""
        ready.device = payload.string("deviceId", json, text) ?? ""
        ready.session = payload.string("sessionId", json, text) ?? ""
        let limits = JSONFields(payload.node("limits", json, text))
        ready.frameBytes = limits.integer("frameBytes", json, text)
        ready.ciphertextBytes = limits.integer("ciphertextBytes", json, text)
        ready.pingIntervalMs = limits.integer("pingIntervalMs", json, text)
        return ready
    }

    private func ack(_ payload: JSONFields, _ text: borrowing Span<UInt8>) -> ServerEvent.Ack {
        var ack = ServerEvent.Ack()
        ack.isOK = payload.bool("ok", json, text) ?? false
        if let node = payload.node("error", json, text) {
            ack.problem = problem(JSONFields(node), text)
        }
        ack.chat = payload.string("chatId", json, text)
        ack.messageID = payload.string("messageId", json, text)
        ack.seq = payload.integer("seq", json, text)
        ack.createdAt = payload.string("createdAt", json, text)
        ack.isDuplicate = payload.bool("duplicate", json, text)
        ack.lastSeq = payload.integer("lastSeq", json, text)
        ack.readSeq = payload.integer("readSeq", json, text)
        ack.deliveredSeq = payload.integer("deliveredSeq", json, text)
        ack.expiresAt = payload.integer("exp", json, text)
        payload.forEachMember(of: "refused", json, text) { key, value, json, text in
            ack.refused[key] = json.string(value, in: text)
        }
        return ack
    }

    private func problem(
        _ fields: JSONFields, _ text: borrowing Span<UInt8>
    ) -> ServerEvent.Problem {
        ServerEvent.Problem(
            code: fields.string("code", json, text) ?? "",
            message: fields.string("message", json, text) ?? "",
            retryAfterMs: fields.integer("retryAfterMs", json, text))
    }

    static func message(
        _ fields: JSONFields, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> ServerEvent.Message {
        var message = ServerEvent.Message()
        message.id = fields.string("id", json, text) ?? ""
        message.chat = fields.string("chatId", json, text) ?? ""
        message.seq = fields.integer("seq", json, text) ?? 0
        message.sender = fields.string("senderId", json, text) ?? ""
        message.senderDevice = fields.string("senderDeviceId", json, text) ?? ""
        message.content = fields.string("encryptedContent", json, text) ?? ""
        message.type = fields.string("type", json, text) ?? "text"
        message.createdAt = fields.string("createdAt", json, text) ?? ""
        return message
    }

    static func change(
        _ fields: JSONFields, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> ServerEvent.MembershipChange {
        var change = ServerEvent.MembershipChange()
        change.chat = fields.string("chatId", json, text) ?? ""
        change.seq = fields.integer("seq", json, text) ?? 0
        change.kind = fields.string("kind", json, text) ?? ""
        change.user = fields.string("userId", json, text) ?? ""
        change.by = fields.string("by", json, text) ?? ""
        return change
    }
}

/// The members of an object that may not be there.
struct JSONFields {
    private let object: JSONNode?

    init(_ object: JSONNode?) { self.object = object }

    func node(
        _ name: StaticString, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> JSONNode? {
        object.flatMap { json.member($0, name, in: text) }
    }

    func string(
        _ name: StaticString, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> String? {
        node(name, json, text).flatMap { json.string($0, in: text) }
    }

    func integer(
        _ name: StaticString, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> Int64? {
        node(name, json, text).flatMap { json.integer($0, in: text) }
    }

    func bool(
        _ name: StaticString, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> Bool? {
        node(name, json, text).flatMap { json.bool($0) }
    }

    func forEachMember(
        of name: StaticString, _ json: borrowing JSONReader, _ text: borrowing Span<UInt8>,
        _ body: (String, JSONNode, borrowing JSONReader, borrowing Span<UInt8>) -> Void
    ) {
        guard let node = node(name, json, text) else { return }
        var members = json.members(node)
        while let (key, value) = json.next(&members) {
            if let key = json.string(key, in: text) { body(key, value, json, text) }
        }
    }
}
