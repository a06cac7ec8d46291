import Basics
import BusCore
import Domain
import Gateway
import Testing

@Suite("HomeDirectory: a chat's log put in order")
struct HomeDirectoryTests {
    private let chat = ChatID(trusted: "c1")

    private func entry(_ seq: Seq) -> LogEntry {
        LogEntry(
            chat: chat, seq: seq, id: MessageID(trusted: "m\(seq)"), author: UserID(trusted: "a"),
            device: DeviceID(trusted: "d"), createdAt: WallTime(milliseconds: 0),
            body: .message(Message(encryptedContent: [65], type: "text")))
    }

    private func publication(_ seq: Seq, from connection: UInt64 = 3) -> Publication {
        Publication(
            channel: .chat(chat), content: .entry(entry(seq)),
            origin: Origin(instance: 1, subscriber: connection))
    }

    /// What a directory has asked for and passed on.
    private struct Log {
        var delivered: [Int: [Seq]] = [:]
        var watching: [(shard: Int, ticket: UInt64, head: Seq)] = []
        var heads = 0
        var ranges: [Seq] = []
        var timers = 0
        var marks = 0
        var interests: [String] = []
        var origins: [Seq: Origin] = [:]

        mutating func take(_ effects: [HomeDirectory.Effect]) {
            for effect in effects {
                switch effect {
                case .deliver(let shard, let delivery):
                    delivered[shard, default: []].append(delivery.seq)
                    origins[delivery.seq] = delivery.origin
                case .watching(let shard, _, let ticket, let head):
                    watching.append((shard, ticket, head))
                case .readHead: heads += 1
                case .readRange(_, let after): ranges.append(after)
                case .holdBackTimer: timers += 1
                case .readMarked: marks += 1
                case .change(.follow(_, let ticket)): interests.append("follow \(ticket)")
                case .change(.unfollow): interests.append("unfollow")
                }
            }
        }
    }

    private func directory(head: Seq = 0, watchers: [Int] = [0]) -> (HomeDirectory, Log) {
        var homes = HomeDirectory()
        var log = Log()
        for shard in watchers { watch(&homes, &log, shard) }
        var effects: [HomeDirectory.Effect] = []
        homes.headRead(chat, head: head, effects: &effects)
        log.take(effects)
        return (homes, log)
    }

    private func watch(
        _ homes: inout HomeDirectory, _ log: inout Log, _ shard: Int, ticket: UInt64 = 1
    ) {
        var effects: [HomeDirectory.Effect] = []
        homes.watch(.chat(chat), shard: shard, ticket: ticket, effects: &effects)
        log.take(effects)
    }

    private func accept(_ homes: inout HomeDirectory, _ log: inout Log, _ seqs: Seq...) {
        for seq in seqs {
            var effects: [HomeDirectory.Effect] = []
            homes.accept(publication(seq), effects: &effects)
            log.take(effects)
        }
    }

    private func expire(_ homes: inout HomeDirectory, _ log: inout Log) {
        var effects: [HomeDirectory.Effect] = []
        homes.holdBackExpired(chat, effects: &effects)
        log.take(effects)
    }

    private func answer(_ homes: inout HomeDirectory, _ log: inout Log, _ seqs: ClosedRange<Seq>?) {
        var effects: [HomeDirectory.Effect] = []
        homes.rangeRead(chat, seqs.map { $0.map(entry) } ?? [], effects: &effects)
        log.take(effects)
    }

    private func unwatch(_ homes: inout HomeDirectory, _ log: inout Log, _ shard: Int) {
        var effects: [HomeDirectory.Effect] = []
        homes.unwatch(.chat(chat), shard: shard, effects: &effects)
        log.take(effects)
    }

    // MARK: Watching

    @Test("The first watcher has the head read once, however many follow meanwhile")
    func headOnce() {
        var homes = HomeDirectory()
        var log = Log()
        watch(&homes, &log, 0, ticket: 5)
        watch(&homes, &log, 2, ticket: 6)
        #expect(log.heads == 1 && log.watching.isEmpty)
        var effects: [HomeDirectory.Effect] = []
        homes.headRead(chat, head: 7, effects: &effects)
        log.take(effects)
        #expect(log.watching.map(\.shard) == [0, 2])
        #expect(log.watching.map(\.ticket) == [5, 6])
        #expect(log.watching.allSatisfy { $0.head == 7 })
        accept(&homes, &log, 8)
        watch(&homes, &log, 1)
        #expect(log.heads == 1 && log.watching.last?.head == 8)
    }

