import Basics
import BusCore
import Domain
import Identity
import WebSocket
import Wire

/// Work whose answer the store owes: what to do when it comes. The connection may be gone by then.
enum PendingWork {
    case send(SubscriberKey, RequestID?, ChatID, clientMessageID: String?)
    case cursor(CursorWaiter?, CommandName, origin: UInt64)
    case typing(SubscriberKey, RequestID?, ChatID, isTyping: Bool)
    case catchUpList(SubscriberKey)
    case catchUpOpen(SubscriberKey)
    case catchUpRead(SubscriberKey)
    case recoveryFound(SubscriberKey)
    case kept(SubscriberKey)
    case token(TokenQuestion)
    indirect case readMessage(SubscriberKey, RequestID?, MessageID, isPrivate: Bool)
    /// Whatever becomes of it.
    case nothing
    /// It has to come about.
    indirect case owed(Operation)
    case head(ChatID)
    case range(ChatID)
    indirect case marked(Receipt, Origin)
    case news([ChatID])
    case notices([ChatID])
    /// Rare and large: in place it would more than double what all others take in the table.
    indirect case locate(Channel, LogEntry)
    case http(ConnectionKey, HTTPWork)
}

/// Who wants to hear that a cursor was moved.
struct CursorWaiter: Sendable {
    var session: SubscriberKey
    var id: RequestID
}

/// What a client's frames mean: limits first, then the core's decision.
extension GatewayShard {
    /// A frame of a plain WebSocket, whose first one says who is there.
    func perform(_ frame: DecodedFrame, _ connection: Connection) {
        if let session = connection.session {
            perform(frame, session)
        } else if case .success(.authenticate(let token, let device)) = frame.command {
            authenticate(connection, token: token, device: device, id: frame.id)
        } else {
            disconnect(connection, .authExpected)
        }
    }

    func perform(_ frame: DecodedFrame, _ session: Session) {
        let command: Command
        switch frame.command {
        case .success(let decoded): command = decoded
        case .failure(let error):
            if error.code == .rateLimited {
                limit(session, frame, error)
            } else {
                refuse(session, error, frame)
                if frame.isUnreadable { countBadInput(session) }
            }
            return
        }
        switch command {
        case .authenticate(let token, _): renew(session, token: token, id: frame.id)
        case .send(let send): perform(send, frame, session)
        case .acknowledge(let chat, let seq):
            moveCursor(
                AdvanceCursor(
                    chat: chat, user: session.user.id, device: session.device,
                    delivered: .seq(seq), read: nil, isReadPrivate: false, at: now.wall),
                frame, session)
        case .readMessage(let message, let isPrivate):
            guard let chat = recentMessages[message] else {
                find(message, isPrivate: isPrivate, frame, session)
                return
            }
            var frame = frame
            frame.command = .success(.read(chat, .entry(message), isPrivate: isPrivate))
            perform(frame, session)
        case .read(let chat, let position, let isPrivate):
            moveCursor(
                AdvanceCursor(
                    chat: chat, user: session.user.id, device: session.device,
                    delivered: nil, read: position, isReadPrivate: isPrivate, at: now.wall),
                frame, session)
        case .type(let chat, let isTyping):
            perform(typing: isTyping, in: chat, frame, session)
        case .join(let chat, let since):
            guard takeJoins(1, frame, session) else { return }
            enqueue(
                CatchUp(kind: .join(frame.id), chats: [CatchUp.Chat(id: chat, since: since)]),
                frame, session)
        case .leave(let chat):
            enqueue(
                CatchUp(kind: .leave(frame.id), chats: [CatchUp.Chat(id: chat, since: nil)]),
                frame, session)
        case .resume(let chats):
            guard takeJoins(1, frame, session) else { return }
            enqueue(
                CatchUp(
                    kind: .resume(frame.id),
                    chats: chats.map { CatchUp.Chat(id: $0.chat, since: $0.after) }),
                frame, session)
        case .subscribe(let topics), .unsubscribe(let topics):
            guard takeJoins(1, frame, session) else { return }
            enqueue(TopicRequest(frame, topics), session)
        }
    }

