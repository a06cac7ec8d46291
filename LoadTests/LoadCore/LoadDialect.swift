/// The seam between a load and a kind of server: where a connection goes, what it says until it is
/// ready, how a message is written, and which frames are deliveries or acks.
///
/// An enum and not a protocol: the worker switches on it once a frame. A dialect that is added (the
/// whole of Socket.IO, say) answers the questions of this file, and has its reader of frames beside
/// `ProductFrame` and `NatsReader`.
package enum LoadDialect: String, CaseIterable, Sendable {
    /// A server that echoes, or sends every text to all in the room of the path.
    case raw
    /// Martlet's `/ws`, subprotocol `martlet.v1`.
    case v1
    /// Martlet's `/ws` without a subprotocol.
    case plain
    /// The NATS protocol in binary frames.
    case nats
    /// nginx with Nchan: one socket to hear, one to say.
    case nchan
    /// Socket.IO 5 over Engine.IO 4, WebSocket only: the events `join NAME` and `msg TEXT`.
    case sio
    /// Martlet over Socket.IO, WebSocket only, the main namespace with the names of v1.
    case socketV1 = "sio-v1"

    /// Users, tokens and chats are needed, and made before the run.
    package var isProduct: Bool { self == .v1 || self == .plain || self == .socketV1 }
    /// A message is answered once it is stored.
    package var hasAcks: Bool { isProduct }
    /// Who comes back gets what was said meanwhile.
    package var resumes: Bool { isProduct }
    /// A sender's own connection hears its message too.
    package var hearsItself: Bool { self != .v1 && self != .socketV1 }
    package var hasTyping: Bool { isProduct }
    /// Senders say what they have to say on a second socket.
    package var hasOutlets: Bool { self == .nchan }
    /// A user is in several channels by one connection.
    package var hasManyChannels: Bool { isProduct }

    package var opcode: UInt8 { self == .nats ? ServerFrame.binary : ServerFrame.text }

    /// What of a scenario this dialect cannot do; nil where it can do all of it.
    package func complaint(about scenario: Scenario) -> String? {
        if scenario.effectiveChatsPerUser > 1, !hasManyChannels {
            return "chats-per-user: dialect \(rawValue) has one room a connection"
        }
        if scenario.traffic == .typing || scenario.typingShare > 0, !hasTyping {
            return "typing: dialect \(rawValue) has no such event; use v1 or plain"
        }
        if scenario.readShare > 0, !isProduct {
            return "read-share: dialect \(rawValue) has no cursors; use v1 or plain"
        }
        return nil
    }

    /// The name of a channel that has no id of its own.
    package static func roomName(run: UInt32, channel: Int) -> String {
        "\(hex(run))-\(channel)"
    }

    /// Fixed width, so that a run's frames have their parts at the same places.
    package static func userName(run: UInt32, user: Int) -> String {
        let digits = "\(user)"
        return "load-\(hex(run))-" + String(repeating: "0", count: max(0, 7 - digits.count))
            + digits
    }

    /// Where in a user's name its number begins.
    package static let userNumberOffset = "load-00000000-".utf8.count

    private static func hex(_ number: UInt32) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: 8 - text.count) + text
    }

    /// Path and query that a connection opens.
    ///
    /// - Parameters:
    ///   - base: of the address that was given, `/` where it had none; with `raw` the part before `/echo`
    ///     and `/room`.
    ///   - isOutlet: the second socket of a sender.
    package func target(
        base: String, layout: Scenario.Layout, room: String, isOutlet: Bool = false
    ) -> String {
        let prefix = base == "/" ? "" : base.hasSuffix("/") ? String(base.dropLast()) : base
        switch self {
        case .raw:
            let rooms = prefix.hasSuffix("/echo") ? String(prefix.dropLast(5)) : prefix
            return layout == .echo || layout == .idle
                ? rooms + "/echo" : rooms + "/room/" + room
        case .nchan: return prefix + (isOutlet ? "/pub/" : "/sub/") + room
        case .nats: return base
        case .sio, .socketV1:
            return (base == "/" ? "/socket.io/" : base)
                + (base.contains("?") ? "&" : "?") + "EIO=4&transport=websocket"
        case .v1, .plain: return base == "/" ? "/ws" : base
        }
    }

    /// What to give as the address, where the server knows nothing of the one that was given.
    package var pathAdvice: String {
        switch self {
        case .raw:
            "The server has no such path. Dialect raw takes the address before /echo and /room/NAME: "
                + "of a\n`martlet serve --bench` that is --url ws://HOST:PORT/bench. Martlet's users and "
                + "chats are measured with\n--dialect v1 --data FOLDER."
        case .sio:
            "There are no open rooms at this address. Of a `martlet serve --bench` they are at "
                + "--url ws://HOST:PORT/bench/socket.io/;\nMartlet's users and chats are measured with "
                + "--dialect sio-v1 --data FOLDER."
        case .v1, .plain, .socketV1:
            "The server has no such path. Martlet's address has none: --url ws://HOST:PORT."
        case .nats, .nchan:
            "The server has no such path; see its configuration."
        }
    }

    /// What stands around a message's content, for dialects where that is the same for all of a
    /// room.
    package func envelope(room: String, size: Int) -> (head: [UInt8], tail: [UInt8]) {
        switch self {
        case .raw, .nchan, .v1, .plain, .socketV1: ([], [])
        case .nats: (Array("PUB room.\(room) \(size)\r\n".utf8), Array("\r\n".utf8))
        case .sio: (Array(SocketIO.messageHead.utf8), Array("\"]".utf8))
        }
    }
}

/// The little of Socket.IO that a load needs: packets of Engine.IO 4 with those of Socket.IO 5 in
/// them. The default namespace, texts only.
package enum SocketIO {
    static let messageHead = "42[\"msg\",\""

    package enum Packet: Equatable {
        case open
        case connected
        case ping
        /// The answer to an event that asked for one.
        case ack
        /// Where the text of a `msg` begins, and how long it is.
        case message(Range<Int>)
        case other
    }

    @inline(__always)
    package static func read(_ bytes: UnsafePointer<UInt8>, count: Int) -> Packet {
        guard count >= 1 else { return .other }
        let head = messageHead.utf8.count
        if unsafe count >= head + 2 && bytes[0] == UInt8(ascii: "4")
            && bytes[1] == UInt8(ascii: "2") && bytes[count - 1] == UInt8(ascii: "]")
            && bytes[count - 2] == UInt8(ascii: "\"") && bytes[4] == UInt8(ascii: "m")
        {
            return .message(head..<(count - 2))
        }
        switch unsafe bytes[0] {
        case UInt8(ascii: "0"): return .open
        case UInt8(ascii: "2"): return .ping
        case UInt8(ascii: "4"):
            guard count >= 2 else { return .other }
            if unsafe bytes[1] == UInt8(ascii: "0") { return .connected }
            return unsafe bytes[1] == UInt8(ascii: "3") ? .ack : .other
        default: return .other
        }
    }

    package static let connect = Array("40".utf8)
    package static let pong = Array("3".utf8)
    /// Asks for an answer, so that one knows when one is in.
    package static func join(_ room: String) -> [UInt8] { Array("420[\"join\",\"\(room)\"]".utf8) }
}
