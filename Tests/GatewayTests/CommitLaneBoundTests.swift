import Basics
import Domain
import Gateway
import StoreCore
import Testing

@Suite("CommitLane: each bound from both sides")
struct CommitLaneBoundTests {
    private let failure = StoreFailure(.unavailable, "test")
    private let started = Instant(nanoseconds: 1_000_000_000)

    private func limits(_ overrides: [String: String] = [:]) -> Limits {
        var limits = Limits()
        for (name, text) in overrides {
            if let complaint = limits.set(name, to: text) { preconditionFailure(complaint) }
        }
        return limits
    }

    private func at(_ milliseconds: Int, less nanoseconds: UInt64 = 0) -> Instant {
        Instant(
            nanoseconds: started.advanced(byMilliseconds: milliseconds).nanoseconds - nanoseconds)
    }

    // MARK: Operations

    private var append: Operation {
        .append(
            AppendMessage(
                id: MessageID(trusted: "m"), chat: ChatID(trusted: "c"),
                author: UserID(trusted: "u"), device: DeviceID(trusted: "d"),
                clientMessageID: nil, createdAt: WallTime(milliseconds: 0),
                message: Message(encryptedContent: [65], type: "text")))
    }

    private var head: Operation { .head(ChatID(trusted: "c")) }

    private func users(_ count: Int) -> [UserID] {
        (0..<count).map { UserID(trusted: "u\($0)") }
    }

    /// A row for the chat and one a member.
    private func creation(members count: Int) -> Operation {
        .createConversation(
            CreateConversation(
                id: ChatID(trusted: "c"), kind: .group, name: nil, creator: UserID(trusted: "u0"),
                members: users(count), createdAt: WallTime(milliseconds: 0)))
    }

    /// A row for the chat and two a user: the membership and its entry.
    private func change(users count: Int) -> Operation {
        .changeMembership(
            ChangeMembership(
                chat: ChatID(trusted: "c"), author: UserID(trusted: "u0"),
                device: DeviceID(trusted: "d"), kind: .added, users: users(count),
                entryIDs: (0..<count).map { MessageID(trusted: "e\($0)") },
                maximumMembers: 10_000, at: WallTime(milliseconds: 0)))
    }

    private enum Read: CaseIterable { case logs, history, range }

    private func read(_ kind: Read, bytes: Int) -> Operation {
        let chat = ChatID(trusted: "c")
        let user = UserID(trusted: "u")
        return switch kind {
        case .logs:
            .readLogs(
                ReadLogs(
                    user: user, chats: [ReadLogs.From(chat: chat, after: 0)], maximumEntries: 1,
                    maximumBytes: bytes))
        case .history:
            .readHistory(
                ReadHistory(chat: chat, user: user, after: 0, limit: 1, maximumBytes: bytes))
        case .range:
            .readRange(
                ReadRange(chat: chat, after: 0, maximumEntries: 1, maximumBytes: bytes))
        }
    }

    private func lane(_ operations: [Operation], _ limits: Limits = Limits()) -> CommitLane {
        var lane = CommitLane(limits: limits)
        for (ticket, operation) in operations.enumerated() {
            let isTaken = lane.enqueue(
                LaneItem(shard: 0, ticket: UInt64(ticket), operation: operation))
            #expect(isTaken)
        }
        return lane
    }

    /// The sizes of the batches that the operations make.
    private func batches(_ operations: [Operation]) -> [Int] {
        var lane = lane(operations, limits(["batchBytes": "64000000"]))
        var sizes: [Int] = []
        while sizes.count <= operations.count, let batch = lane.nextBatch(now: started) {
            sizes.append(batch.operations.count)
            _ = lane.complete(
                .committed(batch.operations.map { _ in .head(0) }), now: started)
        }
        return sizes
    }

    // MARK: Rows

    @Test(
        "A batch writes at most 1,024 rows: a chat's creation is one and one a member",
        arguments: [(1_021, [3]), (1_022, [2, 1]), (1_023, [1, 2]), (1_024, [1, 2])])
    func rowsOfCreation(members: Int, sizes: [Int]) {
        #expect(batches([creation(members: members), append, append]) == sizes)
    }

    @Test(
        "A batch writes at most 1,024 rows: a change of members is one and two a user",
        arguments: [
            (510, 2, [3]), (510, 3, [4]), (510, 4, [4, 1]), (511, 1, [2]), (511, 2, [2, 1]),
        ])
    func rowsOfChange(users: Int, others: Int, sizes: [Int]) {
        #expect(batches([change(users: users)] + Array(repeating: append, count: others)) == sizes)
    }

