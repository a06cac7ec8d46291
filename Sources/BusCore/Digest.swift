import Domain

/// What an instance says of itself each second, even when there is nothing to say: which logs it made
/// longer since it said so last, and up to where. Numbered without a gap, so that one who misses a number
/// knows that it may have missed publications too.
package struct Digest: Hashable, Sendable {
    package struct Head: Hashable, Sendable {
        package var chat: ChatID
        package var seq: Seq

        package init(chat: ChatID, seq: Seq) {
            self.chat = chat
            self.seq = seq
        }
    }

    /// More chats than this are not listed: some 150 KB at the longest names.
    package static let maximumHeads = 1_024

    /// As in `Origin`.
    package var instance: UInt64
    /// 1, 2, 3, … of that instance.
    package var number: UInt64
    /// The instance goes on purpose: nobody need miss it.
    package var isLast: Bool
    /// There were more chats than `heads` lists.
    package var isTruncated: Bool
    /// Where other instances reach this one, `host:port`; nil where they do not.
    package var address: String?
    package var heads: [Head]

    package init(
        instance: UInt64, number: UInt64, isLast: Bool = false, isTruncated: Bool = false,
        address: String? = nil, heads: [Head] = []
    ) {
        self.address = address
        self.instance = instance
        self.number = number
        self.isLast = isLast
        self.isTruncated = isTruncated
        self.heads = heads
    }
}

/// Its form on `ChannelNames.digest`, with the rules of `PublicationCodec`:
///
///     version 1 (1), kind 1 (16), flags 1 (1 last, 2 truncated), instance 8, number 8,
///     address (short text, perhaps empty), count 2, then for each head: chat (short text), seq 8
extension Digest {
    private static let lastFlag: UInt8 = 1
    private static let truncatedFlag: UInt8 = 2

    /// Heads over `maximumHeads` are left out, and the digest then says that it is truncated.
    package func encoded() -> [UInt8] {
        let listed = heads.prefix(Self.maximumHeads)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(80 + listed.reduce(0) { $0 + 9 + $1.chat.text.utf8.count })
        bytes.append(PublicationCodec.version)
        bytes.append(PublicationCodec.Kind.digest.rawValue)
        bytes.append(
            (isLast ? Self.lastFlag : 0)
                | (isTruncated || listed.count < heads.count ? Self.truncatedFlag : 0))
        bytes.append(integer: instance)
        bytes.append(integer: number)
        bytes.append(shortText: address ?? "")
        bytes.append(integer: UInt16(listed.count))
        for head in listed {
            bytes.append(shortText: head.chat.text)
            bytes.append(integer: head.seq)
        }
        return bytes
    }

    /// nil where the payload is nothing that `encoded` writes. The number is at most 2^53, so that
    /// the next one can be named; a chat may be listed twice.
    package init?(decoding payload: [UInt8]) {
        var reader = ByteReader(payload)
        guard reader.byte() == PublicationCodec.version,
            reader.byte() == PublicationCodec.Kind.digest.rawValue,
            let flags = reader.byte(), flags < 4,
            let instance = reader.integer(UInt64.self),
            let number = reader.integer(UInt64.self), number <= PublicationCodec.maximumSeq,
            let address = reader.shortText(),
            let count = reader.integer(UInt16.self), count <= Self.maximumHeads
        else { return nil }
        var heads: [Head] = []
        for _ in 0..<count {
            guard let chat = reader.chat(), let seq = reader.seq(from: 0) else { return nil }
            heads.append(Head(chat: chat, seq: seq))
        }
        guard reader.isAtEnd else { return nil }
        self.init(
            instance: instance, number: number, isLast: flags & Self.lastFlag != 0,
            isTruncated: flags & Self.truncatedFlag != 0,
            address: address.isEmpty ? nil : address, heads: heads)
    }
}
