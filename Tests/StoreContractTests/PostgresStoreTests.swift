import Basics
import Domain
import Foundation
import Reactor
import ServiceSupport
import StoreCore
import Synchronization
import Testing

@testable import StorePostgres

/// What only Postgres can do: be lost, be shared, be set up badly, be written to by others.
@Suite("Postgres store") struct PostgresStoreTests {
    /// A chat "c" of ann and bob.
    private func started(_ settings: PostgresSettings = PostgresSettings()) throws -> Harness {
        let database = try TestDatabase()
        let h = try Harness(database.open(settings), database)
        h.run(h.creation("c", ["ann", "bob"]))
        return h
    }

    private func store(_ h: Harness) throws -> PostgresStore {
        try #require(h.store as? PostgresStore)
    }

    private func awaitServing(_ h: Harness) throws {
        let store = try store(h)
        h.database?.pump { store.state == .serving }
        #expect(store.state == .serving)
    }

    /// Submits, and does something while the batch waits for a lock of another session.
    private func submitBlocked(
        _ h: Harness, _ operations: [Domain.Operation], _ meddle: (PostgresSession) throws -> Void
    ) throws -> BatchResult {
        let database = try #require(h.database)
        let session = try database.session()
        var result: BatchResult?
        h.store.submit(Batch(operations: operations)) { result = $0 }
        let waiting = """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = '\(database.name)' AND wait_event_type = 'Lock'
            """
        // The loop is not asked meanwhile unless it has something to say.
        try eventually {
            try database.loop.poke()
            return try session.value(waiting) == "1"
        }
        try meddle(session)
        database.pump { result != nil }
        return result ?? .unknown(StoreFailure(.unavailable, "no completion"))
    }

    private func eventually(_ condition: () throws -> Bool) throws {
        for _ in 0..<2_000 {
            if try condition() { return }
            usleep(2_000)
        }
        Issue.record("not within 4 s")
    }

