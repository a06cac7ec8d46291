import Client

/// What one client knows at the end: the only evidence, beside the log itself, that the checks use.
struct ClientRecord: Sendable {
    /// Such as `w03`; of its user and its device.
    var name: String
    /// In the order of sending; a message that was resent is here several times.
    var invocations: [Invocation] = []
    /// By chat: what came as an event, in order of arrival, over all connections.
    var deliveries: [Int: [Delivery]] = [:]
    /// What no server should have said.
    var complaints: [String] = []
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
    var id: String

    init(_ message: ServerEvent.Message) {
        seq = message.seq
        self.message = MessageKey(content: message.content)
        id = message.id
    }
}

func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}
