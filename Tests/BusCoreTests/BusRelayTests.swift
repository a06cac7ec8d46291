import Basics
import BusCore
import Domain
import Testing

/// What a relay said and asked for.
private struct Log {
    var published: [Publication] = []
    var digests: [Digest] = []
    var subscribed: [[Channel]] = []
    var unsubscribed: [[Channel]] = []
    var gaps = 0
    var following: [(channel: Channel, ticket: UInt64)] = []
    var arrived: [Int: Int] = [:]
    var heads: [Digest.Head] = []
    var foreign: [(shard: Int, channel: Channel)] = []
    var reached: [String] = []

    mutating func take(_ effects: [BusRelay.Effect], shards: Int) {
        for effect in effects {
            switch effect {
            case .publish(let publication): published.append(publication)
            case .publishDigest(let digest): digests.append(digest)
            case .subscribe(let channels): subscribed.append(channels)
            case .unsubscribe(let channels): unsubscribed.append(channels)
            case .tell(let shard, .gap): if shard == 0 { gaps += 1 }
            case .tell(_, .following(let channel, let ticket)):
                following.append((channel, ticket))
            case .tell(let shard, .publications(let batch)):
                arrived[shard, default: 0] += batch.count
            case .tell(_, .heads(let heads)): self.heads += heads
            case .tell(let shard, .foreign(let channel, _)): foreign.append((shard, channel))
            case .tell(let shard, .reached(let instance, let address)):
                if shard == 1 { reached.append("\(instance) \(address ?? "-")") }
            case .tell(_, .written), .tell(_, .arrived): break
            }
        }
    }
}

@Suite("BusRelay: an instance's end of a shared bus")
struct BusRelayTests {
    private let chat = Channel.chat(ChatID(trusted: "c"))
    private let user = Channel.user(UserID(trusted: "u"))
    private let own: UInt64 = 7

    private func at(_ milliseconds: Int) -> Instant {
        Instant.start.advanced(byMilliseconds: 1_000_000 + milliseconds)
    }

    private func make(shards: Int = 2) -> (BusRelay, Log) {
        (BusRelay(instance: own, shards: shards, now: at(0)), Log())
    }

    @Test(
        "Where another instance is reached is told when it changes, and kept while the bus is away")
    func addresses() {
        var (relay, log) = up()
        func hear(_ number: UInt64, _ address: String?, isLast: Bool = false) {
            let digest = Digest(
                instance: 8, number: number, isLast: isLast, address: address)
            run(&relay, &log) { $0.received(digest, at(Int(number)), effects: &$1) }
        }
        hear(1, "10.0.0.8:1")
        hear(2, "10.0.0.8:1")
        run(&relay, &log) { $0.linkDown(at(3), effects: &$1) }
        run(&relay, &log) { $0.turn(at(60_000), effects: &$1) }
        run(&relay, &log) { $0.linkUp(at(60_000), effects: &$1) }
        #expect(log.reached == ["8 10.0.0.8:1"])
        hear(70, "10.0.0.8:2")
        hear(71, "10.0.0.8:2", isLast: true)
        #expect(log.reached == ["8 10.0.0.8:1", "8 10.0.0.8:2", "8 -"])
    }

    @Test("Its own address is in each of its digests")
    func ownAddress() {
        var relay = BusRelay(instance: own, address: "10.0.0.7:1", shards: 2, now: at(0))
        var log = Log()
        run(&relay, &log) { $0.turn(at(0), effects: &$1) }
        run(&relay, &log) { $0.goodbye(effects: &$1) }
        #expect(log.digests.map(\.address) == ["10.0.0.7:1", "10.0.0.7:1"])
    }

    private func run(
        _ relay: inout BusRelay, _ log: inout Log,
        _ body: (inout BusRelay, inout [BusRelay.Effect]) -> Void
    ) {
        var effects: [BusRelay.Effect] = []
        body(&relay, &effects)
        log.take(effects, shards: 2)
    }

    /// A relay that is up and whose first gap, which every link-up causes, is behind it.
    private func up(following channels: [Channel] = []) -> (BusRelay, Log) {
        var (relay, log) = make()
        for (index, channel) in channels.enumerated() {
            run(&relay, &log) {
                $0.change([.follow(channel, ticket: UInt64(index + 1))], effects: &$1)
            }
        }
        run(&relay, &log) { $0.linkUp(at(0), effects: &$1) }
        for channel in channels {
            run(&relay, &log) { $0.subscribed(channel, at(0), effects: &$1) }
        }
        return (relay, Log())
    }

    private func digest(_ instance: UInt64, _ number: UInt64, _ heads: [Digest.Head] = []) -> Digest
    {
        Digest(instance: instance, number: number, heads: heads)
    }

