import Testing

@testable import LoadCore

/// Histogram, schedule, thresholds: what numbers are made of.
struct MeasureTests {
    // MARK: Latencies

    @Test("Quantiles are those of the sorted values, within a thousandth", arguments: [1, 2, 3])
    func quantiles(seed: UInt64) {
        var random = LoadRandom(seed: seed)
        var histogram = LatencyHistogram()
        var values: [UInt64] = []
        for _ in 0..<20_000 {
            let value = UInt64(random.exponential(mean: 3e6)) + 200
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        for q in [0.01, 0.5, 0.9, 0.99, 0.999, 1] {
            let exact = Double(values[max(0, Int((q * Double(values.count)).rounded(.up)) - 1)])
            let found = Double(histogram.quantile(q))
            #expect(abs(found - exact) <= exact / 1_000 + 1, "\(q): \(found) for \(exact)")
        }
        #expect(histogram.count == 20_000)
        #expect(histogram.max == values.last)
        let mean = Double(values.reduce(0, +)) / Double(values.count)
        #expect(abs(histogram.mean - mean) < 1e-6 * mean)
    }

    @Test("A single value is every quantile, and its own longest")
    func oneValue() {
        var histogram = LatencyHistogram()
        histogram.record(123_456_789)
        #expect(histogram.quantile(0.5) == 123_456_789)
        #expect(histogram.max == 123_456_789)
    }

    @Test("Nothing recorded is zero everywhere")
    func empty() {
        let histogram = LatencyHistogram()
        #expect(histogram.quantile(0.99) == 0)
        #expect(histogram.mean == 0)
        #expect(histogram.recorded.isEmpty && histogram.coarse.isEmpty)
    }

    @Test("Durations beyond the longest count as the longest")
    func longest() {
        var histogram = LatencyHistogram()
        histogram.record(LatencyHistogram.longest)
        histogram.record(LatencyHistogram.longest + 1)
        histogram.record(.max)
        #expect(histogram.count == 3)
        #expect(histogram.max == LatencyHistogram.longest)
        #expect(histogram.recorded.count == 1)
    }

    @Test("Each value falls into a bucket that ends at or above it, within a thousandth")
    func buckets() {
        var last = -1
        for power in 0..<42 as Range<UInt64> {
            let start: UInt64 = 1 << power
            for value in [start, start + 1, start / 3 * 4, 2 * start - 1]
            where value <= LatencyHistogram.longest {
                let upper = LatencyHistogram.upper(of: LatencyHistogram.bucket(of: value))
                #expect(upper >= value && upper - value <= value / 1_000)
            }
        }
        for value in 0..<5_000 as Range<UInt64> {
            let bucket = LatencyHistogram.bucket(of: value)
            #expect(bucket == last || bucket == last + 1)
            last = bucket
        }
        #expect(
            LatencyHistogram.bucket(of: LatencyHistogram.longest)
                == LatencyHistogram.bucketCount - 1)
    }

    @Test("Merging is recording both; what travels between processes is all of it")
    func merging() {
        var random = LoadRandom(seed: 4)
        var a = LatencyHistogram()
        var b = LatencyHistogram()
        var both = LatencyHistogram()
        for _ in 0..<5_000 {
            let value = random.next() >> 30
            if value & 1 == 0 { a.record(value) } else { b.record(value) }
            both.record(value)
        }
        a.merge(LatencyHistogram(recorded: b.recorded, max: b.max, mean: b.mean))
        #expect(a.count == both.count && a.max == both.max)
        for q in [0.1, 0.5, 0.99] { #expect(a.quantile(q) == both.quantile(q)) }
        a.reset()
        #expect(a.isEmpty && a.max == 0)
    }

    @Test("The buckets of a plot hold every value once, in rising order")
    func coarse() {
        var histogram = LatencyHistogram()
        for value in stride(from: 1 as UInt64, to: 5_000_000, by: 371) { histogram.record(value) }
        let buckets = histogram.coarse
        #expect(buckets.reduce(0) { $0 + $1.count } == histogram.count)
        #expect(zip(buckets, buckets.dropFirst()).allSatisfy { $0.upper < $1.upper })
        #expect(buckets.count < 32 * 24)
        #expect(buckets.last?.upper == histogram.max)
    }

    // MARK: The schedule

    @Test("Uniform arrivals are a gap apart, and nothing adds up over a day")
    func uniform() {
        var arrivals = Arrivals(
            rate: 1_000, arrival: .uniform, start: 5_000_000, random: LoadRandom(seed: 1))
        #expect(arrivals.next == 6_000_000)
        for _ in 0..<999_999 { arrivals.advance() }
        #expect(arrivals.next == 5_000_000 + 1_000_000_000_000)
    }

    @Test("Poisson arrivals have the rate's mean and an exponential's spread")
    func poisson() {
        var arrivals = Arrivals(
            rate: 1_000, arrival: .poisson, start: 0, random: LoadRandom(seed: 2))
        var last: UInt64 = 0
        var gaps: [Double] = []
        for _ in 0..<100_000 {
            gaps.append(Double(arrivals.next - last))
            last = arrivals.next
            arrivals.advance()
        }
        let mean = gaps.reduce(0, +) / Double(gaps.count)
        let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
        #expect(abs(mean - 1e6) < 1e4)
        #expect(abs(variance.squareRoot() / mean - 1) < 0.02)
    }

    @Test("The same seed sends at the same times, another one does not")
    func seeds() {
        func times(_ seed: UInt64) -> [UInt64] {
            var arrivals = Arrivals(
                rate: 10, arrival: .poisson, start: 0, random: LoadRandom(seed: seed))
            return (0..<50).map { _ in
                defer { arrivals.advance() }
                return arrivals.next
            }
        }
        #expect(times(1) == times(1))
        #expect(times(1) != times(2))
    }

    // MARK: Thresholds

    @Test("A limit holds at its value and not above it; a floor not below it")
    func limits() throws {
        let p99 = try Threshold(name: "delivery-p99", limit: "50ms")
        #expect(p99.judge(50_000).held)
        #expect(!p99.judge(50_000.1).held)
        let rate = try Threshold(name: "delivery-rate", limit: "1000")
        #expect(rate.judge(1_000).held)
        #expect(!rate.judge(999.9).held)
    }

    @Test("What was not measured holds nothing")
    func unmeasured() throws {
        #expect(!(try Threshold(name: "recovered-within", limit: "8s").judge(nil).held))
    }

    @Test("No error and nothing lost are asked for, unless the scenario says otherwise")
    func defaults() throws {
        let stated = [try Threshold(name: "lost", limit: "3")]
        let all = Threshold.withDefaults(stated)
        #expect(all == [Threshold(.errors, limit: 0), Threshold(.lost, limit: 3)])
    }
}
