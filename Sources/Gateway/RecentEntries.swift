import Domain

/// Which subscriber caused which entry of a log, of the last that this shard was told are stored.
///
/// An entry that its home had to read from the store, because the publication was late or lost, says
/// nothing of who caused it; and in v1 that connection has its ack and is given no echo. Looked into
/// for those entries alone. What is older than `capacity` entries is forgotten: then there is an
/// echo, under a seq that the client has.
package struct RecentEntries {
    /// At 20,000 sends a second a fifth of a second: that long an entry is held back for one that
    /// is missing before the store is read.
    package static let capacity = 4_096

    private struct Entry {
        var seq: Seq
        var chat: ChatID
        var subscriber: UInt64
    }

    private var entries: [Entry] = []
    private var oldest = 0

    package init() {}

    package mutating func note(_ seq: Seq, of chat: ChatID, by subscriber: SubscriberKey) {
        let entry = Entry(seq: seq, chat: chat, subscriber: subscriber.packed)
        if entries.count < Self.capacity {
            entries.append(entry)
        } else {
            entries[oldest] = entry
            oldest = oldest + 1 == Self.capacity ? 0 : oldest + 1
        }
    }

    /// The subscriber as it is packed; 0 where none of this shard is known to have caused it.
    package func subscriber(of seq: Seq, in chat: ChatID) -> UInt64 {
        entries.first { $0.seq == seq && $0.chat == chat }?.subscriber ?? 0
    }
}
