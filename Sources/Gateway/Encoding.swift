import Domain
import SocketIO
import WebSocket
import Wire

/// How events lie on the wire of a subscriber: their names and their framing together. A pass of
/// the fan-out makes its bytes once an encoding, whatever the number of subscribers that share it.
///
/// Not the same as a dialect: the same names may go out in other frames, and dialects that differ
/// only in what their clients expect may share their bytes.
///
///     0 … 1   plain: the names of v1, of ws, each event in a text frame
///     2 …     Socket.IO: by namespace, by names (the family's, or v1), by transport
///     22 …    the same with offsets (`RecoveryOffset`)
struct Encoding: Hashable {
    let rawValue: UInt8

    private init(_ rawValue: UInt8) { self.rawValue = rawValue }

    /// The names of `Dialect.v1`, each event in a WebSocket text frame.
    static let v1Frames = Encoding(0)
    /// The names of `Dialect.ws`, likewise.
    static let wsFrames = Encoding(1)

    private static let socketCount: UInt8 = 20
    static let count = 2 + 2 * Int(socketCount)

    init?(rawValue: UInt8) {
        guard rawValue < Encoding.count else { return nil }
        self.rawValue = rawValue
    }

    /// Of a plain WebSocket; `dialect` is v1 or ws.
    init(framing dialect: Dialect) { self = dialect == .v1 ? .v1Frames : .wsFrames }

    /// Of a namespace of Socket.IO.
    ///
    /// - Parameters:
    ///   - isCanonical: with the names of v1, and not those of the family of the namespace.
    ///   - isPolling: a record of a polling payload, and no frame.
    ///   - hasOffsets: behind the argument of a log's entry stands where it is.
    init(_ namespace: Namespace, isCanonical: Bool, isPolling: Bool, hasOffsets: Bool) {
        rawValue =
            2 + namespace.rawValue * 4 + (isCanonical ? 2 : 0) + (isPolling ? 1 : 0)
            + (hasOffsets ? Self.socketCount : 0)
    }

    /// nil for a plain WebSocket.
    var namespace: Namespace? {
        rawValue < 2 ? nil : Namespace(rawValue: (rawValue - 2) % Self.socketCount / 4)
    }

    var hasOffsets: Bool { rawValue >= 2 + Self.socketCount }

    var isSocketIO: Bool { rawValue >= 2 }
    var isPolling: Bool { rawValue >= 2 && rawValue & 1 != 0 }

    var dialect: Dialect {
        guard let namespace else { return self == .v1Frames ? .v1 : .ws }
        if (rawValue - 2) & 2 != 0 { return .v1 }
        return namespace == .root ? .root : .ns
    }

    /// The same on the other transport.
    func moved(toPolling isPolling: Bool) -> Encoding {
        guard let namespace else { return self }
        return Encoding(
            namespace, isCanonical: dialect == .v1, isPolling: isPolling, hasOffsets: hasOffsets)
    }

    // MARK: Writing

    /// Appends an event: a frame, or a record, or several.
    func append(_ event: EncodedEvent, to output: inout [UInt8]) {
        guard let namespace else {
            guard !event.isForLegacyOnly else { return }
            FrameHeader.encode(
                opcode: .text, length: event.textCount(in: dialect), into: &output)
            event.append(in: dialect, to: &output)
            return
        }
        guard namespace.hears(event.name) else { return }
        let offset = hasOffsets ? event.offset : nil
        event.forEachSocketEvent(in: dialect) { name, payload in
            appendPacket("42", namespace, nil, to: &output) { text in
                text.append(UInt8(ascii: "["))
                text.append(UInt8(ascii: "\""))
                text.append(name)
                text.append(UInt8(ascii: "\""))
                text.append(UInt8(ascii: ","))
                text += payload
                if let offset {
                    text.append(UInt8(ascii: ","))
                    var string = JSONWriter(capacity: 64)
                    string.string(offset.text)
                    text += string.bytes
                }
                text.append(UInt8(ascii: "]"))
            }
        }
    }

