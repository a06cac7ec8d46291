import CLinux
import Synchronization

/// The one door between threads: a queue that any thread appends to and one thread empties, and an
/// eventfd that wakes that thread once a batch.
///
/// Bounded by bytes for what may be refused (`post(…, canRefuse: true)`). What may not be refused
/// is bounded at its source: operations by the commit lane, which pauses while a mailbox is over
/// its bound.
package final class Mailbox<Message: Sendable>: Sendable {
    private struct State {
        var messages: [Message] = []
        var isSignalled = false
    }

    private let state = Mutex(State())
    private let queuedBytes = Atomic<Int>(0)
    private let maximumBytes: Int
    /// For the receiving thread's poller.
    package let descriptor: Int32

    package init(maximumBytes: Int) throws(SystemError) {
        self.maximumBytes = maximumBytes
        descriptor = try checked("eventfd", martlet_eventfd())
    }

    deinit { _ = martlet_close(descriptor) }

    /// More waits here than is good.
    package var isOverfull: Bool { queuedBytes.load(ordering: .relaxed) > maximumBytes }

    /// Returns false where the message was refused.
    @discardableResult
    package func post(_ message: Message, bytes: Int, canRefuse: Bool) -> Bool {
        if canRefuse, isOverfull { return false }
        queuedBytes.wrappingAdd(bytes, ordering: .relaxed)
        let mustSignal = state.withLock { state in
            state.messages.append(message)
            defer { state.isSignalled = true }
            return !state.isSignalled
        }
        if mustSignal { _ = martlet_eventfd_signal(descriptor) }
        return true
    }

    /// Everything that has come, in order. Only for the receiving thread.
    package func takeAll() -> [Message] {
        let messages = state.withLock { state in
            let messages = state.messages
            state.messages = []
            if state.isSignalled {
                state.isSignalled = false
                _ = martlet_eventfd_clear(descriptor)
            }
            return messages
        }
        return messages
    }

    /// The receiver has worked off what it took.
    package func settled(bytes: Int) {
        queuedBytes.wrappingSubtract(bytes, ordering: .relaxed)
    }
}