    private func hear(
        _ relay: inout BusRelay, _ log: inout Log, _ digest: Digest, at milliseconds: Int
    ) {
        run(&relay, &log) { $0.received(digest, at(milliseconds), effects: &$1) }
    }

    private func turn(_ relay: inout BusRelay, _ log: inout Log, _ milliseconds: Int) {
        run(&relay, &log) { $0.turn(at(milliseconds), effects: &$1) }
    }

    /// A second after another in which our own digests come back.
    private func live(
        _ relay: inout BusRelay, _ log: inout Log, from: Int, to: Int,
        _ each: (inout BusRelay, inout Log, Int) -> Void = { _, _, _ in }
    ) {
        for milliseconds in stride(from: from, through: to, by: 1_000) {
            let before = log.digests.count
            turn(&relay, &log, milliseconds)
            for digest in log.digests[before...] {
                hear(&relay, &log, digest, at: milliseconds + 1)
            }
            each(&relay, &log, milliseconds + 2)
        }
    }

    // MARK: Interest

    @Test("A follow is answered when the bus confirms it, under its ticket")
    func follow() {
        var (relay, log) = up()
        run(&relay, &log) {
            $0.change([.follow(chat, ticket: 5), .follow(user, ticket: 6)], effects: &$1)
        }
        #expect(log.subscribed == [[chat, user]] && log.following.isEmpty)
        run(&relay, &log) { $0.subscribed(user, at(1), effects: &$1) }
        #expect(log.following.map(\.ticket) == [6])
    }

    @Test("While there is no link a follow holds at once: everything is compared anyway")
    func followWithoutLink() {
        var (relay, log) = make()
        run(&relay, &log) { $0.change([.follow(chat, ticket: 5)], effects: &$1) }
        #expect(log.subscribed.isEmpty && log.following.map(\.ticket) == [5])
    }

    @Test("Let go and taken again: the confirmation of the first asking is not that of the second")
    func followedAgain() {
        var (relay, log) = up()
        run(&relay, &log) {
            $0.change([.follow(chat, ticket: 1)], effects: &$1)
            $0.change([.unfollow(chat), .follow(chat, ticket: 2)], effects: &$1)
        }
        #expect(log.subscribed == [[chat], [chat]] && log.unsubscribed == [[chat]])
        run(&relay, &log) { $0.subscribed(chat, at(1), effects: &$1) }
        #expect(log.following.isEmpty)
        run(&relay, &log) { $0.subscribed(chat, at(2), effects: &$1) }
        #expect(log.following.map(\.ticket) == [2])
    }

    @Test("An unsubscription and a subscription go out in the order of the wishes")
    func order() {
        var (relay, log) = up(following: [chat])
        run(&relay, &log) {
            $0.change([.unfollow(chat), .follow(user, ticket: 9), .unfollow(user)], effects: &$1)
        }
        #expect(log.unsubscribed == [[chat], [user]] && log.subscribed == [[user]])
    }

    // MARK: What comes

    @Test("Publications go to their homes; our own and unasked ones go nowhere")
    func publications() {
        var (relay, log) = up(following: [chat])
        let typing = Publication.Content.typing(
            Typing(chat: ChatID(trusted: "c"), user: UserID(trusted: "u"), isTyping: true))
        for (channel, instance) in [(chat, 8), (chat, own), (user, 8)] as [(Channel, UInt64)] {
            relay.received(
                Publication(
                    channel: channel, content: typing,
                    origin: Origin(instance: instance, subscriber: 1)))
        }
        turn(&relay, &log, 10)
        #expect(log.arrived == [chat.home(of: 2): 1])
    }

    @Test("What backends say goes to the channel's home, where somebody follows it")
    func foreign() {
        var (relay, log) = up(following: [chat])
        run(&relay, &log) {
            $0.receivedForeign([1], on: chat, effects: &$1)
            $0.receivedForeign([1], on: user, effects: &$1)
        }
        #expect(log.foreign.map(\.channel) == [chat])
        #expect(log.foreign.map(\.shard) == [chat.home(of: 2)])
    }

    @Test("Heads of followed chats go to their homes")
    func heads() {
        var (relay, log) = up(following: [chat])
        hear(
            &relay, &log,
            digest(
                8, 1,
                [
                    Digest.Head(chat: ChatID(trusted: "c"), seq: 4),
                    Digest.Head(chat: ChatID(trusted: "other"), seq: 9),
                ]), at: 5)
        #expect(log.heads == [Digest.Head(chat: ChatID(trusted: "c"), seq: 4)])
    }

    // MARK: Digests

