import Client

/// What one client knows at the end: the only evidence, beside the log itself, that the checks use.
struct ClientRecord: Sendable {
    /// Such as `w03`; of its user and its device.
    var name: String
    /// In the order of sending; a message that was resent is here several times.
    var invocations: [Invocation] = []
    /// By chat: what came as an event, in order of arrival, over all connections.
    var deliveries: [Int: [Delivery]] = [:]
    /// By chat, one for each delivery: when it came.
    var arrivals: [Int: [Arrival]] = [:]
    var connections: [ConnectionRecord] = []
    /// Whether it only listens, to chats that it is a member of all the time.
    var isListener = false
    /// What no server should have said.
    var complaints: [String] = []
}

/// Times are of the wall clock, in microseconds: those of Postgres are compared with them.
struct Arrival: Sendable {
    var at: Int64
    /// The client's connections, counted from 1.
    var connection: Int
}

/// One connection of a client, from its making to its loss.
struct ConnectionRecord: Sendable {
    /// The number of the instance.
    var server: Int
    var openedAt: Int64
    /// When the replay of what it had missed was over, and it was live.
    var caughtUpAt: Int64?
    var lostAt: Int64?
}

/// One sending of one message on one connection.
struct Invocation: Sendable {
    var message: MessageKey
    var chat: Int
    /// The client's connections, counted from 1.
    var connection: Int
    var outcome = Outcome.unknown
}

enum Outcome: Hashable, Sendable {
    case stored(seq: Int64, id: String)
    /// The server said that it was not stored, and why.
    case refused(code: String)
    /// No answer came before the connection was lost.
    case unknown
}

/// Which message: also its clientMsgId, and the beginning of its content.
struct MessageKey: Hashable, Sendable, CustomStringConvertible {
    var writer: Int
    var number: Int

    var description: String { "w\(padded(writer, 2))-\(padded(number, 6))" }

    /// Every seventh is long: more than one page of the store.
    var content: String {
        "\(self) " + String(repeating: "x", count: number % 7 == 0 ? 9_000 : 40)
    }

    init(writer: Int, number: Int) {
        self.writer = writer
        self.number = number
    }

    /// nil where the content is no message of ours, whole and unchanged.
    init?(content: String) {
        let name = content.prefix { $0 != " " }
        let parts = name.dropFirst().split(separator: "-")
        guard parts.count == 2, let writer = Int(parts[0]), let number = Int(parts[1]) else {
            return nil
        }
        self.init(writer: writer, number: number)
        guard self.content == content else { return nil }
    }
}

/// One entry as it reached a client, or as the log has it.
struct Delivery: Hashable, Sendable {
    var seq: Int64
    /// nil for what is no message of ours.
    var message: MessageKey?
    /// Where it is no message but a change of the members.
    var change: Change?
    var id: String

    struct Change: Hashable, Sendable {
        var user: String
        /// Whether it ends the membership.
        var isEnd: Bool
    }

    init(_ message: ServerEvent.Message) {
        seq = message.seq
        self.message = MessageKey(content: message.content)
        id = message.id
    }

    init(_ change: ServerEvent.MembershipChange) {
        seq = change.seq
        self.change = Change(user: change.user, isEnd: change.kind != "memberAdded")
        id = "\(change.kind) \(change.user)"
    }

    /// A row of the store's own table.
    init(seq: Int64, id: String, kind: String, subject: String?, content: String?) {
        self.seq = seq
        if let subject {
            change = Change(user: subject, isEnd: kind != "memberAdded")
            self.id = "\(kind) \(subject)"
        } else {
            message = content.flatMap { MessageKey(content: $0) }
            self.id = id
        }
    }

    init(_ entry: ChatAPI.Entry) {
        switch entry {
        case .message(let message): self.init(message)
        case .changed(let change): self.init(change)
        }
    }
}

func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}
