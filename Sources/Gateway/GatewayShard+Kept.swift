import Basics
import BusCore
import Domain
import SocketIO
import StoreCore
import Wire

/// What the store keeps of sessions that can be recovered: whose they are now, what they follow, and how far
/// their clients certainly are.
///
/// A session says that it can be recovered once this is written, and a join is answered then: what a client
/// was promised survives the instance. Marks follow as pongs come, without anybody waiting for them.
extension GatewayShard {
    static func keptName(_ name: SessionName) -> String { "s:" + name.text }

    /// Writes down that the session is here.
    func keep(
        _ session: Session, floors: [ChatID: Seq], topics: [TopicName], _ work: PendingWork
    ) {
        guard let recovery = session.recovery else { return }
        let state = KeptState(
            owner: recovery.pass.name.place(owner: configuration.instance, shard: index),
            floors: floors, left: recovery.left, rewound: recovery.rewound, topics: topics)
        recovery.isWhole = state.isWhole
        recovery.isKeeping = true
        recovery.keptAt = now.instant
        submit(
            .keepSession(
                KeepSession(
                    name: Self.keptName(recovery.pass.name), user: session.user.id,
                    epoch: recovery.epoch, replaces: recovery.replaces, state: state.bytes,
                    at: now.wall,
                    until: WallTime(milliseconds: now.wall.milliseconds + Recovery.keptMs))),
            work)
    }

    /// What has to be written before the job's answer; false where that is nothing.
    func keepsFirst(_ job: CatchUp, _ session: Session) -> Bool {
        guard let recovery = session.recovery else { return false }
        var floors: [ChatID: Seq] = [:]
        for chat in job.chats where chat.isMember {
            floors[chat.id] = min(chat.since ?? chat.sentThrough, chat.lastSeq)
        }
        switch job.kind {
        case .followAll:
            keep(session, floors: floors, topics: [], .kept(session.key))
            return true
        case .join, .resume:
            guard recovery.isKept, recovery.isWhole, !floors.isEmpty else { return false }
            keepMarks(
                floors.keys.sorted { $0.text < $1.text }.flatMap { chat in
                    [
                        .chat(chat, self.known(chat, session) ?? floors[chat] ?? 0),
                        .rewound(chat, from: recovery.rewound[chat]),
                    ]
                }, recovery, .kept(session.key))
            return true
        case .leave, .broughtIn, .establish, .recover:
            return false
        }
    }

    /// Writes down chats that it follows unasked, because its user has come into them: of these nothing is
    /// kept, and before a pong says more the instance may be gone, and the user removed.
    func keepUnasked(_ job: CatchUp, _ session: Session) {
        guard let recovery = session.recovery, recovery.isKept || recovery.isKeeping,
            recovery.isWhole
        else { return }
        let known: [ChatID: Seq]
        switch job.kind {
        case .recover(let recovering): known = recovering.known
        case .broughtIn: known = [:]
        case .join, .resume, .leave, .followAll, .establish: return
        }
        let marks = job.chats.compactMap { chat -> KeptItem? in
            guard chat.isMember, !chat.wasFollowed, known[chat.id] == nil else { return nil }
            return .chat(
                chat.id,
                self.known(chat.id, session) ?? min(chat.since ?? chat.sentThrough, chat.lastSeq))
        }
        if !marks.isEmpty { keepMarks(marks, recovery, .nothing) }
    }

    /// What was to be kept is, or is not.
    func kept(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job, let recovery = session.recovery
        else { return }
        recovery.isKeeping = false
        switch (result, job.kind) {
        case (.outcome(.done), .recover):
            recovery.isKept = true
            recovery.replaces = nil
        case (.outcome, .recover):
            // Somebody else has gone on with it, or it has ended: this client comes once more, and is
            // told what became of it.
            disconnect(session, .sessionOver)
        case (.outcome(.done), _):
            recovery.isKept = true
            proceed(job, session)
        case (.outcome(.refused(.alreadyExists)), _):
            // The client has come back elsewhere: this is not the connection that it reads.
            disconnect(session, .sessionOver)
        case (.outcome, _):
            // A backend has ended the user's connections, and this is about to be told.
            recovery.isKept = false
            proceed(job, session)
        case (_, .followAll), (_, .establish):
            // The store takes no writes: then it is a session that cannot be recovered.
            forgetRecovery(of: session)
            session.recovery = nil
            proceed(job, session)
        case (_, .join), (_, .resume):
            // A chat that it followed would be followed no more, and nobody told.
            if job.chats.contains(where: \.wasFollowed) {
                disconnect(session, .commitUnknown)
            } else {
                finishFailed(job, session)
            }
        case (_, _):
            finishFailed(job, session)
        }
    }

