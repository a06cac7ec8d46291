/// What a fleet's checks use beside the records and the logs.
struct FleetEvidence {
    /// Users that are members of some chats for some of the time.
    var visitors: Set<String>
    /// By chat and seq: when it was committed, in microseconds since 1970.
    var commits: [Int: [Int64: Int64]]
    var rounds: [Round]
    /// The logs as each instance, and Postgres, has them.
    var copies: [(name: String, logs: [Int: [Delivery]])]
}

/// One fault, what came of it, and the quiet time after. Times are microseconds since 1970.
struct Round {
    var fault: Fault
    var detail = ""
    var begunAt: Int64
    var endedAt: Int64 = 0
    var stored = 0
    var unknown = 0
    var refused = 0
    /// From the end of the fault until all clients were live again.
    var healedMs: Int?
    /// The longest that a thread of ours was kept waiting for the processor.
    var stallMs = 0

    var contains: (Int64) -> Bool { { [begunAt, endedAt] in begunAt <= $0 && $0 < endedAt } }
}

extension Evidence {
    /// Which entries a visitor may see: from those that brought it in to those that ended that. nil
    /// for who may see all.
    func stays(of user: String, in chat: Int) -> [ClosedRange<Int64>]? {
        guard let fleet, fleet.visitors.contains(user) else { return nil }
        var stays: [ClosedRange<Int64>] = []
        var begun: Int64?
        for entry in logs[chat] ?? [] {
            guard let change = entry.change, change.user == user else { continue }
            if change.isEnd, let first = begun {
                stays.append(first...entry.seq)
                begun = nil
            } else if !change.isEnd {
                begun = begun ?? entry.seq
            }
        }
        if let first = begun { stays.append(first...Int64.max) }
        return stays
    }
}

/// How late an entry came to a listener that was connected when it was committed.
struct Delay {
    var client: String
    var chat: Int
    var seq: Int64
    var committedAt: Int64
    /// Where it came only by a later connection, the end of the one that should have brought it.
    var arrivedAt: Int64
    var isMissed: Bool
    /// An index of the rounds.
    var round: Int

    var milliseconds: Int { Int((arrivedAt - committedAt) / 1_000) }
}

struct FleetChecks {
    private let evidence: Evidence
    private let fleet: FleetEvidence
    let delays: [Delay]

    /// P6.
    private static let promisedMs = 5_000
    /// Beyond what was measured: two threads of the server and one of ours on the way of an entry
    /// each wait for a processor that they share with everything else.
    private static let allowanceMs = 500

    init?(_ evidence: Evidence) {
        guard let fleet = evidence.fleet else { return nil }
        self.evidence = evidence
        self.fleet = fleet
        delays = Self.delays(evidence, fleet)
    }

    func all() -> [Verdict] {
        let hurtsRedis = fleet.rounds.contains { $0.fault.victim == .redis }
        return [sameEverywhere(), ownStaysOnly()] + (hurtsRedis ? [inTime()] : [])
    }

    private func sameEverywhere() -> Verdict {
        var verdict = Verdict("P1 Postgres and every instance have the same logs")
        for (name, logs) in fleet.copies {
            for (chat, log) in evidence.logs {
                verdict.looked += log.count
                let copy = logs[chat] ?? []
                guard copy != log else { continue }
                let place = zip(copy, log).first { $0 != $1 }?.1.seq
                verdict.violate(
                    "\(name), chat \(chat): \(copy.count) entries of \(log.count)"
                        + (place.map { ", the first other one is \($0)" } ?? ""))
            }
        }
        return verdict
    }

    private func ownStaysOnly() -> Verdict {
        var verdict = Verdict("P14 nobody heard an entry from outside its memberships")
        for client in evidence.clients {
            for (chat, deliveries) in client.deliveries {
                guard let stays = evidence.stays(of: client.name, in: chat) else { continue }
                for delivery in deliveries {
                    verdict.looked += 1
                    if !stays.contains(where: { $0.contains(delivery.seq) }) {
                        verdict.violate("\(client.name), chat \(chat): \(delivery.seq) of \(stays)")
                    }
                }
            }
        }
        return verdict
    }

    /// P6. Entries that were committed while only Redis was hurt, unless something else was before
    /// they had to be there.
    private func inTime() -> Verdict {
        var verdict = Verdict(
            "P6 while only Redis is hurt, entries come within 5 s of their commit")
        for delay in delays where fleet.rounds[delay.round].fault.victim == .redis {
            let round = fleet.rounds[delay.round]
            let limit = Self.promisedMs + Self.allowanceMs + 2 * round.stallMs
            let disturbed =
                fleet.rounds[(delay.round + 1)...].first { $0.fault.victim != .redis }?.begunAt
                ?? Int64.max
            let isJudged =
                delay.arrivedAt < disturbed
                || delay.committedAt + Int64(limit) * 1_000 < disturbed
            guard isJudged else { continue }
            verdict.looked += 1
            if delay.milliseconds > limit {
                verdict.violate(
                    "\(delay.client), chat \(delay.chat), \(delay.seq): "
                        + (delay.isMissed ? "not within " : "after ")
                        + "\(delay.milliseconds) ms, round \(delay.round + 1) "
                        + "(\(round.fault.rawValue), limit \(limit) ms)")
            }
        }
        return verdict
    }

