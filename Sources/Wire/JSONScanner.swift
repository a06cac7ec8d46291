/// The lexical half of RFC 8259: strings, numbers, literals and white space, as pure functions
/// over the source that return where the token ends. `JSONReader` is the grammar half.
///
/// The common case, a run of printable ASCII inside a string, is scanned eight bytes at a time.
enum JSONScanner {
    static let quote = UInt8(ascii: "\"")
    static let backslash = UInt8(ascii: "\\")

    /// Where a string ends and how long it is once its escapes are decoded.
    struct StringExtent {
        /// Index of the closing quote.
        var end: Int
        /// UTF-8 bytes after decoding. Every escape is longer than what it stands for, so this
        /// equals the source length exactly when the string holds no escape.
        var decodedCount: Int
    }

    /// One decoded escape sequence.
    struct Escape {
        /// Source bytes, backslash included: 2, 6, or 12 for a surrogate pair.
        var length: Int
        /// The Unicode scalar value; never a surrogate.
        var scalar: UInt32
    }

    // MARK: White space

    /// The first index at or after `start` that is not JSON white space (RFC 8259 §2).
    @inline(__always)
    static func skipWhitespace(_ source: borrowing Span<UInt8>, from start: Int) -> Int {
        // Nothing above 0x20 is white space, and a compact document has none at all.
        if start < source.count, source[start] > 0x20 { return start }
        return skipManyWhitespace(source, from: start)
    }

    @inline(never)
    private static func skipManyWhitespace(
        _ source: borrowing Span<UInt8>, from start: Int
    ) -> Int {
        var position = start
        while position < source.count {
            let byte = source[position]
            guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { break }
            position &+= 1
        }
        return position
    }

    // MARK: Strings

    /// Validates the string whose opening quote stands before `start`.
    @inline(__always)
    static func string(
        _ source: borrowing Span<UInt8>, from start: Int
    ) throws(JSONError) -> StringExtent {
        let end = cleanRunEnd(source, from: start)
        if end < source.count, source[end] == quote {
            return StringExtent(end: end, decodedCount: end &- start)
        }
        return try longString(source, from: start, resumeAt: end)
    }

    /// The general case: escapes and characters beyond ASCII.
    @inline(never)
    private static func longString(
        _ source: borrowing Span<UInt8>, from start: Int, resumeAt resume: Int
    ) throws(JSONError) -> StringExtent {
        var position = resume
        var saved = 0
        while true {
            guard position < source.count else {
                throw JSONError(.unexpectedEnd, at: source.count)
            }
            let byte = source[position]
            if byte == quote {
                return StringExtent(end: position, decodedCount: position &- start &- saved)
            } else if byte == backslash {
                let escape = try escape(source, at: position)
                saved &+= escape.length &- utf8Width(escape.scalar)
                position &+= escape.length
            } else if byte >= 0x80 {
                let length = utf8SequenceLength(source, at: position)
                guard length > 0 else { throw JSONError(.invalidUTF8, at: position) }
                position &+= length
                // Most scripts stay beyond ASCII for a while; a word scan would find nothing.
                if position < source.count, source[position] >= 0x80 { continue }
            } else if byte < 0x20 {
                throw JSONError(.controlCharacter, at: position)
            }
            position = cleanRunEnd(source, from: position)
        }
    }

    /// The first index at or after `start` whose byte is a quote, a backslash, a control character
    /// or beyond ASCII; `source.count` if there is none.
    @inline(__always)
    static func cleanRunEnd(_ source: borrowing Span<UInt8>, from start: Int) -> Int {
        let words = unsafe source.bytes
        let count = source.count
        var position = start
        // The calls check their bounds themselves; they are unsafe only for non-trivial types.
        while position &+ 16 <= count {
            let first = unsafe UInt64(
                littleEndian: words.unsafeLoadUnaligned(fromByteOffset: position, as: UInt64.self))
            let second = unsafe UInt64(
                littleEndian: words.unsafeLoadUnaligned(
                    fromByteOffset: position &+ 8, as: UInt64.self))
            let marks = specialMarks(first)
            if marks != 0 { return position &+ (marks.trailingZeroBitCount &>> 3) }
            let moreMarks = specialMarks(second)
            if moreMarks != 0 { return position &+ 8 &+ (moreMarks.trailingZeroBitCount &>> 3) }
            position &+= 16
        }
        if position &+ 8 <= count {
            let word = unsafe UInt64(
                littleEndian: words.unsafeLoadUnaligned(fromByteOffset: position, as: UInt64.self))
            let marks = specialMarks(word)
            if marks != 0 { return position &+ (marks.trailingZeroBitCount &>> 3) }
            position &+= 8
        }
        while position < count {
            let byte = source[position]
            if byte == quote || byte == backslash || byte < 0x20 || byte >= 0x80 { break }
            position &+= 1
        }
        return position
    }

