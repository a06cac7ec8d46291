import Basics
import Domain
import HTTP
import WebSocket
import Wire

/// A transport slot: one client's socket, as the gateway sees it. Bytes in, bytes out, their
/// framing, and what the socket waits for. Who is on it, and what they follow, is its `Subscriber`.
///
///     http ── 101 ──► unauthenticated ── token ──► open ──┐
///      │                    │                             ├─ close frame ──► closing ──► draining ──► gone
///      │                    └─────────────────────────────┘                                ▲
///      └── answer with "Connection: close" ─────────────────────────────────────────────────┘
///      (bench sockets go from http to bench, those of Engine.IO to engine, or to probing and engine)
///
/// One in the phase `polling` has no socket: it holds what the polls of an Engine.IO session will
/// take.
///
/// Memory: 128 bytes while nothing waits to be read or written, and 104 more
/// until it is a WebSocket. What only a phase or a rare state needs hangs off it. What a delivery
/// touches comes first: it is one or two lines of the cache.
package final class Connection {
    package enum Phase: Equatable {
        case http
        case unauthenticated
        case open
        case benchEcho
        case benchRoom
        /// The WebSocket of an Engine.IO session.
        case engine
        /// A WebSocket that wants to take an Engine.IO session over from polling.
        case probing
        /// No socket: polls take what waits here.
        case polling
        /// A close frame was sent; waiting for the peer's.
        case closing
        /// Everything was said: our half is shut once the outbox is empty; waiting for the peer's
        /// end.
        case draining
    }

    package let key: ConnectionKey

    // Output
    package var outbox = Outbox()
    package var phase: Phase = .http
    var isDirty = false
    /// The socket took less than it was offered: the peer is not reading as fast as we write.
    var isBlocked = false
    var hasHalfClosed = false

    // Input
    var decoder = MessageDecoder(role: .server)
    /// Of what the gateway itself answers; a subscriber's deliveries have their own.
    var encoding = Encoding.v1Frames
    /// A replay waits for the outbox to drain, or did so a moment ago.
    var mayResume = false
    /// nil once it is a WebSocket.
    var http: HTTPExchange?

    /// Who is on it; nil before they have said so, and where it carries several (`engine`).
    var subscriber: Subscriber?
    /// The Engine.IO session whose connection it is, or wants to be.
    var engine: EngineSession?

    // Time
    var lastHeard: Instant
    /// What the phase waits for at most until then: head, token, close.
    @Packed var deadline: Instant?
    /// The earliest check that the timer wheel holds for this connection.
    @Packed var nextCheck: Instant?
    @Packed var pingedAt: Instant?
    @Packed var messageBegan: Instant?

    init(key: ConnectionKey, address: IPAddress, now: Instant) {
        self.key = key
        http = HTTPExchange(address: address)
        lastHeard = now
    }

    /// The subscriber, where it has said who it is.
    var session: Session? { subscriber?.session }

    /// A request was handed to the store; what follows it waits.
    var isAnswering: Bool { http?.isAnswering ?? false }

    /// The beginning of an HTTP request, or what follows one that is being answered, waits.
    var hasInbound: Bool {
        guard let http else { return false }
        return !http.inbound.isEmpty
    }

    /// Whether more of the peer's bytes can change anything.
    var isReading: Bool {
        switch phase {
        case .http, .unauthenticated, .open, .benchEcho, .benchRoom, .engine, .probing, .closing:
            true
        case .polling, .draining: false
        }
    }

    var isWebSocket: Bool {
        switch phase {
        case .unauthenticated, .open, .benchEcho, .benchRoom, .engine, .probing: true
        case .http, .polling, .closing, .draining: false
        }
    }

    /// Whether subscribers can be told something through it.
    var isOpen: Bool { isWebSocket || phase == .polling }

    /// The Engine.IO session that speaks through it, and is not only served by it.
    var ownEngine: EngineSession? { engine?.main === self ? engine : nil }
}

/// What a connection needs only until it is a WebSocket: the request that is arriving, or is being
/// answered.
final class HTTPExchange {
    /// What comes before the first request.
    enum Lead: UInt8 {
        case nothing
        /// Perhaps a PROXY header.
        case proxyHeader
        /// Another instance's greeting.
        case greeting
    }

    var lead = Lead.nothing
    /// The session whose poll waits here, or whose POST is coming in.
    var served: EngineSession?
    /// Another instance brought it: what it asks for is here or nowhere, and it asks once.
    var isTunnelled = false
    /// The other end of the TCP connection, or whom a balancer says it is.
    var peer: IPAddress
    /// The client's address: behind trusted proxies the one they name.
    var address: IPAddress
    /// The beginning of a request that has not arrived whole.
    var inbound: [UInt8] = []
    var scanned = 0
    /// How many bytes a request needs that has begun, once its head is known: nothing is looked at
    /// before they are here.
    var needed = 0
    var began = Instant.start
    var hasContinued = false
    /// A request was handed to the store; what follows it waits in `inbound`.
    var isAnswering = false

    init(address: IPAddress) {
        peer = address
        self.address = address
    }
}

/// An instant, or none, in eight bytes instead of the sixteen that an optional takes.
@propertyWrapper struct Packed {
    /// The last nanosecond of the clock's 584 years stands for none.
    private var nanoseconds = UInt64.max

    init(wrappedValue: Instant?) { self.wrappedValue = wrappedValue }

    var wrappedValue: Instant? {
        get { nanoseconds == .max ? nil : Instant(nanoseconds: nanoseconds) }
        set { nanoseconds = newValue?.nanoseconds ?? .max }
    }
}
