import Basics

/// What the core asks of the store. Writes are decided inside the store's transaction; each has its
/// own outcome as a value, and the refusal of one never aborts its neighbours in the batch.
///
/// Every write is idempotent by the id it carries (an entry id, a chat id, a watermark that only
/// rises), so a batch whose commit was not confirmed can be submitted again as it is (P5).
package enum Operation: Sendable {
    // Writes
    case append(AppendMessage)
    case advanceCursor(AdvanceCursor)
    case createConversation(CreateConversation)
    case changeMembership(ChangeMembership)
    case keepSession(KeepSession)
    case keepMarks(KeepMarks)
    case dropSessions(DropSessions)

    // Reads, served after the writes of the same batch committed
    case openChats(OpenChats)
    case readLogs(ReadLogs)
    case readHistory(ReadHistory)
    case readRange(ReadRange)
    case head(ChatID)
    /// Where an entry is in a chat's log, whoever may see it. Outcome: `.located`.
    case locate(MessageID, in: ChatID)
    /// The chats that have an entry of that id, which the user may see: one, or none. (Where services choose
    /// ids, perhaps more.) Outcome: `.chats`.
    case findChats(of: MessageID, for: UserID)
    case readNews(ReadNews)
    case listConversations(UserID)
    case listMembers(ChatID, by: UserID)
    /// What was kept under a name, unless its time was over at `at`. Outcome: `.session`.
    case findSession(String, at: WallTime)

    package var isWrite: Bool {
        switch self {
        case .append, .advanceCursor, .createConversation, .changeMembership, .keepSession,
            .keepMarks, .dropSessions:
            true
        case .openChats, .readLogs, .readHistory, .readRange, .head, .locate, .readNews,
            .listConversations, .listMembers, .findSession, .findChats:
            false
        }
    }

    /// Rows that it writes, roughly: a batch of the lane holds so many.
    package var rows: Int {
        switch self {
        case .createConversation(let create): 1 + create.members.count
        case .keepMarks(let keep): 1 + keep.marks.count
        case .changeMembership(let change): 1 + 2 * change.users.count
        default: 1
        }
    }

    /// What its answer may hold, in bytes: a batch of the lane keeps all answers until it commits.
    package var largestAnswerBytes: Int {
        switch self {
        case .readLogs(let read): read.maximumBytes
        case .readHistory(let read): read.maximumBytes
        case .readRange(let read): read.maximumBytes
        default: 0
        }
    }

    /// What it costs in the lane's queue, roughly, in bytes.
    package var approximateBytes: Int {
        switch self {
        case .append(let append): 256 + append.message.encryptedContent.count
        case .createConversation(let create): 256 + 64 * create.members.count
        case .changeMembership(let change): 256 + 64 * change.users.count
        case .openChats(let open): 128 + 64 * open.chats.count
        case .keepSession(let keep): 256 + keep.state.count
        case .keepMarks(let keep): 128 + 64 * keep.marks.count
        case .readLogs(let read): 128 + 64 * read.chats.count
        case .readNews(let read): 128 + 64 * (read.chats.count + read.users.count)
        default: 256
        }
    }
}

/// In the transaction: lock the chat → authorise → look up (author, clientMessageID) → take the seq
/// → insert. Outcomes: `.appended`, `.duplicate`, or `.refused` with `.notFound` (no such chat, or
/// the author is not a member: the two are not told apart), `.idempotencyConflict`.
package struct AppendMessage: Sendable {
    package var id: MessageID
    package var chat: ChatID
    package var author: UserID
    package var device: DeviceID
    package var clientMessageID: String?
    package var createdAt: WallTime
    package var message: Message

    package init(
        id: MessageID, chat: ChatID, author: UserID, device: DeviceID, clientMessageID: String?,
        createdAt: WallTime, message: Message
    ) {
        self.id = id
        self.chat = chat
        self.author = author
        self.device = device
        self.clientMessageID = clientMessageID
        self.createdAt = createdAt
        self.message = message
    }
}

/// Where a cursor is to be set: at a seq, or at the entry of an id.
package enum LogPosition: Hashable, Sendable {
    case seq(Seq)
    case entry(MessageID)
}

