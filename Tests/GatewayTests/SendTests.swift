import Basics
import BusCore
import Domain
import Gateway
import StoreCore
import Testing
import Wire

@Suite("Sending messages")
struct SendTests {
    private func node(_ limits: [String: String] = [:], shards: Int = 1) -> TestNode {
        let node = TestNode(shards: shards, limits: limits)
        node.group("c1", ["alice", "bob"])
        return node
    }

    private func message(_ content: String, _ more: [String: JSONValue] = [:]) -> JSONValue {
        var members: [String: JSONValue] = ["chatId": "c1", "encryptedContent": .string(content)]
        members.merge(more) { $1 }
        return .object(members)
    }

    // MARK: Acks and events

    @Test("The ack says under which id and seq the message was stored, and when")
    func ack() {
        let node = node()
        let alice = node.client("alice")
        let ack = alice.ask("message.send", message("hello", ["clientMsgId": "k1"]))
        #expect(ack.keys == ["chatId", "createdAt", "duplicate", "messageId", "ok", "seq"])
        #expect(ack.ok == true && ack.chatId == "c1" && ack.seq == 1 && ack.duplicate == false)
        #expect(ack.createdAt == "2026-01-01T00:00:00.000Z")
        #expect(ack.messageId == .string(node.log("c1")[0].id.text))
        #expect(alice.ask("message.send", message("again")).seq == 2)
        #expect(node.contents("c1") == ["hello", "again"])
        #expect(node.counter(.sendsAccepted) == 2)
    }

    @Test("Members hear of it with all its fields; nobody else does")
    func event() {
        let node = node()
        node.group("c2", ["bob", "eve"])
        let alice = node.member("alice", of: "c1", device: "a1")
        let bob = node.member("bob", of: "c1", "c2")
        let eve = node.member("eve", of: "c2")
        let ack = alice.ask(
            "message.send",
            message(
                "h\"i\n€",
                [
                    "type": "image", "replyToId": "m0", "threadId": "t0",
                    "expiresAt": "2026-02-01T00:00:00.500Z",
                ]))
        let events = bob.events()
        #expect(events.map(\.type) == ["message.new"])
        let payload = events[0].payload
        #expect(payload.id == ack.messageId && payload.chatId == "c1" && payload.seq == 1)
        #expect(payload.senderId == "alice" && payload.senderDeviceId == "a1")
        #expect(payload.encryptedContent == "h\"i\n€" && payload.type == "image")
        #expect(payload.replyToId == "m0" && payload.threadId == "t0")
        #expect(payload.expiresAt == "2026-02-01T00:00:00.500Z")
        #expect(payload.createdAt == ack.createdAt && payload.kind == "message")
        #expect(events[0].id == .missing)
        #expect(eve.events().isEmpty && alice.events().isEmpty)
    }

    @Test("A sender needs not have joined")
    func withoutJoining() {
        let node = node()
        #expect(node.client("alice").ask("message.send", message("x")).ok == true)
    }

    @Test("message.stored goes out only where the send had no id")
    func stored() {
        let node = node()
        let alice = node.client("alice")
        alice.say("message.send", message("one", ["clientMsgId": "k1"]))
        let events = alice.events()
        #expect(events.map(\.type) == ["message.stored"])
        #expect(events[0].payload.keys == ["chatId", "clientMsgId", "messageId", "seq"])
        #expect(events[0].payload.clientMsgId == "k1" && events[0].payload.seq == 1)
        alice.say("message.send", message("two"))
        #expect(alice.events("message.stored").map(\.clientMsgId) == [.null])
        alice.say("message.send", message("three"), id: 9)
        #expect(alice.types() == ["ack"])
    }

    @Test("In v1 the sending connection hears its ack only; the sender's other devices the message")
    func otherDevices() {
        for shard in 0..<2 {
            let node = node(shards: 2)
            let phone = node.member("alice", of: "c1", device: "phone")
            let laptop = node.member("alice", of: "c1", device: "laptop", shard: shard)
            phone.say("message.send", message("x"), id: 1)
            #expect(phone.types() == ["ack"])
            #expect(laptop.contents() == ["x"])
        }
    }

