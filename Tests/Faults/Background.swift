import Foundation

/// Runs the body on a thread of its own; nobody waits for it.
func inBackground(_ body: @escaping @Sendable () -> Void) throws {
    let thread = Thread(block: body)
    thread.stackSize = 1 << 20
    thread.start()
}
