import Basics
import Reactor
import TLS

/// One connection to Redis on an event loop, from the host's name to the reply.
///
///     disconnected ─ connect ─► resolving ─► connecting ─► (securing) ─► authenticating ─► ready
///          ▲                        │             │             │              │             │
///          └────────────────────────┴──── failed, after 2 s at the latest ─────┴── failed ───┘
///
/// Commands are gathered and written once a turn. What is written and not yet taken is bounded: 8 MB
/// is some ten times what Redis reads in a round, so more means that it hangs.
///
/// Once ready it is asked for a sign of life (PING) when it has said nothing for a second, and given
/// up when none has come 1.5 s later: a Redis that hangs is noticed within 3 s. The time counts from
/// the question, so that a loop which was itself stopped asks first.
final class RedisConnection {
    enum State: String, Hashable, Sendable {
        case disconnected, resolving, connecting, securing, authenticating, ready
    }

    enum Event {
        case ready
        /// Any reply but the answer to a PING.
        case reply(RESPReply)
        /// It is disconnected now.
        case failed(RedisFailure)
    }

    static let connectMs = 2_000
    static let quietMs = 1_000
    static let answerMs = 1_500
    static let maximumOutputBytes = 8_000_000
    /// Memory of an output buffer that is kept for the next turn.
    private static let keptBytes = 1_048_576
    private static let readsPerRound = 8
    private static let readBytes = 65_536

    private let loop: EventLoop
    private let address: RedisAddress
    private let resolver: NameResolver
    /// Called in a handler or a turn of the loop. It may close this connection, and send on it.
    var onEvent: (Event) -> Void = { _ in }

    private(set) var state = State.disconnected
    private var descriptor: Int32 = -1
    private var registration: EventLoop.Registration?
    private var waitsToWrite = false
    private var addresses: [SocketAddress] = []
    private var tls: TLSClient?
    private var reader = RESPReader()
    private var buffer: [UInt8] = []

    /// Not yet handed to the socket or, under TLS, not yet encrypted.
    private var output: [UInt8] = []
    /// Under TLS what goes to the socket.
    private var sealedOutput: [UInt8] = []
    /// How much of what goes to the socket it has taken.
    private var written = 0

    /// Replies to come before it is ready.
    private var greetings: [Greeting] = []
    private var connectBy = Instant.start
    private var lastReply = Instant.start
    /// When a sign of life was asked for that has not come.
    private var askedAt: Instant?
    /// Answers to PING that are still to come.
    private var pongsDue = 0

    private enum Greeting {
        case authentication, name, database, ping
    }

    init(loop: EventLoop, address: RedisAddress) throws(SystemError) {
        self.loop = loop
        self.address = address
        resolver = try NameResolver(loop: loop)
    }

    deinit { disconnect() }

    var isReady: Bool { state == .ready }
    var queuedBytes: Int { output.count + sealedOutput.count - written }

    // MARK: Connecting

    /// - Precondition: disconnected.
    func connect(_ now: Instant) {
        precondition(state == .disconnected, "connecting while \(state)")
        connectBy = now.advanced(byMilliseconds: Self.connectMs)
        if let known = SocketAddress(numeric: address.host, port: address.port) {
            addresses = [known]
            connectToNext()
            return
        }
        state = .resolving
        do throws(SystemError) {
            try resolver.ask(address.host, port: address.port) { [unowned self] in resolved($0) }
        } catch {
            fail(.cannotResolve("\(error)"))
        }
    }

    private func resolved(_ answer: NameResolver.Answer) {
        guard state == .resolving else { return }
        switch answer {
        case .success(let found):
            addresses = found
            connectToNext()
        case .failure(let error):
            fail(.cannotResolve(error.text))
        }
    }

    /// Takes the next address; `localhost` has two, and Redis may listen on one.
    private func connectToNext() {
        state = .connecting
        let address = addresses.removeFirst()
        do throws(SystemError) {
            descriptor = try Socket.connect(to: address)
            registration = try loop.register(descriptor, reads: false, writes: true) {
                [unowned self] event in handle(event)
            }
        } catch {
            connectionRefused(error)
        }
    }

    private func connectionRefused(_ error: SystemError) {
        guard addresses.isEmpty else {
            closeSocket()
            return connectToNext()
        }
        fail(.cannotConnect("\(error)"))
    }

    private func connected() {
        do throws(SystemError) {
            try Socket.finishConnecting(descriptor)
        } catch {
            return connectionRefused(error)
        }
        addresses = []
        guard setInterest(writes: false) else { return }
        guard address.isSecure else { return greet() }
        do throws(TLSError) {
            tls = try TLSClient(host: address.host, authorities: address.authorities)
            state = .securing
            try shakeHands()
        } catch {
            fail(.notSecure(error.text))
        }
    }

