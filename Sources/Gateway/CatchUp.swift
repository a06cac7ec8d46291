import Basics
import BusCore
import Domain

/// A join, a resume, the beginning of a legacy session, or its recovery: brings one connection from
/// what it knows to live, without a hole or a repeat.
///
///     watching (the homes are told) ─► opening (who may, how far) ─► ack
///        ─► replaying (pages of the store, as fast as the reader takes them) ─► caughtUp ─► live
///
/// The order is what makes it right: follow first, then read. What is committed after the read
/// arrives as a delivery and is kept by the topic (`recent`); what is committed before it is in the
/// read.
final class CatchUp {
    enum Kind {
        case join(RequestID?)
        case resume(RequestID?)
        case leave(RequestID?)
        /// A legacy session follows all of the user's chats, unasked.
        case followAll
        /// A legacy session was brought into a chat.
        case broughtIn
        /// A session that can be recovered, and follows nothing unasked, begins.
        case establish
        /// A session of Socket.IO that is to go on where it was.
        case recover(Recovering)
    }

    struct Chat {
        let id: ChatID
        /// What the client has; nil where nothing is to be replayed.
        var since: Seq?
        var topic: Topic?
        var access = OpenedChat.Access.none
        var lastSeq: Seq = 0
        var readSeq: Seq = 0
        var memberCount = 0
        /// Everything up to here has been sent, or was not asked for.
        var sentThrough: Seq = 0
        var isComplete = false
        /// It was followed already, and is not while this runs.
        var wasFollowed = false
        /// Then: up to where.
        var lastGiven: Seq = 0

        var isMember: Bool { access == .member }
    }

    let kind: Kind
    var chats: [Chat]
    var topicsAwaited = 0
    /// Waits for the outbox to drain.
    var isPaused = false
    /// The outbox has drained: the next page is to be read.
    var isDue = false
    /// The client was told that it worked: after that a failure cannot be an answer any more.
    var hasAcknowledged = false
    /// The places in `chats` of which a page is being read, in the order asked.
    var reading: [Int] = []

    init(kind: Kind, chats: [Chat]) {
        self.kind = kind
        self.chats = chats
    }

    /// One page for one connection; the next one is read when this one has mostly gone.
    static let pageEntries = 256
    static let pageBytes = 256_000
    static let maximumQueued = 64
    /// Chats of one read; the others of a long resume follow.
    static let chatsPerRead = 64
}

/// A catch-up that waits for its turn. Who comes back asks for all of their chats at once, and after
/// a restart everybody comes back: so a join that waits takes 64 bytes here, and not the 330 of one
/// that runs. What waits then is what a storm adds to the memory of the process.
enum QueuedCatchUp {
    /// Of one chat, but no resume.
    case one(CatchUp.Kind, CompactName, since: Seq?)
    case whole(CatchUp)

    init(_ job: CatchUp) {
        if case .resume = job.kind {
            self = .whole(job)
        } else if job.chats.count == 1 {
            self = .one(job.kind, CompactName(job.chats[0].id.text), since: job.chats[0].since)
        } else {
            self = .whole(job)
        }
    }

    var job: CatchUp {
        switch self {
        case .one(let kind, let chat, let since):
            CatchUp(
                kind: kind, chats: [CatchUp.Chat(id: ChatID(trusted: chat.text), since: since)])
        case .whole(let job): job
        }
    }

    /// Whether the client asks for a replay of that chat.
    func replays(_ chat: ChatID) -> Bool {
        switch self {
        case .one(.join, let name, .some): name == CompactName(chat.text)
        case .one: false
        case .whole(let job):
            switch job.kind {
            case .join, .resume: job.chats.contains { $0.id == chat && $0.since != nil }
            case .leave, .followAll, .broughtIn, .establish, .recover: false
            }
        }
    }
}
