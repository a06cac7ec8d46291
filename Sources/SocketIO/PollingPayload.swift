import WebSocket

/// Several Engine.IO packets as one body of HTTP long-polling, with a record separator (U+001E)
/// between two of them.
///
/// JSON writes control characters as escapes, so a separator is never part of a packet.
///
/// Source: the Engine.IO protocol, version 4, "HTTP long-polling".
public enum PollingPayload {
    public static let separator: UInt8 = 0x1E

    /// One record of a payload.
    public enum Record: Equatable {
        /// A text packet, its type digit included: bytes of the payload.
        case text(Range<Int>)
        /// A binary message.
        case binary([UInt8])
        /// An empty packet, or base64 that is none: the session ends with "parse error".
        case malformed
    }

    /// The next record from `position` on, which is moved behind it; nil at the end. An empty payload
    /// has one record, an empty one, which is malformed.
    public static func next(in payload: Span<UInt8>, at position: inout Int) -> Record? {
        guard position <= payload.count else { return nil }
        var end = position
        while end < payload.count, payload[end] != separator { end += 1 }
        let range = position..<end
        position = end + 1
        guard !range.isEmpty else { return .malformed }
        guard payload[range.lowerBound] == UInt8(ascii: "b") else { return .text(range) }
        return Base64.decode(payload.extracting(range.dropFirst())).map { .binary($0) }
            ?? .malformed
    }

    /// Appends a binary message and the separator behind it.
    public static func append(binary bytes: Span<UInt8>, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "b"))
        output.append(contentsOf: Base64.encode(bytes))
        output.append(separator)
    }

    /// How many bytes of `pending`, in which a separator stands behind each packet, one answer takes:
    /// at most `packets` packets, and of more than one no more than `bytes`.
    ///
    /// A stock Python client takes 16 packets of one answer and drops the connection at more.
    public static func cut(
        _ pending: Span<UInt8>, packets: Int, bytes: Int
    ) -> Int {
        var taken = 0
        var count = 0
        var index = 0
        while index < pending.count, count < packets {
            if pending[index] == separator {
                if count > 0, index + 1 > bytes { break }
                count += 1
                taken = index + 1
            }
            index += 1
        }
        return taken
    }
}
