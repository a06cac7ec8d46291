import Foundation
import Testing
import Wire

/// Foundation's parser as the reference, over seeded documents and mutations of them.
///
/// Where the two differ by intention, and the differential test does not look:
/// - duplicate keys: refused here, Foundation keeps one of them;
/// - a byte order mark: refused here, Foundation skips it (and takes UTF-16 and UTF-32 as well);
/// - nesting: 32 here, 512 there;
/// - numbers beyond the range of `Double`: valid documents here, whose `double` is nil; there the
///   whole document is refused.
@Suite("JSONReader agrees with Foundation")
struct JSONDifferentialTests {
    @Test("Generated documents have the same values", arguments: 0..<20 as Range<UInt64>)
    func values(_ seed: UInt64) throws {
        var generator = DocumentGenerator(seed: seed)
        for _ in 0..<50 {
            let bytes = generator.next()
            let text = String(decoding: bytes, as: UTF8.self)
            let document = try Document(bytes)
            let reference = try JSONSerialization.jsonObject(
                with: Data(bytes), options: .fragmentsAllowed)
            let isSame = Self.equal(document, document.root, reference)
            #expect(isSame, "seed \(seed): \(text)")
            let written = try #require(exercise(bytes))
            let again = try JSONSerialization.jsonObject(
                with: Data(written), options: .fragmentsAllowed)
            let isSameAgain = Self.equal(document, document.root, again)
            #expect(isSameAgain, "seed \(seed), rewritten: \(text)")
        }
    }

    @Test("Mutated documents are accepted or refused alike", arguments: 100..<140 as Range<UInt64>)
    func verdicts(_ seed: UInt64) throws {
        var generator = DocumentGenerator(seed: seed)
        var refused = 0
        for _ in 0..<60 {
            let original = generator.next()
            for _ in 0..<3 {
                let bytes = generator.mutate(original)
                JSONReaderExercise.run(bytes.span)
                let kind = refusal(of: bytes)?.kind
                if kind == .duplicateKey || kind == .byteOrderMark || bytes.contains(0) { continue }
                let reference = try? JSONSerialization.jsonObject(
                    with: Data(bytes), options: .fragmentsAllowed)
                if kind != nil { refused += 1 }
                let text = String(decoding: bytes, as: UTF8.self)
                let isExpected = try kind == nil && !Self.holdsHugeNumber(Document(bytes))
                #expect(isExpected == (reference != nil), "seed \(seed): \(text)")
            }
        }
        #expect(refused > 0)
    }

    @Test("What is refused on purpose, Foundation's parser would take")
    func intendedDifferences() throws {
        let deep = String(repeating: "[", count: 33) + String(repeating: "]", count: 33)
        for text in [#"{"a":1,"a":2}"#, "\u{FEFF}1", deep] {
            #expect(refusal(of: text) != nil)
            #expect(throws: Never.self) {
                try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
            }
        }
    }

    /// Whether a number anywhere in the document is beyond the range of `Double`.
    private static func holdsHugeNumber(_ document: Document) -> Bool {
        var open = [document.root]
        while let node = open.popLast() {
            switch document.kind(node) {
            case .number: if document.double(node) == nil { return true }
            case .array: open += document.elements(node)
            case .object: open += document.members(node).map { $0.value }
            case .null, .boolean, .string: break
            }
        }
        return false
    }

    private static func equal(
        _ document: Document, _ node: JSONNode, _ reference: Any
    ) -> Bool {
        switch document.kind(node) {
        case .null:
            return reference is NSNull
        case .boolean:
            return document.bool(node) == (reference as? Bool)
        case .number:
            guard let number = reference as? NSNumber else { return false }
            if let integer = document.integer(node) { return number.int64Value == integer }
            return number.doubleValue == document.double(node)
        case .string:
            // Scalars, because `==` on strings takes canonically equivalent ones as equal.
            guard let text = reference as? String else { return false }
            return document.string(node).map { Array($0.utf8) } == Array(text.utf8)
        case .array:
            let elements = document.elements(node)
            guard let array = reference as? [Any], array.count == elements.count else {
                return false
            }
            return zip(elements, array).allSatisfy { equal(document, $0, $1) }
        case .object:
            let members = document.members(node)
            guard let object = reference as? [String: Any], object.count == members.count else {
                return false
            }
            return members.allSatisfy { member in
                guard let name = document.string(member.key), let item = object[name] else {
                    return false
                }
                return equal(document, member.value, item)
            }
        }
    }
}
