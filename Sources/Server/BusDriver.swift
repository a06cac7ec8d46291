import Basics
import BusCore
import BusRedis
import Domain
import Gateway
import Logging
import Reactor
import Synchronization

/// Joins the relay, which decides, to Redis, which carries. Lives on the I/O thread's loop.
///
///     shards ── mailbox ──► relay ── effects ──► RedisLink ──► Redis
///     homes ◄── mailboxes ── news ◄── relay ◄── events ◄──────┘
final class BusDriver: LoopParticipant {
    private let bus: SharedBus
    private let links: ShardLinks
    private let status: BusStatus
    private let bridge: Bridge
    private let loop: EventLoop
    private var relay: BusRelay
    private var link: RedisLink?
    private var effects: [BusRelay.Effect] = []
    private var unreadable = 0
    private var isEpisode = false
    private var isStopAsked = false
    private(set) var isEnding = false
    private var wasHealthy = false
    /// Told when what we publish begins or ceases to reach the others.
    var onHealth: (Bool) -> Void = { _ in }

    init(
        bus: SharedBus, address: RedisAddress, bridge mode: BridgeMode, instance: UInt64,
        reachedAt internalAddress: String?, loop: EventLoop, links: ShardLinks, status: NodeStatus
    ) throws(SystemError) {
        self.bus = bus
        self.links = links
        self.status = status.bus
        self.loop = loop
        bridge = Bridge(mode: mode)
        relay = BusRelay(
            instance: instance, address: internalAddress, shards: links.mailboxes.count,
            now: loop.now.instant)
        status.bus.beginSharing()
        _ = try loop.register(bus.mailbox.descriptor) { _ in }
        let link = try RedisLink(loop: loop, address: address) { [unowned self] in take($0) }
        loop.add(link)
        self.link = link
        link.start()
    }

    // MARK: The loop

    var deadline: Instant? { isEnding ? nil : relay.deadline }

    func turn(_ now: Now) {
        takeMail()
        if !isEnding { relay.turn(now.instant, effects: &effects) }
        carryOut()
        report()
    }

    /// The shards have ended, and the lane; then the others need not worry about our silence,
    /// unless something was committed that nobody could publish any more.
    func end() {
        guard !isEnding else { return }
        takeMail()
        let isAllSaid = links.mailboxes.allSatisfy { mailbox in
            mailbox.takeAll().allSatisfy { mail in
                if case .answers = mail { false } else { true }
            }
        }
        if isAllSaid { relay.goodbye(effects: &effects) }
        carryOut()
        isEnding = true
        link?.stop()
    }

    var isStopped: Bool { isEnding && (link?.isStopped ?? true) }
    var mayEnd: Bool { isStopAsked }

    private func takeMail() {
        var bytes = 0
        for mail in bus.mailbox.takeAll() {
            switch mail {
            case .publish(let publications):
                bytes += SharedBus.bytes(of: publications)
                relay.publish(publications, effects: &effects)
            case .change(let interests):
                relay.change(interests, effects: &effects)
            case .stop:
                isStopAsked = true
            }
        }
        if bytes > 0 { bus.mailbox.settled(bytes: bytes) }
    }

    // MARK: From Redis

    private func take(_ event: RedisLink.Event) {
        let now = loop.now.instant
        switch event {
        case .up:
            link?.subscribe([ChannelNames.digest])
            relay.linkUp(now, effects: &effects)
        case .down:
            relay.linkDown(now, effects: &effects)
        case .subscribed(let name):
            if let channel = ChannelNames.channel(named: name) {
                relay.subscribed(channel, now, effects: &effects)
            }
        case .message(let name, let payload):
            take(payload, on: name, now)
        case .publisherUp, .publisherDown:
            break
        }
        carryOut()
    }

    private func take(_ payload: [UInt8], on name: [UInt8], _ now: Instant) {
        if name == ChannelNames.digest {
            if let digest = Digest(decoding: payload) {
                relay.received(digest, now, effects: &effects)
                return
            }
        } else if let channel = ChannelNames.channel(named: name) {
            if let publication = PublicationCodec.decode(payload, on: channel) {
                relay.received(publication)
                return
            }
        } else if let channel = bridge.channel(named: name) {
            if payload.count <= Bridge.maximumBytes {
                relay.receivedForeign(payload, on: channel, effects: &effects)
                return
            }
        }
        unreadable += 1
    }

    // MARK: To Redis, and to the shards

    private func carryOut() {
        while !effects.isEmpty {
            let round = effects
            effects = []
            for effect in round { carryOut(effect) }
        }
    }

    private func carryOut(_ effect: BusRelay.Effect) {
        switch effect {
        case .publish(let publication):
            if let payload = PublicationCodec.encode(publication) {
                link?.publish(
                    channel: ChannelNames.name(of: publication.channel), payload: payload)
            }
            if let (name, payload) = bridge.outgoing(publication) {
                link?.publish(channel: name, payload: payload)
            }
        case .publishDigest(let digest):
            link?.publish(channel: ChannelNames.digest, payload: digest.encoded())
        case .subscribe(let channels):
            link?.subscribe(channels.flatMap(names))
        case .unsubscribe(let channels):
            link?.unsubscribe(channels.flatMap(names))
        case .tell(let shard, let news):
            links.post(.bus(news), to: shard)
        }
    }

    /// What a channel is called on Redis. The public name first: our own is confirmed behind it.
    private func names(of channel: Channel) -> [[UInt8]] {
        bridge.names(of: channel) + [ChannelNames.name(of: channel)]
    }

    // MARK: Health

    private func report() {
        guard let link else { return }
        let state = link.state
        let isHealthy = relay.isHealthy && state.isPublisherReady
        if isHealthy != wasHealthy {
            wasHealthy = isHealthy
            onHealth(isHealthy)
        }
        status.isHealthy.store(isHealthy, ordering: .relaxed)
        status.breaker.store(state.breaker.number, ordering: .relaxed)
        status.instances.store(relay.peerCount, ordering: .relaxed)
        status.followed.store(relay.followed, ordering: .relaxed)
        status.published.store(state.published, ordering: .relaxed)
        status.dropped.store(state.dropped, ordering: .relaxed)
        status.received.store(state.received, ordering: .relaxed)
        status.unreadable.store(unreadable, ordering: .relaxed)
        status.reconnects.store(state.reconnects, ordering: .relaxed)
        status.failures.store(state.failures, ordering: .relaxed)
        logEpisodes(state, works: isHealthy)
    }

    /// One line an episode.
    private func logEpisodes(_ state: RedisLink.State, works: Bool) {
        if works, isEpisode {
            isEpisode = false
            links.log.notice("Redis carries publications again")
        } else if !works, !isEpisode, !isEnding, let failure = state.lastFailure {
            isEpisode = true
            links.log.warning(
                "Redis is away; other instances hear of messages from the database, within 5 s",
                metadata: ["error": "\(failure)"])
        }
    }
}

extension Breaker.State {
    fileprivate var number: Int {
        switch self {
        case .closed: 0
        case .halfOpen: 1
        case .open: 2
        }
    }
}
