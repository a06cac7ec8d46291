import Basics
import Domain

/// What an instance says of itself once a second: that it is there, and which logs it made longer.
/// The numbers have no gap, so whoever misses one knows that other publications may be missing too.
package struct Digest: Hashable, Sendable {
    package struct Head: Hashable, Sendable {
        package var chat: ChatID
        package var seq: Seq

        package init(chat: ChatID, seq: Seq) {
            self.chat = chat
            self.seq = seq
        }
    }

    package var instance: UInt64
    /// 1 for the first of an instance's life.
    package var number: UInt64
    /// The instance ends: its silence means nothing from now on.
    package var isLast: Bool
    /// More logs grew than are named: compare them all.
    package var isTruncated: Bool
    /// The heads of the logs that grew since the digest before.
    package var heads: [Head]

    package init(
        instance: UInt64, number: UInt64, isLast: Bool = false, isTruncated: Bool = false,
        heads: [Head]
    ) {
        self.instance = instance
        self.number = number
        self.isLast = isLast
        self.isTruncated = isTruncated
        self.heads = heads
    }
}
