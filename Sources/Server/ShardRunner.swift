import Basics
import BusCore
import Domain
import Gateway
import HTTP
import Logging
import Reactor

/// One shard's thread: joins its gateway to epoll. Nothing here decides anything; it carries bytes
/// and mail in and out.
///
/// The tick: wait ─ mail ─ read (within a budget) ─ gateway ─ hand on operations, publications,
/// mail ─ one write a dirty connection ─ close what ended. Small reads and writes go to the kernel
/// many at a time, where it takes them so.
@safe final class ShardRunner {
    private let index: Int
    private let gateway: GatewayShard
    private let limits: Limits
    private let links: ShardLinks
    private var listener: Listener
    /// For other instances; nil where there are none.
    private let internalListener: Int32?
    private var tunnels: Tunnels
    private var peerRequests: PeerRequests
    private let clock = SystemClock()
    private var poller: Poller
    private var events: [PollEvent] = []

    /// By slot of the gateway's slab.
    private var sockets: [SocketState] = []
    private let buffer: UnsafeMutableRawBufferPointer
    /// nil where each socket is read and written by a call of its own.
    private let batches: Batches?
    /// Who was given something before the events of this tick were looked at, waits for its end.
    private var repliesBegin = 0
    /// The kernel did not make a batch of writes.
    private var batchFailure: SystemError?
    private var listenerRests: Instant?
    private var drainDeadline: Instant?
    private var storm = StormWatch()

    /// 16 bytes a slot.
    private struct SocketState {
        var key = ConnectionKey(packed: 0)
        var descriptor: Int32 = -1
        var wantsWrite = false
        /// The peer's half has ended: nothing is to be read, only written.
        var hasEnded = false
    }

    private final class Batches {
        /// What is longer goes by a call of its own, to which the way into the kernel is little.
        static let slotBytes = 4_096
        /// Reads at once.
        static let reads = 32

        var receives: SocketBatch
        var sends: SocketBatch

        init() throws(SystemError) {
            receives = try SocketBatch(
                .receiving, capacity: Self.reads, slotBytes: Self.slotBytes)
            sends = try SocketBatch(
                .sending, capacity: GatewayShard.writesAtOnce, slotBytes: Self.slotBytes)
        }
    }

    private static let mailboxTag = PollTag(bits: 1)
    private static let listenerTag = PollTag(bits: 2)
    private static let internalTag = PollTag(bits: 3)
    /// New connections a tick: a storm does not keep those inside waiting.
    private static let acceptsPerTick = 128