    @Test("The operation that does not fit begins the next batch, and the rows begin anew")
    func rowsOfTheNextBatch() {
        #expect(
            batches([
                append, creation(members: 1_022), creation(members: 1_023),
                creation(members: 511), creation(members: 511), append,
            ]) == [2, 1, 2, 1])
    }

    @Test("An operation of more rows than a batch has is a batch of its own")
    func moreRowsThanABatch() {
        #expect(batches([append, creation(members: 2_000), append]) == [1, 1, 1])
        #expect(batches([change(users: 600), change(users: 600)]) == [1, 1])
    }

    // MARK: Answers

    @Test(
        "The reads of a batch bring back at most 16 MB, whichever reads they are",
        arguments: [(7_999_999, [2]), (8_000_000, [2]), (8_000_001, [1, 1])])
    func answerBytes(second: Int, sizes: [Int]) {
        for kind in Read.allCases {
            #expect(
                batches([read(.logs, bytes: 8_000_000), read(kind, bytes: second)]) == sizes,
                "\(kind)")
        }
    }

    @Test("Sixteen pages of 1 MB are a batch, the seventeenth is the next one")
    func pages() {
        for count in [15, 16, 17] {
            let pages = (0..<count).map { _ in
                Operation.readHistory(
                    ReadHistory(
                        chat: ChatID(trusted: "c"), user: UserID(trusted: "u"), after: 0,
                        limit: 100))
            }
            #expect(batches(pages) == (count == 17 ? [16, 1] : [count]))
        }
    }

    @Test("What brings back little fits beside reads that fill the batch")
    func smallAnswers() {
        #expect(batches([read(.logs, bytes: 16_000_000), append, head]) == [3])
        #expect(
            batches([append, read(.logs, bytes: 16_000_000), read(.range, bytes: 1)]) == [2, 1])
    }

    @Test("A read of more than a batch may bring back is a batch of its own")
    func largeAnswer() {
        #expect(
            batches([read(.logs, bytes: 1), read(.logs, bytes: 20_000_000), read(.logs, bytes: 1)])
                == [1, 1, 1])
    }

    // MARK: Time

    @Test(
        "An unresolved batch is tried again 100 ms later, and not a nanosecond before",
        arguments: [(1, false), (0, true)] as [(UInt64, Bool)])
    func retry(less: UInt64, isDue: Bool) {
        var lane = lane([append])
        _ = lane.nextBatch(now: started)
        _ = lane.complete(.unknown(failure), now: at(50))
        let batch = lane.nextBatch(now: at(150, less: less))
        #expect((batch != nil) == isDue)
        #expect(batch == nil || batch?.attempt == 2)
        #expect(lane.retryAt == (isDue ? nil : at(150)))
    }

    @Test(
        "Who waits is told when the time for an unknown commit has passed, and not before",
        arguments: [(1_000, 1, false), (1_000, 0, true), (1_001, 0, true)] as [(Int, UInt64, Bool)])
    func unknownCommit(milliseconds: Int, less: UInt64, isTold: Bool) {
        var lane = lane([append, head], limits(["unknownCommit": "1000"]))
        _ = lane.nextBatch(now: started)
        let early = lane.complete(.unknown(failure), now: at(500))
        #expect(early.isEmpty)
        _ = lane.nextBatch(now: at(600))
        let told = lane.complete(.unknown(failure), now: at(milliseconds, less: less))
        #expect(told.map(\.answer.ticket) == (isTold ? [0, 1] : []))
        #expect(told.allSatisfy { if case .unknown = $0.answer.result { true } else { false } })
        #expect(lane.isResolving, "what became of it is still to be found out")
    }

    // MARK: Reads that shared a refused batch

    private func refusedTogether() -> CommitLane {
        var lane = lane([head, append, head])
        _ = lane.nextBatch(now: started)
        let refused = lane.complete(.notStored(failure), now: at(10))
        #expect(refused.map(\.answer.ticket) == [1])
        return lane
    }

    @Test("Reads that fail again, by themselves, are refused: there is no third try")
    func readsFailAlone() {
        var lane = refusedTogether()
        #expect(lane.nextBatch(now: at(10))?.operations.count == 2)
        let answers = lane.complete(.notStored(failure), now: at(20))
        #expect(answers.map(\.answer.ticket) == [0, 2])
        #expect(
            answers.allSatisfy { if case .notStored = $0.answer.result { true } else { false } })
        #expect(lane.isIdle && lane.nextBatch(now: at(10_000)) == nil)
        #expect(lane.health == .failing(failure))
    }

    @Test("The try of their own comes at once, before what waits, and nothing else is in it")
    func readsAreNext() {
        var lane = refusedTogether()
        let isTaken = lane.enqueue(LaneItem(shard: 0, ticket: 9, operation: append))
        #expect(isTaken && !lane.isResolving && lane.retryAt == nil)
        let batch = lane.nextBatch(now: at(10))
        #expect(batch?.attempt == 1)
        #expect(batch?.operations.map(\.isWrite) == [false, false])
        #expect(lane.queuedOperations == 1)
    }

    @Test("Reads whose own try has an unknown fate are tried again like any batch")
    func readsUnknown() {
        var lane = refusedTogether()
        _ = lane.nextBatch(now: at(10))
        let answers = lane.complete(.unknown(failure), now: at(20))
        #expect(answers.isEmpty && lane.isResolving)
        #expect(lane.nextBatch(now: at(119)) == nil)
        let batch = lane.nextBatch(now: at(120))
        #expect(batch?.operations.count == 2 && batch?.attempt == 2)
        let told = lane.complete(.committed([.head(1), .head(1)]), now: at(130))
        #expect(told.map(\.answer.ticket) == [0, 2] && lane.isIdle)
    }
}
