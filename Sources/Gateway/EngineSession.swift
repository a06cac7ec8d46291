import Basics
import Domain
import HTTP
import SocketIO

/// One Engine.IO session: what a Socket.IO client keeps over HTTP requests and one WebSocket.
///
///     polling ── WebSocket with the sid ─► probing ── "2probe" ─► probed ── "5" ─► websocket
///        ▲                                    │                     │
///        └──────── closed, wrong frame ───────┘                     └─ closed ─► ended
///
/// It always has a `main` connection, whose outbox holds what the client is to be given. While it
/// polls that is a connection without a socket: the same fan-out appends to it, in records instead of
/// frames, and each poll takes some of them. A session that began as a WebSocket has no other.
///
/// Its sockets come and go; what was said through them (who is in which namespace) stays with it.
final class EngineSession {
    let id: EngineID
    let face: EngineFace
    /// Where what is said waits; a WebSocket, or while polling a connection without a socket.
    var main: Connection
    var heartbeat: Heartbeat
    /// By namespace, in the order in which they came.
    var clients: [NamespaceClient] = []
    /// Namespaces of which it is being found out whether they may be joined.
    var awaited: [Namespace] = []
    /// Made when the first client comes that names none.
    var device: DeviceID?
    /// An event whose binary parts have not all come.
    var assembling: BinaryEvent?
    /// Of those in conformance mode, who are nobody.
    var conformance: Set<Int> = []
    /// A client that joined nothing yet has a deadline, which ends with the first that does.
    var hasJoined = false

    // While it polls
    var poll: ParkedPoll?
    /// The name of the poll that was answered last; nil where it had none.
    var answeredPoll: UInt64?
    /// The same of the POST that was taken in last.
    var takenPost: UInt64?
    /// The connection that a POST is coming in on.
    var post: ConnectionKey?
    var probe: Probe?

    /// How far its sessions had been given each chat when the ping went that is under way.
    var pinged: [DeliveredMark] = []
    /// The same, acknowledged.
    var acknowledged: [DeliveredMark.Place: Seq] = [:]
    /// Joins, refused ones too.
    var joins = WindowCounter()
    /// It was given an entry since the last ping.
    var isOwedPing = false

    init(id: EngineID, face: EngineFace, main: Connection, heartbeat: Heartbeat) {
        self.id = id
        self.face = face
        self.main = main
        self.heartbeat = heartbeat
    }

    var isPolling: Bool { main.phase == .polling }
    var framing: EngineFraming { EngineFraming(isPolling: isPolling) }

    func client(in namespace: Namespace) -> NamespaceClient? {
        clients.first { $0.session.encoding.namespace == namespace }
    }
}

/// What an Engine.IO path is for.
enum EngineFace {
    case socketIO
    /// Says each message again; in conformance mode only.
    case echo
    /// Rooms that anybody may join, as what compares servers has them; with `bench` only.
    case bench
}

/// Who speaks in one namespace.
struct NamespaceClient {
    let session: Session
    /// Of the token; told to others in the ns dialect only.
    let email: String?
}

/// A GET that waits until there is something to say.
struct ParkedPoll {
    let connection: ConnectionKey
    let request: HTTPRequest
    /// By which its client tells it from its others (`t` in the query); nil where it does not.
    let name: UInt64?
    /// During an upgrade: a client that has read "3probe" waits for this poll to end before it says
    /// "5", so it is answered with a noop then.
    var noopDue: Instant?
}

/// A WebSocket that wants to be the session's.
struct Probe {
    let connection: ConnectionKey
    /// It was told "3probe".
    var isAnswered = false
}

/// How far a subscriber had been given a chat.
struct DeliveredMark {
    struct Place: Hashable {
        let session: SubscriberKey
        let chat: ChatID
    }

    let place: Place
    let seq: Seq
    /// In a receipt; otherwise it is only known here.
    let isTold: Bool
}

/// A Socket.IO packet with binary parts, while they come.
struct BinaryEvent {
    let packet: SocketPacket
    /// The packet's text, whose ranges the head has.
    let text: [UInt8]
    var parts: [[UInt8]] = []
    var byteCount: Int
    let deadline: Instant

    init(packet: SocketPacket, text: [UInt8], deadline: Instant) {
        self.deadline = deadline
        self.packet = packet
        self.text = text
        byteCount = text.count
    }

    var isComplete: Bool { parts.count == packet.attachments }
}

/// The refusals of Engine.IO's server, which clients log and tests know by heart.
enum EngineRefusal: Int {
    case unknownTransport = 0
    case unknownSession = 1
    case badHandshakeMethod = 2
    case badRequest = 3
    case forbidden = 4
    case unsupportedProtocol = 5

    var message: StaticString {
        switch self {
        case .unknownTransport: "Transport unknown"
        case .unknownSession: "Session ID unknown"
        case .badHandshakeMethod: "Bad handshake method"
        case .badRequest: "Bad request"
        case .forbidden: "Forbidden"
        case .unsupportedProtocol: "Unsupported protocol version"
        }
    }
}
