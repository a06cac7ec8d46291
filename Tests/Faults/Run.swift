import Basics
import Client
import Foundation
import ServerSupport

/// One run: 16 writers and 4 listeners in 8 chats, and a killer.
final class Run {
    struct Outcome {
        var evidence: Evidence
        /// Those that are about the run rather than about the log.
        var verdicts: [Verdict]
    }

    private static let writers = 16
    private static let listeners = 4
    private static let chatCount = 8
    /// The JavaScript clients give up after 12 s of refused connections.
    private static let longestRestartMs = 12_000

    private let settings: Settings
    private let server: TestServer
    private let control: Control
    private var clients: [FaultClient.Plan] = []
    private var progress: [Progress] = []
    private var restarts = Verdict(
        "P16 each restart took less than \(longestRestartMs) ms until it listened")
    private var load = Verdict("After a restart messages are acked again")
    private var slowestMs = 0

    /// Starts the server, and makes the chats.
    private init(_ settings: Settings) throws {
        self.settings = settings
        // Rates that bursts run into, so that there are refusals to check.
        var options = TestServer.Options(
            limits: [
                "sends=\(settings.rate + settings.rate / 2)", "sendBurst=60", "strikes=off",
                "historyPage=1000",
            ])
        options.port = try FreePort.find()
        options.binary = settings.binary
        server = try TestServer(options)
        var chats: [String] = []
        for chat in 0..<Self.chatCount {
            let members = Self.members(of: chat)
            chats.append(
                try server.api(members[0])
                    .createChat(type: "group", members: Array(members.dropFirst())).id)
        }
        control = Control(servers: [server], chats: chats, rate: settings.rate)
    }

    private static func writers(of chat: Int) -> [Int] {
        (0..<4).map { (chat * 2 + $0) % writers }
    }

    private static func members(of chat: Int) -> [String] {
        writers(of: chat).map { "w" + padded($0, 2) }
            + (0..<listeners).map { "r" + padded($0, 2) }
    }

    /// The whole run. The server is gone afterwards.
    static func outcome(_ settings: Settings) throws -> Outcome {
        let run = try Run(settings)
        defer { run.server.end() }
        return try run.run()
    }

    private func run() throws -> Outcome {
        makeClients()
        let threads = Crew(control, clients)
        try killAgainAndAgain()
        let logs = try settle()
        control.end()
        try threads.wait()
        say("slowest restart: \(slowestMs) ms")
        return Outcome(
            evidence: Evidence(logs: logs, clients: control.records), verdicts: [restarts, load])
    }

    private func makeClients() {
        for writer in 0..<Self.writers {
            let chats = (0..<Self.chatCount).filter { Self.writers(of: $0).contains(writer) }
            add("w" + padded(writer, 2), chats, writer: writer)
        }
        for listener in 0..<Self.listeners {
            add("r" + padded(listener, 2), Array(0..<Self.chatCount), writer: nil)
        }
    }

    private func add(_ user: String, _ chats: [Int], writer: Int?) {
        let own = Progress(chats: chats)
        progress.append(own)
        clients.append(FaultClient.Plan(user: user, chats: chats, writer: writer, progress: own))
    }

    // MARK: Killing

    private func killAgainAndAgain() throws {
        say(
            "round    sent   acked refused unknown  alive ms"
                + "  listening ms  first ack ms  all back ms")
        try allBack(since: Array(repeating: 0, count: progress.count), withinMs: 20_000)
        var before = control.counts
        var saved: TemporaryFolder?
        for round in 1...settings.rounds {
            // Now and then again while clients, or the server itself, are still coming up.
            let longest = Int(settings.secondsPerRound * 1_000)
            let life =
                Int.random(in: 0..<5) == 0
                ? Int.random(in: 0...50) : Int.random(in: 0...longest)
            usleep(useconds_t(life) * 1_000)
            try server.kill()
            let killed = MonotonicClock.now()
            if settings.planted == .rollback { saved = try rollBack(to: saved) }
            let returns = progress.map(\.returns)
            control.beginRound()
            try server.start()
            let listening = MonotonicClock.now().milliseconds(since: killed)
            slowestMs = max(slowestMs, listening)
            restarts.looked += 1
            if listening >= Self.longestRestartMs {
                restarts.violate("round \(round): \(listening) ms")
            }
            // Half of the kills hit clients that are still coming back.
            let isPatient = Bool.random() || round == settings.rounds
            let back = try? allBack(since: returns, withinMs: isPatient ? 30_000 : 100)
            if isPatient {
                if back == nil { restarts.violate("round \(round): not all came back") }
                load.looked += 1
                do {
                    try eventually("an ack") { control.firstStoredAt != nil }
                } catch {
                    load.violate("round \(round)")
                }
            }
            let counts = control.counts
            printRound(
                round, life, counts, before, listening,
                control.firstStoredAt.map { $0.milliseconds(since: killed) },
                back.map { $0.milliseconds(since: killed) })
            before = counts
        }
    }

