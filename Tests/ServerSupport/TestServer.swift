import Basics
import Client
import Foundation
import Glibc
import Identity
import Synchronization

/// A `martlet serve` of a test's own: real process, real sockets, real store in a temporary folder.
/// Killed, and its folder removed, when the last owner lets go.
package final class TestServer: Sendable {
    /// How it is started.
    package struct Options: Sendable {
        package var shards = 2
        /// 0: another free one at each start.
        package var port: UInt16 = 0
        /// `name=value`. The rates are off: a test is one address and few users.
        package var limits = ["connects=off", "http=off", "sends=off", "joins=off"]
        /// Further flags.
        package var arguments: [String] = []
        /// The data folder; nil for one of its own.
        package var data: String?
        /// nil: see `MartletBinary`.
        package var binary: String?
        /// The IPv4 address that it listens on.
        package var host = "127.0.0.1"
        /// Words before the binary's path: a program that becomes the server, as `ip netns exec`.
        package var launcher: [String] = []

        package init(limits: [String] = [], arguments: [String] = []) {
            self.limits += limits
            self.arguments = arguments
        }
    }

    /// The HS256 secret that all test servers share.
    package static let secretText = "a secret of the tests, and of nothing else at all"

    package let folder: TemporaryFolder
    package let data: String
    private let options: Options
    private let minter: TokenMinter
    private let state: Mutex<State>

    private struct State {
        var process: ChildProcess?
        var port: UInt16 = 0
        var starts = 0
    }

    /// Starts it, and waits until it listens.
    package init(_ options: Options = Options()) throws {
        self.options = options
        folder = try TemporaryFolder("server")
        data = options.data ?? folder.file("data")
        minter = TokenMinter(secret: try Secret(Self.secretText))
        state = Mutex(State())
        try start()
    }

    // MARK: Life

    /// Starts it again on the same data, after `stop` or `kill`.
    ///
    /// - Throws: with what it said, where it does not listen within 20 s.
    package func start() throws {
        let count = state.withLock { state in
            state.starts += 1
            return state.starts
        }
        let words =
            options.launcher + [try options.binary ?? MartletBinary.path()]
            + Self.arguments(options, data: data)
        let process = try ChildProcess(
            words[0], Array(words.dropFirst()), output: folder.file("server-\(count)"))
        state.withLock { $0.process = process }
        var port: UInt16?
        try eventually("the line `listening on`; it said: \(process.errors)", withinMs: 20_000) {
            port = Self.port(in: process.output, host: options.host)
            if port == nil, let exit = process.exit {
                throw SupportError("the server ended at its start (\(exit)): \(process.errors)")
            }
            return port != nil
        }
        state.withLock { $0.port = port ?? 0 }
    }

    private static func arguments(_ options: Options, data: String) -> [String] {
        var arguments = [
            "serve", "--bind", options.host, "--port", "\(options.port)", "--data", data,
            "--jwt-secret", secretText, "--shards", "\(options.shards)",
        ]
        for limit in options.limits { arguments += ["--limit", limit] }
        return arguments + options.arguments
    }

    /// The port in `listening on HOST:PORT`, once the line is whole.
    package static func port(in output: String, host: String = "127.0.0.1") -> UInt16? {
        for line in output.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            guard let range = line.range(of: "listening on \(host):") else { continue }
            return UInt16(line[range.upperBound...].prefix { $0.isNumber })
        }
        return nil
    }

    /// SIGTERM, and waits for the end.
    @discardableResult
    package func stop(withinMs milliseconds: Int = 15_000) throws -> ChildProcess.Exit {
        let process = self.process
        process.signal(SIGTERM)
        return try process.wait(withinMs: milliseconds)
    }

    /// SIGKILL, and waits for the end.
    package func kill() throws {
        let process = self.process
        process.signal(SIGKILL)
        try process.wait(withinMs: 10_000)
    }

    /// Kills it and removes its folder, for a program that ends without its owners letting go.
    package func end() {
        try? kill()
        try? FileManager.default.removeItem(atPath: folder.path)
    }

    /// The running process, or the last one.
    package var process: ChildProcess {
        guard let process = state.withLock({ $0.process }) else {
            preconditionFailure("the initialiser starts it or throws")
        }
        return process
    }

    /// All that all its processes have said, on both streams.
    package var said: String {
        let starts = state.withLock { $0.starts }
        return (1...starts).map { start in
            contents(of: folder.file("server-\(start).out"))
                + contents(of: folder.file("server-\(start).err"))
        }.joined()
    }

    // MARK: Ways in

    package var port: UInt16 { state.withLock { $0.port } }

    package var url: URLParts { URLParts(host: options.host, port: port) }

    /// A token that is valid for an hour, from `secondsAgo` on.
    package func token(
        user: String, device: String? = nil, role: String? = nil, secondsAgo: Int64 = 0
    ) throws -> String {
        try minter.mint(
            user: user, deviceId: device, role: role, lifetimeSeconds: 3_600,
            nowMilliseconds: Int64(Date().timeIntervalSince1970 * 1_000) - secondsAgo * 1_000)
    }

    /// The HTTP API as that user.
    package func api(_ user: String, role: String? = nil) throws -> ChatAPI {
        ChatAPI(url: url, token: try token(user: user, role: role), timeoutMs: 20_000)
    }

    /// One request without a token.
    package func get(_ target: String) throws -> HTTPAnswer {
        try HTTPExchange.request("GET", url.at(target), timeoutMs: 10_000)
    }

    // MARK: What the kernel knows of it

    /// Anonymous resident memory in bytes: what it allocated, without the program's own pages.
    package func anonymousMemory() throws -> Int {
        let line = contents(of: "/proc/\(process.id)/status").split(separator: "\n")
            .first { $0.hasPrefix("RssAnon:") }
        guard let digits = line?.split(whereSeparator: { !$0.isNumber }).first,
            let kibibytes = Int(digits)
        else { throw SupportError("process \(process.id) has no RssAnon") }
        return kibibytes * 1_024
    }

    /// Open descriptors. Only a difference means something: what another thread of this process had
    /// open without O_CLOEXEC at the start is among them.
    package func descriptorCount() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process.id)/fd").count
    }
}

extension HTTPAnswer {
    /// The body as text.
    package var text: String { String(decoding: body, as: UTF8.self) }
}
