import Basics

/// When an Engine.IO session is to be pinged, and when it has ended for want of a pong.
///
///     open ─ interval ─► ping due ── ping sent ─► pong due (timeout) ─► dead
///                ▲                        │ pong
///                └────────────────────────┘
///
/// Both are instants that were fixed by the one before, not by when a timer fired: a client that
/// comes back exactly `interval + timeout` after its handshake finds the session ended, whether or
/// not the wheel has turned. Only pings count for the client, so they are due whatever else flows.
///
/// An *extra* ping, which asks a client to acknowledge what it was given, has the same timeout and
/// begins the interval anew.
///
/// Source: the Engine.IO protocol, version 4, "Heartbeat".
public struct Heartbeat: Sendable {
    /// The ping was due then: sent or not, its timeout runs from here. Otherwise it is due then.
    private var due: Instant
    /// A ping was sent, and its pong has not come.
    public private(set) var awaitsPong = false

    public init(openedAt now: Instant, intervalMs: Int) {
        due = now.advanced(byMilliseconds: intervalMs)
    }

    /// When something is to be done.
    public func nextCheck(timeoutMs: Int) -> Instant {
        awaitsPong ? due.advanced(byMilliseconds: timeoutMs) : due
    }

    public enum Step: Equatable, Sendable {
        case nothing
        case ping
        case dead
    }

    /// What is to be done now. A session is dead from the very instant on.
    public mutating func step(now: Instant, timeoutMs: Int) -> Step {
        guard now >= due else { return .nothing }
        if awaitsPong {
            return now >= due.advanced(byMilliseconds: timeoutMs) ? .dead : .nothing
        }
        awaitsPong = true
        // We stood still ourselves: the client has its whole time all the same.
        if now >= due.advanced(byMilliseconds: 1_000) { due = now }
        return .ping
    }

    /// A ping goes out of turn. False where one is under way already.
    public mutating func pingEarly(now: Instant) -> Bool {
        guard !awaitsPong else { return false }
        awaitsPong = true
        due = now
        return true
    }

    /// A pong came, asked for or not.
    public mutating func pong(now: Instant, intervalMs: Int) {
        awaitsPong = false
        due = now.advanced(byMilliseconds: intervalMs)
    }
}
