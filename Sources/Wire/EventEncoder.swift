import Basics
import Domain

/// An event's name and its payload as JSON: encoded once, framed once a dialect, shared by all who
/// receive it on any shard.
package struct EncodedEvent: Sendable {
    package let name: EventName
    /// In the ws dialect the payload's last field is the whole payload; it begins here. 0: no
    /// difference. (In the padding before `payload`: an event is no larger for it.)
    private let innerStart: UInt32
    /// A JSON object.
    package let payload: [UInt8]
    /// What the Socket.IO families are told instead of, or beside, the payload; see `SocketEvent`.
    let legacy: Legacy
    /// Only the families that know no marks are told: the others have heard it.
    package let isForLegacyOnly: Bool

    /// - Parameter innerStart: where the object begins that the ws dialect is given alone. Nothing
    ///   but the payload's closing brace follows that object.
    package init(_ name: EventName, _ payload: [UInt8], innerStart: UInt32 = 0) {
        self.init(name, payload, innerStart: innerStart, legacy: .same)
    }

    init(
        _ name: EventName, _ payload: [UInt8], innerStart: UInt32 = 0, legacy: Legacy,
        isForLegacyOnly: Bool = false
    ) {
        self.isForLegacyOnly = isForLegacyOnly
        self.name = name
        self.payload = payload
        self.innerStart = innerStart
        self.legacy = legacy
    }

    /// Bytes of the text that `append` appends.
    package func textCount(in dialect: Dialect) -> Int {
        Self.overhead + name.name(in: dialect).utf8CodeUnitCount + payloadRange(in: dialect).count
    }

    private func payloadRange(in dialect: Dialect) -> Range<Int> {
        guard innerStart > 0, dialect == .ws else { return 0..<payload.count }
        return Int(innerStart)..<payload.count - 1
    }

    /// Appends `{"type":…,"payload":…}`.
    package func append(in dialect: Dialect, to text: inout [UInt8]) {
        text.append(contentsOf: Self.head)
        unsafe text.append(contentsOf: name.name(in: dialect).buffer)
        text.append(contentsOf: Self.middle)
        text.append(contentsOf: payload[payloadRange(in: dialect)])
        text.append(UInt8(ascii: "}"))
    }

    private static let head = Array(#"{"type":""#.utf8)
    private static let middle = Array(#"","payload":"#.utf8)
    private static let overhead = head.count + middle.count + 1
}

extension StaticString {
    fileprivate var buffer: UnsafeBufferPointer<UInt8> {
        unsafe UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

/// From values to JSON. Field names are the contract's; fields are only ever added.
package enum EventEncoder {
    // MARK: Events of a chat

    package static func entry(_ entry: LogEntry) -> EncodedEvent {
        var json = JSONWriter(capacity: entry.approximateBytes + 128)
        write(entry, to: &json)
        switch entry.body {
        case .message:
            return EncodedEvent(.messageNew, json.bytes, legacy: .entry(place(of: entry)))
        case .membership:
            return EncodedEvent(.chatChanged, json.bytes, legacy: .entry(place(of: entry)))
        }
    }

    private static func place(of entry: LogEntry) -> RecoveryOffset {
        RecoveryOffset(chat: entry.chat, seq: entry.seq)
    }

    /// The entry as an object: the payload of its event, and an element of history.
    package static func write(_ entry: LogEntry, to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.string(entry.id.text)
        json.key("chatId")
        json.string(entry.chat.text)
        switch entry.body {
        case .message(let message):
            json.key("senderId")
            json.string(entry.author.text)
            json.key("senderDeviceId")
            json.string(entry.device.text)
            json.key("encryptedContent")
            json.string(message.encryptedContent)
            json.key("type")
            json.string(message.type)
            json.key("replyToId")
            if let replyTo = message.replyTo { json.string(replyTo.text) } else { json.null() }
            if let thread = message.thread {
                json.key("threadId")
                json.string(thread.text)
            }
            if let expiresAt = message.expiresAt {
                json.key("expiresAt")
                json.timestamp(milliseconds: expiresAt.milliseconds)
            }
            json.key("createdAt")
            json.timestamp(milliseconds: entry.createdAt.milliseconds)
            json.key("kind")
            json.string("message")
        case .membership(let change):
            json.key("kind")
            json.string(change.kind.rawValue)
            json.key("userId")
            json.string(change.user.text)
            json.key("by")
            json.string(entry.author.text)
            json.key("at")
            json.timestamp(milliseconds: entry.createdAt.milliseconds)
        }
        // A backend's message is in no log.
        if entry.seq > 0 {
            json.key("seq")
            json.integer(entry.seq)
        }
        json.endObject()
    }

    /// - Parameters:
    ///   - delivered, read: the messages that came under the marks with this receipt, ascending;
    ///     clients of the Socket.IO families are told of each.
    package static func receipt(
        _ receipt: Receipt, delivered: [MessageID] = [], read: [MessageID] = []
    ) -> EncodedEvent {
        object(.receipt, .receipt(receipt, delivered: delivered, read: read)) { json in
            json.key("chatId")
            json.string(receipt.chat.text)
            json.key("userId")
            json.string(receipt.user.text)
            if let seq = receipt.deliveredSeq {
                json.key("deliveredSeq")
                json.integer(seq)
            }
            if let seq = receipt.readSeq {
                json.key("readSeq")
                json.integer(seq)
            }
            json.key("at")
            json.timestamp(milliseconds: receipt.at.milliseconds)
        }
    }

    /// The same for those alone who are told of messages, where these had to be looked for.
    package static func receiptOfMessages(
        _ receipt: Receipt, delivered: [MessageID], read: [MessageID]
    ) -> EncodedEvent {
        EncodedEvent(
            .receipt, [], legacy: .receipt(receipt, delivered: delivered, read: read),
            isForLegacyOnly: true)
    }

    package static func typing(_ typing: Typing) -> EncodedEvent {
        object(.typing, .typing(typing)) { json in
            json.key("chatId")
            json.string(typing.chat.text)
            json.key("userId")
            json.string(typing.user.text)
            json.key("isTyping")
            json.bool(typing.isTyping)
        }
    }

    // MARK: Events of a topic

    /// - Parameter payload: a JSON object, handed on byte for byte.
    package static func topicEvent(_ topic: TopicName, _ payload: [UInt8]) -> EncodedEvent {
        var json = JSONWriter(capacity: payload.count + topic.text.utf8.count + 64)
        json.beginObject()
        json.key("topic")
        json.string(topic.text)
        json.key("type")
        json.string(literal: EventName.topicEvent.ws)
        json.key("payload")
        // Some 900 at most: a name of 132 bytes, each of them escaped.
        let start = UInt32(json.bytes.count)
        json.raw(payload)
        json.endObject()
        return EncodedEvent(.topicEvent, json.bytes, innerStart: start)
    }

    // MARK: Events of a session

    package static func sessionReady(
        actor: Actor, session: String, recovered: Bool = false, pass: String? = nil,
        now: WallTime, limits: Limits
    ) -> EncodedEvent {
        object(.sessionReady) { json in
            json.key("userId")
            json.string(actor.user.text)
            json.key("deviceId")
            json.string(actor.device.text)
            json.key("sessionId")
            json.string(session)
            json.key("proto")
            json.integer(1)
            json.key("recovered")
            json.bool(recovered)
            if let pass {
                json.key("pid")
                json.string(pass)
            }
            json.key("serverTime")
            json.timestamp(milliseconds: now.milliseconds)
            json.key("limits")
            json.beginObject()
            json.key("frameBytes")
            json.integer(limits.frameBytes)
            json.key("ciphertextBytes")
            json.integer(limits.ciphertextBytes)
            json.key("chatsPerResume")
            json.integer(limits.chatsPerResume)
            json.key("pingIntervalMs")
            json.integer(limits.pingIntervalMs)
            json.endObject()
        }
    }

    package static func sessionExpiring(inMs: Int) -> EncodedEvent {
        object(.sessionExpiring) { json in
            json.key("inMs")
            json.integer(inMs)
        }
    }

    package static func caughtUp(_ chats: [(ChatID, Seq)]) -> EncodedEvent {
        object(.caughtUp) { json in
            json.key("chats")
            json.beginObject()
            for (chat, seq) in chats {
                json.key(named: chat.text)
                json.integer(seq)
            }
            json.endObject()
        }
    }

    package static func messageStored(
        id: MessageID, clientMessageID: String?, chat: ChatID, seq: Seq
    ) -> EncodedEvent {
        object(.messageStored, .stored(chat)) { json in
            json.key("messageId")
            json.string(id.text)
            json.key("clientMsgId")
            if let clientMessageID { json.string(clientMessageID) } else { json.null() }
            json.key("chatId")
            json.string(chat.text)
            json.key("seq")
            json.integer(seq)
        }
    }

    // MARK: Answers

    /// The payload of an ack: `{"ok":true,…}`.
    package static func ackPayload(_ fields: (inout JSONWriter) -> Void) -> [UInt8] {
        payload { writeAck(&$0, fields) }
    }

    private static func writeAck(
        _ json: inout JSONWriter, _ fields: (inout JSONWriter) -> Void
    ) {
        json.key("ok")
        json.bool(true)
        fields(&json)
    }

    /// The payload of an ack that refuses: `{"ok":false,"error":{…}}`.
    package static func refusalPayload(_ error: CommandError) -> [UInt8] {
        payload { writeRefusal(error, to: &$0) }
    }

    private static func writeRefusal(_ error: CommandError, to json: inout JSONWriter) {
        json.key("ok")
        json.bool(false)
        json.key("error")
        json.beginObject()
        write(error, to: &json)
        json.endObject()
    }

    /// Refuses what had no id.
    package static func error(_ error: CommandError, event: CommandName?) -> EncodedEvent {
        object(.error) { json in
            write(error, to: &json)
            if let event {
                json.key("event")
                json.string(event.rawValue)
            }
        }
    }

    /// `{"type":"ack","id":…,"payload":{"ok":true,…}}`, the whole text of a frame.
    package static func ack(
        _ id: RequestID, in dialect: Dialect, _ fields: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        answer(id, in: dialect) { writeAck(&$0, fields) }
    }

    /// An error: the ack where the request had an id, an `error` event otherwise.
    package static func refusal(
        _ error: CommandError, id: RequestID?, event: CommandName?, in dialect: Dialect
    ) -> [UInt8] {
        if let id {
            return answer(id, in: dialect) { writeRefusal(error, to: &$0) }
        }
        var text: [UInt8] = []
        self.error(error, event: event).append(in: dialect, to: &text)
        return text
    }

    package static func write(_ error: CommandError, to json: inout JSONWriter) {
        json.key("code")
        json.string(error.code.rawValue)
        json.key("message")
        json.string(error.message)
        if let retryAfterMs = error.retryAfterMs {
            json.key("retryAfterMs")
            json.integer(retryAfterMs)
        }
    }

    /// The answer to a plain frame, whole.
    private static func answer(
        _ id: RequestID, in dialect: Dialect, _ payload: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        var json = JSONWriter(capacity: 256)
        json.beginObject()
        json.key("type")
        json.string(literal: EventName.ack.name(in: dialect))
        json.key("id")
        switch id {
        case .integer(let number): json.integer(number)
        case .text(let text): json.string(text)
        }
        json.key("payload")
        json.beginObject()
        payload(&json)
        json.endObject()
        json.endObject()
        return json.bytes
    }

    private static func object(
        _ name: EventName, _ legacy: EncodedEvent.Legacy = .same,
        _ fields: (inout JSONWriter) -> Void
    ) -> EncodedEvent {
        EncodedEvent(name, payload(fields), legacy: legacy)
    }

    private static func payload(_ fields: (inout JSONWriter) -> Void) -> [UInt8] {
        var json = JSONWriter(capacity: 192)
        json.beginObject()
        fields(&json)
        json.endObject()
        return json.bytes
    }
}
