import Client
import Foundation
import ServerSupport
import ServiceSupport
import Testing

/// The command line with Postgres and Redis: what refuses to start and why, and the small commands.
struct FleetStartTests {
    private static let secret = ["--jwt-secret", TestServer.secretText]

    private static func run(
        _ arguments: [String], environment: [String: String] = [:]
    ) throws -> (exit: ChildProcess.Exit, output: String, errors: String) {
        try ChildProcess.run(try MartletBinary.path(), arguments, environment: environment)
    }

    /// Runs `serve`, which must refuse with one line that says each of `words`, and no password.
    private static func expectRefusal(
        _ arguments: [String], environment: [String: String] = [:], saying words: [String]
    ) throws {
        let folder = try TemporaryFolder("refused")
        let (exit, output, errors) = try run(
            ["serve", "--bind", "127.0.0.1", "--port", "0", "--data", folder.file("data")]
                + secret + arguments, environment: environment)
        try check(exit == .code(1), "\(exit)")
        try check(output.isEmpty, output)
        try check(errors.split(separator: "\n").count == 1, "one line: \(errors)")
        for word in ["martlet: "] + words {
            try check(errors.contains(word), "\(word) is missing in: \(errors)")
        }
        try check(!errors.contains("canary") && !errors.contains("7Pq"), errors)
    }

    @Test("P17 P18 Without a Postgres it does not start, and says where it looked but no password")
    func noPostgres() async throws {
        try await apart {
            let port = try FreePort.find()
            try Self.expectRefusal(
                ["--database-url", "postgres://martlet:canary-7Pq@127.0.0.1:\(port)/chat"],
                saying: ["127.0.0.1", "\(port)"])
        }
    }

    @Test("P17 P18 A wrong password, and a missing database, are told without the password")
    func wrongAddress() async throws {
        try await apart {
            let postgres = try PostgresServer.shared()
            try Self.expectRefusal(
                ["--database-url", postgres.url("no_such_database")], saying: ["no_such_database"])
            try Self.expectRefusal(
                [
                    "--database-url",
                    "postgres://martlet:canary-wrong@127.0.0.1:\(postgres.port)/postgres",
                ], saying: ["password"])
        }
    }

    @Test("P1 P17 A Postgres that would lose acked messages is refused, and what to set is said")
    func weak() async throws {
        try await apart {
            let postgres = try PostgresServer.shared()
            try postgres.createDatabase("weak")
            let session = try PostgresSession(postgres.socketURL())
            try session.run("ALTER DATABASE weak SET synchronous_commit = off")
            try Self.expectRefusal(
                ["--database-url", postgres.url("weak")],
                saying: ["synchronous_commit = off", "set it to on"])
            try session.run("ALTER DATABASE weak RESET synchronous_commit")
            try session.run("ALTER DATABASE weak SET default_transaction_read_only = on")
            try Self.expectRefusal(
                ["--database-url", postgres.url("weak")], saying: ["read-only"])
        }
    }

    @Test("P1 P17 A Postgres that does not sync is refused, and what to set is said")
    func unsynced() async throws {
        try await apart {
            let postgres = try PostgresServer(settings: ["fsync = off"])
            try Self.expectRefusal(
                ["--database-url", postgres.url()], saying: ["fsync = off", "set it to on"])
        }
    }

    // MARK: Small commands

    @Test("`martlet migrate` makes the schema once, and an instance then finds it")
    func migrate() async throws {
        try await apart {
            let postgres = try PostgresServer.shared()
            try postgres.createDatabase("migrated")
            let arguments = ["migrate", "--database-url", postgres.url("migrated")]
            let first = try Self.run(arguments)
            try check(first.exit == .code(0), first.errors)
            try check(first.output.contains("from version 0"), first.output)
            let second = try Self.run(arguments)
            try check(second.exit == .code(0), second.errors)
            try check(second.output.contains("up to date"), second.output)
            for said in [first.output, second.output] {
                try check(!said.contains("7Pq") && said.contains("/migrated"), said)
            }
            let session = try PostgresSession(postgres.socketURL("migrated"))
            let tables = try session.value(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'martlet'")
            try check(Int(tables ?? "") ?? 0 > 0, "there are tables")
        }
    }

    @Test("P18 `martlet config` shows where Postgres and Redis are, and asterisks for passwords")
    func config() throws {
        let (exit, output, errors) = try Self.run(
            [
                "config", "--database-url", "postgres://chat:canary-1@db:5432/chat",
                "--redis-url", "redis://:canary-2@cache:6379", "--bridge", "both",
            ])
        #expect(exit == .code(0))
        #expect(errors.isEmpty)
        let lines = output.split(separator: "\n")
        #expect(lines.contains("database-url = postgres://chat:********@db:5432/chat"))
        #expect(lines.contains("redis-url = redis://:********@cache:6379"))
        #expect(lines.contains("bridge = both"))
        #expect(!output.contains("canary"))
    }

    @Test("The variables of existing deployments, in parts, lead to the same Postgres and Redis")
    func environment() async throws {
        try await apart {
            let postgres = try PostgresServer.shared()
            try postgres.createDatabase("in parts")
            let redis = try RedisServer(password: "canary:/@ 2")
            let environment = [
                "DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": "\(postgres.port)",
                "DATABASE_NAME": "in parts", "DATABASE_USER": PostgresServer.user,
                "DATABASE_PASSWORD": PostgresServer.password, "REDIS_HOST": "127.0.0.1",
                "REDIS_PORT": "\(redis.port)", "REDIS_PASSWORD": "canary:/@ 2",
                "JWT_SECRET": TestServer.secretText,
            ]
            let folder = try TemporaryFolder("environment")
            let process = try ChildProcess(
                try MartletBinary.path(), ["serve", "--bind", "127.0.0.1", "--port", "0"],
                environment: environment, output: folder.file("server"))
            var port: UInt16?
            try eventually("it listens; it said: \(process.errors)") {
                try check(process.exit == nil, process.errors)
                port = TestServer.port(in: process.output)
                return port != nil
            }
            let url = URLParts(host: "127.0.0.1", port: port ?? 0)
            try eventually("all is well") {
                let answer = try HTTPExchange.request("GET", url.at("/health"), timeoutMs: 10_000)
                return answer.text.contains(#""redis":"ok""#)
                    && answer.text.contains(#""status":"healthy""#)
            }
            process.signal(15)
            try check(try process.wait(withinMs: 15_000) == .code(0), process.errors)
            let said = process.output + process.errors
            try check(!said.contains("canary"), said)
            let session = try PostgresSession(postgres.socketURL("in%20parts"))
            try check(
                try session.value("SELECT to_regclass('martlet.entries')") != nil, "the schema")
        }
    }
}
