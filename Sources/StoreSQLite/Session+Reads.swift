import Basics
import Domain
import StoreCore

/// What users may see of chats.
struct ReadStatements {
    let view: Statement
    let entries: Statement
    let conversations: Statement
    let members: Statement
    let marks: Statement
    let chatName: Statement

    init(_ connection: Connection) throws(SQLError) {
        view = try connection.prepare(
            """
            SELECT c.key, c.last_seq, c.member_count, m.joined_seq, m.ended_seq
            FROM chats c CROSS JOIN memberships m ON m.chat = c.key
            WHERE c.id = ?1 AND m.user = ?2 ORDER BY m.key
            """)
        entries = try connection.prepare(
            """
            SELECT \(EntryRow.columns) FROM entries e
            WHERE e.position > ?1 AND e.position <= ?2 ORDER BY e.position LIMIT ?3
            """)
        conversations = try connection.prepare(
            """
            SELECT c.id, c.kind, c.name, c.created_at, c.last_seq, coalesce(w.read, 0), m.role,
                c.member_count
            FROM memberships m
            CROSS JOIN chats c ON c.key = m.chat
            LEFT JOIN watermarks w ON w.chat = m.chat AND w.user = m.user
            WHERE m.user = ?1 AND m.ended_seq IS NULL ORDER BY c.key
            """)
        members = try connection.prepare(
            """
            SELECT m.user, m.role, m.joined_at, coalesce(w.delivered, 0),
                coalesce(CASE WHEN m.user = ?2 THEN w.read ELSE w.public_read END, 0)
            FROM memberships m
            LEFT JOIN watermarks w ON w.chat = m.chat AND w.user = m.user
            WHERE m.chat = ?1 AND m.ended_seq IS NULL ORDER BY m.key
            """)
        marks = try connection.prepare(
            "SELECT user, delivered, public_read FROM watermarks WHERE chat = ?1")
        chatName = try connection.prepare("SELECT id FROM chats WHERE key = ?1")
    }
}

/// What a user may see of a chat: the entries of each period of membership.
struct View {
    var chat: Int64
    var lastSeq: Seq
    var memberCount: Int
    /// Ascending, apart from each other; the open one, if any, is the last and ends at the log's
    /// end.
    var periods: [ClosedRange<Seq>]
    var isPresent: Bool
    /// The first entry of the present stay, 0 for who was there from the creation on, or is no more.
    var staySeq: Seq

    /// Up to where the user may see: the log's end, for a former member the last period's end.
    var end: Seq { isPresent ? lastSeq : periods.last?.upperBound ?? 0 }

    var access: OpenedChat.Access { isPresent ? .member : .former(lastVisible: end) }

    func shows(_ seq: Seq) -> Bool { periods.contains { $0.contains(seq) } }
}

extension Session {
    /// nil where the user never was a member, or there is no such chat.
    func view(_ chat: ChatID, _ user: UserID) throws(SQLError) -> View? {
        let statement = statements.reads.view
        statement.bind(1, chat.text)
        statement.bind(2, user.text)
        var view: View?
        while try statement.step() {
            let lastSeq = statement.integer(1)
            var next =
                view
                ?? View(
                    chat: statement.integer(0), lastSeq: lastSeq,
                    memberCount: Int(statement.integer(2)), periods: [], isPresent: false,
                    staySeq: 0)
            let first = max(1, statement.integer(3))
            let ended = statement.optionalInteger(4)
            next.isPresent = ended == nil
            next.staySeq = ended == nil ? statement.integer(3) : 0
            // A new chat has no entries, hence no range yet.
            let last = ended ?? lastSeq
            if first <= last { next.periods.append(first...last) }
            view = next
        }
        return view
    }

    func openChats(_ open: OpenChats) throws(SQLError) -> Outcome {
        var opened: [OpenedChat] = []
        opened.reserveCapacity(open.chats.count)
        for chat in open.chats {
            guard let view = try view(chat, open.user) else {
                opened.append(
                    OpenedChat(chat: chat, access: .none, lastSeq: 0, readSeq: 0, memberCount: 0))
                continue
            }
            opened.append(
                OpenedChat(
                    chat: chat, access: view.access, lastSeq: view.end,
                    readSeq: try readMark(view.chat, open.user),
                    memberCount: view.isPresent ? view.memberCount : 0,
                    staySeq: view.staySeq))
        }
        return .opened(opened)
    }

    func findChats(of id: MessageID, for user: UserID) throws(SQLError) -> Outcome {
        guard let place = try place(of: id) else { return .chats([]) }
        let name = statements.reads.chatName
        name.bind(1, Place.chat(place))
        guard try name.step() else { return .chats([]) }
        let chat = ChatID(trusted: name.text(0))
        name.reset()
        guard let view = try view(chat, user), view.shows(Place.seq(place)) else {
            return .chats([])
        }
        return .chats([chat])
    }

