import Basics
import Domain
import StoreCore
import Testing

@testable import StorePostgres

/// The decisions of the Postgres store, without a Postgres: rows in, outcomes and rows out.
@Suite("Planner") struct PlannerTests {
    /// A chat "c" with key 7 and two entries; ann owns it, bob joined with the second.
    private func state() -> LoadedState {
        var state = LoadedState()
        state.add(
            LoadedState.Chat(
                key: 7, id: "c", kind: .group, name: nil, creator: "ann",
                createdAt: WallTime(milliseconds: 1), lastSeq: 2, memberCount: 2))
        add(to: &state, key: 1, "ann", .owner, joined: 0)
        add(to: &state, key: 2, "bob", .member, joined: 2)
        return state
    }

    private func add(
        to state: inout LoadedState, key: Int64, _ user: UserID, _ role: Role, joined: Seq
    ) {
        state.add(
            LoadedState.Stay(
                key: key, user: user, role: role, joinedSeq: joined,
                joinedAt: WallTime(milliseconds: 1)),
            to: 0)
    }

    private let h = Harness(.model)

    private func decide(
        _ state: LoadedState, _ operations: [Domain.Operation], attempt: Int = 1
    ) -> (planner: Planner, outcomes: [Outcome?]) {
        let batch = Batch(operations: operations, attempt: attempt)
        var planner = Planner(state, batch)
        let outcomes = planner.decide(batch)
        return (planner, outcomes)
    }

    private func statements(_ planner: Planner) -> [Statement] {
        planner.requests().list.map(\.statement)
    }

    @Test("Sends take the seqs that follow; one row each, one head")
    func sends() {
        let (planner, outcomes) = decide(
            state(), [h.message("c", "ann"), h.message("c", "eve"), h.message("c", "bob")])
        #expect(outcomes[0]?.entry?.seq == 3 && outcomes[2]?.entry?.seq == 4)
        #expect(outcomes[1] == .refused(.notFound))
        #expect(planner.newEntries.map(\.chat) == [7, 7])
        #expect(statements(planner) == [.insertEntries, .setHeads])
        #expect(planner.state.chats[0].lastSeq == 4)
    }

    @Test("What is refused writes nothing")
    func refused() {
        let (planner, outcomes) = decide(state(), [h.message("c", "eve"), h.message("d", "ann")])
        #expect(outcomes == [.refused(.notFound), .refused(.notFound)])
        #expect(statements(planner).isEmpty)
    }

    @Test("Send, remove, send: the second is a stranger's")
    func removedBetween() {
        let (planner, outcomes) = decide(
            state(),
            [
                h.message("c", "bob"), h.change("c", .removed, ["bob"], by: "ann"),
                h.message("c", "bob"), h.change("c", .added, ["bob"], by: "ann"),
                h.message("c", "bob"),
            ])
        #expect(outcomes[0]?.entry?.seq == 3 && outcomes[1]?.entries?.map(\.seq) == [4])
        #expect(outcomes[2] == .refused(.notFound))
        #expect(outcomes[4]?.entry?.seq == 6)
        #expect(statements(planner) == [.insertEntries, .endStays, .insertStays, .setHeads])
        let stays = planner.state.chats[0].stays
        #expect(stays[1].endedSeq == 4 && stays[2].joinedSeq == 5 && stays[2].key == nil)
    }

    @Test("One who joins and leaves in one batch has a stay that is over")
    func shortStay() {
        let (planner, _) = decide(
            state(),
            [
                h.change("c", .added, ["cyd"], by: "ann"), h.message("c", "cyd"),
                h.change("c", .left, ["cyd"], by: "cyd"),
            ])
        let stay = planner.state.chats[0].stays.last
        #expect(stay?.joinedSeq == 3 && stay?.endedSeq == 5)
        #expect(statements(planner) == [.insertEntries, .insertStays, .setHeads])
        #expect(planner.state.chats[0].memberCount == 2)
    }

