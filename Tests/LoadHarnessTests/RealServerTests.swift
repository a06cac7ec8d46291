import LoadCore
import ServerSupport
import Testing

/// Short loads on the real server: `swift build --product martlet --product martlet-load` first.
struct RealServerTests {
    private static func server() throws -> TestServer {
        try TestServer(
            TestServer.Options(
                limits: ["sendBurst=off", "typing=off", "cursors=off", "cursorBurst=off"],
                arguments: ["--bench"]))
    }

    private func run(
        _ scenario: String, _ server: TestServer, path: String = "", _ words: [String]
    ) throws -> LoadRun {
        try LoadRun(
            scenario, url: "ws://127.0.0.1:\(server.port)\(path)",
            words + ["--server-pid", "\(server.process.id)", "--jwt-secret", TestServer.secretText])
    }

    /// A busy machine makes the harness late and the server slow, which is not what is tested here.
    private static let calm = ["threshold.late=1", "threshold.delivery-p99=60s"]

    @Test("Raw echo: everything comes back, and the server's CPU and memory are known")
    func echo() throws {
        let server = try Self.server()
        let run = try run(
            "echo", server, path: "/bench", ["connections=20", "duration=1s", "warm-up=200ms"])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(run.count("connections", "opened") == 20)
        #expect(run.count("delivered") > 100)
        #expect((run.result["cpu"]["server"].double ?? 0) > 0)
        #expect(run.result["memory"]["after"].count > 0)
    }

    @Test("Rooms of ten: nine others get each message, durable and in order", arguments: [1, 2])
    func rooms(workers: Int) throws {
        let server = try Self.server()
        let run = try run(
            "rooms-of-ten", server,
            Self.calm + [
                "connections=40", "rate=60", "duration=2s", "warm-up=200ms", "--dialect", "v1",
                "--workers", "\(workers)",
            ])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(run.count("sent") > 60)
        #expect(run.count("acked") == run.count("sent"))
        #expect(run.count("latencyUs", "delivery", "count") == 9 * run.count("sent"))
    }

    @Test("In dialect ws the sender hears itself as well")
    func plain() throws {
        let server = try Self.server()
        let run = try run(
            "rooms-of-ten", server,
            Self.calm + [
                "connections=20", "rate=40", "duration=1s", "warm-up=200ms", "--dialect", "plain",
            ])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(run.count("latencyUs", "delivery", "count") == 10 * run.count("sent"))
    }

    @Test("All lose their connections while they talk, and nothing is lost or comes twice")
    func reconnect() throws {
        let server = try Self.server()
        let run = try run(
            "reconnect-storm", server,
            Self.calm + [
                "connections=40", "chats-per-user=2", "rate=80", "duration=4s", "warm-up=200ms",
                "reconnect-at=1s", "cool-down=20s", "threshold.recovered-within=60s", "--dialect",
                "v1",
            ])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(run.count("connections", "dropped") == 40)
        #expect(run.count("connections", "recovered") == 40)
        #expect(run.count("oracle", "checked") > 9 * 100)
    }

    @Test("Typing and cursors besides messages")
    func mixedDay() throws {
        let server = try Self.server()
        let run = try run(
            "mixed-day", server,
            Self.calm + [
                "connections=40", "rate=30", "duration=2s", "warm-up=200ms", "--dialect", "v1",
                "threshold.ack-p99=60s",
            ])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(run.count("typingDelivered") > 0)
    }

    @Test("Where the server's limits refuse connections, it says what to do about it")
    func limits() throws {
        var options = TestServer.Options(arguments: ["--bench"])
        options.limits = []
        let server = try TestServer(options)
        let run = try run(
            "echo", server, path: "/bench",
            ["connections=200", "duration=500ms", "warm-up=0", "--sources", "1"])
        #expect(run.exit == .code(1))
        #expect(run.count("connections", "failed") > 20)
        #expect(run.output.contains("--limit connects=off"))
    }

    @Test("A run that cannot work ends with 2 and says why; a word that is wrong with 64")
    func failures() throws {
        let nowhere = try LoadRun(
            "echo", url: "ws://127.0.0.1:1/", ["connections=3", "--quiet"])
        #expect(nowhere.exit == .code(2))
        #expect(nowhere.errors.contains("no connection could be opened"))
        let misspelt = try LoadRun("echo", url: "ws://127.0.0.1:1/", ["conections=3"])
        #expect(misspelt.exit == .code(64))
        #expect(misspelt.errors.contains("there is no key 'conections'"))
        let unknown = try LoadRun("echoes", url: "ws://127.0.0.1:1/")
        #expect(unknown.exit == .code(64))
    }
}
