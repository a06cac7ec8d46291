import Basics
import WebSocket

/// A conversation with one other user, as the terminal client keeps it: which lines there are, what
/// state each message is in, what must be sent. Pure: time, bytes and randomness come in, effects
/// go out, and the loop around it does the rest.
///
///        offline ── opened ──▶ joining ── ack ──▶ replaying ── caughtUp ──▶ live
///           ▲                     │                   │                      │
///           └──────── lost ───────┴───────────────────┴──────────────────────┘
///
/// Nothing is lost: a message stays in the queue, under one clientMsgId, until the server has
/// acknowledged or refused it; one is under way at a time, so that they are stored in the order in
/// which they were typed. Nothing is shown twice: every entry of the log is counted by its seq, and
/// an entry of ours whose ack was lost waits in `held` for the ack of its resend.
///
/// Bounded: 2,000 lines, and the queue by its feeder (`canTakeMore`).
package struct ConnectModel: Sendable {
    package let user: String
    package let peer: String
    package let chat: String
    package private(set) var phase: Phase
    package internal(set) var lines: [Line] = []
    package private(set) var peerIsTyping = false

    /// Lines that are kept; the oldest go first.
    package static let maximumLines = 2_000

    // MARK: State

    var effects: [Effect] = []
    private var nextLineID = 0
    /// New tokens can be had, so an expired one is no end.
    private let canRenewToken: Bool
    private var random: SplitMix64

    private var attempts = 0
    private var phaseBegan: Instant
    private var hasJoined = false
    private var joinRequest: Int64?
    private var nextRequest: Int64 = 1
    private var silenceMs = 55_000
    /// The devices under which this process has been connected.
    private var ownDevices: Set<String> = []
    var frameBytes = 1_000_000
    var ciphertextBytes = 256_000

    var log: SeenEntries
    /// Entries of our own devices that may be the message under way.
    var held: [ServerEvent.Message] = []
    var queue: [Pending] = []
    var underWay: (request: Int64, since: Instant)?
    var retrySendAt: Instant?
    var pace = SendPace()
    let clientMessagePrefix: String
    var clientMessageCount = 0

    private var peerDelivered: Int64 = 0
    private var peerRead: Int64 = 0
    /// The highest seq of a message from somebody else, and the highest that was reported.
    private var lastFromOthers: Int64 = 0
    private var reported: Int64 = 0

    private var typingSentAt: Instant?
    private var hasSaidTyping = false
    private var peerTypingUntil: Instant?
    private var isFinishing = false

    /// A message that waits for its ack.
    struct Pending: Sendable {
        var line: Int
        var clientMessageID: String
        var text: String
        /// It was sent at least once, so it may be stored.
        var wasSent = false
    }

    /// - Parameters:
    ///   - since: entries up to this seq are not shown.
    ///   - seed: of the ids of messages and of the jitter of reconnects: random, in production.
    package init(
        user: String, peer: String, chat: String, since: Int64, canRenewToken: Bool, seed: UInt64,
        now: Instant
    ) {
        self.user = user
        self.peer = peer
        self.chat = chat
        self.canRenewToken = canRenewToken
        phase = .offline(retryAt: now)
        phaseBegan = now
        log = SeenEntries(through: max(0, since))
        random = SplitMix64(state: seed)
        clientMessagePrefix =
            "connect-" + String(random.next(), radix: 16) + String(random.next(), radix: 16)
    }

    /// What is to be done, in this order; each is handed out once.
    package mutating func takeEffects() -> [Effect] {
        let taken = effects
        effects = []
        return taken
    }

    /// Messages that are not acknowledged yet.
    package var unsentCount: Int { queue.count }

    /// Whether a feeder that reads faster than the server acknowledges should go on.
    package var canTakeMore: Bool { queue.count < 256 }

    /// The last entry up to which nothing is missing.
    package var lastSeq: Int64 { log.through }

    // MARK: The connection

    /// The socket is open: ask for what was missed.
    package mutating func opened(now: Instant) {
        guard case .offline = phase else { return }
        enter(.joining, now)
        let request = takeRequest()
        joinRequest = request
        effects.append(
            .send(
                hasJoined
                    ? Frames.resume([(chat, log.through)], id: request)
                    : Frames.join(chat, since: log.through, id: request)))
    }

    /// The connection ended, or could not be made.
    package mutating func lost(_ loss: Loss, now: Instant) {
        guard phase != .ended else { return }
        let wasOpen = !isOffline
        underWay = nil
        retrySendAt = nil
        hasSaidTyping = false
        typingSentAt = nil
        peerIsTyping = false
        peerTypingUntil = nil
        joinRequest = nil
        reported = 0
        let verdict = Verdict(loss, canRenewToken: canRenewToken)
        if let end = verdict.end {
            finish(end)
            return
        }
        let wait = max(verdict.waitMs, backoffMs())
        attempts += 1
        if wasOpen || attempts == 1 { notice("connection lost (\(verdict.text)); reconnecting") }
        enter(.offline(retryAt: now.advanced(byMilliseconds: wait)), now)
    }

    private var isOffline: Bool {
        if case .offline = phase { true } else { false }
    }

    /// 0.5 s, doubled with each failure, at most 10 s; the upper half is random, so that the
    /// clients of a restarted server do not come back all at once.
    private mutating func backoffMs() -> Int {
        let bound = min(10_000, 500 << min(attempts, 5))
        return bound / 2 + Int(random.next() % UInt64(bound / 2 + 1))
    }

    private mutating func drop(_ reason: String, now: Instant) {
        effects.append(.disconnect)
        lost(.failed(.timedOut(reason)), now: now)
    }

    private mutating func enter(_ phase: Phase, _ now: Instant) {
        self.phase = phase
        phaseBegan = now
    }

    mutating func takeRequest() -> Int64 {
        defer { nextRequest += 1 }
        return nextRequest
    }

    private mutating func finish(_ reason: String?) {
        guard phase != .ended else { return }
        phase = .ended
        effects.append(.end(reason))
    }

    // MARK: What the server says

    package mutating func received(_ event: ServerEvent, now: Instant) {
        guard phase != .ended else { return }
        switch event {
        case .ready(let ready):
            become(ready)
        case .expiring:
            if canRenewToken {
                effects.append(.renewToken)
            } else {
                notice("the token ends soon; start again with a new one")
            }
        case .ack(.number(let id), let ack):
            if id == joinRequest {
                joined(ack, now: now)
            } else if id == underWay?.request {
                sent(ack, now: now)
            }
        case .ack(.text, _), .stored:
            break
        case .error(let problem, let event):
            told(problem, event)
        case .message(let message) where message.chat == chat:
            arrived(message)
        case .changed(let change) where change.chat == chat:
            changed(change)
        case .receipt(let receipt) where receipt.chat == chat && receipt.user == peer:
            watermarks(delivered: receipt.deliveredSeq ?? 0, read: receipt.readSeq ?? 0)
        case .typing(chat, peer, let isTyping):
            setPeerTyping(isTyping, now)
        case .caughtUp(let chats):
            guard let seq = chats[chat], phase == .replaying else { break }
            log.reached(seq)
            becameLive(now: now)
        case .message, .changed, .receipt, .typing, .other:
            break
        case .unreadable(let reason):
            notice("a frame could not be read: \(reason)")
        }
        sendNext(now: now)
    }

    private mutating func become(_ ready: ServerEvent.Ready) {
        guard ready.user == user else {
            finish("the token is for \(ready.user); use --as \(ready.user)")
            return
        }
        ownDevices.insert(ready.device)
        if let bytes = ready.frameBytes { frameBytes = Int(clamping: bytes) }
        if let bytes = ready.ciphertextBytes { ciphertextBytes = Int(clamping: bytes) }
        if let interval = ready.pingIntervalMs {
            silenceMs = 2 * Int(clamping: min(max(interval, 1_000), 600_000)) + 5_000
        }
    }

    private mutating func joined(_ ack: ServerEvent.Ack, now: Instant) {
        joinRequest = nil
        if let problem = ack.problem {
            if Self.isRetryable(problem.code) {
                drop(problem.message, now: now)
            } else {
                finish("the chat cannot be opened: \(problem.message)")
            }
            return
        }
        if let code = ack.refused[chat] {
            finish("you are not a member of this chat any more (\(code))")
            return
        }
        enter(.replaying, now)
    }

    private mutating func becameLive(now: Instant) {
        enter(.live, now)
        if attempts > 0 { notice("connected again") }
        attempts = 0
        hasJoined = true
        effects.append(.fetchWatermarks)
    }

    /// Receipts and typing go without an id: what the server says to them helps nobody.
    private mutating func told(_ problem: ServerEvent.Problem, _ event: String?) {
        switch event {
        case "typing", "delivery.ack", "read.set": break
        default: notice("the server says \(problem.code): \(problem.message)")
        }
    }

    private mutating func arrived(_ message: ServerEvent.Message) {
        // A backend's message is in no log, so nothing else shows that it is new.
        guard message.seq > 0 else {
            show(message)
            return
        }
        guard log.insert(message.seq) else { return }
        // It may be the message under way, stored before the connection broke: its ack will tell.
        if queue.first?.wasSent == true, message.sender == user,
            ownDevices.contains(message.senderDevice)
        {
            held.append(message)
        } else {
            show(message)
        }
    }

    mutating func show(_ message: ServerEvent.Message) {
        if message.sender == user {
            append(.own(message.content, delivery(of: message.seq)))
        } else {
            lastFromOthers = max(lastFromOthers, message.seq)
            if message.sender == peer { setPeerTyping(false, phaseBegan) }
            append(.message(from: message.sender, message.content))
        }
    }

    private mutating func changed(_ change: ServerEvent.MembershipChange) {
        guard log.insert(change.seq) else { return }
        notice("\(change.user) was \(change.kind) by \(change.by)")
    }

    private mutating func setPeerTyping(_ isTyping: Bool, _ now: Instant) {
        if isTyping, !peerIsTyping { effects.append(.typingBegan) }
        peerIsTyping = isTyping
        // The server ends it after 6 s; one that it could not end is ended here.
        peerTypingUntil = isTyping ? now.advanced(byMilliseconds: 8_000) : nil
    }

    static func isRetryable(_ code: String) -> Bool {
        switch code {
        case "RATE_LIMITED", "SERVICE_UNAVAILABLE", "DRAINING", "INTERNAL_ERROR": true
        default: false
        }
    }

    // MARK: Marks

    /// How far the other has come; a lower value than before changes nothing.
    package mutating func watermarks(delivered: Int64, read: Int64) {
        let isNews = read > peerRead || max(delivered, read) > peerDelivered
        guard isNews else { return }
        peerRead = max(peerRead, read)
        peerDelivered = max(peerDelivered, delivered, read)
        for index in lines.indices {
            guard case .own(let text, let old) = lines[index].content, let seq = old.seq else {
                continue
            }
            let new = delivery(of: seq)
            guard new != old else { continue }
            lines[index].content = .own(text, new)
            effects.append(.updated(lines[index]))
        }
    }

    func delivery(of seq: Int64) -> Delivery {
        if seq <= peerRead { return .read(seq: seq) }
        return seq <= peerDelivered ? .delivered(seq: seq) : .stored(seq: seq)
    }

    // MARK: What the user does

    /// A key was pressed in the line that is being typed.
    ///
    /// - Parameter isEmpty: the line is empty now.
    package mutating func typed(isEmpty: Bool, now: Instant) {
        guard phase == .live else { return }
        if isEmpty {
            stopTyping()
            return
        }
        if let typingSentAt, now.milliseconds(since: typingSentAt) < 2_000 { return }
        typingSentAt = now
        hasSaidTyping = true
        effects.append(.send(Frames.typing(chat, isTyping: true)))
    }

    private mutating func stopTyping() {
        guard hasSaidTyping, phase == .live else { return }
        hasSaidTyping = false
        effects.append(.send(Frames.typing(chat, isTyping: false)))
    }

    /// The user entered a line: a message, or a command that begins with `/`.
    package mutating func submit(_ line: String, now: Instant) {
        guard phase != .ended else { return }
        stopTyping()
        guard !line.isEmpty else { return }
        if line.hasPrefix("/"), !line.hasPrefix("//") {
            perform(line)
        } else {
            enqueue(line.hasPrefix("//") ? String(line.dropFirst()) : line)
            sendNext(now: now)
        }
    }

    private mutating func perform(_ line: String) {
        switch line.split(separator: " ").first {
        case "/quit": finish(nil)
        case "/help":
            notice("a line is sent as a message; // at its start sends a line that begins with /")
            notice("… sending   ✓ stored   ✓✓ delivered   ✓✓ read   ✗ refused")
            notice("/quit or Ctrl-D ends")
        default: notice("there is no command \(line); /help lists them")
        }
    }

    /// No more lines will come: it ends, at a `tick`, when what was missed has been shown and what
    /// was entered is acknowledged.
    package mutating func finishWhenSent() { isFinishing = true }

    // MARK: Time

    /// Once a turn of the loop, after everything that had arrived: receipts, deadlines.
    ///
    /// - Parameter lastHeard: when bytes last came from the server.
    package mutating func tick(lastHeard: Instant, now: Instant) {
        reportReceipts()
        if let peerTypingUntil, now >= peerTypingUntil { setPeerTyping(false, now) }
        if hasSaidTyping, let typingSentAt, now.milliseconds(since: typingSentAt) >= 6_000 {
            hasSaidTyping = false  // The server has let it expire.
        }
        switch phase {
        case .offline, .ended:
            return
        case .joining, .replaying:
            let began = max(phaseBegan, lastHeard)
            if now.milliseconds(since: began) >= 15_000 { drop("opening the chat", now: now) }
        case .live:
            if now.milliseconds(since: lastHeard) >= silenceMs {
                drop("the server is silent", now: now)
            } else if let underWay, now.milliseconds(since: underWay.since) >= 15_000 {
                drop("the ack of a message", now: now)
            } else if isFinishing, queue.isEmpty {
                finish(nil)
            } else {
                sendNext(now: now)
            }
        }
    }

    /// One cumulative receipt for all that came since the last one.
    private mutating func reportReceipts() {
        guard phase == .live else { return }
        let seq = min(log.through, lastFromOthers)
        guard seq > reported else { return }
        reported = seq
        effects.append(.send(Frames.delivered(chat, seq: seq)))
        effects.append(.send(Frames.read(chat, seq: seq)))
    }

    package mutating func renewed(_ token: String) {
        guard phase == .live else { return }
        effects.append(.send(Frames.authenticate(token: token, id: takeRequest())))
    }

    // MARK: Lines

    package mutating func notice(_ text: String) { append(.notice(text)) }

    @discardableResult
    mutating func append(_ content: Line.Content) -> Int {
        let line = Line(id: nextLineID, content: content)
        nextLineID += 1
        lines.append(line)
        if lines.count > Self.maximumLines { lines.removeFirst(Self.maximumLines / 4) }
        effects.append(.appended(line))
        return line.id
    }

    mutating func update(line id: Int, _ content: Line.Content) {
        let line = Line(id: id, content: content)
        // One that has scrolled away is still told.
        if let first = lines.first?.id, id >= first, id - first < lines.count {
            lines[id - first] = line
        }
        effects.append(.updated(line))
    }
}