    init(
        index: Int, gateway: GatewayShard, limits: Limits, links: ShardLinks,
        listener: consuming Listener, internalListener: Int32?, usesIOUring: Bool
    ) throws(SystemError) {
        self.index = index
        self.gateway = gateway
        self.limits = limits
        self.links = links
        self.listener = listener
        self.internalListener = internalListener
        tunnels = Tunnels(
            capacity: max(1, limits.connections / links.mailboxes.count), log: links.log)
        peerRequests = PeerRequests(log: links.log)
        poller = try Poller()
        batches = usesIOUring ? Self.makeBatches(links) : nil
        unsafe buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: limits.readBytesPerTick, alignment: 64)
        try poller.add(self.listener.descriptor, Self.listenerTag)
        if let internalListener { try poller.add(internalListener, Self.internalTag) }
        try poller.add(links.mailboxes[index].descriptor, Self.mailboxTag)
    }

    private static func makeBatches(_ links: ShardLinks) -> Batches? {
        do throws(SystemError) {
            return try Batches()
        } catch {
            links.log.info(
                "the kernel offers no io_uring; each socket is read and written by a call of its own",
                metadata: ["error": "\(error)"])
            return nil
        }
    }

    deinit {
        unsafe buffer.deallocate()
        if let internalListener { Socket.close(internalListener) }
    }

    /// Runs until the node has drained.
    func run() throws(SystemError) {
        while true {
            events.removeAll(keepingCapacity: true)
            try poller.wait(timeoutMs: timeout(), into: &events)
            let now = clock.now()
            gateway.beginTick(now)
            takeMail(now)
            try handleEvents(now)
            for (session, bytes) in peerRequests.takeAnswers() {
                gateway.receive(peerAnswer: bytes, for: session)
            }
            gateway.endTick()
            handOn(gateway.takeOutput())
            try flush()
            handOn(gateway.takeOutput())
            if storm.isOver(
                connections: gateway.counters[.connectionsAccepted]
                    + gateway.counters[.connectionsClosed],
                subscriptions: gateway.counters[.subscriptions], now: now.instant)
            {
                System.releaseFreeMemory()
            }
            tunnels.expire(now.instant, poller)
            peerRequests.expire(now.instant, poller)
            if let rests = listenerRests, rests <= now.instant { wakeListener() }
            if let deadline = drainDeadline, gateway.isEmpty || deadline <= now.instant { return }
        }
    }

    private func timeout() -> Int32? {
        let due = [
            gateway.nextDeadline(), listenerRests, drainDeadline, storm.nextCheck,
            tunnels.deadline, peerRequests.deadline,
        ]
        guard let deadline = due.compactMap({ $0 }).min() else { return nil }
        let wait = deadline.nanoseconds(since: clock.now().instant)
        // Rounded up: a wake-up before the deadline would find nothing due.
        return Int32(clamping: (wait + 999_999) / 1_000_000)
    }

    // MARK: In

    private func takeMail(_ now: Now) {
        let mailbox = links.mailboxes[index]
        var bytes = 0
        for mail in mailbox.takeAll() {
            bytes += mail.approximateBytes
            if case .handedOver(let moved) = mail {
                adopt(moved)
                continue
            }
            if case .drain = mail {
                drainDeadline = now.instant.advanced(byMilliseconds: 10_000)
                // Closed, not only left alone: who comes now is refused by the kernel, and goes to
                // another instance.
                listener.close()
                listenerRests = nil
            }
            gateway.receive(mail)
        }
        if bytes > 0 { mailbox.settled(bytes: bytes) }
    }

    /// What can be read of some connections is read together, then all are handled in their order,
    /// and answers to them are written before the next ones are read.
    private func handleEvents(_ now: Now) throws(SystemError) {
        repliesBegin = gateway.flushMark
        var start = 0
        while start < events.count {
            let end = min(start + Batches.reads, events.count)
            try receive(start..<end)
            var place = 0
            for index in start..<end {
                let event = events[index]
                var received: Int?
                if let batches, place < batches.receives.count,
                    batches.receives.tag(at: place) == event.tag
                {
                    received = place
                    place += 1
                }
                handle(event, received, now)
            }
            start = end
            if start < events.count { try flushReplies() }
        }
        // Those inside come before those who want to be. The event may be older than the end of the
        // listener, which came in this tick's mail.
        if drainDeadline == nil, events.contains(where: { $0.tag == Self.listenerTag }) {
            acceptConnections(now)
        }
    }

    /// Leaves in the batch what came of those of the events that tell of a connection to be read.
    private func receive(_ range: Range<Int>) throws(SystemError) {
        guard let batches else { return }
        batches.receives.clear()
        guard gateway.wantsInput else { return }
        for index in range where events[index].isReadable && !events[index].isOver {
            let tag = events[index].tag
            guard let state = socket(of: ConnectionKey(packed: tag.bits)), !state.hasEnded else {
                continue
            }
            _ = batches.receives.hold(state.descriptor, tag)
        }
        try batches.receives.run()
    }

    /// - Parameter received: the place in the batch of what was read of it.
    private func handle(_ event: PollEvent, _ received: Int?, _ now: Now) {
        switch event.tag {
        case Self.mailboxTag, Self.listenerTag:
            // A signal after the mail was taken: it is read in the next tick. Who waits to be
            // accepted comes after all others.
            break
        case Self.internalTag:
            acceptInternal()
        case let tag where Tunnels.owns(tag):
            unsafe tunnels.handle(event, poller, buffer)
        case let tag where PeerRequests.owns(tag):
            unsafe peerRequests.handle(event, poller, buffer)
        default:
            let key = ConnectionKey(packed: event.tag.bits)
            guard sockets[Int(key.slot)].key == key else { return }
            if event.isWritable { gateway.writable(key) }
            if let received {
                take(key, received)
            } else if event.isReadable || event.isOver {
                read(key)
            }
        }
    }

    private func acceptConnections(_ now: Now) {
        for _ in 0..<Self.acceptsPerTick {
            do throws(SystemError) {
                guard case .connection(let fd, let address) = try listener.accept() else { return }
                try admit(fd, gateway.accept(address: IPAddress(bits: address)))
            } catch {
                guard !error.isPeersDoing else { continue }
                // No descriptors left: those who wait stay in the backlog until some are free.
                links.log.warning(
                    "cannot accept connections; resting for 100 ms",
                    metadata: ["shard": "\(index)", "error": "\(error)"])
                poller.remove(listener.descriptor)
                listenerRests = now.instant.advanced(byMilliseconds: 100)
                return
            }
        }
    }

    /// Connections that other instances bring.
    private func acceptInternal() {
        guard let internalListener else { return }
        for _ in 0..<Self.acceptsPerTick {
            do throws(SystemError) {
                guard
                    case .connection(let fd, let address) = try Listener.accept(internalListener)
                else { return }
                try admit(fd, gateway.accept(address: IPAddress(bits: address), isInternal: true))
            } catch {
                // They come again, from an instance that finds nobody here otherwise.
                guard error.isPeersDoing else { return }
            }
        }
    }

    /// Gives the gateway the bytes of its connection from now on; a nil key says that it has no place.
    private func admit(_ fd: Int32, _ key: ConnectionKey?) throws(SystemError) {
        guard let key else {
            shed(fd)
            return
        }
        while sockets.count <= Int(key.slot) { sockets.append(SocketState()) }
        sockets[Int(key.slot)] = SocketState(key: key, descriptor: fd)
        do throws(SystemError) {
            try poller.add(fd, PollTag(bits: key.packed))
        } catch {
            // The gateway gives it back to be closed.
            gateway.failed(key)
            throw error
        }
    }

    /// Another shard accepted it; what it asks for is here.
    private func adopt(_ moved: MovedConnection) {
        do throws(SystemError) {
            let key = gateway.adopt(moved)
            try admit(moved.descriptor, key)
            guard let key else { return }
            var bytes = moved.bytes
            var span = bytes.mutableSpan
            gateway.receive(key, &span)
        } catch {
            links.log.warning(
                "a connection could not be taken over from another shard",
                metadata: ["shard": "\(index)", "error": "\(error)"])
        }
    }

    /// No place: says so, and when to come back, spread over a few seconds.
    private func shed(_ fd: Int32) {
        let seconds = Int.random(in: 1...5)
        Socket.close(
            fd,
            saying: Array(
                """
                HTTP/1.1 503 Service Unavailable\r\nRetry-After: \(seconds)\r\n\
                Connection: close\r\nContent-Length: 0\r\n\r\n
                """.utf8))
    }

    private func wakeListener() {
        listenerRests = nil
        do throws(SystemError) {
            try poller.add(listener.descriptor, Self.listenerTag)
        } catch {
            links.log.error(
                "cannot listen any more; restart the server", metadata: ["error": "\(error)"])
        }
    }

    private func read(_ key: ConnectionKey) {
        let state = sockets[Int(key.slot)]
        guard gateway.wantsInput || state.hasEnded else { return }
        unsafe take(key, Socket.receive(state.descriptor, into: buffer), buffer)
    }

    /// Takes what was read with others. Of a slot that was filled there may be more, and it goes to
    /// whoever has the connection then.
    private func take(_ key: ConnectionKey, _ place: Int) {
        guard let (outcome, bytes) = unsafe batches?.receives.received(at: place) else { return }
        unsafe take(key, outcome, bytes)
        let rest = unsafe buffer.count - bytes.count
        guard bytes.count == Batches.slotBytes, rest > 0, gateway.serves(key), gateway.wantsInput
        else { return }
        let room = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<rest])
        let more = unsafe Socket.receive(sockets[Int(key.slot)].descriptor, into: room)
        // The peer's end is told again in the next tick, when the answers to this one have gone.
        if case .bytes = more { unsafe take(key, more, room) }
    }

    private func take(
        _ key: ConnectionKey, _ outcome: Socket.Received, _ room: UnsafeMutableRawBufferPointer
    ) {
        switch outcome {
        case .bytes(let count):
            let bytes = unsafe UnsafeMutableRawBufferPointer(rebasing: room[..<count])
            unsafe bytes.withMemoryRebound(to: UInt8.self) { bytes in
                var span = unsafe bytes.mutableSpan
                gateway.receive(key, &span)
            }
        case .wouldBlock:
            break
        case .ended:
            // Only once: what is still to be written is written, and then the gateway closes.
            if sockets[Int(key.slot)].hasEnded {
                gateway.failed(key)
            } else {
                sockets[Int(key.slot)].hasEnded = true
                if setInterest(key) { gateway.peerEnded(key) } else { gateway.failed(key) }
            }
        case .failed:
            gateway.failed(key)
        }
    }

    // MARK: Out

    private func flush() throws(SystemError) {
        unsafe gateway.flush { key, chunks in
            unsafe self.write(key, chunks)
        } settle: { tell in
            self.settle(tell)
        }
        if let batchFailure { throw batchFailure }
    }

    private func flushReplies() throws(SystemError) {
        unsafe gateway.flushReplies(since: repliesBegin) { key, chunks in
            unsafe self.write(key, chunks)
        } settle: { tell in
            self.settle(tell)
        }
        if let batchFailure { throw batchFailure }
    }

    private func handOn(_ output: consuming GatewayShard.Output) {
        if !output.laneItems.isEmpty { links.submit(output.laneItems, from: index) }
        // Before what was published: a channel is followed before anything can follow from it.
        if !output.interests.isEmpty { links.bus.change(output.interests, from: index) }
        if !output.publications.isEmpty {
            links.bus.publish(output.publications, from: index)
        }
        for (shard, mail) in output.mail { links.post(mail, to: shard) }
        for (key, shard, moved) in output.handedOver {
            let state = sockets[Int(key.slot)]
            poller.remove(state.descriptor)
            sockets[Int(key.slot)] = SocketState()
            var moved = moved
            moved.descriptor = state.descriptor
            links.post(.handedOver(moved), to: shard)
        }
        for (key, tunnel) in output.tunnels {
            let state = sockets[Int(key.slot)]
            poller.remove(state.descriptor)
            sockets[Int(key.slot)] = SocketState()
            tunnels.open(state.descriptor, tunnel, now: clock.now().instant, poller)
        }
        for request in output.peerRequests {
            peerRequests.open(request, now: clock.now().instant, poller)
        }
        for key in output.halfClosed {
            if let state = socket(of: key) { Socket.shutdownSend(state.descriptor) }
        }
        for key in output.closed {
            guard let state = socket(of: key) else { continue }
            Socket.close(state.descriptor)
            sockets[Int(key.slot)] = SocketState()
        }
    }

    /// nil where the slot has no socket, or another's.
    private func socket(of key: ConnectionKey) -> SocketState? {
        let slot = Int(key.slot)
        guard slot < sockets.count, sockets[slot].key == key else { return nil }
        return sockets[slot]
    }

    /// nil where it is kept for `settle`.
    private func write(
        _ key: ConnectionKey, _ chunks: UnsafeBufferPointer<UnsafeRawBufferPointer>
    ) -> Int? {
        let descriptor = sockets[Int(key.slot)].descriptor
        let tag = PollTag(bits: key.packed)
        if unsafe batches?.sends.hold(descriptor, tag, chunks) == true { return nil }
        let written = unsafe Socket.write(descriptor, chunks)
        var offered = 0
        for index in 0..<chunks.count { unsafe offered += chunks[index].count }
        return wrote(key, offered, written)
    }

    private func settle(_ tell: (ConnectionKey, Int, Int) -> Void) {
        guard let batches, batchFailure == nil else { return }
        do throws(SystemError) {
            try batches.sends.run()
            for place in 0..<batches.sends.count {
                let key = ConnectionKey(packed: batches.sends.tag(at: place).bits)
                let offered = batches.sends.asked(at: place)
                tell(key, offered, wrote(key, offered, batches.sends.sent(at: place)))
            }
        } catch {
            batchFailure = error
        }
        batches.sends.clear()
    }

    /// Listens for room in the socket where it did not take all. Returns what it took, -1 where it is
    /// gone.
    private func wrote(_ key: ConnectionKey, _ offered: Int, _ written: Int) -> Int {
        guard written >= 0 else { return written }
        let slot = Int(key.slot)
        let isBlocked = written < offered
        if isBlocked != sockets[slot].wantsWrite {
            sockets[slot].wantsWrite = isBlocked
            if !setInterest(key) { return -1 }
        }
        return written
    }

    /// False where the kernel refuses: then nothing would be heard of the socket any more.
    private func setInterest(_ key: ConnectionKey) -> Bool {
        let state = sockets[Int(key.slot)]
        do throws(SystemError) {
            try poller.setInterest(
                state.descriptor, PollTag(bits: key.packed), reads: !state.hasEnded,
                writes: state.wantsWrite)
            return true
        } catch {
            return false
        }
    }
}
