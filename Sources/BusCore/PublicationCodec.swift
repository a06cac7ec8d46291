import Basics
import Domain

/// The form in which instances hand publications to each other.
///
/// The channel is told by the transport and not repeated in the payload, so the two cannot
/// disagree: an entry that comes on a chat's channel is one of that chat. Integers are big-endian
/// and of fixed width; a short text is a byte of length and its UTF-8, a long one has four bytes of
/// length.
///
///     version   1 byte, 1
///     kind      1 byte, see `Kind`
///     origin    instance 8, subscriber 8
///     entry     seq 8, createdAt 8, id, author, device; then for a message
///               1, flags 1 (1 reply, 2 thread, 4 expiry), type, [reply], [thread], [expiry 8],
///               content (long); for a membership change 2, what 1, user
///     reference seq 8
///     receipt   flags 1 (1 delivered, 2 read, 4 private), user, at 8, [delivered 8], [read 8]
///     typing    flags 1 (1 typing, 2 email), user, [email (long)]
///     text      bytes (long)
///     joined    chat, since 8
///
/// Whatever bytes come, decoding gives a value or nil and never traps: an unknown version or kind, a
/// length that does not fit, an id that breaks the rule of ids, text that is not UTF-8, a flag that
/// nobody set, bytes that are left over. So a value has exactly one form. An instance of a later
/// version that wants to be understood writes what this one knows, until all are of its version;
/// what is durable is repaired from the store meanwhile.
package enum PublicationCodec {
    /// Above it an entry goes as a reference: Redis copies a payload once a subscriber, and a
    /// reader that falls behind is cut off by bytes. 16 KiB is some ten times a usual envelope.
    package static let maximumEntryBytes = 16_384
    /// A bench room's text, which has no other way to travel; longer ones are not sent on.
    package static let maximumTextBytes = 1_048_576
    /// What JSON readers count to exactly, and far from where adding one would overflow.
    package static let maximumSeq: Seq = 1 << 53

    /// Of a token's claim.
    static let maximumEmailBytes = 320

    static let version: UInt8 = 1

    enum Kind: UInt8 {
        case entry = 1
        case reference = 2
        case receipt = 3
        case typing = 4
        case text = 5
        case joined = 6
        /// Not of a publication: `Digest`.
        case digest = 16
    }

    private enum BodyKind: UInt8 {
        case message = 1
        case membership = 2
    }

    private enum MessageFlag {
        static let reply: UInt8 = 1
        static let thread: UInt8 = 2
        static let expiry: UInt8 = 4
    }

    private enum ReceiptFlag {
        static let delivered: UInt8 = 1
        static let read: UInt8 = 2
        static let isPrivate: UInt8 = 4
    }

    private enum TypingFlag {
        static let isTyping: UInt8 = 1
        static let email: UInt8 = 2
    }

    // MARK: Encoding

    /// The payload for the channel of `publication`; nil for what does not travel, a text over the
    /// limit. An entry that is too large, or has a type that no client could have sent, becomes a
    /// reference.
    package static func encode(_ publication: Publication) -> [UInt8]? {
        let content = publication.content
        if case .entry(let entry) = content {
            guard let count = count(of: entry), count <= maximumEntryBytes else {
                return begin(.reference, publication.origin, more: 8) {
                    $0.append(integer: entry.seq)
                }
            }
            return begin(.entry, publication.origin, more: count - headCount) {
                append(entry, to: &$0)
            }
        }
        switch content {
        case .entry: return nil
        case .reference(let seq):
            return begin(.reference, publication.origin, more: 8) { $0.append(integer: seq) }
        case .receipt(let receipt):
            return begin(.receipt, publication.origin, more: 26 + receipt.user.text.utf8.count) {
                append(receipt, to: &$0)
            }
        case .typing(let typing):
            var email = typing.email.map { Array($0.utf8) }
            if email?.count ?? 0 > maximumEmailBytes { email = nil }
            let count = 2 + typing.user.text.utf8.count + (email.map { 4 + $0.count } ?? 0)
            return begin(.typing, publication.origin, more: count) {
                $0.append(
                    (typing.isTyping ? TypingFlag.isTyping : 0)
                        | (email == nil ? 0 : TypingFlag.email))
                $0.append(shortText: typing.user.text)
                if let email { $0.append(longText: email) }
            }
        case .text(let text):
            guard text.count <= maximumTextBytes else { return nil }
            return begin(.text, publication.origin, more: 4 + text.count) {
                $0.append(longText: text)
            }
        case .joined(let chat, let since):
            return begin(.joined, publication.origin, more: 9 + chat.text.utf8.count) {
                $0.append(shortText: chat.text)
                $0.append(integer: since)
            }
        }
    }

    /// Version, kind, origin.
    private static let headCount = 18

    private static func begin(
        _ kind: Kind, _ origin: Origin, more: Int, rest: (inout [UInt8]) -> Void
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(headCount + more)
        bytes.append(version)
        bytes.append(kind.rawValue)
        bytes.append(integer: origin.instance)
        bytes.append(integer: origin.subscriber)
        rest(&bytes)
        return bytes
    }

    /// What `entry` takes with its head, exactly; nil where a field does not fit into its place.
    private static func count(of entry: LogEntry) -> Int? {
        var count = headCount + 8 + 8 + 1
        count += 1 + entry.id.text.utf8.count
        count += 1 + entry.author.text.utf8.count
        count += 1 + entry.device.text.utf8.count
        switch entry.body {
        case .message(let message):
            guard message.type.utf8.count <= Int(UInt8.max) else { return nil }
            count += 1 + 1 + message.type.utf8.count + 4 + message.encryptedContent.count
            if let reply = message.replyTo { count += 1 + reply.text.utf8.count }
            if let thread = message.thread { count += 1 + thread.text.utf8.count }
            if message.expiresAt != nil { count += 8 }
        case .membership(let change):
            count += 1 + 1 + change.user.text.utf8.count
        }
        return count
    }

    private static func append(_ entry: LogEntry, to bytes: inout [UInt8]) {
        bytes.append(integer: entry.seq)
        bytes.append(integer: entry.createdAt.milliseconds)
        bytes.append(shortText: entry.id.text)
        bytes.append(shortText: entry.author.text)
        bytes.append(shortText: entry.device.text)
        switch entry.body {
        case .message(let message):
            bytes.append(BodyKind.message.rawValue)
            bytes.append(
                (message.replyTo == nil ? 0 : MessageFlag.reply)
                    | (message.thread == nil ? 0 : MessageFlag.thread)
                    | (message.expiresAt == nil ? 0 : MessageFlag.expiry))
            bytes.append(shortText: message.type)
            if let reply = message.replyTo { bytes.append(shortText: reply.text) }
            if let thread = message.thread { bytes.append(shortText: thread.text) }
            if let expiry = message.expiresAt { bytes.append(integer: expiry.milliseconds) }
            bytes.append(longText: message.encryptedContent)
        case .membership(let change):
            bytes.append(BodyKind.membership.rawValue)
            switch change.kind {
            case .added: bytes.append(1)
            case .removed: bytes.append(2)
            case .left: bytes.append(3)
            }
            bytes.append(shortText: change.user.text)
        }
    }

    private static func append(_ receipt: Receipt, to bytes: inout [UInt8]) {
        bytes.append(
            (receipt.deliveredSeq == nil ? 0 : ReceiptFlag.delivered)
                | (receipt.readSeq == nil ? 0 : ReceiptFlag.read)
                | (receipt.isReadPrivate ? ReceiptFlag.isPrivate : 0))
        bytes.append(shortText: receipt.user.text)
        bytes.append(integer: receipt.at.milliseconds)
        if let delivered = receipt.deliveredSeq { bytes.append(integer: delivered) }
        if let read = receipt.readSeq { bytes.append(integer: read) }
    }

    // MARK: Decoding

    /// What `payload` says on `channel`; nil where it is nothing that this version writes there.
    package static func decode(_ payload: [UInt8], on channel: Channel) -> Publication? {
        var reader = ByteReader(payload)
        guard reader.byte() == version, let kind = reader.byte().flatMap(Kind.init),
            let instance = reader.integer(UInt64.self),
            let subscriber = reader.integer(UInt64.self),
            let content = content(kind, on: channel, &reader), reader.isAtEnd
        else { return nil }
        return Publication(
            channel: channel, content: content,
            origin: Origin(instance: instance, subscriber: subscriber))
    }

    private static func content(
        _ kind: Kind, on channel: Channel, _ reader: inout ByteReader
    ) -> Publication.Content? {
        switch (kind, channel) {
        case (.entry, .chat(let chat)):
            entry(of: chat, &reader).map { .entry($0) }
        case (.reference, .chat):
            reader.seq(from: 1).map { .reference($0) }
        case (.receipt, .chat(let chat)):
            receipt(in: chat, &reader).map { .receipt($0) }
        case (.typing, .chat(let chat)):
            typing(in: chat, &reader).map { .typing($0) }
        case (.text, .room):
            reader.longText(maximum: maximumTextBytes).map { .text($0) }
        case (.joined, .user):
            joined(&reader)
        default: nil
        }
    }

    private static func entry(of chat: ChatID, _ reader: inout ByteReader) -> LogEntry? {
        guard let seq = reader.seq(from: 1), let createdAt = reader.integer(Int64.self),
            let id = reader.message(), let author = reader.user(), let device = reader.device(),
            let kind = reader.byte().flatMap(BodyKind.init)
        else { return nil }
        let body: LogEntry.Body
        switch kind {
        case .message:
            guard let message = message(&reader) else { return nil }
            body = .message(message)
        case .membership:
            guard let change = membershipChange(&reader) else { return nil }
            body = .membership(change)
        }
        return LogEntry(
            chat: chat, seq: seq, id: id, author: author, device: device,
            createdAt: WallTime(milliseconds: createdAt), body: body)
    }

    private static func message(_ reader: inout ByteReader) -> Message? {
        guard let flags = reader.byte(), flags < 8, let type = reader.shortText() else {
            return nil
        }
        var message = Message(encryptedContent: [], type: type)
        if flags & MessageFlag.reply != 0 {
            guard let reply = reader.message() else { return nil }
            message.replyTo = reply
        }
        if flags & MessageFlag.thread != 0 {
            guard let thread = reader.message() else { return nil }
            message.thread = thread
        }
        if flags & MessageFlag.expiry != 0 {
            guard let expiry = reader.integer(Int64.self) else { return nil }
            message.expiresAt = WallTime(milliseconds: expiry)
        }
        guard let content = reader.longText(maximum: maximumEntryBytes) else { return nil }
        message.encryptedContent = content
        return message
    }

    private static func membershipChange(_ reader: inout ByteReader) -> MembershipChange? {
        let kind: MembershipChange.Kind
        switch reader.byte() {
        case 1: kind = .added
        case 2: kind = .removed
        case 3: kind = .left
        default: return nil
        }
        return reader.user().map { MembershipChange(kind: kind, user: $0) }
    }

    private static func receipt(in chat: ChatID, _ reader: inout ByteReader) -> Receipt? {
        guard let flags = reader.byte(), flags < 8, let user = reader.user(),
            let at = reader.integer(Int64.self)
        else { return nil }
        var receipt = Receipt(
            chat: chat, user: user, deliveredSeq: nil, readSeq: nil,
            isReadPrivate: flags & ReceiptFlag.isPrivate != 0, at: WallTime(milliseconds: at))
        if flags & ReceiptFlag.delivered != 0 {
            guard let delivered = reader.seq(from: 0) else { return nil }
            receipt.deliveredSeq = delivered
        }
        if flags & ReceiptFlag.read != 0 {
            guard let read = reader.seq(from: 0) else { return nil }
            receipt.readSeq = read
        }
        return receipt
    }

    private static func typing(in chat: ChatID, _ reader: inout ByteReader) -> Typing? {
        guard let flags = reader.byte(), flags < 4, let user = reader.user() else { return nil }
        var typing = Typing(chat: chat, user: user, isTyping: flags & TypingFlag.isTyping != 0)
        if flags & TypingFlag.email != 0 {
            guard let bytes = reader.longText(maximum: maximumEmailBytes),
                let email = String(validating: bytes, as: UTF8.self)
            else { return nil }
            typing.email = email
        }
        return typing
    }

    private static func joined(_ reader: inout ByteReader) -> Publication.Content? {
        guard let chat = reader.chat(), let since = reader.seq(from: 0) else { return nil }
        return .joined(chat, since: since)
    }
}
