import Client
import Foundation
import Glibc
import ServerSupport
import ServiceSupport

/// Three instances, one Postgres and one Redis, and a proxy on each way between them. The third
/// instance is in a network of its own where the machine allows that.
///
///     instance 0 ── proxy ──┬── Redis          instance 0 ── proxy ──┬── Postgres
///     instance 1 ── proxy ──┤                  instance 1 ── proxy ──┤
///     instance 2 ── proxy ──┘                  instance 2 ── proxy ──┘
final class Fleet: Sendable {
    static let size = 3
    private static let database = "fleet"

    let postgres: PostgresServer
    let redis: RedisServer
    let instances: [TestServer]
    let redisProxies: [ChaosProxy]
    let postgresProxies: [ChaosProxy]
    /// Of the last instance.
    let namespace: Namespace?
    /// Why there is none.
    let withoutNamespace: String?

    init(binary: String?, limits: [String], random: inout SeededRandom) throws {
        // When each entry was committed, to the microsecond: `pg_xact_commit_timestamp`.
        postgres = try PostgresServer(settings: ["track_commit_timestamp = on"])
        try postgres.createDatabase(Self.database)
        redis = try RedisServer()
        do {
            namespace = try Namespace()
            withoutNamespace = nil
        } catch {
            namespace = nil
            withoutNamespace = "\(error)"
        }
        var instances: [TestServer] = []
        var redisProxies: [ChaosProxy] = []
        var postgresProxies: [ChaosProxy] = []
        for number in 0..<Self.size {
            let own = number == Self.size - 1 ? namespace : nil
            let redisHost = own?.address(of: .redis) ?? "127.0.0.1"
            let postgresHost = own?.address(of: .postgres) ?? "127.0.0.1"
            let toRedis = try ChaosProxy(
                host: redisHost, service: redis.port, seed: random.next())
            let toPostgres = try ChaosProxy(
                host: postgresHost, service: postgres.port, seed: random.next())
            redisProxies.append(toRedis)
            postgresProxies.append(toPostgres)
            let database = postgres.url(Self.database).replacingOccurrences(
                of: "127.0.0.1:\(postgres.port)", with: "\(postgresHost):\(toPostgres.port)")
            var options = TestServer.Options(
                limits: limits,
                arguments: [
                    "--database-url", database, "--redis-url",
                    "redis://\(redisHost):\(toRedis.port)", "--instance", "instance-\(number)",
                ])
            options.port = try FreePort.find()
            options.binary = binary
            options.host = own?.ownAddress(for: .clients) ?? "127.0.0.1"
            options.launcher = own?.launcher ?? []
            instances.append(try TestServer(options))
        }
        self.instances = instances
        self.redisProxies = redisProxies
        self.postgresProxies = postgresProxies
    }

    /// For a program that ends without its owners letting go.
    func end() {
        for instance in instances { instance.end() }
        for proxy in redisProxies + postgresProxies { proxy.end() }
        namespace?.end()
        redis.kill()
        postgres.kill()
        try? FileManager.default.removeItem(atPath: postgres.folder)
    }

    /// A session beside the proxies.
    func session() throws -> PostgresSession {
        try PostgresSession(postgres.socketURL(Self.database))
    }

    /// Whether each instance takes requests, and has its bus.
    var isHealthy: Bool {
        instances.allSatisfy { instance in
            guard let answer = try? instance.get("/health/ready") else { return false }
            return answer.status == 200 && answer.text.contains("\"healthy\"")
        }
    }

    var isReady: Bool {
        instances.allSatisfy { (try? $0.get("/health/ready"))?.status == 200 }
    }
}