    @discardableResult
    private func allBack(since returns: [Int], withinMs milliseconds: Int) throws -> Instant {
        try eventually("all clients have caught up", withinMs: milliseconds) {
            zip(progress, returns).allSatisfy { $0.returns > $1 }
        }
        return MonotonicClock.now()
    }

    private func printRound(
        _ round: Int, _ life: Int, _ counts: Control.Counts, _ before: Control.Counts,
        _ listening: Int, _ firstAck: Int?, _ back: Int?
    ) {
        let columns: [(String, Int)] = [
            ("\(round)", 5), ("\(counts.invoked - before.invoked)", 8),
            ("\(counts.stored - before.stored)", 8), ("\(counts.refused - before.refused)", 8),
            ("\(counts.unknown - before.unknown)", 8), ("\(life)", 10), ("\(listening)", 14),
            (firstAck.map { "\($0)" } ?? "–", 14), (back.map { "\($0)" } ?? "–", 13),
        ]
        say(
            columns.map { text, width in
                String(repeating: " ", count: max(0, width - text.count)) + text
            }.joined())
    }

    /// The files as they were at the kill before take the place of those of now. Returns the
    /// latter.
    private func rollBack(to saved: TemporaryFolder?) throws -> TemporaryFolder {
        let files = FileManager.default
        let current = try TemporaryFolder("faults")
        let names = try files.contentsOfDirectory(atPath: server.data)
            .filter { $0.hasPrefix("martlet.db") }
        for name in names {
            try files.copyItem(atPath: server.data + "/" + name, toPath: current.file(name))
        }
        guard let saved else { return current }
        for name in names { try files.removeItem(atPath: server.data + "/" + name) }
        for name in try files.contentsOfDirectory(atPath: saved.path) {
            try files.copyItem(atPath: saved.file(name), toPath: server.data + "/" + name)
        }
        return saved
    }

    // MARK: The end

    /// Brings everything under way to its end. Returns the logs.
    private func settle() throws -> [Int: [Delivery]] {
        control.stop()
        // What does not come to its end is the checks' business.
        try? eventually("nothing is under way", withinMs: 60_000) {
            progress.allSatisfy(\.isIdle)
        }
        var logs: [Int: [Delivery]] = [:]
        for chat in 0..<Self.chatCount { logs[chat] = try history(of: chat) }
        try? eventually("all have heard everything", withinMs: 60_000) {
            progress.allSatisfy { progress in
                progress.through.allSatisfy { $1 >= Int64(logs[$0]?.count ?? 0) }
            }
        }
        return logs
    }

    private func history(of chat: Int) throws -> [Delivery] {
        let api = try server.api("r00")
        var log: [Delivery] = []
        while true {
            let page = try api.history(
                of: control.chats[chat], after: log.last?.seq ?? 0, limit: 1_000)
            guard !page.isEmpty else { return log }
            for case .message(let message) in page { log.append(Delivery(message)) }
        }
    }
}

/// The clients' threads.
final class Crew {
    private let group = DispatchGroup()

    init(_ control: Control, _ clients: [FaultClient.Plan]) {
        for client in clients {
            group.enter()
            let thread = Thread { [group] in
                do {
                    try FaultClient(control, client).run()
                } catch {
                    say("martlet-faults: a client could not run: \(error)")
                }
                group.leave()
            }
            thread.stackSize = 1 << 20
            thread.start()
        }
    }

    func wait() throws {
        guard group.wait(timeout: .now() + 30) == .success else {
            throw SupportError("the clients do not end")
        }
    }
}
