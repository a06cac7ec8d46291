import Basics
import Domain
import Gateway
import Logging
import Reactor
import StoreCore
import Synchronization

/// The commit lane on a thread's loop, with the store that lives there too: SQLite has the thread to
/// itself, Postgres shares it with Redis.
final class LaneDriver: LoopParticipant {
    private var lane: CommitLane
    private let store: any Store
    private let links: ShardLinks
    private let status: NodeStatus
    private let limits: Limits
    private let loop: EventLoop
    private var isStopping = false
    /// A store that cannot say whether it committed must not keep the process for ever.
    private var stopDeadline: Instant?
    private var isEpisode = false

    init(
        store: any Store, loop: EventLoop, links: ShardLinks, status: NodeStatus, limits: Limits
    ) throws(SystemError) {
        lane = CommitLane(limits: limits)
        self.store = store
        self.loop = loop
        self.links = links
        self.status = status
        self.limits = limits
        // The mail is taken in the turn that follows.
        _ = try loop.register(links.lane.descriptor) { _ in }
    }

    /// Everything that was submitted is answered, and nothing more will come; or it has taken too
    /// long.
    var isDone: Bool {
        guard isStopping else { return false }
        if lane.isIdle { return true }
        guard let deadline = stopDeadline, deadline <= loop.now.instant else { return false }
        links.log.error("stopping although the fate of a commit is unknown")
        return true
    }

    var deadline: Instant? {
        if links.isAnyShardOverfull { return loop.now.instant.advanced(byMilliseconds: 1) }
        guard let due = lane.deadline else { return stopDeadline }
        return min(due, stopDeadline ?? due)
    }

    func turn(_ now: Now) {
        takeMail()
        deliver(lane.tick(now: now.instant))
        if lane.beginsProbe(now: now.instant) { probe() }
        // A store that answers at once leaves nothing in flight, and the next batch can go.
        while !links.isAnyShardOverfull, let batch = lane.nextBatch(now: loop.now.instant) {
            commit(batch)
            takeMail()
        }
        reportHealth()
        status.lane.queued.store(lane.queuedOperations, ordering: .relaxed)
    }

    private func takeMail() {
        var refused: [(shard: Int, answer: LaneAnswer)] = []
        var bytes = 0
        for mail in links.lane.takeAll() {
            switch mail {
            case .items(let items):
                for item in items {
                    bytes += item.operation.approximateBytes
                    if !lane.enqueue(item) {
                        refused.append(
                            (item.shard, LaneAnswer(ticket: item.ticket, result: .notStored)))
                    }
                }
            case .stop:
                isStopping = true
                stopDeadline = loop.now.instant.advanced(byMilliseconds: 5_000)
            }
        }
        if bytes > 0 { links.lane.settled(bytes: bytes) }
        deliver(refused)
        status.set(
            overloaded: !refused.isEmpty || lane.queuedOperations > limits.laneOperations / 2)
    }

    private func commit(_ batch: Batch) {
        let began = loop.now.instant
        store.submit(batch) { result in
            let now = self.loop.now.instant
            self.count(batch, result, microseconds: Int(now.nanoseconds(since: began) / 1_000))
            self.deliver(self.lane.complete(result, now: now))
            self.reportHealth()
        }
    }

    private func probe() {
        store.probe { failure in
            self.lane.probed(failure, now: self.loop.now.instant)
            self.reportHealth()
        }
    }

    private func count(_ batch: Batch, _ result: BatchResult, microseconds: Int) {
        guard case .committed = result else {
            status.lane.failures.wrappingAdd(1, ordering: .relaxed)
            return
        }
        status.lane.batches.wrappingAdd(1, ordering: .relaxed)
        status.lane.operations.wrappingAdd(batch.operations.count, ordering: .relaxed)
        status.lane.commitMicroseconds.wrappingAdd(microseconds, ordering: .relaxed)
    }

    /// One line an episode, not one a batch.
    private func reportHealth() {
        switch lane.health {
        case .working:
            if isEpisode {
                isEpisode = false
                status.set(failure: nil)
                links.log.notice("the store takes writes again")
            }
        case .failing(let failure):
            if !isEpisode {
                isEpisode = true
                status.set(failure: failure)
                links.log.error(
                    "the store cannot write; sends are refused until it can",
                    metadata: ["kind": "\(failure.kind.rawValue)", "error": "\(failure.text)"])
            }
        }
    }

    /// One mail a shard, in the order of the batch.
    private func deliver(_ answers: [(shard: Int, answer: LaneAnswer)]) {
        guard !answers.isEmpty else { return }
        var byShard = [[LaneAnswer]](repeating: [], count: links.mailboxes.count)
        for (shard, answer) in answers { byShard[shard].append(answer) }
        for (shard, answers) in byShard.enumerated() where !answers.isEmpty {
            links.post(.answers(answers), to: shard)
        }
    }
}
