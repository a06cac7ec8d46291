import Testing

@testable import WebSocket

@Suite("UTF-8 validation, RFC 3629 and RFC 6455 §8.1")
struct UTF8ValidatorTests {
    /// The standard library's opinion.
    private func isUTF8(_ bytes: [UInt8]) -> Bool {
        String(validating: bytes, as: UTF8.self) != nil
    }

    /// Pairs that are impossible already are not continued in all 256 ways: that leaves half a
    /// million judgements of eight.
    @Test("All sequences of one to three bytes are judged as the standard library judges them")
    func exhaustive() {
        var wrong: [[UInt8]] = []
        for first in UInt8.min...UInt8.max {
            let bytes = [first]
            if UTF8Validator.isValid(bytes.span) != isUTF8(bytes) { wrong.append(bytes) }
            for second in UInt8.min...UInt8.max {
                var bytes = [first, second]
                if UTF8Validator.isValid(bytes.span) != isUTF8(bytes) { wrong.append(bytes) }
                var validator = UTF8Validator()
                guard validator.feed(bytes.span) else {
                    // No third byte mends what is impossible: the standard library must agree.
                    for third in [0x41, 0x80, 0xA0, 0xBF, 0xC3] as [UInt8]
                    where isUTF8(bytes + [third]) {
                        wrong.append(bytes + [third])
                    }
                    continue
                }
                // ASCII in front adds nothing to a pair that was checked.
                guard first >= 0x80 else { continue }
                bytes.append(0)
                for third in UInt8.min...UInt8.max {
                    bytes[2] = third
                    if UTF8Validator.isValid(bytes.span) != isUTF8(bytes) { wrong.append(bytes) }
                }
            }
        }
        #expect(wrong == [])
    }

    @Test("All leads of four bytes are judged as the standard library judges them")
    func fourBytes() {
        var wrong: [[UInt8]] = []
        for first in UInt8(0xEF)...0xFF {
            for second in UInt8.min...UInt8.max {
                for tail in [[0x80, 0x80], [0xBF, 0xBF], [0x80, 0x7F], [0xC0, 0x80]] as [[UInt8]] {
                    let bytes = [first, second] + tail
                    if UTF8Validator.isValid(bytes.span) != isUTF8(bytes) { wrong.append(bytes) }
                }
            }
        }
        #expect(wrong == [])
    }

    @Test("Random texts with and without damage, in random pieces, 5,000 seeds")
    func random() {
        let scalars: [Unicode.Scalar] = ["a", "é", "ж", "€", "中", "\u{FFFF}", "😀", "\u{10FFFF}"]
        var wrong: [UInt64] = []
        for seed in UInt64(0)..<5_000 {
            var generator = SeededGenerator(seed: seed)
            var text = ""
            for _ in 0..<Int.random(in: 0...40, using: &generator) {
                let isASCII = Bool.random(using: &generator)
                text.unicodeScalars.append(
                    isASCII ? "x" : scalars.randomElement(using: &generator)!)
            }
            var bytes = Array(text.utf8)
            if !bytes.isEmpty && Bool.random(using: &generator) {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                bytes[index] = UInt8.random(in: 0x70...0xFF, using: &generator)
            }
            var validator = UTF8Validator()
            var isFine = true
            var position = 0
            while position < bytes.count {
                let end = min(
                    bytes.count, position + Int.random(in: 0...12, using: &generator))
                isFine = validator.feed(bytes.span, in: position..<end)
                position = end
            }
            if (isFine && validator.isComplete) != isUTF8(bytes) { wrong.append(seed) }
        }
        #expect(wrong == [])
    }

    @Test(
        "Text is refused at the first byte after which nothing could mend it",
        arguments: [
            ([0x80], 0), ([0xC0], 0), ([0xC1], 0), ([0xF5], 0), ([0xFF], 0),
            ([0xE0, 0x9F], 1), ([0xE0, 0xA0, 0x7F], 2), ([0xED, 0xA0], 1), ([0xF0, 0x8F], 1),
            ([0xF4, 0x90], 1), ([0xC2, 0x41], 1), ([0x41, 0xF1, 0x80, 0x80, 0xC0], 4),
            // Autobahn 6.4.1: valid Greek, then a value above U+10FFFF.
            ([0xCE, 0xBA, 0xE1, 0xBD, 0xB9, 0xF4, 0x90, 0x80, 0x80], 6),
        ] as [([UInt8], Int)])
    func failsFast(bytes: [UInt8], failingIndex: Int) {
        var validator = UTF8Validator()
        for index in bytes.indices {
            let isFine = validator.feed(bytes.span, in: index..<(index + 1))
            #expect(isFine == (index < failingIndex), "byte \(index)")
        }
        #expect(!validator.isComplete)
        let letter: [UInt8] = [0x41]
        let isMended = validator.feed(letter.span)
        #expect(!isMended, "a failure is for ever")
    }

    @Test("An unfinished character is possible but not complete")
    func incomplete() {
        for bytes in [[0xC3], [0xE2, 0x82], [0xF0, 0x9F, 0x98]] as [[UInt8]] {
            var validator = UTF8Validator()
            let isPossible = validator.feed(bytes.span)
            #expect(isPossible && !validator.isComplete)
            let isWhole = UTF8Validator.isValid(bytes.span)
            #expect(!isWhole)
        }
        #expect(UTF8Validator().isComplete)
        #expect(MemoryLayout<UTF8Validator>.size <= 8)
    }
}
