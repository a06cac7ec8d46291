import Basics
import BusCore
import Domain
import Gateway
import Testing
import WebSocket
import Wire

@Suite("The hub: fan-out in steps, slow readers, joined frames")
struct FanOutTests {
    private func roomOf(_ count: Int, _ limits: [String: String] = [:]) -> (TestNode, [TestSocket])
    {
        let node = TestNode(limits: limits, isBench: true)
        let sockets = (0..<count).map { _ in node.roomMember() }
        return (node, sockets)
    }

    // MARK: Writes that are told of later

    @Test("As many writes are held as a driver may hold, and all are asked for")
    func held() {
        let (node, sockets) = roomOf(300)
        let before = node.settled.count
        sockets[0].sendText("one")
        #expect(node.settled[before...] == [128, 128, 44])
        #expect(GatewayShard.writesAtOnce == 128)
        #expect(sockets.allSatisfy { $0.takeTexts() == ["one"] })
        #expect(node.counter(.outboxBytes) == 0)
    }

    @Test("What is too large to be copied is written at once")
    func largeIsNotHeld() {
        let (node, sockets) = roomOf(3)
        let before = node.settled.count
        let text = String(repeating: "x", count: 5_000)
        sockets[0].sendText(text)
        #expect(node.settled.count == before)
        #expect(sockets.allSatisfy { $0.takeTexts() == [text] })
    }

    @Test("Only who was given something since the mark is written to before the end of the tick")
    func mark() {
        let node = TestNode(isBench: true)
        let sockets = (1...3).map { number in
            let socket = node.connect(address: "192.0.2.\(number)")
            #expect(socket.upgrade("/bench/echo").status == 101)
            return socket
        }
        let shard = node.shards[0]
        var offered: [ConnectionKey] = []
        func say(_ socket: TestSocket) {
            var bytes = TestSocket.text("x")
            var span = bytes.mutableSpan
            shard.receive(socket.key, &span)
        }
        func write(
            _ key: ConnectionKey, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>
        ) -> Int {
            offered.append(key)
            return unsafe chunks.reduce(0) { $0 + $1.count }
        }
        shard.beginTick(node.now)
        say(sockets[0])
        let mark = shard.flushMark
        say(sockets[1])
        unsafe shard.flushReplies(since: mark, write)
        #expect(offered == [sockets[1].key])
        say(sockets[2])
        unsafe shard.flushReplies(since: mark, write)
        #expect(offered == [sockets[1].key, sockets[2].key])
        // Nothing is left to be offered twice.
        unsafe shard.flushReplies(since: mark, write)
        shard.endTick()
        unsafe shard.flush(write)
        #expect(offered == [sockets[1].key, sockets[2].key, sockets[0].key])
    }

    @Test("Answers go out between receives, and what a fan-out gives at the end, in one piece")
    func replies() {
        let node = TestNode(isBench: true)
        let (first, second, third) = (node.roomMember(), node.roomMember(), node.roomMember())
        let echo = node.connect(address: "192.0.2.1")
        #expect(echo.upgrade("/bench/echo").status == 101)
        node.repliesAfter = 1
        let before = node.counter(.flushes)
        node.together {
            first.sendText("to all")
            second.send(TestSocket.frame(.ping, [1]))
            echo.sendText("back")
            third.sendText("to all, too")
            node.tick(0)
        }
        #expect(second.takeTexts() == ["to all", "to all, too"])
        #expect(second.pongs == [[1]])
        #expect(echo.takeTexts() == ["back"])
        #expect(first.takeTexts() == ["to all", "to all, too"])
        // Three members' runs, a pong before, an echo.
        #expect(node.counter(.flushes) - before == 5)
    }

