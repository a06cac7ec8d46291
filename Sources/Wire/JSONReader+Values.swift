// Looking values up in the document that was parsed last. No accessor traps on anything a peer can
// send: asking a value for what it is not gives nil. `source` is always the span that was parsed.

extension JSONReader {
    package func kind(_ node: JSONNode) -> JSONKind { entry(node).kind }

    package func isNull(_ node: JSONNode) -> Bool { entry(node).kind == .null }

    /// Nil if the value is neither `true` nor `false`.
    package func bool(_ node: JSONNode) -> Bool? {
        let entry = entry(node)
        return entry.kind == .boolean ? entry.count == 1 : nil
    }

    /// The value's source text: a string with its quotes, a container with its brackets.
    package func rawRange(_ node: JSONNode) -> Range<Int> {
        let entry = entry(node)
        return entry.kind == .string ? Int(entry.start) - 1..<Int(entry.end) + 1 : entry.range
    }

    // MARK: Numbers

    /// The number, if it is written as an integer (no fraction, no exponent: `1.0` and `1e3` are
    /// not) and an `Int64` holds it. `-0` is 0.
    package func integer(_ node: JSONNode, in source: borrowing Span<UInt8>) -> Int64? {
        let entry = entry(node)
        guard entry.kind == .number, entry.count == 1 else { return nil }
        check(source)
        var position = Int(entry.start)
        let isNegative = source[position] == UInt8(ascii: "-")
        if isNegative { position &+= 1 }
        let end = Int(entry.end)
        // No leading zeros, so more than 19 digits never fit.
        guard end &- position <= 19 else { return nil }
        var magnitude: UInt64 = 0
        while position < end {
            magnitude = magnitude &* 10 &+ UInt64(source[position] &- UInt8(ascii: "0"))
            position &+= 1
        }
        if isNegative {
            guard magnitude <= 1 << 63 else { return nil }
            return Int64(truncatingIfNeeded: 0 &- magnitude)
        }
        return Int64(exactly: magnitude)
    }

    /// The nearest `Double`; nil if the value is no number, beyond the range of `Double` (`1e400`),
    /// or written with more than 1,024 bytes.
    package func double(_ node: JSONNode, in source: borrowing Span<UInt8>) -> Double? {
        let entry = entry(node)
        guard entry.kind == .number, entry.range.count <= 1_024 else { return nil }
        check(source)
        guard let value = Double(Self.decodeUTF8(source, entry.range)), value.isFinite else {
            return nil
        }
        return value
    }

    // MARK: Strings

    /// Nil if the value is no string.
    package func string(_ node: JSONNode, in source: borrowing Span<UInt8>) -> String? {
        let entry = entry(node)
        guard entry.kind == .string else { return nil }
        check(source)
        guard entry.hasEscapes else { return Self.decodeUTF8(source, entry.range) }
        var decoded: [UInt8] = []
        decoded.reserveCapacity(Int(entry.count))
        JSONScanner.decode(source, entry.range, into: &decoded)
        return String(decoding: decoded, as: UTF8.self)
    }

    /// The decoded string as UTF-8; nil if the value is no string.
    package func bytes(_ node: JSONNode, in source: borrowing Span<UInt8>) -> [UInt8]? {
        var decoded: [UInt8] = []
        return appendBytes(node, in: source, to: &decoded) ? decoded : nil
    }

    /// Appends the decoded string as UTF-8 to a buffer of the caller's; false, and nothing
    /// appended, if the value is no string.
    @discardableResult
    package func appendBytes(
        _ node: JSONNode, in source: borrowing Span<UInt8>, to output: inout [UInt8]
    ) -> Bool {
        let entry = entry(node)
        guard entry.kind == .string else { return false }
        check(source)
        if entry.hasEscapes {
            output.reserveCapacity(output.count + Int(entry.count))
            JSONScanner.decode(source, entry.range, into: &output)
        } else {
            output.append(copying: source, entry.range)
        }
        return true
    }

    /// UTF-8 bytes of the decoded string, known without decoding it; nil if the value is no string.
    package func utf8Count(_ node: JSONNode) -> Int? {
        let entry = entry(node)
        return entry.kind == .string ? Int(entry.count) : nil
    }

    /// The source range of a string's contents if it holds no escape, so that those bytes are its
    /// value; nil if it must be decoded or the value is no string.
    package func plainRange(_ node: JSONNode) -> Range<Int>? {
        let entry = entry(node)
        return entry.kind == .string && !entry.hasEscapes ? entry.range : nil
    }

    /// Whether the value is a string that decodes to exactly `text`.
    package func stringEquals(
        _ node: JSONNode, _ text: StaticString, in source: borrowing Span<UInt8>
    ) -> Bool {
        let entry = entry(node)
        guard entry.kind == .string else { return false }
        check(source)
        return Self.name(entry, equals: text, in: source)
    }

