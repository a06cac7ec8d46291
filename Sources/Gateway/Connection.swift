import Basics
import Domain
import HTTP
import WebSocket
import Wire

/// One client's socket, as the gateway sees it: bytes in, bytes out, and how far the conversation
/// has come. Everything that belongs to a connection is here or hangs off here.
///
///     http ── 101 ──► unauthenticated ── token ──► open ──┐
///      │                    │                             ├─ close frame ──► closing ──► draining ──► gone
///      │                    └─────────────────────────────┘                                ▲
///      └── answer with "Connection: close" ─────────────────────────────────────────────────┘
///      (bench sockets go from http to bench)
///
/// Memory: about 300 bytes, and about 24 a chat that is followed, while nothing waits to be read
/// or written.
package final class Connection {
    package enum Phase: Equatable {
        case http
        case unauthenticated
        case open
        case benchEcho
        case benchRoom
        /// A close frame was sent; waiting for the peer's.
        case closing
        /// Everything was said: our half is shut once the outbox is empty; waiting for the peer's
        /// end.
        case draining
    }

    package let key: ConnectionKey
    package var phase: Phase = .http
    /// The other end of the TCP connection.
    let peer: IPAddress
    /// The client's address: behind trusted proxies the one they name.
    package var address: IPAddress

    // Input
    /// The beginning of an HTTP request that has not arrived whole.
    var inbound: [UInt8] = []
    var scanned = 0
    /// How many bytes a request needs that has begun, once its head is known: nothing is looked at
    /// before they are here.
    var needed = 0
    var hasContinued = false
    /// A request was handed to the store; what follows it waits in `inbound`.
    var isAnswering = false
    var decoder = MessageDecoder(role: .server)

    // Output
    package var outbox = Outbox()
    var isDirty = false
    /// The socket took less than it was offered: the peer is not reading as fast as we write.
    var isBlocked = false
    var hasHalfClosed = false

    // Who and what
    var encoding = Encoding.v1Frames
    var dialect: Dialect { encoding.dialect }
    var session: Session?
    var subscriptions: [Subscription] = []

    // Time
    var lastHeard: Instant
    var pingedAt: Instant?
    var messageBegan: Instant?
    /// What the phase waits for at most until then: head, token, close.
    var deadline: Instant?
    /// The earliest check that the timer wheel holds for this connection.
    var nextCheck: Instant?
    var httpBegan = Instant.start

    init(key: ConnectionKey, address: IPAddress, now: Instant) {
        self.key = key
        peer = address
        self.address = address
        lastHeard = now
    }

    /// Whether more of the peer's bytes can change anything.
    var isReading: Bool {
        switch phase {
        case .http, .unauthenticated, .open, .benchEcho, .benchRoom, .closing: true
        case .draining: false
        }
    }

    var isWebSocket: Bool {
        switch phase {
        case .unauthenticated, .open, .benchEcho, .benchRoom: true
        case .http, .closing, .draining: false
        }
    }
}

/// A connection's place among a topic's members, and the way back.
struct Subscription {
    var topic: Int32
    var member: Int32
}

/// What a connection knows once it has said who it is.
final class Session {
    let user: UserState
    let device: DeviceID
    var expiresAt: Instant
    var hasWarnedOfExpiry = false
    var typing = TypingState()
    /// Joins, leaves and resumes, one at a time; the first is running.
    var jobs: [CatchUp] = []
    /// Subscriptions to topics and their ends, one at a time; the first is running.
    var topicRequests: [TopicRequest] = []
    /// nil before the first frame that could not be read: most connections never send one.
    private var badInputs: BadInputs?

    init(user: UserState, device: DeviceID, expiresAt: Instant) {
        self.user = user
        self.device = device
        self.expiresAt = expiresAt
    }

    var actor: Actor { Actor(user: user.id, device: device) }

    /// A frame could not be read. Whether that makes too many of this connection.
    func countBadInput(limit: Int, now: Instant) -> Bool {
        let counter = badInputs ?? BadInputs()
        badInputs = counter
        return counter.window.add(limit: limit, windowMs: 60_000, now: now)
    }

    /// Eight bytes of a session until there is something to count.
    private final class BadInputs {
        var window = WindowCounter()
    }
}

/// What the connections of one user on one shard share: their number and their rates.
final class UserState {
    let id: UserID
    var connections: [ConnectionKey] = []
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