    @Test("One connection's sends take their seqs in the order of sending")
    func order() {
        let node = node(["sendBurst": "1000"])
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        node.holdsAnswers = true
        alice.send((0..<50).flatMap { TestSocket.say("message.send", message("m\($0)")) })
        alice.send((50..<100).flatMap { TestSocket.say("message.send", message("m\($0)")) })
        node.holdsAnswers = false
        #expect(node.contents("c1") == (0..<100).map { "m\($0)" })
        #expect(bob.contents() == (0..<100).map { "m\($0)" })
        #expect(alice.events("message.stored").compactMap(\.seq.intValue) == Array(1...100))
    }

    @Test("Nothing is acked and nobody is told before the commit")
    func commitFirst() {
        let node = node()
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        node.holdsAnswers = true
        alice.say("message.send", message("x"), id: 1)
        node.advance(3_000)
        #expect(alice.events().isEmpty && bob.events().isEmpty)
        node.holdsAnswers = false
        #expect(alice.answer(to: 1).ok == true)
        #expect(bob.contents() == ["x"])
    }

    @Test("A sender that is gone when the commit is confirmed has still sent")
    func goneSender() {
        let node = node()
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        node.holdsAnswers = true
        alice.say("message.send", message("x"), id: 1)
        alice.end()
        node.holdsAnswers = false
        #expect(bob.contents() == ["x"])
    }

    // MARK: Every name in, each dialect's names out

    @Test(
        "Every spelling of every event is understood on both dialects", arguments: Dialect.plain)
    func spellings(dialect: Dialect) {
        for name in CommandName.allCases {
            for spelling in name.spellings {
                let node = node()
                node.append("c1", by: "bob", "m1")
                let alice = node.client("alice", dialect: dialect)
                let payload: JSONValue =
                    switch name {
                    case .authenticate: ["token": .string(node.token("alice"))]
                    case .join, .leave: ["chatId": "c1"]
                    case .send: message("x")
                    case .acknowledge, .read: ["chatId": "c1", "seq": 1]
                    case .type: ["chatId": "c1", "isTyping": true]
                    case .resume: ["chats": ["c1": 0]]
                    case .subscribe, .unsubscribe: ["topics": ["job:42"]]
                    }
                alice.say("\(spelling)", payload, id: 1)
                node.advance(300)
                let event = alice.events().first { $0.id == 1 }
                #expect(event?.type == (dialect == .v1 ? "ack" : "ACK"), "\(spelling)")
                #expect(event?.payload.ok == true, "\(spelling)")
            }
        }
    }

    @Test("The ws dialect says the same in its own names")
    func wsNames() {
        let node = node()
        let alice = node.client("alice", dialect: .ws)
        let bob = node.client("bob", dialect: .ws)
        alice.say("SEND_MESSAGE", message("x"))
        #expect(Set(alice.types()) == ["STORED", "MESSAGE"])
        #expect(bob.types() == ["MESSAGE"])
        alice.say("SEND_MESSAGE", ["chatId": "c9", "content": "x"])
        #expect(alice.types() == ["ERROR"])
        alice.say("TYPING", ["chatId": "c1", "isTyping": true])
        #expect(bob.types() == ["TYPING"])
        bob.say("DELIVERED", ["chatId": "c1", "seq": 1])
        node.advance(300)
        #expect(alice.types() == ["RECEIPT"])
        bob.say("JOIN", ["chatId": "c1", "since": 0], id: 1)
        #expect(bob.types() == ["ACK", "MESSAGE", "CAUGHT_UP"])
        node.advance(0)
        let changed = node.change("c1", .added, "carol", by: "alice")
        node.arrive(.entry(changed[0]), on: .chat(ChatID(trusted: "c1")))
        #expect(bob.types() == ["CHAT_CHANGED"])
    }

    // MARK: Duplicates and conflicts

