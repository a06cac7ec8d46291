import Basics
import Domain
import Foundation
import Reactor
import ServiceSupport
import StoreCore
import StorePostgres
import Testing

/// The view through which other services write messages.
@Suite("Postgres inbox") struct InboxTests {
    private func started() throws -> (Harness, PostgresSession) {
        let database = try TestDatabase()
        let h = try Harness(database.open(), database)
        h.run(h.creation("c", ["ann", "bob"]))
        return (h, try database.session())
    }

    private func insert(
        _ session: PostgresSession, _ columns: String, _ values: String
    ) throws -> [String?] {
        try session.run(
            "INSERT INTO martlet.inbox (\(columns)) VALUES (\(values)) RETURNING id, seq")[0]
    }

    @Test("An inserted row is an entry like others, and takes the next seq")
    func inserted() throws {
        let (h, session) = try started()
        h.send("c", "ann")
        let row = try insert(
            session, "chat_id, sender_id, encrypted_content, type, id, reply_to_id",
            "'c', 'bob', 'höllo', 'voice', 'mine', 'entry-1'")
        #expect(row == ["mine", "2"])
        let entry = try #require(h.range("c").last)
        #expect(entry.id == "mine" && entry.seq == 2 && entry.author == "bob")
        guard case .message(let message) = entry.body else {
            Issue.record("no message")
            return
        }
        #expect(message.encryptedContent == Array("höllo".utf8) && message.type == "voice")
        #expect(message.replyTo == "entry-1" && message.expiresAt == nil)
        let now = Int64(Date().timeIntervalSince1970 * 1_000)
        #expect(abs(entry.createdAt.milliseconds - now) < 60_000)
        #expect(h.send("c", "ann") == 3)
    }

    @Test("An id that is not given is a UUID of version 7")
    func freshID() throws {
        let (_, session) = try started()
        let columns = "chat_id, sender_id, encrypted_content"
        let ids = try (0..<3).map { _ in
            usleep(2_000)
            return try insert(session, columns, "'c', 'ann', 'x'")[0] ?? ""
        }
        #expect(ids.allSatisfy { Array($0.utf8)[14] == UInt8(ascii: "7") && $0.utf8.count == 36 })
        #expect(ids == ids.sorted() && Set(ids).count == 3)
    }

    @Test("The gateway hears of it at the service's commit, not before")
    func notified() throws {
        let (h, session) = try started()
        let store = try #require(h.store as? PostgresStore)
        var heard: [ChatID] = []
        store.onNotice = { if case .chat(let chat) = $0 { heard.append(chat) } }
        try session.run("BEGIN")
        _ = try insert(session, "chat_id, sender_id, encrypted_content", "'c', 'ann', 'x'")
        var answer: StoreFailure??
        // The probe's round trip would bring a notice along.
        store.probe { answer = $0 }
        h.database?.pump { answer != nil }
        #expect(heard.isEmpty)
        try session.run("COMMIT")
        h.database?.pump { !heard.isEmpty }
        #expect(heard == ["c"])
    }

    @Test("The same client_msg_id again gives the first row; for another message it is an error")
    func duplicate() throws {
        let (h, session) = try started()
        let columns = "chat_id, sender_id, encrypted_content, client_msg_id"
        let first = try insert(session, columns, "'c', 'ann', 'x', 'k'")
        #expect(try insert(session, columns, "'c', 'ann', 'x', 'k'") == first)
        #expect(throws: ServiceError.self) { try insert(session, columns, "'c', 'ann', 'y', 'k'") }
        #expect(try insert(session, columns, "'c', 'bob', 'y', 'k'")[1] == "2")
        // And a client's send of it through a gateway.
        let sent = h.run(h.message("c", "ann", "x", clientID: "k", device: "phone"))
        guard case .duplicate(_, let seq, _) = sent else {
            Issue.record("\(sent)")
            return
        }
        #expect(seq == 1 && h.head("c") == 2)
    }

    @Test("The same id again gives the first row; a stranger's is an error")
    func sameID() throws {
        let (h, session) = try started()
        let columns = "chat_id, sender_id, encrypted_content, id"
        let first = try insert(session, columns, "'c', 'ann', 'x', 'mine'")
        #expect(try insert(session, columns, "'c', 'ann', 'x', 'mine'") == first)
        #expect(throws: ServiceError.self) {
            try insert(session, columns, "'c', 'bob', 'x', 'mine'")
        }
        #expect(h.head("c") == 1)
    }

    @Test(
        "What breaks a rule is refused with a line that quotes nothing",
        arguments: [
            ("'c', 'eve', 'x', 'i', 'text'", "not a member"),
            ("'none', 'ann', 'x', 'i', 'text'", "no such chat"),
            ("'c', NULL, 'x', 'i', 'text'", "not a member"),
            ("'c', 'ann', NULL, 'i', 'text'", "encrypted_content is missing"),
            ("'c', 'ann', 'x', '', 'text'", "1 to 128 bytes"),
            ("'c', 'ann', 'x', repeat('i', 129), 'text'", "1 to 128 bytes"),
            ("'c', 'ann', 'x', E'i\\n', 'text'", "1 to 128 bytes"),
            ("'c', 'ann', 'x', E'i\\u0085', 'text'", "1 to 128 bytes"),
            ("'c', 'ann', 'x', 'i', E'\\x7f'", "1 to 128 bytes"),
            ("'c', 'ann', repeat('x', 16000001), 'i', 'text'", "more than 16000000 bytes"),
        ])
    func refused(_ values: String, _ words: String) throws {
        let (h, session) = try started()
        do throws(ServiceError) {
            try session.run(
                """
                INSERT INTO martlet.inbox (chat_id, sender_id, encrypted_content, id, type)
                VALUES (\(values))
                """)
            Issue.record("taken: \(values)")
        } catch {
            #expect(error.description.contains("martlet: ") && error.description.contains(words))
        }
        #expect(h.head("c") == 0)
    }

    @Test("A service needs no right on the tables, and gets none")
    func rights() throws {
        let (h, session) = try started()
        let role = "service_\(UInt32.random(in: 0 ... .max))"
        try session.run(
            """
            CREATE ROLE \(role);
            GRANT USAGE ON SCHEMA martlet TO \(role);
            GRANT INSERT, SELECT (id, seq) ON martlet.inbox TO \(role);
            """)
        try session.run("SET ROLE \(role)")
        let columns = "chat_id, sender_id, encrypted_content"
        #expect(try insert(session, columns, "'c', 'ann', 'x'")[1] == "1")
        for sql in [
            "SELECT * FROM martlet.entries", "SELECT encrypted_content FROM martlet.inbox",
            "UPDATE martlet.chats SET last_seq = 9", "SELECT * FROM martlet.chats",
        ] {
            #expect(throws: ServiceError.self) { try session.run(sql) }
        }
        try session.run("RESET ROLE; DROP OWNED BY \(role); DROP ROLE \(role)")
        #expect(h.head("c") == 1)
    }
}
