import Basics
import Client
import ServerSupport
import Testing
import WebSocket
import Wire

/// Clients that do what no client should, beside a pair that must not notice (P12, P10).
struct HostileTests {
    private static let limits = ["requestHeadTimeout=2000", "messageTimeout=2000"]
    /// What a server may grow by, whatever is done to it here.
    private static let growth = 64_000_000

    @Test("P12 Hostile clients of eight kinds at once are each answered, and nobody else notices")
    func allAtOnce() throws {
        let server = try TestServer(TestServer.Options(limits: Self.limits))
        let descriptors = try server.descriptorCount()
        let before = try server.anonymousMemory()
        try HealthyPair.talk(
            server,
            during: [
                { try Self.garbage(server) }, { try Self.slowHeads(server) },
                { try Self.halfFrames(server) }, { try Self.badFrames(server) },
                { try Self.badText(server) }, { try Self.pipelined(server) },
                { try Self.resets(server) }, { try Self.badRequests(server) },
            ])
        #expect(try server.anonymousMemory() - before < Self.growth)
        #expect(try server.get("/health/ready").status == 200)
        try Self.becomesIdle(server, descriptors: descriptors)
        #expect(try server.stop() == .code(0))
    }

    /// All connections are closed, and the loops wait: a descriptor that was forgotten would keep
    /// epoll awake for ever.
    private static func becomesIdle(_ server: TestServer, descriptors: Int) throws {
        try eventually("all connections are closed") {
            try Metrics(server).openConnections == 1
        }
        try eventually("no descriptor is left") { try server.descriptorCount() <= descriptors }
        let before = try Metrics(server)["martlet_ticks_total"]
        _ = try RawSocket(port: server.port).receive(timeoutMs: 500)
        let after = try Metrics(server)["martlet_ticks_total"]
        #expect(after - before < 200, "ticks in half a second in which nobody does anything")
    }

    private static func expectClose(
        _ client: TestClient, _ code: CloseCode, _ what: String
    ) throws {
        let closed = try client.close()
        try check(closed == code, "\(what): closed with \(closed?.rawValue ?? 0)")
    }

    /// Bytes that are nothing: refused or left, but ended.
    private static func garbage(_ server: TestServer) throws {
        let sockets = try (0..<100).map { number in
            let socket = try RawSocket(port: server.port)
            let count = [1, 100, 5_000, 60_000][number % 4]
            socket.send((0..<count).map { _ in UInt8.random(in: .min ... .max) })
            return socket
        }
        for (number, socket) in sockets.enumerated() {
            try check(socket.drain(timeoutMs: 15_000) != nil, "garbage \(number) stays open")
        }
    }

    /// Heads that come a byte at a time: ended by the deadline for the whole head.
    private static func slowHeads(_ server: TestServer) throws {
        let sockets = try (0..<50).map { _ in try RawSocket(port: server.port) }
        let began = MonotonicClock.now()
        var open = sockets
        for byte in "GET /health HTTP/1.1\r\nHost: martlet\r\n".utf8
            + Array(repeating: 120, count: 200)
        {
            open = open.filter { socket in
                socket.send([byte]) && socket.receive(timeoutMs: 0) == .timedOut
            }
            if open.isEmpty { break }
            _ = open[0].receive(timeoutMs: 50)
        }
        let tookMs = MonotonicClock.now().milliseconds(since: began)
        try check(open.isEmpty, "\(open.count) heads have dripped in for \(tookMs) ms")
        try check(tookMs >= 1_500, "ended after \(tookMs) ms; the deadline is 2 s")
    }

    /// Messages that begin and do not go on.
    private static func halfFrames(_ server: TestServer) throws {
        let begun: [[UInt8]] = [
            [0x81], [0x81, 0xFE, 0x01], [0x81, 0x85, 1, 2, 3, 4, 5],
            // A fragment without its end, and a ping between.
            PlainClient.frame(.text, fin: false, Array("half".utf8)) + PlainClient.frame(.ping, []),
        ]
        let clients = try begun.map { bytes in
            let client = try TestClient(server, user: "half")
            try client.plain.sendFrame(bytes)
            return client
        }
        for client in clients { try expectClose(client, .policyViolation, "half a message") }
    }

