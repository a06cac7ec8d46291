import Basics
import Client
import ServerSupport
import ServiceSupport
import Testing
import WebSocket

/// Instances and Postgres that die under load. What `Talk` checks holds through all of it.
struct FleetFailureTests {
    // MARK: Instances

    @Test(
        "P1 P2 Clients of an instance that is killed under load go to the others and miss nothing")
    func instanceKilled() async throws {
        try await apart {
            let fleet = try Fleet.together(.init(instances: 3))
            let report = try Talk.during(fleet) { talk in
                try talk.awaitMessages(30)
                try fleet[0].kill()
                try talk.awaitMessages(60)
                try fleet[0].start()
                try fleet.awaitUnity()
                try fleet[1].kill()
                try talk.awaitMessages(60)
                try fleet[1].start()
                try fleet.awaitUnity()
                try talk.awaitMessages(60)
            }
            try check(report.unknowns > 0, "somebody was waiting for an ack: \(report)")
        }
    }

    @Test("P6 What an instance has committed, and was killed before it said so, arrives within 5 s")
    func killedUnsaid() async throws {
        try await apart {
            let redis = try RedisServer()
            let proxy = try RedisProxy(to: redis.port)
            var options = Fleet.Options()
            options.redis = redis
            options.redisURL = proxy.url
            let fleet = try Fleet.together(options)
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0)
            let bob = try fleet.client("bob", at: 1)
            try bob.join(chat)
            try alice.send("said", to: chat)
            try bob.expect(["said"], in: chat, from: 1)

            // Nobody hears anybody from here on.
            proxy.swallow { _ in true }
            for number in 2...10 { try alice.send("\(number)", to: chat) }
            let ackedAt = MonotonicClock.now()
            try fleet[0].kill()
            try bob.expect((2...10).map { "\($0)" }, in: chat, from: 2)
            let tookMs = MonotonicClock.now().milliseconds(since: ackedAt)
            try check(tookMs <= 8_000, "it took \(tookMs) ms")

            // With Redis well again it is the silence of the dead that tells.
            proxy.swallow { _ in false }
            try fleet[0].start()
            try fleet.awaitUnity()
            let back = try fleet.client("alice", at: 0)
            try back.send("11", to: chat)
            try bob.expect(["11"], in: chat, from: 11)
        }
    }

    @Test("P16 SIGTERM under load loses nothing acked, and the others need not ask the database")
    func drained() async throws {
        try await apart {
            let fleet = try Fleet.together(.init(instances: 3))
            try Talk.during(fleet) { talk in
                try talk.awaitMessages(100)
                let gaps = try fleet.gaps()
                let exit = try fleet[0].stop()
                try check(exit == .code(0), "the instance ended with \(exit)")
                for (index, node) in fleet.nodes.enumerated().dropFirst() {
                    // It said goodbye, and is not waited for.
                    try eventually("the others count one less") {
                        try Metrics(node)["martlet_bus_instances"] == 1
                    }
                    let now = try Metrics(node)["martlet_bus_gaps_total"]
                    try check(now == gaps[index], "instance \(index) saw a gap")
                }
                try talk.awaitMessages(60)
                for (index, node) in fleet.nodes.enumerated().dropFirst() {
                    let now = try Metrics(node)["martlet_bus_gaps_total"]
                    try check(now == gaps[index], "instance \(index) saw a gap later")
                }
                try fleet[0].start()
                try talk.awaitMessages(30)
            }
        }
    }

    @Test("P16 What is being committed at SIGTERM is told to the others before the end")
    func drainedInCommit() async throws {
        try await apart {
            let fleet = try Fleet.together()
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0)
            let bob = try fleet.client("bob", at: 1)
            try bob.join(chat)
            try alice.send("first", to: chat)
            try bob.expect(["first"], in: chat, from: 1)
            let gaps = try fleet.gaps()

            let session = try fleet.session()
            try session.run("BEGIN")
            try session.run("SELECT FROM martlet.chats WHERE id = '\(chat)' FOR UPDATE")
            _ = try alice.begin {
                Frames.send("in commit", to: chat, clientMessageID: "m", id: $0)
            }
            let other = try fleet.session()
            try eventually("the commit waits") {
                try other.value(
                    """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE datname = '\(fleet.database)' AND wait_event_type = 'Lock'
                    """) == "1"
            }
            fleet[0].process.signal(15)
            try check(try alice.close() == .draining, "closed with 4200")
            alice.plain.close()
            try session.run("COMMIT")
            try bob.expect(["in commit"], in: chat, from: 2)
            try check(try fleet[0].process.wait(withinMs: 15_000) == .code(0), "a good end")
            try eventually("the other counts one less") {
                try Metrics(fleet[1])["martlet_bus_instances"] == 0
            }
            let now = try Metrics(fleet[1])["martlet_bus_gaps_total"]
            try check(now == gaps[1], "it had to ask the database")
        }
    }

    // MARK: Postgres

    private static let broken = [#""status":"unhealthy""#, #""database":"error""#]

    @Test(
        "P1 P5 A Postgres that is killed and restarted loses nothing acked, and is used again")
    func postgresKilled() async throws {
        try await apart {
            var options = Fleet.Options()
            let postgres = try PostgresServer()
            options.postgres = postgres
            let fleet = try Fleet.together(options)
            let report = try Talk.during(fleet) { talk in
                try talk.awaitMessages(50)
                postgres.kill()
                for node in fleet.nodes {
                    try Fleet.awaitHealth(of: node, 503, Self.broken)
                    let live = try node.get("/health/live").status
                    try check(live == 200, "alive all the same, not \(live)")
                }
                try postgres.start()
                try fleet.awaitHealthy()
                try talk.awaitMessages(50)
            }
            try check(report.refusals > 0, "\(report)")
            try fleet.checkNothingLeaks()
        }
    }

    @Test("P5 While Postgres hangs sends are refused or unknown, and what was said of each is true")
    func postgresHangs() async throws {
        try await apart {
            var options = Fleet.Options()
            let postgres = try PostgresServer()
            options.postgres = postgres
            let fleet = try Fleet.together(options)
            let report = try Talk.during(fleet) { talk in
                let began = MonotonicClock.now()
                postgres.pause(true)
                defer { postgres.pause(false) }
                for node in fleet.nodes { try Fleet.awaitHealth(of: node, 503, Self.broken) }
                try eventually("12 s of hanging, and refusals") {
                    MonotonicClock.now().milliseconds(since: began) >= 12_000
                        && talk.report.refusals > 0
                }
                postgres.pause(false)
                try fleet.awaitHealthy()
                try talk.awaitMessages(50)
            }
            try check(report.refusals + report.unknowns > 0, "\(report)")
            try fleet.checkNothingLeaks()
        }
    }

    @Test("P5 Sessions that Postgres ends, again and again, cost refusals and nothing else")
    func sessionsEnded() async throws {
        try await apart {
            let fleet = try Fleet.together()
            // Always something under way: sessions end before, in and after a commit.
            try Talk.during(fleet, paceMs: 1) { talk in
                let session = try fleet.session()
                for _ in 1...15 {
                    try session.run(
                        """
                        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = '\(fleet.database)' AND pid <> pg_backend_pid()
                        """)
                    try talk.awaitMessages(10)
                }
                try fleet.awaitHealthy()
                try talk.awaitMessages(20)
            }
            try fleet.checkNothingLeaks()
        }
    }

    @Test("P5 A commit whose reply is lost is read again: its sender has the ack of one entry")
    func replyLost() async throws {
        try await apart {
            var options = Fleet.Options()
            let postgres = try PostgresServer()
            options.postgres = postgres
            let fleet = try Fleet.together(options)
            let chat = try fleet[0].api("alice").openDirectChat(with: "bob").id
            let alice = try fleet.client("alice", at: 0)
            let bob = try fleet.client("bob", at: 1)
            try bob.join(chat)
            let session = try fleet.session()
            // Whose commit waits is told by what it has written: until it is through it holds its locks.
            let waiting = """
                FROM pg_stat_activity AS waiting WHERE wait_event = 'SyncRep' AND EXISTS (
                    SELECT FROM pg_locks WHERE pg_locks.pid = waiting.pid
                    AND relation = 'martlet.entries'::regclass AND mode = 'RowExclusiveLock')
                """
            var seq: Int64 = 0
            for _ in 1...3 {
                // A commit is on the disk then, and is answered when a standby has it, too. There is
                // none.
                try session.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                try session.run("SELECT pg_reload_conf()")
                var waits = false
                while !waits {
                    // The first ones may be quicker than the setting.
                    seq += 1
                    let content = "message \(seq)"
                    let id = try alice.begin {
                        Frames.send(content, to: chat, clientMessageID: content, id: $0)
                    }
                    try eventually("an ack, or none") {
                        try alice.pumpAll()
                        waits = try session.value("SELECT count(*) \(waiting)") == "1"
                        return waits || !alice.events.isEmpty
                    }
                    if waits {
                        try check(alice.events.isEmpty, "no ack yet: \(alice.events)")
                        try session.run("SELECT pg_terminate_backend(pid) \(waiting)")
                        try session.run("ALTER SYSTEM RESET synchronous_standby_names")
                        try session.run("SELECT pg_reload_conf()")
                    }
                    let ack = try alice.ack(id)
                    try check(ack.isOK && ack.seq == seq, "\(ack); \(fleet[0].said)")
                    try bob.expect([content], in: chat, from: seq)
                }
            }
            let log = try Fleet.history(chat, of: "bob", at: fleet[1])
            try check(log.map(\.seq) == Array(1...seq), "\(log.map(\.seq))")
        }
    }
}

extension Fleet {
    /// P18: no instance has said the password of its database.
    func checkNothingLeaks() throws {
        for node in nodes {
            for part in ["canary-7Pq", "7Pq%21x"] {
                try check(!node.said.contains(part), "a password was logged: \(node.said)")
            }
        }
    }
}
