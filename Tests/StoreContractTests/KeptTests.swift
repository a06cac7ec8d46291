import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    /// What instances write down for each other of sessions.
    @Suite("Sessions") struct Sessions {
        private func keep(
            _ name: String, _ user: UserID, _ state: [UInt8] = [0, 255, 7], epoch: Int64 = 1,
            replaces: Int64? = nil, at: Int64 = 0, until: Int64 = 100
        ) -> Domain.Operation {
            .keepSession(
                KeepSession(
                    name: name, user: user, epoch: epoch, replaces: replaces, state: state,
                    at: WallTime(milliseconds: at), until: WallTime(milliseconds: until)))
        }

        private func mark(
            _ name: String, _ marks: [KeptMark], epoch: Int64 = 1
        ) -> Domain.Operation {
            .keepMarks(KeepMarks(name: name, epoch: epoch, marks: marks))
        }

        private func find(_ h: Harness, _ name: String, at: Int64 = 0) -> KeptSession? {
            guard
                case .session(let found) = h.run(
                    .findSession(name, at: WallTime(milliseconds: at)))
            else { return nil }
            return found
        }

        @Test(
            "Kept under a name, replaced, found until its time is over",
            arguments: StoreUnderTest.allCases)
        func keeping(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            #expect(find(h, "s") == nil)
            #expect(h.run(keep("s", "ann")) == .done)
            #expect(
                find(h, "s", at: 100) == KeptSession(user: "ann", epoch: 1, state: [0, 255, 7]))
            #expect(find(h, "s", at: 101) == nil)
            #expect(find(h, "S") == nil)
            // Twice in a batch, and the later counts.
            h.submit([keep("s", "ann", [1]), keep("s", "bob", [], until: 200)])
            #expect(find(h, "s", at: 200) == KeptSession(user: "bob", epoch: 1, state: []))
        }

        @Test(
            "Marks are of one epoch; who has gone on with a session is not overtaken",
            arguments: StoreUnderTest.allCases)
        func marks(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            #expect(h.run(mark("s", [KeptMark("c", 1)])) == .refused(.notFound))
            h.run(keep("s", "ann"))
            #expect(h.run(mark("s", [KeptMark("d", 4), KeptMark("c", 2)])) == .done)
            #expect(find(h, "s")?.marks == [KeptMark("c", 2), KeptMark("d", 4)])
            // Up and down: what is written last.
            h.submit([
                mark("s", [KeptMark("c", 9)]), mark("s", [KeptMark("c", 1), KeptMark("d", -1)]),
            ])
            #expect(find(h, "s")?.marks == [KeptMark("c", 1), KeptMark("d", -1)])
            #expect(h.run(mark("s", [KeptMark("c", 3)], epoch: 2)) == .refused(.notFound))
            // The next owner begins without marks.
            #expect(h.run(keep("s", "ann", [2], epoch: 2)) == .refused(.alreadyExists))
            #expect(h.run(keep("s", "ann", [2], epoch: 2, replaces: 1)) == .done)
            #expect(find(h, "s") == KeptSession(user: "ann", epoch: 2, state: [2]))
            #expect(h.run(mark("s", [KeptMark("c", 3)])) == .refused(.notFound))
            #expect(h.run(keep("s", "ann", [1])) == .refused(.alreadyExists))
            // Another who read the same before: too late. The one who did it, once more: as it is.
            #expect(
                h.run(keep("s", "ann", [3], epoch: 3, replaces: 1)) == .refused(.alreadyExists))
            h.run(mark("s", [KeptMark("c", 3)], epoch: 2))
            #expect(h.run(keep("s", "ann", [2], epoch: 2, replaces: 1)) == .done)
            #expect(find(h, "s")?.marks == [KeptMark("c", 3)])
            #expect(
                h.run(keep("none", "ann", [3], epoch: 3, replaces: 1)) == .refused(.alreadyExists))
            h.run(.dropSessions(.named("s", epoch: 1)))
            h.run(.dropSessions(.named("s", epoch: 3)))
            h.run(mark("s", [KeptMark("\u{E9}", 5), KeptMark("e\u{301}", 6)], epoch: 2))
            #expect(find(h, "s")?.marks.count == 3)
            // All of it in one batch.
            let outcomes = h.submit([
                keep("x", "bob"), mark("x", [KeptMark("c", 1)]),
                keep("x", "bob", [], epoch: 2, replaces: 1),
                mark("x", [KeptMark("c", 2)]), mark("x", [KeptMark("d", 3)], epoch: 2),
            ])
            #expect(outcomes == [.done, .done, .done, .refused(.notFound), .done])
            #expect(find(h, "x")?.marks == [KeptMark("d", 3)])
            // What was dropped has no marks when it is kept again.
            h.run(.dropSessions(.named("x", epoch: 2)))
            #expect(h.run(mark("x", [KeptMark("c", 1)], epoch: 2)) == .refused(.notFound))
            h.run(keep("x", "bob", []))
            #expect(find(h, "x")?.marks == [])
        }

        @Test("Dropped by name, and all of a user", arguments: StoreUnderTest.allCases)
        func dropping(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit([keep("a", "ann"), keep("b", "ann"), keep("c", "bob")])
            h.submit([mark("b", [KeptMark("c", 1)]), mark("c", [KeptMark("c", 1)])])
            #expect(h.run(.dropSessions(.named("a", epoch: 1))) == .done)
            #expect(h.run(.dropSessions(.named("none", epoch: 1))) == .done)
            #expect(find(h, "a") == nil)
            #expect(find(h, "b") != nil)
            // The order within a batch counts.
            h.submit([
                keep("d", "ann"), .dropSessions(.all(of: "ann", at: WallTime(milliseconds: 5))),
                keep("e", "ann"),
                keep("f", "cyd"), .dropSessions(.named("f", epoch: 1)),
            ])
            #expect(["b", "d", "f"].allSatisfy { find(h, $0) == nil })
            #expect(find(h, "c")?.user == "bob" && find(h, "c")?.marks.count == 1)
            #expect(find(h, "e")?.user == "ann")
            h.run(keep("b", "ann"))
            #expect(find(h, "b")?.marks == [])
            // What is of after stays.
            h.submit([
                keep("g", "ann", at: 8),
                .dropSessions(.all(of: "ann", at: WallTime(milliseconds: 7))),
            ])
            #expect(find(h, "g") != nil && find(h, "e") == nil)
        }

        @Test("What is over goes as others come", arguments: [StoreUnderTest.sqlite, .postgres])
        func pruning(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit((0..<6).map { keep("old-\($0)", "ann", until: 50) })
            h.submit([mark("old-0", [KeptMark("c", 1)])])
            h.submit([keep("new-1", "ann", at: 60, until: 100)])
            h.submit([keep("new-2", "ann", at: 60, until: 100)])
            // At a time when they were not over: they are gone all the same.
            #expect((0..<6).allSatisfy { find(h, "old-\($0)", at: 0) == nil })
            #expect(find(h, "new-1") != nil && find(h, "new-2") != nil)
            h.run(keep("old-0", "ann"))
            #expect(find(h, "old-0")?.marks == [])
        }

        @Test("Opening says where the present stay began", arguments: StoreUnderTest.allCases)
        func stays(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            #expect(h.opened("c", "bob")?.staySeq == 0)
            h.send("c", "ann")
            h.run(h.change("c", .removed, ["bob"], by: "ann"))
            #expect(h.opened("c", "bob")?.staySeq == 0)
            h.run(h.change("c", .added, ["bob"], by: "ann"))
            #expect(h.opened("c", "bob")?.staySeq == 3)
        }
    }
}
