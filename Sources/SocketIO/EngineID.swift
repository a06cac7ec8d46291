/// The id of an Engine.IO session: what its client names in each request, and whose knowledge is the
/// right to speak for the session.
///
///     96 random bits │ owner 32 │ shard 16        base64url, 24 characters
///
/// The owner is the instance's tag, which is random as well and says nothing of its address. The
/// random part alone names the session among those of a shard.
public struct EngineID: Hashable, Sendable {
    public let high: UInt64
    public let low: UInt32
    public let owner: UInt32
    public let shard: UInt16

    public static let textCount = 24

    public init(high: UInt64, low: UInt32, owner: UInt32, shard: UInt16) {
        self.high = high
        self.low = low
        self.owner = owner
        self.shard = shard
    }

    /// nil where the text is none of ours: another length, or another alphabet.
    public init?(_ text: Span<UInt8>) {
        guard text.count == Self.textCount else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(18)
        for start in stride(from: 0, to: Self.textCount, by: 4) {
            var group: UInt32 = 0
            for index in start..<start + 4 {
                guard let digit = Self.digit(of: text[index]) else { return nil }
                group = group << 6 | UInt32(digit)
            }
            bytes.append(UInt8(truncatingIfNeeded: group >> 16))
            bytes.append(UInt8(truncatingIfNeeded: group >> 8))
            bytes.append(UInt8(truncatingIfNeeded: group))
        }
        high = bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8..<12].reduce(0) { $0 << 8 | UInt32($1) }
        owner = bytes[12..<16].reduce(0) { $0 << 8 | UInt32($1) }
        shard = bytes[16..<18].reduce(0) { $0 << 8 | UInt16($1) }
    }

    public var text: String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(18)
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: high >> UInt64(shift)))
        }
        for shift in stride(from: 24, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: low >> UInt32(shift)))
        }
        for shift in stride(from: 24, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: owner >> UInt32(shift)))
        }
        bytes.append(UInt8(truncatingIfNeeded: shard >> 8))
        bytes.append(UInt8(truncatingIfNeeded: shard))
        var text = ""
        text.reserveCapacity(Self.textCount)
        for start in stride(from: 0, to: 18, by: 3) {
            let group =
                UInt32(bytes[start]) << 16 | UInt32(bytes[start + 1]) << 8
                | UInt32(bytes[start + 2])
            for shift in stride(from: 18, through: 0, by: -6) {
                text.unicodeScalars.append(
                    UnicodeScalar(Self.character(of: UInt8(group >> UInt32(shift) & 0x3F))))
            }
        }
        return text
    }

    private static func character(of digit: UInt8) -> UInt8 {
        switch digit {
        case 0..<26: UInt8(ascii: "A") + digit
        case 26..<52: UInt8(ascii: "a") + digit - 26
        case 52..<62: UInt8(ascii: "0") + digit - 52
        case 62: UInt8(ascii: "-")
        default: UInt8(ascii: "_")
        }
    }

    private static func digit(of character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }
}
