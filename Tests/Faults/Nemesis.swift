import Client
import Glibc
import ServerSupport
import ServiceSupport
import Synchronization

/// Does a fault to a fleet, and undoes it. What it does, and for how long, the seed says.
struct Nemesis {
    private let fleet: Fleet
    private let chats: [String]
    private var random: SeededRandom
    /// A fault lasts up to so long.
    private let longestMs: Int
    private(set) var drains = Verdict("P16 a SIGTERM ends an instance within 30 s with exit 0")

    init(_ fleet: Fleet, chats: [String], longestMs: Int, seed: UInt64) {
        self.fleet = fleet
        self.chats = chats
        self.longestMs = longestMs
        random = SeededRandom(seed)
    }

    /// Returns once the fault is over; what it hurt may still be coming back.
    ///
    /// - Returns: what was done exactly, for the line of the round.
    mutating func perform(_ fault: Fault) throws -> String {
        let instance = random.next(below: Fleet.size)
        let milliseconds = longestMs / 2 + random.next(below: longestMs / 2 + 1)
        switch fault {
        case .killInstance:
            try fleet.instances[instance].kill()
            sleep(random.next(below: 2_000))
            try fleet.instances[instance].start()
            return "instance \(instance)"
        case .killRedis:
            fleet.redis.kill()
            sleep(random.next(below: 2_500))
            try fleet.redis.start()
            return ""
        case .killPostgres:
            fleet.postgres.kill()
            sleep(random.next(below: 2_500))
            try fleet.postgres.start()
            return ""
        case .stopInstance:
            let milliseconds = 1_000 + random.next(below: 11_000)
            fleet.instances[instance].process.signal(SIGSTOP)
            sleep(milliseconds)
            fleet.instances[instance].process.signal(SIGCONT)
            return "instance \(instance), \(milliseconds) ms"
        case .stopRedis:
            let milliseconds = 1_000 + random.next(below: 11_000)
            fleet.redis.suspend()
            sleep(milliseconds)
            fleet.redis.resume()
            return "\(milliseconds) ms"
        case .stopPostgres:
            let milliseconds = 1_000 + random.next(below: 11_000)
            fleet.postgres.pause(true)
            sleep(milliseconds)
            fleet.postgres.pause(false)
            return "\(milliseconds) ms"
        case .drainInstance: return try drain(instance)
        case .redisPubsubKills:
            return try again(everyMs: 1_000, forMs: milliseconds) { fleet, _ in
                try fleet.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            }
        case .redisNormalKills:
            return try again(everyMs: 1_000, forMs: milliseconds) { fleet, _ in
                try fleet.redis.command("CLIENT", "KILL", "TYPE", "normal")
            }
        case .redisFlush:
            return try again(everyMs: 1_000, forMs: milliseconds) { fleet, _ in
                try fleet.redis.command("FLUSHALL")
            }
        case .redisPause:
            try fleet.redis.command("CLIENT", "PAUSE", "2000", "ALL")
            sleep(2_000)
            return "2000 ms"
        case .postgresTerminations:
            let session = try fleet.session()
            return try again(everyMs: 300, forMs: milliseconds) { _, random in
                try session.run(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = 'martlet'
                        AND (pid + \(random.next(below: 7))) % 3 = 0
                    """)
            }
        case .postgresRowLock:
            let session = try fleet.session()
            let chat = chats[random.next(below: chats.count)]
            try session.run("BEGIN")
            try session.run("SELECT 1 FROM martlet.chats WHERE id = '\(chat)' FOR UPDATE")
            sleep(3_000)
            try session.run("ROLLBACK")
            return "3000 ms"
        case .redisPartition: return try partition(.redis, forMs: longer(milliseconds))
        case .postgresPartition: return try partition(.postgres, forMs: milliseconds)
        case .redisDelay, .redisCrumbs, .redisBlackHole, .redisCuts, .postgresDelay,
            .postgresCrumbs, .postgresBlackHole, .postgresCuts, .commitCuts:
            return disturb(fault, instance, forMs: milliseconds)
        }
    }

    /// Of an instance that alone has lost Redis: half of the time longer than the 10 s after which
    /// the others no longer ask after it.
    private mutating func longer(_ milliseconds: Int) -> Int {
        random.next(below: 2) == 0 ? milliseconds : 12_000 + milliseconds
    }

    private func sleep(_ milliseconds: Int) { usleep(useconds_t(milliseconds) * 1_000) }

    private mutating func again(
        everyMs interval: Int, forMs milliseconds: Int,
        _ body: (Fleet, inout SeededRandom) throws -> Void
    ) throws -> String {
        for _ in 0..<max(1, milliseconds / interval) {
            try body(fleet, &random)
            sleep(interval)
        }
        return "\(max(1, milliseconds / interval)) times"
    }

    private mutating func drain(_ instance: Int) throws -> String {
        drains.looked += 1
        do {
            let exit = try fleet.instances[instance].stop(withinMs: 30_000)
            if exit != .code(0) { drains.violate("instance \(instance): \(exit)") }
        } catch {
            drains.violate("instance \(instance): \(error)")
            try fleet.instances[instance].kill()
        }
        try fleet.instances[instance].start()
        return "instance \(instance)"
    }

    private mutating func partition(
        _ peer: Namespace.Peer, forMs milliseconds: Int
    ) throws -> String {
        guard let namespace = fleet.namespace else { return "not possible here" }
        let isOutgoing = random.next(below: 2) == 0
        try namespace.close(peer, outgoing: isOutgoing)
        sleep(milliseconds)
        try namespace.open(peer, outgoing: isOutgoing)
        return "instance \(Fleet.size - 1), \(isOutgoing ? "to" : "from") it, \(milliseconds) ms"
    }

    private mutating func disturb(
        _ fault: Fault, _ instance: Int, forMs milliseconds: Int
    ) -> String {
        var proxies = fault.victim == .redis ? fleet.redisProxies : fleet.postgresProxies
        let isOne = random.next(below: 2) == 0
        if isOne { proxies = [proxies[instance]] }
        let milliseconds =
            isOne && fault == .redisBlackHole ? longer(milliseconds) : milliseconds
        var behaviour = ChaosProxy.Behaviour()
        switch fault {
        case .redisDelay, .postgresDelay:
            behaviour.delayMs = random.next(below: fault == .redisDelay ? 300 : 60)
            behaviour.jitterMs = 1 + random.next(below: fault == .redisDelay ? 300 : 60)
        case .redisCrumbs, .postgresCrumbs: behaviour.isInCrumbs = true
        case .redisBlackHole, .postgresBlackHole:
            behaviour.swallows = random.next(below: 2) == 0 ? .toService : .fromService
        case .redisCuts: behaviour.cutsOneIn = 15
        case .postgresCuts: behaviour.cutsOneIn = 30
        default: behaviour.cutsCommitsOneIn = 10
        }
        let before = proxies.map { $0.cuts.load(ordering: .relaxed) }.reduce(0, +)
        for proxy in proxies { proxy.set(behaviour) }
        sleep(milliseconds)
        for proxy in proxies { proxy.heal() }
        let cuts = proxies.map { $0.cuts.load(ordering: .relaxed) }.reduce(0, +) - before
        return (isOne ? "instance \(instance)" : "all") + ", \(milliseconds) ms"
            + (cuts > 0 ? ", \(cuts) cuts" : "")
            + (behaviour.swallows.map { ", \($0)" } ?? "")
    }
}
