import Basics
import Reactor

/// An instance's link to Redis: one connection that publishes and one that subscribes (a subscriber
/// may send nothing else), made again by a breaker's rules when they are lost.
///
/// Transport, never truth: what cannot be published now is dropped and counted, what is published
/// may be lost with its connection, and after each `.up` nothing is subscribed. It keeps no list of
/// channels: who subscribes knows what is of interest and says it again.
///
/// A participant of an event loop, made, used and ended on its thread.
package final class RedisLink: LoopParticipant {
    package enum Event {
        /// The subscriber is ready, with nothing subscribed.
        case up
        case down(RedisFailure)
        /// Redis has confirmed it: what is published from now on comes.
        case subscribed([UInt8])
        case message(channel: [UInt8], payload: [UInt8])
        case publisherUp
        case publisherDown(RedisFailure)
    }

    /// For health and metrics. Counted since the link was made.
    package struct State: Hashable, Sendable {
        package var breaker: Breaker.State = .closed
        package var isPublisherReady = false
        package var isSubscriberReady = false
        /// Why there was no connection last.
        package var lastFailure: RedisFailure?
        /// Handed to a ready publisher.
        package var published = 0
        /// Answered by Redis.
        package var confirmed = 0
        /// Answered with an error, such as NOPERM.
        package var refused = 0
        /// Not published: the publisher was not ready.
        package var dropped = 0
        /// Neither answered nor refused when the connection was lost: they may have come through.
        package var unconfirmed = 0
        /// Messages.
        package var received = 0
        /// Connections that became ready after the first of their kind.
        package var reconnects = 0
        /// Attempts that failed and connections that were lost.
        package var failures = 0
    }

    /// Channels of one command: it is read and answered in one go, while others wait.
    package static let channelsPerCommand = 512
    package static let stopMs = 1_000

    private let loop: EventLoop
    private let publisher: RedisConnection
    private let subscriber: RedisConnection
    private let onEvent: (Event) -> Void
    private var breaker = Breaker()
    private var counters = State()
    /// Publications without an answer.
    private var unanswered = 0
    private var hasPublished = false
    private var hasSubscribed = false
    private var isStarted = false
    /// Set once it is stopping.
    private var stopBy: Instant?

    /// - Parameter onEvent: called in a round of the loop. It may publish and subscribe.
    package init(
        loop: EventLoop, address: RedisAddress, onEvent: @escaping (Event) -> Void
    ) throws(SystemError) {
        self.loop = loop
        self.onEvent = onEvent
        publisher = try RedisConnection(loop: loop, address: address)
        subscriber = try RedisConnection(loop: loop, address: address)
        publisher.onEvent = { [unowned self] in publisherSays($0) }
        subscriber.onEvent = { [unowned self] in subscriberSays($0) }
    }

    /// Begins to connect, with the loop's next round. To be added to the loop before or after.
    package func start() { isStarted = true }

    /// Hands over what is queued, for a second at most, and closes. No event follows.
    package func stop() {
        guard stopBy == nil else { return }
        stopBy = loop.now.instant.advanced(byMilliseconds: Self.stopMs)
        subscriber.disconnect()
        if !publisher.isReady { publisher.disconnect() }
    }

    package var isStopped: Bool { stopBy != nil && publisher.state == .disconnected }

    package var state: State {
        var state = counters
        state.breaker = breaker.state
        state.isPublisherReady = publisher.isReady
        state.isSubscriberReady = subscriber.isReady
        return state
    }

    // MARK: Commands

    package func publish(channel: [UInt8], payload: [UInt8]) {
        guard publisher.isReady, stopBy == nil else {
            counters.dropped += 1
            return
        }
        counters.published += 1
        unanswered += 1
        publisher.send { output in
            RESPCommand.appendHeader(words: 3, to: &output)
            RESPCommand.append(word: Self.publishWord, to: &output)
            RESPCommand.append(word: channel, to: &output)
            RESPCommand.append(word: payload, to: &output)
        }
    }

    /// Nothing happens while the subscriber is not ready: the next `.up` is the time. What is not
    /// yet taken by Redis is bounded by `RedisConnection.maximumOutputBytes`, some 100,000 channels
    /// with usual names: who has more waits for `.subscribed` in between.
    package func subscribe(_ channels: [[UInt8]]) { tell("SUBSCRIBE", channels) }

    package func unsubscribe(_ channels: [[UInt8]]) { tell("UNSUBSCRIBE", channels) }

    private static let publishWord = Array("PUBLISH".utf8)

    private func tell(_ command: String, _ channels: [[UInt8]]) {
        let word = Array(command.utf8)
        var rest = channels[...]
        while !rest.isEmpty, subscriber.isReady {
            subscriber.send([word] + rest.prefix(Self.channelsPerCommand))
            rest = rest.dropFirst(Self.channelsPerCommand)
        }
    }

    // MARK: The loop

    package func turn(_ now: Now) {
        publisher.turn(now.instant)
        subscriber.turn(now.instant)
        if let stopBy {
            // A connection that fails now tells nobody.
            let isFlushed = publisher.queuedBytes == 0 && unanswered == 0
            if isFlushed || now.instant >= stopBy { publisher.disconnect() }
            return
        }
        attempt(now.instant)
    }

    package var deadline: Instant? {
        let attempt: Instant? = mustAttempt ? breaker.nextAttempt : nil
        return [publisher.deadline, subscriber.deadline, attempt, isStopped ? nil : stopBy]
            .compactMap { $0 }.min()
    }

    /// One connection at a time, the subscriber first: so a Redis that is away costs one failure a
    /// round and not two, and half-open is one probe.
    private func attempt(_ now: Instant) {
        guard mustAttempt, breaker.mayAttempt(now) else { return }
        let connection = subscriber.state == .disconnected ? subscriber : publisher
        connection.connect(now)
    }

    private var mustAttempt: Bool {
        guard isStarted, stopBy == nil else { return false }
        let states = [subscriber.state, publisher.state]
        return states.contains(.disconnected)
            && states.allSatisfy { $0 == .disconnected || $0 == .ready }
    }

    private func connected(again: Bool) {
        breaker.connected(loop.now.instant)
        if again { counters.reconnects += 1 }
    }

    private func lost(_ failure: RedisFailure) {
        counters.failures += 1
        counters.lastFailure = failure
        let now = loop.now.instant
        // Redis goes once, though both connections are lost with it.
        if breaker.isWaiting(now) { return }
        breaker.failed(now, jitter: .random(in: 0 ... .max))
    }

    // MARK: What the connections say

    private func publisherSays(_ event: RedisConnection.Event) {
        switch event {
        case .ready:
            connected(again: hasPublished)
            hasPublished = true
            tellOwner(.publisherUp)
        case .reply(let reply):
            guard unanswered > 0 else { return publisher.fail(.protocolViolation) }
            unanswered -= 1
            switch reply {
            case .integer: counters.confirmed += 1
            case .error: counters.refused += 1
            default: publisher.fail(.protocolViolation)
            }
        case .failed(let failure):
            counters.unconfirmed += unanswered
            unanswered = 0
            lost(failure)
            tellOwner(.publisherDown(failure))
        }
    }

    private func subscriberSays(_ event: RedisConnection.Event) {
        switch event {
        case .ready:
            connected(again: hasSubscribed)
            hasSubscribed = true
            tellOwner(.up)
        case .reply(let reply):
            subscriberReceived(reply)
        case .failed(let failure):
            lost(failure)
            tellOwner(.down(failure))
        }
    }

    private func subscriberReceived(_ reply: RESPReply) {
        switch reply {
        case .array(let words):
            guard words.count == 3, case .bulk(let kind) = words[0] else { break }
            switch (kind, words[1], words[2]) {
            case (Self.messageWord, .bulk(let channel), .bulk(let payload)):
                counters.received += 1
                return tellOwner(.message(channel: channel, payload: payload))
            case (Self.subscribeWord, .bulk(let channel), .integer):
                return tellOwner(.subscribed(channel))
            case (Self.unsubscribeWord, .bulk, .integer), (Self.unsubscribeWord, .null, .integer):
                return
            default: break
            }
        case .error(let text):
            // A subscription that is refused would be missed without a word.
            return subscriber.fail(.refused(RedisFailure.code(of: text)))
        default: break
        }
        subscriber.fail(.protocolViolation)
    }

    private static let messageWord = Array("message".utf8)
    private static let subscribeWord = Array("subscribe".utf8)
    private static let unsubscribeWord = Array("unsubscribe".utf8)

    private func tellOwner(_ event: Event) {
        if stopBy == nil { onEvent(event) }
    }
}
