import Basics
import BusCore
import Domain
import Gateway
import Testing
import Wire

@Suite("What backends say on public channels")
struct ForeignTests {
    private let chat = Channel.chat(ChatID(trusted: "c1"))
    private let user = Channel.user(UserID(trusted: "alice"))

    private func node(shards: Int = 2) -> TestNode {
        let node = TestNode(shards: shards, isShared: true)
        node.group("c1", ["alice", "bob"])
        return node
    }

    private func message(
        id: String = "x1", chat: String = #""chatId":"c1","#, fields: String = ""
    ) -> String {
        #"{"type":"new-message",\#(chat)"message":{"id":"\#(id)","senderId":"bob","encryptedContent":"hi"\#(fields)}}"#
    }

    @Test("A message reaches the followers in both dialects, without a seq, and is not stored")
    func foreignMessage() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let bob = node.client("bob", dialect: .ws, shard: 1)
        node.say(message(fields: #","seq":7,"type":"image","replyToId":"r""#), on: chat)
        let events = [alice.events(), bob.events()]
        #expect(events.map { $0.map(\.type) } == [["message.new"], ["MESSAGE"]])
        let payload = events[0][0].payload
        #expect(payload.id == "x1" && payload.chatId == "c1" && payload.senderId == "bob")
        #expect(payload.encryptedContent == "hi" && payload.type == "image")
        #expect(payload.seq == .missing && payload == events[1][0].payload)
        #expect(node.log("c1").isEmpty)
        #expect(node.counter(.foreignEvents) == 1)
    }

    @Test("A message that is in the log counts as the log's length: it comes once, with its seq")
    func loggedMessage() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let entry = node.append("c1", by: "bob", "from the row")
        node.say(message(id: entry.id.text), on: chat)
        #expect(alice.events().isEmpty)
        node.advance(220)
        let events = alice.events("message.new")
        #expect(events.map(\.seq) == [1] && events[0].encryptedContent == "from the row")
    }

    @Test("What the store cannot tell is passed on")
    func storeAway() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.fate = { _ in .fails }
        node.say(message(), on: chat)
        #expect(alice.contents() == ["hi"])
    }

    @Test("A user's channel reaches all their connections, and nobody else's")
    func userChannel() {
        let node = node()
        let first = node.client("alice")
        let second = node.client("alice", dialect: .ws, shard: 1)
        let bob = node.client("bob")
        node.say(#"{"type":"notification","title":"t","body":"b","data":{"n":[1,2]}}"#, on: user)
        #expect(first.events().map(\.type) == ["notification"])
        let events = second.events()
        #expect(events.map(\.type) == ["NOTIFICATION"])
        #expect(events[0].payload == ["title": "t", "body": "b", "data": ["n": [1, 2]]])
        node.say(message(), on: user)
        #expect(first.contents() == ["hi"] && second.contents() == ["hi"])
        #expect(bob.events().isEmpty)
    }

    @Test("The object of a notification may be wrapped", arguments: ["payload", "notification"])
    func wrapped(name: String) {
        let node = node()
        let alice = node.client("alice")
        node.say(#"{"type":"notification","\#(name)":{"id":"n1","title":"t"}}"#, on: user)
        #expect(alice.events("notification") == [["id": "n1", "title": "t"]])
    }

    @Test("A disconnect ends all the user's connections, with 4005")
    func disconnect() {
        let node = node()
        let alice = [node.client("alice"), node.client("alice", dialect: .ws, shard: 1)]
        let bob = node.client("bob")
        node.say(#"{"type":"disconnect","userId":"alice"}"#, on: user)
        #expect(alice.map(\.closeCode) == [4005, 4005])
        #expect(bob.closeCode == nil)
    }

    @Test("What an instance of ours said there is nothing new")
    func own() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.say(
            message().replacing("{\"type\"", with: "{\"origin\":\"martlet\",\"type\""), on: chat)
        #expect(alice.events().isEmpty)
        #expect(node.counter(.foreignUnreadable) == 0)
    }

    @Test(
        "What has no known form is counted and dropped",
        arguments: [
            "", "no json", "[]", "{}", #"{"type":7}"#, #"{"type":"typing"}"#,
            #"{"type":"new-message"}"#, #"{"type":"new-message","message":[]}"#,
            #"{"type":"new-message","message":{"senderId":"bob","content":"x"}}"#,
            #"{"type":"new-message","message":{"id":"","senderId":"bob","content":"x"}}"#,
            #"{"type":"new-message","message":{"id":"a\u0000b","senderId":"bob","content":"x"}}"#,
            #"{"type":"new-message","message":{"id":"i","content":"x"}}"#,
            #"{"type":"new-message","message":{"id":"i","senderId":"bob"}}"#,
            #"{"type":"new-message","message":{"id":"i","senderId":"bob","content":7}}"#,
            #"{"type":"new-message","chatId":"c2","message":{"id":"i","senderId":"b","content":"x"}}"#,
            #"{"type":"new-message","chatId":"c1","message":{"chatId":"c2","id":"i","senderId":"b","content":"x"}}"#,
            #"{"type":"notification","title":"not on a chat's channel"}"#,
            #"{"type":"disconnect"}"#, String(repeating: "[", count: 100_000),
        ])
    func garbage(text: String) {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.say(text, on: chat)
        node.advance(300)
        #expect(alice.events().isEmpty && alice.closeCode == nil)
        #expect(node.counter(.foreignUnreadable) == 1 && node.counter(.foreignEvents) == 0)
    }

    @Test(
        "A ciphertext may be as large as a client's",
        arguments: [(1_023, true), (1_024, true), (1_025, false)])
    func size(bytes: Int, isTaken: Bool) {
        let node = TestNode(limits: ["ciphertext": "1024"], isShared: true)
        node.group("c1", ["alice", "bob"])
        let alice = node.member("alice", of: "c1")
        node.say(
            message().replacing("\"hi\"", with: "\"\(String(repeating: "x", count: bytes))\""),
            on: chat)
        #expect(alice.contents().count == (isTaken ? 1 : 0))
    }

    @Test("On a user's channel a message names its chat")
    func userMessageWithoutChat() {
        let node = node()
        let alice = node.client("alice")
        node.say(message(chat: ""), on: user)
        #expect(alice.events().isEmpty && node.counter(.foreignUnreadable) == 1)
    }

    @Test(
        "A flood beyond the look-ups is passed on without one",
        arguments: [1_023, 1_024, 1_025])
    func flood(count: Int) {
        let node = node(shards: 1)
        let alice = node.member("alice", of: "c1")
        node.holdsAnswers = true
        for number in 0..<count { node.say(message(id: "x\(number)"), on: chat) }
        #expect(alice.contents().count == max(0, count - 1_024))
        node.holdsAnswers = false
        #expect(alice.contents().count == min(count, 1_024))
    }
}
