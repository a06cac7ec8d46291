import Basics
import Client
import Glibc

/// A TCP connection that says whatever it is told to: for what no client should send.
package final class RawSocket {
    private var descriptor: Int32
    /// The peer ended it by a reset.
    package private(set) var wasReset = false

    /// - Parameter receiveBufferBytes: SO_RCVBUF; small for a peer that does not read.
    package init(port: UInt16, receiveBufferBytes: Int32? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SupportError("socket: errno \(errno)") }
        if var bytes = receiveBufferBytes {
            unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, 4)
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            let number = errno
            close()
            throw SupportError("connect to port \(port): errno \(number)")
        }
    }

    deinit { close() }

    /// Sends all of it. False where the peer is gone, or did not take it within the time.
    @discardableResult
    package func send(_ bytes: [UInt8], timeoutMs: Int = 5_000) -> Bool {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        var position = 0
        while position < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe Glibc.send(
                    descriptor, bytes.baseAddress.map { unsafe $0 + position },
                    bytes.count - position, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            if count > 0 {
                position += count
            } else if errno != EAGAIN || !wait(for: POLLOUT, until: deadline) {
                return false
            }
        }
        return true
    }

    @discardableResult
    package func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    /// What came in.
    package enum Received: Hashable, Sendable {
        case bytes([UInt8])
        /// The peer ended the connection, in order or by a reset.
        case ended
        case timedOut
    }

    package func receive(timeoutMs: Int) -> Received {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        guard wait(for: POLLIN, until: deadline) else { return .timedOut }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
        if count < 0, errno == ECONNRESET { wasReset = true }
        return count > 0 ? .bytes(Array(bytes[..<count])) : .ended
    }

    /// Reads until the peer ends the connection. Returns what came, nil where it did not end in
    /// time.
    package func drain(timeoutMs: Int) -> [UInt8]? {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        var all: [UInt8] = []
        while true {
            switch receive(timeoutMs: deadline.milliseconds(since: MonotonicClock.now())) {
            case .bytes(let bytes): all += bytes
            case .ended: return all
            case .timedOut: return nil
            }
        }
    }

    /// Says that nothing more follows; what the peer says can still be received.
    package func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Ends the connection by a reset.
    package func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    package func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    private func wait(for events: Int32, until deadline: Instant) -> Bool {
        let left = deadline.nanoseconds(since: MonotonicClock.now())
        var entry = pollfd(
            fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
        return unsafe poll(&entry, 1, Int32(clamping: (left + 999_999) / 1_000_000)) > 0
    }
}