    @Test("A resend gets the first ack with duplicate, by any device, any number of times")
    func duplicates() {
        let node = node()
        let phone = node.client("alice", device: "phone")
        let laptop = node.client("alice", device: "laptop")
        let bob = node.member("bob", of: "c1")
        let first = phone.ask("message.send", message("x", ["clientMsgId": "k"]))
        node.advance(5_000)
        for socket in [phone, laptop, phone] {
            let again = socket.ask("message.send", message("x", ["clientMsgId": "k"]))
            #expect(again.ok == true && again.duplicate == true)
            #expect(again.messageId == first.messageId && again.seq == first.seq)
            #expect(again.createdAt == first.createdAt)
        }
        #expect(bob.contents() == ["x"])
        #expect(node.log("c1").count == 1)
        #expect(phone.ask("message.send", message("y")).seq == 2, "a duplicate burns no seq")
        #expect(node.counter(.sendsDuplicate) == 3)
    }

    @Test("A resend without an id is answered with message.stored again")
    func duplicateStored() {
        let node = node()
        let alice = node.client("alice")
        for _ in 0..<2 {
            alice.say("message.send", message("x", ["clientMsgId": "k"]))
            let stored = alice.events("message.stored")
            #expect(stored.count == 1 && stored.first?.seq == 1)
        }
    }

    @Test("Another body under the same clientMsgId is IDEMPOTENCY_CONFLICT")
    func conflict() {
        let node = node()
        let alice = node.client("alice")
        _ = alice.ask("message.send", message("x", ["clientMsgId": "k"]))
        let ack = alice.ask("message.send", message("y", ["clientMsgId": "k"]))
        #expect(ack.ok == false && ack.error.code == "IDEMPOTENCY_CONFLICT")
        let type = alice.ask("message.send", message("x", ["clientMsgId": "k", "type": "image"]))
        #expect(type.error.code == "IDEMPOTENCY_CONFLICT")
        #expect(node.log("c1").count == 1)
    }

    @Test("Another sender, or another chat, may use the same clientMsgId")
    func sameKeyElsewhere() {
        let node = node()
        node.group("c2", ["alice"])
        let alice = node.client("alice")
        _ = alice.ask("message.send", message("x", ["clientMsgId": "k"]))
        let other = node.client("bob").ask("message.send", message("y", ["clientMsgId": "k"]))
        #expect(other.ok == true && other.duplicate == false)
        let elsewhere = alice.ask(
            "message.send", ["chatId": "c2", "content": "z", "clientMsgId": "k"])
        #expect(elsewhere.ok == true && elsewhere.seq == 1)
    }

    // MARK: Refusals

    @Test(
        "Ciphertext as long as the limit is taken, one byte more is PAYLOAD_TOO_LARGE",
        arguments: [
            1_023, 1_024, 1_025,
        ])
    func ciphertextLimit(length: Int) {
        let node = node(["ciphertext": "1024"])
        let alice = node.client("alice")
        // Bytes of UTF-8 count, not characters, nor bytes of the frame.
        let content =
            "\n" + String(repeating: "€", count: (length - 1) / 3)
            + String(repeating: "x", count: (length - 1) % 3)
        #expect(content.utf8.count == length)
        let ack = alice.ask("message.send", message(content))
        if length <= 1_024 {
            #expect(ack.ok == true && node.contents("c1") == [content])
        } else {
            #expect(ack.error.code == "PAYLOAD_TOO_LARGE" && node.log("c1").isEmpty)
        }
        #expect(alice.closeCode == nil)
    }

    @Test("A foreign chat and one that does not exist are refused alike (P13)")
    func foreignChat() {
        let node = node()
        node.group("c2", ["bob"])
        let alice = node.client("alice")
        for (type, fields) in [
            ("message.send", ["content": "x"]), ("chat.join", [:]), ("chat.join", ["since": 0]),
            ("typing", ["isTyping": true]), ("delivery.ack", ["seq": 1]),
            ("read.set", ["seq": 1]), ("read.set", ["messageId": "m"]),
        ] as [(String, [String: JSONValue])] {
            let answers = ["c2", "c9"].map { chat in
                var payload = fields
                payload["chatId"] = .string(chat)
                alice.say(type, .object(payload), id: 7)
                node.advance(300)
                return alice.answer(to: 7)
            }
            #expect(answers[0].error.code == "NOT_FOUND", "\(type)")
            #expect(answers[0] == answers[1], "\(type)")
        }
        #expect(node.log("c2").isEmpty)
    }

