import Basics
import Glibc

/// The monotonic clock of this process, for deadlines.
package enum MonotonicClock {
    package static func now() -> Instant {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(
            nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
    }
}

/// A connected TCP socket whose calls wait until an absolute deadline and no longer, by poll(2).
/// Closed when it goes out of scope. This file owns the client's system calls.
struct Stream: ~Copyable {
    let descriptor: Int32

    private init(adopting descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    // MARK: Connecting

    /// Tries each address of the host in turn. The look-up of a name is the system's and does not
    /// know the deadline.
    ///
    /// - Parameters:
    ///   - source: the local IP address to bind; nil for the system's choice.
    ///   - receiveBufferBytes: SO_RCVBUF, set before connecting so that it bounds the window.
    static func connect(
        host: String, port: UInt16, source: String? = nil, receiveBufferBytes: Int? = nil,
        deadline: Instant
    ) throws(ClientError) -> Stream {
        let local = try source.map { text throws(ClientError) in
            try addresses(of: text, port: 0, isNumeric: true)
        }
        var failure = ClientError.cannotResolve(host: host, reason: "it has no address")
        for address in try addresses(of: host, port: port, isNumeric: false) {
            let from = local?.first { $0.family == address.family }
            guard local == nil || from != nil else {
                failure = .badURL("the source address is of another family than \(host)")
                continue
            }
            do throws(ClientError) {
                return try connect(
                    address, from, "\(host):\(port)", receiveBufferBytes, deadline)
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// A socket address as the bytes that the system calls take.
    private struct Address {
        var family: Int32
        var bytes: [UInt8]
    }

    private static func addresses(
        of host: String, port: UInt16, isNumeric: Bool
    ) throws(ClientError) -> [Address] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICSERV | (isNumeric ? AI_NUMERICHOST : 0)
        var list: UnsafeMutablePointer<addrinfo>?
        let result = unsafe getaddrinfo(host, "\(port)", &hints, &list)
        guard result == 0 else {
            let reason = unsafe gai_strerror(result).map { unsafe String(cString: $0) }
            throw .cannotResolve(host: host, reason: reason ?? "error \(result)")
        }
        defer { unsafe freeaddrinfo(list) }
        var addresses: [Address] = []
        var next = unsafe list
        while let entry = unsafe next {
            let info = unsafe entry.pointee
            if let address = unsafe info.ai_addr {
                let bytes = unsafe UnsafeRawBufferPointer(
                    start: address, count: Int(info.ai_addrlen))
                unsafe addresses.append(Address(family: info.ai_family, bytes: Array(bytes)))
            }
            unsafe next = info.ai_next
        }
        return addresses
    }

    private static func connect(
        _ address: Address, _ source: Address?, _ name: String, _ receiveBufferBytes: Int?,
        _ deadline: Instant
    ) throws(ClientError) -> Stream {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(address.family, type, 0)
        guard descriptor >= 0 else {
            throw .failed(call: "socket", reason: ClientError.text(of: errno))
        }
        let stream = Stream(adopting: descriptor)
        stream.set(tcpLevel, TCP_NODELAY, to: 1)
        if let receiveBufferBytes {
            stream.set(SOL_SOCKET, SO_RCVBUF, to: Int32(clamping: receiveBufferBytes))
        }
        if let source, unsafe call(source, { unsafe bind(descriptor, $0, $1) }) != 0 {
            throw .failed(call: "bind", reason: ClientError.text(of: errno))
        }
        if unsafe call(address, { unsafe Glibc.connect(descriptor, $0, $1) }) != 0 {
            guard errno == EINPROGRESS else {
                throw .cannotConnect(to: name, reason: ClientError.text(of: errno))
            }
            guard try stream.wait(for: POLLOUT, until: deadline) else {
                throw .timedOut("connecting to \(name)")
            }
            let number = stream.pendingError
            guard number == 0 else {
                throw .cannotConnect(to: name, reason: ClientError.text(of: number))
            }
        }
        return stream
    }

    private static func call(
        _ address: Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        unsafe address.bytes.withUnsafeBytes { bytes in
            // getaddrinfo wrote these bytes as a sockaddr of this family.
            guard let base = bytes.baseAddress else { return -1 }
            return unsafe body(
                base.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
        }
    }

    private static let tcpLevel: Int32 = 6

    private func set(_ level: Int32, _ option: Int32, to value: Int32) {
        var value = value
        // Options that only tune: where one is refused, the connection works without it.
        unsafe setsockopt(
            descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private var pendingError: Int32 {
        var number: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &number, &size) == 0 else {
            return errno
        }
        return number
    }

    // MARK: Waiting, reading, writing

    /// Waits for an event of poll(2); false where the deadline passed first. An error condition of
    /// the socket counts as the event: the call that follows reports it.
    func wait(for events: Int32, until deadline: Instant) throws(ClientError) -> Bool {
        while true {
            let left = deadline.nanoseconds(since: MonotonicClock.now())
            // Rounded up: a wait must not end before its deadline and be taken for one.
            let milliseconds = Int32(clamping: (left + 999_999) / 1_000_000)
            var entry = pollfd(
                fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
            let count = unsafe poll(&entry, 1, milliseconds)
            if count > 0 { return true }
            if count == 0, left == 0 || MonotonicClock.now() >= deadline { return false }
            if count < 0, errno != EINTR {
                throw .failed(call: "poll", reason: ClientError.text(of: errno))
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// - Throws: `.timedOut` where the peer does not read; part may have been written then.
    func write(_ bytes: [UInt8], until deadline: Instant) throws(ClientError) {
        var position = 0
        while position < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe send(
                    descriptor, bytes.baseAddress.map { unsafe $0 + position },
                    bytes.count - position, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 {
                position += count
            } else if errno == EAGAIN {
                guard try wait(for: POLLOUT, until: deadline) else {
                    throw .timedOut("the server does not read")
                }
            } else if errno == EPIPE || errno == ECONNRESET {
                throw .ended
            } else if errno != EINTR {
                throw .failed(call: "send", reason: ClientError.text(of: errno))
            }
        }
    }

    enum Received: Equatable {
        case bytes
        case ended
        case timedOut
    }

    /// Appends what has arrived, at most 64 KB, waiting for the first byte.
    func read(into buffer: inout [UInt8], until deadline: Instant) throws(ClientError) -> Received {
        while true {
            var failure: Int32 = 0
            var isAtEnd = false
            buffer.append(addingCapacity: 65_536) { output in
                unsafe output.withUnsafeMutableBufferPointer { memory, initialized in
                    let start = unsafe memory.baseAddress.map { unsafe $0 + initialized }
                    let count = unsafe recv(descriptor, start, memory.count - initialized, 0)
                    if count > 0 { initialized += count }
                    isAtEnd = count == 0
                    failure = count < 0 ? errno : 0
                }
            }
            switch failure {
            case 0: return isAtEnd ? .ended : .bytes
            case EAGAIN:
                guard try wait(for: POLLIN, until: deadline) else { return .timedOut }
            case EINTR: continue
            case ECONNRESET: return .ended
            default: throw .failed(call: "recv", reason: ClientError.text(of: failure))
            }
        }
    }

    /// Makes the close a reset (RST): what a crashed host or a cut cable looks like to the server.
    func resetOnClose() {
        var option = linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }

    /// Ends our half of the stream (FIN).
    func shutdownSend() { _ = shutdown(descriptor, Int32(SHUT_WR)) }
}
