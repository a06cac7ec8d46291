/// Checks that bytes are UTF-8 as they arrive, in pieces cut anywhere (RFC 3629, Unicode 3.9
/// table 3-7).
///
/// It says no at the first byte after which no valid text is possible: a surrogate (ED A0…), an
/// overlong form (C0, C1, E0 80…, F0 80…), anything above U+10FFFF (F4 90…, F5…), a stray or
/// missing continuation byte. Three bytes of state, so it can live in every connection.
public struct UTF8Validator: Sendable {
    /// Continuation bytes that the open character still needs.
    private var missing: UInt8 = 0
    /// The bounds of the next of them. Only the first one has bounds narrower than 80–BF, which
    /// is what excludes overlong forms, surrogates and values above U+10FFFF.
    private var lowest: UInt8 = 0x80
    private var highest: UInt8 = 0xBF

    public init() {}

    /// Whether the bytes so far end with a whole character. An empty text is complete; after a
    /// failure this stays false.
    public var isComplete: Bool { missing == 0 }

    /// Takes the next bytes of the text.
    ///
    /// - Returns: false when the text cannot become valid any more; every later call is false too.
    public mutating func feed(_ bytes: Span<UInt8>) -> Bool {
        feed(bytes, in: 0..<bytes.count)
    }

    /// Takes `range` of `bytes` as the next bytes of the text.
    public mutating func feed(_ bytes: Span<UInt8>, in range: Range<Int>) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
        var index = range.lowerBound
        let end = range.upperBound
        while true {
            // Finish the open character, if there is one.
            while missing != 0 {
                guard index < end else { return true }
                let byte = bytes[index]
                guard byte >= lowest && byte <= highest else { return fail() }
                index &+= 1
                missing &-= 1
                lowest = 0x80
                highest = 0xBF
            }
            index = Self.skipASCII(bytes, from: index, to: end)
            guard index < end else { return true }
            guard open(lead: bytes[index]) else { return fail() }
            index &+= 1
        }
    }

    /// Whether the whole of `bytes` is valid UTF-8.
    public static func isValid(_ bytes: Span<UInt8>) -> Bool {
        isValid(bytes, in: 0..<bytes.count)
    }

    /// Whether `range` of `bytes` is valid UTF-8 by itself.
    public static func isValid(_ bytes: Span<UInt8>, in range: Range<Int>) -> Bool {
        var validator = UTF8Validator()
        return validator.feed(bytes, in: range) && validator.isComplete
    }

    /// The index of the first byte from `start` that is not ASCII, or `end`.
    @inline(__always)
    private static func skipASCII(_ bytes: Span<UInt8>, from start: Int, to end: Int) -> Int {
        let raw = unsafe bytes.bytes
        var index = start
        while end &- index >= 8 {
            // In bounds: `feed` checked that the range is inside the span.
            let word = unsafe raw.unsafeLoadUnaligned(
                fromUncheckedByteOffset: index, as: UInt64.self)
            let high = UInt64(littleEndian: word) & 0x8080_8080_8080_8080
            if high != 0 { return index &+ high.trailingZeroBitCount &>> 3 }
            index &+= 8
        }
        while index < end && bytes[index] < 0x80 { index &+= 1 }
        return index
    }

    /// Notes what must follow a lead byte; false when the byte can lead nothing.
    @inline(__always)
    private mutating func open(lead: UInt8) -> Bool {
        switch lead {
        case 0xC2...0xDF:
            missing = 1
        case 0xE0...0xEF:
            missing = 2
            if lead == 0xE0 { lowest = 0xA0 }
            if lead == 0xED { highest = 0x9F }
        case 0xF0...0xF4:
            missing = 3
            if lead == 0xF0 { lowest = 0x90 }
            if lead == 0xF4 { highest = 0x8F }
        default:
            return false
        }
        return true
    }

    /// Enters a state that no byte leaves: one is missing and its bounds are empty.
    private mutating func fail() -> Bool {
        missing = 1
        lowest = 0xFF
        highest = 0x00
        return false
    }
}
