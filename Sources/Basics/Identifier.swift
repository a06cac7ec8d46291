/// A 128-bit identifier whose text sorts by the time it was made: UUID version 7 (RFC 9562 §5.7).
public struct Identifier: Hashable, Sendable {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// From the usual form; nil for any other text, so that an identifier stands for one text only.
    public init?(text: String) {
        guard text.utf8.count == 36 else { return nil }
        var (high, low): (UInt64, UInt64) = (0, 0)
        var digits = 0
        for (index, byte) in text.utf8.enumerated() {
            if index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            let nibble: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): nibble = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): nibble = byte - UInt8(ascii: "a") + 10
            default: return nil
            }
            if digits < 16 {
                high = high << 4 | UInt64(nibble)
            } else {
                low = low << 4 | UInt64(nibble)
            }
            digits += 1
        }
        self.init(high: high, low: low)
    }

    /// The usual 36-character lower-case form.
    public var text: String {
        unsafe String(unsafeUninitializedCapacity: 36) { buffer in
            var out = 0
            for index in 0..<32 {
                if index == 8 || index == 12 || index == 16 || index == 20 {
                    unsafe buffer[out] = UInt8(ascii: "-")
                    out += 1
                }
                let word = index < 16 ? high : low
                let nibble = UInt8(truncatingIfNeeded: word >> UInt64(60 - (index & 15) * 4)) & 15
                unsafe buffer[out] =
                    nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10
                out += 1
            }
            return 36
        }
    }
}

/// Makes identifiers that strictly ascend within one generator: a counter of 12 bits fills the
/// sub-millisecond field and spills into the time, so a clock that steps back does not repeat one.
public struct IdentifierGenerator {
    private var random: any RandomNumberGenerator
    private var lastTimeAndCounter: UInt64 = 0

    public init(random: any RandomNumberGenerator) { self.random = random }

    public mutating func next(at wall: WallTime) -> Identifier {
        let fresh = UInt64(max(0, wall.milliseconds)) << 12
        lastTimeAndCounter = max(lastTimeAndCounter &+ 1, fresh)
        let time = lastTimeAndCounter >> 12
        let counter = lastTimeAndCounter & 0xFFF
        return Identifier(
            high: time << 16 | 0x7000 | counter,
            low: 0x8000_0000_0000_0000 | random.next() >> 2)
    }

    /// 64 unpredictable bits, for jitter and for names that must not be guessed.
    public mutating func bits() -> UInt64 { random.next() }
}