    /// Frames that break RFC 6455, each with its close code.
    private static func badFrames(_ server: TestServer) throws {
        let cases: [(bytes: [UInt8], code: CloseCode)] = [
            // Announced lengths: over the limit, over all memory, negative as a signed number.
            ([0x81, 0xFF, 0, 0, 0, 0, 0, 0x0F, 0x42, 0x41, 0, 0, 0, 0], .messageTooBig),
            ([0x81, 0xFF, 0x7F] + Array(repeating: 0xFF, count: 11), .messageTooBig),
            ([0x81, 0xFF] + Array(repeating: 0xFF, count: 12), .protocolError),
            // Not masked; a reserved bit; a reserved opcode; a long ping; a ping in fragments.
            ([0x81, 0x01, 0x41], .protocolError),
            ([0xC1, 0x80, 0, 0, 0, 0], .protocolError),
            ([0x83, 0x80, 0, 0, 0, 0], .protocolError),
            ([0x89, 0xFE, 0, 126, 0, 0, 0, 0], .protocolError),
            ([0x09, 0x80, 0, 0, 0, 0], .protocolError),
            // A continuation of nothing; close codes that may not be sent.
            (PlainClient.frame(.continuation, Array("x".utf8)), .protocolError),
            (PlainClient.frame(.close, [0x03, 0xED]), .protocolError),
            (PlainClient.frame(.close, [0x03]), .protocolError),
            // Bytes where text is spoken.
            (PlainClient.frame(.binary, [1, 2, 3]), .unsupportedData),
        ]
        for (bytes, code) in cases {
            let client = try TestClient(server, user: "bad-frames")
            try client.plain.sendFrame(bytes)
            try expectClose(client, code, "\(bytes.prefix(14))")
            client.plain.close()
        }
    }