    @Test("What concerns a user, a topic or a room has no head to read")
    func unsequenced() throws {
        let topic = Channel.topic(try #require(TopicName("job:42")))
        for channel in [Channel.user(UserID(trusted: "u")), topic, .room("r")] {
            var homes = HomeDirectory()
            var effects: [HomeDirectory.Effect] = []
            homes.watch(channel, shard: 1, ticket: 4, effects: &effects)
            var log = Log()
            log.take(effects)
            #expect(log.heads == 0 && log.watching.first?.head == 0)
        }
    }

    @Test("Entries that come before the head is known wait for it", arguments: [0, 3, 4, 5, 6])
    func beforeHead(head: Seq) {
        var homes = HomeDirectory()
        var log = Log()
        watch(&homes, &log, 0)
        accept(&homes, &log, 4, 5)
        #expect(log.delivered.isEmpty)
        var effects: [HomeDirectory.Effect] = []
        homes.headRead(chat, head: head, effects: &effects)
        log.take(effects)
        let expected: [Seq] = head < 3 ? [] : [4, 5].filter { $0 > head }
        #expect(log.delivered[0] ?? [] == expected)
        #expect(log.timers == (head < 3 ? 1 : 0), "a hole is watched over")
    }

    @Test("Nobody watches any more: the channel is forgotten, and what comes is dropped")
    func unwatched() {
        var (homes, log) = directory(watchers: [0, 1])
        unwatch(&homes, &log, 0)
        accept(&homes, &log, 1)
        #expect(log.delivered == [1: [1]])
        unwatch(&homes, &log, 1)
        #expect(homes.count == 0)
        accept(&homes, &log, 2)
        expire(&homes, &log)
        answer(&homes, &log, 1...2)
        #expect(log.delivered == [1: [1]] && log.ranges.isEmpty)
    }

    @Test("A head that cannot be read is asked for again, as long as somebody waits")
    func headFails() {
        var homes = HomeDirectory()
        var log = Log()
        watch(&homes, &log, 0)
        homes.headFailed(chat)
        var effects: [HomeDirectory.Effect] = []
        homes.retryHead(chat, effects: &effects)
        log.take(effects)
        #expect(log.heads == 2)
        homes.headFailed(chat)
        unwatch(&homes, &log, 0)
        effects = []
        homes.retryHead(chat, effects: &effects)
        #expect(effects.isEmpty)
    }

    @Test(
        "A page that was asked for in an earlier life of the channel is not the beginning of this one"
    )
    func stalePage() {
        var (homes, log) = directory(head: 5)
        accept(&homes, &log, 7)
        expire(&homes, &log)
        #expect(log.ranges == [5])
        // Given up, and watched again; the store is away for a moment.
        unwatch(&homes, &log, 0)
        watch(&homes, &log, 0, ticket: 2)
        homes.headFailed(chat)
        let heads = log.heads
        answer(&homes, &log, 6...7)
        answer(&homes, &log, 1...7)
        #expect(log.ranges == [5], "nobody reads the log from its beginning")
        var effects: [HomeDirectory.Effect] = []
        homes.retryHead(chat, effects: &effects)
        log.take(effects)
        #expect(log.heads == heads + 1)
        readHead(&homes, &log, 7)
        #expect(log.watching.last?.ticket == 2 && log.watching.last?.head == 7)
    }

    @Test("A head read twice takes nothing away from those who were told the first")
    func twoHeads() {
        // Watched, given up, watched again: two reads of the head are on their way.
        var homes = HomeDirectory()
        var log = Log()
        watch(&homes, &log, 0, ticket: 1)
        unwatch(&homes, &log, 0)
        watch(&homes, &log, 0, ticket: 2)
        #expect(log.heads == 2)
        for head in [5, 6] as [Seq] {
            var effects: [HomeDirectory.Effect] = []
            homes.headRead(chat, head: head, effects: &effects)
            log.take(effects)
        }
        #expect(log.watching.map(\.head) == [5])
        accept(&homes, &log, 6, 7)
        #expect(log.delivered[0] == [6, 7], "everything after the head that was named")
    }

    // MARK: Order

    @Test("Entries leave in order, to all watchers, whatever order they come in")
    func order() {
        var (homes, log) = directory(watchers: [0, 3])
        accept(&homes, &log, 1, 3, 4, 2, 2, 1, 6, 5)
        #expect(log.delivered == [0: [1, 2, 3, 4, 5, 6], 3: [1, 2, 3, 4, 5, 6]])
        #expect(homes.heldBackCount == 3)
    }

    @Test("Any order, with repeats: each once, ascending (property)", arguments: 1...40)
    func anyOrder(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed))
        let head = Seq(numbers.below(5))
        var (homes, log) = directory(head: head)
        let count = 1 + numbers.below(60)
        var seqs = (1...count).map { head + Seq($0) }
        seqs += (0..<numbers.below(20)).map { _ in Seq(1 + numbers.below(count + Int(head))) }
        seqs.shuffle(using: &numbers)
        for seq in seqs { accept(&homes, &log, seq) }
        #expect(log.delivered[0] == (1...count).map { head + Seq($0) })
    }

    // MARK: Repair

    @Test("A hole starts one timer; when it fires one read is made from the hole on")
    func repair() {
        var (homes, log) = directory()
        accept(&homes, &log, 3, 4)
        #expect(log.timers == 1 && log.ranges.isEmpty)
        expire(&homes, &log)
        #expect(log.ranges == [0])
        accept(&homes, &log, 6)
        expire(&homes, &log)
        #expect(log.ranges == [0], "one read at a time")
        answer(&homes, &log, 1...4)
        #expect(log.delivered[0] == [1, 2, 3, 4])
        #expect(homes.repairedCount == 4)
        #expect(log.timers >= 2, "6 still waits for 5, and is watched over")
        expire(&homes, &log)
        #expect(log.ranges == [0, 4])
        answer(&homes, &log, 5...6)
        #expect(log.delivered[0] == [1, 2, 3, 4, 5, 6])
    }

    @Test("A hole that closes by itself costs no read")
    func closedHole() {
        var (homes, log) = directory()
        accept(&homes, &log, 2, 1)
        expire(&homes, &log)
        #expect(log.ranges.isEmpty && log.delivered[0] == [1, 2])
    }

    @Test("A held entry keeps its origin when the repair brings it")
    func repairedOrigin() {
        var (homes, log) = directory()
        accept(&homes, &log, 2)
        expire(&homes, &log)
        answer(&homes, &log, 1...2)
        #expect(log.origins[2] == Origin(instance: 1, subscriber: 3))
        #expect(log.origins[1] == Origin(instance: 0, subscriber: 0))
    }

    @Test("What the bus brings during the read is not repeated by its answer")
    func duringRead() {
        var (homes, log) = directory()
        accept(&homes, &log, 3)
        expire(&homes, &log)
        accept(&homes, &log, 1, 2, 4)
        #expect(log.delivered[0] == [1, 2, 3, 4])
        answer(&homes, &log, 1...3)
        #expect(log.delivered[0] == [1, 2, 3, 4])
    }

    @Test("A read that fails is made again when the timer fires")
    func readFails() {
        var (homes, log) = directory()
        accept(&homes, &log, 2)
        expire(&homes, &log)
        var effects: [HomeDirectory.Effect] = []
        homes.readFailed(chat, effects: &effects)
        log.take(effects)
        #expect(log.timers == 2)
        expire(&homes, &log)
        #expect(log.ranges == [0, 0])
        answer(&homes, &log, 1...2)
        #expect(log.delivered[0] == [1, 2])
    }

    @Test("A full page is followed by the next one")
    func longRepair() {
        var (homes, log) = directory()
        let page = Seq(HomeDirectory.repairPage)
        accept(&homes, &log, 2 * page + 2)
        expire(&homes, &log)
        answer(&homes, &log, 1...page)
        #expect(log.ranges == [0, page])
        answer(&homes, &log, (page + 1)...(2 * page))
        #expect(log.ranges == [0, page, 2 * page])
        answer(&homes, &log, (2 * page + 1)...(2 * page + 2))
        #expect(log.delivered[0] == (1...(2 * page + 2)).map { $0 })
    }

    @Test("More than may be held back is dropped, and comes from the store, the last one too")
    func heldBound() {
        let most = Seq(HomeDirectory.maximumHeld)
        var (homes, log) = directory()
        for seq in 2...(most + 3) { accept(&homes, &log, seq) }
        // The predecessor comes after all: what was held goes, what was dropped is missing.
        accept(&homes, &log, 1)
        #expect(log.delivered[0]?.last == most + 1)
        expire(&homes, &log)
        #expect(log.ranges == [most + 1])
        answer(&homes, &log, (most + 2)...(most + 3))
        #expect(log.delivered[0] == (1...(most + 3)).map { $0 })
    }

    // MARK: Receipts

    private func receipt(
        _ homes: inout HomeDirectory, delivered: Seq?, read: Seq?, user: String = "u",
        isPrivate: Bool = false
    ) -> Int {
        var effects: [HomeDirectory.Effect] = []
        homes.accept(
            Publication(
                channel: .chat(chat),
                content: .receipt(
                    Receipt(
                        chat: chat, user: UserID(trusted: user), deliveredSeq: delivered,
                        readSeq: read, isReadPrivate: isPrivate, at: WallTime(milliseconds: 0))),
                origin: Origin(instance: 1, subscriber: 1)), effects: &effects)
        return effects.count { if case .deliver = $0 { true } else { false } }
    }

    @Test("A receipt passes where it says something higher, for its user")
    func receipts() {
        var (homes, _) = directory(head: 9)
        #expect(receipt(&homes, delivered: 3, read: nil) == 1)
        #expect(receipt(&homes, delivered: 3, read: nil) == 0)
        #expect(receipt(&homes, delivered: 2, read: nil) == 0)
        #expect(receipt(&homes, delivered: 2, read: 2) == 1)
        #expect(receipt(&homes, delivered: 3, read: 2) == 0)
        #expect(receipt(&homes, delivered: 3, read: nil, user: "v") == 1)
        #expect(receipt(&homes, delivered: nil, read: 1, isPrivate: true) == 1)
        #expect(receipt(&homes, delivered: 4, read: nil) == 1)
    }

    // MARK: A bus that others share

    private func suspect(_ homes: inout HomeDirectory, _ log: inout Log, _ head: Seq) {
        var effects: [HomeDirectory.Effect] = []
        homes.suspect(chat, head: head, effects: &effects)
        log.take(effects)
    }

    private func follow(_ homes: inout HomeDirectory, _ log: inout Log, ticket: UInt64) {
        var effects: [HomeDirectory.Effect] = []
        homes.following(.chat(chat), ticket: ticket, effects: &effects)
        log.take(effects)
    }

    private func readHead(_ homes: inout HomeDirectory, _ log: inout Log, _ head: Seq) {
        var effects: [HomeDirectory.Effect] = []
        homes.headRead(chat, head: head, effects: &effects)
        log.take(effects)
    }

    @Test("The bus is asked first; the head is read when the follow holds, and not before")
    func followsFirst() {
        var homes = HomeDirectory(followsFirst: true)
        var log = Log()
        watch(&homes, &log, 0)
        watch(&homes, &log, 1)
        #expect(log.interests == ["follow 1"] && log.heads == 0 && log.watching.isEmpty)
        // What is published before the answer waits for the head.
        accept(&homes, &log, 6)
        follow(&homes, &log, ticket: 1)
        #expect(log.heads == 1)
        readHead(&homes, &log, 5)
        #expect(log.watching.map(\.head) == [5, 5])
        #expect(log.delivered == [0: [6], 1: [6]])
    }

    @Test("The answer to a follow of an earlier life of the channel counts for nothing")
    func staleFollow() {
        var homes = HomeDirectory(followsFirst: true)
        var log = Log()
        watch(&homes, &log, 0)
        unwatch(&homes, &log, 0)
        watch(&homes, &log, 0)
        #expect(log.interests == ["follow 1", "unfollow", "follow 2"])
        follow(&homes, &log, ticket: 1)
        readHead(&homes, &log, 3)
        #expect(log.heads == 0 && log.watching.isEmpty)
        follow(&homes, &log, ticket: 2)
        readHead(&homes, &log, 4)
        #expect(log.watching.map(\.head) == [4])
    }

    @Test("A second head that is higher has what lies between fetched")
    func higherHead() {
        var (homes, log) = directory(head: 5)
        readHead(&homes, &log, 8)
        #expect(log.timers == 1)
        expire(&homes, &log)
        #expect(log.ranges == [5])
        answer(&homes, &log, 6...8)
        #expect(log.delivered[0] == [6, 7, 8])
    }

    @Test(
        "A head that others name is waited for, then fetched; a known one is nothing",
        arguments: [(4, 0), (5, 0), (6, 1)] as [(Seq, Int)])
    func suspected(head: Seq, timers: Int) {
        var (homes, log) = directory(head: 5)
        suspect(&homes, &log, head)
        #expect(log.timers == timers)
        expire(&homes, &log)
        #expect(log.ranges == (timers == 0 ? [] : [5]))
    }

    @Test("What comes by itself meanwhile is not fetched")
    func suspectedCame() {
        var (homes, log) = directory(head: 5)
        suspect(&homes, &log, 6)
        accept(&homes, &log, 6)
        expire(&homes, &log)
        #expect(log.ranges.isEmpty && log.delivered[0] == [6])
    }

    @Test("A head that the store does not have is believed once, not for ever")
    func suspectedInVain() {
        var (homes, log) = directory(head: 5)
        suspect(&homes, &log, 1_000)
        expire(&homes, &log)
        answer(&homes, &log, nil)
        expire(&homes, &log)
        #expect(log.ranges == [5] && log.timers == 1)
    }

    @Test("Suspected before the head was read: fetched after it")
    func suspectedEarly() {
        var homes = HomeDirectory(followsFirst: true)
        var log = Log()
        watch(&homes, &log, 0)
        suspect(&homes, &log, 7)
        follow(&homes, &log, ticket: 1)
        readHead(&homes, &log, 5)
        #expect(log.timers == 1)
        expire(&homes, &log)
        answer(&homes, &log, 6...7)
        #expect(log.delivered[0] == [6, 7])
    }

    @Test("An entry too large for the bus comes as its place alone, and from the store")
    func reference() {
        var (homes, log) = directory(head: 5)
        func refer(to seq: Seq) {
            var effects: [HomeDirectory.Effect] = []
            homes.accept(
                Publication(
                    channel: .chat(chat), content: .reference(seq),
                    origin: Origin(instance: 2, subscriber: 1)), effects: &effects)
            log.take(effects)
        }
        refer(to: 6)
        #expect(log.ranges == [5] && log.timers == 0, "nothing is missing before it: at once")
        refer(to: 7)
        #expect(log.ranges == [5], "one read at a time")
        answer(&homes, &log, 6...7)
        answer(&homes, &log, nil)
        #expect(log.delivered[0] == [6, 7])
        refer(to: 9)
        #expect(log.ranges == [5, 7] && log.timers == 1, "8 may be on its way")
        expire(&homes, &log)
        answer(&homes, &log, 8...9)
        #expect(log.delivered[0] == [6, 7, 8, 9])
    }

    @Test("An arrival is told once; one that a later one overtook is not told")
    func arrivals() {
        let user = UserID(trusted: "u")
        var homes = HomeDirectory()
        var effects: [HomeDirectory.Effect] = []
        homes.watch(.user(user), shard: 0, ticket: 1, effects: &effects)
        effects = []
        for since in [4, 4, 9, 4, 9, 10] as [Seq] {
            homes.accept(
                Publication(
                    channel: .user(user), content: .joined(chat, since: since),
                    origin: Origin(instance: 2, subscriber: 1)), effects: &effects)
        }
        #expect(effects.count == 3)
    }

    @Test("Live are the chats whose head is known or asked for, and the users; in order")
    func live() {
        var homes = HomeDirectory(followsFirst: true)
        var effects: [HomeDirectory.Effect] = []
        for name in ["b", "a", "c"] {
            homes.watch(
                .chat(ChatID(trusted: name)), shard: 0, ticket: 1, effects: &effects)
            homes.watch(
                .user(UserID(trusted: name)), shard: 0, ticket: 1, effects: &effects)
        }
        for effect in effects {
            guard case .change(.follow(let channel, let ticket)) = effect else { continue }
            if channel == .chat(ChatID(trusted: "c")) { continue }
            homes.following(channel, ticket: ticket, effects: &effects)
        }
        #expect(homes.live.chats.map(\.text) == ["a", "b"])
        #expect(homes.live.users.map(\.text) == ["a", "b", "c"])
    }
}
