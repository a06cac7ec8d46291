/// Drives `MessageDecoder` with arbitrary bytes and checks what must hold for all of them. Pure, so
/// that a fuzzer and a unit test share it.
///
/// Layout of the input: byte 0 chooses the role (bit 0) and small or default limits (bit 1), byte 1
/// seeds the cuts, and the rest comes from the peer.
public enum FrameDecoderExercise {
    /// An item that no longer depends on the buffer, so that two runs can be compared.
    public enum Event: Hashable, Sendable {
        case message(kind: MessageKind, [UInt8])
        case ping([UInt8])
        case pong([UInt8])
        case close(code: UInt16?, reason: [UInt8])
        case violation(ProtocolViolation)
    }

    /// Limits small enough for short inputs to go over each.
    public static let smallLimits = MessageLimits(frameBytes: 200, messageBytes: 300, fragments: 4)

    /// Traps when an invariant does not hold: the items of the whole input differ from those of the
    /// same input in pieces, or asked for by `next` alone, an item goes over its limit, text is not UTF-8, or the buffer is not
    /// consumed.
    public static func run(_ input: Span<UInt8>) {
        guard input.count >= 2 else { return }
        let role: Role = input[0] & 1 == 0 ? .server : .client
        let limits = input[0] & 2 == 0 ? smallLimits : MessageLimits()
        var stream: [UInt8] = []
        for index in 2..<input.count { stream.append(input[index]) }

        let whole = events(of: stream, role: role, limits: limits) { $0 }
        for event in whole { check(event, limits) }
        let slow = events(of: stream, role: role, limits: limits, asksForWhole: false) { $0 }
        precondition(slow == whole, "by next alone \(slow) differs from \(whole)")
        let single = events(of: stream, role: role, limits: limits) { _ in 1 }
        precondition(single == whole, "byte by byte \(single) differs from whole \(whole)")
        var seed = UInt64(input[1]) &+ 1
        let cut = events(of: stream, role: role, limits: limits) { _ in
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(seed >> 60) + 1
        }
        precondition(cut == whole, "in pieces \(cut) differs from whole \(whole)")
    }

    /// The events of `stream` when it arrives in pieces: `pieceLength` is asked, with the bytes
    /// left, for the length of each. `asksForWhole`: as the gateway does, by `nextWhole` first.
    public static func events(
        of stream: [UInt8], role: Role, limits: MessageLimits, asksForWhole: Bool = true,
        pieceLength: (Int) -> Int
    ) -> [Event] {
        var decoder = MessageDecoder(role: role)
        var events: [Event] = []
        var position = 0
        while position < stream.count {
            let length = min(max(1, pieceLength(stream.count - position)), stream.count - position)
            var piece = Array(stream[position..<(position + length)])
            position += length
            let isOver = feed(
                &piece, to: &decoder, limits: limits, asksForWhole: asksForWhole, into: &events)
            if isOver { break }
            precondition(decoder.heldByteCount <= position, "more is held than was received")
            precondition(
                decoder.heldByteCount
                    <= limits.messageBytes + FrameHeader.longestControlPayload,
                "more is held than a message and a control frame may have")
            precondition(decoder.hasPartialMessage || decoder.heldByteCount == 0)
        }
        return events
    }

    /// - Returns: true after a violation, which must then be repeated.
    private static func feed(
        _ piece: inout [UInt8], to decoder: inout MessageDecoder, limits: MessageLimits,
        asksForWhole: Bool, into events: inout [Event]
    ) -> Bool {
        var bytes = piece.mutableSpan
        var offset = 0
        while true {
            let before = offset
            if asksForWhole {
                let untouched = Payload.inPlace(before..<bytes.count).copy(from: bytes.span)
                if let message = decoder.nextWhole(in: &bytes, at: &offset, limits: limits) {
                    precondition(
                        offset > before && offset <= bytes.count, "the offset left the buffer")
                    events.append(
                        .message(
                            kind: message.kind,
                            Payload.inPlace(message.range).copy(from: bytes.span)))
                    continue
                }
                precondition(offset == before, "nil, and yet something was consumed")
                precondition(
                    Payload.inPlace(before..<bytes.count).copy(from: bytes.span) == untouched,
                    "nil, and yet the buffer is not as it was")
            }
            let item = decoder.next(in: &bytes, at: &offset, limits: limits)
            precondition(offset >= before && offset <= bytes.count, "the offset left the buffer")
            switch item {
            case .needMore:
                precondition(offset == bytes.count, "bytes were left behind")
                return false
            case .message(let kind, let payload):
                events.append(.message(kind: kind, payload.copy(from: bytes.span)))
            case .ping(let payload):
                events.append(.ping(payload.copy(from: bytes.span)))
            case .pong(let payload):
                events.append(.pong(payload.copy(from: bytes.span)))
            case .close(let code, let reason):
                events.append(
                    .close(code: code?.rawValue, reason: reason.copy(from: bytes.span)))
            case .violation(let violation):
                events.append(.violation(violation))
                guard
                    case .violation(violation) = decoder.next(
                        in: &bytes, at: &offset, limits: limits)
                else { preconditionFailure("a violation is for ever") }
                return true
            }
        }
    }

    private static func check(_ event: Event, _ limits: MessageLimits) {
        switch event {
        case .message(let kind, let bytes):
            precondition(bytes.count <= limits.messageBytes, "a message over the limit")
            precondition(kind == .binary || isUTF8(bytes), "a text message that is not UTF-8")
        case .ping(let bytes), .pong(let bytes):
            precondition(bytes.count <= FrameHeader.longestControlPayload)
        case .close(let code, let reason):
            precondition(code.map { CloseCode(rawValue: $0).isValidOnWire } ?? reason.isEmpty)
            precondition(reason.count <= CloseFrame.longestReason && isUTF8(reason))
        case .violation(let violation):
            precondition(violation.closeCode.isValidOnWire)
        }
    }

    /// The standard library's opinion, independent of `UTF8Validator`.
    private static func isUTF8(_ bytes: [UInt8]) -> Bool {
        String(validating: bytes, as: UTF8.self) != nil
    }
}
