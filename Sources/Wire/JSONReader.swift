/// Reads one JSON document at a time (RFC 8259), checks all of it, and keeps a flat index of its
/// values that is looked up in place: nothing is copied out until a caller asks for it.
///
///     var reader = JSONReader()                       // one a shard, reused for every document
///     let root = try reader.parse(bytes)
///     if let type = reader.member(root, "type", in: bytes) { … }
///
/// The index ("tape") holds one entry a value and one a member name, in document order. It is
/// scratch: the next `parse` overwrites it, and the nodes of the document before mean nothing any
/// more. A `Span` cannot be stored, so each accessor that looks at bytes takes it again; it must be
/// the one that was parsed.
///
/// What is refused beyond the grammar, because two readers of one document must never disagree
/// about it: duplicate member names (compared decoded), a byte order mark, half surrogate pairs.
/// Bounded: nesting, entries. No recursion; linear time for any input, hostile ones included.
///
/// Memory: 20 bytes an entry, as many entries as the longest document so far had bytes, at most
/// `maximumNodes` (330 KB with the default), and 128 KB for the names of the largest object;
/// nothing is allocated once that is reached.
/// Not for two threads at once: a shard owns its reader.
package struct JSONReader: ~Copyable {
    /// Arrays and objects inside each other. 32 is deeper than any event of the contract needs.
    package static let defaultMaximumDepth = 32

    /// Values and member names of one document: a resume of 500 chats takes 1,100.
    package static let defaultMaximumNodes = 16_384

    package let maximumDepth: Int
    package let maximumNodes: Int

    var tape: [JSONEntry] = []
    var usedNodes = 0
    var sourceCount = 0
    var keys: JSONKeySet

    /// - Parameters:
    ///   - maximumDepth: nesting that is still accepted, at least 1.
    ///   - maximumNodes: entries that are still accepted, 1 to 2^24. A member counts two.
    ///   - hashSeed: keeps a peer from choosing member names that collide; changes no result.
    package init(
        maximumDepth: Int = JSONReader.defaultMaximumDepth,
        maximumNodes: Int = JSONReader.defaultMaximumNodes,
        hashSeed: UInt64 = .random(in: .min ... .max)
    ) {
        precondition(maximumDepth >= 1, "maximumDepth is \(maximumDepth)")
        precondition((1...1 << 24).contains(maximumNodes), "maximumNodes is \(maximumNodes)")
        self.maximumDepth = maximumDepth
        self.maximumNodes = maximumNodes
        self.keys = JSONKeySet(seed: hashSeed)
    }

    /// The outermost value of the document parsed last.
    package var root: JSONNode {
        precondition(usedNodes > 0, "no document was parsed, or the last one was refused")
        return JSONNode(index: 0)
    }

    /// Checks the whole document and indexes it.
    ///
    /// - Parameter source: the document and nothing else, less than 2 GiB.
    /// - Returns: the outermost value.
    /// - Throws: the first thing that is wrong with the document; the reader stays usable.
    @discardableResult
    package mutating func parse(_ source: borrowing Span<UInt8>) throws(JSONError) -> JSONNode {
        usedNodes = 0
        sourceCount = source.count
        guard source.count > 0 else { throw JSONError(.empty, at: 0) }
        guard source.count < Int(Int32.max) else { throw JSONError(.tooLarge, at: 0) }
        if source[0] == 0xEF, source.count >= 3, source[1] == 0xBB, source[2] == 0xBF {
            throw JSONError(.byteOrderMark, at: 0)
        }
        reserveTape(forBytes: source.count)
        usedNodes = try Self.index(source, into: &tape, &keys, maximumNodes, maximumDepth)
        return JSONNode(index: 0)
    }

    /// An entry takes at least one byte of source, so this many always suffice.
    private mutating func reserveTape(forBytes count: Int) {
        let needed = min(count, maximumNodes)
        guard tape.count < needed else { return }
        // At least doubling, so that slowly growing documents do not allocate each time.
        let size = min(max(needed, 2 * tape.count, 256), maximumNodes)
        tape.append(contentsOf: repeatElement(JSONEntry(), count: size - tape.count))
    }

    /// The grammar, as a loop. An open container's `link` holds its parent, so the tape itself is
    /// the stack; closing it turns `link` into the index after its last descendant.
    private static func index(
        _ source: borrowing Span<UInt8>, into tape: inout [JSONEntry],
        _ keys: inout JSONKeySet, _ maximumNodes: Int, _ maximumDepth: Int
    ) throws(JSONError) -> Int {
        var nodes = tape.mutableSpan
        let limit = min(nodes.count, maximumNodes)
        var used = 0
        var position = JSONScanner.skipWhitespace(source, from: 0)
        var open = -1
        var inObject = false
        var wantsKey = false
        var depth = 0

        values: while true {
            // A value starts at `position`, or a member name.
            guard position < source.count else {
                throw JSONError(.unexpectedEnd, at: source.count)
            }
            guard used < limit else { throw JSONError(.tooManyNodes, at: position) }
            let byte = source[position]
            if byte == JSONScanner.quote {
                let string = try JSONScanner.string(source, from: position &+ 1)
                nodes[used] = JSONEntry(
                    .string, position &+ 1, string.end, link: used &+ 1, count: string.decodedCount)
                used &+= 1
                position = string.end &+ 1
                if wantsKey {
                    position = JSONScanner.skipWhitespace(source, from: position)
                    guard position < source.count else {
                        throw JSONError(.unexpectedEnd, at: source.count)
                    }
                    guard source[position] == UInt8(ascii: ":") else {
                        throw JSONError(.expectedColon, at: position)
                    }
                    position = JSONScanner.skipWhitespace(source, from: position &+ 1)
                    wantsKey = false
                    continue values
                }
            } else if wantsKey {
                throw JSONError(.expectedKey, at: position)
            } else if JSONScanner.isDigit(byte) || byte == UInt8(ascii: "-") {
                let number = try JSONScanner.number(source, from: position)
                nodes[used] = JSONEntry(
                    .number, position, number.end, link: used &+ 1, count: number.isInteger ? 1 : 0)
                used &+= 1
                position = number.end
            } else if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                guard depth < maximumDepth else { throw JSONError(.tooDeep, at: position) }
                depth &+= 1
                inObject = byte == UInt8(ascii: "{")
                nodes[used] = JSONEntry(
                    inObject ? .object : .array, position, position, link: open, count: 0)
                open = used
                used &+= 1
                position = JSONScanner.skipWhitespace(source, from: position &+ 1)
                guard position < source.count else {
                    throw JSONError(.unexpectedEnd, at: source.count)
                }
                // "{" and "}", "[" and "]" are two apart in ASCII.
                if source[position] != byte &+ 2 {
                    wantsKey = inObject
                    nodes[open].count = 1
                    continue values
                }
            } else {
                let word: StaticString
                let entry: JSONEntry
                switch byte {
                case UInt8(ascii: "t"):
                    word = "true"
                    entry = JSONEntry(.boolean, position, position &+ 4, link: used &+ 1, count: 1)
                case UInt8(ascii: "f"):
                    word = "false"
                    entry = JSONEntry(.boolean, position, position &+ 5, link: used &+ 1, count: 0)
                case UInt8(ascii: "n"):
                    word = "null"
                    entry = JSONEntry(.null, position, position &+ 4, link: used &+ 1, count: 0)
                default:
                    throw JSONError(.expectedValue, at: position)
                }
                position = try JSONScanner.literal(word, source, from: position)
                nodes[used] = entry
                used &+= 1
            }

            // A value ended before `position`: go on in its container, or close containers.
            while open >= 0 {
                position = JSONScanner.skipWhitespace(source, from: position)
                guard position < source.count else {
                    throw JSONError(.unexpectedEnd, at: source.count)
                }
                let separator = source[position]
                if separator == UInt8(ascii: ",") {
                    position = JSONScanner.skipWhitespace(source, from: position &+ 1)
                    wantsKey = inObject
                    nodes[open].count &+= 1
                    continue values
                }
                guard separator == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
                    throw JSONError(
                        inObject ? .expectedCommaOrBrace : .expectedCommaOrBracket, at: position)
                }
                position &+= 1
                let closed = open
                open = Int(nodes[closed].link)
                nodes[closed].link = Int32(truncatingIfNeeded: used)
                nodes[closed].end = Int32(truncatingIfNeeded: position)
                if inObject, nodes[closed].count > 1 {
                    try keys.requireDistinct(source, nodes.span, object: closed)
                }
                depth &-= 1
                inObject = open >= 0 && nodes[open].kind == .object
            }
            break values
        }
        position = JSONScanner.skipWhitespace(source, from: position)
        guard position == source.count else { throw JSONError(.trailingBytes, at: position) }
        return used
    }
}

