import Basics
import BusCore
import Domain
import Gateway
import Testing
import WebSocket

@Suite("Socket.IO: the families root and ns, over the same commands and events")
struct SocketIOTests {
    /// On one shard and on three; over polling and over a WebSocket.
    private static let ways: [(shards: Int, isPolling: Bool)] = [
        (1, true), (1, false), (3, true), (3, false),
    ]

    private func group() -> TestNode {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        return node
    }

    @Test("A client says who it is, sends, and is told; the others hear it", arguments: ways)
    func conversation(shards: Int, isPolling: Bool) {
        let node = TestNode(shards: shards)
        node.group("c1", ["alice", "bob"])
        let alice = node.socketIO("alice", isPolling: isPolling)
        let bob = node.socketIO("bob", isPolling: isPolling, shard: shards - 1)
        // From here on its requests arrive at other shards than the one that has its session.
        alice.shard = shards - 1
        bob.shard = 0
        alice.send(
            #"427["message",{"chatId":"c1","clientMsgId":"m1","encryptedContent":"hello"}]"#)
        let own = alice.received()
        #expect(own.count == 3)
        #expect(own[0].hasPrefix(#"437[{"ok":true,"messageId":""#))
        #expect(own[1].hasPrefix(#"42["delivered",{"messageId":""#))
        #expect(own[1].contains(#""stage":"stored"}"#))
        #expect(own[2].hasPrefix(#"42["message",{"id":""#), "the sender hears it too")
        let heard = bob.events()
        #expect(heard.map(\.name) == ["message"])
        #expect(heard[0].payload.encryptedContent == "hello")
        #expect(heard[0].payload.chatId == "c1")
        #expect((node.handovers > 0) == (shards > 1 && isPolling))
    }

    @Test("The greeting is the namespace's reply and `authenticated`")
    func greeting() {
        let node = group()
        let client = EngineClient(node)
        client.openSocket()
        client.connect("alice")
        let texts = client.received()
        #expect(texts.count == 2)
        #expect(texts[0].hasPrefix(#"40{"sid":""#))
        #expect(texts[1].hasPrefix(#"42["authenticated",{"userId":"alice","#))
    }

    @Test("ns: who joined a conversation hears it there, in the family's words")
    func ns() {
        let node = group()
        let alice = node.socketIO("alice", namespace: "/messages,")
        let bob = node.socketIO("bob", namespace: "/messages,")
        bob.send(#"42/messages,1["join_conversation",{"conversationId":"c1"}]"#)
        let joined = bob.received()
        #expect(joined.count == 1)
        #expect(joined[0].hasPrefix(#"43/messages,1[{"ok":true,"chatId":"c1""#))
        alice.send(#"42/messages,["send_message",{"conversationId":"c1","content":"x"}]"#)
        #expect(alice.names() == ["message_sent"], "it has not joined, so it hears no echo")
        let heard = bob.events()
        #expect(heard.map(\.name) == ["new_message"])
        #expect(heard[0].payload.conversationId == "c1")
        alice.send(#"42/messages,["typing",{"conversationId":"c1","isTyping":true}]"#)
        alice.send(#"42/messages,["typing",{"conversationId":"c1","isTyping":false}]"#)
        let typing = bob.events()
        #expect(typing.map(\.name) == ["user_typing", "user_stopped_typing"])
        #expect(typing[0].payload.text == #"{"conversationId":"c1","userId":"alice"}"#)
    }

    @Test("v1 over Socket.IO: canonical names, and no echo to the sender")
    func canonical() {
        let node = group()
        let alice = EngineClient(node)
        alice.openSocket()
        alice.connect("alice", extra: #","proto":1,"deviceId":"phone""#)
        #expect(
            alice.received()[1].contains(#"["session.ready",{"userId":"alice","deviceId":"phone""#))
        let bob = node.member("bob", of: "c1")
        alice.send(#"421["chat.join",{"chatId":"c1"}]"#)
        alice.send(#"422["message.send",{"chatId":"c1","encryptedContent":"x"}]"#)
        #expect(alice.received().map { String($0.prefix(4)) } == ["431[", "432["])
        #expect(bob.contents() == ["x"])
        bob.ask("message.send", ["chatId": "c1", "encryptedContent": "y"])
        #expect(alice.names() == ["message.new"])
    }

    @Test("One connection has several namespaces, each with its own events")
    func namespaces() {
        let node = TestNode(isShared: true)
        node.group("c1", ["alice", "bob"])
        let alice = node.socketIO("alice", namespace: "/messages,")
        alice.connect("alice", namespace: "/notifications,")
        alice.connect("alice", namespace: "/presence,")
        #expect(alice.received().count == 4)
        node.say(
            #"{"type":"notification","payload":{"title":"t"}}"#,
            on: .user(UserID(trusted: "alice")))
        #expect(alice.received() == [#"42/notifications,["notification",{"title":"t"}]"#])
        // It is one connection of the user.
        alice.send(#"42/notifications,1["send_message",{"conversationId":"c1","content":"x"}]"#)
        #expect(alice.received()[0].contains(#""code":"UNKNOWN_EVENT""#))
        alice.send(#"42/presence,2["subscribe",{"topics":["job:1"]}]"#)
        #expect(alice.received()[0].contains(#""code":"UNKNOWN_EVENT""#))
        alice.send("41/presence,")
        alice.send(#"42/messages,3["join_conversation",{"conversationId":"c1"}]"#)
        #expect(alice.received().map { String($0.prefix(13)) } == ["43/messages,3"])
    }

    @Test("The limit of sockets a user counts connections, not namespaces")
    func socketsPerUser() {
        let node = TestNode(limits: ["socketsPerUser": "1"])
        let alice = node.socketIO("alice", namespace: "/messages,")
        alice.connect("alice", namespace: "/notifications,")
        #expect(alice.received()[0].hasPrefix("40/notifications,"))
        let second = EngineClient(node)
        second.openSocket()
        second.connect("alice")
        #expect(second.received()[0].contains(#""code":"RATE_LIMITED""#))
    }

    @Test("A refusal for good is a packet; the connection and its other namespaces go on")
    func refusals() {
        let node = group()
        let alice = node.socketIO("alice", namespace: "/messages,")
        alice.send("40/nowhere,{}")
        #expect(alice.received() == [#"44/nowhere,{"message":"Invalid namespace"}"#])
        alice.send("40")
        #expect(alice.received()[0].contains(#""data":{"code":"UNAUTHORIZED""#))
        alice.send(#"40{"token":"x.y.z"}"#)
        #expect(alice.received()[0].contains(#""data":{"code":"INVALID_TOKEN""#))
        alice.send("40{\"token\":\"\(node.token("alice", seconds: 60, issued: -3_600))\"}")
        #expect(alice.received()[0].contains(#""data":{"code":"TOKEN_EXPIRED""#))
        alice.send(#"42/messages,1["join_conversation",{"conversationId":"c1"}]"#)
        #expect(alice.received()[0].hasPrefix(#"43/messages,1[{"ok":true"#))
        #expect(alice.socket?.closeCode == nil)
    }

    @Test(
        "What nobody may say ends the connection",
        arguments: [
            "4", "42", "42[]", "42{}", #"42["connect"]"#, #"42["disconnect",{}]"#, "40[]", "44{}",
            #"40{"token":"t"}"#, #"451-["message",{"_placeholder":true,"num":1}]"#, "2", "7",
            #"42/messages,["join_conversation",{}]"#,
        ])
    func closes(_ packet: String) {
        let node = group()
        let alice = node.socketIO("alice")
        alice.send(packet)
        #expect(alice.socket?.closeCode == 1002)
        let polling = node.socketIO("bob", isPolling: true)
        _ = polling.post(packet)
        #expect(polling.poll() == ["status 400"])
    }

    @Test("A binary part where a text belongs is refused, and the connection goes on")
    func binary() {
        let node = group()
        let alice = node.socketIO("alice")
        alice.send(
            #"451-1["message",{"chatId":"c1","encryptedContent":{"_placeholder":true,"num":0}}]"#)
        alice.socket?.send(TestSocket.frame(.binary, [1, 2, 3]))
        #expect(alice.received()[0].contains(#""code":"INVALID_INPUT""#))
        alice.send(#"422["message",{"chatId":"c1","encryptedContent":"x"}]"#)
        #expect(alice.received()[0].hasPrefix(#"432[{"ok":true"#))
    }

    @Test("Binary parts have the bound of a message together", arguments: [0, 1])
    func binaryBound(over: Int) {
        let node = TestNode(limits: ["message": "20000", "frame": "20000"])
        let alice = node.socketIO("alice")
        let text = #"52-["message",{"a":{"_placeholder":true,"num":0}}]"#
        alice.send("4" + text)
        alice.socket?.send(TestSocket.frame(.binary, Array(repeating: 1, count: 10_000)))
        let rest = 10_000 - text.utf8.count + over
        alice.socket?.send(TestSocket.frame(.binary, Array(repeating: 1, count: rest)))
        #expect(alice.socket?.closeCode == (over == 0 ? nil : 1009))
    }

    // MARK: Receipts

    @Test("A stock client acknowledges by its pong, and the sender is told which message")
    func implicitDelivery() {
        let node = group()
        let alice = node.socketIO("alice")
        let bob = node.socketIO("bob")
        alice.send(#"42["message",{"chatId":"c1","encryptedContent":"x"}]"#)
        let id = alice.events().first { $0.name == "message" }?.payload.id.stringValue ?? "?"
        #expect(bob.names() == ["message"])
        node.advance(700)
        #expect(bob.received() == [])
        node.advance(100)
        #expect(bob.received() == ["2"])
        // No pong, no receipt, whatever a WebSocket answers by itself.
        bob.socket?.send(TestSocket.frame(.pong, []))
        node.advance(1_000)
        #expect(alice.names() == [])
        bob.send("3")
        node.advance(1_000)
        let receipts = alice.events()
        #expect(receipts.map(\.name) == ["delivered"])
        #expect(receipts[0].payload.messageId == .string(id))
        #expect(receipts[0].payload.userId == "bob")
        #expect(receipts[0].payload.stage == "delivered")
    }

    @Test("The pong acknowledges what was given before its ping, and no more")
    func pongIsNoMore() {
        let node = group()
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob")
        alice.ask("message.send", ["chatId": "c1", "encryptedContent": "1"])
        node.advance(800)
        #expect(bob.received().last == "2")
        alice.ask("message.send", ["chatId": "c1", "encryptedContent": "2"])
        bob.send("3")
        node.advance(500)
        #expect(alice.events("receipt").map(\.deliveredSeq) == [1])
        bob.send("3")
        node.advance(500)
        #expect(alice.events("receipt") == [], "nobody asked")
        node.advance(500)
        #expect(bob.received().last == "2")
        bob.send("3")
        node.advance(500)
        #expect(alice.events("receipt").map(\.deliveredSeq) == [2])
    }

    @Test("What was never given to a client is not acknowledged for it")
    func nothingGiven() {
        let node = group()
        node.append("c1", by: "alice", "old")
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob")
        node.advance(30_000)
        #expect(bob.received() == ["2"])
        bob.send("3")
        node.advance(1_000)
        #expect(alice.events("receipt") == [])
    }

    @Test("News of being brought in that comes late acknowledges nothing")
    func lateNews() {
        let node = group()
        let added = node.change("c1", .added, "carol", by: "alice")[0]
        node.append("c1", by: "alice", "before carol's devices are there")
        let alice = node.member("alice", of: "c1")
        let carol = node.socketIO("carol")
        node.arrive(
            .joined(added.chat, since: added.seq - 1), on: .user(UserID(trusted: "carol")))
        // No ping is owed for what was not given, and the one that is due says nothing of it.
        for ms in [1_000, 29_000, 1_000] {
            node.advance(ms)
            let packets = carol.received()
            #expect(packets == (ms == 29_000 ? ["2"] : []))
            if packets == ["2"] { carol.send("3") }
        }
        #expect(alice.events("receipt") == [])
    }

    @Test("A receipt names each message that came under the mark")
    func marks() {
        let node = group()
        let alice = node.socketIO("alice")
        let bob = node.member("bob", of: "c1")
        for content in ["1", "2", "3"] {
            alice.send("42[\"message\",{\"chatId\":\"c1\",\"encryptedContent\":\"\(content)\"}]")
        }
        let ids = alice.events().filter { $0.name == "message" }.map(\.payload.id)
        bob.ask("delivery.ack", ["chatId": "c1", "seq": 1])
        node.advance(300)
        bob.ask("delivery.ack", ["chatId": "c1", "seq": 3])
        bob.ask("read.set", ["chatId": "c1", "seq": 3])
        node.advance(300)
        let told = alice.events()
        #expect(told.filter { $0.name == "delivered" }.map(\.payload.messageId) == ids)
        // How far bob had read before nobody here knows, so it is the last one alone.
        #expect(told.filter { $0.name == "read" }.map(\.payload.messageId) == [ids[2]])
        #expect(told.last?.payload.readAt.stringValue != nil)
    }

    @Test("A mark at a message that no shard remembers is looked up in the store")
    func oldMarks() {
        let node = group()
        let old = node.append("c1", by: "alice", "old")
        let alice = node.socketIO("alice")
        let v1 = node.member("alice", of: "c1")
        let bob = node.member("bob", of: "c1")
        bob.ask("read.set", ["chatId": "c1", "seq": 1])
        node.advance(300)
        let told = alice.events()
        // Who has read it has it.
        #expect(told.map(\.name) == ["delivered", "read"])
        #expect(told.map(\.payload.messageId) == [.string(old.id.text), .string(old.id.text)])
        #expect(v1.events("receipt").map(\.readSeq) == [1], "once, where marks are known")
    }

    @Test("A client of the main namespace names what it read by the message alone")
    func readByMessage() {
        let node = group()
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob")
        alice.ask("message.send", ["chatId": "c1", "encryptedContent": "1"])
        let id = bob.events()[0].payload.id.stringValue ?? "?"
        bob.send("421[\"read\",{\"messageId\":\"\(id)\"}]")
        bob.send(#"422["read",{"messageId":"unheard-of"}]"#)
        node.advance(300)
        #expect(alice.events("receipt").map(\.readSeq) == [1])
        let answers = bob.received().filter { $0.hasPrefix("43") }.sorted()
        #expect(answers[0].hasPrefix(#"431[{"ok":true"#))
        #expect(answers[1].contains(#""code":"NOT_FOUND""#), "as of a chat that is not theirs")
    }

    @Test("Also a message that was never delivered here; not one of a chat that is not theirs")
    func readByOldMessage() {
        let node = group()
        node.group("theirs", ["alice"])
        node.append("c1", by: "alice", "1")
        let old = node.append("c1", by: "alice", "2")
        let other = node.append("theirs", by: "alice", "secret")
        let alice = node.member("alice", of: "c1")
        let bob = node.socketIO("bob")
        bob.send("421[\"read\",{\"messageId\":\"\(old.id.text)\"}]")
        bob.send("422[\"read\",{\"messageId\":\"\(other.id.text)\"}]")
        node.advance(300)
        #expect(alice.events("receipt").map(\.readSeq) == [2])
        let answers = bob.received().filter { $0.hasPrefix("43") }.sorted()
        #expect(answers[0].hasPrefix(#"431[{"ok":true,"deliveredSeq":2,"readSeq":2"#))
        #expect(answers[1].contains(#""code":"NOT_FOUND""#))
        node.fate = { _ in .fails }
        bob.send("423[\"read\",{\"messageId\":\"\(old.id.text)\"}]")
        #expect(bob.received().last?.contains(#""code":"SERVICE_UNAVAILABLE""#) == true)
    }

    // MARK: Ends

    @Test("An expired token ends the connection with a word, and lets the client come back")
    func expiry() {
        let node = group()
        let client = EngineClient(node)
        client.openSocket()
        client.send("40{\"token\":\"\(node.token("alice", seconds: 120))\"}")
        _ = client.received()
        for _ in 0..<12 {
            node.advance(10_000)
            for text in client.received() where text == "2" { client.send("3") }
        }
        node.advance(1_000)
        #expect(client.socket?.closeCode == 4002)
    }

    @Test("A backend that ends a user's connections stops the client for good")
    func revoked() {
        let node = TestNode(isShared: true)
        let alice = node.socketIO("alice")
        node.say(#"{"type":"disconnect"}"#, on: .user(UserID(trusted: "alice")))
        #expect(alice.received() == ["41"])
        #expect(alice.socket?.closeCode == 4005)
    }
}
