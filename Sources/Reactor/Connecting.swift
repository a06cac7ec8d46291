import CLinux

/// Where a TCP peer is: an address and a port.
package struct SocketAddress: Sendable {
    fileprivate var raw: martlet_address

    /// - Parameter text: IPv4 or IPv6 as numbers; nil where it is a name, or nothing.
    package init?(numeric text: String, port: UInt16) {
        guard case .success(let found) = Self.resolve(text, port: port, isNumeric: true),
            let first = found.first
        else { return nil }
        self = first
    }

    private init(_ raw: martlet_address) { self.raw = raw }

    /// The addresses of a host, by the system's resolver, which blocks for as long as it likes. For
    /// programs that have nothing else to do meanwhile; others have `NameResolver`.
    package static func resolveBlocking(
        _ host: String, port: UInt16
    ) -> Result<[SocketAddress], ResolveError> {
        resolve(host, port: port, isNumeric: false)
    }

    /// Why a name has no addresses.
    package struct ResolveError: Error, Hashable, Sendable {
        package let text: String
    }

    /// Blocks for as long as the system's resolver does, if the host is a name.
    fileprivate static func resolve(
        _ host: String, port: UInt16, isNumeric: Bool
    ) -> Result<[SocketAddress], ResolveError> {
        var addresses = [martlet_address](repeating: martlet_address(), count: 8)
        let count = unsafe addresses.withUnsafeMutableBufferPointer {
            unsafe martlet_resolve(host, port, isNumeric ? 1 : 0, $0.baseAddress)
        }
        guard count > 0 else {
            let text = unsafe String(cString: martlet_resolve_error(count))
            return .failure(ResolveError(text: text))
        }
        return .success(addresses.prefix(Int(count)).map { SocketAddress($0) })
    }
}

extension Socket {
    /// A socket on its way to `address`: writable once it is known whether it got there.
    package static func connect(to address: SocketAddress) throws(SystemError) -> Int32 {
        var raw = address.raw
        return unsafe try checked("connect", martlet_connect(&raw))
    }

    /// The same from a local address, whose port the system chooses.
    ///
    /// - Parameter receiveBufferBytes: SO_RCVBUF, set before connecting so that it bounds the
    ///   window; 0 for the system's own.
    package static func connect(
        to address: SocketAddress, from source: SocketAddress?, receiveBufferBytes: Int = 0
    ) throws(SystemError) -> Int32 {
        var raw = address.raw
        guard var local = source?.raw else {
            return unsafe try checked(
                "connect", martlet_connect_from(&raw, nil, Int32(clamping: receiveBufferBytes)))
        }
        return unsafe try checked(
            "connect", martlet_connect_from(&raw, &local, Int32(clamping: receiveBufferBytes)))
    }

    /// Whether a socket that became writable got there.
    package static func finishConnecting(_ fd: Int32) throws(SystemError) {
        let error = martlet_connect_result(fd)
        guard error == 0 else { throw SystemError("connect", error) }
    }
}

/// Turns a host's name into addresses without stopping the loop: getaddrinfo(3) blocks, by
/// resolv.conf(5) up to some 10 s a name server, so it runs on a thread of its own that ends with
/// the answer.
///
/// One question at a time: where the system's resolver hangs, there is one thread that waits for
/// it, however often one asks again.
package final class NameResolver {
    package typealias Answer = Result<[SocketAddress], SocketAddress.ResolveError>

    private let loop: EventLoop
    private let mailbox: Mailbox<Answer>
    private var registration: EventLoop.Registration?
    private var isAsking = false
    private var receiver: ((Answer) -> Void)?

    package init(loop: EventLoop) throws(SystemError) {
        self.loop = loop
        mailbox = try Mailbox(maximumBytes: 1_024)
        registration = try loop.register(mailbox.descriptor) { [unowned self] _ in answered() }
    }

    deinit {
        if let registration { loop.unregister(registration) }
    }

    /// Calls `receiver` in a later round, unless `forget` comes first. Where an earlier question
    /// still waits for the system, its answer is taken for this one: one resolver, one name.
    package func ask(
        _ host: String, port: UInt16, receiver: @escaping (Answer) -> Void
    ) throws(SystemError) {
        self.receiver = receiver
        guard !isAsking else { return }
        let mailbox = mailbox
        let thread = try Thread(name: "resolver") {
            mailbox.post(
                SocketAddress.resolve(host, port: port, isNumeric: false), bytes: 0,
                canRefuse: false)
        }
        thread.detach()
        isAsking = true
    }

    package func forget() { receiver = nil }

    private func answered() {
        for answer in mailbox.takeAll() {
            isAsking = false
            let receiver = receiver
            self.receiver = nil
            receiver?(answer)
        }
    }
}
