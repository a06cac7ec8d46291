import Basics
import Client
import Glibc
import ServerSupport
import Synchronization

/// One client on its own thread: it keeps connected, resumes with its own cursors after each loss,
/// and writes down everything that it sends and hears. Writers send as well; see `Outgoing`.
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
    private var random = SystemRandomNumberGenerator()

    private static let resumeID: Int64 = 0

    /// What a client is made from, on its thread.
    struct Plan: Sendable {
        var user: String
        /// The numbers of its chats.
        var chats: [Int]
        /// Its number where it sends; nil for one that only listens.
        var writer: Int?
        var progress: Progress
    }

    init(_ control: Control, _ plan: Plan) {
        self.control = control
        progress = plan.progress
        user = plan.user
        chats = plan.chats
        record = ClientRecord(name: user)
        for chat in chats {
            seen[chat] = SeenEntries(through: 0)
            record.deliveries[chat] = []
        }
        outgoing = plan.writer.map {
            Outgoing(
                writer: $0, chats: plan.chats,
                foreignChats: control.chats.indices.filter { !plan.chats.contains($0) },
                rate: control.rate)
        }
    }

    /// Until the run is over; then the record is handed in.
    func run() throws {
        let token = try control.server.token(user: user, device: user)
        while !control.isOver {
            do throws(ClientError) {
                let client = try PlainClient(
                    connecting: control.server.url.socket, token: token, timeoutMs: 3_000)
                connection += 1
                connectedAt = MonotonicClock.now()
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
        let count = outgoing?.lost() ?? 0
        control.unknown.wrappingAdd(count, ordering: .relaxed)
    }

    // MARK: A connection

    /// Returns why it ended; nil where the run is over.
    private func serve(_ client: PlainClient) throws(ClientError) -> ClientError? {
        try client.send(
            text: Frames.resume(
                chats.map { (control.chats[$0], seen[$0]?.through ?? 0) }, id: Self.resumeID))
        // A real client does not always wait: half of the time it sends at once.
        var maySend = Bool.random(using: &random)
        outgoing?.connected(now: MonotonicClock.now())
        while !control.isOver {
            if maySend { try sendDue(client) }
            switch try client.receive(timeoutMs: 5) {
            case .text(let text):
                if try hear(reader.read(text), client) { maySend = true }
            case .timedOut: break
            case .binary, .pong: break
            case .close, .ended: return .ended
            }
        }
        return nil
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
            outgoing.sent(message, chat, id: lastID, invocation: record.invocations.count)
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
            record.deliveries[chat]?.append(Delivery(message))
            note(message.seq, in: chat)
            unacknowledged += 1
            if outgoing == nil, unacknowledged >= 20 {
                unacknowledged = 0
                try client.send(text: Frames.delivered(message.chat, seq: message.seq))
            }
        case .ack(.number(Self.resumeID), let ack):
            if !ack.isOK || !ack.refused.isEmpty {
                record.complaints.append("\(user): resume was refused")
            }
        case .ack(.number(let id), let ack): answered(id, ack)
        case .caughtUp:
            progress.noteReturn()
            return true
        case .error(let problem, let event):
            record.complaints.append("\(user): error \(problem.code) for \(event ?? "nothing")")
        case .unreadable(let reason): record.complaints.append("\(user): \(reason)")
        default: break
        }
        return false
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
