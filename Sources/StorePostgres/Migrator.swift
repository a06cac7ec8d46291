import Basics
import Glibc
import Reactor
import StoreCore

/// Brings the schema up to date over a connection of its own, waiting for each answer: at start,
/// when nothing else is to be done, and by hand.
///
/// Several gateways may start at once: one migrates, under an advisory lock, and the others find it
/// done.
struct Migrator {
    private let link: Link
    private let clock: any Clock
    private let deadline: Instant

    /// Connects; again and again, until the deadline, where there is no server yet.
    static func run(
        url: String, deadline: Instant, clock: any Clock
    ) throws(StoreFailure) -> PostgresMigration {
        while true {
            let link = try Link(url: url)
            let migrator = Migrator(link: link, clock: clock, deadline: deadline)
            if migrator.connects() { return try migrator.migrate() }
            let now = clock.now().instant
            guard !link.isRefusedForGood, now.advanced(byMilliseconds: 200) < deadline else {
                throw link.failure
            }
            System.pause(milliseconds: 200)
        }
    }

    private func connects() -> Bool {
        var wish = Link.Progress.writing
        while true {
            switch wish {
            case .reading: guard wait(for: POLLIN) else { return false }
            case .writing: guard wait(for: POLLOUT) else { return false }
            case .connected: return true
            case .failed: return false
            }
            wish = link.proceed()
        }
    }

    /// False at the deadline.
    private func wait(for events: Int32) -> Bool {
        let left = deadline.nanoseconds(since: clock.now().instant)
        guard left > 0 else { return false }
        var poll = pollfd(fd: link.descriptor, events: Int16(events), revents: 0)
        return unsafe Glibc.poll(&poll, 1, Int32(clamping: left / 1_000_000 + 1)) != 0
    }

    /// The rows of the last statement of the text.
    @discardableResult
    private func run(_ sql: String) throws(StoreFailure) -> Rows? {
        guard link.sendText(sql) else { throw link.failure }
        var last: Rows?
        var failure: StoreFailure?
        while true {
            while link.flush() == .some {
                guard wait(for: POLLIN | POLLOUT) else { throw late }
                guard link.consume() else { throw link.failure }
            }
            while link.isWaiting {
                guard wait(for: POLLIN) else { throw late }
                guard link.consume() else { throw link.failure }
            }
            do throws(StoreFailure) {
                guard let rows = try link.nextText() else { break }
                last = rows
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return last
    }

    private var late: StoreFailure {
        StoreFailure(.unavailable, "postgres: \(link.address) did not answer in time")
    }

    private func migrate() throws(StoreFailure) -> PostgresMigration {
        // Most starts find nothing to do, and need no right to make tables then.
        if let found = try? version(),
            Schema.failure(
                version: Int64(found.version), needs: Int64(found.needs), "") == nil
        {
            return PostgresMigration(from: found.version, to: found.version)
        }
        try run("SELECT pg_advisory_lock(\(Schema.advisoryLock))")
        try run("BEGIN; \(Schema.versionTable) COMMIT")
        let (from, needs) = try version()
        guard needs <= Schema.version else {
            throw Schema.failure(version: Int64(from), needs: Int64(needs), link.address)!
        }
        for number in min(from, Schema.version)..<Schema.version {
            try run(
                """
                BEGIN; \(Schema.migrations[number])
                INSERT INTO martlet.migrations (version) VALUES (\(number + 1)); COMMIT
                """)
        }
        try run("SELECT pg_advisory_unlock(\(Schema.advisoryLock))")
        return PostgresMigration(from: from, to: max(from, Schema.version))
    }

    private func version() throws(StoreFailure) -> (version: Int, needs: Int) {
        guard let rows = try run(Schema.readVersion) else { return (0, 0) }
        // Text, in the simple protocol.
        return (Int(rows.text(0, 0)) ?? 0, Int(rows.text(0, 1)) ?? 0)
    }
}
