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
        var batches = [[Publication]](repeating: [], count: shards)
        for publication in publications {
            batches[publication.channel.home(of: shards)].append(publication)
        }
        for (home, batch) in batches.enumerated() where home != shard && !batch.isEmpty {
            deliver(home, batch)
        }
    }
}
