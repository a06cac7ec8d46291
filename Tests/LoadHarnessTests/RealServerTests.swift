import Glibc
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
        _ scenario: String, _ server: TestServer, path: String = "", _ words: [String],
        under: [String] = [], once said: String = "",
        meanwhile: (ChildProcess) throws -> Void = { _ in }
    ) throws -> LoadRun {
        try LoadRun(
            scenario, url: "ws://127.0.0.1:\(server.port)\(path)",
            words + [
                "--server-pid", "\(server.process.id)", "--jwt-secret", TestServer.secretText,
            ],
            under: under, once: said, meanwhile: meanwhile)
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

    private static let interruptible = """
        layout = room
        connections = 20
        traffic = message
        rate = 400
        arrival = uniform
        warm-up = 0
        duration = 60s
        """

    private func expectInterrupted(_ run: LoadRun) {
        #expect(run.exit == .code(130), "\(run.output)\(run.errors)")
        #expect(run.result["early"].string == "interrupted")
        #expect(!run.result["passed"].bool)
        let seconds = run.result["seconds"].double ?? 0
        #expect(seconds > 0.5 && seconds < 50)
        // What is counted is of these seconds.
        #expect(abs(Double(run.count("sent")) - 400 * seconds) < 60 + 40 * seconds)
        #expect(run.count("delivered") > 100)
        #expect(run.count("oracle", "lost") == 0)
        #expect(run.result["oracle"]["incomplete"] == .null)
        #expect(run.output.hasSuffix("INTERRUPTED\n"))
    }

    @Test("Interrupted, it tells and writes what it has measured", arguments: [SIGINT, SIGTERM])
    func interrupted(signal: Int32) throws {
        let server = try Self.server()
        // A room that is in two workers.
        let run = try run(
            Self.interruptible, server, path: "/bench", ["--workers", "2"],
            once: "delivered/s"
        ) { $0.signal(signal) }
        expectInterrupted(run)
    }

    @Test("The same where the whole process group is told, as by timeout(1)")
    func interruptedAsGroup() throws {
        let server = try Self.server()
        let run = try run(
            Self.interruptible, server, path: "/bench", ["--workers", "2"],
            under: ["/usr/bin/timeout", "--preserve-status", "6"])
        expectInterrupted(run)
    }

    @Test("Interrupted again it ends at once, without a result")
    func interruptedAgain() throws {
        let server = try Self.server()
        defer { server.process.signal(SIGCONT) }
        let run = try run(
            Self.interruptible, server, path: "/bench", ["cool-down=60s"],
            once: "delivered/s"
        ) { child in
            // What is under way is waited for in the cool-down.
            server.process.signal(SIGSTOP)
            usleep(200_000)
            child.signal(SIGINT)
            try eventually("it says so") { child.errors.contains("once more") }
            usleep(500_000)
            child.signal(SIGTERM)
        }
        #expect(run.exit == .code(130), "\(run.output)\(run.errors)")
        #expect(run.errors.contains("interrupted again"))
        #expect(run.result == .null)
    }

    @Test("Interrupted before anything was measured it ends, without a result")
    func interruptedBefore() throws {
        let server = try Self.server()
        let run = try run(
            "rooms-of-ten", server, path: "/bench",
            ["connections=20", "rate=20", "duration=60s", "warm-up=60s"], once: "20 open"
        ) { $0.signal(SIGINT) }
        #expect(run.exit == .code(130), "\(run.output)\(run.errors)")
        #expect(run.errors.contains("interrupted before anything was measured"))
        #expect(run.result == .null)
    }

    @Test("Where the server dies the run ends, and says nothing that it does not know")
    func serverDies() throws {
        let server = try Self.server()
        let run = try run(
            "echo", server, path: "/bench",
            ["connections=20", "duration=60s", "warm-up=0"], once: "delivered/s"
        ) { _ in server.process.signal(SIGKILL) }
        #expect(run.exit == .code(1), "\(run.output)\(run.errors)")
        #expect(run.result["early"].string == "noConnectionLeft")
        #expect((run.result["seconds"].double ?? 60) < 50)
        #expect(run.result["memory"] == .null)
        #expect(run.output.contains("no connection was left"))
    }

    @Test("Those that were cut off and cannot come back are not waited for")
    func nobodyComesBack() throws {
        let server = try Self.server()
        let run = try run(
            "echo", server, path: "/bench",
            [
                "connections=20", "rate=100", "duration=60s", "warm-up=0", "cool-down=60s",
                "reconnect-at=2s", "reconnect-jitter=3s",
            ], once: "1 s  20 connections"
        ) { _ in
            usleep(1_500_000)
            server.process.signal(SIGKILL)
        }
        #expect(run.exit == .code(1), "\(run.output)\(run.errors)")
        #expect(run.result["early"].string == "noConnectionLeft")
        #expect((run.result["seconds"].double ?? 60) < 50)
    }

    @Test("A server that dies before the window is not waited for, either")
    func serverDiesInWarmUp() throws {
        let server = try Self.server()
        let run = try run(
            "idle", server, path: "/bench",
            ["connections=20", "duration=1s", "warm-up=60s"], once: "20 open"
        ) { _ in server.process.signal(SIGKILL) }
        #expect(run.exit == .code(2), "\(run.output)\(run.errors)")
        #expect(run.errors.contains("no connection was left before the window began: "))
    }

    @Test("A scenario may come through a pipe")
    func pipe() throws {
        let server = try Self.server()
        let folder = try TemporaryFolder("load")
        try folder.write("layout = idle\nconnections = 3\nduration = 1s\nwarm-up = 0", to: "in")
        let command = "cat \(folder.file("in")) | \"$0\" run /dev/stdin --url \"$1\" --quiet"
        let run = try ChildProcess.run(
            "/bin/sh",
            ["-c", command, try LoadRun.binary(), "ws://127.0.0.1:\(server.port)/bench"])
        #expect(run.exit == .code(0), "\(run.output)\(run.errors)")
        #expect(run.output.contains("3 opened"))
    }

    @Test("Where the server has no such path it says which one to give")
    func noSuchPath() throws {
        let server = try Self.server()
        for (dialect, path) in [("raw", "/bench"), ("sio", "/bench/socket.io/"), ("v1", "")] {
            let wrong = dialect == "v1" ? "/bench" : ""
            let words = ["connections=2", "duration=1s", "warm-up=0"]
            let run = try self.run("idle", server, path: wrong, words + ["--dialect", dialect])
            #expect(run.exit == .code(2), "\(run.output)\(run.errors)")
            #expect(run.errors.contains("ws://HOST:PORT\(path)"), "\(run.errors)")
            let right = try self.run("idle", server, path: path, words + ["--dialect", dialect])
            #expect(right.exit == .code(0), "\(right.output)\(right.errors)")
        }
        let run = try run(
            "echo", server, path: "/bench/echo",
            ["connections=2", "duration=1s", "warm-up=0"])
        #expect(run.exit == .code(0), "as the server says it: \(run.output)\(run.errors)")
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
        for (words, complaint) in [
            (["4711"], "'4711' is no key=value"),
            (["rate=10", "in-flight=2"], "exclude each other"),
            (["--workers", "101"], "more than there are connections: 100"),
            (["--scenarios", "/nowhere"], "there are none in /nowhere"),
        ] {
            let wrong = try LoadRun("echo", url: "ws://127.0.0.1:1/", words)
            #expect(wrong.exit == .code(64))
            #expect(wrong.errors.contains(complaint), "\(wrong.errors)")
            #expect(wrong.errors.contains("Usage: martlet-load run"))
        }
        for (words, complaint) in [
            (["--html", "/nowhere/page.html"], "cannot write /nowhere/page.html: No such file"),
            (["--html", "/tmp"], "cannot write /tmp: Is a directory"),
            (["--html", ""], "cannot write : No such file"),
            (["--cores", "1000"], "--cores: core 1000 cannot be had"),
        ] {
            let wrong = try LoadRun("echo", url: "ws://127.0.0.1:1/", words)
            #expect(wrong.exit == .code(2))
            #expect(wrong.errors.contains(complaint), "\(wrong.errors)")
        }
    }
}
