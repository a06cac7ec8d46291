import Basics
import BusCore
import Domain
import SocketIO
import Wire

/// What a session of Socket.IO remembers so that it can be recovered: Socket.IO's "connection state
/// recovery".
///
///     CONNECT ─► {sid, pid} ── events, each entry with its offset ──► gone ─ window ─► forgotten
///                                                                      │
///     CONNECT {pid, offset} ◄── its client comes back, anywhere ───────┘
///
/// What its client certainly has is `EngineSession.acknowledged`: what a pong has covered. What it was
/// given since stands here in the order of giving, so that the offset with which it comes back says of
/// all chats how far it came. The order is short, because a ping follows what is given within a second.
final class Recovery {
    /// Entries of one chat, one behind the other.
    struct Given: Equatable, Sendable {
        let chat: ChatID
        var seqs: ClosedRange<Seq>
    }

    let pass: RecoveryPass
    /// What the client showed, which it is given back; nil once it was, and where it showed none.
    var shownPass: String?
    /// What it had when it came: of an earlier connection, so it says nothing of this one.
    let offsetAtStart: RecoveryOffset?
    private(set) var given: [Given] = []
    /// Of `given`, those before the ping that is under way.
    private var pinged = 0
    /// The client may come back for it: it was told, or did before.
    var isEstablished = false
    /// It was ended by its client, or by a backend.
    var isOver = false
    /// What the store is to know of it, where its chats are not simply all of the user's.
    var joined: Set<ChatID> = []
    /// `joined` is not what was kept last.
    var hasJoinedMore = false
    /// The store has something of it.
    var isKept = false

    init(_ pass: RecoveryPass, offsetAtStart: RecoveryOffset?) {
        self.pass = pass
        self.offsetAtStart = offsetAtStart
    }

    /// Beyond it the oldest are forgotten: then what a pong covered counts.
    static let maximumGiven = 256
    /// Chats that are kept; a session that has joined more is not recovered after a crash.
    static let maximumKept = 1_000
    static let keptMs: Int64 = 7 * 24 * 3_600_000

    /// Entries went into its outbox.
    func note(_ chat: ChatID, _ seqs: ClosedRange<Seq>) {
        if given.count > pinged, given[given.count - 1].chat == chat,
            given[given.count - 1].seqs.upperBound < seqs.lowerBound
        {
            given[given.count - 1].seqs =
                given[given.count - 1].seqs.lowerBound...seqs.upperBound
            return
        }
        if given.count == Self.maximumGiven {
            given.removeFirst(Self.maximumGiven / 2)
            pinged = max(0, pinged - Self.maximumGiven / 2)
        }
        given.append(Given(chat: chat, seqs: seqs))
    }

    func ping() { pinged = given.count }

    /// Everything before the ping has arrived.
    func pong() -> ArraySlice<Given> {
        let arrived = given[..<pinged]
        // An array that was long once keeps no memory.
        given = Array(given[pinged...])
        pinged = 0
        return arrived
    }
}

/// A session without its connection.
package struct RecoverableSession: Equatable, Sendable {
    var name: SessionName
    var user: UserID
    /// By chat that it follows: what its client certainly has.
    var received: [ChatID: Seq]
    /// What it was given since, in order.
    var given: [Recovery.Given] = []
    var offsetAtStart: RecoveryOffset?
    var topics: [TopicName] = []
    var isKept = false

    /// The same once its client has said what it had last: then it is known how far it came.
    func taken(at offset: RecoveryOffset?) -> RecoverableSession {
        var taken = self
        taken.given = []
        taken.offsetAtStart = offset
        guard let offset, offset != offsetAtStart, let known = received[offset.chat],
            offset.seq > known
        else { return taken }
        // Where it is not among what was given, the client has it all the same, and had everything
        // of that chat before it.
        if let place = given.firstIndex(where: {
            $0.chat == offset.chat && $0.seqs.contains(offset.seq)
        }) {
            for entry in given[..<place] {
                guard let known = taken.received[entry.chat] else { continue }
                taken.received[entry.chat] = max(known, entry.seqs.upperBound)
            }
        }
        taken.received[offset.chat] = offset.seq
        return taken
    }
}

