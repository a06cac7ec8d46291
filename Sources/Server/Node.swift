import Basics
import BusCore
import Domain
import Gateway
import HTTP
import Identity
import Logging
import Reactor
import StoreCore

/// Why a node did not start: one line for the operator.
package struct StartError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// One instance, put together in reading order: secrets, sockets, store, commit lane, bus, shards.
///
///     starting ── all threads run ──► running ── SIGTERM ──► draining ── 10 s at most ──► stopped
package final class Node {
    package static let version = "0.1.0"

    private let configuration: Configuration
    private let log: Logger
    private let links: ShardLinks
    private let status: NodeStatus
    private var shardThreads: [JoinOnce] = []
    private let serviceThreads: ServiceThreads
    package let port: UInt16

    /// Starts everything; when this returns, clients are served.
    package init(_ configuration: Configuration, log: Logger) throws(StartError) {
        self.configuration = configuration
        self.log = log
        guard !configuration.secrets.isEmpty else {
            throw StartError(
                "no jwt-secret is set; make one with `openssl rand -hex 32` and pass it as "
                    + "--jwt-secret or MARTLET_JWT_SECRET, or try --dev")
        }
        // Beside the connections: listeners, pollers, the store, the bus.
        System.prepareFiles(configuration.limits.connections + 256)
        System.tuneAllocator()

        var listeners = try Self.listen(configuration)
        port = listeners.port

        do throws(SystemError) {
            links = try ShardLinks(
                shards: configuration.shards, limits: configuration.limits,
                isShared: configuration.redis != nil, log: log)
        } catch {
            throw StartError("\(error)")
        }
        status = NodeStatus(shards: configuration.shards)
        let instance = UInt64.random(in: 1 ... .max)
        var internalListeners: Listeners?
        var reachedAt: String?
        if var address = configuration.internal, configuration.redis != nil {
            let made = try Self.listenInternally(address, shards: configuration.shards)
            address.port = made.port
            reachedAt = address.text
            internalListeners = made
        }
        serviceThreads = try ServiceThreads(
            configuration, instance, reachedAt: reachedAt, links, status)

        var gateway = GatewayConfiguration(
            limits: configuration.limits, tokenKeys: configuration.secrets.map { .hs256($0) },
            allowedOrigins: configuration.allowedOrigins,
            forwardedFor: ForwardedFor(trusted: configuration.trustedProxies),
            isBench: configuration.isBench, version: Self.version, instance: instance,
            isStoreShared: configuration.databaseURL != nil,
            isBridged: configuration.redis != nil && configuration.bridge != .off)
        gateway.socketIOPath = configuration.socketIOPath
        gateway.isConformance = configuration.isConformance
        gateway.tunnelKeys = Self.tunnelKeys(configuration.secrets)
        for index in 0..<configuration.shards {
            let descriptor = listeners.take()
            let internalDescriptor = internalListeners?.take()
            shardThreads.append(
                try Self.startShard(
                    index, configuration, gateway, links, status, descriptor, internalDescriptor))
        }
        if configuration.redis != nil, reachedAt == nil {
            log.notice(
                "no internal address is set: Socket.IO clients that poll have to come to the same instance each time; set --internal HOST:PORT"
            )
        }
    }

    /// What instances know each other by: derived from the secrets that they share anyway, so that
    /// nobody has to set another.
    private static func tunnelKeys(_ secrets: [Secret]) -> [Secret] {
        secrets.compactMap { secret in
            let code = secret.authenticationCode(
                for: Array("martlet, between instances, 1".utf8).span)
            do throws(SecretError) { return try Secret(code.span) } catch { return nil }
        }
    }

    private static func listenInternally(
        _ address: Configuration.InternalAddress, shards: Int
    ) throws(StartError) -> Listeners {
        do throws(SystemError) {
            try Listener.checkIsFree(address: address.host, port: address.port)
            return try Listeners(count: shards, address: address.host, port: address.port)
        } catch {
            throw StartError(
                "cannot listen for other instances on \(address.text) (\(error)); set --internal to "
                    + "an address of this machine and a free port")
        }
    }

    /// One socket a shard on the same port.
    private static func listen(
        _ configuration: Configuration
    ) throws(StartError) -> Listeners {
        do throws(SystemError) {
            try Listener.checkIsFree(address: configuration.bind, port: configuration.port)
            return try Listeners(
                count: configuration.shards, address: configuration.bind,
                port: configuration.port)
        } catch {
            if error.isAddressInUse {
                throw StartError(
                    "port \(configuration.port) on \(configuration.bind) is taken; stop the other "
                        + "server or choose another with --port")
            }
            throw StartError(
                "cannot listen on \(configuration.bind):\(configuration.port) (\(error)); "
                    + "check --bind and --port")
        }
    }

    private static func startShard(
        _ index: Int, _ configuration: Configuration, _ gateway: GatewayConfiguration,
        _ links: ShardLinks, _ status: NodeStatus, _ descriptor: Int32,
        _ internalDescriptor: Int32?
    ) throws(StartError) -> JoinOnce {
        let shards = configuration.shards
        let limits = configuration.limits
        let isReady = Handover<Bool>()
        do throws(SystemError) {
            let thread = try JoinOnce(name: "shard-\(index)") {
                // A shard's state is made inside its thread and never leaves it.
                let shard = GatewayShard(
                    index: index, shardCount: shards, configuration: gateway, status: status,
                    busReachesOthers: links.bus.reachesOtherInstances,
                    random: SystemRandomNumberGenerator(), now: SystemClock().now())
                do throws(SystemError) {
                    let runner = try ShardRunner(
                        index: index, gateway: shard, limits: limits, links: links,
                        listener: Listener(adopting: descriptor),
                        internalListener: internalDescriptor,
                        usesIOUring: configuration.usesIOUring)
                    isReady.give(true)
                    try runner.run()
                } catch {
                    links.log.critical(
                        "a shard failed", metadata: ["shard": "\(index)", "error": "\(error)"])
                    System.die()
                }
            }
            // Its descriptors are open and it serves: only then is the node said to be running.
            _ = isReady.wait()
            return thread
        } catch {
            throw StartError("\(error)")
        }
    }

    /// Not ready at once; clients are sent away with a hint when to come back; what they sent is
    /// committed; then the store is closed. At most about 10 s.
    package func drain() {
        status.beginDraining()
        for shard in 0..<configuration.shards { links.post(.drain, to: shard) }
        for thread in shardThreads { thread.join() }
        serviceThreads.stop()
        log.notice("stopped")
    }
}
