import Basics
import BusCore
import Domain
import Gateway
import Logging
import Reactor
import StoreCore

/// The ways from a shard to the others, to the commit lane and to the bus. Shared by all threads of
/// a node.
final class ShardLinks: Sendable {
    let mailboxes: [Mailbox<ShardMail>]
    let lane: Mailbox<LaneMail>
    let bus: any Bus
    let shared: SharedBus?
    let log: Logger

    /// - Parameter isShared: whether other instances are to be reached too; then `shared` is the bus.
    init(
        shards: Int, limits: Limits, isShared: Bool, log: Logger
    ) throws(SystemError) {
        var mailboxes: [Mailbox<ShardMail>] = []
        for _ in 0..<shards {
            mailboxes.append(try Mailbox(maximumBytes: limits.mailboxBytes))
        }
        self.mailboxes = mailboxes
        self.log = log
        lane = try Mailbox(maximumBytes: limits.laneBytes)
        let made = mailboxes
        let local = InProcessBus(shards: shards) { home, publications in
            Self.post(.bus(.publications(publications)), to: made[home])
        }
        shared =
            isShared ? try SharedBus(local: local, maximumBytes: limits.mailboxBytes) : nil
        bus = shared ?? local
    }

    func post(_ mail: ShardMail, to shard: Int) { Self.post(mail, to: mailboxes[shard]) }

    private static func post(_ mail: ShardMail, to mailbox: Mailbox<ShardMail>) {
        mailbox.post(mail, bytes: mail.approximateBytes, canRefuse: mail.isEphemeral)
    }

    /// Hands operations to the lane. Where it is full they are refused: certain, and at once.
    func submit(_ items: [LaneItem], from shard: Int) {
        let bytes = items.reduce(0) { $0 + $1.operation.approximateBytes }
        guard !lane.post(.items(items), bytes: bytes, canRefuse: true) else { return }
        post(
            .answers(items.map { LaneAnswer(ticket: $0.ticket, result: .notStored) }), to: shard)
    }

    /// Some shard has more mail than is good: whoever makes more of it should wait.
    var isAnyShardOverfull: Bool { mailboxes.contains { $0.isOverfull } }
}

enum LaneMail: Sendable {
    case items([LaneItem])
    /// Commit what is here, then end.
    case stop
}
