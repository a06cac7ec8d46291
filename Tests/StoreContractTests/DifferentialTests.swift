import Basics
import Domain
import StoreCore
import TestSupport
import Testing

/// Random operations, on the model and on the real store: the same outcomes.
@Suite("Store against model") struct DifferentialTests {
    private struct Random: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            // SplitMix64.
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = state
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            return word ^ (word >> 31)
        }

        mutating func pick<T>(_ choices: [T]) -> T { choices[Int(next() % UInt64(choices.count))] }
        mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    }

    private static let chats: [ChatID] = ["c", "d", "e", "\u{E9}", "e\u{301}"]
    private static let users: [UserID] = ["ann", "bob", "cyd", "dan", "\u{E9}", "e\u{301}"]

    private func position(_ random: inout Random, _ h: Harness) -> LogPosition? {
        switch random.below(5) {
        case 0: nil
        case 1: .entry(MessageID(trusted: "entry-\(random.below(60))"))
        default: .seq(Seq(random.below(20) - 1))
        }
    }

    private func members(_ random: inout Random) -> [UserID] {
        var users = Self.users.filter { _ in random.below(2) == 0 }
        if users.isEmpty { users = [random.pick(Self.users)] }
        return users
    }

    private func operation(_ random: inout Random, _ h: Harness) -> Domain.Operation {
        let chat = random.pick(Self.chats)
        let user = random.pick(Self.users)
        switch random.below(22) {
        case 0...6:
            return h.message(
                chat, user, random.pick(["x", "y"]),
                clientID: random.pick([nil, "k", "l", "m", "\u{E9}", "e\u{301}"]),
                device: random.pick(["phone", "tv"]))
        case 7...8:
            let kind = random.pick([ConversationKind.group, .group, .direct])
            let others = Self.users.filter { $0.text.utf8.first != user.text.utf8.first }
            let members = kind == .direct ? [user, random.pick(others)] : members(&random)
            return h.creation(chat, members, kind: kind, name: random.pick([nil, "n"]))
        case 9...10:
            return h.change(chat, .added, members(&random), by: user, maximum: 3 + random.below(4))
        case 11: return h.change(chat, .removed, [random.pick(Self.users)], by: user)
        case 12: return h.change(chat, .left, [user], by: user)
        case 13...15:
            return h.cursor(
                chat, user, delivered: position(&random, h), read: position(&random, h),
                isPrivate: random.below(3) == 0, device: random.pick(["phone", "tv"]))
        case 16:
            return .openChats(OpenChats(user: user, chats: Self.chats))
        case 17:
            let name = random.pick(["s1", "s2", "t1"])
            let epoch = Int64(random.below(3))
            if random.below(2) == 0 {
                return .keepMarks(
                    KeepMarks(
                        name: name, epoch: epoch,
                        marks: [
                            KeptMark(
                                random.pick(["c", "\u{E9}", "e\u{301}"]), Seq(random.below(9))),
                            KeptMark("d", Seq(random.below(3)) - 1),
                        ]))
            }
            return .keepSession(
                KeepSession(
                    name: name, user: user, epoch: epoch,
                    replaces: random.pick([nil, 0, 1, 2]), state: [UInt8(random.below(256)), 0],
                    at: WallTime(milliseconds: Int64(random.below(20))),
                    // What is over may be gone or not.
                    until: WallTime(milliseconds: 20 + Int64(random.below(40)))))
        case 18:
            return random.pick([
                .dropSessions(
                    .all(of: user, at: WallTime(milliseconds: Int64(random.below(20))))),
                .dropSessions(
                    .named(random.pick(["s1", "s2", "t1", "none"]), epoch: Int64(random.below(3)))),
                .findSession(
                    random.pick(["s1", "s2", "t1"]),
                    at: WallTime(milliseconds: 20 + Int64(random.below(40)))),
                .findSession("s1", at: WallTime(milliseconds: 20)),
            ])
        case 19:
            let from = Self.chats.map { ReadLogs.From(chat: $0, after: Seq(random.below(12) - 1)) }
            return .readLogs(
                ReadLogs(
                    user: user, chats: from, maximumEntries: random.below(12),
                    maximumBytes: random.below(3_000)))
        case 20:
            return random.pick([
                .readHistory(
                    ReadHistory(
                        chat: chat, user: user, after: Seq(random.below(9)),
                        limit: random.below(9))),
                .readRange(
                    ReadRange(
                        chat: chat, after: Seq(random.below(9)), maximumEntries: random.below(9))),
                .head(chat),
                .findChats(of: MessageID(trusted: "entry-\(random.below(60))"), for: user),
            ])
        default:
            return random.pick([.listConversations(user), .listMembers(chat, by: user)])
        }
    }

    @Test(
        "240 seeds of 100 operations, some batches twice; 48 on Postgres",
        arguments: [StoreUnderTest.sqlite, .postgres], 0..<12)
    func sameOutcomes(_ kind: StoreUnderTest, _ group: Int) {
        for seed in 0..<(kind == .sqlite ? 20 : 4) {
            let seed = UInt64(group * 20 + seed)
            guard agree(seed, kind) else {
                Issue.record("seed \(seed)")
                return
            }
        }
    }

    private func agree(_ seed: UInt64, _ kind: StoreUnderTest) -> Bool {
        var random = Random(state: seed)
        let model = Harness(.model)
        let real = Harness(kind)
        var count = 0
        while count < 100 {
            let operations = (0...random.below(8)).map { _ in operation(&random, model) }
            count += operations.count
            let attempts = random.pick([[1], [1], [1], [2], [1, 2]])
            for attempt in attempts {
                let expected = model.submit(operations, attempt: attempt)
                let found = real.submit(operations, attempt: attempt)
                guard expected == found else {
                    for (index, pair) in zip(expected, found).enumerated() where pair.0 != pair.1 {
                        print("seed \(seed): \(operations[index])\n  \(pair.0)\n  \(pair.1)")
                    }
                    return false
                }
            }
        }
        return Self.chats.allSatisfy { model.range($0) == real.range($0) }
    }
}
