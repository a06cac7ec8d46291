import Basics
import Domain
import StoreCore
import TestSupport
import Testing

extension StoreContract {
    @Suite("Membership") struct Membership {
        @Test("Each one added is an entry, in the order given", arguments: StoreUnderTest.allCases)
        func added(_ kind: StoreUnderTest) throws {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann"]))
            let change = h.change("c", .added, ["cyd", "bob"], by: "ann")
            let entries = try #require(h.run(change).entries)
            #expect(entries.map(\.seq) == [1, 2])
            #expect(entries.map(\.author) == ["ann", "ann"])
            #expect(
                entries.map(\.body) == [
                    .membership(MembershipChange(kind: .added, user: "cyd")),
                    .membership(MembershipChange(kind: .added, user: "bob")),
                ])
            guard case .changeMembership(let asked) = change else { return }
            #expect(entries.map(\.id) == asked.entryIDs)
            #expect(h.range("c") == entries)
            #expect(h.roles("c", by: "bob") == ["ann owner", "cyd member", "bob member"])
            #expect(h.members("c", by: "bob").last?.joinedAt == h.time)
            #expect(h.send("c", "bob") == 3)
        }

        @Test(
            "Adding a member, twice the same, or nobody, makes no entry",
            arguments: StoreUnderTest.allCases)
        func nothingToAdd(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            #expect(h.run(h.change("c", .added, ["bob"], by: "ann")) == .membership([]))
            #expect(h.run(h.change("c", .added, [], by: "ann")) == .membership([]))
            #expect(h.run(h.change("c", .removed, ["cyd"], by: "ann")) == .membership([]))
            let mixed = h.run(h.change("c", .added, ["bob", "cyd", "cyd", "ann"], by: "ann"))
            #expect(mixed.entries?.map(\.seq) == [1])
            #expect(h.opened("c", "ann")?.memberCount == 3)
        }

