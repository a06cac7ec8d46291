import Basics
import Client
import Foundation
import ServerSupport
import ServiceSupport
import Synchronization

/// One run of a fleet: 12 writers, 4 listeners and 2 visitors in 10 chats, and a nemesis.
final class FleetRun {
    private static let writers = 12
    private static let listeners = 4
    private static let visitors = ["v00", "v01"]
    /// Chats whose members change.
    private static let visitedChats = 4
    private static let chatCount = 10
    /// The others have one writer each: what an instance keeps to itself, nobody else's next entry
    /// gives away.
    private static let busyChats = 8
    private static let owner = "owner"
    /// An instance of a fleet whose Redis was away may wait 30 s before it tries again.
    private static let healsWithinMs = 45_000

    private let settings: Settings
    private let fleet: Fleet
    private let control: Control
    private let visits: Visits
    private let watch = StallWatch()
    private var nemesis: Nemesis
    private var seeds: SeededRandom
    private var clients: [FaultClient.Plan] = []
    private var progress: [Progress] = []
    private var rounds: [Round] = []
    private var healing = Verdict(
        "After each fault all are live and acked again within \(healsWithinMs / 1_000) s")

    private init(_ settings: Settings) throws {
        self.settings = settings
        var seeds = SeededRandom(settings.seed)
        let fleet = try Fleet(
            binary: settings.binary,
            limits: [
                "sends=\(settings.fleetRate * 4)", "sendBurst=60",
                "strikes=off", "historyPage=1000",
            ], random: &seeds)
        do {
            let api = try fleet.instances[0].api(Self.owner)
            let chats = try (0..<Self.chatCount).map { chat in
                try api.createChat(type: "group", members: Self.members(of: chat)).id
            }
            control = Control(servers: fleet.instances, chats: chats, rate: settings.fleetRate)
            nemesis = Nemesis(
                fleet, chats: chats, longestMs: Int(settings.secondsPerRound * 1_000),
                seed: seeds.next())
            visits = try Visits(
                fleet, chats: Array(chats.prefix(Self.visitedChats)), owner: Self.owner,
                visitors: Self.visitors, seed: seeds.next())
            try watch.start()
        } catch {
            fleet.end()
            throw error
        }
        self.fleet = fleet
        self.seeds = seeds
    }

    private static func writers(of chat: Int) -> [Int] {
        chat < busyChats
            ? (0..<4).map { (chat * 2 + $0) % writers } : [(chat - busyChats) * 6]
    }

    private static func members(of chat: Int) -> [String] {
        writers(of: chat).map { "w" + padded($0, 2) }
            + (0..<listeners).map { "r" + padded($0, 2) }
    }

    /// The whole run. The fleet is gone afterwards.
    static func outcome(_ settings: Settings) throws -> Run.Outcome {
        let run = try FleetRun(settings)
        defer { run.fleet.end() }
        return try run.run()
    }

    private func run() throws -> Run.Outcome {
        makeClients()
        let crew = Crew(control, clients)
        try eventually("all clients have caught up") { progress.allSatisfy(\.isLive) }
        if settings.planted == .lyingPostgres { try lie() } else { try hurtAgainAndAgain() }
        let begun = MonotonicClock.now()
        let logs = try settle()
        say("settled in \(MonotonicClock.now().milliseconds(since: begun)) ms")
        control.end()
        try crew.wait()
        let evidence = Evidence(
            logs: logs, clients: control.records,
            fleet: FleetEvidence(
                visitors: Set(Self.visitors), commits: try commits(), rounds: rounds,
                copies: try copies()))
        if !rounds.isEmpty, let checks = FleetChecks(evidence) {
            for line in checks.table(withoutNamespace: fleet.withoutNamespace) { say(line) }
        }
        let verdicts = [healing, nemesis.drains].filter { $0.looked > 0 } + [visits.finish(logs)]
        return Run.Outcome(evidence: evidence, verdicts: verdicts)
    }

    private func makeClients() {
        for writer in 0..<Self.writers {
            let chats = (0..<Self.chatCount).filter { Self.writers(of: $0).contains(writer) }
            add("w" + padded(writer, 2), chats, writer: writer)
        }
        for listener in 0..<Self.listeners {
            add("r" + padded(listener, 2), Array(0..<Self.chatCount))
        }
        for visitor in Self.visitors {
            add(visitor, Array(0..<Self.visitedChats), isVisitor: true)
        }
    }

    private func add(
        _ user: String, _ chats: [Int], writer: Int? = nil, isVisitor: Bool = false
    ) {
        let own = Progress(chats: chats)
        progress.append(own)
        clients.append(
            FaultClient.Plan(
                user: user, chats: chats, writer: writer, progress: own, isVisitor: isVisitor,
                seed: seeds.next()))
    }

    // MARK: Faults

    private func hurtAgainAndAgain() throws {
        let faults = settings.faults.isEmpty ? Fault.allCases : settings.faults
        let schedule = Fault.schedule(settings.rounds, of: faults, random: &seeds)
        say("round  fault                 stored unknown refused  healed ms")
        for fault in schedule {
            let before = control.counts
            watch.reset()
            var round = Round(fault: fault, begunAt: wallMicroseconds())
            if !rounds.isEmpty { rounds[rounds.count - 1].endedAt = round.begunAt }
            round.endedAt = Int64.max
            rounds.append(round)
            round.detail = try nemesis.perform(fault)
            round.healedMs = heal(number: rounds.count, fault)
            usleep(useconds_t(settings.quietMs) * 1_000)
            let counts = control.counts
            round.stored = counts.stored - before.stored
            round.unknown = counts.unknown - before.unknown
            round.refused = counts.refused - before.refused
            round.stallMs = watch.worstMs
            rounds[rounds.count - 1] = round
            printRound(round)
        }
    }

