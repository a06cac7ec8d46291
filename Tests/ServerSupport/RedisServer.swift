import Glibc
import Synchronization

/// A redis-server of the test's own: on a free port of 127.0.0.1, keeping nothing, killed and its
/// folder removed when the last owner lets go.
package final class RedisServer: Sendable {
    package let port: UInt16
    private let password: String?
    private let arguments: [String]
    private let folder: TemporaryFolder
    private let running = Mutex<ChildProcess?>(nil)

    /// - Parameters:
    ///   - arguments: more of redis-server's.
    ///   - isStarted: otherwise there is only its port, until `start`.
    package init(
        password: String? = nil, arguments: [String] = [], isStarted: Bool = true
    ) throws {
        port = try FreePort.find()
        self.password = password
        self.arguments = arguments
        folder = try TemporaryFolder("redis")
        if isStarted { try start() }
    }

    deinit { kill() }

    package func start() throws {
        var words = [
            "--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", folder.path, "--daemonize", "no",
        ]
        if let password { words += ["--requirepass", password] }
        let process: ChildProcess
        do {
            process = try ChildProcess(
                "redis-server", words + arguments, output: folder.file("said"))
        } catch {
            throw SupportError(
                "\(error). These tests need a Redis of their own: apt-get install redis-server")
        }
        running.withLock { $0 = process }
        try eventually("a Redis that answers on port \(port)") {
            try check(process.exit == nil, "redis-server ended: \(process.output)")
            return (try? command("PING"))?.hasPrefix("+PONG") == true
        }
    }

    package func kill() {
        running.withLock { process in
            process?.signal(SIGKILL)
            process = nil
        }
    }

    /// It hangs: the kernel takes connections and bytes, and nobody answers.
    package func suspend() { running.withLock { $0?.signal(SIGSTOP) } }
    package func resume() { running.withLock { $0?.signal(SIGCONT) } }

    /// `redis://`, with the password.
    package var url: String { "redis://\(password.map { ":\($0)@" } ?? "")127.0.0.1:\(port)" }

    /// Runs one command on a connection of its own. Returns the reply as it came, its first part at
    /// least.
    @discardableResult
    package func command(_ words: String...) throws -> String { try command(words) }

    @discardableResult
    package func command(_ words: [String]) throws -> String {
        let socket = try RawSocket(port: port)
        if let password {
            socket.send(Self.encoded(["AUTH", password]))
            try check(Self.text(socket.receive(timeoutMs: 5_000)) == "+OK\r\n", "AUTH was refused")
        }
        socket.send(Self.encoded(words))
        return Self.text(socket.receive(timeoutMs: 5_000))
    }

    private static func encoded(_ words: [String]) -> String {
        "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
    }

    private static func text(_ received: RawSocket.Received) -> String {
        if case .bytes(let bytes) = received { return String(decoding: bytes, as: UTF8.self) }
        return ""
    }
}
