import Basics

/// What lives on an event loop: a connection to a database, the commit lane, the bus.
///
/// It is told of its descriptors by the handler it registered with each, and gets a turn after every
/// round of events, in which it does what the time asks for.
package protocol LoopParticipant: AnyObject {
    /// Once a round, after its events.
    func turn(_ now: Now)

    /// When a round is due although nothing happened; nil for never.
    var deadline: Instant? { get }
}

/// A thread's loop for everything that is not a client's connection: descriptors with handlers,
/// participants with deadlines. The shards have their own, which is shaped for thousands of
/// connections.
///
/// Made, used and ended on one thread.
package final class EventLoop {
    /// Names a registered descriptor; never used twice, so a late event finds nobody.
    package struct Registration: Hashable {
        fileprivate let number: UInt64
        fileprivate let descriptor: Int32
    }

    private var poller: Poller
    private let clock: any Clock
    private var handlers: [UInt64: (PollEvent) -> Void] = [:]
    private var participants: [any LoopParticipant] = []
    private var events: [PollEvent] = []
    private var numbers: UInt64 = 0

    package init(clock: any Clock = SystemClock()) throws(SystemError) {
        poller = try Poller()
        self.clock = clock
    }

    package var now: Now { clock.now() }

    /// Participants have their turns in the order of adding.
    package func add(_ participant: any LoopParticipant) { participants.append(participant) }

    /// Calls `handler` in each round in which the descriptor is ready (level-triggered). The
    /// descriptor stays the caller's, who unregisters it before closing it.
    package func register(
        _ descriptor: Int32, reads: Bool = true, writes: Bool = false,
        handler: @escaping (PollEvent) -> Void
    ) throws(SystemError) -> Registration {
        numbers += 1
        try poller.add(descriptor, PollTag(bits: numbers))
        let registration = Registration(number: numbers, descriptor: descriptor)
        if !reads || writes { try setInterest(registration, reads: reads, writes: writes) }
        handlers[numbers] = handler
        return registration
    }

    package func setInterest(
        _ registration: Registration, reads: Bool, writes: Bool
    ) throws(SystemError) {
        try poller.setInterest(
            registration.descriptor, PollTag(bits: registration.number), reads: reads,
            writes: writes)
    }

    package func unregister(_ registration: Registration) {
        guard handlers.removeValue(forKey: registration.number) != nil else { return }
        poller.remove(registration.descriptor)
    }

    /// One round: waits until something is ready or due, calls the handlers, gives everyone a turn.
    package func runOnce() throws(SystemError) {
        events.removeAll(keepingCapacity: true)
        try poller.wait(timeoutMs: timeout(), into: &events)
        for event in events { handlers[event.tag.bits]?(event) }
        let now = clock.now()
        for participant in participants { participant.turn(now) }
    }

    private func timeout() -> Int32? {
        guard let deadline = participants.compactMap(\.deadline).min() else { return nil }
        let wait = deadline.nanoseconds(since: clock.now().instant)
        // Rounded up: a round before the deadline would find nothing due.
        return Int32(clamping: (wait + 999_999) / 1_000_000)
    }
}
