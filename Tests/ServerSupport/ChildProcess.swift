import Basics
import Client
import Glibc
import Synchronization

/// A process that was started here. What it says goes into two files, so that it never waits for a
/// reader; it is killed when the last owner lets go.
///
/// By posix_spawn(3) and not by Foundation's `Process`, which starts threads of its own and cannot
/// be told which signals the child begins with.
package final class ChildProcess: Sendable {
    /// How it ended.
    package enum Exit: Hashable, Sendable {
        case code(Int32)
        case signal(Int32)
    }

    package let id: pid_t
    private let outputPath: String
    private let errorPath: String
    /// The writing end of its standard input; -1 where it has none, or it was closed.
    private let input: Mutex<Int32>
    private let ended = Mutex<Exit?>(nil)

    /// - Parameters:
    ///   - environment: added to PATH, HOME, LANG and the loader's variables; nothing else of this
    ///     process's environment gets in.
    ///   - output: the path, without an ending, of the files for what it says; appended to.
    ///   - hasInput: whether its standard input is what `write` gives it; otherwise it is at its
    ///     end.
    package init(
        _ path: String, _ arguments: [String], environment: [String: String] = [:],
        output: String, hasInput: Bool = false
    ) throws(SupportError) {
        outputPath = output + ".out"
        errorPath = output + ".err"
        var ends: [Int32] = [-1, -1]
        // Not a pipe: pipe2(2) is not imported, and without O_CLOEXEC from the start a child that
        // is started meanwhile would keep this one's input open.
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        if hasInput, unsafe socketpair(AF_UNIX, type, 0, &ends) != 0 {
            throw SupportError("socketpair: \(Self.text(of: errno))")
        }
        input = Mutex(ends[1])
        defer { if ends[0] >= 0 { close(ends[0]) } }

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if hasInput {
            unsafe posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        } else {
            unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        let flags = O_WRONLY | O_CREAT | O_APPEND
        unsafe posix_spawn_file_actions_addopen(&actions, 1, outputPath, flags, 0o600)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, errorPath, flags, 0o600)

        // The server blocks signals by itself; what this process blocks must not get in the way.
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        var variables = environment
        for name in ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR"]
        where variables[name] == nil {
            if let value = unsafe getenv(name) { variables[name] = unsafe String(cString: value) }
        }
        var words = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
        var settings = unsafe variables.map { unsafe strdup("\($0)=\($1)") } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
            for index in unsafe settings.indices { unsafe free(settings[index]) }
        }
        var id: pid_t = 0
        let result = unsafe posix_spawnp(&id, path, &actions, &attributes, &words, &settings)
        guard result == 0 else {
            if ends[1] >= 0 { close(ends[1]) }
            throw SupportError("cannot start \(path): \(Self.text(of: result))")
        }
        self.id = id
    }

    deinit {
        closeInput()
        if exit == nil {
            signal(SIGKILL)
            var status: Int32 = 0
            unsafe waitpid(id, &status, 0)
        }
    }

    /// Runs a program to its end.
    ///
    /// - Throws: where that takes longer than 20 s.
    package static func run(
        _ path: String, _ arguments: [String], environment: [String: String] = [:]
    ) throws -> (exit: Exit, output: String, errors: String) {
        let folder = try TemporaryFolder("run")
        let child = try ChildProcess(
            path, arguments, environment: environment, output: folder.file("said"))
        let exit = try child.wait(withinMs: 20_000)
        return (exit, child.output, child.errors)
    }

    // MARK: What it says

    /// Standard output so far.
    package var output: String { contents(of: outputPath) }
    /// Standard error so far.
    package var errors: String { contents(of: errorPath) }

    // MARK: What it is told

    /// Writes to its standard input.
    package func write(_ text: String) throws {
        let bytes = Array(text.utf8)
        let count = input.withLock {
            unsafe send($0, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        }
        guard count == bytes.count else {
            throw SupportError("write to process \(id): \(Self.text(of: errno))")
        }
    }

    /// The end of its standard input.
    package func closeInput() {
        input.withLock { descriptor in
            if descriptor >= 0 { close(descriptor) }
            descriptor = -1
        }
    }

    /// Sends it a signal, unless it has ended: its id might be another's by then.
    package func signal(_ number: Int32) {
        ended.withLock { if $0 == nil { kill(id, number) } }
    }

    // MARK: Its end

    /// nil while it runs.
    package var exit: Exit? {
        ended.withLock { ended in
            if let ended { return ended }
            var status: Int32 = 0
            guard unsafe waitpid(id, &status, WNOHANG) == id else { return nil }
            // The macros of wait(2), which Swift does not import.
            let number = status & 0x7F
            let exit: Exit = number == 0 ? .code((status >> 8) & 0xFF) : .signal(number)
            ended = exit
            return exit
        }
    }

    /// Waits for its end.
    @discardableResult
    package func wait(withinMs milliseconds: Int) throws -> Exit {
        var found: Exit?
        try eventually("the end of process \(id)", withinMs: milliseconds) {
            found = exit
            return found != nil
        }
        guard let found else { throw SupportError("process \(id) has no exit status") }
        return found
    }

    private static func text(of number: Int32) -> String {
        unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
    }
}
