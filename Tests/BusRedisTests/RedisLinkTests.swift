import Basics
import Reactor
import ServerSupport
import Testing

@testable import BusRedis

/// With a redis-server of the test's own.
@Suite("The link to a Redis")
struct RedisLinkTests {
    @Test("What one link publishes the other receives, byte for byte and in order")
    func publishes() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let a = try TestLink(test, RedisAddress(port: redis.port))
        let b = try TestLink(test, RedisAddress(port: redis.port), channels: ["c:{x}", "other"])
        try a.connect()
        try b.connect()
        #expect(b.subscribed == [bytes("c:{x}"), bytes("other")])
        let payloads = [
            [], [0], bytes("a\r\nb\r\n"), bytes("$-1\r\n"), Array(0...255),
            [UInt8](repeating: 0xFF, count: 1_048_576),
        ]
        for payload in payloads { a.link.publish(channel: bytes("c:{x}"), payload: payload) }
        a.link.publish(channel: bytes("nobody"), payload: [1])
        try test.run(until: "all messages") {
            b.messages.count == payloads.count && a.link.state.confirmed == payloads.count + 1
        }
        #expect(b.messages.map(\.payload) == payloads)
        #expect(b.messages.allSatisfy { $0.channel == bytes("c:{x}") })
        #expect(a.messages.isEmpty)
        #expect(a.link.state.published == payloads.count + 1)
        #expect(b.link.state.received == payloads.count)

