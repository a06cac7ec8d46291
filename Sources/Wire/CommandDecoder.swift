import Basics
import Domain

/// One frame of the plain-JSON face, read: `{type, id?, payload}`.
package struct DecodedFrame: Sendable {
    /// Which event it named, where that is known; errors name it back.
    package var name: CommandName?
    /// By which the client wants its answer.
    package var id: RequestID?
    package var command: Result<Command, CommandError>
    /// It was no request at all (not JSON, no object, no type): counted against the connection.
    package var isUnreadable: Bool

    package init(
        name: CommandName?, id: RequestID? = nil, command: Result<Command, CommandError>,
        isUnreadable: Bool = false
    ) {
        self.name = name
        self.id = id
        self.command = command
        self.isUnreadable = isUnreadable
    }
}

/// From bytes to a `Command`. Pure; the reader's tape is its only scratch.
///
/// Unknown fields are ignored, the aliases of the existing clients accepted: `chatId`,
/// `conversationId`, `roomId`; `encryptedContent`, `content`, `ciphertext`; `messageId`, `id`;
/// `clientMsgId`, `tempId`, `nonce`. The first that is there counts.
package enum CommandDecoder {
    package static func decode(
        _ source: borrowing Span<UInt8>, with reader: inout JSONReader, limits: Limits
    ) -> DecodedFrame {
        let root: JSONNode
        do throws(JSONError) {
            root = try reader.parse(source)
        } catch {
            return unreadable(
                "the frame is not valid JSON: \(error.text) (at byte \(error.offset))")
        }
        guard reader.kind(root) == .object else {
            return unreadable("a frame is a JSON object {\"type\",\"id\",\"payload\"}")
        }
        let id: RequestID?
        switch requestID(root, reader, source) {
        case .success(let read): id = read
        case .failure(let error):
            return DecodedFrame(
                name: nil, id: nil, command: .failure(error), isUnreadable: true)
        }
        guard let type = reader.member(root, "type", in: source), reader.kind(type) == .string
        else {
            return unreadable("a frame names its event in \"type\", a string", id: id)
        }
        guard let name = commandName(type, reader, source) else {
            return unknown(id)
        }
        return decode(
            name, id, reader.member(root, "payload", in: source), reader, source, limits)
    }

    /// An event of Socket.IO: `["name", payload?]`, parsed already, an array whose first element is
    /// a string.
    ///
    /// - Parameter id: the packet's, by which the client wants its ack.
    package static func decode(
        event: JSONNode, id: Int64?, with reader: borrowing JSONReader,
        in source: borrowing Span<UInt8>, limits: Limits
    ) -> DecodedFrame {
        let id = id.map { RequestID.integer($0) }
        var arguments = reader.elements(event)
        guard let type = reader.next(&arguments), let name = commandName(type, reader, source)
        else { return unknown(id) }
        return decode(name, id, reader.next(&arguments), reader, source, limits)
    }

    private static func decode(
        _ name: CommandName, _ id: RequestID?, _ payload: JSONNode?,
        _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>, _ limits: Limits
    ) -> DecodedFrame {
        if let payload, reader.kind(payload) != .object, !reader.isNull(payload) {
            return DecodedFrame(
                name: name, id: id, command: .failure(invalid("payload is not an object")),
                isUnreadable: false)
        }
        // A missing payload reads as one without fields: the required ones are then named.
        let fields = Fields(payload: payload)
        return DecodedFrame(
            name: name, id: id, command: command(name, fields, reader, source, limits),
            isUnreadable: false)
    }

    private static func unknown(_ id: RequestID?) -> DecodedFrame {
        DecodedFrame(
            name: nil, id: id,
            command: .failure(
                CommandError(.unknownEvent, "this server knows no event of that type")),
            isUnreadable: false)
    }

    // MARK: The envelope

    private static func unreadable(_ message: String, id: RequestID? = nil) -> DecodedFrame {
        DecodedFrame(
            name: nil, id: id, command: .failure(CommandError(.invalidInput, message)),
            isUnreadable: true)
    }

    private static func invalid(_ message: String) -> CommandError {
        CommandError(.invalidInput, message)
    }

    private static func requestID(
        _ root: JSONNode, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) -> Result<RequestID?, CommandError> {
        guard let node = reader.member(root, "id", in: source), !reader.isNull(node) else {
            return .success(nil)
        }
        if let number = reader.integer(node, in: source) { return .success(.integer(number)) }
        if let count = reader.utf8Count(node), count <= RequestID.maximumBytes,
            let text = reader.string(node, in: source)
        {
            return .success(.text(text))
        }
        return .failure(invalid("id is an integer or a string of at most 64 bytes"))
    }

    private static func commandName(
        _ node: JSONNode, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) -> CommandName? {
        for (spelling, name) in spellings {
            if reader.stringEquals(node, spelling, in: source) { return name }
        }
        return nil
    }

    /// The most frequent first.
    private static let spellings: [(StaticString, CommandName)] = {
        let order: [CommandName] = [
            .send, .acknowledge, .read, .type, .join, .leave, .resume, .authenticate, .subscribe,
            .unsubscribe,
        ]
        return order.flatMap { name in name.spellings.map { ($0, name) } }
    }()

    // MARK: The payloads

    private struct Fields {
        var payload: JSONNode?
    }

    private static func command(
        _ name: CommandName, _ fields: Fields, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>, _ limits: Limits
    ) -> Result<Command, CommandError> {
        do throws(CommandError) {
            switch name {
            case .send:
                return .success(.send(try sendMessage(fields, reader, source, limits)))
            case .acknowledge:
                let chat = try chat(fields, reader, source)
                guard let seq = try seq("seq", fields, reader, source) else {
                    throw invalid("seq is missing: the highest seq that has arrived")
                }
                return .success(.acknowledge(chat, seq: seq))
            case .read:
                return .success(try read(fields, reader, source))
            case .type:
                let chat = try chat(fields, reader, source)
                guard let isTyping = try flag("isTyping", fields, reader, source) else {
                    throw invalid("isTyping is missing: true or false")
                }
                return .success(.type(chat, isTyping: isTyping))
            case .join:
                let chat = try chat(fields, reader, source)
                return .success(.join(chat, since: try seq("since", fields, reader, source)))
            case .leave:
                return .success(.leave(try chat(fields, reader, source)))
            case .resume:
                return .success(.resume(try resume(fields, reader, source, limits)))
            case .authenticate:
                return .success(try authenticate(fields, reader, source))
            case .subscribe:
                if let since = first(["since"], fields, reader, source), !reader.isNull(since) {
                    throw invalid("since: this server keeps nothing of a topic; leave it out")
                }
                return .success(.subscribe(try topics(fields, reader, source, limits)))
            case .unsubscribe:
                return .success(.unsubscribe(try topics(fields, reader, source, limits)))
            }
        } catch {
            return .failure(error)
        }
    }

    private static func sendMessage(
        _ fields: Fields, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>,
        _ limits: Limits
    ) throws(CommandError) -> SendMessage {
        let chat = try chat(fields, reader, source)
        let clientMessageID = try optionalIdentifier(
            ["clientMsgId", "tempId", "nonce"], fields, reader, source)
        guard
            let content = first(
                ["encryptedContent", "content", "ciphertext"], fields, reader, source),
            let count = reader.utf8Count(content)
        else {
            throw invalid("encryptedContent is missing or not a string")
        }
        guard count > 0 else { throw invalid("encryptedContent is empty") }
        guard count <= limits.ciphertextBytes else {
            throw CommandError(
                .payloadTooLarge,
                "encryptedContent is longer than \(limits.ciphertextBytes) bytes; send it in parts")
        }
        guard let bytes = reader.bytes(content, in: source) else {
            throw invalid("encryptedContent is not a string")
        }
        if let devices = first(["devices"], fields, reader, source), !reader.isNull(devices) {
            throw invalid("devices: this server takes no envelopes per device; leave it out")
        }
        var message = Message(encryptedContent: bytes, type: "text")
        if let type = first(["type"], fields, reader, source), !reader.isNull(type) {
            guard let text = reader.text(type, maximumUTF8Count: 64, in: source), !text.isEmpty
            else {
                throw invalid("type is a string of 1 to 64 bytes, such as \"text\"")
            }
            message.type = text
        }
        message.replyTo = try optionalIdentifier(["replyToId"], fields, reader, source)
            .map(MessageID.init(trusted:))
        message.thread = try optionalIdentifier(["threadId"], fields, reader, source)
            .map(MessageID.init(trusted:))
        if let expiry = first(["expiresAt"], fields, reader, source), !reader.isNull(expiry) {
            guard let text = reader.bytes(expiry, in: source),
                let milliseconds = JSONTimestamp.parse(text.span)
            else {
                throw invalid("expiresAt is a time such as \"2026-01-31T23:59:59.000Z\"")
            }
            message.expiresAt = WallTime(milliseconds: milliseconds)
        }
        return SendMessage(chat: chat, clientMessageID: clientMessageID, message: message)
    }

    private static func read(
        _ fields: Fields, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) throws(CommandError) -> Command {
        let isPrivate = try flag("private", fields, reader, source) ?? false
        if first(chatNames, fields, reader, source) == nil,
            let id = try optionalIdentifier(["messageId", "id"], fields, reader, source)
        {
            return .readMessage(MessageID(trusted: id), isPrivate: isPrivate)
        }
        let chat = try chat(fields, reader, source)
        if let seq = try seq("seq", fields, reader, source) {
            return .read(chat, .seq(seq), isPrivate: isPrivate)
        }
        guard
            let id = try optionalIdentifier(["messageId", "id"], fields, reader, source)
        else {
            throw invalid("seq or messageId is missing: up to where the user has read")
        }
        return .read(chat, .entry(MessageID(trusted: id)), isPrivate: isPrivate)
    }

    private static func resume(
        _ fields: Fields, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>,
        _ limits: Limits
    ) throws(CommandError) -> [ReadLogs.From] {
        guard let chats = first(["chats"], fields, reader, source),
            reader.kind(chats) == .object
        else {
            throw invalid("chats is missing: an object of chat ids, each with its last seq")
        }
        guard reader.count(chats) <= limits.chatsPerResume else {
            throw invalid("resume takes at most \(limits.chatsPerResume) chats; ask in parts")
        }
        var result: [ReadLogs.From] = []
        result.reserveCapacity(reader.count(chats))
        var members = reader.members(chats)
        while let (key, value) = reader.next(&members) {
            guard let chat = reader.identifier(key, in: source) else {
                throw invalid("a chat id has 1 to 128 bytes and no control characters")
            }
            guard let seq = reader.integer(value, in: source), seq >= 0 else {
                throw invalid("a chat's last seq is a whole number, 0 or more")
            }
            result.append(ReadLogs.From(chat: ChatID(trusted: chat), after: seq))
        }
        return result
    }

    private static func authenticate(
        _ fields: Fields, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) throws(CommandError) -> Command {
        guard let node = first(["token"], fields, reader, source),
            let token = reader.string(node, in: source)
        else {
            throw invalid("token is missing: a JSON Web Token, as a string")
        }
        let device = try optionalIdentifier(["deviceId"], fields, reader, source)
        return .authenticate(token: token, device: device.map(DeviceID.init(trusted:)))
    }

    /// Each once, in the order in which they are named first.
    private static func topics(
        _ fields: Fields, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>,
        _ limits: Limits
    ) throws(CommandError) -> [TopicName] {
        guard let list = first(["topics"], fields, reader, source), reader.kind(list) == .array,
            reader.count(list) > 0
        else {
            throw invalid("topics is missing: a list of one or more, such as [\"job:42\"]")
        }
        guard reader.count(list) <= limits.topicsPerConnection else {
            throw .tooManyTopics(limits.topicsPerConnection)
        }
        var topics: [TopicName] = []
        topics.reserveCapacity(reader.count(list))
        var known: Set<TopicName> = []
        var elements = reader.elements(list)
        while let node = reader.next(&elements) {
            guard let text = reader.string(node, in: source), let topic = TopicName(text) else {
                throw invalid(
                    "a topic is \"job:\" and an id of 1 to 128 bytes without control characters; "
                        + "there are no others, and nothing was changed")
            }
            if known.insert(topic).inserted { topics.append(topic) }
        }
        return topics
    }

    // MARK: Fields

    private static func first(
        _ names: [StaticString], _ fields: Fields, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) -> JSONNode? {
        guard let payload = fields.payload else { return nil }
        for name in names {
            if let node = reader.member(payload, name, in: source) { return node }
        }
        return nil
    }

    private static func chat(
        _ fields: Fields, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) throws(CommandError) -> ChatID {
        guard
            let text = try optionalIdentifier(chatNames, fields, reader, source)
        else { throw invalid("chatId is missing") }
        return ChatID(trusted: text)
    }

    private static let chatNames: [StaticString] = ["chatId", "conversationId", "roomId"]

    private static func optionalIdentifier(
        _ names: [StaticString], _ fields: Fields, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) throws(CommandError) -> String? {
        guard let node = first(names, fields, reader, source), !reader.isNull(node) else {
            return nil
        }
        guard let text = reader.identifier(node, in: source) else {
            throw invalid(
                "\(names[0]) is a string of 1 to 128 bytes without control characters")
        }
        return text
    }

    private static func seq(
        _ name: StaticString, _ fields: Fields, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) throws(CommandError) -> Seq? {
        guard let node = first([name], fields, reader, source), !reader.isNull(node) else {
            return nil
        }
        guard let value = reader.integer(node, in: source), value >= 0 else {
            throw invalid("\(name) is a whole number, 0 or more")
        }
        return value
    }

    private static func flag(
        _ name: StaticString, _ fields: Fields, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) throws(CommandError) -> Bool? {
        guard let node = first([name], fields, reader, source), !reader.isNull(node) else {
            return nil
        }
        guard let value = reader.bool(node) else { throw invalid("\(name) is true or false") }
        return value
    }
}
