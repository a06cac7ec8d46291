/// Appends JSON to a byte buffer: compact, members in the order they are written, commas by itself.
///
///     var writer = JSONWriter(capacity: 256)
///     writer.beginObject()
///     writer.key("type"); writer.string("ack")
///     writer.key("id"); writer.integer(17)
///     writer.endObject()
///     send(writer.bytes)
///
/// Whatever bytes it is given, the output is valid JSON in valid UTF-8: strings are escaped as
/// little as RFC 8259 §7 allows, and bytes that are not UTF-8 become U+FFFD. Calling in a wrong
/// order (a value without its key) is a programmer error that it does not look for.
package struct JSONWriter: Sendable {
    /// The output. Callers may put their own prefix before the document (a Socket.IO packet type).
    package var bytes: [UInt8]

    private var needsComma = false

    package init(capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    /// Goes on behind `prefix`, without a comma.
    package init(appendingTo prefix: consuming [UInt8]) {
        bytes = prefix
    }

    /// Empties the buffer and keeps its memory, for the next document.
    package mutating func reset() {
        bytes.removeAll(keepingCapacity: true)
        needsComma = false
    }

    // MARK: Structure

    package mutating func beginObject() { begin(UInt8(ascii: "{")) }
    package mutating func endObject() { end(UInt8(ascii: "}")) }
    package mutating func beginArray() { begin(UInt8(ascii: "[")) }
    package mutating func endArray() { end(UInt8(ascii: "]")) }

    /// A name known when the program is written.
    package mutating func key(_ name: StaticString) {
        let utf8 = unsafe UnsafeBufferPointer(
            start: name.utf8Start, count: name.utf8CodeUnitCount)
        unsafe key(utf8: utf8.span)
    }

    /// Any name. It has a label because a literal would otherwise become a `String` first.
    package mutating func key(named name: String) { key(utf8: name.utf8.span) }

    package mutating func key(utf8 name: borrowing Span<UInt8>) {
        append(quoting: name, isKey: true)
        needsComma = false
    }

    // MARK: Values

    package mutating func string(_ value: String) { string(utf8: value.utf8.span) }

    /// A string known when the program is written: `string(_:)` without making a `String`.
    package mutating func string(literal value: StaticString) {
        let utf8 = unsafe UnsafeBufferPointer(
            start: value.utf8Start, count: value.utf8CodeUnitCount)
        unsafe string(utf8: utf8.span)
    }

    package mutating func string(_ utf8: [UInt8]) { string(utf8: utf8.span) }

    package mutating func string(utf8 value: borrowing Span<UInt8>) {
        append(quoting: value, isKey: false)
        needsComma = true
    }

    package mutating func integer(_ value: Int) { integer(Int64(value)) }

    package mutating func integer(_ value: Int64) {
        separate()
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        append(decimal: value.magnitude)
    }

    package mutating func integer(_ value: UInt64) {
        separate()
        append(decimal: value)
    }

    /// The shortest text that reads back as the same `Double`; `null` for infinities and NaN, which
    /// JSON does not have.
    package mutating func double(_ value: Double) {
        guard value.isFinite else { return null() }
        separate()
        bytes.append(contentsOf: value.description.utf8)
    }

    package mutating func bool(_ value: Bool) {
        separate()
        bytes.append(copying: value ? "true" : "false")
    }

    package mutating func null() {
        separate()
        bytes.append(copying: "null")
    }

    /// An RFC 3339 string in UTC with milliseconds; see `JSONTimestamp`.
    package mutating func timestamp(milliseconds: Int64) {
        separate()
        bytes.append(JSONScanner.quote)
        JSONTimestamp.append(milliseconds: milliseconds, to: &bytes)
        bytes.append(JSONScanner.quote)
    }

    /// A value that is JSON already, such as one just read. It is copied unseen.
    package mutating func raw(_ json: borrowing Span<UInt8>) {
        separate()
        bytes.append(copying: json, 0..<json.count)
    }

    package mutating func raw(_ json: [UInt8]) { raw(json.span) }

    // MARK: Helpers

    @inline(__always)
    private mutating func begin(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
    }

    @inline(__always)
    private mutating func end(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    @inline(__always)
    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    /// A comma if one is due, the string in quotes, a colon behind a key. A string that needs no
    /// escape is one reservation and one copy.
    private mutating func append(quoting text: borrowing Span<UInt8>, isKey: Bool) {
        let count = text.count
        guard JSONScanner.cleanRunEnd(text, from: 0) == count else {
            separate()
            append(escaping: text)
            if isKey { bytes.append(UInt8(ascii: ":")) }
            return
        }
        let comma = needsComma
        unsafe text.withUnsafeBufferPointer { text in
            bytes.append(addingCapacity: count &+ 4) { output in
                if comma { output.append(UInt8(ascii: ",")) }
                output.append(JSONScanner.quote)
                // Within the capacity asked for above; an empty span may have no address.
                unsafe output.withUnsafeMutableBufferPointer { buffer, initializedCount in
                    guard let target = buffer.baseAddress, let source = text.baseAddress else {
                        return
                    }
                    unsafe (target + initializedCount).initialize(from: source, count: count)
                    initializedCount += count
                }
                output.append(JSONScanner.quote)
                if isKey { output.append(UInt8(ascii: ":")) }
            }
        }
    }

    /// The general case: copies clean runs at once and looks only at the bytes between them.
    @inline(never)
    private mutating func append(escaping text: borrowing Span<UInt8>) {
        bytes.append(JSONScanner.quote)
        var position = 0
        while position < text.count {
            let end = JSONScanner.cleanRunEnd(text, from: position)
            bytes.append(copying: text, position..<end)
            position = end
            guard position < text.count else { break }
            let byte = text[position]
            if byte < 0x80 {
                append(escape: byte)
                position &+= 1
            } else {
                position = append(multiByte: text, from: position)
            }
        }
        bytes.append(JSONScanner.quote)
    }

    /// Copies characters beyond ASCII, and returns where the next one below stands.
    private mutating func append(multiByte text: borrowing Span<UInt8>, from start: Int) -> Int {
        var position = start
        while position < text.count, text[position] >= 0x80 {
            let length = JSONScanner.utf8SequenceLength(text, at: position)
            if length > 0 {
                position &+= length
                continue
            }
            break
        }
        bytes.append(copying: text, start..<position)
        if position < text.count, text[position] >= 0x80 {
            JSONScanner.appendUTF8(0xFFFD, to: &bytes)
            position &+= 1
        }
        return position
    }

    private mutating func append(escape byte: UInt8) {
        bytes.append(JSONScanner.backslash)
        switch byte {
        case JSONScanner.quote, JSONScanner.backslash: bytes.append(byte)
        case 0x08: bytes.append(UInt8(ascii: "b"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0C: bytes.append(UInt8(ascii: "f"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        default:
            bytes.append(copying: byte < 0x10 ? "u000" : "u001")
            let digit = byte & 0x0F
            bytes.append(digit < 10 ? UInt8(ascii: "0") &+ digit : UInt8(ascii: "a") &+ digit &- 10)
        }
    }

    private mutating func append(decimal value: UInt64) {
        // 2^64 - 1 has 20 digits.
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var first = 20
        var rest = value
        repeat {
            first &-= 1
            digits[first] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        bytes.append(copying: digits.span, first..<20)
    }
}
