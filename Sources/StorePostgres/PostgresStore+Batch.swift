import Basics
import Domain
import StoreCore

/// A batch on its way.
final class BatchRun {
    let batch: Batch
    let startedAt: Instant
    private let completion: (BatchResult) -> Void
    /// The places of reads in the batch.
    let readPlaces: [Int]
    var reads: ReadFlights
    /// nil where a read is still to be answered.
    var outcomes: [Outcome?]
    var retries = 0
    /// An id was taken: all are looked up.
    var looksUpAllIDs: Bool

    init(_ batch: Batch, startedAt: Instant, completion: @escaping (BatchResult) -> Void) {
        self.batch = batch
        self.startedAt = startedAt
        self.completion = completion
        readPlaces = batch.operations.indices.filter { !batch.operations[$0].isWrite }
        reads = ReadFlights(readPlaces.map { batch.operations[$0] })
        outcomes = Array(repeating: nil, count: batch.operations.count)
        looksUpAllIDs = batch.attempt > 1
    }

    var hasWrites: Bool { readPlaces.count < batch.operations.count }

    func succeed() {
        invariant(!outcomes.contains { $0 == nil }, "an operation without an outcome")
        completion(.committed(outcomes.compactMap(\.self)))
    }

    /// Nothing of *this* submission was stored. Of an earlier one that is not known.
    func fail(_ failure: StoreFailure) {
        let isInDoubt = batch.attempt > 1 && hasWrites
        completion(isInDoubt ? .unknown(failure) : .notStored(failure))
    }

    /// Its writes may have been stored, or were, and reads are missing.
    func leaveInDoubt(_ failure: StoreFailure) {
        completion(hasWrites ? .unknown(failure) : .notStored(failure))
    }
}

extension PostgresStore {
    func start(_ run: BatchRun, on link: Link) {
        if run.hasWrites {
            lockAndLoad(run, link)
        } else {
            read(run, link)
        }
    }

    // MARK: First flight

    private func lockAndLoad(_ run: BatchRun, _ link: Link) {
        let needs = Needs(run.batch, looksUpAllIDs: run.looksUpAllIDs)
        let requests = needs.requests()
        // Plans that were made while the tables were small are made anew as they grow: without
        // statistics the wrong index looks as good. Later autovacuum sees to it.
        let isReplanning = plansAge.isDue
        let parts = isReplanning ? [Requests(.replan), requests] : [requests]
        fly(link, .parts(parts)) { [unowned self] landed in
            switch landed {
            case .lost(_, let failure): run.fail(failure)
            case .replies(let all):
                let replies = isReplanning ? Array(all.dropFirst()) : all
                if let error = Self.error(in: replies) {
                    rollBack(run, link, error)
                } else {
                    var planner = Planner(needs.state(requests, rows(replies)), run.batch)
                    run.outcomes = planner.decide(run.batch)
                    plansAge.add(planner.newEntries.count)
                    writeAndCommit(run, planner.requests(announces: announcesWrites), link)
                }
            }
        }
    }

    private func rows(_ replies: some Sequence<Link.Reply>) -> [Rows] {
        replies.compactMap { if case .done(let rows, _) = $0 { rows } else { nil } }
    }

    /// The session goes on after an ERROR, once its transaction is ended.
    private func rollBack(_ run: BatchRun, _ link: Link, _ error: PostgresError) {
        fly(link, .parts([Requests(.rollback)])) { [unowned self] landed in
            switch landed {
            case .lost: run.fail(error.failure)
            case .replies: retryOrFail(run, link, error)
            }
        }
    }

    private func retryOrFail(_ run: BatchRun, _ link: Link, _ error: PostgresError) {
        let isTaken = error.state == PostgresError.uniqueViolation && !run.looksUpAllIDs
        run.retries += 1
        guard error.isWorthRetrying || isTaken, run.retries <= settings.batchRetries,
            now.milliseconds(since: run.startedAt) < settings.batchRetryMs
        else {
            run.fail(error.failure)
            return
        }
        if isTaken { run.looksUpAllIDs = true }
        lockAndLoad(run, link)
    }

