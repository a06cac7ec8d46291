/// Virtual time: what is to happen, in order. Nothing happens between two events, so a simulated
/// minute costs only what is done in it.
struct Scheduler {
    private struct Event {
        var at: UInt64
        var number: UInt64
        var action: () -> Void
    }

    /// Nanoseconds.
    private(set) var now: UInt64 = 1_000_000_000
    private var heap: [Event] = []
    private var counter: UInt64 = 0

    mutating func after(microseconds: Int, _ action: @escaping () -> Void) {
        at(now + UInt64(max(0, microseconds)) * 1_000, action)
    }

    mutating func at(_ instant: UInt64, _ action: @escaping () -> Void) {
        counter += 1
        heap.append(Event(at: max(now, instant), number: counter, action: action))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.isEarlier(heap[child], heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    var nextAt: UInt64? { heap.first?.at }

    /// The next event's action, with time moved to it.
    mutating func next() -> (() -> Void)? {
        guard let first = heap.first else { return nil }
        now = first.at
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2]
                where child < heap.count && Self.isEarlier(heap[child], heap[least]) {
                    least = child
                }
                guard least != parent else { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        return first.action
    }

    private static func isEarlier(_ a: Event, _ b: Event) -> Bool {
        (a.at, a.number) < (b.at, b.number)
    }
}
