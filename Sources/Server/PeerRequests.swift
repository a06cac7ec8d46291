import Basics
import Gateway
import Logging
import Reactor

/// What a shard asks of other instances: a connection to their internal listener each, on which the
/// question is written and the answer read until its end. Nothing of either is looked at.
///
///     connecting ── written ── reading ── ended ─► answer
///          └────────── failed, too long, 2 s over ─► no answer
struct PeerRequests {
    private static let timeoutMs = 2_000
    /// At a time: descriptors are for clients.
    private static let capacity = 512
    /// Tags of the poller: above those of tunnels, below the keys of connections.
    private static let firstTag: UInt64 = 0x8000_0000

    private struct Exchange {
        let session: SubscriberKey
        let descriptor: Int32
        let question: [UInt8]
        let deadline: Instant
        var sent = 0
        var answer: [UInt8] = []
        var isConnecting = true
    }

    private var slots: [Exchange?] = []
    private var free: [Int] = []
    /// The earliest deadline of all, or one that has passed without need.
    private var nextDeadline: Instant?
    private let log: Logger
    /// For the gateway's next turn; nil where there is no answer.
    private var answered: [(session: SubscriberKey, bytes: [UInt8]?)] = []

    init(log: Logger) { self.log = log }

    /// Whether an event is one of an exchange.
    static func owns(_ tag: PollTag) -> Bool { tag.bits >= firstTag && tag.bits >> 32 == 0 }

    private static func tag(_ slot: Int) -> PollTag { PollTag(bits: firstTag + UInt64(slot)) }

    /// When something is to be done without an event; nil while there is nothing.
    var deadline: Instant? {
        answered.isEmpty ? nextDeadline : .start
    }

    mutating func takeAnswers() -> [(session: SubscriberKey, bytes: [UInt8]?)] {
        defer { answered = [] }
        return answered
    }

    mutating func open(_ request: PeerRequest, now: Instant, _ poller: borrowing Poller) {
        guard slots.count - free.count < Self.capacity,
            let named = Configuration.InternalAddress(request.address),
            let address = SocketAddress(numeric: named.host, port: named.port),
            let descriptor = Self.connect(to: address)
        else {
            answered.append((request.session, nil))
            return
        }
        let slot = free.popLast() ?? slots.count
        if slot == slots.count { slots.append(nil) }
        slots[slot] = Exchange(
            session: request.session, descriptor: descriptor, question: request.bytes,
            deadline: now.advanced(byMilliseconds: Self.timeoutMs))
        nextDeadline = nextDeadline ?? slots[slot]?.deadline
        do throws(SystemError) {
            try poller.add(descriptor, Self.tag(slot))
            try poller.setInterest(descriptor, Self.tag(slot), reads: false, writes: true)
        } catch {
            end(slot, nil, poller)
        }
    }

    private static func connect(to address: SocketAddress) -> Int32? {
        do throws(SystemError) { return try Socket.connect(to: address) } catch { return nil }
    }

    mutating func handle(
        _ event: PollEvent, _ poller: borrowing Poller, _ buffer: UnsafeMutableRawBufferPointer
    ) {
        let slot = Int(event.tag.bits - Self.firstTag)
        guard slot < slots.count, var exchange = slots[slot] else { return }
        slots[slot] = nil
        let step = unsafe Self.proceed(&exchange, slot, event, poller, buffer)
        slots[slot] = exchange
        switch step {
        case .waits: break
        case .answered: end(slot, exchange.answer, poller)
        case .failed: end(slot, nil, poller)
        }
    }

    private enum Step {
        case waits
        case answered
        case failed
    }

    private static func proceed(
        _ exchange: inout Exchange, _ slot: Int, _ event: PollEvent, _ poller: borrowing Poller,
        _ buffer: UnsafeMutableRawBufferPointer
    ) -> Step {
        do throws(SystemError) {
            if exchange.isConnecting {
                try Socket.finishConnecting(exchange.descriptor)
                exchange.isConnecting = false
            }
            if exchange.sent < exchange.question.count {
                let written = unsafe exchange.question.withUnsafeBytes {
                    unsafe Socket.write(
                        exchange.descriptor,
                        UnsafeRawBufferPointer(rebasing: $0[exchange.sent...]))
                }
                guard written >= 0 else { return .failed }
                exchange.sent += written
                let isSent = exchange.sent == exchange.question.count
                try poller.setInterest(
                    exchange.descriptor, tag(slot), reads: isSent, writes: !isSent)
                return .waits
            }
        } catch {
            return .failed
        }
        switch unsafe Socket.receive(exchange.descriptor, into: buffer) {
        case .bytes(let count):
            guard exchange.answer.count + count <= PeerRequest.maximumAnswerBytes else {
                return .failed
            }
            unsafe exchange.answer.append(contentsOf: buffer[..<count])
            return .waits
        case .wouldBlock: return .waits
        case .ended: return .answered
        case .failed: return .failed
        }
    }

    /// Gives up what has taken too long.
    mutating func expire(_ now: Instant, _ poller: borrowing Poller) {
        guard let due = nextDeadline, due <= now else { return }
        for slot in slots.indices where slots[slot].map({ $0.deadline <= now }) ?? false {
            end(slot, nil, poller)
        }
        nextDeadline = slots.lazy.compactMap { $0?.deadline }.min()
    }

    private mutating func end(_ slot: Int, _ answer: [UInt8]?, _ poller: borrowing Poller) {
        guard let exchange = slots[slot] else { return }
        if answer == nil { log.debug("another instance does not answer; it counts as gone") }
        slots[slot] = nil
        free.append(slot)
        poller.remove(exchange.descriptor)
        Socket.close(exchange.descriptor)
        answered.append((exchange.session, answer))
    }
}
