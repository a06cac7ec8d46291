import Basics
import Client
import Foundation
import Glibc
import ServerSupport
import ServiceSupport
import Synchronization
import Wire

/// Several instances of the real program that are to be one: on a database of their own in a real
/// Postgres, with a Redis of their own between them. All of it ends with the last owner.
final class Fleet: Sendable {
    struct Options: Sendable {
        var instances = 2
        /// nil: the one that all tests of the process share, which nobody hurts.
        var postgres: PostgresServer?
        /// nil: a fresh one.
        var redis: RedisServer?
        /// Further flags of every instance.
        var arguments: [String] = []
        /// The flag that says where Redis is, for each instance; nil: at the Redis above.
        var redisURL: String?
        /// The same for the first instance alone.
        var firstRedisURL: String?

        init(instances: Int = 2) { self.instances = instances }
    }

    let postgres: PostgresServer
    let database: String
    let redis: RedisServer
    let nodes: [TestServer]

    private static let count = Mutex(0)

    /// Starts the instances, all at the same time and on an empty database.
    init(_ options: Options = Options()) throws {
        let number = Self.count.withLock { count in
            count += 1
            return count
        }
        postgres = try options.postgres ?? .shared()
        database = "fleet_\(number)"
        try postgres.createDatabase(database)
        redis = try options.redis ?? RedisServer()
        var server = TestServer.Options()
        server.arguments = ["--database-url", postgres.url(database)] + options.arguments
        let everybodys = options.redisURL ?? redis.url
        let firsts = options.firstRedisURL ?? everybodys
        let started = Mutex<[Int: TestServer]>([:])
        try inParallel(
            (0..<options.instances).map { index in
                { [server] in
                    var server = server
                    server.arguments += [
                        "--instance", "node-\(index)",
                        "--redis-url", index == 0 ? firsts : everybodys,
                    ]
                    let node = try TestServer(server)
                    started.withLock { $0[index] = node }
                }
            })
        nodes = started.withLock { started in
            started.sorted { $0.key < $1.key }.map(\.value)
        }
    }

    /// A fleet whose instances have heard of each other.
    static func together(_ options: Options = Options()) throws -> Fleet {
        let fleet = try Fleet(options)
        try fleet.awaitUnity()
        return fleet
    }

    subscript(_ index: Int) -> TestServer { nodes[index] }

    func client(
        _ user: String, at index: Int, device: String? = nil, dialect: Dialect = .v1
    ) throws -> TestClient {
        try TestClient(nodes[index], user: user, device: device, dialect: dialect)
    }

    /// A session with the database, to look and meddle.
    func session() throws -> PostgresSession { try PostgresSession(postgres.socketURL(database)) }

    // MARK: What is waited for

    /// Each instance hears of all others, and nothing is lost.
    func awaitUnity(withinMs milliseconds: Int = 60_000) throws {
        for node in nodes {
            try eventually("the instances hear of each other", withinMs: milliseconds) {
                let metrics = try Metrics(node)
                return try metrics["martlet_bus_healthy"] == 1
                    && metrics["martlet_bus_instances"] == nodes.count - 1
            }
        }
    }

    /// Until an instance's `/health` answers with this status and says all of `words`.
    static func awaitHealth(
        of node: TestServer, _ status: Int, _ words: [String], withinMs milliseconds: Int = 60_000
    ) throws {
        var last = ""
        do {
            try eventually("", withinMs: milliseconds) {
                let answer = try node.get("/health")
                last = "\(answer.status) \(answer.text)"
                return answer.status == status && words.allSatisfy { answer.text.contains($0) }
            }
        } catch {
            throw SupportError("/health did not become \(status) with \(words): \(last)")
        }
    }

    /// Redis is away: everyone serves, and says that it is not all well.
    func awaitDegraded() throws {
        for node in nodes {
            try Self.awaitHealth(of: node, 200, [#""status":"degraded""#, #""redis":"error""#])
            let ready = try node.get("/health/ready").status
            try check(ready == 200, "without Redis an instance is ready, not \(ready)")
        }
    }

    func awaitHealthy() throws {
        for node in nodes {
            try Self.awaitHealth(of: node, 200, [#""status":"healthy""#])
        }
    }

    /// The messages and changes of a chat, all pages, as `user` reads them at `node`.
    static func history(
        _ chat: String, of user: String, at node: TestServer
    ) throws -> [ChatAPI.Entry] {
        let api = try node.api(user)
        var entries: [ChatAPI.Entry] = []
        while true {
            let page = try api.history(of: chat, after: entries.last?.seq ?? 0)
            if page.isEmpty { return entries }
            entries += page
        }
    }
}

/// Runs a test's body on a thread of its own: it blocks, and the few threads that run all tests
/// are for those that compute. What it finds wrong it throws (`check`).
func apart(_ body: @escaping @Sendable () throws -> Void) async throws {
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
        let work = Work(body)
        let thread = Thread {
            do {
                try work.runAndForget()
                done.resume()
            } catch {
                done.resume(throwing: SupportError("\(error)"))
            }
        }
        thread.stackSize = 1 << 21
        thread.start()
    }
}

extension TestClient {
    /// The next `count` messages of a chat, which must come with these contents and the seqs from
    /// `seq` on.
    func expect(
        _ contents: [String], in chat: String, from seq: Int64, withinMs: Int = patienceMs,
        file: StaticString = #fileID, line: UInt = #line
    ) throws {
        for (index, content) in contents.enumerated() {
            let message = try message(withinMs: withinMs)
            try check(
                message.chat == chat && message.seq == seq + Int64(index)
                    && message.content == content,
                "\(user) expected \(seq + Int64(index)) \(content) and heard "
                    + "\(message.seq) \(message.content)", file: file, line: line)
        }
    }
}
