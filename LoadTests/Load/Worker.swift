import Basics
import Client
import Glibc
import Identity
import LoadCore
import Reactor
import WebSocket
import Wire

/// One process's share of a load: up to 19,000 connections on one thread and one epoll set.
///
///     plan ─► open all ─► report(opened) ─► go(T0) ─► warm-up ─► window ─► cease ─► cool-down ─► report(final)
///
/// A tick is: wait → read and judge what came → timers → what is due to be sent → one write a
/// connection that has something. All connections read into one buffer; only the start of an
/// unfinished frame is kept with its connection. A delivery allocates nothing.
@safe final class Worker {
    static let mostConnections = 19_000
    private static let readBytes = 256 << 10
    static let controlTag = PollTag(bits: .max)

    let plan: WorkerPlan
    let scenario: Scenario
    let topology: Topology
    let dialect: LoadDialect
    let names: ProductFrame.Names
    /// A packet of Socket.IO as the plain face has it, while it is read.
    var packetScratch: [UInt8] = []
    /// The connections of the whole run that are this worker's.
    let range: Range<Int>
    let count: Int
    let firstBlock: Int
    let blockCount: Int
    /// Channels of a block, senders of a channel.
    let channelCount: Int
    let senderCount: Int
    let minter: TokenMinter?
    let table: UnsafeMutablePointer<Connection>
    /// Connections and outlets.
    let total: Int

    var poller: Poller
    var events: [PollEvent] = []
    var buffer: UnsafeMutablePointer<UInt8>
    var bufferCount = readBytes
    let scratch: UnsafeMutablePointer<UInt8>
    var json = JSONReader(maximumNodes: 1 << 20)
    var contentHint = 0
    var random: LoadRandom
    var timers: TimerWheel
    var fired: [TimerWheel.Token] = []
    /// Nanoseconds, read after each read and each wait.
    var now: UInt64
    var dirty: [Int32] = []
    var control: [UInt8] = []

    // Opening
    var endpoints: [Endpoint] = []
    var sources: [SocketAddress] = []
    var nextToOpen = 0
    var openingStarted: UInt64
    var openingCPU = 0.0
    var pending = 0
    var settled = 0
    var lastSettled: UInt64
    var hasOpened = false

    // Sending
    var senders: [Sender] = []
    /// Indices of senders: by block and rank, -1 where that one is elsewhere or sends nothing.
    var senderOf: [Int32] = []
    /// The last number of each sender in each of its channels, and the last one acked.
    var numbers: [UInt32] = []
    var acknowledged: [UInt32] = []
    var flights: [Flight] = []
    /// Receivers of each block that a closed loop waits for.
    var listeners: [Int32] = []
    var arrivals: Arrivals?
    var typists: [Int32] = []
    var typingCursor = 0
    var typingDebt = 0.0
    var readDebt = 0.0
    var excused: [WorkerReport.Lane] = []
    var keyState: UInt64

    // Receiving
    var oracle: Oracle
    /// The highest seq of each receiver in each of its channels.
    var cursors: [UInt64] = []
    /// Numbers that senders of other workers have reached, and excuses, once they are told.
    var remote: [WorkerReport.Lane: UInt32]?
    var remoteExcused: [WorkerReport.Lane] = []

    // The course
    var startsAt: UInt64?
    var windowStart = UInt64.max
    var windowLength: UInt64
    var isSending = false
    var isWindow = false
    var hasCeased = false
    /// What is still under way is not waited for.
    var mustFinish = false
    var hasDropped = false
    var ceasedAt: UInt64 = 0
    var arrivedAt: UInt64?
    var nextCheck: UInt64 = 0
    var nextProgress: UInt64
    var droppedAt: UInt64 = 0
    var isDone = false
    var report = WorkerReport(.progress)