    // MARK: Delays

    private static func delays(_ evidence: Evidence, _ fleet: FleetEvidence) -> [Delay] {
        var delays: [Delay] = []
        for client in evidence.clients where client.isListener {
            for (chat, log) in evidence.logs {
                let deliveries = client.deliveries[chat] ?? []
                let arrivals = Dictionary(
                    zip(deliveries.map(\.seq), client.arrivals[chat] ?? [])
                ) { first, _ in first }
                for entry in log {
                    guard let committedAt = fleet.commits[chat]?[entry.seq],
                        let round = fleet.rounds.firstIndex(where: { $0.contains(committedAt) }),
                        let live = connection(of: client, at: committedAt)
                    else { continue }
                    let end = client.connections[live - 1].lostAt
                    let arrival = arrivals[entry.seq]
                    let isMissed = arrival?.connection != live
                    guard let arrivedAt = isMissed ? end : arrival?.at else { continue }
                    delays.append(
                        Delay(
                            client: client.name, chat: chat, seq: entry.seq,
                            committedAt: committedAt, arrivedAt: arrivedAt, isMissed: isMissed,
                            round: round))
                }
            }
        }
        return delays
    }

    /// The number of the connection that was live then.
    private static func connection(of client: ClientRecord, at time: Int64) -> Int? {
        let index = client.connections.firstIndex { connection in
            guard let caughtUpAt = connection.caughtUpAt else { return false }
            return caughtUpAt <= time && time < connection.lostAt ?? Int64.max
        }
        return index.map { $0 + 1 }
    }

    // MARK: The table

    /// A line for each fault.
    func table(withoutNamespace: String?) -> [String] {
        var lines = [
            "fault                 times     ok unknown refused  delay p50    p99    max"
                + "  recovery max  healed max (ms)"
        ]
        for fault in Fault.allCases {
            let rounds = fleet.rounds.indices.filter { fleet.rounds[$0].fault == fault }
            guard !rounds.isEmpty else { continue }
            if let withoutNamespace, fault == .redisPartition || fault == .postgresPartition {
                lines.append("\(fault.rawValue): not possible here: \(withoutNamespace)")
                continue
            }
            let all = rounds.map { fleet.rounds[$0] }
            // By when they came: what a later fault held up is its doing.
            let late = delays.filter { delay in
                all.contains { $0.contains(delay.arrivedAt) }
            }.map(\.milliseconds).sorted()
            let columns: [(String, Int)] = [
                ("\(all.count)", 5), ("\(all.map(\.stored).reduce(0, +))", 7),
                ("\(all.map(\.unknown).reduce(0, +))", 8),
                ("\(all.map(\.refused).reduce(0, +))", 8),
                (Self.percentile(50, of: late), 11), (Self.percentile(99, of: late), 7),
                (Self.percentile(100, of: late), 7),
                (recoveries(in: all).max().map { "\($0)" } ?? "–", 14),
                (all.compactMap(\.healedMs).max().map { "\($0)" } ?? "–", 12),
            ]
            let name =
                fault.rawValue + String(repeating: " ", count: 22 - fault.rawValue.count)
            lines.append(
                name
                    + columns.map { text, width in
                        String(repeating: " ", count: max(0, width - text.count)) + text
                    }.joined())
        }
        return lines
    }

    private static func percentile(_ percent: Int, of sorted: [Int]) -> String {
        guard !sorted.isEmpty else { return "–" }
        return "\(sorted[min(sorted.count - 1, sorted.count * percent / 100)])"
    }

    /// How long clients that lost their connection then took until they were live again.
    func recoveries(in rounds: [Round]) -> [Int] {
        evidence.clients.flatMap { client in
            client.connections.indices.compactMap { index -> Int? in
                guard let lostAt = client.connections[index].lostAt,
                    client.connections[index].caughtUpAt != nil,
                    rounds.contains(where: { $0.contains(lostAt) }),
                    let next = client.connections[(index + 1)...].first(where: {
                        $0.caughtUpAt != nil
                    }), let caughtUpAt = next.caughtUpAt
                else { return nil }
                return Int((caughtUpAt - lostAt) / 1_000)
            }
        }
    }
}
