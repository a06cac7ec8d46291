/// The four bytes that a client XORs over its payload (RFC 6455 §5.3). They hide nothing: the mask
/// exists so that a page cannot choose the bytes that an intermediary sees.
public struct MaskingKey: Hashable, Sendable {
    /// The key with its first byte on the wire in the lowest eight bits.
    public let word: UInt32

    public init(word: UInt32) {
        self.word = word
    }

    /// The key in wire order.
    public init(_ first: UInt8, _ second: UInt8, _ third: UInt8, _ fourth: UInt8) {
        word =
            UInt32(first) | UInt32(second) << 8 | UInt32(third) << 16 | UInt32(fourth) << 24
    }

    /// The byte that masks payload byte `index` (RFC 6455 §5.3: `index MOD 4`).
    public func byte(at index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: word >> (UInt32(truncatingIfNeeded: index & 3) * 8))
    }
}

/// Masking and unmasking, which are the same operation.
public enum Masking {
    /// XORs `range` of `bytes` with the key, in place.
    ///
    /// `phase` is the index within the payload of the first byte of the range, so that a payload
    /// may be unmasked in the pieces in which it arrives. Sixteen bytes at a time.
    ///
    /// - Returns: whether all that came out is ASCII. It costs an instruction for sixteen bytes
    ///   here, and spares most texts a second reading.
    @inline(__always)
    @inlinable
    @discardableResult
    public static func apply(
        _ key: MaskingKey, to bytes: inout MutableSpan<UInt8>, in range: Range<Int>, phase: Int = 0
    ) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
        let shift = UInt32(truncatingIfNeeded: phase & 3) * 8
        let rotated = shift == 0 ? key.word : key.word >> shift | key.word << (32 - shift)
        let wide = (UInt64(rotated) | UInt64(rotated) << 32).littleEndian
        // The offsets stay inside `range`, which the precondition placed inside the span; every
        // bit pattern is a valid UInt64.
        var raw = unsafe bytes.mutableBytes
        var index = range.lowerBound
        let end = range.upperBound
        // Sixteen bytes at a time, in a vector; then what is left.
        let wider = SIMD2(repeating: wide)
        var seenWider = SIMD2<UInt64>.zero
        while end &- index >= 16 {
            let words =
                unsafe raw.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: index, as: SIMD2<UInt64>.self) ^ wider
            seenWider |= words
            unsafe raw.storeBytes(
                of: words, toUncheckedByteOffset: index, as: SIMD2<UInt64>.self)
            index &+= 16
        }
        var seen = seenWider[0] | seenWider[1]
        if end &- index >= 8 {
            let word =
                unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
                ^ wide
            seen |= word
            unsafe raw.storeBytes(of: word, toUncheckedByteOffset: index, as: UInt64.self)
            index &+= 8
        }
        var tail = UInt64(littleEndian: wide)
        while index < end {
            let byte =
                unsafe raw.unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
                ^ UInt8(truncatingIfNeeded: tail)
            seen |= UInt64(byte)
            unsafe raw.storeBytes(of: byte, toUncheckedByteOffset: index, as: UInt8.self)
            tail >>= 8
            index &+= 1
        }
        return seen & 0x8080_8080_8080_8080 == 0
    }

    /// The definition in the RFC's own terms, a byte at a time: the reference that tests hold
    /// `apply` against.
    public static func applyBytewise(
        _ key: MaskingKey, to bytes: inout MutableSpan<UInt8>, in range: Range<Int>, phase: Int = 0
    ) {
        for index in range {
            bytes[index] ^= key.byte(at: phase + index - range.lowerBound)
        }
    }
}
