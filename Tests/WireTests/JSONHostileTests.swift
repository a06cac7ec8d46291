import Testing
import Wire

/// Inputs that are made to be slow. Each is bounded by a time that is generous for a debug build
/// and impossible for a quadratic algorithm on the sizes used.
@Suite("JSONReader: hostile documents finish fast")
struct JSONHostileTests {
    private static func milliseconds(_ body: () -> Void) -> Double {
        let duration = ContinuousClock().measure(body)
        return Double(duration.components.seconds) * 1e3
            + Double(duration.components.attoseconds) / 1e15
    }

    @Test("100,000 distinct keys are refused by the default bound and linear without it")
    func manyKeys() {
        let names = (0..<100_000).map { "\"key-\($0)\":0" }.joined(separator: ",")
        let document = Array("{\(names)}".utf8)
        #expect(refusal(of: document)?.kind == .tooManyNodes)
        var kind: JSONError.Kind? = .empty
        let time = Self.milliseconds { kind = refusal(of: document, nodes: 300_000)?.kind }
        #expect(kind == nil)
        #expect(time < 5_000, "\(time) ms")
    }

    @Test("100,000 keys of equal length and equal ends, the last one twice, are linear")
    func similarKeys() {
        var names = (100_000..<199_999).map { "\"a-common-start-\($0)-a-common-end\":0" }
        names.append(names[0])
        let document = Array("{\(names.joined(separator: ","))}".utf8)
        var kind: JSONError.Kind?
        let time = Self.milliseconds { kind = refusal(of: document, nodes: 300_000)?.kind }
        #expect(kind == .duplicateKey)
        #expect(time < 5_000, "\(time) ms")
    }

    @Test(
        "100,000 opening brackets stop at the depth limit", arguments: ["[", "{\"a\":", "[{\"a\":"])
    func deep(_ opening: String) {
        let document = Array(String(repeating: opening, count: 100_000).utf8)
        #expect(refusal(of: document)?.kind == .tooDeep)
    }

    @Test("100,000 opening brackets need no recursion even when the limit allows them")
    func deepAllowed() {
        let document =
            [UInt8](repeating: 0x5B, count: 100_000) + [UInt8](repeating: 0x5D, count: 100_000)
        #expect(refusal(of: document, depth: 100_000, nodes: 100_000) == nil)
        #expect(exercise(document, depth: 100_000, nodes: 100_000) == document)
    }

    @Test(
        "A string of 1 MB is read in time, whatever it is made of",
        arguments: ["a", "é", "😀", "\\n", "\\u0041", "\\uD83D\\uDE00", "aaaaaaa\\n", "aaaaaaaé"])
    func longString(_ piece: String) throws {
        let count = 1_000_000 / piece.utf8.count
        let document = Array(("\"" + String(repeating: piece, count: count) + "\"").utf8)
        var length: Int?
        let time = Self.milliseconds {
            guard let document = try? Document(document) else { return }
            length = document.decoded(document.root)?.count
        }
        let expected = try Document("\"\(piece)\"")
        let unit = try #require(expected.utf8Count(expected.root))
        #expect(length == unit * count)
        #expect(time < 5_000, "\(time) ms")
    }

    @Test("A number of a million digits and a million spaces are read in time")
    func longTokens() throws {
        let digits = try Document(String(repeating: "9", count: 1_000_000))
        #expect(digits.integer(digits.root) == nil)
        #expect(digits.double(digits.root) == nil)
        #expect(refusal(of: String(repeating: " ", count: 1_000_000))?.kind == .unexpectedEnd)
        #expect(refusal(of: String(repeating: " ", count: 1_000_000) + "1") == nil)
    }

    @Test("Eight equal-length keys of 100 KB differ only at their ends, and are told apart")
    func longKeys() {
        let start = String(repeating: "k", count: 100_000)
        let names = (0..<8).map { "\"\(start)\($0)\":0" }
        #expect(refusal(of: "{\(names.joined(separator: ","))}") == nil)
        #expect(refusal(of: "{\(names.joined(separator: ",")),\(names[7])}")?.kind == .duplicateKey)
    }
}
