import Basics
import BusCore
import Domain
import Gateway
import StoreCore
import Testing
import Wire

@Suite("A bus that others share: follow, compare, repair")
struct RepairTests {
    private func node(shards: Int = 2) -> TestNode {
        let node = TestNode(shards: shards, isShared: true)
        node.group("c1", ["alice", "bob"])
        return node
    }

    private func arrive(_ node: TestNode, _ entry: LogEntry) {
        node.arrive(.entry(entry), on: .chat(entry.chat))
    }

    private func reads(_ node: TestNode) -> [ReadNews] {
        node.batches.flatMap(\.operations).compactMap {
            if case .readNews(let read) = $0 { read } else { nil }
        }
    }

    @Test("A join waits until the bus holds, and misses nothing of what came meanwhile")
    func followFirst() {
        let node = node()
        node.followsHold = false
        let alice = node.client("alice")
        alice.say("chat.join", ["chatId": "c1", "since": 0], id: 1)
        #expect(alice.types().isEmpty)
        arrive(node, node.append("c1", by: "bob", "m1"))
        let followed = node.interests?.compactMap { interest -> UInt64? in
            guard case .follow(.chat, let ticket) = interest else { return nil }
            return ticket
        }
        #expect(followed?.count == 1)
        let channel = Channel.chat(ChatID(trusted: "c1"))
        for shard in 0..<2 {
            node.give(
                .mail(.bus(.following(channel, ticket: followed?.first ?? 0))), to: shard)
        }
        #expect(alice.events().map(\.type) == ["ack", "message.new", "caughtUp"])
        arrive(node, node.append("c1", by: "bob", "m2"))
        #expect(alice.contents() == ["m2"])
    }

