import Basics
import Domain

/// Who caused a publication: one subscriber of one instance, so that it can be left out of the
/// fan-out.
package struct Origin: Hashable, Sendable {
    /// Names the instance's process, anew at each start.
    package var instance: UInt64
    /// The subscriber's key in that instance; 0 where none caused it.
    package var subscriber: UInt64

    package init(instance: UInt64, subscriber: UInt64) {
        self.instance = instance
        self.subscriber = subscriber
    }
}

/// What one shard tells all that follow a chat, on every shard of every instance.
package struct Publication: Sendable {
    package enum Content: Sendable {
        /// Committed. Sequenced: the home shard puts entries of a chat in order before they go on.
        case entry(LogEntry)
        /// Committed, too large for the bus: the entry of that seq is to be read from the store.
        case reference(Seq)
        /// Committed, but outside the log: the latest wins.
        case receipt(Receipt)
        /// Never stored.
        case typing(Typing)
        /// A bench room's text, relayed as it came.
        case text([UInt8])
        /// To a user's own channel: they are in a chat now; what comes after `since` is news to
        /// them.
        case joined(ChatID, since: Seq)
    }

    /// The chat's, the user's, or a bench room's.
    package var channel: Channel
    package var content: Content
    package var origin: Origin

    package init(channel: Channel, content: Content, origin: Origin) {
        self.channel = channel
        self.content = content
        self.origin = origin
    }

    /// Whether it may be dropped under pressure: nothing durable depends on it.
    package var isEphemeral: Bool {
        switch content {
        case .entry, .receipt, .joined, .reference: false
        case .typing, .text: true
        }
    }

    package var approximateBytes: Int {
        switch content {
        case .entry(let entry): entry.approximateBytes
        case .text(let bytes): 64 + bytes.count
        case .receipt, .typing, .joined, .reference: 128
        }
    }
}

/// What can be followed. Bench rooms live beside chats, never among them, and so do topics.
package enum Channel: Hashable, Sendable {
    case chat(ChatID)
    /// What concerns a user in any chat.
    case user(UserID)
    /// What backends say of a job; in no log, and nothing of it is stored.
    case topic(TopicName)
    case room(String)

    /// Which of `shards` shards of an instance is the channel's home.
    package func home(of shards: Int) -> Int {
        guard shards > 1 else { return 0 }
        let name =
            switch self {
            case .chat(let chat): chat.text
            case .user(let user): user.text
            case .topic(let topic): topic.text
            case .room(let room): room
            }
        return Int(stableHash(name) % UInt64(shards))
    }
}

/// What a bus tells the homes of channels on one shard.
package enum BusNews: Sendable {
    case publications([Publication])
    /// The follow of that ticket holds: whatever is published on the channel from here on arrives,
    /// or `.gap` is told.
    case following(Channel, ticket: UInt64)
    /// Publications may have been lost: compare everything with the store.
    case gap
    /// How far logs went by the word of another instance.
    case heads([Digest.Head])
    /// Somebody wrote into this chat, and told so by the database alone.
    case written(ChatID)
    /// The same of a user who came into a chat.
    case arrived(UserID)
    /// Where another instance takes connections of its sessions, `host:port`; nil where it has gone.
    case reached(instance: UInt64, at: String?)
    /// What a backend said on the public name of a channel: JSON, unread.
    case foreign(Channel, [UInt8])

    package var approximateBytes: Int {
        switch self {
        case .publications(let batch): batch.reduce(64) { $0 + $1.approximateBytes }
        case .heads(let heads): 64 + 64 * heads.count
        case .foreign(_, let payload): 128 + payload.count
        case .following, .gap, .written, .arrived, .reached: 128
        }
    }

    /// Whether it may be dropped when a mailbox is over its bound. What backends say is not stored
    /// here, so nothing durable depends on it either.
    package var isEphemeral: Bool {
        switch self {
        case .publications(let batch): batch.allSatisfy(\.isEphemeral)
        case .foreign: true
        case .following, .gap, .heads, .written, .arrived, .reached: false
        }
    }
}

/// A home's wish to be told of a channel, or no longer.
package enum InterestChange: Sendable {
    /// - Parameter ticket: comes back in `BusNews.following`; larger than all before it.
    case follow(Channel, ticket: UInt64)
    case unfollow(Channel)
}

/// Transport, never truth.
///
/// A bus may lose, repeat, delay and reorder publications (the in-process one only reorders those
/// of different shards, and drops ephemeral ones where a mailbox is over its bound); what is
/// durable is repaired from the store by the home shard, so correctness rests on nothing that a bus
/// promises but this: where it may have lost something that was asked for, it says `.gap`.
///
/// All calls are made by a shard, on its own thread. `publish` is given all publications of a tick
/// that concern others: what is homed at the publishing shard it has applied itself. News goes to
/// the mailbox of each channel's home shard, never back to `shard`.
package protocol Bus: AnyObject, Sendable {
    /// Whether publications leave the instance: then the bus gets also those homed at the
    /// publishing shard, and homes must follow a channel before they are told of it.
    var reachesOtherInstances: Bool { get }

    func publish(_ publications: [Publication], from shard: Int)

    func change(_ interests: [InterestChange], from shard: Int)
}