/// What a value is (RFC 8259 §3).
package enum JSONKind: UInt8, Sendable {
    case null, boolean, number, string, array, object
}

/// A value or a member name of the document its reader parsed last.
package struct JSONNode: Equatable, Sendable {
    let index: Int
}

/// One entry of the tape: 20 bytes.
struct JSONEntry {
    /// Source range: of a string without its quotes, of a container with its brackets.
    var start: Int32 = 0
    var end: Int32 = 0

    /// The entry after this one and its descendants; while a container is open, its parent or -1.
    var link: Int32 = 0

    /// Members or elements of a container; UTF-8 bytes of a decoded string; 1 for `true` and for
    /// a number written as an integer.
    var count: Int32 = 0

    var kind: JSONKind = .null

    init() {}

    /// The arguments are below 2^31 because `parse` refuses longer documents.
    @inline(__always)
    init(_ kind: JSONKind, _ start: Int, _ end: Int, link: Int, count: Int) {
        self.start = Int32(truncatingIfNeeded: start)
        self.end = Int32(truncatingIfNeeded: end)
        self.link = Int32(truncatingIfNeeded: link)
        self.count = Int32(truncatingIfNeeded: count)
        self.kind = kind
    }

    @inline(__always)
    var range: Range<Int> { Int(start)..<Int(end) }

    @inline(__always)
    var hasEscapes: Bool { count != end &- start }
}
