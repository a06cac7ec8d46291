import Basics
import BusCore
import Domain
import HTTP
import Identity
import SocketIO
import StoreCore
import WebSocket
import Wire

/// One shard: a machine of values. Bytes, mail and the time go in; bytes, operations, publications
/// and mail come out. It owns no socket, no thread, no clock; the shard's thread and the simulator
/// drive the same code.
///
///     beginTick ─ accept / receive(bytes) / peerEnded / receive(mail) ─ endTick ─ flush ─ takeOutput
///
/// Made and used on one thread. Files in reading order: this one (state and tick), +Timers, +HTTP,
/// Endpoints, +WebSocket, +Polling, +Engine, +SocketIO, +Grace, +Commands, +Answers, +CatchUp,
/// +Recovery, +Retained, +Kept, +Topics, +Hub, +Repair, +Foreign.
package final class GatewayShard {
    package let index: Int
    let shardCount: Int
    let configuration: GatewayConfiguration
    let limits: Limits
    let messageLimits: MessageLimits
    let unknownPeerLimits: MessageLimits
    let status: NodeStatus
    let busReachesOthers: Bool

    var now: Now
    package let counters = Counters()
    var identifiers: IdentifierGenerator

    // Connections: a slab of slots with generations, so that an old key is recognised.
    var connections: [Connection?] = []
    var generations: [UInt32] = []
    var freeSlots: [UInt32] = []
    /// Closed in this tick: the driver still holds their descriptors, so they are reused in the
    /// next.
    var closedSlots: [UInt32] = []
    var dirty: [ConnectionKey] = []
    /// The dirty ones of the flush that is under way.
    private var flushing: [ConnectionKey] = []
    /// Writes of the flush that the driver has not told of.
    private var heldWrites = 0
    /// As many as a driver may keep before it is asked what became of them: few enough for what is
    /// touched again to be in the nearer caches.
    package static let writesAtOnce = 128
    var pool = BufferPool()
    var users: [UserID: UserState] = [:]
    var connectBuckets: [IPAddress: TokenBucket] = [:]

    // Scratch, reused for every request.
    var requestParser: RequestParser
    var json: JSONReader
    var verifier: TokenVerifier

    // The hub: who follows, what is followed here, and who is home here.
    var subscribers: [Subscriber?] = []
    /// By place of a subscriber: the slot of the connection that it speaks through. Beside the
    /// subscribers and not in them, because each delivery reads it.
    var transports: [UInt32] = []
    var freePlaces: [UInt32] = []
    var subscriberGeneration: UInt32 = 0
    /// The Engine.IO sessions that are at home here.
    var engines: [EngineID: EngineSession] = [:]
    var owedPings: [EngineSession] = []
    /// The other instances that take connections for their sessions, by what session ids say of them.
    var peers: [UInt32: Peer] = [:]
    // Recovery: who may come back, from here and to here.
    var recoverable: [SessionName: SubscriberKey] = [:]
    var retained = RetainedSessions()
    /// Writes that nobody waits for, and that the store has not taken.
    var owed: [Operation] = []
    /// Sessions whose marks are to be written.
    var markQueue: [SubscriberKey] = []
    /// Sessions that ended a moment ago with no poll waiting, and what the next one is told.
    var farewells: [EngineID: Farewell] = [:]
    var topics: [Topic?] = []
    var freeTopics: [Int32] = []
    var topicIndices: [Channel: Int32] = [:]
    var fanOutQueue: [Int32] = []
    var fanOutStart = 0
    var pendingFanOutBytes = 0
    var homes: HomeDirectory
    var homeEffects: [HomeDirectory.Effect] = []
    var watchTickets: UInt64 = 0
    var comparison = Comparison()
    var notices = Notices()
    var locates = 0
    var recentEntries = RecentEntries()
    /// Which chat the messages are in that were delivered last: a client of the main namespace names
    /// what it read by the message alone.
    var recentMessages = RecentMap<MessageID, ChatID>(capacity: 16_384)
    /// Whether anybody ever came over Socket.IO, to this instance: then somebody may have to be told
    /// of messages instead of marks.
    private(set) var encodesLegacy = false

    // Work that waits for an answer of the store.
    var pendingWork: [UInt64: PendingWork] = [:]
    var tickets: UInt64 = 0
    var cursors = CursorCoalescer<CursorWaiter>()
    var cursorsScheduled = false
    var resumable: [ConnectionKey] = []

    var wheel: TimerWheel
    var firedTimers: [TimerWheel.Token] = []
    var chatTimers: [UInt64: ChatTimer] = [:]
    var chatTimerNumber: UInt64 = 0

    var ownMail: [ShardMail] = []
    var output = Output()
    var isDraining = false

    /// What a tick leaves for the driver to carry out, in this order.
    package struct Output {
        package var laneItems: [LaneItem] = []
        package var publications: [Publication] = []
        /// What the bus is to tell this shard of, and what no longer.
        package var interests: [InterestChange] = []
        package var mail: [(shard: Int, mail: ShardMail)] = []
        /// Shut the sending half; the peer's end is still awaited.
        package var halfClosed: [ConnectionKey] = []
        /// Gone: close the descriptor.
        package var closed: [ConnectionKey] = []
        /// To another shard with their sockets: what they ask for is there.
        package var handedOver: [(connection: ConnectionKey, shard: Int, MovedConnection)] = []
        /// To another instance.
        package var tunnels: [(connection: ConnectionKey, Tunnel)] = []
        /// Questions to other instances; each is answered with `receive(peerAnswer:for:)`.
        package var peerRequests: [PeerRequest] = []
        var deliveries: [[Delivery]] = []
    }

    struct ChatTimer {
        var chat: ChatID
        var retriesHead: Bool
    }

    enum TimerKind: UInt8 {
        case connection, cursors, chat, housekeeping, comparison, antiEntropy, owedPings, marks
    }

    package init(
        index: Int, shardCount: Int, configuration: GatewayConfiguration, status: NodeStatus,
        busReachesOthers: Bool, random: any RandomNumberGenerator, now: Now
    ) {
        self.index = index
        self.shardCount = shardCount
        self.configuration = configuration
        self.status = status
        self.busReachesOthers = busReachesOthers
        limits = configuration.limits
        messageLimits = MessageLimits(
            frameBytes: limits.frameBytes, messageBytes: limits.messageBytes,
            fragments: limits.messageFragments)
        unknownPeerLimits = Self.unknownPeerLimits(limits)
        self.now = now
        identifiers = IdentifierGenerator(random: random)
        requestParser = RequestParser(
            limits: RequestLimits(
                headBytes: limits.requestHeadBytes, headers: limits.requestHeaders,
                bodyBytes: limits.requestBodyBytes))
        json = JSONReader(
            maximumDepth: limits.jsonDepth, maximumNodes: limits.jsonNodes,
            hashSeed: identifiers.bits())
        verifier = TokenVerifier(keys: configuration.tokenKeys)
        homes = HomeDirectory(
            followsFirst: busReachesOthers,
            holdsBack: !configuration.planted.contains(.noHoldBack),
            repairs: !configuration.planted.contains(.noGapRepair))
        wheel = TimerWheel(now: now.instant)
        output.deliveries = Array(repeating: [], count: shardCount)
        schedule(.housekeeping, 0, at: now.instant.advanced(byMilliseconds: 10_000))
        if configuration.isStoreShared { scheduleAntiEntropy() }
    }

    // MARK: The tick

    package func beginTick(_ now: Now) {
        self.now = now
        counters[.ticks] += 1
        if !encodesLegacy, status.hasSocketIO {
            encodesLegacy = true
            homes.notesMessages = true
        }
        freeSlots += closedSlots
        closedSlots.removeAll(keepingCapacity: true)
    }

    /// Everything that follows from what came in: mail to itself, catch-ups, a step of fan-out,
    /// timers.
    package func endTick() {
        // Timers first: what they say is then answered in the same tick.
        wheel.advance(to: now.instant, fired: &firedTimers)
        for token in firedTimers { fire(token) }
        firedTimers.removeAll(keepingCapacity: true)

        if !resumable.isEmpty {
            let ready = resumable
            resumable = []
            for key in ready {
                guard let connection = connection(key) else { continue }
                if connection.phase == .http {
                    if !connection.isAnswering { continueHTTP(connection) }
                } else {
                    resumeCatchUp(connection)
                }
            }
        }
        while !ownMail.isEmpty {
            let mail = ownMail
            ownMail = []
            for item in mail { receive(item) }
        }
        fanOutStep()
        for shard in 0..<shardCount where !output.deliveries[shard].isEmpty {
            output.mail.append((shard, .deliveries(output.deliveries[shard])))
            output.deliveries[shard] = []
        }
        counters[.entriesHeldBack] = homes.heldBackCount
        counters[.entriesRepaired] = homes.repairedCount
        status.counters[index].publish(counters)
    }

    /// When the next tick is due, whatever else happens; nil for "only when something comes in".
    package func nextDeadline() -> Instant? {
        if hasUrgentWork { return now.instant }
        return wheel.nextDeadline()
    }

    package var hasUrgentWork: Bool {
        fanOutStart < fanOutQueue.count || !resumable.isEmpty || !ownMail.isEmpty
            || !dirty.isEmpty || output.deliveries.contains { !$0.isEmpty }
    }

    /// False while so much waits to be fanned out that reading more would only add to it.
    package var wantsInput: Bool { pendingFanOutBytes < 16_000_000 }

    package func takeOutput() -> Output {
        var taken = Output()
        swap(&taken, &output)
        swap(&taken.deliveries, &output.deliveries)
        return taken
    }

    /// How a driver writes: answers how many bytes were taken. Fewer than offered means that the
    /// socket is full (`writable` is to follow), a negative number that it is gone, nil that it will
    /// be told of: the driver has a copy of the bytes then.
    package typealias Write = (ConnectionKey, UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Int?

    /// How a driver tells of the writes that it answered with nil: it calls its argument for each,
    /// with how many bytes it was offered, and as `Write` answers.
    package typealias Settle = ((ConnectionKey, _ offered: Int, _ taken: Int) -> Void) -> Void

    /// Offers each connection its bytes that has been given any, once.
    ///
    /// - Parameter settle: called whenever `writesAtOnce` writes are still to be told of, and at the
    ///   end where any are.
    package func flush(_ write: Write, settle: Settle = { _ in }) {
        // Two lists in turn: who is given something in the round is offered it in the next tick.
        swap(&dirty, &flushing)
        unsafe offerAll(write, settle)
        pool.endRuns()
    }

    /// A place in the list of those that wait to be offered bytes, for `flushReplies`.
    package var flushMark: Int { dirty.count }

    /// Offers those connections their bytes that have been given any since the mark was taken. Between
    /// receives it writes what answers these, before the sockets have left the nearer caches; what a
    /// fan-out gives them comes later, in one piece with everything else of the tick.
    package func flushReplies(since mark: Int, _ write: Write, settle: Settle = { _ in }) {
        guard mark < dirty.count else { return }
        flushing += dirty[mark...]
        dirty.removeSubrange(mark...)
        unsafe offerAll(write, settle)
    }

    private func offerAll(_ write: Write, _ settle: Settle) {
        var index = 0
        while index < flushing.count {
            if heldWrites == Self.writesAtOnce { settleHeld(settle) }
            let next = connection(flushing[index])
            if let next, next.phase == .polling {
                index += 1
                next.isDirty = false
                answerPoll(of: next)
                continue
            }
            if let run = next?.outbox.onlyRun {
                unsafe index = flushRun(run, from: index, write)
                continue
            }
            index += 1
            guard let connection = next else { continue }
            connection.isDirty = false
            if connection.outbox.isEmpty {
                flushed(connection)
                continue
            }
            var count = 0
            let written = unsafe connection.outbox.withPending(in: pool) { chunks in
                for index in 0..<chunks.count { unsafe count += chunks[index].count }
                return unsafe write(connection.key, chunks)
            }
            if let written {
                offered(count, taken: written, connection)
            } else {
                heldWrites += 1
            }
        }
        // Before the runs end, which those that were not taken whole are copied from.
        if heldWrites > 0 { settleHeld(settle) }
        flushing.removeAll(keepingCapacity: true)
    }

    /// Offers a run to those from `start` on, one behind the other, that wait for nothing else, until
    /// as many writes are held as may be. Returns the place of the first that was not offered it. It
    /// is the loop that a fan-out spends its time in: the bytes are looked up once, and what was
    /// taken whole is counted once.
    private func flushRun(_ run: Run, from start: Int, _ write: Write) -> Int {
        var index = start
        var taken = 0
        func count() {
            counters[.flushes] += taken
            counters[.bytesSent] += taken * run.count
            counters[.outboxBytes] -= taken * run.count
            taken = 0
        }
        unsafe pool.bytes(of: run).bytes.withUnsafeBytes { bytes in
            unsafe withUnsafePointer(to: bytes) { pointer in
                let chunks = unsafe UnsafeBufferPointer(start: pointer, count: 1)
                while index < flushing.count, heldWrites < Self.writesAtOnce,
                    let connection = connection(flushing[index]), connection.outbox.isOnly(run)
                {
                    index += 1
                    connection.isDirty = false
                    guard let written = unsafe write(connection.key, chunks) else {
                        heldWrites += 1
                        continue
                    }
                    if written == run.count {
                        taken += 1
                        connection.isBlocked = false
                        connection.outbox.runHasGone()
                        flushed(connection)
                    } else {
                        count()
                        offered(run.count, taken: written, connection)
                    }
                }
            }
        }
        count()
        return index
    }

    /// Some may have been closed meanwhile, because of others; and what was offered may have been
    /// followed by more.
    private func settleHeld(_ settle: Settle) {
        heldWrites = 0
        var (writes, bytes) = (0, 0)
        settle { key, count, written in
            guard let connection = connection(key) else { return }
            if written == count, connection.outbox.count == count {
                writes += 1
                bytes += count
                connection.isBlocked = false
                connection.outbox.hasGone(returningTo: &pool)
                flushed(connection)
            } else {
                offered(count, taken: written, connection)
            }
        }
        counters[.flushes] += writes
        counters[.bytesSent] += bytes
        counters[.outboxBytes] -= bytes
    }

    /// A connection's bytes were offered; so many were taken, a negative number for "it is gone".
    func offered(_ count: Int, taken written: Int, _ connection: Connection) {
        counters[.flushes] += 1
        guard written >= 0 else {
            close(connection)
            return
        }
        counters[.bytesSent] += written
        counters[.outboxBytes] -= written
        connection.outbox.consume(written, returningTo: &pool)
        connection.isBlocked = written < count
        if !connection.outbox.isEmpty {
            // One write takes so many chunks; the rest goes in the next tick, unless the socket is
            // full and says when it is not.
            if !connection.isBlocked { markDirty(connection) }
            closeIfTooSlow(connection)
            guard connections[Int(connection.key.slot)] === connection else { return }
        }
        flushed(connection)
    }

    @inline(__always)
    func flushed(_ connection: Connection) {
        if connection.outbox.isEmpty, connection.phase == .draining, !connection.hasHalfClosed {
            connection.hasHalfClosed = true
            output.halfClosed.append(connection.key)
        }
        if connection.phase == .http, connection.hasInbound, !connection.isAnswering {
            resumable.append(connection.key)
        }
        if connection.mayResume { resumeJobs(on: connection) }
    }

    /// Replays that waited for the outbox go on, once most of it has gone.
    func resumeJobs(on connection: Connection) {
        guard connection.mayResume, connection.outbox.count < limits.outboxBytes / 4 else { return }
        connection.mayResume = false
        var resumes = false
        for session in sessions(on: connection) {
            guard let job = session.job, job.isPaused else { continue }
            job.isPaused = false
            job.isDue = true
            resumes = true
        }
        if resumes { resumable.append(connection.key) }
    }

    /// Those who speak through a connection.
    func sessions(on connection: Connection) -> [Session] {
        if let engine = connection.ownEngine { return engine.clients.map(\.session) }
        return connection.session.map { [$0] } ?? []
    }

    // MARK: Connections

    /// A new TCP connection. nil where there is no place for it: answer nothing, close it.
    ///
    /// - Parameters:
    ///   - isInternal: it came to the listener for other instances.
    ///   - isNew: no other shard has counted it.
    package func accept(
        address: IPAddress, isInternal: Bool = false, isNew: Bool = true
    ) -> ConnectionKey? {
        guard !isDraining, openConnections < max(1, limits.connections / shardCount),
            let key = takeSlot()
        else {
            counters[.connectionsShed] += 1
            return nil
        }
        let connection = Connection(key: key, address: address, now: now.instant)
        connections[Int(key.slot)] = connection
        if isInternal {
            connection.http?.lead = .greeting
        } else if configuration.forwardedFor.isTrusted(address) {
            connection.http?.lead = .proxyHeader
        }
        if isNew { counters[.connectionsAccepted] += 1 }
        setDeadline(connection, inMs: limits.requestHeadTimeoutMs)
        return key
    }

    /// The key of a slot that is free; nil where there is none.
    func takeSlot() -> ConnectionKey? {
        let slot: UInt32
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            guard connections.count < ConnectionKey.maximumSlots else { return nil }
            slot = UInt32(connections.count)
            connections.append(nil)
            generations.append(0)
        }
        generations[Int(slot)] = generations[Int(slot)] == .max ? 1 : generations[Int(slot)] + 1
        return ConnectionKey(slot: slot, shard: index, generation: generations[Int(slot)])
    }

    /// Whether what comes from that connection is still this shard's.
    package func serves(_ key: ConnectionKey) -> Bool { connection(key) != nil }

    @inline(__always)
    func connection(_ key: ConnectionKey) -> Connection? {
        guard key.slot < UInt32(connections.count), let connection = connections[Int(key.slot)],
            connection.key == key
        else { return nil }
        return connection
    }

    /// Bytes from the peer; unmasked in place, so the caller's buffer is scratch afterwards.
    package func receive(_ key: ConnectionKey, _ bytes: inout MutableSpan<UInt8>) {
        guard let connection = connection(key) else { return }
        connection.lastHeard = now.instant
        counters[.bytesReceived] += bytes.count
        if connection.phase == .http {
            receiveHTTP(connection, &bytes)
        } else if connection.isReading {
            receiveFrames(connection, &bytes, from: 0)
        }
    }

    /// The peer ended its half, or the socket failed.
    package func peerEnded(_ key: ConnectionKey) {
        guard let connection = connection(key) else { return }
        // A half-closed HTTP client may still read its answer, unless it is a poll that is given up; a
        // WebSocket client said nothing more.
        if connection.phase == .http, connection.http?.served == nil,
            connection.isAnswering || !connection.outbox.isEmpty
        {
            connection.phase = .draining
            connection.http?.inbound = []
            setDeadline(connection, inMs: limits.closeTimeoutMs)
            return
        }
        close(connection)
    }

    /// The socket is gone; nothing more can be written.
    package func failed(_ key: ConnectionKey) {
        if let connection = connection(key) { close(connection) }
    }

    /// No connection is left, and nothing that the store has yet to answer: what it commits has to
    /// be published, or the other instances would have to ask for it.
    package var isEmpty: Bool { openConnections == 0 && pendingWork.isEmpty }

    var openConnections: Int { connections.count - freeSlots.count - closedSlots.count }

    /// The socket takes bytes again.
    package func writable(_ key: ConnectionKey) {
        guard let connection = connection(key) else { return }
        markDirty(connection)
    }

    /// Frees everything that hangs off a connection. Its slot is reused from the next tick on.
    func close(_ connection: Connection) {
        guard connections[Int(connection.key.slot)] === connection else { return }
        release(connection)
        let hasSocket = connection.phase != .polling
        leaveSession(connection)
        // Whoever still holds it finds that there is nothing more to say to it.
        connection.phase = .draining
        counters[.outboxBytes] -= connection.outbox.count
        connection.outbox.clear(returningTo: &pool)
        guard hasSocket else { return }
        counters[.connectionsClosed] += 1
        output.closed.append(connection.key)
    }

    /// Its slot is another's from the next tick on.
    func release(_ connection: Connection) {
        connections[Int(connection.key.slot)] = nil
        closedSlots.append(connection.key.slot)
    }

    /// Ends what the connection took part in; the socket may stay for the closing handshake.
    func leaveSession(_ connection: Connection) {
        if connection.isWebSocket { counters[.activeConnections] -= 1 }
        if let engine = connection.engine ?? connection.http?.served {
            connection.engine = nil
            connection.http?.served = nil
            leave(engine, connection)
        }
        guard let subscriber = connection.subscriber else { return }
        if let session = subscriber.session { leave(session) } else { removeSubscriber(subscriber) }
        connection.subscriber = nil
    }

    /// Ends what somebody took part in.
    func leave(_ session: Session) {
        forgetRecovery(of: session)
        removeSubscriber(session)
        for chat in session.typing.endAll() { publishTyping(chat, session, isTyping: false) }
        abandonJobs(of: session)
        abandonTopics(of: session)
        session.user.sessions.removeAll { $0 == session.key }
        session.user.lastUsed = now.instant
        counters[.authenticatedConnections] -= 1
    }

    func markDirty(_ connection: Connection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection.key)
    }
}

@available(*, unavailable)
extension GatewayShard: Sendable {}
