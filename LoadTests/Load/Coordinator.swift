import Basics
import Client
import Glibc
import LoadCore
import Reactor

/// A run from its start to its result: starts the workers, hands each its plan, says when to begin,
/// adds up what they tell, and looks at the server's process meanwhile.
final class Coordinator {
    struct Options {
        var name: String
        var scenario: Scenario
        var dialect: LoadDialect
        var urls: [String]
        var workers: Int
        var cores: [Int]
        var sources: Int
        var serverPids: [Int32]
        var secret: String?
        var seed: UInt64
        var isQuiet: Bool
    }

    private let options: Options
    private let topology: Topology
    private let run: UInt32
    private var workers: [WorkerProcess] = []
    /// The last that each worker told.
    private var reports: [WorkerReport?]
    private var finals: [WorkerReport?]
    private var openedCount = 0
    private var ceased: [WorkerReport] = []
    private var startedAt: Int64 = 0
    private var began: UInt64 = 0

    private var windowStart = UInt64.max
    private var windowEnd = UInt64.max
    private enum Stage {
        case before
        case window
        case after
    }

    private var stage = Stage.before
    /// Why it ended before its time; nil where it did not.
    private var early: LoadResult.Early?
    /// Signals that were acted on, and since when.
    private var interruptions = 0
    private var interruptedAt: UInt64 = 0
    /// A signal to a process and to its group is one, and comes twice.
    private static let sameInterruption: UInt64 = 200_000_000
    private var cpu = LoadResult.CPU()
    private var serverCPU: [Double]?
    private var machineCPU: Double?
    private var ownCPU = 0.0
    private var memoryBefore: UInt64?
    private var memoryAfter: UInt64?
    private var series: [LoadResult.Moment] = []
    private var recent = LatencyHistogram()
    private var nextLine: UInt64 = 0
    private var lastTotal = WorkerReport(.progress)

    init(_ options: Options) {
        self.options = options
        topology = Topology(options.scenario)
        run = UInt32.random(in: 1 ... .max)
        reports = Array(repeating: nil, count: options.workers)
        finals = reports
    }

    private var now: UInt64 { MonotonicClock.now().nanoseconds }

    /// - Throws: why there is no result.
    func perform() throws(WorkerError) -> LoadResult {
        signal(SIGPIPE, SIG_IGN)
        startedAt = SystemClock().now().wall.milliseconds
        guard ServerUsage.cpuSeconds(options.serverPids) != nil || options.serverPids.isEmpty else {
            throw WorkerError("--server-pid names no process that runs")
        }
        var chats: [String] = []
        if options.dialect.isProduct, needsChats {
            let population = Population(
                urls: options.urls, secret: options.secret ?? "", run: run, topology: topology)
            chats = try population.make { say($0) }
        }
        memoryBefore = ServerUsage.privateBytes(options.serverPids)
        serverCPU = ServerUsage.cpuSeconds(options.serverPids)
        began = now
        nextLine = began + 1_000_000_000
        Interruption.expect()
        defer {
            for worker in workers { worker.end() }
            Interruption.forget()
        }
        try Interruption.withhold { () throws(WorkerError) in
            for number in 0..<options.workers { workers.append(try WorkerProcess(number: number)) }
        }
        for worker in workers { worker.send(plan(worker.number, chats).line) }
        while finals.contains(where: { $0 == nil }) {
            try listen()
            if Interruption.count > interruptions { try interrupt() }
            try act()
        }
        // Where nothing was under way the workers are done before the last second is.
        if series.count < wholeSeconds { tellProgress(windowEnd, total) }
        return result()
    }

    private var needsChats: Bool {
        options.scenario.layout != .idle || options.scenario.chatsPerUser != nil
    }

    private func plan(_ number: Int, _ chats: [String]) -> WorkerPlan {
        var plan = WorkerPlan()
        plan.settings = options.scenario.settings.map { "\($0.key)=\($0.value)" }
        plan.dialect = options.dialect
        plan.urls = options.urls
        plan.worker = number
        plan.workers = options.workers
        plan.sources = options.sources
        plan.seed = options.seed
        plan.run = run
        plan.secret = options.secret
        if !options.cores.isEmpty { plan.core = options.cores[number % options.cores.count] }
        let connections = topology.connections(of: number, among: options.workers)
        if !chats.isEmpty, !connections.isEmpty {
            let first = topology.block(of: connections.lowerBound)
            let last = topology.block(of: connections.upperBound - 1)
            plan.firstChannel = topology.channel(first, 0)
            plan.chats = Array(chats[plan.firstChannel..<topology.channel(last + 1, 0)])
        }
        return plan
    }

    // MARK: What workers say

