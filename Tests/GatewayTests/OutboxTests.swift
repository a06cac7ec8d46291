import Basics
import Gateway
import Testing

/// An outbox, which cannot be copied, as `#expect` and arrays want it.
private final class Held {
    private var outbox = Outbox()
    var count: Int { outbox.count }
    var isEmpty: Bool { outbox.isEmpty }

    func append(from pool: inout BufferPool, _ write: (inout [UInt8]) -> Void) {
        outbox.append(from: &pool, write)
    }

    func append(shared: SharedBytes, from pool: inout BufferPool) {
        outbox.append(shared: shared, from: &pool)
    }

    func append(_ run: Run, from pool: inout BufferPool) { outbox.append(run, from: &pool) }

    func withPending<Result>(
        in pool: borrowing BufferPool,
        _ body: (UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Result
    ) -> Result {
        unsafe outbox.withPending(in: pool, body)
    }

    func consume(_ written: Int, returningTo pool: inout BufferPool) {
        outbox.consume(written, returningTo: &pool)
    }

    func clear(returningTo pool: inout BufferPool) { outbox.clear(returningTo: &pool) }
}

@Suite("Outbox and BufferPool")
struct OutboxTests {
    /// What waits, and in how many pieces.
    private func pending(
        _ outbox: Held, _ pool: BufferPool = BufferPool()
    ) -> (bytes: [UInt8], chunks: Int) {
        unsafe outbox.withPending(in: pool) { chunks in
            var bytes: [UInt8] = []
            for index in 0..<chunks.count { unsafe bytes.append(contentsOf: chunks[index]) }
            return (bytes, chunks.count)
        }
    }

    private func bytes(_ count: Int, from first: Int = 0) -> [UInt8] {
        Array(Self.pattern[(first & 255)..<((first & 255) + count)])
    }

    private static let pattern = (0..<250_000).map { UInt8(truncatingIfNeeded: $0) }

    @Test("A queue goes with its outbox, or back to the pool, and is freed once")
    func ownership() {
        weak var dropped: OutboxQueue?
        weak var returned: OutboxQueue?
        var pool = BufferPool()
        do {
            let (first, second) = (OutboxQueue(capacity: 8), OutboxQueue(capacity: 8))
            (dropped, returned) = (first, second)
            pool.give(second)
            pool.give(first)
        }
        do {
            let outbox = Held()
            outbox.append(from: &pool) { $0.append(1) }
            #expect(dropped != nil)
        }
        #expect(dropped == nil, "its outbox went while it waited")
        let outbox = Held()
        outbox.append(from: &pool) { $0.append(1) }
        outbox.consume(1, returningTo: &pool)
        #expect(returned != nil)
        #expect(pool.take() === returned)
        #expect(returned == nil)
    }

    @Test("What is appended waits, in order, until it is consumed")
    func order() {
        var pool = BufferPool()
        let outbox = Held()
        #expect(outbox.isEmpty)
        outbox.append(from: &pool) { $0 += [1, 2] }
        outbox.append(shared: SharedBytes([3, 4]), from: &pool)
        outbox.append(from: &pool) { $0 += [5] }
        #expect(outbox.count == 5 && pending(outbox).bytes == [1, 2, 3, 4, 5])
        outbox.consume(2, returningTo: &pool)
        #expect(pending(outbox).bytes == [3, 4, 5])
        outbox.consume(3, returningTo: &pool)
        #expect(outbox.isEmpty)
    }

    @Test("A chunk is shared from the threshold on, and copied below it", arguments: [-1, 0, 1])
    func threshold(offset: Int) {
        var pool = BufferPool()
        let outbox = Held()
        let large = bytes(Outbox.sharingThreshold + offset)
        outbox.append(from: &pool) { $0 += [9] }
        outbox.append(shared: SharedBytes(large), from: &pool)
        outbox.append(from: &pool) { $0 += [8] }
        let waiting = pending(outbox)
        #expect(waiting.bytes == [9] + large + [8])
        #expect(waiting.chunks == (offset < 0 ? 1 : 3))
        #expect(outbox.count == large.count + 2)
    }

    @Test("Consumed at every byte, what is left is right")
    func everyByte() {
        let size = Outbox.sharingThreshold
        let whole =
            bytes(3) + bytes(size, from: 7) + bytes(2, from: 90) + bytes(size, from: 50)
            + bytes(4, from: 30)
        let interesting = Set(0...10).union((size - 5)...(size + 15))
            .union((2 * size - 3)...(2 * size + 9))
        for first in interesting.sorted() where first <= whole.count {
            var pool = BufferPool()
            let outbox = Held()
            outbox.append(from: &pool) { $0 += self.bytes(3) }
            outbox.append(shared: SharedBytes(bytes(size, from: 7)), from: &pool)
            outbox.append(from: &pool) { $0 += self.bytes(2, from: 90) }
            outbox.append(shared: SharedBytes(bytes(size, from: 50)), from: &pool)
            outbox.append(from: &pool) { $0 += self.bytes(4, from: 30) }
            outbox.consume(first, returningTo: &pool)
            #expect(outbox.count == whole.count - first)
            if first < whole.count {
                #expect(pending(outbox).bytes == Array(whole[first...]))
                outbox.consume(whole.count - first, returningTo: &pool)
            }
            #expect(outbox.isEmpty)
        }
    }

