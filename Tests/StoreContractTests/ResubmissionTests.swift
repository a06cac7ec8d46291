import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    /// A batch whose commit was not confirmed comes again with `attempt` raised (P5).
    @Suite("Resubmission") struct Resubmission {
        /// One of everything; refusals and duplicates among them.
        private func batch(_ h: Harness) -> [Domain.Operation] {
            let first = h.message("c", "ann", clientID: "k")
            return [
                first, h.message("c", "eve"), first.resent(as: h.freshID()),
                h.message("c", "bob", "x", clientID: "k"),
                h.message("c", "ann", "y", clientID: "k"),
                h.change("c", .added, ["cyd", "bob", "dan"], by: "ann"),
                h.message("c", "cyd"), h.change("c", .removed, ["ann"], by: "bob"),
                h.change("c", .removed, ["dan"], by: "ann"),
                h.cursor("c", "bob", delivered: .seq(3), read: .seq(2)),
                h.cursor("c", "ann", read: .seq(5), isPrivate: true),
                h.cursor("c", "ann", read: .seq(500)),
                h.creation("d", ["ann", "bob"]), h.creation("c", ["eve"]),
                h.creation("p", ["ann", "bob"], kind: .direct),
                h.creation("q", ["bob", "ann"], kind: .direct),
                h.change("c", .left, ["bob"], by: "bob"), .head("c"),
            ]
        }

        private func started(_ kind: StoreUnderTest) -> Harness {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            return h
        }

        @Test(
            "Of a batch that was committed, the outcomes are the same again",
            arguments: StoreUnderTest.allCases, [2, 3])
        func committed(_ kind: StoreUnderTest, _ attempt: Int) {
            let h = started(kind)
            // The cursor of one who leaves afterwards cannot be told again; that comes below.
            let operations = batch(h).dropLast(2) + [.head("c")]
            let first = h.submit(Array(operations))
            let log = h.range("c")
            #expect(h.submit(Array(operations), attempt: attempt) == first)
            #expect(h.submit(Array(operations), attempt: attempt) == first)
            #expect(h.range("c") == log)
        }

        @Test(
            "Of a batch that was not committed, they are those of a first submission",
            arguments: StoreUnderTest.allCases)
        func notCommitted(_ kind: StoreUnderTest) {
            let one = started(kind)
            let other = started(kind)
            let operations = batch(one)
            #expect(one.submit(operations) == other.submit(operations, attempt: 2))
            #expect(one.range("c") == other.range("c"))
        }

        @Test(
            "What was committed is found though its author has been removed since",
            arguments: StoreUnderTest.allCases)
        func removedSince(_ kind: StoreUnderTest) {
            let h = started(kind)
            let sent = h.message("c", "bob", clientID: "k")
            let operations = [
                sent, sent.resent(as: h.freshID()), h.change("c", .left, ["bob"], by: "bob"),
            ]
            let first = h.submit(operations)
            #expect(h.submit(operations, attempt: 2) == first)
            #expect(h.head("c") == 2)
        }

        @Test(
            "What was refused in a committed batch is not let in behind what followed it",
            arguments: StoreUnderTest.allCases)
        func noLateEntry(_ kind: StoreUnderTest) {
            let h = started(kind)
            let operations = [
                h.message("c", "cyd"), h.change("c", .removed, ["cyd"], by: "ann"),
                h.change("c", .added, ["cyd"], by: "ann"), h.message("c", "cyd"),
            ]
            let first = h.submit(operations)
            #expect(first[0] == .refused(.notFound) && first[1] == .membership([]))
            let second = h.submit(operations, attempt: 2)
            #expect(second[0] == first[0] && second[2] == first[2] && second[3] == first[3])
            // It made no entry and makes none now; that there was nothing to do is not known.
            #expect(second[1] == .refused(.notFound))
            #expect(h.head("c") == 2)
            #expect(h.opened("c", "cyd")?.access == .member)
        }

        @Test(
            "A receipt that nobody has had is given, and given again",
            arguments: StoreUnderTest.allCases)
        func receipts(_ kind: StoreUnderTest) {
            let h = started(kind)
            for _ in 0..<3 { h.send("c", "ann") }
            let operations = [h.cursor("c", "bob", delivered: .seq(3), read: .seq(2))]
            let first = h.submit(operations)
            #expect(first[0].receipt?.deliveredSeq == 3 && first[0].receipt?.readSeq == 2)
            #expect(h.submit(operations, attempt: 2) == first)
            // A mark that has gone on since is not reported as it was.
            h.run(h.cursor("c", "bob", read: .seq(3)))
            let later = h.submit(operations, attempt: 3)
            #expect(later[0].receipt?.deliveredSeq == 3 && later[0].receipt?.readSeq == nil)
            #expect(h.run(h.cursor("c", "bob")) == .cursor(nil, delivered: 3, read: 3))
        }
    }
}
