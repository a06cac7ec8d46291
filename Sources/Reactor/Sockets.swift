import Basics
import CLinux
import Glibc

extension SystemError {
    /// The system's own words.
    package static func text(of errno: Int32) -> String {
        guard let text = unsafe strerror(errno) else { return "error \(errno)" }
        return unsafe String(cString: text)
    }

    package var isAddressInUse: Bool { errno == EADDRINUSE }
    package var isOutOfDescriptors: Bool { errno == EMFILE || errno == ENFILE }
    /// Nothing to do with our state: this one connection is gone already.
    package var isPeersDoing: Bool {
        errno == ECONNABORTED || errno == EPROTO || errno == EPERM || errno == EINTR
    }
}

/// A listening TCP socket. Each shard has its own on the same port (SO_REUSEPORT), and the kernel
/// spreads the connections.
package struct Listener: ~Copyable {
    package private(set) var descriptor: Int32
    package let port: UInt16

    /// - Parameters:
    ///   - address: IPv4 or IPv6, as text.
    ///   - port: 0 chooses a free one.
    package init(address: String, port: UInt16) throws(SystemError) {
        descriptor = unsafe try checked("listen", martlet_listen(address, port, 1, 4_096))
        self.port = UInt16(truncatingIfNeeded: martlet_local_port(descriptor))
    }

    /// Takes over a descriptor from `release`, on the thread that will accept.
    package init(adopting descriptor: Int32) {
        self.descriptor = descriptor
        port = UInt16(truncatingIfNeeded: martlet_local_port(descriptor))
    }

    /// Gives the descriptor away: it crosses to another thread as a number.
    package consuming func release() -> Int32 {
        let descriptor = descriptor
        discard self
        return descriptor
    }

    /// Stops listening; also a poller hears nothing more of it.
    package mutating func close() {
        if descriptor >= 0 { _ = martlet_close(descriptor) }
        descriptor = -1
    }

    deinit { if descriptor >= 0 { _ = martlet_close(descriptor) } }

    /// Whether nobody else listens there. SO_REUSEPORT alone would share the port with a second
    /// server of the same user, and each would get half of the clients.
    package static func checkIsFree(address: String, port: UInt16) throws(SystemError) {
        guard port != 0 else { return }
        _ = unsafe martlet_close(try checked("bind", martlet_listen(address, port, 0, 1)))
    }

    package enum Accepted {
        case connection(Int32, address: UInt128)
        case none
    }

    /// Takes one waiting connection.
    package func accept() throws(SystemError) -> Accepted { try Self.accept(descriptor) }

    /// The same of a listening socket that somebody else has.
    package static func accept(_ descriptor: Int32) throws(SystemError) -> Accepted {
        // The sixteen bytes of an IPv6 address, in the network's order.
        var address: UInt128 = 0
        let result = unsafe withUnsafeMutableBytes(of: &address) {
            unsafe martlet_accept(
                descriptor, $0.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
        if result == -EAGAIN { return .none }
        let fd = try checked("accept4", result)
        return .connection(fd, address: UInt128(bigEndian: address))
    }
}

/// The calls on a connected socket. Results rather than errors: they are normal traffic.
package enum Socket {
    package enum Received {
        case bytes(Int)
        case wouldBlock
        case ended
        case failed

        /// - Parameter count: as the system said: bytes, or `-errno`.
        init(count: Int64) {
            if count > 0 {
                self = .bytes(Int(count))
            } else if count == 0 {
                self = .ended
            } else {
                let isNothing = count == -Int64(EAGAIN) || count == -Int64(EINTR)
                self = isNothing ? .wouldBlock : .failed
            }
        }
    }

    package static func receive(_ fd: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Received
    {
        Received(count: unsafe martlet_receive(fd, buffer.baseAddress, UInt64(buffer.count)))
    }

    /// Writes the chunks in order with one call. Returns how many bytes were taken, or -1 where the
    /// socket is gone.
    package static func write(
        _ fd: Int32, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>
    ) -> Int {
        let count: Int64
        if chunks.count == 1 {
            count = unsafe martlet_send(fd, chunks[0].baseAddress, UInt64(chunks[0].count))
        } else {
            count = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: chunks.count) {
                vectors in
                for index in 0..<chunks.count {
                    unsafe vectors.initializeElement(
                        at: index,
                        to: iovec(
                            iov_base: UnsafeMutableRawPointer(mutating: chunks[index].baseAddress),
                            iov_len: chunks[index].count))
                }
                return unsafe martlet_write_vector(fd, vectors.baseAddress, Int32(chunks.count))
            }
        }
        if count >= 0 { return Int(count) }
        return count == -Int64(EAGAIN) || count == -Int64(EINTR) ? 0 : -1
    }

    /// Says a last thing to a peer that is not waited for, as far as the socket's buffer takes it, and
    /// closes. What the peer has said already, up to 1 MB, is thrown away before: unread, it would make a
    /// reset of the close, and that may overtake what is said.
    package static func close(_ fd: Int32, saying bytes: [UInt8]) {
        _ = martlet_discard(fd, 1_000_000)
        _ = unsafe martlet_send(fd, bytes, UInt64(bytes.count))
        shutdownSend(fd)
        close(fd)
    }

    package static func shutdownSend(_ fd: Int32) { _ = martlet_shutdown_send(fd) }
    package static func close(_ fd: Int32) { _ = martlet_close(fd) }
    /// Closes with a reset, as a lost network does; nothing is left in TIME_WAIT.
    package static func reset(_ fd: Int32) { _ = martlet_reset(fd) }

    /// Writes what the socket takes of it. Returns how many bytes that were, -1 where it is gone.
    package static func write(_ fd: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        let count = unsafe martlet_send(fd, bytes.baseAddress, UInt64(bytes.count))
        if count >= 0 { return Int(count) }
        return count == -Int64(EAGAIN) || count == -Int64(EINTR) ? 0 : -1
    }
}

package enum System {
    /// Has large blocks of memory go back to the system when they are freed. For the start of the
    /// process.
    package static func tuneAllocator() { martlet_tune_allocator() }

    /// Gives back the pages that are free inside the heap: after a burst, not all the time.
    package static func releaseFreeMemory() { martlet_release_free_memory() }

    /// Raises the soft limit of open files to the hard one, and has the kernel make room for
    /// `wanted` of them at once, so that nobody waits for that later. For the start of the process:
    /// with one thread it costs nothing. Returns the limit.
    @discardableResult
    package static func prepareFiles(_ wanted: Int) -> Int {
        let limit = Int(martlet_raise_file_limit())
        martlet_reserve_files(Int64(min(wanted, limit)))
        return limit
    }

    /// Binds the calling thread to a core (nil: leaves it where it is), and takes the slack from its
    /// timers, which is 50 µs otherwise.
    package static func pin(toCore core: Int?) throws(SystemError) {
        _ = try checked("sched_setaffinity", martlet_pin_thread(Int32(clamping: core ?? -1)))
    }

    /// Ends the process at once: a node that has lost a thread must not look alive.
    package static func die() -> Never { _exit(70) }

    package static func pause(milliseconds: UInt32) { _ = usleep(milliseconds * 1_000) }
}

/// The machine's clocks.
package struct SystemClock: Clock, Sendable {
    package init() {}

    package func now() -> Now {
        Now(
            instant: Instant(nanoseconds: martlet_monotonic_ns()),
            wall: WallTime(milliseconds: martlet_realtime_ms()))
    }
}

/// SIGTERM and SIGINT as something to wait for. Made before any other thread, which then inherit
/// the blocked signals.
package struct SignalWaiter: ~Copyable {
    private let descriptor: Int32

    package init() throws(SystemError) {
        descriptor = try checked("signalfd", martlet_signalfd())
    }

    deinit { _ = martlet_close(descriptor) }

    /// Blocks until one of them comes. Returns its number.
    package func wait() -> Int32 {
        while true {
            let signal = martlet_signalfd_next(descriptor)
            if signal != 0 { return signal }
        }
    }
}