    // MARK: Messages

    private func perform(
        _ send: SendMessage, _ frame: DecodedFrame, _ session: Session
    ) {
        if let wait = session.user.sends.take(
            rate: limits.sendsPerSecond, periodMs: 1_000, burst: limits.sendBurst,
            now: now.instant)
        {
            limit(session, frame, retryAfterMs: wait)
            return
        }
        if session.typing.set(send.chat, isTyping: false, now: now.instant) {
            publishTyping(send.chat, session, isTyping: false)
        }
        let id = MessageID(trusted: identifiers.next(at: now.wall).text)
        var operation = Core.decide(send, by: session.actor, id: id, now: now)
        if configuration.planted.contains(.noDedupe), case .append(var append) = operation {
            append.clientMessageID = nil
            operation = .append(append)
        }
        if plantedAckOrPublish(operation, frame, session) { return }
        submit(
            operation,
            .send(session.key, frame.id, send.chat, clientMessageID: send.clientMessageID))
    }

    /// What the simulator plants: an ack, or a publication, that does not wait for the commit.
    private func plantedAckOrPublish(
        _ operation: Operation, _ frame: DecodedFrame, _ session: Session
    ) -> Bool {
        guard !configuration.planted.isEmpty, case .append(let append) = operation else {
            return false
        }
        let guessed =
            (topicIndices[.chat(append.chat)].flatMap { topics[Int($0)] }?.applied ?? 0)
            + 1
        if configuration.planted.contains(.ackBeforeCommit) {
            submit(
                operation, .send(.none, nil, append.chat, clientMessageID: nil))
            reply(
                session, frame.id, frame.name,
                .sent(
                    id: append.id, chat: append.chat, seq: guessed, createdAt: append.createdAt,
                    isDuplicate: false))
            return true
        }
        if configuration.planted.contains(.publishBeforeCommit) {
            let entry = LogEntry(
                chat: append.chat, seq: guessed, id: append.id, author: append.author,
                device: append.device, createdAt: append.createdAt, body: .message(append.message))
            publish(.chat(append.chat), .entry(entry), from: session.key)
        }
        return false
    }

    // MARK: Cursors

    private func moveCursor(
        _ operation: AdvanceCursor, _ frame: DecodedFrame, _ session: Session
    ) {
        let waiter = frame.id.map { CursorWaiter(session: session.key, id: $0) }
        // What merges with a movement that waits costs nothing; what does not is one more
        // operation.
        if !cursors.canMerge(operation, hasWaiter: waiter != nil),
            let wait = session.user.cursors.take(
                rate: limits.cursorsPerSecond, periodMs: 1_000, burst: limits.cursorBurst,
                now: now.instant)
        {
            limit(session, frame, retryAfterMs: wait)
            return
        }
        move(operation, waiter, of: session)
    }

    /// Moves a cursor with those that are gathered.
    func move(_ operation: AdvanceCursor, _ waiter: CursorWaiter?, of session: Session) {
        cursors.add(operation, waiter: waiter, origin: session.key.packed)
        if !cursorsScheduled {
            cursorsScheduled = true
            schedule(
                .cursors, 0, at: now.instant.advanced(byMilliseconds: limits.cursorCoalesceMs))
        }
    }

    /// Which chat a message is in that was delivered too long ago to be remembered here.
    private func find(
        _ message: MessageID, isPrivate: Bool, _ frame: DecodedFrame, _ session: Session
    ) {
        if let wait = session.user.cursors.take(
            rate: limits.cursorsPerSecond, periodMs: 1_000, burst: limits.cursorBurst,
            now: now.instant)
        {
            limit(session, frame, retryAfterMs: wait)
            return
        }
        submit(
            .findChats(of: message, for: session.user.id),
            .readMessage(session.key, frame.id, message, isPrivate: isPrivate))
    }

