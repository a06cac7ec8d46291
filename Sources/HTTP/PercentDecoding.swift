/// Percent-decoding of path segments and query values (RFC 3986 §2.1), strictly: a broken escape,
/// bytes that are not UTF-8, or a NUL give nothing, so that no two parts of the program can read
/// the same URL differently.
public enum PercentDecoding {
    /// One path segment, between two slashes. A slash that was encoded stays inside it.
    public static func segment(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String? {
        decode(bytes, range, plusIsSpace: false)
    }

    /// One key or value of a query, where `+` stands for a space (WHATWG URL, urlencoded parsing).
    public static func queryValue(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String? {
        decode(bytes, range, plusIsSpace: true)
    }

    private static func decode(
        _ bytes: Span<UInt8>, _ range: Range<Int>, plusIsSpace: Bool
    ) -> String? {
        if isPlain(bytes, range) {
            return unsafe bytes.extracting(range).withUnsafeBufferPointer {
                unsafe String(decoding: $0, as: UTF8.self)
            }
        }
        var output: [UInt8] = []
        output.reserveCapacity(range.count)
        var index = range.lowerBound
        while index < range.upperBound {
            guard
                let byte = next(bytes, &index, range.upperBound, plusIsSpace: plusIsSpace),
                byte != 0
            else { return nil }
            output.append(byte)
        }
        return String(validating: output, as: UTF8.self)
    }

    /// ASCII that stands for itself, as in nearly all URLs.
    private static func isPlain(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for index in range {
            let byte = bytes[index]
            guard byte != 0, byte < 0x80, byte != UInt8(ascii: "%"), byte != UInt8(ascii: "+")
            else { return false }
        }
        return true
    }

    /// The next decoded byte; nil for a broken escape.
    static func next(
        _ bytes: Span<UInt8>, _ index: inout Int, _ end: Int, plusIsSpace: Bool
    ) -> UInt8? {
        let byte = bytes[index]
        if byte == UInt8(ascii: "+") && plusIsSpace {
            index += 1
            return ASCII.space
        }
        guard byte == UInt8(ascii: "%") else {
            index += 1
            return byte
        }
        guard end - index >= 3, let high = ASCII.hexValue(bytes[index + 1]),
            let low = ASCII.hexValue(bytes[index + 2])
        else { return nil }
        index += 3
        return high << 4 | low
    }
}

/// Look-up in a query: `key=value` pairs with `&` between them.
public enum QueryString {
    /// What a query says about one key.
    public enum Lookup: Hashable, Sendable {
        case absent
        case value(String)
        /// The key comes twice, or its value does not decode: a 400, never a guess.
        case malformed

        /// The value; nil where there is none that can be read.
        public var text: String? {
            guard case .value(let text) = self else { return nil }
            return text
        }
    }

    /// The decoded value of `key`. A key without `=` has the empty value.
    ///
    /// - Parameters:
    ///   - key: as it is when decoded.
    ///   - query: `RequestHead.query`; nil is an empty query.
    public static func value(
        of key: StaticString, in bytes: Span<UInt8>, query: Range<Int>?
    ) -> Lookup {
        lookUp(key, bytes, query, repeats: false)
    }

    /// The same for protocols whose clients add keys of their own: of several the last counts.
    public static func lastValue(
        of key: StaticString, in bytes: Span<UInt8>, query: Range<Int>?
    ) -> Lookup {
        lookUp(key, bytes, query, repeats: true)
    }

    private static func lookUp(
        _ key: StaticString, _ bytes: Span<UInt8>, _ query: Range<Int>?, repeats: Bool
    ) -> Lookup {
        guard let query else { return .absent }
        var found: Range<Int>?
        var start = query.lowerBound
        while start < query.upperBound {
            var end = start
            var equals: Int?
            while end < query.upperBound && bytes[end] != UInt8(ascii: "&") {
                if equals == nil && bytes[end] == UInt8(ascii: "=") { equals = end }
                end += 1
            }
            if spells(key, bytes, start..<(equals ?? end)) {
                guard found == nil || repeats else { return .malformed }
                found = equals.map { ($0 + 1)..<end } ?? end..<end
            }
            start = end + 1
        }
        guard let found else { return .absent }
        guard let text = PercentDecoding.queryValue(bytes, found) else { return .malformed }
        return .value(text)
    }

    /// Whether `range`, decoded, is `key`.
    private static func spells(
        _ key: StaticString, _ bytes: Span<UInt8>, _ range: Range<Int>
    ) -> Bool {
        // A StaticString's bytes live as long as the program; `position` stays below its count.
        let expected = unsafe key.utf8Start
        var position = 0
        var index = range.lowerBound
        while index < range.upperBound {
            guard position < key.utf8CodeUnitCount,
                let byte = PercentDecoding.next(
                    bytes, &index, range.upperBound, plusIsSpace: true),
                unsafe byte == expected[position]
            else { return false }
            position += 1
        }
        return position == key.utf8CodeUnitCount
    }
}
