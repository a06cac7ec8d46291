import Basics
import Glibc
import LoadCore
import Reactor

/// The course of a run, by the clock that all workers share: warm-up, window, drop and return,
/// cool-down, what is settled at the end.
extension Worker {
    /// After everything has come: a repeat would come now.
    private static let lingering: UInt64 = 200_000_000
    private static let checkEvery: UInt64 = 20_000_000

    /// When the course goes on by itself.
    func nextOfCourse() -> UInt64 {
        guard let startsAt else { return .max }
        if !isSending, !hasCeased { return startsAt }
        if !hasCeased {
            if !isWindow { return windowStart }
            let end = windowStart + windowLength
            guard !hasDropped, let at = scenario.reconnectAt else { return end }
            return min(end, windowStart + at)
        }
        return nextCheck
    }

    func advanceCourse() {
        guard let startsAt, now >= startsAt else { return }
        if !isSending, !hasCeased {
            isSending = true
            windowStart = startsAt + scenario.warmUp
            begin(startsAt)
        }
        if !isWindow, !hasCeased, now >= windowStart { beginWindow() }
        if isWindow, !hasDropped, let at = scenario.reconnectAt, now >= windowStart + at {
            hasDropped = true
            dropShare()
        }
        if isWindow, now >= windowStart + windowLength { cease() }
        if hasCeased, now >= nextCheck {
            nextCheck = now + Self.checkEvery
            finishWhenArrived()
        }
    }

    private func begin(_ time: UInt64) {
        guard scenario.traffic != .none, !senders.isEmpty else { return }
        if let rate = scenario.rate {
            let all = topology.senderCount(in: 0..<topology.connections)
            arrivals = Arrivals(
                rate: rate * Double(senders.count) / Double(max(1, all)),
                arrival: scenario.arrival, start: time,
                random: LoadRandom(seed: plan.seed &+ UInt64(plan.worker) &* 7_919))
        }
        sendFirst()
    }

    private func beginWindow() {
        isWindow = true
        report.cpu = Self.cpuSeconds()
        guard scenario.slow > 0 else { return }
        for index in 0..<count where unsafe table[index].isSlow && table[index].phase == .ready {
            setInterest(index)
        }
    }

    /// The window is over: nothing more is sent; the slow read again.
    private func cease() {
        isWindow = false
        isSending = false
        hasCeased = true
        arrivals = nil
        ceasedAt = now
        nextCheck = now
        report.cpu = Self.cpuSeconds() - report.cpu
        if scenario.slow > 0 {
            for index in 0..<count where unsafe table[index].isSlow && table[index].phase == .ready
            {
                setInterest(index)
            }
        }
        if !topology.isWhole(among: plan.workers) {
            report.lanes = ownLanes()
            report.excused = excused
        }
        tell(.ceased)
        report.lanes = []
        report.excused = []
    }

