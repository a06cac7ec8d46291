import Basics
import Domain

/// Looking up chats and their members, and making chats.
struct ChatStatements {
    let chat: Statement
    let pair: Statement
    let presence: Statement
    let insert: Statement
    let setLast: Statement
    let founders: Statement
    let readMark: Statement

    init(_ connection: Connection) throws(SQLError) {
        let columns = "key, id, kind, name, creator, created_at, last_seq, member_count"
        chat = try connection.prepare("SELECT \(columns) FROM chats WHERE id = ?1")
        pair = try connection.prepare("SELECT \(columns) FROM chats WHERE direct_pair = ?1")
        presence = try connection.prepare(
            """
            SELECT c.key, c.last_seq, c.kind, c.member_count, m.role, m.key
            FROM chats c CROSS JOIN memberships m ON m.chat = c.key
            WHERE c.id = ?1 AND m.user = ?2 AND m.ended_seq IS NULL
            """)
        insert = try connection.prepare(
            """
            INSERT INTO chats
                (id, kind, name, creator, created_at, last_seq, member_count, direct_pair)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)
            RETURNING key
            """)
        setLast = try connection.prepare(
            "UPDATE chats SET last_seq = ?2, member_count = ?3 WHERE key = ?1")
        founders = try connection.prepare(
            "SELECT user FROM memberships WHERE chat = ?1 AND joined_seq = 0")
        readMark = try connection.prepare(
            "SELECT read FROM watermarks WHERE chat = ?1 AND user = ?2")
    }
}

/// A row of `chats`.
struct ChatRow {
    var key: Int64
    var id: ChatID
    var kind: ConversationKind
    var name: String?
    var creator: UserID
    var createdAt: WallTime
    var lastSeq: Seq
    var memberCount: Int
}

/// A chat and a present member of it, as far as decisions need them.
struct Presence {
    var chat: Int64
    var lastSeq: Seq
    var kind: ConversationKind
    var memberCount: Int
    var role: Role
    /// The key of the open membership.
    var membership: Int64
}

extension Session {
    func chat(_ id: ChatID) throws(SQLError) -> ChatRow? {
        statements.chats.chat.bind(1, id.text)
        return try chatRow(statements.chats.chat)
    }

    private func chatRow(_ statement: Statement) throws(SQLError) -> ChatRow? {
        guard try statement.step() else { return nil }
        defer { statement.reset() }
        return ChatRow(
            key: statement.integer(0), id: ChatID(trusted: statement.text(1)),
            kind: ConversationKind(rawValue: statement.text(2)) ?? .group,
            name: statement.optionalText(3), creator: UserID(trusted: statement.text(4)),
            createdAt: WallTime(milliseconds: statement.integer(5)), lastSeq: statement.integer(6),
            memberCount: Int(statement.integer(7)))
    }

    /// nil where there is no such chat or the user is not a member now: not told apart (P13).
    func presence(_ chat: ChatID, _ user: UserID) throws(SQLError) -> Presence? {
        guard let statement = try presenceStatement(chat, user) else { return nil }
        defer { statement.reset() }
        return Presence(
            chat: statement.integer(0), lastSeq: statement.integer(1),
            kind: ConversationKind(rawValue: statement.text(2)) ?? .group,
            memberCount: Int(statement.integer(3)),
            role: Role(rawValue: statement.text(4)) ?? .member, membership: statement.integer(5))
    }

    /// The same for the hot path: the chat's key and last seq only.
    func place(_ chat: ChatID, _ user: UserID) throws(SQLError) -> (chat: Int64, lastSeq: Seq)? {
        guard let statement = try presenceStatement(chat, user) else { return nil }
        defer { statement.reset() }
        return (statement.integer(0), statement.integer(1))
    }

    /// Standing on the row, where there is one.
    private func presenceStatement(
        _ chat: ChatID, _ user: UserID
    ) throws(SQLError) -> Statement? {
        let statement = statements.chats.presence
        statement.bind(1, chat.text)
        statement.bind(2, user.text)
        return try statement.step() ? statement : nil
    }

    func setLast(_ chat: Int64, _ lastSeq: Seq, memberCount: Int) throws(SQLError) {
        let statement = statements.chats.setLast
        statement.bind(1, chat)
        statement.bind(2, lastSeq)
        statement.bind(3, Int64(memberCount))
        try statement.run()
    }

