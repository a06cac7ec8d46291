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
    @Named var answeredPoll: UInt64?
    /// The same of the POST that was taken in last.
    @Named var takenPost: UInt64?
    /// The connection that a POST is coming in on.
    var post: ConnectionKey?
    var probe: Probe?

    /// How far its sessions had been given each chat when the ping went that is under way.
    var pinged: [DeliveredMark] = []
    /// The same, acknowledged.
    var acknowledged = Marks()
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
    private let emailBox: Box?

    /// Most have none, and one word is less than a text.
    private final class Box {
        let text: String
        init(_ text: String) { self.text = text }
    }

    init(session: Session, email: String?) {
        self.session = session
        emailBox = email.map(Box.init)
    }

    /// Of the token; told to others in the ns dialect only.
    var email: String? { emailBox?.text }
}

/// A GET that waits until there is something to say. An object, so that a session without one is small.
final class ParkedPoll {
    let connection: ConnectionKey
    let request: HTTPRequest
    /// By which its client tells it from its others (`t` in the query); nil where it does not.
    let name: UInt64?
    /// During an upgrade: a client that has read "3probe" waits for this poll to end before it says
    /// "5", so it is answered with a noop then.
    let noopDue: Instant?

    init(
        connection: ConnectionKey, request: HTTPRequest, name: UInt64?, noopDue: Instant?
    ) {
        self.connection = connection
        self.request = request
        self.name = name
        self.noopDue = noopDue
    }
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

/// A hash that names something, or none, in eight bytes instead of the sixteen that an optional takes.
@propertyWrapper struct Named {
    private var hash: UInt64 = 0

    init(wrappedValue: UInt64?) { self.wrappedValue = wrappedValue }

    /// One hash of all there are stands for none: who has it is as if they named nothing.
    var wrappedValue: UInt64? {
        get { hash == 0 ? nil : hash }
        set { hash = newValue ?? 0 }
    }
}

/// A seq for each place: a list while there are few, as nearly always, and a table for who follows many.
struct Marks {
    private struct Entry {
        let place: DeliveredMark.Place
        var seq: Seq
    }

    /// One word.
    private enum Storage {
        case list([Entry])
        case table([DeliveredMark.Place: Seq])
    }

    private var storage = Storage.list([])
    private static let longestList = 16

    subscript(place: DeliveredMark.Place) -> Seq? {
        get {
            switch storage {
            case .list(let list): list.first { $0.place == place }?.seq
            case .table(let table): table[place]
            }
        }
        set {
            // Held here alone while it changes, so that it is not copied.
            if case .list(var list) = storage {
                storage = .list([])
                if let index = list.firstIndex(where: { $0.place == place }) {
                    if let newValue { list[index].seq = newValue } else { list.remove(at: index) }
                } else if let newValue {
                    list.append(Entry(place: place, seq: newValue))
                }
                storage =
                    list.count <= Self.longestList
                    ? .list(list)
                    : .table(Dictionary(uniqueKeysWithValues: list.map { ($0.place, $0.seq) }))
            } else if case .table(var table) = storage {
                storage = .list([])
                table[place] = newValue
                storage = .table(table)
            }
        }
    }

    /// By chat.
    func of(_ session: SubscriberKey) -> [ChatID: Seq] {
        var marks: [ChatID: Seq] = [:]
        switch storage {
        case .list(let list):
            for entry in list where entry.place.session == session {
                marks[entry.place.chat] = entry.seq
            }
        case .table(let table):
            for (place, seq) in table where place.session == session { marks[place.chat] = seq }
        }
        return marks
    }

    mutating func forget(_ session: SubscriberKey) {
        switch storage {
        case .list(let list): storage = .list(list.filter { $0.place.session != session })
        case .table(let table): storage = .table(table.filter { $0.key.session != session })
        }
    }
}

/// A Socket.IO packet with binary parts, while they come. An object, as above.
final class BinaryEvent {
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
