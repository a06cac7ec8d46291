import Foundation
import Synchronization

/// Runs the bodies at the same time, each on a thread of its own, and waits for all of them.
/// Threads and not tasks: what they do blocks.
///
/// - Throws: the first error that one of them threw, after all have ended.
package func inParallel(_ bodies: [@Sendable () throws -> Void]) throws {
    let group = DispatchGroup()
    let failure = Failure()
    for body in bodies {
        group.enter()
        let work = Work(body)
        let thread = Thread {
            do {
                try work.runAndForget()
            } catch {
                failure.note("\(error)")
            }
            group.leave()
        }
        thread.stackSize = 1 << 20
        thread.start()
    }
    group.wait()
    if let text = failure.text { throw SupportError(text) }
}

/// What a thread is to do, once. What it holds (servers that end with their last owner) is let go
/// of when it is done: the thread itself goes some time later, and the process may end before.
package final class Work: Sendable {
    private let body: Mutex<(@Sendable () throws -> Void)?>

    package init(_ body: @escaping @Sendable () throws -> Void) { self.body = Mutex(body) }

    package func runAndForget() throws {
        let body = self.body.withLock { body in
            defer { body = nil }
            return body
        }
        try body?()
    }
}

/// The first thing that went wrong.
private final class Failure: Sendable {
    private let first = Mutex<String?>(nil)

    var text: String? { first.withLock { $0 } }

    func note(_ text: String) {
        first.withLock { if $0 == nil { $0 = text } }
    }
}
