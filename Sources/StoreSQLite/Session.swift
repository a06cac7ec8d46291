import Basics
import CSQLite
import Domain
import StoreCore

/// One open database with its prepared statements, and how a batch is applied to it. Knows nothing
/// of retries: that is `SQLiteStore`.
///
/// Each extension holds a kind of operations: its SQL beside what it is for.
final class Session {
    let connection: Connection
    let statements: Statements
    let sendHash: SipHash
    private let checkpointPages: Int
    private var nextCheckpoint: Int
    /// What appends know without reading the tables.
    var heads = Heads()
    /// SQLite's count of other connections' commits, as of our last transaction.
    private var dataVersion: Int64 = 0

    /// The statements by kind of operation, each prepared once.
    struct Statements {
        let begin: Statement
        let beginWrite: Statement
        let commit: Statement
        let dataVersion: Statement
        let probe: Statement
        let chats: ChatStatements
        let append: AppendStatements
        let membership: MembershipStatements
        let cursors: CursorStatements
        let reads: ReadStatements
        let kept: KeptStatements
    }

    /// Opens the file, migrates it, verifies its durability and makes sure that what the log holds
    /// is on the disk: a process that was killed between writing a commit and its fsync leaves an
    /// entry that can be read and yet be lost by a power cut.
    static func open(
        folder: String, settings: SQLiteSettings
    ) throws(StoreFailure) -> (Session, SQLiteMigration) {
        let path = folder + "/martlet.db"
        let connection: Connection
        do throws(SQLError) {
            connection = try Connection(path: path)
            try configure(connection, settings)
        } catch {
            throw error.failure
        }
        try verifyDurability(connection, path: path)
        let migration = try Schema.migrate(connection, path: path)
        do throws(SQLError) {
            try connection.checkpoint(truncating: true)
            if let pages = settings.maximumPages {
                try connection.execute("PRAGMA max_page_count = \(pages)")
            }
            let session = try Session(connection, checkpointPages: settings.checkpointPages)
            return (session, migration)
        } catch {
            throw error.failure
        }
    }

    /// `mmap_size` stays 0: a read error in a mapping is a signal that ends the process, in a
    /// buffer it is a result code.
    private static func configure(
        _ connection: Connection, _ settings: SQLiteSettings
    ) throws(SQLError) {
        let walBytes = 2 * settings.checkpointPages * settings.pageBytes
        let pragmas = [
            "busy_timeout = 2000", "page_size = \(settings.pageBytes)",
            "journal_mode = \(settings.journalMode)", "synchronous = \(settings.synchronous)",
            "foreign_keys = ON", "trusted_schema = OFF", "temp_store = MEMORY",
            "cache_size = -\(settings.cacheKiB)", "journal_size_limit = \(walBytes)",
        ]
        for pragma in pragmas { try connection.execute("PRAGMA \(pragma)") }
    }

    /// Reads back what was asked for: a file system that cannot share memory refuses WAL silently.
    private static func verifyDurability(
        _ connection: Connection, path: String
    ) throws(StoreFailure) {
        let journal: String
        let synchronous: Int64
        do throws(SQLError) {
            journal = try connection.value("PRAGMA journal_mode") ?? "none"
            synchronous = try connection.number("PRAGMA synchronous")
        } catch {
            throw error.failure
        }
        guard journal == "wal", synchronous >= 2 else {
            throw StoreFailure(
                .durability,
                "\(path): journal_mode is \(journal) and synchronous is \(synchronous), needed are "
                    + "wal and 2 (FULL); put the data folder on a local disk")
        }
    }

    private init(_ connection: Connection, checkpointPages: Int) throws(SQLError) {
        statements = Statements(
            begin: try connection.prepare("BEGIN"),
            beginWrite: try connection.prepare("BEGIN IMMEDIATE"),
            commit: try connection.prepare("COMMIT"),
            dataVersion: try connection.prepare("PRAGMA data_version"),
            probe: try connection.prepare("UPDATE health SET probes = probes + 1"),
            chats: try ChatStatements(connection),
            append: try AppendStatements(connection),
            membership: try MembershipStatements(connection),
            cursors: try CursorStatements(connection),
            reads: try ReadStatements(connection),
            kept: try KeptStatements(connection))
        let key = try connection.prepare("SELECT key FROM keys WHERE name = 'send'")
        guard try key.step() else {
            throw SQLError(code: SQLITE_CORRUPT, call: "SELECT FROM keys")
        }
        sendHash = SipHash(key: key.blob(0))
        self.connection = connection
        self.checkpointPages = checkpointPages
        nextCheckpoint = checkpointPages
    }

    // MARK: A batch