    /// Text that is no UTF-8, and UTF-8 that is no request.
    private static func badText(_ server: TestServer) throws {
        let invalid: [[UInt8]] = [
            [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82],
        ]
        for bytes in invalid {
            let client = try TestClient(server, user: "bad-text")
            try client.plain.send(.text, bytes)
            try expectClose(client, .invalidPayload, "\(bytes)")
        }
        let client = try TestClient(server, user: "bad-json")
        let texts = ["", "{", "[]", "nul", #"{"type":1}"#, String(repeating: "[", count: 10_000)]
        for text in texts {
            try client.plain.send(text)
            let code = try client.error().code
            try check(code == "INVALID_INPUT", "\(text.prefix(20)) is \(code)")
        }
        for _ in 1...20 where client.closed == nil {
            guard (try? client.plain.send("{")) != nil else { break }
        }
        try expectClose(client, .protocolMisuse, "ten of them in a minute")
    }

    /// Ten thousand bytes in one piece: requests, then frames. All are answered.
    private static func pipelined(_ server: TestServer) throws {
        let request = "GET /health/live HTTP/1.1\r\nHost: martlet\r\n\r\n"
        let count = 10_000 / request.utf8.count
        let socket = try RawSocket(port: server.port)
        socket.send(
            String(repeating: request, count: count)
                + "GET /health/live HTTP/1.1\r\nHost: martlet\r\nConnection: close\r\n\r\n")
        guard let answers = socket.drain(timeoutMs: 15_000) else {
            throw SupportError("pipelined requests are not answered")
        }
        let text = String(decoding: answers, as: UTF8.self)
        let answered = text.ranges(of: "HTTP/1.1 200").count
        try check(answered == count + 1, "\(answered) of \(count + 1) requests are answered")

        let client = try TestClient(server, user: "pipeline")
        let ping = PlainClient.frame(.ping, Array("ping".utf8))
        try client.plain.sendFrame(Array(repeatElement(ping, count: 1_000).joined()))
        for _ in 1...1_000 {
            let answer = try client.plain.receive(timeoutMs: 15_000)
            try check(answer == .pong(Array("ping".utf8)), "a ping is answered with \(answer)")
        }
    }

    /// Connections that end in the middle of everything.
    private static func resets(_ server: TestServer) throws {
        for round in 1...200 {
            switch round % 4 {
            case 0: try RawSocket(port: server.port).reset()
            case 1:
                let socket = try RawSocket(port: server.port)
                socket.send("POST /api/v1/chats HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
                socket.reset()
            case 2:
                let client = try TestClient(server, user: "reset")
                try client.plain.sendFrame([0x81, 0x85, 1])
                client.plain.abort(reset: true)
            default:
                // With a request whose answer finds nobody.
                let client = try TestClient(server, user: "reset")
                _ = try client.begin { Frames.join("nowhere", since: 0, id: $0) }
                client.plain.abort(reset: true)
            }
        }
    }

    /// Requests that break RFC 9112, each with its status.
    private static func badRequests(_ server: TestServer) throws {
        let host = "Host: martlet\r\n"
        let cases: [(head: String, status: Int)] = [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\(host)\r\n", 400),
            ("GET / HTTP/3.0\r\n\(host)\r\n", 505),
            (
                "POST / HTTP/1.1\r\n\(host)Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400
            ),
            ("POST / HTTP/1.1\r\n\(host)Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\(host)Content-Length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\(host)Content-Length: 99999999999999999999\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\n\(host)Content-Length: 1000001\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\n\(host)X: \(String(repeating: "x", count: 20_000))\r\n\r\n", 431),
            ("GET / HTTP/1.1\r\n\(host)\(String(repeating: "X: y\r\n", count: 100))\r\n", 431),
        ]
        for (head, status) in cases {
            let socket = try RawSocket(port: server.port)
            socket.send(head)
            let answer = socket.drain(timeoutMs: 15_000).map { String(decoding: $0, as: UTF8.self) }
            try check(
                answer?.hasPrefix("HTTP/1.1 \(status) ") == true,
                "\(head.prefix(60)) → \(answer?.prefix(40) ?? "not ended")")
        }
    }

    // MARK: Those who do not read

    @Test(
        "P10 Of 300 connections that never read all are closed, and the pair talks on"
    )
    func slowReaders() throws {
        let count = 300
        let server = try TestServer(
            TestServer.Options(limits: ["outbox=65536", "socketsPerUser=off"]))
        let descriptors = try server.descriptorCount()
        let chat = try server.api("sender").createChat(type: "group", members: ["sleeper"]).id
        let sleepers = try (0..<count).map { _ in
            try TestClient(server, user: "sleeper", receiveBufferBytes: 4_096)
        }
        for sleeper in sleepers { try sleeper.join(chat) }
        let before = try server.anonymousMemory()
        try HealthyPair.talk(
            server,
            during: [
                {
                    let sender = try TestClient(server, user: "sender")
                    let content = String(repeating: "x", count: 100_000)
                    let deadline = MonotonicClock.now().advanced(byMilliseconds: 60_000)
                    while try Self.slowConsumersClosed(server) < count {
                        guard MonotonicClock.now() < deadline else {
                            throw SupportError("after 60 s some are still open")
                        }
                        try sender.send(content, to: chat)
                    }
                }
            ])
        #expect(try server.anonymousMemory() - before < Self.growth)
        // Whoever reads on hears why, behind what already waited, or finds the connection cut.
        for sleeper in sleepers.prefix(5) {
            let code = try sleeper.close(withinMs: 60_000)
            #expect(code == .slowConsumer || code == nil)
        }
        for sleeper in sleepers { sleeper.plain.abort(reset: true) }
        try Self.becomesIdle(server, descriptors: descriptors)
    }

    private static func slowConsumersClosed(_ server: TestServer) throws -> Int {
        try Metrics(server)["martlet_slow_consumers_closed_total"]
    }
}
