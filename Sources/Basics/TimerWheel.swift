/// One ring of slots of 16 ms, for many timers that are mostly moved before they fire.
///
/// A timer is a token and a deadline; it is never cancelled. Whoever receives a token checks
/// whether it still means anything (a generation, a later deadline) and schedules again if so: that
/// makes scheduling an append, and moving a deadline free.
///
/// Deadlines beyond one turn (16 s) wait in their slot for another turn. Tokens fire at or up to
/// 16 ms after their deadline, never before; those of one slot fire in the order of scheduling.
public struct TimerWheel {
    public struct Token: Hashable, Sendable {
        public var kind: UInt8
        public var value: UInt64

        public init(kind: UInt8, value: UInt64) {
            self.kind = kind
            self.value = value
        }
    }

    /// 16 bytes: an idle connection has one or two of them.
    private struct Entry {
        var value: UInt64
        /// Its low half: two ticks of one wheel are never two years apart.
        var tick: UInt32
        var kind: UInt8

        func isDue(at tick: UInt64) -> Bool {
            Int32(bitPattern: self.tick &- UInt32(truncatingIfNeeded: tick)) <= 0
        }
    }

    public static let resolutionMilliseconds: UInt64 = 16
    private static let slotCount = 1024

    private var slots: [[Entry]]
    /// One bit a slot that holds anything, to find the next one without touching 1,024 arrays.
    private var occupied: [UInt64]
    /// The last tick whose slot has been emptied.
    private var currentTick: UInt64
    public private(set) var count = 0

    public init(now: Instant) {
        slots = Array(repeating: [], count: Self.slotCount)
        occupied = Array(repeating: 0, count: Self.slotCount / 64)
        currentTick = now.milliseconds / Self.resolutionMilliseconds
    }

    public mutating func schedule(_ token: Token, at deadline: Instant) {
        let exact = (deadline.nanoseconds &+ 15_999_999) / 16_000_000
        let tick = UInt32(truncatingIfNeeded: max(exact, currentTick + 1))
        insert(Entry(value: token.value, tick: tick, kind: token.kind))
        count += 1
    }

    /// When the earliest slot that holds anything is due; nil where nothing is scheduled. It may be
    /// early for a deadline that is more than one turn away.
    public func nextDeadline() -> Instant? {
        guard count > 0 else { return nil }
        let first = Int((currentTick + 1) % UInt64(Self.slotCount))
        var distance = 0
        while distance < Self.slotCount {
            let slot = (first + distance) % Self.slotCount
            let word = occupied[slot / 64] >> UInt64(slot % 64)
            if word != 0 {
                let tick = currentTick + 1 + UInt64(distance + word.trailingZeroBitCount)
                return Instant(nanoseconds: tick * Self.resolutionMilliseconds * 1_000_000)
            }
            distance += 64 - slot % 64
        }
        return nil
    }

    /// Appends all tokens that are due to `fired`, earliest slot first.
    public mutating func advance(to now: Instant, fired: inout [Token]) {
        let target = now.milliseconds / Self.resolutionMilliseconds
        guard target > currentTick else { return }
        guard count > 0 else {
            currentTick = target
            return
        }
        // After a long pause each slot needs one visit only.
        let turns = min(target - currentTick, UInt64(Self.slotCount))
        let firstTick = currentTick + 1
        currentTick = target
        for step in 0..<turns {
            let slot = Int((firstTick + step) % UInt64(Self.slotCount))
            guard occupied[slot / 64] & (1 << UInt64(slot % 64)) != 0 else { continue }
            let entries = slots[slot]
            slots[slot] = []
            occupied[slot / 64] &= ~(1 << UInt64(slot % 64))
            for entry in entries {
                if entry.isDue(at: target) {
                    fired.append(Token(kind: entry.kind, value: entry.value))
                    count -= 1
                } else {
                    insert(entry)
                }
            }
        }
    }

    private mutating func insert(_ entry: Entry) {
        let slot = Int(entry.tick % UInt32(Self.slotCount))
        // By an eighth, not by doubling: with many connections these are a part of what each takes.
        if slots[slot].count >= 64, slots[slot].count == slots[slot].capacity {
            slots[slot].reserveCapacity(slots[slot].count + slots[slot].count / 8)
        }
        slots[slot].append(entry)
        occupied[slot / 64] |= 1 << UInt64(slot % 64)
    }
}
