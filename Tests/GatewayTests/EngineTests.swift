import Basics
import Domain
import Gateway
import Testing
import WebSocket

/// What the suite of `Tests/StockClients/conformance` cannot see from outside: bounds, drains, and
/// what becomes of a session's subscriptions.
@Suite("Engine.IO sessions: transports that come and go")
struct EngineTests {
    private func group(shards: Int = 1, limits: [String: String] = [:]) -> TestNode {
        let node = TestNode(shards: shards, limits: limits)
        node.group("c1", ["alice", "bob"])
        return node
    }

    private func send(_ count: Int, by socket: TestSocket, from first: Int = 1) {
        for index in first..<first + count {
            socket.ask("message.send", ["chatId": "c1", "encryptedContent": .string("m\(index)")])
        }
    }

    @Test("A poll brings 16 packets at most, in order, and loses none", arguments: [16, 17, 40])
    func packetsPerPoll(count: Int) {
        let node = group(limits: ["sends": "off", "sendBurst": "off"])
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob", isPolling: true)
        send(count, by: alice)
        var heard: [String] = []
        while heard.count < count {
            let packets = bob.poll()
            #expect(packets.count == min(16, count - heard.count))
            heard += packets
        }
        for (index, packet) in heard.enumerated() {
            #expect(packet.contains("\"encryptedContent\":\"m\(index + 1)\""))
        }
    }

    @Test(
        "What waits for polls goes along in the upgrade, and what follows comes on the WebSocket",
        arguments: [1, 3])
    func upgrade(shards: Int) {
        let node = group(shards: shards, limits: ["sends": "off", "sendBurst": "off"])
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob", isPolling: true)
        bob.shard = shards - 1
        send(20, by: alice)
        bob.upgrade()
        send(3, by: alice, from: 21)
        let events = bob.events()
        #expect(events.map(\.name) == Array(repeating: "message", count: 23))
        #expect(events.last?.payload.encryptedContent == "m23")
        #expect(bob.poll() == ["status 400"])
        // The connection without a socket is gone.
        #expect(node.shards.reduce(0) { $0 + $1.counters[.connectionsShed] } == 0)
        bob.socket?.send(TestSocket.close(1000))
        bob.socket?.end()
        alice.end()
        node.advance(200_000)
        let left = node.shards.count { !$0.isEmpty }
        #expect(left == 0)
    }