    init(plan: WorkerPlan) throws(WorkerError) {
        do throws(ScenarioError) {
            scenario = try Scenario(text: plan.settings.joined(separator: "\n"))
        } catch {
            throw WorkerError("\(error)")
        }
        self.plan = plan
        dialect = plan.dialect
        names = ProductFrame.Names(plan.dialect == .plain ? .ws : .v1)
        topology = Topology(scenario)
        range = topology.connections(of: plan.worker, among: plan.workers)
        count = range.count
        firstBlock = range.isEmpty ? 0 : topology.block(of: range.lowerBound)
        blockCount = range.isEmpty ? 0 : topology.block(of: range.upperBound - 1) - firstBlock + 1
        channelCount = topology.channelsPerBlock
        senderCount = topology.sendersPerBlock
        windowLength = scenario.duration
        random = LoadRandom(seed: plan.seed &+ UInt64(plan.worker) &* 0x1000_0001)
        keyState = random.next() | 1
        do throws(SystemError) { try System.pin(toCore: plan.core) } catch {
            throw WorkerError("--cores: core \(plan.core ?? 0) cannot be had: \(error)")
        }
        do throws(SystemError) {
            poller = try Poller()
            try poller.add(0, Self.controlTag)
        } catch {
            throw WorkerError("\(error)")
        }
        now = MonotonicClock.now().nanoseconds
        timers = TimerWheel(now: Instant(nanoseconds: now))
        openingStarted = now
        lastSettled = now
        nextProgress = now + 1_000_000_000
        unsafe buffer = .allocate(capacity: Self.readBytes)
        unsafe scratch = .allocate(capacity: scenario.size + 2_048)
        let lanes = range.count * senderCount * channelCount
        oracle = Oracle(lanes: lanes)
        do throws(SecretError) {
            minter = try plan.secret.map { text throws(SecretError) in
                TokenMinter(secret: try Secret(text))
            }
        } catch {
            throw WorkerError("\(error)")
        }
        let outlets = dialect.hasOutlets ? range.count(where: topology.isSender) : 0
        total = count + outlets
        unsafe table = .allocate(capacity: max(1, total))
        unsafe table.initialize(repeating: Connection(), count: max(1, total))
        cursors = dialect.isProduct ? [UInt64](repeating: 0, count: count * channelCount) : []
        try checkDescriptors()
        populate()
        try resolve()
    }

    private func checkDescriptors() throws(WorkerError) {
        guard total <= Self.mostConnections else {
            throw WorkerError(
                "\(total) connections are more than \(Self.mostConnections), the most of one "
                    + "worker; use --workers")
        }
        let limit = System.prepareFiles(total + 64)
        guard limit >= total + 16 else {
            throw WorkerError(
                "\(total) connections need \(total + 16) open files, and the hard limit is \(limit);"
                    + " raise it (ulimit -Hn) or use more workers")
        }
    }

    private func populate() {
        senderOf = [Int32](repeating: -1, count: blockCount * max(1, senderCount))
        listeners = [Int32](repeating: 0, count: blockCount)
        var outlet = count
        for index in 0..<count {
            let global = range.lowerBound + index
            let block = topology.block(of: global) - firstBlock
            unsafe table[index].block = Int32(block)
            unsafe table[index].rank = Int32(topology.rank(of: global))
            unsafe table[index].isSlow = topology.isSlow(global)
            unsafe table[index].firstChannel = UInt32(topology.channel(firstBlock + block, 0))
            unsafe table[index].laneBase = Int32(index * channelCount * senderCount)
            if unsafe !table[index].isSlow { listeners[block] += 1 }
            guard senderCount > 0, topology.isSender(global) else { continue }
            var sender = Sender(connection: Int32(index), outlet: Int32(index))
            if dialect.hasOutlets {
                unsafe table[outlet] = table[index]
                unsafe table[outlet].isOutlet = true
                sender.outlet = Int32(outlet)
                outlet += 1
            }
            unsafe table[index].sender = Int32(senders.count)
            senderOf[block * senderCount + topology.rank(of: global)] = Int32(senders.count)
            senders.append(sender)
        }
        numbers = [UInt32](repeating: 0, count: senders.count * channelCount)
        acknowledged = numbers
        if let inFlight = scenario.inFlight {
            flights = [Flight](
                repeating: Flight(), count: senders.count * channelCount * inFlight)
        }
    }

