import Basics
import BusCore
import Domain
import HTTP
import Identity
import SocketIO
import Wire

/// Sessions of Socket.IO that are gone and come back, to whatever shard of whatever instance.
///
///     CONNECT {pid, offset} ─► the store: is it kept, and who has it?
///                                ├─ nobody knows it ─────────────────────► a new session
///                                ├─ a shard, here or elsewhere ─ asked ──► what its client has, exactly
///                                └─ an instance that is gone ────────────► what was kept of it
///
/// Then it goes on as any catch-up: list, follow, read who may see what, say that it is there, replay, live.
/// Who takes a session over writes that down with the next epoch, so that what an owner of before still
/// does about it counts no more. What is kept is behind what the client has, and never ahead: some of it may
/// come twice, and nothing is left out. What cannot be known is no recovery: the client is told so (another
/// `pid`), and not lied to.
extension GatewayShard {
    var recovers: Bool { limits.recoveryWindowMs > 0 }

    // MARK: A session begins

    /// What makes it recoverable, before anything is said to it.
    ///
    /// - Parameters:
    ///   - made: the device that was made for it; nil where its client named one.
    ///   - offset: what its client had of an earlier session, if any.
    func makeRecoverable(
        _ session: Session, in namespace: Namespace, made: DeviceID?, offset: RecoveryOffset?
    ) {
        let name = SessionName(
            high: identifiers.bits(), low: UInt32(truncatingIfNeeded: identifiers.bits()))
        let pass = RecoveryPass(
            name: name, namespace: namespace,
            madeDevice: made.flatMap { Identifier(text: $0.text) })
        session.recovery = Recovery(
            pass, epoch: nextEpoch(after: 0), offsetAtStart: offset, isNew: true)
        recoverable[name] = session.key
    }

    /// One that nobody else takes who takes the session over from the same one.
    private func nextEpoch(after epoch: Int64) -> Int64 {
        (epoch >> 24 + 1) << 24 | Int64(identifiers.bits() & 0xFF_FFFF)
    }

    /// Its client showed a pass that is good.
    func recover(
        _ session: Session, _ pass: RecoveryPass, shown: String, at offset: RecoveryOffset?
    ) {
        let recovery = Recovery(pass, epoch: 0, offsetAtStart: offset, isNew: false)
        recovery.shownPass = shown
        session.recovery = recovery
        if let connection = transport(of: session) { scheduleCheck(connection) }
        enqueue(CatchUp(kind: .recover(Recovering()), chats: []), session)
    }

    /// By what the client may come back; nil where it may not. The one that it has shown again is how it
    /// knows that it was recovered.
    func takePass(of session: Session) -> String? {
        guard let recovery = session.recovery, let key = configuration.tunnelKeys.first else {
            return nil
        }
        defer { recovery.shownPass = nil }
        recovery.isEstablished = true
        return recovery.shownPass
            ?? recovery.pass.text(for: session.user.id, session.device, key: key)
    }

    // MARK: Who has it

    /// What backends say to the user is heard first: they may end the session while it is looked for.
    func beginRecovery(_ job: CatchUp, _ session: Session) {
        let hearsUser = session.dialect.followsAll || configuration.isBridged
        if !hearsUser || followsUser(job, session) { findKept(session) }
    }

    func findKept(_ session: Session) {
        guard let recovery = session.recovery else { return }
        submit(
            .findSession(Self.keptName(recovery.pass.name), at: now.wall),
            .recoveryFound(session.key))
    }

    func keptFound(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job,
            case .recover(let recovering) = job.kind, let recovery = session.recovery
        else { return }
        guard case .outcome(.session(let found)) = result else {
            finishFailed(job, session)
            return
        }
        guard let found, found.user == session.user.id,
            let kept = KeptState(found.state, found.marks)
        else {
            beginAnew(session, job)
            return
        }
        recovery.replaces = found.epoch
        recovery.epoch = nextEpoch(after: found.epoch)
        recovering.kept = kept.session(recovery.pass.name, found)
        recovering.isWhole = kept.isWhole
        ask(kept.owner, recovery, session)
    }

