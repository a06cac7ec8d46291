import Foundation
import Wire

/// Parses and returns the refusal, or nil if the document was accepted.
func refusal(
    of document: [UInt8], depth: Int = JSONReader.defaultMaximumDepth,
    nodes: Int = JSONReader.defaultMaximumNodes
) -> JSONError? {
    var reader = JSONReader(maximumDepth: depth, maximumNodes: nodes, hashSeed: 7)
    do throws(JSONError) {
        try reader.parse(document.span)
        return nil
    } catch {
        return error
    }
}

func refusal(of document: String) -> JSONError? { refusal(of: Array(document.utf8)) }

/// `JSONReaderExercise.run` on an array; the macros of Swift Testing cannot take spans.
func exercise(
    _ document: [UInt8], depth: Int = JSONReader.defaultMaximumDepth,
    nodes: Int = JSONReader.defaultMaximumNodes
) -> [UInt8]? {
    JSONReaderExercise.run(document.span, maximumDepth: depth, maximumNodes: nodes)
}

/// A document with its reader: a class with the reader's questions, because the macros of Swift
/// Testing take neither spans nor noncopyable values.
final class Document {
    let bytes: [UInt8]
    private var reader: JSONReader

    convenience init(_ text: String) throws(JSONError) { try self.init(Array(text.utf8)) }

    init(_ bytes: [UInt8]) throws(JSONError) {
        self.bytes = bytes
        reader = JSONReader(hashSeed: 7)
        try reader.parse(bytes.span)
    }

    var root: JSONNode { reader.root }
    func kind(_ node: JSONNode) -> JSONKind { reader.kind(node) }
    func isNull(_ node: JSONNode) -> Bool { reader.isNull(node) }
    func bool(_ node: JSONNode) -> Bool? { reader.bool(node) }
    func count(_ node: JSONNode) -> Int { reader.count(node) }
    func utf8Count(_ node: JSONNode) -> Int? { reader.utf8Count(node) }
    func plainRange(_ node: JSONNode) -> Range<Int>? { reader.plainRange(node) }
    func integer(_ node: JSONNode) -> Int64? {
        let source = bytes
        return reader.integer(node, in: source.span)
    }

    func double(_ node: JSONNode) -> Double? {
        let source = bytes
        return reader.double(node, in: source.span)
    }

    func string(_ node: JSONNode) -> String? {
        let source = bytes
        return reader.string(node, in: source.span)
    }

    func decoded(_ node: JSONNode) -> [UInt8]? {
        let source = bytes
        return reader.bytes(node, in: source.span)
    }

    func identifier(_ node: JSONNode) -> String? {
        let source = bytes
        return reader.identifier(node, in: source.span)
    }

    func stringEquals(_ node: JSONNode, _ text: StaticString) -> Bool {
        let source = bytes
        return reader.stringEquals(node, text, in: source.span)
    }

    func append(_ node: JSONNode, to output: inout [UInt8]) -> Bool {
        let source = bytes
        return reader.appendBytes(node, in: source.span, to: &output)
    }

    func member(_ name: StaticString) -> JSONNode? { member(root, name) }
    func member(_ node: JSONNode, _ name: StaticString) -> JSONNode? {
        let source = bytes
        return reader.member(node, name, in: source.span)
    }

    func members(_ node: JSONNode) -> [(key: JSONNode, value: JSONNode)] {
        var members = reader.members(node)
        var all: [(key: JSONNode, value: JSONNode)] = []
        while let member = reader.next(&members) { all.append(member) }
        return all
    }

    func elements(_ node: JSONNode) -> [JSONNode] {
        var elements = reader.elements(node)
        var all: [JSONNode] = []
        while let element = reader.next(&elements) { all.append(element) }
        return all
    }

