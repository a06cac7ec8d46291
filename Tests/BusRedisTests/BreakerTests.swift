import Basics
import Testing

@testable import BusRedis

@Suite("The breaker")
struct BreakerTests {
    private let start = Instant(nanoseconds: 5_000_000_000)

    /// After `failures` failures, each at the earliest time.
    private func failed(_ failures: Int, jitter: UInt64 = 0) -> (Breaker, Instant) {
        var breaker = Breaker()
        var now = start
        for _ in 0..<failures {
            now = max(now, breaker.nextAttempt)
            let mayAttempt = breaker.mayAttempt(now)
            #expect(mayAttempt)
            breaker.failed(now, jitter: jitter)
        }
        return (breaker, now)
    }

    @Test("It begins closed, and the first attempt waits for nothing")
    func begins() {
        var breaker = Breaker()
        #expect(breaker.state == .closed)
        let mayTry = breaker.mayAttempt(.start)
        #expect(mayTry)
    }

    @Test(
        "While closed it waits 50 ms, 200 ms, 800 ms, 2 s, or half of that",
        arguments: [
            (1, 50, 50), (2, 100, 200), (3, 400, 800), (4, 1_000, 2_000),
        ])
    func waits(failures: Int, shortest: Int, longest: Int) {
        for (jitter, wait) in [(UInt64.min, shortest), (.max, longest)] {
            var (breaker, now) = failed(failures, jitter: jitter)
            #expect(breaker.state == .closed)
            #expect(breaker.nextAttempt == now.advanced(byMilliseconds: wait))
            let before = Instant(nanoseconds: breaker.nextAttempt.nanoseconds - 1)
            let mayTryBefore = breaker.mayAttempt(before)
            #expect(!mayTryBefore)
            #expect(breaker.isWaiting(before))
            let mayTryThen = breaker.mayAttempt(breaker.nextAttempt)
            #expect(mayTryThen)
            #expect(!breaker.isWaiting(breaker.nextAttempt))
        }
    }

    @Test("Four failures leave it closed, the fifth opens it for 30 s")
    func opens() {
        #expect(failed(4).0.state == .closed)
        var (breaker, now) = failed(5)
        #expect(breaker.state == .open)
        let mayTryBefore = breaker.mayAttempt(now.advanced(byMilliseconds: 29_999))
        #expect(!mayTryBefore)
        #expect(breaker.state == .open)
        let mayTryThen = breaker.mayAttempt(now.advanced(byMilliseconds: 30_000))
        #expect(mayTryThen)
        #expect(breaker.state == .halfOpen)
    }

    @Test("A probe that fails opens it again, one that connects closes it")
    func probes() {
        var (breaker, now) = failed(5)
        now = breaker.nextAttempt
        let mayProbe = breaker.mayAttempt(now)
        #expect(mayProbe)
        breaker.failed(now, jitter: 0)
        #expect(breaker.state == .open)
        #expect(breaker.nextAttempt == now.advanced(byMilliseconds: 30_000))
        now = breaker.nextAttempt
        let mayProbeAgain = breaker.mayAttempt(now)
        #expect(mayProbeAgain)
        breaker.connected(now)
        #expect(breaker.state == .closed)
    }

    @Test("A connection that lasted a second ends the row of failures, a shorter one does not")
    func stability() {
        for (milliseconds, failures) in [(999, 4), (1_000, 1)] {
            var (breaker, now) = failed(3)
            now = breaker.nextAttempt
            breaker.connected(now)
            breaker.failed(now.advanced(byMilliseconds: milliseconds), jitter: 0)
            #expect(breaker.failures == failures)
        }
    }
}
