import Basics
import Reactor
import ServerSupport

@testable import BusRedis

/// What a server could say: it lives on the test's loop and answers as the test wants.
final class FakeRedis {
    final class Peer {
        let descriptor: Int32
        var reader = RESPReader()
        var isSubscriber = false
        fileprivate var registration: EventLoop.Registration?
        fileprivate init(_ descriptor: Int32) { self.descriptor = descriptor }

        func say(_ text: String) {
            let bytes = Array(text.utf8)
            _ = unsafe bytes.withUnsafeBytes { unsafe Socket.write(descriptor, $0) }
        }
    }

    let port: UInt16
    private let loop: EventLoop
    private let listener: Listener
    private var registration: EventLoop.Registration?
    private(set) var peers: [Peer] = []
    private(set) var connections = 0
    private(set) var commands: [[String]] = []
    /// Connections are closed as soon as they come.
    var refuses = false
    /// Nothing is read.
    var hangs = false
    /// The reply to a command; nil for that of a Redis.
    var answer: ((Peer, [String]) -> String?)?

    init(_ loop: EventLoop) throws {
        self.loop = loop
        listener = try Listener(address: "127.0.0.1", port: 0)
        port = listener.port
        registration = try loop.register(listener.descriptor) { [unowned self] _ in accept() }
    }

    deinit {
        if let registration { loop.unregister(registration) }
        dropAll()
    }

    func dropAll() {
        for peer in peers { drop(peer) }
    }

    func drop(_ peer: Peer) {
        if let registration = peer.registration { loop.unregister(registration) }
        Socket.close(peer.descriptor)
        peers.removeAll { $0 === peer }
    }

    var subscriber: Peer? { peers.first { $0.isSubscriber } }
    var publisher: Peer? { peers.last { !$0.isSubscriber } }

    private func accept() {
        while case .connection(let descriptor, _)? = try? listener.accept() {
            connections += 1
            if refuses {
                Socket.close(descriptor)
                continue
            }
            let peer = Peer(descriptor)
            // The link connects its subscriber first.
            peer.isSubscriber = subscriber == nil
            peers.append(peer)
            peer.registration = try? loop.register(descriptor) { [unowned self, unowned peer] _ in
                read(peer)
            }
        }
    }

    private func read(_ peer: Peer) {
        guard !hangs else { return }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let received = unsafe buffer.withUnsafeMutableBytes {
            unsafe Socket.receive(peer.descriptor, into: $0)
        }
        guard case .bytes(let count) = received else {
            if case .wouldBlock = received { return }
            return drop(peer)
        }
        try? peer.reader.feed(buffer.span.extracting(0..<count))
        while let reply = try? peer.reader.next(), case .array(let words) = reply {
            let command = words.map { word in
                if case .bulk(let bytes) = word {
                    String(decoding: bytes, as: UTF8.self)
                } else {
                    ""
                }
            }
            commands.append(command)
            peer.say(answer?(peer, command) ?? Self.usual(peer, command))
        }
    }

    static func usual(_ peer: Peer, _ command: [String]) -> String {
        switch command[0] {
        case "PING": "+PONG\r\n"
        case "PUBLISH": ":1\r\n"
        case "SUBSCRIBE":
            command.dropFirst().map {
                "*3\r\n$9\r\nsubscribe\r\n$\($0.utf8.count)\r\n\($0)\r\n:1\r\n"
            }
            .joined()
        default: "+OK\r\n"
        }
    }
}