    /// What `append` appends of an event, or more.
    func byteCount(of event: EncodedEvent) -> Int {
        guard namespace != nil else {
            let count = event.textCount(in: dialect)
            return FrameHeader.headerLength(forPayload: count) + count
        }
        return event.payload.count + 96 + (hasOffsets ? RecoveryOffset.maximumBytes : 0)
    }

    /// Appends the answer to a request that was carried out.
    func appendAck(
        to id: RequestID, into output: inout [UInt8], _ fields: (inout JSONWriter) -> Void
    ) {
        if let namespace {
            append(answer: EventEncoder.ackPayload(fields), to: id, namespace, into: &output)
        } else {
            append(text: EventEncoder.ack(id, in: dialect, fields), to: &output)
        }
    }

    /// Appends the answer to a request that was refused.
    func appendRefusal(_ error: CommandError, to id: RequestID, into output: inout [UInt8]) {
        if let namespace {
            append(answer: EventEncoder.refusalPayload(error), to: id, namespace, into: &output)
        } else {
            let text = EventEncoder.refusal(error, id: id, event: nil, in: dialect)
            append(text: text, to: &output)
        }
    }

    private func append(
        answer payload: [UInt8], to id: RequestID, _ namespace: Namespace,
        into output: inout [UInt8]
    ) {
        guard case .integer(let number) = id else { return }
        appendPacket("43", namespace, number, to: &output) { text in
            text.append(UInt8(ascii: "["))
            text += payload
            text.append(UInt8(ascii: "]"))
        }
    }

    /// Appends a packet of Socket.IO.
    ///
    /// - Parameter types: of the Engine.IO packet and of the Socket.IO packet in it, two digits.
    private func appendPacket(
        _ types: StaticString, _ namespace: Namespace, _ id: Int64?, to output: inout [UInt8],
        _ payload: (inout [UInt8]) -> Void
    ) {
        var text: [UInt8] = []
        text.append(types)
        text.append(namespace.prefix)
        if let id { text += Array("\(id)".utf8) }
        payload(&text)
        append(text: text, to: &output)
    }

    /// Appends a text as it is: a frame, or a record.
    func append(text: [UInt8], to output: inout [UInt8]) {
        EngineFraming(isPolling: isPolling).append(text: text, to: &output)
    }
}

/// How the packets of Engine.IO lie on a transport.
struct EngineFraming {
    var isPolling: Bool

    func append(text: [UInt8], to output: inout [UInt8]) {
        if isPolling {
            output += text
            output.append(PollingPayload.separator)
        } else {
            FrameHeader.encode(opcode: .text, length: text.count, into: &output)
            output += text
        }
    }

    func append(binary: [UInt8], to output: inout [UInt8]) {
        if isPolling {
            PollingPayload.append(binary: binary.span, to: &output)
        } else {
            FrameHeader.encode(opcode: .binary, length: binary.count, into: &output)
            output += binary
        }
    }
}

extension Namespace {
    /// Which events are told in it; in the main one all.
    func hears(_ event: EventName) -> Bool {
        switch event {
        case .messageNew, .messageStored, .receipt, .typing, .chatChanged, .caughtUp:
            self == .root || self == .messages
        case .notification, .topicEvent:
            self == .root || self == .notifications
        case .ack, .error, .sessionReady, .sessionExpiring:
            true
        }
    }

    /// Which commands it takes; others it does not know.
    func takes(_ command: CommandName) -> Bool {
        switch command {
        case .authenticate: true
        case .join, .leave, .send, .acknowledge, .read, .type, .resume:
            self == .root || self == .messages
        case .subscribe, .unsubscribe:
            self == .root || self == .notifications
        }
    }
}

extension [UInt8] {
    mutating func append(_ text: StaticString) {
        // A literal lives as long as the program.
        unsafe append(
            contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}
