/// The head of one packet of the Socket.IO protocol 5, read from the text behind an Engine.IO
/// message's `4`.
///
///     packet      = type [ attachments "-" ] [ namespace "," ] [ id ] [ payload ]
///     type        = "0" connect, "1" disconnect, "2" event, "3" ack, "4" connect error,
///                   "5" binary event, "6" binary ack
///     attachments = digits; of 5 and 6 only, and there required
///     namespace   = "/…", to the next comma or the end
///     id          = digits
///     payload     = JSON, the rest
///
/// Pure, and bounded by what it reads. Whether the payload is JSON of the right kind its reader says.
///
/// Source: the Socket.IO protocol, version 5, "Packet encoding".
public struct SocketPacket: Equatable, Sendable {
    public enum Kind: UInt8, Sendable {
        case connect = 0x30
        case disconnect
        case event
        case ack
        case connectError
        case binaryEvent
        case binaryAck

        public var hasAttachments: Bool { self == .binaryEvent || self == .binaryAck }
    }

    /// More are refused: socket.io-parser's own bound.
    public static let maximumAttachments = 10
    /// What JavaScript counts to exactly; longer ids come back rounded from a stock server.
    public static let maximumIDDigits = 15

    public var kind: Kind
    /// Binary messages that follow, and belong to this packet.
    public var attachments: Int
    /// The namespace's name, with its slash; nil for the main one where it is not named.
    public var namespace: Range<Int>?
    public var id: Int64?
    /// Empty where there is none.
    public var payload: Range<Int>

    /// The packet in `text`; ranges are of it. nil where it breaks the grammar: the transport is
    /// closed then, as the parser of every stock client and server does.
    public static func parse(_ text: Span<UInt8>) -> SocketPacket? {
        guard !text.isEmpty, let kind = Kind(rawValue: text[0]) else { return nil }
        var index = 1
        var attachments = 0
        if kind.hasAttachments {
            guard let count = number(in: text, at: &index, digits: 2), index < text.count,
                text[index] == UInt8(ascii: "-"), count <= maximumAttachments
            else { return nil }
            attachments = Int(count)
            index += 1
        }
        var namespace: Range<Int>?
        if index < text.count, text[index] == UInt8(ascii: "/") {
            var end = index
            while end < text.count, text[end] != UInt8(ascii: ",") { end += 1 }
            namespace = index..<end
            index = min(end + 1, text.count)
        }
        var id: Int64?
        if index < text.count, isDigit(text[index]) {
            guard let read = number(in: text, at: &index, digits: maximumIDDigits) else {
                return nil
            }
            id = read
        }
        return SocketPacket(
            kind: kind, attachments: attachments, namespace: namespace, id: id,
            payload: index..<text.count)
    }

    /// Digits, at least one and at most `digits`.
    private static func number(
        in text: Span<UInt8>, at index: inout Int, digits: Int
    ) -> Int64? {
        let start = index
        var value: Int64 = 0
        while index < text.count, isDigit(text[index]) {
            guard index - start < digits else { return nil }
            value = value * 10 + Int64(text[index] - UInt8(ascii: "0"))
            index += 1
        }
        return index > start ? value : nil
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }

    /// Names that no event may have: a client that is sent one closes with "parse error", and one
    /// that sends one is closed.
    public static let reservedEvents: [StaticString] = [
        "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
    ]
}
