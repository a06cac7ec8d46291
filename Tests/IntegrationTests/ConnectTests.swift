import Client
import ServerSupport
import Testing

/// The terminal client through pipes: each line a message, each event a line.
struct ConnectTests {
    private static func connect(
        _ server: TestServer, as user: String, with peer: String, in folder: TemporaryFolder
    ) throws -> ChildProcess {
        try ChildProcess(
            try MartletBinary.path(),
            [
                "connect", "--as", user, "--with", peer, "--url", "ws://127.0.0.1:\(server.port)",
                "--token", try server.token(user: user, device: "terminal-\(user)"),
            ],
            output: folder.file(user), hasInput: true)
    }

    @Test("Two `martlet connect` talk through pipes, and end when all is acked")
    func talk() throws {
        let server = try TestServer()
        let folder = try TemporaryFolder("connect")
        let alice = try Self.connect(server, as: "alice", with: "bob", in: folder)
        let bob = try Self.connect(server, as: "bob", with: "alice", in: folder)
        try alice.write("hello bob\n")
        try eventually("bob hears alice; \(bob.output) \(bob.errors)") {
            bob.output.contains("alice: hello bob\n")
        }
        try bob.write("hello alice\n")
        try eventually("alice hears bob") { alice.output.contains("bob: hello alice\n") }
        try eventually("alice sees that it was read") {
            alice.output.contains("✓✓ read alice: hello bob\n")
        }
        try alice.write("a last line without its end")
        alice.closeInput()
        #expect(try alice.wait(withinMs: 20_000) == .code(0))
        try eventually("bob hears the last line") {
            bob.output.contains("alice: a last line without its end\n")
        }
        bob.closeInput()
        #expect(try bob.wait(withinMs: 20_000) == .code(0))
        #expect(alice.errors.isEmpty)
        #expect(bob.errors.isEmpty)
    }

    @Test("P4 A line that was typed while the server was killed is sent once it is back, and once")
    func throughARestart() throws {
        let server = try TestServer(Self.fixedPort())
        let folder = try TemporaryFolder("connect")
        let alice = try Self.connect(server, as: "alice", with: "bob", in: folder)
        try alice.write("before\n")
        try eventually("the first line is stored") { alice.output.contains("✓ alice: before\n") }
        try server.kill()
        try alice.write("meanwhile\n")
        try server.start()
        try eventually("the second line is stored", withinMs: 30_000) {
            alice.output.contains("✓ alice: meanwhile\n")
        }
        alice.closeInput()
        #expect(try alice.wait(withinMs: 20_000) == .code(0))
        let api = try server.api("bob")
        let chat = try api.openDirectChat(with: "alice").id
        let said = try api.history(of: chat).compactMap { entry in
            if case .message(let message) = entry { message.content } else { nil }
        }
        #expect(said == ["before", "meanwhile"])
    }

    private static func fixedPort() throws -> TestServer.Options {
        var options = TestServer.Options()
        options.port = try FreePort.find()
        return options
    }

    @Test("`martlet connect` says in one line why it cannot: no server, a wrong token, oneself")
    func refusals() throws {
        let binary = try MartletBinary.path()
        let port = try FreePort.find()
        let cases: [(arguments: [String], word: String)] = [
            (["--url", "ws://127.0.0.1:\(port)", "--token", "t"], "is the server running?"),
            (["--url", "wss://127.0.0.1:\(port)", "--token", "t"], "TLS"),
            (["--url", "nonsense", "--token", "t"], "ws://"),
        ]
        for (arguments, word) in cases {
            let (exit, _, errors) = try ChildProcess.run(
                binary, ["connect", "--as", "alice", "--with", "bob"] + arguments)
            #expect(exit == .code(1))
            #expect(errors.contains(word), "\(errors)")
            #expect(errors.split(separator: "\n").count == 1)
        }
        let server = try TestServer()
        let wrong = try ChildProcess.run(
            binary,
            [
                "connect", "--as", "alice", "--with", "bob", "--token", "wrong", "--url",
                "ws://127.0.0.1:\(server.port)",
            ])
        #expect(wrong.exit == .code(1))
        #expect(wrong.errors.contains("INVALID_TOKEN"))
        #expect(wrong.errors.contains("--token is not one of this server's"))
        let another = try ChildProcess.run(
            binary,
            [
                "connect", "--as", "alice", "--with", "bob", "--url",
                "ws://127.0.0.1:\(server.port)", "--token",
                try server.token(user: "bob", device: "terminal-bob"),
            ])
        #expect(another.exit == .code(1))
        #expect(another.errors.contains("whose is --token? it has to be alice's"))
        let oneself = try ChildProcess.run(
            binary, ["connect", "--as", "alice", "--with", "alice", "--token", "t"])
        #expect(oneself.exit == .code(1))
    }
}
