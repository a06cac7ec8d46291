import Basics
import Client
import Glibc
import ServerSupport
import Synchronization

/// Stands between one instance and one service, on a thread of its own, and does to their bytes
/// what it is told to: delays them, hands them over in crumbs, swallows one direction, cuts.
///
///     instance ◄──► port │ queue with due times │ ◄──► service
///
/// It knows of Postgres only how a session of Martlet's names its COMMIT: `commit`, prepared.
final class ChaosProxy: Sendable {
    enum Direction: Sendable { case toService, fromService }

    struct Behaviour: Sendable {
        /// Each chunk waits this long, and up to `jitterMs` more; their order stays.
        var delayMs = 0
        var jitterMs = 0
        /// Chunks begin with pieces of 1 to 7 bytes.
        var isInCrumbs = false
        /// Bytes of this direction go nowhere.
        var swallows: Direction?
        /// One chunk in so many cuts its connection; 0 for none.
        var cutsOneIn = 0
        /// One COMMIT in so many goes to the service, and its reply does not come back; 0 for none.
        var cutsCommitsOneIn = 0
        /// Sessions that begin now roll back what they are told to commit, and say that they did:
        /// a Postgres that lies.
        var lies = false
    }

    let port: UInt16
    private let behaviour = Mutex(Behaviour())
    private let cutting = Atomic<Bool>(false)
    private let ending = Atomic<Bool>(false)
    /// Connections that were cut, of them those behind a COMMIT.
    let cuts = Atomic<Int>(0)
    let commitCuts = Atomic<Int>(0)

    /// - Parameters:
    ///   - host: the address to listen on.
    ///   - service: the service's port on 127.0.0.1.
    init(host: String, service: UInt16, seed: UInt64) throws {
        let listener = try Self.listen(on: host)
        port = listener.port
        try inBackground { [self] in
            var loop = ProxyLoop(self, listener: listener.descriptor, service: service, seed: seed)
            while !ending.load(ordering: .relaxed) {
                let cutsAll = cutting.exchange(false, ordering: .relaxed)
                loop.turn(behaviour.withLock { $0 }, cutsAll: cutsAll)
            }
            loop.end()
        }
    }

    func set(_ new: Behaviour) { behaviour.withLock { $0 = new } }
    func heal() { set(Behaviour()) }
    func cutAll() { cutting.store(true, ordering: .relaxed) }
    func end() { ending.store(true, ordering: .relaxed) }

    private static func listen(on host: String) throws -> (descriptor: Int32, port: UInt16) {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_INET, type, 0)
        var address = Sockets.address(host, port: 0)
        guard descriptor >= 0, Sockets.bind(descriptor, &address), Glibc.listen(descriptor, 64) == 0
        else { throw SupportError("a proxy cannot listen on \(host): errno \(errno)") }
        return (descriptor, Sockets.port(of: descriptor))
    }
}

/// One direction of a proxied connection.
private struct Pipe {
    var queue: [(due: Instant, bytes: [UInt8])] = []
    /// Bytes of the first chunk that are written.
    var written = 0
    /// Pieces of the first chunk that went out in crumbs.
    var crumbs = 0
    var queuedBytes = 0
    /// The reading side is at its end.
    var hasEnded = false
    /// The last bytes that were seen, for words that come in two chunks.
    var tail: [UInt8] = []

    static let mostBytes = 1 << 20
}

private struct Pair {
    enum Fate {
        /// As soon as all is written.
        case cutWhenWritten
        /// As soon as a reply comes.
        case cutAtReply
    }

    var client: Int32
    var service: Int32
    var toService = Pipe()
    var fromService = Pipe()
    var hasSwallowed = false
    var fate: Fate?
    var isGone = false
}

/// The proxy's thread.
private struct ProxyLoop {
    private let proxy: ChaosProxy
    private let listener: Int32
    private let service: UInt16
    private var random: SeededRandom
    private var pairs: [Pair] = []
    private var buffer = [UInt8](repeating: 0, count: 65_536)
    private var now = MonotonicClock.now()

    private static let commit = [0] + Array("commit".utf8) + [0]
    private static let prepared = Array("commit\0COMMIT\0".utf8)
    /// Of the same length, so that nothing else in the message changes.
    private static let preparedLie = Array("commit\0ABORT \0".utf8)
    private static let rolledBack = Array("C".utf8) + [0, 0, 0, 13] + Array("ROLLBACK\0".utf8)
    private static let committed = Array("C".utf8) + [0, 0, 0, 11] + Array("COMMIT\0".utf8)

