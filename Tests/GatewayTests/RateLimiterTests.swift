import Basics
import Gateway
import Testing

@Suite("TokenBucket, WindowCounter, ConnectionKey")
struct RateLimiterTests {
    private func at(_ milliseconds: Int) -> Instant {
        Instant(nanoseconds: 5_000_000_000).advanced(byMilliseconds: milliseconds)
    }

    @Test("A full bucket gives its burst, then one a period's share")
    func burst() {
        var bucket = TokenBucket(full: 3, now: at(0))
        func take(_ milliseconds: Int) -> Int? {
            bucket.take(rate: 10, periodMs: 1_000, burst: 3, now: at(milliseconds))
        }
        #expect((0..<3).map { _ in take(0) } == [nil, nil, nil])
        #expect(take(0) == 100)
        #expect(take(40) == 60)
        #expect(take(99) == 1)
        #expect(take(100) == nil)
        #expect(take(100) == 100)
    }

    @Test("It never holds more than its burst, however long nobody takes")
    func cap() {
        var bucket = TokenBucket(full: 2, now: at(0))
        for _ in 0..<2 { _ = bucket.take(rate: 5, periodMs: 1_000, burst: 2, now: at(0)) }
        let later = at(100_000_000)
        let taken = (0..<3).map { _ in
            bucket.take(rate: 5, periodMs: 1_000, burst: 2, now: later) == nil
        }
        #expect(taken == [true, true, false])
    }

    @Test(
        "The wait that it names is enough, and less is not (property)",
        arguments: 1...50)
    func wait(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed))
        let rate = 1 + numbers.below(40)
        let period = [1_000, 10_000, 60_000][numbers.below(3)]
        let burst = 1 + numbers.below(5)
        var bucket = TokenBucket(full: burst, now: at(0))
        var time = 0
        for _ in 0..<200 {
            time += numbers.below(2 * period / rate)
            guard let wait = bucket.take(rate: rate, periodMs: period, burst: burst, now: at(time))
            else { continue }
            #expect(wait >= 1 && wait <= period / rate + 1)
            // A thousandth of a token is as fine as it counts.
            let early = wait - 2 - period / (rate * 1_000)
            if early > 0 {
                var copy = bucket
                let isRefused =
                    copy.take(rate: rate, periodMs: period, burst: burst, now: at(time + early))
                    != nil
                #expect(isRefused)
            }
            #expect(
                bucket.take(rate: rate, periodMs: period, burst: burst, now: at(time + wait))
                    == nil)
            time += wait
        }
    }

    @Test("Over a long time no more pass than the rate and one burst (property)", arguments: 1...20)
    func longRun(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed))
        let rate = 1 + numbers.below(30)
        var bucket = TokenBucket(full: 10, now: at(0))
        var passed = 0
        var time = 0
        while time < 60_000 {
            if bucket.take(rate: rate, periodMs: 1_000, burst: 10, now: at(time)) == nil {
                passed += 1
            }
            time += 1 + numbers.below(20)
        }
        #expect(passed <= 10 + 60 * rate + 1)
        #expect(passed >= min(60 * rate / 2, 2_000))
    }

    @Test("A clock that stands still or steps back refills nothing, and breaks nothing")
    func clock() {
        var bucket = TokenBucket(full: 1, now: at(1_000))
        #expect(bucket.take(rate: 1, periodMs: 1_000, burst: 1, now: at(1_000)) == nil)
        #expect(bucket.take(rate: 1, periodMs: 1_000, burst: 1, now: at(0)) == 1_000)
        #expect(bucket.take(rate: 1, periodMs: 1_000, burst: 1, now: at(2_000)) == nil)
    }

    @Test("Off never refuses, and the largest numbers of the catalogue do not overflow")
    func extremes() {
        var bucket = TokenBucket(full: Limits.off, now: at(0))
        for _ in 0..<1_000 {
            #expect(
                bucket.take(rate: Limits.off, periodMs: 1_000, burst: Limits.off, now: at(0)) == nil
            )
            #expect(bucket.take(rate: 5, periodMs: 1_000, burst: Limits.off, now: at(0)) == nil)
        }
        var large = TokenBucket(full: 5_000_000, now: .start)
        #expect(
            large.take(
                rate: 1_000_000, periodMs: 1_000, burst: 5_000_000,
                now: Instant(nanoseconds: .max)) == nil)
        var small = TokenBucket(full: 1, now: .start)
        _ = small.take(rate: 1, periodMs: 60_000, burst: 1, now: .start)
        #expect(small.take(rate: 1, periodMs: 60_000, burst: 1, now: .start) == 60_000)
    }

    // MARK: WindowCounter

    @Test(
        "The limit is reached by the event that makes it, within the window", arguments: [1, 2, 10])
    func window(limit: Int) {
        var counter = WindowCounter()
        for number in 1...(limit + 2) {
            #expect(
                counter.add(limit: limit, windowMs: 60_000, now: at(number)) == (number >= limit))
        }
    }

    @Test("A window begins with its first event and ends when it has gone")
    func windowEnd() {
        var counter = WindowCounter()
        func add(_ milliseconds: Int) -> Bool {
            counter.add(limit: 3, windowMs: 1_000, now: at(milliseconds))
        }
        #expect([add(0), add(500), add(999)] == [false, false, true])
        #expect([add(1_000), add(1_999), add(2_000)] == [false, false, false])
    }

    @Test("Off is never reached")
    func windowOff() {
        var counter = WindowCounter()
        for _ in 0..<1_000 {
            let reached = counter.add(limit: Limits.off, windowMs: 1_000, now: at(0))
            #expect(!reached)
        }
    }

    // MARK: ConnectionKey

    @Test(
        "A key holds slot, shard and generation, and no other's",
        arguments: [
            (0, 0, 1), (0xFF_FFFF, 255, .max), (12_345, 7, 1 << 31), (1, 255, 1),
        ] as [(UInt32, Int, UInt32)])
    func key(slot: UInt32, shard: Int, generation: UInt32) {
        let key = ConnectionKey(slot: slot, shard: shard, generation: generation)
        #expect(key.slot == slot && key.generation == generation)
        #expect(Int(key.packed >> 24 & 0xFF) == shard)
        #expect(ConnectionKey(packed: key.packed) == key)
        #expect(key.packed != 0)
        let next = ConnectionKey(slot: slot, shard: shard, generation: generation &+ 1)
        #expect(next != key)
    }
}