/// Raises a device's watermarks. Lower or equal positions change nothing. A read position raises
/// the delivered one too (what was read was delivered). A position beyond the log's end is refused
/// with `.invalidPosition`, an unknown entry with `.notFound`; nothing of the operation is then
/// applied. Outcome: `.cursor`.
package struct AdvanceCursor: Sendable {
    package var chat: ChatID
    package var user: UserID
    package var device: DeviceID
    package var delivered: LogPosition?
    package var read: LogPosition?
    /// The read watermark is not to be shown to others.
    package var isReadPrivate: Bool
    package var at: WallTime

    package init(
        chat: ChatID, user: UserID, device: DeviceID, delivered: LogPosition?, read: LogPosition?,
        isReadPrivate: Bool, at: WallTime
    ) {
        self.chat = chat
        self.user = user
        self.device = device
        self.delivered = delivered
        self.read = read
        self.isReadPrivate = isReadPrivate
        self.at = at
    }
}

/// The creator becomes owner, the others members (of a direct chat both are owners). A direct chat
/// that the pair already has, in whatever order it was named, is answered with
/// `.conversation(existing, created: false)`. An id that is taken is `.refused(.alreadyExists)`,
/// unless the same creator repeats the same request: then `created: true` again. Creation makes no
/// log entry: the first message has seq 1.
package struct CreateConversation: Sendable {
    package var id: ChatID
    package var kind: ConversationKind
    package var name: String?
    package var creator: UserID
    /// All members, the creator among them, without repeats.
    package var members: [UserID]
    package var createdAt: WallTime

    package init(
        id: ChatID, kind: ConversationKind, name: String?, creator: UserID, members: [UserID],
        createdAt: WallTime
    ) {
        self.id = id
        self.kind = kind
        self.name = name
        self.creator = creator
        self.members = members
        self.createdAt = createdAt
    }
}

/// Adds or removes members, one log entry each, in the order given; `entryIDs` names the entries,
/// one a user. Adding needs owner or admin; removing needs a role above the removed one's; leaving
/// (kind `.left`, the user being the author) needs membership. A direct chat's members never change
/// (`.forbidden`). Adding someone who is a member, or removing someone who is not, makes no entry
/// and is no error. A chat with too many members refuses all (`.tooManyMembers`). When the last
/// owner leaves, the longest-standing admin, else member, becomes owner. Outcome:
/// `.membership(entries)`, or `.refused` with `.notFound` (the author is not a member),
/// `.forbidden`, `.tooManyMembers`.
package struct ChangeMembership: Sendable {
    package var chat: ChatID
    package var author: UserID
    package var device: DeviceID
    package var kind: MembershipChange.Kind
    package var users: [UserID]
    package var entryIDs: [MessageID]
    package var maximumMembers: Int
    package var at: WallTime

    package init(
        chat: ChatID, author: UserID, device: DeviceID, kind: MembershipChange.Kind,
        users: [UserID], entryIDs: [MessageID], maximumMembers: Int, at: WallTime
    ) {
        self.chat = chat
        self.author = author
        self.device = device
        self.kind = kind
        self.users = users
        self.entryIDs = entryIDs
        self.maximumMembers = maximumMembers
        self.at = at
    }
}

/// How far a session has come in something that it follows. What the items are is the gateway's
/// business.
package struct KeptMark: Hashable, Sendable {
    /// At most 140 bytes.
    package var item: String
    package var seq: Seq

    package init(_ item: String, _ seq: Seq) {
        self.item = item
        self.seq = seq
    }
}

/// What an instance wrote down of a session, so that another may go on with it.
package struct KeptSession: Hashable, Sendable {
    package var user: UserID
    package var epoch: Int64
    package var state: [UInt8]
    /// In the order of their items.
    package var marks: [KeptMark]

    package init(user: UserID, epoch: Int64, state: [UInt8], marks: [KeptMark] = []) {
        self.user = user
        self.epoch = epoch
        self.state = state
        self.marks = marks
    }
}