    init(_ proxy: ChaosProxy, listener: Int32, service: UInt16, seed: UInt64) {
        self.proxy = proxy
        self.listener = listener
        self.service = service
        random = SeededRandom(seed)
    }

    mutating func end() {
        for index in pairs.indices { drop(index) }
        close(listener)
    }

    /// One wait, and what came of it.
    mutating func turn(_ behaviour: ChaosProxy.Behaviour, cutsAll: Bool) {
        for index in pairs.indices
        where cutsAll || (pairs[index].hasSwallowed && behaviour.swallows == nil) {
            cut(index)
        }
        pairs.removeAll(where: \.isGone)
        var entries = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
        for pair in pairs {
            entries.append(Self.entry(pair.client, reads: pair.toService, writes: pair.fromService))
            entries.append(
                Self.entry(pair.service, reads: pair.fromService, writes: pair.toService))
        }
        let wait = pairs.contains { !$0.toService.queue.isEmpty || !$0.fromService.queue.isEmpty }
        _ = unsafe poll(&entries, UInt(entries.count), wait ? 2 : 20)
        now = MonotonicClock.now()
        for index in pairs.indices {
            let (client, service) = (entries[1 + index * 2], entries[2 + index * 2])
            if client.revents & ~Int16(POLLOUT) != 0 { read(index, .toService, behaviour) }
            if service.revents & ~Int16(POLLOUT) != 0 { read(index, .fromService, behaviour) }
            write(index, .toService, behaviour)
            write(index, .fromService, behaviour)
            finish(index)
        }
        if entries[0].revents != 0 { accept() }
    }

    /// POLLOUT is not asked for: what does not go out now is tried again in 2 ms.
    private static func entry(_ descriptor: Int32, reads: Pipe, writes: Pipe) -> pollfd {
        let isOpen = !reads.hasEnded && reads.queuedBytes < Pipe.mostBytes
        return pollfd(fd: isOpen ? descriptor : -1, events: Int16(POLLIN), revents: 0)
    }

