/// What the fuzzer and the tests do with an arbitrary document: read it and, if it is accepted,
/// walk every value, decode every string, write all of it again and read that. Any disagreement
/// traps.
package enum JSONReaderExercise {
    /// - Returns: the document as `JSONWriter` writes it; nil if it was refused.
    @discardableResult
    package static func run(
        _ source: borrowing Span<UInt8>,
        maximumDepth: Int = JSONReader.defaultMaximumDepth,
        maximumNodes: Int = JSONReader.defaultMaximumNodes
    ) -> [UInt8]? {
        var reader = JSONReader(maximumDepth: maximumDepth, maximumNodes: maximumNodes, hashSeed: 1)
        do throws(JSONError) {
            try reader.parse(source)
        } catch {
            precondition(error.offset >= 0 && error.offset <= source.count, "offset \(error)")
            return nil
        }
        let written = rewrite(reader, source)
        var second = JSONReader(maximumDepth: maximumDepth, maximumNodes: maximumNodes, hashSeed: 2)
        do throws(JSONError) {
            try second.parse(written.span)
        } catch {
            preconditionFailure("the rewritten document was refused: \(error)")
        }
        requireEqual(reader, source, second, written.span)
        precondition(rewrite(second, written.span) == written, "rewriting is not idempotent")
        return written
    }

    /// Iterative, like the reader: a stack of open containers, no recursion.
    private static func rewrite(
        _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) -> [UInt8] {
        enum Open {
            case object(JSONMembers)
            case array(JSONElements)
        }
        var writer = JSONWriter()
        var stack: [Open] = []
        var value: JSONNode? = reader.root
        while true {
            if let node = value {
                value = nil
                switch reader.kind(node) {
                case .object:
                    writer.beginObject()
                    stack.append(.object(reader.members(node)))
                case .array:
                    writer.beginArray()
                    stack.append(.array(reader.elements(node)))
                default:
                    writeScalar(reader, node, source, to: &writer)
                }
            }
            switch stack.popLast() {
            case .object(var members):
                guard let member = reader.next(&members) else {
                    writer.endObject()
                    continue
                }
                guard let name = reader.bytes(member.key, in: source) else {
                    preconditionFailure("a member name is no string")
                }
                writer.key(utf8: name.span)
                value = member.value
                stack.append(.object(members))
            case .array(var elements):
                guard let element = reader.next(&elements) else {
                    writer.endArray()
                    continue
                }
                value = element
                stack.append(.array(elements))
            case nil:
                return writer.bytes
            }
        }
    }

    private static func writeScalar(
        _ reader: borrowing JSONReader, _ node: JSONNode, _ source: borrowing Span<UInt8>,
        to writer: inout JSONWriter
    ) {
        switch reader.kind(node) {
        case .string:
            guard let text = reader.string(node, in: source),
                let bytes = reader.bytes(node, in: source)
            else { preconditionFailure("a string has no value") }
            precondition(text.utf8.elementsEqual(bytes), "string and bytes differ")
            precondition(reader.utf8Count(node) == bytes.count, "utf8Count is wrong")
            _ = reader.identifier(node, in: source)
            _ = JSONTimestamp.parse(bytes.span)
            writer.string(utf8: bytes.span)
        case .number:
            _ = reader.double(node, in: source)
            if let integer = reader.integer(node, in: source) {
                writer.integer(integer)
            } else {
                writer.raw(source.extracting(reader.rawRange(node)))
            }
        case .boolean:
            guard let bool = reader.bool(node) else { preconditionFailure("no Boolean value") }
            writer.bool(bool)
        case .null:
            precondition(reader.isNull(node), "null is not null")
            writer.null()
        case .object, .array:
            preconditionFailure("a container is no scalar")
        }
    }

    /// Both tapes are in document order, so equal documents have equal tapes entry by entry.
    private static func requireEqual(
        _ first: borrowing JSONReader, _ firstSource: borrowing Span<UInt8>,
        _ second: borrowing JSONReader, _ secondSource: borrowing Span<UInt8>
    ) {
        precondition(first.usedNodes == second.usedNodes, "the documents differ in size")
        for index in 0..<first.usedNodes {
            let node = JSONNode(index: index)
            let kind = first.kind(node)
            precondition(kind == second.kind(node), "entry \(index) changed its kind")
            precondition(
                first.count(node) == second.count(node), "entry \(index) changed its count")
            switch kind {
            case .string:
                precondition(
                    first.bytes(node, in: firstSource) == second.bytes(node, in: secondSource),
                    "string \(index) changed")
            case .number:
                precondition(
                    first.integer(node, in: firstSource) == second.integer(node, in: secondSource)
                        && first.double(node, in: firstSource)
                            == second.double(node, in: secondSource),
                    "number \(index) changed")
            case .boolean:
                precondition(first.bool(node) == second.bool(node), "Boolean \(index) changed")
            case .null, .object, .array:
                break
            }
        }
    }
}