    private func ask(_ owner: EngineID, _ recovery: Recovery, _ session: Session) {
        let asker = recovery.pass.name.place(owner: configuration.instance, shard: index)
        let offset = recovery.offsetAtStart
        if owner.owner == asker.owner {
            let request = RecoveryRequest(
                place: owner, offset: offset, asker: asker, session: session.key)
            if Int(owner.shard) == index {
                answered(session.key, handOver(request))
            } else if Int(owner.shard) < shardCount {
                mail(Int(owner.shard), .recoveryAsked(request))
            } else {
                answered(session.key, .unknown)
            }
        } else if let peer = peers[owner.owner], let key = configuration.tunnelKeys.first {
            output.peerRequests.append(
                PeerRequest(
                    session: session.key, address: peer.address,
                    bytes: TunnelGreeting.make(
                        for: IPAddress(bits: 0), to: peer.instance, key: key)
                        + Self.request(owner, offset, asker)))
        } else {
            answered(session.key, nil)
        }
    }

    static let recoveryPath = ["recovery"]

    private static func request(
        _ place: EngineID, _ offset: RecoveryOffset?, _ asker: EngineID
    ) -> [UInt8] {
        let offset = offset.map { "&offset=" + Base64URL.encode(Array($0.text.utf8)) } ?? ""
        let target = "/recovery?sid=\(place.text)&to=\(asker.text)\(offset)"
        return Array("GET \(target) HTTP/1.1\r\nHost: martlet\r\n\r\n".utf8)
    }

    // MARK: Being asked

    /// Another instance asks. Nobody but who has the deployment's key can answer in our place.
    func answerRecovery(
        _ connection: Connection, _ request: HTTPRequest, _ head: RequestHead,
        _ bytes: Span<UInt8>
    ) {
        func value(_ name: StaticString) -> String? {
            QueryString.lastValue(of: name, in: bytes, query: head.query).text
        }
        guard let place = value("sid").flatMap({ EngineID($0.utf8.span) }),
            let asker = value("to").flatMap({ EngineID($0.utf8.span) }),
            let key = configuration.tunnelKeys.first
        else {
            answerUnknown(connection, request)
            return
        }
        let offset = value("offset").flatMap { Base64URL.decode($0) }.flatMap {
            RecoveryOffset(String(decoding: $0, as: UTF8.self))
        }
        let answer = handOver(
            RecoveryRequest(place: place, offset: offset, asker: asker, session: .none)
        ).bytes
        finish(connection, request, status: 200) { output, response in
            response.field("Content-Type", "application/octet-stream", into: &output)
            return answer
                + key.authenticationCode(for: RecoveryAnswer.signed(answer, for: asker).span)
        }
    }

    /// Another shard asks.
    func answer(_ request: RecoveryRequest) {
        mail(
            Int(request.asker.shard), .recoveryAnswered(request.session, handOver(request)))
    }

    /// Gives a session to the shard to which its client has come.
    private func handOver(_ request: RecoveryRequest) -> RecoveryAnswer {
        let name = SessionName(request.place)
        guard request.place.owner == UInt32(truncatingIfNeeded: configuration.instance) else {
            return .unknown
        }
        // The client has gone, and nobody has noticed yet.
        if let key = recoverable[name], let session = session(key),
            let engine = transport(of: session)?.ownEngine
        {
            end(engine, .sessionOver, poll: .refused)
        }
        return takeRetained(name).map { .held($0.taken(at: request.offset)) } ?? .unknown
    }

    // MARK: The answer

    /// Another instance has answered: the bytes that came until it ended; nil where none did.
    package func receive(peerAnswer bytes: [UInt8]?, for key: SubscriberKey) {
        guard let session = session(key), let recovery = session.recovery else { return }
        let asker = recovery.pass.name.place(owner: configuration.instance, shard: index)
        answered(
            key,
            bytes.flatMap {
                RecoveryAnswer(
                    response: $0, asker: asker, offset: recovery.offsetAtStart,
                    keys: configuration.tunnelKeys)
            })
    }

    /// nil: nobody is there who would know.
    func answered(_ key: SubscriberKey, _ answer: RecoveryAnswer?) {
        guard let session = session(key), let job = session.job, let recovery = session.recovery,
            case .recover(let recovering) = job.kind, let kept = recovering.kept
        else {
            // The client went again meanwhile. What was kept of it says whose it was: there it is not any
            // more, and that is said to whoever asks.
            return
        }
        recovering.kept = nil
        switch answer {
        case .held(let held)
        where held.name == kept.name && held.user == kept.user && held.epoch == kept.epoch:
            adopt(held, job, recovering, session)
        // What it has is of before somebody else had it: what is kept is of after.
        case .held where recovering.isWhole, nil where recovering.isWhole:
            adopt(kept.taken(at: recovery.offsetAtStart), job, recovering, session)
        case .held, .unknown, nil:
            owe(.dropSessions(.named(Self.keptName(kept.name), epoch: kept.epoch)))
            beginAnew(session, job)
        }
    }

