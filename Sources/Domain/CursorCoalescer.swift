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
        package var waiters: [Waiter]
        /// The connection that moved the cursor last: the one the receipt is not sent to.
        package var origin: UInt64
    }

    private var indices: [Key: Int] = [:]
    private var pending: [Pending] = []

    package init() {}

    package var isEmpty: Bool { pending.isEmpty }

    /// Takes a movement in. What cannot be merged with a waiting one by arithmetic (a position given
    /// by entry id, or a change of privacy) is kept beside it, in order.
    package mutating func add(_ operation: AdvanceCursor, waiter: Waiter?, origin: UInt64) {
        let key = Key(chat: operation.chat, user: operation.user, device: operation.device)
        // One that wants an answer stays alone unless it is merged losslessly: its refusal is its own.
        if waiter == nil, let index = indices[key], pending[index].waiters.isEmpty,
            merge(operation, into: &pending[index].operation)
        {
            pending[index].origin = origin
            return
        }
        indices[key] = pending.count
        pending.append(
            Pending(operation: operation, waiters: waiter.map { [$0] } ?? [], origin: origin))
    }

    package mutating func takeAll() -> [Pending] {
        indices.removeAll(keepingCapacity: pending.count < 1_024)
        let all = pending
        pending = []
        return all
    }

    private func merge(_ new: AdvanceCursor, into old: inout AdvanceCursor) -> Bool {
        guard let delivered = Self.higher(old.delivered, new.delivered),
            let read = Self.higher(old.read, new.read),
            old.read == nil || new.read == nil || old.isReadPrivate == new.isReadPrivate
        else { return false }
        if new.read != nil { old.isReadPrivate = new.isReadPrivate }
        old.delivered = delivered.position
        old.read = read.position
        old.at = max(old.at, new.at)
        return true
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
