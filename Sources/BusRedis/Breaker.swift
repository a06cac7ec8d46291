import Basics

/// Decides when to try to connect again. A value: time and chance come in.
///
///              five failures in a row            30 s
///     closed ───────────────────────────► open ────────► half-open: one attempt
///       ▲ ▲                                ▲                 │      │
///       │ └─ waits 50 ms, 200 ms, 800 ms,  └──── fails ──────┘      │
///       │    2 s between attempts                                   │
///       └───────────────────── connects ────────────────────────────┘
///
/// The waits are jittered, so that instances which lost the same Redis do not come back in step. A
/// connection ends the row of failures only when it has lasted a second: one that is lost at once,
/// again and again, is no better than none.
package struct Breaker: Hashable, Sendable {
    package enum State: String, Hashable, Sendable {
        case closed, open
        case halfOpen = "half-open"
    }

    package static let failuresToOpen = 5
    package static let openMs = 30_000
    package static let firstWaitMs = 50
    package static let longestWaitMs = 2_000
    package static let stableMs = 1_000

    package private(set) var state = State.closed
    /// Failures in a row.
    package private(set) var failures = 0
    /// Before it, no attempt.
    package private(set) var nextAttempt = Instant.start
    private var connectedAt: Instant?

    package init() {}

    /// Whether an attempt may begin. The first one after the wait of an open breaker makes it
    /// half-open.
    package mutating func mayAttempt(_ now: Instant) -> Bool {
        guard now >= nextAttempt else { return false }
        if state == .open { state = .halfOpen }
        return true
    }

    /// Whether the wait after a failure is not over.
    package func isWaiting(_ now: Instant) -> Bool { now < nextAttempt }

    package mutating func connected(_ now: Instant) {
        state = .closed
        connectedAt = now
    }

    /// An attempt failed, or a connection was lost.
    ///
    /// - Parameter jitter: 0 for the shortest wait up to `UInt64.max` for the longest.
    package mutating func failed(_ now: Instant, jitter: UInt64) {
        if let connectedAt, now.milliseconds(since: connectedAt) >= Self.stableMs { failures = 0 }
        connectedAt = nil
        failures += 1
        if state == .halfOpen || failures >= Self.failuresToOpen {
            state = .open
            nextAttempt = now.advanced(byMilliseconds: Self.openMs)
            return
        }
        let longest = min(Self.longestWaitMs, Self.firstWaitMs << (2 * (failures - 1)))
        let shortest = max(Self.firstWaitMs, longest / 2)
        let span = UInt64(longest - shortest + 1)
        let wait = shortest + Int(jitter.multipliedFullWidth(by: span).high)
        nextAttempt = now.advanced(byMilliseconds: wait)
    }
}