/// Keeps a session under a name. Outcome: `.done`; `.refused(.alreadyExists)` where what is kept under the
/// name has neither this epoch (it is written again, and keeps its marks) nor the one to replace (the marks go):
/// somebody else has gone on with the session, or it has ended.
package struct KeepSession: Sendable {
    /// At most 64 bytes.
    package var name: String
    package var user: UserID
    package var epoch: Int64
    /// The epoch that it takes the place of; nil where nothing is kept under the name.
    package var replaces: Int64?
    package var state: [UInt8]
    package var at: WallTime
    /// It need not be found after that.
    package var until: WallTime

    package init(
        name: String, user: UserID, epoch: Int64, replaces: Int64? = nil, state: [UInt8],
        at: WallTime, until: WallTime
    ) {
        self.name = name
        self.user = user
        self.epoch = epoch
        self.replaces = replaces
        self.state = state
        self.at = at
        self.until = until
    }
}

/// Sets marks of a kept session, to whatever they say. Outcome: `.done`; `.refused(.notFound)` where no
/// session of that name and epoch is kept.
package struct KeepMarks: Sendable {
    package var name: String
    package var epoch: Int64
    /// Each item once.
    package var marks: [KeptMark]

    package init(name: String, epoch: Int64, marks: [KeptMark]) {
        self.name = name
        self.epoch = epoch
        self.marks = marks
    }
}

/// Forgets kept sessions, and their marks; those that are not there are no error. Outcome: `.done`.
package enum DropSessions: Hashable, Sendable {
    /// Unless it has another epoch.
    case named(String, epoch: Int64)
    /// What was kept later than `at` stays: it is of after.
    case all(of: UserID, at: WallTime)
}

/// What a user may see of some chats, at one point of their logs. Outcome: `.opened`, one
/// `OpenedChat` a chat, in the order asked.
package struct OpenChats: Sendable {
    package var user: UserID
    package var chats: [ChatID]

    package init(user: UserID, chats: [ChatID]) {
        self.user = user
        self.chats = chats
    }
}

package struct OpenedChat: Hashable, Sendable {
    package enum Access: Hashable, Sendable {
        case member
        /// Was a member; may read up to and including the entry that ended it.
        case former(lastVisible: Seq)
        /// Never a member, or there is no such chat: not told apart.
        case none
    }

    package var chat: ChatID
    package var access: Access
    package var lastSeq: Seq
    package var readSeq: Seq
    package var memberCount: Int
    /// Of a member: the first entry of the present stay that they see, 0 for who was there from the
    /// creation on.
    package var staySeq: Seq

    package init(
        chat: ChatID, access: Access, lastSeq: Seq, readSeq: Seq, memberCount: Int,
        staySeq: Seq = 0
    ) {
        self.staySeq = staySeq
        self.chat = chat
        self.access = access
        self.lastSeq = lastSeq
        self.readSeq = readSeq
        self.memberCount = memberCount
    }
}

/// Entries after a position, ascending, for each chat: what the user may see of them (the periods
/// of membership, their ends included). Stops when `maximumEntries` or `maximumBytes` is reached
/// over all chats, but gives at least one entry where there is one. Outcome: `.logs`, one `LogPage`
/// a chat, in the order asked.
package struct ReadLogs: Sendable {
    package struct From: Hashable, Sendable {
        package var chat: ChatID
        package var after: Seq
        package init(chat: ChatID, after: Seq) {
            self.chat = chat
            self.after = after
        }
    }

    package var user: UserID
    package var chats: [From]
    package var maximumEntries: Int
    package var maximumBytes: Int

    package init(user: UserID, chats: [From], maximumEntries: Int, maximumBytes: Int) {
        self.user = user
        self.chats = chats
        self.maximumEntries = maximumEntries
        self.maximumBytes = maximumBytes
    }
}

package struct LogPage: Hashable, Sendable {
    package var chat: ChatID
    package var access: OpenedChat.Access
    package var entries: [LogEntry]
    /// The log is read up to here: the last entry given where `isComplete` is false, the log's end
    /// otherwise (for a former member, the last entry they may see).
    package var readThrough: Seq
    package var isComplete: Bool

    package init(
        chat: ChatID, access: OpenedChat.Access, entries: [LogEntry], readThrough: Seq,
        isComplete: Bool
    ) {
        self.chat = chat
        self.access = access
        self.entries = entries
        self.readThrough = readThrough
        self.isComplete = isComplete
    }
}