    private func shakeHands() throws(TLSError) {
        try tls?.shakeHands()
        if tls?.isEstablished == true { greet() }
        flush()
    }

    /// All at once: an answer costs a round trip.
    private func greet() {
        state = .authenticating
        greetings = []
        if let password = address.password {
            let user = address.user.map { [Array($0.utf8)] } ?? []
            RESPCommand.append(
                [Array("AUTH".utf8)] + user + [Array(password.text.utf8)], to: &output)
            greetings.append(.authentication)
        }
        let name = ["CLIENT", "SETNAME", "martlet"].map { Array($0.utf8) }
        RESPCommand.append(name, to: &output)
        greetings.append(.name)
        if address.database != 0 {
            RESPCommand.append(
                ["SELECT", String(address.database)].map { Array($0.utf8) }, to: &output)
            greetings.append(.database)
        }
        RESPCommand.append([Array("PING".utf8)], to: &output)
        greetings.append(.ping)
        flush()
    }

    private func greeted(_ reply: RESPReply, _ now: Instant) {
        let greeting = greetings.removeFirst()
        switch (greeting, reply) {
        case (.authentication, .status), (.database, .status): break
        // A user may be forbidden to name connections; nothing depends on it.
        case (.name, .status), (.name, .error): break
        case (.ping, .status(let text)) where text == Array("PONG".utf8):
            state = .ready
            lastReply = now
            onEvent(.ready)
        case (.authentication, .error(let text)):
            fail(.notLetIn(RedisFailure.code(of: text)))
        case (_, .error(let text)):
            let code = RedisFailure.code(of: text)
            fail(code == "NOAUTH" ? .notLetIn(code) : .refused(code))
        default:
            fail(.protocolViolation)
        }
    }

    // MARK: Ending

    /// Without an event.
    func disconnect() {
        resolver.forget()
        closeSocket()
        state = .disconnected
        tls = nil
        reader = RESPReader()
        addresses = []
        greetings = []
        output = []
        sealedOutput = []
        written = 0
        askedAt = nil
        pongsDue = 0
    }

    func fail(_ failure: RedisFailure) {
        guard state != .disconnected else { return }
        disconnect()
        onEvent(.failed(failure))
    }

    private func closeSocket() {
        if let registration { loop.unregister(registration) }
        registration = nil
        if descriptor >= 0 { Socket.close(descriptor) }
        descriptor = -1
        waitsToWrite = false
    }

    // MARK: Time

    func turn(_ now: Instant) {
        switch state {
        case .disconnected: return
        case .resolving, .connecting, .securing, .authenticating:
            if now >= connectBy { return fail(.timedOut) }
        case .ready:
            if let askedAt {
                if now >= askedAt.advanced(byMilliseconds: Self.answerMs) { return fail(.silent) }
            } else if now >= lastReply.advanced(byMilliseconds: Self.quietMs) {
                askedAt = now
                pongsDue += 1
                RESPCommand.append([Array("PING".utf8)], to: &output)
            }
        }
        if !waitsToWrite { flush() }
    }

    var deadline: Instant? {
        switch state {
        case .disconnected: return nil
        case .resolving, .connecting, .securing, .authenticating: return connectBy
        case .ready:
            if !waitsToWrite, queuedBytes > 0 { return .start }
            if let askedAt { return askedAt.advanced(byMilliseconds: Self.answerMs) }
            return lastReply.advanced(byMilliseconds: Self.quietMs)
        }
    }

    // MARK: Writing

    /// Gathers a command for the end of the turn. Where there is no room for it the connection
    /// fails.
    ///
    /// - Precondition: it is ready.
    func send(_ words: [[UInt8]]) {
        send { RESPCommand.append(words, to: &$0) }
    }

    func send(_ write: (inout [UInt8]) -> Void) {
        precondition(state == .ready, "sending while \(state)")
        write(&output)
        if queuedBytes > Self.maximumOutputBytes { fail(.outputOverflow) }
    }

    /// Hands to the socket what it takes.
    func flush() {
        guard state != .disconnected, state != .resolving, state != .connecting else { return }
        if tls != nil {
            do throws(TLSError) {
                try seal()
            } catch {
                return fail(.notSecure(error.text))
            }
        }
        let count = tls == nil ? output.count : sealedOutput.count
        guard written < count else { return }
        let taken = tls == nil ? write(output) : write(sealedOutput)
        guard taken >= 0 else { return fail(.closedByServer) }
        written += taken
        let isAllTaken = written == count
        // Compaction once half is gone costs about one copy of each byte.
        if isAllTaken || written > count / 2 {
            if tls == nil { forget(&output) } else { forget(&sealedOutput) }
        }
        if waitsToWrite == isAllTaken { _ = setInterest(writes: !isAllTaken) }
    }

