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
        let thread = Thread {
            do {
                try body()
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

/// The first thing that went wrong.
private final class Failure: Sendable {
    private let first = Mutex<String?>(nil)

    var text: String? { first.withLock { $0 } }

    func note(_ text: String) {
        first.withLock { if $0 == nil { $0 = text } }
    }
}