    private mutating func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0 else { return }
            let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
            let service = socket(AF_INET, type, 0)
            var address = Sockets.address("127.0.0.1", port: self.service)
            // Of this machine, so it does not block for long: it is there or not.
            guard service >= 0, Sockets.connect(service, &address) else {
                Sockets.reset(client)
                if service >= 0 { close(service) }
                continue
            }
            for descriptor in [client, service] { Sockets.prepare(descriptor) }
            pairs.append(Pair(client: client, service: service))
        }
    }

    // MARK: Bytes

    private mutating func read(
        _ index: Int, _ direction: ChaosProxy.Direction, _ behaviour: ChaosProxy.Behaviour
    ) {
        guard !pairs[index].isGone else { return }
        let source = direction == .toService ? pairs[index].client : pairs[index].service
        let count = unsafe recv(source, &buffer, buffer.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else {
            with(index, direction) { $0.hasEnded = true }
            // The other side does not learn of it before all is healed.
            if behaviour.swallows != nil { pairs[index].hasSwallowed = true }
            return
        }
        if behaviour.swallows == direction {
            pairs[index].hasSwallowed = true
            return
        }
        var bytes = Array(buffer[..<count])
        switch direction {
        case .toService: outgoing(&bytes, index, behaviour)
        case .fromService:
            if pairs[index].fate == .cutAtReply { return cut(index, isCommit: true) }
            if pairs[index].fate != nil { return }
            if behaviour.lies {
                bytes = Self.replacing(Self.rolledBack, by: Self.committed, in: bytes)
            }
        }
        if behaviour.cutsOneIn > 0, random.next(below: behaviour.cutsOneIn) == 0 {
            return cut(index)
        }
        let wait =
            behaviour.delayMs
            + (behaviour.jitterMs > 0 ? random.next(below: behaviour.jitterMs + 1) : 0)
        let now = now
        with(index, direction) { pipe in
            let due = now.advanced(byMilliseconds: wait)
            pipe.queue.append((max(due, pipe.queue.last?.due ?? due), bytes))
            pipe.queuedBytes += bytes.count
        }
    }

    /// Looks for a COMMIT on its way to Postgres.
    private mutating func outgoing(
        _ bytes: inout [UInt8], _ index: Int, _ behaviour: ChaosProxy.Behaviour
    ) {
        if behaviour.lies {
            bytes = Self.replacing(Self.prepared, by: Self.preparedLie, in: bytes)
        }
        let tail = pairs[index].toService.tail
        pairs[index].toService.tail = Array((tail + bytes).suffix(Self.commit.count - 1))
        guard behaviour.cutsCommitsOneIn > 0, pairs[index].fate == nil,
            Self.place(of: Self.commit, in: tail + bytes) != nil,
            random.next(below: behaviour.cutsCommitsOneIn) == 0
        else { return }
        pairs[index].fate = random.next(below: 2) == 0 ? .cutWhenWritten : .cutAtReply
    }

    private mutating func write(
        _ index: Int, _ direction: ChaosProxy.Direction, _ behaviour: ChaosProxy.Behaviour
    ) {
        guard !pairs[index].isGone else { return }
        let sink = direction == .toService ? pairs[index].service : pairs[index].client
        var pipe = direction == .toService ? pairs[index].toService : pairs[index].fromService
        defer { with(index, direction) { $0 = pipe } }
        while let first = pipe.queue.first, first.due <= now {
            var end = first.bytes.count
            if behaviour.isInCrumbs, pipe.crumbs < 60 {
                pipe.crumbs += 1
                end = min(end, pipe.written + 1 + random.next(below: 7))
            }
            let start = pipe.written
            let count = unsafe first.bytes.withUnsafeBytes { bytes in
                unsafe Glibc.send(
                    sink, bytes.baseAddress.map { unsafe $0 + start }, end - start,
                    Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            if count <= 0 {
                // The reading side notices where it is gone for good.
                if errno != EAGAIN {
                    pipe.queue = []
                    pipe.queuedBytes = 0
                }
                return
            }
            pipe.written += count
            pipe.queuedBytes -= count
            if pipe.written == first.bytes.count {
                pipe.queue.removeFirst()
                pipe.written = 0
                pipe.crumbs = 0
            }
        }
    }

    private mutating func with(
        _ index: Int, _ direction: ChaosProxy.Direction, _ body: (inout Pipe) -> Void
    ) {
        switch direction {
        case .toService: body(&pairs[index].toService)
        case .fromService: body(&pairs[index].fromService)
        }
    }

    // MARK: Ends

    private mutating func finish(_ index: Int) {
        let pair = pairs[index]
        guard !pair.isGone else { return }
        if pair.fate == .cutWhenWritten, pair.toService.queue.isEmpty {
            return cut(index, isCommit: true)
        }
        // Either end's end ends both, once what came before it is handed over.
        guard !pair.hasSwallowed else { return }
        if pair.toService.hasEnded, pair.toService.queue.isEmpty { drop(index) }
        if pair.fromService.hasEnded, pair.fromService.queue.isEmpty { drop(index) }
    }

    private mutating func cut(_ index: Int, isCommit: Bool = false) {
        guard !pairs[index].isGone else { return }
        proxy.cuts.wrappingAdd(1, ordering: .relaxed)
        if isCommit { proxy.commitCuts.wrappingAdd(1, ordering: .relaxed) }
        Sockets.reset(pairs[index].client)
        // Not reset: what is under way to the service is to arrive.
        close(pairs[index].service)
        pairs[index].isGone = true
    }

    private mutating func drop(_ index: Int) {
        guard !pairs[index].isGone else { return }
        close(pairs[index].client)
        close(pairs[index].service)
        pairs[index].isGone = true
    }

    private static func place(of word: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= word.count else { return nil }
        return (0...(bytes.count - word.count)).first { start in
            bytes[start] == word[0] && bytes[start..<(start + word.count)].elementsEqual(word)
        }
    }

    private static func replacing(
        _ word: [UInt8], by other: [UInt8], in bytes: [UInt8]
    ) -> [UInt8] {
        var rest = bytes
        var result: [UInt8] = []
        while let start = place(of: word, in: rest) {
            result += rest[..<start] + other
            rest = Array(rest[(start + word.count)...])
        }
        return result + rest
    }
}

/// The few calls that the proxy makes.
enum Sockets {
    /// - Parameter host: an IPv4 address in dotted form, of ours.
    static func address(_ host: String, port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        unsafe inet_pton(AF_INET, host, &address.sin_addr)
        return address
    }

    static func bind(_ descriptor: Int32, _ address: inout sockaddr_in) -> Bool {
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    static func connect(_ descriptor: Int32, _ address: inout sockaddr_in) -> Bool {
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    == 0
            }
        }
    }

    static func port(of descriptor: Int32) -> UInt16 {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getsockname(descriptor, $0, &length)
            }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    /// Each crumb leaves at once; nothing blocks; no child inherits it.
    static func prepare(_ descriptor: Int32) {
        var on: Int32 = 1
        unsafe setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }

    static func reset(_ descriptor: Int32) {
        var option = linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        close(descriptor)
    }
}
