import Basics

/// What a writer has to say: when, in which order, and what becomes of what was not acknowledged.
///
///     invented ──► under way ── ack ──► done
///                    │   └─ refused ──► given up (1 of 2) or waiting ──► under way
///                    └─ connection lost ──► given up (1 of 4) or waiting ──► under way
///                                           (a persistent one never gives up here)
///
/// Given up means that the client never asks again: then the message may be stored or not where its
/// fate is unknown, and must not be where it was refused.
struct Outgoing {
    struct Sent {
        var message: MessageKey
        var chat: Int
        var id: Int64
        var invocation: Int
        var at: Instant
    }

    private let writer: Int
    private let chats: [Int]
    /// Chats that it is no member of: now and then it sends there, and must be refused.
    private let foreignChats: [Int]
    private let rate: Int
    private let isPersistent: Bool
    /// Sent and not answered, in order of sending.
    private var underWay: [Sent] = []
    /// To be sent again, in order.
    private var waiting: [(message: MessageKey, chat: Int)] = []
    private var number = 0
    /// Messages that may be invented now.
    private var budget = 0.0
    private var filledAt = Instant.start
    private var restsUntil = Instant.start

    private static let window = 16

    init(writer: Int, chats: [Int], foreignChats: [Int], rate: Int, isPersistent: Bool) {
        self.writer = writer
        self.chats = chats
        self.foreignChats = foreignChats
        self.rate = rate
        self.isPersistent = isPersistent
    }

    /// Since when the server owes an answer.
    var owedSince: Instant? { underWay.first?.at }

    var isIdle: Bool { underWay.isEmpty && waiting.isEmpty }

    mutating func connected(now: Instant) {
        filledAt = now
        restsUntil = now
        budget = 0
    }

    /// What to send now.
    mutating func next(now: Instant, mayInvent: Bool) -> (MessageKey, Int)? {
        guard underWay.count < Self.window, now >= restsUntil else { return nil }
        if !waiting.isEmpty { return waiting.removeFirst() }
        guard mayInvent else { return nil }
        budget += Double(now.nanoseconds(since: filledAt)) / 1e9 * Double(rate)
        filledAt = now
        // People come in bursts.
        if budget >= 1, Int.random(in: 0..<50) == 0 { budget += 40 }
        guard budget >= 1 else { return nil }
        budget = min(budget - 1, 60)
        number += 1
        let places = number % 40 == 0 ? foreignChats : chats
        return (MessageKey(writer: writer, number: number), places[Int.random(in: places.indices)])
    }

    mutating func sent(
        _ message: MessageKey, _ chat: Int, id: Int64, invocation: Int, now: Instant
    ) {
        underWay.append(
            Sent(message: message, chat: chat, id: id, invocation: invocation, at: now))
    }

    /// The server answered; nil where it was not asked.
    mutating func answered(_ id: Int64) -> Sent? {
        guard let index = underWay.firstIndex(where: { $0.id == id }) else { return nil }
        return underWay.remove(at: index)
    }

    mutating func refused(_ sent: Sent, retryAfterMs: Int, now: Instant) {
        restsUntil = now.advanced(byMilliseconds: min(retryAfterMs, 1_000))
        if Bool.random() { waiting.append((sent.message, sent.chat)) }
    }

    /// The connection is gone. Returns how many messages have an unknown fate.
    mutating func lost() -> Int {
        let count = underWay.count
        let again = underWay.filter { _ in isPersistent || Int.random(in: 0..<4) != 0 }
        waiting = again.map { ($0.message, $0.chat) } + waiting
        underWay = []
        return count
    }
}