/// One page of history for the HTTP API: for present members only.
/// At most `limit` entries and `maximumBytes`, but at least one where there is one.
/// Outcome: `.history(LogPage)`, or `.refused(.notFound)`.
package struct ReadHistory: Sendable {
    package var chat: ChatID
    package var user: UserID
    package var after: Seq
    package var limit: Int
    package var maximumBytes: Int

    package init(
        chat: ChatID, user: UserID, after: Seq, limit: Int, maximumBytes: Int = 1_000_000
    ) {
        self.chat = chat
        self.user = user
        self.after = after
        self.limit = limit
        self.maximumBytes = maximumBytes
    }
}

/// Entries (after, through] of a chat, whoever may see them: the gateway's own repair of a hole.
/// Bounded by `maximumEntries`, ascending. Outcome: `.range([LogEntry])`.
package struct ReadRange: Sendable {
    package var chat: ChatID
    package var after: Seq
    package var maximumEntries: Int
    /// At least one entry is given where there is one.
    package var maximumBytes: Int

    package init(
        chat: ChatID, after: Seq, maximumEntries: Int, maximumBytes: Int = 1_000_000
    ) {
        self.chat = chat
        self.after = after
        self.maximumEntries = maximumEntries
        self.maximumBytes = maximumBytes
    }
}

/// A point in the store's own time: of its clock, or of whatever it counts. Compared by the store
/// only, so that clocks of instances need not agree.
package struct StoreTime: Hashable, Sendable {
    package var value: Int64
    package init(value: Int64) { self.value = value }
}

/// What a gateway asks when it may have missed news: how far these chats' logs go, which watermarks
/// moved in them since, and which chats these users have come into since. Outcome: `.news`.
package struct ReadNews: Sendable {
    package var chats: [ChatID]
    package var users: [UserID]
    /// `News.at` of an earlier answer; nil asks for the heads alone.
    package var since: StoreTime?

    package init(chats: [ChatID], users: [UserID] = [], since: StoreTime? = nil) {
        self.chats = chats
        self.users = users
        self.since = since
    }
}

package struct News: Hashable, Sendable {
    package struct Arrival: Hashable, Sendable {
        package var user: UserID
        package var chat: ChatID
        /// What comes after it is news to the user.
        package var since: Seq

        package init(user: UserID, chat: ChatID, since: Seq) {
            self.user = user
            self.chat = chat
            self.since = since
        }
    }

    /// The last seq of each chat, in the order asked; 0 where there is no such chat.
    package var heads: [Seq]
    /// What others are shown of every mark in these chats that moved since, perhaps of more. `at` is
    /// 0 where the store does not know when.
    package var receipts: [Receipt]
    /// Every stay of these users that began since and lasts, perhaps more.
    package var arrivals: [Arrival]
    /// To be asked with next time: nothing that was committed later is left out then. Early enough
    /// for transactions that were under way.
    package var at: StoreTime

    package init(heads: [Seq], receipts: [Receipt], arrivals: [Arrival], at: StoreTime) {
        self.heads = heads
        self.receipts = receipts
        self.arrivals = arrivals
        self.at = at
    }
}

/// What became of an operation.
package enum Outcome: Hashable, Sendable {
    case appended(LogEntry)
    /// The first send's place. No new entry.
    case duplicate(id: MessageID, seq: Seq, createdAt: WallTime)
    /// The user-level watermarks that moved, if any; and the device's position now.
    case cursor(Receipt?, delivered: Seq, read: Seq)
    case conversation(Conversation, created: Bool)
    case membership([LogEntry])

    case opened([OpenedChat])
    case logs([LogPage])
    case history(LogPage)
    case range([LogEntry])
    /// The last seq of the chat; 0 where there is no such chat.
    case head(Seq)
    /// nil where the chat has no such entry.
    case located(Seq?)
    case news(News)
    case conversations([Conversation])
    case members([Member])
    case chats([ChatID])
    case session(KeptSession?)
    /// Of what has no other outcome.
    case done

    case refused(Refusal)
}

/// Why the store's decision was no. Nothing of the operation was applied.
package enum Refusal: Hashable, Sendable {
    case notFound
    case forbidden
    case alreadyExists
    case idempotencyConflict
    case invalidPosition
    case tooManyMembers
}