    /// What the client certainly has of a chat.
    private func known(_ chat: ChatID, _ session: Session) -> Seq? {
        transport(of: session)?.ownEngine?
            .acknowledged[DeliveredMark.Place(session: session.key, chat: chat)]
    }

    // MARK: Marks

    /// Sessions whose marks are written at a time, and how often: sends come first.
    private static let marksAtOnce = 128
    private static let marksMs = 500

    /// A pong has moved what the client certainly has in these chats.
    func noteMoved(_ chats: some Sequence<ChatID>, _ session: Session) {
        guard let recovery = session.recovery, recovery.isKept, recovery.isWhole else { return }
        let wasIdle = recovery.moved.isEmpty
        recovery.moved.formUnion(chats)
        guard wasIdle, !recovery.moved.isEmpty else { return }
        if markQueue.isEmpty {
            schedule(.marks, 0, at: now.instant.advanced(byMilliseconds: Self.marksMs))
        }
        markQueue.append(session.key)
    }

    func writeMarks() {
        let due = markQueue.prefix(Self.marksAtOnce)
        for key in due {
            guard let session = session(key), let recovery = session.recovery else { continue }
            let chats = recovery.moved.sorted { $0.text < $1.text }
            recovery.moved = []
            if now.instant.milliseconds(since: recovery.keptAt) > Recovery.refreshMs {
                refresh(session)
            } else {
                keepMarks(
                    chats.flatMap { chat -> [KeptItem] in
                        guard let seq = known(chat, session) else { return [] }
                        return [.chat(chat, seq)] + covered(chat, seq, recovery)
                    }, of: session)
            }
        }
        markQueue.removeFirst(due.count)
        if !markQueue.isEmpty {
            schedule(.marks, 0, at: now.instant.advanced(byMilliseconds: Self.marksMs))
        }
    }

    /// A replay has arrived up to where the client once was.
    private func covered(_ chat: ChatID, _ seq: Seq, _ recovery: Recovery) -> [KeptItem] {
        guard let high = recovery.rewound[chat], seq >= high else { return [] }
        recovery.rewound[chat] = nil
        return [.rewound(chat, from: nil)]
    }

    /// All of it once more, so that it does not run out while the session lives.
    private func refresh(_ session: Session) {
        guard let engine = transport(of: session)?.ownEngine else { return }
        keep(
            session, floors: engine.acknowledged.of(session.key),
            topics: followedTopics(of: session).sorted { $0.text < $1.text }, .nothing)
        session.recovery?.isKeeping = false
    }

    /// Its client has that.
    func keepMarks(_ marks: [KeptItem], of session: Session) {
        guard let recovery = session.recovery, recovery.isKept, recovery.isWhole, !marks.isEmpty
        else { return }
        keepMarks(marks, recovery, .nothing)
    }

    private func keepMarks(_ marks: [KeptItem], _ recovery: Recovery, _ work: PendingWork) {
        submit(
            .keepMarks(
                KeepMarks(
                    name: Self.keptName(recovery.pass.name), epoch: recovery.epoch,
                    marks: marks.map(\.mark))),
            work)
    }

    func noteLeft(_ chat: ChatID, _ session: Session) {
        guard let recovery = session.recovery else { return }
        if recovery.left.count < Recovery.maximumLeft { recovery.left.insert(chat) }
        keepMarks([.chat(chat, nil)], of: session)
    }

    func noteTopics(_ names: [TopicName], areFollowed: Bool, _ session: Session) {
        keepMarks(names.map { .topic($0, isFollowed: areFollowed) }, of: session)
    }

    // MARK: Writes that have to come about

    /// Carries an operation out, again and again while the store takes none; nobody waits for it.
    func owe(_ operation: Operation) { submit(operation, .owed(operation)) }

    func owedAnswered(_ operation: Operation, _ result: LaneAnswer.Result) {
        if case .outcome = result { return }
        if owed.count < Self.maximumOwed { owed.append(operation) }
    }

