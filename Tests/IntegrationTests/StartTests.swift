import Client
import Foundation
import ServerSupport
import Testing

/// The command line: what refuses to start and why (P17), and the small commands.
struct StartTests {
    private static let secret = ["--jwt-secret", TestServer.secretText]

    /// Runs the program, which must end by itself.
    private static func run(
        _ arguments: [String], environment: [String: String] = [:]
    ) throws -> (exit: ChildProcess.Exit, output: String, errors: String) {
        try ChildProcess.run(
            try MartletBinary.path(), arguments, environment: environment)
    }

    /// Runs `serve`, which must refuse with one line that says each of `words`.
    private static func expectRefusal(
        _ arguments: [String], environment: [String: String] = [:], saying words: [String],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let folder = try TemporaryFolder("refused")
        let place = ["--bind", "127.0.0.1", "--port", "0", "--data", folder.file("data")]
        let (exit, output, errors) = try run(
            ["serve"] + place + arguments, environment: environment)
        #expect(exit == .code(1), sourceLocation: sourceLocation)
        #expect(output.isEmpty, sourceLocation: sourceLocation)
        #expect(errors.hasPrefix("martlet: "), sourceLocation: sourceLocation)
        #expect(
            errors.split(separator: "\n").count == 1, "\(errors)", sourceLocation: sourceLocation)
        for word in words {
            #expect(errors.contains(word), "\(errors)", sourceLocation: sourceLocation)
        }
        #expect(!errors.contains(TestServer.secretText), sourceLocation: sourceLocation)
    }

    @Test("P17 Without a secret it does not start, and says how to make one")
    func noSecret() throws {
        try Self.expectRefusal([], saying: ["jwt-secret", "openssl rand -hex 32"])
    }

    @Test("P17 A secret of 31 bytes is refused without being repeated, one of 32 is taken")
    func shortSecret() throws {
        let short = String(repeating: "q", count: 31)
        try Self.expectRefusal(["--jwt-secret", short], saying: ["31 bytes", "at least 32"])
        try Self.expectRefusal(
            [], environment: ["MARTLET_JWT_SECRET": short], saying: ["31 bytes"])
        let (_, _, errors) = try Self.run(["serve", "--jwt-secret", short])
        #expect(!errors.contains(short))
        let (exit, _, _) = try Self.run(["config", "--jwt-secret", short + "q"])
        #expect(exit == .code(0))
    }

    @Test("P17 A port that is taken is named")
    func portTaken() throws {
        let server = try TestServer()
        try Self.expectRefusal(
            Self.secret + ["--port", "\(server.port)"],
            saying: ["\(server.port)", "taken", "--port"])
        #expect(try server.get("/health/ready").status == 200, "the first one serves on")
    }

    @Test("P17 A data folder that another instance uses is refused, and its process named")
    func dataInUse() throws {
        let server = try TestServer()
        try Self.expectRefusal(
            Self.secret + ["--data", server.data],
            saying: [server.data, "in use", "\(server.process.id)"])
        #expect(try server.get("/health/ready").status == 200)
        try server.kill()
        try server.start()
    }

    @Test("P17 A file in the place of the data folder, or of one above it, is refused")
    func dataIsNoFolder() throws {
        let folder = try TemporaryFolder("file")
        try folder.write("", to: "data")
        for path in [folder.file("data"), folder.file("data/below")] {
            try Self.expectRefusal(Self.secret + ["--data", path], saying: [path])
        }
    }

    @Test("P17 A damaged database is refused")
    func damagedDatabase() throws {
        let folder = try TemporaryFolder("damaged")
        try folder.write(String(repeating: "no database ", count: 1_000), to: "martlet.db")
        try Self.expectRefusal(
            Self.secret + ["--data", folder.path], saying: ["sqlite", "backup"])
    }

    @Test("P17 A flag that does not exist is named")
    func unknownFlag() throws {
        let (exit, _, errors) = try Self.run(["serve", "--frobnicate"] + Self.secret)
        #expect(exit == .code(64))
        #expect(errors.split(separator: "\n").first?.contains("--frobnicate") == true)
    }

    @Test("P17 A variable of ours that does not exist is named; others are none of our business")
    func unknownVariable() throws {
        try Self.expectRefusal(
            Self.secret, environment: ["MARTLET_FROBNICATE": "1"], saying: ["MARTLET_FROBNICATE"])
        let (exit, _, _) = try Self.run(["config"], environment: ["FROBNICATE": "1"])
        #expect(exit == .code(0))
    }

    @Test("P17 A key of the file that does not exist is refused with its line, as is no file")
    func unknownKey() throws {
        let folder = try TemporaryFolder("config")
        try folder.write("# a comment\nport = 0\nfrobnicate = 1\n", to: "martlet.conf")
        try Self.expectRefusal(
            Self.secret + ["--config", folder.file("martlet.conf")], saying: ["line 3"])
        try Self.expectRefusal(
            Self.secret + ["--config", folder.file("missing.conf")], saying: ["missing.conf"])
    }

    @Test(
        "P17 A limit that does not exist, or out of its range, is refused with the range",
        arguments: [
            ("frobnicate=1", ["frobnicate"]), ("frame=124", ["frame", "125...17000000"]),
            ("frame=17000001", ["frame", "125...17000000"]), ("frame=off", ["frame", "off"]),
            ("frame=many", ["frame", "many"]), ("frame", ["name=value"]),
        ])
    func badLimit(setting: String, words: [String]) throws {
        try Self.expectRefusal(Self.secret + ["--limit", setting], saying: words)
    }

    @Test(
        "P17 Other values out of their range are refused",
        arguments: [
            (["--port", "65536"], "65535"), (["--shards", "0"], "1...256"),
            (["--bind", "nowhere"], "bind"), (["--log-level", "loud"], "log-level"),
            (["--trusted-proxy", "10.0.0.0/33"], "trusted-proxy"),
        ])
    func badValues(arguments: [String], word: String) throws {
        try Self.expectRefusal(Self.secret + arguments, saying: [word])
    }

    // MARK: --dev

    @Test("--dev makes a secret that only its owner reads, and listens on 127.0.0.1 only")
    func development() throws {
        let folder = try TemporaryFolder("dev")
        let data = folder.file("data")
        let server = try ChildProcess(
            try MartletBinary.path(), ["serve", "--dev", "--port", "0", "--data", data],
            output: folder.file("server"))
        var port: UInt16?
        try eventually("it listens") {
            port = TestServer.port(in: server.output)
            return port != nil
        }
        let url = URLParts(host: "127.0.0.1", port: try #require(port))
        let attributes = try FileManager.default.attributesOfItem(atPath: data + "/dev-secret")
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        // The kernel's table is read in pieces: one that changes meanwhile may leave out a line.
        var addresses: Set<String> = []
        try eventually("the kernel's line of it") {
            addresses = try Self.listeningAddresses(port: url.port)
            return !addresses.isEmpty
        }
        #expect(addresses == ["0100007F"])

        let (exit, token, _) = try Self.run(["token", "--user", "alice", "--data", data])
        #expect(exit == .code(0))
        let api = ChatAPI(url: url, token: token.trimmingCharacters(in: .newlines))
        #expect(try api.openDirectChat(with: "bob").isNew)

        let secret = contents(of: data + "/dev-secret")
        #expect(secret.utf8.count == 64)
        #expect(!server.output.contains(secret))
        server.signal(SIGTERM)
        #expect(try server.wait(withinMs: 15_000) == .code(0))
        // Others may read it now: refused, not used.
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o644], ofItemAtPath: data + "/dev-secret")
        let again = try Self.run(["serve", "--dev", "--port", "0", "--data", data])
        #expect(again.exit == .code(1))
        #expect(again.errors.contains("chmod 600"))
    }

    /// The local addresses, as the kernel writes them, of sockets that listen on the port.
    private static func listeningAddresses(port: UInt16) throws -> Set<String> {
        var found: Set<String> = []
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in contents(of: table).split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ")
                let local = fields[1].split(separator: ":")
                // 0A is TCP_LISTEN.
                if fields[3] == "0A", UInt16(local[1], radix: 16) == port {
                    found.insert(String(local[0]))
                }
            }
        }
        return found
    }

    // MARK: Small commands

    @Test("`martlet token` mints what a server with that secret takes, and names what is missing")
    func token() throws {
        let server = try TestServer()
        let (exit, output, _) = try Self.run(
            ["token", "--user", "carol", "--device", "d1"] + Self.secret)
        #expect(exit == .code(0))
        let client = try TestClient(server, token: output.trimmingCharacters(in: .newlines))
        let ready = try client.ready()
        #expect(ready.user == "carol")
        #expect(ready.device == "d1")

        let folder = try TemporaryFolder("token")
        let refused = try Self.run(["token", "--user", "carol", "--data", folder.path])
        #expect(refused.exit == .code(1))
        #expect(refused.errors.contains("--jwt-secret"))
        let bad = try Self.run(["token", "--user", ""] + Self.secret)
        #expect(bad.exit == .code(1))
    }

    @Test("`martlet migrate` brings a folder up to date once, and keeps off one in use")
    func migrate() throws {
        let folder = try TemporaryFolder("migrate")
        let data = folder.file("data")
        let first = try Self.run(["migrate", "--data", data])
        #expect(first.exit == .code(0))
        #expect(first.output.contains("from version 0"))
        let second = try Self.run(["migrate", "--data", data])
        #expect(second.exit == .code(0))
        #expect(second.output.contains("up to date"))
        let server = try TestServer()
        let refused = try Self.run(["migrate", "--data", server.data])
        #expect(refused.exit == .code(1))
        #expect(refused.errors.contains("in use"))
    }

    @Test("`martlet config` prints what is in effect, by flag, variable and file, and no secret")
    func config() throws {
        let folder = try TemporaryFolder("config")
        let hidden = "an environment's secret, 32 bytes and more"
        try folder.write(
            "port = 4001\nshards = 3\nlimit = sends=7\ninstance = from-file\n", to: "martlet.conf")
        let (exit, output, errors) = try Self.run(
            ["config", "--config", folder.file("martlet.conf"), "--port", "4003"],
            environment: [
                "MARTLET_PORT": "4002", "MARTLET_SHARDS": "5", "MARTLET_JWT_SECRET": hidden,
            ])
        #expect(exit == .code(0))
        #expect(errors.isEmpty)
        let lines = output.split(separator: "\n")
        #expect(lines.contains("port = 4003"), "a flag comes first")
        #expect(lines.contains("shards = 5"), "then the environment")
        #expect(lines.contains("instance = from-file"), "then the file")
        #expect(lines.contains("limit = sends=7"))
        #expect(lines.contains("jwt-secret = ********"))
        #expect(!output.contains(hidden))
    }

    @Test("What `martlet config` prints is a configuration file that means the same")
    func configIsAFile() throws {
        let folder = try TemporaryFolder("config")
        let first = try Self.run(["config", "--limit", "sends=7", "--trusted-proxy", "10.0.0.0/8"])
        #expect(first.exit == .code(0))
        try folder.write(first.output, to: "martlet.conf")
        let second = try Self.run(["config", "--config", folder.file("martlet.conf")])
        #expect(second.errors.isEmpty)
        #expect(second.output == first.output)
    }
}
