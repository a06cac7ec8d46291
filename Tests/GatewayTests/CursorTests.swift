import Basics
import BusCore
import Domain
import Gateway
import StoreCore
import TestSupport
import Testing

@Suite("Receipts: delivery.ack and read.set")
struct CursorTests {
    private let chat = ChatID(trusted: "c1")

    private func node(shards: Int = 1, messages: Int = 5) -> TestNode {
        let node = TestNode(shards: shards)
        node.group("c1", ["alice", "bob", "carol"])
        for number in 0..<messages { node.append("c1", by: "alice", "m\(number + 1)") }
        return node
    }

    private func cursorOperations(_ node: TestNode) -> [AdvanceCursor] {
        node.batches.flatMap(\.operations).compactMap {
            if case .advanceCursor(let advance) = $0 { advance } else { nil }
        }
    }

    private func delivered(_ socket: TestSocket, _ seq: Int) {
        socket.say("delivery.ack", ["chatId": "c1", "seq": .number(Double(seq))])
    }

    @Test("Many acks of a window become one write, one receipt")
    func coalesced() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let bob = node.member("bob", of: "c1")
        for seq in [1, 3, 2, 4, 4] { delivered(bob, seq) }
        node.advance(200)
        #expect(cursorOperations(node).isEmpty && alice.events().isEmpty)
        node.advance(80)
        #expect(cursorOperations(node).map(\.delivered) == [.seq(4)])
        let receipts = alice.events("receipt")
        #expect(receipts.count == 1)
        #expect(receipts[0].keys == ["at", "chatId", "deliveredSeq", "userId"])
        #expect(receipts[0].userId == "bob" && receipts[0].deliveredSeq == 4)
        delivered(bob, 5)
        node.advance(280)
        #expect(alice.events("receipt").first?.deliveredSeq == 5)
    }

    @Test("Two users, or two chats, or two devices, are two writes")
    func notCoalesced() {
        let node = node()
        node.group("c2", ["bob"])
        node.append("c2", by: "bob", "x")
        let bob = node.client("bob", device: "d1")
        delivered(bob, 1)
        bob.say("delivery.ack", ["chatId": "c2", "seq": 1])
        delivered(node.client("bob", device: "d2"), 2)
        delivered(node.client("carol"), 1)
        node.advance(300)
        #expect(cursorOperations(node).count == 4)
    }

    @Test(
        "A receipt goes to everyone in the chat but the connection that caused it",
        arguments: [1, 2])
    func audience(shards: Int) {
        let node = node(shards: shards)
        let alice = node.member("alice", of: "c1", shard: shards - 1)
        let phone = node.member("bob", of: "c1", device: "phone")
        let laptop = node.member("bob", of: "c1", device: "laptop", shard: shards - 1)
        let eve = node.client("eve")
        phone.say("read.set", ["chatId": "c1", "seq": 3])
        node.advance(300)
        for socket in [alice, laptop] {
            let receipts = socket.events("receipt")
            #expect(receipts.count == 1)
            #expect(receipts.first?.readSeq == 3 && receipts.first?.deliveredSeq == 3)
            #expect(receipts.first?.at != .missing)
        }
        #expect(phone.events().isEmpty && eve.events().isEmpty)
    }

    @Test("With an id the answer says where the device stands, after the commit")
    func ack() {
        let node = node()
        let bob = node.client("bob")
        bob.say("delivery.ack", ["chatId": "c1", "seq": 4], id: 1)
        bob.say("read.set", ["chatId": "c1", "seq": 2], id: 2)
        #expect(bob.events().isEmpty)
        node.advance(300)
        let first = bob.answer(to: 1)
        #expect(first == ["ok": true, "deliveredSeq": 4, "readSeq": 0])
        #expect(bob.answer(to: 2) == ["ok": true, "deliveredSeq": 4, "readSeq": 2])
        #expect(bob.events().isEmpty)
    }

    @Test("A read by message id is placed by the store")
    func readByID() {
        let node = node()
        let bob = node.client("bob")
        let id = node.log("c1")[2].id.text
        bob.say("mark_as_read", ["roomId": "c1", "messageId": .string(id)], id: 1)
        bob.say("mark_as_read", ["roomId": "c1", "messageId": "unknown"], id: 2)
        node.advance(300)
        #expect(bob.answer(to: 1).readSeq == 3)
        #expect(bob.answer(to: 2).error.code == "NOT_FOUND")
    }

    @Test("Marks only rise, and what does not rise is not told (P8)")
    func monotone() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let phone = node.client("bob", device: "phone")
        let laptop = node.client("bob", device: "laptop")
        for (socket, seq, told) in [
            (phone, 3, 3), (phone, 2, nil), (laptop, 3, nil), (laptop, 1, nil), (laptop, 4, 4),
            (phone, 4, nil), (phone, 0, nil),
        ] as [(TestSocket, Int, Int?)] {
            delivered(socket, seq)
            node.advance(300)
            #expect(alice.events("receipt").first?.deliveredSeq.intValue == told)
        }
    }

    @Test("A receipt that was overtaken on its way takes no mark back (P8)")
    func overtaken() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        func arrive(_ seq: Seq) {
            node.arrive(
                .receipt(
                    Receipt(
                        chat: chat, user: UserID(trusted: "bob"), deliveredSeq: seq, readSeq: nil,
                        isReadPrivate: false, at: node.now.wall)), on: .chat(chat))
        }
        arrive(4)
        arrive(2)
        arrive(4)
        arrive(5)
        #expect(alice.events("receipt").map(\.deliveredSeq) == [4, 5])
    }

    @Test("A position beyond the log's end is refused, and moves nothing")
    func beyondTheEnd() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let bob = node.client("bob")
        bob.say("delivery.ack", ["chatId": "c1", "seq": 6], id: 1)
        node.advance(300)
        #expect(bob.answer(to: 1).error.code == "INVALID_INPUT")
        #expect(alice.events().isEmpty)
        #expect(
            node.store.state.watermarks(of: UserID(trusted: "bob"), in: chat).delivered == 0)
    }

    @Test("A refusal without an id is an error event that names what was asked")
    func refusedEvent() {
        let node = node()
        let bob = node.client("bob")
        bob.say("delivery.ack", ["chatId": "c1", "seq": 6])
        node.advance(300)
        let first = bob.events("error")
        #expect(first.map(\.code) == ["INVALID_INPUT"])
        #expect(first.first?.event == "delivery.ack")
        bob.say("read.set", ["chatId": "c1", "seq": 6])
        node.advance(300)
        #expect(bob.events("error").first?.event == "read.set")
    }

    @Test("A private read is shown to one's own devices only; the delivery to all")
    func privateRead() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let phone = node.member("bob", of: "c1", device: "phone")
        let laptop = node.member("bob", of: "c1", device: "laptop")
        phone.say("read.set", ["chatId": "c1", "seq": 3, "private": true])
        node.advance(300)
        let told = alice.events("receipt")
        #expect(told.count == 1)
        #expect(told.first?.deliveredSeq == 3 && told.first?.readSeq == .missing)
        let own = laptop.events("receipt")
        #expect(own.contains { $0.readSeq == 3 })
        #expect(phone.events().isEmpty)
        // The mark itself is in the list of members for nobody else.
        let list = node.connect().request(
            "GET", "/api/v1/chats/c1/members", token: node.token("alice"))
        let row = list.json.data.elements.first { $0.userId == "bob" }
        #expect(row?.readSeq == 0 && row?.deliveredSeq == 3)
    }

    @Test("A public read after a private one is shown to all, at the same place")
    func publicAfterPrivate() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let bob = node.client("bob")
        bob.say("read.set", ["chatId": "c1", "seq": 3, "private": true])
        node.advance(300)
        _ = alice.events()
        bob.say("read.set", ["chatId": "c1", "seq": 3])
        node.advance(300)
        #expect(alice.events("receipt").first?.readSeq == 3)
    }

    @Test("Movements are limited; those that merge with one that waits are free")
    func rate() {
        let node = TestNode(limits: ["cursors": "2", "cursorBurst": "3"])
        node.group("c1", ["bob"])
        for number in 0..<9 { node.append("c1", by: "bob", "m\(number)") }
        let bob = node.client("bob")
        for seq in 1...9 { delivered(bob, seq) }
        #expect(bob.events().isEmpty)
        for id in 1...3 {
            bob.say("delivery.ack", ["chatId": "c1", "seq": 9], id: .number(Double(id)))
        }
        let refused = bob.events()
        #expect(refused.map(\.id) == [3])
        #expect(refused.first?.payload.error.code == "RATE_LIMITED")
        node.advance(refused.first?.payload.error.retryAfterMs.intValue ?? 0)
        bob.say("delivery.ack", ["chatId": "c1", "seq": 9], id: 4)
        node.advance(300)
        #expect(bob.events().map(\.id) == [1, 2, 4])
    }

    @Test(
        "As many movements as the burst are taken at once, one more is refused",
        arguments: [2, 3, 4])
    func burst(count: Int) {
        let node = TestNode(limits: ["cursors": "2", "cursorBurst": "3"])
        node.group("c1", ["bob"])
        node.append("c1", by: "bob", "m1")
        let bob = node.client("bob")
        // One that is asked about merges with no other.
        for id in 1...count {
            bob.say("delivery.ack", ["chatId": "c1", "seq": 1], id: .number(Double(id)))
        }
        let refused = bob.events()
        #expect(refused.map(\.id) == (count == 4 ? [4] : []))
        node.advance(300)
        #expect(bob.events().count == min(count, 3))
    }

    @Test(
        "A movement that was refused is taken after the time it was told, and not 1 ms before",
        arguments: [(499, false), (500, true)])
    func retryAfter(wait: Int, isTaken: Bool) {
        let node = TestNode(limits: ["cursors": "2", "cursorBurst": "1"])
        node.group("c1", ["bob"])
        node.append("c1", by: "bob", "m1")
        let bob = node.client("bob")
        #expect(bob.ask("delivery.ack", ["chatId": "c1", "seq": 1]) == .missing, "it waits")
        #expect(bob.ask("delivery.ack", ["chatId": "c1", "seq": 1]).error.retryAfterMs == 500)
        node.advance(wait)
        _ = bob.events()
        bob.say("delivery.ack", ["chatId": "c1", "seq": 1], id: 7)
        node.advance(300)
        #expect(bob.answer(to: 7).ok == .bool(isTaken))
    }

    @Test("Receipts that wait are written though their connection has gone")
    func goneConnection() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let bob = node.client("bob")
        delivered(bob, 2)
        bob.end()
        node.advance(300)
        #expect(alice.events("receipt").first?.deliveredSeq == 2)
    }

    @Test("While the store refuses, whoever asked is told, and nobody else anything")
    func storeRefuses() {
        let node = node()
        let alice = node.member("alice", of: "c1")
        let bob = node.client("bob")
        node.fate = { _ in .fails }
        bob.say("delivery.ack", ["chatId": "c1", "seq": 2], id: 1)
        node.advance(300)
        #expect(bob.answer(to: 1).error.code == "SERVICE_UNAVAILABLE")
        #expect(alice.events().isEmpty)
    }

    @Test("A removed member's acks are refused")
    func removed() {
        let node = node()
        let bob = node.client("bob")
        node.change("c1", .removed, "bob", by: "alice")
        bob.say("delivery.ack", ["chatId": "c1", "seq": 2], id: 1)
        node.advance(300)
        #expect(bob.answer(to: 1).error.code == "NOT_FOUND")
    }
}