    /// Sets the top bit of every byte that ends a clean run. A borrow may mark bytes above the
    /// first true one as well, so only the lowest mark counts ("Bit Twiddling Hacks", haszero; its
    /// `& ~x` is not needed, since a byte with its top bit set ends the run anyway).
    @inline(__always)
    private static func specialMarks(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quotes = (word ^ 0x2222_2222_2222_2222) &- ones
        let backslashes = (word ^ 0x5C5C_5C5C_5C5C_5C5C) &- ones
        let controls = word &- 0x2020_2020_2020_2020
        return (word | quotes | backslashes | controls) & 0x8080_8080_8080_8080
    }

    /// Whether the bytes of `range` are all from 0x20 to 0x7E. The fast twin of looking at each.
    static func isPrintableASCII(_ source: borrowing Span<UInt8>, _ range: Range<Int>) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= source.count)
        let words = unsafe source.bytes
        var position = range.lowerBound
        // A borrow may mark bytes above the first true one as well: any mark is a no all the same,
        // for there is one only where one is true.
        var marks: UInt64 = 0
        while position &+ 8 <= range.upperBound {
            let word = unsafe words.unsafeLoadUnaligned(
                fromByteOffset: position, as: UInt64.self)
            let deletes = (word ^ 0x7F7F_7F7F_7F7F_7F7F) &- 0x0101_0101_0101_0101
            marks |= word | deletes | (word &- 0x2020_2020_2020_2020)
            position &+= 8
        }
        guard marks & 0x8080_8080_8080_8080 == 0 else { return false }
        while position < range.upperBound {
            guard (0x20..<0x7F).contains(source[position]) else { return false }
            position &+= 1
        }
        return true
    }

    /// Decodes the escape whose backslash is at `position`. A lone surrogate is refused: it has no
    /// UTF-8 form, and replacing it would change what a client signed or encrypted.
    static func escape(
        _ source: borrowing Span<UInt8>, at position: Int
    ) throws(JSONError) -> Escape {
        guard position &+ 1 < source.count else {
            throw JSONError(.unexpectedEnd, at: source.count)
        }
        switch source[position &+ 1] {
        case UInt8(ascii: "\""): return Escape(length: 2, scalar: 0x22)
        case UInt8(ascii: "\\"): return Escape(length: 2, scalar: 0x5C)
        case UInt8(ascii: "/"): return Escape(length: 2, scalar: 0x2F)
        case UInt8(ascii: "b"): return Escape(length: 2, scalar: 0x08)
        case UInt8(ascii: "f"): return Escape(length: 2, scalar: 0x0C)
        case UInt8(ascii: "n"): return Escape(length: 2, scalar: 0x0A)
        case UInt8(ascii: "r"): return Escape(length: 2, scalar: 0x0D)
        case UInt8(ascii: "t"): return Escape(length: 2, scalar: 0x09)
        case UInt8(ascii: "u"): break
        default: throw JSONError(.badEscape, at: position)
        }
        let first = try hexadecimal(source, escapeAt: position)
        if first < 0xD800 || first > 0xDFFF { return Escape(length: 6, scalar: first) }
        guard first < 0xDC00, position &+ 7 < source.count, source[position &+ 6] == backslash,
            source[position &+ 7] == UInt8(ascii: "u")
        else { throw JSONError(.loneSurrogate, at: position) }
        let second = try hexadecimal(source, escapeAt: position &+ 6)
        guard second >= 0xDC00, second <= 0xDFFF else {
            throw JSONError(.loneSurrogate, at: position)
        }
        return Escape(
            length: 12, scalar: 0x10000 &+ ((first &- 0xD800) &<< 10 | (second &- 0xDC00)))
    }

    /// The value of `\uXXXX` whose backslash is at `position`.
    private static func hexadecimal(
        _ source: borrowing Span<UInt8>, escapeAt position: Int
    ) throws(JSONError) -> UInt32 {
        guard position &+ 6 <= source.count else {
            throw JSONError(.unexpectedEnd, at: source.count)
        }
        var value: UInt32 = 0
        for index in position &+ 2..<position &+ 6 {
            let byte = source[index]
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte &- UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte &- UInt8(ascii: "a") &+ 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte &- UInt8(ascii: "A") &+ 10
            default: throw JSONError(.badEscape, at: position)
            }
            value = value &<< 4 | UInt32(digit)
        }
        return value
    }

    // MARK: UTF-8

    /// The length (2–4) of the well-formed multi-byte sequence at `position`, or 0 if it is not
    /// one: overlong, a surrogate, above U+10FFFF, cut off (Unicode 15, table 3-7).
    static func utf8SequenceLength(_ source: borrowing Span<UInt8>, at position: Int) -> Int {
        let lead = source[position]
        let available = source.count &- position
        guard available >= 2 else { return 0 }
        let second = source[position &+ 1]
        switch lead {
        case 0xC2...0xDF:
            return second & 0xC0 == 0x80 ? 2 : 0
        case 0xE0...0xEF:
            guard available >= 3, source[position &+ 2] & 0xC0 == 0x80 else { return 0 }
            let lowest: UInt8 = lead == 0xE0 ? 0xA0 : 0x80
            let highest: UInt8 = lead == 0xED ? 0x9F : 0xBF
            return second >= lowest && second <= highest ? 3 : 0
        case 0xF0...0xF4:
            guard available >= 4, source[position &+ 2] & 0xC0 == 0x80,
                source[position &+ 3] & 0xC0 == 0x80
            else { return 0 }
            let lowest: UInt8 = lead == 0xF0 ? 0x90 : 0x80
            let highest: UInt8 = lead == 0xF4 ? 0x8F : 0xBF
            return second >= lowest && second <= highest ? 4 : 0
        default:
            return 0
        }
    }

    /// Bytes that `scalar` takes in UTF-8.
    static func utf8Width(_ scalar: UInt32) -> Int {
        scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4
    }

    /// Appends `scalar`, which is not a surrogate, as UTF-8.
    static func appendUTF8(_ scalar: UInt32, to output: inout [UInt8]) {
        switch utf8Width(scalar) {
        case 1:
            output.append(UInt8(truncatingIfNeeded: scalar))
        case 2:
            output.append(0xC0 | UInt8(truncatingIfNeeded: scalar &>> 6))
            output.append(continuation(scalar))
        case 3:
            output.append(0xE0 | UInt8(truncatingIfNeeded: scalar &>> 12))
            output.append(continuation(scalar &>> 6))
            output.append(continuation(scalar))
        default:
            output.append(0xF0 | UInt8(truncatingIfNeeded: scalar &>> 18))
            output.append(continuation(scalar &>> 12))
            output.append(continuation(scalar &>> 6))
            output.append(continuation(scalar))
        }
    }

    private static func continuation(_ bits: UInt32) -> UInt8 {
        0x80 | UInt8(truncatingIfNeeded: bits & 0x3F)
    }

    // MARK: Decoding

    /// Appends the decoded form of a string that `string(_:from:)` has accepted.
    static func decode(
        _ source: borrowing Span<UInt8>, _ range: Range<Int>, into output: inout [UInt8]
    ) {
        var position = range.lowerBound
        while position < range.upperBound {
            var runEnd = position
            while runEnd < range.upperBound, source[runEnd] != backslash { runEnd &+= 1 }
            output.append(copying: source, position..<runEnd)
            position = runEnd
            guard position < range.upperBound else { return }
            guard let escape = try? escape(source, at: position) else {
                preconditionFailure("the span is not the one this document was parsed from")
            }
            appendUTF8(escape.scalar, to: &output)
            position &+= escape.length
        }
    }

    // MARK: Numbers and literals

    /// Validates the number at `start` (RFC 8259 §6) and says whether it is written as an integer.
    @inline(__always)
    static func number(
        _ source: borrowing Span<UInt8>, from start: Int
    ) throws(JSONError) -> (end: Int, isInteger: Bool) {
        var position = start
        if source[position] == UInt8(ascii: "-") { position &+= 1 }
        guard position < source.count else { throw JSONError(.unexpectedEnd, at: source.count) }
        if source[position] == UInt8(ascii: "0") {
            position &+= 1
            if position < source.count, isDigit(source[position]) {
                throw JSONError(.badNumber, at: position)
            }
        } else {
            position = try digits(source, from: position)
        }
        guard position < source.count else { return (position, true) }
        let byte = source[position]
        guard byte == UInt8(ascii: ".") || byte | 0x20 == UInt8(ascii: "e") else {
            return (position, true)
        }
        return (try fractionAndExponent(source, from: position), false)
    }

    @inline(never)
    private static func fractionAndExponent(
        _ source: borrowing Span<UInt8>, from start: Int
    ) throws(JSONError) -> Int {
        var position = start
        if source[position] == UInt8(ascii: ".") {
            position = try digits(source, from: position &+ 1)
        }
        guard position < source.count, source[position] | 0x20 == UInt8(ascii: "e") else {
            return position
        }
        position &+= 1
        if position < source.count {
            let sign = source[position]
            if sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { position &+= 1 }
        }
        return try digits(source, from: position)
    }

    /// At least one digit.
    @inline(__always)
    private static func digits(
        _ source: borrowing Span<UInt8>, from start: Int
    ) throws(JSONError) -> Int {
        var position = start
        while position < source.count, isDigit(source[position]) { position &+= 1 }
        guard position > start else {
            throw JSONError(start < source.count ? .badNumber : .unexpectedEnd, at: start)
        }
        return position
    }

    @inline(__always)
    static func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

    /// The index after `word`, which must stand at `start`.
    static func literal(
        _ word: StaticString, _ source: borrowing Span<UInt8>, from start: Int
    ) throws(JSONError) -> Int {
        let end = start &+ word.utf8CodeUnitCount
        guard end <= source.count, source.equals(word, in: start..<end) else {
            throw JSONError(.badLiteral, at: start)
        }
        return end
    }
}
