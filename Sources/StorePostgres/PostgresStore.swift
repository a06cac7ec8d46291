import Basics
import Domain
import Reactor
import StoreCore

/// The store behind a fleet: one Postgres that all gateways share, over one connection that lives
/// on an event loop.
///
///      ┌──────────── backoff, jittered ────────────┐
///      ▼                                           │
///   connecting ─► setting up ─► ready ◄──► flying ─┴─► waiting
///                 (verified,              (a flight
///                  prepared)               of a batch)
///
/// A batch with writes is one transaction in two flights, each one round trip:
///
///     1  BEGIN → new chats → lock the chats, by key → load what the decisions need
///        (each statement after the lock has a fresh snapshot: READ COMMITTED)
///     –  `Planner`: operations in order → outcomes and rows
///     2  the rows, one statement a kind → COMMIT → the reads of the batch
///
/// Reads that return entries take a flight more. The locks are held for one round trip and the
/// planning between the two.
///
/// What an error leads to (P5):
/// - the connection lost, or its flight late, before COMMIT was sent: `.notStored`. The server rolls
///   back when it notices, at the latest by `idle_in_transaction_session_timeout`;
/// - an ERROR of any statement, COMMIT too: rolled back, `.notStored`. A deadlock or a lock that
///   was not got is tried again here first;
/// - anything lost after COMMIT was sent: `.unknown`. The submission that follows waits for the row
///   locks of the transaction in doubt, then finds its entries or does not;
/// - a read that failed after COMMIT: `.unknown` too, since its answer is missing and to submit
///   the batch again is harmless;
/// - where an earlier submission is in doubt (`attempt` above 1) nothing is answered `.notStored`.
///
/// Made, used and closed on the loop's thread.
package final class PostgresStore: Store, LoopParticipant {
    /// For /health.
    package enum State: Hashable, Sendable {
        case serving
        case down(StoreFailure)
        case closed
    }

    private enum Phase {
        case waiting(until: Instant)
        case connecting(Link, until: Instant)
        case ready(Link)
        case flying(Link, Flight)
        case closed
    }

    private struct Flight {
        var deadline: Instant
        let land: (Landed) -> Void
    }

    /// How a flight ended.
    enum Landed {
        case replies([Link.Reply])
        /// With those replies that had come.
        case lost([Link.Reply], StoreFailure)
    }

    private let url: String
    let settings: PostgresSettings
    /// The loop owns the store, as a participant.
    private unowned let loop: EventLoop
    private var random: any RandomNumberGenerator
    private var phase: Phase
    private var registration: EventLoop.Registration?
    private var isWriteAwaited = false
    /// Attempts to connect since the last that succeeded.
    private var failedAttempts = 0
    private var lastFailure: StoreFailure?
    var plansAge = PlansAge()
    var faults = PostgresFaults()

    /// Another session committed what it tells of. Notices that came while the connection was down
    /// are lost: `onConnected` follows.
    package var onNotice: ((Notice) -> Void)?
    /// Whether commits tell the other sessions what they wrote: while the bus does not.
    package var announcesWrites = false
    /// A connection serves, the first one or another.
    package var onConnected: (() -> Void)?

    /// Migrates, connects, verifies; waits for a server that is starting.
    /// - Parameter url: `postgres://user:password@host:port/database?sslmode=…`, or any connection
    ///   string that libpq takes.
    /// - Throws: one line for the operator, without the password: `.durability`, `.schema`,
    ///   `.unavailable`.
    package static func open(
        url: String, loop: EventLoop, settings: PostgresSettings = PostgresSettings(),
        random: any RandomNumberGenerator
    ) throws(StoreFailure) -> PostgresStore {
        let deadline = loop.now.instant.advanced(byMilliseconds: settings.openDeadlineMs)
        _ = try migrate(url: url, deadline: deadline)
        let store = PostgresStore(url: url, loop: loop, settings: settings, random: random)
        loop.add(store)
        store.connect(loop.now.instant)
        while true {
            if case .serving = store.state { return store }
            if let failure = store.lastFailure {
                let isForGood = failure.kind == .durability || failure.kind == .schema
                if isForGood || loop.now.instant >= deadline {
                    store.close()
                    throw failure
                }
            }
            do throws(SystemError) {
                try loop.runOnce()
            } catch {
                store.close()
                throw StoreFailure(.unavailable, "postgres: \(error)")
            }
        }
    }

    /// Brings the schema up to date and says what that was. For the command line.
    package static func migrate(
        url: String, settings: PostgresSettings = PostgresSettings()
    ) throws(StoreFailure) -> PostgresMigration {
        let now = SystemClock().now().instant
        return try migrate(
            url: url, deadline: now.advanced(byMilliseconds: settings.openDeadlineMs))
    }

    private static func migrate(
        url: String, deadline: Instant
    ) throws(StoreFailure) -> PostgresMigration {
        try Migrator.run(url: url, deadline: deadline, clock: SystemClock())
    }

    private init(
        url: String, loop: EventLoop, settings: PostgresSettings,
        random: any RandomNumberGenerator
    ) {
        self.url = url
        self.loop = loop
        self.settings = settings
        self.random = random
        phase = .waiting(until: loop.now.instant)
    }

    package var state: State {
        switch phase {
        case .closed: .closed
        case .ready: .serving
        case .flying: failedAttempts == 0 && lastFailure == nil ? .serving : .down(unavailable)
        case .waiting, .connecting: .down(unavailable)
        }
    }

    private var unavailable: StoreFailure {
        lastFailure ?? StoreFailure(.unavailable, "postgres: connecting")
    }

    /// Ends the connection. A batch in flight is answered as if the connection had been lost.
    package func close() {
        let flight = flightUnderWay
        leave()
        phase = .closed
        flight?.land(.lost([], StoreFailure(.unavailable, "the store is closed")))
    }

    private var flightUnderWay: Flight? {
        if case .flying(_, let flight) = phase { flight } else { nil }
    }

    // MARK: Store

    package func submit(_ batch: Batch, completion: @escaping (BatchResult) -> Void) {
        let run = BatchRun(batch, startedAt: loop.now.instant, completion: completion)
        guard let link = readyLink else {
            run.fail(closedOrDown)
            return
        }
        start(run, on: link)
    }

    package func probe(completion: @escaping (StoreFailure?) -> Void) {
        guard let link = readyLink else {
            completion(closedOrDown)
            return
        }
        fly(link, .parts([Requests(.probe)])) { landed in
            switch landed {
            case .lost(_, let failure): completion(failure)
            case .replies(let replies): completion(Self.error(in: replies)?.failure)
            }
        }
    }

    private var closedOrDown: StoreFailure {
        if case .closed = phase { return StoreFailure(.unavailable, "the store is closed") }
        return unavailable
    }

    private var readyLink: Link? {
        switch phase {
        case .ready(let link): return link
        case .flying:
            invariant(lastFailure != nil, "a second batch while one is in flight")
            return nil
        case .waiting, .connecting, .closed: return nil
        }
    }

    var now: Instant { loop.now.instant }

    static func error(in replies: some Sequence<Link.Reply>) -> PostgresError? {
        for case .failed(let error) in replies { return error }
        return nil
    }

    // MARK: Flights

    /// Sends, and calls `land` when all replies are there, or cannot come. The link is then ready
    /// again, or gone.
    func fly(_ link: Link, _ cargo: Cargo, land: @escaping (Landed) -> Void) {
        let deadline = now.advanced(byMilliseconds: settings.flightDeadlineMs)
        phase = .flying(link, Flight(deadline: deadline, land: land))
        guard cargo.send(on: link), link.flush() != .failed else {
            lose(link, link.failure)
            return
        }
        watch(link)
    }

    /// Drops the connection of a flight under way.
    func drop(_ link: Link, _ text: String) { lose(link, StoreFailure(.unavailable, text)) }

    private func watch(_ link: Link) {
        let isWriteAwaited = link.flush() == .some
        guard isWriteAwaited != self.isWriteAwaited, let registration else { return }
        self.isWriteAwaited = isWriteAwaited
        do throws(SystemError) {
            try loop.setInterest(registration, reads: true, writes: isWriteAwaited)
        } catch {
            lose(link, StoreFailure(.unavailable, "postgres: \(error)"))
        }
    }

    private func handle(_ event: PollEvent) {
        switch phase {
        case .connecting(let link, let deadline): proceed(link, deadline)
        case .ready(let link):
            let isAlive = link.consume()
            tellNotices(link)
            if !isAlive { lose(link, link.failure) }
        case .flying(let link, let flight):
            if event.isWritable { watch(link) }
            guard event.isReadable || event.isOver else { return }
            land(link, flight)
        case .waiting, .closed: break
        }
    }

    private func land(_ link: Link, _ flight: Flight) {
        // What came before the connection was lost counts.
        let isAlive = link.consume()
        switch link.collect() {
        case .landed:
            phase = .ready(link)
            let replies = link.takeReplies()
            tellNotices(link)
            flight.land(.replies(replies))
            // Where the next flight went out already, its own loss is noticed by itself.
            if !isAlive, case .ready(let link) = phase { lose(link, link.failure) }
        case .waiting: if !isAlive { lose(link, link.failure) }
        case .lost: lose(link, link.failure)
        }
    }

    private func tellNotices(_ link: Link) {
        for notice in link.takeNotices() { onNotice?(notice) }
    }

    // MARK: The connection

    private func connect(_ now: Instant) {
        do throws(StoreFailure) {
            let link = try Link(url: url)
            phase = .connecting(
                link, until: now.advanced(byMilliseconds: settings.connectDeadlineMs))
            // libpq: "on the first iteration, behave as if PQconnectPoll had returned
            // PGRES_POLLING_WRITING".
            register(link, reads: false, writes: true)
        } catch {
            lastFailure = error
            wait()
        }
    }

    private func proceed(_ link: Link, _ deadline: Instant) {
        // libpq may close the descriptor and open another: it is let go of before.
        unregister()
        switch link.proceed() {
        case .reading: register(link, reads: true, writes: false)
        case .writing: register(link, reads: false, writes: true)
        case .connected:
            register(link, reads: true, writes: false)
            setUp(link)
        case .failed: lose(link, link.failure)
        }
    }

    private func setUp(_ link: Link) {
        let setup = SessionSetup(settings: settings)
        let server = "postgres: \(link.address)"
        // Until it is verified the store counts as down.
        lastFailure = lastFailure ?? StoreFailure(.unavailable, "postgres: connecting")
        fly(link, .setup(setup)) { [unowned self] landed in
            switch landed {
            case .lost: break
            case .replies(let replies):
                if let failure = setup.failure(replies, server: server) {
                    lose(link, failure)
                } else {
                    failedAttempts = 0
                    plansAge = PlansAge()
                    lastFailure = nil
                    onConnected?()
                }
            }
        }
    }

    private func register(_ link: Link, reads: Bool, writes: Bool) {
        guard link.descriptor >= 0 else { return lose(link, link.failure) }
        do throws(SystemError) {
            registration = try loop.register(link.descriptor, reads: reads, writes: writes) {
                [unowned self] in handle($0)
            }
            isWriteAwaited = writes
        } catch {
            lose(link, StoreFailure(.unavailable, "postgres: \(error)"))
        }
    }

    private func unregister() {
        if let registration { loop.unregister(registration) }
        registration = nil
    }

    /// Lets go of the connection, whatever it was doing, and tells whoever waits for its flight.
    private func lose(_ link: Link, _ failure: StoreFailure) {
        let flight = flightUnderWay
        _ = link.collect()
        let replies = link.takeReplies()
        lastFailure = failure
        leave()
        wait()
        flight?.land(.lost(replies, failure))
    }

    private func leave() {
        unregister()
        // Releases the link, which closes its socket.
        phase = .waiting(until: now)
    }

    private func wait() {
        let longest = min(
            settings.maximumBackoffMs, settings.firstBackoffMs << min(failedAttempts, 16))
        failedAttempts += 1
        let jitter = Int.random(in: 0...longest / 2, using: &random)
        phase = .waiting(until: now.advanced(byMilliseconds: longest - jitter))
    }

    // MARK: LoopParticipant

    package var deadline: Instant? {
        switch phase {
        case .waiting(let until), .connecting(_, let until): until
        case .flying(_, let flight): flight.deadline
        case .ready, .closed: nil
        }
    }

    package func turn(_ now: Now) {
        guard let deadline, deadline <= now.instant else { return }
        switch phase {
        case .waiting: connect(now.instant)
        case .connecting(let link, _), .flying(let link, _):
            lose(
                link,
                StoreFailure(.unavailable, "postgres: \(link.address) did not answer in time"))
        case .ready, .closed: break
        }
    }
}
