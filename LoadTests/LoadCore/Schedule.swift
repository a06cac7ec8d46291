import Glibc

/// Sebastiano Vigna's generator: a run with the same seed sends at the same times.
package struct LoadRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    @inline(__always)
    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed &>> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed &>> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed &>> 31)
    }

    /// Below `bound`, which is above 0; a bias of one in 2^32.
    @inline(__always)
    package mutating func index(below bound: Int) -> Int {
        Int(truncatingIfNeeded: (next() &>> 32 &* UInt64(truncatingIfNeeded: bound)) &>> 32)
    }

    /// In (0, 1].
    package mutating func fraction() -> Double {
        Double((next() >> 11) + 1) / Double(1 << 53)
    }

    /// Exponential of that mean.
    package mutating func exponential(mean: Double) -> Double { -log(fraction()) * mean }
}

/// When messages of an open loop are due, whatever the server does: a server that is slow does not
/// get fewer of them, and what waits behind it is measured from when it was due.
package struct Arrivals: Sendable {
    private let start: UInt64
    private let gap: Double
    private let isPoisson: Bool
    private var random: LoadRandom
    /// Nanoseconds since the start, exact for days.
    private var offset = 0.0
    private var count = 0.0

    /// - Parameters:
    ///   - rate: a second, above 0.
    ///   - start: nanoseconds; the first is due a gap later.
    package init(rate: Double, arrival: Scenario.Arrival, start: UInt64, random: LoadRandom) {
        self.start = start
        gap = 1e9 / rate
        isPoisson = arrival == .poisson
        self.random = random
        advance()
    }

    /// When the next one is due.
    package var next: UInt64 { start &+ UInt64(offset) }

    package mutating func advance() {
        count += 1
        // Uniform arrivals by multiplication, so that nothing adds up.
        offset = isPoisson ? offset + random.exponential(mean: gap) : count * gap
    }
}