/// What the shard that had a session says to the one to which its client has come.
package enum RecoveryAnswer: Equatable, Sendable {
    case held(RecoverableSession)
    /// It has gone there.
    case moved(EngineID)
    /// Its time is over, or it was ended, or it never was.
    case unknown

    // MARK: As bytes, between instances

    private enum Kind: UInt8 {
        case unknown
        case held
        case moved
    }

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .unknown:
            bytes.append(Kind.unknown.rawValue)
        case .moved(let place):
            bytes.append(Kind.moved.rawValue)
            bytes.append(shortText: place.text)
        case .held(let session):
            bytes.append(Kind.held.rawValue)
            bytes.append(integer: session.name.high)
            bytes.append(integer: session.name.low)
            bytes.append(shortText: session.user.text)
            bytes.append(session.isKept ? 1 : 0)
            bytes.append(integer: UInt32(session.received.count))
            for (chat, seq) in session.received.sorted(by: { $0.key.text < $1.key.text }) {
                bytes.append(shortText: chat.text)
                bytes.append(integer: seq)
            }
            KeptChats.append(names: session.topics.map(\.text), to: &bytes)
        }
        return bytes
    }

    /// nil where it is none. A session's offset is the one that was asked with.
    init?(_ bytes: [UInt8], offset: RecoveryOffset?) {
        var reader = ByteReader(bytes)
        switch reader.byte().flatMap(Kind.init(rawValue:)) {
        case .unknown: self = .unknown
        case .moved:
            guard let text = reader.shortText(), let place = EngineID(text.utf8.span) else {
                return nil
            }
            self = .moved(place)
        case .held:
            guard let high = reader.integer(UInt64.self), let low = reader.integer(UInt32.self),
                let user = reader.user(), let isKept = reader.byte(),
                let count = reader.integer(UInt32.self)
            else { return nil }
            var session = RecoverableSession(
                name: SessionName(high: high, low: low), user: user, received: [:],
                offsetAtStart: offset, isKept: isKept != 0)
            for _ in 0..<count {
                guard let chat = reader.chat(), let seq = reader.integer(Seq.self), seq >= 0 else {
                    return nil
                }
                session.received[chat] = seq
            }
            guard let names = KeptChats.names(&reader) else { return nil }
            session.topics = names.compactMap { TopicName($0) }
            self = .held(session)
        case nil: return nil
        }
        guard reader.isAtEnd else { return nil }
    }
}

/// What the store keeps of a session: the chats that it has joined, where these are not all of the
/// user's, and its topics.
struct KeptChats: Equatable {
    var chats: [ChatID]
    var topics: [TopicName]

    private static let version: UInt8 = 1

    init(chats: [ChatID], topics: [TopicName]) {
        self.chats = chats
        self.topics = topics
    }

    var bytes: [UInt8] {
        var bytes = [Self.version]
        Self.append(names: chats.map(\.text), to: &bytes)
        Self.append(names: topics.map(\.text), to: &bytes)
        return bytes
    }

    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard reader.byte() == Self.version, let chats = Self.names(&reader),
            let topics = Self.names(&reader), reader.isAtEnd
        else { return nil }
        self.init(
            chats: chats.compactMap { ChatID($0) }, topics: topics.compactMap { TopicName($0) })
    }

    static func append(names: [String], to bytes: inout [UInt8]) {
        bytes.append(integer: UInt16(names.count))
        for name in names { bytes.append(shortText: name) }
    }

    static func names(_ reader: inout ByteReader) -> [String]? {
        guard let count = reader.integer(UInt16.self) else { return nil }
        var names: [String] = []
        for _ in 0..<count {
            guard let name = reader.shortText() else { return nil }
            names.append(name)
        }
        return names
    }
}

/// A question to the shard that had a session.
package struct RecoveryRequest: Sendable {
    let place: EngineID
    let offset: RecoveryOffset?
    /// Where its client is now.
    let asker: EngineID
    /// The client's session there.
    let session: SubscriberKey
}

/// The same to another instance.
package struct PeerRequest: Sendable {
    /// Whose answer it is to be.
    package var session: SubscriberKey
    /// The internal listener, `host:port`.
    package var address: String
    package var bytes: [UInt8]

    /// No answer is longer: a session of 100,000 chats.
    package static let maximumAnswerBytes = 16_000_000
}
