import Basics
import Testing

@Suite("TimerWheel")
struct TimerWheelTests {
    private static let start: UInt64 = 1_000_003

    private func at(_ milliseconds: Int, plus nanoseconds: UInt64 = 0) -> Instant {
        Instant(
            nanoseconds: (Self.start + UInt64(milliseconds)) * 1_000_000 + nanoseconds)
    }

    private func token(_ value: UInt64, kind: UInt8 = 0) -> TimerWheel.Token {
        TimerWheel.Token(kind: kind, value: value)
    }

    /// When a timer fires, in whole milliseconds, if the wheel is asked each millisecond.
    private func firing(of deadline: Instant, from: Instant, limit: Int) -> Int? {
        var wheel = TimerWheel(now: from)
        wheel.schedule(token(1), at: deadline)
        for milliseconds in 0...limit {
            var fired: [TimerWheel.Token] = []
            wheel.advance(to: at(milliseconds), fired: &fired)
            if !fired.isEmpty { return milliseconds }
        }
        return nil
    }

    @Test(
        "A timer never fires early, and at most 16 ms late",
        arguments: [
            0, 1, 5, 15, 16, 17, 31, 32, 33, 100, 999, 16_383, 16_384, 16_385, 16_400, 20_000,
            40_000,
        ])
    func precision(milliseconds: Int) {
        for extra in [0, 1, 999_999] as [UInt64] {
            let deadline = at(milliseconds, plus: extra)
            let fired = firing(of: deadline, from: at(0), limit: milliseconds + 40)
            guard let fired else {
                Issue.record("never fired")
                continue
            }
            #expect(at(fired) >= deadline)
            #expect(fired <= milliseconds + 17)
        }
    }

    @Test("A deadline that has passed fires at the next slot")
    func past() {
        var wheel = TimerWheel(now: at(1_000))
        wheel.schedule(token(1), at: at(0))
        var fired: [TimerWheel.Token] = []
        wheel.advance(to: at(1_000), fired: &fired)
        wheel.advance(to: at(1_016), fired: &fired)
        #expect(fired == [token(1)])
    }

    @Test("Timers of one slot fire in the order of scheduling, earlier slots first")
    func order() {
        var wheel = TimerWheel(now: at(0))
        for (value, deadline) in [(1, 500), (2, 100), (3, 100), (4, 5_000), (5, 500)] {
            wheel.schedule(token(UInt64(value)), at: at(deadline))
        }
        var fired: [TimerWheel.Token] = []
        wheel.advance(to: at(6_000), fired: &fired)
        #expect(fired.map(\.value) == [2, 3, 1, 5, 4])
        #expect(wheel.count == 0)
    }

    @Test("Beyond one turn of the wheel a timer waits for its own turn")
    func turns() {
        var wheel = TimerWheel(now: at(0))
        // The same slot, one, two and five turns away.
        for turn in [5, 0, 1, 2] {
            wheel.schedule(token(UInt64(turn)), at: at(160 + turn * 16_384))
        }
        var fired: [TimerWheel.Token] = []
        for turn in 0...5 {
            wheel.advance(to: at(150 + turn * 16_384), fired: &fired)
            #expect(fired.count == [0, 1, 2, 3, 3, 3][turn])
            wheel.advance(to: at(200 + turn * 16_384), fired: &fired)
        }
        #expect(fired.map(\.value) == [0, 1, 2, 5])
    }

    @Test(
        "After a pause of any length everything due fires, and nothing else",
        arguments: [
            16_000, 16_384, 16_400, 50_000, 10_000_000,
        ])
    func pause(milliseconds: Int) {
        var wheel = TimerWheel(now: at(0))
        var due = 0
        for step in 0..<400 {
            let deadline = step * 307
            if deadline <= milliseconds - 16 { due += 1 }
            wheel.schedule(token(UInt64(deadline)), at: at(deadline))
        }
        var fired: [TimerWheel.Token] = []
        wheel.advance(to: at(milliseconds), fired: &fired)
        #expect(fired.count >= due)
        #expect(fired.allSatisfy { $0.value <= UInt64(milliseconds) })
        #expect(Set(fired).count == fired.count)
        #expect(wheel.count == 400 - fired.count)
    }

