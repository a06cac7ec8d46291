import Testing

@testable import Basics

@Suite("Base64URL")
struct Base64URLTests {
    @Test(
        "The vectors of RFC 4648 §10, without padding, and both characters of the URL alphabet",
        arguments: [
            ("", []), ("Zg", [0x66]), ("Zm8", [0x66, 0x6F]), ("Zm9v", [0x66, 0x6F, 0x6F]),
            ("Zm9vYg", Array("foob".utf8)), ("Zm9vYmE", Array("fooba".utf8)),
            ("Zm9vYmFy", Array("foobar".utf8)),
            ("-_-_", [0xFB, 0xFF, 0xBF]), ("_w", [0xFF]), ("AA", [0]),
            ("A-z_4ME", [3, 236, 255, 224, 193]),
        ] as [(String, [UInt8])])
    func vectors(_ text: String, _ bytes: [UInt8]) {
        #expect(Base64URL.encode(bytes) == text)
        #expect(Base64URL.decode(text) == bytes)
    }

    @Test(
        "Padding, other characters, impossible lengths and unused bits are refused",
        arguments: [
            "=", "Zg==", "Zm8=", "Zg=", "A", "AAAAA", "Zm9v\n", " Zm9v", "Zm 9v", "+/+/", "Zm9vé",
            "Zm9\u{0}",
            "Zh", "Zn", "Zv", "Zm9", "Zm-", "AB", "AAB", "Z.", "Zm9vYmFyZ",
        ])
    func refused(_ text: String) {
        #expect(Base64URL.decode(text) == nil)
    }

    @Test("Every byte string has one encoding, and decodes to itself")
    func roundTrip() {
        for count in 0...70 {
            for seed in 0..<8 {
                let bytes = (0..<count).map {
                    UInt8(truncatingIfNeeded: $0 * 37 + seed * 101 + $0 * $0 * seed)
                }
                let text = Base64URL.encode(bytes)
                #expect(text.utf8.count == (count * 4 + 2) / 3)
                #expect(Base64URL.decode(text) == bytes)
            }
        }
    }

    @Test("Exactly the 64 characters of the alphabet are accepted")
    func alphabet() {
        var accepted = 0
        for byte in UInt8.min...UInt8.max {
            var output: [UInt8] = []
            let text: [UInt8] = [byte, 0x41, 0x41, 0x41]
            if Base64URL.decode(text.span, 0..<4, to: &output) { accepted += 1 }
        }
        #expect(accepted == 64)
    }
}
