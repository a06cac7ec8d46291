import CLinux
import Glibc

/// A thread of its own for a shard or a blocking library. Its state is made inside `body`, on the
/// thread, and never leaves it.
package struct Thread: ~Copyable {
    private let handle: pthread_t

    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// - Parameter name: at most 15 bytes; longer ones are cut. Shown by `top -H`.
    package init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let start = Start(name: name, body: body)
        // The C callback gets its object through this one box and releases it.
        let box = unsafe Unmanaged.passRetained(start)
        var handle = pthread_t()
        let result = unsafe pthread_create(
            &handle, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                unsafe martlet_name_thread(start.name)
                start.body()
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            unsafe box.release()
            throw SystemError("pthread_create", result)
        }
        self.handle = handle
    }

    /// Lets it end when it does; nobody will wait.
    package consuming func detach() {
        _ = pthread_detach(handle)
    }

    /// Waits for the thread's end.
    package consuming func join() {
        _ = pthread_join(handle, nil)
    }
}
