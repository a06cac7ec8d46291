import Basics
import Domain
import Foundation
import StoreCore
import TestSupport
import Testing

@testable import StoreSQLite

/// What only the store with a disk can do: fail, and come back.
@Suite("SQLite store") struct SQLiteStoreTests {
    private func failure(
        _ folder: String, _ settings: SQLiteSettings = SQLiteSettings()
    ) -> StoreFailure? {
        do throws(StoreFailure) {
            _ = try SQLiteStore.open(folder: folder, settings: settings)
            return nil
        } catch {
            #expect(!error.text.contains("\n"))
            return error
        }
    }

    private func reopened(_ folder: String) throws -> Harness {
        let store = try SQLiteStore.open(folder: folder)
        return Harness(store, folder: folder)
    }

    // MARK: Opening

    @Test("What was committed is there after closing and opening again")
    func reopening() throws {
        let folder = Harness.freshFolder()
        var log: [LogEntry] = []
        do {
            let h = try reopened(folder)
            h.keepsFolder = true
            h.submit([h.creation("c", ["ann"]), h.message("c", "ann", clientID: "k")])
            log = h.range("c")
        }
        let h = try reopened(folder)
        #expect(h.range("c") == log)
        h.submit([])
        #expect(
            h.run(h.message("c", "ann", clientID: "k"))
                == .duplicate(
                    id: log[0].id, seq: 1, createdAt: log[0].createdAt))
        #expect(h.send("c", "ann") == 2)
    }

    @Test("The folder is made for its owner alone, with its parents")
    func folderMode() throws {
        let root = Harness.freshFolder()
        defer { try? FileManager.default.removeItem(atPath: root) }
        let store = try SQLiteStore.open(folder: root + "/a/b")
        let attributes = try FileManager.default.attributesOfItem(atPath: store.folder)
        #expect(attributes[.posixPermissions] as? Int == 0o700)
    }

    @Test("A second instance is refused, told who is first, and let in when that one is gone")
    func locked() throws {
        let folder = Harness.freshFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        do {
            let first = try SQLiteStore.open(folder: folder)
            let refusal = failure(folder)
            #expect(refusal?.kind == .locked)
            #expect(refusal?.text.contains("in use by another instance (pid \(getpid()))") == true)
            first.close()
        }
        #expect(failure(folder) == nil)
    }

    @Test("A folder that is a file, or below one, is refused in one line")
    func unwritable() throws {
        let path = Harness.freshFolder()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("x".utf8).write(to: URL(fileURLWithPath: path))
        #expect(failure(path)?.kind == .unwritable)
        #expect(failure(path + "/below")?.kind == .unwritable)
        #expect(failure("/proc/martlet")?.kind == .unwritable)
    }

    @Test("A newer schema, another program's file and no database at all are refused")
    func foreign() throws {
        let folder = Harness.freshFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try SQLiteStore.open(folder: folder)
        let path = folder + "/martlet.db"
        try execute(path, "PRAGMA user_version = \(Schema.version + 1)")
        #expect(failure(folder)?.kind == .schema)
        #expect(failure(folder)?.text.contains("schema version \(Schema.version + 1)") == true)
        try execute(path, "PRAGMA user_version = \(Schema.version)")
        #expect(failure(folder) == nil)
        try execute(path, "PRAGMA application_id = 7")
        #expect(failure(folder)?.kind == .schema)
        try FileManager.default.removeItem(atPath: path)
        try Data(repeating: 120, count: 10_000).write(to: URL(fileURLWithPath: path))
        #expect(failure(folder)?.kind == .corrupt)
    }

    @Test("Migrating says what it did")
    func migrating() throws {
        let folder = Harness.freshFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let version = Schema.version
        #expect(try SQLiteStore.migrate(folder: folder) == SQLiteMigration(from: 0, to: version))
        #expect(
            try SQLiteStore.migrate(folder: folder) == SQLiteMigration(from: version, to: version))
    }

    @Test(
        "Weaker durability than WAL with FULL is refused",
        arguments: [("delete", "full"), ("memory", "full"), ("wal", "normal"), ("wal", "off")])
    func weak(_ weak: (journal: String, synchronous: String)) {
        let folder = Harness.freshFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var settings = SQLiteSettings()
        settings.journalMode = weak.journal
        settings.synchronous = weak.synchronous
        #expect(failure(folder, settings)?.kind == .durability)
    }

    @Test("A closed store refuses, certainly")
    func closed() {
        let h = Harness(.sqlite)
        (h.store as? SQLiteStore)?.close()
        #expect(kind(h.result([h.creation("c", ["ann"])])) == "notStored unavailable")
        #expect(kind(h.result([.head("c")], attempt: 2)) == "notStored unavailable")
    }

    // MARK: Failing

    @Test("A full disk refuses the batch whole, and serves again when there is room")
    func diskFull() throws {
        let folder = Harness.freshFolder()
        var settings = SQLiteSettings()
        settings.maximumPages = 60
        let h = Harness(try SQLiteStore.open(folder: folder, settings: settings), folder: folder)
        h.run(h.creation("c", ["ann"]))
        h.send("c", "ann")
        let large = h.message("c", "ann", content: [UInt8](repeating: 1, count: 2_000_000))
        let before = h.range("c")
        #expect(kind(h.result([h.message("c", "ann"), large])) == "notStored diskFull")
        #expect(kind(h.result([h.message("c", "ann"), large], attempt: 2)) == "unknown diskFull")
        #expect(h.range("c") == before)
        #expect(h.send("c", "ann") == 2)
        (h.store as? SQLiteStore)?.limitPages(1_000_000)
        #expect(h.run(large).entry?.seq == 3)
    }

    @Test("A disk that is full at COMMIT refuses, and serves again by itself")
    func diskFullAtCommit() throws {
        let (h, store) = try faulty()
        store.faults.onCommit = { .diskFull }
        let batch = [h.message("c", "ann"), .head("c")]
        #expect(kind(h.result(batch)) == "notStored diskFull")
        #expect(kind(h.result(batch, attempt: 2)) == "unknown diskFull")
        var probes: [StoreFailure?] = []
        store.probe { probes.append($0) }
        #expect(probes.map { $0?.kind } == [.diskFull])
        store.faults.onCommit = nil
        store.probe { probes.append($0) }
        #expect(probes.last == .some(nil))
        #expect(h.submit(batch, attempt: 3)[0].entry?.seq == 1)
    }

    @Test(
        "After an error of COMMIT the batch is in doubt, and its resubmission finds out",
        arguments: [SQLiteFaults.Commit.lost, .replyLost])
    func unknownCommit(_ fault: SQLiteFaults.Commit) throws {
        let (h, store) = try faulty()
        let sent = h.message("c", "ann", clientID: "k")
        let batch = [
            sent, sent.resent(as: h.freshID()), h.change("c", .added, ["bob"], by: "ann"),
            h.cursor("c", "ann", read: .seq(1)), .head("c"),
        ]
        store.faults.onCommit = { fault }
        #expect(kind(h.result(batch)) == "unknown inputOutput")
        store.faults.onCommit = nil
        let outcomes = h.submit(batch, attempt: 2)
        #expect(outcomes[0].entry?.seq == 1)
        #expect(
            outcomes[1]
                == .duplicate(id: sent.appendID!, seq: 1, createdAt: h.range("c")[0].createdAt))
        #expect(outcomes[2].entries?.map(\.seq) == [2])
        #expect(outcomes[3].receipt?.readSeq == 1)
        #expect(outcomes[4] == .head(2))
        #expect(h.send("c", "bob") == 3)
    }

    @Test("While the file cannot be opened again, only what was never submitted is refused")
    func reopeningFails() throws {
        let (h, store) = try faulty()
        let batch = [h.message("c", "ann")]
        store.faults.onCommit = { .replyLost }
        #expect(kind(h.result(batch)) == "unknown inputOutput")
        store.faults = SQLiteFaults()
        store.faults.onOpen = { StoreFailure(.inputOutput, "injected") }
        #expect(kind(h.result(batch, attempt: 2)) == "unknown inputOutput")
        #expect(kind(h.result([h.message("c", "ann")])) == "notStored inputOutput")
        #expect(kind(h.result([.head("c")], attempt: 2)) == "notStored inputOutput")
        var probes: [StoreFailure?] = []
        store.probe { probes.append($0) }
        #expect(probes.map { $0?.kind } == [.inputOutput])
        store.faults = SQLiteFaults()
        #expect(h.submit(batch, attempt: 3)[0].entry?.seq == 1)
        #expect(h.head("c") == 1)
    }

    @Test("A batch that was rolled back leaves no trace in what appends remember")
    func noMemoryOfRollback() throws {
        let (h, store) = try faulty()
        h.send("c", "ann")
        store.faults.onCommit = { .diskFull }
        let join = h.change("c", .added, ["bob"], by: "ann")
        #expect(
            kind(h.result([h.message("c", "ann"), join, h.message("c", "bob")]))
                == "notStored diskFull")
        store.faults.onCommit = nil
        #expect(h.run(h.message("c", "bob")) == .refused(.notFound))
        #expect(h.send("c", "ann") == 2)
    }

    @Test("Another connection's write is seen by the next batch")
    func foreignWrite() throws {
        let (h, _) = try faulty()
        h.send("c", "ann")
        try execute(h.folder! + "/martlet.db", "UPDATE memberships SET ended_seq = 1")
        #expect(h.run(h.message("c", "ann")) == .refused(.notFound))
    }

    @Test("The log file is copied into the database now and then, and stays short")
    func checkpoints() throws {
        let folder = Harness.freshFolder()
        var settings = SQLiteSettings()
        settings.checkpointPages = 20
        let h = Harness(try SQLiteStore.open(folder: folder, settings: settings), folder: folder)
        h.run(h.creation("c", ["ann"]))
        for _ in 0..<200 { h.send("c", "ann") }
        let size = try FileManager.default.attributesOfItem(atPath: folder + "/martlet.db-wal")
        #expect((size[.size] as? Int ?? .max) < 60 * 8_192)
        #expect(h.range("c").count == 200)
    }

    // MARK: Parts

    @Test("Every query of the hot path uses its index")
    func plans() throws {
        let h = Harness(.sqlite)
        let connection = try Connection(path: h.folder! + "/martlet.db")
        let queries = [
            "SELECT position FROM entries WHERE id = ?1",
            "SELECT id FROM entries WHERE send = ?1 AND author = ?2 AND client_message_id = ?3",
            "SELECT id FROM entries e WHERE e.position > ?1 AND e.position <= ?2",
            "SELECT key FROM memberships WHERE chat = ?1 AND user = ?2 AND ended_seq IS NULL",
            "SELECT key FROM memberships WHERE user = ?1 AND ended_seq IS NULL",
        ]
        for query in queries {
            let plan = try connection.prepare("EXPLAIN QUERY PLAN \(query)")
            while try plan.step() {
                #expect(plan.text(3).contains("SEARCH"), "\(query): \(plan.text(3))")
            }
        }
    }

    /// The paper's appendix A, and the reference implementation's vectors.
    @Test(
        "SipHash-2-4 of 0, 1, 2 … under the key 0, 1, 2 …",
        arguments: [
            (0, 0x726f_db47_dd0e_0e31), (1, 0x74f8_39c5_93dc_67fd), (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462), (15, 0xa129_ca61_49be_45e5),
        ] as [(Int, UInt64)])
    func sipHash(_ vector: (count: Int, hash: UInt64)) {
        let key = (0..<16).map { UInt8($0) }
        #expect(SipHash(key: key).hash((0..<vector.count).map { UInt8($0) }) == vector.hash)
    }

    // MARK: Helpers

    private func faulty() throws -> (Harness, SQLiteStore) {
        let h = Harness(.sqlite)
        let store = try #require(h.store as? SQLiteStore)
        h.run(h.creation("c", ["ann"]))
        return (h, store)
    }

    private func kind(_ result: BatchResult) -> String {
        switch result {
        case .committed: "committed"
        case .notStored(let failure): "notStored \(failure.kind.rawValue)"
        case .unknown(let failure): "unknown \(failure.kind.rawValue)"
        }
    }

    private func execute(_ path: String, _ sql: String) throws {
        try Connection(path: path).execute(sql)
    }
}
