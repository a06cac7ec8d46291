import Client

/// Lies that the checks must find. All but `rollback` are told by a client: its record is changed
/// after the run, so that one run serves them all.
enum Planted: String, CaseIterable {
    /// An ack for a message that has none.
    case falseAck
    /// An ack with another seq.
    case wrongSeq
    /// A refusal for a message that was stored.
    case falseRefusal
    /// A message in the log that nobody owns up to.
    case forgottenSend
    /// Two messages as if sent in the other order.
    case swappedSends
    /// An entry that did not come.
    case lostDelivery
    /// An entry that came again.
    case repeatedDelivery
    /// An entry with other content.
    case changedContent
    /// A hole in the log.
    case gap
    /// A message stored twice.
    case doubled
    /// A resent message that was acked under two seqs.
    case secondAck
    /// An event that the protocol does not have.
    case noise
    /// The store's: after a kill it gets the files of the kill before, as one would that did not
    /// write what it said it wrote.
    case rollback

    // Of a fleet alone.
    /// An entry that came a minute later than it did, while only Redis was hurt.
    case lateDelivery
    /// An entry that went to somebody who was no member.
    case foreignDelivery
    /// An instance that has another log.
    case forkedLog
    /// Postgres: for some seconds it says that it committed what it rolled back.
    case lyingPostgres

    static let records = allCases.filter { !$0.isOfRun && !$0.isOfFleet }
    static let fleetRecords = allCases.filter { !$0.isOfRun }

    /// Told while it runs, and not by the records after it.
    var isOfRun: Bool { self == .rollback || self == .lyingPostgres }

    var isOfFleet: Bool {
        switch self {
        case .lateDelivery, .foreignDelivery, .forkedLog, .lyingPostgres: true
        default: false
        }
    }

    /// The check that must find it, by the beginning of its name; others may as well.
    var finder: String {
        switch self {
        case .falseAck, .wrongSeq, .rollback, .lyingPostgres: "P1 every acked message"
        case .falseRefusal: "P5 "
        case .forgottenSend: "Nothing is in the log"
        case .swappedSends: "P3 one connection's"
        case .lostDelivery, .changedContent: "P2 "
        case .repeatedDelivery: "P3 each device"
        case .gap: "P3 the seqs"
        case .doubled: "P4 no message"
        case .secondAck: "P4 a resent message"
        case .noise: "No client heard"
        case .lateDelivery: "P6 "
        case .foreignDelivery: "P14 "
        case .forkedLog: "P1 Postgres and"
        }
    }

    /// Tells the lie. False where the evidence has nothing to tell it about.
    func apply(to evidence: inout Evidence) -> Bool {
        switch self {
        case .falseAck:
            let stored = Set(evidence.logs.values.joined().compactMap(\.message))
            return change(&evidence) {
                !stored.contains($0.message)
            } by: { invocation in
                invocation.outcome = .stored(seq: 1, id: "no such id")
            }
        case .wrongSeq:
            return change(&evidence, where: Self.isStored) { invocation in
                if case .stored(let seq, let id) = invocation.outcome {
                    invocation.outcome = .stored(seq: seq + 1, id: id)
                }
            }
        case .falseRefusal:
            return change(&evidence, where: Self.isStored) { invocation in
                invocation.outcome = .refused(code: "SERVICE_UNAVAILABLE")
            }
        case .forgottenSend: return forgetSend(&evidence)
        case .swappedSends: return swapSends(&evidence)
        case .lostDelivery: return changeDeliveries(&evidence) { $0.remove(at: $1) }
        case .repeatedDelivery: return changeDeliveries(&evidence) { $0.append($0[$1]) }
        case .changedContent: return changeDeliveries(&evidence) { $0[$1].message = nil }
        case .gap:
            guard evidence.logs[0]?.count ?? 0 > 2 else { return false }
            evidence.logs[0]?.remove(at: 1)
            return true
        case .doubled:
            guard var entry = evidence.logs[0]?.first(where: { $0.message != nil }),
                let count = evidence.logs[0]?.count
            else { return false }
            entry.seq = Int64(count) + 1
            evidence.logs[0]?.append(entry)
            return true
        case .secondAck: return ackTwice(&evidence)
        case .noise:
            guard !evidence.clients.isEmpty else { return false }
            evidence.clients[0].complaints.append("planted")
            return true
        case .lateDelivery: return delayDelivery(&evidence)
        case .foreignDelivery: return misdeliver(&evidence)
        case .forkedLog:
            guard evidence.fleet?.copies[0].logs[0]?.isEmpty == false else { return false }
            evidence.fleet?.copies[0].logs[0]?.removeLast()
            return true
        case .rollback, .lyingPostgres: return false
        }
    }

