import Basics
import BusCore
import Domain
import Gateway
import Testing
import WebSocket
import Wire

@Suite("The ws dialect: all chats, unasked")
struct LegacyTests {
    private func live(_ node: TestNode, _ content: String, in name: String) {
        let entry = node.append(name, by: "bob", content)
        node.arrive(.entry(entry), on: .chat(ChatID(trusted: name)))
    }

    @Test(
        "A ws client hears all its chats without joining, and nothing is replayed",
        arguments: [1, 3])
    func followsAll(shards: Int) {
        let node = TestNode(shards: shards)
        for index in 1...5 { node.group("c\(index)", ["bob", "alice"]) }
        node.group("other", ["bob"])
        node.append("c1", by: "bob", "old")
        let alice = node.client("alice", dialect: .ws, shard: shards - 1)
        for index in 1...5 { live(node, "m\(index)", in: "c\(index)") }
        live(node, "not yours", in: "other")
        #expect(alice.contents() == (1...5).map { "m\($0)" })
    }

    @Test("It hears its own messages too; its v1 sibling on the sending side does not")
    func echo() {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        let alice = node.client("alice", dialect: .ws)
        let bob = node.client("bob", dialect: .ws)
        alice.say("SEND_MESSAGE", ["roomId": "c1", "content": "x"], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ACK", "MESSAGE"])
        #expect(bob.contents() == ["x"])
    }

    @Test("A dialect for each connection: both hear the same in their own names")
    func mixed() {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        let ws = node.client("alice", dialect: .ws)
        let v1 = node.member("alice", of: "c1")
        live(node, "x", in: "c1")
        let both = [ws.events(), v1.events()]
        #expect(both.map { $0.map(\.type) } == [["MESSAGE"], ["message.new"]])
        #expect(both[0][0].payload == both[1][0].payload)
    }

    @Test(
        "It is brought into a new chat, and hears it from the first message on", arguments: [1, 2])
    func newChat(shards: Int) {
        let node = TestNode(shards: shards)
        let alice = node.client("alice", dialect: .ws, shard: shards - 1)
        let carol = node.client("carol", dialect: .ws)
        let answer = node.connect().request(
            "POST", "/api/v1/chats", token: node.token("bob"),
            body: #"{"type":"group","members":["alice"]}"#)
        let id = answer.json.data.id.stringValue ?? ""
        live(node, "first", in: id)
        #expect(alice.contents() == ["first"])
        #expect(carol.events().isEmpty)
    }

    @Test("A message sent right behind the creation is not missed")
    func newChatAtOnce() {
        let node = TestNode()
        let alice = node.client("alice", dialect: .ws)
        let bob = node.client("bob")
        let http = node.connect()
        // The catch-up of the new chat is still on its way when the message is committed.
        http.send(
            TestSocket.request(
                "POST", "/api/v1/chats", token: node.token("svc", role: "service"),
                body: #"{"type":"group","id":"n1","members":["alice","bob"]}"#))
        bob.say("message.send", ["chatId": "n1", "content": "first"])
        #expect(alice.contents() == ["first"])
    }

    @Test(
        "It is brought into a chat by being added: the entry that says so comes first",
        arguments: [
            1, 2,
        ])
    func added(shards: Int) {
        let node = TestNode(shards: shards)
        node.group("c1", ["bob"])
        node.append("c1", by: "bob", "before")
        let alice = node.client("alice", dialect: .ws, shard: shards - 1)
        let answer = node.connect().request(
            "POST", "/api/v1/chats/c1/members", token: node.token("bob"),
            body: #"{"userIds":["alice"]}"#)
        #expect(answer.status == 200)
        live(node, "after", in: "c1")
        let events = alice.events()
        #expect(events.map(\.type) == ["CHAT_CHANGED", "MESSAGE"])
        #expect(events[0].payload.kind == "memberAdded" && events[0].payload.seq == 2)
        #expect(events[1].payload.seq == 3)
    }

    @Test("Removed and added again, it follows again")
    func addedAgain() {
        let node = TestNode()
        node.group("c1", ["bob", "alice"])
        let alice = node.client("alice", dialect: .ws)
        let http = node.connect()
        let token = node.token("bob")
        _ = http.request("DELETE", "/api/v1/chats/c1/members/alice", token: token)
        live(node, "away", in: "c1")
        _ = http.request(
            "POST", "/api/v1/chats/c1/members", token: token, body: #"{"userIds":["alice"]}"#)
        live(node, "back", in: "c1")
        let events = alice.events()
        #expect(events.map(\.type) == ["CHAT_CHANGED", "CHAT_CHANGED", "MESSAGE"])
        #expect(events.map(\.payload.seq) == [1, 3, 4])
    }

    @Test("A resume right behind the greeting: its replay comes before what is live")
    func resumeFirst() {
        let node = TestNode()
        node.group("c1", ["bob", "alice"])
        for number in 1...3 { node.append("c1", by: "bob", "m\(number)") }
        let socket = node.connect()
        node.holdsAnswers = true
        socket.upgrade(fields: ["Authorization: Bearer \(node.token("alice"))"])
        socket.say("RESUME", ["chats": ["c1": 1]], id: 1)
        live(node, "m4", in: "c1")
        node.holdsAnswers = false
        live(node, "m5", in: "c1")
        let events = socket.events()
        let seqs = events.filter { $0.type == "MESSAGE" }.compactMap(\.payload.seq.intValue)
        #expect(seqs == [2, 3, 4, 5])
        #expect(events.filter { $0.type == "CAUGHT_UP" }.count == 1)
    }

    @Test("Where the store cannot say which chats there are, the connection is closed with 4202")
    func listFails() {
        let node = TestNode()
        node.fate = { _ in .fails }
        let socket = node.connect()
        socket.upgrade(fields: ["Authorization: Bearer \(node.token("alice"))"])
        #expect(socket.types() == [], "it is not ready before it follows them")
        #expect(socket.closeCode == 4202)
    }

    @Test("After the last ws connection of a user nothing of them is followed")
    func end() {
        let node = TestNode()
        node.group("c1", ["alice"])
        let first = node.client("alice", dialect: .ws)
        let second = node.client("alice", dialect: .ws)
        #expect(node.counter(.subscriptions) == 4)
        first.end()
        second.send(TestSocket.close(1000))
        #expect(node.counter(.subscriptions) == 0)
    }

    @Test("A reader closed within its catch-up follows nothing, and nobody inherits its chats")
    func closedInCatchUp() {
        let node = TestNode(limits: ["outbox": "20000"])
        let c1 = ChatID(trusted: "c1")
        node.group("c1", ["alice", "bob"])
        node.group("c2", ["carol", "dave"])
        node.holdsAnswers = true
        let bob = node.connect()
        bob.upgrade(fields: ["Authorization: Bearer \(node.token("bob"))"])
        // The list of chats is given out and the head of c1; who may see c1 waits.
        node.releaseOne()
        node.releaseOne()
        bob.limit(to: 0)
        bob.send(TestSocket.frame(.ping, [1]))
        for number in 0..<30 {
            let text = String(repeating: "x", count: 1_000) + "\(number)"
            node.arrive(.entry(node.append("c1", by: "alice", text)), on: .chat(c1))
        }
        node.holdsAnswers = false
        node.advance(0)
        bob.limit(to: nil)
        #expect(bob.closeCode == 4101)
        #expect(node.counter(.subscriptions) == 0)
        let carol = node.member("carol", of: "c2")
        node.arrive(.entry(node.append("c1", by: "alice", "not hers")), on: .chat(c1))
        #expect(carol.contents().isEmpty)
        #expect(node.counter(.subscriptions) == 1)
    }
}
