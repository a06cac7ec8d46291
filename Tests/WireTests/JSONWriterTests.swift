import Foundation
import Testing
import Wire

@Suite("JSONWriter")
struct JSONWriterTests {
    private func text(_ write: (inout JSONWriter) -> Void) -> String {
        var writer = JSONWriter()
        write(&writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    @Test("Commas stand between members and elements, and nowhere else")
    func commas() {
        let written = text { writer in
            writer.beginObject()
            writer.key("a")
            writer.beginArray()
            writer.endArray()
            writer.key("b")
            writer.beginArray()
            writer.integer(1)
            writer.beginObject()
            writer.endObject()
            writer.null()
            writer.bool(true)
            writer.bool(false)
            writer.string("s")
            writer.string(literal: "t")
            writer.string(Array("u".utf8))
            writer.raw(Array("[1]".utf8))
            writer.double(1.5)
            writer.timestamp(milliseconds: 0)
            writer.endArray()
            writer.key(named: "c")
            writer.beginObject()
            writer.key("d")
            writer.null()
            writer.endObject()
            writer.key(named: "e\"")
            writer.integer(2)
            writer.endObject()
        }
        #expect(
            written
                == #"{"a":[],"b":[1,{},null,true,false,"s","t","u",[1],1.5,"1970-01-01T00:00:00.000Z"],"#
                + #""c":{"d":null},"e\"":2}"#
        )
        #expect(refusal(of: written) == nil)
    }

    @Test(
        "Only what must be escaped is escaped, the short way where there is one",
        arguments: [
            ("", #""""#), ("abc", #""abc""#), ("a\"b", #""a\"b""#), ("\\", #""\\""#),
            ("/", #""/""#),
            ("\u{8}\t\n\u{C}\r", #""\b\t\n\f\r""#),
            ("\u{0}\u{1}\u{F}\u{10}\u{1F}", #""\u0000\u0001\u000f\u0010\u001f""#),
            ("\u{7F}", "\"\u{7F}\""), ("\u{2028}", "\"\u{2028}\""), ("é中😀", #""é中😀""#),
            ("aé\nb😀\"", #""aé\nb😀\"""#),
        ])
    func escaping(_ value: String, _ json: String) {
        #expect(text { $0.string(value) } == json)
        #expect(text { $0.string(Array(value.utf8)) } == json)
        #expect(text { $0.key(named: value) } == json + ":")
    }

    @Test("Any byte at any alignment reads back as it was, or as U+FFFD if it was not UTF-8")
    func everyByte() throws {
        for byte in UInt8.min...UInt8.max {
            for before in 0...17 {
                let value = [UInt8](repeating: 0x61, count: before) + [byte, 0x62]
                var writer = JSONWriter()
                writer.string(value)
                let document = try Document(writer.bytes)
                #expect(document.string(document.root) == String(decoding: value, as: UTF8.self))
            }
        }
    }

    @Test(
        "Bytes that are not UTF-8 still give a valid document", arguments: 0..<200 as Range<UInt64>)
    func invalidUTF8(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let count = Int.random(in: 0...40, using: &random)
        let value = (0..<count).map { _ in
            Bool.random(using: &random)
                ? UInt8.random(in: 0x80...0xFF, using: &random)
                : UInt8.random(in: 0...0xFF, using: &random)
        }
        var writer = JSONWriter()
        writer.string(value)
        #expect(refusal(of: writer.bytes) == nil)
    }

    @Test(
        "Integers are written to both ends of their range",
        arguments: [0, 1, -1, 9, 10, -10, 99, 100, 1_234_567_890, .max, .min, .min + 1] as [Int64])
    func integers(_ value: Int64) {
        #expect(text { $0.integer(value) } == "\(value)")
        #expect(text { $0.integer(Int(value)) } == "\(value)")
        #expect(text { $0.integer(UInt64(bitPattern: value)) } == "\(UInt64(bitPattern: value))")
    }

    @Test(
        "Doubles read back as the same number; what JSON lacks is null",
        arguments: [
            0, -0.0, 1, -1.5, 0.1, 1e21, 1e-7, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
            .pi,
        ])
    func doubles(_ value: Double) throws {
        let document = try Document(text { $0.double(value) })
        #expect(document.double(document.root)?.bitPattern == value.bitPattern)
        #expect(text { $0.double(.infinity) } == "null")
        #expect(text { $0.double(-.infinity) } == "null")
        #expect(text { $0.double(.nan) } == "null")
    }

    @Test("A prefix stays in front without a comma, and a reset keeps nothing")
    func prefixAndReset() {
        var writer = JSONWriter(appendingTo: Array("42".utf8))
        writer.beginArray()
        writer.string("message")
        writer.endArray()
        #expect(String(decoding: writer.bytes, as: UTF8.self) == #"42["message"]"#)
        writer.reset()
        writer.integer(1)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == "1")
    }

    @Test("Foundation reads what is written as the same values", arguments: 0..<50 as Range<UInt64>)
    func foundationReads(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let scalars = (0..<30).map { _ in
            Unicode.Scalar(UInt32.random(in: 0...0x2FFF, using: &random)) ?? "x"
        }
        var value = String.UnicodeScalarView()
        value.append(contentsOf: scalars)
        let string = String(value)
        let number = Int64(truncatingIfNeeded: random.next())
        var writer = JSONWriter()
        writer.beginObject()
        writer.key(named: string)
        writer.string(string)
        writer.key("n")
        writer.integer(number)
        writer.endObject()
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(writer.bytes)) as? [String: Any])
        #expect((object[string] as? String).map { Array($0.utf8) } == Array(string.utf8))
        #expect((object["n"] as? NSNumber)?.int64Value == number)
    }
}
