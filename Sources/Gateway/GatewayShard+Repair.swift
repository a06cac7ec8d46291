import Basics
import BusCore
import Domain

/// What a shared bus may have lost, fetched from the store.
///
/// A *comparison* asks the store for the heads of all chats that have their home here, for the marks
/// that moved in them, and for the chats that followed users came into, since the comparison before.
/// One runs when the bus says `.gap`, and every 30 s whatever it says. Only one is under way; a gap
/// that comes meanwhile starts another behind it, because it may concern what was committed after
/// the store was read.
extension GatewayShard {
    /// Chats, and users, of one read.
    static let comparedPerRead = 512
    static let antiEntropyMs = 30_000
    /// After a read that failed.
    static let comparisonRetryMs = 1_000

    /// Another instance, by the owner that its session ids name.
    struct Peer {
        var instance: UInt64
        var address: String
    }

    struct Comparison {
        /// What is still to be read, behind the read that is under way; nil while there is none.
        /// One read at a time: together they would hold up what people send by as long as all of
        /// them take.
        var rest: (chats: ArraySlice<ChatID>, users: ArraySlice<UserID>)?
        var isUnderWay: Bool { rest != nil }
        /// A gap was told meanwhile.
        var isOutdated = false
        /// A read of this comparison failed: all is compared again.
        var hasFailed = false
        /// When the store was read, by its own time, in the first read of this comparison.
        var at: StoreTime?
        /// The same of the last comparison that succeeded.
        var since: StoreTime?
    }

    func receive(_ news: BusNews) {
        switch news {
        case .publications(let publications):
            for publication in publications { acceptAtHome(publication) }
        case .following(let channel, let ticket):
            var effects: [HomeDirectory.Effect] = []
            homes.following(channel, ticket: ticket, effects: &effects)
            carryOut(effects)
        case .reached(let instance, let address):
            let owner = UInt32(truncatingIfNeeded: instance)
            peers[owner] = address.map { Peer(instance: instance, address: $0) }
        case .written(let chat):
            guard homes.isHome(of: .chat(chat)) else { return }
            notices.chats.insert(chat)
            readNotices()
        case .arrived(let user):
            guard homes.isHome(of: .user(user)) else { return }
            notices.users.insert(user)
            readNotices()
        case .foreign(let channel, let payload):
            receiveForeign(payload, on: channel)
        case .gap:
            counters[.busGaps] += 1
            compareWithStore()
        case .heads(let heads):
            guard !configuration.planted.contains(.lostLastMessage) else { return }
            var effects: [HomeDirectory.Effect] = []
            for head in heads { homes.suspect(head.chat, head: head.seq, effects: &effects) }
            carryOut(effects)
        }
    }

    func compareWithStore() {
        guard !comparison.isUnderWay else {
            comparison.isOutdated = true
            return
        }
        guard !configuration.planted.contains(.lostLastMessage) else { return }
        comparison.isOutdated = false
        comparison.hasFailed = false
        comparison.at = nil
        let live = homes.live
        readNews(of: (live.chats[...], live.users[...]))
    }

    /// Asks for the first of them; at least once, for the answer says what time it is.
    private func readNews(of live: (chats: ArraySlice<ChatID>, users: ArraySlice<UserID>)) {
        let chats = Array(live.chats.prefix(Self.comparedPerRead))
        let users = Array(live.users.prefix(Self.comparedPerRead))
        comparison.rest = (
            live.chats.dropFirst(chats.count), live.users.dropFirst(users.count)
        )
        submit(
            .readNews(ReadNews(chats: chats, users: users, since: comparison.since)),
            .news(chats))
    }

    func newsRead(_ chats: [ChatID], _ result: LaneAnswer.Result) {
        guard let rest = comparison.rest else { return }
        if case .outcome(.news(let news)) = result {
            // The earliest of them counts; answers come in the order of asking.
            if comparison.at == nil { comparison.at = news.at }
            take(news, of: chats)
        } else {
            // What comes behind it is read all the same: a read that always fails hides no other.
            comparison.hasFailed = true
        }
        if !rest.chats.isEmpty || !rest.users.isEmpty, !(isDraining && openConnections == 0) {
            readNews(of: rest)
            return
        }
        comparison.rest = nil
        if comparison.hasFailed {
            scheduleComparison(inMs: Self.comparisonRetryMs)
        } else {
            comparison.since = comparison.at
            if comparison.isOutdated { compareWithStore() }
        }
    }

    private func take(_ news: News, of chats: [ChatID]) {
        var effects: [HomeDirectory.Effect] = []
        for (chat, head) in zip(chats, news.heads) {
            homes.suspect(chat, head: head, effects: &effects)
        }
        carryOut(effects)
        // Nobody of this instance caused them; what was told before, the home tells no more.
        let origin = Origin(instance: 0, subscriber: 0)
        for var receipt in news.receipts {
            if receipt.at.milliseconds == 0 { receipt.at = now.wall }
            acceptAtHome(
                Publication(
                    channel: .chat(receipt.chat), content: .receipt(receipt), origin: origin))
        }
        for arrival in news.arrivals {
            acceptAtHome(
                Publication(
                    channel: .user(arrival.user),
                    content: .joined(arrival.chat, since: arrival.since), origin: origin))
        }
    }

    // MARK: Notices

    /// Chats and users of which the database told, that are to be compared alone.
    struct Notices {
        var chats: Set<ChatID> = []
        var users: Set<UserID> = []
        var isUnderWay = false
    }

    /// One read at a time, of what was told until then.
    private func readNotices() {
        guard !notices.isUnderWay, !notices.chats.isEmpty || !notices.users.isEmpty else { return }
        notices.isUnderWay = true
        let chats = notices.chats.sorted { $0.text < $1.text }.prefix(Self.comparedPerRead)
        let users = notices.users.sorted { $0.text < $1.text }.prefix(Self.comparedPerRead)
        notices.chats.subtract(chats)
        notices.users.subtract(users)
        submit(
            .readNews(
                ReadNews(chats: Array(chats), users: Array(users), since: comparison.since)),
            .notices(Array(chats)))
    }

    func noticesRead(_ chats: [ChatID], _ result: LaneAnswer.Result) {
        notices.isUnderWay = false
        if case .outcome(.news(let news)) = result {
            take(news, of: chats)
        } else {
            // Which they were is forgotten: all is compared.
            scheduleComparison(inMs: Self.comparisonRetryMs)
        }
        readNotices()
    }

    func scheduleComparison(inMs milliseconds: Int) {
        schedule(.comparison, 0, at: now.instant.advanced(byMilliseconds: milliseconds))
    }

    /// Every 30 s, spread over the instances and shards by chance.
    func scheduleAntiEntropy() {
        let jitter = identifiers.bits() % 5_000
        schedule(
            .antiEntropy, 0,
            at: now.instant.advanced(byMilliseconds: Self.antiEntropyMs - Int(jitter)))
    }
}
