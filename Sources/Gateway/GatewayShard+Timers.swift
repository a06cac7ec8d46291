import Basics
import Domain
import HTTP
import SocketIO
import WebSocket
import Wire

/// What is due when: deadlines, heartbeats, sessions that expire, and the housekeeping.
extension GatewayShard {
    func schedule(_ kind: TimerKind, _ value: UInt64, at deadline: Instant) {
        wheel.schedule(TimerWheel.Token(kind: kind.rawValue, value: value), at: deadline)
    }

    func setDeadline(_ connection: Connection, inMs milliseconds: Int) {
        connection.deadline = now.instant.advanced(byMilliseconds: milliseconds)
        scheduleCheck(connection)
    }

    /// Makes sure that the wheel looks at the connection when its next deadline is due.
    func scheduleCheck(_ connection: Connection) {
        guard let due = nextDue(of: connection) else { return }
        if let next = connection.nextCheck, next <= due { return }
        connection.nextCheck = due
        schedule(.connection, connection.key.packed, at: due)
    }

    private func nextDue(of connection: Connection) -> Instant? {
        var due = connection.deadline
        func consider(_ instant: Instant?) {
            guard let instant else { return }
            due = due.map { min($0, instant) } ?? instant
        }
        func consider(_ session: Session) {
            consider(session.expiresAt)
            if !session.hasWarnedOfExpiry { consider(Self.warning(of: session)) }
            consider(session.typing.nextExpiry)
        }
        guard connection.isOpen else { return due }
        consider(connection.messageBegan?.advanced(byMilliseconds: limits.messageTimeoutMs))
        if let engine = connection.engine {
            guard engine.main === connection else { return due }
            consider(engine.heartbeat.nextCheck(timeoutMs: limits.pongTimeoutMs))
            consider(engine.poll?.noopDue)
            consider(engine.assembling?.deadline)
            for client in engine.clients { consider(client.session) }
            return due
        }
        if let pinged = connection.pingedAt {
            consider(pinged.advanced(byMilliseconds: limits.pongTimeoutMs))
        } else {
            consider(connection.lastHeard.advanced(byMilliseconds: limits.pingIntervalMs))
        }
        if let session = connection.session { consider(session) }
        return due
    }

    /// A minute before the token expires.
    static func warning(of session: Session) -> Instant {
        Instant(
            nanoseconds: session.expiresAt.nanoseconds > 60_000_000_000
                ? session.expiresAt.nanoseconds - 60_000_000_000 : 0)
    }

    func fire(_ token: TimerWheel.Token) {
        switch TimerKind(rawValue: token.kind) {
        case .connection:
            guard let connection = connection(ConnectionKey(packed: token.value)) else { return }
            // An earlier check may have been scheduled since; only the earliest one counts.
            if let next = connection.nextCheck, next > now.instant { return }
            connection.nextCheck = nil
            check(connection)
            if self.connection(connection.key) != nil { scheduleCheck(connection) }
        case .cursors:
            cursorsScheduled = false
            submitCursors()
        case .chat:
            guard let timer = chatTimers.removeValue(forKey: token.value) else { return }
            chatTimerFired(timer)
        case .housekeeping:
            keepHouse()
            schedule(.housekeeping, 0, at: now.instant.advanced(byMilliseconds: 10_000))
        case .comparison:
            compareWithStore()
        case .antiEntropy:
            compareWithStore()
            scheduleAntiEntropy()
        case .owedPings:
            sendOwedPings()
        case .marks:
            writeMarks()
        case nil:
            break
        }
    }

    private func check(_ connection: Connection) {
        if let deadline = connection.deadline, deadline <= now.instant {
            connection.deadline = nil
            deadlinePassed(connection)
            return
        }
        guard connection.isOpen else { return }
        if let began = connection.messageBegan,
            now.instant >= began.advanced(byMilliseconds: limits.messageTimeoutMs)
        {
            disconnect(connection, .messageTimeout)
            return
        }
        for session in sessions(on: connection) where !checkSession(session) { return }
        if let engine = connection.engine {
            if engine.main === connection { checkHeartbeat(of: engine) }
        } else {
            checkLiveness(connection)
        }
    }

    /// Whether the session goes on.
    private func checkSession(_ session: Session) -> Bool {
        for chat in session.typing.expire(now: now.instant) {
            publishTyping(chat, session, isTyping: false)
        }
        if session.expiresAt <= now.instant {
            refuseToken(session, isExpired: true, id: nil)
            return false
        }
        if !session.hasWarnedOfExpiry, Self.warning(of: session) <= now.instant {
            session.hasWarnedOfExpiry = true
            let left = Int(session.expiresAt.nanoseconds(since: now.instant) / 1_000_000)
            send(session, EventEncoder.sessionExpiring(inMs: left))
        }
        return isLive(session)
    }

    private func checkLiveness(_ connection: Connection) {
        if let pinged = connection.pingedAt {
            if connection.lastHeard > pinged {
                connection.pingedAt = nil
            } else if now.instant >= pinged.advanced(byMilliseconds: limits.pongTimeoutMs) {
                disconnect(connection, .pongTimeout)
                return
            }
        }
        if connection.pingedAt == nil,
            now.instant >= connection.lastHeard.advanced(byMilliseconds: limits.pingIntervalMs)
        {
            connection.pingedAt = now.instant
            append(to: connection) { FrameHeader.encode(opcode: .ping, length: 0, into: &$0) }
        }
    }

    private func deadlinePassed(_ connection: Connection) {
        switch connection.phase {
        case .http:
            if connection.isAnswering { return }
            if connection.hasInbound {
                answerTimeout(connection)
            } else {
                close(connection)
            }
        case .unauthenticated, .engine, .polling: disconnect(connection, .authTimeout)
        case .probing: disconnect(connection, .upgradeTimeout)
        case .closing, .draining: close(connection)
        case .open, .benchEcho, .benchRoom: break
        }
    }

    private func keepHouse() {
        pool.trim()
        forgetRetained()
        submitOwed()
        // A storm of joins is over: its table would stay for ever.
        if pendingWork.isEmpty, pendingWork.capacity > 256 { pendingWork = [:] }
        let longAgo = 60_000
        users = users.filter {
            !$0.value.sessions.isEmpty
                || now.instant.milliseconds(since: $0.value.lastUsed) < longAgo
        }
        let rate = limits.connectsPerSecondPerAddress
        connectBuckets = connectBuckets.filter { address, bucket in
            !bucket.isFull(
                rate: rate, periodMs: 1_000, burst: Self.connectBurst(rate), now: now.instant)
        }
        // Beyond this, somebody has more addresses than a table of them can help against.
        if connectBuckets.count > 100_000 { connectBuckets = [:] }
    }
}
