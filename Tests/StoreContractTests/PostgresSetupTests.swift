import Domain
import Foundation
import Reactor
import ServiceSupport
import StoreCore
import StorePostgres
import Synchronization
import Testing

/// What `open` accepts, what it refuses, and what it says then (P17, P18).
@Suite("Postgres set-up") struct PostgresSetupTests {
    private func failure(_ url: String, _ settings: PostgresSettings = PostgresSettings()) throws
        -> StoreFailure?
    {
        let loop = try EventLoop()
        do throws(StoreFailure) {
            let store = try PostgresStore.open(
                url: url, loop: loop, settings: settings, random: SystemRandomNumberGenerator())
            store.close()
            return nil
        } catch {
            #expect(!error.text.contains("\n") && error.text.utf8.count < 500)
            #expect(!error.text.contains("canary"), "\(error.text)")
            return error
        }
    }

    @Test(
        "Commits that a crash undoes are refused, and the line says what to change",
        arguments: ["off", "on", "local", "remote_write", "remote_apply"])
    func synchronousCommit(_ value: String) throws {
        let database = try TestDatabase()
        database.isReusable = false
        try database.session().run(
            "ALTER DATABASE \(database.name) SET synchronous_commit = \(value)")
        let failure = try failure(database.url)
        guard value == "off" else {
            #expect(failure == nil)
            return
        }
        #expect(failure?.kind == .durability)
        #expect(failure?.text.contains("synchronous_commit = off") == true)
    }

    @Test("A server without fsync, or without full page writes, is refused")
    func fsync() throws {
        let server = try PostgresServer(settings: ["fsync = off"])
        let failure = try failure(server.url())
        #expect(failure?.kind == .durability && failure?.text.contains("fsync = off") == true)
        try PostgresSession(server.socketURL()).run("ALTER SYSTEM SET fsync = on")
        try PostgresSession(server.socketURL()).run("ALTER SYSTEM SET full_page_writes = off")
        try PostgresSession(server.socketURL()).run("SELECT pg_reload_conf(), pg_sleep(0.3)")
        let second = try self.failure(server.url())
        #expect(second?.kind == .durability)
        #expect(second?.text.contains("full_page_writes = off") == true)
    }

    @Test("A database that is read-only, or not UTF-8, is refused")
    func unfit() throws {
        let database = try TestDatabase()
        database.isReusable = false
        try database.session().run(
            "ALTER DATABASE \(database.name) SET default_transaction_read_only = on")
        #expect(try failure(database.url)?.text.contains("read-only") == true)
        try PostgresSession(database.server.socketURL()).run(
            "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        #expect(try failure(database.server.url("latin"))?.text.contains("LATIN1") == true)
    }

    @Test("A newer schema that this binary cannot live with is refused; one that it can is not")
    func newerSchema() throws {
        let database = try TestDatabase()
        database.isReusable = false
        try database.session().run("INSERT INTO martlet.migrations (version) VALUES (98)")
        #expect(try failure(database.url) == nil)
        try database.session().run(
            "INSERT INTO martlet.migrations (version, needs) VALUES (99, 99)")
        #expect(try failure(database.url)?.kind == .schema)
    }

    @Test("Migrations run once, whoever starts, and however many at once")
    func migrations() throws {
        let server = try PostgresServer.shared()
        let name = "migrations_\(UInt32.random(in: 0 ... .max))"
        try server.createDatabase(name)
        let url = server.url(name)
        let found = Mutex<[PostgresMigration]>([])
        let group = DispatchGroup()
        for _ in 0..<4 {
            DispatchQueue.global().async(group: group) {
                #expect(throws: Never.self) {
                    let migration = try PostgresStore.migrate(url: url)
                    found.withLock { $0.append(migration) }
                }
            }
        }
        group.wait()
        let migrations = found.withLock { $0 }
        #expect(migrations.count == 4)
        #expect(migrations.filter { $0.from == 0 }.count == 1)
        #expect(Set(migrations.map(\.to)).count == 1)
        let again = try PostgresStore.migrate(url: url)
        #expect(again.from == again.to)
    }

    @Test("No password in any error: wrong ones, no server, no database, a URL that cannot be read")
    func passwords() throws {
        let server = try PostgresServer.shared()
        var settings = PostgresSettings()
        settings.openDeadlineMs = 500
        let urls = [
            "postgres://martlet:canary-wrong@127.0.0.1:\(server.port)/postgres",
            "postgres://martlet:canary@127.0.0.1:1/postgres",
            "postgres://martlet:canary@127.0.0.1:\(server.port)/none-such",
            "postgres://martlet:canary@127.0.0.1:\(server.port)/postgres?canary=1",
            "postgres://martlet:canary@127.0.0.1:99999/postgres",
            "postgres://martlet:canary%ZZ@127.0.0.1/postgres", "canary",
            "host=127.0.0.1 password='canary", "postgres://martlet:canary@[::1/postgres",
            "postgres://martlet:canary@no-such-host.invalid/postgres",
            server.url("none-such"),
        ]
        for url in urls { #expect(try failure(url, settings) != nil, "\(url)") }
    }

    @Test("A server that is not there is waited for until the deadline, no longer")
    func deadline() throws {
        var settings = PostgresSettings()
        settings.openDeadlineMs = 400
        let start = Date()
        #expect(try failure("postgres://a@127.0.0.1:1/b", settings)?.kind == .unavailable)
        let took = Date().timeIntervalSince(start)
        #expect(took >= 0.1 && took < 5)
    }
}
