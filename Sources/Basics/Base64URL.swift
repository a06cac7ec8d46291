/// base64url without padding, as RFC 7515 §2 has it.
///
/// Strict: any other character (padding and white space too), an impossible length, and unused low
/// bits that are not zero are refused, so that bytes have exactly one encoding. Otherwise the
/// last character of a signature could be changed and the token would still verify.
package enum Base64URL {
    private static let alphabet: [UInt8] = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// Six bits for each byte; 0x80 for what is not in the alphabet.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0x80, count: 256)
        for (value, byte) in alphabet.enumerated() { values[Int(byte)] = UInt8(value) }
        return values
    }()

    /// Appends the encoded form of `bytes`.
    package static func encode(_ bytes: borrowing Span<UInt8>, to output: inout [UInt8]) {
        let alphabet = Self.alphabet
        output.reserveCapacity(output.count + (bytes.count * 4 + 2) / 3)
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for index in bytes.indices {
            buffer = buffer &<< 8 | UInt32(bytes[index])
            bits += 8
            while bits >= 6 {
                bits -= 6
                output.append(alphabet[Int(buffer &>> bits & 0x3F)])
            }
        }
        if bits > 0 { output.append(alphabet[Int(buffer &<< (6 - bits) & 0x3F)]) }
    }

    package static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        encode(bytes.span, to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    /// Appends the decoded form of `range` of `text`. False if it is not base64url; what was
    /// appended until then is then meaningless.
    package static func decode(
        _ text: borrowing Span<UInt8>, _ range: Range<Int>, to output: inout [UInt8]
    ) -> Bool {
        guard range.count % 4 != 1 else { return false }
        let values = Self.values
        output.reserveCapacity(output.count + range.count * 3 / 4)
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for index in range {
            let value = values[Int(text[index])]
            guard value < 0x40 else { return false }
            buffer = buffer &<< 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                output.append(UInt8(truncatingIfNeeded: buffer &>> bits))
            }
        }
        return buffer & (1 &<< bits &- 1) == 0
    }

    package static func decode(_ text: String) -> [UInt8]? {
        var output: [UInt8] = []
        let utf8 = text.utf8.span
        return decode(utf8, 0..<utf8.count, to: &output) ? output : nil
    }
}
