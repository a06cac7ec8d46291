import Basics
import Gateway
import Testing
import WebSocket

@Suite("The step from HTTP to WebSocket")
struct UpgradeTests {
    @Test("An upgrade is answered with 101 and the accept key of RFC 6455 §1.3")
    func accept() {
        let node = TestNode()
        let socket = node.connect()
        let answer = socket.upgrade()
        #expect(answer.status == 101)
        #expect(answer.field("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(answer.field("Upgrade") == "websocket")
        #expect(answer.field("Connection") == "Upgrade")
        #expect(answer.field("Sec-WebSocket-Protocol") == nil)
        #expect(answer.field("Sec-WebSocket-Extensions") == nil)
        #expect(node.counter(.activeConnections) == 1)
    }

    @Test(
        "An upgrade that does not ask for one is 426 with what to ask for",
        arguments: [
            TestSocket.upgrade(upgrade: nil), TestSocket.upgrade(upgrade: "h2c"),
            TestSocket.upgrade(version: "8"), TestSocket.upgrade(version: nil),
            TestSocket.upgrade(version: "013"),
        ])
    func upgradeRequired(request: [UInt8]) {
        let socket = TestNode().connect()
        socket.send(request)
        let answer = socket.response()
        #expect(answer.status == 426)
        #expect(answer.field("Sec-WebSocket-Version") == "13")
        #expect(answer.field("Upgrade") == "websocket")
        // RFC 9110 §7.8: whoever sends Upgrade lists it in Connection.
        #expect(answer.field("Connection") == "Upgrade")
        #expect(!socket.isHalfClosed, "plain HTTP goes on")
        #expect(socket.request("GET", "/health/live").status == 200)
    }

    @Test(
        "An upgrade that is malformed is 400",
        arguments: [
            TestSocket.upgrade(connection: nil), TestSocket.upgrade(connection: "keep-alive"),
            TestSocket.upgrade(key: nil), TestSocket.upgrade(key: "short"),
            TestSocket.upgrade(key: "dGhlIHNhbXBsZSBub25jZQ"),
            TestSocket.upgrade(fields: ["Sec-WebSocket-Key: \(TestSocket.key)"]),
            TestSocket.upgrade(fields: ["Sec-WebSocket-Version: 13"]),
            TestSocket.upgrade(method: "POST"), TestSocket.upgrade(http: "HTTP/1.0"),
        ])
    func malformed(request: [UInt8]) {
        let node = TestNode()
        let socket = node.connect()
        socket.send(request)
        #expect(socket.response().status == 400)
        #expect(node.counter(.activeConnections) == 0)
    }

    @Test("Both plain paths lead to the same place", arguments: ["/ws", "/ws/", "/ws/messages"])
    func paths(path: String) {
        let socket = TestNode().connect()
        #expect(socket.upgrade(path).status == 101)
    }

    @Test("A page of another origin opens no socket; one of the list, or none, does")
    func origin() {
        let node = TestNode(origins: ["https://a.example"])
        #expect(node.connect().upgrade(fields: ["Origin: https://evil.example"]).status == 403)
        #expect(node.connect().upgrade(fields: ["Origin: https://a.example"]).status == 101)
        #expect(node.connect().upgrade().status == 101)
    }

    @Test("Upgrades are limited by address, with a burst of five seconds' worth")
    func connectsLimit() {
        let node = TestNode(limits: ["connects": "2"])
        for _ in 0..<10 { #expect(node.connect().upgrade().status == 101) }
        let refused = node.connect()
        let answer = refused.upgrade()
        #expect(answer.status == 429)
        #expect(answer.json.error.code == "RATE_LIMITED")
        #expect(answer.field("Retry-After") == "1")
        #expect(node.connect(address: "203.0.113.2").upgrade().status == 101)
        node.advance(answer.json.error.retryAfterMs.intValue ?? 0)
        #expect(refused.upgrade().status == 101)
        #expect(node.connect().upgrade().status == 429)
    }

    @Test("With the limit off an address may connect as often as it likes")
    func connectsOff() {
        let node = TestNode(limits: ["connects": "off"])
        for _ in 0..<200 { #expect(node.connect().upgrade().status == 101) }
    }

    @Test("The subprotocol martlet.v1 is chosen where it is offered, and chooses the dialect")
    func subprotocol() {
        let node = TestNode()
        let token = node.token("alice")
        let v1 = node.connect()
        let answer = v1.upgrade(fields: ["Sec-WebSocket-Protocol: chat, martlet.v1,bearer.\(token)"]
        )
        #expect(answer.field("Sec-WebSocket-Protocol") == "martlet.v1")
        #expect(v1.types() == ["session.ready"])
        let repeated = node.connect()
        _ = repeated.upgrade(
            fields: ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: martlet.v1"])
        repeated.say("session.auth", ["token": .string(token)])
        #expect(repeated.types() == ["session.ready"])
        let ws = node.connect()
        #expect(ws.upgrade(fields: ["Authorization: Bearer \(token)"]).status == 101)
        #expect(ws.types() == ["READY"])
    }

    @Test("Frames that come in the same piece as the request are read")
    func framesBehindUpgrade() {
        let node = TestNode()
        let socket = node.connect()
        socket.send(
            TestSocket.upgrade(fields: ["Sec-WebSocket-Protocol: martlet.v1"])
                + TestSocket.say("session.auth", ["token": .string(node.token("alice"))])
                + TestSocket.frame(.ping, [1, 2]))
        #expect(socket.switched().status == 101)
        #expect(socket.types() == ["session.ready"])
        #expect(socket.pongs == [[1, 2]])
    }

    @Test("The upgrade may come in pieces, behind other requests")
    func upgradeInPieces() {
        let node = TestNode()
        let socket = node.connect()
        #expect(socket.request("GET", "/health/live").status == 200)
        let bytes =
            TestSocket.upgrade(fields: ["Authorization: Bearer \(node.token("alice"))"])
            + TestSocket.frame(.ping, [7])
        for byte in bytes { socket.send([byte]) }
        #expect(socket.switched().status == 101)
        #expect(socket.types() == ["READY"])
        #expect(socket.pongs == [[7]])
    }

    @Test("An open socket is not subject to the deadlines of HTTP")
    func noHTTPDeadline() {
        let node = TestNode(limits: ["keepAliveTimeout": "1000", "requestHeadTimeout": "1000"])
        let socket = node.connect()
        _ = socket.upgrade(fields: ["Authorization: Bearer \(node.token("alice"))"])
        node.advance(20_000)
        #expect(!socket.isClosed && socket.closeCode == nil)
    }

    @Test("A node that drains upgrades nobody: 503, to be tried again")
    func draining() {
        let node = TestNode()
        let socket = node.connect()
        node.holdsAnswers = true
        socket.send(TestSocket.request("GET", "/api/v1/chats", token: node.token("alice")))
        socket.send(TestSocket.upgrade())
        node.give(.mail(.drain), to: 0)
        node.holdsAnswers = false
        #expect(socket.response().status == 200)
        // The answer ends the connection; what was pipelined is not begun.
        #expect(socket.isHalfClosed)
        #expect(node.counter(.activeConnections) == 0)
    }

    @Test("Without bench the bench paths do not exist; with it they need no token")
    func bench() {
        #expect(TestNode().connect().upgrade("/bench/room/r").status == 404)
        let node = TestNode(isBench: true)
        let echo = node.connect()
        #expect(echo.upgrade("/bench/echo").status == 101)
        echo.sendText("hello")
        #expect(echo.takeTexts() == ["hello"])
        #expect(node.connect().upgrade("/bench/room/").status == 404)
    }
}
