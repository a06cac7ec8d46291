/// Names one connection of a shard: its slot, and the slot's generation, so that a key kept across
/// the connection's end is recognised as old. The same 64 bits go into the epoll data.
package struct ConnectionKey: Hashable, Sendable {
    package let slot: UInt32
    /// Never 0, so a packed key is never 0.
    package let generation: UInt32

    package init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }

    package init(packed: UInt64) {
        slot = UInt32(truncatingIfNeeded: packed)
        generation = UInt32(truncatingIfNeeded: packed >> 32)
    }

    package var packed: UInt64 { UInt64(generation) << 32 | UInt64(slot) }
}