    func found(
        _ key: SubscriberKey, _ id: RequestID?, _ message: MessageID, isPrivate: Bool,
        _ result: LaneAnswer.Result
    ) {
        guard let session = session(key) else { return }
        guard case .outcome(.chats(let chats)) = result else {
            reply(session, id, .read, .refused(.storeUnavailable))
            return
        }
        guard let chat = chats.first else {
            // As of a chat that is not theirs: what others read is nobody's to find out.
            reply(session, id, .read, .refused(CommandError(Refusal.notFound)))
            return
        }
        move(
            AdvanceCursor(
                chat: chat, user: session.user.id, device: session.device, delivered: nil,
                read: .entry(message), isReadPrivate: isPrivate, at: now.wall),
            id.map { CursorWaiter(session: key, id: $0) }, of: session)
    }

    func submitCursors() {
        for pending in cursors.takeAll() {
            submit(
                .advanceCursor(pending.operation),
                .cursor(
                    pending.waiter, pending.operation.read == nil ? .acknowledge : .read,
                    origin: pending.origin))
        }
    }

    // MARK: Typing

    private func perform(
        typing isTyping: Bool, in chat: ChatID, _ frame: DecodedFrame, _ session: Session
    ) {
        let topic = followedTopic(.chat(chat), by: session)
        if isTyping || topic == nil,
            let wait = session.user.typing.take(
                rate: limits.typingPer10Seconds, periodMs: 10_000,
                burst: limits.typingPer10Seconds, now: now.instant)
        {
            limit(session, frame, retryAfterMs: wait)
            return
        }
        if let topic {
            setTyping(
                isTyping, in: chat, memberCount: topic.memberCount, frame.id, session)
            return
        }
        // Not joined here: whether they may, the store knows.
        submit(
            .openChats(OpenChats(user: session.user.id, chats: [chat])),
            .typing(session.key, frame.id, chat, isTyping: isTyping))
    }

    func setTyping(
        _ isTyping: Bool, in chat: ChatID, memberCount: Int, _ id: RequestID?, _ session: Session
    ) {
        if memberCount <= limits.typingMembers,
            session.typing.set(chat, isTyping: isTyping, now: now.instant)
        {
            publishTyping(chat, session, isTyping: isTyping)
        }
        if let connection = transport(of: session) { scheduleCheck(connection) }
        reply(session, id, .type, .done)
    }

    func publishTyping(_ chat: ChatID, _ session: Session, isTyping: Bool) {
        publish(
            .chat(chat),
            .typing(
                Typing(
                    chat: chat, user: session.user.id, isTyping: isTyping, email: email(of: session)
                )),
            from: session.key)
    }

    // MARK: Identity

    /// The token of the handshake or of the first frame. A refusal is told before the close.
    func authenticate(
        _ connection: Connection, token: String, device: DeviceID?, id: RequestID?
    ) {
        switch verifier.verify(token, nowMilliseconds: now.wall.milliseconds) {
        case .valid(let claims):
            open(connection, claims, device: device, id: id)
        case .expired:
            refuseToken(connection, isExpired: true, id: id)
        case .invalid:
            refuseToken(connection, isExpired: false, id: id)
        }
    }

    /// Of a plain connection that is nobody yet.
    private func refuseToken(_ connection: Connection, isExpired: Bool, id: RequestID?) {
        counters[.authenticationsFailed] += 1
        tell(connection, Self.tokenError(isExpired: isExpired), id)
        disconnect(connection, isExpired ? .tokenExpired : .invalidToken)
    }

    /// Of a session that was renewed with it, or has outlived it.
    func refuseToken(_ session: Session, isExpired: Bool, id: RequestID?) {
        counters[.authenticationsFailed] += 1
        reply(session, id, .authenticate, .refused(Self.tokenError(isExpired: isExpired)))
        disconnect(session, isExpired ? .tokenExpired : .invalidToken)
    }

    static func tokenError(isExpired: Bool) -> CommandError {
        isExpired
            ? CommandError(.tokenExpired, "the token has expired; get a new one and reconnect")
            : CommandError(.invalidToken, "the token is not valid; get a new one and reconnect")
    }

