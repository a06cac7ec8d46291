import Basics
import Domain

/// What a backend says on a public channel, in the form of the existing services:
///
///     chat:{id}  {"type":"new-message","chatId":…,"message":{"id","senderId","encryptedContent",…}}
///     user:{id}  {"type":"new-message",…} | {"type":"notification",…} | {"type":"disconnect"}
///     job:{id}   {"type":"JOB_UPDATE","payload":{…}}
///
/// Unsequenced: a `seq` in it says nothing. Whatever is not of this form is nothing at all.
package enum ForeignEvent: Sendable {
    /// A message; its entry has seq 0. The chat is named by the channel, or in it.
    case message(LogEntry)
    /// The object that followers are to have as it is.
    case notification(EncodedEvent)
    /// The object that the topic's subscribers are to have as it is.
    case topicEvent(EncodedEvent)
    /// The user's connections are to end.
    case disconnect
    /// Said by an instance of ours: everyone has it already.
    case own

    /// The public channel that it was said on: each has its own types.
    package enum Place: Sendable {
        case chat(ChatID)
        case user
        case topic(TopicName)
    }

    /// Names that the field uses for the object of a notification.
    private static let wrappers: [StaticString] = ["payload", "notification"]

    /// - Parameter place: where it is a chat's, no other chat may be named.
    /// - Returns: nil where it is none of the above, or misses what it needs.
    package static func decode(
        _ source: borrowing Span<UInt8>, with reader: inout JSONReader, on place: Place,
        at time: WallTime, maximumContent: Int
    ) -> ForeignEvent? {
        let root: JSONNode
        do throws(JSONError) {
            root = try reader.parse(source)
        } catch {
            return nil
        }
        guard reader.kind(root) == .object,
            let type = reader.member(root, "type", in: source), reader.kind(type) == .string
        else { return nil }
        if let origin = reader.member(root, "origin", in: source),
            reader.stringEquals(origin, "martlet", in: source)
        {
            return .own
        }
        let chat: ChatID?
        switch place {
        case .topic(let topic): return update(of: topic, root, type, reader, source)
        case .chat(let id): chat = id
        case .user: chat = nil
        }
        if reader.stringEquals(type, "new-message", in: source) {
            return message(root, reader, source, chat, time, maximumContent)
        }
        guard chat == nil else { return nil }
        if reader.stringEquals(type, "disconnect", in: source) { return .disconnect }
        guard reader.stringEquals(type, "notification", in: source) else { return nil }
        return notification(root, type, reader, source)
    }

    private static func update(
        of topic: TopicName, _ root: JSONNode, _ type: JSONNode, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) -> ForeignEvent? {
        guard reader.stringEquals(type, EventName.topicEvent.ws, in: source),
            let payload = reader.member(root, "payload", in: source),
            reader.kind(payload) == .object
        else { return nil }
        return .topicEvent(
            EventEncoder.topicEvent(topic, copy(reader.rawRange(payload), source)))
    }

    private static func message(
        _ root: JSONNode, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>,
        _ channel: ChatID?, _ time: WallTime, _ maximumContent: Int
    ) -> ForeignEvent? {
        guard let message = reader.member(root, "message", in: source),
            reader.kind(message) == .object
        else { return nil }
        // Not the same as one that is missing: a chatId that cannot be read may name another chat.
        var isMistyped = false
        func text(_ names: [StaticString], in node: JSONNode) -> String? {
            for name in names {
                if let node = reader.member(node, name, in: source), !reader.isNull(node) {
                    let text = reader.string(node, in: source)
                    if text == nil { isMistyped = true }
                    return text
                }
            }
            return nil
        }
        let places: [StaticString] = ["chatId", "conversationId", "roomId"]
        let outer = text(places, in: root)
        let inner = text(places, in: message)
        // Two names for one chat: nobody can say which was meant.
        guard outer == nil || inner == nil || outer == inner else { return nil }
        let named = outer ?? inner
        guard let chat = named.map({ ChatID($0) }) ?? channel, channel == nil || chat == channel,
            let id = text(["id", "messageId"], in: message).flatMap({ MessageID($0) }),
            let sender = text(["senderId", "userId"], in: message).flatMap({ UserID($0) }),
            let content = text(["encryptedContent", "content", "ciphertext"], in: message),
            content.utf8.count <= maximumContent
        else { return nil }
        let type = text(["type"], in: message) ?? "text"
        let replyTo = text(["replyToId"], in: message).flatMap { MessageID($0) }
        let device = text(["senderDeviceId"], in: message).flatMap { DeviceID($0) }
        guard !isMistyped, !type.isEmpty, type.utf8.count <= 64 else { return nil }
        return .message(
            LogEntry(
                chat: chat, seq: 0, id: id, author: sender,
                device: device ?? DeviceID(trusted: "backend"), createdAt: time,
                body: .message(
                    Message(
                        encryptedContent: Array(content.utf8), type: type, replyTo: replyTo))))
    }

    /// Either the object that `payload` or `notification` holds, or everything beside `type`.
    private static func notification(
        _ root: JSONNode, _ type: JSONNode, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) -> ForeignEvent? {
        for name in wrappers {
            guard let node = reader.member(root, name, in: source) else { continue }
            guard reader.kind(node) == .object else { return nil }
            return .notification(
                EncodedEvent(.notification, copy(reader.rawRange(node), source)))
        }
        var json = JSONWriter(capacity: 256)
        json.beginObject()
        var members = reader.members(root)
        while let (key, value) = reader.next(&members) {
            guard let name = reader.string(key, in: source) else { return nil }
            if name == "type" { continue }
            json.key(named: name)
            json.raw(copy(reader.rawRange(value), source))
        }
        json.endObject()
        return .notification(EncodedEvent(.notification, json.bytes))
    }

    private static func copy(
        _ range: Range<Int>, _ source: borrowing Span<UInt8>
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        for index in range { bytes.append(source[index]) }
        return bytes
    }

    // MARK: Out

    /// A message of ours for the public channel: the same form, marked, so that no instance takes it
    /// in again.
    package static func encode(_ entry: LogEntry) -> [UInt8] {
        var json = JSONWriter(capacity: entry.approximateBytes + 256)
        json.beginObject()
        json.key("type")
        json.string("new-message")
        json.key("chatId")
        json.string(entry.chat.text)
        json.key("origin")
        json.string("martlet")
        json.key("message")
        EventEncoder.write(entry, to: &json)
        json.endObject()
        return json.bytes
    }
}
