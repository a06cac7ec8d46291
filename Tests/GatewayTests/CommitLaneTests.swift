import Basics
import Domain
import Gateway
import StoreCore
import Testing

@Suite("CommitLane: batches, bounds, fates")
struct CommitLaneTests {
    private let failure = StoreFailure(.unavailable, "test")

    private func limits(_ overrides: [String: String] = [:]) -> Limits {
        var limits = Limits()
        for (name, text) in overrides {
            if let complaint = limits.set(name, to: text) { preconditionFailure(complaint) }
        }
        return limits
    }

    /// An operation that weighs 256 bytes, or more.
    private func item(_ ticket: UInt64, bytes: Int = 256, shard: Int = 0) -> LaneItem {
        LaneItem(
            shard: shard, ticket: ticket,
            operation: .append(
                AppendMessage(
                    id: MessageID(trusted: "m\(ticket)"), chat: ChatID(trusted: "c"),
                    author: UserID(trusted: "u"), device: DeviceID(trusted: "d"),
                    clientMessageID: nil, createdAt: WallTime(milliseconds: 0),
                    message: Message(
                        encryptedContent: Array(repeating: 65, count: bytes - 256), type: "text"))))
    }

    private func at(_ milliseconds: Int) -> Instant {
        Instant(nanoseconds: 1_000_000_000).advanced(byMilliseconds: milliseconds)
    }

    private func heads(_ count: Int) -> [Outcome] { (0..<count).map { .head(Seq($0)) } }

    private func ids(_ batch: Batch?) -> [String]? {
        batch?.operations.map { if case .append(let append) = $0 { append.id.text } else { "?" } }
    }

    @Test("An idle lane has nothing to submit; an operation makes a batch at once, without a timer")
    func idle() {
        var lane = CommitLane(limits: limits())
        #expect(lane.isIdle && lane.nextBatch(now: at(0)) == nil)
        #expect(lane.enqueue(item(1)) == true)
        #expect(!lane.isIdle && lane.queuedOperations == 1)
        let batch = lane.nextBatch(now: at(0))
        #expect(ids(batch) == ["m1"] && batch?.attempt == 1)
        #expect(lane.queuedOperations == 0 && !lane.isIdle)
    }

    @Test("One batch is in flight; what comes meanwhile is the next one, in order")
    func oneInFlight() {
        var lane = CommitLane(limits: limits())
        _ = lane.enqueue(item(1))
        _ = lane.nextBatch(now: at(0))
        for ticket in 2...5 { _ = lane.enqueue(item(UInt64(ticket))) }
        #expect(lane.nextBatch(now: at(1)) == nil)
        let answers = lane.complete(.committed(heads(1)), now: at(2))
        #expect(answers.map(\.answer.ticket) == [1])
        #expect(ids(lane.nextBatch(now: at(2))) == ["m2", "m3", "m4", "m5"])
    }

    @Test("Answers go to whoever asked, each its own, in the order of the batch")
    func answers() {
        var lane = CommitLane(limits: limits())
        for (ticket, shard) in [(7, 2), (8, 0), (9, 2)] {
            _ = lane.enqueue(item(UInt64(ticket), shard: shard))
        }
        _ = lane.nextBatch(now: at(0))
        let answers = lane.complete(.committed(heads(3)), now: at(0))
        #expect(answers.map(\.shard) == [2, 0, 2])
        #expect(answers.map(\.answer.ticket) == [7, 8, 9])
        for (index, answer) in answers.enumerated() {
            guard case .outcome(.head(let seq)) = answer.answer.result else {
                Issue.record("another outcome")
                continue
            }
            #expect(seq == Seq(index))
        }
        #expect(lane.isIdle)
    }