    @Test("A digest goes out each second, numbered, with each log that grew, once")
    func ownDigests() {
        var (relay, log) = up()
        run(&relay, &log) {
            $0.publish([entry("a", 1), entry("b", 7), entry("a", 3), entry("a", 2)], effects: &$1)
        }
        turn(&relay, &log, 0)
        turn(&relay, &log, 999)
        turn(&relay, &log, 1_000)
        #expect(log.digests.map(\.number) == [1, 2])
        #expect(log.digests[0].heads.map(\.chat.text) == ["a", "b"])
        #expect(log.digests[0].heads.map(\.seq) == [3, 7])
        #expect(log.digests[1].heads.isEmpty && log.published.count == 4)
    }

    @Test(
        "More heads than fit take more digests; too many are not named, and that is said",
        arguments: [
            (Digest.maximumHeads, 1, false), (Digest.maximumHeads + 1, 2, false),
            (BusRelay.maximumHeads, BusRelay.maximumHeads / Digest.maximumHeads, false),
            (BusRelay.maximumHeads + 1, BusRelay.maximumHeads / Digest.maximumHeads, true),
        ] as [(Int, Int, Bool)])
    func manyHeads(count: Int, digests: Int, isTruncated: Bool) {
        var (relay, log) = up()
        run(&relay, &log) { relay, effects in
            relay.publish((0..<count).map { entry("c\($0)", 1) }, effects: &effects)
        }
        turn(&relay, &log, 0)
        #expect(log.digests.count == digests)
        #expect(log.digests.allSatisfy { $0.isTruncated == isTruncated })
        #expect(log.digests.map(\.number) == (1...UInt64(digests)).map { $0 })
    }

    @Test("The last digest says that silence means nothing from then on")
    func goodbye() {
        var (relay, log) = up()
        run(&relay, &log) { $0.goodbye(effects: &$1) }
        #expect(log.digests.map(\.isLast) == [true])
        var (other, heard) = up()
        live(&other, &heard, from: 0, to: 0)
        hear(&other, &heard, digest(8, 1), at: 10)
        hear(
            &other, &heard, Digest(instance: 8, number: 2, isLast: true), at: 20)
        #expect(other.peerCount == 0)
        live(&other, &heard, from: 1_000, to: 9_000)
        #expect(heard.gaps == 0)
    }

    private func entry(_ chat: String, _ seq: Seq) -> Publication {
        let chat = ChatID(trusted: chat)
        return Publication(
            channel: .chat(chat),
            content: .entry(
                LogEntry(
                    chat: chat, seq: seq, id: MessageID(trusted: "m\(seq)"),
                    author: UserID(trusted: "u"), device: DeviceID(trusted: "d"),
                    createdAt: WallTime(milliseconds: 0),
                    body: .message(Message(encryptedContent: [1], type: "text")))),
            origin: Origin(instance: own, subscriber: 1))
    }

    // MARK: Gaps

    @Test("A missing number is a gap; the next one, and one that is repeated or late, are not")
    func missingNumber() {
        var (relay, log) = up()
        live(&relay, &log, from: 1_000, to: 1_000)
        hear(&relay, &log, digest(8, 1), at: 1_010)
        for number in [2, 3, 3, 2] as [UInt64] {
            hear(&relay, &log, digest(8, number), at: 1_020)
        }
        #expect(log.gaps == 0)
        hear(&relay, &log, digest(8, 5), at: 1_030)
        #expect(log.gaps == 1)
    }

    @Test("An instance that has been there before we heard of it: a gap; a new one: none")
    func newPeer() {
        var (relay, log) = up()
        live(&relay, &log, from: 1_000, to: 1_000)
        hear(&relay, &log, digest(8, 1), at: 1_010)
        #expect(log.gaps == 0)
        hear(&relay, &log, digest(9, 40), at: 1_020)
        #expect(log.gaps == 1 && relay.peerCount == 2)
    }

    @Test("A digest that could not name all is a gap")
    func truncated() {
        var (relay, log) = up()
        live(&relay, &log, from: 1_000, to: 1_000)
        hear(
            &relay, &log,
            Digest(instance: 8, number: 1, isTruncated: true, heads: []), at: 1_010)
        #expect(log.gaps == 1)
    }

    @Test("An instance silent for 2 s is a gap, after 4 s another, after 10 s it is forgotten")
    func silence() {
        var (relay, log) = up()
        live(&relay, &log, from: 1_000, to: 1_000)
        hear(&relay, &log, digest(8, 1), at: 1_010)
        live(&relay, &log, from: 2_000, to: 3_000)
        #expect(log.gaps == 0, "1,990 ms")
        live(&relay, &log, from: 4_000, to: 5_000)
        #expect(log.gaps == 1, "2,990 ms and 3,990 ms")
        live(&relay, &log, from: 6_000, to: 11_000)
        #expect(log.gaps == 2 && relay.peerCount == 1)
        live(&relay, &log, from: 12_000, to: 20_000)
        #expect(log.gaps == 2 && relay.peerCount == 0)
    }

