import Basics
import BusCore
import Domain
import HTTP
import StoreCore
import Wire

/// What reaches a shard from outside its thread. Messages from one sender to one shard arrive in
/// the order of sending; nothing is promised between senders.
package enum ShardMail: Sendable {
    /// From the commit lane: what became of operations that this shard submitted.
    case answers([LaneAnswer])
    /// From the bus: of channels whose home is here.
    case bus(BusNews)
    /// From a channel's home: for connections that follow it here.
    case deliveries([Delivery])
    /// To a channel's home: a shard begins or ends to follow.
    case watch(Channel, shard: Int, ticket: UInt64)
    case unwatch(Channel, shard: Int)
    /// From a channel's home: everything after `head` will be delivered.
    case watching(Channel, ticket: UInt64, head: Seq)
    /// From the shard that accepted the connection: a request of it concerns a session here.
    case handedOver(MovedConnection)
    /// From the shard to which a client of Socket.IO has come, to the one that had its session.
    indirect case recoveryAsked(RecoveryRequest)
    /// And back.
    indirect case recoveryAnswered(SubscriberKey, RecoveryAnswer)
    /// The node begins to drain.
    case drain

    /// What it costs in a mailbox, roughly, in bytes.
    package var approximateBytes: Int {
        switch self {
        case .answers(let answers): answers.reduce(64) { $0 + $1.approximateBytes }
        case .bus(let news): news.approximateBytes
        case .deliveries(let batch): batch.reduce(64) { $0 + $1.approximateBytes }
        case .handedOver(let moved): 128 + moved.bytes.count
        case .watch, .unwatch, .watching, .recoveryAsked, .recoveryAnswered, .drain: 128
        }
    }

    /// Whether it may be dropped when the mailbox is over its bound.
    package var isEphemeral: Bool {
        switch self {
        case .bus(let news): news.isEphemeral
        case .deliveries(let batch): batch.allSatisfy { $0.seq == 0 && $0.isEphemeral }
        case .answers, .watch, .unwatch, .watching, .handedOver, .recoveryAsked, .recoveryAnswered,
            .drain:
            false
        }
    }
}

/// A connection on its way to the shard that its request concerns, with what it has said and nobody
/// has read.
package struct MovedConnection: Sendable {
    /// The socket, by whatever name the driver has for it; the gateway does not know it.
    package var descriptor: Int32
    package var address: IPAddress
    var isTunnelled: Bool
    package var bytes: [UInt8]
}

/// An operation on its way to the store, with the way back.
package struct LaneItem: Sendable {
    package var shard: Int
    package var ticket: UInt64
    package var operation: Operation

    package init(shard: Int, ticket: UInt64, operation: Operation) {
        self.shard = shard
        self.ticket = ticket
        self.operation = operation
    }
}

package struct LaneAnswer: Sendable {
    package enum Result: Sendable {
        case outcome(Outcome)
        /// Certain: it had no effect.
        case notStored
        /// It may have been stored, and that could not be found out in time.
        case unknown
    }

    package var ticket: UInt64
    package var result: Result

    package init(ticket: UInt64, result: Result) {
        self.ticket = ticket
        self.result = result
    }

    var approximateBytes: Int {
        switch result {
        case .outcome(.appended(let entry)): entry.approximateBytes
        case .outcome(.logs(let pages)):
            pages.reduce(64) { $0 + $1.entries.reduce(64) { $0 + $1.approximateBytes } }
        case .outcome(.range(let entries)): entries.reduce(64) { $0 + $1.approximateBytes }
        case .outcome(.history(let page)): page.entries.reduce(64) { $0 + $1.approximateBytes }
        case .outcome, .notStored, .unknown: 128
        }
    }
}

/// One event on its way from a channel's home to the shards whose connections follow it. Encoded
/// already, once for all of them, and the same object for all: it is never changed.
package final class Delivery: Sendable {
    package enum Content: Sendable {
        case event(EncodedEvent)
        /// A bench room's text, sent on as it is.
        case text([UInt8])
        /// To a user's own channel: they are in a chat now, and want what comes after `since`.
        case joined(ChatID, since: Seq)
        /// To a user's own channel: a backend ends their connections.
        case disconnect
    }

    /// Who of the channel's followers receives it.
    package enum Audience: Sendable {
        case all
        /// Not the connection that caused it.
        case allButOrigin
        /// Not the connection that caused it, unless it speaks a legacy dialect, whose clients
        /// expect the echo.
        case allButCanonicalOrigin
        /// The user's own connections, without the one that caused it.
        case user(UserID)
    }

    package let channel: Channel
    package let content: Content
    /// The log position; 0 for what is outside the log.
    package let seq: Seq
    package let audience: Audience
    package let origin: Origin
    /// Set where the entry ends or begins a membership: applied before anything that follows.
    package let membership: MembershipChange?
    package let isEphemeral: Bool
    /// Of an entry that is a message.
    let message: MessageID?

    init(
        channel: Channel, content: Content, seq: Seq = 0, audience: Audience,
        origin: Origin = Origin(instance: 0, subscriber: 0), membership: MembershipChange? = nil,
        isEphemeral: Bool = false, message: MessageID? = nil
    ) {
        self.message = message
        self.channel = channel
        self.content = content
        self.seq = seq
        self.audience = audience
        self.origin = origin
        self.membership = membership
        self.isEphemeral = isEphemeral
    }

    /// The same, known to have been caused by somebody.
    func caused(by origin: Origin) -> Delivery {
        Delivery(
            channel: channel, content: content, seq: seq, audience: audience, origin: origin,
            membership: membership, isEphemeral: isEphemeral, message: message)
    }

    var approximateBytes: Int {
        switch content {
        case .event(let event): 128 + event.payload.count
        case .text(let bytes): 128 + bytes.count
        case .joined, .disconnect: 128
        }
    }
}
