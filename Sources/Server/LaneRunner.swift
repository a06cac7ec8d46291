import Basics
import Domain
import Gateway
import Logging
import Reactor
import StoreCore
import Synchronization

/// The commit lane's thread, with the store that lives on it.
final class LaneRunner {
    private var lane: CommitLane
    private let store: any Store
    private let links: ShardLinks
    private let status: NodeStatus
    private let limits: Limits
    private let clock = SystemClock()
    private var poller: Poller
    private var events: [PollEvent] = []
    private var isStopping = false
    /// A store that cannot say whether it committed must not keep the process for ever.
    private var stopDeadline: Instant?
    private var isEpisode = false

    init(
        store: any Store, links: ShardLinks, status: NodeStatus, limits: Limits
    ) throws(SystemError) {
        lane = CommitLane(limits: limits)
        self.store = store
        self.links = links
        self.status = status
        self.limits = limits
        poller = try Poller()
        try poller.add(links.lane.descriptor, PollTag(bits: 1))
    }

    /// Runs until told to stop and everything that was submitted is answered.
    func run() throws(SystemError) {
        while !(isStopping && lane.isIdle) {
            if let deadline = stopDeadline, deadline <= clock.now().instant {
                links.log.error("stopping although the fate of a commit is unknown")
                return
            }
            events.removeAll(keepingCapacity: true)
            try poller.wait(timeoutMs: timeout, into: &events)
            takeMail()
            if lane.isIdle, case .failing = lane.health { probe() }
            while !links.isAnyShardOverfull, let batch = lane.nextBatch(now: clock.now().instant) {
                commit(batch)
                takeMail()
            }
            status.lane.queued.store(lane.queuedOperations, ordering: .relaxed)
        }
    }

    private var timeout: Int32? {
        if links.isAnyShardOverfull { return 1 }
        if let retryAt = lane.retryAt {
            let wait = retryAt.nanoseconds(since: clock.now().instant)
            return Int32(clamping: (wait + 999_999) / 1_000_000)
        }
        if case .failing = lane.health, lane.isIdle { return 1_000 }
        if isStopping { return 50 }
        return lane.isIdle ? nil : 0
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
                stopDeadline = clock.now().instant.advanced(byMilliseconds: 5_000)
            }
        }
        if bytes > 0 { links.lane.settled(bytes: bytes) }
        deliver(refused)
        status.set(
            overloaded: !refused.isEmpty || lane.queuedOperations > limits.laneOperations / 2)
    }

    private func commit(_ batch: Batch) {
        let began = clock.now().instant
        store.submit(batch) { result in
            let now = self.clock.now().instant
            self.count(batch, result, microseconds: Int(now.nanoseconds(since: began) / 1_000))
            self.deliver(self.lane.complete(result, now: now))
            self.reportHealth()
        }
    }

    /// Nothing is waiting and the last batch failed: finds out whether the store works again.
    private func probe() {
        store.probe { failure in
            self.lane.probed(failure)
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
            status.set(failure: failure)
            if !isEpisode {
                isEpisode = true
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
