/// SHA-1 (FIPS 180-4 §6.1), because RFC 6455 §4.2.2 builds the accept key from it. There it proves
/// that the server read the request, and nothing else: this is the protocol's digest, never to be
/// used where an attacker gains by a collision.
enum SHA1 {
    /// The 20 bytes of the digest.
    static func digest(_ message: Span<UInt8>) -> [UInt8] {
        var state = State()
        var block = InlineArray<64, UInt8>(repeating: 0)
        var filled = 0
        func push(_ byte: UInt8) {
            block[filled] = byte
            filled += 1
            if filled == 64 {
                state.mix(block)
                filled = 0
            }
        }
        for index in 0..<message.count { push(message[index]) }
        // §5.1.1: a one bit, zeros, and the length in bits as the last eight bytes of a block.
        push(0x80)
        while filled != 56 { push(0) }
        let bits = UInt64(message.count) * 8
        for shift in stride(from: 56, through: 0, by: -8) {
            push(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
        return state.bytes
    }

    /// The five words that the blocks are folded into.
    private struct State {
        var a: UInt32 = 0x6745_2301
        var b: UInt32 = 0xEFCD_AB89
        var c: UInt32 = 0x98BA_DCFE
        var d: UInt32 = 0x1032_5476
        var e: UInt32 = 0xC3D2_E1F0

        /// §6.1.2, with the message schedule kept in sixteen words (§6.1.3).
        mutating func mix(_ block: borrowing InlineArray<64, UInt8>) {
            var schedule = InlineArray<16, UInt32>(repeating: 0)
            for word in 0..<16 {
                schedule[word] =
                    UInt32(block[4 * word]) << 24 | UInt32(block[4 * word + 1]) << 16
                    | UInt32(block[4 * word + 2]) << 8 | UInt32(block[4 * word + 3])
            }
            var (v, w, x, y, z) = (a, b, c, d, e)
            for round in 0..<80 {
                let slot = round & 15
                if round >= 16 {
                    let mixed =
                        schedule[(round + 13) & 15] ^ schedule[(round + 8) & 15]
                        ^ schedule[(round + 2) & 15] ^ schedule[slot]
                    schedule[slot] = Self.rotate(mixed, by: 1)
                }
                let (choice, constant): (UInt32, UInt32) =
                    switch round {
                    case 0..<20: (w & x | ~w & y, 0x5A82_7999)
                    case 20..<40: (w ^ x ^ y, 0x6ED9_EBA1)
                    case 40..<60: (w & x | w & y | x & y, 0x8F1B_BCDC)
                    default: (w ^ x ^ y, 0xCA62_C1D6)
                    }
                let next = Self.rotate(v, by: 5) &+ choice &+ z &+ constant &+ schedule[slot]
                (v, w, x, y, z) = (next, v, Self.rotate(w, by: 30), x, y)
            }
            a &+= v
            b &+= w
            c &+= x
            d &+= y
            e &+= z
        }

        private static func rotate(_ word: UInt32, by count: UInt32) -> UInt32 {
            word << count | word >> (32 - count)
        }

        /// The words, most significant byte first.
        var bytes: [UInt8] {
            var output: [UInt8] = []
            output.reserveCapacity(20)
            for word in [a, b, c, d, e] {
                for shift in [24, 16, 8, 0] as [UInt32] {
                    output.append(UInt8(truncatingIfNeeded: word >> shift))
                }
            }
            return output
        }
    }
}
