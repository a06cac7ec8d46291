import Basics
import BusCore
import Domain
import Wire

/// The channels whose home is this shard: where a chat's log is put in order for the whole
/// instance.
///
/// Entries come from the bus in any order, perhaps twice, perhaps not at all. They leave here
/// contiguous: an entry waits (≤ 200 ms) until its predecessor came, then the store is asked once
/// for what is missing. The same where only the word of others says that there is more.
///
/// Where the bus is shared with other instances a channel is followed there first, and its head
/// read when the follow holds: what is committed later is told, what was committed earlier is in
/// the head.
///
///     following ── holds ──► unknown head ── head read ──► in order ── a later entry ──► holding back ── predecessor ──► in order
///                                                                      │ 200 ms
///                                                                      ▼
///                                                                 repairing (one store read) ──► in order
///
/// A channel is known only while some shard of this instance follows it.
package struct HomeDirectory {
    /// What the shard carries out.
    package enum Effect {
        /// Pass on to a shard that follows.
        case deliver(to: Int, Delivery)
        /// Tell a shard that everything after `head` will reach it.
        case watching(shard: Int, channel: Channel, ticket: UInt64, head: Seq)
        /// Ask the bus for the channel, or no longer.
        case change(InterestChange)
        case readHead(ChatID)
        case readRange(ChatID, after: Seq)
        case holdBackTimer(ChatID)
        /// Which message a mark stands at, for those who are told of messages and not of marks.
        case readMarked(Receipt, Origin)
    }

    /// Entries held back a chat; more are dropped, and come from the store.
    package static let maximumHeld = 1_024
    package static let repairPage = 256

    /// An object, found once for whatever happens to a channel; it does not leave the directory.
    private final class Home {
        var watchers: [Int] = []
        var waiting: [(shard: Int, ticket: UInt64)] = []
        /// The last entry that was passed on; nil until the head has been read.
        var applied: Seq?
        var held: [Seq: Publication] = [:]
        /// More came than may be held: the store has what is missing, also where no hole is left.
        var hasDropped = false
        /// The log goes at least so far, somebody says.
        var suspected: Seq = 0
        var isReading = false
        /// What the bus is to answer; nil once it did.
        var followTicket: UInt64?
        var hasTimer = false
        /// The highest receipts passed on, so that those of two devices that overtook each other on
        /// the way never take a mark back (P8). At most one a member.
        var receipts: [UserID: Marks] = [:]

        /// A user's arrivals that were passed on: where the chat's news begins for them. One that is
        /// repeated, or was overtaken by a later one, would have it replayed.
        var arrivals: [ChatID: Seq] = [:]

        /// There is more, in hand or in the store, than was passed on.
        var isBehind: Bool {
            guard let applied else { return false }
            return !held.isEmpty || hasDropped || suspected > applied
        }
    }

    private struct Marks {
        var delivered: Seq = 0
        var read: Seq = 0
    }

    /// A message's place in its log.
    private struct Place: Hashable {
        let chat: ChatID
        let seq: Seq
    }

    private var homes: [Channel: Home] = [:]
    /// The messages that were passed on last.
    private var messages = RecentMap<Place, MessageID>(capacity: 4_096)
    /// Whether anybody is to be told of messages instead of marks.
    package var notesMessages = false
    /// Messages that one receipt tells of, to clients that know marks by messages only. Of more the
    /// last ones; whoever counts marks is told of all.
    package static let messagesPerReceipt = 64
    private let holdsBack: Bool
    private let repairs: Bool
    private let followsFirst: Bool
    private var followTickets: UInt64 = 0
    package private(set) var heldBackCount = 0
    package private(set) var repairedCount = 0

    /// - Parameters:
    ///   - followsFirst: whether the bus must be asked before it tells of a channel.
    ///   - holdsBack, repairs: false only where the simulator plants that bug.
    package init(followsFirst: Bool = false, holdsBack: Bool = true, repairs: Bool = true) {
        self.followsFirst = followsFirst
        self.holdsBack = holdsBack
        self.repairs = repairs
    }

    package var count: Int { homes.count }

    package mutating func watch(
        _ channel: Channel, shard: Int, ticket: UInt64, effects: inout [Effect]
    ) {
        let home = homes[channel] ?? newHome(channel, &effects)
        home.waiting.append((shard, ticket))
        answerWatchers(channel, home, &effects)
    }

    private mutating func newHome(_ channel: Channel, _ effects: inout [Effect]) -> Home {
        let home = Home()
        homes[channel] = home
        if case .chat = channel {} else { home.applied = 0 }
        if followsFirst {
            followTickets += 1
            home.followTicket = followTickets
            effects.append(.change(.follow(channel, ticket: followTickets)))
        }
        return home
    }

    /// Tells those who wait that they follow now, or does what is missing for that.
    private func answerWatchers(
        _ channel: Channel, _ home: Home, _ effects: inout [Effect]
    ) {
        guard home.followTicket == nil, !home.waiting.isEmpty else { return }
        guard let applied = home.applied else {
            if case .chat(let chat) = channel, !home.isReading {
                home.isReading = true
                effects.append(.readHead(chat))
            }
            return
        }
        for (shard, ticket) in home.waiting {
            home.watchers.append(shard)
            effects.append(
                .watching(shard: shard, channel: channel, ticket: ticket, head: applied))
        }
        home.waiting = []
    }

    /// The bus says that a follow holds.
    package mutating func following(
        _ channel: Channel, ticket: UInt64, effects: inout [Effect]
    ) {
        // Of an earlier life of the channel here: the answer to the present follow will come.
        guard let home = homes[channel] else { return }
        guard home.followTicket == ticket else { return }
        home.followTicket = nil
        answerWatchers(channel, home, &effects)
    }

    package mutating func unwatch(
        _ channel: Channel, shard: Int, effects: inout [Effect]
    ) {
        guard let home = homes[channel] else { return }
        home.watchers.removeAll { $0 == shard }
        home.waiting.removeAll { $0.shard == shard }
        guard home.watchers.isEmpty, home.waiting.isEmpty else { return }
        homes[channel] = nil
        if followsFirst { effects.append(.change(.unfollow(channel))) }
    }

    /// The chats whose order is kept here, and the users whose channels are: to be compared with
    /// the store. In a fixed order.
    package var live: (chats: [ChatID], users: [UserID]) {
        var chats: [ChatID] = []
        var users: [UserID] = []
        for (channel, home) in homes {
            switch channel {
            case .chat(let chat): if home.applied != nil || home.isReading { chats.append(chat) }
            case .user(let user): users.append(user)
            case .topic, .room: break
            }
        }
        chats.sort { $0.text < $1.text }
        users.sort { $0.text < $1.text }
        return (chats, users)
    }

    /// Somebody says that a log goes at least to `head`: where that does not come by itself within
    /// 200 ms, the store is asked.
    package mutating func suspect(_ chat: ChatID, head: Seq, effects: inout [Effect]) {
        guard repairs, let home = homes[.chat(chat)] else { return }
        home.suspected = max(home.suspected, head)
        settle(chat, home, &effects)
    }

    package mutating func accept(_ publication: Publication, effects: inout [Effect]) {
        // Without followers here there is nothing to do: who comes later reads the store.
        guard let home = homes[publication.channel] else { return }
        let delivery: Delivery
        switch publication.content {
        case .entry(let entry):
            accept(publication, entry, home, &effects)
            return
        case .reference(let seq):
            // Not the entry itself: there is nothing to show.
            guard case .chat(let chat) = publication.channel else { return }
            home.suspected = max(home.suspected, seq)
            if let applied = home.applied, seq == applied + 1, !home.isReading, repairs {
                // Nothing is missing before it: it can only come from the store, so at once.
                home.isReading = true
                effects.append(.readRange(chat, after: applied))
            } else {
                settle(chat, home, &effects)
            }
            return
        case .receipt(let receipt):
            guard let (news, before) = Self.news(in: receipt, home) else { return }
            let delivered = messages(of: news.chat, after: before.delivered, news.deliveredSeq)
            let read = messages(of: news.chat, after: before.read, news.readSeq)
            delivery = Self.delivery(
                of: .event(EventEncoder.receipt(news, delivered: delivered, read: read)),
                to: news.isReadPrivate ? .user(news.user) : .allButOrigin, publication)
            var missing = news
            if !delivered.isEmpty { missing.deliveredSeq = nil }
            if !read.isEmpty { missing.readSeq = nil }
            askForMarks(missing, publication.origin, &effects)
        case .typing(let typing):
            delivery = Self.delivery(
                of: .event(EventEncoder.typing(typing)), to: .allButOrigin, publication)
        case .text(let bytes):
            delivery = Self.delivery(of: .text(bytes), to: .all, publication)
        case .joined(let chat, let since):
            if let known = home.arrivals[chat], since <= known { return }
            home.arrivals[chat] = since
            delivery = Self.delivery(of: .joined(chat, since: since), to: .all, publication)
        }
        for shard in home.watchers { effects.append(.deliver(to: shard, delivery)) }
    }

    private mutating func accept(
        _ publication: Publication, _ entry: LogEntry, _ home: Home, _ effects: inout [Effect]
    ) {
        guard holdsBack else {
            pass(publication, entry, in: home, &effects)
            return
        }
        guard let applied = home.applied else {
            hold(publication, entry.seq, in: home)
            return
        }
        if entry.seq <= applied { return }
        guard entry.seq == applied + 1 else {
            hold(publication, entry.seq, in: home)
            heldBackCount += 1
            if !home.hasTimer {
                home.hasTimer = true
                effects.append(.holdBackTimer(entry.chat))
            }
            return
        }
        pass(publication, entry, in: home, &effects)
        passHeld(in: home, &effects)
    }

    /// One read a place: both marks may stand at one.
    private func askForMarks(
        _ missing: Receipt, _ origin: Origin, _ effects: inout [Effect]
    ) {
        var (delivered, read) = (missing, missing)
        read.deliveredSeq = nil
        if missing.deliveredSeq == missing.readSeq {
            if missing.readSeq ?? 0 > 0 { effects.append(.readMarked(missing, origin)) }
            return
        }
        delivered.readSeq = nil
        if delivered.deliveredSeq ?? 0 > 0 { effects.append(.readMarked(delivered, origin)) }
        if read.readSeq ?? 0 > 0 { effects.append(.readMarked(read, origin)) }
    }

    /// The messages of (after, through], as far as they were passed on lately. Where it is not known
    /// how far a mark stood before, only the last.
    private func messages(of chat: ChatID, after: Seq, _ through: Seq?) -> [MessageID] {
        guard let through, through > after else { return [] }
        let first = max(
            after == 0 ? through : after + 1, through - Seq(Self.messagesPerReceipt) + 1)
        return (first...through).compactMap { messages[Place(chat: chat, seq: $0)] }
    }

    /// The answer to `readMarked`: the entry that stands there.
    package func markedRead(
        _ receipt: Receipt, _ origin: Origin, _ entry: LogEntry, effects: inout [Effect]
    ) {
        guard let home = homes[.chat(receipt.chat)], case .message = entry.body else { return }
        let delivery = Delivery(
            channel: .chat(receipt.chat),
            content: .event(
                EventEncoder.receiptOfMessages(
                    receipt, delivered: receipt.deliveredSeq == entry.seq ? [entry.id] : [],
                    read: receipt.readSeq == entry.seq ? [entry.id] : [])),
            audience: receipt.isReadPrivate ? .user(receipt.user) : .allButOrigin, origin: origin)
        for shard in home.watchers { effects.append(.deliver(to: shard, delivery)) }
    }

    /// What is in no log, and encoded already: to all who follow.
    package func relay(_ delivery: Delivery, effects: inout [Effect]) {
        for shard in homes[delivery.channel]?.watchers ?? [] {
            effects.append(.deliver(to: shard, delivery))
        }
    }

    /// The answer to `readHead`.
    package mutating func headRead(_ chat: ChatID, head: Seq, effects: inout [Effect]) {
        let channel = Channel.chat(chat)
        guard let home = homes[channel] else { return }
        // Asked in an earlier life of the channel here, before the present follow held.
        guard home.followTicket == nil else { return }
        home.isReading = false
        // A second answer may be the later one: what lies between is fetched.
        home.suspected = max(home.suspected, head)
        home.applied = home.applied ?? head
        answerWatchers(channel, home, &effects)
        settle(chat, home, &effects)
    }

    /// The answer to `readRange`, perhaps empty.
    package mutating func rangeRead(
        _ chat: ChatID, _ entries: [LogEntry], effects: inout [Effect]
    ) {
        let channel = Channel.chat(chat)
        // Asked in an earlier life of the channel here: this one has not even its head.
        guard let home = homes[channel], home.applied != nil else { return }
        home.isReading = false
        for entry in entries where entry.seq == (home.applied ?? 0) + 1 {
            repairedCount += 1
            // The store does not say who caused it: the shards know of theirs.
            let held = home.held[entry.seq]
            let publication =
                held
                ?? Publication(
                    channel: channel, content: .entry(entry),
                    origin: Origin(instance: 0, subscriber: 0))
            pass(publication, entry, in: home, &effects)
        }
        passHeld(in: home, &effects)
        // A page may end before the log does, and more may have been dropped than is held.
        if !entries.isEmpty {
            home.isReading = true
            effects.append(.readRange(chat, after: home.applied ?? 0))
            return
        }
        // The store has the last word.
        home.suspected = 0
        settle(chat, home, &effects)
    }

    /// 200 ms have gone since an entry was held back: where it still waits, ask the store.
    package mutating func holdBackExpired(_ chat: ChatID, effects: inout [Effect]) {
        guard let home = homes[.chat(chat)] else { return }
        home.hasTimer = false
        guard home.isBehind, !home.isReading, let applied = home.applied else { return }
        guard repairs else {
            skipHole(home, &effects)
            return
        }
        home.isReading = true
        home.hasDropped = false
        effects.append(.readRange(chat, after: applied))
    }

    /// Whether anybody here follows it.
    package func isHome(of channel: Channel) -> Bool { homes[channel] != nil }

    /// The head could not be read; `retryHead` follows after a while.
    package mutating func headFailed(_ chat: ChatID) {
        homes[.chat(chat)]?.isReading = false
    }

    /// A read failed: the store is away. Asked again when the timer fires.
    package mutating func readFailed(_ chat: ChatID, effects: inout [Effect]) {
        guard let home = homes[.chat(chat)] else { return }
        home.isReading = false
        if !home.hasTimer {
            home.hasTimer = true
            effects.append(.holdBackTimer(chat))
        }
    }

    /// As `holdBackExpired`, for a channel whose head is not known yet.
    package mutating func retryHead(_ chat: ChatID, effects: inout [Effect]) {
        guard let home = homes[.chat(chat)] else { return }
        answerWatchers(.chat(chat), home, &effects)
    }

    // MARK: The order

    /// What of a receipt is higher than what was passed on before, and that; nil where nothing is.
    private static func news(in receipt: Receipt, _ home: Home) -> (Receipt, before: Marks)? {
        // A private mark is shown to the user's own devices only, and kept apart.
        guard !receipt.isReadPrivate else { return (receipt, Marks()) }
        var marks = home.receipts[receipt.user] ?? Marks()
        let before = marks
        var news = receipt
        if let delivered = receipt.deliveredSeq, delivered <= marks.delivered {
            news.deliveredSeq = nil
        }
        if let read = receipt.readSeq, read <= marks.read { news.readSeq = nil }
        guard news.deliveredSeq != nil || news.readSeq != nil else { return nil }
        marks.delivered = max(marks.delivered, news.deliveredSeq ?? 0)
        marks.read = max(marks.read, news.readSeq ?? 0)
        home.receipts[receipt.user] = marks
        return (news, before)
    }

    private func hold(_ publication: Publication, _ seq: Seq, in home: Home) {
        // What is dropped here is read from the store behind what is held: a repair goes on until
        // the store has no more.
        guard home.held.count < Self.maximumHeld else {
            home.hasDropped = true
            return
        }
        home.held[seq] = publication
    }

    private mutating func pass(
        _ publication: Publication, _ entry: LogEntry, in home: Home,
        _ effects: inout [Effect]
    ) {
        if notesMessages, case .message = entry.body {
            messages.note(entry.id, for: Place(chat: entry.chat, seq: entry.seq))
        }
        if !home.held.isEmpty { home.held[entry.seq] = nil }
        home.applied = entry.seq
        let delivery = Self.delivery(of: entry, from: publication.origin)
        for shard in home.watchers { effects.append(.deliver(to: shard, delivery)) }
    }

    private mutating func passHeld(in home: Home, _ effects: inout [Effect]) {
        while let applied = home.applied, let next = home.held[applied + 1],
            case .entry(let entry) = next.content
        {
            pass(next, entry, in: home, &effects)
        }
    }

    /// Drops what is old, passes what now follows, and watches over what still waits.
    private mutating func settle(_ chat: ChatID, _ home: Home, _ effects: inout [Effect]) {
        passHeld(in: home, &effects)
        if let applied = home.applied, !home.held.isEmpty {
            home.held = home.held.filter { $0.key > applied }
        }
        if home.isBehind, !home.isReading, !home.hasTimer {
            home.hasTimer = true
            effects.append(.holdBackTimer(chat))
        }
    }

    /// Planted: what is missing is missed.
    private mutating func skipHole(_ home: Home, _ effects: inout [Effect]) {
        guard let next = home.held.keys.min() else { return }
        home.applied = next - 1
        passHeld(in: home, &effects)
    }

    // MARK: Encoding

    /// What followers receive of an entry: encoded here, once for all shards.
    private static func delivery(of entry: LogEntry, from origin: Origin) -> Delivery {
        let content = Delivery.Content.event(EventEncoder.entry(entry))
        switch entry.body {
        case .message:
            return Delivery(
                channel: .chat(entry.chat), content: content, seq: entry.seq,
                audience: .allButCanonicalOrigin, origin: origin, message: entry.id)
        case .membership(let change):
            return Delivery(
                channel: .chat(entry.chat), content: content, seq: entry.seq, audience: .all,
                origin: origin, membership: change)
        }
    }

    /// The same of what is in no log.
    private static func delivery(
        of content: Delivery.Content, to audience: Delivery.Audience, _ publication: Publication
    ) -> Delivery {
        Delivery(
            channel: publication.channel, content: content, audience: audience,
            origin: publication.origin, isEphemeral: publication.isEphemeral)
    }
}
