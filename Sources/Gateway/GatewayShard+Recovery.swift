import Basics
import BusCore
import Domain
import HTTP
import Identity
import SocketIO
import Wire

/// Sessions of Socket.IO that are gone and come back, to whatever shard of whatever instance.
///
///     CONNECT {pid, offset} ─► asking the shard that had it ─┬─ held ──► what is missing is known
///                                                            ├─ moved ─► asking there
///                                                            ├─ unknown ─► a new session
///                                                            └─ gone ──► asking the other instances,
///                                                                        then the store
///
/// Then it goes on as any catch-up: follow, read who may see what, say that it is there, replay, live.
/// Where its shard is gone with its instance, the device's marks and the time at which the session
/// began say from where on: some of it may come twice, and nothing is left out. What cannot be known is
/// no recovery: the client is told so (another `pid`), and not lied to.
extension GatewayShard {
    var recovers: Bool { limits.recoveryWindowMs > 0 }

    /// Entries that were made so long before a session may have been given to it: commits take a while,
    /// and the clocks of instances differ.
    private static let clockToleranceMs: Int64 = 60_000
    /// From one that it was handed on by to the next.
    private static let maximumHops = 3
    /// Other instances that are asked where the first one is gone.
    private static let maximumAsked = 8

    /// A session that is gone, until its window is over.
    struct Retained {
        var session: RecoverableSession
        let until: Instant
        /// Its user's channel stays followed: a backend that ends the user's connections means this one
        /// too.
        let userTopic: Topic?
    }

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
            place: name.place(owner: configuration.instance, shard: index),
            namespace: namespace, began: now.wall,
            madeDevice: made.flatMap { Identifier(text: $0.text) })
        session.recovery = Recovery(pass, offsetAtStart: offset)
        setRecoverable(name, session.key)
    }

    /// Its client showed a pass that is good.
    func recover(
        _ session: Session, _ pass: RecoveryPass, shown: String, at offset: RecoveryOffset?
    ) {
        let recovery = Recovery(pass, offsetAtStart: offset)
        recovery.shownPass = shown
        session.recovery = recovery
        enqueue(
            CatchUp(kind: .recover(Recovering(place: pass.place)), chats: []), session)
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

    // MARK: Asking

    func ask(_ recovering: Recovering, _ session: Session) {
        guard let recovery = session.recovery else { return }
        let place = recovering.place
        let offset = recovery.offsetAtStart
        let name = recovery.pass.name
        let asker = name.place(owner: configuration.instance, shard: index)
        // Wherever it began, it may be here by now.
        let shard =
            status.recoverable[name] ?? (place.owner == asker.owner ? place.shard : nil)
        if let shard {
            let request = RecoveryRequest(
                place: name.place(owner: configuration.instance, shard: Int(shard)),
                offset: offset, asker: asker, session: session.key)
            if Int(shard) == index {
                answered(session.key, handOver(request))
            } else if Int(shard) < shardCount {
                mail(Int(shard), .recoveryAsked(request))
            } else {
                answered(session.key, .unknown)
            }
        } else if let peer = peers[place.owner], let key = configuration.tunnelKeys.first {
            output.peerRequests.append(
                PeerRequest(
                    session: session.key, address: peer.address,
                    bytes: TunnelGreeting.make(
                        for: IPAddress(bits: 0), to: peer.instance, key: key)
                        + Self.request(place, offset, asker)))
        } else {
            answered(session.key, nil)
        }
    }

    /// Its instance is gone: another may have gone on with it. Where none has, the store says what it can.
    private func askAround(_ recovering: Recovering, _ session: Session) {
        guard let name = session.recovery?.pass.name else { return }
        if recovering.unasked == nil {
            recovering.unasked = Array(
                peers.keys.sorted().filter { $0 != recovering.place.owner }
                    .prefix(Self.maximumAsked))
        }
        if let next = recovering.unasked?.popLast(), let peer = peers[next] {
            // Any shard knows what the others have.
            recovering.place = name.place(owner: peer.instance, shard: 0)
            ask(recovering, session)
            return
        }
        recovering.isAsking = false
        submit(.findSession(Self.keptName(name), at: now.wall), .recoverySaved(session.key))
    }

    static let recoveryPath = ["recovery"]

    private static func request(
        _ place: EngineID, _ offset: RecoveryOffset?, _ asker: EngineID
    ) -> [UInt8] {
        let offset = offset.map { "&offset=" + Base64URL.encode(Array($0.text.utf8)) } ?? ""
        let target = "/recovery?sid=\(place.text)&to=\(asker.text)\(offset)"
        return Array("GET \(target) HTTP/1.1\r\nHost: martlet\r\n\r\n".utf8)
    }

    /// Another instance asks.
    func answerRecovery(
        _ connection: Connection, _ request: HTTPRequest, _ head: RequestHead,
        _ bytes: Span<UInt8>
    ) {
        func value(_ name: StaticString) -> String? {
            guard
                case .value(let text) = QueryString.lastValue(
                    of: name, in: bytes, query: head.query)
            else { return nil }
            return text
        }
        guard let place = value("sid").flatMap({ EngineID($0.utf8.span) }),
            let asker = value("to").flatMap({ EngineID($0.utf8.span) })
        else {
            answerUnknown(connection, request)
            return
        }
        var offset: RecoveryOffset?
        if let text = value("offset") {
            var decoded: [UInt8] = []
            let span = text.utf8.span
            if Base64URL.decode(span, 0..<span.count, to: &decoded) {
                offset = RecoveryOffset(String(decoding: decoded, as: UTF8.self))
            }
        }
        let answer = handOver(
            RecoveryRequest(place: place, offset: offset, asker: asker, session: .none))
        finish(connection, request, status: 200) { output, response in
            response.field("Content-Type", "application/octet-stream", into: &output)
            return answer.bytes
        }
    }

    /// Another instance has answered: the bytes that came until it ended; nil where none did.
    package func receive(peerAnswer bytes: [UInt8]?, for key: SubscriberKey) {
        let offset = session(key)?.recovery?.offsetAtStart
        answered(key, bytes.flatMap { Self.answer(in: $0, offset) })
    }

    private static func answer(in bytes: [UInt8], _ offset: RecoveryOffset?) -> RecoveryAnswer? {
        let head = Array("HTTP/1.1 200 ".utf8)
        guard bytes.starts(with: head) else { return nil }
        var index = head.count
        while index + 4 <= bytes.count, bytes[index..<(index + 4)] != [13, 10, 13, 10] {
            index += 1
        }
        guard index + 4 <= bytes.count else { return nil }
        return RecoveryAnswer(Array(bytes[(index + 4)...]), offset: offset)
    }

    // MARK: Answering

    /// Gives a session to the shard to which its client has come.
    func handOver(_ request: RecoveryRequest) -> RecoveryAnswer {
        let name = SessionName(request.place)
        guard request.place.owner == UInt32(truncatingIfNeeded: configuration.instance) else {
            return .unknown
        }
        if let shard = status.recoverable[name], Int(shard) != index {
            return .moved(name.place(owner: configuration.instance, shard: Int(shard)))
        }
        // The client has gone, and nobody has noticed yet.
        if let key = recoverable[name], let session = session(key),
            let engine = transport(of: session)?.ownEngine
        {
            end(engine, .sessionOver, poll: .refused)
        }
        if let session = takeRetained(name) {
            if request.asker != request.place { handedOver.note(request.asker, for: name) }
            return .held(session.taken(at: request.offset))
        }
        return handedOver[name].map { .moved($0) } ?? .unknown
    }

    /// Another shard asks.
    func answer(_ request: RecoveryRequest) {
        mail(
            Int(request.asker.shard), .recoveryAnswered(request.session, handOver(request)))
    }

    // MARK: The answer

    /// nil: nobody is there who would know.
    func answered(_ key: SubscriberKey, _ answer: RecoveryAnswer?) {
        guard let session = session(key), let job = session.job,
            case .recover(let recovering) = job.kind, recovering.isAsking
        else {
            // The client went again meanwhile, and may come back.
            if case .held(let held) = answer { retain(held) }
            return
        }
        switch answer {
        case .held(let held):
            recovering.isAsking = false
            adopt(held, job, recovering, session)
        case .moved(let place) where recovering.hops < Self.maximumHops:
            recovering.hops += 1
            recovering.place = place
            ask(recovering, session)
        case .unknown where recovering.unasked == nil:
            beginAnew(session, job)
        case .unknown, .moved, nil:
            askAround(recovering, session)
        }
    }

    private func adopt(
        _ held: RecoverableSession, _ job: CatchUp, _ recovering: Recovering,
        _ session: Session
    ) {
        guard let recovery = session.recovery, let engine = transport(of: session)?.ownEngine
        else { return }
        establish(recovery, session)
        recovery.isKept = held.isKept
        recovering.known = held.received
        recovering.topics = held.topics
        for (chat, seq) in held.received {
            engine.acknowledged[DeliveredMark.Place(session: session.key, chat: chat)] = seq
        }
        if session.dialect.followsAll {
            followUser(job, session)
        } else {
            let chats = held.received.keys.sorted { $0.text < $1.text }
            recovery.joined = Set(chats)
            job.chats = chats.map { CatchUp.Chat(id: $0, since: held.received[$0]) }
            follow(job, session)
        }
    }

    private func establish(_ recovery: Recovery, _ session: Session) {
        recovery.isEstablished = true
        setRecoverable(recovery.pass.name, session.key)
    }

    func setRecoverable(_ name: SessionName, _ key: SubscriberKey?) {
        recoverable[name] = key
        noteRecoverable(name)
    }

    /// Whether it can be recovered from this shard has perhaps changed.
    private func noteRecoverable(_ name: SessionName) {
        if recoverable[name] != nil || retained[name] != nil {
            status.recoverable.add(name, shard: index)
        } else {
            status.recoverable.remove(name, shard: index)
        }
    }

    /// What the store has of a session whose instance is gone.
    func savedRead(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job,
            case .recover(let recovering) = job.kind, let recovery = session.recovery
        else { return }
        guard case .outcome(.session(let found)) = result else {
            finishFailed(job, session)
            return
        }
        let kept = found.flatMap { $0.user == session.user.id ? KeptChats($0.state) : nil }
        recovering.isFromStore = true
        recovering.topics = kept?.topics ?? []
        recovery.isKept = kept != nil
        if session.dialect.followsAll {
            followUser(job, session)
        } else if let kept {
            recovery.joined = Set(kept.chats)
            job.chats = kept.chats.map { CatchUp.Chat(id: $0, since: nil) }
            follow(job, session)
        } else {
            beginAnew(session, job)
        }
    }

    /// Which of its chats a session is to be given from where on, now that the list is there.
    func recovered(_ listed: [Conversation], _ recovering: Recovering) -> [CatchUp.Chat] {
        let present = Set(listed.map(\.id))
        guard !recovering.isFromStore else {
            let left = recovering.departures.filter { !present.contains($0) }
            return (listed.map(\.id) + left).map { CatchUp.Chat(id: $0, since: nil) }
        }
        // One that it did not follow, its user has come into since.
        var chats = listed.map {
            CatchUp.Chat(id: $0.id, since: recovering.known[$0.id] ?? 0)
        }
        // And from one that is missing they were removed, which is the last thing to be told.
        let gone = recovering.known.keys.filter { !present.contains($0) }
        chats += gone.sorted { $0.text < $1.text }.map {
            CatchUp.Chat(id: $0, since: recovering.known[$0])
        }
        return chats
    }

    /// From where on, by what the store says. False where that is not known of all.
    func placeByMarks(_ opened: [OpenedChat], _ job: CatchUp, _ session: Session) -> Bool {
        let offset = session.recovery?.offsetAtStart
        for (index, open) in opened.enumerated() {
            var since: Seq
            if open.access == .none { continue }
            guard let given = open.givenSeq else { return false }
            since = given
            if let offset, offset.chat == open.chat {
                since = max(since, min(offset.seq, open.lastSeq))
            }
            job.chats[index].since = since
        }
        if let recovery = session.recovery { establish(recovery, session) }
        return true
    }

    /// What is asked of the store besides, where its marks count.
    func given(_ job: CatchUp, _ session: Session) -> OpenChats.Given? {
        guard case .recover(let recovering) = job.kind, recovering.isFromStore,
            let recovery = session.recovery
        else { return nil }
        return OpenChats.Given(device: session.device, since: Self.beginning(recovery))
    }

    private static func beginning(_ recovery: Recovery) -> WallTime {
        WallTime(milliseconds: recovery.pass.began.milliseconds - clockToleranceMs)
    }

    /// Before the list of chats: those that it may have followed, and its user is in no more.
    func listDepartures(_ job: CatchUp, _ session: Session) {
        guard case .recover(let recovering) = job.kind, recovering.isFromStore,
            let recovery = session.recovery
        else { return }
        submit(
            .listDepartures(session.user.id, since: Self.beginning(recovery)),
            .recoveryDepartures(session.key))
    }

    func departuresRead(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job,
            case .recover(let recovering) = job.kind
        else { return }
        guard case .outcome(.chats(let chats)) = result else {
            finishFailed(job, session)
            return
        }
        recovering.departures = chats
    }

    /// The client is there again, and knows it.
    func welcome(_ session: Session, _ job: CatchUp) {
        counters[.sessionsRecovered] += 1
        greet(session, isRecovered: true)
        if isLive(session) { followBridge(session) }
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
    func beginAnew(_ session: Session, _ job: CatchUp) {
        counters[.recoveriesRefused] += 1
        let pass = session.recovery?.pass
        let offset = session.recovery?.offsetAtStart
        drop(job, of: session)
        // What the client names as its last when it comes again may still be this.
        makeRecoverable(
            session, in: session.encoding.namespace ?? .root, made: pass?.device, offset: offset)
        begin(session)
        startQueued(session)
    }

    // MARK: A session ends

    /// Its connection is gone: it may be recovered for a while.
    func retain(_ session: Session, of engine: EngineSession) {
        guard let recovery = session.recovery, recovery.isEstablished, !recovery.isOver else {
            return
        }
        var retained = RecoverableSession(
            name: recovery.pass.name, user: session.user.id, received: [:],
            given: recovery.given, offsetAtStart: recovery.offsetAtStart,
            topics: followedTopics(of: session).sorted { $0.text < $1.text },
            isKept: recovery.isKept)
        for (place, seq) in engine.acknowledged where place.session == session.key {
            retained.received[place.chat] = seq
        }
        if case .recover(let recovering) = session.job?.kind {
            let followed = Set(retained.topics)
            retained.topics += recovering.topics.filter { !followed.contains($0) }
        }
        recovery.isKept = false
        if configuration.planted.contains(.givenIsReceived) {
            for given in retained.given { retained.received[given.chat] = given.seqs.upperBound }
        }
        retain(retained)
    }

    private func retain(_ session: RecoverableSession) {
        forgetRetained()
        while retained.count >= Self.maximumRetained { forgetOldestRetained() }
        var userTopic: Topic?
        if configuration.isBridged {
            let topic = topic(for: .user(session.user))
            topic.pins += 1
            userTopic = topic
        }
        if let older = retained.removeValue(forKey: session.name) { unpin(older) }
        let until = now.instant.advanced(byMilliseconds: limits.recoveryWindowMs)
        retained[session.name] = Retained(
            session: session, until: until, userTopic: userTopic)
        retainedOrder.append((session.name, until))
        noteRecoverable(session.name)
    }

    private static let maximumRetained = 65_536

    private func takeRetained(_ name: SessionName) -> RecoverableSession? {
        guard let found = retained.removeValue(forKey: name) else { return nil }
        noteRecoverable(name)
        unpin(found)
        guard found.until > now.instant else {
            forgetKept(found.session)
            return nil
        }
        return found.session
    }

    /// Those whose window is over.
    func forgetRetained() {
        while retainedStart < retainedOrder.count,
            retainedOrder[retainedStart].until <= now.instant
        {
            forgetOldestRetained()
        }
    }

    private func forgetOldestRetained() {
        let (name, until) = retainedOrder[retainedStart]
        retainedStart += 1
        if retainedStart > 1_024, retainedStart * 2 > retainedOrder.count {
            retainedOrder.removeFirst(retainedStart)
            retainedStart = 0
        }
        // Taken meanwhile, and perhaps retained anew: then it stands further behind as well.
        guard let found = retained[name], found.until == until else { return }
        retained[name] = nil
        noteRecoverable(name)
        unpin(found)
        forgetKept(found.session)
    }

    private func unpin(_ retained: Retained) {
        guard let topic = retained.userTopic else { return }
        topic.pins -= 1
        releaseIfUnused(topic)
    }

    /// A backend has ended the user's connections: nothing of them is to come back.
    func forgetSessions(of user: UserID) {
        guard recovers || limits.legacyTokenGraceSeconds > 0 else { return }
        for (name, found) in retained where found.session.user == user {
            retained[name] = nil
            noteRecoverable(name)
            unpin(found)
        }
        submit(.dropSessions(.all(of: user)), .nothing)
    }
}

/// The way back of one session.
final class Recovering {
    /// Who is asked.
    var place: EngineID
    var hops = 0
    /// The other instances that may have gone on with it; nil while its own is asked.
    var unasked: [UInt32]?
    var isAsking = true
    /// What the client has is what the store says.
    var isFromStore = false
    var known: [ChatID: Seq] = [:]
    /// What its user is in no more since it began.
    var departures: [ChatID] = []
    var topics: [TopicName] = []

    init(place: EngineID) { self.place = place }
}
