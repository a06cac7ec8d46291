import Basics
import CSQLite
import StoreCore

/// That SQLite refused something: its extended result code and what was asked of it. Carries no
/// value of a row, so that no client's text gets into a log.
struct SQLError: Error {
    /// An extended result code, such as `SQLITE_IOERR_FSYNC`.
    var code: Int32
    /// The statement, or the step of ours.
    var call: String

    var primaryCode: Int32 { code & 0xFF }

    static let diskFullCode = SQLITE_FULL
    static let busyCode = SQLITE_BUSY
    static let internalCode = SQLITE_INTERNAL
    /// `SQLITE_IOERR_FSYNC`, a macro of an expression, which Swift does not import.
    static let syncCode: Int32 = SQLITE_IOERR | 4 << 8

    /// A unique index or another constraint of the schema said no; nothing of the statement
    /// happened and the transaction goes on.
    var isConstraint: Bool { primaryCode == SQLITE_CONSTRAINT }

    /// The device failed, or what it returned cannot be right: the handle and its cache are no
    /// longer trusted.
    var distrustsHandle: Bool {
        switch primaryCode {
        case SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_PROTOCOL, SQLITE_MISUSE: true
        default: false
        }
    }

    var failure: StoreFailure {
        let reason = unsafe String(cString: sqlite3_errstr(code))
        let words = call.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let text = "sqlite: \(reason) (\(code)) at: \(words.prefix(120))"
        switch primaryCode {
        case SQLITE_FULL: return StoreFailure(.diskFull, text + "; free space on the disk")
        case SQLITE_IOERR: return StoreFailure(.inputOutput, text + "; see the system's log")
        case SQLITE_BUSY, SQLITE_LOCKED: return StoreFailure(.busy, text)
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            return StoreFailure(.corrupt, text + "; restore a backup")
        case SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_PERM:
            return StoreFailure(.unwritable, text + "; check the folder's permissions")
        default: return StoreFailure(.unavailable, text)
        }
    }
}

/// One database handle. For one thread: it is opened without SQLite's own mutexes.
///
/// A class, not a noncopyable struct, since an initialiser that throws between two of those does
/// not compile (Swift 6.3); each has one owner all the same.
@safe final class Connection {
    private let handle: OpaquePointer
    /// The length of the write-ahead log as of the last commit, kept by a hook.
    private let pages: UnsafeMutablePointer<Int32>

    /// Opens the file, which is made if it is missing.
    init(path: String) throws(SQLError) {
        var opened: OpaquePointer?
        let flags =
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
            | SQLITE_OPEN_EXRESCODE
        let code = unsafe sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let handle = unsafe opened else {
            unsafe sqlite3_close_v2(opened)
            throw SQLError(code: code, call: "open \(path)")
        }
        unsafe self.handle = handle
        unsafe pages = .allocate(capacity: 1)
        unsafe pages.initialize(to: 0)
        unsafe martlet_sqlite_count_wal_pages(handle, pages)
    }

    deinit {
        // `v2` also where a statement is finalised after this: the last one closes the file.
        unsafe sqlite3_wal_hook(handle, nil, nil)
        unsafe sqlite3_close_v2(handle)
        unsafe pages.deallocate()
    }

    /// The length of the write-ahead log in pages, as of the last commit.
    var walPages: Int { unsafe Int(pages.pointee) }

    /// Whether BEGIN is in force.
    var isInTransaction: Bool { unsafe sqlite3_get_autocommit(handle) == 0 }

