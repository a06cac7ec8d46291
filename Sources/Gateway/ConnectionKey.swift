/// Names one connection of an instance: its shard, its slot there, and the slot's generation, so
/// that a key kept across the connection's end is recognised as old. The same 64 bits go into the
/// epoll data.
///
///     63 … 32 generation │ 31 … 24 shard │ 23 … 0 slot
package struct ConnectionKey: Hashable, Sendable {
    package let packed: UInt64

    package static let maximumSlots = 1 << 24

    package init(slot: UInt32, shard: Int, generation: UInt32) {
        packed = UInt64(generation) << 32 | UInt64(shard & 0xFF) << 24 | UInt64(slot & 0xFF_FFFF)
    }

    package init(packed: UInt64) { self.packed = packed }

    package var slot: UInt32 { UInt32(packed & 0xFF_FFFF) }

    /// Never 0 for a real connection, so a packed key is never 0.
    package var generation: UInt32 { UInt32(packed >> 32) }
}
