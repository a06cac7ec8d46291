/// What a connection keeps while a frame or a message is incomplete: a header cut short, the frame
/// whose payload is arriving, the fragments so far.
///
/// It is an object of its own so that an idle connection pays one pointer for it. It grows with the
/// bytes received, never with the length announced.
final class PartialMessage {
    /// The first bytes of a header that the buffer cut; `headerCount` of them.
    var headerBytes = InlineArray<14, UInt8>(repeating: 0)
    var headerCount = 0

    /// The frame whose payload is arriving.
    var frame: FrameHeader?
    /// Payload bytes of that frame so far: also the phase of its mask.
    var framePosition = 0
    /// The payload so far, if that frame is a control frame.
    var control: [UInt8] = []

    /// The kind of the open message; nil between messages.
    var kind: MessageKind?
    /// Its payload so far.
    var message: [UInt8] = []
    /// Its frames so far.
    var fragmentCount = 0
    /// The state of its text.
    var validator = UTF8Validator()

    init() {}

    /// A second object with the same contents, which gives the decoder value semantics.
    init(copying other: PartialMessage) {
        headerBytes = other.headerBytes
        headerCount = other.headerCount
        frame = other.frame
        framePosition = other.framePosition
        control = other.control
        kind = other.kind
        message = other.message
        fragmentCount = other.fragmentCount
        validator = other.validator
    }

    /// Starts the payload of a frame.
    func begin(_ header: FrameHeader) {
        frame = header
        framePosition = 0
        switch header.opcode {
        case .text: kind = .text
        case .binary: kind = .binary
        case .continuation, .close, .ping, .pong: break
        }
        if !header.opcode.isControl { fragmentCount += 1 }
    }

    /// Reads a header at `offset`, together with the bytes kept from earlier buffers. When it is
    /// still incomplete, its bytes are kept and `offset` is the end of the buffer.
    func readHeader(
        _ bytes: Span<UInt8>, at offset: inout Int, role: Role, limits: MessageLimits
    ) -> FrameHeaderParse {
        let expectation = FrameExpectation(
            role: role, isInsideMessage: kind != nil, messageLength: message.count,
            fragmentCount: fragmentCount, limits: limits)
        if headerCount == 0 {
            let result = FrameHeader.parse(bytes, at: offset, expecting: expectation)
            switch result {
            case .needMore: keepHeader(bytes, at: &offset)
            case .header(let header): offset += header.headerLength
            case .violation: break
            }
            return result
        }
        // At most 14 rounds a frame, however slowly its bytes drip in.
        while offset < bytes.count {
            headerBytes[headerCount] = bytes[offset]
            headerCount += 1
            offset += 1
            let result = FrameHeader.parse(
                headerBytes.span.extracting(0..<headerCount), at: 0, expecting: expectation)
            switch result {
            case .needMore: continue
            case .header: headerCount = 0
            case .violation: break
            }
            return result
        }
        return .needMore
    }

    /// Keeps the incomplete header that ends the buffer.
    private func keepHeader(_ bytes: Span<UInt8>, at offset: inout Int) {
        while offset < bytes.count {
            headerBytes[headerCount] = bytes[offset]
            headerCount += 1
            offset += 1
        }
    }

    /// Takes the unmasked bytes of `range` as the next piece of the frame's payload.
    ///
    /// - Returns: false when they make a text message impossible.
    func take(_ bytes: Span<UInt8>, in range: Range<Int>, of header: FrameHeader) -> Bool {
        framePosition += range.count
        guard !range.isEmpty else { return true }
        if header.opcode.isControl {
            Self.append(bytes, range, to: &control, atMost: header.payloadLength)
            return true
        }
        if kind == .text && !validator.feed(bytes, in: range) { return false }
        let missing = header.payloadLength - framePosition
        Self.append(
            bytes, range, to: &message, atMost: message.count + range.count + missing)
        return true
    }

    /// Appends with geometric growth, so that a byte costs the same on average however it comes,
    /// but not beyond `ceiling`, the bytes that the frame can still bring.
    private static func append(
        _ bytes: Span<UInt8>, _ range: Range<Int>, to output: inout [UInt8],
        atMost ceiling: Int
    ) {
        let needed = output.count + range.count
        if needed > output.capacity {
            output.reserveCapacity(max(needed, min(2 * output.capacity, ceiling)))
        }
        unsafe bytes.extracting(range).withUnsafeBufferPointer {
            unsafe output.append(contentsOf: $0)
        }
    }
}