    func submitOwed() {
        let operations = owed
        owed = []
        for operation in operations { owe(operation) }
    }

    private static let maximumOwed = 10_000
}

/// One line of what is kept of a session, beside its state.
enum KeptItem {
    /// nil: it is followed no more.
    case chat(ChatID, Seq?)
    /// It is replayed from before that, where the client had been already; nil: not any more.
    case rewound(ChatID, from: Seq?)
    case topic(TopicName, isFollowed: Bool)

    static let notFollowed: Seq = -1

    var mark: KeptMark {
        switch self {
        case .chat(let chat, let seq): KeptMark("c:" + chat.text, seq ?? Self.notFollowed)
        case .rewound(let chat, let seq): KeptMark("r:" + chat.text, seq ?? Self.notFollowed)
        case .topic(let topic, let isFollowed):
            KeptMark("t:" + topic.text, isFollowed ? 0 : Self.notFollowed)
        }
    }

    init?(_ mark: KeptMark) {
        let name = String(mark.item.dropFirst(2))
        if mark.item.hasPrefix("c:"), let chat = ChatID(name) {
            self = .chat(chat, mark.seq < 0 ? nil : mark.seq)
        } else if mark.item.hasPrefix("r:"), let chat = ChatID(name) {
            self = .rewound(chat, from: mark.seq < 0 ? nil : mark.seq)
        } else if mark.item.hasPrefix("t:"), let topic = TopicName(name) {
            self = .topic(topic, isFollowed: mark.seq >= 0)
        } else {
            return nil
        }
    }
}

/// What the store keeps of a session, as it was when it was written, and the marks since.
struct KeptState {
    /// Where it is, or was.
    let owner: EngineID
    /// By chat that it follows: what its client has, or was never promised.
    private var floors: [ChatID: Seq]
    private var left: Set<ChatID>
    private var rewound: [ChatID: Seq]
    private var topics: Set<TopicName>
    /// It is enough to go on with; else only its owner can say more.
    let isWhole: Bool

    /// Chats that are kept.
    static let maximumChats = 500
    private static let version: UInt8 = 1

    init(
        owner: EngineID, floors: [ChatID: Seq], left: Set<ChatID>, rewound: [ChatID: Seq],
        topics: [TopicName]
    ) {
        self.owner = owner
        isWhole = floors.count <= Self.maximumChats
        self.floors = isWhole ? floors : [:]
        self.left = isWhole ? left : []
        self.rewound = isWhole ? rewound.filter { floors[$0.key] != nil } : [:]
        self.topics = Set(topics)
    }

    var bytes: [UInt8] {
        var bytes = [Self.version, isWhole ? 1 : 0]
        bytes.append(shortText: owner.text)
        bytes.append(marks: floors)
        bytes.append(marks: rewound)
        bytes.append(names: left.map(\.text).sorted())
        bytes.append(names: topics.map(\.text).sorted())
        return bytes
    }

    /// nil where it is another release's.
    init?(_ bytes: [UInt8], _ marks: [KeptMark]) {
        var reader = ByteReader(bytes)
        guard reader.byte() == Self.version, let isWhole = reader.byte(),
            let owner = reader.shortText().flatMap({ EngineID($0.utf8.span) }),
            let floors = reader.marks(), let rewound = reader.marks(),
            let left = reader.names(), let topics = reader.names(), reader.isAtEnd
        else {
            return nil
        }
        self.owner = owner
        self.isWhole = isWhole != 0
        self.floors = floors
        self.rewound = rewound
        self.left = Set(left.compactMap { ChatID($0) })
        self.topics = Set(topics.compactMap { TopicName($0) })
        for mark in marks {
            switch KeptItem(mark) {
            case .chat(let chat, let seq?):
                self.floors[chat] = seq
                self.left.remove(chat)
            case .chat(let chat, nil):
                self.floors[chat] = nil
                self.left.insert(chat)
            case .rewound(let chat, let seq): self.rewound[chat] = seq
            case .topic(let topic, true): self.topics.insert(topic)
            case .topic(let topic, false): self.topics.remove(topic)
            case nil: break
            }
        }
    }

    func session(_ name: SessionName, _ found: KeptSession) -> RecoverableSession {
        RecoverableSession(
            name: name, user: found.user, epoch: found.epoch, received: floors, left: left,
            rewound: rewound, topics: topics.sorted { $0.text < $1.text })
    }
}
