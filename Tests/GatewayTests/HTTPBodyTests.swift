import Basics
import Gateway
import TestSupport
import Testing

/// A body is waited for where it may be used; otherwise the head is answered, and the connection
/// ends, because the body may still follow.
@Suite("HTTP: bodies that are waited for, and those that are refused at the head")
struct HTTPBodyTests {
    private let body = #"{"type":"group","userIds":["bob"]}"#
    private let health = TestSocket.request("GET", "/health/live")

    private func head(_ line: String, _ fields: [String] = []) -> [UInt8] {
        Array(
            ("\(line) HTTP/1.1\r\nHost: t\r\nContent-Length: \(body.utf8.count)\r\n"
                + fields.map { $0 + "\r\n" }.joined() + "\r\n").utf8)
    }

    private func bearer(_ token: String) -> String { "Authorization: Bearer \(token)" }

    private func node() -> TestNode {
        let node = TestNode()
        node.group("c1", ["alice"])
        return node
    }

    @Test(
        "A POST to the chats with a good token waits for its body",
        arguments: [
            ("POST /api/v1/chats", 201), ("POST /api/v1/chats/", 201),
            ("POST /api/v1/chats/c1/members", 200),
            // What the path or the user may not, is known with the body only.
            ("POST /api/v1/chats/c9/members", 404), ("POST /api/v1/chats/c1/messages", 405),
            ("POST /api/v1/chats/c1/nothing", 404),
        ])
    func waited(line: String, status: Int) {
        let node = node()
        let socket = node.connect()
        socket.send(head(line, [bearer(node.token("alice"))]))
        socket.send(Array(body.utf8.dropLast()))
        #expect(!socket.hasUnread && !socket.isHalfClosed)
        socket.send(Array(body.utf8.suffix(1)) + health)
        #expect(socket.response().status == status)
        #expect(socket.response().status == 200, "the connection is kept")
    }

    @Test(
        "Nobody's token, another path, another method: the head is answered and the connection ends",
        arguments: [
            ("POST /api/v1/chats", nil, 401), ("POST /api/v1/chats/c1/members", nil, 401),
            ("POST /api/v1/chats", "Bearer nonsense", 401),
            ("POST /api/v1/chats", "Basic YTpi", 401),
            ("POST /", "good", 404), ("POST /api", "good", 404), ("POST /api/v1", "good", 404),
            ("POST /api/v1/chat", "good", 404), ("POST /api/v2/chats", "good", 404),
            ("POST /nowhere/api/v1/chats", "good", 404), ("POST /health/live", "good", 405),
            ("POST /metrics", "good", 405), ("POST /ws", "good", 400),
            ("POST /api/v1/chats/%zz", "good", 400),
            ("PUT /api/v1/chats", "good", 405), ("PATCH /api/v1/chats/c1/members", "good", 405),
            ("GET /api/v1/chats", "good", 200), ("GET /health/live", nil, 200),
            ("DELETE /api/v1/chats/c1/members/alice", "good", 200),
            ("OPTIONS /api/v1/chats", nil, 204),
        ] as [(String, String?, Int)])
    func refusedAtTheHead(line: String, credentials: String?, status: Int) {
        let node = node()
        let socket = node.connect()
        let fields = credentials.map { value in
            [value == "good" ? bearer(node.token("alice")) : "Authorization: \(value)"]
        }
        socket.send(head(line, fields ?? []))
        let answer = socket.response()
        #expect(answer.status == status)
        #expect(answer.field("Connection") == "close" && socket.isHalfClosed)
        socket.send(body)
        socket.send(health)
        #expect(!socket.hasUnread, "what follows is the body, or nobody's")
    }

    @Test("An expired token does not make the server wait for a body")
    func expired() {
        let node = node()
        let socket = node.connect()
        socket.send(head("POST /api/v1/chats", [bearer(node.expiredToken("alice"))]))
        let answer = socket.response()
        #expect(answer.status == 401 && answer.json.error.code == "TOKEN_EXPIRED")
        #expect(answer.field("Connection") == "close" && socket.isHalfClosed)
    }

    @Test("A token that ends while the body arrives is refused with the body, once")
    func expiresMeanwhile() {
        let node = node()
        let socket = node.connect()
        // Ten seconds of the leeway are left.
        let token = node.token("alice", seconds: 1, issued: -51)
        socket.send(head("POST /api/v1/chats", [bearer(token)]))
        #expect(!socket.hasUnread)
        node.advance(11_000)
        socket.send(Array(body.utf8) + health)
        #expect(socket.response().json.error.code == "TOKEN_EXPIRED")
        #expect(socket.response().status == 200)
        #expect(node.counter(.authenticationsFailed) == 1)
    }

    @Test(
        "A body that is refused and has come whole costs nothing, so the connection is kept",
        arguments: [0, 1, 33, 34])
    func wholeBody(count: Int) {
        let socket = node().connect()
        socket.send(head("POST /nowhere") + Array(body.utf8.prefix(count)))
        let isWhole = count == body.utf8.count
        let answer = socket.response()
        #expect(answer.status == 404)
        #expect((answer.field("Connection") == nil) == isWhole)
        #expect(socket.isHalfClosed == !isWhole)
        socket.send(health)
        #expect(socket.response().status == (isWhole ? 200 : 0))
    }

    @Test("Behind a request that is refused at its head nothing is answered, in one piece neither")
    func pipelinedBehindARefused() {
        let node = node()
        // More is announced than comes: the requests behind are the body's first bytes.
        let refused = Array(
            "POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n".utf8)
        let create = TestSocket.request(
            "POST", "/api/v1/chats", token: node.token("alice"), body: #"{"type":"group"}"#)
        let socket = node.connect()
        socket.send(health + refused + create + health)
        #expect(socket.response().status == 200)
        #expect(socket.response().status == 404)
        #expect(!socket.hasUnread && socket.isHalfClosed)
        socket.send(create)
        #expect(!socket.hasUnread)
        #expect(node.store.state.chatIDs.count == 1, "only the one that was there")
    }

    @Test("Behind a request that is carried out at its head nothing is answered either")
    func pipelinedBehindAWaiting() {
        let node = node()
        let socket = node.connect()
        node.holdsAnswers = true
        let list =
            "GET /api/v1/chats HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n"
            + bearer(node.token("alice")) + "\r\n\r\n"
        socket.send(Array(list.utf8) + health)
        socket.send(health)
        #expect(!socket.hasUnread)
        node.holdsAnswers = false
        let answer = socket.response()
        #expect(answer.status == 200 && answer.field("Connection") == "close")
        #expect(!socket.hasUnread && socket.isHalfClosed)
    }

    @Test("The largest body that is refused is answered at its head, and thrown away as it comes")
    func thrownAway() {
        let node = node()
        let socket = node.connect()
        socket.send(
            "POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n")
        #expect(socket.response().status == 404)
        for _ in 0..<100 { socket.send([UInt8](repeating: 65, count: 10_000)) }
        #expect(!socket.isClosed && !socket.hasUnread)
        socket.end()
        #expect(socket.isClosed && node.shards[0].isEmpty)
    }
}