    static let tooManySessions = CommandError(
        .rateLimited, "too many connections of this user; close another first")

    /// Refuses what a plain connection said before it was anybody.
    private func tell(_ connection: Connection, _ error: CommandError, _ id: RequestID?) {
        send(
            connection,
            text: EventEncoder.refusal(
                error, id: id, event: .authenticate, in: connection.encoding.dialect))
    }

    private func open(
        _ connection: Connection, _ claims: Claims, device: DeviceID?, id: RequestID?
    ) {
        guard let user = UserID(claims.userId) else {
            refuseToken(connection, isExpired: false, id: id)
            return
        }
        guard mayOpen(user, on: connection) else {
            tell(connection, Self.tooManySessions, id)
            disconnect(connection, .tooManySessions)
            return
        }
        let session = seatSession(
            on: connection, encoding: connection.encoding, user, claims, device: device)
        connection.subscriber = session
        connection.phase = .open
        connection.deadline = nil
        if let id { reply(session, id, expiresAt: claims.expiresAtMilliseconds) }
        begin(session)
    }

    /// Whether the user may have one more connection; several namespaces of one are one.
    func mayOpen(_ user: UserID, on connection: Connection) -> Bool {
        guard let state = users[user] else { return true }
        var slots: Set<UInt32> = []
        for key in state.sessions { slots.insert(transports[Int(key.place)]) }
        return slots.contains(connection.key.slot) || slots.count < limits.socketsPerUser
    }

    /// A session of that user, seated and counted. `begin` follows once it may be spoken to.
    func seatSession(
        on connection: Connection, encoding: Encoding, _ user: UserID, _ claims: Claims,
        device: DeviceID?
    ) -> Session {
        let state = userState(user)
        // The token's device counts; without one, the client's word; without that, a new one.
        let named = claims.deviceId.flatMap { DeviceID($0) } ?? device
        let device = named ?? DeviceID(trusted: identifiers.next(at: now.wall).text)
        let session = Session(
            key: takePlace(of: connection), encoding: encoding, user: state, device: device,
            expiresAt: expiry(of: claims, graceMs: graceMs(of: encoding)))
        subscribers[Int(session.place)] = session
        state.sessions.append(session.key)
        counters[.authenticatedConnections] += 1
        return session
    }

    /// Follows what the session is to hear without asking, and says that it is there. Where that is all
    /// the user's chats it is said when they are followed: what is committed from then on is heard.
    func begin(_ session: Session) {
        if let connection = transport(of: session) { scheduleCheck(connection) }
        if session.dialect.followsAll {
            followAll(session)
            return
        }
        if session.recovery != nil {
            startFirst(CatchUp(kind: .establish, chats: []), session)
            return
        }
        greet(session)
        if isLive(session) { followBridge(session) }
    }

    /// What backends say to a user reaches all of their connections.
    func followBridge(_ session: Session) {
        guard configuration.isBridged,
            followedTopic(.user(session.user.id), by: session) == nil
        else { return }
        subscribe(session, to: topic(for: .user(session.user.id)), deliveredSeq: 0)
    }

    func greet(_ session: Session, isRecovered: Bool = false) {
        let pass = takePass(of: session)
        if let namespace = session.encoding.namespace { confirm(session, namespace, pass: pass) }
        send(
            session,
            EventEncoder.sessionReady(
                actor: session.actor, session: identifiers.next(at: now.wall).text,
                recovered: isRecovered, pass: pass, now: now.wall, limits: limits))
    }

    private func renew(_ session: Session, token: String, id: RequestID?) {
        switch verifier.verify(token, nowMilliseconds: now.wall.milliseconds) {
        case .valid(let claims) where UserID(claims.userId) == session.user.id:
            session.expiresAt = expiry(of: claims, graceMs: graceMs(of: session.encoding))
            session.hasWarnedOfExpiry = false
            if let id { reply(session, id, expiresAt: claims.expiresAtMilliseconds) }
            if let connection = transport(of: session) { scheduleCheck(connection) }
        case .expired:
            refuseToken(session, isExpired: true, id: id)
        case .valid, .invalid:
            refuseToken(session, isExpired: false, id: id)
        }
    }

