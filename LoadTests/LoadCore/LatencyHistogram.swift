import Histogram

/// Durations in nanoseconds with three significant digits, up to an hour: an HdrHistogram, and what
/// it needs to travel between processes. Durations beyond an hour count as an hour.
///
/// 270 KB each, so one is kept a kind and worker, and one a second of a run's series.
package struct LatencyHistogram: Sendable {
    /// The longest duration that is told apart.
    package static let longest: UInt64 = 3_600_000_000_000

    private var histogram = Histogram<UInt64>(
        lowestDiscernibleValue: 1, highestTrackableValue: longest,
        numberOfSignificantValueDigits: .three)
    /// The exact longest: the histogram's own is that of its bucket.
    package private(set) var max: UInt64 = 0

    package init() {}

    package var count: UInt64 { histogram.totalCount }
    package var isEmpty: Bool { count == 0 }
    /// Of the buckets' middles, 0 where nothing was recorded.
    package var mean: Double { isEmpty ? 0 : histogram.mean }

    @inline(__always)
    package mutating func record(_ nanoseconds: UInt64) {
        let value = nanoseconds < Self.longest ? nanoseconds : Self.longest
        histogram.record(value)
        if value > max { max = value }
    }

    /// The least duration that a share of `q` of all is not above, within a thousandth; 0 where
    /// nothing was recorded. Never above `max`.
    package func quantile(_ q: Double) -> UInt64 {
        isEmpty ? 0 : Swift.min(histogram.valueAtPercentile(q * 100), max)
    }

    package mutating func merge(_ other: LatencyHistogram) {
        guard !other.isEmpty else { return }
        histogram.add(other.histogram)
        max = Swift.max(max, other.max)
    }

    package mutating func reset() {
        guard !isEmpty else { return }
        histogram.reset()
        max = 0
    }

    // MARK: On the way between processes

    /// The values that were recorded, each as its bucket names it, with how often.
    package var recorded: [(value: UInt64, count: UInt64)] {
        histogram.recordedValues().map { (value: $0.value, count: $0.count) }
    }

    /// What `recorded` and `max` of another were.
    package init(recorded: [(value: UInt64, count: UInt64)], max: UInt64) {
        for (value, count) in recorded where count > 0 {
            histogram.record(Swift.min(value, Self.longest), count: count)
        }
        self.max = max
    }

    /// For plots: pairs of an upper bound and a count, 32 to a power of two.
    package var coarse: [(upper: UInt64, count: UInt64)] {
        var result: [(upper: UInt64, count: UInt64)] = []
        for (value, count) in recorded {
            let power = 63 - (value | 63).leadingZeroBitCount
            let upper = Swift.min(value | (1 << UInt64(power - 5) - 1), max)
            if let last = result.last, last.upper >= upper {
                result[result.count - 1].count += count
            } else {
                result.append((upper: upper, count: count))
            }
        }
        return result
    }
}
