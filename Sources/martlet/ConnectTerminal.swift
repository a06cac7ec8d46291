import Client
import Glibc
import Synchronization

/// The terminal in raw mode, and back. nil where standard input or output is none: then lines are
/// read and written plainly.
final class ConnectTerminal {
    private let saved: termios
    private var isRaw = true

    static var isThere: Bool { isatty(0) == 1 && isatty(1) == 1 }

    init?() {
        guard Self.isThere else { return nil }
        var settings = termios()
        guard unsafe tcgetattr(0, &settings) == 0 else { return nil }
        saved = settings
        // Before the mode changes: a signal in between must still find its handler.
        ConnectSignals.install()
        unsafe cfmakeraw(&settings)
        unsafe tcsetattr(0, TCSADRAIN, &settings)
        Self.write(TerminalScreen.enter)
    }

    deinit { restore() }

    /// The terminal as it was found; safe to call twice.
    func restore() {
        guard isRaw else { return }
        isRaw = false
        Self.write(TerminalScreen.leave)
        var settings = saved
        unsafe tcsetattr(0, TCSADRAIN, &settings)
    }

    /// Columns and rows; 80 × 24 where the terminal does not say.
    var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard unsafe ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
        else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// Writes all of it; a reader that is gone is noticed by the input's end.
    static func write(_ text: String) {
        let bytes = Array(text.utf8)
        var position = 0
        while position < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe Glibc.write(
                    1, bytes.baseAddress.map { unsafe $0 + position }, bytes.count - position)
            }
            if count > 0 {
                position += count
            } else if errno == EAGAIN {
                var entry = pollfd(fd: 1, events: Int16(POLLOUT), revents: 0)
                unsafe poll(&entry, 1, 1_000)
            } else if errno != EINTR {
                return
            }
        }
    }
}

/// Signals that must not leave a terminal in raw mode. (Ctrl-C is a byte there, not a signal.)
enum ConnectSignals {
    private static let ended = Atomic<Bool>(false)

    /// SIGTERM or SIGHUP came.
    static var shouldEnd: Bool { ended.load(ordering: .relaxed) }

    static func install() {
        // Made before the handler can run: its first use must not be inside it.
        guard !shouldEnd else { return }
        for number in [SIGTERM, SIGHUP] {
            signal(number) { _ in ConnectSignals.ended.store(true, ordering: .relaxed) }
        }
        // Nothing to do but to end a poll(2): the next turn draws for the new size.
        signal(SIGWINCH) { _ in }
    }
}

/// Standard input: keys of a terminal, or lines of a pipe.
struct ConnectInput {
    private(set) var editor = LineEditor()
    private(set) var isAtEnd = false
    private var buffer: [UInt8] = []
    private var position = 0

    /// A line longer than this is cut: no message may be that long.
    private static let longestLine = 1_000_000

    /// Reads what is there; call it when poll(2) says so.
    mutating func read() {
        if position > 0 {
            buffer.removeFirst(position)
            position = 0
        }
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe Glibc.read(0, &chunk, chunk.count)
        if count > 0 {
            buffer += chunk[..<count]
        } else if count == 0 || (errno != EINTR && errno != EAGAIN) {
            isAtEnd = true
        }
    }

    /// The next whole line of what was read; at the end also the last one without its newline.
    mutating func nextLine() -> String? {
        let rest = buffer[position...]
        if let end = rest.firstIndex(of: 0x0A) {
            position = end + 1
            return Self.line(rest[..<end])
        }
        guard (isAtEnd && !rest.isEmpty) || rest.count > Self.longestLine else { return nil }
        position = buffer.count
        return Self.line(rest)
    }

    /// Whether anything of what was read is left.
    var hasLine: Bool { position < buffer.count }

    private static func line(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.last == 0x0D ? bytes.dropLast() : bytes, as: UTF8.self)
    }

    /// Reads what is there as keys.
    mutating func readKeys() -> [LineEditor.Outcome] {
        read()
        let keys = buffer[position...]
        position = buffer.count
        return keys.map { editor.feed($0) }
    }
}