    /// The string if it may name a user, chat, topic or device: 1–128 UTF-8 bytes, no
    /// control characters (C0, DEL, C1). Nil otherwise.
    package func identifier(_ node: JSONNode, in source: borrowing Span<UInt8>) -> String? {
        guard let count = utf8Count(node), (1...128).contains(count) else { return nil }
        return text(node, maximumUTF8Count: 128, in: source)
    }

    /// The string if it is at most `maximumUTF8Count` UTF-8 bytes long and holds no control
    /// character (C0, DEL, C1), so that it may stand in a line of a log. Nil otherwise.
    package func text(
        _ node: JSONNode, maximumUTF8Count: Int, in source: borrowing Span<UInt8>
    ) -> String? {
        guard let count = utf8Count(node), count <= maximumUTF8Count,
            let text = string(node, in: source)
        else { return nil }
        if let range = plainRange(node), JSONScanner.isPrintableASCII(source, range) { return text }
        var previous: UInt8 = 0
        for byte in text.utf8 {
            // C1, U+0080 to U+009F, is C2 80 to C2 9F.
            if byte < 0x20 || byte == 0x7F || (previous == 0xC2 && byte < 0xA0) { return nil }
            previous = byte
        }
        return text
    }

    // MARK: Objects and arrays

    /// Members of an object, elements of an array; 0 for anything else.
    package func count(_ node: JSONNode) -> Int {
        let entry = entry(node)
        return entry.kind == .object || entry.kind == .array ? Int(entry.count) : 0
    }

    /// The member of that decoded name; nil if there is none or the value is no object.
    /// Goes over the members in turn: about 1 ns each.
    package func member(
        _ node: JSONNode, _ name: StaticString, in source: borrowing Span<UInt8>
    ) -> JSONNode? {
        let object = entry(node)
        guard object.kind == .object else { return nil }
        check(source)
        let end = Int(object.link)
        var key = node.index &+ 1
        while key < end {
            if Self.name(tape[key], equals: name, in: source) { return JSONNode(index: key &+ 1) }
            key = Int(tape[key &+ 1].link)
        }
        return nil
    }

    /// A position before the first member of an object; at the end for anything else.
    ///
    ///     var members = reader.members(node)
    ///     while let member = reader.next(&members) { … member.key … member.value … }
    package func members(_ node: JSONNode) -> JSONMembers {
        let entry = entry(node)
        guard entry.kind == .object else { return JSONMembers(next: 0, end: 0) }
        return JSONMembers(next: node.index + 1, end: Int(entry.link))
    }

    /// The next member in document order. Its key is a string node.
    package func next(_ members: inout JSONMembers) -> (key: JSONNode, value: JSONNode)? {
        guard members.next < members.end else { return nil }
        let key = JSONNode(index: members.next)
        let value = JSONNode(index: members.next + 1)
        members.next = Int(entry(value).link)
        return (key, value)
    }

    /// A position before the first element of an array; at the end for anything else.
    package func elements(_ node: JSONNode) -> JSONElements {
        let entry = entry(node)
        guard entry.kind == .array else { return JSONElements(next: 0, end: 0) }
        return JSONElements(next: node.index + 1, end: Int(entry.link))
    }

    /// The next element in document order.
    package func next(_ elements: inout JSONElements) -> JSONNode? {
        guard elements.next < elements.end else { return nil }
        let element = JSONNode(index: elements.next)
        elements.next = Int(entry(element).link)
        return element
    }

    // MARK: Helpers

    @inline(__always)
    private func entry(_ node: JSONNode) -> JSONEntry {
        precondition(node.index < usedNodes, "the node is of a document parsed before")
        return tape[node.index]
    }

    @inline(__always)
    private func check(_ source: borrowing Span<UInt8>) {
        precondition(source.count == sourceCount, "not the span that was parsed")
    }

    @inline(__always)
    private static func name(
        _ entry: JSONEntry, equals text: StaticString, in source: borrowing Span<UInt8>
    ) -> Bool {
        guard Int(entry.count) == text.utf8CodeUnitCount else { return false }
        return entry.hasEscapes
            ? escapedName(entry, equals: text, in: source)
            : source.equals(text, in: entry.range)
    }

    @inline(never)
    private static func escapedName(
        _ entry: JSONEntry, equals text: StaticString, in source: borrowing Span<UInt8>
    ) -> Bool {
        var decoded: [UInt8] = []
        JSONScanner.decode(source, entry.range, into: &decoded)
        return decoded.span.equals(text, in: 0..<decoded.count)
    }

    private static func decodeUTF8(
        _ source: borrowing Span<UInt8>, _ range: Range<Int>
    ) -> String {
        unsafe source.extracting(range).withUnsafeBufferPointer { bytes in
            unsafe String(decoding: bytes, as: UTF8.self)
        }
    }
}

/// A position among the members of an object; see `JSONReader.members(_:)`.
package struct JSONMembers: Sendable {
    fileprivate var next: Int
    fileprivate let end: Int
}

/// A position among the elements of an array; see `JSONReader.elements(_:)`.
package struct JSONElements: Sendable {
    fileprivate var next: Int
    fileprivate let end: Int
}
