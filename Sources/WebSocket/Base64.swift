/// Base64 with padding (RFC 4648 §4), as the handshake's two keys use it.
public enum Base64 {
    /// The text of `bytes`: four characters for each three bytes begun.
    public static func encode(_ bytes: Span<UInt8>) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let length = min(3, bytes.count - index)
            var group: UInt32 = 0
            for position in 0..<3 {
                group = group << 8 | (position < length ? UInt32(bytes[index + position]) : 0)
            }
            for position in 0..<4 {
                let digit = Int(group >> UInt32(18 - 6 * position) & 0x3F)
                // The alphabet has 64 characters, and lives as long as the program.
                output.append(
                    position <= length ? unsafe alphabet.utf8Start[digit] : UInt8(ascii: "="))
            }
            index += 3
        }
        return output
    }

    /// The bytes of a text, or nil when it is not exactly what `encode` gives for some bytes: other
    /// characters, wrong or missing padding, stray bits before the padding (RFC 4648 §3.5).
    public static func decode(_ text: Span<UInt8>) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        if text.isEmpty { return [] }
        var padding = 0
        while padding < 2 && text[text.count - 1 - padding] == UInt8(ascii: "=") { padding += 1 }
        var output: [UInt8] = []
        output.reserveCapacity(text.count / 4 * 3)
        var bits: UInt32 = 0
        var bitCount: UInt32 = 0
        for index in 0..<(text.count - padding) {
            guard let digit = digit(of: text[index]) else { return nil }
            bits = bits << 6 | UInt32(digit)
            bitCount += 6
            if bitCount >= 8 {
                bitCount -= 8
                output.append(UInt8(truncatingIfNeeded: bits >> bitCount))
                bits &= (1 << bitCount) - 1
            }
        }
        return bits == 0 ? output : nil
    }

    /// The value 0–63 of a character of the alphabet.
    static func digit(of character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }

    private static let alphabet: StaticString =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
}
