import Client
import ServerSupport
import Testing

/// A process that may open no more descriptors, by prlimit(1) on the live server.
struct DescriptorTests {
    @Test("Out of descriptors, new connections wait, those inside go on, and it recovers")
    func outOfDescriptors() throws {
        let server = try TestServer()
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let alice = try TestClient(server, user: "alice")
        let bob = try TestClient(server, user: "bob")
        try alice.join(chat)
        try bob.join(chat)

        let spare = 3
        // Of the connections for HTTP nothing is left.
        try eventually("only the two are inside") {
            try Metrics(server)["websocket_active_connections"] == 2
        }
        try Self.limit(server, to: try server.descriptorCount() + spare)
        // The kernel takes the connections in; the server cannot.
        let waiting = try (0..<12).map { _ in
            let socket = try RawSocket(port: server.port)
            socket.send("GET /health/live HTTP/1.1\r\nHost: martlet\r\n\r\n")
            return socket
        }
        try eventually("it says that it cannot accept") {
            server.process.errors.contains("cannot accept")
        }
        for number in 1...20 {
            try alice.send("\(number)", to: chat)
            #expect(try bob.message().content == "\(number)")
        }
        let answered = waiting.count { $0.receive(timeoutMs: 0) != .timedOut }
        #expect(answered <= spare + 2, "the others wait")
        #expect(answered < waiting.count)
        #expect(server.process.exit == nil)

        try Self.limit(server, to: 10_000)
        // Every one that waited is answered now. One that was is still open: nothing more comes.
        var late = 0
        for socket in waiting {
            if case .bytes(let answer) = socket.receive(timeoutMs: 500) {
                #expect(String(decoding: answer, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
                late += 1
            }
        }
        #expect(late == waiting.count - answered)
        try TestClient(server, user: "carol").plain.close()
        let lines = server.process.errors.split(separator: "\n")
        #expect(lines.count { $0.contains("cannot accept") } < 200, "it rests between attempts")
    }

    /// The soft limit only.
    private static func limit(_ server: TestServer, to count: Int) throws {
        let (exit, _, errors) = try ChildProcess.run(
            "prlimit", ["--pid", "\(server.process.id)", "--nofile=\(count):"])
        #expect(exit == .code(0), "\(errors)")
    }
}
