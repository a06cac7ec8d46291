import Wire

/// A JSON document as a value, for what is read once: plans, reports, results. Not for frames.
package indirect enum JSONTree: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONTree])
    case object([String: JSONTree])

    /// Nil where the bytes are no JSON document, or one of more than four million values.
    package init?(_ bytes: [UInt8]) {
        var reader = JSONReader(maximumNodes: 1 << 23)
        let text = bytes.span
        guard let root = try? reader.parse(text) else { return nil }
        self = Self.value(root, reader, text)
    }

    private static func value(
        _ node: JSONNode, _ reader: borrowing JSONReader, _ text: borrowing Span<UInt8>
    ) -> JSONTree {
        switch reader.kind(node) {
        case .null: return .null
        case .boolean: return .bool(reader.bool(node) ?? false)
        case .number:
            if let integer = reader.integer(node, in: text), abs(integer) < 1 << 53 {
                return .number(Double(integer))
            }
            return .number(reader.double(node, in: text) ?? 0)
        case .string: return .string(reader.string(node, in: text) ?? "")
        case .array:
            var values: [JSONTree] = []
            var elements = reader.elements(node)
            while let element = reader.next(&elements) {
                values.append(value(element, reader, text))
            }
            return .array(values)
        case .object:
            var values: [String: JSONTree] = [:]
            var members = reader.members(node)
            while let (key, member) = reader.next(&members) {
                values[reader.string(key, in: text) ?? ""] = value(member, reader, text)
            }
            return .object(values)
        }
    }

    // MARK: Looking up: what is not there reads as nothing

    package subscript(_ key: String) -> JSONTree {
        if case .object(let values) = self { values[key] ?? .null } else { .null }
    }
    package var array: [JSONTree] { if case .array(let values) = self { values } else { [] } }
    package var object: [String: JSONTree] {
        if case .object(let values) = self { values } else { [:] }
    }
    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var double: Double? { if case .number(let number) = self { number } else { nil } }
    package var bool: Bool { self == .bool(true) }
    /// 0 where it is no number, or one that no counter has.
    package var count: UInt64 {
        guard let double, double >= 0, double < 1e18 else { return 0 }
        return UInt64(double)
    }
    package var int: Int { Int(count) }
}