    private func adopt(
        _ found: RecoverableSession, _ job: CatchUp, _ recovering: Recovering,
        _ session: Session
    ) {
        guard let recovery = session.recovery, let engine = transport(of: session)?.ownEngine
        else { return }
        _ = takeRetained(found.name)
        recovery.isEstablished = true
        recovery.follow(found)
        recovery.left = found.left
        recovery.rewound = found.rewound
        recoverable[recovery.pass.name] = session.key
        recovering.known = found.received
        recovering.topics = found.topics
        for (chat, seq) in found.received {
            engine.acknowledged[DeliveredMark.Place(session: session.key, chat: chat)] = seq
        }
        // Before anything else is read: from here on it is ours, or it is not at all.
        keep(session, floors: found.received, topics: found.topics, .kept(session.key))
        if session.dialect.followsAll {
            list(session)
        } else {
            job.chats = found.received.keys.sorted { $0.text < $1.text }.map {
                CatchUp.Chat(id: $0, since: found.received[$0])
            }
            follow(job, session)
        }
    }

    /// Which of its chats a session is to be given, and from where on, now that the list is there. nil:
    /// from where its user came into it.
    func recovered(
        _ listed: [Conversation], _ recovering: Recovering, _ session: Session
    ) -> [CatchUp.Chat] {
        let left = session.recovery?.left ?? []
        var chats = listed.map(\.id).filter { !left.contains($0) }.map {
            CatchUp.Chat(id: $0, since: recovering.known[$0])
        }
        // From one that is missing they were removed, which is the last thing to be told.
        let present = Set(listed.map(\.id))
        chats += recovering.known.keys.filter { !present.contains($0) }
            .sorted { $0.text < $1.text }
            .map { CatchUp.Chat(id: $0, since: recovering.known[$0]) }
        return chats
    }

    /// After what was missed: its topics, which have no log.
    func followTopics(of job: CatchUp, _ session: Session) {
        guard case .recover(let recovering) = job.kind, !recovering.topics.isEmpty else { return }
        enqueue(
            TopicRequest(
                DecodedFrame(name: .subscribe, command: .success(.subscribe(recovering.topics))),
                recovering.topics),
            session)
    }

    /// It cannot be said what the client has: a session as of one that comes for the first time.
    private func beginAnew(_ session: Session, _ job: CatchUp) {
        counters[.recoveriesRefused] += 1
        let recovery = session.recovery
        drop(job, of: session)
        // What the client names as its last when it comes again may still be what it named now.
        makeRecoverable(
            session, in: session.encoding.namespace ?? .root, made: recovery?.pass.device,
            offset: recovery?.offsetAtStart)
        begin(session)
        startQueued(session)
    }

    // MARK: A session ends

    /// Its connection is gone: it may be recovered for a while.
    func retain(_ session: Session, of engine: EngineSession) {
        guard let recovery = session.recovery, recovery.isEstablished, !recovery.isOver,
            recovery.isKept || recovery.isKeeping
        else { return }
        var retained = RecoverableSession(
            name: recovery.pass.name, user: session.user.id, epoch: recovery.epoch,
            received: engine.acknowledged.of(session.key), left: recovery.left,
            rewound: recovery.rewound,
            given: recovery.given, isAlone: recovery.isAlone,
            offsetAtStart: recovery.offsetAtStart,
            topics: followedTopics(of: session).sorted { $0.text < $1.text })
        if case .recover(let recovering) = session.job?.kind {
            let followed = Set(retained.topics)
            retained.topics += recovering.topics.filter { !followed.contains($0) }
        }
        if configuration.planted.contains(.givenIsReceived) {
            for given in retained.given { retained.received[given.chat] = given.seqs.upperBound }
        }
        recovery.isKept = false
        recovery.isKeeping = false
        retain(retained)
    }

    /// The session is over, and is not retained.
    func forgetRecovery(of session: Session) {
        guard let recovery = session.recovery else { return }
        if recoverable[recovery.pass.name] == session.key {
            recoverable[recovery.pass.name] = nil
        }
        guard recovery.isKept || recovery.isKeeping else { return }
        recovery.isKept = false
        recovery.isKeeping = false
        // Behind what writes it, where that is under way.
        owe(.dropSessions(.named(Self.keptName(recovery.pass.name), epoch: recovery.epoch)))
    }
}

/// The way back of one session.
final class Recovering {
    /// What the store has of it; nil before that was read, and once it was decided whether it counts.
    var kept: RecoverableSession?
    /// That is enough to go on with.
    var isWhole = false
    var known: [ChatID: Seq] = [:]
    var topics: [TopicName] = []
}
