/// Durations in nanoseconds with three significant digits, as HdrHistogram keeps them: up to 2,047 ns
/// each nanosecond has a bucket, above that each power of two has 1,024, so a duration is known
/// within a thousandth. Longer ones than 73 minutes count as 73 minutes.
///
/// 270 KB once something was recorded, nothing before. Recording is an index and an addition; adding
/// up, emptying and reading are passes over the buckets, some 20 µs, for workers do them every
/// second between deliveries.
public struct LatencyHistogram: Sendable {
    /// The longest duration that is told apart.
    package static let longest: UInt64 = 1 << 42 - 1
    @usableFromInline static let bucketCount = 33 * 1_024
    /// Shared by all that are empty.
    private static let none = [UInt64](repeating: 0, count: bucketCount)

    @usableFromInline var counts: [UInt64]
    @usableFromInline var sum = 0.0
    @usableFromInline var total: UInt64 = 0
    @usableFromInline var largest: UInt64 = 0

    package init() { counts = Self.none }

    package var count: UInt64 { total }
    package var isEmpty: Bool { total == 0 }
    /// Exact, as the longest is.
    package var mean: Double { isEmpty ? 0 : sum / Double(total) }
    package var max: UInt64 { largest }

    @inlinable
    @inline(__always)
    public mutating func record(_ nanoseconds: UInt64) {
        let value = nanoseconds < 1 << 42 ? nanoseconds : 1 << 42 - 1
        counts[Self.bucket(of: value)] &+= 1
        total &+= 1
        sum += Double(Int64(truncatingIfNeeded: value))
        if value > largest { largest = value }
    }

    /// Below 2,048 the value itself; above, 1,024 buckets for each power of two.
    @inlinable
    @inline(__always)
    public static func bucket(of value: UInt64) -> Int {
        let shift = 53 &- (value | 2_047).leadingZeroBitCount
        return shift &<< 10 &+ Int(truncatingIfNeeded: value &>> UInt64(truncatingIfNeeded: shift))
    }

    /// The largest value that falls into a bucket.
    package static func upper(of bucket: Int) -> UInt64 {
        guard bucket >= 2_048 else { return UInt64(bucket) }
        let shift = UInt64(bucket / 1_024 - 1)
        return (UInt64(bucket % 1_024 + 1_024) + 1) << shift - 1
    }

    /// The least duration that a share of `q` of all is not above, within a thousandth; 0 where
    /// nothing was recorded. Never above `max`.
    package func quantile(_ q: Double) -> UInt64 {
        guard total > 0 else { return 0 }
        let rank = Swift.max(1, UInt64((q * Double(total)).rounded(.up)))
        var seen: UInt64 = 0
        for bucket in counts.indices {
            seen &+= counts[bucket]
            if seen >= rank { return Swift.min(Self.upper(of: bucket), largest) }
        }
        return largest
    }

    package mutating func merge(_ other: LatencyHistogram) {
        guard !other.isEmpty else { return }
        for bucket in counts.indices { counts[bucket] &+= other.counts[bucket] }
        total &+= other.total
        sum += other.sum
        largest = Swift.max(largest, other.largest)
    }

    package mutating func reset() {
        guard !isEmpty else { return }
        for bucket in counts.indices { counts[bucket] = 0 }
        total = 0
        sum = 0
        largest = 0
    }

    // MARK: On the way between processes

    /// The durations that were recorded, each as its bucket's largest, with how often.
    package var recorded: [(value: UInt64, count: UInt64)] {
        guard !isEmpty else { return [] }
        var result: [(value: UInt64, count: UInt64)] = []
        for bucket in counts.indices where counts[bucket] > 0 {
            result.append((value: Self.upper(of: bucket), count: counts[bucket]))
        }
        return result
    }

    /// What `recorded`, `max` and `mean` of another were.
    package init(recorded: [(value: UInt64, count: UInt64)], max: UInt64, mean: Double) {
        self.init()
        for (value, count) in recorded where count > 0 {
            counts[Self.bucket(of: Swift.min(value, Self.longest))] &+= count
            total &+= count
        }
        largest = max
        sum = mean * Double(total)
    }

    /// For plots: pairs of an upper bound and a count, 32 to a power of two.
    package var coarse: [(upper: UInt64, count: UInt64)] {
        var result: [(upper: UInt64, count: UInt64)] = []
        for (value, count) in recorded {
            let power = 63 - (value | 63).leadingZeroBitCount
            let upper = Swift.min(value | (1 << UInt64(power - 5) - 1), largest)
            if let last = result.last, last.upper >= upper {
                result[result.count - 1].count += count
            } else {
                result.append((upper: upper, count: count))
            }
        }
        return result
    }
}
