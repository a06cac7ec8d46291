import CPostgres
import Foundation
import Glibc
import ServerSupport
import Synchronization

/// Why a service cannot be used: one line for whoever reads a test's failure.
package struct ServiceError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// A Postgres of the tests' own: a fresh cluster in a temporary folder, on a free port and a Unix
/// socket, with fsync on and a password. It ends, and its folder goes, with the last owner or with
/// this process, however that ends: a shell waits for the end of a pipe that only we hold.
package final class PostgresServer: Sendable {
    package static let user = "martlet"
    /// A canary: it must not be in any error or log.
    package static let password = "canary-7Pq!x@9"
    private static let encodedPassword = "canary-7Pq%21x%409"

    package let folder: String
    package let port: UInt16
    private let binaries: String
    private let running = Mutex<Shell?>(nil)

    /// One for all tests of the process.
    package static func shared() throws -> PostgresServer { try sharedServer.get() }

    private static let sharedServer = Result<PostgresServer, ServiceError> {
        () throws(ServiceError) in try PostgresServer()
    }

    /// - Parameter settings: lines of postgresql.conf.
    package init(settings: [String] = []) throws(ServiceError) {
        binaries = try Self.findBinaries()
        // Short: a Unix socket's path has at most 107 bytes.
        folder = "/tmp/martlet-pg-\(getpid())-\(UInt32.random(in: .min ... .max))"
        guard unsafe mkdir(folder, 0o700) == 0 else { throw ServiceError("cannot make \(folder)") }
        do throws(ServiceError) {
            try Self.run(
                """
                umask 077; printf '%s' '\(Self.password)' > '\(folder)/password' \
                && chown -R \(Self.owner) '\(folder)' \
                && cd / && \(Self.asOwner) '\(binaries)/initdb' -D '\(folder)/data' -N -E UTF8 \
                --locale=C -U \(Self.user) --auth-local=trust --auth-host=scram-sha-256 \
                --pwfile='\(folder)/password'
                """, in: folder)
            // Not before: initdb takes seconds, and others look for ports meanwhile.
            port = try Self.freePort()
            let lines =
                [
                    "listen_addresses = '127.0.0.1'", "port = \(port)",
                    "unix_socket_directories = '\(folder)'", "max_connections = 200",
                    "fsync = on", "shared_buffers = 64MB", "logging_collector = off",
                    "deadlock_timeout = 200ms", "max_wal_size = 2GB",
                ] + settings
            try Self.run(
                "cat >> '\(folder)/data/postgresql.conf' <<'END'\n"
                    + lines.joined(separator: "\n") + "\nEND", in: folder)
            try start()
        } catch {
            Self.remove(folder)
            throw error
        }
    }

    deinit {
        running.withLock { shell in
            shell?.closeInput()
            shell?.wait()
        }
    }

    /// Over TCP, with the password.
    package func url(_ database: String = "postgres") -> String {
        "postgres://\(Self.user):\(Self.encodedPassword)@127.0.0.1:\(port)/\(database)"
    }

    /// Over the Unix socket, trusted.
    package func socketURL(_ database: String = "postgres") -> String {
        "postgresql:///\(database)?host=\(folder)&port=\(port)&user=\(Self.user)"
    }

    /// What the server said.
    package var log: String {
        (try? String(contentsOfFile: folder + "/log", encoding: .utf8)) ?? ""
    }

    // MARK: Its life

    /// Starts it, at first or after `kill`, and waits until it takes connections.
    package func start() throws(ServiceError) {
        let shell = try Shell(
            """
            ( \(Self.asOwner) '\(binaries)/postgres' -D '\(folder)/data' \
            >> '\(folder)/log' 2>&1 < /dev/null ) &
            pid=$!; echo $pid > '\(folder)/pid'
            read -r word
            [ "$word" = keep ] && exit
            kill -QUIT $pid 2> /dev/null; wait $pid; rm -rf '\(folder)'
            """, output: "/dev/null")
        running.withLock { $0 = shell }
        let deadline = Date(timeIntervalSinceNow: 30)
        while true {
            if let session = try? PostgresSession(socketURL()) {
                if (try? session.run("SELECT 1")) != nil { return }
            }
            guard Date() < deadline else {
                throw ServiceError("Postgres did not start: \(log.suffix(2_000))")
            }
            usleep(20_000)
        }
    }

    /// The postmaster's.
    package var processID: pid_t {
        let text = (try? String(contentsOfFile: folder + "/pid", encoding: .utf8)) ?? ""
        return pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
    }

    /// Kills it as a power cut would, data and all else left as they are, to be started again.
    package func kill() {
        let id = processID
        guard id > 0 else { return }
        // The postmaster's children notice and end by themselves.
        _ = Glibc.kill(id, SIGKILL)
        running.withLock { shell in
            shell?.write("keep\n")
            shell?.wait()
            shell = nil
        }
        while Glibc.kill(id, 0) == 0 { usleep(5_000) }
        usleep(50_000)
    }

    /// Stops it where it is (SIGSTOP), or lets it go on. Its children too.
    package func pause(_ isPaused: Bool) {
        let id = processID
        for child in Self.children(of: id) + [id] where child > 0 {
            _ = Glibc.kill(child, isPaused ? SIGSTOP : SIGCONT)
        }
    }

    private static func children(of id: pid_t) -> [pid_t] {
        let path = "/proc/\(id)/task/\(id)/children"
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return text.split(separator: " ").compactMap { pid_t($0) }
    }

    // MARK: Databases

    /// Makes an empty database, or a copy of `template`.
    package func createDatabase(_ name: String, template: String? = nil) throws {
        let session = try PostgresSession(socketURL())
        let suffix = template.map { " TEMPLATE \"\($0)\"" } ?? ""
        try session.run("CREATE DATABASE \"\(name)\"\(suffix)")
    }

    // MARK: Set-up

    private static func findBinaries() throws(ServiceError) -> String {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        let folders =
            versions.compactMap { Int($0) }.sorted(by: >).map { "\(root)/\($0)/bin" }
            + ["/usr/local/bin", "/usr/bin"]
        for folder in folders
        where FileManager.default.isExecutableFile(atPath: folder + "/initdb")
            && FileManager.default.isExecutableFile(atPath: folder + "/postgres")
        {
            return folder
        }
        throw ServiceError(
            "these tests need a Postgres server: apt-get install postgresql postgresql-contrib")
    }

    /// Postgres refuses to run as root.
    private static let owner: String = {
        if geteuid() != 0 { return String(geteuid()) }
        return unsafe getpwnam("postgres") == nil ? "nobody" : "postgres"
    }()

    private static let asOwner: String =
        geteuid() == 0
        ? "exec setpriv --reuid=\(owner) --regid=$(id -g \(owner)) --clear-groups --inh-caps=-all --"
        : "exec"

    private static func freePort() throws(ServiceError) -> UInt16 {
        do {
            return try FreePort.find()
        } catch {
            throw ServiceError("\(error)")
        }
    }

    private static func run(_ script: String, in folder: String) throws(ServiceError) {
        let shell = try Shell(script, output: folder + "/setup")
        shell.closeInput()
        guard shell.wait() == 0 else {
            let said = try? String(contentsOfFile: folder + "/setup", encoding: .utf8)
            throw ServiceError("\(script): \((said ?? "").suffix(1_000))")
        }
    }

    private static func remove(_ folder: String) {
        try? FileManager.default.removeItem(atPath: folder)
    }
}

