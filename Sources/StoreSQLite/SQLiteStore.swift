import Basics
import Domain
import StoreCore

/// The embedded store: one SQLite file in a data folder that one process uses at a time.
///
///                         COMMIT failed, device failed
///     open ──► serving ─────────────────────────────────► suspect
///                 ▲  │                                       │ next batch: opened again,
///                 └──│───────────────────────────────────────┘ log copied and synced
///                    └── close ──► closed
///
/// A batch is one transaction. Its reads run in that transaction too, after its writes, and are
/// given out only once it committed: so an error in any of them still leaves the whole batch
/// certainly not stored, which a read after the commit could not say.
///
/// What an error leads to (P5, P19):
/// - before COMMIT, or "disk full" or "busy" from COMMIT itself: rolled back, `.notStored`. A full
///   disk tears the commit record that it has no room for, and the record's checksum is last;
/// - any other error of COMMIT: the record may or may not be on the disk. `.unknown`; the handle is
///   closed, its cache never used again. The next batch opens a new one, which reads what the log
///   holds and *copies it into the database file, synced*, before it serves: after a failed fsync
///   the kernel holds the log's pages as clean although they were never written, so finding an
///   entry there would not mean that it is durable;
/// - where an earlier submission is in doubt (`attempt` above 1) nothing is answered `.notStored`.
///
/// Not Sendable: made, used and released on one thread.
package final class SQLiteStore: Store {
    package let folder: String
    private let settings: SQLiteSettings
    private let lock: FolderLock
    /// nil while suspect or closed.
    private var session: Session?
    private var isClosed = false

    /// Where tests make the device fail. Production never sets it.
    package var faults = SQLiteFaults()

    /// Takes the folder (made with mode 0700 if it is missing), brings the schema up to date,
    /// verifies that commits are durable.
    /// - Throws: one line for the operator (P17): `.locked`, `.unwritable`, `.schema`,
    ///   `.durability`, `.corrupt`, `.diskFull`.
    package static func open(
        folder: String, settings: SQLiteSettings = SQLiteSettings()
    ) throws(StoreFailure) -> SQLiteStore {
        let lock = try FolderLock(folder: folder)
        let (session, _) = try Session.open(folder: folder, settings: settings)
        return SQLiteStore(folder: folder, settings: settings, lock: lock, session: session)
    }

    /// Brings the schema of a folder up to date and says what that was. For the command line.
    package static func migrate(folder: String) throws(StoreFailure) -> SQLiteMigration {
        let lock = try FolderLock(folder: folder)
        let (_, migration) = try Session.open(folder: folder, settings: SQLiteSettings())
        _ = consume lock
        return migration
    }

    private init(
        folder: String, settings: SQLiteSettings, lock: consuming FolderLock, session: Session
    ) {
        self.folder = folder
        self.settings = settings
        self.lock = lock
        self.session = session
    }

    deinit { close() }

    /// Empties the write-ahead log into the file and closes it. Batches are refused from now on.
    /// The folder stays locked until the store is released.
    package func close() {
        isClosed = true
        // What cannot be copied now stays in the log, where the next start finds it.
        try? session?.connection.checkpoint(truncating: true)
        session = nil
    }

    package func submit(_ batch: Batch, completion: @escaping (BatchResult) -> Void) {
        completion(run(batch))
        // After the answer is out, so that nobody waits for it. An error shows at a later commit.
        session?.checkpointIfDue()
    }

    /// Sets how many pages the file may have. For tests that make a full disk.
    func limitPages(_ pages: Int) {
        try? session?.connection.execute("PRAGMA max_page_count = \(pages)")
    }

    /// Raises a counter, committed and synced as a batch is.
    package func probe(completion: @escaping (StoreFailure?) -> Void) { completion(probed()) }

    private func probed() -> StoreFailure? {
        let session: Session
        do throws(StoreFailure) {
            session = try opened()
        } catch {
            return error
        }
        do throws(SQLError) {
            try session.writeProbe()
        } catch {
            rollBack(session)
            if error.distrustsHandle { self.session = nil }
            return error.failure
        }
        switch commit([], session) {
        case .committed: return nil
        case .notStored(let failure), .unknown(let failure): return failure
        }
    }

    private func run(_ batch: Batch) -> BatchResult {
        let session: Session
        do throws(StoreFailure) {
            session = try opened()
        } catch {
            return failed(batch, error)
        }
        do throws(SQLError) {
            let outcomes = try session.apply(batch)
            guard batch.operations.contains(where: \.isWrite) else {
                try session.commit()
                return .committed(outcomes)
            }
            switch commit(outcomes, session) {
            case .notStored(let failure): return failed(batch, failure)
            case let result: return result
            }
        } catch {
            rollBack(session)
            if error.distrustsHandle { self.session = nil }
            return failed(batch, error.failure)
        }
    }

    private func commit(_ outcomes: [Outcome], _ session: Session) -> BatchResult {
        do throws(SQLError) {
            try faults.commit(session)
            return .committed(outcomes)
        } catch {
            if error.isRefusedCommit {
                rollBack(session)
                return .notStored(error.failure)
            }
            self.session = nil
            return .unknown(error.failure)
        }
    }

    /// Nothing of *this* submission was stored. Of an earlier one that is not known.
    private func failed(_ batch: Batch, _ failure: StoreFailure) -> BatchResult {
        let isInDoubt = batch.attempt > 1 && batch.operations.contains(where: \.isWrite)
        return isInDoubt ? .unknown(failure) : .notStored(failure)
    }

    private func rollBack(_ session: Session) {
        if !session.rollBack() { self.session = nil }
    }

    private func opened() throws(StoreFailure) -> Session {
        if let session { return session }
        guard !isClosed else { throw StoreFailure(.unavailable, "the store is closed") }
        if let failure = faults.onOpen?() { throw failure }
        let (session, _) = try Session.open(folder: folder, settings: settings)
        self.session = session
        return session
    }
}

extension SQLError {
    /// An error of COMMIT after which it is certain that nothing was committed.
    fileprivate var isRefusedCommit: Bool {
        primaryCode == SQLError.diskFullCode || primaryCode == SQLError.busyCode
    }
}

/// How the database is run. The defaults are the measured ones; tests vary them.
package struct SQLiteSettings: Hashable, Sendable {
    /// Must read back as "wal": one sequential write and one fsync a commit.
    package var journalMode = "wal"
    /// Must read back as FULL: with NORMAL a power cut loses the last commits, acked ones too (P1).
    package var synchronous = "full"
    /// Bytes; for new files only. A row of 1 KiB shares its page with six others.
    package var pageBytes = 8_192
    /// For the pages that a chat's next append touches.
    package var cacheKiB = 65_536
    /// The write-ahead log is copied into the file when it has this many pages: rarely, since a hot
    /// page is then copied once for many commits; before the log is so long that a start takes
    /// seconds to read it.
    package var checkpointPages = 8_000
    /// Pages that the file may have; more is refused as a full disk is. nil: no bound.
    package var maximumPages: Int?

    package init() {}
}