    // MARK: Second flight

    private func writeAndCommit(_ run: BatchRun, _ writes: Requests, _ link: Link) {
        faults.onCommit?()
        let reads = run.reads.requests()
        let commit = writes.list.count
        var writes = writes
        writes.add(.commit)
        fly(link, .parts([writes, reads])) { [unowned self] landed in
            switch landed {
            case .lost(let replies, let failure):
                let isDone = replies.count > commit && isCommitted(replies[commit])
                if isDone, run.readPlaces.isEmpty {
                    run.succeed()
                } else {
                    run.leaveInDoubt(failure)
                }
            case .replies(let replies):
                guard isCommitted(replies[commit]) else {
                    let error =
                        Self.error(in: replies[...commit])
                        ?? PostgresError(state: "25P02", call: "commit")
                    rollBack(run, link, error)
                    return
                }
                take(Array(replies[(commit + 1)...]), of: reads, run, link)
            }
        }
        if faults.onCommitSent?() == true { drop(link, "dropped by a test") }
    }

    /// COMMIT of a transaction that failed is answered "ROLLBACK".
    private func isCommitted(_ reply: Link.Reply) -> Bool {
        if case .done(_, let tag) = reply { tag == "COMMIT" } else { false }
    }

    // MARK: Reads

    private func read(_ run: BatchRun, _ link: Link) {
        let requests = run.reads.requests()
        guard !requests.list.isEmpty else {
            take([], of: requests, run, link)
            return
        }
        fly(link, .parts([requests])) { [unowned self] landed in
            switch landed {
            case .lost(_, let failure): run.leaveInDoubt(failure)
            case .replies(let replies): take(replies, of: requests, run, link)
            }
        }
    }

    private func take(
        _ replies: [Link.Reply], of requests: Requests, _ run: BatchRun, _ link: Link
    ) {
        if let error = Self.error(in: replies) { return run.leaveInDoubt(error.failure) }
        run.reads.take(requests, rows(replies))
        let entries = run.reads.entryRequests()
        guard !entries.list.isEmpty else { return finish(run, []) }
        fly(link, .parts([entries])) { [unowned self] landed in
            switch landed {
            case .lost(_, let failure): run.leaveInDoubt(failure)
            case .replies(let replies):
                if let error = Self.error(in: replies) {
                    run.leaveInDoubt(error.failure)
                } else {
                    finish(run, rows(replies))
                }
            }
        }
    }

    private func finish(_ run: BatchRun, _ entries: [Rows]) {
        for (place, outcome) in zip(run.readPlaces, run.reads.outcomes(entries)) {
            run.outcomes[place] = outcome
        }
        run.succeed()
    }
}

/// When plans are to be made anew: after 1,000 entries on a connection, 4,000, … a million.
struct PlansAge {
    private var entries = 0
    private var next = 1_000

    mutating func add(_ count: Int) { entries += count }

    /// True once at each of the marks.
    var isDue: Bool {
        mutating get {
            guard entries >= next, next < 1_000_000 else { return false }
            while next <= entries { next *= 4 }
            return true
        }
    }
}

extension PostgresStore {
    /// What a flight carries.
    enum Cargo {
        /// Each part ends at a synchronisation point: an error in it does not reach the next. Empty
        /// ones are left out.
        case parts([Requests])
        case setup(SessionSetup)

        /// False where the connection is gone.
        func send(on link: Link) -> Bool {
            switch self {
            case .setup(let setup): return link.enterPipeline() && setup.send(on: link)
            case .parts(let parts):
                for part in parts where !part.list.isEmpty {
                    for request in part.list {
                        guard link.send(request.statement, request.parameters) else { return false }
                    }
                    guard link.sync() else { return false }
                }
                return true
            }
        }
    }
}