    @Test("A send whose answer comes after the upgrade is answered on the WebSocket")
    func answerAfterUpgrade() {
        let node = group()
        let bob = node.socketIO("bob", isPolling: true)
        node.holdsAnswers = true
        bob.send(#"421["message",{"chatId":"c1","encryptedContent":"x"}]"#)
        bob.upgrade()
        node.holdsAnswers = false
        let answers = bob.received()
        #expect(answers.count == 3)
        #expect(answers[0].hasPrefix(#"431[{"ok":true"#))
    }

    @Test(
        "A polling client that does not poll is dropped at its outbox's bound, like a slow reader")
    func slowPolling() {
        let node = group(limits: ["outbox": "65536", "sends": "off", "sendBurst": "off"])
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob", isPolling: true)
        let content = String(repeating: "x", count: 10_000)
        for _ in 0..<8 {
            alice.ask("message.send", ["chatId": "c1", "encryptedContent": .string(content)])
        }
        #expect(bob.poll() == ["status 400"])
        #expect(node.shards[0].counters[.slowConsumersClosed] == 1)
    }

    @Test("A poll that waits is no connection that was forgotten: it may wait as long as the pings")
    func longPoll() {
        let node = group()
        let bob = node.socketIO("bob", isPolling: true)
        let poll = bob.beginPoll()
        node.advance(24_900)
        #expect(!poll.isClosed && !poll.hasUnread)
        node.advance(200)
        #expect(EngineClient.packets(poll.response()) == ["2"])
        #expect(bob.post("3").text == "ok")
    }

    @Test("Without a pong the session ends, and with it what its user followed")
    func noPong() {
        let node = group()
        let bob = node.socketIO("bob", isPolling: true)
        node.advance(45_100)
        #expect(bob.poll() == ["status 400"])
        #expect(node.shards[0].counters[.subscriptions] == 0)
        #expect(node.shards[0].counters[.authenticatedConnections] == 0)
    }

    @Test("A session that joins no namespace in time ends", arguments: [true, false])
    func connectTimeout(isPolling: Bool) {
        let node = group()
        let client = EngineClient(node)
        if isPolling { client.openPolling() } else { client.openSocket() }
        node.advance(5_100)
        if isPolling {
            #expect(client.poll() == ["status 400"])
        } else {
            #expect(client.socket?.closeCode == 4001)
        }
    }

    @Test("A poll or a POST that is cut ends the session")
    func cut() {
        let node = group()
        let bob = node.socketIO("bob", isPolling: true)
        bob.beginPoll().end()
        #expect(bob.poll() == ["status 400"])
        let carol = node.socketIO("bob", isPolling: true)
        let post = node.connect()
        let whole = TestSocket.request("POST", carol.target("polling"), body: "3")
        post.send(Array(whole.dropLast()))
        post.end()
        #expect(carol.poll() == ["status 400"])
    }

    @Test(
        "A body that comes in pieces is waited for, on whatever shard it arrives",
        arguments: [1, 2])
    func pieces(shards: Int) {
        let node = group(shards: shards)
        let bob = node.socketIO("bob", isPolling: true)
        let post = node.connect(shard: shards - 1)
        let body = #"421["message",{"chatId":"c1","encryptedContent":"x"}]"#
        let whole = TestSocket.request("POST", bob.target("polling"), body: body)
        for byte in whole { post.send([byte]) }
        #expect(post.response().text == "ok")
        #expect(bob.poll()[0].hasPrefix("431["))
    }

    @Test("A kept connection goes from shard to shard with each session it asks for")
    func keptConnection() {
        let node = group(shards: 3)
        let clients = (0..<3).map { node.socketIO("bob", isPolling: true, shard: $0) }
        let socket = node.connect(shard: 1)
        for client in clients + clients {
            let answer = socket.request("POST", client.target("polling"), body: "3")
            #expect(answer.text == "ok")
        }
        #expect(node.handovers >= 4)
        // Pipelined: two requests of which the second concerns another shard.
        socket.send(
            TestSocket.request("POST", clients[0].target("polling"), body: "3")
                + TestSocket.request("POST", clients[1].target("polling"), body: "3"))
        #expect(socket.response().text == "ok")
        #expect(socket.response().text == "ok")
    }

    @Test("A drain tells polls to come back elsewhere, and takes no new session")
    func drain() {
        let node = group()
        let bob = node.socketIO("bob", isPolling: true)
        let alice = node.socketIO("alice")
        let poll = bob.beginPoll()
        let kept = node.connect()
        node.give(.mail(.drain), to: 0)
        let answer = poll.response()
        #expect(answer.status == 503)
        #expect(answer.field("Retry-After") == "1")
        #expect(alice.socket?.closeCode == 4200)
        kept.send(TestSocket.request("GET", "/socket.io/?EIO=4&transport=polling"))
        #expect([0, 503].contains(kept.response().status))
    }

    @Test("CORS: an allowed origin may read every answer, with credentials too; another is refused")
    func origins() {
        let node = TestNode(origins: ["https://app.example"])
        let path = "/socket.io/?EIO=4&transport=polling"
        let good = node.connect().request("GET", path, fields: ["Origin: https://app.example"])
        #expect(good.status == 200)
        #expect(good.field("Access-Control-Allow-Origin") == "https://app.example")
        #expect(good.field("Access-Control-Allow-Credentials") == "true")
        let bad = node.connect().request("GET", path, fields: ["Origin: https://evil.example"])
        #expect(bad.status == 403)
        #expect(bad.field("Access-Control-Allow-Origin") == nil)
        let own = node.connect().request("GET", path, fields: ["Origin: http://test"])
        #expect(own.status == 200, "the server itself, as the Python client says")
        let refused = node.connect().request(
            "GET", "/socket.io/?EIO=3&transport=polling", fields: ["Origin: https://app.example"])
        #expect(refused.status == 400)
        #expect(refused.field("Access-Control-Allow-Origin") == "https://app.example")
    }

    @Test("Ids that are none, of another instance, or of no shard are unknown")
    func unknownIDs() {
        let node = group(shards: 2)
        for sid in ["x", "AAAAAAAAAAAAAAAAAAAAAAAA", "________________________", "%00", "a&sid=b"] {
            let answer = node.connect().request(
                "GET", "/socket.io/?EIO=4&transport=polling&sid=\(sid)")
            #expect(answer.text == #"{"code":1,"message":"Session ID unknown"}"#, "\(sid)")
        }
    }
}