    private func listen() throws(WorkerError) {
        var entries = workers.filter { !$0.hasEnded }
            .map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        let turn: UInt64 =
            switch stage {
            case .before: windowStart
            case .window: windowEnd
            case .after: .max
            }
        let timeout = min(nextLine, turn)
        let left = timeout > now ? (timeout - now + 999_999) / 1_000_000 : 0
        guard unsafe poll(&entries, nfds_t(entries.count), Int32(clamping: left)) > 0 else {
            return
        }
        for entry in entries where entry.revents != 0 {
            guard let worker = workers.first(where: { $0.descriptor == entry.fd }) else { continue }
            for line in worker.receive() {
                guard let report = WorkerReport(line: line) else {
                    throw WorkerError("worker \(worker.number) said what is no report")
                }
                try take(report, from: worker)
            }
            if worker.hasEnded, finals[worker.number] == nil {
                throw WorkerError("worker \(worker.number) ended early")
            }
        }
    }

    private func take(_ report: WorkerReport, from worker: WorkerProcess) throws(WorkerError) {
        recent.merge(report.recent)
        reports[worker.number] = report
        switch report.kind {
        case .failed: throw WorkerError(report.reason)
        case .progress: break
        case .opened:
            openedCount += 1
            if openedCount == workers.count { try begin() }
        case .ceased:
            ceased.append(report)
            if ceased.count == workers.count { tellWhatWasSent() }
        case .final: finals[worker.number] = report
        }
    }

    private var total: WorkerReport {
        var total = WorkerReport(.progress)
        for report in reports { if let report { total.add(report) } }
        return total
    }

    /// All are connected: the course begins for all at the same moment.
    private func begin() throws(WorkerError) {
        let total = total
        guard total.opened > 0 else {
            throw WorkerError(
                "no connection could be opened" + Self.reasons(total)
                    + Self.advice(on: total.errors, options.dialect))
        }
        cpu.openingServer = serverCPUSince()?.reduce(0, +)
        cpu.openingClient = total.openingCPU
        let start = now + 20_000_000
        windowStart = start + options.scenario.warmUp
        windowEnd = windowStart + options.scenario.duration
        tell("{\"go\":\"\(start)\"}\n")
    }

    private static func reasons(_ total: WorkerReport) -> String {
        let reasons = total.errors.sorted { $0.value > $1.value }
            .map { "\($0.key) (\($0.value) times)" }
        return reasons.isEmpty ? "" : ": " + reasons.prefix(3).joined(separator: "; ")
    }

    /// What to do about refusals that mean a limit of the server, or another address.
    static func advice(on errors: [String: Int], _ dialect: LoadDialect) -> String {
        let isLimited = errors.keys.contains {
            $0.contains("429") || $0.contains("503") || $0.contains("4102")
                || $0.contains("RATE_LIMITED")
        }
        guard isLimited else {
            let isElsewhere = errors.keys.contains {
                $0.contains("HTTP 404") || dialect == .sio && $0.contains("4001")
            }
            return isElsewhere ? "\n" + dialect.pathAdvice : ""
        }
        return
            "\nThe server limits how fast one address or user may act. To load Martlet, start it "
            + "with\n  martlet serve --dev --bench --limit connects=off --limit http=off "
            + "--limit sends=off\n    --limit sendBurst=off --limit joins=off --limit typing=off "
            + "--limit cursors=off\n    --limit cursorBurst=off --limit socketsPerUser=off"
    }

    /// Receivers in one worker must have got what senders in another have sent.
    private func tellWhatWasSent() {
        guard !topology.isWhole(among: workers.count) else { return }
        var told = WorkerReport(.ceased)
        for report in ceased {
            told.lanes += report.lanes
            told.excused += report.excused
        }
        for worker in workers { worker.send(told.line) }
    }

    // MARK: What the time asks for

    private func act() throws(WorkerError) {
        let now = now
        if stage == .before, now >= windowStart { beginWindow() }
        if stage == .window, now >= windowEnd { endWindow() }
        if now >= nextLine {
            nextLine += 1_000_000_000
            let total = total
            tellProgress(now, total)
            guard isDeserted(total) else { return }
            guard stage == .window else {
                throw WorkerError(
                    "no connection was left before the window began" + Self.reasons(total))
            }
            endWindow(early: .noConnectionLeft)
            finish(early: .noConnectionLeft)
        }
    }

    private func beginWindow() {
        stage = .window
        serverCPU = ServerUsage.cpuSeconds(options.serverPids)
        machineCPU = ServerUsage.machineSeconds()
        ownCPU = Worker.cpuSeconds()
        lastTotal = total
        recent.reset()
        // A little later than the workers' own seconds, so that theirs are in.
        nextLine = windowStart + 1_050_000_000
    }

    private func endWindow() {
        stage = .after
        memoryAfter = ServerUsage.privateBytes(options.serverPids)
        ownCPU = Worker.cpuSeconds() - ownCPU
        cpu.serverEach = serverCPUSince()
        if let before = machineCPU { machineCPU = ServerUsage.machineSeconds().map { $0 - before } }
        // The last second of the series ends with the window.
        if series.count < wholeSeconds {
            nextLine = min(nextLine, windowEnd + 60_000_000)
        }
    }

