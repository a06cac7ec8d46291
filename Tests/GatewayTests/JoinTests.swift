import Basics
import BusCore
import Domain
import Gateway
import StoreCore
import TestSupport
import Testing

@Suite("Joining, resuming, leaving")
struct JoinTests {
    private let chat = ChatID(trusted: "c1")

    private func node(
        _ limits: [String: String] = [:], shards: Int = 1, messages: Int = 0
    ) -> TestNode {
        let node = TestNode(shards: shards, limits: limits)
        node.group("c1", ["alice", "bob"])
        for number in 0..<messages { node.append("c1", by: "bob", "m\(number + 1)") }
        return node
    }

    private func live(_ node: TestNode, _ content: String, in name: String = "c1") {
        let entry = node.append(name, by: "bob", content)
        node.arrive(.entry(entry), on: .chat(ChatID(trusted: name)))
    }

    // MARK: Join

    @Test("A join is answered with where the log and the reader stand; without since, no replay")
    func joinWithoutSince() {
        let node = node(messages: 4)
        let alice = node.client("alice")
        alice.say("read.set", ["chatId": "c1", "seq": 3])
        node.advance(300)
        alice.say("chat.join", ["chatId": "c1"], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ack"])
        #expect(events[0].payload == ["ok": true, "chatId": "c1", "lastSeq": 4, "readSeq": 3])
        live(node, "m5")
        #expect(alice.contents() == ["m5"])
    }

    @Test(
        "With since: the ack, the entries after it in order, caughtUp, then live",
        arguments: [1, 2])
    func joinWithSince(shards: Int) {
        let node = node(shards: shards, messages: 5)
        let alice = node.client("alice", shard: shards - 1)
        alice.say("chat.join", ["chatId": "c1", "since": 2], id: 1)
        let events = alice.events()
        #expect(
            events.map(\.type)
                == ["ack", "message.new", "message.new", "message.new", "caughtUp"])
        #expect(events[0].payload.lastSeq == 5)
        #expect(events[1...3].map(\.payload.seq) == [3, 4, 5])
        #expect(events[4].payload == ["chats": ["c1": 5]])
        live(node, "m6")
        #expect(alice.contents() == ["m6"])
    }

    @Test("With nothing missed, caughtUp follows the ack at once", arguments: [3, 4, 99])
    func nothingMissed(since: Int) {
        let node = node(messages: 3)
        let alice = node.client("alice")
        alice.say("chat.join", ["chatId": "c1", "since": .number(Double(since))], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ack", "caughtUp"])
        #expect(events[1].payload == ["chats": ["c1": 3]])
    }

    @Test("A join without an id is not acked, and works")
    func joinWithoutID() {
        let node = node(messages: 1)
        let alice = node.client("alice")
        alice.say("chat.join", ["chatId": "c1", "since": 0])
        #expect(alice.types() == ["message.new", "caughtUp"])
    }

    @Test("A replay includes what the connection sent itself")
    func ownMessages() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        _ = alice.ask("message.send", ["chatId": "c1", "content": "mine"])
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        #expect(alice.contents() == ["mine"])
    }

