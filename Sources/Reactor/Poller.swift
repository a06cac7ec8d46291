import CLinux

/// A failed system call: which, and why. `errno` names are enough for an operator; nothing from a
/// peer is in it.
package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    package let call: String
    package let errno: Int32

    package init(_ call: String, _ errno: Int32) {
        self.call = call
        self.errno = errno
    }

    package var description: String {
        "\(call): \(SystemError.text(of: errno))"
    }
}

/// What the poller is told with a descriptor and says with its events. A recycled descriptor cannot
/// be mistaken for an old one, because its tag holds the generation of its slot.
package struct PollTag: Hashable, Sendable {
    package let bits: UInt64
    package init(bits: UInt64) { self.bits = bits }
}

package struct PollEvent: Sendable {
    package let tag: PollTag
    package let isReadable: Bool
    package let isWritable: Bool
    /// Both directions have ended, or the socket failed.
    package let isOver: Bool
}

/// An epoll set, level-triggered: what is not read today is said again tomorrow, so a reader may
/// stop at its budget.
package struct Poller: ~Copyable {
    package static let maximumEvents = Int(MARTLET_EPOLL_BATCH)

    private let descriptor: Int32
    private var raw: [martlet_epoll_event]

    package init() throws(SystemError) {
        descriptor = try checked("epoll_create1", martlet_epoll_create())
        raw = Array(repeating: martlet_epoll_event(), count: Self.maximumEvents)
    }

    deinit { _ = martlet_close(descriptor) }

    package func add(
        _ fd: Int32, _ tag: PollTag, reads: Bool = true, writes: Bool = false
    ) throws(SystemError) {
        _ = try checked(
            "epoll_ctl",
            martlet_epoll_add(
                descriptor, fd, Self.events(reads: reads, writes: writes), tag.bits))
    }

    package func setInterest(
        _ fd: Int32, _ tag: PollTag, reads: Bool, writes: Bool
    ) throws(SystemError) {
        _ = try checked(
            "epoll_ctl",
            martlet_epoll_modify(
                descriptor, fd, Self.events(reads: reads, writes: writes), tag.bits))
    }

    private static func events(reads: Bool, writes: Bool) -> UInt32 {
        (reads ? UInt32(MARTLET_EPOLLIN) : 0) | (writes ? UInt32(MARTLET_EPOLLOUT) : 0)
    }

    package func remove(_ fd: Int32) { _ = martlet_epoll_remove(descriptor, fd) }

    /// Waits until something happens, at most `timeoutMs` (nil: without end), and appends it.
    package mutating func wait(
        timeoutMs: Int32?, into events: inout [PollEvent]
    ) throws(SystemError) {
        let count = unsafe raw.withUnsafeMutableBufferPointer {
            unsafe martlet_epoll_wait(
                descriptor, $0.baseAddress, Int32(Self.maximumEvents), timeoutMs ?? -1)
        }
        try take(count, into: &events)
    }

    /// The same to the nanosecond, for who has to act on time: `System.pin` takes the timers' slack
    /// away.
    package mutating func wait(
        nanoseconds: UInt64, into events: inout [PollEvent]
    ) throws(SystemError) {
        let timeout = Int64(clamping: nanoseconds)
        let count = unsafe raw.withUnsafeMutableBufferPointer {
            unsafe martlet_epoll_wait_ns(
                descriptor, $0.baseAddress, Int32(Self.maximumEvents), timeout)
        }
        try take(count, into: &events)
    }

    @inline(__always)
    private func take(_ count: Int32, into events: inout [PollEvent]) throws(SystemError) {
        _ = try checked("epoll_wait", count)
        for index in 0..<Int(max(0, count)) {
            let bits = raw[index].events
            let failed = UInt32(MARTLET_EPOLLERR) | UInt32(MARTLET_EPOLLHUP)
            events.append(
                PollEvent(
                    tag: PollTag(bits: raw[index].data),
                    isReadable: bits & UInt32(MARTLET_EPOLLIN) != 0,
                    isWritable: bits & UInt32(MARTLET_EPOLLOUT) != 0,
                    isOver: bits & failed != 0))
        }
    }
}

/// Turns the shim's `-errno` into an error.
func checked(_ call: String, _ result: Int32) throws(SystemError) -> Int32 {
    guard result >= 0 else { throw SystemError(call, -result) }
    return result
}
