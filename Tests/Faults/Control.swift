import Basics
import Client
import ServerSupport
import Synchronization

/// What the clients' threads and the killer share.
final class Control: Sendable {
    /// A client connects to any of them.
    let servers: [TestServer]
    /// The chats' ids, by number.
    let chats: [String]
    /// Messages a second that a writer tries to send.
    let rate: Int

    private let stopping = Atomic<Bool>(false)
    private let over = Atomic<Bool>(false)
    let invoked = Atomic<Int>(0)
    let stored = Atomic<Int>(0)
    let refused = Atomic<Int>(0)
    let unknown = Atomic<Int>(0)
    /// When the first message was stored since `beginRound`; 0 before.
    private let firstStored = Atomic<UInt64>(0)
    private let roundBegan = Atomic<UInt64>(0)
    private let collected = Mutex<[ClientRecord]>([])

    /// Several instances on services of their own: what one of them cannot do now, another one may.
    var isFleet: Bool { servers.count > 1 }

    init(servers: [TestServer], chats: [String], rate: Int) {
        self.servers = servers
        self.chats = chats
        self.rate = rate
    }

    /// No new messages; what is under way is brought to its end.
    var isStopping: Bool { stopping.load(ordering: .relaxed) }
    func stop() { stopping.store(true, ordering: .relaxed) }

    /// The clients end.
    var isOver: Bool { over.load(ordering: .relaxed) }
    func end() { over.store(true, ordering: .relaxed) }

    func hand(in record: ClientRecord) { collected.withLock { $0.append(record) } }
    var records: [ClientRecord] {
        collected.withLock { $0.sorted { $0.name < $1.name } }
    }

    // MARK: Rounds

    struct Counts {
        var invoked: Int
        var stored: Int
        var refused: Int
        var unknown: Int
    }

    var counts: Counts {
        Counts(
            invoked: invoked.load(ordering: .relaxed), stored: stored.load(ordering: .relaxed),
            refused: refused.load(ordering: .relaxed),
            unknown: unknown.load(ordering: .relaxed))
    }

    func beginRound() {
        firstStored.store(0, ordering: .relaxed)
        roundBegan.store(MonotonicClock.now().nanoseconds, ordering: .relaxed)
    }

    /// - Parameter connectedAt: when the connection was made that the ack came by. Acks of the
    ///   killed server may still be on their way when a round begins.
    func noteStored(connectedAt: Instant) {
        stored.wrappingAdd(1, ordering: .relaxed)
        guard firstStored.load(ordering: .relaxed) == 0,
            connectedAt.nanoseconds > roundBegan.load(ordering: .relaxed)
        else { return }
        firstStored.store(MonotonicClock.now().nanoseconds, ordering: .relaxed)
    }

    /// When the first message was stored in this round.
    var firstStoredAt: Instant? {
        let nanoseconds = firstStored.load(ordering: .relaxed)
        return nanoseconds == 0 ? nil : Instant(nanoseconds: nanoseconds)
    }
}

/// How far one client is, for the one that waits for all of them.
final class Progress: Sendable {
    private let throughs: Mutex<[Int: Int64]>
    private let idle = Atomic<Bool>(true)
    private let returned = Atomic<Int>(0)
    private let live = Atomic<Bool>(false)

    init(chats: [Int]) {
        throughs = Mutex(Dictionary(uniqueKeysWithValues: chats.map { ($0, 0) }))
    }

    var through: [Int: Int64] { throughs.withLock { $0 } }
    func set(_ seq: Int64, in chat: Int) { throughs.withLock { $0[chat] = seq } }

    /// Nothing of its own is under way.
    var isIdle: Bool { idle.load(ordering: .relaxed) }
    func set(idle value: Bool) { idle.store(value, ordering: .relaxed) }

    /// It is connected and has caught up.
    var isLive: Bool { live.load(ordering: .relaxed) }
    func set(live value: Bool) { live.store(value, ordering: .relaxed) }

    /// How often it has connected and caught up.
    var returns: Int { returned.load(ordering: .relaxed) }
    func noteReturn() { returned.wrappingAdd(1, ordering: .relaxed) }
}
