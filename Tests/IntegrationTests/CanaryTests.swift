import Client
import ServerSupport
import Testing
import WebSocket
import Wire

/// What must never be seen outside (P18): a marked token, secret and message, everywhere they can
/// be put in, and then nowhere in what the server says.
struct CanaryTests {
    private static let canary = "CANARY-4f1b"

    @Test(
        "P18 Tokens, secrets and contents are in no log line of any level, and in no metric"
    )
    func nothingGetsOut() throws {
        let extraSecret = "\(Self.canary) a second secret of 32 bytes and more"
        let server = try TestServer(
            TestServer.Options(
                limits: ["authTimeout=300"],
                arguments: ["--log-level", "trace", "--jwt-secret", extraSecret]))
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let tokens = try (1...3).map { try server.token(user: "alice", device: "d\($0)") }

        for (token, place) in zip(tokens, [PlainClient.TokenPlace.subprotocol, .header, .query]) {
            let client = try TestClient(server, token: token, tokenPlace: place)
            try client.ready()
            try client.send("\(Self.canary) content", to: chat, id: "\(Self.canary)-id")
            // Refusals of everything: another body under the id, too long, no chat, no request.
            _ = try client.request {
                Frames.send(
                    "\(Self.canary) other", to: chat, clientMessageID: "\(Self.canary)-id", id: $0)
            }
            _ = try client.request {
                Frames.send(
                    String(repeating: Self.canary, count: 30_000), to: chat, clientMessageID: nil,
                    id: $0)
            }
            _ = try client.request {
                Frames.send(
                    "\(Self.canary)", to: "\(Self.canary)-chat", clientMessageID: nil, id: $0)
            }
            try client.plain.send(#"{"type":"\#(Self.canary)","payload":{}}"#)
            try client.plain.send(#"{"\#(Self.canary)"#)
            _ = try client.error()
            _ = try client.error()
            try client.plain.sendFrame([0xFF] + Array(Self.canary.utf8))
            _ = try client.close()
        }
        // Tokens that are refused, in each place.
        let bad = "\(Self.canary).\(Self.canary).\(Self.canary)"
        for place in [PlainClient.TokenPlace.subprotocol, .query] {
            _ = try TestClient(server, token: bad, tokenPlace: place).close()
        }
        let answer = try HTTPExchange.request(
            "GET", server.url.at("/\(Self.canary)?token=\(tokens[0])&\(Self.canary)"), token: bad)
        #expect(answer.status == 404)
        let refused = try HTTPExchange.request(
            "POST", server.url.at("/api/v1/chats"), token: tokens[0],
            json: Array(#"{"type":"\#(Self.canary)","members":["\#(Self.canary)"]}"#.utf8))
        #expect(refused.status == 400)
        #expect(!refused.text.contains(Self.canary), "an error never quotes")
        let raw = try RawSocket(port: server.port)
        raw.send("\(Self.canary)\r\n\r\n")
        _ = raw.drain(timeoutMs: 15_000)

        let metrics = try server.get("/metrics").text + server.get("/health").text
        #expect(try server.stop() == .code(0))
        try server.start()
        try server.kill()
        let said = server.said
        #expect(said.contains("listening on"), "it is this server's output that is searched")
        for (name, text) in [("output", said), ("metrics", metrics)] {
            #expect(!text.contains(Self.canary), "\(name)")
            #expect(!text.contains(TestServer.secretText), "\(name)")
            for token in tokens {
                for part in token.split(separator: ".").dropFirst() {
                    #expect(!text.contains(part), "\(name)")
                }
            }
        }
    }
}
