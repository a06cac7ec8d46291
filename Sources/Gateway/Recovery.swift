import Basics
import BusCore
import Domain
import Identity
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
    /// Which of its owners this is, each above the one before: what one of before writes counts no more.
    /// 0 while it is looked for.
    var epoch: Int64
    /// What the client showed, which it is given back; nil once it was, and where it showed none.
    var shownPass: String?
    /// What it had when it came: of an earlier connection, so it says nothing of this one.
    let offsetAtStart: RecoveryOffset?
    private(set) var given: [Given] = []
    /// Of `given`, those before the ping that is under way.
    private var pinged = 0
    /// A ping went since the session began.
    private var isProofAsked = false
    /// Nobody but this session gives its client anything: it made the pass, or ended who had it before and was
    /// that, or a pong has come. Where the store alone gave it, the client may be with the one before all
    /// the while: it came back, left before it was answered, and the instances do not reach each other. What
    /// it is given there comes in another order than here.
    private(set) var isAlone: Bool
    /// The client may come back for it: it was told, or did before.
    var isEstablished = false
    /// It was ended by its client, or by a backend.
    var isOver = false
    /// The epoch that this one takes the place of, until it has.
    var replaces: Int64?
    /// The store has it as ours.
    var isKept = false
    /// It is about to.
    var isKeeping = false
    /// The store has all that another instance would need to go on with it.
    var isWhole = false
    var keptAt = Instant.start
    /// Chats whose marks are to be written.
    var moved: Set<ChatID> = []
    /// Chats that are replayed from before where the client was once, and that place: an offset up to it
    /// may be of then, and says nothing.
    var rewound: [ChatID: Seq] = [:]
    /// Chats of its user that it follows no more, because its client said so.
    var left: Set<ChatID> = []

    /// - Parameter isNew: the pass is made for it.
    init(_ pass: RecoveryPass, epoch: Int64, offsetAtStart: RecoveryOffset?, isNew: Bool) {
        self.pass = pass
        isAlone = isNew
        self.epoch = epoch
        self.offsetAtStart = offsetAtStart
    }

    /// Beyond it the oldest are forgotten: then what a pong covered counts.
    static let maximumGiven = 256
    static let maximumLeft = 500
    static let keptMs: Int64 = 7 * 24 * 3_600_000
    static let refreshMs = 24 * 3_600_000

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

    /// The client goes back to before that in the chat: what it was given of it says nothing any more.
    func rewind(_ chat: ChatID, from high: Seq) {
        pinged -= given[..<pinged].count { $0.chat == chat }
        given.removeAll { $0.chat == chat }
        rewound[chat] = max(high, rewound[chat] ?? 0)
    }

    /// It takes the place of that one.
    func follow(_ before: RecoverableSession) { isAlone = before.isAlone }

    func ping() {
        pinged = given.count
        if isEstablished { isProofAsked = true }
    }

    /// Everything before the ping has arrived.
    func pong() -> ArraySlice<Given> {
        if isProofAsked { isAlone = true }
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
    var epoch: Int64
    /// By chat that it follows: what its client certainly has.
    var received: [ChatID: Seq]
    /// Chats of its user that it follows no more.
    var left: Set<ChatID> = []
    /// Chats that are being replayed, and up to where an offset in them says nothing.
    var rewound: [ChatID: Seq] = [:]
    /// What it was given since, in order.
    var given: [Recovery.Given] = []
    /// See `Recovery`. False: the order says nothing.
    var isAlone = false
    var offsetAtStart: RecoveryOffset?
    var topics: [TopicName] = []

    /// The same once its client has said what it had last: then it is known how far it came.
    func taken(at offset: RecoveryOffset?) -> RecoverableSession {
        var taken = self
        taken.given = []
        taken.offsetAtStart = offset
        guard let offset, offset != offsetAtStart, offset.seq > rewound[offset.chat] ?? 0 else {
            return taken
        }
        let known = received[offset.chat]
        guard offset.seq > known ?? 0 else { return taken }
        // Where it is not among what was given, the client has it all the same, and had everything
        // of that chat before it.
        if isAlone,
            let place = given.firstIndex(where: {
                $0.chat == offset.chat && $0.seqs.contains(offset.seq)
            })
        {
            for entry in given[..<place] {
                guard let known = taken.received[entry.chat] else { continue }
                taken.received[entry.chat] = max(known, entry.seqs.upperBound)
            }
        }
        if known != nil { taken.received[offset.chat] = offset.seq }
        return taken
    }
}