    @Test("Joining again changes nothing, and each message still comes once")
    func joinTwice() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        #expect(alice.ask("chat.join", ["chatId": "c1"]).ok == true)
        #expect(node.counter(.subscriptions) == 1)
        live(node, "x")
        #expect(alice.contents() == ["x"])
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        #expect(alice.contents() == ["x"], "asked for again, given again")
        live(node, "y")
        #expect(alice.contents() == ["y"])
    }

    @Test("Who has left hears nothing; leaving what was not joined is no error")
    func leave() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        #expect(alice.ask("chat.leave", ["chatId": "c1"]) == ["ok": true])
        live(node, "x")
        #expect(alice.events().isEmpty)
        #expect(alice.ask("chat.leave", ["chatId": "c1"]).ok == true)
        #expect(alice.ask("chat.leave", ["chatId": "c9"]).ok == true)
        #expect(node.counter(.subscriptions) == 0)
    }

    @Test("Join, leave, join, sent in one piece, happen in that order")
    func pipelinedJobs() {
        let node = node(messages: 1)
        let alice = node.client("alice")
        alice.send(
            TestSocket.say("chat.join", ["chatId": "c1"], id: 1)
                + TestSocket.say("chat.leave", ["chatId": "c1"], id: 2)
                + TestSocket.say("chat.join", ["chatId": "c1", "since": 0], id: 3)
                + TestSocket.say("chat.leave", ["chatId": "c1"], id: 4))
        let events = alice.events()
        #expect(events.map(\.type) == ["ack", "ack", "ack", "message.new", "caughtUp", "ack"])
        #expect(events.map(\.id) == [1, 2, 3, .missing, .missing, 4])
        live(node, "x")
        #expect(alice.events().isEmpty)
    }

    @Test("As many joins as the bound may wait, one more is RATE_LIMITED")
    func queueBound() {
        let node = node(["joins": "1000"])
        let alice = node.client("alice")
        node.holdsAnswers = true
        for number in 1...65 {
            alice.say("chat.join", ["chatId": "c1"], id: .number(Double(number)))
        }
        let refused = alice.events()
        #expect(refused.map(\.id) == [65])
        #expect(refused.first?.payload.error.code == "RATE_LIMITED")
        node.holdsAnswers = false
        #expect(alice.events().filter { $0.payload.ok == true }.count == 64)
    }

    @Test("While the store refuses, a join is SERVICE_UNAVAILABLE, and nothing is followed")
    func storeRefuses() {
        let node = node(messages: 1)
        _ = node.member("bob", of: "c1")
        let alice = node.client("alice")
        node.fate = { _ in .fails }
        let join = alice.ask("chat.join", ["chatId": "c1"])
        #expect(join.error.code == "SERVICE_UNAVAILABLE")
        let resume = alice.ask("resume", ["chats": ["c1": 0]])
        #expect(resume.error.code == "SERVICE_UNAVAILABLE")
        #expect(alice.closeCode == nil)
        node.fate = { _ in .commits }
        live(node, "m2")
        #expect(alice.events().isEmpty)
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        #expect(alice.contents() == ["m1", "m2"])
    }

    @Test("Where not even the log's head can be read, a join waits and is served when it can")
    func headFails() {
        let node = node(messages: 1)
        let alice = node.client("alice")
        node.fate = { _ in .fails }
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        node.advance(2_000)
        node.fate = { _ in .commits }
        node.advance(600)
        #expect(alice.types() == ["ack", "message.new", "caughtUp"])
    }

    @Test("A replay that fails in the middle closes with 4202: the client resumes where it was")
    func replayFails() {
        let node = node(messages: 600)
        let alice = node.client("alice")
        var reads = 0
        node.fate = { batch in
            for case .readLogs in batch.operations { reads += 1 }
            return reads > 1 ? .fails : .commits
        }
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        let events = alice.events()
        #expect(events.count > 1 && events.count < 600)
        #expect(events.last?.type == "message.new")
        #expect(alice.closeCode == 4202)
    }

    // MARK: Resume

    @Test("Resume answers for all chats at once: what is followed, and what is refused")
    func resume() {
        let node = node(messages: 3)
        node.group("c2", ["alice"])
        node.group("c3", ["bob"])
        node.append("c2", by: "alice", "n1")
        let alice = node.client("alice")
        alice.say("resume", ["chats": ["c1": 1, "c2": 1, "c3": 0, "c9": 5]], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ack", "message.new", "message.new", "caughtUp"])
        #expect(events[0].payload.keys == ["chats", "ok", "refused"])
        #expect(
            events[0].payload.chats
                == ["c1": ["lastSeq": 3, "readSeq": 0], "c2": ["lastSeq": 1, "readSeq": 0]])
        #expect(events[0].payload.refused == ["c3": "NOT_FOUND", "c9": "NOT_FOUND"])
        #expect(events[1...2].map(\.payload.seq) == [2, 3])
        #expect(events[3].payload == ["chats": ["c1": 3, "c2": 1]])
        live(node, "m4")
        #expect(alice.contents() == ["m4"])
    }

    @Test(
        "A resume of nothing, or of refused chats only, is caught up with nothing",
        arguments: [
            [:], ["c9": 1],
        ] as [JSONValue])
    func emptyResume(chats: JSONValue) {
        let node = node()
        let alice = node.client("alice")
        alice.say("resume", ["chats": chats], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ack", "caughtUp"])
        #expect(events[0].payload.ok == true)
        #expect(events[1].payload == ["chats": [:]])
    }

    @Test(
        "A resume from beyond the log's end is caught up with nothing, and hears what comes",
        arguments: [3, 4, 9_007_199_254_740_991])
    func resumeBeyondTheEnd(after: Int) {
        let node = node(messages: 3)
        let alice = node.client("alice")
        alice.say("resume", ["chats": ["c1": .number(Double(after))]], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ack", "caughtUp"])
        #expect(events[0].payload.chats == ["c1": ["lastSeq": 3, "readSeq": 0]])
        #expect(events[0].payload.refused == [:])
        #expect(events[1].payload == ["chats": ["c1": 3]])
        live(node, "m4")
        #expect(alice.contents() == ["m4"])
    }

    @Test("A resume names at most as many chats as the limit", arguments: [2, 3, 4])
    func resumeLimit(count: Int) {
        let node = node(["chatsPerResume": "3"])
        let alice = node.client("alice")
        let chats = Dictionary(
            uniqueKeysWithValues: (0..<count).map { ("x\($0)", JSONValue.number(0)) })
        let ack = alice.ask("resume", ["chats": .object(chats)])
        #expect(ack.ok == .bool(count <= 3))
        if count > 3 { #expect(ack.error.code == "INVALID_INPUT") }
    }

    @Test("A long replay comes in pages, whole, in order, once")
    func pages() {
        let node = node(messages: 1_000)
        node.group("c2", ["alice", "bob"])
        for number in 0..<300 { node.append("c2", by: "bob", "n\(number + 1)") }
        let alice = node.client("alice")
        alice.say("resume", ["chats": ["c1": 0, "c2": 0]], id: 1)
        let events = alice.events()
        for (name, count) in [("c1", 1_000), ("c2", 300)] {
            let seqs = events.filter {
                $0.type == "message.new" && $0.payload.chatId == .string(name)
            }.map { $0.payload.seq.intValue }
            #expect(seqs == Array(1...count))
        }
        #expect(events.last?.type == "caughtUp")
    }

    // MARK: Between the read and the answer

    @Test(
        "What is committed between the store's read and its answer comes once, in order",
        arguments: [1, 2], [0, 1, 2])
    func duringCatchUp(shards: Int, step: Int) {
        for count in [1, 2, 5] {
            let node = node(shards: shards, messages: 3)
            let alice = node.client("alice", shard: shards - 1)
            node.holdsAnswers = true
            alice.say("chat.join", ["chatId": "c1", "since": 1], id: 1)
            // A catch-up asks for the head, for who may, for the log.
            for _ in 0..<step { node.releaseOne() }
            for number in 0..<count { live(node, "m\(number + 4)") }
            #expect(alice.events("message.new").isEmpty)
            node.holdsAnswers = false
            live(node, "last")
            let events = alice.events()
            #expect(
                events.filter { $0.type == "message.new" }.map { $0.payload.seq.intValue }
                    == Array(2...(count + 4)))
            #expect(events.filter { $0.type == "caughtUp" }.count == 1)
        }
    }

    @Test(
        "Commits at any moment of any catch-up leave no hole and no repeat (property)",
        arguments: 1...60)
    func catchUpProperty(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed))
        let shards = 1 + seed % 3
        let node = node(["joins": "1000"], shards: shards, messages: numbers.below(4))
        let alice = node.client("alice", shard: numbers.below(shards))
        var seen: [Int] = []
        var isJoining = false
        func read() {
            for event in alice.events() {
                if event.type == "message.new" { seen.append(event.payload.seq.intValue ?? -1) }
                if event.type == "caughtUp" { isJoining = false }
            }
        }
        func join() {
            read()
            guard !isJoining else { return }
            isJoining = true
            let since = JSONValue.number(Double(seen.last ?? 0))
            node.together {
                alice.say("chat.leave", ["chatId": "c1"])
                alice.say("chat.join", ["chatId": "c1", "since": since])
            }
        }
        join()
        for _ in 0..<60 {
            node.holdsAnswers = numbers.below(16) > 0
            switch numbers.below(8) {
            case 0...1:
                let entry = node.append("c1", by: "bob", "x")
                // The bus may repeat itself, and now and then it loses.
                let times = numbers.below(6) == 0 ? 0 : 1 + numbers.below(2)
                for _ in 0..<times { node.arrive(.entry(entry), on: .chat(chat)) }
            case 2...4: node.releaseOne()
            case 5...6: join()
            default: node.advance(numbers.below(300))
            }
        }
        node.holdsAnswers = false
        let last = node.append("c1", by: "bob", "last")
        node.arrive(.entry(last), on: .chat(chat))
        node.advance(1_000)
        read()
        #expect(!isJoining)
        #expect(seen == Array(1...node.log("c1").count))
    }

    @Test("An entry whose predecessor is lost waits 200 ms, then both come from the store")
    func repair() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "lost")
        live(node, "second")
        node.advance(180)
        #expect(alice.events().isEmpty)
        node.advance(40)
        #expect(alice.contents() == ["lost", "second"])
        #expect(node.counter(.entriesRepaired) == 2)
    }

    @Test("A repair waits for a store that fails, and happens when it works again")
    func repairLater() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "lost")
        live(node, "second")
        node.fate = { _ in .fails }
        node.advance(1_000)
        #expect(alice.events().isEmpty)
        node.fate = { _ in .commits }
        node.advance(300)
        #expect(alice.contents() == ["lost", "second"])
    }

    // MARK: Slow readers

    @Test("A replay pauses while the reader does not read, goes on when it does, and is not closed")
    func pausedReplay() {
        let node = node(["outbox": "100000"])
        let content = String(repeating: "x", count: 1_000)
        for _ in 0..<400 { node.append("c1", by: "bob", content) }
        let alice = node.client("alice")
        alice.limit(to: 0)
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        let waiting = node.counter(.outboxBytes)
        #expect(waiting > 0 && waiting <= 100_000)
        node.advance(1_000)
        #expect(node.counter(.outboxBytes) == waiting, "paused")
        for _ in 0..<200 where alice.closeCode == nil { alice.limit(to: 5_000) }
        alice.limit(to: nil)
        #expect(alice.closeCode == nil)
        let events = alice.events()
        #expect(events.count == 402 && events.last?.type == "caughtUp")
    }

    @Test("With the smallest outbox a replay of large entries still arrives")
    func smallOutbox() {
        let node = node(["outbox": "16384"])
        let content = String(repeating: "x", count: 3_000)
        for _ in 0..<40 { node.append("c1", by: "bob", content) }
        let alice = node.client("alice")
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        #expect(alice.closeCode == nil)
        #expect(alice.contents().count == 40)
    }

    // MARK: Removal

    private func remove(_ node: TestNode, _ user: String = "alice") {
        let entries = node.change("c1", .removed, user, by: "bob")
        node.arrive(.entry(entries[0]), on: .chat(chat))
    }

    private func nodeOwnedByBob(shards: Int = 1) -> TestNode {
        let node = TestNode(shards: shards)
        node.group("c1", ["bob", "alice", "carol"])
        return node
    }

    @Test("Who is removed gets the entry that says so, and nothing after it", arguments: [1, 2])
    func removed(shards: Int) {
        let node = nodeOwnedByBob(shards: shards)
        let alice = node.member("alice", of: "c1", shard: shards - 1)
        let carol = node.member("carol", of: "c1")
        live(node, "before")
        remove(node)
        live(node, "after")
        let events = alice.events()
        #expect(events.map(\.type) == ["message.new", "chat.changed"])
        #expect(
            events[1].payload.keys == ["at", "by", "chatId", "id", "kind", "seq", "userId"])
        #expect(events[1].payload.kind == "memberRemoved")
        #expect(events[1].payload.userId == "alice" && events[1].payload.by == "bob")
        #expect(carol.types() == ["message.new", "chat.changed", "message.new"])
    }

    @Test("Removal in the same tick as messages before and after it is exact")
    func removedInOneTick() {
        let node = nodeOwnedByBob()
        let alice = node.member("alice", of: "c1")
        let before = node.append("c1", by: "bob", "before")
        let removal = node.change("c1", .removed, "alice", by: "bob")
        let after = node.append("c1", by: "bob", "after")
        node.together {
            for entry in [before, removal[0], after] {
                node.arrive(.entry(entry), on: .chat(chat))
            }
        }
        #expect(alice.types() == ["message.new", "chat.changed"])
    }

    @Test("Who was removed while away may fetch up to that entry, once, and no further")
    func formerMember() {
        let node = nodeOwnedByBob()
        node.append("c1", by: "bob", "m1")
        node.change("c1", .removed, "alice", by: "bob")
        node.append("c1", by: "bob", "m3")
        let alice = node.client("alice")
        alice.say("resume", ["chats": ["c1": 0]], id: 1)
        let events = alice.events()
        #expect(events.map(\.type) == ["ack", "message.new", "chat.changed", "caughtUp"])
        #expect(events[0].payload.chats["c1"].lastSeq == 2)
        #expect(events[0].payload.refused == [:])
        #expect(events[3].payload == ["chats": ["c1": 2]])
        live(node, "m4")
        #expect(alice.events().isEmpty)
        let again = alice.ask("resume", ["chats": ["c1": 2]])
        #expect(again.refused == ["c1": "NOT_FOUND"] && again.chats == [:])
        #expect(
            alice.ask("chat.join", ["chatId": "c1", "since": 0]).error.code == "NOT_FOUND")
    }

    @Test("Removed between the store's read and its answer: the last entry comes, nothing after it")
    func removedDuringCatchUp() {
        for step in 0..<3 {
            let node = nodeOwnedByBob()
            node.append("c1", by: "bob", "m1")
            let carol = node.member("carol", of: "c1")
            let alice = node.client("alice")
            node.holdsAnswers = true
            alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
            for _ in 0..<step { node.releaseOne() }
            remove(node)
            live(node, "m3")
            node.holdsAnswers = false
            live(node, "m4")
            let seqs = alice.events().compactMap(\.payload.seq.intValue)
            #expect(seqs == [1, 2] || seqs.isEmpty, "step \(step): \(seqs)")
            #expect(carol.events().compactMap(\.payload.seq.intValue) == [2, 3, 4])
        }
    }

    @Test("Who is brought back sees the log from that entry on")
    func broughtBack() {
        let node = nodeOwnedByBob()
        node.append("c1", by: "bob", "m1")
        node.change("c1", .removed, "alice", by: "bob")
        node.append("c1", by: "bob", "m3")
        node.change("c1", .added, "alice", by: "bob")
        node.append("c1", by: "bob", "m5")
        let alice = node.client("alice")
        alice.say("resume", ["chats": ["c1": 0]], id: 1)
        #expect(alice.events().compactMap { $0.payload.seq.intValue } == [1, 2, 4, 5])
    }

    @Test("Who leaves by HTTP hears so on each socket, and no more")
    func leaveByHTTP() {
        let node = nodeOwnedByBob()
        let phone = node.member("alice", of: "c1")
        let laptop = node.member("alice", of: "c1")
        let answer = node.connect().request(
            "DELETE", "/api/v1/chats/c1/members/alice", token: node.token("alice"))
        #expect(answer.status == 200)
        for socket in [phone, laptop] {
            #expect(socket.events("chat.changed").map(\.kind) == ["memberLeft"])
        }
        live(node, "after")
        #expect(phone.events().isEmpty && laptop.events().isEmpty)
        #expect(node.counter(.subscriptions) == 0)
    }
}