    /// Runs statements that return no row that matters.
    func execute(_ sql: String) throws(SQLError) {
        let code = unsafe sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw SQLError(code: code, call: sql) }
    }

    func prepare(_ sql: String) throws(SQLError) -> Statement {
        try unsafe Statement(database: handle, sql: sql)
    }

    /// The first column of the first row, as text; nil where there is no row.
    func value(_ sql: String) throws(SQLError) -> String? {
        let statement = try prepare(sql)
        return try statement.step() ? statement.text(0) : nil
    }

    /// The same as a number; 0 where there is no row.
    func number(_ sql: String) throws(SQLError) -> Int64 {
        let statement = try prepare(sql)
        return try statement.step() ? statement.integer(0) : 0
    }

    /// Copies what the write-ahead log holds into the database file. `truncating` waits until all
    /// of it is there, synced, and the log empty; otherwise as much as no reader is in the way of.
    func checkpoint(truncating: Bool) throws(SQLError) {
        let mode = truncating ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE
        let code = unsafe sqlite3_wal_checkpoint_v2(handle, nil, mode, nil, nil)
        guard code == SQLITE_OK else { throw SQLError(code: code, call: "checkpoint") }
    }
}

/// One prepared statement, reused: bind, step until there is no row, reset. Parameters count from
/// 1, columns from 0, as in SQLite.
@safe final class Statement {
    private let handle: OpaquePointer
    private let sql: String

    fileprivate init(database: OpaquePointer, sql: String) throws(SQLError) {
        var prepared: OpaquePointer?
        let code = unsafe sqlite3_prepare_v3(
            database, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
        guard code == SQLITE_OK, let handle = unsafe prepared else {
            throw SQLError(code: code, call: sql)
        }
        unsafe self.handle = handle
        self.sql = sql
    }

    deinit { unsafe sqlite3_finalize(handle) }

    // Binding can fail only for an index of ours that is wrong, a value above SQLite's limit of
    // 1 GB (ours are far below), or for want of memory; a value not bound is NULL, which the
    // columns' NOT NULL refuses.

    func bind(_ index: Int32, _ value: Int64) {
        unsafe sqlite3_bind_int64(handle, index, value)
    }

    func bind(_ index: Int32, _ value: Int64?) {
        if let value { bind(index, value) } else { unsafe sqlite3_bind_null(handle, index) }
    }

    func bind(_ index: Int32, _ value: String) {
        var value = value
        value.withUTF8 { bytes in
            let start = unsafe UnsafeRawPointer(bytes.baseAddress)?
                .assumingMemoryBound(to: CChar.self)
            unsafe martlet_sqlite_bind_text(handle, index, start, Int32(clamping: bytes.count))
        }
    }

    func bind(_ index: Int32, _ value: String?) {
        if let value { bind(index, value) } else { unsafe sqlite3_bind_null(handle, index) }
    }

    func bind(_ index: Int32, _ value: [UInt8]) {
        unsafe value.withUnsafeBytes { bytes in
            let start = bytes.baseAddress
            unsafe martlet_sqlite_bind_blob(handle, index, start, Int32(clamping: bytes.count))
        }
    }

    func bindNull(_ index: Int32) { unsafe sqlite3_bind_null(handle, index) }

    /// Whether there is a row. After the last one the statement is ready to be bound again; whoever
    /// stops earlier calls `reset`.
    func step() throws(SQLError) -> Bool {
        let code = unsafe sqlite3_step(handle)
        if code == SQLITE_ROW { return true }
        unsafe sqlite3_reset(handle)
        guard code == SQLITE_DONE else { throw SQLError(code: code, call: sql) }
        return false
    }

    /// Runs a statement that returns no rows.
    func run() throws(SQLError) {
        while try step() {}
    }

    func reset() { unsafe sqlite3_reset(handle) }

    func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(handle, column) }

    func isNull(_ column: Int32) -> Bool {
        unsafe sqlite3_column_type(handle, column) == SQLITE_NULL
    }

    func optionalInteger(_ column: Int32) -> Int64? { isNull(column) ? nil : integer(column) }

    /// The text, which may contain U+0000.
    func text(_ column: Int32) -> String {
        guard let start = unsafe sqlite3_column_text(handle, column) else { return "" }
        let count = unsafe Int(sqlite3_column_bytes(handle, column))
        return unsafe String(
            decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }

    func blob(_ column: Int32) -> [UInt8] {
        guard let start = unsafe sqlite3_column_blob(handle, column) else { return [] }
        let count = unsafe Int(sqlite3_column_bytes(handle, column))
        return unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: count))
    }
}