    /// User and system time of this process so far.
    static func cpuSeconds() -> Double {
        var usage = rusage()
        unsafe getrusage(RUSAGE_SELF.rawValue, &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    // MARK: Dropped, and back

    /// A share of the connections is gone at once, as when a network fails, and comes back.
    private func dropShare() {
        droppedAt = now
        for index in 0..<count
        where unsafe table[index].phase == .ready
            && Double(random.index(below: 1 << 20)) < scenario.reconnectShare * Double(1 << 20)
        {
            forgetWhatIsUnderWay(index)
            closeSocket(index, reset: true)
            unsafe table[index].phase = .away
            unsafe table[index].isReturning = true
            unsafe table[index].since = now
            report.dropped += 1
            report.connections -= 1
            let pause = random.index(below: max(1, Int(scenario.reconnectJitter)))
            schedule(.reopen, index, at: now + UInt64(pause))
        }
    }

    /// Where a server keeps nothing, what was under way to the dropped one is gone, and what it
    /// sent last may not have arrived.
    private func forgetWhatIsUnderWay(_ index: Int) {
        guard !dialect.resumes, senderCount > 0 else { return }
        let sender = unsafe Int(table[index].sender)
        if sender >= 0 {
            let lane = unsafe Int(table[index].laneBase) + Int(table[index].rank)
            let known = oracle.lastNumber(lane)
            let last = numbers[sender * channelCount]
            if last > known { for number in (known + 1)...last { excuse(index, 0, number) } }
        }
        for lane in lanes(of: index) { oracle.forget(lane) }
    }

    private func lanes(of index: Int) -> Range<Int> {
        let first = unsafe Int(table[index].laneBase)
        return first..<(first + channelCount * senderCount)
    }

    // MARK: The end

    /// What the senders of this worker have sent, or had acked where there are acks.
    private func ownLanes() -> [WorkerReport.Lane] {
        senders.indices.flatMap { sender in
            (0..<channelCount).map { channel in
                let connection = Int(senders[sender].connection)
                return unsafe WorkerReport.Lane(
                    channel: table[connection].firstChannel + UInt32(channel),
                    sender: UInt32(table[connection].rank),
                    number: mustHaveCome(sender, channel))
            }
        }
    }

    private func mustHaveCome(_ sender: Int, _ channel: Int) -> UInt32 {
        let place = sender * channelCount + channel
        return dialect.hasAcks ? acknowledged[place] : numbers[place]
    }

    /// By local block, channel and rank: the number up to which messages must have come.
    private func expected() -> [UInt32] {
        var expected = [UInt32](repeating: 0, count: blockCount * channelCount * senderCount)
        for (lane, number) in remote ?? [:] {
            let block = Int(lane.channel) / channelCount - firstBlock
            guard block >= 0, block < blockCount, lane.sender < senderCount else { continue }
            let channel = Int(lane.channel) % channelCount
            expected[(block * channelCount + channel) * senderCount + Int(lane.sender)] = number
        }
        for sender in senders.indices {
            let connection = Int(senders[sender].connection)
            for channel in 0..<channelCount {
                let block = unsafe Int(table[connection].block)
                let rank = unsafe Int(table[connection].rank)
                expected[(block * channelCount + channel) * senderCount + rank] =
                    mustHaveCome(sender, channel)
            }
        }
        return expected
    }

    /// Calls `body` with each lane that has to be whole, and its place in `expected`.
    private func forEachLane(_ body: (_ lane: Int, _ place: Int) -> Bool) -> Bool {
        guard scenario.traffic == .message else { return true }
        for index in 0..<count
        where unsafe table[index].phase == .ready && !table[index].isSlow {
            let block = unsafe Int(table[index].block)
            for channel in 0..<channelCount {
                for rank in 0..<senderCount {
                    if !dialect.hearsItself, unsafe table[index].sender >= 0,
                        unsafe rank == Int(table[index].rank)
                    {
                        continue
                    }
                    let place = (block * channelCount + channel) * senderCount + rank
                    let lane =
                        unsafe Int(table[index].laneBase) + channel * senderCount + rank
                    if !body(lane, place) { return false }
                }
            }
        }
        return true
    }

    private func finishWhenArrived() {
        let isOver = mustFinish || now >= ceasedAt + scenario.coolDown
        if !isOver {
            if remote == nil, !topology.isWhole(among: plan.workers) { return }
            if dialect.hasAcks, senders.contains(where: { !$0.unanswered.isEmpty }) { return }
            if scenario.reconnectAt != nil,
                pending > 0 || report.recovered + report.returnsFailed < report.dropped
            {
                return
            }
            let expected = expected()
            let isWhole = forEachLane { lane, place in
                oracle.isSettled(lane, upTo: expected[place])
            }
            guard isWhole else {
                arrivedAt = nil
                return
            }
            let arrived = arrivedAt ?? now
            arrivedAt = arrived
            guard now >= arrived + Self.lingering else { return }
        }
        finish()
    }

    private func finish() {
        if remote == nil, !topology.isWhole(among: plan.workers) {
            // Only where there is a lane.
            _ = forEachLane { _, _ in
                oracle.findings.isIncomplete = true
                return false
            }
        }
        let expected = expected()
        var excusedNumbers: [Int: Set<UInt32>] = [:]
        for lane in excused + remoteExcused {
            let block = Int(lane.channel) / channelCount - firstBlock
            guard block >= 0, block < blockCount, lane.sender < senderCount else { continue }
            let channel = Int(lane.channel) % channelCount
            let place = (block * channelCount + channel) * senderCount + Int(lane.sender)
            excusedNumbers[place, default: []].insert(lane.number)
        }
        _ = forEachLane { lane, place in
            let excused = excusedNumbers[place] ?? []
            oracle.excuse(lane, excused)
            oracle.close(lane, sent: expected[place], excused: excused)
            return true
        }
        for index in 0..<count where unsafe table[index].isSlow {
            for lane in lanes(of: index) { oracle.pardon(lane) }
        }
        let unanswered = senders.reduce(0) { $0 + $1.unanswered.count }
        if unanswered > 0 {
            report.errors["no answer to a message", default: 0] += unanswered
        }
        let away = report.dropped - report.recovered - report.returnsFailed
        if away > 0 { report.errors["not back by the end", default: 0] += away }
        tell(.final)
        isDone = true
    }

    // MARK: What the coordinator says

    /// `{"go":NS}`, `{"cease":NS}`, `{"finish":true}`, `{"lanes":[…],"excused":[…]}`. Its end is ours.
    func readControl() throws(WorkerError) {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let received = unsafe bytes.withUnsafeMutableBytes {
            unsafe read(0, $0.baseAddress, $0.count)
        }
        guard received > 0 else { exit(2) }
        control += bytes.prefix(received)
        while let end = control.firstIndex(of: UInt8(ascii: "\n")) {
            let line = Array(control[..<end])
            control.removeSubrange(...end)
            guard let tree = JSONTree(line) else {
                throw WorkerError("the coordinator said what is no JSON")
            }
            if let go = tree["go"].string.flatMap(UInt64.init) {
                startsAt = go
            } else if let end = tree["cease"].string.flatMap(UInt64.init) {
                windowLength = end - min(end, windowStart)
            } else if tree["finish"].bool {
                mustFinish = true
            } else if let told = WorkerReport(line: line) {
                remote = [:]
                for lane in told.lanes {
                    remote?[.init(channel: lane.channel, sender: lane.sender, number: 0)] =
                        lane.number
                }
                remoteExcused = told.excused
            }
        }
    }
}
