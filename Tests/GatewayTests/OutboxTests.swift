import Basics
import Gateway
import Testing

@Suite("Outbox and BufferPool")
struct OutboxTests {
    /// What waits, and in how many pieces.
    private func pending(_ outbox: Outbox) -> (bytes: [UInt8], chunks: Int) {
        unsafe outbox.withPending { chunks in
            var bytes: [UInt8] = []
            for index in 0..<chunks.count { unsafe bytes.append(contentsOf: chunks[index]) }
            return (bytes, chunks.count)
        }
    }

    private func bytes(_ count: Int, from first: Int = 0) -> [UInt8] {
        Array(Self.pattern[(first & 255)..<((first & 255) + count)])
    }

    private static let pattern = (0..<250_000).map { UInt8(truncatingIfNeeded: $0) }

    @Test("What is appended waits, in order, until it is consumed")
    func order() {
        var pool = BufferPool()
        var outbox = Outbox()
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
        var outbox = Outbox()
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
            var outbox = Outbox()
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
        var outbox = Outbox()
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
        var outbox = Outbox()
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
        var outboxes = [Outbox(), Outbox()]
        var models: [[UInt8]] = [[], []]
        var stamp = 0
        for _ in 0..<120 {
            let which = numbers.below(2)
            let count = [0, 1, 5, 300, 16_383, 16_384, 16_385, 40_000][numbers.below(8)]
            stamp += 1
            let fresh = bytes(count, from: stamp)
            switch numbers.below(5) {
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
                let offered = pending(outboxes[which]).bytes
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

    @Test("A pool gives an emptied buffer out again, and keeps no giants")
    func pool() {
        var pool = BufferPool()
        var small: [UInt8] = []
        small.reserveCapacity(1_000)
        small += [1, 2, 3]
        let capacity = small.capacity
        pool.give(&small)
        #expect(small.isEmpty && small.capacity == 0)
        let again = pool.take()
        #expect(again.isEmpty && again.capacity == capacity)
        var giant = [UInt8](repeating: 0, count: 1_000_000)
        pool.give(&giant)
        #expect(pool.take().capacity < 1_000_000)
    }

    @Test("Trimming frees half of what is kept")
    func trim() {
        var pool = BufferPool()
        for _ in 0..<4 {
            var buffer: [UInt8] = []
            buffer.reserveCapacity(5_000)
            pool.give(&buffer)
        }
        pool.trim()
        #expect((0..<4).map { _ in pool.take().capacity >= 5_000 } == [true, true, false, false])
        pool.trim()
    }
}