    func readLogs(_ read: ReadLogs) throws(SQLError) -> Outcome {
        var budget = ReadBudget(entries: read.maximumEntries, bytes: read.maximumBytes)
        var pages: [LogPage] = []
        pages.reserveCapacity(read.chats.count)
        for from in read.chats {
            if let view = try view(from.chat, read.user) {
                pages.append(try page(view, from.chat, after: from.after, &budget))
            } else {
                pages.append(
                    LogPage(
                        chat: from.chat, access: .none, entries: [], readThrough: 0,
                        isComplete: true))
            }
        }
        return .logs(pages)
    }

    func readHistory(_ read: ReadHistory) throws(SQLError) -> Outcome {
        guard let view = try view(read.chat, read.user), view.isPresent else {
            return .refused(.notFound)
        }
        var budget = ReadBudget(entries: read.limit, bytes: read.maximumBytes)
        return .history(try page(view, read.chat, after: read.after, &budget))
    }

    private func page(
        _ view: View, _ chat: ChatID, after: Seq, _ budget: inout ReadBudget
    ) throws(SQLError) -> LogPage {
        var page = LogPage(
            chat: chat, access: view.access, entries: [], readThrough: max(0, after),
            isComplete: true)
        for period in view.periods where period.upperBound > page.readThrough {
            let from = max(page.readThrough, period.lowerBound - 1)
            // One more than the budget has, to see that there is more.
            try entries(
                chat, view.chat, after: from, through: period.upperBound,
                limit: min(budget.entries, 1 << 30) + 1
            ) { entry in
                page.isComplete = budget.takes(entry)
                guard page.isComplete else { return false }
                page.entries.append(entry)
                page.readThrough = entry.seq
                return true
            }
            if !page.isComplete { return page }
        }
        page.readThrough = view.end
        return page
    }

    func readRange(_ read: ReadRange) throws(SQLError) -> Outcome {
        guard let chat = try chat(read.chat) else { return .range([]) }
        var found: [LogEntry] = []
        var budget = ReadBudget(entries: read.maximumEntries, bytes: read.maximumBytes)
        try entries(
            read.chat, chat.key, after: max(0, read.after), through: chat.lastSeq,
            limit: max(0, read.maximumEntries)
        ) { entry in
            guard budget.takes(entry) else { return false }
            found.append(entry)
            return true
        }
        return .range(found)
    }

    /// Entries (after, through], ascending, until `limit` or `body` says false.
    private func entries(
        _ id: ChatID, _ chat: Int64, after: Seq, through: Seq, limit: Int,
        _ body: (LogEntry) -> Bool
    ) throws(SQLError) {
        let statement = statements.reads.entries
        guard after < through else { return }
        statement.bind(1, Place.of(chat: chat, seq: after))
        statement.bind(2, Place.of(chat: chat, seq: through))
        statement.bind(3, Int64(limit))
        while try statement.step() {
            guard body(EntryRow.entry(statement, chat: id)) else {
                statement.reset()
                return
            }
        }
    }

    /// In the order in which the chats were made.
    func conversations(of user: UserID) throws(SQLError) -> [Conversation] {
        let row = statements.reads.conversations
        row.bind(1, user.text)
        var found: [Conversation] = []
        while try row.step() {
            found.append(
                Conversation(
                    id: ChatID(trusted: row.text(0)),
                    kind: ConversationKind(rawValue: row.text(1)) ?? .group,
                    name: row.optionalText(2),
                    createdAt: WallTime(milliseconds: row.integer(3)), lastSeq: row.integer(4),
                    readSeq: row.integer(5), role: Role(rawValue: row.text(6)) ?? .member,
                    memberCount: Int(row.integer(7))))
        }
        return found
    }

    /// The longest-standing first. Of the asking user the private read mark too.
    func members(of chat: ChatID, for user: UserID) throws(SQLError) -> Outcome {
        let statement = statements.reads.members
        guard let place = try place(chat, user) else { return .refused(.notFound) }
        statement.bind(1, place.chat)
        statement.bind(2, user.text)
        var found: [Member] = []
        while try statement.step() {
            found.append(
                Member(
                    user: UserID(trusted: statement.text(0)),
                    role: Role(rawValue: statement.text(1)) ?? .member,
                    joinedAt: WallTime(milliseconds: statement.integer(2)),
                    deliveredSeq: statement.integer(3),
                    readSeq: statement.integer(4)))
        }
        return .members(found)
    }
}
