import Basics
import Client
import Glibc
import ServerSupport
import Synchronization

/// One client on its own thread: it keeps connected, resumes with its own cursors after each loss,
/// and writes down everything that it sends and hears. Writers send as well; see `Outgoing`.
///
/// Of a fleet it takes any instance each time, leaves one that owes it an answer for some seconds,
/// and goes elsewhere with what that one cannot do now. A visitor's chats are those that it may
/// not always be a member of: it asks for them again and again.
final class FaultClient {
    private let control: Control
    private let progress: Progress
    private let user: String
    /// The numbers of its chats.
    private let chats: [Int]
    private var seen: [Int: SeenEntries] = [:]
    private var outgoing: Outgoing?
    private var record: ClientRecord
    private var reader = ServerEventReader()
    private var connection = 0
    private var connectedAt = Instant.start
    private var lastID: Int64 = 0
    private var unacknowledged = 0
    private var random: SeededRandom
    private let isVisitor: Bool
    /// A visitor's: chats that it was refused or removed from.
    private var absent: Set<Int> = []
    /// What the resume under way is for; nil where none is.
    private var asked: Set<Int>?
    /// A resume was sent, and its `caughtUp` has not come.
    private var isCatchingUp = false
    private var asksAt = Instant.start
    /// The instance said that it cannot go on now.
    private var isToLeave = false

    /// Below all of a message's.
    private static let resumeID: Int64 = 0
    private static let askAgainMs = 300
    /// What an instance of a fleet may say when it, or what it stands on, is hurt.
    private static let passing: Set<String> = ["SERVICE_UNAVAILABLE", "DRAINING", "RATE_LIMITED"]

    /// What a client is made from, on its thread.
    struct Plan: Sendable {
        var user: String
        /// The numbers of its chats.
        var chats: [Int]
        /// Its number where it sends; nil for one that only listens.
        var writer: Int?
        var progress: Progress
        var isVisitor = false
        var seed = UInt64.random(in: .min ... .max)
    }

    init(_ control: Control, _ plan: Plan) {
        self.control = control
        progress = plan.progress
        user = plan.user
        chats = plan.chats
        random = SeededRandom(plan.seed)
        isVisitor = plan.isVisitor
        record = ClientRecord(name: user)
        record.isListener = plan.writer == nil && !plan.isVisitor
        for chat in chats {
            seen[chat] = SeenEntries(through: 0)
            record.deliveries[chat] = []
            record.arrivals[chat] = []
        }
        outgoing = plan.writer.map {
            Outgoing(
                writer: $0, chats: plan.chats,
                foreignChats: control.chats.indices.filter { !plan.chats.contains($0) },
                rate: control.rate, isPersistent: control.isFleet)
        }
    }

    /// Until the run is over; then the record is handed in.
    func run() throws {
        let token = try control.servers[0].token(user: user, device: user)
        while !control.isOver {
            let number = random.next(below: control.servers.count)
            do throws(ClientError) {
                let client = try PlainClient(
                    connecting: control.servers[number].url.socket, token: token,
                    timeoutMs: 3_000)
                connection += 1
                connectedAt = MonotonicClock.now()
                record.connections.append(
                    ConnectionRecord(server: number, openedAt: wallMicroseconds()))
                lost(reason: try serve(client))
                client.abort()
            } catch {
                lost(reason: error)
            }
            if !control.isOver { usleep(20_000) }
        }
        control.hand(in: record)
    }

    /// What was under way has an unknown fate.
    private func lost(reason: ClientError?) {
        if case .badAnswer(let text)? = reason { record.complaints.append("\(user): \(text)") }
        if case .refused(let status, let code, let text, _)? = reason, status < 500 {
            record.complaints.append("\(user): \(status) \(code ?? "") \(text)")
        }
        if let last = record.connections.last, last.lostAt == nil, !control.isOver {
            record.connections[record.connections.count - 1].lostAt = wallMicroseconds()
        }
        progress.set(live: false)
        let count = outgoing?.lost() ?? 0
        control.unknown.wrappingAdd(count, ordering: .relaxed)
    }

    // MARK: A connection

    /// Returns why it ended; nil where the run is over.
    private func serve(_ client: PlainClient) throws(ClientError) -> ClientError? {
        isToLeave = false
        absent = []
        let begunAt = MonotonicClock.now()
        var isLive = false
        let patienceMs = 3_000 + random.next(below: 9_000)
        try resume(chats, client)
        // A real client does not always wait: half of the time it sends at once.
        var maySend = Bool.random(using: &random)
        outgoing?.connected(now: MonotonicClock.now())
        while !control.isOver {
            if maySend { try sendDue(client) }
            // Not while a replay runs: what it brings is not in the cursor yet, and an entry that
            // ends a stay may be followed by the one that begins the next.
            if !absent.isEmpty, !isCatchingUp, MonotonicClock.now() >= asksAt {
                try resume(chats.filter { absent.contains($0) }, client)
            }
            if control.isFleet {
                let owedSince = isLive ? outgoing?.owedSince : begunAt
                let owedMs = owedSince.map { MonotonicClock.now().milliseconds(since: $0) } ?? 0
                if isToLeave || owedMs > patienceMs { return nil }
            }
            switch try client.receive(timeoutMs: 5) {
            case .text(let text):
                if try hear(reader.read(text), client) {
                    maySend = true
                    isLive = true
                }
            case .timedOut: break
            case .binary, .pong: break
            case .close, .ended: return .ended
            }
        }
        return nil
    }