        @Test("Only owner and admin add", arguments: StoreUnderTest.allCases, Role.allCases)
        func mayAdd(_ kind: StoreUnderTest, _ role: Role) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            h.setRole(role, of: "bob", in: "c")
            let outcome = h.run(h.change("c", .added, ["cyd"], by: "bob"))
            if role == .member {
                #expect(outcome == .refused(.forbidden))
                #expect(h.opened("c", "ann")?.memberCount == 2)
            } else {
                #expect(outcome.entries?.count == 1)
            }
        }

        @Test(
            "Removing needs a role above the other's", arguments: StoreUnderTest.allCases,
            Role.allCases)
        func mayRemove(_ kind: StoreUnderTest, _ remover: Role) {
            for removed in Role.allCases {
                let h = Harness(kind)
                h.run(h.creation("c", ["ann", "bob", "cyd"]))
                h.setRole(remover, of: "bob", in: "c")
                h.setRole(removed, of: "cyd", in: "c")
                let outcome = h.run(h.change("c", .removed, ["cyd"], by: "bob"))
                if remover.mayRemove(removed) {
                    #expect(outcome.entries?.map(\.seq) == [1])
                    #expect(h.opened("c", "cyd")?.access == .former(lastVisible: 1))
                } else {
                    #expect(outcome == .refused(.forbidden))
                    #expect(h.opened("c", "cyd")?.access == .member)
                }
            }
        }

        @Test(
            "A removal that may not be done of one is done of none",
            arguments: StoreUnderTest.allCases)
        func allOrNone(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob", "cyd"]))
            h.setRole(.admin, of: "bob", in: "c")
            let outcome = h.run(h.change("c", .removed, ["cyd", "ann"], by: "bob"))
            #expect(outcome == .refused(.forbidden))
            #expect(h.head("c") == 0)
            #expect(h.opened("c", "cyd")?.access == .member)
        }

        @Test(
            "Nobody removes themselves; they leave, and nobody else for them",
            arguments: StoreUnderTest.allCases)
        func leaving(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            #expect(h.run(h.change("c", .removed, ["ann"], by: "ann")) == .refused(.forbidden))
            #expect(h.run(h.change("c", .removed, ["bob"], by: "bob")) == .refused(.forbidden))
            #expect(h.run(h.change("c", .left, ["bob"], by: "ann")) == .refused(.forbidden))
            #expect(h.run(h.change("c", .left, ["bob", "ann"], by: "bob")) == .refused(.forbidden))
            let left = h.run(h.change("c", .left, ["bob"], by: "bob"))
            #expect(
                left.entries?.map(\.body)
                    == [.membership(MembershipChange(kind: .left, user: "bob"))])
            #expect(h.run(h.change("c", .left, ["bob"], by: "bob")) == .refused(.notFound))
            #expect(h.run(h.message("c", "bob")) == .refused(.notFound))
        }

        @Test(
            "Strangers and former members change nothing and learn nothing",
            arguments: StoreUnderTest.allCases, MembershipChange.Kind.allCases)
        func strangers(_ kind: StoreUnderTest, _ change: MembershipChange.Kind) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            h.run(h.change("c", .removed, ["bob"], by: "ann"))
            h.run(h.creation("d", ["ann", "cyd"], kind: .direct))
            for author in ["eve", "bob"] as [UserID] {
                #expect(h.run(h.change("c", change, [author], by: author)) == .refused(.notFound))
                #expect(h.run(h.change("d", change, [author], by: author)) == .refused(.notFound))
                #expect(
                    h.run(h.change("none", change, [author], by: author)) == .refused(.notFound))
            }
            #expect(h.head("c") == 1)
        }

        @Test("A direct chat's members never change", arguments: StoreUnderTest.allCases)
        func direct(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"], kind: .direct))
            #expect(h.run(h.change("c", .added, ["cyd"], by: "ann")) == .refused(.forbidden))
            #expect(h.run(h.change("c", .removed, ["bob"], by: "ann")) == .refused(.forbidden))
            #expect(h.run(h.change("c", .left, ["ann"], by: "ann")) == .refused(.forbidden))
        }

        @Test(
            "The bound on members counts those who would join", arguments: StoreUnderTest.allCases)
        func bound(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            let tooMany = h.change("c", .added, ["cyd", "dan"], by: "ann", maximum: 3)
            #expect(h.run(tooMany) == .refused(.tooManyMembers))
            #expect(h.head("c") == 0)
            let exact = h.change("c", .added, ["cyd", "bob", "cyd"], by: "ann", maximum: 3)
            #expect(h.run(exact).entries?.count == 1)
            #expect(h.run(h.change("c", .added, ["cyd"], by: "ann", maximum: 2)) == .membership([]))
            #expect(
                h.run(h.change("c", .added, ["dan"], by: "ann", maximum: 3))
                    == .refused(.tooManyMembers))
            h.run(h.change("c", .removed, ["bob"], by: "ann"))
            #expect(
                h.run(h.change("c", .added, ["dan"], by: "ann", maximum: 3)).entries?.count == 1)
        }

        @Test(
            "When the last owner leaves, the longest-standing admin takes over",
            arguments: StoreUnderTest.allCases)
        func adminSucceeds(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob", "cyd", "dan"]))
            h.setRole(.admin, of: "dan", in: "c")
            h.setRole(.admin, of: "cyd", in: "c")
            h.run(h.change("c", .left, ["ann"], by: "ann"))
            #expect(h.roles("c", by: "bob") == ["bob member", "cyd owner", "dan admin"])
        }

        @Test(
            "Without an admin it is the longest-standing member, not one who came back",
            arguments: StoreUnderTest.allCases)
        func memberSucceeds(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob", "cyd"]))
            h.submit([
                h.change("c", .removed, ["bob"], by: "ann"),
                h.change("c", .added, ["bob"], by: "ann"),
                h.change("c", .left, ["ann"], by: "ann"),
            ])
            #expect(h.roles("c", by: "bob") == ["cyd owner", "bob member"])
            h.submit([
                h.change("c", .left, ["cyd"], by: "cyd"), h.change("c", .left, ["bob"], by: "bob"),
            ])
            #expect(h.head("c") == 5)
            #expect(h.opened("c", "bob")?.access == .former(lastVisible: 5))
        }

        @Test("While another owner stays, nobody is made one", arguments: StoreUnderTest.allCases)
        func noSuccession(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob", "cyd"]))
            h.setRole(.owner, of: "cyd", in: "c")
            h.run(h.change("c", .left, ["ann"], by: "ann"))
            #expect(h.roles("c", by: "bob") == ["bob member", "cyd owner"])
        }

        @Test(
            "Within a batch, sends before a removal count and sends after it do not",
            arguments: StoreUnderTest.allCases)
        func exactByOrder(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            let outcomes = h.submit([
                h.message("c", "bob"), h.change("c", .removed, ["bob"], by: "ann"),
                h.message("c", "bob"), h.message("c", "ann"),
                h.change("c", .added, ["bob"], by: "ann"), h.message("c", "bob"),
            ])
            #expect(outcomes[0].entry?.seq == 1)
            #expect(outcomes[1].entries?.first?.seq == 2)
            #expect(outcomes[2] == .refused(.notFound))
            #expect(outcomes[3].entry?.seq == 3)
            #expect(outcomes[4].entries?.first?.seq == 4)
            #expect(outcomes[5].entry?.seq == 5)
        }

        @Test(
            "Who came back is a plain member, whatever they were",
            arguments: StoreUnderTest.allCases)
        func rejoining(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            h.setRole(.admin, of: "bob", in: "c")
            h.submit([
                h.change("c", .removed, ["bob"], by: "ann"),
                h.change("c", .added, ["bob"], by: "ann"),
            ])
            #expect(h.roles("c", by: "ann") == ["ann owner", "bob member"])
        }

        @Test("Members are listed to members only", arguments: StoreUnderTest.allCases)
        func listing(_ kind: StoreUnderTest) {
            let h = Harness(kind)
            h.run(h.creation("c", ["ann", "bob"]))
            h.run(h.change("c", .removed, ["bob"], by: "ann"))
            for user in ["eve", "bob"] as [UserID] {
                #expect(h.run(.listMembers("c", by: user)) == .refused(.notFound))
            }
            #expect(h.run(.listMembers("none", by: "ann")) == .refused(.notFound))
        }
    }
}