    /// The value's source text.
    func source(_ node: JSONNode) -> String { text(of: reader.rawRange(node)) }
    func text(of range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
}

/// SplitMix64: the same documents for the same seed on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// Writes random documents in every form that RFC 8259 allows: white space anywhere, escapes where
/// none are needed, numbers in all their spellings.
struct DocumentGenerator {
    private var random: SeededGenerator
    private var output: [UInt8] = []

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func next() -> [UInt8] {
        output = []
        value(depth: 0)
        return output
    }

    /// One to three random edits of `document`: bytes changed, removed, doubled, or cut off.
    mutating func mutate(_ document: [UInt8]) -> [UInt8] {
        let telling =
            Array("{}[]\",:\\/u0123456789eE+-.tfn \n\u{1}é".utf8) + [0x00, 0xFF, 0xC0, 0xED]
        var bytes = document
        for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
            let index = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes[index] = telling.randomElement(using: &random) ?? 0
            case 1: bytes.remove(at: index)
            case 2: bytes.insert(telling.randomElement(using: &random) ?? 0, at: index)
            case 3: bytes[index] ^= 1 << UInt8.random(in: 0...7, using: &random)
            default: bytes.removeSubrange(index...)
            }
        }
        return bytes
    }

    private mutating func value(depth: Int) {
        space()
        switch Int.random(in: 0..<(depth < 6 ? 9 : 6), using: &random) {
        case 0: output += Array("null".utf8)
        case 1: output += Array((Bool.random(using: &random) ? "true" : "false").utf8)
        case 2, 3: number()
        case 4, 5: string(unique: nil)
        case 6: container(depth: depth, isObject: false)
        default: container(depth: depth, isObject: true)
        }
        space()
    }

    private mutating func container(depth: Int, isObject: Bool) {
        output.append(UInt8(ascii: isObject ? "{" : "["))
        // More than 8 members, where names are hashed, near the top only: documents stay small.
        let count = Int.random(in: 0...(depth < 2 ? 12 : 3), using: &random)
        for index in 0..<count {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            if isObject {
                space()
                string(unique: index)
                space()
                output.append(UInt8(ascii: ":"))
            }
            value(depth: depth + 1)
        }
        if count == 0 { space() }
        output.append(UInt8(ascii: isObject ? "}" : "]"))
    }

    private mutating func number() {
        let integer = Int64.random(in: -1_000_000...1_000_000, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: output += Array("\(integer)".utf8)
        case 1: output += Array("\(Int64(truncatingIfNeeded: random.next()))".utf8)
        case 2: output += Array("\(Double(integer) / 128)".utf8)
        case 3: output += Array("\(integer)e\(Int.random(in: -30...30, using: &random))".utf8)
        default: output += Array("-0.\(integer.magnitude)E+\(integer.magnitude % 20)".utf8)
        }
    }

    /// - Parameter unique: makes the string differ from others with another number.
    private mutating func string(unique: Int?) {
        output.append(UInt8(ascii: "\""))
        if let unique { output += Array("\(unique)-".utf8) }
        for _ in 0..<Int.random(in: 0...24, using: &random) {
            switch Int.random(in: 0..<8, using: &random) {
            case 0:
                output += Array(
                    ["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"][
                        Int.random(in: 0..<8, using: &random)
                    ].utf8)
            case 1:
                output += Array(
                    "\\u00\(["41", "e9", "1f", "7F"][Int.random(in: 0..<4, using: &random)])".utf8)
            case 2: output += Array("\\uD83D\\uDE0\(Int.random(in: 0...9, using: &random))".utf8)
            case 3:
                output += Array(
                    ["é", "中", "😀", "\u{7F}", "\u{2028}"][Int.random(in: 0..<5, using: &random)]
                        .utf8)
            default:
                let letter = UInt8.random(in: 0x23...0x5B, using: &random)
                output += [UInt8](repeating: letter, count: Int.random(in: 1...9, using: &random))
            }
        }
        output.append(UInt8(ascii: "\""))
    }

    private mutating func space() {
        while Int.random(in: 0..<8, using: &random) == 0 {
            output.append([0x20, 0x09, 0x0A, 0x0D][Int.random(in: 0..<4, using: &random)])
        }
    }
}
