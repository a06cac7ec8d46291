import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    @Suite("Cursors") struct Cursors {
        /// A chat "c" of ann and bob with five messages of ann.
        private func five(_ kind: StoreUnderTest) -> Harness {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            for _ in 0..<5 { h.send("c", "ann") }
            return h
        }

        private func receipt(
            _ h: Harness, delivered: Seq?, read: Seq?, isPrivate: Bool = false
        ) -> Receipt {
            Receipt(
                chat: "c", user: "bob", deliveredSeq: delivered, readSeq: read,
                isReadPrivate: isPrivate, at: h.time)
        }

        @Test(
            "A cursor rises, and lower or equal positions change nothing",
            arguments: StoreUnderTest.allCases)
        func monotone(_ kind: StoreUnderTest) {
            let h = five(kind)
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(3)))
                    == .cursor(receipt(h, delivered: 3, read: nil), delivered: 3, read: 0))
            for seq in [3, 2, 0, -1, Seq.min] {
                #expect(
                    h.run(h.cursor("c", "bob", delivered: .seq(seq)))
                        == .cursor(nil, delivered: 3, read: 0))
            }
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(4), read: .seq(2)))
                    == .cursor(receipt(h, delivered: 4, read: 2), delivered: 4, read: 2))
            #expect(h.run(h.cursor("c", "bob")) == .cursor(nil, delivered: 4, read: 2))
        }

        @Test("What was read was delivered", arguments: StoreUnderTest.allCases)
        func readDelivers(_ kind: StoreUnderTest) {
            let h = five(kind)
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(4)))
                    == .cursor(receipt(h, delivered: 4, read: 4), delivered: 4, read: 4))
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(1), read: .seq(5)))
                    == .cursor(receipt(h, delivered: 5, read: 5), delivered: 5, read: 5))
        }

        @Test(
            "A position at the log's end is taken, one beyond is refused whole",
            arguments: StoreUnderTest.allCases)
        func beyondEnd(_ kind: StoreUnderTest) {
            let h = five(kind)
            #expect(h.run(h.cursor("c", "bob", delivered: .seq(6))) == .refused(.invalidPosition))
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(.max))) == .refused(.invalidPosition))
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(2), read: .seq(6)))
                    == .refused(.invalidPosition))
            #expect(h.run(h.cursor("c", "bob")) == .cursor(nil, delivered: 0, read: 0))
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(5)))
                    == .cursor(receipt(h, delivered: 5, read: 5), delivered: 5, read: 5))
        }

        @Test(
            "A position may be an entry's id; ids of elsewhere are not found",
            arguments: StoreUnderTest.allCases)
        func byEntry(_ kind: StoreUnderTest) throws {
            let h = five(kind)
            h.run(h.creation("d", ["ann", "bob"]))
            let elsewhere = try #require(h.run(h.message("d", "ann")).entry?.id)
            let third = h.range("c")[2].id
            #expect(h.run(h.cursor("c", "bob", read: .entry(elsewhere))) == .refused(.notFound))
            #expect(h.run(h.cursor("c", "bob", read: .entry("nothing"))) == .refused(.notFound))
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(1), read: .entry("nothing")))
                    == .refused(.notFound))
            #expect(
                h.run(h.cursor("c", "bob", read: .entry(third)))
                    == .cursor(receipt(h, delivered: 3, read: 3), delivered: 3, read: 3))
        }

        @Test("An entry from before the join is not found", arguments: StoreUnderTest.allCases)
        func unseenEntry(_ kind: StoreUnderTest) {
            let h = five(kind)
            let join = h.change("c", .added, ["cyd"], by: "ann")
            h.run(join)
            let entries = h.range("c")
            #expect(
                h.run(h.cursor("c", "cyd", read: .entry(entries[4].id))) == .refused(.notFound))
            #expect(h.run(h.cursor("c", "cyd", read: .entry(entries[5].id))).receipt?.readSeq == 6)
        }

        @Test(
            "Strangers, former members and absent chats are refused alike",
            arguments: StoreUnderTest.allCases)
        func strangers(_ kind: StoreUnderTest) {
            let h = five(kind)
            h.run(h.change("c", .removed, ["bob"], by: "ann"))
            #expect(h.run(h.cursor("c", "bob", read: .seq(1))) == .refused(.notFound))
            #expect(h.run(h.cursor("c", "eve", read: .seq(1))) == .refused(.notFound))
            #expect(h.run(h.cursor("none", "ann", read: .seq(0))) == .refused(.notFound))
        }

        @Test(
            "The receipt says what moved over all devices, the position is the device's",
            arguments: StoreUnderTest.allCases)
        func devices(_ kind: StoreUnderTest) {
            let h = five(kind)
            h.run(h.cursor("c", "bob", delivered: .seq(4), read: .seq(2)))
            #expect(
                h.run(h.cursor("c", "bob", delivered: .seq(3), device: "tv"))
                    == .cursor(nil, delivered: 3, read: 0))
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(3), device: "tv"))
                    == .cursor(receipt(h, delivered: nil, read: 3), delivered: 3, read: 3))
            #expect(h.run(h.cursor("c", "bob")) == .cursor(nil, delivered: 4, read: 2))
            #expect(h.members("c", by: "ann").last?.deliveredSeq == 4)
            #expect(h.members("c", by: "ann").last?.readSeq == 3)
        }

        @Test("A private read is for the reader's own eyes", arguments: StoreUnderTest.allCases)
        func privateRead(_ kind: StoreUnderTest) {
            let h = five(kind)
            h.run(h.cursor("c", "bob", read: .seq(1)))
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(4), isPrivate: true))
                    == .cursor(
                        receipt(h, delivered: 4, read: 4, isPrivate: true), delivered: 4, read: 4))
            #expect(h.members("c", by: "ann").last?.readSeq == 1)
            #expect(h.members("c", by: "bob").last?.readSeq == 4)
            #expect(h.opened("c", "bob")?.readSeq == 4)
            #expect(h.conversations("bob").first?.readSeq == 4)
            #expect(h.conversations("ann").first?.readSeq == 0)
        }

        @Test(
            "After a private read a public one shows itself, lower or not",
            arguments: StoreUnderTest.allCases)
        func publicAfterPrivate(_ kind: StoreUnderTest) {
            let h = five(kind)
            h.run(h.cursor("c", "bob", read: .seq(4), isPrivate: true))
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(2)))
                    == .cursor(receipt(h, delivered: nil, read: 2), delivered: 4, read: 4))
            #expect(h.members("c", by: "ann").last?.readSeq == 2)
            #expect(h.opened("c", "bob")?.readSeq == 4)
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(3), isPrivate: true))
                    == .cursor(nil, delivered: 4, read: 4))
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(5)))
                    == .cursor(receipt(h, delivered: 5, read: 5), delivered: 5, read: 5))
        }

        @Test("Watermarks outlast a membership", arguments: StoreUnderTest.allCases)
        func rejoining(_ kind: StoreUnderTest) {
            let h = five(kind)
            h.submit([
                h.cursor("c", "bob", read: .seq(5)), h.change("c", .removed, ["bob"], by: "ann"),
                h.change("c", .added, ["bob"], by: "ann"),
            ])
            #expect(h.opened("c", "bob")?.readSeq == 5)
            #expect(
                h.run(h.cursor("c", "bob", read: .seq(4))) == .cursor(nil, delivered: 5, read: 5))
        }
    }
}
