/// What receivers should have got and what they got. It knows, for each receiver and each sender
/// that it hears (a *lane*), the number that came last: messages of a lane have to come as 1, 2, 3, …
/// each once.
///
/// A number that is skipped is missing, until it comes after all: then it was reordered. One that is
/// not above the last and not missing is a repeat. What never came is counted at the end, against
/// what the senders say they sent.
///
/// The usual message costs a load, a comparison and a store. Memory: four bytes a lane, and what
/// went wrong, bounded.
public struct Oracle: Sendable {
    /// What a run adds up to; sums over workers.
    public struct Findings: Sendable, Equatable {
        /// Messages that were looked at.
        public var checked: UInt64 = 0
        package var lost: UInt64 = 0
        package var repeated: UInt64 = 0
        package var reordered: UInt64 = 0
        /// Of another run, of a room that is not the receiver's, or damaged.
        package var foreign: UInt64 = 0
        /// More was missing at once, or refused, than is remembered, or a worker was not told what the others
        /// sent: `lost` may be too much or too little, and `repeated` too little.
        package var isIncomplete = false
        /// The first few of each, in words.
        package var examples: [String] = []

        package init() {}

        package static let mostExamples = 12

        package mutating func note(_ example: @autoclosure () -> String) {
            if examples.count < Self.mostExamples { examples.append(example()) }
        }

        package mutating func add(_ other: Findings) {
            checked += other.checked
            lost += other.lost
            repeated += other.repeated
            reordered += other.reordered
            foreign += other.foreign
            isIncomplete = isIncomplete || other.isIncomplete
            examples = Array((examples + other.examples).prefix(Self.mostExamples))
        }

        /// Everything came, each once and in order.
        package var isContent: Bool {
            lost == 0 && repeated == 0 && reordered == 0 && foreign == 0
        }
    }

    /// The receiver has just come (back) without a memory of what was before: any number is its
    /// first.
    private static let unknown = UInt32.max
    @usableFromInline var last: [UInt32]
    /// Of lanes where something is missing: which.
    private var missing: [Int: Set<UInt32>] = [:]
    private var missingCount = 0
    private let mostMissing: Int
    /// What comes late may be one of those: a repeat is no more told from it.
    private var hasForgotten = false
    public var findings = Findings()

    /// - Parameters:
    ///   - lanes: how many; a lane's index is the caller's affair.
    ///   - mostMissing: missing numbers that are remembered one by one. Beyond them they are only
    ///     counted, as lost, whatever becomes of them, and the findings say that they are incomplete.
    package init(lanes: Int, mostMissing: Int = 4_000_000) {
        last = [UInt32](repeating: 0, count: lanes)
        self.mostMissing = mostMissing
    }

    package var laneCount: Int { last.count }

    /// The number that came last; 0 where none did.
    package func lastNumber(_ lane: Int) -> UInt32 {
        last[lane] == Self.unknown ? 0 : last[lane]
    }

    /// A message came. Returns how many numbers this settles: 1 for the expected one, more where it
    /// skipped some, 0 where it had been settled before.
    @inlinable
    @inline(__always)
    public mutating func received(_ lane: Int, _ number: UInt32) -> UInt32 {
        findings.checked &+= 1
        if number == last[lane] &+ 1 {
            last[lane] = number
            return 1
        }
        return receivedUnexpected(lane, number)
    }

    @inline(never)
    @usableFromInline
    mutating func receivedUnexpected(_ lane: Int, _ number: UInt32) -> UInt32 {
        let before = last[lane]
        if before == Self.unknown {
            last[lane] = number
            return 1
        }
        if number > before {
            let count = number - before - 1
            findings.lost += UInt64(count)
            findings.note("lane \(lane): \(number) came after \(before)")
            for skipped in (before + 1)..<number where !hasForgotten {
                remember(skipped, missingOn: lane)
                if hasForgotten { break }
            }
            last[lane] = number
            return count + 1
        }
        if missing[lane]?.remove(number) != nil {
            missingCount -= 1
            findings.lost -= 1
            findings.reordered += 1
            findings.note("lane \(lane): \(number) came late, after \(before)")
        } else if !hasForgotten {
            findings.repeated += 1
            findings.note("lane \(lane): \(number) came again, after \(before)")
        }
        return 0
    }

    private mutating func remember(_ number: UInt32, missingOn lane: Int) {
        guard missingCount < mostMissing else {
            hasForgotten = true
            findings.isIncomplete = true
            return
        }
        missing[lane, default: []].insert(number)
        missingCount += 1
    }

    /// A message that belongs to nobody here.
    package mutating func receivedForeign(_ what: @autoclosure () -> String) {
        findings.checked += 1
        findings.foreign += 1
        findings.note(what())
    }

    /// The log's own number did not rise, although the sender's did.
    package mutating func receivedOutOfLog(_ what: @autoclosure () -> String) {
        findings.reordered += 1
        findings.note(what())
    }

    /// The receiver lost its connection where the server keeps nothing for it.
    package mutating func forget(_ lane: Int) { last[lane] = Self.unknown }

    // MARK: At the end

    /// Whether everything up to `number` has come, or been found missing.
    package func isSettled(_ lane: Int, upTo number: UInt32) -> Bool {
        last[lane] == Self.unknown || last[lane] >= number
    }

    /// These numbers need not have come: their sender was told that they are not stored, or its
    /// connection went before they were known to have left.
    package mutating func excuse(_ lane: Int, _ numbers: some Sequence<UInt32>) {
        for number in numbers where missing[lane]?.remove(number) != nil {
            missingCount -= 1
            findings.lost -= 1
        }
    }

    /// Nothing more will come: what is missing up to `number` is lost.
    ///
    /// - Parameter excused: numbers above the last one that need not have come.
    package mutating func close(_ lane: Int, sent number: UInt32, excused: Set<UInt32> = []) {
        guard last[lane] != Self.unknown, last[lane] < number else { return }
        let absent = ((last[lane] + 1)...number).filter { !excused.contains($0) }.count
        guard absent > 0 else { return }
        findings.lost += UInt64(absent)
        findings.note("lane \(lane): \(absent) of \(number) never came; the last was \(last[lane])")
    }

    /// A lane that proved nothing, say of a receiver that was told not to read: what seemed to be
    /// missing on it is not counted.
    package mutating func pardon(_ lane: Int) {
        guard let numbers = missing.removeValue(forKey: lane) else { return }
        missingCount -= numbers.count
        findings.lost -= UInt64(numbers.count)
    }
}
