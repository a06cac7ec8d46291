import Basics
import Domain

/// One instance's end of a bus that instances share: what it wants to hear, what it says, and
/// whether it may have missed anything. Sans-I/O: Redis and the simulator drive the same value.
///
///     down ── linkUp ──► catching up (subscribing again) ── all confirmed: gap ──► up
///      ▲                                                                          │
///      └──────────── linkDown: gap now, and every 2 s while it lasts ◄────────────┘
///
/// That something was lost shows in one of these, and each says `.gap` to all shards, which then
/// compare their chats with the store:
/// - the link went down, or came back (what was published between is gone);
/// - a number is missing in somebody's digests (each instance sends one a second, even an empty one);
/// - an instance falls silent for 2 s (it may have died between a commit and its publication);
/// - our own digests do not come back within 3 s: the bus takes what we say and does nothing with it.
///
/// Not Sendable by use: it lives on the thread of the bus.
package struct BusRelay {
    package enum Effect: Sendable {
        case publish(Publication)
        case publishDigest(Digest)
        case subscribe([Channel])
        case unsubscribe([Channel])
        case tell(shard: Int, BusNews)
    }

    package static let digestIntervalMs = 1_000
    /// Without a word from an instance for so long, it may be dead.
    package static let silenceMs = 2_000
    /// A silent instance is asked after again, and then forgotten.
    package static let forgetMs = 10_000
    /// Between a digest's publication and its coming back to us.
    package static let roundTripMs = 3_000
    /// Between two comparisons while the bus is down.
    package static let unhealthyGapMs = 2_000
    /// Between two comparisons, whatever happens.
    package static let shortestGapMs = 500
    /// Channels that are asked for again at a time after a link was lost: the link's buffer is
    /// bounded, and 100,000 channels are 10 MB of names.
    package static let resubscribeWindow = 4_096
    /// Heads that may wait for a digest; above it the digest says so, and everyone compares.
    package static let maximumHeads = 16_384

    private struct Interest {
        var ticket: UInt64
        var isTold = false
    }

    private struct Peer {
        var number: UInt64
        var heardAt: Instant
        /// Comparisons that its silence has caused.
        var alarms = 0
    }

    private let instance: UInt64
    private let address: String?
    /// Where the others are reached: kept also where they are not heard of, for that may be the bus's
    /// fault.
    private var addresses: [UInt64: String] = [:]
    /// Beyond it the addresses of instances that were forgotten are.
    private static let maximumAddresses = 1_024
    private let shards: Int
    private var interests: [Channel: Interest] = [:]
    /// Subscriptions that were asked for and not confirmed, by channel.
    private var unconfirmed: [Channel: Int] = [:]
    private var isLinkUp = false
    /// Channels that must be confirmed before what was lost can be made up for.
    private var catchingUp: Set<Channel> = []
    private var isCatchingUp = false
    /// Of those, what is still to be asked for, from the end.
    private var backlog: [Channel] = []

    private var digests: UInt64 = 0
    private var nextDigestAt: Instant
    private var heads: [ChatID: Seq] = [:]
    private var headOrder: [ChatID] = []
    private var hasDroppedHeads = false
    private var ownNumber: UInt64?
    private var ownHeardAt: Instant
    private var peers: [UInt64: Peer] = [:]

    private var lastGapAt: Instant?
    private var gapAt: Instant?
    private var gathered: [[Publication]]
    package private(set) var gaps = 0
    package private(set) var isHealthy = false

    /// - Parameter address: where other instances reach this one, `host:port`.
    package init(instance: UInt64, address: String? = nil, shards: Int, now: Instant) {
        self.address = address
        self.instance = instance
        self.shards = shards
        nextDigestAt = now
        ownHeardAt = now
        gathered = Array(repeating: [], count: shards)
    }

    /// Instances heard of lately, this one not counted.
    package var peerCount: Int { peers.count }
    package var followed: Int { interests.count }

    // MARK: From the shards

    package mutating func publish(_ publications: [Publication], effects: inout [Effect]) {
        for publication in publications {
            if case .entry(let entry) = publication.content { note(entry.chat, entry.seq) }
            effects.append(.publish(publication))
        }
    }

    private mutating func note(_ chat: ChatID, _ seq: Seq) {
        if let known = heads[chat] {
            heads[chat] = max(known, seq)
        } else if heads.count < Self.maximumHeads {
            heads[chat] = seq
            headOrder.append(chat)
        } else {
            hasDroppedHeads = true
        }
    }

    package mutating func change(_ changes: [InterestChange], effects: inout [Effect]) {
        var added: [Channel] = []
        var removed: [Channel] = []
        for change in changes {
            switch change {
            case .follow(let channel, let ticket):
                interests[channel] = Interest(ticket: ticket)
                if isLinkUp {
                    // In the order of the changes: an unsubscription before it goes out first.
                    if !removed.isEmpty {
                        effects.append(.unsubscribe(removed))
                        removed = []
                    }
                    unconfirmed[channel, default: 0] += 1
                    added.append(channel)
                } else {
                    // Nothing arrives, and everyone compares again and again: that holds already.
                    tellFollowing(channel, &effects)
                }
            case .unfollow(let channel):
                guard interests.removeValue(forKey: channel) != nil else { continue }
                // The last one of a catching-up may be let go: `turn` looks.
                catchingUp.remove(channel)
                guard isLinkUp else { continue }
                if !added.isEmpty {
                    effects.append(.subscribe(added))
                    added = []
                }
                removed.append(channel)
            }
        }
        if !added.isEmpty { effects.append(.subscribe(added)) }
        if !removed.isEmpty { effects.append(.unsubscribe(removed)) }
    }

    private mutating func tellFollowing(_ channel: Channel, _ effects: inout [Effect]) {
        guard let interest = interests[channel], !interest.isTold else { return }
        interests[channel]?.isTold = true
        effects.append(
            .tell(
                shard: channel.home(of: shards), .following(channel, ticket: interest.ticket)))
    }

    // MARK: From the link

    /// The link is there, and nothing is subscribed on it.
    package mutating func linkUp(_ now: Instant, effects: inout [Effect]) {
        isLinkUp = true
        isCatchingUp = true
        ownHeardAt = now
        ownNumber = nil
        unconfirmed = [:]
        catchingUp = Set(interests.keys)
        backlog = interests.keys.sorted { $0.sortKey > $1.sortKey }
        // Their numbers have gone on meanwhile; the gap at the end of catching up stands for it.
        peers.removeAll(keepingCapacity: true)
        askForMore(&effects)
        caughtUpIfDone(now, &effects)
    }

    private mutating func askForMore(_ effects: inout [Effect]) {
        guard !backlog.isEmpty, unconfirmed.count <= Self.resubscribeWindow / 2 else { return }
        var channels: [Channel] = []
        while channels.count + unconfirmed.count < Self.resubscribeWindow,
            let channel = backlog.popLast()
        {
            // Let go meanwhile.
            guard interests[channel] != nil, catchingUp.contains(channel) else { continue }
            channels.append(channel)
        }
        for channel in channels { unconfirmed[channel, default: 0] += 1 }
        if !channels.isEmpty { effects.append(.subscribe(channels)) }
    }

    package mutating func subscribed(
        _ channel: Channel, _ now: Instant, effects: inout [Effect]
    ) {
        guard let count = unconfirmed[channel] else { return }
        unconfirmed[channel] = count > 1 ? count - 1 : nil
        guard count == 1 else { return }
        catchingUp.remove(channel)
        tellFollowing(channel, &effects)
        askForMore(&effects)
        caughtUpIfDone(now, &effects)
    }

    private mutating func caughtUpIfDone(_ now: Instant, _ effects: inout [Effect]) {
        guard isCatchingUp, catchingUp.isEmpty else { return }
        isCatchingUp = false
        isHealthy = true
        tellGap(now, &effects)
    }

    package mutating func linkDown(_ now: Instant, effects: inout [Effect]) {
        guard isLinkUp else { return }
        isLinkUp = false
        isHealthy = false
        isCatchingUp = false
        unconfirmed = [:]
        catchingUp = []
        backlog = []
        for channel in interests.keys.sorted(by: { $0.sortKey < $1.sortKey }) {
            tellFollowing(channel, &effects)
        }
        tellGap(now, &effects)
    }

    /// Handed on by `turn`, a batch a shard.
    package mutating func received(_ publication: Publication) {
        // What this instance said, its homes know without the bus.
        guard publication.origin.instance != instance,
            interests[publication.channel] != nil
        else { return }
        gathered[publication.channel.home(of: shards)].append(publication)
    }

    /// Of the public name of a channel.
    package func receivedForeign(
        _ payload: [UInt8], on channel: Channel, effects: inout [Effect]
    ) {
        guard interests[channel] != nil else { return }
        effects.append(.tell(shard: channel.home(of: shards), .foreign(channel, payload)))
    }

    package mutating func received(
        _ digest: Digest, _ now: Instant, effects: inout [Effect]
    ) {
        if digest.instance == instance {
            if let known = ownNumber, digest.number != known + 1 { tellGap(now, &effects) }
            ownNumber = digest.number
            ownHeardAt = now
            return
        }
        if let peer = peers[digest.instance] {
            // A repeated one, or an older one that was overtaken, says nothing new.
            guard digest.number > peer.number else { return }
            if digest.number != peer.number + 1 { tellGap(now, &effects) }
        } else if digest.number > 1, !isCatchingUp {
            // It has been there for a while, and we have not heard what it said before.
            tellGap(now, &effects)
        }
        peers[digest.instance] =
            digest.isLast ? nil : Peer(number: digest.number, heardAt: now)
        note(digest.isLast ? nil : digest.address, of: digest.instance, &effects)
        if digest.isTruncated { tellGap(now, &effects) }
        var byHome = [[Digest.Head]](repeating: [], count: shards)
        for head in digest.heads where interests[.chat(head.chat)] != nil {
            byHome[Channel.chat(head.chat).home(of: shards)].append(head)
        }
        for (shard, heads) in byHome.enumerated() where !heads.isEmpty {
            effects.append(.tell(shard: shard, .heads(heads)))
        }
    }

    private mutating func note(
        _ address: String?, of peer: UInt64, _ effects: inout [Effect]
    ) {
        guard addresses[peer] != address else { return }
        if addresses.count >= Self.maximumAddresses {
            addresses = addresses.filter { peers[$0.key] != nil }
        }
        addresses[peer] = address
        for shard in 0..<shards {
            effects.append(.tell(shard: shard, .reached(instance: peer, at: address)))
        }
    }

    // MARK: Time

    package var deadline: Instant? {
        var due = nextDigestAt
        if let gapAt { due = min(due, gapAt) }
        return due
    }

    /// Once a round of the loop: hands on what came, and does what the time asks for.
    package mutating func turn(_ now: Instant, effects: inout [Effect]) {
        askForMore(&effects)
        caughtUpIfDone(now, &effects)
        for shard in 0..<shards where !gathered[shard].isEmpty {
            effects.append(.tell(shard: shard, .publications(gathered[shard])))
            gathered[shard] = []
        }
        if now >= nextDigestAt {
            publishDigests(isLast: false, &effects)
            nextDigestAt = now.advanced(byMilliseconds: Self.digestIntervalMs)
            listenForSilence(now, &effects)
        }
        if let gapAt, gapAt <= now {
            self.gapAt = nil
            tellGap(now, &effects)
        }
    }

    /// The instance ends: the others need not worry about its silence.
    package mutating func goodbye(effects: inout [Effect]) {
        publishDigests(isLast: true, &effects)
    }

    /// As many as the heads need, at least one.
    private mutating func publishDigests(isLast: Bool, _ effects: inout [Effect]) {
        var start = 0
        repeat {
            let end = min(headOrder.count, start + Digest.maximumHeads)
            let part = headOrder[start..<end].compactMap { chat in
                heads[chat].map { Digest.Head(chat: chat, seq: $0) }
            }
            digests += 1
            effects.append(
                .publishDigest(
                    Digest(
                        instance: instance, number: digests,
                        isLast: isLast && end == headOrder.count,
                        isTruncated: hasDroppedHeads, address: address, heads: part)))
            start = end
        } while start < headOrder.count
        heads.removeAll(keepingCapacity: true)
        headOrder.removeAll(keepingCapacity: true)
        hasDroppedHeads = false
    }

    private mutating func listenForSilence(_ now: Instant, _ effects: inout [Effect]) {
        if isLinkUp, !isCatchingUp {
            let isAnswered = now.milliseconds(since: ownHeardAt) < Self.roundTripMs
            if isAnswered != isHealthy {
                isHealthy = isAnswered
                tellGap(now, &effects)
            }
        }
        if !isHealthy {
            let isDue = lastGapAt.map { now.milliseconds(since: $0) >= Self.unhealthyGapMs }
            if isDue ?? true { tellGap(now, &effects) }
            return
        }
        for (name, peer) in peers.sorted(by: { $0.key < $1.key }) {
            let silence = now.milliseconds(since: peer.heardAt)
            if silence >= Self.forgetMs { peers[name] = nil }
            // At once, and once more for a commit that was under way when it died.
            let alarms = silence >= 2 * Self.silenceMs ? 2 : silence >= Self.silenceMs ? 1 : 0
            guard alarms > peer.alarms else { continue }
            peers[name]?.alarms = alarms
            tellGap(now, &effects)
        }
    }

    /// Not more often than every half second; what comes sooner is told then, for it may concern
    /// what was published after the last one.
    private mutating func tellGap(_ now: Instant, _ effects: inout [Effect]) {
        if let lastGapAt, now.milliseconds(since: lastGapAt) < Self.shortestGapMs {
            if gapAt == nil {
                gapAt = lastGapAt.advanced(byMilliseconds: Self.shortestGapMs)
            }
            return
        }
        lastGapAt = now
        gaps += 1
        for shard in 0..<shards { effects.append(.tell(shard: shard, .gap)) }
    }
}

extension Channel {
    /// An order that is the same in every run, for what is made from a dictionary.
    var sortKey: String {
        switch self {
        case .chat(let chat): "c" + chat.text
        case .user(let user): "u" + user.text
        case .topic(let topic): "t" + topic.text
        case .room(let room): "r" + room
        }
    }
}
