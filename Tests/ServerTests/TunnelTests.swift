import Basics
import Glibc
import Logging
import Reactor
import ServerSupport
import Testing

@testable import Gateway
@testable import Server

/// A client and an owner, and the tunnel between them: of two sockets each, one end is the test's.
@safe private final class Joint {
    private let clients: Listener
    private let owners: Listener
    private var poller: Poller
    private var tunnels: Tunnels
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
    private(set) var client: Int32 = -1
    private(set) var owner: Int32 = -1
    /// What the last round was told.
    private(set) var eventCount = 0

    init() throws {
        clients = try Listener(address: "127.0.0.1", port: 0)
        owners = try Listener(address: "127.0.0.1", port: 0)
        poller = try Poller()
        tunnels = Tunnels(capacity: 1, log: Logger(label: "test"))
    }

    deinit {
        unsafe buffer.deallocate()
        for descriptor in [client, owner] where descriptor >= 0 { Socket.close(descriptor) }
    }

    /// A client that has said `said`, and whom a tunnel takes to `port`: the owner's, if none is given.
    func open(_ said: String, to port: UInt16? = nil) throws {
        if client >= 0 { Socket.close(client) }
        let address = try #require(SocketAddress(numeric: "127.0.0.1", port: clients.port))
        client = try Socket.connect(to: address)
        // Nobody is accepted before a word.
        while say(said, client) < 0 { usleep(1_000) }
        var near: Int32 = -1
        while near < 0 {
            if case .connection(let descriptor, _) = try clients.accept() { near = descriptor }
        }
        let tunnel = Tunnel(
            address: "127.0.0.1:\(port ?? owners.port)", opening: Array("opening ".utf8),
            refusal: Array("refused".utf8))
        tunnels.open(near, tunnel, now: SystemClock().now().instant, poller)
    }

    /// The owner's end, once the tunnel has spoken there.
    func accept() throws {
        if owner >= 0 { Socket.close(owner) }
        owner = -1
        while owner < 0 {
            try round()
            if case .connection(let descriptor, _) = try owners.accept() { owner = descriptor }
        }
    }

    func round(timeoutMs: Int32 = 10) throws {
        var events: [PollEvent] = []
        try poller.wait(timeoutMs: timeoutMs, into: &events)
        eventCount = events.count
        for event in events {
            #expect(Tunnels.owns(event.tag))
            unsafe tunnels.handle(event, poller, buffer)
        }
    }

    /// Bytes that the socket took; -1 where it is gone, or not there yet.
    func say(_ text: String, _ descriptor: Int32) -> Int {
        let bytes = Array(text.utf8)
        return unsafe send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Says numbers until nobody takes any more. Returns how many bytes that were.
    func fill(_ descriptor: Int32) throws -> Int {
        var sent = 0
        var idle = 0
        while idle < 5 {
            let bytes = (sent..<sent + 10_000).map { UInt8(truncatingIfNeeded: $0 / 251) }
            let count = unsafe send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            if count > 0 { sent += count }
            try round(timeoutMs: count > 0 ? 0 : 20)
            idle = count > 0 || eventCount > 0 ? 0 : idle + 1
        }
        return sent
    }

    enum End { case none, end, failure }

    /// What came until then, and the end, which is waited for where it is asked for.
    func hear(_ descriptor: Int32, _ until: (([UInt8], End)) -> Bool) throws -> ([UInt8], End) {
        var heard: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        for _ in 0..<5_000 {
            let count = unsafe recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
            if count > 0 { heard += piece[..<count] }
            let end: End = count == 0 ? .end : count < 0 && errno != EAGAIN ? .failure : .none
            if until((heard, end)) { return (heard, end) }
            try #require(end == .none, "after \(heard.count) bytes")
            if count < 0 { try round(timeoutMs: 1) }
        }
        Issue.record("waited in vain; \(heard.count) bytes came")
        return (heard, .none)
    }

    func hear(_ text: String, _ descriptor: Int32) throws {
        let heard = try hear(descriptor) { $0.0.count >= text.utf8.count }
        #expect(String(decoding: heard.0, as: UTF8.self) == text)
    }

    func hearEnd(_ descriptor: Int32) throws -> [UInt8] { try hear(descriptor) { $0.1 != .none }.0 }

    func close(_ descriptor: ReferenceWritableKeyPath<Joint, Int32>, reset: Bool = false) {
        reset ? Socket.reset(self[keyPath: descriptor]) : Socket.close(self[keyPath: descriptor])
        self[keyPath: descriptor] = -1
    }

    func closeClient(reset: Bool = false) { close(\.client, reset: reset) }
    func closeOwner(reset: Bool = false) { close(\.owner, reset: reset) }

    /// Bytes that the socket has taken and the other side's not.
    func unsent(_ descriptor: Int32) -> Int {
        var count: Int32 = 0
        _ = unsafe ioctl(descriptor, UInt(TIOCOUTQ), &count)
        return Int(count)
    }
}

@Suite("Tunnels")
struct TunnelTests {
    @Test("What either says arrives, and each one's end after it; then there is room for another")
    func passes() throws {
        let joint = try Joint()
        for _ in 0..<2 {
            try joint.open("hello")
            try joint.accept()
            try joint.hear("opening hello", joint.owner)
            _ = joint.say("answer", joint.owner)
            shutdown(joint.owner, Int32(SHUT_WR))
            #expect(try joint.hearEnd(joint.client) == Array("answer".utf8))
            _ = joint.say("more", joint.client)
            shutdown(joint.client, Int32(SHUT_WR))
            #expect(try joint.hearEnd(joint.owner) == Array("more".utf8))
        }
    }

