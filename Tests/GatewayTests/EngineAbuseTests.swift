import Basics
import BusCore
import Domain
import Gateway
import Testing
import WebSocket

/// What a hostile reader of the code tried, each of it once with success.
@Suite("Engine.IO sessions under clients that do not play along")
struct EngineAbuseTests {
    private func group(limits: [String: String] = [:], members: [String] = ["alice", "bob"])
        -> TestNode
    {
        let node = TestNode(limits: limits)
        node.group("c1", members)
        return node
    }

    @Test("A goodbye that is pipelined behind a poll ends the session after the poll's answer")
    func pipelinedGoodbye() {
        let node = group()
        let client = EngineClient(node)
        client.openPolling()
        let poll = node.connect()
        poll.send(
            TestSocket.request("GET", client.target("polling"))
                + TestSocket.request("POST", client.target("polling"), body: "1"))
        #expect(client.post("40").text == "ok")
        #expect(EngineClient.packets(poll.response())[0].hasPrefix("44{"))
        #expect(poll.response().text == "ok")
        #expect(client.poll() == ["6"], "the goodbye's")
        #expect(client.poll() == ["status 400"])
        #expect(node.shards[0].counters[.connectionsAccepted] > 0)
    }

    @Test("An upgrade over a poll with a goodbye behind it leaves no session that nobody can end")
    func pipelinedUpgrade() {
        let node = group()
        let client = node.socketIO("bob", isPolling: true)
        let probe = client.openSocket()
        probe.sendText("2probe")
        #expect(probe.takeTexts() == ["3probe"])
        let poll = node.connect()
        poll.send(
            TestSocket.request("GET", client.target("polling"))
                + TestSocket.request("POST", client.target("polling"), body: "1"))
        probe.sendText("5")
        #expect(poll.response().status == 400)
        #expect(poll.response().status == 400, "a POST to a session that has moved")
        probe.sendText("2")
        #expect(probe.closeCode == 1002, "it can be ended like any other")
        probe.end()
        node.advance(200_000)
        let left = node.shards.count { !$0.isEmpty }
        #expect(left == 0)
    }

    @Test("A body that was announced and refused leaves nothing on its connection")
    func refusedBody() {
        let node = group()
        let client = node.socketIO("bob", isPolling: true)
        let socket = node.connect()
        let target = client.target("polling").replacing("polling", with: "foo")
        let request = TestSocket.request("POST", target, body: "3")
        socket.send(Array(request.dropLast()))
        socket.send([request[request.count - 1]])
        #expect(socket.response().status == 400)
        // The same connection becomes a plain one, whose token runs out like any other's.
        socket.upgrade(fields: [
            "Authorization: Bearer \(node.token("alice", seconds: 30))",
            "Sec-WebSocket-Protocol: martlet.v1",
        ])
        node.advance(31_000)
        #expect(socket.closeCode == 4002)
        #expect(client.post("3").text == "ok", "and the session is none the worse")
    }

    @Test("A session that everybody has left has as long as one that nobody joined")
    func emptySession() {
        let node = group()
        let client = node.socketIO("bob", isPolling: true)
        client.send("41")
        node.advance(4_900)
        #expect(client.post("3").text == "ok")
        node.advance(200)
        #expect(client.poll() == ["status 400"])
    }

