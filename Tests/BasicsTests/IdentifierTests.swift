import Basics
import Testing

@Suite("Identifier: UUID version 7 (RFC 9562 §5.7)")
struct IdentifierTests {
    private func generator(_ seed: UInt64 = 1) -> IdentifierGenerator {
        IdentifierGenerator(random: SplitMix64(seed: seed))
    }

    @Test("The text is 36 characters in the usual groups, lower case")
    func text() {
        let identifier = Identifier(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210)
        #expect(identifier.text == "01234567-89ab-cdef-fedc-ba9876543210")
        #expect(Identifier(high: 0, low: 0).text == "00000000-0000-0000-0000-000000000000")
    }

    @Test("Time in the first 48 bits, version 7, variant 2")
    func layout() {
        var generator = generator()
        let wall: Int64 = 1_767_225_600_123
        for _ in 0..<100 {
            let identifier = generator.next(at: WallTime(milliseconds: wall))
            #expect(identifier.high >> 16 == UInt64(wall))
            #expect(identifier.high >> 12 & 0xF == 7)
            #expect(identifier.low >> 62 == 0b10)
            let text = Array(identifier.text)
            #expect(text[14] == "7" && "89ab".contains(text[19]))
        }
    }

    @Test("The example of RFC 9562 §A.6 has the time that it names")
    func example() {
        var generator = generator()
        let identifier = generator.next(at: WallTime(milliseconds: 0x017F_22E2_79B0))
        #expect(identifier.text.hasPrefix("017f22e2-79b0-7"))
    }

    @Test("One generator's identifiers ascend, as numbers and as text, within a millisecond too")
    func ascending() {
        var generator = generator()
        var last = generator.next(at: WallTime(milliseconds: 1_000))
        for step in 0..<20_000 {
            let next = generator.next(at: WallTime(milliseconds: 1_000 + Int64(step / 5_000)))
            #expect(next.high > last.high)
            #expect(next.text > last.text)
            last = next
        }
    }

    @Test("More than 4,096 in one millisecond spill into the next, and stay well formed")
    func spill() {
        var generator = generator()
        let wall = WallTime(milliseconds: 50)
        let many = (0..<4_098).map { _ in generator.next(at: wall) }
        #expect(many[4_095].high >> 16 == 50)
        #expect(many[4_096].high >> 16 == 51)
        #expect(many.allSatisfy { $0.high >> 12 & 0xF == 7 })
        #expect(Set(many).count == many.count)
    }

    @Test(
        "A clock that steps back repeats nothing and descends never",
        arguments: [1, 1_000, 86_400_000])
    func steppingBack(milliseconds: Int64) {
        var generator = generator()
        let before = generator.next(at: WallTime(milliseconds: 1_767_225_600_000))
        let after = generator.next(at: WallTime(milliseconds: 1_767_225_600_000 - milliseconds))
        #expect(after.high > before.high)
        let later = generator.next(at: WallTime(milliseconds: 1_767_225_600_001))
        #expect(later.high > after.high && later.high >> 16 == 1_767_225_600_001)
    }

    @Test("A time before 1970 counts as 1970")
    func beforeTheEpoch() {
        var generator = generator()
        let identifier = generator.next(at: WallTime(milliseconds: -5))
        #expect(identifier.high >> 16 == 0)
    }

    @Test("Two generators at the same time make different ones")
    func random() {
        var first = generator(1)
        var second = generator(2)
        let wall = WallTime(milliseconds: 1_000)
        #expect(first.next(at: wall).low != second.next(at: wall).low)
        #expect(first.bits() != second.bits())
    }
}

extension IdentifierTests {
    @Test("Its own text is read back as it; no other spelling is")
    func reading() {
        var generator = IdentifierGenerator(random: SplitMix64(seed: 5))
        for _ in 0..<100 {
            let identifier = generator.next(at: WallTime(milliseconds: 1_767_225_600_123))
            #expect(Identifier(text: identifier.text) == identifier)
        }
        let text = "01234567-89ab-cdef-fedc-ba9876543210"
        #expect(Identifier(text: text)?.text == text)
        // Another digit is another identifier, and what is no digit is none.
        let digits = Set("0123456789abcdef")
        for index in text.indices {
            for mark in ["g", "A", "/", ":", "`", "é", "-", "0"] where mark != String(text[index]) {
                var other = text
                other.replaceSubrange(index...index, with: mark)
                let isOne = text[index] != "-" && digits.contains(mark)
                #expect(Identifier(text: other)?.text == (isOne ? other : nil))
            }
        }
        for wrong in ["", "0", String(text.dropLast()), text + "0", text.uppercased()] {
            #expect(Identifier(text: wrong) == nil)
        }
    }
}
