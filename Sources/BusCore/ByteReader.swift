import Domain

/// Reads the fields of a payload that may be anything, front to back. Each read checks that the
/// bytes are there and answers nil where they are not; nothing traps.
package struct ByteReader {
    private let bytes: [UInt8]
    private var position = 0

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package var isAtEnd: Bool { position == bytes.count }

    package mutating func byte() -> UInt8? {
        guard position < bytes.count else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    /// Big-endian, of the integer's own width.
    package mutating func integer<Integer: FixedWidthInteger>(_: Integer.Type) -> Integer? {
        let width = Integer.bitWidth / 8
        guard bytes.count - position >= width else { return nil }
        var value: Integer = 0
        for byte in bytes[position..<(position + width)] {
            value = value << 8 | Integer(truncatingIfNeeded: byte)
        }
        position += width
        return value
    }

    mutating func seq(from lowest: Seq) -> Seq? {
        guard let seq = integer(Seq.self), (lowest...PublicationCodec.maximumSeq).contains(seq)
        else { return nil }
        return seq
    }

    /// One byte of length and as many of UTF-8.
    package mutating func shortText() -> String? {
        guard let count = byte(), bytes.count - position >= Int(count) else { return nil }
        defer { position += Int(count) }
        return String(validating: bytes[position..<(position + Int(count))], as: UTF8.self)
    }

    package mutating func chat() -> ChatID? { shortText().flatMap(ChatID.init) }
    package mutating func user() -> UserID? { shortText().flatMap(UserID.init) }
    mutating func device() -> DeviceID? { shortText().flatMap(DeviceID.init) }
    mutating func message() -> MessageID? { shortText().flatMap(MessageID.init) }

    /// Four bytes of length and as many of UTF-8; nil as well where there are more than `maximum`.
    mutating func longText(maximum: Int) -> [UInt8]? {
        guard let count = integer(UInt32.self), count <= maximum,
            bytes.count - position >= Int(count)
        else { return nil }
        let text = Array(bytes[position..<(position + Int(count))])
        guard (try? UTF8Span(validating: text.span)) != nil else { return nil }
        position += Int(count)
        return text
    }
}

extension [UInt8] {
    /// Big-endian.
    package mutating func append(integer: some FixedWidthInteger) {
        for shift in stride(from: type(of: integer).bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: integer >> shift))
        }
    }

    /// - Precondition: at most 255 bytes.
    package mutating func append(shortText text: String) {
        append(UInt8(text.utf8.count))
        append(contentsOf: text.utf8)
    }

    mutating func append(longText text: [UInt8]) {
        append(integer: UInt32(text.count))
        append(contentsOf: text)
    }
}
