/// A point on the monotonic clock, in nanoseconds since an arbitrary start. All timers use it, so
/// a jump of the wall clock moves none of them (P20).
public struct Instant: Hashable, Comparable, Sendable {
    public var nanoseconds: UInt64

    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static let start = Instant(nanoseconds: 0)

    public var milliseconds: UInt64 { nanoseconds / 1_000_000 }

    public func advanced(byMilliseconds milliseconds: Int) -> Instant {
        Instant(nanoseconds: nanoseconds &+ UInt64(max(0, milliseconds)) &* 1_000_000)
    }

    /// Nanoseconds from `earlier` to here; 0 where `earlier` is later.
    public func nanoseconds(since earlier: Instant) -> UInt64 {
        nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
    }

    /// Whole milliseconds from `earlier` to here; 0 where `earlier` is later.
    public func milliseconds(since earlier: Instant) -> Int {
        Int(nanoseconds(since: earlier) / 1_000_000)
    }

    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }
}

/// Milliseconds since 1970-01-01T00:00:00Z. For people and tokens, never for order or timers.
public struct WallTime: Hashable, Comparable, Sendable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func < (a: WallTime, b: WallTime) -> Bool { a.milliseconds < b.milliseconds }
}

/// The two clocks, read once a tick and passed down: nothing below the reactor reads a clock.
public struct Now: Sendable {
    public var instant: Instant
    public var wall: WallTime

    public init(instant: Instant, wall: WallTime) {
        self.instant = instant
        self.wall = wall
    }
}

/// The seam behind which time comes in. The system's clock in production, virtual time in the
/// simulator.
public protocol Clock {
    func now() -> Now
}
