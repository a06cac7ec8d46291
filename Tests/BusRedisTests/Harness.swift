import Basics
import Reactor
import ServerSupport
import Synchronization

@testable import BusRedis

/// The system's clock, with what the test adds; or a clock that only the test moves.
final class TestClock: Clock, Sendable {
    private let added = Mutex<UInt64>(0)
    private let isFrozen: Bool

    init(isFrozen: Bool = false) { self.isFrozen = isFrozen }

    func now() -> Now {
        var now = SystemClock().now()
        if isFrozen { now.instant = Instant(nanoseconds: 1_000_000_000_000) }
        now.instant.nanoseconds += added.withLock { $0 }
        return now
    }

    func advance(milliseconds: Int) {
        added.withLock { $0 += UInt64(milliseconds) * 1_000_000 }
    }
}

/// A loop on the test's own thread, that goes round at least every few milliseconds.
final class TestLoop {
    private final class Ticker: LoopParticipant {
        let clock: TestClock
        init(_ clock: TestClock) { self.clock = clock }
        func turn(_ now: Now) {}
        var deadline: Instant? { clock.now().instant.advanced(byMilliseconds: 2) }
    }

    let clock: TestClock
    let loop: EventLoop

    init(clock: TestClock = TestClock()) throws {
        self.clock = clock
        loop = try EventLoop(clock: clock)
        loop.add(Ticker(clock))
    }

    /// Goes round until `condition` holds.
    func run(
        until what: String, withinMs milliseconds: Int = 20_000, _ condition: () throws -> Bool
    ) throws {
        let begun = SystemClock().now().instant
        while try !condition() {
            let elapsed = SystemClock().now().instant.milliseconds(since: begun)
            try check(elapsed < milliseconds, "not within \(milliseconds) ms: \(what)")
            try loop.runOnce()
        }
    }

    /// Goes round so often that what was on its way has arrived.
    func settle() throws {
        for _ in 0..<20 { try loop.runOnce() }
    }
}

/// A link and what it told.
final class TestLink {
    private(set) var link: RedisLink!
    var ups = 0
    var downs: [RedisFailure] = []
    var publisherUps = 0
    var publisherDowns: [RedisFailure] = []
    var subscribed: [[UInt8]] = []
    var messages: [(channel: [UInt8], payload: [UInt8])] = []
    /// Subscribed to at each `up`.
    var channels: [[UInt8]] = []
    private let test: TestLoop

    init(_ test: TestLoop, _ address: RedisAddress, channels: [String] = []) throws {
        self.test = test
        self.channels = channels.map { Array($0.utf8) }
        link = try RedisLink(loop: test.loop, address: address) { [unowned self] in record($0) }
        test.loop.add(link)
        link.start()
    }

    private func record(_ event: RedisLink.Event) {
        switch event {
        case .up:
            ups += 1
            link.subscribe(channels)
        case .down(let failure): downs.append(failure)
        case .subscribed(let channel): subscribed.append(channel)
        case .message(let channel, let payload): messages.append((channel, payload))
        case .publisherUp: publisherUps += 1
        case .publisherDown(let failure): publisherDowns.append(failure)
        }
    }

    var isUp: Bool { link.state.isSubscriberReady && link.state.isPublisherReady }

    func connect() throws {
        try test.run(until: "a link that is up") { isUp && subscribed.count >= channels.count }
    }
}

extension RedisAddress {
    init(port: UInt16, password: String? = nil) throws {
        try self.init(host: "127.0.0.1", port: String(port), password: password)
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
