import Basics

/// Gathers the cursor movements of a window (250 ms) so that each (chat, user, device) writes once.
/// Losing a window in a crash only repeats deliveries.
///
/// `Waiter` names whoever wants the answer; it is told after the commit.
package struct CursorCoalescer<Waiter: Sendable>: Sendable {
    private struct Key: Hashable {
        var chat: ChatID
        var user: UserID
        var device: DeviceID
    }

    package struct Pending: Sendable {
        package var operation: AdvanceCursor
        /// Who wants the answer; such a movement stays alone, for its refusal is its own.
        package var waiter: Waiter?
        /// The connection that moved the cursor last: the one the receipt is not sent to.
        package var origin: UInt64
    }

    private var indices: [Key: Int] = [:]
    private var pending: [Pending] = []

    package init() {}

    package var isEmpty: Bool { pending.isEmpty }

    /// Takes a movement in. What cannot be merged with a waiting one by arithmetic (a position
    /// given by entry id, or a change of privacy) is kept beside it, in order.
    package mutating func add(_ operation: AdvanceCursor, waiter: Waiter?, origin: UInt64) {
        let key = Key(chat: operation.chat, user: operation.user, device: operation.device)
        if waiter == nil, let index = indices[key], pending[index].waiter == nil,
            let merged = Self.merged(pending[index].operation, operation)
        {
            pending[index].operation = merged
            pending[index].origin = origin
            return
        }
        indices[key] = pending.count
        pending.append(
            Pending(operation: operation, waiter: waiter, origin: origin))
    }

    /// Whether `add` would merge it with one that waits, at no cost to the store.
    package func canMerge(_ operation: AdvanceCursor, hasWaiter: Bool) -> Bool {
        let key = Key(chat: operation.chat, user: operation.user, device: operation.device)
        guard !hasWaiter, let index = indices[key], pending[index].waiter == nil else {
            return false
        }
        return Self.merged(pending[index].operation, operation) != nil
    }

    package mutating func takeAll() -> [Pending] {
        indices.removeAll(keepingCapacity: pending.count < 1_024)
        let all = pending
        pending = []
        return all
    }

    private static func merged(_ old: AdvanceCursor, _ new: AdvanceCursor) -> AdvanceCursor? {
        var result = old
        guard let delivered = Self.higher(old.delivered, new.delivered),
            let read = Self.higher(old.read, new.read),
            old.read == nil || new.read == nil || old.isReadPrivate == new.isReadPrivate
        else { return nil }
        if new.read != nil { result.isReadPrivate = new.isReadPrivate }
        result.delivered = delivered.position
        result.read = read.position
        result.at = max(old.at, new.at)
        return result
    }

    private struct Merged { var position: LogPosition? }

    /// The higher of two seqs; nil where one is an id, which only the store can place.
    private static func higher(_ a: LogPosition?, _ b: LogPosition?) -> Merged? {
        switch (a, b) {
        case (nil, let only), (let only, nil):
            return Merged(position: only)
        case (.seq(let a), .seq(let b)):
            return Merged(position: .seq(max(a, b)))
        default:
            return nil
        }
    }
}