    private static func isStored(_ invocation: Invocation) -> Bool {
        if case .stored = invocation.outcome { true } else { false }
    }

    /// Changes the first invocation that fits, of a message that was sent once only: another
    /// invocation would tell the truth.
    private func change(
        _ evidence: inout Evidence, where fits: (Invocation) -> Bool,
        by change: (inout Invocation) -> Void
    ) -> Bool {
        for client in evidence.clients.indices {
            let all = evidence.clients[client].invocations
            for index in all.indices
            where fits(all[index]) && all.count(where: { $0.message == all[index].message }) == 1 {
                change(&evidence.clients[client].invocations[index])
                return true
            }
        }
        return false
    }

    private func forgetSend(_ evidence: inout Evidence) -> Bool {
        for client in evidence.clients.indices {
            guard
                let found = evidence.clients[client].invocations.first(where: Self.isStored)
            else { continue }
            evidence.clients[client].invocations.removeAll { $0.message == found.message }
            return true
        }
        return false
    }

    private func ackTwice(_ evidence: inout Evidence) -> Bool {
        for client in evidence.clients.indices {
            let all = evidence.clients[client].invocations
            for index in all.indices {
                guard case .stored(let seq, let id) = all[index].outcome,
                    let other = all[..<index].firstIndex(where: { $0.message == all[index].message }
                    )
                else { continue }
                evidence.clients[client].invocations[other].outcome = .stored(seq: seq + 1, id: id)
                return true
            }
        }
        return false
    }

    private func swapSends(_ evidence: inout Evidence) -> Bool {
        for client in evidence.clients.indices {
            let all = evidence.clients[client].invocations
            for index in all.indices.dropLast() {
                let (first, second) = (all[index], all[index + 1])
                let count = all.count {
                    $0.message == first.message || $0.message == second.message
                }
                guard count == 2, Self.isStored(first), Self.isStored(second),
                    first.chat == second.chat, first.connection == second.connection
                else { continue }
                evidence.clients[client].invocations.swapAt(index, index + 1)
                return true
            }
        }
        return false
    }

    /// Changes the deliveries at a message of another: the log also has entries that are none, whose
    /// content a lie about a message would leave as it is. Of a client that only listens, whose every
    /// entry must have come as an event.
    private func changeDeliveries(
        _ evidence: inout Evidence, by change: (inout [Delivery], _ index: Int) -> Void
    ) -> Bool {
        for client in evidence.clients.indices where evidence.clients[client].invocations.isEmpty {
            guard var deliveries = evidence.clients[client].deliveries[0],
                let index = deliveries.indices.dropFirst().dropLast().first(where: {
                    deliveries[$0].message != nil
                })
            else { continue }
            change(&deliveries, index)
            evidence.clients[client].deliveries[0] = deliveries
            return true
        }
        return false
    }

    private func delayDelivery(_ evidence: inout Evidence) -> Bool {
        guard let fleet = evidence.fleet, let checks = FleetChecks(evidence) else { return false }
        for delay in checks.delays
        where !delay.isMissed && fleet.rounds[delay.round].fault.victim == .redis {
            // Early enough in its round that what comes next is no excuse.
            let next = fleet.rounds[(delay.round + 1)...].first { $0.fault.victim != .redis }
            guard delay.committedAt + 7_000_000 < next?.begunAt ?? Int64.max,
                let client = evidence.clients.firstIndex(where: { $0.name == delay.client }),
                let index = evidence.clients[client].deliveries[delay.chat]?.firstIndex(where: {
                    $0.seq == delay.seq
                })
            else { continue }
            evidence.clients[client].arrivals[delay.chat]?[index].at += 60_000_000
            return true
        }
        return false
    }

    private func misdeliver(_ evidence: inout Evidence) -> Bool {
        for client in evidence.clients.indices {
            for (chat, log) in evidence.logs {
                guard evidence.clients[client].deliveries[chat] != nil,
                    let stays = evidence.stays(of: evidence.clients[client].name, in: chat),
                    let entry = log.first(where: { entry in
                        !stays.contains { $0.contains(entry.seq) }
                    })
                else { continue }
                evidence.clients[client].deliveries[chat]?.insert(entry, at: 0)
                return true
            }
        }
        return false
    }
}