    @Test("Joining again and again ends the session", arguments: [20, 21])
    func joins(count: Int) {
        let node = group()
        let client = EngineClient(node)
        client.openSocket()
        for _ in 0..<count { client.send(#"40{"token":"x.y.z"}"#) }
        #expect(client.socket?.closeCode == (count > 20 ? 4102 : nil))
    }

    @Test("A pong says nothing of a chat that was left, nor of the one that took its place")
    func leftMeanwhile() {
        let node = group(members: ["alice", "bob"])
        node.group("c2", ["carol", "bob"])
        for _ in 0..<9 { node.append("c2", by: "carol", "old") }
        let bob = node.socketIO("bob", namespace: "/messages,")
        bob.send(#"42/messages,1["join_conversation",{"conversationId":"c1"}]"#)
        _ = bob.received()
        let alice = node.client("alice")
        for _ in 0..<3 { alice.ask("message.send", ["chatId": "c1", "encryptedContent": "x"]) }
        node.advance(800)
        #expect(bob.received().last == "2")
        bob.send(#"42/messages,2["leave_conversation",{"conversationId":"c1"}]"#)
        alice.end()
        bob.send(#"42/messages,3["join_conversation",{"conversationId":"c2"}]"#)
        let carol = node.member("carol", of: "c2")
        bob.send("3")
        node.advance(1_000)
        #expect(carol.events("receipt") == [])
    }

    @Test("In a large group nobody acknowledges unasked")
    func largeGroup() {
        let users = (0..<4).map { "u\($0)" }
        let node = group(limits: ["typingMembers": "3"], members: users)
        let alice = node.member("u0", of: "c1")
        let bob = node.socketIO("u1")
        alice.ask("message.send", ["chatId": "c1", "encryptedContent": "x"])
        node.advance(800)
        #expect(bob.received().last == "2")
        bob.send("3")
        node.advance(1_000)
        #expect(alice.events("receipt") == [])
    }

    @Test("What a client between two polls was told last it hears with the next one")
    func lastWords() {
        let node = TestNode(isShared: true)
        let alice = node.socketIO("alice", isPolling: true)
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        #expect(alice.poll() == ["41"])
        #expect(alice.poll() == ["status 400"])
        let late = node.socketIO("alice", isPolling: true)
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        node.advance(5_100)
        #expect(late.poll() == ["status 400"])
    }

    @Test("Last words come behind as many packets as one poll takes", arguments: [14, 15, 16, 40])
    func lastOfMany(count: Int) {
        let node = TestNode(limits: ["sends": "off", "sendBurst": "off"], isShared: true)
        node.group("c1", ["alice", "bob"])
        let alice = node.socketIO("alice", isPolling: true)
        let bob = node.member("bob", of: "c1")
        for _ in 0..<count { bob.ask("message.send", ["chatId": "c1", "encryptedContent": "x"]) }
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        let packets = alice.poll()
        #expect(packets.count == min(16, count + 1))
        #expect(packets.last == "41")
    }

    @Test(
        "A poll that is asked again under its name lost its answer: the session ends unacknowledged"
    )
    func lostAnswer() {
        let node = group()
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob", isPolling: true)
        func poll(_ name: String) -> [String] {
            let target = bob.target("polling") + "&t=" + name
            return EngineClient.packets(node.connect().request("GET", target))
        }
        alice.ask("message.send", ["chatId": "c1", "encryptedContent": "1"])
        #expect(poll("a").count == 1)
        alice.ask("message.send", ["chatId": "c1", "encryptedContent": "2"])
        #expect(poll("b").count == 1, "another name is another poll")
        #expect(poll("b") == ["status 400"])
        node.advance(2_000)
        #expect(alice.events("receipt") == [])
        #expect(bob.poll() == ["status 400"])
    }

    @Test("A POST that is sent again under its name is taken in once")
    func lostOK() {
        let node = group()
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob", isPolling: true)
        let packet = #"42["message",{"chatId":"c1","encryptedContent":"x"}]"#
        for name in ["a", "a", "b"] {
            let target = bob.target("polling") + "&t=" + name
            #expect(node.connect().request("POST", target, body: packet).text == "ok")
        }
        #expect(alice.contents() == ["x", "x"])
    }

    @Test("Behind a poll that waits little is kept")
    func behindPoll() {
        let node = group()
        let client = node.socketIO("bob", isPolling: true)
        let poll = client.beginPoll()
        poll.send([UInt8](repeating: 65, count: node.limits.requestHeadBytes))
        #expect(!poll.isClosed)
        poll.send([65])
        #expect(poll.isClosed)
    }

    @Test("Who has joined nothing has the room of an unknown peer", arguments: [16_384, 16_385])
    func unknownRoom(count: Int) {
        let node = group()
        let socket = EngineClient(node)
        socket.openSocket()
        socket.send("4" + String(repeating: "0", count: count - 1))
        #expect(socket.socket?.closeCode == (count > 16_384 ? 1009 : 1002))
        let polling = EngineClient(node)
        polling.openPolling()
        let answer = polling.post("3" + String(repeating: "x", count: count - 1))
        #expect(answer.status == (count > 16_384 ? 413 : 200))
        #expect(polling.post("3").status == 200, "the session goes on")
        let probing = node.socketIO("bob", isPolling: true).openSocket()
        probing.sendText(String(repeating: "x", count: count))
        #expect(probing.closeCode == (count > 16_384 ? 1009 : 1002))
    }

    @Test(
        "A body over the bound is 413 whatever the other bounds are, and the session goes on",
        arguments: [20_000, 20_001])
    func oversize(count: Int) {
        for limits in [["frame": "20000"], ["requestBody": "20000"]] {
            let node = group(limits: limits)
            let client = node.socketIO("bob", isPolling: true)
            #expect(client.open.maxPayload == 20_000)
            let answer = client.post("3" + String(repeating: "x", count: count - 1))
            #expect(answer.status == (count > 20_000 ? 413 : 200))
            #expect(client.post("3").status == 200)
        }
    }

    @Test("Parts of an event that do not come are waited for as long as any message")
    func partsDoNotCome() {
        let node = group()
        let client = node.socketIO("bob")
        client.send(#"451-["message",{"a":{"_placeholder":true,"num":0}}]"#)
        for _ in 0..<2 {
            node.advance(14_900)
            client.send("3")
        }
        #expect(client.socket?.closeCode == nil)
        node.advance(300)
        #expect(client.socket?.closeCode == 1008)
    }

    @Test("A session's second connection is not charged to its address again")
    func connectsOnce() {
        let node = group(limits: ["connects": "1"])
        for _ in 0..<5 {
            let client = EngineClient(node)
            client.openPolling()
            #expect(!client.sid.isEmpty)
            #expect(client.openSocket().closeCode == nil)
        }
        let sixth = EngineClient(node)
        #expect(sixth.openPolling().status == 429)
    }

    @Test("A connection that moves between shards is counted once")
    func countedOnce() {
        let node = TestNode(shards: 2)
        let client = EngineClient(node)
        client.openPolling()
        client.shard = 1
        for _ in 0..<5 { client.post("3") }
        node.advance(200_000)
        let accepted = node.shards.reduce(0) { $0 + $1.counters[.connectionsAccepted] }
        let closed = node.shards.reduce(0) { $0 + $1.counters[.connectionsClosed] }
        #expect(accepted == 6)
        #expect(closed == 6)
        #expect(node.handovers == 5)
    }

    @Test(
        "A target that has no path of a session's is answered, and nothing more",
        arguments: [
            "?EIO=4&transport=polling", "*", "http://test", "http://test?EIO=4", "/", "//",
            "socket.io/",
        ])
    func targetWithoutPath(_ target: String) {
        let node = group()
        for method in ["GET", "POST", "OPTIONS"] {
            let client = node.connect()
            client.send(TestSocket.request(method, target, body: method == "POST" ? "40" : nil))
            let status = client.response().status
            let isPreflight = method == "OPTIONS" && status == 204
            #expect(isPreflight || (400..<500).contains(status), "\(method) \(target)")
        }
        let next = EngineClient(node)
        #expect(next.openPolling().status == 200)
    }

    @Test("Both marks of one receipt are told where they stand at different messages")
    func twoMarks() {
        let node = group()
        for text in ["1", "2", "3"] { node.append("c1", by: "alice", text) }
        let alice = node.socketIO("alice")
        let bob = node.member("bob", of: "c1")
        bob.say("read.set", ["chatId": "c1", "seq": 1])
        bob.say("delivery.ack", ["chatId": "c1", "seq": 3])
        node.advance(300)
        let told = alice.events()
        #expect(told.map(\.name).sorted() == ["delivered", "read"])
        let ids = told.sorted { $0.name < $1.name }.map(\.payload.messageId)
        #expect(ids == ["other-77-3", "other-77-1"])
    }

    @Test("A replay that waited for a poll goes on after the upgrade")
    func replayAcrossUpgrade() {
        let node = group(limits: ["outbox": "65536"])
        let content = String(repeating: "x", count: 2_000)
        for _ in 0..<60 { node.append("c1", by: "alice", content) }
        let bob = node.socketIO("bob", namespace: "/messages,", isPolling: true)
        bob.send(#"42/messages,1["join_conversation",{"conversationId":"c1","since":0}]"#)
        var packets = bob.poll()
        packets += bob.poll()
        bob.upgrade()
        packets += bob.received()
        let entries = packets.count { $0.contains("new_message") }
        #expect(packets.contains { $0.contains("caughtUp") })
        #expect(entries >= 44)
    }
}