    @Test("An error without an id is an error event that names the request's event")
    func errorEvent() {
        let node = node()
        let alice = node.client("alice")
        alice.say("SEND_MESSAGE", ["chatId": "c9", "content": "x"])
        let events = alice.events()
        #expect(events.map(\.type) == ["error"])
        #expect(events[0].payload.event == "message.send")
        #expect(events[0].payload.code == "NOT_FOUND")
    }

    @Test(
        "An id comes back as it was given",
        arguments: [
            .number(0), .number(-5), .number(9_007_199_254_740_991), "", "a\"b\u{1}€",
            .string(String(repeating: "i", count: 64)),
        ] as [JSONValue])
    func ids(id: JSONValue) {
        let alice = node().client("alice")
        alice.say("message.send", message("x"), id: id)
        #expect(alice.answer(to: id).ok == true)
    }

    // MARK: The rate

    @Test("A burst passes whole, one more is RATE_LIMITED, and the wait that it names is enough")
    func rate() {
        let node = node(["sends": "20", "sendBurst": "5"])
        let alice = node.client("alice")
        for _ in 0..<5 { #expect(alice.ask("message.send", message("x")).ok == true) }
        for _ in 0..<3 {
            let refused = alice.ask("message.send", message("x"))
            #expect(refused.error.code == "RATE_LIMITED")
            let wait = refused.error.retryAfterMs.intValue ?? 0
            #expect((1...50).contains(wait))
            node.advance(wait)
            #expect(alice.ask("message.send", message("x")).ok == true)
        }
        #expect(node.log("c1").count == 8, "nothing was queued")
    }

    @Test("The rate is the user's, over all their connections")
    func rateOfUser() {
        let node = node(["sendBurst": "2"])
        let phone = node.client("alice")
        let laptop = node.client("alice")
        _ = phone.ask("message.send", message("x"))
        _ = laptop.ask("message.send", message("x"))
        #expect(phone.ask("message.send", message("x")).error.code == "RATE_LIMITED")
        #expect(node.client("bob").ask("message.send", message("x")).ok == true)
    }

    @Test("Nine refusals leave the connection open, the tenth closes it: 4102")
    func strikes() {
        let node = node(["sendBurst": "1"])
        let alice = node.client("alice")
        _ = alice.ask("message.send", message("x"))
        for _ in 0..<9 {
            #expect(alice.ask("message.send", message("x")).error.code == "RATE_LIMITED")
        }
        #expect(alice.closeCode == nil)
        #expect(alice.ask("message.send", message("x")).error.code == "RATE_LIMITED")
        #expect(alice.closeCode == 4102)
    }

    @Test("Joins have a rate of their own")
    func joinRate() {
        let node = node(["joins": "3"])
        let alice = node.client("alice")
        for _ in 0..<3 { #expect(alice.ask("chat.join", ["chatId": "c1"]).ok == true) }
        let refused = alice.ask("chat.join", ["chatId": "c1"])
        #expect(refused.error.code == "RATE_LIMITED")
        #expect(alice.ask("message.send", message("x")).ok == true)
        node.advance(refused.error.retryAfterMs.intValue ?? 0)
        #expect(alice.ask("chat.join", ["chatId": "c1"]).ok == true)
    }

    // MARK: The store

    @Test("While the store refuses, a send is SERVICE_UNAVAILABLE, and later it works (P17)")
    func storeRefuses() {
        let node = node()
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        node.fate = { _ in .fails }
        let refused = alice.ask("message.send", message("x", ["clientMsgId": "k"]))
        #expect(refused.error.code == "SERVICE_UNAVAILABLE")
        #expect(refused.error.retryAfterMs == 1_000)
        #expect(node.log("c1").isEmpty && bob.events().isEmpty)
        node.fate = { _ in .commits }
        #expect(alice.ask("message.send", message("x", ["clientMsgId": "k"])).duplicate == false)
    }

    @Test("While a commit's fate is unknown nothing is said; found out in time, it is acked (P5)")
    func unknownThenCommitted() {
        for fate in [TestNode.Fate.commitsSilently, .vanishes] {
            let node = node()
            let alice = node.client("alice")
            let bob = node.member("bob", of: "c1")
            node.fate = { $0.attempt == 1 ? fate : .vanishes }
            alice.say("message.send", message("x"), id: 1)
            node.advance(9_500)
            #expect(alice.events().isEmpty && bob.events().isEmpty)
            node.fate = { _ in .commits }
            node.advance(150)
            #expect(alice.answer(to: 1).seq == 1)
            #expect(bob.contents() == ["x"])
            #expect(node.contents("c1") == ["x"])
            #expect(alice.closeCode == nil)
        }
    }

    @Test("After 10 s of not knowing the connection is closed with 4202, unanswered (P5)")
    func unknownForLong() {
        let node = node()
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        node.fate = { $0.attempt == 1 ? .commitsSilently : .vanishes }
        alice.say("message.send", message("x", ["clientMsgId": "k"]), id: 1)
        node.advance(9_950)
        #expect(alice.closeCode == nil)
        node.advance(250)
        #expect(alice.closeCode == 4202)
        #expect(alice.events().isEmpty)
        #expect(bob.events().isEmpty && bob.closeCode == nil)
        // The chat hears of it when it is known.
        node.fate = { _ in .commits }
        node.advance(200)
        #expect(bob.contents() == ["x"])
        let again = node.client("alice").ask(
            "message.send", message("x", ["clientMsgId": "k"]))
        #expect(again.duplicate == true && again.seq == 1)
    }

    @Test(
        "What is sent while a fate is unknown was never submitted: SERVICE_UNAVAILABLE at once (P5)"
    )
    func behindUnknown() {
        let node = node()
        let alice = node.client("alice")
        let bob = node.client("bob")
        node.fate = { _ in .vanishes }
        alice.say("message.send", message("x"), id: 1)
        #expect(bob.ask("message.send", message("y")).error.code == "SERVICE_UNAVAILABLE")
        node.advance(1_000)
        #expect(bob.ask("message.send", message("y")).error.code == "SERVICE_UNAVAILABLE")
        #expect(alice.events().isEmpty)
        node.fate = { _ in .commits }
        node.advance(200)
        #expect(alice.answer(to: 1).ok == true)
        #expect(bob.ask("message.send", message("y")).seq == 2)
        #expect(node.contents("c1") == ["x", "y"])
    }

    @Test("What waits behind a batch whose fate becomes unknown is refused too")
    func waitingBehindUnknown() {
        let node = node()
        let alice = node.client("alice")
        let bob = node.client("bob")
        node.fate = { _ in .vanishes }
        node.holdsAnswers = true
        alice.say("message.send", message("x"), id: 1)
        bob.say("message.send", message("y"), id: 2)
        node.holdsAnswers = false
        #expect(bob.answer(to: 2).error.code == "SERVICE_UNAVAILABLE")
        #expect(alice.events().isEmpty)
    }

    @Test("With the lane full a send is refused, and what is in it is stored")
    func laneFull() {
        let node = node(["lane": "64", "batch": "1", "sendBurst": "1000"])
        let alice = node.client("alice")
        node.holdsAnswers = true
        for number in 0..<67 {
            alice.say("message.send", message("m\(number)"), id: .number(Double(number)))
        }
        let refused = alice.events()
        // One is with the store, 64 wait.
        #expect(refused.map(\.id) == [65, 66])
        #expect(refused.allSatisfy { $0.payload.error.code == "SERVICE_UNAVAILABLE" })
        node.holdsAnswers = false
        #expect(node.contents("c1") == (0..<65).map { "m\($0)" })
        #expect(alice.events().filter { $0.payload.ok == true }.count == 65)
    }
}
