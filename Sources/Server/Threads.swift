import Reactor
import Synchronization

/// A thread that can be kept in a copyable place and joined once.
final class JoinOnce: Sendable {
    private let thread: Mutex<Thread?>

    init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        thread = Mutex(try Thread(name: name, body))
    }

    func join() {
        let taken = thread.withLock { thread -> Thread? in
            var taken: Thread?
            swap(&taken, &thread)
            return taken
        }
        if let taken { taken.join() }
    }
}

/// One value from a thread that starts to the one that waits for it.
final class Handover<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)

    func give(_ value: Value) { self.value.withLock { $0 = value } }

    /// Only at start-up, for the milliseconds that opening a store takes.
    func wait() -> Value {
        while true {
            if let value = value.withLock({ $0 }) { return value }
            System.pause(milliseconds: 1)
        }
    }
}

/// The listening sockets of a node, made together so that all have the port that the first one got.
struct Listeners {
    private var descriptors: [Int32]
    let port: UInt16

    init(count: Int, address: String, port: UInt16) throws(SystemError) {
        let first = try Listener(address: address, port: port)
        self.port = first.port
        descriptors = [first.release()]
        for _ in 1..<max(1, count) {
            descriptors.append(try Listener(address: address, port: self.port).release())
        }
    }

    mutating func take() -> Int32 { descriptors.removeFirst() }
}
