import Basics
import BusCore
import Domain
import HTTP
import WebSocket
import Wire

/// Frames in, frames out: RFC 6455 as the gateway keeps it. What a text means is in +Commands.
extension GatewayShard {
    /// Before anybody has said who they are: a token is at most 8 KiB. Never more than afterwards.
    static func unknownPeerLimits(_ limits: Limits) -> MessageLimits {
        MessageLimits(
            frameBytes: min(limits.frameBytes, 16_384),
            messageBytes: min(limits.messageBytes, 16_384),
            fragments: min(limits.messageFragments, 8))
    }

    // MARK: In

    func receiveFrames(
        _ connection: Connection, _ bytes: inout MutableSpan<UInt8>, from start: Int
    ) {
        var offset = start
        while true {
            let limits = limits(of: connection)
            if let message = connection.decoder.nextWhole(in: &bytes, at: &offset, limits: limits) {
                if connection.messageBegan != nil { connection.messageBegan = nil }
                receive(message, connection, &bytes)
            } else {
                let item = connection.decoder.next(in: &bytes, at: &offset, limits: limits)
                if case .needMore = item { break }
                receive(item, connection, &bytes)
            }
            // What was received may have ended the connection.
            guard connection.isReading else { return }
        }
        if connection.decoder.hasPartialMessage {
            if connection.messageBegan == nil {
                connection.messageBegan = now.instant
                scheduleCheck(connection)
            }
        } else {
            connection.messageBegan = nil
        }
    }

    /// Who has not said who they are is given little room.
    @inline(__always)
    private func limits(of connection: Connection) -> MessageLimits {
        switch connection.phase {
        case .open, .benchEcho, .benchRoom: messageLimits
        default: isUnknown(connection) ? unknownPeerLimits : messageLimits
        }
    }

    private func isUnknown(_ connection: Connection) -> Bool {
        switch connection.phase {
        case .unauthenticated, .probing: true
        case .engine: connection.engine.map { isUnknown($0) } ?? true
        default: false
        }
    }

    private func receive(
        _ item: DecodedItem, _ connection: Connection, _ bytes: inout MutableSpan<UInt8>
    ) {
        switch item {
        case .needMore:
            break
        case .message(let kind, let payload):
            // Each message has its own deadline, also where the next one has begun.
            connection.messageBegan = nil
            Self.withSpan(of: payload, in: &bytes) { span, range in
                receive(WholeMessage(kind: kind, range: range), connection, &span)
            }
        case .ping(let payload):
            guard connection.isWebSocket else { return }
            Self.withSpan(of: payload, in: &bytes) { span, range in
                appendFrame(to: connection, .pong, range, &span)
            }
        case .pong:
            break
        case .close(let code, let reason):
            receiveClose(connection, code, reason, bytes)
        case .violation(let violation):
            if connection.phase == .closing {
                drain(connection)
                return
            }
            disconnect(connection, violation.reason, code: violation.closeCode, "\(violation.text)")
        }
    }

    /// Where the payload lies: in the buffer, or by itself.
    private static func withSpan(
        of payload: Payload, in bytes: inout MutableSpan<UInt8>,
        _ body: (inout MutableSpan<UInt8>, Range<Int>) -> Void
    ) {
        switch payload {
        case .inPlace(let range): body(&bytes, range)
        case .assembled(var whole):
            var span = whole.mutableSpan
            body(&span, 0..<span.count)
        }
    }

    private func receive(
        _ message: WholeMessage, _ connection: Connection, _ bytes: inout MutableSpan<UInt8>
    ) {
        counters[.messagesReceived] += 1
        switch connection.phase {
        case .benchEcho:
            appendFrame(to: connection, message.kind.opcode, message.range, &bytes)
        case .benchRoom:
            guard message.kind == .text else {
                disconnect(connection, .binaryNotAccepted)
                return
            }
            publishToRoom(
                connection, Payload.inPlace(message.range).copy(from: bytes.span))
        case .unauthenticated, .open:
            guard message.kind == .text else {
                disconnect(connection, .binaryNotAccepted)
                return
            }
            let frame = CommandDecoder.decode(
                bytes.span.extracting(message.range), with: &json, limits: limits)
            perform(frame, connection)
        case .engine:
            if let engine = connection.engine {
                receiveEngine(engine, message.kind, message.range, bytes.span)
            }
        case .probing:
            if let engine = connection.engine {
                receiveProbe(engine, connection, message.kind, message.range, bytes.span)
            }
        case .http, .polling, .closing, .draining:
            break
        }
    }

    /// RFC 6455 §5.5.1: a close frame is answered with one, then the TCP connection ends.
    private func receiveClose(
        _ connection: Connection, _ code: CloseCode?, _ reason: Payload,
        _ bytes: borrowing MutableSpan<UInt8>
    ) {
        if connection.phase != .closing {
            leaveSession(connection)
            append(to: connection) { output in
                if let code {
                    CloseFrame.append(code: code, into: &output)
                } else {
                    FrameHeader.encode(opcode: .close, length: 0, into: &output)
                }
            }
        }
        drain(connection)
    }

    /// Everything has been said: send what is left, shut our half, wait for the peer's end.
    func drain(_ connection: Connection) {
        connection.phase = .draining
        connection.http?.inbound = []
        setDeadline(connection, inMs: limits.closeTimeoutMs)
        markDirty(connection)
    }