    @Test("Our own digests do not come back for 3 s: the bus hangs, and is compared around")
    func hung() {
        var (relay, log) = up()
        live(&relay, &log, from: 1_000, to: 1_000)
        for milliseconds in [2_000, 3_000, 4_000] { turn(&relay, &log, milliseconds) }
        #expect(relay.isHealthy && log.gaps == 0, "2,999 ms")
        turn(&relay, &log, 5_000)
        #expect(!relay.isHealthy && log.gaps == 1)
        turn(&relay, &log, 6_000)
        #expect(log.gaps == 1)
        turn(&relay, &log, 7_000)
        #expect(log.gaps == 2, "again every 2 s")
        let last = log.digests[log.digests.count - 1]
        hear(&relay, &log, last, at: 7_600)
        turn(&relay, &log, 8_000)
        #expect(relay.isHealthy, "and it is back")
        #expect(log.gaps == 3, "what was lost meanwhile")
    }

    @Test("A link that is lost: a gap at once, then every 2 s; follows hold; back again: one more")
    func link() {
        var (relay, log) = up(following: [chat])
        run(&relay, &log) { $0.change([.follow(user, ticket: 9)], effects: &$1) }
        run(&relay, &log) { $0.linkDown(at(1_000), effects: &$1) }
        #expect(log.following.map(\.ticket) == [9] && log.gaps == 1 && !relay.isHealthy)
        for milliseconds in [2_000, 2_999, 3_000, 4_000, 5_000] {
            turn(&relay, &log, milliseconds)
        }
        #expect(log.gaps == 3)
        log.subscribed = []
        run(&relay, &log) { $0.linkUp(at(6_000), effects: &$1) }
        #expect(log.subscribed == [[chat, user]] && log.gaps == 3)
        run(&relay, &log) { $0.subscribed(chat, at(6_010), effects: &$1) }
        #expect(!relay.isHealthy)
        run(&relay, &log) { $0.subscribed(user, at(6_020), effects: &$1) }
        #expect(relay.isHealthy && log.gaps == 4, "only when all is followed again")
    }

    @Test(
        "Many channels are asked for again in slices, and the gap is told when all hold",
        arguments: [
            BusRelay.resubscribeWindow - 1, BusRelay.resubscribeWindow,
            BusRelay.resubscribeWindow + 1, 3 * BusRelay.resubscribeWindow,
        ])
    func slices(count: Int) {
        let channels = (0..<count).map { Channel.chat(ChatID(trusted: "c\($0)")) }
        var (relay, log) = make()
        for (index, channel) in channels.enumerated() {
            run(&relay, &log) {
                $0.change([.follow(channel, ticket: UInt64(index + 1))], effects: &$1)
            }
        }
        run(&relay, &log) { $0.linkUp(at(0), effects: &$1) }
        var confirmed = 0
        var asked = 0
        while asked < log.subscribed.count {
            #expect(log.subscribed[asked].count <= BusRelay.resubscribeWindow)
            for channel in log.subscribed[asked] {
                #expect(log.gaps == 0)
                confirmed += 1
                run(&relay, &log) { $0.subscribed(channel, at(1), effects: &$1) }
            }
            asked += 1
        }
        #expect(confirmed == count && log.gaps == 1 && relay.isHealthy)
        #expect(Set(log.subscribed.joined()) == Set(channels))
    }

    @Test("What is let go while it waits to be asked for again is not waited for")
    func letGoMeanwhile() {
        var (relay, log) = up(following: [chat])
        run(&relay, &log) {
            $0.linkDown(at(0), effects: &$1)
            $0.linkUp(at(1_000), effects: &$1)
        }
        #expect(!relay.isHealthy)
        run(&relay, &log) { $0.change([.unfollow(chat)], effects: &$1) }
        turn(&relay, &log, 1_001)
        #expect(relay.isHealthy)
    }

    @Test("Gaps that come together are told together, and the later one is not lost")
    func together() {
        var (relay, log) = up()
        live(&relay, &log, from: 1_000, to: 1_000)
        hear(&relay, &log, digest(8, 2), at: 1_010)
        hear(&relay, &log, digest(8, 4), at: 1_020)
        hear(&relay, &log, digest(8, 6), at: 1_030)
        #expect(log.gaps == 1 && relay.deadline == at(1_510))
        turn(&relay, &log, 1_509)
        #expect(log.gaps == 1)
        turn(&relay, &log, 1_510)
        #expect(log.gaps == 2)
        live(&relay, &log, from: 2_000, to: 2_000)
        #expect(log.gaps == 2)
    }
}
