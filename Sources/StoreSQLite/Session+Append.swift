import Basics
import Domain

/// Appending messages, and finding entries by their ids.
struct AppendStatements {
    let send: Statement
    let insert: Statement
    let setLast: Statement
    let entry: Statement
    let place: Statement

    init(_ connection: Connection) throws(SQLError) {
        send = try connection.prepare(
            """
            SELECT position, id, created_at, type, reply_to, thread, expires_at, content
            FROM entries
            WHERE send = ?1 AND author = ?2 AND client_message_id = ?3
            """)
        insert = try connection.prepare(
            """
            INSERT INTO entries
                (position, id, author, device, created_at, kind, subject, client_message_id,
                type, reply_to, thread, expires_at, content, send)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
            """)
        setLast = try connection.prepare("UPDATE chats SET last_seq = ?2 WHERE key = ?1")
        entry = try connection.prepare(
            """
            SELECT \(EntryRow.columns), c.id
            FROM entries e CROSS JOIN chats c ON c.key = e.position >> 32 WHERE e.id = ?1
            """)
        place = try connection.prepare("SELECT position FROM entries WHERE id = ?1")
    }
}

/// How a row of `entries` (called `e`) is read.
enum EntryRow {
    static let columns = """
        e.position, e.id, e.author, e.device, e.created_at, e.kind, e.subject, e.type, e.reply_to, \
        e.thread, e.expires_at, e.content
        """
    static let columnCount: Int32 = 12
    static let messageKind = "message"

    static func entry(_ row: Statement, chat: ChatID) -> LogEntry {
        LogEntry(
            chat: chat, seq: Place.seq(row.integer(0)), id: MessageID(trusted: row.text(1)),
            author: UserID(trusted: row.text(2)), device: DeviceID(trusted: row.text(3)),
            createdAt: WallTime(milliseconds: row.integer(4)), body: body(row))
    }

    private static func body(_ row: Statement) -> LogEntry.Body {
        if let kind = MembershipChange.Kind(rawValue: row.text(5)) {
            return .membership(MembershipChange(kind: kind, user: UserID(trusted: row.text(6))))
        }
        return .message(
            Message(
                encryptedContent: row.blob(11), type: row.text(7),
                replyTo: row.optionalText(8).map(MessageID.init(trusted:)),
                thread: row.optionalText(9).map(MessageID.init(trusted:)),
                expiresAt: row.optionalInteger(10).map(WallTime.init(milliseconds:))))
    }
}

extension Session {
    func append(_ append: AppendMessage, _ submission: Submission) throws(SQLError) -> Outcome {
        if submission.isRepeated, let stored = try entry(append.id) {
            return sameEntry(stored, append.chat, append.author)
        }
        if submission.wasCommitted { return try traceless(append) }
        guard let slot = try head(append.chat, append.author) else { return .refused(.notFound) }
        let place = heads.heads[slot]
        if let first = try firstSend(append, place.chat) { return first }
        guard place.lastSeq < Place.maximumSeq else {
            throw SQLError(code: SQLError.diskFullCode, call: "an entry beyond 2^32 in a chat")
        }
        let seq = place.lastSeq + 1
        let entry = LogEntry(
            chat: append.chat, seq: seq, id: append.id, author: append.author,
            device: append.device, createdAt: append.createdAt, body: .message(append.message))
        do throws(SQLError) {
            try insert(entry, in: place.chat, clientMessageID: append.clientMessageID)
        } catch {
            // The id is there. It was made for this entry, so this is the entry.
            guard error.isConstraint, let stored = try self.entry(append.id) else { throw error }
            return sameEntry(stored, append.chat, append.author)
        }
        heads.raise(slot, to: seq)
        return .appended(entry)
    }

    /// The slot of the chat's head; nil where there is no such chat or the author is not a member.
    private func head(_ chat: ChatID, _ author: UserID) throws(SQLError) -> Int? {
        if let slot = heads.slot(chat, author) { return slot }
        if heads.isFull { try forgetHeads() }
        guard let place = try place(chat, author) else { return nil }
        return heads.learn(chat, author, key: place.chat, lastSeq: place.lastSeq)
    }

    /// Writes what appends raised, for all that reads `chats`.
    func writeHeads() throws(SQLError) {
        let setLast = statements.append.setLast
        for head in heads.takeRaised() {
            setLast.bind(1, head.chat)
            setLast.bind(2, head.lastSeq)
            try setLast.run()
        }
    }

