import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    @Suite("Chats") struct Chats {
        @Test(
            "A new group has no entries, its creator is owner, the others members",
            arguments: StoreUnderTest.allCases)
        func group(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            let outcome = h.run(h.creation("c", ["bob", "ann", "cyd"], name: "Team", by: "ann"))
            let expected = Conversation(
                id: "c", kind: .group, name: "Team", createdAt: h.time, lastSeq: 0, readSeq: 0,
                role: .owner, memberCount: 3)
            #expect(outcome == .conversation(expected, created: true))
            #expect(h.roles("c", by: "cyd") == ["bob member", "ann owner", "cyd member"])
            #expect(h.head("c") == 0)
            #expect(h.conversations("bob").map(\.role) == [.member])
        }

        @Test("Both of a direct chat are owners", arguments: StoreUnderTest.allCases)
        func direct(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            #expect(
                h.run(h.creation("c", ["ann", "bob"], kind: .direct)).conversation?.role == .owner)
            #expect(h.roles("c", by: "bob") == ["ann owner", "bob owner"])
        }

        @Test(
            "A pair has one direct chat, whoever asks and in whatever order",
            arguments: StoreUnderTest.allCases)
        func onePerPair(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"], kind: .direct))
            h.send("c", "bob")
            let orders: [(UserID, [UserID])] = [
                ("ann", ["ann", "bob"]), ("ann", ["bob", "ann"]), ("bob", ["bob", "ann"]),
                ("bob", ["ann", "bob"]),
            ]
            for (creator, members) in orders {
                let outcome = h.run(h.creation("d", members, kind: .direct, by: creator))
                guard case .conversation(let existing, created: false) = outcome else {
                    Issue.record("\(outcome)")
                    continue
                }
                #expect(existing.id == "c" && existing.lastSeq == 1)
            }
            #expect(h.opened("d", "ann")?.access == OpenedChat.Access.none)
            // Others' pairs, and groups of the same two, are not in the way.
            let others = h.submit([
                h.creation("e", ["ann", "cyd"], kind: .direct), h.creation("f", ["ann", "bob"]),
            ])
            #expect(others.map { $0.conversation?.id } == ["e", "f"])
        }

        @Test(
            "Pairs whose names run into each other are different pairs",
            arguments: StoreUnderTest.allCases)
        func pairNames(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ab", "c"], kind: .direct))
            #expect(h.run(h.creation("d", ["a", "bc"], kind: .direct)).conversation?.id == "d")
        }

        @Test(
            "The same request of the same creator again is the same answer",
            arguments: StoreUnderTest.allCases, [ConversationKind.group, .direct])
        func repeated(_ kind: StoreUnderTest, _ chatKind: ConversationKind) {
            let h = Harness(kind)
            let request = h.creation("c", ["ann", "bob"], kind: chatKind, name: "n")
            let first = h.run(request)
            #expect(h.submit([request, request]) == [first, first])
            let reordered = h.creation("c", ["bob", "ann"], kind: chatKind, name: "n", by: "ann")
            guard case .conversation(_, created: true) = h.run(reordered) else {
                Issue.record("not created")
                return
            }
        }

        @Test(
            "A repeated request is the same also after members came and went",
            arguments: StoreUnderTest.allCases)
        func repeatedLater(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            let request = h.creation("c", ["ann", "bob"])
            h.submit([
                request, h.change("c", .added, ["cyd"], by: "ann"),
                h.change("c", .removed, ["bob"], by: "ann"),
            ])
            guard case .conversation(let now, created: true) = h.run(request) else {
                Issue.record("not created")
                return
            }
            #expect(now.lastSeq == 2 && now.memberCount == 2)
        }

        enum Other: CaseIterable, Sendable { case creator, name, noName, kind, fewer, more }

        @Test(
            "A taken id with another request is refused", arguments: StoreUnderTest.allCases,
            Other.allCases)
        func taken(_ kind: StoreUnderTest, _ other: Other) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"], name: "n"))
            let request =
                switch other {
                case .creator: h.creation("c", ["ann", "bob"], name: "n", by: "bob")
                case .name: h.creation("c", ["ann", "bob"], name: "m")
                case .noName: h.creation("c", ["ann", "bob"])
                case .kind: h.creation("c", ["ann", "bob"], kind: .direct, name: "n")
                case .fewer: h.creation("c", ["ann"], name: "n")
                case .more: h.creation("c", ["ann", "bob", "cyd"], name: "n")
                }
            #expect(h.run(request) == .refused(.alreadyExists))
            #expect(h.conversations("cyd").isEmpty)
            #expect(h.roles("c", by: "ann") == ["ann owner", "bob member"])
        }

        @Test(
            "A creator who left does not get in by asking again", arguments: StoreUnderTest.allCases
        )
        func creatorLeft(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            let request = h.creation("c", ["ann", "bob"])
            h.submit([request, h.change("c", .left, ["ann"], by: "ann")])
            #expect(h.run(request) == .refused(.alreadyExists))
        }

        @Test(
            "A user's list has the chats they are in, in the order of creation",
            arguments: StoreUnderTest.allCases)
        func list(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.submit([
                h.creation("z", ["ann", "bob"]), h.creation("y", ["bob"]),
                h.creation("x", ["bob", "ann"], kind: .direct), h.creation("w", ["ann"], name: "W"),
            ])
            h.submit([
                h.message("x", "bob"), h.message("x", "bob"),
                h.cursor("x", "ann", read: .seq(1)), h.change("z", .removed, ["bob"], by: "ann"),
            ])
            let list = h.conversations("ann")
            #expect(list.map(\.id) == ["z", "x", "w"])
            #expect(list.map(\.lastSeq) == [1, 2, 0])
            #expect(list.map(\.readSeq) == [0, 1, 0])
            #expect(list.map(\.memberCount) == [1, 2, 1])
            #expect(list.map(\.name) == [nil, nil, "W"])
            #expect(list.map(\.kind) == [.group, .direct, .group])
            #expect(h.conversations("bob").map(\.id) == ["y", "x"])
            #expect(h.conversations("eve").isEmpty)
        }
    }
}
