import Basics
import Gateway
import Logging
import Reactor

/// The connections of a shard that other instances serve: two sockets each, and what is on its way
/// between them. Nothing of it is read.
///
///     client ──► toOwner ──► owner        an end on one side is passed on when what came
///     client ◄── toClient ◄── owner       before it has gone
///
/// A side is read while less than 64 KiB of what it said wait, so a slow reader slows its writer. A client
/// that is gone is not waited for; of an owner that is, the rest is still passed on, though to a client that
/// is behind and goes on speaking the end may come before it: the kernel resets what is closed so. Owners
/// end what their sessions have outlived; an owner that does not answer the connection within 2 s has gone.
struct Tunnels {
    private static let bufferBytes = 65_536
    private static let connectMs = 2_000
    /// Tags of the poller: a tunnel's number, and which side. Keys of connections have a generation
    /// above 32 bits, those of `PeerRequests` bit 31, the shard's own tags are below 16.
    private static let firstTag: UInt64 = 16

    private enum Side: UInt64 {
        case client
        case owner
    }

    /// What one side has said and the other has not got yet. Memory stays within twice of it, however
    /// long the reader is behind.
    struct Way {
        private(set) var bytes: [UInt8] = []
        private(set) var sent = 0
        var hasEnded = false
        var isShut = false

        var isEmpty: Bool { sent == bytes.count }
        var isFull: Bool { bytes.count - sent >= Tunnels.bufferBytes }
        var waiting: ArraySlice<UInt8> { bytes[sent...] }

        mutating func append(_ more: some Collection<UInt8>) {
            if sent >= bytes.count - sent {
                bytes.removeFirst(sent)
                sent = 0
            }
            bytes.append(contentsOf: more)
        }

        mutating func take(_ count: Int) { sent += count }
        mutating func drop() { sent = bytes.count }
    }

    private struct Joined {
        let client: Int32
        let owner: Int32
        let refusal: [UInt8]
        var isConnecting = true
        var deadline: Instant
        var toOwner = Way()
        var toClient = Way()
        /// The owner has gone, and what it said last may wait in its socket until there is room: the
        /// poller would tell of it without end.
        var isOwnerGone = false
    }

    private var slots: [Joined?] = []
    private var free: [Int] = []
    private var connecting: Set<Int> = []
    private let capacity: Int
    private let log: Logger

    init(capacity: Int, log: Logger) {
        self.capacity = capacity
        self.log = log
    }

    private static func tag(_ slot: Int, _ side: Side) -> PollTag {
        PollTag(bits: firstTag + UInt64(slot) * 2 + side.rawValue)
    }

    /// Whether an event is one of a tunnel.
    static func owns(_ tag: PollTag) -> Bool { tag.bits >= firstTag && tag.bits >> 31 == 0 }

    /// When a connection under way is given up; nil while there is none.
    var deadline: Instant? { connecting.compactMap { slots[$0]?.deadline }.min() }

    /// Takes over a client's socket, which the poller no longer knows. It is closed where that fails.
    mutating func open(
        _ client: Int32, _ tunnel: Tunnel, now: Instant, _ poller: borrowing Poller
    ) {
        guard slots.count - free.count < capacity,
            let named = Configuration.InternalAddress(tunnel.address),
            let address = SocketAddress(numeric: named.host, port: named.port),
            let owner = Self.connect(to: address)
        else {
            Socket.close(client, saying: tunnel.refusal)
            return
        }
        var joined = Joined(
            client: client, owner: owner, refusal: tunnel.refusal,
            deadline: now.advanced(byMilliseconds: Self.connectMs))
        joined.toOwner.append(tunnel.opening)
        let slot = free.popLast() ?? slots.count
        if slot == slots.count { slots.append(nil) }
        slots[slot] = joined
        connecting.insert(slot)
        do throws(SystemError) {
            try poller.add(owner, Self.tag(slot, .owner))
            try poller.setInterest(owner, Self.tag(slot, .owner), reads: false, writes: true)
        } catch {
            refuse(slot, poller)
        }
    }

    private static func connect(to address: SocketAddress) -> Int32? {
        do throws(SystemError) { return try Socket.connect(to: address) } catch { return nil }
    }

    /// Gives up what did not get there in time.
    mutating func expire(_ now: Instant, _ poller: borrowing Poller) {
        for slot in connecting where slots[slot].map({ $0.deadline <= now }) ?? false {
            refuse(slot, poller)
        }
    }

