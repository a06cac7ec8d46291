import Glibc
import LoadCore

/// A worker as the coordinator sees it: a process that is told lines and says lines, over one
/// socket pair.
final class WorkerProcess {
    let id: pid_t
    /// Our end; non-blocking for reading is not needed, `poll` says when there is something.
    let descriptor: Int32
    let number: Int
    private var received: [UInt8] = []
    private var searched = 0
    private(set) var hasEnded = false

    /// Starts this program again as a worker.
    ///
    /// - Throws: the system's word for what went wrong.
    init(number: Int) throws(WorkerError) {
        self.number = number
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else {
            throw WorkerError("socketpair: \(Self.text(of: errno))")
        }
        defer { close(ends[1]) }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        let path = Files.ownPath
        let arguments: [String] = [path, "worker"]
        var words = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { for index in unsafe words.indices { unsafe free(words[index]) } }
        var id: pid_t = 0
        let result = unsafe posix_spawn(&id, path, &actions, nil, &words, environ)
        guard result == 0 else {
            close(ends[0])
            throw WorkerError("cannot start a worker: \(Self.text(of: result))")
        }
        self.id = id
        descriptor = ends[0]
    }

    private static func text(of number: Int32) -> String {
        unsafe String(cString: strerror(number))
    }

    /// Returns when it has taken all of it. What it says meanwhile is kept for `receive`: it may not read
    /// before that is taken.
    func send(_ bytes: [UInt8]) {
        var place = 0
        while place < bytes.count, !hasEnded {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(
                    descriptor, $0.baseAddress.map { unsafe $0 + place }, bytes.count - place,
                    Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count > 0 {
                place += count
                continue
            }
            guard errno == EAGAIN || errno == EINTR else { return }  // its reading end tells, too
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN | POLLOUT), revents: 0)
            _ = unsafe poll(&entry, 1, -1)
            if entry.revents & Int16(POLLIN | POLLHUP) != 0 { readOnce() }
        }
    }

    private func readOnce() {
        var chunk = [UInt8](repeating: 0, count: 1 << 18)
        let count = unsafe chunk.withUnsafeMutableBytes {
            unsafe read(descriptor, $0.baseAddress, $0.count)
        }
        if count > 0 { received += chunk.prefix(count) } else { hasEnded = true }
    }

    /// Reads what is there, once, and returns the whole lines, those of before as well.
    func receive() -> [[UInt8]] {
        readOnce()
        var lines: [[UInt8]] = []
        while let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
            lines.append(Array(received[..<end]))
            received.removeSubrange(...end)
            searched = 0
        }
        searched = received.count
        return lines
    }

    /// Lets it go, and waits for its end. It is killed where it does not end by itself.
    func end() {
        close(descriptor)
        var status: Int32 = 0
        for _ in 0..<200 {
            if unsafe waitpid(id, &status, WNOHANG) != 0 { return }
            usleep(10_000)
        }
        kill(id, SIGKILL)
        unsafe waitpid(id, &status, 0)
    }
}