    // MARK: The loop

    func run() throws(WorkerError) {
        while !isDone {
            do throws(SystemError) {
                events.removeAll(keepingCapacity: true)
                try poller.wait(nanoseconds: timeout(), into: &events)
            } catch {
                throw WorkerError("\(error)")
            }
            now = MonotonicClock.now().nanoseconds
            for event in events {
                if event.tag == Self.controlTag { try readControl() } else { handle(event) }
            }
            fireTimers()
            openMore()
            advanceCourse()
            if isSending { sendDue() }
            flushDirty()
            if now >= nextProgress { tellProgress() }
        }
    }

    private func timeout() -> UInt64 {
        var due = nextProgress
        if let timer = timers.nextDeadline() { due = min(due, timer.nanoseconds) }
        due = min(due, nextOpening(), nextOfCourse())
        if isSending, let arrivals { due = min(due, arrivals.next) }
        let now = MonotonicClock.now().nanoseconds
        return due > now ? due - now : 0
    }

    private func handle(_ event: PollEvent) {
        let index = Int(UInt32(truncatingIfNeeded: event.tag.bits))
        let generation = UInt32(truncatingIfNeeded: event.tag.bits >> 32)
        guard index < total, unsafe table[index].generation == generation,
            unsafe table[index].fd >= 0
        else { return }
        if unsafe table[index].phase == .connecting {
            connected(index)
            return
        }
        if event.isWritable { flush(index) }
        if event.isReadable || event.isOver, unsafe table[index].generation == generation {
            readable(index)
        }
    }

    // MARK: Timers

    enum Timer: UInt8 {
        case reopen = 1
        case think
    }

    func schedule(_ timer: Timer, _ value: Int, at time: UInt64) {
        timers.schedule(
            TimerWheel.Token(kind: timer.rawValue, value: UInt64(value)),
            at: Instant(nanoseconds: time))
    }

    private func fireTimers() {
        fired.removeAll(keepingCapacity: true)
        timers.advance(to: Instant(nanoseconds: now), fired: &fired)
        for token in fired {
            switch Timer(rawValue: token.kind) {
            case .reopen: open(Int(token.value))
            case .think: if isSending { sendNext(Int(token.value), due: now) }
            case nil: break
            }
        }
    }

    // MARK: Telling

    func noteError(_ what: String) { report.errors[what, default: 0] += 1 }

    private func tellProgress() {
        nextProgress += 1_000_000_000
        if nextProgress <= now { nextProgress = now + 1_000_000_000 }
        tell(.progress)
    }

    /// A line to the coordinator; the histograms only where they are final.
    func tell(_ kind: WorkerReport.Kind) {
        var line = report
        line.kind = kind
        if kind == .progress || kind == .ceased {
            line.connect = LatencyHistogram()
            line.ack = LatencyHistogram()
            line.delivery = LatencyHistogram()
            line.typing = LatencyHistogram()
            line.reconnect = LatencyHistogram()
        }
        // What a second had goes into the whole here: a delivery is recorded once.
        if scenario.traffic == .typing {
            report.typing.merge(report.recent)
            if kind == .final { line.typing = report.typing }
        } else {
            report.delivery.merge(report.recent)
            if kind == .final { line.delivery = report.delivery }
        }
        report.recent.reset()
        line.findings = oracle.findings
        Self.write(line.line)
    }

    /// Standard output belongs to the coordinator; where that has gone, so does the worker.
    static func write(_ bytes: [UInt8]) {
        var place = 0
        while place < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(1, $0.baseAddress.map { unsafe $0 + place }, bytes.count - place)
            }
            if count > 0 {
                place += count
            } else if errno != EINTR {
                exit(2)
            }
        }
    }
}

/// Why a worker cannot do its part: one line.
struct WorkerError: Error, CustomStringConvertible {
    let description: String
    /// Nothing is wrong: somebody wanted the run to end.
    let isInterruption: Bool

    init(_ description: String, isInterruption: Bool = false) {
        self.description = description
        self.isInterruption = isInterruption
    }
}