    @Test(
        "A batch has at most as many operations as the limit",
        arguments: [
            (2, [2]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1]),
        ])
    func countBound(count: Int, sizes: [Int]) {
        var lane = CommitLane(limits: limits(["batch": "3"]))
        for ticket in 0..<count { _ = lane.enqueue(item(UInt64(ticket))) }
        var seen: [Int] = []
        var order: [String] = []
        while let batch = lane.nextBatch(now: at(0)) {
            seen.append(batch.operations.count)
            order += ids(batch) ?? []
            _ = lane.complete(.committed(heads(batch.operations.count)), now: at(0))
        }
        #expect(seen == sizes)
        #expect(order == (0..<count).map { "m\($0)" })
    }

    @Test("A batch has at most as many bytes as the limit, but at least one operation")
    func byteBound() {
        var lane = CommitLane(limits: limits(["batchBytes": "100000"]))
        let sizes = [50_000, 50_000, 1_000, 99_001, 150_000, 256]
        for (ticket, bytes) in sizes.enumerated() {
            #expect(lane.enqueue(item(UInt64(ticket), bytes: bytes)) == true)
        }
        var seen: [[String]] = []
        while let batch = lane.nextBatch(now: at(0)) {
            seen.append(ids(batch) ?? [])
            _ = lane.complete(.committed(heads(batch.operations.count)), now: at(0))
        }
        #expect(seen == [["m0", "m1"], ["m2"], ["m3"], ["m4"], ["m5"]])
    }

    @Test("The queue takes as many operations as the limit, and again when a batch has left it")
    func queueCount() {
        var lane = CommitLane(limits: limits(["lane": "64", "batch": "10"]))
        for ticket in 0..<64 { #expect(lane.enqueue(item(UInt64(ticket))) == true) }
        #expect(lane.enqueue(item(64)) == false)
        #expect(lane.queuedOperations == 64)
        _ = lane.nextBatch(now: at(0))
        for ticket in 0..<10 { #expect(lane.enqueue(item(UInt64(100 + ticket))) == true) }
        #expect(lane.enqueue(item(110)) == false)
    }

    @Test("The queue takes as many bytes as the limit, to the byte")
    func queueBytes() {
        var lane = CommitLane(limits: limits(["laneBytes": "1000000"]))
        #expect(lane.enqueue(item(1, bytes: 999_744)) == true)
        #expect(lane.enqueue(item(2, bytes: 257)) == false)
        #expect(lane.enqueue(item(3, bytes: 256)) == true)
        #expect(lane.enqueue(item(4)) == false)
        _ = lane.nextBatch(now: at(0))
        #expect(lane.enqueue(item(5, bytes: 1_000_000)) == true)
    }

    @Test("A batch that was not stored is refused as a whole, and the lane goes on")
    func notStored() {
        var lane = CommitLane(limits: limits())
        for ticket in 1...2 { _ = lane.enqueue(item(UInt64(ticket))) }
        _ = lane.nextBatch(now: at(0))
        _ = lane.enqueue(item(3))
        let answers = lane.complete(.notStored(failure), now: at(0))
        #expect(answers.map(\.answer.ticket) == [1, 2])
        #expect(
            answers.allSatisfy { if case .notStored = $0.answer.result { true } else { false } })
        #expect(lane.health == .failing(failure) && !lane.isResolving)
        let next = lane.nextBatch(now: at(0))
        #expect(ids(next) == ["m3"] && next?.attempt == 1)
        _ = lane.complete(.committed(heads(1)), now: at(0))
        #expect(lane.health == .working)
    }

    @Test("An unknown fate: the same batch again, its attempt raised, until it is known")
    func resubmission() {
        var lane = CommitLane(limits: limits())
        for ticket in 1...2 { _ = lane.enqueue(item(UInt64(ticket))) }
        _ = lane.nextBatch(now: at(0))
        let first = lane.complete(.unknown(failure), now: at(0))
        #expect(first.isEmpty && lane.isResolving && !lane.isIdle)
        for attempt in 2...4 {
            let batch = lane.nextBatch(now: at(attempt * 100))
            #expect(ids(batch) == ["m1", "m2"] && batch?.attempt == attempt)
            #expect(lane.isResolving)
            let answers = lane.complete(.unknown(failure), now: at(attempt * 100))
            #expect(answers.isEmpty)
        }
        _ = lane.nextBatch(now: at(500))
        let answers = lane.complete(.committed(heads(2)), now: at(500))
        #expect(answers.map(\.answer.ticket) == [1, 2])
        #expect(!lane.isResolving && lane.isIdle && lane.health == .working)
    }

    @Test("While a fate is unknown everything else is refused: what waits, and what comes")
    func refusedMeanwhile() {
        var lane = CommitLane(limits: limits())
        _ = lane.enqueue(item(1))
        _ = lane.nextBatch(now: at(0))
        for ticket in 2...3 { _ = lane.enqueue(item(UInt64(ticket))) }
        let refused = lane.complete(.unknown(failure), now: at(0))
        #expect(refused.map(\.answer.ticket) == [2, 3])
        #expect(
            refused.allSatisfy { if case .notStored = $0.answer.result { true } else { false } })
        #expect(lane.enqueue(item(4)) == false)
        _ = lane.nextBatch(now: at(100))
        #expect(lane.enqueue(item(5)) == false)
        _ = lane.complete(.committed(heads(1)), now: at(100))
        #expect(lane.enqueue(item(6)) == true)
        #expect(ids(lane.nextBatch(now: at(100))) == ["m6"])
    }

    @Test("Between two attempts there is a pause of 100 ms")
    func pause() {
        var lane = CommitLane(limits: limits())
        #expect(lane.retryAt == nil)
        _ = lane.enqueue(item(1))
        _ = lane.nextBatch(now: at(0))
        _ = lane.complete(.unknown(failure), now: at(50))
        #expect(lane.retryAt == at(150))
        let early = lane.nextBatch(now: at(149))
        let due = lane.nextBatch(now: at(150))
        #expect(early == nil && due?.attempt == 2)
        _ = lane.complete(.committed(heads(1)), now: at(150))
        _ = lane.enqueue(item(2))
        #expect(lane.retryAt == nil && lane.nextBatch(now: at(150)) != nil)
    }

    @Test("Whoever waits is told after 10 s, once, and the batch is still found out about")
    func givingUp() {
        var lane = CommitLane(limits: limits())
        _ = lane.enqueue(item(1))
        _ = lane.nextBatch(now: at(0))
        let early = lane.complete(.unknown(failure), now: at(9_899))
        _ = lane.nextBatch(now: at(9_999))
        let last = lane.complete(.unknown(failure), now: at(9_999))
        _ = lane.nextBatch(now: at(10_099))
        let told = lane.complete(.unknown(failure), now: at(10_099))
        #expect(early.isEmpty && last.isEmpty)
        #expect(told.map(\.answer.ticket) == [1])
        #expect(told.allSatisfy { if case .unknown = $0.answer.result { true } else { false } })
        _ = lane.nextBatch(now: at(20_100))
        let again = lane.complete(.unknown(failure), now: at(30_000))
        #expect(again.isEmpty, "told only once")
        _ = lane.nextBatch(now: at(30_100))
        let answers = lane.complete(.committed(heads(1)), now: at(30_100))
        #expect(answers.map(\.answer.ticket) == [1])
        // The next batch has its own ten seconds.
        _ = lane.enqueue(item(2))
        _ = lane.nextBatch(now: at(30_200))
        let next = lane.complete(.unknown(failure), now: at(30_300))
        #expect(next.isEmpty)
    }

    @Test("Reads that shared a batch with refused writes get a try of their own")
    func readsAlone() {
        var lane = CommitLane(limits: limits())
        let head = Operation.head(ChatID(trusted: "c"))
        _ = lane.enqueue(LaneItem(shard: 0, ticket: 1, operation: head))
        _ = lane.enqueue(item(2))
        _ = lane.enqueue(LaneItem(shard: 1, ticket: 3, operation: head))
        _ = lane.nextBatch(now: at(0))
        let refused = lane.complete(.notStored(failure), now: at(0))
        #expect(refused.map(\.answer.ticket) == [2])
        #expect(lane.enqueue(item(4)) == true, "nothing is unknown")
        let batch = lane.nextBatch(now: at(0))
        #expect(batch?.operations.count == 2 && batch?.attempt == 1)
        let answers = lane.complete(.committed(heads(2)), now: at(0))
        #expect(answers.map(\.answer.ticket) == [1, 3])
        #expect(ids(lane.nextBatch(now: at(0))) == ["m4"])
        let last = lane.complete(.notStored(failure), now: at(0))
        #expect(last.count == 1 && lane.isIdle)
    }

    @Test("Reads alone that fail are refused, not tried for ever")
    func readsRefused() {
        var lane = CommitLane(limits: limits())
        _ = lane.enqueue(
            LaneItem(shard: 0, ticket: 1, operation: .head(ChatID(trusted: "c"))))
        _ = lane.nextBatch(now: at(0))
        let refused = lane.complete(.notStored(failure), now: at(0))
        #expect(refused.map(\.answer.ticket) == [1] && lane.isIdle)
    }

    @Test("A resubmission that was certainly not stored is refused like any other")
    func resubmissionNotStored() {
        var lane = CommitLane(limits: limits())
        _ = lane.enqueue(item(1))
        _ = lane.nextBatch(now: at(0))
        _ = lane.complete(.unknown(failure), now: at(0))
        _ = lane.nextBatch(now: at(100))
        let answers = lane.complete(.notStored(failure), now: at(100))
        #expect(answers.count == 1 && !lane.isResolving && lane.isIdle)
    }

    @Test("A probe says whether the store works, with nothing to store")
    func probe() {
        let interval = CommitLane.probeMs
        var lane = CommitLane(limits: limits())
        func probes(_ time: Int) -> Bool { lane.beginsProbe(now: at(time)) }
        func fails(_ ticket: UInt64, _ time: Int) {
            _ = lane.enqueue(item(ticket))
            _ = lane.nextBatch(now: at(time))
            _ = lane.complete(.notStored(failure), now: at(time))
        }
        #expect(!probes(0), "nothing has failed")
        fails(1, 0)
        #expect(lane.deadline == at(interval))
        #expect(!probes(interval - 1))
        #expect(probes(interval))
        _ = lane.enqueue(item(2))
        let during = lane.nextBatch(now: at(1_500))
        #expect(during == nil, "a probe is under way")
        lane.probed(failure, now: at(1_500))
        #expect(lane.health == .failing(failure))
        let after = lane.nextBatch(now: at(1_500))
        #expect(after != nil)
        _ = lane.complete(.notStored(failure), now: at(1_600))
        #expect(probes(1_600 + interval))
        lane.probed(nil, now: at(3_000))
        #expect(lane.health == .working && lane.deadline == nil)
    }

    @Test("A store that never answers: after 10 s the waiting are told that nobody knows")
    func hung() {
        var lane = CommitLane(limits: limits())
        _ = lane.enqueue(item(1))
        _ = lane.nextBatch(now: at(0))
        _ = lane.enqueue(item(2))
        #expect(lane.deadline == at(10_000))
        let early = lane.tick(now: at(9_999))
        #expect(early.isEmpty)
        let told = lane.tick(now: at(10_000))
        #expect(told.map(\.answer.ticket) == [2, 1], "what was not submitted is refused")
        guard told.count == 2, case .notStored = told[0].answer.result,
            case .unknown = told[1].answer.result
        else {
            Issue.record("\(told)")
            return
        }
        let again = lane.tick(now: at(10_001))
        #expect(again.isEmpty, "told once")
        let refused = !lane.enqueue(item(3))
        #expect(refused, "certain, and quicker than to wait behind it")
        // It answers after all: the chats must hear of it.
        let answers = lane.complete(.committed([.head(1)]), now: at(20_000))
        #expect(answers.map(\.answer.ticket) == [1])
        let taken = lane.enqueue(item(4))
        #expect(lane.health == .working && taken)
    }

    @Test(
        "Many operations through small batches: each answered once, in order (property)",
        arguments: 1...20)
    func property(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed))
        var lane = CommitLane(limits: limits(["batch": "7", "lane": "64"]))
        var ticket: UInt64 = 0
        var expected: [UInt64] = []
        var answered: [UInt64] = []
        var submitted: [String] = []
        var time = 0
        var inFlight: Batch?
        for _ in 0..<400 {
            time += numbers.below(50)
            switch numbers.below(3) {
            case 0:
                for _ in 0..<numbers.below(20) {
                    ticket += 1
                    if lane.enqueue(item(ticket)) { expected.append(ticket) }
                }
            default:
                if let batch = inFlight {
                    inFlight = nil
                    let result: BatchResult =
                        switch numbers.below(6) {
                        case 0: .unknown(failure)
                        case 1: .notStored(failure)
                        default: .committed(heads(batch.operations.count))
                        }
                    answered += lane.complete(result, now: at(time)).map(\.answer.ticket)
                }
                inFlight = lane.nextBatch(now: at(time))
                if let inFlight, inFlight.attempt == 1 { submitted += ids(inFlight) ?? [] }
            }
        }
        time += 100
        while let batch = inFlight ?? lane.nextBatch(now: at(time)) {
            if inFlight == nil, batch.attempt == 1 { submitted += ids(batch) ?? [] }
            inFlight = nil
            answered += lane.complete(
                .committed(heads(batch.operations.count)), now: at(time)
            ).map(\.answer.ticket)
        }
        #expect(answered.sorted() == expected)
        let order = submitted.compactMap { UInt64($0.dropFirst()) }
        #expect(order == order.sorted())
        #expect(lane.isIdle)
    }
}
