import Basics
import HTTP
import Identity

/// What the shards of a node are told once, at start.
package struct GatewayConfiguration: Sendable {
    package var limits: Limits
    package var tokenKeys: [TokenKey]
    /// Exact values of `Origin` that browsers may come with.
    package var allowedOrigins: [String]
    package var forwardedFor: ForwardedFor
    /// Opens `/bench/…`, unauthenticated.
    package var isBench: Bool
    package var version: String
    /// Names this process among all instances; anew at each start.
    package var instance: UInt64
    /// Bugs that the simulator plants to prove that it would find them; empty in production.
    package var planted: Set<PlantedBug>

    package init(
        limits: Limits, tokenKeys: [TokenKey], allowedOrigins: [String] = [],
        forwardedFor: ForwardedFor = ForwardedFor(trusted: []), isBench: Bool = false,
        version: String, instance: UInt64, planted: Set<PlantedBug> = []
    ) {
        self.limits = limits
        self.tokenKeys = tokenKeys
        self.allowedOrigins = allowedOrigins
        self.forwardedFor = forwardedFor
        self.isBench = isBench
        self.version = version
        self.instance = instance
        self.planted = planted
    }
}

/// The mistakes that gateways of this kind have made. The simulator must find each of them.
package enum PlantedBug: String, CaseIterable, Sendable {
    case ackBeforeCommit, publishBeforeCommit, noDedupe, cursorWithoutContiguity, noHoldBack
}