/// A plain session for tests to look and meddle with: blocking, text in, text out.
@safe package final class PostgresSession {
    private let handle: OpaquePointer

    package init(_ url: String) throws(ServiceError) {
        guard let handle = unsafe PQconnectdb(url) else { throw ServiceError("out of memory") }
        unsafe self.handle = unsafe handle
        guard unsafe PQstatus(handle) == CONNECTION_OK else {
            throw unsafe ServiceError(String(cString: PQerrorMessage(handle)))
        }
        unsafe martlet_pg_silence(handle)
    }

    deinit { unsafe PQfinish(handle) }

    /// Rows of the last statement; nil for NULL.
    @discardableResult
    package func run(_ sql: String) throws(ServiceError) -> [[String?]] {
        let result = unsafe PQexec(handle, sql)
        defer { unsafe PQclear(result) }
        let status = unsafe PQresultStatus(result)
        guard status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK else {
            throw unsafe ServiceError(String(cString: PQerrorMessage(handle)))
        }
        return unsafe (0..<PQntuples(result)).map { row in
            unsafe (0..<PQnfields(result)).map { column in
                unsafe PQgetisnull(result, row, column) == 1
                    ? nil : String(cString: PQgetvalue(result, row, column))
            }
        }
    }

    /// The first column of the first row.
    package func value(_ sql: String) throws(ServiceError) -> String? {
        try run(sql).first?.first ?? nil
    }
}
