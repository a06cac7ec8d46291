import Basics
import Client
import ServerSupport
import Synchronization
import Wire

/// People who talk in one chat through every instance, and others who listen to it, while something
/// happens to what is between them. Whoever loses the connection comes back, where there is an
/// instance, and resumes; whoever has no ack sends again under the same id.
///
/// Checked of each listener: every seq once, in order, without a gap, with the content that was sent,
/// and in time. Of the log: everything acked is in it as it was acked, nothing is in it twice, and a
/// refusal that means "not stored" meant it.
final class Talk: Sendable {
    struct Report {
        var messages = 0
        /// Sends that were answered with an error.
        var refusals = 0
        /// Sends without an answer.
        var unknowns = 0
        /// From an ack to the arrival at the slowest listener.
        var slowestMs = 0
    }

    private struct Listener {
        var node: Int
        var dialect: Dialect
        var name: String { "listener-\(node)-\(dialect)" }
    }

    private struct Acked {
        var content: String
        var at: Instant
    }

    private struct State {
        var listening = 0
        var isOver = false
        /// The last seq there will be, once it is known.
        var goal: Int64?
        var acked: [Int64: Acked] = [:]
        var report = Report()
    }

    /// Refusals that mean "not stored, come again".
    private static let refusals: Set<String> = ["SERVICE_UNAVAILABLE", "DRAINING"]
    private let fleet: Fleet
    private let chat: String
    private let listeners: [Listener]
    private let senders: [String]
    private let paceMs: Int
    private let deliveryMs: Int
    private let state = Mutex(State())

    private init(_ fleet: Fleet, paceMs: Int, deliveryMs: Int) throws {
        self.fleet = fleet
        self.paceMs = paceMs
        self.deliveryMs = deliveryMs
        listeners = fleet.nodes.indices.flatMap { node in
            Dialect.plain.map { Listener(node: node, dialect: $0) }
        }
        senders = fleet.nodes.indices.map { "sender-\($0)" }
        let others = Array(senders.dropFirst()) + listeners.map(\.name)
        chat = try fleet[0].api(senders[0]).createChat(type: "group", members: others).id
    }

    /// Talks until `body` has ended, and then until all has arrived.
    ///
    /// - Parameters:
    ///   - paceMs: between two messages of one sender.
    ///   - deliveryMs: what may pass between an ack and the arrival at a listener. 5 s are promised;
    ///     the rest is for a machine that does other things.
    @discardableResult
    static func during(
        _ fleet: Fleet, paceMs: Int = 30, deliveryMs: Int = 8_000,
        _ body: @escaping @Sendable (_ talk: Talk) throws -> Void
    ) throws -> Report {
        let talk = try Talk(fleet, paceMs: paceMs, deliveryMs: deliveryMs)
        let left = Mutex(talk.senders.count)
        let senders: [@Sendable () throws -> Void] = talk.senders.indices.map { index in
            {
                defer { left.withLock { $0 -= 1 } }
                try talk.stoppingAtFailure { try talk.speak(from: index) }
            }
        }
        let listeners: [@Sendable () throws -> Void] = talk.listeners.map { listener in
            { try talk.stoppingAtFailure { try talk.listen(as: listener) } }
        }
        let director: @Sendable () throws -> Void = {
            try talk.stoppingAtFailure {
                try talk.awaitMessages(5)
                try body(talk)
                talk.state.withLock { $0.isOver = true }
                try eventually("the senders end") { left.withLock { $0 } == 0 }
                let log = try talk.log()
                try talk.compare(log)
                talk.state.withLock { $0.goal = log.last?.seq ?? 0 }
            }
        }
        try inParallel(senders + listeners + [director])
        return talk.state.withLock { $0.report }
    }

    private func stoppingAtFailure(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch {
            // The others have nothing to wait for.
            state.withLock { state in
                state.isOver = true
                state.goal = state.goal ?? 0
            }
            throw error
        }
    }

    /// Waits until `count` more messages than now have been acked.
    func awaitMessages(_ count: Int) throws {
        let before = state.withLock { $0.report.messages }
        try eventually("\(count) more acks", withinMs: 60_000) {
            let now = state.withLock { ($0.report.messages, $0.isOver) }
            try check(!now.1, "the talk has failed")
            return now.0 >= before + count
        }
    }

    /// What there has been so far.
    var report: Report { state.withLock { $0.report } }

    // MARK: Speaking

    private func speak(from node: Int) throws {
        try eventually("everyone listens") {
            state.withLock { $0.listening == listeners.count || $0.isOver }
        }
        var client: TestClient?
        var number = 0
        while !state.withLock({ $0.isOver }) {
            number += 1
            try say("\(senders[node]) \(number)", as: senders[node], near: node, &client)
            _ = try? client?.pump(timeoutMs: paceMs)
        }
    }

