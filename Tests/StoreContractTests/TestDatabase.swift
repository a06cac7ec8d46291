import Basics
import Reactor
import ServiceSupport
import StoreCore
import StorePostgres
import Synchronization

/// A database of a harness's own on the process's Postgres, with an event loop to drive a store.
///
/// Databases are used again, emptied, one harness after the other: to make one takes 60 ms, to empty
/// one 2 ms.
final class TestDatabase {
    private static let free = Mutex<[String]>([])
    private static let count = Mutex(0)
    private static let template = Result<String, any Error> {
        let server = try PostgresServer.shared()
        try server.createDatabase("template_martlet")
        _ = try PostgresStore.migrate(url: server.url("template_martlet"))
        return "template_martlet"
    }
    private static let tables = [
        "chats", "memberships", "entries", "watermarks", "cursors", "kept_sessions", "kept_marks",
    ]

    let server: PostgresServer
    let name: String
    let loop: EventLoop
    /// Whether the next harness may have it.
    var isReusable = true

    init() throws {
        server = try PostgresServer.shared()
        loop = try EventLoop()
        if let name = Self.free.withLock({ $0.popLast() }) {
            self.name = name
            let deletions = Self.tables.map { "DELETE FROM martlet.\($0);" }.joined()
            try PostgresSession(server.socketURL(name)).run(deletions)
            return
        }
        let template = try Self.template.get()
        let number = Self.count.withLock { count in
            count += 1
            return count
        }
        name = "test_\(number)"
        // One at a time: a template must have no other session.
        try Self.count.withLock { _ in try server.createDatabase(name, template: template) }
    }

    deinit {
        if isReusable { Self.free.withLock { $0.append(name) } }
    }

    var url: String { server.url(name) }

    /// A session of the test's own. It may outlast this, as a variable ends with its last use: no other
    /// harness gets the database then, and empties it.
    func session() throws -> PostgresSession {
        isReusable = false
        return try PostgresSession(server.socketURL(name))
    }

    /// One statement in a session that ends with it.
    func run(_ sql: String) throws { try PostgresSession(server.socketURL(name)).run(sql) }

    func open(_ settings: PostgresSettings = PostgresSettings()) throws -> PostgresStore {
        try PostgresStore.open(
            url: url, loop: loop, settings: settings, random: SystemRandomNumberGenerator())
    }

    /// Drives the loop until `condition` holds; a store's own deadlines end every wait.
    func pump(until condition: () -> Bool) {
        let end = loop.now.instant.advanced(byMilliseconds: 30_000)
        while !condition(), loop.now.instant < end {
            do throws(SystemError) {
                try loop.runOnce()
            } catch {
                return
            }
        }
    }
}
