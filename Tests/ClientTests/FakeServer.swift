import Foundation
import Synchronization
import WebSocket

#if canImport(Glibc)
    import Glibc
#endif

/// A server of one connection at a time on 127.0.0.1, whose part is played by a closure on a thread
/// of its own. What the closure notes down is there after `finish`.
final class FakeServer: Sendable {
    let port: UInt16
    private let notes = Mutex<[String]>([])
    private let done = DispatchSemaphore(value: 0)

    /// - Parameter parts: one a connection, in the order of connecting.
    init(_ parts: [@Sendable (Peer) -> Void]) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                let isBound = unsafe bind(listener, pointer, size) == 0
                unsafe precondition(isBound && getsockname(listener, pointer, &size) == 0)
            }
        }
        precondition(listen(listener, 8) == 0)
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in
            for part in parts {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { break }
                part(Peer(descriptor, self))
                close(descriptor)
            }
            close(listener)
            done.signal()
        }
    }

    convenience init(_ part: @escaping @Sendable (Peer) -> Void) { self.init([part]) }

    /// Waits until all parts were played; what they noted.
    func finish() -> [String] {
        guard done.wait(timeout: .now() + 10) == .success else { return ["did not finish"] }
        return notes.withLock { $0 }
    }

    fileprivate func note(_ text: String) { notes.withLock { $0.append(text) } }

    /// The server's end of a connection.
    final class Peer {
        private let descriptor: Int32
        private let server: FakeServer
        private var inbound: [UInt8] = []
        private var decoder = MessageDecoder(role: .server)

        fileprivate init(_ descriptor: Int32, _ server: FakeServer) {
            self.descriptor = descriptor
            self.server = server
            var timeout = timeval(tv_sec: 5, tv_usec: 0)
            unsafe setsockopt(
                descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout,
                socklen_t(MemoryLayout<timeval>.size))
        }

        func note(_ text: String) { server.note(text) }

        func write(_ text: String) { write(Array(text.utf8)) }

        func write(_ bytes: [UInt8]) {
            _ = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
        }

        /// A server's frame: unmasked.
        func frame(_ opcode: Opcode, fin: Bool = true, _ payload: [UInt8]) {
            var bytes: [UInt8] = []
            FrameHeader.encode(opcode: opcode, fin: fin, length: payload.count, into: &bytes)
            write(bytes + payload)
        }

        private func readMore() -> Bool {
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = unsafe recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return false }
            inbound += chunk[..<count]
            return true
        }

        /// The request's head, without its empty line.
        func head() -> String {
            while true {
                let text = String(decoding: inbound, as: UTF8.self)
                if let end = text.range(of: "\r\n\r\n") {
                    let head = String(text[..<end.lowerBound])
                    inbound.removeFirst(head.utf8.count + 4)
                    return head
                }
                guard readMore() else { return "" }
            }
        }

        func body(_ count: Int) -> String {
            while inbound.count < count, readMore() {}
            defer { inbound.removeFirst(min(count, inbound.count)) }
            return String(decoding: inbound.prefix(count), as: UTF8.self)
        }

        /// Answers the handshake; returns the request's head. `extra` follows in the same write.
        @discardableResult
        func upgrade(subprotocol: String? = "martlet.v1", extra: [UInt8] = []) -> String {
            let head = head()
            let key =
                head.components(separatedBy: "\r\n")
                .first { $0.lowercased().hasPrefix("sec-websocket-key: ") }?
                .dropFirst(19) ?? ""
            var answer: [UInt8] = []
            let accept = Handshake.acceptKey(for: Array(key.utf8).span)
            Handshake.appendAnswer(accept: accept, subprotocol: subprotocol, into: &answer)
            write(answer + extra)
            return head
        }

        /// The next frame of the client as text such as `text hello`; `end` at the end.
        func next() -> String {
            while true {
                if !inbound.isEmpty {
                    var bytes = inbound
                    var offset = 0
                    var span = bytes.mutableSpan
                    let item = decoder.next(in: &span, at: &offset, limits: MessageLimits())
                    let found = Self.describe(item, bytes)
                    inbound.removeFirst(offset)
                    if let found { return found }
                }
                guard readMore() else { return "end" }
            }
        }

        private static func describe(_ item: DecodedItem, _ bytes: [UInt8]) -> String? {
            func text(_ payload: Payload) -> String {
                String(decoding: payload.copy(from: bytes.span), as: UTF8.self)
            }
            switch item {
            case .needMore: return nil
            case .message(let kind, let payload): return "\(kind) \(text(payload))"
            case .ping(let payload): return "ping \(text(payload))"
            case .pong(let payload): return "pong \(text(payload))"
            case .close(let code, let reason):
                return "close \(code?.rawValue ?? 1005) \(text(reason))"
            case .violation(let violation): return "violation \(violation)"
            }
        }
    }
}