    @Test(
        "It makes no difference when a write is told of (property)",
        arguments: 1...20)
    func whenIsTheSame(seed: Int) {
        func course(holdsWrites: Bool) -> (received: [[UInt8]], closed: [Bool], counters: [Int]) {
            var numbers = Numbers(seed: UInt64(seed) * 101)
            let node = TestNode(limits: ["outbox": "65536"], isBench: true)
            node.holdsWrites = holdsWrites
            let sockets = (0..<200).map { node.roomMember("room\($0 % 4)") }
            for _ in 0..<30 {
                node.together {
                    for _ in 0...numbers.below(6) {
                        let socket = sockets[numbers.below(sockets.count)]
                        switch numbers.below(12) {
                        case 0: socket.isReset = true
                        case 1...3: socket.limit(to: numbers.below(300))
                        case 4: socket.limit(to: nil)
                        default:
                            let length = numbers.below(numbers.below(4) == 0 ? 9_000 : 200)
                            socket.sendText(String(repeating: "m", count: length))
                        }
                    }
                }
            }
            for socket in sockets { socket.limit(to: nil) }
            let counters: [Counter] = [
                .bytesSent, .flushes, .outboxBytes, .deliveries, .connectionsClosed,
            ]
            return (
                sockets.map { $0.takeBytes() }, sockets.map(\.isClosed), counters.map(node.counter)
            )
        }
        let (held, told) = (course(holdsWrites: true), course(holdsWrites: false))
        #expect(held.received == told.received)
        #expect(held.closed == told.closed)
        #expect(held.counters == told.counters)
        #expect(held.closed.contains(true), "some were reset or too slow")
    }

    // MARK: Steps

    @Test("5,000 members get each message exactly once, 2,000 a tick")
    func steps() {
        let (node, sockets) = roomOf(5_000)
        func served() -> Int { sockets.count(where: \.hasUnread) }
        node.together {
            sockets[0].sendText("one")
            node.tick(0)
            #expect(served() == 2_000)
            node.tick(0)
            #expect(served() == 4_000)
            #expect(node.shards[0].hasUrgentWork)
            node.tick(0)
            #expect(served() == 5_000)
            #expect(!node.shards[0].hasUrgentWork)
        }
        sockets[4_999].sendText("two")
        #expect(sockets.allSatisfy { $0.takeTexts() == ["one", "two"] })
        #expect(node.counter(.deliveries) == 10_000)
    }

    @Test("What comes during a pass goes out in the next one, in order")
    func duringPass() {
        let (node, sockets) = roomOf(4_500)
        node.together {
            sockets[0].sendText("one")
            node.tick(0)
            sockets[1].sendText("two")
            sockets[2].sendText("three")
        }
        #expect(sockets.allSatisfy { $0.takeTexts() == ["one", "two", "three"] })
    }

    @Test("A large room holds up no small one")
    func fairness() {
        let (node, large) = roomOf(6_000)
        let small = (0..<3).map { _ in node.roomMember("small") }
        node.together {
            large[0].sendText("a")
            small[0].sendText("s")
            node.tick(0)
            #expect(large.contains { !$0.hasUnread })
            #expect(small.allSatisfy { $0.takeTexts() == ["s"] })
        }
        #expect(large.allSatisfy { $0.takeTexts() == ["a"] })
    }

