/// Bytes that many outboxes hold at once: a large frame is stored once, whatever the number of its
/// receivers.
package final class SharedBytes: Sendable {
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }
}

/// What waits to be written to one connection: shared chunks, then a tail of bytes of its own.
///
///     chunks:  [ shared │ shared │ … ]   tail: [ copied bytes ]
///               ▲ head: how much of the first of these has gone
///
/// Small appends are copied (a copy of 1 KB is cheaper than a reference count and an iovec), large
/// ones shared. An empty outbox owns no memory: its tail goes back to the shard's pool.
package struct Outbox {
    /// At this size a chunk is shared rather than copied.
    package static let sharingThreshold = 16_384

    private var chunks: [SharedBytes] = []
    private var tail: [UInt8] = []
    private var head = 0
    /// Bytes that wait.
    package private(set) var count = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    /// Gives the caller the tail to append to.
    @inline(__always)
    package mutating func append(from pool: inout BufferPool, _ write: (inout [UInt8]) -> Void) {
        if tail.capacity == 0 { tail = pool.take() }
        let before = tail.count
        write(&tail)
        count += tail.count - before
    }

    package mutating func append(shared: SharedBytes, from pool: inout BufferPool) {
        if shared.bytes.count < Self.sharingThreshold {
            append(from: &pool) { $0.append(contentsOf: shared.bytes) }
            return
        }
        if !tail.isEmpty {
            chunks.append(SharedBytes(tail))
            tail = []
        }
        chunks.append(shared)
        count += shared.bytes.count
    }

    /// The first chunks that wait, in order, as many as one writev takes. The memory is valid
    /// during `body` only.
    package func withPending<Result>(
        _ body: (UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Result
    ) -> Result {
        if chunks.isEmpty {
            return unsafe tail.withUnsafeBytes { bytes in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[head...])
                return unsafe withUnsafePointer(to: rest) {
                    unsafe body(UnsafeBufferPointer(start: $0, count: 1))
                }
            }
        }
        return unsafe Self.gather(chunks[...], tail, head, [], body)
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

    /// The first `written` bytes have gone.
    package mutating func consume(_ written: Int, returningTo pool: inout BufferPool) {
        count -= written
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
        if count == 0 {
            clear(returningTo: &pool)
        } else if chunks.isEmpty, head > 65_536, head > tail.count / 2 {
            // A slow reader's tail is compacted now and then, not at each write.
            tail.removeFirst(head)
            head = 0
        }
    }

    package mutating func clear(returningTo pool: inout BufferPool) {
        chunks = []
        if tail.capacity > 0 { pool.give(&tail) }
        head = 0
        count = 0
    }
}

/// Emptied buffers of a shard, kept for the next connection that has something to say.
package struct BufferPool {
    private static let largestKept = 65_536
    private static let maximumKept = 4_096

    private var buffers: [[UInt8]] = []

    package init() {}

    package mutating func take() -> [UInt8] {
        if let buffer = buffers.popLast() { return buffer }
        var fresh: [UInt8] = []
        fresh.reserveCapacity(512)
        return fresh
    }

    package mutating func give(_ buffer: inout [UInt8]) {
        var taken: [UInt8] = []
        swap(&taken, &buffer)
        guard buffers.count < Self.maximumKept, taken.capacity <= Self.largestKept else { return }
        taken.removeAll(keepingCapacity: true)
        buffers.append(taken)
    }

    /// Frees half of what is kept: called now and then, so that a burst's memory goes back.
    package mutating func trim() {
        buffers.removeLast(buffers.count / 2)
    }
}