    /// Sends until it is acked, or until the talk is over.
    private func say(
        _ content: String, as user: String, near node: Int, _ client: inout TestClient?
    ) throws {
        var mayBeStored = false
        while true {
            guard let connected = try client ?? connect(user, near: node) else { return }
            client = connected
            do {
                let ack = try connected.request {
                    Frames.send(content, to: chat, clientMessageID: content, id: $0)
                }
                if let problem = ack.problem {
                    try check(Self.refusals.contains(problem.code), "refused: \(problem)")
                    state.withLock { $0.report.refusals += 1 }
                    _ = try connected.pump(timeoutMs: paceMs)
                } else {
                    try take(ack, of: content, mayBeStored: mayBeStored)
                    return
                }
            } catch {
                guard connected.hasEnded || connected.closed != nil || error is ClientError else {
                    throw error
                }
                // No answer: it may be in the log or not.
                mayBeStored = true
                state.withLock { $0.report.unknowns += 1 }
                client = nil
            }
            if state.withLock({ $0.isOver }) { return }
        }
    }

    private func take(_ ack: ServerEvent.Ack, of content: String, mayBeStored: Bool) throws {
        guard let seq = ack.seq else { throw SupportError("an ack without a seq") }
        try check(
            mayBeStored || ack.isDuplicate == false,
            "\(content) was refused as not stored, and is in the log")
        let other = state.withLock { state in
            state.report.messages += 1
            return state.acked.updateValue(
                Acked(content: content, at: MonotonicClock.now()), forKey: seq)
        }
        try check(other == nil, "\(seq) is \(other?.content ?? "") and \(content)")
    }

    /// To the instance of that number, or to the next one that lets us in. nil where the talk is over
    /// before that.
    private func connect(
        _ user: String, near node: Int, device: String? = nil, dialect: Dialect = .v1
    ) throws -> TestClient? {
        var client: TestClient?
        var tries = 0
        try eventually("an instance that takes \(user)", withinMs: 60_000) {
            let place = (node + tries) % fleet.nodes.count
            tries += 1
            client = try? fleet.client(user, at: place, device: device, dialect: dialect)
            return client != nil || state.withLock { $0.isOver && $0.goal != nil }
        }
        return client
    }

    // MARK: Listening

    private func listen(as listener: Listener) throws {
        var heard: Int64 = 0
        var client: TestClient?
        var backAt = Instant.start
        var isFirst = true
        var arrivals: [(seq: Int64, at: Instant, backAt: Instant)] = []
        var deadline: Instant?
        while true {
            if let goal = state.withLock({ $0.goal }) {
                if heard >= goal { break }
                let limit = deadline ?? MonotonicClock.now().advanced(byMilliseconds: 30_000)
                deadline = limit
                try check(
                    MonotonicClock.now() < limit,
                    "\(listener.name) heard up to \(heard) of \(goal)")
            }
            if client?.hasEnded != false {
                client = try connect(
                    listener.name, near: listener.node, device: "d", dialect: listener.dialect)
                guard let client else { return }
                do {
                    try client.resume([(chat, heard)])
                    // Before the ack came what the server sent by itself.
                    _ = client.takeEvents()
                } catch let error as SupportError where !client.hasEnded {
                    // Refused, because the store is away.
                    try check("\(error)".contains("SERVICE_UNAVAILABLE"), "\(error)")
                    client.plain.abort()
                    continue
                } catch { continue }
                if isFirst { state.withLock { $0.listening += 1 } }
                isFirst = false
                backAt = MonotonicClock.now()
            }
            guard let connected = client else { continue }
            do {
                try connected.pump(timeoutMs: 50)
            } catch is ClientError {
                client = nil
            }
            let now = MonotonicClock.now()
            for case .message(let message) in connected.takeEvents() {
                try check(
                    message.seq == heard + 1,
                    "\(listener.name) heard \(message.seq) after \(heard)")
                heard = message.seq
                arrivals.append((heard, now, backAt))
            }
        }
        try measure(arrivals, of: listener.name)
    }

    private func measure(
        _ arrivals: [(seq: Int64, at: Instant, backAt: Instant)], of name: String
    ) throws {
        let acked = state.withLock { $0.acked }
        var slowest = (ms: 0, seq: Int64(0))
        for arrival in arrivals {
            guard let ack = acked[arrival.seq] else { continue }
            // Nobody hears while away.
            let ms = arrival.at.milliseconds(since: max(ack.at, arrival.backAt))
            if ms > slowest.ms { slowest = (ms, arrival.seq) }
        }
        state.withLock { $0.report.slowestMs = max($0.report.slowestMs, slowest.ms) }
        try check(
            slowest.ms <= deliveryMs,
            "\(name) heard \(slowest.seq) \(slowest.ms) ms after its ack")
    }

    // MARK: The log

    private func log() throws -> [ServerEvent.Message] {
        for node in fleet.nodes where node.process.exit == nil {
            return try Fleet.history(chat, of: senders[0], at: node).compactMap { entry in
                if case .message(let message) = entry { message } else { nil }
            }
        }
        throw SupportError("no instance is left")
    }

    private func compare(_ log: [ServerEvent.Message]) throws {
        try check(log.map(\.seq) == Array(1...Int64(max(1, log.count))), "the log has holes")
        try check(Set(log.map(\.content)).count == log.count, "something is in the log twice")
        let stored = Dictionary(uniqueKeysWithValues: log.map { ($0.seq, $0.content) })
        let acked = state.withLock { $0.acked }
        let lost = acked.filter { stored[$0.key] != $0.value.content }
        try check(lost.isEmpty, "\(lost.count) of \(acked.count) acked messages are lost")
    }
}
