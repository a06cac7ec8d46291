/// Byte-level helpers for a text that is ASCII by grammar.
public enum ASCII {
    public static let carriageReturn: UInt8 = 0x0D
    public static let lineFeed: UInt8 = 0x0A
    public static let tab: UInt8 = 0x09
    public static let space: UInt8 = 0x20

    /// `A`–`Z` become `a`–`z`; all else stays.
    @inline(__always)
    public static func lowercased(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    /// A character of a token (RFC 9110 §5.6.2): one bit for each of the 128 ASCII characters.
    @inline(__always)
    public static func isToken(_ byte: UInt8) -> Bool {
        // Bits for ! # $ % & ' * + - . 0-9, then A-Z ^ _ ` a-z | ~.
        let word: UInt64 = byte < 64 ? 0x03FF_6CFA_0000_0000 : 0x57FF_FFFF_C7FF_FFFE
        return byte < 128 && word &>> UInt64(byte & 63) & 1 == 1
    }

    /// The index of the first byte from `start` that is not of a token, or `end`. Letters and
    /// hyphens, nearly all that a header's name has, go eight at a time.
    @inline(__always)
    static func skipToken(_ bytes: Span<UInt8>, from start: Int, to end: Int) -> Int {
        precondition(start >= 0 && end <= bytes.count)
        let raw = unsafe bytes.bytes
        let high: UInt64 = 0x8080_8080_8080_8080
        let low: UInt64 = ~high
        var index = start
        while end &- index >= 8 {
            // In bounds by the precondition and the loop's condition.
            let word = UInt64(
                littleEndian: unsafe raw.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: index, as: UInt64.self))
            // Seven bits of each byte, so that no sum carries into the next one. A byte is a
            // letter where adding 1F sets the top bit (from 61) and adding 05 does not (to 7A).
            let folded = word & low | 0x2020_2020_2020_2020
            let letter =
                (folded &+ 0x1F1F_1F1F_1F1F_1F1F) & ~(folded &+ 0x0505_0505_0505_0505)
            let hyphen = ~((word & low ^ 0x2D2D_2D2D_2D2D_2D2D) &+ low)
            let others = ~(letter | hyphen) & high | word & high
            if others != 0 {
                index &+= others.trailingZeroBitCount &>> 3
                break
            }
            index &+= 8
        }
        while index < end && isToken(bytes[index]) { index &+= 1 }
        return index
    }

    @inline(__always)
    public static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// The value 0–15 of a hexadecimal digit.
    static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Whether `range` of `bytes` spells `lowercase`, in any case of letters.
    ///
    /// - Parameter lowercase: ASCII without capital letters.
    @inline(__always)
    public static func matches(
        _ bytes: Span<UInt8>, _ range: Range<Int>, _ lowercase: StaticString
    ) -> Bool {
        // The length says no to nearly all.
        range.count == lowercase.utf8CodeUnitCount && spells(bytes, range, lowercase)
    }

    /// Eight bytes at a time; `lowercase` is as long as the range.
    @inline(never)
    private static func spells(
        _ bytes: Span<UInt8>, _ range: Range<Int>, _ lowercase: StaticString
    ) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
        let raw = unsafe bytes.bytes
        // A StaticString's bytes live as long as the program; `matches` has compared the count.
        let expected = unsafe UnsafeRawPointer(lowercase.utf8Start)
        var index = 0
        while range.count >= 8 && index < range.count {
            // The last eight may be looked at again in part. In bounds by the precondition and the
            // loop's condition.
            let place = min(index, range.count &- 8)
            let word = unsafe raw.unsafeLoadUnaligned(
                fromUncheckedByteOffset: range.lowerBound &+ place, as: UInt64.self)
            let other = unsafe expected.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard lowercased(word) == other else { return false }
            index &+= 8
        }
        while index < range.count {
            let byte = bytes[range.lowerBound &+ index]
            let other = unsafe expected.load(fromByteOffset: index, as: UInt8.self)
            guard lowercased(byte) == other else { return false }
            index &+= 1
        }
        return true
    }

    /// Eight bytes, each as by `lowercased(_:)`.
    @inline(__always)
    static func lowercased(_ word: UInt64) -> UInt64 {
        let high: UInt64 = 0x8080_8080_8080_8080
        // Seven bits of each byte, so that no sum carries into the next one. A byte is a capital
        // where adding 3F sets the top bit (from 41) and adding 25 does not (to 5A).
        let seven = word & ~high
        let capital =
            (seven &+ 0x3F3F_3F3F_3F3F_3F3F) & ~(seven &+ 0x2525_2525_2525_2525) & ~word & high
        return word | capital &>> 2
    }

    /// `range` without spaces and tabs at its ends (RFC 9110 §5.6.3, OWS).
    public static func trimmed(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end && (bytes[start] == space || bytes[start] == tab) { start &+= 1 }
        while start < end && (bytes[end &- 1] == space || bytes[end &- 1] == tab) { end &-= 1 }
        return start..<end
    }

    /// The index of the first control character (00–1F or 7F) from `start`, or `end`. Eight bytes
    /// at a time; `end` must not be beyond the span.
    @inline(__always)
    static func firstControl(_ bytes: Span<UInt8>, from start: Int, to end: Int) -> Int {
        precondition(start >= 0 && end <= bytes.count)
        let raw = unsafe bytes.bytes
        var index = start
        while end &- index >= 8 {
            // In bounds by the precondition and the loop's condition.
            let word = UInt64(
                littleEndian: unsafe raw.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: index, as: UInt64.self))
            // "Bit Twiddling Hacks", hasless(word, 0x20) and haszero(word ^ 0x7F…): the lowest
            // flag of each is exact, only higher ones may be false.
            let below = (word &- 0x2020_2020_2020_2020) & ~word
            let delete = word ^ 0x7F7F_7F7F_7F7F_7F7F
            let equal = (delete &- 0x0101_0101_0101_0101) & ~delete
            let flags = (below | equal) & 0x8080_8080_8080_8080
            if flags != 0 { return index &+ flags.trailingZeroBitCount &>> 3 }
            index &+= 8
        }
        while index < end && bytes[index] >= 0x20 && bytes[index] != 0x7F { index &+= 1 }
        return index
    }
}
