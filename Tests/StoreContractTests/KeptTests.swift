import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    /// What instances write down for each other of sessions, and what a device has been given.
    @Suite("Sessions") struct Sessions {
        private func keep(
            _ name: String, _ user: UserID, _ state: [UInt8] = [0, 255, 7], at: Int64 = 0,
            until: Int64 = 100
        ) -> Domain.Operation {
            .keepSession(
                KeepSession(
                    name: name, session: KeptSession(user: user, state: state),
                    at: WallTime(milliseconds: at), until: WallTime(milliseconds: until)))
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
            #expect(find(h, "s", at: 100) == KeptSession(user: "ann", state: [0, 255, 7]))
            #expect(find(h, "s", at: 101) == nil)
            #expect(find(h, "S") == nil)
            // Twice in a batch, and the later counts.
            h.submit([keep("s", "ann", [1]), keep("s", "bob", [], until: 200)])
            #expect(find(h, "s", at: 200) == KeptSession(user: "bob", state: []))
        }

        @Test("Dropped by name, and all of a user", arguments: StoreUnderTest.allCases)
        func dropping(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit([keep("a", "ann"), keep("b", "ann"), keep("c", "bob")])
            #expect(h.run(.dropSessions(.named("a"))) == .done)
            #expect(h.run(.dropSessions(.named("none"))) == .done)
            #expect(find(h, "a") == nil)
            #expect(find(h, "b") != nil)
            // The order within a batch counts.
            h.submit([
                keep("d", "ann"), .dropSessions(.all(of: "ann")), keep("e", "ann"),
                keep("f", "cyd"), .dropSessions(.named("f")),
            ])
            #expect(["b", "d", "f"].allSatisfy { find(h, $0) == nil })
            #expect(find(h, "c")?.user == "bob")
            #expect(find(h, "e")?.user == "ann")
        }

        @Test("What is over goes as others come", arguments: [StoreUnderTest.sqlite, .postgres])
        func pruning(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit((0..<6).map { keep("old-\($0)", "ann", until: 50) })
            h.submit([keep("new-1", "ann", at: 60, until: 100)])
            h.submit([keep("new-2", "ann", at: 60, until: 100)])
            // At a time when they were not over: they are gone all the same.
            #expect((0..<6).allSatisfy { find(h, "old-\($0)", at: 0) == nil })
            #expect(find(h, "new-1") != nil && find(h, "new-2") != nil)
        }

        private func given(
            _ h: Harness, _ chat: ChatID, _ user: UserID, since: WallTime,
            device: DeviceID = "phone"
        ) -> Seq? {
            let open = OpenChats(
                user: user, chats: [chat],
                given: OpenChats.Given(device: device, since: since))
            guard case .opened(let opened) = h.run(.openChats(open)) else { return nil }
            return opened.first?.givenSeq
        }

        @Test(
            "A device has what it acknowledged, and what was made before it came",
            arguments: StoreUnderTest.allCases)
        func given(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            let start = h.time
            #expect(given(h, "c", "bob", since: start) == 0)
            for _ in 0..<3 { h.send("c", "ann") }
            let middle = WallTime(milliseconds: h.time.milliseconds + 1)
            for _ in 0..<3 { h.send("c", "ann") }
            #expect(given(h, "c", "bob", since: start) == 0)
            #expect(given(h, "c", "bob", since: middle) == 3)
            h.run(h.cursor("c", "bob", delivered: .seq(2)))
            #expect(given(h, "c", "bob", since: start) == 2)
            #expect(given(h, "c", "bob", since: middle) == 3)
            #expect(given(h, "c", "bob", since: start, device: "tv") == 0)
            h.run(h.cursor("c", "bob", delivered: .seq(5)))
            #expect(given(h, "c", "bob", since: middle) == 5)
            #expect(h.opened("c", "bob")?.givenSeq == nil)
            #expect(given(h, "c", "eve", since: start) == nil)
            #expect(given(h, "none", "bob", since: start) == nil)
        }

        @Test(
            "Chats that a user has left, by when, and not those they are in again",
            arguments: StoreUnderTest.allCases)
        func departures(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            func left(since: WallTime) -> Outcome { h.run(.listDepartures("bob", since: since)) }
            h.submit(["c", "d", "e", "f"].map { h.creation($0, ["ann", "bob"]) })
            let start = h.time
            #expect(left(since: start) == .chats([]))
            h.run(h.change("d", .removed, ["bob"], by: "ann"))
            h.run(h.change("e", .removed, ["bob"], by: "ann"))
            let middle = WallTime(milliseconds: h.time.milliseconds + 1)
            h.run(h.change("c", .left, ["bob"], by: "bob"))
            h.run(h.change("e", .added, ["bob"], by: "ann"))
            #expect(left(since: start) == .chats(["c", "d"]))
            #expect(left(since: middle) == .chats(["c"]))
            #expect(h.run(.listDepartures("ann", since: start)) == .chats([]))
            // As far as they could see, what they have been given counts.
            for _ in 0..<300 { h.send("c", "ann") }
            #expect(given(h, "c", "bob", since: start) == 0)
        }

        @Test("No further back than 256 entries", arguments: StoreUnderTest.allCases)
        func depth(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            h.send("c", "ann")
            let start = WallTime(milliseconds: h.time.milliseconds + 1)
            h.submit((0..<256).map { _ in h.message("c", "ann") })
            // The last of before is the 256th from the end, then the 257th.
            #expect(given(h, "c", "bob", since: start) == 1)
            h.send("c", "ann")
            #expect(given(h, "c", "bob", since: start) == nil)
            h.run(h.cursor("c", "bob", delivered: .seq(1)))
            #expect(given(h, "c", "bob", since: start) == nil)
            h.run(h.cursor("c", "bob", delivered: .seq(2)))
            #expect(given(h, "c", "bob", since: start) == 2)
        }
    }
}
