import Basics

/// Knows when many connections have come or gone and calm has returned: then what they left free
/// between the blocks of the heap is worth giving back to the system. It is a seventh of the memory
/// after 10,000 people have come back and joined twenty chats each.
///
/// Giving back walks the heap, so it is done once a storm and not by the clock: a storm is a thousand
/// connections or subscriptions that came or went, and it is over with a second in which less than a
/// hundredth moved of what moved in its worst second. A server whose connections come and go all the
/// time is never calm, and uses again what is free.
struct StormWatch {
    static let storm = 1_000
    static let periodMs = 1_000

    private var connections = 0
    private var subscriptions = 0
    private var moved = 0
    /// Of one second.
    private var most = 0
    /// When the next second has passed; nil while nothing moves.
    private(set) var nextCheck: Instant?

    /// - Parameters:
    ///   - connections: how many have come and gone since the start, counted together.
    ///   - subscriptions: how many there are.
    /// - Returns: whether a storm is over.
    mutating func isOver(connections: Int, subscriptions: Int, now: Instant) -> Bool {
        if let nextCheck, now < nextCheck { return false }
        let fresh =
            connections - self.connections + abs(subscriptions - self.subscriptions)
        self.connections = connections
        self.subscriptions = subscriptions
        moved += fresh
        most = max(most, fresh)
        guard fresh == 0 || fresh < most / 100 else {
            nextCheck = now.advanced(byMilliseconds: Self.periodMs)
            return false
        }
        defer {
            nextCheck = nil
            (moved, most) = (0, 0)
        }
        return moved >= Self.storm
    }
}
