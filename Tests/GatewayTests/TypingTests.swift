import Basics
import BusCore
import Domain
import Gateway
import Testing

@Suite("Typing")
struct TypingTests {
    private func members(_ limits: [String: String] = [:], shards: Int = 1) -> (
        TestNode, alice: TestSocket, bob: TestSocket
    ) {
        var limits = limits
        limits["typing"] = limits["typing"] ?? "1000"
        let node = TestNode(shards: shards, limits: limits)
        node.group("c1", ["alice", "bob", "carol"])
        return (
            node, node.member("alice", of: "c1"), node.member("bob", of: "c1", shard: shards - 1)
        )
    }

    private func type(_ socket: TestSocket, _ isTyping: Bool, in chat: String = "c1") {
        socket.say("typing", ["chatId": .string(chat), "isTyping": .bool(isTyping)])
    }

    private func heard(_ socket: TestSocket) -> [Bool] {
        socket.events("typing").map { $0.isTyping == true }
    }

    @Test("The others are told who types where; whoever types is not", arguments: [1, 2])
    func told(shards: Int) {
        let (node, alice, bob) = members(shards: shards)
        let laptop = node.member("alice", of: "c1", device: "laptop")
        alice.say("typing", ["chatId": "c1", "isTyping": true], id: 1)
        #expect(alice.events().map(\.type) == ["ack"])
        let events = bob.events()
        #expect(events.map(\.type) == ["typing"])
        #expect(events[0].payload == ["chatId": "c1", "userId": "alice", "isTyping": true])
        #expect(laptop.types() == ["typing"])
    }

    @Test("At most one forward in 2 s, however often the client says so")
    func pace() {
        let (node, alice, bob) = members()
        type(alice, true)
        #expect(heard(bob) == [true])
        node.advance(1_999)
        type(alice, true)
        #expect(heard(bob).isEmpty)
        node.advance(1)
        type(alice, true)
        #expect(heard(bob) == [true])
    }

    @Test("It ends 6 s after the last time it was said")
    func expiry() {
        let (node, alice, bob) = members()
        type(alice, true)
        node.advance(1_000)
        type(alice, true)
        _ = bob.events()
        node.advance(5_980)
        #expect(heard(bob).isEmpty)
        node.advance(40)
        #expect(heard(bob) == [false])
        node.advance(10_000)
        #expect(heard(bob).isEmpty)
    }

    @Test("False ends it at once, and is told once")
    func ended() {
        let (_, alice, bob) = members()
        type(alice, true)
        type(alice, false)
        type(alice, false)
        #expect(heard(bob) == [true, false])
    }

    @Test("False alone is nobody's business")
    func falseAlone() {
        let (_, alice, bob) = members()
        type(alice, false)
        #expect(heard(bob).isEmpty)
    }

    @Test("A message ends it, before it arrives")
    func endedBySend() {
        let (_, alice, bob) = members()
        type(alice, true)
        _ = bob.events()
        alice.say("message.send", ["chatId": "c1", "content": "x"])
        let events = bob.events()
        #expect(events.map(\.type) == ["typing", "message.new"])
        #expect(events[0].payload.isTyping == false)
    }

    @Test("A message to another chat does not")
    func notEndedByOther() {
        let (node, alice, bob) = members()
        node.group("c2", ["alice"])
        type(alice, true)
        _ = bob.events()
        alice.say("message.send", ["chatId": "c2", "content": "x"])
        #expect(heard(bob).isEmpty)
    }

    @Test("Leaving the chat ends it")
    func endedByLeave() {
        let (_, alice, bob) = members()
        type(alice, true)
        alice.say("chat.leave", ["chatId": "c1"])
        #expect(heard(bob) == [true, false])
    }

    @Test("The end of the connection ends it, clean or not")
    func endedByDisconnect() {
        let (node, alice, bob) = members()
        type(alice, true)
        alice.end()
        #expect(heard(bob) == [true, false])
        let again = node.member("alice", of: "c1")
        type(again, true)
        again.send(TestSocket.close(1000))
        #expect(heard(bob) == [true, false])
    }

    @Test("A member who has not joined may type, an outsider may not")
    func members() {
        let (node, _, bob) = members()
        let carol = node.client("carol")
        type(carol, true)
        #expect(bob.events("typing").map(\.userId) == ["carol"])
        let eve = node.client("eve")
        #expect(
            eve.ask("typing", ["chatId": "c1", "isTyping": true]).error.code == "NOT_FOUND")
        #expect(bob.events().isEmpty)
    }

    @Test("A removed member types no more")
    func removed() {
        let (node, alice, bob) = members()
        let entries = node.change("c1", .removed, "bob", by: "alice")
        node.arrive(.entry(entries[0]), on: .chat(.init(trusted: "c1")))
        _ = alice.events()
        #expect(
            bob.ask("typing", ["chatId": "c1", "isTyping": true]).error.code == "NOT_FOUND")
        #expect(alice.events().isEmpty)
    }

    @Test(
        "Above the limit of members nobody is told, and nothing is refused",
        arguments: [
            (2, false), (3, true), (4, true),
        ])
    func largeGroup(limit: Int, isTold: Bool) {
        let (node, alice, bob) = members(["typingMembers": "\(limit)"])
        #expect(alice.ask("typing", ["chatId": "c1", "isTyping": true]).ok == true)
        #expect(heard(bob) == (isTold ? [true] : []))
        let carol = node.client("carol")
        #expect(carol.ask("typing", ["chatId": "c1", "isTyping": true]).ok == true)
        #expect(heard(bob) == (isTold ? [true] : []))
    }

    @Test("A group that grows above the limit falls silent")
    func growingGroup() {
        let (node, alice, bob) = members(["typingMembers": "3"])
        let entries = node.change("c1", .added, "dave", by: "alice")
        node.arrive(.entry(entries[0]), on: .chat(.init(trusted: "c1")))
        _ = bob.events()
        type(alice, true)
        #expect(heard(bob).isEmpty)
    }

    @Test("It is limited: five in 10 s, ends not counted")
    func rate() {
        let (node, alice, _) = members(["typing": "5"])
        for _ in 0..<5 {
            #expect(alice.ask("typing", ["chatId": "c1", "isTyping": true]).ok == true)
            #expect(alice.ask("typing", ["chatId": "c1", "isTyping": false]).ok == true)
        }
        let refused = alice.ask("typing", ["chatId": "c1", "isTyping": true])
        #expect(refused.error.code == "RATE_LIMITED")
        #expect(alice.ask("typing", ["chatId": "c1", "isTyping": false]).ok == true)
        node.advance(refused.error.retryAfterMs.intValue ?? 0)
        #expect(alice.ask("typing", ["chatId": "c1", "isTyping": true]).ok == true)
    }

    @Test("Typing of another instance is passed on")
    func fromElsewhere() {
        let (node, alice, bob) = members()
        let chat = ChatID(trusted: "c1")
        node.arrive(
            .typing(Typing(chat: chat, user: UserID(trusted: "zoe"), isTyping: true)),
            on: .chat(chat))
        #expect(alice.events("typing").map(\.userId) == ["zoe"])
        #expect(bob.events("typing").map(\.userId) == ["zoe"])
    }
}
