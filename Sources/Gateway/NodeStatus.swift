import Basics
import StoreCore
import Synchronization

/// What all shards of a node know of it: for /health and /metrics, which any shard answers.
package final class NodeStatus: Sendable {
    private let storeFailure = Mutex<StoreFailure?>(nil)
    private let draining = Atomic<Bool>(false)
    private let overloaded = Atomic<Bool>(false)
    private let socketIO = Atomic<Bool>(false)
    package let counters: [PublishedCounters]
    package let lane = LaneCounters()
    package let latency = RequestLatency()
    package let bus = BusStatus()

    package init(shards: Int) { counters = (0..<shards).map { _ in PublishedCounters() } }

    /// Read only where somebody asks for health: a lock there costs nothing that matters.
    package var failure: StoreFailure? { storeFailure.withLock { $0 } }

    package func set(failure: StoreFailure?) { storeFailure.withLock { $0 = failure } }

    package var isDraining: Bool { draining.load(ordering: .relaxed) }
    package func beginDraining() { draining.store(true, ordering: .relaxed) }

    package var isOverloaded: Bool { overloaded.load(ordering: .relaxed) }
    package func set(overloaded value: Bool) { overloaded.store(value, ordering: .relaxed) }

    /// Whether a client of Socket.IO ever came.
    package var hasSocketIO: Bool { socketIO.load(ordering: .relaxed) }
    package func noteSocketIO() { socketIO.store(true, ordering: .relaxed) }

    /// What works, but not all of it: the bus is away, and everything comes from the store, later.
    package var isDegraded: Bool { bus.isShared && !bus.isHealthy.load(ordering: .relaxed) }

    package var isReady: Bool { failure == nil && !isDraining && !isOverloaded }
}

/// What the thread of the bus tells.
package final class BusStatus: Sendable {
    private let shared = Atomic<Bool>(false)
    package let isHealthy = Atomic<Bool>(false)
    /// 0 closed, 1 half-open, 2 open.
    package let breaker = Atomic<Int>(0)
    package let instances = Atomic<Int>(0)
    package let followed = Atomic<Int>(0)
    package let published = Atomic<Int>(0)
    package let dropped = Atomic<Int>(0)
    package let received = Atomic<Int>(0)
    package let unreadable = Atomic<Int>(0)
    package let reconnects = Atomic<Int>(0)
    package let failures = Atomic<Int>(0)

    package init() {}

    package var breakerName: String {
        switch breaker.load(ordering: .relaxed) {
        case 0: "closed"
        case 1: "half-open"
        default: "open"
        }
    }

    /// Whether there is a bus that other instances share.
    package var isShared: Bool { shared.load(ordering: .relaxed) }
    package func beginSharing() { shared.store(true, ordering: .relaxed) }
}

/// What the commit lane counts.
package final class LaneCounters: Sendable {
    package let batches = Atomic<Int>(0)
    package let operations = Atomic<Int>(0)
    package let failures = Atomic<Int>(0)
    package let queued = Atomic<Int>(0)
    package let commitMicroseconds = Atomic<Int>(0)

    package init() {}
}

/// HTTP request durations by route template: a bounded set of labels, whatever clients ask for.
package final class RequestLatency: Sendable {
    package static let bucketsMs = [1, 5, 10, 50, 100, 500, 1_000, 5_000]

    private final class Row: Sendable {
        let buckets: [Cell] = RequestLatency.bucketsMs.map { _ in Cell() }
        let count = Atomic<Int>(0)
        let microseconds = Atomic<Int>(0)
    }
    private final class Cell: Sendable { let value = Atomic<Int>(0) }

    private let rows: [Row] = HTTPRoute.allCases.map { _ in Row() }

    func record(_ route: HTTPRoute, microseconds: Int) {
        let row = rows[route.index]
        for (index, bound) in Self.bucketsMs.enumerated() where microseconds <= bound * 1_000 {
            row.buckets[index].value.wrappingAdd(1, ordering: .relaxed)
        }
        row.count.wrappingAdd(1, ordering: .relaxed)
        row.microseconds.wrappingAdd(microseconds, ordering: .relaxed)
    }

    /// Cumulative bucket counts, the number of requests, and the sum of their durations.
    func read(_ route: HTTPRoute) -> (buckets: [Int], count: Int, microseconds: Int) {
        let row = rows[route.index]
        return (
            row.buckets.map { $0.value.load(ordering: .relaxed) },
            row.count.load(ordering: .relaxed), row.microseconds.load(ordering: .relaxed)
        )
    }
}
