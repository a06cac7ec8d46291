/// What can be done to a fleet. One at a time.
enum Fault: String, CaseIterable, Sendable {
    case killInstance, killRedis, killPostgres
    case stopInstance, stopRedis, stopPostgres
    /// SIGTERM, and a start.
    case drainInstance

    case redisPubsubKills, redisPause, redisFlush, redisNormalKills
    /// Martlet's sessions, at random.
    case postgresTerminations
    /// Another session holds a chat's row.
    case postgresRowLock

    // By the proxies, for one instance or all.
    case redisDelay, redisCrumbs, redisBlackHole, redisCuts
    case postgresDelay, postgresCrumbs, postgresBlackHole, postgresCuts
    /// COMMIT goes through, its reply does not.
    case commitCuts

    // One direction between the instance in the namespace and the service.
    case redisPartition, postgresPartition

    enum Victim: Sendable { case instance, redis, postgres }

    var victim: Victim {
        switch self {
        case .killInstance, .stopInstance, .drainInstance: .instance
        case .killRedis, .stopRedis, .redisPubsubKills, .redisPause, .redisFlush,
            .redisNormalKills, .redisDelay, .redisCrumbs, .redisBlackHole, .redisCuts,
            .redisPartition:
            .redis
        case .killPostgres, .stopPostgres, .postgresTerminations, .postgresRowLock,
            .postgresDelay, .postgresCrumbs, .postgresBlackHole, .postgresCuts, .commitCuts,
            .postgresPartition:
            .postgres
        }
    }

    /// What a run of few rounds must have: these come first, in an order that the seed gives.
    static let core: [Fault] = [
        .killInstance, .killRedis, .stopRedis, .redisPubsubKills, .commitCuts,
        .postgresTerminations,
    ]

    /// The order of so many rounds: every fault once before any comes again.
    static func schedule(
        _ rounds: Int, of faults: [Fault], random: inout SeededRandom
    ) -> [Fault] {
        var schedule = core.filter(faults.contains).shuffled(using: &random)
        schedule += faults.filter { !core.contains($0) }.shuffled(using: &random)
        while schedule.count < rounds { schedule += faults.shuffled(using: &random) }
        return Array(schedule.prefix(rounds))
    }
}
