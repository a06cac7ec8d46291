import CLinux
import Glibc

/// Sends, or receives, on many sockets with one system call: io_uring, used like a longer `send`,
/// with nothing under way between two calls. Who is ready is still epoll's to say.
///
/// It spares a call its way into the kernel and back, a tenth of what a small send or receive costs.
/// Its thread's alone.
@safe package struct SocketBatch: ~Copyable {
    package enum Direction: Sendable {
        case sending
        case receiving
    }

    private let direction: Direction
    private let ring: OpaquePointer
    private let transfers: UnsafeMutablePointer<martlet_transfer>
    private var tags: [PollTag] = []
    private let memory: UnsafeMutableRawBufferPointer
    private let slotBytes: Int
    /// Of the memory, by the sends that are held.
    private var usedBytes = 0
    private let capacity: Int

    /// - Parameters:
    ///   - capacity: transfers a call, a power of two.
    ///   - slotBytes: the largest transfer.
    /// - Throws: where the kernel has no io_uring, or does not let this process use it.
    package init(
        _ direction: Direction, capacity: Int, slotBytes: Int
    ) throws(SystemError) {
        var error: Int32 = 0
        guard let ring = unsafe martlet_ring_open(UInt32(capacity), &error) else {
            throw SystemError("io_uring_setup", -error)
        }
        self.direction = direction
        self.capacity = capacity
        self.slotBytes = slotBytes
        unsafe self.ring = ring
        unsafe transfers = .allocate(capacity: capacity)
        unsafe transfers.initialize(repeating: martlet_transfer(), count: capacity)
        unsafe memory = .allocate(byteCount: capacity * Self.stride(slotBytes), alignment: 64)
        tags.reserveCapacity(capacity)
    }

    deinit {
        unsafe martlet_ring_close(ring)
        unsafe transfers.deallocate()
        unsafe memory.deallocate()
    }

    /// Transfers that are held, or have been made.
    package var count: Int { tags.count }
    package var isFull: Bool { count == capacity }

    /// Slots a page apart would fall on the same few lines of the nearest cache.
    private static func stride(_ slotBytes: Int) -> Int { slotBytes + 192 }

    /// Takes a send in, and copies its bytes. False where they are more than a slot's, or the batch
    /// is full.
    package mutating func hold(
        _ fd: Int32, _ tag: PollTag, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>
    ) -> Bool {
        var length = 0
        for index in 0..<chunks.count { unsafe length += chunks[index].count }
        guard length <= slotBytes, !isFull else { return false }
        let start = usedBytes
        for index in 0..<chunks.count {
            let chunk = unsafe chunks[index]
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory[usedBytes...]).copyMemory(
                from: chunk)
            usedBytes += chunk.count
        }
        unsafe add(fd, tag, memory.baseAddress?.advanced(by: start), length)
        return true
    }

    /// Takes a receive in. False where the batch is full.
    package mutating func hold(_ fd: Int32, _ tag: PollTag) -> Bool {
        guard !isFull else { return false }
        let start = count * Self.stride(slotBytes)
        unsafe add(fd, tag, memory.baseAddress?.advanced(by: start), slotBytes)
        return true
    }

    private mutating func add(
        _ fd: Int32, _ tag: PollTag, _ buffer: UnsafeMutableRawPointer?, _ length: Int
    ) {
        unsafe transfers[count] = unsafe martlet_transfer(
            fd: fd, length: UInt32(length), buffer: buffer, result: 0)
        tags.append(tag)
    }

    /// Makes the transfers that are held.
    package mutating func run() throws(SystemError) {
        let isSend: Int32 = direction == .sending ? 1 : 0
        _ = unsafe try checked(
            "io_uring_enter", martlet_ring_run(ring, isSend, transfers, UInt32(count)))
    }

    package func tag(at index: Int) -> PollTag { tags[index] }

    /// How many bytes a send was to take, or a receive could have brought.
    package func asked(at index: Int) -> Int { unsafe Int(transfers[index].length) }

    /// Bytes that were sent, -1 where the socket is gone.
    package func sent(at index: Int) -> Int {
        let result = unsafe transfers[index].result
        if result >= 0 { return Int(result) }
        return result == -EAGAIN || result == -EINTR ? 0 : -1
    }

    /// What a receive has come to, and its bytes, which are there until `clear`.
    package func received(
        at index: Int
    ) -> (outcome: Socket.Received, bytes: UnsafeMutableRawBufferPointer) {
        let outcome = Socket.Received(count: unsafe Int64(transfers[index].result))
        guard case .bytes(let count) = outcome else {
            return unsafe (outcome, UnsafeMutableRawBufferPointer(start: nil, count: 0))
        }
        return unsafe (
            outcome, UnsafeMutableRawBufferPointer(start: transfers[index].buffer, count: count)
        )
    }

    package mutating func clear() {
        tags.removeAll(keepingCapacity: true)
        usedBytes = 0
    }
}
