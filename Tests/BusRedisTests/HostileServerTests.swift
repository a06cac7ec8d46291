import Basics
import Reactor
import ServerSupport
import Testing

@testable import BusRedis

/// With a server that says and does what a Redis does not.
@Suite("The link to a server that is no good")
struct HostileServerTests {
    private func up(
        _ clock: TestClock = TestClock(), channels: [String] = []
    ) throws -> (TestLoop, FakeRedis, TestLink) {
        let test = try TestLoop(clock: clock)
        let fake = try FakeRedis(test.loop)
        let link = try TestLink(test, RedisAddress(port: fake.port), channels: channels)
        try link.connect()
        return (test, fake, link)
    }

    @Test(
        "What no Redis says to a subscriber ends the connection",
        arguments: [
            "x\r\n", "*17\r\n", "*2147483647\r\n", "*1\r\n*1\r\n", ":1\r\n", "+OK\r\n", "$-1\r\n",
            "*0\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n:1\r\n", "*1\r\n$7\r\nmessage\r\n",
            "*3\r\n$8\r\npmessage\r\n$1\r\nc\r\n$1\r\nc\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        ])
    func saysToSubscriber(text: String) throws {
        let (test, fake, link) = try up()
        fake.subscriber?.say(text)
        try test.run(until: "down") { !link.downs.isEmpty }
        #expect(link.downs == [.protocolViolation])
        try test.run(until: "up again") { link.isUp }
    }

    @Test(
        "What no Redis says to a publisher ends the connection",
        arguments: [
            ":1\r\n", "-ERR\r\n", "+OK\r\n", "*0\r\n", "x",
        ])
    func saysToPublisher(text: String) throws {
        let (test, fake, link) = try up()
        fake.publisher?.say(text)
        try test.run(until: "down") { !link.publisherDowns.isEmpty }
        #expect(link.publisherDowns == [.protocolViolation])
    }

    @Test("A message in pieces is one message")
    func pieces() throws {
        let (test, fake, link) = try up(channels: ["c"])
        for byte in "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\n\r\n\r\n".unicodeScalars {
            fake.subscriber?.say(String(byte))
            try test.loop.runOnce()
        }
        try test.run(until: "the message") { link.messages.count == 1 }
        #expect(link.messages[0].payload == bytes("\r\n"))
    }

    @Test("Half a reply is no sign of life")
    func half() throws {
        let clock = TestClock(isFrozen: true)
        let (test, fake, link) = try up(clock)
        fake.answer = { _, _ in "$100\r\nx" }
        clock.advance(milliseconds: 1_000)
        try test.settle()
        #expect(link.isUp)
        clock.advance(milliseconds: 1_500)
        try test.run(until: "down") { !link.downs.isEmpty }
        #expect(link.downs == [.silent])
        fake.answer = nil
    }

    @Test(
        "It is asked after 1,000 ms of silence, and given up 1,500 ms later",
        arguments: [
            (999, 0), (1_000, 2),
        ])
    func asks(milliseconds: Int, pings: Int) throws {
        let clock = TestClock(isFrozen: true)
        let (test, fake, link) = try up(clock)
        let before = fake.commands.count
        clock.advance(milliseconds: milliseconds)
        try test.settle()
        #expect(fake.commands.count - before == pings)
        guard pings > 0 else { return }
        fake.answer = { _, _ in "" }
        clock.advance(milliseconds: 1_000)
        try test.settle()
        clock.advance(milliseconds: 1_499)
        try test.settle()
        #expect(link.isUp)
        clock.advance(milliseconds: 1)
        try test.run(until: "down") { !link.downs.isEmpty && !link.publisherDowns.isEmpty }
        #expect(link.downs == [.silent])
        fake.answer = nil
    }

    @Test("A loop that was stopped itself asks before it gives up")
    func stoppedLoop() throws {
        let clock = TestClock(isFrozen: true)
        let (test, fake, link) = try up(clock)
        clock.advance(milliseconds: 60_000)
        try test.settle()
        #expect(fake.peers.count == 2)
        #expect(link.isUp)
        #expect(link.downs.isEmpty)
    }

    @Test("A server that takes connections and says nothing is given up after 2,000 ms")
    func dumb() throws {
        let clock = TestClock(isFrozen: true)
        let test = try TestLoop(clock: clock)
        let fake = try FakeRedis(test.loop)
        fake.hangs = true
        let link = try TestLink(test, RedisAddress(port: fake.port))
        try test.run(until: "a connection") { fake.connections == 1 }
        clock.advance(milliseconds: 1_999)
        try test.settle()
        #expect(link.downs.isEmpty)
        clock.advance(milliseconds: 1)
        try test.run(until: "down") { link.downs == [.timedOut] }
    }

    @Test("A refused password is named by its code, and what the server repeats is not told")
    func refusedPassword() throws {
        let test = try TestLoop()
        let fake = try FakeRedis(test.loop)
        fake.answer = { _, command in
            command[0] == "AUTH" ? "-hunter2 is wrong, hunter2\r\n" : nil
        }
        let link = try TestLink(test, RedisAddress(port: fake.port, password: "hunter2"))
        try test.run(until: "down") { !link.downs.isEmpty }
        #expect(link.downs[0] == .notLetIn("no known code"))
        #expect(!"\(link.link.state)".contains("hunter2"))
    }

    @Test("A server that takes nothing is given up when 8 MB wait, and the memory is let go")
    func overflow() throws {
        let (test, fake, link) = try up()
        fake.hangs = true
        let payload = [UInt8](repeating: 0, count: 1_000_000)
        var count = 0
        // What the kernel's buffers take is some MB more.
        while link.publisherDowns.isEmpty, count < 100 {
            link.link.publish(channel: bytes("c"), payload: payload)
            count += 1
            try test.loop.runOnce()
        }
        #expect(link.publisherDowns == [.outputOverflow])
        #expect(count >= 8)
        #expect(link.link.state.unconfirmed == count)
        #expect(!link.link.state.isPublisherReady)
    }

    @Test("Exactly 8 MB may wait, one byte more may not")
    func overflowLimit() throws {
        for (extra, isGood) in [(0, true), (1, false)] {
            let (_, fake, link) = try up()
            fake.hangs = true
            // *3, PUBLISH, c, and the header of the payload.
            let overhead = bytes("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$7999959\r\n\r\n").count
            let count = RedisConnection.maximumOutputBytes - overhead + extra
            link.link.publish(channel: bytes("c"), payload: [UInt8](repeating: 0, count: count))
            #expect(link.publisherDowns.isEmpty == isGood)
        }
    }

    @Test("Five failures open the breaker for 30 s; then one probe closes it")
    func breaker() throws {
        let clock = TestClock()
        let test = try TestLoop(clock: clock)
        let fake = try FakeRedis(test.loop)
        fake.refuses = true
        let link = try TestLink(test, RedisAddress(port: fake.port))
        try test.run(until: "an open breaker") { link.link.state.breaker == .open }
        #expect(link.downs.count == 5)
        #expect(fake.connections == 5)
        try test.settle()
        #expect(fake.connections == 5)

        clock.advance(milliseconds: Breaker.openMs)
        try test.run(until: "a probe") { fake.connections == 6 }
        try test.run(until: "open again") { link.link.state.breaker == .open }
        #expect(link.link.state.failures == 6)

        fake.refuses = false
        clock.advance(milliseconds: Breaker.openMs)
        try test.run(until: "up") { link.isUp }
        #expect(link.link.state.breaker == .closed)
        #expect(fake.connections == 8)
        #expect(link.link.state.reconnects == 0)
    }

    @Test("Nobody who listens is a failure like any other")
    func nobody() throws {
        let test = try TestLoop()
        let link = try TestLink(test, RedisAddress(port: FreePort.find()))
        try test.run(until: "down") { !link.downs.isEmpty }
        guard case .cannotConnect(let text) = link.downs[0] else {
            Issue.record("\(link.downs[0])")
            return
        }
        #expect(text.contains("refused"))
    }

    @Test("Both connections lost at once are one failure of the breaker's row")
    func bothLost() throws {
        let (test, fake, link) = try up()
        test.clock.advance(milliseconds: 1_000)
        fake.refuses = true
        fake.dropAll()
        try test.run(until: "an open breaker") { link.link.state.breaker == .open }
        // Two losses, and four attempts.
        #expect(link.link.state.failures == 6)
    }
}
