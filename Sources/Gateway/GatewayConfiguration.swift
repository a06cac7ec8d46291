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
    /// The path of Socket.IO's clients, one segment.
    package var socketIOPath = "socket.io"
    /// What instances of one deployment know each other by; the first signs.
    package var tunnelKeys: [Secret] = []
    /// Serves the protocol's own tests, and nobody else, over Socket.IO.
    package var isConformance = false
    package var version: String
    /// Names this process among all instances; anew at each start.
    package var instance: UInt64
    /// Others write to the store too: what they write is looked for now and then.
    package var isStoreShared: Bool
    /// Backends speak to users on the bus's public channels.
    package var isBridged: Bool
    /// Bugs that the simulator plants to prove that it would find them; empty in production.
    package var planted: Set<PlantedBug>

    package init(
        limits: Limits, tokenKeys: [TokenKey], allowedOrigins: [String] = [],
        forwardedFor: ForwardedFor = ForwardedFor(trusted: []), isBench: Bool = false,
        version: String, instance: UInt64, isStoreShared: Bool = false,
        isBridged: Bool = false, planted: Set<PlantedBug> = []
    ) {
        self.limits = limits
        self.tokenKeys = tokenKeys
        self.allowedOrigins = allowedOrigins
        self.forwardedFor = forwardedFor
        self.isBench = isBench
        self.version = version
        self.instance = instance
        self.isStoreShared = isStoreShared
        self.isBridged = isBridged
        self.planted = planted
    }
}

/// The mistakes that gateways of this kind have made. The simulator must find each of them.
package enum PlantedBug: String, CaseIterable, Sendable {
    case ackBeforeCommit, publishBeforeCommit, noDedupe, cursorWithoutContiguity, noHoldBack
    /// A hole is skipped once its 200 ms are over.
    case noGapRepair
    /// Nobody compares with the store: what no later entry shows to be missing is never found.
    case lostLastMessage
    /// The store decides on what it saw before it had the chat's lock. (Of the model store.)
    case lockAndDecisionInOne
    /// An instance that is cut off from the bus tells nobody what it commits. (Of the model store.)
    case cutOffAndSilent
    /// Who is removed stays subscribed where the removal came by another way than from this
    /// instance.
    case removalOutOfOrder
    /// A pong acknowledges what was given before it came, and not before its ping went.
    case pongAcknowledgesAll
    /// What was given to a connection that broke counts as received.
    case givenIsReceived
}
