import Basics
import Client
import Glibc

/// Why a test cannot go on: one line for whoever reads its failure.
package struct SupportError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// Waits until `condition` holds, asking again every few milliseconds: for what no descriptor tells
/// of, such as the state of another process.
///
/// - Throws: `SupportError` that names `what`, where the time runs out first.
package func eventually(
    _ what: String, withinMs milliseconds: Int = 30_000, _ condition: () throws -> Bool
) throws {
    let deadline = MonotonicClock.now().advanced(byMilliseconds: milliseconds)
    while try !condition() {
        guard MonotonicClock.now() < deadline else {
            throw SupportError("not within \(milliseconds) ms: \(what)")
        }
        usleep(5_000)
    }
}

/// Fails where `condition` does not hold. On threads of a test's own it takes the place of
/// `#expect`, which would not know there which test it belongs to.
package func check(
    _ condition: Bool, _ complaint: @autoclosure () -> String, file: StaticString = #fileID,
    line: UInt = #line
) throws {
    guard condition else { throw SupportError("\(file):\(line): \(complaint())") }
}
