/// SHA-1 (FIPS 180-4 §6.1), because RFC 6455 §4.2.2 builds the accept key from it. There it proves
/// that the server read the request, and nothing else: this is the protocol's digest, never to be
/// used where an attacker gains by a collision.
enum SHA1 {
    /// The five words that the blocks are folded into: the digest, most significant byte first.
    typealias Digest = InlineArray<5, UInt32>

    static func digest(_ message: Span<UInt8>) -> Digest {
        var state: Digest = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
        // §5.1.1: a one bit, zeros, and the length in bits as the last eight bytes of a block.
        let blocks = (message.count + 8) / 64 + 1
        let bits = UInt64(message.count) * 8
        for block in 0..<blocks {
            var schedule = InlineArray<80, UInt32>(repeating: 0)
            for index in 0..<16 { schedule[index] = word(block * 16 + index, of: message) }
            if block == blocks - 1 {
                schedule[14] = UInt32(truncatingIfNeeded: bits >> 32)
                schedule[15] = UInt32(truncatingIfNeeded: bits)
            }
            mix(&schedule, into: &state)
        }
        return state
    }

    /// Four bytes of the message, or of the one bit and the zeros behind it.
    private static func word(_ index: Int, of message: Span<UInt8>) -> UInt32 {
        let start = 4 * index
        if start + 4 <= message.count {
            // In bounds; every bit pattern is a valid UInt32.
            return UInt32(
                bigEndian: unsafe message.bytes.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: start, as: UInt32.self))
        }
        if start > message.count { return 0 }
        var word: UInt32 = 0
        for place in start..<(start + 4) {
            let byte = place < message.count ? message[place] : place == message.count ? 0x80 : 0
            word = word << 8 | UInt32(byte)
        }
        return word
    }

    /// §6.1.2. Five rounds at a time, so that the five words change their roles by their names: as
    /// one loop with a choice of the function in it, this took four times as long.
    ///
    /// - Parameter schedule: its first sixteen words are the block.
    private static func mix(_ schedule: inout InlineArray<80, UInt32>, into state: inout Digest) {
        // Unchecked: each index is below 80 by the loops' own numbers.
        for index in 16..<80 {
            let mixed =
                unsafe schedule[unchecked: index &- 3] ^ schedule[unchecked: index &- 8]
                ^ schedule[unchecked: index &- 14] ^ schedule[unchecked: index &- 16]
            unsafe schedule[unchecked: index] = rotate(mixed, by: 1)
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        @inline(__always)
        func rounds(
            from first: Int, _ constant: UInt32, _ choice: (UInt32, UInt32, UInt32) -> UInt32
        ) {
            @inline(__always)
            func round(
                _ index: Int, _ a: UInt32, _ b: inout UInt32, _ c: UInt32, _ d: UInt32,
                _ e: inout UInt32
            ) {
                e &+= rotate(a, by: 5) &+ choice(b, c, d) &+ constant
                unsafe e &+= schedule[unchecked: index]
                b = rotate(b, by: 30)
            }
            var index = first
            while index < first &+ 20 {
                round(index, a, &b, c, d, &e)
                round(index &+ 1, e, &a, b, c, &d)
                round(index &+ 2, d, &e, a, b, &c)
                round(index &+ 3, c, &d, e, a, &b)
                round(index &+ 4, b, &c, d, e, &a)
                index &+= 5
            }
        }
        rounds(from: 0, 0x5A82_7999) { $0 & $1 | ~$0 & $2 }
        rounds(from: 20, 0x6ED9_EBA1) { $0 ^ $1 ^ $2 }
        rounds(from: 40, 0x8F1B_BCDC) { $0 & $1 | $0 & $2 | $1 & $2 }
        rounds(from: 60, 0xCA62_C1D6) { $0 ^ $1 ^ $2 }
        state = [state[0] &+ a, state[1] &+ b, state[2] &+ c, state[3] &+ d, state[4] &+ e]
    }

    @inline(__always)
    private static func rotate(_ word: UInt32, by count: UInt32) -> UInt32 {
        word &<< count | word &>> (32 &- count)
    }
}
