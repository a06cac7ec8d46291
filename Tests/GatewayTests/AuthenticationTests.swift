import Basics
import Gateway
import Testing
import WebSocket

@Suite("Who is there: tokens on a socket")
struct AuthenticationTests {
    private func open(_ node: TestNode, _ fields: [String] = []) -> TestSocket {
        let socket = node.connect()
        #expect(
            socket.upgrade(fields: ["Sec-WebSocket-Protocol: martlet.v1"] + fields).status == 101)
        return socket
    }

    // MARK: Ways in

    @Test("A token in the Authorization header is taken")
    func header() {
        let node = TestNode()
        let socket = open(node, ["Authorization: Bearer \(node.token("alice", device: "d1"))"])
        let ready = socket.events("session.ready")
        #expect(ready.count == 1)
        #expect(ready[0].userId == "alice" && ready[0].deviceId == "d1")
        #expect(ready[0].proto == 1 && ready[0].recovered == false)
        #expect(ready[0].serverTime == "2026-01-01T00:00:00.000Z")
        #expect(ready[0].sessionId.stringValue?.utf8.count == 36)
        #expect(ready[0].limits.ciphertextBytes == 256_000)
        #expect(node.counter(.authenticatedConnections) == 1)
    }

    @Test(
        "A bad token in the header is 401 before the upgrade",
        arguments: [
            ("Bearer nonsense", "INVALID_TOKEN"), ("Basic YTpi", "INVALID_TOKEN"),
        ])
    func badHeader(value: String, code: String) {
        let answer = TestNode().connect().upgrade(fields: ["Authorization: \(value)"])
        #expect(answer.status == 401)
        #expect(answer.json.error.code == .string(code))
    }

    @Test("An expired token in the header is 401 TOKEN_EXPIRED")
    func expiredHeader() {
        let node = TestNode()
        let answer = node.connect().upgrade(
            fields: ["Authorization: Bearer \(node.expiredToken("alice"))"])
        #expect(answer.status == 401)
        #expect(answer.json.error.code == "TOKEN_EXPIRED")
    }

    @Test("A token in the subprotocol is taken")
    func subprotocol() {
        let node = TestNode()
        let socket = open(node, ["Sec-WebSocket-Protocol: bearer.\(node.token("alice"))"])
        #expect(socket.types() == ["session.ready"])
    }

    @Test("A token in the query is taken, with a device beside it")
    func query() {
        let node = TestNode()
        let socket = node.connect()
        let path = "/ws?token=\(node.token("alice"))&deviceId=phone%201"
        #expect(socket.upgrade(path).status == 101)
        let ready = socket.events("READY")
        #expect(ready.first?.userId == "alice" && ready.first?.deviceId == "phone 1")
    }

    @Test("A token in the first frame is taken, and an id gets its ack first")
    func firstFrame() {
        let node = TestNode()
        let socket = open(node)
        socket.say(
            "session.auth", ["token": .string(node.token("alice")), "deviceId": "d7"], id: 4)
        let events = socket.events()
        #expect(events.map(\.type) == ["ack", "session.ready"])
        #expect(events[0].id == 4 && events[0].payload.ok == true)
        #expect(
            events[0].payload.exp == .number(Double(node.now.wall.milliseconds / 1_000 + 3_600)))
        #expect(events[1].payload.deviceId == "d7")
    }

    @Test("The token's device counts before the client's word; with neither one is made")
    func device() {
        let node = TestNode()
        let named = open(node)
        named.say(
            "AUTH", ["token": .string(node.token("alice", device: "mine")), "deviceId": "other"])
        #expect(named.events("session.ready").first?.deviceId == "mine")
        let first = open(node, ["Authorization: Bearer \(node.token("alice"))"])
        let second = open(node, ["Authorization: Bearer \(node.token("alice"))"])
        let made = [first, second].map { $0.events("session.ready").first?.deviceId.stringValue }
        #expect(made[0]?.utf8.count == 36 && made[0] != made[1])
    }

    // MARK: Refusals

    @Test("A bad token in the subprotocol or the query: 101, an error, close 4001")
    func badOtherWays() {
        let node = TestNode()
        let byProtocol = open(node, ["Sec-WebSocket-Protocol: bearer.nonsense"])
        let byQuery = node.connect()
        #expect(byQuery.upgrade("/ws?token=nonsense").status == 101)
        for (socket, type) in [(byProtocol, "error"), (byQuery, "ERROR")] {
            let events = socket.events()
            #expect(events.map(\.type) == [type])
            #expect(events.first?.payload.code == "INVALID_TOKEN")
            #expect(events.first?.payload.event == "session.auth")
            #expect(socket.closeCode == 4001)
        }
        #expect(node.counter(.activeConnections) == 0)
        #expect(node.counter(.authenticationsFailed) == 2)
    }

    @Test("An expired token: an error, close 4002")
    func expired() {
        let node = TestNode()
        let socket = open(node)
        socket.say("session.auth", ["token": .string(node.expiredToken("alice"))])
        #expect(socket.events("error").first?.code == "TOKEN_EXPIRED")
        #expect(socket.closeCode == 4002)
    }

    @Test("A bad token in a frame with an id is refused in its ack, then close 4001")
    func badFirstFrame() {
        let node = TestNode()
        let socket = open(node)
        socket.say("session.auth", ["token": "nonsense"], id: "x")
        let events = socket.events()
        #expect(events.map(\.type) == ["ack"])
        #expect(events[0].id == "x" && events[0].payload.ok == false)
        #expect(events[0].payload.error.code == "INVALID_TOKEN")
        #expect(socket.closeCode == 4001)
    }

    @Test(
        "Any other first frame is close 4001",
        arguments: [
            #"{"type":"chat.join","payload":{"chatId":"c1"}}"#, "no JSON", "{}", "[]",
            #"{"type":"session.auth","payload":{}}"#, #"{"type":"nothing","payload":{}}"#,
        ])
    func wrongFirstFrame(text: String) {
        let node = TestNode()
        let socket = open(node)
        socket.sendText(text)
        #expect(socket.closeCode == 4001)
        #expect(node.counter(.activeConnections) == 0)
    }

    @Test("No frame within the time is close 4001, not before")
    func authTimeout() {
        let node = TestNode()
        let socket = open(node)
        node.advance(4_980)
        #expect(socket.closeCode == nil)
        socket.send(TestSocket.frame(.ping, []))
        node.advance(40)
        #expect(socket.closeCode == 4001)
        let quick = open(node)
        node.advance(4_900)
        quick.say("session.auth", ["token": .string(node.token("alice"))])
        node.advance(1_000)
        #expect(quick.types() == ["session.ready"] && quick.closeCode == nil)
    }

    @Test("A user has at most as many sockets as the limit; closing one makes room")
    func socketsPerUser() {
        let node = TestNode(limits: ["socketsPerUser": "3"])
        let sockets = (0..<3).map { _ in node.client("alice") }
        let refused = open(node, ["Authorization: Bearer \(node.token("alice"))"])
        #expect(refused.events("error").first?.code == "RATE_LIMITED")
        #expect(refused.closeCode == 4004)
        #expect(sockets.allSatisfy { $0.closeCode == nil })
        _ = node.client("bob")
        sockets[1].end()
        _ = node.client("alice")
    }

    // MARK: A session's end

    @Test("A session is told a minute before its token expires, and closed with 4002 when it does")
    func expiry() {
        let node = TestNode()
        let socket = node.client("alice", seconds: 300)
        pass(node, socket, 239_900)
        #expect(socket.types().isEmpty)
        pass(node, socket, 200)
        let expiring = socket.events("session.expiring")
        #expect(expiring.count == 1)
        #expect((59_800...60_000).contains(expiring.first?.inMs.intValue ?? 0))
        pass(node, socket, 59_800)
        #expect(socket.types().isEmpty && socket.closeCode == nil)
        pass(node, socket, 200)
        #expect(socket.events("error").first?.code == "TOKEN_EXPIRED")
        #expect(socket.closeCode == 4002)
    }

    /// Time in which the client answers pings.
    private func pass(_ node: TestNode, _ socket: TestSocket, _ milliseconds: Int) {
        var left = milliseconds
        while left > 0 {
            let step = min(left, 20_000)
            node.advance(step)
            if socket.closeCode == nil { socket.send(TestSocket.frame(.pong, [])) }
            left -= step
        }
    }

    @Test("A token that has less than a minute is announced at once")
    func shortToken() {
        let node = TestNode()
        let socket = node.client("alice", seconds: 30)
        node.advance(20)
        let inMs = socket.events("session.expiring").first?.inMs.intValue ?? 0
        #expect((29_900...30_000).contains(inMs))
        node.advance(30_000)
        #expect(socket.closeCode == 4002)
    }

    @Test("A token taken within the leeway lives until the leeway's end")
    func leeway() {
        let node = TestNode()
        let socket = node.connect()
        let token = node.token("alice", seconds: 10, issued: -40)
        #expect(socket.upgrade(fields: ["Authorization: Bearer \(token)"]).status == 101)
        node.advance(29_900)
        #expect(socket.closeCode == nil)
        node.advance(200)
        #expect(socket.closeCode == 4002)
    }

    @Test("A renewal in band moves the end, and is acked with the new one")
    func renewal() {
        let node = TestNode()
        let socket = node.client("alice", seconds: 100)
        pass(node, socket, 41_000)
        #expect(socket.types() == ["session.expiring"])
        let ack = socket.ask("session.auth", ["token": .string(node.token("alice", seconds: 200))])
        #expect(ack.ok == true)
        #expect(ack.exp == .number(Double(node.now.wall.milliseconds / 1_000 + 200)))
        pass(node, socket, 139_000)
        #expect(socket.types().isEmpty && socket.closeCode == nil)
        pass(node, socket, 2_000)
        #expect(socket.types() == ["session.expiring"], "told again for the new end")
        pass(node, socket, 60_000)
        #expect(socket.closeCode == 4002)
    }

    @Test("A renewal without an id is silent")
    func silentRenewal() {
        let node = TestNode()
        let socket = node.client("alice")
        socket.say("AUTH", ["token": .string(node.token("alice"))])
        #expect(socket.types().isEmpty && socket.closeCode == nil)
    }

    @Test("Another user's token, however good, renews nothing: 4001")
    func otherUser() {
        let node = TestNode()
        let socket = node.client("alice")
        let ack = socket.ask("session.auth", ["token": .string(node.token("bob"))])
        #expect(ack.error.code == "INVALID_TOKEN")
        #expect(socket.closeCode == 4001)
        #expect(node.counter(.authenticatedConnections) == 0)
    }

    @Test("A renewal with a bad token is 4001, with an expired one 4002")
    func badRenewal() {
        let node = TestNode()
        let bad = node.client("alice")
        bad.say("session.auth", ["token": "nonsense"])
        #expect(bad.events("error").first?.code == "INVALID_TOKEN" && bad.closeCode == 4001)
        let expired = node.client("alice")
        expired.say("session.auth", ["token": .string(node.expiredToken("alice"))])
        #expect(expired.events("error").first?.code == "TOKEN_EXPIRED")
        #expect(expired.closeCode == 4002)
    }

    @Test("A jump of the wall clock ends no session and begins none anew (P20)")
    func wallClock() {
        let node = TestNode()
        let socket = node.client("alice", seconds: 300)
        node.jumpWall(86_400_000)
        node.advance(1_000)
        #expect(socket.closeCode == nil && socket.types().isEmpty)
        node.jumpWall(-2 * 86_400_000)
        pass(node, socket, 298_000)
        #expect(socket.closeCode == nil)
        pass(node, socket, 1_200)
        #expect(socket.closeCode == 4002)
    }
}
