import Client
import ServerSupport
import Testing
import Wire

/// Redis only carries: whatever becomes of it, what is sent meanwhile arrives within 5 s of its ack,
/// in order and once (`Talk` checks that).
struct FleetRedisTests {
    /// Messages that are sent while something is broken.
    private static let meanwhile = 100

    @Test("P6 Without Redis from the start instances are one, and the Redis that comes is used")
    func neverThere() async throws {
        try await apart {
            var options = Fleet.Options()
            options.redis = try RedisServer(isStarted: false)
            let fleet = try Fleet(options)
            try fleet.awaitDegraded()
            let gaps = try fleet.gaps()
            try Talk.during(fleet) { talk in
                try fleet.awaitMetrics { try $0["martlet_redis_breaker"] == 2 }
                try talk.awaitMessages(Self.meanwhile)
                try fleet.awaitGaps(beyond: gaps)
                try fleet.redis.start()
                try fleet.awaitHealthy()
                try fleet.awaitUnity()
                try fleet.awaitMetrics { try $0["martlet_redis_breaker"] == 0 }
                let received = try fleet.received()
                try talk.awaitMessages(50)
                try check(try fleet.received() > received, "Redis carries")
            }
        }
    }

    @Test("P6 What an instance commits that alone has no Redis reaches the others at once")
    func alone() async throws {
        try await apart {
            var options = Fleet.Options()
            options.firstRedisURL = "redis://127.0.0.1:\(try FreePort.find())"
            let fleet = try Fleet(options)
            try Fleet.awaitHealth(of: fleet[0], 200, [#""status":"degraded""#])
            try Fleet.awaitHealth(of: fleet[1], 200, [#""status":"healthy""#])
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0)
            let bob = try fleet.client("bob", at: 1)
            let old = try fleet.client("bob", at: 1, dialect: .ws)
            try bob.join(chat)
            for number in 1...20 { try alice.send("m\(number)", to: chat) }
            let contents = (1...20).map { "m\($0)" }
            // The others never heard of it, so nothing but its own word can tell them.
            try bob.expect(contents, in: chat, from: 1, withinMs: 5_000)
            try old.expect(contents, in: chat, from: 1, withinMs: 5_000)
            // And who is brought into a chat there.
            let group = try fleet[0].api("alice").createChat(type: "group", members: ["bob"]).id
            try alice.send("welcome", to: group)
            try old.expect(["welcome"], in: group, from: 1, withinMs: 5_000)
        }
    }

    @Test("P6 A Redis that is killed, and comes back with nothing, loses and reorders nothing")
    func killed() async throws {
        try await apart {
            let fleet = try Fleet.together()
            let gaps = try fleet.gaps()
            try Talk.during(fleet) { talk in
                fleet.redis.kill()
                try fleet.awaitDegraded()
                try fleet.awaitMetrics { try $0["martlet_redis_breaker"] == 2 }
                try talk.awaitMessages(Self.meanwhile)
                try fleet.awaitGaps(beyond: gaps)
                try fleet.redis.start()
                try fleet.awaitHealthy()
                try fleet.awaitMetrics { try $0["martlet_redis_breaker"] == 0 }
                try talk.awaitMessages(50)
            }
        }
    }

    @Test("P6 A Redis that restarts at once, again and again, loses and reorders nothing")
    func restarting() async throws {
        try await apart {
            let fleet = try Fleet.together()
            try Talk.during(fleet) { talk in
                for _ in 1...3 {
                    fleet.redis.kill()
                    try fleet.redis.start()
                    try talk.awaitMessages(20)
                }
                try fleet.awaitHealthy()
                try talk.awaitMessages(20)
            }
        }
    }

    @Test("P6 A Redis that hangs and goes on loses and reorders nothing")
    func hanging() async throws {
        try await apart {
            let fleet = try Fleet.together()
            let gaps = try fleet.gaps()
            try Talk.during(fleet) { talk in
                fleet.redis.suspend()
                defer { fleet.redis.resume() }
                // 3 s without an echo of what they say.
                try fleet.awaitDegraded()
                try talk.awaitMessages(Self.meanwhile)
                try fleet.awaitGaps(beyond: gaps)
                fleet.redis.resume()
                try fleet.awaitHealthy()
                try talk.awaitMessages(50)
            }
        }
    }

    @Test("P6 Subscribers that Redis drops five times a second miss nothing")
    func subscribersDropped() async throws {
        try await apart {
            let fleet = try Fleet.together()
            let gaps = try fleet.gaps()
            try Talk.during(fleet) { talk in
                for _ in 1...20 {
                    try fleet.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
                    // Some 200 ms.
                    try talk.awaitMessages(12)
                }
                try fleet.awaitGaps(beyond: gaps)
                try fleet.awaitMetrics { try $0["martlet_redis_failures_total"] > 0 }
                try fleet.awaitHealthy()
                try fleet.awaitMetrics { try $0["martlet_redis_reconnects_total"] > 0 }
                try talk.awaitMessages(20)
            }
        }
    }

    @Test("P6 A Redis that refuses to publish, or to subscribe, is noticed, and nothing is lost")
    func refusing() async throws {
        try await apart {
            let fleet = try Fleet.together()
            let gaps = try fleet.gaps()
            try Talk.during(fleet) { talk in
                try fleet.redis.command("ACL", "SETUSER", "default", "-publish")
                try fleet.awaitDegraded()
                try talk.awaitMessages(Self.meanwhile)
                try fleet.awaitGaps(beyond: gaps)
                try fleet.redis.command("ACL", "SETUSER", "default", "+publish")
                try fleet.awaitHealthy()
                // Drops the subscribers, too.
                try fleet.redis.command("ACL", "SETUSER", "default", "resetchannels")
                try fleet.awaitDegraded()
                try talk.awaitMessages(Self.meanwhile)
                try fleet.redis.command("ACL", "SETUSER", "default", "allchannels")
                try fleet.awaitHealthy()
                try talk.awaitMessages(20)
            }
        }
    }

    @Test("P6 A Redis that takes publications and delivers them seconds later reorders nothing")
    func late() async throws {
        try await apart {
            let fleet = try Fleet.together()
            try Talk.during(fleet) { talk in
                for _ in 1...2 {
                    try fleet.redis.command("CLIENT", "PAUSE", "4000", "WRITE")
                    try fleet.awaitDegraded()
                    try talk.awaitMessages(20)
                    try fleet.redis.command("CLIENT", "UNPAUSE")
                    try fleet.awaitHealthy()
                }
                try talk.awaitMessages(20)
            }
        }
    }

    @Test(
        "P6 Publications that are confirmed and not delivered are found by their numbers",
        arguments: [2, 3])
    func swallowed(every nth: Int) async throws {
        try await apart {
            let redis = try RedisServer()
            let proxy = try RedisProxy(to: redis.port)
            var options = Fleet.Options()
            options.redis = redis
            options.redisURL = proxy.url
            let fleet = try Fleet.together(options)
            let gaps = try fleet.gaps()
            try Talk.during(fleet) { talk in
                proxy.swallow { $0.isMultiple(of: nth) }
                try talk.awaitMessages(Self.meanwhile)
                try fleet.awaitGaps(beyond: gaps)
                try talk.awaitMessages(Self.meanwhile)
                proxy.swallow { _ in false }
                try talk.awaitMessages(20)
                try fleet.awaitHealthy()
            }
            try check(proxy.swallowed > Self.meanwhile / nth, "\(proxy.swallowed) were swallowed")
        }
    }
}

extension Fleet {
    /// Until all instances' counters are so.
    func awaitMetrics(
        withinMs milliseconds: Int = 60_000, line: UInt = #line,
        _ condition: (Metrics) throws -> Bool
    ) throws {
        for node in nodes where node.process.exit == nil {
            try eventually("metrics as of line \(line)", withinMs: milliseconds) {
                try condition(try Metrics(node))
            }
        }
    }

    /// Until each instance has had more reason to ask the database than it had.
    func awaitGaps(beyond gaps: [Int]) throws {
        for (node, count) in zip(nodes, gaps) {
            try eventually("an instance notices that it missed something") {
                try Metrics(node)["martlet_bus_gaps_total"] > count
            }
        }
    }

    /// Publications that came from Redis, to all instances.
    func received() throws -> Int {
        try nodes.reduce(0) { try $0 + Metrics($1)["martlet_bus_received_total"] }
    }
}
