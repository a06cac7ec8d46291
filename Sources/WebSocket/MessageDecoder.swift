/// Turns the bytes of one connection into messages (RFC 6455 §5, §8.1), in any cut: a frame or a
/// header may end in the middle of the buffer and go on in the next one.
///
///                    ┌── whole frame: in place ──┐
///        open ── next ┤                          ├── item, still open
///          │          └── piece: PartialMessage ─┘
///          ├── close frame ── .close ──▶ closed: all that follows is discarded
///          └── broken rule ── .violation ──▶ failed: says the same for ever
///
/// Pull, not callbacks: the caller loops over `next` until `.needMore`, so that it may stop between
/// two messages and come back. Sixteen bytes a connection; while a frame or a message is partial,
/// also one object and the bytes received so far. A copy is an independent decoder.
///
/// Shape of use:
///
///     var offset = 0
///     while true {
///         if let message = decoder.nextWhole(in: &bytes, at: &offset, limits: limits) { … }
///         else switch decoder.next(in: &bytes, at: &offset, limits: limits) {
///         case .needMore: return
///         …
///
/// `nextWhole` only spares the usual message some work: `next` alone finds the same items.
///
/// A message is delivered whole, never beyond `limits`, and a text message is valid UTF-8. Nothing
/// a peer sends traps, and each byte costs amortised constant time.
public struct MessageDecoder {
    /// Nil whenever the connection is between messages: the usual state.
    private var partial: PartialMessage?
    @usableFromInline let role: Role
    /// Set for ever by the first broken rule.
    private var violation: ProtocolViolation?
    /// A close frame came: no data follows it (RFC 6455 §5.5.1).
    private var isClosed = false

    /// - Parameter role: the side that reads.
    public init(role: Role) {
        self.role = role
    }

    /// Whether a frame or a message has begun and not ended. The peer has a deadline for it, which
    /// the caller keeps: this type knows no time.
    public var hasPartialMessage: Bool { partial != nil }

    /// Bytes of payload held for an unfinished frame or message.
    public var heldByteCount: Int {
        guard let partial else { return 0 }
        return partial.message.count + partial.control.count
    }

    /// Reads the next item from `bytes`, starting at `offset`, and moves `offset` behind what it
    /// consumed. Frames are unmasked where they lie, so bytes before `offset` are no longer what
    /// came from the wire.
    ///
    /// - Returns: one item; `.needMore` when the whole buffer is consumed.
    public mutating func next(
        in bytes: inout MutableSpan<UInt8>, at offset: inout Int, limits: MessageLimits
    ) -> DecodedItem {
        precondition(offset >= 0 && offset <= bytes.count)
        if !isBetweenMessages {
            return resume(in: &bytes, at: &offset, limits: limits)
        }
        let parse = FrameHeader.parse(
            bytes.span, at: offset, expecting: FrameExpectation(role: role, limits: limits))
        switch parse {
        case .needMore:
            if offset == bytes.count { return .needMore }
        case .violation(let violation):
            return fail(violation, bytes.count, &offset)
        case .header(let header):
            let start = offset &+ header.headerLength
            if header.isFinal && header.payloadLength <= bytes.count &- start {
                return wholeFrame(header, at: start, in: &bytes, &offset)
            }
        }
        partial = PartialMessage()
        return resume(in: &bytes, at: &offset, limits: limits)
    }

    /// The next item, where it is what browsers send all day: a message in one frame that lies in
    /// the buffer from end to end. Returned as plain numbers, so that nothing is counted or freed.
    ///
    /// - Returns: nil for anything else, also a broken rule; then `next` is to be asked, and finds
    ///   the buffer and `offset` as they were.
    @inline(__always)
    @inlinable
    public mutating func nextWhole(
        in bytes: inout MutableSpan<UInt8>, at offset: inout Int, limits: MessageLimits
    ) -> WholeMessage? {
        precondition(offset >= 0)
        guard isBetweenMessages, role == .server,
            let (kind, range, key) = FrameHeader.parseCommon(
                bytes.span, at: offset, limits: limits)
        else { return nil }
        let isASCII = Masking.apply(key, to: &bytes, in: range)
        guard isASCII || kind == .binary || UTF8Validator.isValid(bytes.span, in: range) else {
            // As it came: masking twice is nothing.
            Masking.apply(key, to: &bytes, in: range)
            return nil
        }
        offset = range.upperBound
        return WholeMessage(kind: kind, range: range)
    }

    @usableFromInline var isBetweenMessages: Bool {
        partial == nil && !isClosed && violation == nil
    }

