import Basics
import Testing

@testable import Server

@Suite("When a storm of connections is over")
struct StormWatchTests {
    private struct Shard {
        var watch = StormWatch()
        var now = Instant(nanoseconds: 1_000_000_000_000)
        var connections = 0
        var subscriptions = 0

        /// As much time passes, and that many have come in it.
        mutating func pass(ms: Int = 1_000, connections: Int = 0, subscriptions: Int = 0) -> Bool {
            self.connections += connections
            self.subscriptions += subscriptions
            now = now.advanced(byMilliseconds: ms)
            return watch.isOver(
                connections: self.connections, subscriptions: self.subscriptions, now: now)
        }
    }

    @Test(
        "A thousand that came are a storm, and it is over after a second of calm, once",
        arguments: [(999, false), (1_000, true), (10_000, true)])
    func connections(count: Int, isStorm: Bool) {
        var shard = Shard()
        #expect(shard.pass(connections: count) == false)
        #expect(shard.pass(ms: 999) == false)
        #expect(shard.watch.nextCheck == shard.now.advanced(byMilliseconds: 1))
        #expect(shard.pass(ms: 1) == isStorm)
        #expect(shard.watch.nextCheck == nil, "nothing is waited for any more")
        #expect(shard.pass() == false)
    }

    @Test("Subscriptions count whether they come or go, and keep a storm going")
    func subscriptions() {
        var shard = Shard()
        #expect(shard.pass(connections: 500) == false)
        for _ in 0..<5 { #expect(shard.pass(subscriptions: 4_000) == false) }
        #expect(shard.pass() == true)
        #expect(shard.pass(subscriptions: -20_000) == false)
        #expect(shard.pass(ms: 999) == false)
        #expect(shard.pass(ms: 1) == true)
    }

    @Test(
        "A hundredth of the worst second that still moves is calm, more is not",
        arguments: [(99, true), (100, false)])
    func rest(count: Int, isOver: Bool) {
        var shard = Shard()
        #expect(shard.pass(connections: 10_000) == false)
        #expect(shard.pass(connections: count) == isOver)
    }

    @Test("Who comes now and then never adds up to a storm, nor who comes and goes all the time")
    func steady() {
        var shard = Shard()
        for _ in 0..<300 {
            #expect(shard.pass(connections: 10) == false)
            #expect(shard.pass() == false)
        }
        for _ in 0..<300 { #expect(shard.pass(connections: 500) == false) }
        #expect(shard.pass() == true, "calm at last")
    }
}