    @Test(
        "Members that join and leave in the middle of a pass: the others get each message once",
        arguments: 1...5)
    func churn(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed) * 77)
        let (node, first) = roomOf(2_100 + numbers.below(800))
        var present = first
        var owed: [ObjectIdentifier: [String]] = [:]
        var joined: [TestSocket] = []
        var gone: [TestSocket] = []
        node.together {
            for number in 0..<6 {
                let text = "m\(number)"
                present[0].sendText(text)
                // Those who are there when it is published are owed it.
                node.tick(0)
                for socket in present { owed[ObjectIdentifier(socket), default: []].append(text) }
                for _ in 0..<numbers.below(3) {
                    for _ in 0..<numbers.below(40) {
                        let leaver = present.remove(at: 1 + numbers.below(present.count - 1))
                        gone.append(leaver)
                        node.shards[0].failed(leaver.key)
                    }
                    node.tick(0)
                }
                for _ in 0..<numbers.below(4) {
                    let socket = node.connect(address: "192.0.2.\(joined.count + 1)")
                    socket.send(TestSocket.upgrade("/bench/room/r"))
                    joined.append(socket)
                    present.append(socket)
                }
            }
        }
        for socket in joined where !gone.contains(where: { $0 === socket }) {
            #expect(socket.switched().status == 101)
        }
        for socket in present {
            // Whoever joined during a pass may have met it, too.
            let texts = socket.takeTexts()
            let due = owed[ObjectIdentifier(socket)] ?? []
            #expect(Array(texts.suffix(due.count)) == due)
            #expect(Set(texts).count == texts.count, "a repeat")
        }
        for socket in gone where !joined.contains(where: { $0 === socket }) {
            let texts = socket.takeTexts()
            #expect(texts == (0..<texts.count).map { "m\($0)" }, "a hole or a repeat")
        }
        #expect(node.counter(.subscriptions) == present.count)
    }

    @Test(
        "Joins, leaves and messages in many chats at once: subscriptions stay true (property)",
        arguments: 1...15)
    func manyChats(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed) * 31)
        let node = TestNode(limits: ["joins": "100000", "sends": "off"])
        let chats = (0..<6).map { "c\($0)" }
        let users = (0..<5).map { "u\($0)" }
        for chat in chats { node.group(chat, users) }
        var sockets = users.map { node.client($0) }
        var joined: [Set<String>] = users.map { _ in [] }
        var owed: [[String]] = users.map { _ in [] }
        for number in 0..<250 {
            let who = numbers.below(users.count)
            let chat = chats[numbers.below(chats.count)]
            switch numbers.below(10) {
            case 0...2:
                sockets[who].say("chat.join", ["chatId": .string(chat)])
                joined[who].insert(chat)
            case 3...4:
                sockets[who].say("chat.leave", ["chatId": .string(chat)])
                joined[who].remove(chat)
            case 5 where numbers.below(4) == 0:
                #expect(sockets[who].contents() == owed[who])
                sockets[who].end()
                sockets[who] = node.client(users[who])
                joined[who] = []
                owed[who] = []
            default:
                sockets[who].say(
                    "message.send", ["chatId": .string(chat), "content": .string("m\(number)")])
                for index in users.indices where index != who && joined[index].contains(chat) {
                    owed[index].append("m\(number)")
                }
            }
        }
        for index in users.indices { #expect(sockets[index].contents() == owed[index]) }
        #expect(node.counter(.subscriptions) == joined.reduce(0) { $0 + $1.count })
    }

    @Test("Frames of one tick go out in one write")
    func joinedFrames() {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        let before = node.counter(.flushes)
        alice.send(
            (0..<10).flatMap {
                TestSocket.say("message.send", ["chatId": "c1", "content": .string("m\($0)")])
            })
        #expect(bob.contents() == (0..<10).map { "m\($0)" })
        // One for the sender's ten events, one for the reader's ten.
        #expect(node.counter(.flushes) - before <= 3)
    }

    @Test("A room's text goes to all, its sender too, as it came", arguments: [1, 3])
    func roomEcho(shards: Int) {
        let node = TestNode(shards: shards, isBench: true)
        let sockets = (0..<6).map { node.roomMember(shard: $0 % shards) }
        sockets[1].sendText("no JSON €")
        #expect(sockets.allSatisfy { $0.takeTexts() == ["no JSON €"] })
        sockets[0].send(TestSocket.frame(.binary, [1]))
        #expect(sockets[0].closeCode == 1003)
    }

    // MARK: Shared bytes

    @Test(
        "What a socket does not take at once of a room's text comes later, whole",
        arguments: 0...17)
    func shortWrites(first: Int) {
        let (node, sockets) = roomOf(3)
        sockets[1].limit(to: first)
        // Seven bytes with the header, then nine.
        sockets[0].sendText("first")
        sockets[2].sendText("secondo")
        #expect(sockets[1].received.count == min(first, 16))
        for _ in 0..<20 { sockets[1].limit(to: 1) }
        #expect(sockets[1].takeTexts() == ["first", "secondo"])
        #expect(sockets[0].takeTexts() == ["first", "secondo"])
        #expect(node.counter(.outboxBytes) == 0)
    }

    @Test("One tick with several chats, an answer before and typing behind: all of it, in order")
    func severalTopics() {
        let node = TestNode()
        for chat in ["c1", "c2", "c3"] { node.group(chat, ["alice", "bob", "carol"]) }
        let bob = node.member("bob", of: "c1")
        for chat in ["c2", "c3"] { _ = bob.ask("chat.join", ["chatId": .string(chat)]) }
        let carol = node.member("carol", of: "c2")
        let entries = [
            node.append("c1", by: "alice", "1"), node.append("c2", by: "alice", "2"),
            node.append("c3", by: "alice", "3"), node.append("c1", by: "alice", "4"),
        ]
        node.together {
            bob.send(TestSocket.say("typing", ["chatId": "c1", "isTyping": true], id: 7))
            for entry in entries { node.arrive(.entry(entry), on: .chat(entry.chat)) }
        }
        #expect(Set(bob.contents()) == ["1", "2", "3", "4"])
        #expect(carol.contents() == ["2"])
        #expect(node.counter(.outboxBytes) == 0)
    }

    @Test("A reader that is closed in the tick of a pass has its bytes before the close frame")
    func closeBehindRun() {
        let (node, sockets) = roomOf(2, ["outbox": "16384", "batchBytes": "100000"])
        let text = String(repeating: "x", count: 11_996)
        func send(_ count: Int) {
            node.together { for _ in 0..<count { sockets[0].sendText(text) } }
        }
        // 108,000 bytes in frames are less than both bounds together, 116,384; 120,000 are more.
        send(9)
        #expect(sockets.allSatisfy { $0.closeCode == nil && $0.takeTexts().count == 9 })
        send(10)
        #expect(sockets.allSatisfy { $0.closeCode == 4101 })
        #expect(sockets.allSatisfy { $0.takeTexts() == Array(repeating: text, count: 10) })
        #expect(node.counter(.outboxBytes) == 0)
    }

    @Test("Who joins a chat while passes over it are under way gets all from there on, once")
    func joinsInPass() {
        let node = TestNode(
            limits: ["joins": "off", "sends": "off", "sendBurst": "off", "socketsPerUser": "off"])
        node.group("c1", ["alice", "bob"])
        let alice = node.client("alice")
        // More than one step serves.
        var readers = (0..<2_020).map { _ in node.member("bob", of: "c1") }
        var sent = 0
        var first: [ObjectIdentifier: Int] = [:]
        func owed(_ reader: TestSocket) -> [String] {
            (first[ObjectIdentifier(reader), default: 0]..<sent).map { "m\($0)" }
        }
        func send() {
            alice.say("message.send", ["chatId": "c1", "content": .string("m\(sent)")])
            sent += 1
        }
        for round in 0..<4 {
            let late = node.client("bob")
            first[ObjectIdentifier(late)] = sent
            let known = node.log("c1").count
            let leaver = readers.remove(at: round * 600)
            #expect(leaver.contents() == owed(leaver))
            node.together {
                send()
                late.say("chat.join", ["chatId": "c1", "since": .number(Double(known))])
                send()
                node.shards[0].failed(leaver.key)
            }
            send()
            readers.append(late)
        }
        #expect(readers.allSatisfy { $0.contents() == owed($0) })
    }

    // MARK: Slow readers

    /// Text frames of a room, each of so many bytes with its header.
    private func roomFrame(_ bytes: Int) -> String {
        String(repeating: "x", count: bytes - (bytes <= 127 ? 2 : 4))
    }

    @Test(
        "An outbox may be as full as the limit; one byte more closes it with 4101",
        arguments: [
            (19_999, nil), (20_000, nil), (20_001, 4101),
        ] as [(Int, Int?)])
    func outboxLimit(bytes: Int, code: Int?) {
        let (node, sockets) = roomOf(2, ["outbox": "20000"])
        sockets[1].limit(to: 0)
        for _ in 0..<19 { sockets[0].sendText(roomFrame(1_000)) }
        sockets[0].sendText(roomFrame(bytes - 19_000))
        #expect(node.counter(.outboxBytes) >= min(bytes, 20_000))
        sockets[1].limit(to: nil)
        #expect(sockets[1].closeCode == code)
        #expect(sockets[1].takeTexts().count == 20, "what waited was read before the close frame")
        #expect(node.counter(.slowConsumersClosed) == (code == nil ? 0 : 1))
        #expect(sockets[0].closeCode == nil)
    }

    @Test("A reader that never reads is gone after the closing time, and its memory with it")
    func neverReads() {
        let (node, sockets) = roomOf(3, ["outbox": "20000"])
        sockets[1].limit(to: 0)
        for _ in 0..<30 { sockets[0].sendText(roomFrame(1_000)) }
        #expect(node.counter(.outboxBytes) > 20_000)
        node.advance(5_100)
        #expect(sockets[1].isClosed)
        #expect(node.counter(.outboxBytes) == 0)
        #expect(sockets[2].takeTexts().count == 30, "the others noticed nothing")
    }

    @Test(
        "A slow reader is closed in the middle of a pass, and the others are served",
        arguments: [
            0, 1, 2, 3, 4,
        ])
    func closedInPass(slow: Int) {
        let (node, sockets) = roomOf(5, ["outbox": "16384"])
        sockets[slow].limit(to: 0)
        for _ in 0..<40 { sockets[(slow + 1) % 5].sendText(roomFrame(1_000)) }
        for (index, socket) in sockets.enumerated() where index != slow {
            #expect(socket.takeTexts().count == 40)
        }
        #expect(node.counter(.subscriptions) == 4)
    }

    @Test("All readers of a room slow at once: all are closed, and the room is gone")
    func allSlow() {
        let (node, sockets) = roomOf(4, ["outbox": "16384"])
        for socket in sockets { socket.limit(to: 0) }
        for _ in 0..<40 { sockets[0].sendText(roomFrame(1_000)) }
        #expect(node.counter(.slowConsumersClosed) == 4)
        #expect(node.counter(.subscriptions) == 0)
        let fresh = node.roomMember()
        fresh.sendText("hello")
        #expect(fresh.takeTexts() == ["hello"])
    }

    @Test("At half an outbox typing is dropped, messages are not")
    func typingDropped() {
        let node = TestNode(limits: ["outbox": "20000", "typing": "off"])
        node.group("c1", ["alice", "bob"])
        let alice = node.member("alice", of: "c1")
        let bob = node.member("bob", of: "c1")
        bob.limit(to: 0)
        let content = String(repeating: "x", count: 2_000)
        func type() {
            for isTyping in [true, false] {
                alice.say("typing", ["chatId": "c1", "isTyping": .bool(isTyping)])
            }
            node.advance(7_000)
        }
        func message() { alice.say("message.send", ["chatId": "c1", "content": .string(content)]) }
        for _ in 0..<4 { message() }
        #expect(node.counter(.outboxBytes) < 10_000)
        type()
        message()
        #expect(node.counter(.outboxBytes) > 10_000)
        #expect(node.counter(.droppedEphemeral) == 0)
        type()
        #expect(node.counter(.droppedEphemeral) == 2)
        message()
        bob.limit(to: nil)
        let types = bob.types()
        #expect(types.filter { $0 == "typing" }.count == 2)
        #expect(types.filter { $0 == "message.new" }.count == 6)
        type()
        #expect(bob.events("typing").count == 2, "heard again once there is room")
    }

    @Test("A message among typing events still comes where those are dropped")
    func mixedPass() {
        let node = TestNode(limits: ["outbox": "20000", "typing": "off"])
        node.group("c1", ["alice", "bob", "carol"])
        let alice = node.member("alice", of: "c1")
        let bob = node.member("bob", of: "c1")
        bob.limit(to: 0)
        alice.say(
            "message.send",
            ["chatId": "c1", "content": .string(String(repeating: "x", count: 11_000))])
        let entry = node.append("c1", by: "carol", "small")
        let chat = ChatID(trusted: "c1")
        node.together {
            for isTyping in [true, false] {
                node.arrive(
                    .typing(Typing(chat: chat, user: UserID(trusted: "carol"), isTyping: isTyping)),
                    on: .chat(chat))
            }
            node.arrive(.entry(entry), on: .chat(chat))
        }
        bob.limit(to: nil)
        #expect(bob.types() == ["message.new", "message.new"])
    }

    @Test("When all outboxes together are over their bound, the next slow reader is cut off")
    func totalBound() {
        let node = TestNode(
            limits: ["totalOutbox": "1000000", "outbox": "1000000"], isBench: true)
        let talker = node.roomMember()
        let slow = (0..<30).map { _ in node.roomMember() }
        for socket in slow { socket.limit(to: 0) }
        var peak = 0
        for _ in 0..<60 {
            talker.sendText(roomFrame(1_000))
            peak = max(peak, node.counter(.outboxBytes))
        }
        #expect(peak <= 1_000_000 + 1_000)
        #expect(node.counter(.slowConsumersClosed) > 0)
        #expect(slow.contains { $0.isClosed })
        #expect(talker.takeTexts().count == 60)
    }

    @Test("Readers that keep up survive a burst that is larger than an outbox")
    func burst() {
        let node = TestNode(limits: ["outbox": "20000", "sendBurst": "1000"])
        node.group("c1", ["alice", "bob"])
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        node.holdsAnswers = true
        let content = String(repeating: "x", count: 1_000)
        for _ in 0..<60 {
            alice.say("message.send", ["chatId": "c1", "content": .string(content)])
        }
        node.holdsAnswers = false
        #expect(bob.closeCode == nil)
        #expect(bob.contents().count == 60)
    }

    @Test("A single event that is larger than an outbox closes nobody who keeps up")
    func largeEvent() {
        let node = TestNode(limits: ["outbox": "20000"])
        node.group("c1", ["alice", "bob"])
        let alice = node.client("alice")
        let bob = node.member("bob", of: "c1")
        // Each of these bytes takes six in JSON.
        let content = String(repeating: "\u{1}", count: 5_000)
        #expect(
            alice.ask("message.send", ["chatId": "c1", "content": .string(content)]).ok == true)
        #expect(bob.closeCode == nil)
        #expect(bob.contents() == [content])
        bob.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        #expect(bob.contents() == [content])
        #expect(bob.closeCode == nil)
    }

    // MARK: Between shards

    @Test(
        "Messages reach members on every shard once, in order, whoever sends (property)",
        arguments: 1...6)
    func shards(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed) * 13)
        let shards = 2 + seed % 3
        let node = TestNode(shards: shards, limits: ["sends": "off", "sendBurst": "off"])
        let chats = ["c1", "c2", "c3"]
        for chat in chats { node.group(chat, ["alice", "bob"]) }
        let senders = (0..<shards).map { node.client("alice", shard: $0) }
        let readers = (0..<(2 * shards)).map { index in
            let reader = node.client("bob", shard: index % shards)
            for chat in chats { reader.ask("chat.join", ["chatId": .string(chat)]) }
            return reader
        }
        node.together {
            for number in 0..<80 {
                let sender = senders[numbers.below(shards)]
                let chat = chats[numbers.below(3)]
                sender.say(
                    "message.send", ["chatId": .string(chat), "content": .string("m\(number)")])
                if numbers.below(3) == 0 { node.tick(numbers.below(shards)) }
            }
        }
        for reader in readers {
            let events = reader.events("message.new")
            for chat in chats {
                let own = events.filter { $0.chatId == .string(chat) }
                #expect(own.map { $0.seq.intValue ?? 0 } == Array(1...max(1, node.log(chat).count)))
            }
        }
        #expect(chats.reduce(0) { $0 + node.log($1).count } == 80)
    }
}