    @Test("Where no owner listens, or there is no room, the client is told to begin anew")
    func refused() throws {
        let joint = try Joint()
        try joint.open("hello", to: try FreePort.find())
        #expect(try joint.hearEnd(joint.client) == Array("refused".utf8))
        try joint.open("hello")
        try joint.accept()
        let first = dup(joint.client)
        defer { close(first) }
        try joint.open("hello")
        #expect(try joint.hearEnd(joint.client) == Array("refused".utf8))
        _ = joint.say("answer", joint.owner)
        try joint.hear("answer", first)
    }

    @Test(
        "Of an owner that has gone a slow client still gets what came, and nothing spins meanwhile",
        arguments: [false, true])
    func ownerGone(reset: Bool) throws {
        let joint = try Joint()
        try joint.open("hello")
        try joint.accept()
        try joint.hear("opening hello", joint.owner)
        let sent = try joint.fill(joint.owner)
        // A reset takes along what has not left.
        let due = reset ? sent - joint.unsent(joint.owner) : sent
        #expect(due > 65_536)
        joint.closeOwner(reset: reset)
        var rounds = 0
        repeat {
            try joint.round()
            rounds += 1
        } while joint.eventCount > 0 && rounds < 1_000
        #expect(joint.eventCount == 0)
        let heard = try joint.hearEnd(joint.client)
        #expect(heard.count >= due)
        #expect(heard == (0..<heard.count).map { UInt8(truncatingIfNeeded: $0 / 251) })
    }

    @Test("An owner that is reset while a client's words wait for it takes nothing from the client")
    func ownerResetWhileWaitedFor() throws {
        let joint = try Joint()
        try joint.open("hello")
        try joint.accept()
        _ = try joint.fill(joint.client)
        #expect(joint.say("last words", joint.owner) == 10)
        joint.closeOwner(reset: true)
        #expect(try joint.hearEnd(joint.client) == Array("last words".utf8))
    }

    @Test("What an owner said before it was reset comes, though the client spoke meanwhile")
    func ownerResetWhileSpokenTo() throws {
        for _ in 0..<20 {
            let joint = try Joint()
            try joint.open("hello")
            try joint.accept()
            try joint.hear("opening hello", joint.owner)
            #expect(joint.say("last words", joint.owner) == 10)
            joint.closeOwner(reset: true)
            #expect(joint.say("are you there?", joint.client) == 14)
            #expect(try joint.hearEnd(joint.client) == Array("last words".utf8))
        }
    }

    @Test(
        "A client that has gone is not waited for: its owner hears of it", arguments: [false, true])
    func clientGone(isBehind: Bool) throws {
        let joint = try Joint()
        try joint.open("hello")
        try joint.accept()
        if isBehind { _ = try joint.fill(joint.client) }
        joint.closeClient(reset: true)
        for _ in 0..<5 { try joint.round() }
        #expect(joint.eventCount == 0)
        _ = try joint.hearEnd(joint.owner)
        try joint.open("another")
        try joint.accept()
        try joint.hear("opening another", joint.owner)
    }

    @Test("What waits for a reader that is always behind takes no more room with time")
    func memory() {
        var way = Tunnels.Way()
        let piece = [UInt8](repeating: 7, count: 40_000)
        way.append(piece)
        var most = 0
        for _ in 0..<1_000 {
            way.append(piece)
            way.take(40_000)
            most = max(most, way.bytes.count)
        }
        #expect(most <= 160_000)
        #expect(way.waiting.count == 40_000)
    }
}