    /// Begins a transaction and applies the batch in it: the writes in order, then the reads. The
    /// caller commits or rolls back.
    func apply(_ batch: Batch) throws(SQLError) -> [Outcome] {
        let hasWrites = batch.operations.contains(where: \.isWrite)
        try (hasWrites ? statements.beginWrite : statements.begin).run()
        try forgetHeadsIfStale()
        let isRepeated = batch.attempt > 1
        let wasCommitted = isRepeated ? try hasTraces(of: batch) : false
        let submission = Submission(isRepeated: isRepeated, wasCommitted: wasCommitted)
        var outcomes: [Outcome] = []
        outcomes.reserveCapacity(batch.operations.count)
        for operation in batch.operations {
            // A read's place is kept, and filled below.
            outcomes.append(try write(operation, submission) ?? .head(0))
        }
        try writeHeads()
        for (index, operation) in batch.operations.enumerated() where !operation.isWrite {
            outcomes[index] = try read(operation) ?? outcomes[index]
        }
        return outcomes
    }

    /// Begins a transaction that means nothing and yet writes.
    func writeProbe() throws(SQLError) {
        try statements.beginWrite.run()
        try forgetHeadsIfStale()
        try statements.probe.run()
    }

    func commit() throws(SQLError) { try statements.commit.run() }

    private func forgetHeadsIfStale() throws(SQLError) {
        let statement = statements.dataVersion
        let version = try statement.step() ? statement.integer(0) : 0
        statement.reset()
        if version != dataVersion { try forgetHeads() }
        dataVersion = version
    }

    /// False where SQLite could not even do that: the handle is then of no more use.
    func rollBack() -> Bool {
        heads.forget()
        guard connection.isInTransaction else { return true }
        do throws(SQLError) {
            try connection.execute("ROLLBACK")
            return true
        } catch {
            return false
        }
    }

    /// Whether an earlier submission of the batch was committed: it was if an entry that the batch
    /// names is there, since a transaction is whole. Operations that left no trace in it (refused,
    /// or nothing to do) are then not applied now: they would come after what followed them.
    private func hasTraces(of batch: Batch) throws(SQLError) -> Bool {
        for operation in batch.operations {
            switch operation {
            case .append(let append):
                if try isStored(append.id) { return true }
            case .changeMembership(let change):
                for id in change.entryIDs {
                    if try isStored(id) { return true }
                }
            default: break
            }
        }
        return false
    }

    private func write(
        _ operation: Operation, _ submission: Submission
    ) throws(SQLError) -> Outcome? {
        switch operation {
        case .append(let append):
            return try self.append(append, submission)
        case .advanceCursor(let advance):
            try writeHeads()
            return try advanceCursor(advance, submission)
        case .createConversation(let create):
            try writeHeads()
            return try createConversation(create)
        case .changeMembership(let change):
            try forgetHeads()
            return try changeMembership(change, submission)
        case .keepSession(let keep):
            return try keepSession(keep)
        case .keepMarks(let keep):
            return try keepMarks(keep)
        case .dropSessions(let drop):
            return try dropSessions(drop)
        default:
            return nil
        }
    }

    private func read(_ operation: Operation) throws(SQLError) -> Outcome? {
        switch operation {
        case .openChats(let open): try openChats(open)
        case .readLogs(let read): try readLogs(read)
        case .readHistory(let read): try readHistory(read)
        case .readRange(let read): try readRange(read)
        case .head(let chat): .head(try self.chat(chat)?.lastSeq ?? 0)
        case .locate(let id, let chat): .located(try locate(id, in: chat))
        case .findChats(let id, let user): try findChats(of: id, for: user)
        case .readNews(let read): .news(try news(read))
        case .listConversations(let user): .conversations(try conversations(of: user))
        case .listMembers(let chat, let user): try members(of: chat, for: user)
        case .findSession(let name, let at): try findSession(name, at: at)
        default: nil
        }
    }

    // MARK: The log file

    /// Copies the write-ahead log into the database file once it is long. A failure is tried again
    /// when the log has grown by as much again; until then the log holds what matters.
    func checkpointIfDue() {
        let pages = connection.walPages
        guard pages >= nextCheckpoint else {
            // Shorter than before: SQLite began it anew after a complete checkpoint.
            if pages < checkpointPages { nextCheckpoint = checkpointPages }
            return
        }
        do throws(SQLError) {
            try connection.checkpoint(truncating: false)
            nextCheckpoint = checkpointPages
        } catch {
            nextCheckpoint = pages + checkpointPages
        }
    }
}

/// What is known of earlier submissions of the batch in hand.
struct Submission {
    /// An earlier one may have been committed.
    var isRepeated: Bool
    /// An earlier one was committed.
    var wasCommitted: Bool
}
