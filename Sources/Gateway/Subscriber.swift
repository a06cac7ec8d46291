import Basics
import Domain
import Wire

/// Who follows channels: what a fan-out gives something to. It speaks through a transport slot,
/// from which it is kept apart, because the two do not always come in pairs: one socket may carry
/// several subscribers (namespaces), and one may outlive a socket, or have none (long polling).
///
/// The shard holds it in a slab; its place there is what members of topics name. So a delivery goes
/// member ─► place ─► transport, and does not touch this object at all.
///
/// Memory: with a session 88 bytes, and 8 a chat that is followed (and 4 in the chat's topic).
class Subscriber {
    let key: SubscriberKey
    /// How its deliveries are encoded. It changes where the transport does.
    var encoding: Encoding
    var subscriptions: [Subscription] = []

    init(key: SubscriberKey, encoding: Encoding) {
        self.key = key
        self.encoding = encoding
    }

    /// Its place in the shard's slab.
    var place: UInt32 { key.place }
    var dialect: Dialect { encoding.dialect }

    /// Itself, once it has said who it is.
    var session: Session? { nil }

    func follows(_ topic: Topic) -> Bool {
        subscriptions.contains { $0.topic == topic.index }
    }

    /// The topic has moved it among its members.
    func hasMoved(in topic: Int32, to member: Int32) {
        guard let place = subscriptions.firstIndex(where: { $0.topic == topic }) else { return }
        subscriptions[place].member = member
    }
}

/// Names one subscriber of an instance: its shard, its place there, and the place's generation, so
/// that a key kept beyond its end is recognised as old. Answers of the store come back under it, and
/// publications name their origin by it: a subscriber keeps its key where its transport changes.
///
///     63 … 32 generation │ 31 … 24 shard │ 23 … 0 place
package struct SubscriberKey: Hashable, Sendable {
    package let packed: UInt64

    package init(place: UInt32, shard: Int, generation: UInt32) {
        packed = UInt64(generation) << 32 | UInt64(shard & 0xFF) << 24 | UInt64(place & 0xFF_FFFF)
    }

    package init(packed: UInt64) { self.packed = packed }

    /// Of nobody.
    static let none = SubscriberKey(packed: 0)

    package var place: UInt32 { UInt32(packed & 0xFF_FFFF) }
}

/// A subscriber's place among a topic's members.
struct Subscription {
    var topic: Int32
    var member: Int32
}

/// A subscriber that has said who it is.
final class Session: Subscriber {
    let user: UserState
    private let deviceName: CompactName
    var hasWarnedOfExpiry = false
    var expiresAt: Instant
    /// What most sessions are not doing; nil while this one is not.
    private var activity: SessionActivity?

    init(
        key: SubscriberKey, encoding: Encoding, user: UserState, device: DeviceID,
        expiresAt: Instant
    ) {
        self.user = user
        deviceName = CompactName(device.text)
        self.expiresAt = expiresAt
        super.init(key: key, encoding: encoding)
    }

    override var session: Session? { self }

    var device: DeviceID { DeviceID(trusted: deviceName.text) }
    var actor: Actor { Actor(user: user.id, device: device) }

    var typing: TypingState {
        get { activity?.typing ?? TypingState() }
        set {
            if activity == nil, newValue.isEmpty { return }
            change { $0.typing = newValue }
        }
    }

    /// The join, leave or resume that is running: one at a time.
    var job: CatchUp? {
        get { activity?.job }
        set {
            if activity == nil, newValue == nil { return }
            change { $0.job = newValue }
        }
    }

    /// Those that wait for it.
    var queuedJobs: [QueuedCatchUp] { activity?.queuedJobs ?? [] }

    func enqueue(_ job: QueuedCatchUp) {
        change {
            if $0.queuedJobs.count == $0.queuedJobs.capacity {
                // Not by doubling: a storm of them is what the process has at most.
                $0.queuedJobs.reserveCapacity($0.queuedJobs.count + 10)
            }
            $0.queuedJobs.append(job)
        }
    }

    func takeQueuedJob() -> QueuedCatchUp? {
        guard let activity, !activity.queuedJobs.isEmpty else { return nil }
        var taken: QueuedCatchUp?
        change { taken = $0.queuedJobs.removeFirst() }
        return taken
    }

    func forgetJobs() {
        guard activity != nil else { return }
        change {
            $0.job = nil
            $0.queuedJobs = []
        }
    }

    /// Subscriptions to topics and their ends, one at a time; the first is running.
    var topicRequests: [TopicRequest] {
        get { activity?.topicRequests ?? [] }
        set {
            if activity == nil, newValue.isEmpty { return }
            change { $0.topicRequests = newValue }
        }
    }

    /// What makes it recoverable; nil where it is not.
    var recovery: Recovery? {
        get { activity?.recovery }
        set {
            if activity == nil, newValue == nil { return }
            change { $0.recovery = newValue }
        }
    }

    /// A frame could not be read. Whether that makes too many of this connection.
    func countBadInput(limit: Int, now: Instant) -> Bool {
        var reached = false
        change {
            $0.hasBadInputs = true
            reached = $0.badInputs.add(limit: limit, windowMs: 60_000, now: now)
        }
        return reached
    }

    private func change(_ body: (SessionActivity) -> Void) {
        let own = activity ?? SessionActivity()
        activity = own
        body(own)
        if own.isOver { activity = nil }
    }
}

/// What a session has under way.
private final class SessionActivity {
    var typing = TypingState()
    var job: CatchUp?
    var queuedJobs: [QueuedCatchUp] = []
    var topicRequests: [TopicRequest] = []
    var recovery: Recovery?
    var badInputs = WindowCounter()
    /// Once there were some, they are remembered.
    var hasBadInputs = false

    var isOver: Bool {
        typing.isEmpty && job == nil && queuedJobs.isEmpty && topicRequests.isEmpty
            && recovery == nil && !hasBadInputs
    }
}

/// An id as text, without memory of its own where it is a UUID in its usual form: those that we
/// make, and those that most clients make.
enum CompactName: Equatable {
    case uuid(Identifier)
    case other(String)

    init(_ text: String) {
        if let identifier = Identifier(text: text) {
            self = .uuid(identifier)
        } else {
            self = .other(text)
        }
    }

    var text: String {
        switch self {
        case .uuid(let identifier): identifier.text
        case .other(let text): text
        }
    }
}

/// What the sessions of one user on one shard share: their number and their rates.
final class UserState {
    let id: UserID
    var sessions: [SubscriberKey] = []
    var sends: TokenBucket
    var joins: TokenBucket
    var typing: TokenBucket
    var cursors: TokenBucket
    var http: TokenBucket
    var strikes = WindowCounter()
    var lastUsed: Instant

    init(id: UserID, limits: Limits, now: Instant) {
        self.id = id
        sends = TokenBucket(full: limits.sendBurst, now: now)
        joins = TokenBucket(full: limits.joinsPerSecond, now: now)
        typing = TokenBucket(full: limits.typingPer10Seconds, now: now)
        cursors = TokenBucket(full: limits.cursorBurst, now: now)
        http = TokenBucket(full: limits.httpRequestsPerMinute, now: now)
        lastUsed = now
    }
}
