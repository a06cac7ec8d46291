import Glibc
import Synchronization

/// SIGINT and SIGTERM: the first is for the run to act on, the next ends it at once. Both are the
/// coordinator's, also where they come to the whole process group: workers have them blocked, and end with
/// their standard input.
enum Interruption {
    private static let arrived = Atomic<Int>(0)
    private static let signals = [SIGINT, SIGTERM]

    /// How many have come.
    static var count: Int { arrived.load(ordering: .relaxed) }

    static func expect() {
        // Made before a handler may want it.
        arrived.store(0, ordering: .relaxed)
        for number in signals {
            signal(number) { _ in Interruption.arrived.add(1, ordering: .relaxed) }
        }
    }

    static func forget() {
        for number in signals { signal(number, SIG_DFL) }
    }

    /// Does something while they wait, and lets what it starts inherit that they do.
    static func withhold<Failure: Error>(
        during body: () throws(Failure) -> Void
    ) throws(Failure) {
        var set = sigset_t()
        var before = sigset_t()
        unsafe sigemptyset(&set)
        for number in signals { unsafe sigaddset(&set, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &set, &before)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }
}