    private mutating func refuse(_ slot: Int, _ poller: borrowing Poller) {
        guard let joined = slots[slot] else { return }
        log.debug("the owner of a session is not reached; its client begins anew")
        forget(slot)
        poller.remove(joined.owner)
        Socket.close(joined.owner)
        Socket.close(joined.client, saying: joined.refusal)
    }

    private mutating func forget(_ slot: Int) {
        slots[slot] = nil
        free.append(slot)
        connecting.remove(slot)
    }

    mutating func handle(
        _ event: PollEvent, _ poller: borrowing Poller, _ buffer: UnsafeMutableRawBufferPointer
    ) {
        let slot = Int((event.tag.bits - Self.firstTag) / 2)
        guard slot < slots.count, var joined = slots[slot],
            let side = Side(rawValue: (event.tag.bits - Self.firstTag) & 1)
        else { return }
        slots[slot] = nil
        var isOver = false
        if joined.isConnecting {
            do throws(SystemError) {
                try Socket.finishConnecting(joined.owner)
                try poller.add(joined.client, Self.tag(slot, .client))
                joined.isConnecting = false
                connecting.remove(slot)
            } catch {
                slots[slot] = joined
                refuse(slot, poller)
                return
            }
        } else if event.isReadable || event.isOver {
            switch side {
            case .client where event.isOver && joined.toOwner.isFull:
                isOver = true
            case .client:
                isOver = unsafe !Self.read(joined.client, into: &joined.toOwner, buffer)
            case .owner where event.isOver:
                Self.loseOwner(&joined, poller)
            case .owner:
                if unsafe !Self.read(joined.owner, into: &joined.toClient, buffer) {
                    Self.loseOwner(&joined, poller)
                }
            }
        }
        if !joined.isOwnerGone, !Self.write(&joined.toOwner, to: joined.owner) {
            // What it said before is still there, in our buffer or its socket's.
            Self.loseOwner(&joined, poller)
        }
        if joined.isOwnerGone {
            // Read, and not kept: what is unread when a socket is closed resets it, and cuts off the rest.
            joined.toOwner.drop()
            isOver = isOver || !Self.write(&joined.toClient, to: joined.client)
            // A failure is its end: it says nothing more.
            if !isOver, unsafe !Self.read(joined.owner, into: &joined.toClient, buffer) {
                joined.toClient.hasEnded = true
            }
        }
        isOver = isOver || !Self.write(&joined.toClient, to: joined.client)
        if joined.isOwnerGone, joined.toClient.hasEnded, joined.toClient.isEmpty { isOver = true }
        if isOver || joined.toOwner.isShut && joined.toClient.isShut
            || !setInterests(slot, joined, poller)
        {
            poller.remove(joined.client)
            poller.remove(joined.owner)
            Socket.close(joined.client, saying: [])
            Socket.close(joined.owner)
            forget(slot)
        } else {
            slots[slot] = joined
        }
    }

    private static func loseOwner(_ joined: inout Joined, _ poller: borrowing Poller) {
        joined.isOwnerGone = true
        poller.remove(joined.owner)
    }

    /// False where the socket failed.
    private static func read(
        _ fd: Int32, into way: inout Way, _ buffer: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard !way.hasEnded, !way.isFull else { return !way.hasEnded }
        switch unsafe Socket.receive(fd, into: buffer) {
        case .bytes(let count):
            unsafe way.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            return true
        case .wouldBlock:
            return true
        case .ended:
            way.hasEnded = true
            return true
        case .failed:
            return false
        }
    }

    private static func write(_ way: inout Way, to fd: Int32) -> Bool {
        if !way.isEmpty {
            let written = unsafe way.waiting.withUnsafeBytes { unsafe Socket.write(fd, $0) }
            guard written >= 0 else { return false }
            way.take(written)
        }
        if way.hasEnded, way.isEmpty, !way.isShut {
            way.isShut = true
            Socket.shutdownSend(fd)
        }
        return true
    }

    private func setInterests(
        _ slot: Int, _ joined: Joined, _ poller: borrowing Poller
    ) -> Bool {
        do throws(SystemError) {
            try poller.setInterest(
                joined.client, Self.tag(slot, .client),
                reads: !joined.toOwner.hasEnded && !joined.toOwner.isFull,
                writes: !joined.toClient.isEmpty || joined.isOwnerGone)
            if joined.isOwnerGone { return true }
            try poller.setInterest(
                joined.owner, Self.tag(slot, .owner),
                reads: !joined.toClient.hasEnded && !joined.toClient.isFull,
                writes: !joined.toOwner.isEmpty)
            return true
        } catch {
            return false
        }
    }
}