    /// Begins the closing handshake.
    func disconnect(
        _ connection: Connection, _ reason: DisconnectReason, text: String? = nil
    ) {
        disconnect(connection, reason, code: reason.code, text ?? reason.text)
    }

    private func disconnect(
        _ connection: Connection, _ reason: DisconnectReason, code: CloseCode, _ text: String
    ) {
        if connection.phase == .polling {
            endPolling(connection, reason)
            return
        }
        guard connection.isWebSocket else { return }
        if reason == .slowConsumer { counters[.slowConsumersClosed] += 1 }
        leaveSession(connection)
        connection.phase = .closing
        append(to: connection) { CloseFrame.append(code: code, reason: text, into: &$0) }
        setDeadline(connection, inMs: limits.closeTimeoutMs)
    }

    // MARK: Out

    @inline(__always)
    func append(to connection: Connection, _ write: (inout [UInt8]) -> Void) {
        let before = connection.outbox.count
        connection.outbox.append(from: &pool, write)
        counters[.outboxBytes] += connection.outbox.count - before
        markDirty(connection)
    }

    /// Appends a text frame.
    func send(_ connection: Connection, text: [UInt8]) {
        append(to: connection) { output in
            FrameHeader.encode(opcode: .text, length: text.count, into: &output)
            output.append(contentsOf: text)
        }
        closeIfTooSlow(connection)
    }

    func send(_ session: Session, _ event: EncodedEvent) {
        say(session) { session.encoding.append(event, to: &$0) }
    }

    /// Refuses a request of a session.
    func refuse(_ session: Session, _ id: RequestID, _ error: CommandError) {
        say(session) { session.encoding.appendRefusal(error, to: id, into: &$0) }
    }

    /// Answers a request that was carried out.
    func acknowledge(
        _ session: Session, _ id: RequestID, _ fields: (inout JSONWriter) -> Void
    ) {
        say(session) { session.encoding.appendAck(to: id, into: &$0, fields) }
    }

    /// Nothing where it has ended: what follows a close frame is not read.
    private func say(_ session: Session, _ write: (inout [UInt8]) -> Void) {
        guard isLive(session), let connection = transport(of: session), connection.isOpen else {
            return
        }
        append(to: connection, write)
        closeIfTooSlow(connection)
    }

    /// Ends the connection of a session, and with it all who speak through it.
    func disconnect(_ session: Session, _ reason: DisconnectReason) {
        guard isLive(session), let connection = transport(of: session) else { return }
        disconnect(connection, reason)
    }

    /// Says a payload again that has just come, under a header of our own.
    @inline(__always)
    private func appendFrame(
        to connection: Connection, _ opcode: Opcode, _ payload: Range<Int>,
        _ bytes: inout MutableSpan<UInt8>
    ) {
        if payload.lowerBound >= FrameHeader.headerLength(forPayload: payload.count) {
            // What lies before it has been read, and is mostly its own longer header: one append for
            // ours and it.
            let frame = FrameHeader.write(opcode: opcode, before: payload, in: &bytes)
            append(to: connection) { Self.append(bytes.span, frame, to: &$0) }
        } else {
            append(to: connection) { output in
                FrameHeader.encode(opcode: opcode, length: payload.count, into: &output)
                Self.append(bytes.span, payload, to: &output)
            }
        }
        closeIfTooSlow(connection)
    }

    @inline(__always)
    private static func append(
        _ bytes: Span<UInt8>, _ range: Range<Int>, to output: inout [UInt8]
    ) {
        let fresh = bytes.extracting(range)
        output.append(addingCapacity: fresh.count) { output in
            // There is room for as many; they are initialised by being copied.
            unsafe output.withUnsafeMutableBufferPointer { buffer, count in
                let rest = unsafe UnsafeMutableBufferPointer(rebasing: buffer[count...])
                unsafe fresh.withUnsafeBufferPointer { _ = unsafe rest.initialize(from: $0) }
                count += fresh.count
            }
        }
    }

    /// Judged by what a full socket leaves: a reader that keeps up may be given more at once than its
    /// outbox holds, up to one batch of the lane more.
    ///
    /// Whoever is too slow is told so behind what already waits, and has the closing time to read it:
    /// cutting the stream inside a frame would hide the reason. Where all outboxes together are over
    /// their bound there is no room for that courtesy.
    @inline(__always)
    func closeIfTooSlow(_ connection: Connection) {
        if connection.outbox.count > Self.smallOutbox { judgeReader(connection) }
    }

    private func judgeReader(_ connection: Connection) {
        let count = connection.outbox.count
        if counters[.outboxBytes] > limits.totalOutboxBytes / shardCount {
            counters[.slowConsumersClosed] += 1
            close(connection)
        } else if count > limits.outboxBytes,
            connection.isBlocked || count > limits.outboxBytes + limits.batchBytes
        {
            disconnect(connection, .slowConsumer)
        }
    }

    /// Nobody is judged below this.
    static let smallOutbox = 16_384
}

extension ProtocolViolation {
    fileprivate var reason: DisconnectReason {
        switch closeCode {
        case .invalidPayload: .invalidUTF8
        case .messageTooBig: .messageTooBig
        default: .protocolViolation
        }
    }
}