    /// What is gathered goes to libssl at once: behind `maximumOutputBytes` that is bounded too.
    private func seal() throws(TLSError) {
        if tls?.isEstablished == true, !output.isEmpty {
            try seal(output)
            output.removeAll(keepingCapacity: output.count <= Self.keptBytes)
        }
        tls?.take(into: &sealedOutput)
    }

    private func seal(_ bytes: [UInt8]) throws(TLSError) {
        try tls?.write(bytes.span)
    }

    private func write(_ bytes: [UInt8]) -> Int {
        unsafe bytes.withUnsafeBytes { all in
            var rest = unsafe UnsafeRawBufferPointer(rebasing: all[written...])
            return unsafe withUnsafePointer(to: &rest) {
                unsafe Socket.write(descriptor, UnsafeBufferPointer(start: $0, count: 1))
            }
        }
    }

    /// Lets go of what the socket has taken.
    private func forget(_ bytes: inout [UInt8]) {
        if written == bytes.count {
            bytes.removeAll(keepingCapacity: bytes.count <= Self.keptBytes)
        } else {
            bytes.removeFirst(written)
        }
        written = 0
    }

    private func setInterest(writes: Bool) -> Bool {
        guard let registration else { return false }
        do throws(SystemError) {
            try loop.setInterest(registration, reads: true, writes: writes)
        } catch {
            fail(.cannotConnect("\(error)"))
            return false
        }
        waitsToWrite = writes
        return true
    }

    // MARK: Reading

    private func handle(_ event: PollEvent) {
        if state == .connecting {
            if event.isWritable || event.isOver { connected() }
            return
        }
        // What it said last is read before its end is found.
        if event.isReadable || event.isOver { receive() }
        if event.isWritable, waitsToWrite { flush() }
    }

    /// A budget a round: the loop has others to serve.
    private func receive() {
        if buffer.isEmpty { buffer = [UInt8](repeating: 0, count: Self.readBytes) }
        let registration = registration
        for _ in 0..<Self.readsPerRound {
            let received = unsafe buffer.withUnsafeMutableBytes {
                unsafe Socket.receive(descriptor, into: $0)
            }
            switch received {
            case .wouldBlock: return
            case .ended, .failed: return fail(.closedByServer)
            case .bytes(let count):
                accept(count)
                // The same connection still?
                guard self.registration == registration, registration != nil else { return }
                if count < Self.readBytes { return }
            }
        }
    }

    /// Takes the first `count` bytes of `buffer`.
    private func accept(_ count: Int) {
        guard tls != nil else { return read(buffer, count) }
        do throws(TLSError) {
            try unseal(buffer, count)
            if state == .securing { try shakeHands() }
            let registration = registration
            while self.registration == registration, tls?.isEstablished == true {
                guard let count = try Self.open(&tls, into: &buffer) else {
                    return fail(.closedByServer)
                }
                guard count > 0 else { break }
                read(buffer, count)
            }
        } catch {
            fail(.notSecure(error.text))
        }
    }

    private func unseal(_ bytes: [UInt8], _ count: Int) throws(TLSError) {
        try tls?.receive(bytes.span.extracting(0..<count))
    }

    private static func open(
        _ tls: inout TLSClient?, into buffer: inout [UInt8]
    ) throws(TLSError) -> Int? {
        var plain = buffer.mutableSpan
        return try tls?.read(into: &plain)
    }

    private func read(_ bytes: [UInt8], _ count: Int) {
        do throws(RESPReader.Violation) {
            try reader.feed(bytes.span.extracting(0..<count))
        } catch {
            return fail(.protocolViolation)
        }
        takeReplies()
    }

    private func takeReplies() {
        let now = loop.now.instant
        let registration = registration
        do throws(RESPReader.Violation) {
            while self.registration == registration, registration != nil,
                let reply = try reader.next()
            {
                take(reply, now)
            }
        } catch {
            fail(.protocolViolation)
        }
    }

    private func take(_ reply: RESPReply, _ now: Instant) {
        guard state == .ready else {
            guard state == .authenticating else { return fail(.protocolViolation) }
            return greeted(reply, now)
        }
        lastReply = now
        askedAt = nil
        if pongsDue > 0, Self.isPong(reply) {
            pongsDue -= 1
            return
        }
        onEvent(.reply(reply))
    }

    /// A subscriber is answered with an array.
    private static func isPong(_ reply: RESPReply) -> Bool {
        switch reply {
        case .status(let text): text == Array("PONG".utf8)
        case .array(let words): words.first == .bulk(Array("pong".utf8))
        default: false
        }
    }
}