    /// A frame that lies in the buffer from end to end and is an item by itself.
    @inline(__always)
    private mutating func wholeFrame(
        _ header: FrameHeader, at start: Int, in bytes: inout MutableSpan<UInt8>,
        _ offset: inout Int
    ) -> DecodedItem {
        let range = start..<(start &+ header.payloadLength)
        offset = range.upperBound
        if let key = header.maskingKey { Masking.apply(key, to: &bytes, in: range) }
        switch header.opcode {
        case .text:
            guard UTF8Validator.isValid(bytes.span, in: range) else {
                return fail(.invalidUTF8, bytes.count, &offset)
            }
            return .message(kind: .text, .inPlace(range))
        case .binary:
            return .message(kind: .binary, .inPlace(range))
        case .ping:
            return .ping(.inPlace(range))
        case .pong:
            return .pong(.inPlace(range))
        case .close:
            switch CloseFrame.check(bytes.span, in: range) {
            case .failure(let broken):
                return fail(broken.violation, bytes.count, &offset)
            case .success(let code):
                isClosed = true
                let skipped = min(2, range.count)
                return .close(
                    code: code, reason: .inPlace(range.lowerBound + skipped..<range.upperBound))
            }
        case .continuation:
            preconditionFailure("a continuation frame is no item by itself")
        }
    }

    /// The way for everything but a whole frame between messages.
    private mutating func resume(
        in bytes: inout MutableSpan<UInt8>, at offset: inout Int, limits: MessageLimits
    ) -> DecodedItem {
        if let violation { return fail(violation, bytes.count, &offset) }
        if isClosed {
            offset = bytes.count
            return .needMore
        }
        let partial = ownPartial()
        while true {
            guard let header = partial.frame else {
                guard offset < bytes.count else { return .needMore }
                switch partial.readHeader(bytes.span, at: &offset, role: role, limits: limits) {
                case .needMore:
                    return .needMore
                case .violation(let violation):
                    return fail(violation, bytes.count, &offset)
                case .header(let header):
                    let isItem = header.isFinal && header.opcode != .continuation
                    if isItem && header.payloadLength <= bytes.count - offset {
                        if partial.kind == nil { self.partial = nil }
                        return wholeFrame(header, at: offset, in: &bytes, &offset)
                    }
                    partial.begin(header)
                }
                continue
            }
            guard takePayload(of: header, partial, in: &bytes, &offset) else {
                return fail(.invalidUTF8, bytes.count, &offset)
            }
            guard partial.framePosition == header.payloadLength else { return .needMore }
            partial.frame = nil
            if header.opcode.isControl {
                return endControl(header.opcode, partial, &offset, bytes.count)
            }
            if header.isFinal { return endMessage(partial, &offset, bytes.count) }
        }
    }

    /// The partial message, and nobody else's: a copy of this decoder keeps its own.
    private mutating func ownPartial() -> PartialMessage {
        if isKnownUniquelyReferenced(&partial), let partial { return partial }
        let own = partial.map(PartialMessage.init(copying:)) ?? PartialMessage()
        partial = own
        return own
    }

    /// Unmasks and takes what the buffer holds of the open frame; false for impossible text.
    private func takePayload(
        of header: FrameHeader, _ partial: PartialMessage, in bytes: inout MutableSpan<UInt8>,
        _ offset: inout Int
    ) -> Bool {
        let count = min(header.payloadLength - partial.framePosition, bytes.count - offset)
        let range = offset..<(offset + count)
        offset = range.upperBound
        if let key = header.maskingKey {
            Masking.apply(key, to: &bytes, in: range, phase: partial.framePosition)
        }
        return partial.take(bytes.span, in: range, of: header)
    }

    /// A control frame that came in pieces is complete; an open message around it stays open.
    private mutating func endControl(
        _ opcode: Opcode, _ partial: PartialMessage, _ offset: inout Int, _ end: Int
    ) -> DecodedItem {
        let payload = partial.control
        partial.control = []
        if partial.kind == nil { self.partial = nil }
        switch opcode {
        case .ping: return .ping(.assembled(payload))
        case .pong: return .pong(.assembled(payload))
        default:
            switch CloseFrame.check(payload.span, in: 0..<payload.count) {
            case .failure(let broken):
                return fail(broken.violation, end, &offset)
            case .success(let code):
                isClosed = true
                self.partial = nil
                return .close(code: code, reason: .assembled(Array(payload.dropFirst(2))))
            }
        }
    }

    /// The last byte of the last fragment came.
    private mutating func endMessage(
        _ partial: PartialMessage, _ offset: inout Int, _ end: Int
    ) -> DecodedItem {
        self.partial = nil
        guard let kind = partial.kind else {
            preconditionFailure("a data frame opens a message")
        }
        guard kind == .binary || partial.validator.isComplete else {
            return fail(.invalidUTF8, end, &offset)
        }
        let message = partial.message
        partial.message = []
        return .message(kind: kind, .assembled(message))
    }

    /// Remembers the violation, discards what is held and the rest of the buffer.
    private mutating func fail(
        _ violation: ProtocolViolation, _ end: Int, _ offset: inout Int
    ) -> DecodedItem {
        self.violation = violation
        partial = nil
        offset = end
        return .violation(violation)
    }
}
