import Client

/// The chats' whole logs, and what the clients wrote down: do they agree?
struct Evidence {
    /// By chat, in the order of the history.
    var logs: [Int: [Delivery]]
    var clients: [ClientRecord]
    /// What a fleet's checks use besides; nil for one server.
    var fleet: FleetEvidence?
}

/// One promise, and where it was broken.
struct Verdict {
    var name: String
    /// How much was looked at: a check of nothing proves nothing.
    var looked = 0
    var violations: [String] = []

    init(_ name: String) { self.name = name }

    var hasPassed: Bool { violations.isEmpty && looked > 0 }

    mutating func violate(_ text: String) { violations.append(text) }
}

/// What must hold after any number of crashes.
struct Checks {
    private let evidence: Evidence
    /// Where the log has a message. Of one that stands there twice, the first place.
    private var places: [MessageKey: (chat: Int, seq: Int64, id: String)] = [:]
    private var invocations: [MessageKey: [Invocation]] = [:]

    init(_ evidence: Evidence) {
        self.evidence = evidence
        for (chat, log) in evidence.logs {
            for entry in log {
                guard let message = entry.message, places[message] == nil else { continue }
                places[message] = (chat, entry.seq, entry.id)
            }
        }
        for client in evidence.clients {
            for invocation in client.invocations {
                invocations[invocation.message, default: []].append(invocation)
            }
        }
    }

    func all() -> [Verdict] {
        [
            ackedIsStored(), oneAck(), onceEach(), nothingUnasked(), noGaps(), sendingOrder(),
            refusedIsNotStored(), ascending(), complete(), sensible(),
        ]
    }

    /// P1.
    private func ackedIsStored() -> Verdict {
        var verdict = Verdict("P1 every acked message is in the log, under its seq and id")
        for invocation in invocations.values.joined() {
            guard case .stored(let seq, let id) = invocation.outcome else { continue }
            verdict.looked += 1
            guard let place = places[invocation.message] else {
                verdict.violate("\(invocation.message): acked as \(seq), not in the log")
                continue
            }
            if place.chat != invocation.chat || place.seq != seq || place.id != id {
                verdict.violate("\(invocation.message): acked as \(seq), stored as \(place.seq)")
            }
        }
        return verdict
    }

    /// P4: however often it was sent, one answer.
    private func oneAck() -> Verdict {
        var verdict = Verdict("P4 a resent message has one seq and one id in all its acks")
        for (message, all) in invocations where all.count > 1 {
            verdict.looked += 1
            let stored = Set(
                all.map(\.outcome).filter { outcome in
                    if case .stored = outcome { true } else { false }
                })
            if stored.count > 1 { verdict.violate("\(message): \(stored)") }
        }
        return verdict
    }

    /// P4.
    private func onceEach() -> Verdict {
        var verdict = Verdict("P4 no message is in the logs twice")
        var found: Set<MessageKey> = []
        for entry in evidence.logs.values.joined() {
            verdict.looked += 1
            guard let message = entry.message else { continue }
            if !found.insert(message).inserted { verdict.violate("\(message)") }
        }
        return verdict
    }

    private func nothingUnasked() -> Verdict {
        var verdict = Verdict("Nothing is in the log that nobody sent, or other than it was sent")
        for (chat, log) in evidence.logs {
            for entry in log {
                verdict.looked += 1
                if let change = entry.change, evidence.fleet?.visitors.contains(change.user) == true
                {
                    continue
                }
                guard let message = entry.message else {
                    verdict.violate("chat \(chat), \(entry.seq): not as any message was sent")
                    continue
                }
                if !(invocations[message] ?? []).contains(where: { $0.chat == chat }) {
                    verdict.violate("chat \(chat), \(entry.seq): \(message) was not sent there")
                }
            }
        }
        return verdict
    }

    /// P3.
    private func noGaps() -> Verdict {
        var verdict = Verdict("P3 the seqs of each chat are 1…n without a gap")
        for (chat, log) in evidence.logs {
            verdict.looked += log.count
            for (index, entry) in log.enumerated() where entry.seq != Int64(index) + 1 {
                verdict.violate("chat \(chat): \(entry.seq) at place \(index + 1)")
                break
            }
        }
        return verdict
    }

    /// P3. A message that was sent once only stands where its connection put it; also where its ack
    /// was lost.
    private func sendingOrder() -> Verdict {
        var verdict = Verdict("P3 one connection's messages have their seqs in sending order")
        for client in evidence.clients {
            var last: [[Int]: Int64] = [:]
            for invocation in client.invocations {
                guard invocations[invocation.message]?.count == 1,
                    let place = places[invocation.message]
                else { continue }
                verdict.looked += 1
                let lane = [invocation.connection, invocation.chat]
                if place.seq <= last[lane] ?? 0 {
                    verdict.violate(
                        "\(invocation.message) has \(place.seq), the one before \(last[lane] ?? 0)")
                }
                last[lane] = place.seq
            }
        }
        return verdict
    }

    /// P5.
    private func refusedIsNotStored() -> Verdict {
        var verdict = Verdict("P5 what was refused and not asked for again is not in the log")
        for (message, all) in invocations {
            let isRefused = all.allSatisfy { invocation in
                if case .refused = invocation.outcome { true } else { false }
            }
            guard isRefused else { continue }
            verdict.looked += 1
            if let place = places[message] {
                verdict.violate("\(message): refused, stored as \(place.seq)")
            }
        }
        return verdict
    }

    /// P3 and the resume's part of P2: never again, never backwards, over all connections.
    private func ascending() -> Verdict {
        var verdict = Verdict("P3 each device hears a chat in strictly ascending order")
        for client in evidence.clients {
            for (chat, deliveries) in client.deliveries {
                verdict.looked += deliveries.count
                for (before, after) in zip(deliveries, deliveries.dropFirst())
                where after.seq <= before.seq {
                    verdict.violate(
                        "\(client.name), chat \(chat): \(after.seq) after \(before.seq)")
                }
            }
        }
        return verdict
    }

    /// P2: every entry reached every device, as it is in the log. A device's own message may have
    /// come as its ack alone.
    private func complete() -> Verdict {
        var verdict = Verdict("P2 each device heard every entry, as it is in the log")
        for client in evidence.clients {
            var acked: Set<MessageKey> = []
            for invocation in client.invocations {
                if case .stored = invocation.outcome { acked.insert(invocation.message) }
            }
            for (chat, deliveries) in client.deliveries {
                let heard = Dictionary(deliveries.map { ($0.seq, $0) }) { first, _ in first }
                let stays = evidence.stays(of: client.name, in: chat)
                for entry in evidence.logs[chat] ?? [] {
                    if let stays, !stays.contains(where: { $0.contains(entry.seq) }) { continue }
                    verdict.looked += 1
                    if let delivery = heard[entry.seq] {
                        if delivery != entry {
                            verdict.violate(
                                "\(client.name), chat \(chat): \(entry.seq) came otherwise")
                        }
                    } else if !(entry.message.map { acked.contains($0) } ?? false) {
                        verdict.violate("\(client.name), chat \(chat): \(entry.seq) never came")
                    }
                }
                if let last = deliveries.last, last.seq > Int64(evidence.logs[chat]?.count ?? 0) {
                    verdict.violate("\(client.name), chat \(chat): \(last.seq) is not in the log")
                }
            }
        }
        return verdict
    }

    private func sensible() -> Verdict {
        var verdict = Verdict("No client heard anything that the protocol does not have")
        for client in evidence.clients {
            verdict.looked += 1
            for complaint in client.complaints { verdict.violate(complaint) }
        }
        return verdict
    }
}