    /// How far the user has read, privately or not: for the user's own eyes.
    func readMark(_ chat: Int64, _ user: UserID) throws(SQLError) -> Seq {
        let statement = statements.chats.readMark
        statement.bind(1, chat)
        statement.bind(2, user.text)
        guard try statement.step() else { return 0 }
        defer { statement.reset() }
        return statement.integer(0)
    }

    // MARK: Creation

    /// In this order: the same request of the same creator again → the pair's direct chat → an id
    /// that is taken → a new chat.
    func createConversation(_ create: CreateConversation) throws(SQLError) -> Outcome {
        invariant(
            Set(create.members.map { ExactText($0.text) }).count == create.members.count
                && create.members.contains(create.creator),
            "the creator is no member, or a member is named twice")
        invariant(
            create.kind != .direct || create.members.count == 2,
            "a direct chat of \(create.members.count)")
        let taken = try chat(create.id)
        if let taken, try isSame(taken, create),
            let conversation = try conversation(taken, for: create.creator)
        {
            return .conversation(conversation, created: true)
        }
        let pair = create.kind == .direct ? directPair(create.members) : nil
        if let pair {
            statements.chats.pair.bind(1, pair)
            if let existing = try chatRow(statements.chats.pair),
                let conversation = try conversation(existing, for: create.creator)
            {
                return .conversation(conversation, created: false)
            }
        }
        guard taken == nil else { return .refused(.alreadyExists) }
        return .conversation(try insert(create, pair), created: true)
    }

    /// The pair in an order of its own. Ids contain no control characters, so U+001F parts them.
    private func directPair(_ members: [UserID]) -> String {
        let isAscending = members[0].text.utf8.lexicographicallyPrecedes(members[1].text.utf8)
        let (first, second) = isAscending ? (0, 1) : (1, 0)
        return members[first].text + "\u{1F}" + members[second].text
    }

    private func isSame(
        _ chat: ChatRow, _ create: CreateConversation
    ) throws(SQLError) -> Bool {
        let statement = statements.chats.founders
        guard chat.creator.text.hasSameBytes(as: create.creator.text), chat.kind == create.kind,
            chat.name.hasSameBytes(as: create.name)
        else { return false }
        var founders = Set<ExactText>()
        statement.bind(1, chat.key)
        while try statement.step() {
            founders.insert(ExactText(statement.text(0)))
        }
        return founders == Set(create.members.map { ExactText($0.text) })
    }

    private func insert(
        _ create: CreateConversation, _ pair: String?
    ) throws(SQLError) -> Conversation {
        let statement = statements.chats.insert
        statement.bind(1, create.id.text)
        statement.bind(2, create.kind.rawValue)
        statement.bind(3, create.name)
        statement.bind(4, create.creator.text)
        statement.bind(5, create.createdAt.milliseconds)
        statement.bind(6, Int64(create.members.count))
        statement.bind(7, pair)
        guard try statement.step() else {
            throw SQLError(code: SQLError.internalCode, call: "INSERT INTO chats")
        }
        let key = statement.integer(0)
        try statement.run()
        guard key <= Place.maximumChat else {
            throw SQLError(code: SQLError.diskFullCode, call: "a chat beyond 2^31")
        }
        for member in create.members {
            let isOwner =
                create.kind == .direct
                || member.text.hasSameBytes(as: create.creator.text)
            try insertMembership(
                chat: key, user: member, role: isOwner ? .owner : .member, joinedSeq: 0,
                joinedAt: create.createdAt)
        }
        return Conversation(
            id: create.id, kind: create.kind, name: create.name, createdAt: create.createdAt,
            lastSeq: 0, readSeq: 0, role: .owner, memberCount: create.members.count)
    }

    /// nil where the user is not a member now.
    private func conversation(
        _ chat: ChatRow, for user: UserID
    ) throws(SQLError) -> Conversation? {
        guard let presence = try presence(chat.id, user) else { return nil }
        return Conversation(
            id: chat.id, kind: chat.kind, name: chat.name, createdAt: chat.createdAt,
            lastSeq: chat.lastSeq, readSeq: try readMark(chat.key, user), role: presence.role,
            memberCount: chat.memberCount)
    }
}
