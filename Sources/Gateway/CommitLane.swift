import Basics
import Domain
import StoreCore

/// Gathers the operations of all shards into batches, one in flight while the next one grows: there
/// is no timer, load makes batches.
///
/// Sans-I/O: the owner hands in what the shards submit, takes a batch, gives it to the store, and
/// hands the result back; the answers go to the shards' mailboxes. One value, one thread.
///
///     idle ── operations ──► in flight ── committed / not stored ──► answers ──► idle
///                               │  ▲
///                             unknown (again, attempt + 1; after 10 s the waiting are told)
///
/// A store may answer at once or much later: one that hangs is treated, after the same 10 s, as one
/// that does not know.
///
/// Within a chat operations apply in the order of arrival, because batches are taken from the front
/// of one queue and applied in order.
package struct CommitLane {
    package enum Health: Sendable, Equatable {
        case working
        /// The last batch was not stored.
        case failing(StoreFailure)
    }

    /// Rows of one batch: a chat of hundreds of members is one operation, and holds up no more than
    /// a full batch of messages does.
    static let batchRows = 1_024
    /// Bytes that the reads of one batch may bring back.
    static let batchAnswerBytes = 16_000_000
    /// Between two attempts to find out what became of a batch.
    static let retryMs = 100
    /// Between two questions whether a failing store works again.
    package static let probeMs = 1_000

    private let limits: Limits
    private var waiting: [LaneItem] = []
    private var waitingStart = 0
    private var waitingBytes = 0
    private var inFlight: [LaneItem] = []
    private var attempt = 0
    private var submittedAt = Instant.start
    private var isSubmitted = false
    private var isProbing = false
    private var probeAt: Instant?
    /// Not before then is an unresolved batch submitted again.
    package private(set) var retryAt: Instant?
    /// Those who wait for the batch in flight have been told that its fate is unknown.
    private var hasGivenUp = false
    package private(set) var health: Health = .working

    package init(limits: Limits) { self.limits = limits }

    package var queuedOperations: Int { waiting.count - waitingStart }
    /// A batch's fate is being found out. What is not yet submitted is refused meanwhile, because
    /// that is certain, and quicker than waiting behind it.
    package var isResolving: Bool {
        attempt > 1 || (attempt == 1 && !isSubmitted) || hasGivenUp
    }
    package var isIdle: Bool { inFlight.isEmpty && queuedOperations == 0 }

    /// Takes an operation in; false where the queue is full: it is then refused, and had no effect.
    package mutating func enqueue(_ item: LaneItem) -> Bool {
        let bytes = item.operation.approximateBytes
        guard !isResolving, queuedOperations < limits.laneOperations,
            waitingBytes + bytes <= limits.laneBytes
        else { return false }
        waiting.append(item)
        waitingBytes += bytes
        return true
    }

    /// The batch to submit now; nil while one is with the store, or where there is nothing to do.
    package mutating func nextBatch(now: Instant) -> Batch? {
        guard !isSubmitted, !isProbing else { return nil }
        if let retryAt, now < retryAt { return nil }
        retryAt = nil
        if inFlight.isEmpty {
            guard queuedOperations > 0 else { return nil }
            fill()
            attempt = 0
            submittedAt = now
            hasGivenUp = false
        }
        attempt += 1
        isSubmitted = true
        return Batch(operations: inFlight.map(\.operation), attempt: attempt)
    }

    private mutating func fill() {
        var bytes = 0
        var rows = 0
        var answers = 0
        var end = waitingStart
        while end < waiting.count, end - waitingStart < limits.batchOperations {
            let operation = waiting[end].operation
            let size = operation.approximateBytes
            if end > waitingStart,
                bytes + size > limits.batchBytes || rows + operation.rows > Self.batchRows
                    || answers + operation.largestAnswerBytes > Self.batchAnswerBytes
            {
                break
            }
            bytes += size
            rows += operation.rows
            answers += operation.largestAnswerBytes
            end += 1
        }
        inFlight = Array(waiting[waitingStart..<end])
        waitingBytes -= bytes
        waitingStart = end
        if waitingStart == waiting.count {
            // An operation is 352 bytes in here: what a burst took is given back.
            waiting.removeAll(keepingCapacity: waiting.capacity <= 256)
            waitingStart = 0
        } else if waitingStart > 4_096 {
            waiting.removeFirst(waitingStart)
            waitingStart = 0
        }
    }

    /// The store has answered. Returns what the shards are to be told, in the order of the batch.
    package mutating func complete(
        _ result: BatchResult, now: Instant
    ) -> [(shard: Int, answer: LaneAnswer)] {
        invariant(isSubmitted, "the store answered a batch that was not submitted")
        isSubmitted = false
        switch result {
        case .committed(let outcomes):
            invariant(
                outcomes.count == inFlight.count,
                "\(outcomes.count) outcomes for \(inFlight.count) operations")
            health = .working
            return answerAll { .outcome(outcomes[$0]) }
        case .notStored(let failure):
            failed(failure, now)
            return refuseWrites()
        case .unknown(let failure):
            failed(failure, now)
            retryAt = now.advanced(byMilliseconds: Self.retryMs)
            return refuseWaiting() + giveUpIfDue(now)
        }
    }

    // MARK: Time

    /// When `tick` is due, whatever else happens.
    package var deadline: Instant? {
        if isSubmitted { return hasGivenUp ? nil : giveUpAt }
        return retryAt ?? (mayProbe ? probeAt : nil)
    }

    private var giveUpAt: Instant { submittedAt.advanced(byMilliseconds: limits.unknownCommitMs) }

    /// Does what the time asks for. Returns what the shards are to be told.
    package mutating func tick(now: Instant) -> [(shard: Int, answer: LaneAnswer)] {
        guard isSubmitted, !hasGivenUp, giveUpAt <= now else { return [] }
        failed(
            StoreFailure(
                .unavailable,
                "the store has not answered for \(limits.unknownCommitMs) ms; see its own log"),
            now)
        return refuseWaiting() + giveUpIfDue(now)
    }

    /// Those who wait for the batch in flight are told that its fate is unknown. The batch stays:
    /// its entries may be in the log, and then the chats must hear of them.
    private mutating func giveUpIfDue(_ now: Instant) -> [(shard: Int, answer: LaneAnswer)] {
        guard !hasGivenUp, giveUpAt <= now else { return [] }
        hasGivenUp = true
        return inFlight.map { ($0.shard, LaneAnswer(ticket: $0.ticket, result: .unknown)) }
    }

    // MARK: Health

    /// Nothing is under way and the last batch failed: nobody else would find out that the store
    /// works again.
    private var mayProbe: Bool {
        guard case .failing = health else { return false }
        return isIdle && !isProbing
    }

    /// Whether to ask the store now, with nothing to store. While it is asked, no batch is given
    /// out; `probed` ends that.
    package mutating func beginsProbe(now: Instant) -> Bool {
        guard mayProbe, let at = probeAt, at <= now else { return false }
        probeAt = nil
        isProbing = true
        return true
    }

    /// The answer to a probe.
    package mutating func probed(_ failure: StoreFailure?, now: Instant) {
        invariant(isProbing, "the store answered a probe that was not made")
        isProbing = false
        if let failure { failed(failure, now) } else { health = .working }
    }

    private mutating func failed(_ failure: StoreFailure, _ now: Instant) {
        health = .failing(failure)
        probeAt = now.advanced(byMilliseconds: Self.probeMs)
    }

    private mutating func refuseWaiting() -> [(shard: Int, answer: LaneAnswer)] {
        let refused = waiting[waitingStart...].map {
            ($0.shard, LaneAnswer(ticket: $0.ticket, result: .notStored))
        }
        waiting.removeAll(keepingCapacity: false)
        waitingStart = 0
        waitingBytes = 0
        return refused
    }

    /// A store that cannot write may still read: reads that shared a batch with writes get a try of their
    /// own.
    private mutating func refuseWrites() -> [(shard: Int, answer: LaneAnswer)] {
        let reads = inFlight.filter { !$0.operation.isWrite }
        guard !reads.isEmpty, reads.count < inFlight.count else {
            return answerAll { _ in .notStored }
        }
        let refused = inFlight.filter { $0.operation.isWrite }.map {
            (shard: $0.shard, answer: LaneAnswer(ticket: $0.ticket, result: .notStored))
        }
        inFlight = reads
        attempt = 0
        return refused
    }

    private mutating func answerAll(
        _ result: (Int) -> LaneAnswer.Result
    ) -> [(shard: Int, answer: LaneAnswer)] {
        var answers: [(shard: Int, answer: LaneAnswer)] = []
        answers.reserveCapacity(inFlight.count)
        for (index, item) in inFlight.enumerated() {
            answers.append((item.shard, LaneAnswer(ticket: item.ticket, result: result(index))))
        }
        inFlight = []
        attempt = 0
        hasGivenUp = false
        return answers
    }
}