    @Test("The last who leaves takes the interest with them")
    func unfollow() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let before = node.interests?.count ?? 0
        alice.say("chat.leave", ["chatId": "c1"], id: 1)
        guard case .unfollow(.chat(let chat))? = node.interests?.dropFirst(before).first else {
            Issue.record("no unfollow")
            return
        }
        #expect(chat.text == "c1")
    }

    @Test(
        "P3 Who sent what had to be read from the store hears no echo of it in v1",
        arguments: [0, 1])
    func noEcho(shard: Int) {
        let node = node()
        let home = Channel.chat(ChatID(trusted: "c1")).home(of: 2)
        let alice = node.member("alice", of: "c1", shard: shard)
        let other = node.member("alice", of: "c1", shard: 1 - shard)
        let bob = node.member("bob", of: "c1", shard: home)
        node.losesPublications = true
        alice.say(
            "message.send", ["chatId": "c1", "encryptedContent": "m1", "type": "text"], id: 9)
        #expect(alice.types() == ["ack"])
        node.losesPublications = false
        arrive(node, node.append("c1", by: "bob", "m2"))
        node.advance(220)
        #expect(alice.contents() == ["m2"])
        #expect(other.contents() == ["m1", "m2"])
        #expect(bob.contents() == ["m1", "m2"])
        #expect((node.counter(.entriesRepaired) > 0) == (shard != home))
    }

    @Test("A shard remembers who caused its last 4,096 entries, by chat and number")
    func recent() {
        var recent = RecentEntries()
        let (c1, c2) = (ChatID(trusted: "c1"), ChatID(trusted: "c2"))
        let key = SubscriberKey(place: 3, shard: 0, generation: 1)
        recent.note(1, of: c1, by: key)
        #expect(recent.subscriber(of: 1, in: c1) == key.packed)
        #expect(recent.subscriber(of: 1, in: c2) == 0)
        #expect(recent.subscriber(of: 2, in: c1) == 0)
        let other = SubscriberKey(place: 4, shard: 0, generation: 1)
        for seq in 2...Int64(RecentEntries.capacity) { recent.note(seq, of: c1, by: other) }
        #expect(recent.subscriber(of: 1, in: c1) == key.packed)
        recent.note(1, of: c2, by: other)
        #expect(recent.subscriber(of: 1, in: c1) == 0, "the oldest made room")
        #expect(recent.subscriber(of: 2, in: c1) == other.packed)
        #expect(recent.subscriber(of: 1, in: c2) == other.packed)
    }

    @Test("A lost last message is found by the comparison that a gap starts")
    func gap() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "lost")
        node.advance(5_000)
        #expect(alice.contents().isEmpty)
        node.tell(.gap)
        #expect(alice.contents().isEmpty, "it may still come by itself")
        node.advance(220)
        #expect(alice.contents() == ["lost"])
        #expect(node.counter(.busGaps) == 2, "one a shard")
    }

    @Test("The word of another instance starts the same, for that chat alone")
    func heads() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "lost")
        node.tell(.heads([Digest.Head(chat: ChatID(trusted: "c1"), seq: 1)]))
        node.advance(199)
        #expect(alice.contents().isEmpty)
        node.advance(21)
        #expect(alice.contents() == ["lost"])
        #expect(reads(node).isEmpty)
    }

    @Test("What was written by the database alone is fetched")
    func written() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "inserted")
        node.tell(.written(ChatID(trusted: "c1")))
        node.advance(220)
        #expect(alice.contents() == ["inserted"])
    }

    @Test("Who came into a chat by the word of the database alone follows it; others read nothing")
    func arrived() {
        let node = node()
        let alice = node.client("alice", dialect: .ws)
        // The first comparison says what time it is.
        node.tell(.gap)
        node.advance(220)
        let before = reads(node).count
        node.group("c2", ["bob", "alice"])
        node.append("c2", by: "bob", "first")
        node.tell(.arrived(UserID(trusted: "nobody here")))
        node.tell(.written(ChatID(trusted: "nobody's")))
        #expect(reads(node).count == before)
        node.tell(.arrived(UserID(trusted: "alice")))
        node.advance(220)
        #expect(alice.contents() == ["first"])
        #expect(reads(node).count == before + 1, "one read, of that user alone")
    }

    @Test("Without any word, everything is compared every 30 s")
    func antiEntropy() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "lost")
        node.advance(24_000)
        #expect(alice.contents().isEmpty && reads(node).isEmpty)
        node.advance(6_300)
        #expect(alice.contents() == ["lost"])
    }

    @Test("One comparison at a time; a gap that comes meanwhile has another follow")
    func oneAtATime() {
        let node = node(shards: 1)
        let alice = node.member("alice", of: "c1")
        node.holdsAnswers = true
        node.tell(.gap)
        node.tell(.gap)
        node.tell(.gap)
        #expect(reads(node).count == 1)
        node.append("c1", by: "bob", "later than the read")
        node.holdsAnswers = false
        #expect(reads(node).count == 2)
        node.advance(220)
        #expect(alice.contents() == ["later than the read"])
    }

    @Test("A store that cannot answer is asked again after a second")
    func failedRead() {
        let node = node(shards: 1)
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "bob", "lost")
        node.fate = { _ in .fails }
        node.tell(.gap)
        node.fate = { _ in .commits }
        node.advance(999)
        #expect(reads(node).count == 1)
        node.advance(21)
        #expect(reads(node).count == 2)
        node.advance(220)
        #expect(alice.contents() == ["lost"])
    }

    @Test(
        "Many chats are compared in reads of 512",
        arguments: [(511, 1), (512, 1), (513, 2)] as [(Int, Int)])
    func pages(chats: Int, reads count: Int) {
        let node = TestNode(shards: 1, limits: ["joins": "off"], isShared: true)
        for index in 0..<chats { node.group("c\(index)", ["alice", "bob"]) }
        _ = node.client("alice", dialect: .ws)
        node.tell(.gap)
        #expect(reads(node).count == count)
        #expect(reads(node).reduce(0) { $0 + $1.chats.count } == chats)
        #expect(reads(node).reduce(0) { $0 + $1.users.count } == 1)
        let held = node.batches.map { batch in
            batch.operations.count { if case .readNews = $0 { true } else { false } }
        }
        #expect(held.allSatisfy { $0 <= 1 }, "a send waits behind one of them at most")
    }

    @Test("A read that fails keeps back none of those behind it, and all are asked again")
    func failedPage() {
        let node = TestNode(shards: 1, limits: ["joins": "off"], isShared: true)
        for index in 0..<513 { node.group("c\(index)", ["alice", "bob"]) }
        let alice = node.client("alice", dialect: .ws)
        _ = alice.events()
        node.tell(.gap)
        // Whichever chats stand where: each has lost something.
        for index in 0..<513 { node.append("c\(index)", by: "bob", "lost \(index)") }
        var failures = 0
        node.fate = { batch in
            guard failures == 0,
                batch.operations.contains(where: { if case .readNews = $0 { true } else { false } })
            else { return .commits }
            failures += 1
            return .fails
        }
        let before = reads(node).count
        node.tell(.gap)
        #expect(reads(node).count == before + 2 && failures == 1)
        node.advance(220)
        let early = Set(alice.contents())
        #expect(!early.isEmpty && early.count < 513, "the page behind the one that failed")
        node.advance(1_000)
        node.advance(220)
        #expect(early.union(alice.contents()).count == 513)
    }

    @Test("Marks that moved elsewhere are told after a gap, and not twice")
    func receipts() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        node.append("c1", by: "alice", "m1")
        node.tell(.gap)
        node.advance(220)
        _ = alice.events()
        node.commit(
            .advanceCursor(
                AdvanceCursor(
                    chat: ChatID(trusted: "c1"), user: UserID(trusted: "bob"),
                    device: DeviceID(trusted: "d"), delivered: .seq(1), read: nil,
                    isReadPrivate: false, at: WallTime(milliseconds: 5))))
        // The first comparison has said what time it is; from then on marks are asked for.
        node.tell(.gap)
        let told = alice.events("receipt")
        #expect(told.map(\.userId) == ["bob"] && told.map(\.deliveredSeq) == [1])
        node.tell(.gap)
        #expect(alice.events("receipt").isEmpty)
    }

    @Test("A user who was brought into a chat elsewhere follows it after a gap")
    func arrivals() {
        let node = node()
        let alice = node.client("alice", dialect: .ws)
        node.tell(.gap)
        node.group("c2", ["bob", "alice"])
        node.append("c2", by: "bob", "first")
        node.tell(.gap)
        node.advance(220)
        #expect(alice.contents() == ["first"])
    }

    @Test("An older removal does not end a membership that began after it")
    func oldRemoval() {
        let node = node(shards: 1)
        node.group("g", ["bob", "carol"])
        let carol = node.member("carol", of: "g")
        let added = node.change("g", .added, "alice", by: "bob")
        let removed = node.change("g", .removed, "alice", by: "bob")
        let again = node.change("g", .added, "alice", by: "bob")
        // The node has heard nothing of it when alice joins, by what the store says today.
        let alice = node.client("alice")
        #expect(alice.ask("chat.join", ["chatId": "g"]).ok == true)
        for entry in added + removed + again { arrive(node, entry) }
        arrive(node, node.append("g", by: "bob", "hello"))
        #expect(alice.contents() == ["hello"])
        #expect(carol.contents() == ["hello"])
    }
}