    @Test("A duplicate within the batch is found, another body under its id refused")
    func duplicateInBatch() {
        let first = h.message("c", "ann", clientID: "k")
        let (planner, outcomes) = decide(
            state(),
            [first, first.resent(as: h.freshID()), h.message("c", "ann", "other", clientID: "k")])
        guard case .duplicate(_, 3, _) = outcomes[1] else {
            Issue.record("\(String(describing: outcomes[1]))")
            return
        }
        #expect(outcomes[2] == .refused(.idempotencyConflict))
        #expect(planner.newEntries.count == 1)
    }

    @Test("A chat that is made in the batch is there behind its creation, not before")
    func creation() {
        var state = LoadedState()
        state.add(
            LoadedState.Chat(
                key: 9, id: "d", kind: .group, name: nil, creator: "ann",
                createdAt: WallTime(milliseconds: 1), lastSeq: 0, memberCount: 2, isPending: true))
        let (planner, outcomes) = decide(
            state,
            [h.message("d", "ann"), h.creation("d", ["ann", "bob"]), h.message("d", "bob")])
        #expect(outcomes[0] == .refused(.notFound))
        #expect(outcomes[1]?.conversation?.memberCount == 2)
        #expect(outcomes[2]?.entry?.seq == 1)
        #expect(statements(planner) == [.insertEntries, .insertStays, .setHeads])
    }

    @Test("Marks that do not move are not written")
    func marks() {
        var state = state()
        state.watermarks[LoadedState.User(chat: 7, user: "bob")] = Watermarks(
            delivered: 2, read: 2, publicRead: 2)
        state.devices[LoadedState.Device(chat: 7, user: "bob", device: "phone")] =
            LoadedState.DeviceMarks(delivered: 2, read: 2)
        let (planner, outcomes) = decide(
            state, [h.cursor("c", "bob", delivered: .seq(2), read: .seq(1))])
        #expect(outcomes == [.cursor(nil, delivered: 2, read: 2)])
        #expect(statements(planner).isEmpty)
        let (other, _) = decide(state, [h.cursor("c", "bob", read: .seq(2), device: "tv")])
        #expect(statements(other) == [.setDevices])
        let (ann, _) = decide(state, [h.cursor("c", "ann", read: .seq(1))])
        #expect(statements(ann) == [.setDevices, .setWatermarks])
    }

    @Test("A batch that was committed adds nothing when it comes again")
    func committedBefore() {
        let operations = [h.message("c", "ann"), h.message("c", "eve")]
        let (_, first) = decide(state(), operations)
        var after = state()
        for case .appended(let entry) in first { after.entries[entry.id] = entry }
        let (planner, second) = decide(after, operations, attempt: 2)
        #expect(second == first)
        #expect(statements(planner).isEmpty)
        let third = decide(after, operations + [h.message("c", "bob")], attempt: 2).outcomes
        #expect(third[2] == .refused(.notFound))
    }

    @Test("What a batch needs to know: each thing once, ids of ours not at the first submission")
    func needs() {
        let ours: MessageID = "018f3c2a-7b1c-7def-8abc-0123456789ab"
        let send = h.message("c", "ann", clientID: "k")
        let operations = [
            send, send.resent(as: ours), h.message("c", "ann", clientID: "\u{E9}"),
            h.message("c", "ann", clientID: "e\u{301}"),
            h.cursor("c", "ann", delivered: .seq(1), read: .entry("x")),
        ]
        let first = Needs(Batch(operations: operations), looksUpAllIDs: false)
        #expect(first.chats.elements == ["c"] && first.presences.elements.count == 1)
        #expect(first.sends.elements.count == 3)
        #expect(!first.ids.elements.contains(ours) && first.ids.elements.count == 3)
        #expect(first.places.elements.count == 1 && first.stays.elements.count == 1)
        let second = Needs(Batch(operations: operations, attempt: 2), looksUpAllIDs: true)
        #expect(second.ids.elements.contains(ours))
    }
}
