import BusCore
import Domain
import Gateway
import Reactor

/// What the shards ask of the thread that the bus lives on.
enum BusMail: Sendable {
    case publish([Publication])
    case change([InterestChange])
    /// Say goodbye, hand over what is queued, end.
    case stop
}

/// The shards' side of a bus that other instances share: what concerns other shards of this
/// instance goes to them at once, whatever becomes of Redis; everything goes to the bus's thread.
final class SharedBus: Bus {
    let mailbox: Mailbox<BusMail>
    private let local: InProcessBus

    init(local: InProcessBus, maximumBytes: Int) throws(SystemError) {
        self.local = local
        mailbox = try Mailbox(maximumBytes: maximumBytes)
    }

    var reachesOtherInstances: Bool { true }

    func publish(_ publications: [Publication], from shard: Int) {
        local.publish(publications, from: shard)
        mailbox.post(
            .publish(publications), bytes: Self.bytes(of: publications),
            canRefuse: publications.allSatisfy(\.isEphemeral))
    }

    func change(_ interests: [InterestChange], from shard: Int) {
        mailbox.post(.change(interests), bytes: 0, canRefuse: false)
    }

    static func bytes(of publications: [Publication]) -> Int {
        publications.reduce(64) { $0 + $1.approximateBytes }
    }
}
