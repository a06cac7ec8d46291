import Basics
import Domain

/// What the commit lane submits: operations in arrival order, to be applied as one transaction.
package struct Batch: Sendable {
    package var operations: [Operation]
    /// 1 for the first submission. Above 1 an earlier submission of the same operations may have
    /// been committed, so the store looks each write up by its id before it applies it.
    package var attempt: Int

    package init(operations: [Operation], attempt: Int = 1) {
        self.operations = operations
        self.attempt = attempt
    }
}

/// What became of a batch.
package enum BatchResult: Sendable {
    /// Durable. One outcome an operation, in the same order.
    case committed([Outcome])
    /// Certain: nothing of the batch was stored.
    case notStored(StoreFailure)
    /// The commit may or may not have happened. Submitting the same batch again, `attempt` raised,
    /// finds out.
    case unknown(StoreFailure)
}

/// Why a store cannot serve, for the log and /health. No text from a client is in it.
package struct StoreFailure: Error, Hashable, Sendable {
    package enum Kind: String, Sendable {
        case diskFull, inputOutput, busy, unavailable, corrupt
        /// Set-up: another process uses the data folder, it cannot be written, the schema is newer.
        case locked, unwritable, schema, durability
    }

    package var kind: Kind
    /// The call that failed and what to do about it, in one line.
    package var text: String

    package init(_ kind: Kind, _ text: String) {
        self.kind = kind
        self.text = text
    }
}

/// The durable store behind the commit lane.
///
/// Promises:
/// - a batch is atomic and durable when its completion says `.committed`: it survives kill -9 of
///   this process and
///   of the store's (P1);
/// - operations of one batch are applied in order; those of a chat take consecutive seqs without a
///   gap, and a
///   refused or duplicate one takes none (P3, P4);
/// - membership, seq and duplicates are decided inside the transaction;
/// - reads of a batch see its writes, and nothing that is not committed;
/// - the refusal of one operation leaves its neighbours alone.
///
/// The caller has at most one batch in flight. `completion` is called exactly once, on the thread
/// that the store lives on, perhaps before `submit` returns.
package protocol Store: AnyObject {
    func submit(_ batch: Batch, completion: @escaping (BatchResult) -> Void)

    /// Whether the store takes durable writes now, found out by making one that means nothing. nil
    /// is yes. Called only while no batch is in flight.
    func probe(completion: @escaping (StoreFailure?) -> Void)
}
