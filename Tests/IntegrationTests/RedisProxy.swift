import Client
import Foundation
import Glibc
import ServerSupport
import Synchronization

/// Stands before a Redis and swallows publications that it is told to: the publisher is answered
/// that nobody heard it. Everything else goes through as it is. For clients that publish on a
/// connection of their own: answers to what came before would be overtaken.
final class RedisProxy: Sendable {
    let port: UInt16
    private let target: UInt16
    private let listener: Int32
    private let state = Mutex(State())

    private struct State {
        var publications = 0
        var swallowed = 0
        var mustSwallow: @Sendable (Int) -> Bool = { _ in false }
    }

    init(to target: UInt16) throws {
        self.target = target
        port = try FreePort.find()
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard listener >= 0, Self.bind(listener, port), listen(listener, 16) == 0 else {
            throw SupportError("a proxy on port \(port): errno \(errno)")
        }
        // The threads outlive their proxy by no more than their connections do.
        let listener = listener
        Thread.detachNewThread { [weak self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0, let proxy = self else { break }
                _ = fcntl(client, F_SETFD, FD_CLOEXEC)
                proxy.serve(client)
            }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }

    var url: String { "redis://127.0.0.1:\(port)" }

    /// From now on the publications are swallowed whose number, from 1 on, is such.
    func swallow(_ mustSwallow: @escaping @Sendable (Int) -> Bool) {
        state.withLock { $0.mustSwallow = mustSwallow }
    }

    var swallowed: Int { state.withLock { $0.swallowed } }

    // MARK: Connections

    private func serve(_ client: Int32) {
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard server >= 0, Self.connect(server, target) else {
            close(client)
            if server >= 0 { close(server) }
            return
        }
        // Whoever is at its end last closes both.
        let open = Shared(2)
        let end: @Sendable () -> Void = {
            shutdown(client, Int32(SHUT_RDWR))
            shutdown(server, Int32(SHUT_RDWR))
            guard open.decrement() == 0 else { return }
            close(client)
            close(server)
        }
        Thread.detachNewThread {
            while let bytes = Self.read(server), Self.write(bytes, to: client) {}
            end()
        }
        Thread.detachNewThread { [self] in
            var waiting: [UInt8] = []
            while let bytes = Self.read(client) {
                waiting += bytes
                guard forward(&waiting, from: client, to: server) else { break }
            }
            end()
        }
    }

    /// All whole commands that wait. False where a side is gone.
    private func forward(_ waiting: inout [UInt8], from client: Int32, to server: Int32) -> Bool {
        var start = 0
        defer { waiting.removeFirst(start) }
        while let command = Self.command(in: waiting, from: start) {
            let bytes = Array(waiting[start..<command.end])
            start = command.end
            let isSwallowed = command.name == "PUBLISH" && mustSwallow()
            let isWritten =
                isSwallowed
                ? Self.write(Array(":0\r\n".utf8), to: client) : Self.write(bytes, to: server)
            guard isWritten else { return false }
        }
        return true
    }

    private func mustSwallow() -> Bool {
        state.withLock { state in
            state.publications += 1
            guard state.mustSwallow(state.publications) else { return false }
            state.swallowed += 1
            return true
        }
    }

    /// Where the command that begins at `start` ends, and its first word. nil while it is not whole.
    private static func command(in bytes: [UInt8], from start: Int) -> (name: String, end: Int)? {
        var position = start
        func number() -> Int? {
            guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\r")),
                end + 1 < bytes.count
            else { return nil }
            // Behind the `*` or `$`.
            let text = String(decoding: bytes[(position + 1)..<end], as: UTF8.self)
            position = end + 2
            return Int(text)
        }
        guard let count = number() else { return nil }
        var name = ""
        for word in 0..<count {
            guard let length = number(), position + length + 2 <= bytes.count else { return nil }
            if word == 0 {
                name = String(decoding: bytes[position..<position + length], as: UTF8.self)
            }
            position += length + 2
        }
        return (name, position)
    }

    // MARK: The system's calls

    private static func read(_ descriptor: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
        return count > 0 ? Array(bytes[..<count]) : nil
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var position = 0
        while position < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe send(
                    descriptor, bytes.baseAddress.map { unsafe $0 + position },
                    bytes.count - position, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            position += count
        }
        return true
    }

    private static func bind(_ descriptor: Int32, _ port: UInt16) -> Bool {
        unsafe withAddress(port) { unsafe Glibc.bind(descriptor, $0, $1) } == 0
    }

    private static func connect(_ descriptor: Int32, _ port: UInt16) -> Bool {
        unsafe withAddress(port) { unsafe Glibc.connect(descriptor, $0, $1) } == 0
    }

    private static func withAddress(
        _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

/// A count that several threads take down.
private final class Shared: Sendable {
    private let count: Mutex<Int>

    init(_ count: Int) { self.count = Mutex(count) }

    func decrement() -> Int {
        count.withLock { count in
            count -= 1
            return count
        }
    }
}
