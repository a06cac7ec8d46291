import Glibc
import Synchronization

/// A shell that runs a script, its standard input a socket that only this process holds: it sees
/// the end of it when we close it, or are gone.
///
/// By posix_spawn(3): Foundation's `Process` starts children with signals blocked, SIGCHLD among
/// them, and a shell then waits for its own children without end.
final class Shell: Sendable {
    private let id: pid_t
    private let input: Mutex<Int32>

    /// - Parameter output: the file that all it says goes to.
    init(_ script: String, output: String) throws(ServiceError) {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else {
            throw ServiceError("socketpair: error \(errno)")
        }
        defer { close(ends[0]) }
        input = Mutex(ends[1])

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        unsafe posix_spawn_file_actions_addopen(
            &actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        // A process group of its own: a test that is interrupted from the terminal takes its
        // server down by the socket.
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

        var words =
            unsafe (["/bin/sh", "-c", script] as [String]).map { unsafe strdup($0) } + [nil]
        defer { for index in unsafe words.indices { unsafe free(words[index]) } }
        var id: pid_t = 0
        let result = unsafe posix_spawn(&id, "/bin/sh", &actions, &attributes, &words, environ)
        guard result == 0 else {
            close(ends[1])
            throw ServiceError("cannot start a shell: error \(result)")
        }
        self.id = id
    }

    func write(_ text: String) {
        let bytes = Array(text.utf8)
        input.withLock { _ = unsafe send($0, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
    }

    func closeInput() {
        input.withLock { descriptor in
            if descriptor >= 0 { close(descriptor) }
            descriptor = -1
        }
    }

    /// Its exit code.
    @discardableResult
    func wait() -> Int32 {
        var status: Int32 = 0
        unsafe waitpid(id, &status, 0)
        closeInput()
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : -1
    }
}
