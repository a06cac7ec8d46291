import Basics

/// What a client may ask over a socket, whatever the dialect it spoke.
package enum Command: Sendable {
    /// Says who is there, or renews the token of a live session.
    case authenticate(token: String, device: DeviceID?)
    /// Follow a chat; replay what came after `since`.
    case join(ChatID, since: Seq?)
    case leave(ChatID)
    case send(SendMessage)
    /// Cumulative: everything up to `seq` arrived at this device.
    case acknowledge(ChatID, seq: Seq)
    case read(ChatID, LogPosition, isPrivate: Bool)
    /// The same by the message alone, as clients of Socket.IO's main namespace say it.
    case readMessage(MessageID, isPrivate: Bool)
    case type(ChatID, isTyping: Bool)
    case resume([ReadLogs.From])
    /// All of them or none; each is named once.
    case subscribe([TopicName])
    case unsubscribe([TopicName])
}

package struct SendMessage: Sendable {
    package var chat: ChatID
    package var clientMessageID: String?
    package var message: Message

    package init(chat: ChatID, clientMessageID: String?, message: Message) {
        self.chat = chat
        self.clientMessageID = clientMessageID
        self.message = message
    }
}

/// The `id` by which a client wants its answer: an integer or a string of at most 64 bytes.
package enum RequestID: Hashable, Sendable {
    case integer(Int64)
    case text(String)

    package static let maximumBytes = 64
}

/// The user and device behind a command.
package struct Actor: Sendable {
    package var user: UserID
    package var device: DeviceID

    package init(user: UserID, device: DeviceID) {
        self.user = user
        self.device = device
    }
}