    func forgetHeads() throws(SQLError) {
        try writeHeads()
        heads.forget()
    }

    /// The outcome of an append that left no entry in a submission that was committed.
    private func traceless(_ append: AppendMessage) throws(SQLError) -> Outcome {
        guard let chat = try chat(append.chat) else { return .refused(.notFound) }
        return try firstSend(append, chat.key) ?? .refused(.notFound)
    }

    private func sameEntry(_ stored: LogEntry, _ chat: ChatID, _ author: UserID) -> Outcome {
        guard stored.chat.text.hasSameBytes(as: chat.text),
            stored.author.text.hasSameBytes(as: author.text)
        else { return .refused(.alreadyExists) }
        return .appended(stored)
    }

    /// `.duplicate` or `.idempotencyConflict` where the author has used the client's id here.
    private func firstSend(_ append: AppendMessage, _ chat: Int64) throws(SQLError) -> Outcome? {
        let send = statements.append.send
        guard let clientMessageID = append.clientMessageID else { return nil }
        send.bind(1, sendKey(chat, append.author, clientMessageID))
        send.bind(2, append.author.text)
        send.bind(3, clientMessageID)
        guard try send.step() else { return nil }
        defer { send.reset() }
        guard isSameMessage(append.message) else { return .refused(.idempotencyConflict) }
        return .duplicate(
            id: MessageID(trusted: send.text(1)),
            seq: Place.seq(send.integer(0)),
            createdAt: WallTime(milliseconds: send.integer(2)))
    }

    /// Chat and 32 bits of a hash of author and client's id. An index of the three themselves is 85
    /// bytes a row in random order: six times the pages for appends to dirty. Rows that only meet
    /// in the hash are told apart by the query.
    private func sendKey(_ chat: Int64, _ author: UserID, _ clientMessageID: String) -> Int64 {
        var bytes = Array(author.text.utf8)
        bytes.append(0x1F)
        bytes.append(contentsOf: clientMessageID.utf8)
        return Place.of(chat: chat, seq: Int64(sendHash.hash(bytes) & 0xFFFF_FFFF))
    }

    /// Compares with the row that `send` stands on.
    private func isSameMessage(_ message: Message) -> Bool {
        let send = statements.append.send
        return send.text(3).hasSameBytes(as: message.type)
            && send.optionalText(4).hasSameBytes(as: message.replyTo?.text)
            && send.optionalText(5).hasSameBytes(as: message.thread?.text)
            && send.optionalInteger(6) == message.expiresAt?.milliseconds
            && send.blob(7) == message.encryptedContent
    }

    // MARK: Entries

    func insert(
        _ entry: LogEntry, in chat: Int64, clientMessageID: String?
    ) throws(SQLError) {
        let statement = statements.append.insert
        statement.bind(1, Place.of(chat: chat, seq: entry.seq))
        statement.bind(2, entry.id.text)
        statement.bind(3, entry.author.text)
        statement.bind(4, entry.device.text)
        statement.bind(5, entry.createdAt.milliseconds)
        statement.bind(8, clientMessageID)
        switch entry.body {
        case .message(let message):
            statement.bind(6, EntryRow.messageKind)
            statement.bindNull(7)
            statement.bind(9, message.type)
            statement.bind(10, message.replyTo?.text)
            statement.bind(11, message.thread?.text)
            statement.bind(12, message.expiresAt?.milliseconds)
            statement.bind(13, message.encryptedContent)
            statement.bind(
                14, clientMessageID.map { sendKey(chat, entry.author, $0) } as Int64?)
        case .membership(let change):
            statement.bind(6, change.kind.rawValue)
            statement.bind(7, change.user.text)
            for parameter: Int32 in 9...14 { statement.bindNull(parameter) }
        }
        try statement.run()
    }

    func entry(_ id: MessageID) throws(SQLError) -> LogEntry? {
        let statement = statements.append.entry
        statement.bind(1, id.text)
        guard try statement.step() else { return nil }
        defer { statement.reset() }
        let chat = ChatID(trusted: statement.text(EntryRow.columnCount))
        return EntryRow.entry(statement, chat: chat)
    }

    /// The place of an entry in the file; nil where there is none of that id.
    func place(of id: MessageID) throws(SQLError) -> Int64? {
        let statement = statements.append.place
        statement.bind(1, id.text)
        guard try statement.step() else { return nil }
        defer { statement.reset() }
        return statement.integer(0)
    }

    func isStored(_ id: MessageID) throws(SQLError) -> Bool { try place(of: id) != nil }
}
