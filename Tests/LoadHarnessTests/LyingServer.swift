import Basics
import Glibc
import Reactor
import Synchronization
import WebSocket

/// A WebSocket server with rooms, as the dialect `raw` knows them, that can be told to lie: the
/// harness has to notice. One thread, small loads only.
final class LyingServer: Sendable {
    /// What is done to one delivery in forty.
    enum Lie: Sendable, CaseIterable {
        case drop
        case again
        /// It comes after the next one.
        case late
        /// It goes to somebody of another room too.
        case astray
        /// A byte of it is another.
        case damage
        /// The receiver is closed instead.
        case close
    }

    let port: UInt16
    private let isStopped = Atomic(false)

    /// - Parameter lie: nil for an honest server.
    init(_ lie: Lie?) throws {
        let listener = try Listener(address: "127.0.0.1", port: 0)
        port = listener.port
        let descriptor = listener.release()
        let thread = try Thread(name: "lying-server") { [self] in
            let session = Session(listener: Listener(adopting: descriptor), lie: lie)
            while !isStopped.load(ordering: .relaxed) { session.round() }
        }
        thread.detach()
    }

    deinit { stop() }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    /// What its thread has.
    private final class Session {
        private struct Member {
            var fd: Int32
            var head: [UInt8] = []
            var room = ""
            var isOpen = false
            var decoder = MessageDecoder(role: .server)
            var held: [UInt8]?
        }

        private let listener: Listener
        private let lie: Lie?
        private var poller: Poller
        private var members: [Member] = []
        private var events: [PollEvent] = []
        private var deliveries = 0
        private static let listenerTag = PollTag(bits: .max)

        init(listener: consuming Listener, lie: Lie?) {
            self.listener = listener
            self.lie = lie
            guard let poller = try? Poller() else { preconditionFailure("no epoll set") }
            self.poller = poller
            try? self.poller.add(self.listener.descriptor, Self.listenerTag)
        }

        deinit { for member in members where member.fd >= 0 { Socket.close(member.fd) } }

        func round() {
            events.removeAll()
            try? poller.wait(timeoutMs: 50, into: &events)
            for event in events {
                if event.tag == Self.listenerTag { accept() } else { read(Int(event.tag.bits)) }
            }
        }

        private func accept() {
            while case .connection(let fd, _)? = try? listener.accept() {
                try? poller.add(fd, PollTag(bits: UInt64(members.count)))
                members.append(Member(fd: fd))
            }
        }

        private func end(_ index: Int) {
            if members[index].fd >= 0 { Socket.close(members[index].fd) }
            members[index].fd = -1
            members[index].isOpen = false
        }

        private func read(_ index: Int) {
            guard members[index].fd >= 0 else { return }
            var bytes = [UInt8](repeating: 0, count: 65_536)
            let received = unsafe bytes.withUnsafeMutableBytes {
                unsafe Socket.receive(members[index].fd, into: $0)
            }
            guard case .bytes(let count) = received else {
                if case .wouldBlock = received { return }
                return end(index)
            }
            bytes.removeLast(bytes.count - count)
            if members[index].isOpen { take(bytes, index) } else { greet(bytes, index) }
        }

        private func greet(_ bytes: [UInt8], _ index: Int) {
            members[index].head += bytes
            let head = String(decoding: members[index].head, as: UTF8.self)
            guard head.hasSuffix("\r\n\r\n") else { return }
            let lines = head.split(separator: "\r\n")
            let name = "sec-websocket-key: "
            guard let line = lines.first(where: { $0.lowercased().hasPrefix(name) }),
                let target = lines[0].split(separator: " ").dropFirst().first
            else { return end(index) }
            let key = Array(line.dropFirst(name.count).utf8)
            let accept = String(decoding: Handshake.acceptKey(for: key.span), as: UTF8.self)
            members[index].room = String(target)
            members[index].isOpen = true
            write(
                Array(
                    ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        + "Connection: Upgrade\r\nSec-WebSocket-Accept: \(accept)\r\n\r\n").utf8),
                index)
        }

        private func take(_ bytes: [UInt8], _ index: Int) {
            var bytes = bytes
            var offset = 0
            var texts: [[UInt8]] = []
            do {
                var span = bytes.mutableSpan
                while case .message(_, let payload) = members[index].decoder.next(
                    in: &span, at: &offset, limits: MessageLimits())
                {
                    texts.append(payload.copy(from: span.span))
                }
            }
            let room = members[index].room
            for text in texts {
                for place in members.indices where members[place].room == room {
                    deliver(text, place)
                }
            }
        }

        private func deliver(_ text: [UInt8], _ index: Int) {
            guard members[index].isOpen else { return }
            var frame: [UInt8] = []
            FrameHeader.encode(opcode: .text, length: text.count, into: &frame)
            frame += text
            deliveries += 1
            let lies = deliveries % 40 == 20
            switch lies ? lie : nil {
            case nil: break
            case .drop: return
            case .again: write(frame, index)
            case .late:
                if members[index].held == nil {
                    members[index].held = frame
                    return
                }
            case .astray:
                if let other = members.firstIndex(where: {
                    $0.isOpen && $0.room != members[index].room
                }) {
                    write(frame, other)
                }
            case .damage: frame[frame.count - text.count] ^= 1
            case .close:
                FrameHeader.encode(opcode: .close, length: 2, into: &frame)
                write(frame + [0x0F, 0xA0], index)
                return end(index)
            }
            write(frame, index)
            if let held = members[index].held {
                members[index].held = nil
                write(held, index)
            }
        }

        private func write(_ bytes: [UInt8], _ index: Int) {
            guard members[index].fd >= 0 else { return }
            var place = 0
            while place < bytes.count {
                let count = unsafe bytes.withUnsafeBytes {
                    unsafe Socket.write(
                        members[index].fd, UnsafeRawBufferPointer(rebasing: $0[place...]))
                }
                guard count >= 0 else { return end(index) }
                place += count
            }
        }
    }
}