        b.link.unsubscribe([bytes("c:{x}")])
        b.link.subscribe([bytes("last")])
        try test.run(until: "the next subscription") { b.subscribed.count == 3 }
        a.link.publish(channel: bytes("c:{x}"), payload: [1])
        a.link.publish(channel: bytes("last"), payload: [2])
        try test.run(until: "the last message") { b.messages.last?.payload == [2] }
        #expect(b.messages.count == payloads.count + 1)
    }

    @Test("2,000 channels are subscribed to in commands of 512, and all are served")
    func manyChannels() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let names = (0..<2_000).map { "martlet:c:chat-\($0)" }
        let link = try TestLink(test, RedisAddress(port: redis.port), channels: names)
        try link.connect()
        #expect(link.subscribed == names.map(bytes))
        #expect(try redis.command("INFO", "commandstats").contains("cmdstat_subscribe:calls=4,"))
        for name in names { link.link.publish(channel: bytes(name), payload: bytes(name)) }
        try test.run(until: "all messages") { link.messages.count == 2_000 }
        #expect(link.messages.allSatisfy { $0.channel == $0.payload })
    }

    @Test("A killed subscriber is told, comes back, and has nothing subscribed until it says so")
    func killed() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let link = try TestLink(test, RedisAddress(port: redis.port), channels: ["c"])
        try link.connect()
        try redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        try test.run(until: "down and up again") { link.ups == 2 && link.subscribed.count == 2 }
        #expect(link.downs == [.closedByServer])
        #expect(link.publisherDowns.isEmpty)
        #expect(link.link.state.reconnects == 1)
        link.link.publish(channel: bytes("c"), payload: [1])
        try test.run(until: "a message") { link.messages.count == 1 }
    }

    @Test("A Redis that hangs is noticed within 3 s, by both connections, and found again")
    func hung() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let link = try TestLink(test, RedisAddress(port: redis.port), channels: ["c"])
        try link.connect()
        let begun = test.loop.now.instant
        redis.suspend()
        defer { redis.resume() }
        try test.run(until: "down") { !link.downs.isEmpty && !link.publisherDowns.isEmpty }
        // 2.5 s by the rule; the rest is for a busy machine.
        #expect(test.loop.now.instant.milliseconds(since: begun) < 10_000)
        #expect(link.downs.first == .silent)
        #expect(link.publisherDowns.first == .silent)
        link.link.publish(channel: bytes("c"), payload: [1])
        #expect(link.link.state.dropped == 1)
        redis.resume()
        try test.run(until: "up again") { link.isUp && link.subscribed.count == 2 }
    }

    @Test("A paused Redis is one that hangs")
    func paused() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let link = try TestLink(test, RedisAddress(port: redis.port))
        try link.connect()
        try redis.command("CLIENT", "PAUSE", "4000", "ALL")
        try test.run(until: "down") { !link.downs.isEmpty }
        #expect(link.downs.first == .silent)
        try test.run(until: "up again") { link.isUp }
    }

    @Test("After a restart on the same port the link comes back by itself")
    func restart() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let link = try TestLink(test, RedisAddress(port: redis.port), channels: ["c"])
        try link.connect()
        redis.kill()
        try test.run(until: "down") { link.downs.count >= 1 && link.publisherDowns.count >= 1 }
        try redis.start()
        test.clock.advance(milliseconds: Breaker.openMs)
        try test.run(until: "up again") { link.isUp && link.subscribed.count == 2 }
        link.link.publish(channel: bytes("c"), payload: [1])
        try test.run(until: "a message") { link.messages.count == 1 }
    }

    @Test("A password is used; without it, or with another, one is not let in")
    func passwords() throws {
        let redis = try RedisServer(password: "hunter2")
        let test = try TestLoop()
        let good = try TestLink(test, RedisAddress(port: redis.port, password: "hunter2"))
        try good.connect()
        for (password, code) in [(nil, "NOAUTH"), ("wrong", "WRONGPASS")] as [(String?, String)] {
            let link = try TestLink(test, RedisAddress(port: redis.port, password: password))
            try test.run(until: "a refusal") { !link.downs.isEmpty }
            #expect(link.downs[0] == .notLetIn(code))
            link.link.stop()
        }
    }

    @Test("User, password and database of a URL are used, and the connection has a name")
    func users() throws {
        let redis = try RedisServer()
        try redis.command("ACL", "SETUSER", "ann", "on", ">hunter2", "allchannels", "+@all")
        let test = try TestLoop()
        let url = "redis://ann:hunter2@127.0.0.1:\(redis.port)/3"
        let link = try TestLink(test, RedisAddress(url: url), channels: ["c"])
        try link.connect()
        let list = try redis.command("CLIENT", "LIST")
        #expect(list.contains("name=martlet"))
        #expect(list.contains("user=ann"))
        #expect(list.contains("db=3"))
    }

    @Test("A user who may not subscribe is told so, not left waiting")
    func forbidden() throws {
        let redis = try RedisServer()
        try redis.command("ACL", "SETUSER", "ann", "on", ">x", "resetchannels", "&a", "+@all")
        let test = try TestLoop()
        let url = "redis://ann:x@127.0.0.1:\(redis.port)"
        let link = try TestLink(test, RedisAddress(url: url), channels: ["b"])
        try test.run(until: "down") { !link.downs.isEmpty }
        #expect(link.downs[0] == .refused("NOPERM"))
        let other = try TestLink(test, RedisAddress(url: url), channels: ["a"])
        try other.connect()
        other.link.publish(channel: bytes("b"), payload: [])
        try test.run(until: "a refused publication") { other.link.state.refused == 1 }
        #expect(other.isUp)
    }

    @Test("A host is found by its name")
    func names() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let address = try RedisAddress(host: "localhost", port: String(redis.port))
        try TestLink(test, address).connect()
        let nowhere = try RedisAddress(host: "no-such-host.invalid", port: String(redis.port))
        let link = try TestLink(test, nowhere)
        try test.run(until: "down") { !link.downs.isEmpty }
        switch link.downs[0] {
        case .cannotResolve, .timedOut: break
        default: Issue.record("\(link.downs[0])")
        }
    }

    @Test("Stopping hands over what is queued, then closes")
    func stop() throws {
        let redis = try RedisServer()
        let test = try TestLoop()
        let a = try TestLink(test, RedisAddress(port: redis.port))
        let b = try TestLink(test, RedisAddress(port: redis.port), channels: ["c"])
        try a.connect()
        try b.connect()
        for number in 0..<1_000 {
            a.link.publish(channel: bytes("c"), payload: [UInt8(number & 0xFF)])
        }
        a.link.stop()
        a.link.publish(channel: bytes("c"), payload: [])
        try test.run(until: "a stopped link") { a.link.isStopped }
        try test.run(until: "all messages") { b.messages.count == 1_000 }
        #expect(a.downs.isEmpty && a.publisherDowns.isEmpty)
        #expect(a.link.state.dropped == 1)
    }
}
