/// SipHash-2-4 (Aumasson, Bernstein 2012): a hash whose collisions nobody can make without the key.
/// The index of client message ids is by such a hash, cut short; with an unkeyed one a
/// client could choose ids that all meet in one place and make each send walk them all.
struct SipHash {
    private let key: (UInt64, UInt64)

    /// - Parameter key: 16 bytes, as in the paper: two little-endian words.
    init(key: [UInt8]) {
        self.key = (Self.word(key, at: 0), Self.word(key, at: 8))
    }

    func hash(_ bytes: [UInt8]) -> UInt64 {
        var state = State(key)
        let whole = bytes.count & ~7
        var index = 0
        while index < whole {
            state.take(Self.word(bytes, at: index))
            index += 8
        }
        state.take(Self.word(bytes, at: whole) | UInt64(truncatingIfNeeded: bytes.count) << 56)
        return state.finish()
    }

    /// Eight bytes, little-endian; those past the end are 0.
    private static func word(_ bytes: [UInt8], at start: Int) -> UInt64 {
        var word: UInt64 = 0
        for index in start..<max(start, min(start + 8, bytes.count)) {
            word |= UInt64(bytes[index]) << UInt64((index - start) * 8)
        }
        return word
    }

    private struct State {
        var v0, v1, v2, v3: UInt64

        init(_ key: (UInt64, UInt64)) {
            v0 = key.0 ^ 0x736f_6d65_7073_6575
            v1 = key.1 ^ 0x646f_7261_6e64_6f6d
            v2 = key.0 ^ 0x6c79_6765_6e65_7261
            v3 = key.1 ^ 0x7465_6462_7974_6573
        }

        mutating func take(_ word: UInt64) {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }

        mutating func finish() -> UInt64 {
            v2 ^= 0xFF
            for _ in 0..<4 { round() }
            return v0 ^ v1 ^ v2 ^ v3
        }

        private mutating func round() {
            v0 &+= v1
            v1 = Self.rotate(v1, 13) ^ v0
            v0 = Self.rotate(v0, 32)
            v2 &+= v3
            v3 = Self.rotate(v3, 16) ^ v2
            v0 &+= v3
            v3 = Self.rotate(v3, 21) ^ v0
            v2 &+= v1
            v1 = Self.rotate(v1, 17) ^ v2
            v2 = Self.rotate(v2, 32)
        }

        private static func rotate(_ word: UInt64, _ count: UInt64) -> UInt64 {
            word << count | word >> (64 - count)
        }
    }
}