    private var wholeSeconds: Int { Int((windowEnd - windowStart) / 1_000_000_000) }

    /// Somebody wants it to end: with what was measured, where that is something; the second time without.
    private func interrupt() throws(WorkerError) {
        let isFirst = interruptions == 0
        interruptions = Interruption.count
        guard isFirst else {
            if now < interruptedAt + Self.sameInterruption { return }
            throw WorkerError("interrupted again: there is no result", isInterruption: true)
        }
        interruptedAt = now
        guard stage != .before else {
            throw WorkerError("interrupted before anything was measured", isInterruption: true)
        }
        say("interrupted; once more, and it ends without a result")
        if stage == .window { endWindow(early: .interrupted) } else { finish(early: .interrupted) }
    }

    /// The window ends now: nothing more is sent, and what is under way may still arrive.
    private func endWindow(early reason: LoadResult.Early) {
        early = reason
        windowEnd = now
        endWindow()
        tell("{\"cease\":\"\(windowEnd)\"}\n")
    }

    /// Nothing more is waited for.
    private func finish(early reason: LoadResult.Early) {
        early = early ?? reason
        tell("{\"finish\":true}\n")
    }

    private func tell(_ line: String) {
        for worker in workers { worker.send(Array(line.utf8)) }
    }

    /// Whether nobody is connected, and nobody is to come back: those that the scenario has cut off do.
    private func isDeserted(_ total: WorkerReport) -> Bool {
        windowStart != .max && stage != .after && total.connections == 0
            && total.dropped == total.recovered + total.returnsFailed
    }

    private func serverCPUSince() -> [Double]? {
        guard let before = serverCPU, let after = ServerUsage.cpuSeconds(options.serverPids) else {
            return nil
        }
        return zip(before, after).map { $1 - $0 }
    }

    private func tellProgress(_ now: UInt64, _ total: WorkerReport) {
        guard now >= windowStart else {
            say(
                "\((now - began) / 1_000_000_000) s  \(total.opened) open"
                    + (total.failed > 0 ? ", \(total.failed) failed" : ""))
            return
        }
        let second = Int((now - windowStart) / 1_000_000_000)
        var moment = LoadResult.Moment()
        moment.time = Double(second)
        moment.connections = total.connections
        moment.sent = total.sent &- min(total.sent, lastTotal.sent)
        moment.delivered = total.delivered &- min(total.delivered, lastTotal.delivered)
        moment.errors = total.errorCount
        if !recent.isEmpty {
            moment.p50Us = Double(recent.quantile(0.5)) / 1e3
            moment.p99Us = Double(recent.quantile(0.99)) / 1e3
        }
        lastTotal = total
        recent.reset()
        if now < windowEnd + 500_000_000 { series.append(moment) }
        say(
            "\(second) s  \(moment.connections) connections  \(moment.sent) sent/s  "
                + "\(moment.delivered) delivered/s  p99 "
                + (moment.p99Us.map { Words.duration(us: $0) } ?? "–")
                + "  \(moment.errors) errors")
    }

    private func say(_ line: String) {
        if !options.isQuiet { Files.say(line) }
    }

    // MARK: The result

    private func result() -> LoadResult {
        var total = WorkerReport(.final)
        for report in finals { if let report { total.add(report) } }
        cpu.client = total.cpu + ownCPU
        // Of a server that is gone nothing is known, and what it did is no others'.
        if let machine = machineCPU, cpu.serverEach != nil || options.serverPids.isEmpty {
            cpu.other = max(0, machine - (cpu.server ?? 0) - cpu.client)
        }
        var result = LoadResult(
            scenario: options.name, dialect: options.dialect, urls: options.urls,
            machine: ServerUsage.machine(), startedAt: startedAt,
            settings: options.scenario.settings,
            seconds: Double(windowEnd - windowStart) / 1e9, total: total)
        result.early = early
        result.cpu = cpu
        result.series = series
        if let before = memoryBefore, let after = memoryAfter {
            result.memory = LoadResult.Memory(before: before, after: after)
        }
        result.judge(options.scenario.thresholds)
        return result
    }
}

/// Numbers as people read them.
enum Words {
    static func duration(us: Double) -> String {
        if us >= 1e6 { return "\(rounded(us / 1e6)) s" }
        return us >= 1e3 ? "\(rounded(us / 1e3)) ms" : "\(rounded(us)) us"
    }

    /// Three digits or all of the whole number.
    static func rounded(_ value: Double) -> String {
        if value >= 100 || value == value.rounded() { return grouped(Int(value.rounded())) }
        let scale = value >= 10 ? 10.0 : 100.0
        return "\((value * scale).rounded() / scale)"
    }

    static func grouped(_ value: Int) -> String {
        var digits = Array("\(abs(value))")
        var place = digits.count - 3
        while place > 0 {
            digits.insert(",", at: place)
            place -= 3
        }
        return (value < 0 ? "-" : "") + String(digits)
    }
}