    @Test("What a timer sets off may be scheduled again at once")
    func again() {
        var wheel = TimerWheel(now: at(0))
        wheel.schedule(token(1), at: at(100))
        var times: [Int] = []
        for milliseconds in 0...1_000 {
            var fired: [TimerWheel.Token] = []
            wheel.advance(to: at(milliseconds), fired: &fired)
            for token in fired {
                times.append(milliseconds)
                wheel.schedule(token, at: at(milliseconds + 100))
            }
        }
        #expect((8...10).contains(times.count))
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 >= 100 && $1 - $0 <= 116 })
    }

    @Test("An empty wheel has no deadline, and keeps up with the clock")
    func empty() {
        var wheel = TimerWheel(now: at(0))
        #expect(wheel.nextDeadline() == nil)
        var fired: [TimerWheel.Token] = []
        wheel.advance(to: at(100_000), fired: &fired)
        #expect(fired.isEmpty)
        wheel.schedule(token(1), at: at(100_050))
        guard let next = wheel.nextDeadline() else {
            Issue.record("no deadline")
            return
        }
        #expect(next >= at(100_050) && next <= at(100_066))
    }

    @Test("A clock that does not move, or moves back, fires nothing")
    func backwards() {
        var wheel = TimerWheel(now: at(1_000))
        wheel.schedule(token(1), at: at(1_100))
        var fired: [TimerWheel.Token] = []
        wheel.advance(to: at(1_000), fired: &fired)
        wheel.advance(to: at(0), fired: &fired)
        #expect(fired.isEmpty && wheel.count == 1)
        wheel.advance(to: at(1_120), fired: &fired)
        #expect(fired == [token(1)])
    }

    @Test(
        "Against a sorted array: never early, at most 16 ms late, nextDeadline never too late",
        arguments: 1...40)
    func property(seed: UInt64) {
        var numbers = SplitMix64(seed: seed)
        var now = at(Int(numbers.next() % 100), plus: numbers.next() % 1_000_000)
        var wheel = TimerWheel(now: now)
        var model: [UInt64: Instant] = [:]
        var next: UInt64 = 0
        for _ in 0..<600 {
            switch numbers.next() % 3 {
            case 0:
                let span = [20, 500, 17_000, 70_000][Int(numbers.next() % 4)] as UInt64
                let deadline = Instant(
                    nanoseconds: now.nanoseconds + numbers.next() % (span * 1_000_000))
                next += 1
                model[next] = deadline
                wheel.schedule(token(next), at: deadline)
            default:
                let step = [3, 40, 900, 30_000][Int(numbers.next() % 4)] as UInt64
                now = Instant(nanoseconds: now.nanoseconds + numbers.next() % (step * 1_000_000))
                var fired: [TimerWheel.Token] = []
                wheel.advance(to: now, fired: &fired)
                for token in fired {
                    guard let deadline = model.removeValue(forKey: token.value) else {
                        Issue.record("fired twice, or never scheduled")
                        continue
                    }
                    #expect(deadline <= now, "early")
                }
                // Whoever has been due for 16 ms has fired.
                for deadline in model.values {
                    #expect(deadline.advanced(byMilliseconds: 16) > now, "late")
                }
            }
            #expect(wheel.count == model.count)
            let earliest = model.values.min()
            #expect((wheel.nextDeadline() == nil) == (earliest == nil))
            if let earliest, let due = wheel.nextDeadline() {
                // At that moment at the latest the earliest timer fires in time.
                let bound = max(earliest, now).advanced(byMilliseconds: 16)
                #expect(due <= bound)
            }
        }
    }

    @Test("Advancing only when nextDeadline says so fires everything in time", arguments: 1...20)
    func byDeadline(seed: UInt64) {
        var numbers = SplitMix64(seed: seed)
        var wheel = TimerWheel(now: at(0))
        var model: [UInt64: Instant] = [:]
        for value in 0..<60 as Range<UInt64> {
            let deadline = Instant(
                nanoseconds: at(0).nanoseconds + numbers.next() % 60_000_000_000)
            model[value] = deadline
            wheel.schedule(token(value), at: deadline)
        }
        var wakes = 0
        while let due = wheel.nextDeadline() {
            wakes += 1
            guard wakes < 2_000 else {
                Issue.record("too many wakes")
                return
            }
            var fired: [TimerWheel.Token] = []
            wheel.advance(to: due, fired: &fired)
            for token in fired {
                guard let deadline = model.removeValue(forKey: token.value) else { continue }
                #expect(deadline <= due)
                #expect(due.nanoseconds(since: deadline) <= 16_000_000)
            }
        }
        #expect(model.isEmpty)
        #expect(wakes < 400, "a wake-up a slot and turn, no more")
    }
}

/// The same numbers from the same seed.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