/// What the shard that had a session says to the one to which its client has come.
package enum RecoveryAnswer: Equatable, Sendable {
    case held(RecoverableSession)
    /// Its time is over, or it was ended, or another has asked before.
    case unknown

    // MARK: As bytes, between instances

    private enum Kind: UInt8 {
        case unknown
        case held
    }

    var bytes: [UInt8] {
        guard case .held(let session) = self else { return [Kind.unknown.rawValue] }
        var bytes = [Kind.held.rawValue]
        bytes.append(integer: session.name.high)
        bytes.append(integer: session.name.low)
        bytes.append(shortText: session.user.text)
        bytes.append(integer: session.epoch)
        bytes.append(session.isAlone ? 1 : 0)
        bytes.append(marks: session.received)
        bytes.append(marks: session.rewound)
        bytes.append(names: session.left.map(\.text).sorted())
        bytes.append(names: session.topics.map(\.text))
        return bytes
    }

    /// nil where it is none. A session's offset is the one that was asked with.
    init?(_ bytes: [UInt8], offset: RecoveryOffset?) {
        var reader = ByteReader(bytes)
        switch reader.byte().flatMap(Kind.init(rawValue:)) {
        case .unknown: self = .unknown
        case .held:
            guard let high = reader.integer(UInt64.self), let low = reader.integer(UInt32.self),
                let user = reader.user(), let epoch = reader.integer(Int64.self),
                let isAlone = reader.byte(), let received = reader.marks(),
                let rewound = reader.marks(),
                let left = reader.names(), let topics = reader.names()
            else { return nil }
            var session = RecoverableSession(
                name: SessionName(high: high, low: low), user: user, epoch: epoch,
                received: received, rewound: rewound, offsetAtStart: offset)
            session.isAlone = isAlone != 0
            session.left = Set(left.compactMap { ChatID($0) })
            session.topics = topics.compactMap { TopicName($0) }
            self = .held(session)
        case nil: return nil
        }
        guard reader.isAtEnd else { return nil }
    }

    /// What the code behind an answer is of.
    static func signed(_ answer: [UInt8], for asker: EngineID) -> [UInt8] {
        Array("martlet, recovery answer, 2\n\(asker.text)\n".utf8) + answer
    }

    private static let codeBytes = 32
    private static let maximumHead = 1_024

    /// From all that came over the connection; nil where that is not what we asked for.
    init?(response: [UInt8], asker: EngineID, offset: RecoveryOffset?, keys: [Secret]) {
        let end = Array("\r\n\r\n".utf8)
        guard response.starts(with: "HTTP/1.1 200 ".utf8),
            let start = (0..<min(response.count, Self.maximumHead)).first(where: {
                response[$0...].starts(with: end)
            }), response.count >= start + end.count + Self.codeBytes
        else { return nil }
        let answer = Array(response[(start + end.count)..<(response.count - Self.codeBytes)])
        let code = Array(response.suffix(Self.codeBytes))
        let message = Self.signed(answer, for: asker)
        guard keys.contains(where: { $0.authenticates(message.span, code: code.span) }) else {
            return nil
        }
        self.init(answer, offset: offset)
    }
}

extension [UInt8] {
    /// At most 65,535 of at most 255 bytes.
    mutating func append(names: [String]) {
        let names = names.prefix(Int(UInt16.max))
        append(integer: UInt16(names.count))
        for name in names { append(shortText: name) }
    }

    mutating func append(marks: [ChatID: Seq]) {
        append(integer: UInt32(marks.count))
        for (chat, seq) in marks.sorted(by: { $0.key.text < $1.key.text }) {
            append(shortText: chat.text)
            append(integer: seq)
        }
    }
}

extension ByteReader {
    mutating func marks() -> [ChatID: Seq]? {
        guard let count = integer(UInt32.self) else { return nil }
        var marks: [ChatID: Seq] = [:]
        for _ in 0..<count {
            guard let chat = chat(), let seq = integer(Seq.self), seq >= 0 else { return nil }
            marks[chat] = seq
        }
        return marks
    }

    mutating func names() -> [String]? {
        guard let count = integer(UInt16.self) else { return nil }
        var names: [String] = []
        for _ in 0..<count {
            guard let name = shortText() else { return nil }
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

    /// No answer is longer: a session of 30,000 chats and more.
    package static let maximumAnswerBytes = 4_000_000
}
