import Basics

/// The bus of a single instance: hands publications to their home shards, a batch a shard.
package final class InProcessBus: Bus {
    package typealias Delivery = @Sendable (_ homeShard: Int, [Publication]) -> Void

    private let shards: Int
    private let deliver: Delivery

    package init(shards: Int, deliver: @escaping Delivery) {
        self.shards = shards
        self.deliver = deliver
    }

    package var reachesOtherInstances: Bool { false }

    package func publish(_ publications: [Publication], from shard: Int) {
        for (home, batch) in Self.byHome(publications, shards: shards, from: shard) {
            deliver(home, batch)
        }
    }

    /// Every home of this instance is told of everything anyway.
    package func change(_ interests: [InterestChange], from shard: Int) {}

    /// A batch for each home shard but the publishing one, in the order of publishing.
    package static func byHome(
        _ publications: [Publication], shards: Int, from shard: Int
    ) -> [(home: Int, batch: [Publication])] {
        var batches = [[Publication]](repeating: [], count: shards)
        for publication in publications {
            batches[publication.channel.home(of: shards)].append(publication)
        }
        return batches.enumerated().filter { $0.offset != shard && !$0.element.isEmpty }
            .map { (home: $0.offset, batch: $0.element) }
    }
}
