/// The operations of the NATS protocol as they come from a server, one behind the other in a stream:
/// `INFO …`, `+OK`, `-ERR …`, `PING`, `PONG`, `MSG subject sid [reply] count` with its payload.
package enum NatsReader {
    package enum Operation: Equatable {
        case info
        case ping
        case pong
        /// The range of the payload.
        case message(Range<Int>)
        case error(Range<Int>)
        case other
    }

    package enum Step: Equatable {
        /// The operation's end has not come.
        case needMore
        case operation(Operation, length: Int)
        /// Not what the protocol says.
        case broken
    }

    private static let longestLine = 65_536

    /// Reads the operation that begins at `bytes`.
    package static func next(_ bytes: UnsafePointer<UInt8>, count: Int) -> Step {
        var end = 0
        while end &+ 1 < count {
            if unsafe bytes[end] == 13 && bytes[end &+ 1] == 10 { break }
            end &+= 1
        }
        guard end &+ 1 < count else { return count > longestLine ? .broken : .needMore }
        let length = end + 2
        guard end >= 3 else { return .broken }
        switch unsafe bytes[0] {
        case UInt8(ascii: "M"):
            guard let payload = unsafe payloadCount(bytes, line: end) else { return .broken }
            guard count >= length + payload + 2 else { return .needMore }
            return .operation(
                .message(length..<(length + payload)), length: length + payload + 2)
        case UInt8(ascii: "P"):
            return .operation(
                unsafe bytes[1] == UInt8(ascii: "I") ? .ping : .pong, length: length)
        case UInt8(ascii: "I"): return .operation(.info, length: length)
        case UInt8(ascii: "-"): return .operation(.error(0..<end), length: length)
        case UInt8(ascii: "+"): return .operation(.other, length: length)
        default: return .broken
        }
    }

    /// The number at the end of a `MSG` line, at most a frame's.
    private static func payloadCount(_ bytes: UnsafePointer<UInt8>, line: Int) -> Int? {
        var place = line - 1
        var scale = 1
        var value = 0
        while place > 0, case let byte = unsafe bytes[place], byte != UInt8(ascii: " ") {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), scale <= 100_000_000 else {
                return nil
            }
            value += Int(byte - UInt8(ascii: "0")) * scale
            scale *= 10
            place -= 1
        }
        return place > 0 && scale > 1 && value <= ServerFrame.longest ? value : nil
    }

    package static let connect = Array(
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true,\"lang\":\"martlet-load\"}\r\n"
            .utf8)
    package static let ping = Array("PING\r\n".utf8)
    package static let pong = Array("PONG\r\n".utf8)
    package static func subscribe(_ room: String) -> [UInt8] {
        Array("SUB room.\(room) 1\r\n".utf8)
    }
}
