import Basics

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
        guard Base64URL.decode(text, 0..<text.count, to: &bytes) else { return nil }
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
        for number in [low, owner] {
            for shift in stride(from: 24, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: number >> UInt32(shift)))
            }
        }
        bytes.append(UInt8(truncatingIfNeeded: shard >> 8))
        bytes.append(UInt8(truncatingIfNeeded: shard))
        return Base64URL.encode(bytes)
    }
}
