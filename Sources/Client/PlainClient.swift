import Basics
import Glibc
import WebSocket
import Wire

/// A blocking WebSocket client of the plain-JSON face (RFC 6455), for the terminal client and for
/// tests: one socket, one thread, every wait with a deadline.
///
///     let client = try PlainClient(connecting: url.socket, token: token)
///     try client.send(Frames.join(chat, since: 0, id: 1))
///     while case .text(let text) = try client.receive(timeoutMs: 1_000) { … }
///
/// It answers pings and the closing handshake by itself, inside `receive`: a caller that does not
/// receive does not answer. Not Sendable: it belongs to the thread that made it.
package final class PlainClient {
    /// Where the token goes.
    package enum TokenPlace: Sendable {
        /// `Sec-WebSocket-Protocol: …, bearer.<token>`: the way that browsers have.
        case subprotocol
        /// `Authorization: Bearer`.
        case header
        /// `?token=`, which servers log: for tests of just that.
        case query
    }

    /// What came in.
    package enum Incoming: Hashable, Sendable {
        /// A whole text message: valid UTF-8.
        case text([UInt8])
        case binary([UInt8])
        case pong([UInt8])
        /// The peer closed; the closing handshake has been answered. The code is nil where the
        /// frame had none.
        case close(CloseCode?, reason: String)
        /// The stream is at its end: after `.close` in good order, otherwise without.
        case ended
        case timedOut
    }

    /// The subprotocol that the server chose.
    package let subprotocol: String?
    /// When bytes last came from the server: silence beyond its ping interval is a dead connection.
    package private(set) var lastHeard: Instant
    /// What `send` waits for a server that does not read.
    package var sendTimeoutMs = 5_000
    /// Whether `receive` answers pings; off for tests of a client that does not.
    package var answersPings = true

    private var stream: Stream?
    private var decoder = MessageDecoder(role: .client)
    private var inbound: [UInt8] = []
    private var position = 0
    private let limits = MessageLimits(
        frameBytes: 16_000_000, messageBytes: 16_000_000, fragments: 4_096)
    private var hasSentClose = false
    private var isAtEnd = false

    /// Connects and upgrades.
    ///
    /// - Parameters:
    ///   - url: with the path of a socket, such as `/ws`.
    ///   - dialect: `.v1` offers the subprotocol `martlet.v1`, `.ws` does not.
    ///   - sourceAddress: the local IP address to connect from.
    ///   - fields: further header fields such as `Origin`; printable ASCII.
    ///   - receiveBufferBytes: SO_RCVBUF, for tests of slow readers.
    ///   - timeoutMs: for all of it: connection, request, answer.
    /// - Throws: `.refused` where the server answered with another status than 101.
    package init(
        connecting url: URLParts, token: String?, dialect: Dialect = .v1,
        tokenPlace: TokenPlace = .subprotocol, sourceAddress: String? = nil,
        fields: [(name: String, value: String)] = [], receiveBufferBytes: Int? = nil,
        timeoutMs: Int = 5_000
    ) throws(ClientError) {
        var fields = fields
        var target = url.target
        var subprotocols = dialect == .v1 ? ["martlet.v1"] : []
        if let token {
            guard !token.isEmpty, token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x2C })
            else { throw .badURL("the token is no JSON Web Token") }
            switch tokenPlace {
            case .subprotocol: subprotocols.append("bearer.\(token)")
            case .header: fields.append(("Authorization", "Bearer \(token)"))
            case .query: target += (target.contains("?") ? "&" : "?") + "token=\(token)"
            }
        }
        let handshake = ClientHandshake(
            host: url.hostField, target: target, nonce: Self.randomBytes(16),
            subprotocols: subprotocols, fields: fields)
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        let stream = try Stream.connect(
            host: url.host, port: url.port, source: sourceAddress,
            receiveBufferBytes: receiveBufferBytes, deadline: deadline)
        try stream.write(handshake.requestBytes(), until: deadline)
        var received: [UInt8] = []
        subprotocol = try Self.upgrade(stream, handshake, &received, until: deadline)
        inbound = received
        self.stream = consume stream
        lastHeard = MonotonicClock.now()
    }

    private static func upgrade(
        _ stream: borrowing Stream, _ handshake: ClientHandshake, _ received: inout [UInt8],
        until deadline: Instant
    ) throws(ClientError) -> String? {
        var scanned = 0
        while true {
            let result = try stream.read(into: &received, until: deadline)
            if result == .timedOut { throw .timedOut("the WebSocket handshake") }
            switch handshake.check(received.span) {
            case .needMore:
                break
            case .accepted(let length, let subprotocol, _):
                received.removeFirst(length)
                return subprotocol
            case .refused:
                if let answer = try HTTPExchange.parse(
                    received, isHead: false, isEnded: result == .ended, scannedFrom: &scanned)
                {
                    throw ChatAPI.refusal(answer)
                }
            case .invalid(let reason):
                throw .badAnswer(reason)
            }
            if result == .ended { throw .ended }
        }
    }

    /// For poll(2); -1 after the end. Readable does not mean that a message is whole, and a message
    /// may wait in memory: `receive(timeoutMs: 0)` until `.timedOut` before each wait.
    package var descriptor: Int32 { isAtEnd ? -1 : (stream?.descriptor ?? -1) }

    // MARK: Sending

    /// Sends a text message.
    package func send(_ text: String) throws(ClientError) { try send(text: Array(text.utf8)) }

    /// Sends a text message, UTF-8.
    package func send(text: [UInt8]) throws(ClientError) { try send(.text, text) }

    /// Sends one frame, masked.
    package func send(
        _ opcode: Opcode, fin: Bool = true, _ payload: [UInt8]
    ) throws(ClientError) {
        try sendFrame(Self.frame(opcode, fin: fin, payload))
    }

    /// Sends bytes as they are, frame or not: for tests of what no client should send.
    package func sendFrame(_ bytes: [UInt8]) throws(ClientError) {
        guard stream != nil else { throw .ended }
        let deadline = MonotonicClock.now().advanced(byMilliseconds: sendTimeoutMs)
        try stream?.write(bytes, until: deadline)
    }

    /// A masked frame as bytes.
    package static func frame(_ opcode: Opcode, fin: Bool = true, _ payload: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(payload.count + 14)
        let key = MaskingKey(word: .random(in: .min ... .max))
        FrameHeader.encode(
            opcode: opcode, fin: fin, length: payload.count, mask: key, into: &bytes)
        let start = bytes.count
        bytes += payload
        var span = bytes.mutableSpan
        Masking.apply(key, to: &span, in: start..<span.count)
        return bytes
    }

    // MARK: Receiving

    /// The next message, or what else happened. Pings are answered on the way.
    ///
    /// - Parameter timeoutMs: 0 takes what has arrived and does not wait.
    /// - Throws: `.badAnswer` where the server breaks the framing rules; the stream is over then.
    package func receive(timeoutMs: Int) throws(ClientError) -> Incoming {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        while true {
            if let incoming = try nextItem() { return incoming }
            if isAtEnd || stream == nil { return .ended }
            inbound.removeAll(keepingCapacity: true)
            position = 0
            switch try stream?.read(into: &inbound, until: deadline) {
            case .bytes?: lastHeard = MonotonicClock.now()
            case .timedOut?: return .timedOut
            case .ended?, nil: isAtEnd = true
            }
        }
    }

    /// Apart, so that the span's life ends before anything else touches the buffer.
    private static func next(
        _ decoder: inout MessageDecoder, _ buffer: inout [UInt8], _ position: inout Int,
        _ limits: MessageLimits
    ) -> DecodedItem {
        var span = buffer.mutableSpan
        return decoder.next(in: &span, at: &position, limits: limits)
    }

    /// The next thing in the buffer that concerns the caller; nil when the buffer is used up.
    private func nextItem() throws(ClientError) -> Incoming? {
        while position < inbound.count {
            let item = Self.next(&decoder, &inbound, &position, limits)
            switch item {
            case .needMore:
                return nil
            case .message(let kind, let payload):
                let bytes = copy(payload)
                return kind == .text ? .text(bytes) : .binary(bytes)
            case .ping(let payload):
                if answersPings, !hasSentClose {
                    try send(.pong, copy(payload))
                }
            case .pong(let payload):
                return .pong(copy(payload))
            case .close(let code, let reason):
                let reason = String(decoding: copy(reason), as: UTF8.self)
                answerClose(code)
                return .close(code, reason: reason)
            case .violation(let violation):
                isAtEnd = true
                throw .badAnswer("\(violation.text)")
            }
        }
        return nil
    }

    private func copy(_ payload: Payload) -> [UInt8] {
        switch payload {
        case .inPlace(let range): Array(inbound[range])
        case .assembled(let bytes): bytes
        }
    }

    // MARK: Closing

    /// RFC 6455 §5.5.1: a close frame is answered with one. Where that cannot be sent any more, the
    /// end of the stream says the same.
    private func answerClose(_ code: CloseCode?) {
        guard !hasSentClose else { return }
        hasSentClose = true
        do throws(ClientError) {
            try send(.close, Self.closePayload(code, ""))
        } catch {
            isAtEnd = true
        }
    }

    /// Closes in good order: sends a close frame, waits for the server's, ends the connection.
    /// Messages that come in between are dropped. Safe to call twice.
    package func close(code: CloseCode = .normal, reason: String = "", timeoutMs: Int = 1_000) {
        guard stream != nil else { return }
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        do throws(ClientError) {
            if !hasSentClose {
                hasSentClose = true
                try send(.close, Self.closePayload(code, reason))
            }
            while true {
                let left = deadline.milliseconds(since: MonotonicClock.now())
                let incoming = try receive(timeoutMs: left)
                if incoming == .ended || incoming == .timedOut || left == 0 { break }
            }
        } catch {
            // It is gone already, which is what was asked for.
        }
        end()
    }

    /// Ends the connection at once, without a word.
    ///
    /// - Parameter reset: with a TCP reset instead of an orderly end.
    package func abort(reset: Bool = false) {
        if reset { stream?.resetOnClose() }
        end()
    }

    /// Ends our half of the TCP stream and goes on reading.
    package func shutdownSend() { stream?.shutdownSend() }

    private func end() {
        isAtEnd = true
        position = inbound.count
        stream = nil
    }

    private static func closePayload(_ code: CloseCode?, _ reason: String) -> [UInt8] {
        guard let code else { return [] }
        return [UInt8(code.rawValue >> 8), UInt8(code.rawValue & 0xFF)]
            + reason.utf8.prefix(CloseFrame.longestReason)
    }

    private static func randomBytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in .random(in: .min ... .max) }
    }
}
