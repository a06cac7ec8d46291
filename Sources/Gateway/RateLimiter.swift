import Basics

/// A token bucket: `rate` a period, at most `burst` at once. A rate of `Limits.off` never refuses.
package struct TokenBucket: Sendable {
    private var thousandths: Int
    private var refilledAt: Instant

    package init(full burst: Int, now: Instant) {
        thousandths = burst == Limits.off ? 0 : burst * 1_000
        refilledAt = now
    }

    /// Takes one token. Returns nil where there was one, else the milliseconds until there will be.
    package mutating func take(
        rate: Int, periodMs: Int, burst: Int, now: Instant
    ) -> Int? {
        guard rate != Limits.off, burst != Limits.off else { return nil }
        let elapsed = min(now.milliseconds(since: refilledAt), 3_600_000)
        let gained = elapsed * rate * 1_000 / periodMs
        if gained > 0 {
            thousandths = min(burst * 1_000, thousandths + gained)
            refilledAt = now
        }
        if thousandths >= 1_000 {
            thousandths -= 1_000
            return nil
        }
        // Rounded up: whoever waits for as long as that finds a token.
        let perPeriod = rate * 1_000
        return max(1, ((1_000 - thousandths) * periodMs + perPeriod - 1) / perPeriod)
    }
}

extension TokenBucket {
    /// Whether it says no more than a new one would.
    package func isFull(rate: Int, periodMs: Int, burst: Int, now: Instant) -> Bool {
        guard rate != Limits.off, burst != Limits.off else { return true }
        let elapsed = min(now.milliseconds(since: refilledAt), 3_600_000)
        return thousandths + elapsed * rate * 1_000 / periodMs >= burst * 1_000
    }
}

/// Counts events in a window that starts with the first: the strikes of a client that does not slow
/// down.
package struct WindowCounter: Sendable {
    private var count = 0
    private var startedAt = Instant.start

    package init() {}

    /// Whether this one reaches the limit.
    package mutating func add(limit: Int, windowMs: Int, now: Instant) -> Bool {
        guard limit != Limits.off else { return false }
        if count == 0 || now.milliseconds(since: startedAt) >= windowMs {
            count = 0
            startedAt = now
        }
        count += 1
        return count >= limit
    }
}