    private func reply(_ session: Session, _ id: RequestID, expiresAt: Int64) {
        acknowledge(session, id) { json in
            json.key("exp")
            json.integer(expiresAt / 1_000)
        }
    }

    /// On the monotonic clock, so a jump of the wall clock ends no session (P20). A token that was
    /// taken within the leeway lives until its end.
    private func expiry(of claims: Claims, graceMs: Int64) -> Instant {
        var left = claims.expiresAtMilliseconds + graceMs - now.wall.milliseconds
        if left <= 0 { left += TokenVerifier.leewayMilliseconds }
        return now.instant.advanced(byMilliseconds: Int(clamping: min(left, 315_360_000_000)))
    }

    func userState(_ user: UserID) -> UserState {
        if let state = users[user] { return state }
        let state = UserState(id: user, limits: limits, now: now.instant)
        users[user] = state
        return state
    }

    // MARK: Limits

    private func takeJoins(
        _ count: Int, _ frame: DecodedFrame, _ session: Session
    ) -> Bool {
        guard
            let wait = session.user.joins.take(
                rate: limits.joinsPerSecond, periodMs: 1_000, burst: limits.joinsPerSecond,
                now: now.instant)
        else { return true }
        limit(session, frame, retryAfterMs: wait)
        return false
    }

    func limit(
        _ session: Session, _ frame: DecodedFrame, retryAfterMs: Int
    ) {
        limit(
            session, frame,
            CommandError(
                .rateLimited, "too many of these; nothing was queued, retry later",
                retryAfterMs: retryAfterMs))
    }

    func limit(
        _ session: Session, _ frame: DecodedFrame, _ error: CommandError
    ) {
        counters[.rateLimited] += 1
        refuse(session, error, frame)
        if session.user.strikes.add(
            limit: limits.strikesPer60Seconds, windowMs: 60_000, now: now.instant)
        {
            disconnect(session, .tooManyStrikes)
        }
    }

    private func countBadInput(_ session: Session) {
        counters[.badInputs] += 1
        if session.countBadInput(limit: limits.badInputsPer60Seconds, now: now.instant) {
            disconnect(session, .tooManyBadInputs)
        }
    }

    // MARK: Answers

    private func refuse(_ session: Session, _ error: CommandError, _ frame: DecodedFrame) {
        reply(session, frame.id, frame.name, .refused(error))
    }

    func reply(_ session: Session, _ id: RequestID?, _ name: CommandName?, _ reply: Reply) {
        switch reply {
        case .refused(let error):
            if let id {
                refuse(session, id, error)
            } else {
                send(session, EventEncoder.error(error, event: name))
            }
        case .done:
            guard let id else { return }
            acknowledge(session, id) { _ in }
        case .cursor(let delivered, let read):
            guard let id else { return }
            acknowledge(session, id) { json in
                json.key("deliveredSeq")
                json.integer(delivered)
                json.key("readSeq")
                json.integer(read)
            }
        case .sent(let message, let chat, let seq, let createdAt, let isDuplicate):
            guard let id else { return }
            acknowledge(session, id) { json in
                json.key("messageId")
                json.string(message.text)
                json.key("chatId")
                json.string(chat.text)
                json.key("seq")
                json.integer(seq)
                json.key("createdAt")
                json.timestamp(milliseconds: createdAt.milliseconds)
                json.key("duplicate")
                json.bool(isDuplicate)
            }
        }
    }

    /// Hands an operation to the lane, and remembers what its answer is for.
    func submit(_ operation: Operation, _ work: PendingWork) {
        tickets += 1
        pendingWork[tickets] = work
        output.laneItems.append(
            LaneItem(shard: index, ticket: tickets, operation: operation))
    }
}
