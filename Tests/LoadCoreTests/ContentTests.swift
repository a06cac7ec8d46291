import LoadCore
import Testing

struct ContentTests {
    private static func text(_ head: Content.Head, size: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size)
        unsafe bytes.withUnsafeMutableBufferPointer {
            guard let base = $0.baseAddress else { return }
            unsafe Content.write(head, size: size, to: base)
        }
        return bytes
    }

    private static func head(_ bytes: [UInt8]) -> Content.Head? {
        unsafe bytes.withUnsafeBufferPointer {
            unsafe $0.baseAddress.flatMap { unsafe Content.read($0) }
        }
    }

    @Test("A content says what it is in hexadecimal at fixed places, then padding")
    func layout() {
        let head = Content.Head(
            run: 0xDEAD_BEEF, channel: 1, sender: 0x0A0B_0C0D, number: 0x9999_AAAA,
            time: 0x0123_4567_89AB_CDEF)
        #expect(
            String(decoding: Self.text(head, size: 56), as: UTF8.self)
                == "deadbeef.00000001.0a0b0c0d.9999aaaa.0123456789abcdef.mmm")
    }

    @Test(
        "What is written is read",
        arguments: [0, 1, 9, 10, 15, 16, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] as [UInt32])
    func roundTrip(number: UInt32) {
        let head = Content.Head(
            run: number, channel: ~number, sender: number ^ 0x5555_5555, number: number &+ 1,
            time: UInt64(number) << 32 | UInt64(~number))
        #expect(Self.head(Self.text(head, size: Content.headCount)) == head)
        #expect(Self.head(Self.text(head, size: 300)) == head)
    }

    @Test("Random heads are read as they were written")
    func randomRoundTrips() {
        var random = LoadRandom(seed: 5)
        for _ in 0..<10_000 {
            let head = Content.Head(
                run: UInt32(truncatingIfNeeded: random.next()),
                channel: UInt32(truncatingIfNeeded: random.next()),
                sender: UInt32(truncatingIfNeeded: random.next()),
                number: UInt32(truncatingIfNeeded: random.next()), time: random.next())
            #expect(Self.head(Self.text(head, size: 64)) == head)
        }
    }

    @Test("A text without the dots in their places is no content", arguments: [8, 17, 26, 35, 52])
    func dots(place: Int) {
        let head = Content.Head(run: 1, channel: 2, sender: 3, number: 4, time: 5)
        var text = Self.text(head, size: 60)
        text[place] = UInt8(ascii: "x")
        #expect(Self.head(text) == nil)
    }
}
