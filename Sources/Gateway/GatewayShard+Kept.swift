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

    /// Writes down that the session is here. `.kept` follows.
    func keep(_ session: Session, floors: [ChatID: Seq], topics: [TopicName]) {
        guard let recovery = session.recovery else { return }
        let state = KeptState(
            owner: recovery.pass.name.place(owner: configuration.instance, shard: index),
            floors: floors, left: recovery.left, topics: topics)
        recovery.isWhole = state.isWhole
        submit(
            .keepSession(
                KeepSession(
                    name: Self.keptName(recovery.pass.name), user: session.user.id,
                    epoch: recovery.epoch, state: state.bytes, at: now.wall,
                    until: WallTime(milliseconds: now.wall.milliseconds + Recovery.keptMs))),
            .kept(session.key))
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
            keep(session, floors: floors, topics: [])
            return true
        case .join, .resume:
            guard recovery.isKept, recovery.isWhole, !floors.isEmpty else { return false }
            recovery.left.subtract(floors.keys)
            keepMarks(
                floors.sorted { $0.key.text < $1.key.text }.map { .chat($0.key, $0.value) },
                recovery, .kept(session.key))
            return true
        case .leave, .broughtIn, .establish, .recover:
            return false
        }
    }

    /// What was to be kept is, or is not.
    func kept(_ key: SubscriberKey, _ result: LaneAnswer.Result) {
        guard let session = session(key), let job = session.job, let recovery = session.recovery
        else { return }
        switch (result, job.kind) {
        case (.outcome(.done), .recover):
            recovery.isKept = true
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
        case (_, _):
            finishFailed(job, session)
        }
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
    case topic(TopicName, isFollowed: Bool)

    static let notFollowed: Seq = -1

    var mark: KeptMark {
        switch self {
        case .chat(let chat, let seq): KeptMark("c:" + chat.text, seq ?? Self.notFollowed)
        case .topic(let topic, let isFollowed):
            KeptMark("t:" + topic.text, isFollowed ? 0 : Self.notFollowed)
        }
    }

    init?(_ mark: KeptMark) {
        let name = String(mark.item.dropFirst(2))
        if mark.item.hasPrefix("c:"), let chat = ChatID(name) {
            self = .chat(chat, mark.seq < 0 ? nil : mark.seq)
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
    private var topics: Set<TopicName>
    /// It is enough to go on with; else only its owner can say more.
    let isWhole: Bool

    /// Chats that are kept.
    static let maximumChats = 500
    private static let version: UInt8 = 1

    init(owner: EngineID, floors: [ChatID: Seq], left: Set<ChatID>, topics: [TopicName]) {
        self.owner = owner
        isWhole = floors.count <= Self.maximumChats
        self.floors = isWhole ? floors : [:]
        self.left = isWhole ? left : []
        self.topics = Set(topics)
    }

    var bytes: [UInt8] {
        var bytes = [Self.version, isWhole ? 1 : 0]
        bytes.append(shortText: owner.text)
        bytes.append(integer: UInt16(floors.count))
        for (chat, seq) in floors.sorted(by: { $0.key.text < $1.key.text }) {
            bytes.append(shortText: chat.text)
            bytes.append(integer: seq)
        }
        bytes.append(names: left.map(\.text).sorted())
        bytes.append(names: topics.map(\.text).sorted())
        return bytes
    }

    /// nil where it is another release's.
    init?(_ bytes: [UInt8], _ marks: [KeptMark]) {
        var reader = ByteReader(bytes)
        guard reader.byte() == Self.version, let isWhole = reader.byte(),
            let owner = reader.shortText().flatMap({ EngineID($0.utf8.span) }),
            let count = reader.integer(UInt16.self)
        else { return nil }
        var floors: [ChatID: Seq] = [:]
        for _ in 0..<count {
            guard let chat = reader.chat(), let seq = reader.integer(Seq.self), seq >= 0 else {
                return nil
            }
            floors[chat] = seq
        }
        guard let left = reader.names(), let topics = reader.names(), reader.isAtEnd else {
            return nil
        }
        self.owner = owner
        self.isWhole = isWhole != 0
        self.floors = floors
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
            case .topic(let topic, true): self.topics.insert(topic)
            case .topic(let topic, false): self.topics.remove(topic)
            case nil: break
            }
        }
    }

    func session(_ name: SessionName, _ found: KeptSession) -> RecoverableSession {
        RecoverableSession(
            name: name, user: found.user, epoch: found.epoch, received: floors, left: left,
            topics: topics.sorted { $0.text < $1.text })
    }
}