    private func resume(_ chats: [Int], _ client: PlainClient) throws(ClientError) {
        asked = Set(chats)
        isCatchingUp = true
        asksAt = MonotonicClock.now().advanced(byMilliseconds: Self.askAgainMs)
        try client.send(
            text: Frames.resume(
                chats.map { (control.chats[$0], seen[$0]?.through ?? 0) }, id: Self.resumeID))
    }

    private func sendDue(_ client: PlainClient) throws(ClientError) {
        guard var outgoing else { return }
        defer {
            progress.set(idle: outgoing.isIdle)
            self.outgoing = outgoing
        }
        while let (message, chat) = outgoing.next(
            now: MonotonicClock.now(), mayInvent: !control.isStopping)
        {
            lastID += 1
            outgoing.sent(
                message, chat, id: lastID, invocation: record.invocations.count,
                now: MonotonicClock.now())
            record.invocations.append(
                Invocation(message: message, chat: chat, connection: connection))
            control.invoked.wrappingAdd(1, ordering: .relaxed)
            try client.send(
                text: Frames.send(
                    message.content, to: control.chats[chat],
                    clientMessageID: "\(message)", id: lastID))
        }
    }

    // MARK: What it hears

    /// Returns whether it was the end of the catch-up.
    private func hear(
        _ event: ServerEvent, _ client: PlainClient
    ) throws(ClientError) -> Bool {
        switch event {
        case .message(let message):
            guard let chat = chats.first(where: { control.chats[$0] == message.chat }) else {
                record.complaints.append("\(user): an entry of a chat that is not followed")
                return false
            }
            deliver(Delivery(message), in: chat)
            unacknowledged += 1
            if outgoing == nil, !isVisitor, unacknowledged >= 20 {
                unacknowledged = 0
                try client.send(text: Frames.delivered(message.chat, seq: message.seq))
            }
        case .changed(let change):
            guard let chat = chats.first(where: { control.chats[$0] == change.chat }) else {
                record.complaints.append("\(user): a change of a chat that is not followed")
                return false
            }
            let delivery = Delivery(change)
            deliver(delivery, in: chat)
            if delivery.change == Delivery.Change(user: user, isEnd: true) { absent.insert(chat) }
            if delivery.change == Delivery.Change(user: user, isEnd: false) { absent.remove(chat) }
        case .ack(.number(Self.resumeID), let ack): resumed(ack)
        case .ack(.number(let id), let ack): answered(id, ack)
        case .caughtUp:
            isCatchingUp = false
            if let last = record.connections.indices.last,
                record.connections[last].caughtUpAt == nil
            {
                record.connections[last].caughtUpAt = wallMicroseconds()
                progress.set(live: true)
                progress.noteReturn()
            }
            return true
        case .error(let problem, _) where control.isFleet && Self.passing.contains(problem.code):
            isToLeave = true
        case .error(let problem, let event):
            record.complaints.append("\(user): error \(problem.code) for \(event ?? "nothing")")
        case .unreadable(let reason): record.complaints.append("\(user): \(reason)")
        default: break
        }
        return false
    }

    private func resumed(_ ack: ServerEvent.Ack) {
        let asked = asked ?? []
        self.asked = nil
        if !ack.isOK {
            isCatchingUp = false
            if control.isFleet, Self.passing.contains(ack.problem?.code ?? "") {
                isToLeave = true
            } else {
                record.complaints.append(
                    "\(user): resume was refused: \(ack.problem?.code ?? "no code")")
            }
            return
        }
        guard isVisitor else {
            if !ack.refused.isEmpty {
                record.complaints.append("\(user): resume was refused: \(ack.refused)")
            }
            return
        }
        absent.subtract(asked)
        for (chat, code) in ack.refused {
            if code == "NOT_FOUND", let number = control.chats.firstIndex(of: chat) {
                absent.insert(number)
            } else {
                record.complaints.append("\(user): resume was refused: \(code)")
            }
        }
    }

    private func deliver(_ delivery: Delivery, in chat: Int) {
        record.deliveries[chat]?.append(delivery)
        record.arrivals[chat]?.append(Arrival(at: wallMicroseconds(), connection: connection))
        if isVisitor {
            // Between its stays are entries that are not its own: the last one heard is its cursor.
            seen[chat]?.reached(delivery.seq)
            progress.set(delivery.seq, in: chat)
        } else {
            note(delivery.seq, in: chat)
        }
    }

    private func answered(_ id: Int64, _ ack: ServerEvent.Ack) {
        guard let sent = outgoing?.answered(id) else {
            record.complaints.append("\(user): an ack of what was not asked")
            return
        }
        if let seq = ack.seq, let message = ack.messageID {
            record.invocations[sent.invocation].outcome = .stored(seq: seq, id: message)
            note(seq, in: sent.chat)
            control.noteStored(connectedAt: connectedAt)
        } else {
            let code = ack.problem?.code ?? "no code"
            record.invocations[sent.invocation].outcome = .refused(code: code)
            control.refused.wrappingAdd(1, ordering: .relaxed)
            outgoing?.refused(
                sent, retryAfterMs: Int(ack.problem?.retryAfterMs ?? 100),
                now: MonotonicClock.now())
        }
    }

    private func note(_ seq: Int64, in chat: Int) {
        seen[chat]?.insert(seq)
        progress.set(seen[chat]?.through ?? 0, in: chat)
    }
}

/// Microseconds since 1970.
func wallMicroseconds() -> Int64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
}
