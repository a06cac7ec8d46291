import Basics
import BusCore
import Domain

/// Publications of every kind, with every field set and unset.
enum Samples {
    static let origin = Origin(instance: 0x0102_0304_0506_0708, subscriber: .max)
    static let chat = ChatID(trusted: "conv-123")
    static let user = UserID(trusted: "ann")

    static func publication(
        _ content: Publication.Content, on channel: Channel = .chat(chat)
    ) -> Publication {
        Publication(channel: channel, content: content, origin: origin)
    }

    static func entry(
        _ body: LogEntry.Body, chat: ChatID = chat, seq: Seq = 7, id: String = "m-1"
    ) -> LogEntry {
        LogEntry(
            chat: chat, seq: seq, id: MessageID(trusted: id), author: user,
            device: DeviceID(trusted: "phone"),
            createdAt: WallTime(milliseconds: 1_790_000_000_123),
            body: body)
    }

    /// An entry whose payload is exactly `count` bytes.
    static func entry(encodedBytes count: Int) -> LogEntry {
        let empty = entry(.message(Message(encryptedContent: [], type: "text")))
        guard let least = PublicationCodec.encode(publication(.entry(empty)))?.count else {
            return empty
        }
        return entry(
            .message(
                Message(
                    encryptedContent: Array(repeating: UInt8(ascii: "x"), count: count - least),
                    type: "text")))
    }

    static let all: [(name: String, publication: Publication)] = {
        let longest = String(repeating: "é", count: 64)
        var samples: [(String, Publication)] = []
        for flags in 0..<8 {
            let message = Message(
                encryptedContent: Array("b3BhcXVl".utf8), type: "text",
                replyTo: flags & 1 == 0 ? nil : MessageID(trusted: "m-0"),
                thread: flags & 2 == 0 ? nil : MessageID(trusted: longest),
                expiresAt: flags & 4 == 0 ? nil : WallTime(milliseconds: -1))
            samples.append(("message-\(flags)", publication(.entry(entry(.message(message))))))
        }
        for kind in MembershipChange.Kind.allCases {
            let change = MembershipChange(kind: kind, user: UserID(trusted: longest))
            samples.append(
                ("membership-\(kind)", publication(.entry(entry(.membership(change))))))
        }
        samples.append(("reference", publication(.reference(PublicationCodec.maximumSeq))))
        for flags in 0..<8 {
            let receipt = Receipt(
                chat: chat, user: user, deliveredSeq: flags & 1 == 0 ? nil : 9,
                readSeq: flags & 2 == 0 ? nil : 0, isReadPrivate: flags & 4 != 0,
                at: WallTime(milliseconds: .min))
            samples.append(("receipt-\(flags)", publication(.receipt(receipt))))
        }
        for isTyping in [false, true] {
            let typing = Typing(chat: chat, user: user, isTyping: isTyping)
            samples.append(("typing-\(isTyping)", publication(.typing(typing))))
        }
        samples.append(("text", publication(.text(Array("{\"a\":1}".utf8)), on: .room("lobby"))))
        samples.append(("text-empty", publication(.text([]), on: .room("é:{}"))))
        samples.append(("joined", publication(.joined(chat, since: 0), on: .user(user))))
        return samples
    }()

    static let digests: [(name: String, digest: Digest)] = [
        ("empty", Digest(instance: 1, number: 1)),
        ("last", Digest(instance: .max, number: 1 << 53, isLast: true)),
        (
            "heads",
            Digest(
                instance: 2, number: 3, isTruncated: true,
                heads: [
                    Digest.Head(chat: chat, seq: 0),
                    Digest.Head(chat: ChatID(trusted: "a:{b}"), seq: PublicationCodec.maximumSeq),
                ])
        ),
    ]

    /// The exercise's input.
    static func input(_ name: [UInt8], _ payload: [UInt8]) -> [UInt8] {
        [UInt8(name.count)] + name + payload
    }
}