    @Test("More chunks than one writev takes are offered in part, in order")
    func manyChunks() {
        var pool = BufferPool()
        let outbox = Held()
        let size = Outbox.sharingThreshold
        for index in 0..<40 {
            outbox.append(shared: SharedBytes(bytes(size, from: index)), from: &pool)
        }
        outbox.append(from: &pool) { $0 += [1, 2, 3] }
        var seen: [UInt8] = []
        while !outbox.isEmpty {
            let offered = pending(outbox)
            #expect(offered.chunks <= 16 && !offered.bytes.isEmpty)
            seen += offered.bytes
            outbox.consume(offered.bytes.count, returningTo: &pool)
        }
        #expect(seen == (0..<40).flatMap { bytes(size, from: $0) } + [1, 2, 3])
    }

    @Test("A slow reader's tail is compacted without losing a byte")
    func compaction() {
        var pool = BufferPool()
        let outbox = Held()
        outbox.append(from: &pool) { $0 += self.bytes(200_000) }
        outbox.consume(65_537, returningTo: &pool)
        #expect(pending(outbox).bytes == Array(bytes(200_000)[65_537...]))
        outbox.consume(50_000, returningTo: &pool)
        #expect(pending(outbox).bytes == Array(bytes(200_000)[115_537...]))
        outbox.append(from: &pool) { $0 += [7] }
        #expect(pending(outbox).bytes == Array(bytes(200_000)[115_537...]) + [7])
    }

    @Test("Any appends and consumes, against an array (property)", arguments: 1...20)
    func property(seed: Int) {
        var numbers = Numbers(seed: UInt64(seed))
        var pool = BufferPool()
        let outboxes = [Held(), Held()]
        var models: [[UInt8]] = [[], []]
        var stamp = 0
        for _ in 0..<120 {
            let which = numbers.below(2)
            let count = [0, 1, 5, 300, 16_383, 16_384, 16_385, 40_000][numbers.below(8)]
            stamp += 1
            let fresh = bytes(count, from: stamp)
            if numbers.below(4) == 0 {
                // The tick ends: each outbox is offered once, and takes nothing, some or all.
                for index in outboxes.indices where !outboxes[index].isEmpty {
                    let offered = pending(outboxes[index], pool).bytes
                    #expect(offered == Array(models[index].prefix(offered.count)))
                    let taken = [0, numbers.below(offered.count + 1), offered.count][
                        numbers.below(3)]
                    outboxes[index].consume(taken, returningTo: &pool)
                    models[index].removeFirst(taken)
                }
                pool.endRuns()
            }
            switch numbers.below(7) {
            case 5, 6:
                guard let run = pool.addRun(SharedBytes(fresh)) else { continue }
                for index in outboxes.indices {
                    outboxes[index].append(run, from: &pool)
                    models[index] += fresh
                }
            case 0:
                outboxes[which].append(from: &pool) { $0 += fresh }
                models[which] += fresh
            case 1:
                outboxes[which].append(shared: SharedBytes(fresh), from: &pool)
                models[which] += fresh
            case 2 where numbers.below(10) == 0:
                outboxes[which].clear(returningTo: &pool)
                models[which] = []
            default:
                guard !outboxes[which].isEmpty else { continue }
                let offered = pending(outboxes[which], pool).bytes
                #expect(offered == Array(models[which].prefix(offered.count)))
                #expect(!offered.isEmpty)
                let taken = numbers.below(offered.count + 1)
                outboxes[which].consume(taken, returningTo: &pool)
                models[which].removeFirst(taken)
            }
            #expect(outboxes[which].count == models[which].count)
            #expect(outboxes[which].isEmpty == models[which].isEmpty)
        }
    }

    @Test("A pool gives an emptied queue out again, and keeps no giants")
    func pool() {
        var pool = BufferPool()
        let small = OutboxQueue(capacity: 1_000)
        pool.give(small)
        #expect(pool.take() === small)
        #expect(pool.take() !== small)
        let giant = OutboxQueue(capacity: 1_000_000)
        pool.give(giant)
        #expect(pool.take() !== giant)
    }

