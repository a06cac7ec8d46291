/// How the names of events are spelled on a connection, and what its clients expect beyond names.
package enum Dialect: UInt8, CaseIterable, Sendable {
    /// Canonical names (`message.new`); chosen by the subprotocol `martlet.v1`, or over Socket.IO by
    /// `auth.proto: 1`.
    case v1
    /// Upper case (`MESSAGE`), as the existing plain clients speak it.
    case ws
    /// The Socket.IO clients of the main namespace.
    case root
    /// The Socket.IO clients that have a namespace for messages, one for notifications, and so on.
    case ns

    /// Those of plain WebSockets.
    package static let plain: [Dialect] = [.v1, .ws]

    /// A sender's own connection hears its message too.
    package var hearsEcho: Bool { self != .v1 }

    /// All the user's chats are followed without asking, those to come as well.
    package var followsAll: Bool { self == .ws || self == .root }

    /// The sender of a message is told that it is stored also where it asked for an ack.
    package var tellsStored: Bool { self == .root || self == .ns }
}

/// What the server says. `Protocol/events.json` is tested for equality with this table.
package enum EventName: String, CaseIterable, Sendable {
    case ack
    case error
    case sessionReady = "session.ready"
    case sessionExpiring = "session.expiring"
    case messageNew = "message.new"
    case messageStored = "message.stored"
    case receipt
    case typing
    case chatChanged = "chat.changed"
    case caughtUp
    case notification
    case topicEvent = "topic.event"

    /// The name in a dialect; where an event is told under several, the first. An ack has none over
    /// Socket.IO, whose protocol has acks of its own.
    package func name(in dialect: Dialect) -> StaticString {
        switch dialect {
        case .v1: v1
        case .ws: ws
        case .root: root.first ?? ""
        case .ns: ns.first ?? ""
        }
    }

    /// All names in a dialect.
    package func names(in dialect: Dialect) -> [StaticString] {
        switch dialect {
        case .v1: [v1]
        case .ws: [ws]
        case .root: root
        case .ns: ns
        }
    }

    /// Upper case with underscores, or the one that its clients know.
    package var ws: StaticString {
        switch self {
        case .ack: "ACK"
        case .error: "ERROR"
        case .sessionReady: "READY"
        case .sessionExpiring: "SESSION_EXPIRING"
        case .messageNew: "MESSAGE"
        case .messageStored: "STORED"
        case .receipt: "RECEIPT"
        case .typing: "TYPING"
        case .chatChanged: "CHAT_CHANGED"
        case .caughtUp: "CAUGHT_UP"
        case .notification: "NOTIFICATION"
        // The type of the event itself, of which there is one.
        case .topicEvent: "JOB_UPDATE"
        }
    }

    /// The canonical name.
    package var v1: StaticString {
        switch self {
        case .ack: "ack"
        case .error: "error"
        case .sessionReady: "session.ready"
        case .sessionExpiring: "session.expiring"
        case .messageNew: "message.new"
        case .messageStored: "message.stored"
        case .receipt: "receipt"
        case .typing: "typing"
        case .chatChanged: "chat.changed"
        case .caughtUp: "caughtUp"
        case .notification: "notification"
        case .topicEvent: "topic.event"
        }
    }

    private var root: [StaticString] {
        switch self {
        case .ack: []
        case .sessionReady: ["authenticated"]
        case .messageNew: ["message"]
        case .messageStored: ["delivered"]
        case .receipt: ["delivered", "read"]
        case .error, .sessionExpiring, .typing, .chatChanged, .caughtUp, .notification,
            .topicEvent:
            [v1]
        }
    }

    private var ns: [StaticString] {
        switch self {
        case .ack: []
        case .sessionReady: ["authenticated"]
        case .messageNew: ["new_message"]
        case .messageStored: ["message_sent"]
        case .receipt: ["message_delivered", "message_read"]
        case .typing: ["user_typing", "user_stopped_typing"]
        case .error, .sessionExpiring, .chatChanged, .caughtUp, .notification, .topicEvent: [v1]
        }
    }
}

/// What a client may say, with every name it may use for it: the canonical one, the ws one, and
/// those of the Socket.IO families. Any connection may use any of them.
package enum CommandName: String, CaseIterable, Sendable {
    case authenticate = "session.auth"
    case join = "chat.join"
    case leave = "chat.leave"
    case send = "message.send"
    case acknowledge = "delivery.ack"
    case read = "read.set"
    case type = "typing"
    case resume = "resume"
    case subscribe = "topic.subscribe"
    case unsubscribe = "topic.unsubscribe"

    package var spellings: [StaticString] {
        switch self {
        case .authenticate: ["session.auth", "AUTH", "SESSION_AUTH", "authenticate"]
        case .join: ["chat.join", "JOIN", "CHAT_JOIN", "join_conversation"]
        case .leave: ["chat.leave", "LEAVE", "CHAT_LEAVE", "leave_conversation"]
        case .send: ["message.send", "SEND_MESSAGE", "MESSAGE_SEND", "send_message", "message"]
        case .acknowledge: ["delivery.ack", "DELIVERED", "DELIVERY_ACK"]
        case .read: ["read.set", "READ", "READ_SET", "mark_as_read", "read"]
        case .type: ["typing", "TYPING"]
        case .resume: ["resume", "RESUME", "sync", "SYNC"]
        case .subscribe: ["topic.subscribe", "SUBSCRIBE", "TOPIC_SUBSCRIBE", "subscribe"]
        case .unsubscribe:
            ["topic.unsubscribe", "UNSUBSCRIBE", "TOPIC_UNSUBSCRIBE", "unsubscribe"]
        }
    }
}