    /// Waits until all is well. Returns how long that took.
    private func heal(number: Int, _ fault: Fault) -> Int? {
        let begun = MonotonicClock.now()
        let stored = control.counts.stored
        healing.looked += 1
        do {
            try eventually("live clients", withinMs: Self.healsWithinMs) {
                guard progress.allSatisfy(\.isLive), control.counts.stored > stored else {
                    return false
                }
                // Not asked more often than need be: it is work for the instances.
                usleep(100_000)
                return fleet.isHealthy
            }
        } catch {
            let waiting = zip(clients, progress).filter { !$1.isLive }.map(\.0.user)
            healing.violate(
                "round \(number), \(fault.rawValue): not live: \(waiting), ready: "
                    + "\(fleet.isReady), with their bus: \(fleet.isHealthy)")
            return nil
        }
        return MonotonicClock.now().milliseconds(since: begun)
    }

    private func printRound(_ round: Round) {
        func right(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text
        }
        let name = round.fault.rawValue
        say(
            right("\(rounds.count)", 5) + "  " + name
                + String(repeating: " ", count: max(0, 21 - name.count))
                + right("\(round.stored)", 7) + right("\(round.unknown)", 8)
                + right("\(round.refused)", 8)
                + right(round.healedMs.map { "\($0)" } ?? "–", 11) + "  " + round.detail)
    }

    /// The store says of some seconds that it committed what it threw away.
    private func lie() throws {
        for isLying in [true, false] {
            for proxy in fleet.postgresProxies {
                var behaviour = ChaosProxy.Behaviour()
                behaviour.lies = isLying
                proxy.set(behaviour)
                proxy.cutAll()
            }
            usleep(4_000_000)
        }
    }

    // MARK: The end

    private func settle() throws -> [Int: [Delivery]] {
        let patienceMs = settings.planted == .lyingPostgres ? 5_000 : 60_000
        control.stop()
        try? visits.stop()
        // What does not come to its end is the checks' business.
        try? eventually("nothing is under way", withinMs: patienceMs) {
            progress.allSatisfy(\.isIdle)
        }
        let logs = try history(of: fleet.instances[0])
        try? eventually("all have heard everything", withinMs: patienceMs) {
            progress.allSatisfy { progress in
                progress.through.allSatisfy { $1 >= Int64(logs[$0]?.count ?? 0) }
            }
        }
        return logs
    }

    private func history(of server: TestServer) throws -> [Int: [Delivery]] {
        let api = try server.api("r00")
        var logs: [Int: [Delivery]] = [:]
        for chat in 0..<Self.chatCount {
            var log: [Delivery] = []
            while true {
                let page = try api.history(
                    of: control.chats[chat], after: log.last?.seq ?? 0, limit: 1_000)
                guard !page.isEmpty else { break }
                log += page.map { Delivery($0) }
            }
            logs[chat] = log
        }
        return logs
    }

    private func copies() throws -> [(name: String, logs: [Int: [Delivery]])] {
        var copies: [(name: String, logs: [Int: [Delivery]])] = []
        for (number, instance) in fleet.instances.enumerated() {
            copies.append(("instance \(number)", try history(of: instance)))
        }
        var stored: [Int: [Delivery]] = [:]
        let rows = try fleet.session().run(
            """
            SELECT c.id, e.seq, e.id, e.kind, e.subject, convert_from(e.content, 'UTF8')
            FROM martlet.entries e JOIN martlet.chats c ON c.key = e.chat ORDER BY c.key, e.seq
            """)
        for row in rows {
            guard let chat = control.chats.firstIndex(of: row[0] ?? "") else { continue }
            stored[chat, default: []].append(
                Delivery(
                    seq: Int64(row[1] ?? "") ?? 0, id: row[2] ?? "", kind: row[3] ?? "",
                    subject: row[4], content: row[5]))
        }
        copies.append(("Postgres", stored))
        return copies
    }

    private func commits() throws -> [Int: [Int64: Int64]] {
        var commits: [Int: [Int64: Int64]] = [:]
        let rows = try fleet.session().run(
            """
            SELECT c.id, e.seq,
                (extract(epoch FROM pg_xact_commit_timestamp(e.xmin)) * 1000000)::bigint
            FROM martlet.entries e JOIN martlet.chats c ON c.key = e.chat
            """)
        for row in rows {
            guard let chat = control.chats.firstIndex(of: row[0] ?? ""),
                let seq = Int64(row[1] ?? ""), let at = Int64(row[2] ?? "")
            else { continue }
            commits[chat, default: [:]][seq] = at
        }
        return commits
    }
}

/// How long a thread that wants to run has to wait at worst: it sleeps for 10 ms again and again,
/// and what it oversleeps others had of the processor.
final class StallWatch: Sendable {
    private let worst = Atomic<Int>(0)

    func start() throws {
        try inBackground { [self] in
            while true {
                let begun = MonotonicClock.now()
                usleep(10_000)
                let over = MonotonicClock.now().milliseconds(since: begun) - 10
                if over > worst.load(ordering: .relaxed) { worst.store(over, ordering: .relaxed) }
            }
        }
    }

    func reset() { worst.store(0, ordering: .relaxed) }
    var worstMs: Int { worst.load(ordering: .relaxed) }
}
