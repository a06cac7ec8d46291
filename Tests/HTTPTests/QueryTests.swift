import HTTP
import Testing

@Suite("Percent-decoding, RFC 3986 §2.1")
struct PercentDecodingTests {
    @Test(
        "A segment is decoded, or refused as a whole",
        arguments: [
            ("", ""), ("abc", "abc"), ("a%20b", "a b"), ("a+b", "a+b"), ("%41%5a%5A", "AZZ"),
            ("%C3%A9", "é"), ("%F0%9F%98%80", "😀"), ("a%2Fb", "a/b"), ("%25", "%"),
            ("%2525", "%25"),
            ("%", nil), ("a%", nil), ("a%4", nil), ("%4G", nil), ("%G4", nil), ("%%41", nil),
            ("%00", nil), ("a%00b", nil), ("%C3", nil), ("%ED%A0%80", nil), ("%C0%80", nil),
            ("%FF", nil), ("% 41", nil), ("%-1", nil),
        ] as [(String, String?)])
    func segment(text: String, expected: String?) {
        let bytes = Array(text.utf8)
        #expect(PercentDecoding.segment(bytes.span, 0..<bytes.count) == expected)
    }

    @Test("In a query a plus is a space, and an escaped plus is a plus")
    func plus() {
        let bytes = Array("a+b%2Bc".utf8)
        #expect(PercentDecoding.queryValue(bytes.span, 0..<bytes.count) == "a b+c")
    }

    @Test("Only the range is decoded")
    func range() {
        let bytes = Array("%41%42".utf8)
        #expect(PercentDecoding.segment(bytes.span, 3..<6) == "B")
        #expect(PercentDecoding.segment(bytes.span, 0..<5) == nil)
    }
}

@Suite("Query look-up")
struct QueryStringTests {
    @Test(
        "A key is found once, decoded, or not at all",
        arguments: [
            ("", .absent), ("token", .value("")), ("token=", .value("")), ("token=a", .value("a")),
            ("a=b&token=c%20d+e&f", .value("c d e")), ("&&token=a&", .value("a")),
            ("token=a=b", .value("a=b")), ("%74oken=a", .value("a")), ("tokens=a", .absent),
            ("toke=n", .absent), ("Token=a", .absent), ("x=token", .absent),
            ("token=a&token=b", .malformed), ("token&token", .malformed),
            ("token=a&%74oken=a", .malformed), ("token=%", .malformed), ("token=%00", .malformed),
            ("token=%FF", .malformed), ("x=%&token=a", .value("a")), ("%=x&token=a", .value("a")),
        ] as [(String, QueryString.Lookup)])
    func lookup(query: String, expected: QueryString.Lookup) {
        let bytes = Array(("/?" + query).utf8)
        #expect(QueryString.value(of: "token", in: bytes.span, query: 2..<bytes.count) == expected)
    }

    @Test("A target without a query has no keys")
    func noQuery() {
        let bytes = Array("/token=a".utf8)
        #expect(QueryString.value(of: "token", in: bytes.span, query: nil) == .absent)
    }
}
