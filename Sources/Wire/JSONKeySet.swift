/// Finds a member name that occurs twice in one object, comparing decoded names: `"a"` and
/// `"\u0061"` are the same. RFC 8259 §4 leaves such documents unpredictable, and a proxy that reads
/// the first while we read the last is a way around every check it makes; so they are refused.
///
/// Small objects are compared pair by pair, by length first, which costs next to nothing. Larger
/// ones go through a hash table whose seed the peer does not know, so that 8,000 chosen names stay
/// linear.
struct JSONKeySet {
    /// Up to here pairs are compared: at most 28 comparisons, mostly of lengths.
    static let pairwiseLimit = 8

    private let seed: UInt64

    /// Open addressing, a power of two, at most half full: upper half hash, lower half entry + 1.
    private var slots: [UInt64] = []
    private var firstDecoded: [UInt8] = []
    private var secondDecoded: [UInt8] = []

    init(seed: UInt64) { self.seed = seed }

    /// - Throws: `.duplicateKey` at the second occurrence.
    @inline(__always)
    mutating func requireDistinct(
        _ source: borrowing Span<UInt8>, _ nodes: borrowing Span<JSONEntry>, object: Int
    ) throws(JSONError) {
        if !obviouslyDistinct(source, nodes, object) { try compare(source, nodes, object) }
    }

    /// One pass over the names with a set of 64 (length, first byte) classes: typical envelopes
    /// need no more. False means "not sure".
    @inline(__always)
    private func obviouslyDistinct(
        _ source: borrowing Span<UInt8>, _ nodes: borrowing Span<JSONEntry>, _ object: Int
    ) -> Bool {
        let end = Int(nodes[object].link)
        var seen: UInt64 = 0
        var key = object &+ 1
        while key < end {
            let entry = nodes[key]
            // An empty name has its closing quote there.
            let first = Int32(source[Int(entry.start)])
            let bit: UInt64 = 1 &<< UInt64(truncatingIfNeeded: entry.count &* 7 &+ first)
            if seen & bit != 0 || entry.hasEscapes { return false }
            seen |= bit
            key = Int(nodes[key &+ 1].link)
        }
        return true
    }

    @inline(never)
    private mutating func compare(
        _ source: borrowing Span<UInt8>, _ nodes: borrowing Span<JSONEntry>, _ object: Int
    ) throws(JSONError) {
        if Int(nodes[object].count) <= Self.pairwiseLimit {
            try comparePairs(source, nodes, object)
        } else {
            try hash(source, nodes, object)
        }
    }

    private mutating func comparePairs(
        _ source: borrowing Span<UInt8>, _ nodes: borrowing Span<JSONEntry>, _ object: Int
    ) throws(JSONError) {
        let end = Int(nodes[object].link)
        var second = Int(nodes[object &+ 1 &+ 1].link)
        while second < end {
            let entry = nodes[second]
            var first = object &+ 1
            while first < second {
                let other = nodes[first]
                if other.count == entry.count, sameName(source, other, entry) {
                    throw JSONError(.duplicateKey, at: Int(entry.start) &- 1)
                }
                first = Int(nodes[first &+ 1].link)
            }
            second = Int(nodes[second &+ 1].link)
        }
    }

    @inline(never)
    private mutating func hash(
        _ source: borrowing Span<UInt8>, _ nodes: borrowing Span<JSONEntry>, _ object: Int
    ) throws(JSONError) {
        var size = 32
        while size < 2 * Int(nodes[object].count) { size *= 2 }
        if slots.count < size {
            slots = [UInt64](repeating: 0, count: size)
        } else {
            for index in 0..<size { slots[index] = 0 }
        }
        let mask = UInt64(size - 1)
        let end = Int(nodes[object].link)
        var key = object &+ 1
        while key < end {
            let entry = nodes[key]
            let hash = hash(source, entry)
            let tag = hash & 0xFFFF_FFFF_0000_0000
            var slot = Int(truncatingIfNeeded: hash & mask)
            while slots[slot] != 0 {
                if slots[slot] & 0xFFFF_FFFF_0000_0000 == tag {
                    let other = nodes[Int(truncatingIfNeeded: slots[slot] & 0xFFFF_FFFF) &- 1]
                    if other.count == entry.count, sameName(source, other, entry) {
                        throw JSONError(.duplicateKey, at: Int(entry.start) &- 1)
                    }
                }
                slot = Int(truncatingIfNeeded: UInt64(slot &+ 1) & mask)
            }
            slots[slot] = tag | UInt64(key &+ 1)
            key = Int(nodes[key &+ 1].link)
        }
    }

    private mutating func sameName(
        _ source: borrowing Span<UInt8>, _ first: JSONEntry, _ second: JSONEntry
    ) -> Bool {
        if !first.hasEscapes, !second.hasEscapes {
            return source.equals(first.range, second.range)
        }
        firstDecoded.removeAll(keepingCapacity: true)
        secondDecoded.removeAll(keepingCapacity: true)
        JSONScanner.decode(source, first.range, into: &firstDecoded)
        JSONScanner.decode(source, second.range, into: &secondDecoded)
        return firstDecoded == secondDecoded
    }

    private mutating func hash(_ source: borrowing Span<UInt8>, _ entry: JSONEntry) -> UInt64 {
        guard entry.hasEscapes else { return hash(source, entry.range) }
        firstDecoded.removeAll(keepingCapacity: true)
        JSONScanner.decode(source, entry.range, into: &firstDecoded)
        return hash(firstDecoded.span, 0..<firstDecoded.count)
    }

    /// Multiply and fold, as in wyhash: one multiplication for each eight bytes.
    private func hash(_ bytes: borrowing Span<UInt8>, _ range: Range<Int>) -> UInt64 {
        let words = unsafe bytes.bytes
        var state = seed ^ UInt64(range.count)
        var position = range.lowerBound
        while position &+ 8 <= range.upperBound {
            // Bounds are checked by the call.
            let word = unsafe words.unsafeLoadUnaligned(
                fromByteOffset: position, as: UInt64.self)
            state = fold(state, UInt64(littleEndian: word))
            position &+= 8
        }
        var tail: UInt64 = 0
        while position < range.upperBound {
            tail = tail &<< 8 | UInt64(bytes[position])
            position &+= 1
        }
        return fold(fold(state, tail), 0)
    }

    @inline(__always)
    private func fold(_ state: UInt64, _ word: UInt64) -> UInt64 {
        let product = (state ^ 0x9E37_79B9_7F4A_7C15)
            .multipliedFullWidth(by: word ^ seed ^ 0xA076_1D64_78BD_642F)
        return product.high ^ product.low
    }
}
