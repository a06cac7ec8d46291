/// The payload of a close frame: nothing, or a code in two bytes and a reason in UTF-8
/// (RFC 6455 §5.5.1).
public enum CloseFrame {
    /// The most bytes of a reason: 125 of a control frame, two for the code.
    public static let longestReason = 123

    /// Appends a server's close frame. A longer reason than fits is cut before the character that
    /// would not fit.
    public static func append(code: CloseCode, reason: String = "", into output: inout [UInt8]) {
        precondition(code.isValidOnWire, "this close code must not be sent")
        var length = 0
        for character in reason.unicodeScalars {
            let width = UTF8.width(character)
            guard length + width <= longestReason else { break }
            length += width
        }
        FrameHeader.encode(opcode: .close, length: 2 + length, into: &output)
        output.append(UInt8(code.rawValue >> 8))
        output.append(UInt8(code.rawValue & 0xFF))
        output.append(contentsOf: reason.utf8.prefix(length))
    }

    /// A close payload that breaks a rule.
    struct Broken: Error {
        var violation: ProtocolViolation
    }

    /// Judges an unmasked close payload; the code is nil when there is none.
    static func check(_ bytes: Span<UInt8>, in range: Range<Int>) -> Result<CloseCode?, Broken> {
        if range.isEmpty { return .success(nil) }
        guard range.count >= 2 else { return .failure(Broken(violation: .truncatedCloseCode)) }
        let first = range.lowerBound
        let code = CloseCode(
            rawValue: UInt16(bytes[first]) << 8 | UInt16(bytes[first + 1]))
        guard code.isValidOnWire else { return .failure(Broken(violation: .invalidCloseCode)) }
        guard UTF8Validator.isValid(bytes, in: first + 2..<range.upperBound) else {
            return .failure(Broken(violation: .invalidCloseReason))
        }
        return .success(code)
    }
}
