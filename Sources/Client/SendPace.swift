import Basics

/// Keeps a client that is fed by a pipe below the server's default limits (20 messages a second,
/// burst 60), whose refusals count as strikes: at most 15 a second, burst 40.
struct SendPace: Hashable, Sendable {
    private static let intervalNs: UInt64 = 66_666_666
    private static let burst: UInt64 = 40
    /// When the bucket will be full again.
    private var fullAt = Instant.start

    /// Takes one; else the milliseconds to wait.
    mutating func take(now: Instant) -> Int? {
        let ahead = fullAt.nanoseconds(since: now)
        let bound = Self.intervalNs * (Self.burst - 1)
        guard ahead <= bound else { return Int((ahead - bound) / 1_000_000) + 1 }
        fullAt = Instant(nanoseconds: max(fullAt, now).nanoseconds &+ Self.intervalNs)
        return nil
    }
}
