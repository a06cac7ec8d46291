/// Bytes that many outboxes hold at once: a large frame is stored once, whatever the number of its
/// receivers.
package final class SharedBytes: Sendable {
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }
}

/// What waits to be written to one connection. It is in one of three states:
///
///     empty ── append(run) ──► run: the bytes of a fan-out pass, not copied, no reference held
///       │                       │ something else follows, or the socket took less
///       └── append ──► queue ◄──┘ (what is left is copied)
///
///     queue   chunks:  [ shared │ shared │ … ]   tail: [ copied bytes ]
///                       ▲ head: how much of the first of these has gone
///
/// Nearly every delivery of a fan-out is all that its receiver is given in that tick, and the
/// socket takes it whole. So an outbox that was empty notes the *run*, by its number in the shard's
/// pool, and the kernel copies all receivers' bytes from the same place, which stays in the cache.
/// A run lives until the flush of its tick: there every outbox is offered once, and what the socket
/// did not take becomes the outbox's own.
///
/// Otherwise small appends are copied (a copy of 1 KB is cheaper than a reference count and an
/// iovec), large ones shared. An empty outbox owns no memory: its queue goes back to the pool.
///
/// The queue is counted by hand: it is this outbox's alone, from `ownQueue` to `clear`, and nothing
/// that writes into it can reach the outbox. Counted by the compiler, it was retained and released
/// for each frame.
@safe package struct Outbox: ~Copyable {
    /// At this size a chunk is shared rather than copied.
    package static let sharingThreshold = 16_384

    /// nil where nothing waits, or only a run.
    private var queue: Unmanaged<OutboxQueue>?
    /// Bytes that wait.
    package private(set) var count = 0
    /// The run that is all that waits: its place in the pool and one more; 0 for none. Then `count`
    /// is its length.
    private var run: UInt32 = 0

    package init() {}

    deinit { unsafe queue?.release() }

    package var isEmpty: Bool { count == 0 }

    /// The run, where it is all that waits.
    var onlyRun: Run? {
        run == 0 ? nil : Run(place: run - 1, length: UInt32(truncatingIfNeeded: count))
    }

    @inline(__always)
    func isOnly(_ run: Run) -> Bool { self.run == run.place + 1 }

    /// The socket took the run whole.
    @inline(__always)
    mutating func runHasGone() {
        run = 0
        count = 0
    }

    /// Gives the caller the tail to append to.
    @inline(__always)
    package mutating func append(from pool: inout BufferPool, _ write: (inout [UInt8]) -> Void) {
        count += unsafe ownQueue(from: &pool)._withUnsafeGuaranteedRef { queue in
            let before = queue.tail.count
            write(&queue.tail)
            return queue.tail.count - before
        }
    }

    package mutating func append(shared: SharedBytes, from pool: inout BufferPool) {
        append(shared: shared, from: 0, pool: &pool)
    }

    /// Appends a run of this tick: noted where nothing else waits, else like any shared bytes.
    @inline(__always)
    package mutating func append(_ run: Run, from pool: inout BufferPool) {
        if count == 0 {
            self.run = run.place + 1
            count = run.count
        } else {
            append(shared: pool.bytes(ofRun: run.place + 1), from: &pool)
        }
    }

    /// The first chunks that wait, in order, as many as one writev takes. The memory is valid
    /// during `body` only.
    @inline(__always)
    package func withPending<Result>(
        in pool: borrowing BufferPool,
        _ body: (UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Result
    ) -> Result {
        if run != 0 { return unsafe Self.offer(pool.bytes(ofRun: run).bytes, from: 0, body) }
        guard let queue = unsafe queue?.takeUnretainedValue() else {
            return unsafe body(UnsafeBufferPointer(start: nil, count: 0))
        }
        if queue.chunks.isEmpty { return unsafe Self.offer(queue.tail, from: queue.head, body) }
        return unsafe Self.gather(queue.chunks[...], queue.tail, queue.head, [], body)
    }

    @inline(__always)
    private static func offer<Result>(
        _ bytes: [UInt8], from head: Int,
        _ body: (UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Result
    ) -> Result {
        unsafe bytes.withUnsafeBytes { bytes in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[head...])
            return unsafe withUnsafePointer(to: rest) {
                unsafe body(UnsafeBufferPointer(start: $0, count: 1))
            }
        }
    }

    /// One level of recursion a chunk, because a pointer into an array lives only inside a closure.
    private static func gather<Result>(
        _ chunks: ArraySlice<SharedBytes>, _ tail: [UInt8], _ head: Int,
        _ found: [UnsafeRawBufferPointer],
        _ body: (UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Result
    ) -> Result {
        let isLast = unsafe chunks.isEmpty || found.count >= 15
        let bytes = isLast ? tail : chunks[chunks.startIndex].bytes
        return unsafe bytes.withUnsafeBytes { buffer in
            var found = unsafe found
            if isLast {
                // The tail goes along only where it follows the last chunk.
                if chunks.isEmpty, buffer.count > head {
                    unsafe found.append(UnsafeRawBufferPointer(rebasing: buffer[head...]))
                }
                return unsafe found.withUnsafeBufferPointer(body)
            }
            unsafe found.append(UnsafeRawBufferPointer(rebasing: buffer[head...]))
            return unsafe gather(chunks.dropFirst(), tail, 0, found, body)
        }
    }

    /// All that waits, copied.
    func copyPending(in pool: borrowing BufferPool) -> [UInt8] {
        if run != 0 { return pool.bytes(ofRun: run).bytes }
        guard let queue = unsafe queue?.takeUnretainedValue() else { return [] }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        var head = queue.head
        for chunk in queue.chunks {
            bytes += chunk.bytes[head...]
            head = 0
        }
        bytes += queue.tail[head...]
        return bytes
    }

    /// What waits is to be there beyond this tick.
    mutating func keepRun(returningTo pool: inout BufferPool) {
        if run != 0 { ownRun(from: 0, pool: &pool) }
    }

    /// The socket took all that waits.
    @inline(__always)
    mutating func hasGone(returningTo pool: inout BufferPool) {
        if run != 0 { runHasGone() } else { clear(returningTo: &pool) }
    }

    /// The first `written` bytes have gone. What is left of a run is copied.
    package mutating func consume(_ written: Int, returningTo pool: inout BufferPool) {
        if run != 0 {
            if written == count { runHasGone() } else { ownRun(from: written, pool: &pool) }
            return
        }
        count -= written
        if count == 0 {
            clear(returningTo: &pool)
        } else {
            unsafe queue?._withUnsafeGuaranteedRef { $0.consume(written) }
        }
    }

    package mutating func clear(returningTo pool: inout BufferPool) {
        if let queue = unsafe queue?.takeRetainedValue() { pool.give(queue) }
        unsafe queue = nil
        run = 0
        count = 0
    }

    // MARK: Its own bytes

    @inline(__always)
    private mutating func ownQueue(from pool: inout BufferPool) -> Unmanaged<OutboxQueue> {
        if run == 0, let queue = unsafe queue { return unsafe queue }
        return unsafe makeQueue(from: &pool)
    }

    private mutating func makeQueue(from pool: inout BufferPool) -> Unmanaged<OutboxQueue> {
        if run != 0 { ownRun(from: 0, pool: &pool) }
        if let queue = unsafe queue { return unsafe queue }
        let taken = unsafe Unmanaged.passRetained(pool.take())
        unsafe queue = taken
        return unsafe taken
    }

    /// Something is to follow the run, or the socket took only its first `start` bytes: the rest is
    /// kept beyond the tick.
    private mutating func ownRun(from start: Int, pool: inout BufferPool) {
        let shared = pool.bytes(ofRun: run)
        run = 0
        count = 0
        append(shared: shared, from: start, pool: &pool)
    }

    /// Appends all but the first `start` bytes, which are 0 wherever something waits already.
    private mutating func append(shared: SharedBytes, from start: Int, pool: inout BufferPool) {
        let queue = unsafe ownQueue(from: &pool).takeUnretainedValue()
        let fresh = shared.bytes.count - start
        if fresh < Self.sharingThreshold {
            queue.tail.append(contentsOf: shared.bytes[start...])
        } else {
            if !queue.tail.isEmpty {
                queue.chunks.append(SharedBytes(queue.tail))
                queue.tail = []
            }
            if queue.chunks.isEmpty { queue.head = start }
            queue.chunks.append(shared)
        }
        count += fresh
    }
}

/// The bytes of an outbox that are its own; see there.
package final class OutboxQueue {
    fileprivate(set) var chunks: [SharedBytes] = []
    fileprivate(set) var tail: [UInt8] = []
    fileprivate(set) var head = 0

    package init(capacity: Int) { tail.reserveCapacity(capacity) }

    package var capacity: Int { tail.capacity }

    /// The first `written` bytes have gone, and some are left.
    fileprivate func consume(_ written: Int) {
        var left = written
        var done = 0
        while done < chunks.count {
            let rest = chunks[done].bytes.count - head
            guard left >= rest else { break }
            left -= rest
            head = 0
            done += 1
        }
        if done > 0 { chunks.removeFirst(done) }
        head += left
        if chunks.isEmpty, head > 65_536, head > tail.count / 2 {
            // A slow reader's tail is compacted now and then, not at each write.
            tail.removeFirst(head)
            head = 0
        }
    }

    fileprivate func removeAll() {
        chunks = []
        tail.removeAll(keepingCapacity: true)
        head = 0
    }
}

/// Bytes that many outboxes are offered in one tick: their number among those of the tick.
package struct Run {
    fileprivate let place: UInt32
    /// Bytes, at least 1.
    fileprivate let length: UInt32

    package var count: Int { Int(length) }
}

/// What the outboxes of a shard share: the runs of the tick, and emptied queues, kept for the next
/// connection that has something to say.
package struct BufferPool {
    private static let freshCapacity = 512
    private static let largestKept = 65_536
    private static let maximumKept = 256

    private var queues: [OutboxQueue] = []
    private var runs: [SharedBytes] = []
    /// Counts the ends of runs: a run of another tick is none of this one.
    package private(set) var tick: UInt64 = 0

    package init() {}

    // MARK: Runs

    /// The bytes as a run of this tick; nil where there are none, or too many for one (4 GiB).
    package mutating func addRun(_ bytes: SharedBytes) -> Run? {
        guard let length = UInt32(exactly: bytes.bytes.count), length > 0,
            let place = UInt32(exactly: runs.count), place < .max
        else { return nil }
        runs.append(bytes)
        return Run(place: place, length: length)
    }

    borrowing func bytes(of run: Run) -> SharedBytes { runs[Int(run.place)] }

    /// - Parameter run: its place and one more.
    @inline(__always)
    fileprivate borrowing func bytes(ofRun run: UInt32) -> SharedBytes { runs[Int(run) - 1] }

    /// Every outbox has been offered: none notes a run any more.
    package mutating func endRuns() {
        tick += 1
        if !runs.isEmpty { runs.removeAll(keepingCapacity: true) }
    }

    // MARK: Queues

    package mutating func take() -> OutboxQueue {
        if let queue = queues.popLast() { return queue }
        return OutboxQueue(capacity: Self.freshCapacity)
    }

    package mutating func give(_ queue: OutboxQueue) {
        guard queues.count < Self.maximumKept, queue.capacity <= Self.largestKept else { return }
        queue.removeAll()
        queues.append(queue)
    }

    /// Frees half of what is kept: called now and then, so that a burst's memory goes back.
    package mutating func trim() {
        queues.removeLast(queues.count / 2)
    }
}