    private static func terminate(_ session: PostgresSession, _ database: String) throws {
        try session.run(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = '\(database)' AND application_name = 'martlet'
            """)
    }

    private func failure(_ result: BatchResult) -> StoreFailure? {
        switch result {
        case .committed: nil
        case .notStored(let failure), .unknown(let failure): failure
        }
    }

    // MARK: Lost connections (P5)

    @Test("A session ended just before COMMIT was sent: unknown, and not stored")
    func lostBeforeCommit() throws {
        let h = try started()
        let database = try #require(h.database)
        let session = try database.session()
        try store(h).faults.onCommit = {
            #expect(throws: Never.self) { try Self.terminate(session, database.name) }
            usleep(50_000)
        }
        let operation = h.message("c", "ann")
        let result = h.result([operation])
        // COMMIT went out all the same: that it did not arrive is not known here.
        guard case .unknown = result else {
            Issue.record("\(result)")
            return
        }
        try store(h).faults.onCommit = nil
        try awaitServing(h)
        #expect(h.head("c") == 0)
        #expect(h.submit([operation], attempt: 2).first?.entry?.seq == 1)
    }

    @Test("A session ended while it waits for the chat's lock: certainly not stored")
    func lostInFirstFlight() throws {
        let h = try started()
        let database = try #require(h.database)
        let holder = try database.session()
        try holder.run("BEGIN; SELECT FROM martlet.chats FOR UPDATE")
        let result = try submitBlocked(h, [h.message("c", "ann")]) {
            try Self.terminate($0, database.name)
        }
        guard case .notStored(let failure) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(failure.kind == .unavailable)
        #expect(try store(h).state != .serving)
        // While it is down, the answer is there at once.
        guard case .notStored = h.result([h.message("c", "ann")]) else {
            Issue.record("not refused")
            return
        }
        // What is in doubt stays so.
        guard case .unknown = h.result([h.message("c", "ann")], attempt: 2) else {
            Issue.record("refused though in doubt")
            return
        }
        try holder.run("ROLLBACK")
        try awaitServing(h)
        #expect(h.send("c", "ann") == 1)
    }

    @Test("A reply lost after COMMIT: unknown, then the first outcome again")
    func lostReply() throws {
        let h = try started()
        let session = try #require(h.database).session()
        let operations = [
            h.message("c", "ann", clientID: "k"), h.message("c", "eve"),
            h.change("c", .added, ["cyd"], by: "ann"), h.message("c", "cyd"),
            h.creation("d", ["bob", "cyd"]),
            h.cursor("c", "bob", delivered: .seq(2), read: .seq(1)), .head("c"),
        ]
        let twin = try started()
        let expected = twin.submit(operations)
        try store(h).faults.onCommitSent = {
            #expect(throws: Never.self) {
                try eventually { try session.value("SELECT count(*) FROM martlet.entries") == "3" }
            }
            return true
        }
        guard case .unknown = h.result(operations) else {
            Issue.record("not unknown")
            return
        }
        try store(h).faults.onCommitSent = nil
        try awaitServing(h)
        #expect(h.submit(operations, attempt: 2) == expected)
        #expect(h.submit(operations, attempt: 3) == expected)
        #expect(h.head("c") == 3)
    }

    @Test("A session ended in its second flight: unknown, then stored by the next submission")
    func lostInSecondFlight() throws {
        let h = try started()
        let database = try #require(h.database)
        let holder = try database.session()
        try holder.run("BEGIN; LOCK TABLE martlet.entries IN SHARE MODE")
        let operation = h.message("c", "ann", clientID: "k")
        let result = try submitBlocked(h, [operation, .head("c")]) {
            try Self.terminate($0, database.name)
        }
        guard case .unknown = result else {
            Issue.record("\(result)")
            return
        }
        try holder.run("ROLLBACK")
        try awaitServing(h)
        let outcomes = h.submit([operation, .head("c")], attempt: 2)
        #expect(outcomes.first?.entry?.seq == 1 && outcomes.last == .head(1))
    }

    @Test("A submission waits for the transaction in doubt, and finds what it committed")
    func waitsForTransactionInDoubt() throws {
        let h = try started()
        let database = try #require(h.database)
        // A transaction of the same gateway's earlier life, about to commit.
        let other = try database.session()
        try other.run(
            """
            BEGIN; SELECT FROM martlet.chats FOR UPDATE;
            INSERT INTO martlet.entries (chat, seq, created_at, id, author, device, kind, type, content)
                SELECT key, 1, 1, 'entry-x', 'ann', 'phone', 'message', 'text', 'hello'
                FROM martlet.chats;
            UPDATE martlet.chats SET last_seq = 1
            """)
        var result: BatchResult?
        let operation = h.message("c", "ann").resent(as: "entry-x")
        h.store.submit(Batch(operations: [operation], attempt: 2)) { result = $0 }
        try eventually {
            try database.loop.poke()
            return try other.value(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    + "AND datname = '\(database.name)'") == "1"
        }
        #expect(result == nil)
        try other.run("COMMIT")
        database.pump { result != nil }
        guard case .committed(let outcomes) = result else {
            Issue.record("\(String(describing: result))")
            return
        }
        #expect(outcomes.first?.entry?.seq == 1)
        #expect(h.head("c") == 1)
    }

    // MARK: Limits of time

    @Test("A statement that takes too long is an error before COMMIT: not stored, still serving")
    func statementTimeout() throws {
        var settings = PostgresSettings()
        settings.statementTimeoutMs = 150
        let h = try started(settings)
        let holder = try #require(h.database).session()
        try holder.run("BEGIN; LOCK TABLE martlet.entries IN SHARE MODE")
        let result = h.result([h.message("c", "ann")])
        guard case .notStored(let failure) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(failure.text == "postgres: 57014 (timed out) at: insertEntries")
        #expect(try store(h).state == .serving)
        try holder.run("ROLLBACK")
        #expect(h.send("c", "ann") == 1)
    }

    @Test("A chat that stays locked is tried again, then refused as busy")
    func lockTimeout() throws {
        var settings = PostgresSettings()
        settings.lockTimeoutMs = 100
        settings.batchRetries = 2
        let h = try started(settings)
        let holder = try #require(h.database).session()
        try holder.run("BEGIN; SELECT FROM martlet.chats FOR UPDATE")
        guard case .notStored(let failure) = h.result([h.message("c", "ann")]) else {
            Issue.record("stored")
            return
        }
        #expect(failure.kind == .busy)
        try holder.run("ROLLBACK")
        #expect(h.send("c", "ann") == 1)
    }

    @Test("A flight that does not come back in time: the connection is dropped", arguments: [1, 2])
    func flightDeadline(_ attempt: Int) throws {
        var settings = PostgresSettings()
        settings.flightDeadlineMs = 300
        let h = try started(settings)
        let holder = try #require(h.database).session()
        try holder.run("BEGIN; SELECT FROM martlet.chats FOR UPDATE")
        let result = h.result([h.message("c", "ann")], attempt: attempt)
        switch (result, attempt) {
        case (.notStored, 1), (.unknown, 2): break
        default: Issue.record("\(result)")
        }
        #expect(failure(result)?.text.contains("did not answer in time") == true)
        try holder.run("ROLLBACK")
        try awaitServing(h)
        #expect(h.head("c") == 0)
    }

    // MARK: The server's end

    @Test("What was acked is there after kill -9 of the server; the store comes back by itself")
    func serverKilled() throws {
        let server = try PostgresServer()
        try server.createDatabase("d")
        let loop = try EventLoop()
        let store = try PostgresStore.open(
            url: server.url("d"), loop: loop, random: SystemRandomNumberGenerator())
        defer { store.close() }
        func submit(_ operations: [Domain.Operation], attempt: Int = 1) throws -> BatchResult {
            var result: BatchResult?
            store.submit(Batch(operations: operations, attempt: attempt)) { result = $0 }
            while result == nil { try loop.runOnce() }
            return try #require(result)
        }
        let model = Harness(.model)
        _ = try submit([model.creation("c", ["ann", "bob"])])
        var acked = 0
        for _ in 0..<20 {
            if case .committed = try submit([model.message("c", "ann")]) { acked += 1 }
        }
        #expect(acked == 20)
        server.kill()
        let operation = model.message("c", "bob")
        let result = try submit([operation])
        #expect(failure(result) != nil)
        try server.start()
        while store.state != .serving { try loop.runOnce() }
        guard case .committed(let outcomes) = try submit([operation, .head("c")], attempt: 2) else {
            Issue.record("not committed")
            return
        }
        #expect(outcomes.first?.entry?.seq == 21 && outcomes.last == .head(21))
    }

    // MARK: Two gateways on one database

    @Test("A store that announces its writes tells other sessions of chats and users, not itself")
    func announces() throws {
        let database = try TestDatabase()
        let h = try Harness(database.open(), database)
        let store = try #require(h.store as? PostgresStore)
        let other = try database.open()
        defer { other.close() }
        var own: [Notice] = []
        var heard: [Notice] = []
        store.onNotice = { own.append($0) }
        other.onNotice = { heard.append($0) }
        h.submit([h.creation("c", ["ann", "bob"]), h.message("c", "ann")])
        store.announcesWrites = true
        h.submit([h.message("c", "ann"), h.message("c", "bob"), h.message("none", "ann")])
        h.submit([h.cursor("c", "bob", delivered: .seq(2))])
        h.submit([h.change("c", .added, ["cyd"], by: "ann")])
        store.announcesWrites = false
        h.submit([h.message("c", "cyd")])
        database.pump { heard.count >= 4 }
        #expect(heard == [.chat("c"), .chat("c"), .chat("c"), .user("cyd")])
        #expect(own.isEmpty)
    }

    @Test("Two stores race in the same chats: seqs without gaps, no duplicate, members consistent")
    func race() throws {
        let database = try TestDatabase()
        let h = try Harness(database.open(), database)
        let chats: [ChatID] = ["c", "d", "e"]
        h.submit(chats.map { h.creation($0, ["ann", "bob", "cyd"]) })
        let url = database.url
        let failures = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 2) { number in
            do {
                try Self.race(url, number, chats)
            } catch {
                failures.withLock { $0.append("\(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        let session = try database.session()
        for chat in chats {
            let log = h.range(chat, maximum: 10_000)
            #expect(log.map(\.seq) == Array(1...Seq(log.count)))
            #expect(h.head(chat) == Seq(log.count))
        }
        let doubled = """
            SELECT count(*) FROM (SELECT FROM martlet.entries WHERE client_message_id IS NOT NULL
                GROUP BY chat, author, client_message_id HAVING count(*) > 1) x
            """
        #expect(try session.value(doubled) == "0")
        let miscounted = """
            SELECT count(*) FROM martlet.chats c WHERE member_count <>
                (SELECT count(*) FROM martlet.memberships m WHERE m.chat = c.key AND ended_seq IS NULL)
            """
        #expect(try session.value(miscounted) == "0")
        // Every message lies in a stay of its author.
        let strangers = """
            SELECT count(*) FROM martlet.entries e WHERE kind = 'message' AND NOT EXISTS (
                SELECT FROM martlet.memberships m WHERE m.chat = e.chat AND m.member = e.author
                AND e.seq > m.joined_seq AND (m.ended_seq IS NULL OR e.seq < m.ended_seq))
            """
        #expect(try session.value(strangers) == "0")
        #expect(try Int(session.value("SELECT count(*) FROM martlet.entries") ?? "") ?? 0 > 100)
    }

    private static func race(_ url: String, _ number: Int, _ chats: [ChatID]) throws {
        do {
            let loop = try EventLoop()
            let store = try PostgresStore.open(
                url: url, loop: loop, random: SystemRandomNumberGenerator())
            defer { store.close() }
            let model = Harness(.model)
            var random = SystemRandomNumberGenerator()
            let users: [UserID] = ["ann", "bob", "cyd"]
            for batch in 0..<60 {
                let operations = (0..<8).map { index -> Domain.Operation in
                    let chat = chats.randomElement(using: &random)!
                    let id = MessageID(trusted: "\(number)-\(batch)-\(index)")
                    switch Int.random(in: 0..<8, using: &random) {
                    case 0:
                        var change = ChangeMembership(
                            chat: chat, author: "ann", device: "phone", kind: .removed,
                            users: ["cyd"], entryIDs: [id], maximumMembers: 10,
                            at: WallTime(milliseconds: 1))
                        if Bool.random(using: &random) { change.kind = .added }
                        return .changeMembership(change)
                    default:
                        let client = "k\(batch)-\(Int.random(in: 0..<4, using: &random))"
                        return model.message(
                            chat, users.randomElement(using: &random)!, "x", clientID: client
                        ).resent(as: id)
                    }
                }
                var result: BatchResult?
                store.submit(Batch(operations: operations)) { result = $0 }
                while result == nil { try loop.runOnce() }
                guard case .committed = result else {
                    throw StoreFailure(.unavailable, "\(String(describing: result))")
                }
            }
        }
    }

    // MARK: Ids

    @Test("An id of ours is not looked up at first; that it is taken is found all the same")
    func takenUUID() throws {
        let h = try started()
        let id: MessageID = "018f3c2a-7b1c-7def-8abc-0123456789ab"
        #expect(id.text.isUUIDv7)
        let first = h.message("c", "ann", "x").resent(as: id)
        let entry = try #require(h.run(first).entry)
        #expect(h.submit([h.message("c", "bob", "y"), first])[1] == .appended(entry))
        #expect(h.run(h.message("c", "bob", "y").resent(as: id)) == .refused(.alreadyExists))
        #expect(h.head("c") == 2)
    }

    @Test(
        "What is a UUID of version 7, as ours are written",
        arguments: [
            ("018f3c2a-7b1c-7def-8abc-0123456789ab", true),
            ("018f3c2a-7b1c-7def-babc-0123456789ab", true),
            ("018f3c2a-7b1c-4def-8abc-0123456789ab", false),
            ("018f3c2a-7b1c-7def-cabc-0123456789ab", false),
            ("018f3c2a-7b1c-7def-7abc-0123456789ab", false),
            ("018f3c2a-7b1c-7def-8abc-0123456789aB", false),
            ("018f3c2a-7b1c-7def-8abc-0123456789a", false),
            ("018f3c2a-7b1c-7def-8abc-0123456789abc", false),
            ("018f3c2a07b1c-7def-8abc-0123456789ab", false), ("entry-1", false),
        ])
    func uuid(_ text: String, _ isOne: Bool) {
        #expect(text.isUUIDv7 == isOne)
    }

    // MARK: News

    @Test("News since a time: marks and stays after it, none from long before")
    func news() throws {
        let h = try started()
        h.send("c", "ann")
        h.run(h.cursor("c", "bob", delivered: .seq(1)))
        let session = try #require(h.database).session()
        func news(_ since: StoreTime?) -> News? {
            let read = ReadNews(chats: ["c", "x"], users: ["bob"], since: since)
            guard case .news(let news) = h.run(.readNews(read)) else { return nil }
            return news
        }
        let first = try #require(news(nil))
        #expect(first.heads == [1, 0] && first.receipts.isEmpty && first.arrivals.isEmpty)
        let second = try #require(news(first.at))
        #expect(second.receipts.map(\.deliveredSeq) == [1])
        #expect(second.arrivals == [News.Arrival(user: "bob", chat: "c", since: 0)])
        #expect(second.at.value >= first.at.value)
        try session.run(
            """
            UPDATE martlet.watermarks SET moved_at = moved_at - interval '1 minute';
            UPDATE martlet.memberships SET began_at = began_at - interval '1 minute'
            """)
        let third = try #require(news(second.at))
        #expect(third.receipts.isEmpty && third.arrivals.isEmpty && third.heads == [1, 0])
        // A transaction under way holds the time back.
        try session.run("BEGIN; UPDATE martlet.health SET probes = 0")
        let start = try #require(
            try session.value("SELECT (extract(epoch FROM now()) * 1000000)::bigint"))
        #expect(try #require(news(nil)).at.value <= Int64(start) ?? 0)
    }

    @Test(
        "Chats of a member are found by the member, though it was planned while there were none",
        arguments: [Statement.arrivals, .conversations])
    func plannedWhileEmpty(_ statement: Statement) throws {
        let session = try TestDatabase().session()
        try session.run("TRUNCATE martlet.memberships")
        try session.run(SessionSetup(settings: PostgresSettings()).configure)
        try session.run("PREPARE this AS \(statement.sql)")
        let values = statement == .arrivals ? "'{}', 0" : "'{}'"
        for entries in [0, 2_000] {
            try session.run(
                """
                INSERT INTO martlet.memberships (chat, member, role, joined_seq, joined_at)
                SELECT i / 10, 'user-' || i, 'member', 0, 0 FROM generate_series(1, \(entries)) i;
                DISCARD PLANS
                """)
            let plan = try session.value("EXPLAIN (FORMAT JSON) EXECUTE this(\(values))") ?? ""
            #expect(plan.contains("memberships_member"), "\(plan)")
            #expect(!plan.contains("memberships_present"), "\(plan)")
        }
    }

    @Test("A probe writes; it says so where that fails")
    func probe() throws {
        var settings = PostgresSettings()
        settings.statementTimeoutMs = 100
        let h = try started(settings)
        let holder = try #require(h.database).session()
        func probe() throws -> StoreFailure? {
            var answers: [StoreFailure?] = []
            h.store.probe { answers.append($0) }
            h.database?.pump { !answers.isEmpty }
            return try #require(answers.first)
        }
        let count = try holder.value("SELECT probes FROM martlet.health")
        #expect(try probe() == nil)
        #expect(try holder.value("SELECT probes FROM martlet.health") != count)
        try holder.run("BEGIN; LOCK TABLE martlet.health")
        #expect(try probe() != nil)
        try holder.run("ROLLBACK")
        #expect(try probe() == nil)
    }
}

extension Harness {
    convenience init(_ store: PostgresStore, _ database: TestDatabase) {
        self.init(store, folder: nil, database: database)
    }
}

/// Lets the loop's round end at once, whether or not something happened.
extension EventLoop {
    func poke() throws {
        let descriptors = Pipe()
        descriptors.fileHandleForWriting.write(Data([1]))
        let registration = try register(
            descriptors.fileHandleForReading.fileDescriptor, handler: { _ in })
        try runOnce()
        unregister(registration)
    }
}