    @Test("What comes back to the pool is empty, and keeps its memory")
    func emptied() {
        var pool = BufferPool()
        let outbox = Held()
        outbox.append(from: &pool) { $0 += self.bytes(5_000) }
        outbox.append(shared: SharedBytes(bytes(20_000)), from: &pool)
        outbox.append(from: &pool) { $0 += self.bytes(3_000) }
        outbox.consume(6_000, returningTo: &pool)
        outbox.clear(returningTo: &pool)
        let other = Held()
        other.append(from: &pool) { $0 += [1] }
        #expect(pending(other).bytes == [1])
        other.clear(returningTo: &pool)
        #expect(pool.take().capacity >= 3_000)
    }

    @Test("Trimming frees half of what is kept")
    func trim() {
        var pool = BufferPool()
        for _ in 0..<4 { pool.give(OutboxQueue(capacity: 5_000)) }
        pool.trim()
        #expect((0..<4).map { _ in pool.take().capacity >= 5_000 } == [true, true, false, false])
        pool.trim()
    }

    // MARK: Runs

    private func run(_ bytes: [UInt8], _ pool: inout BufferPool) -> Run {
        guard let run = pool.addRun(SharedBytes(bytes)) else { preconditionFailure("no run") }
        return run
    }

    @Test("A run is offered as it is to every outbox that was empty, and nothing is copied")
    func runs() {
        var pool = BufferPool()
        let run = run([1, 2, 3], &pool)
        let outboxes = [Held(), Held(), Held()]
        var places: Set<UInt> = []
        for index in outboxes.indices {
            outboxes[index].append(run, from: &pool)
            #expect(outboxes[index].count == 3 && !outboxes[index].isEmpty)
            #expect(pending(outboxes[index], pool).bytes == [1, 2, 3])
            unsafe outboxes[index].withPending(in: pool) { chunks in
                _ = unsafe places.insert(UInt(bitPattern: chunks[0].baseAddress))
            }
            outboxes[index].consume(3, returningTo: &pool)
            #expect(outboxes[index].isEmpty)
        }
        #expect(places.count == 1)
        pool.endRuns()
    }

    @Test("An empty text makes no run")
    func emptyRun() {
        var pool = BufferPool()
        #expect(pool.addRun(SharedBytes([])) == nil)
        #expect(pool.addRun(SharedBytes([1])) != nil)
    }

    @Test(
        "What the socket leaves of a run outlives the tick, at every byte",
        arguments: [1, 40, Outbox.sharingThreshold - 1, Outbox.sharingThreshold, 40_000])
    func shortWrite(size: Int) {
        let whole = bytes(size, from: 3)
        let cuts = Set([0, 1, 2, size / 2, size - 2, size - 1, size]).filter { 0...size ~= $0 }
        for written in cuts.sorted() {
            var pool = BufferPool()
            let outbox = Held()
            outbox.append(run(whole, &pool), from: &pool)
            outbox.consume(written, returningTo: &pool)
            pool.endRuns()
            // Another run takes its place.
            _ = run([0, 0, 0, 0], &pool)
            #expect(outbox.count == size - written)
            #expect(pending(outbox, pool).bytes == Array(whole[written...]))
            outbox.append(from: &pool) { $0 += [7, 8] }
            #expect(pending(outbox, pool).bytes == Array(whole[written...]) + [7, 8])
            outbox.consume(outbox.count - 1, returningTo: &pool)
            #expect(pending(outbox, pool).bytes == [8])
        }
    }

    @Test(
        "What follows a run comes behind it: copied bytes, shared ones, another run",
        arguments: [30, Outbox.sharingThreshold], [0, 1, 2])
    func behindRun(size: Int, kind: Int) {
        var pool = BufferPool()
        let (first, second) = (bytes(size), bytes(size, from: 99))
        let outbox = Held()
        outbox.append(run(first, &pool), from: &pool)
        switch kind {
        case 0: outbox.append(from: &pool) { $0 += second }
        case 1: outbox.append(shared: SharedBytes(second), from: &pool)
        default: outbox.append(run(second, &pool), from: &pool)
        }
        #expect(outbox.count == 2 * size)
        pool.endRuns()
        #expect(pending(outbox, pool).bytes == first + second)
        outbox.consume(size + 1, returningTo: &pool)
        #expect(pending(outbox, pool).bytes == Array(second[1...]))
    }

    @Test("A run behind what waits is copied there; an outbox that is cleared forgets its run")
    func runBehind() {
        var pool = BufferPool()
        let outbox = Held()
        outbox.append(from: &pool) { $0 += [1, 2] }
        outbox.append(run([3, 4], &pool), from: &pool)
        pool.endRuns()
        #expect(pending(outbox, pool).bytes == [1, 2, 3, 4])
        outbox.clear(returningTo: &pool)
        outbox.append(run([5], &pool), from: &pool)
        outbox.clear(returningTo: &pool)
        #expect(outbox.isEmpty)
        pool.endRuns()
        outbox.append(from: &pool) { $0 += [6] }
        #expect(pending(outbox, pool).bytes == [6])
    }
}
