/// Writes that a driver has a copy of and has not made: as the real one does, where the kernel takes
/// many at once.
package struct HeldWrites {
    /// The real one's too.
    private static let largest = 4_096

    private var writes: [(tag: UInt64, bytes: [UInt8])] = []

    package init() {}

    package var count: Int { writes.count }

    /// False where they are too large to be copied.
    package mutating func hold(
        _ tag: UInt64, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>
    ) -> Bool {
        var bytes: [UInt8] = []
        for index in 0..<chunks.count { unsafe bytes.append(contentsOf: chunks[index]) }
        guard bytes.count <= Self.largest else { return false }
        writes.append((tag, bytes))
        return true
    }

    /// Makes them all, and only then tells of them, in their order.
    package mutating func settle(
        _ write: (_ tag: UInt64, [UInt8]) -> Int,
        _ tell: (_ tag: UInt64, _ offered: Int, Int) -> Void
    ) {
        let made = writes.map { ($0.tag, $0.bytes.count, write($0.tag, $0.bytes)) }
        writes = []
        for (tag, offered, written) in made { tell(tag, offered, written) }
    }
}
