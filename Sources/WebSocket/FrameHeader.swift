/// The head of one frame (RFC 6455 §5.2).
///
///      0                   1                   2                   3
///      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     +-+-+-+-+-------+-+-------------+-------------------------------+
///     |F|R|R|R| opcode|M| length (7)  | length (16 or 64), if 126/127 |
///     |I|S|S|S|  (4)  |A|             |                               |
///     |N|V|V|V|       |S|             |   then, if MASK, the 4 bytes  |
///     | |1|2|3|       |K|             |   of the masking key          |
///     +-+-+-+-+-------+-+-------------+-------------------------------+
public struct FrameHeader: Hashable, Sendable {
    public var opcode: Opcode
    /// FIN: this is the last frame of its message.
    public var isFinal: Bool
    /// Nil for a frame from a server.
    public var maskingKey: MaskingKey?
    /// Bytes of payload that follow the header.
    public var payloadLength: Int
    /// Bytes of the header itself: 2–14.
    public var headerLength: Int

    /// The longest header: 2 bytes, a 64-bit length, a masking key.
    public static let longest = 14
    /// The longest header that a server sends.
    public static let longestFromServer = 10
    /// The most payload bytes of a control frame (RFC 6455 §5.5).
    @inlinable public static var longestControlPayload: Int { 125 }
}

/// What the reader of a frame knows before it: the header is held against this.
struct FrameExpectation {
    var role: Role
    /// A message has begun and its last fragment has not come.
    var isInsideMessage = false
    /// Payload bytes of that message so far.
    var messageLength = 0
    /// Frames of that message so far.
    var fragmentCount = 0
    var limits: MessageLimits
}

/// What `FrameHeader.parse` found.
enum FrameHeaderParse {
    /// The bytes end inside the header and break no rule so far.
    case needMore
    case header(FrameHeader)
    case violation(ProtocolViolation)
}

// MARK: - Parsing

extension FrameHeader {
    /// Reads the header at `start` and holds it against everything that can be known from it.
    ///
    /// Each check runs as soon as its bytes are there (the first two, then the length, then the
    /// key), always in this order, so that a header gives the same answer however it is cut.
    @inline(__always)
    static func parse(
        _ bytes: Span<UInt8>, at start: Int, expecting expectation: FrameExpectation
    ) -> FrameHeaderParse {
        let available = bytes.count &- start
        guard available >= 2 else { return .needMore }
        let first = bytes[start]
        let second = bytes[start &+ 1]

        if let violation = reservedBitsViolation(first) { return .violation(violation) }
        guard let opcode = Opcode(nibble: first & 0x0F) else {
            return .violation(.unknownOpcode)
        }
        let isFinal = first & 0x80 != 0
        let isMasked = second & 0x80 != 0
        if isMasked != (expectation.role == .server) {
            return .violation(isMasked ? .maskedFrame : .unmaskedFrame)
        }
        let shortLength = second & 0x7F
        if opcode.isControl {
            guard isFinal else { return .violation(.fragmentedControlFrame) }
            guard shortLength <= longestControlPayload else {
                return .violation(.controlFrameTooLong)
            }
        } else if expectation.isInsideMessage {
            guard opcode == .continuation else { return .violation(.interleavedMessage) }
            guard expectation.fragmentCount < expectation.limits.fragments else {
                return .violation(.tooManyFragments)
            }
        } else if opcode == .continuation {
            return .violation(.unexpectedContinuation)
        }

        var headerLength = 2
        var length = UInt64(shortLength)
        if shortLength == 126 {
            guard available >= 4 else { return .needMore }
            length = UInt64(bytes[start &+ 2]) << 8 | UInt64(bytes[start &+ 3])
            headerLength = 4
            guard length > 125 else { return .violation(.nonMinimalLength) }
        } else if shortLength == 127 {
            guard available >= 10 else { return .needMore }
            length = 0
            for index in 2..<10 { length = length << 8 | UInt64(bytes[start &+ index]) }
            headerLength = 10
            guard length >> 63 == 0 else { return .violation(.lengthTopBit) }
            guard length > 0xFFFF else { return .violation(.nonMinimalLength) }
        }
        if !opcode.isControl {
            // Compared as UInt64 before it becomes an Int: the peer chose this number.
            guard length <= UInt64(expectation.limits.frameBytes) else {
                return .violation(.frameTooLarge)
            }
            guard
                Int(length) <= expectation.limits.messageBytes &- expectation.messageLength
            else { return .violation(.messageTooLarge) }
        }

        var maskingKey: MaskingKey?
        if isMasked {
            guard available >= headerLength &+ 4 else { return .needMore }
            let key = start &+ headerLength
            maskingKey = MaskingKey(
                bytes[key], bytes[key &+ 1], bytes[key &+ 2], bytes[key &+ 3])
            headerLength &+= 4
        }
        return .header(
            FrameHeader(
                opcode: opcode, isFinal: isFinal, maskingKey: maskingKey,
                payloadLength: Int(length), headerLength: headerLength))
    }

    /// What a browser sends all day: a masked, final text or binary frame of up to 65,535 bytes
    /// that lies in the buffer from end to end. Read from one word, for 10 ns less.
    ///
    /// Nil for every other frame, and for one that breaks a rule: `parse` judges those, and is the
    /// reference that tests hold this against.
    @inline(__always)
    @inlinable
    static func parseCommon(
        _ bytes: Span<UInt8>, at start: Int, limits: MessageLimits
    ) -> (kind: MessageKind, payload: Range<Int>, key: MaskingKey)? {
        guard bytes.count &- start >= 8 else { return nil }
        // In bounds by the guard; every bit pattern is a valid UInt64.
        let word = UInt64(
            littleEndian: unsafe bytes.bytes.unsafeLoadUnaligned(
                fromUncheckedByteOffset: start, as: UInt64.self))
        let first = UInt8(truncatingIfNeeded: word)
        guard first == 0x81 || first == 0x82, word & 0x8000 != 0 else { return nil }
        var length = Int(truncatingIfNeeded: word &>> 8 & 0x7F)
        var headerLength = 6
        var key = UInt32(truncatingIfNeeded: word &>> 16)
        if length >= 126 {
            guard length == 126 else { return nil }
            length = Int(UInt16(truncatingIfNeeded: word &>> 16).byteSwapped)
            guard length >= 126 else { return nil }
            headerLength = 8
            key = UInt32(truncatingIfNeeded: word &>> 32)
        }
        guard length <= limits.frameBytes && length <= limits.messageBytes else { return nil }
        let payload = start &+ headerLength
        guard length <= bytes.count &- payload else { return nil }
        return (
            first == 0x81 ? .text : .binary, payload..<(payload &+ length), MaskingKey(word: key)
        )
    }

    /// The one place that judges RSV1–RSV3. No extension is agreed on yet, so each must be 0;
    /// permessage-deflate (RFC 7692 §6) gives RSV1 of a message's first data frame its meaning
    /// here, and the header a field for it.
    @inline(__always)
    private static func reservedBitsViolation(_ firstByte: UInt8) -> ProtocolViolation? {
        firstByte & 0x70 == 0 ? nil : .reservedBits
    }
}

// MARK: - Encoding

extension FrameHeader {
    /// Bytes of a server's header (no mask) before `length` bytes of payload: 2, 4 or 10.
    @inlinable
    public static func headerLength(forPayload length: Int) -> Int {
        length <= 125 ? 2 : length <= 0xFFFF ? 4 : 10
    }

    /// Appends a server's header, unmasked, in its shortest form.
    ///
    /// - Parameter length: payload bytes that will follow, ≥ 0; ≤ 125 in a control frame.
    public static func encode(
        opcode: Opcode, fin: Bool = true, length: Int, into output: inout [UInt8]
    ) {
        encode(opcode: opcode, fin: fin, length: length, maskBit: 0, into: &output)
    }

    /// Appends a client's header with its masking key. The caller masks the payload itself
    /// (`Masking.apply`).
    public static func encode(
        opcode: Opcode, fin: Bool = true, length: Int, mask: MaskingKey,
        into output: inout [UInt8]
    ) {
        encode(opcode: opcode, fin: fin, length: length, maskBit: 0x80, into: &output)
        for index in 0..<4 { output.append(mask.byte(at: index)) }
    }

    /// Writes the header of a server's final frame in front of its payload, so that the two lie
    /// together. Where the payload came in a client's frame there is room: its header was longer
    /// by the masking key.
    ///
    /// - Parameters:
    ///   - payload: where it lies in `bytes`, `headerLength(forPayload:)` bytes or more after the
    ///     beginning; ≤ 125 bytes long in a control frame.
    /// - Returns: where the frame lies.
    @inline(__always)
    @inlinable
    public static func write(
        opcode: Opcode, before payload: Range<Int>, in bytes: inout MutableSpan<UInt8>
    ) -> Range<Int> {
        let length = payload.count
        checkEncodable(opcode: opcode, fin: true, length: length)
        let start = payload.lowerBound - headerLength(forPayload: length)
        precondition(start >= 0 && payload.upperBound <= bytes.count, "no room for a header")
        // The header's bytes end where the payload begins; `start` is inside.
        var raw = unsafe bytes.mutableBytes
        let first = opcode.rawValue | 0x80
        if length <= 125 {
            let word = UInt16(first) | UInt16(truncatingIfNeeded: length) &<< 8
            unsafe raw.storeBytes(
                of: word.littleEndian, toUncheckedByteOffset: start, as: UInt16.self)
        } else if length <= 0xFFFF {
            let swapped = UInt32(UInt16(truncatingIfNeeded: length).byteSwapped)
            let word = UInt32(first) | 126 &<< 8 | swapped &<< 16
            unsafe raw.storeBytes(
                of: word.littleEndian, toUncheckedByteOffset: start, as: UInt32.self)
        } else {
            let word = UInt16(first) | 127 &<< 8
            unsafe raw.storeBytes(
                of: word.littleEndian, toUncheckedByteOffset: start, as: UInt16.self)
            unsafe raw.storeBytes(
                of: UInt64(length).bigEndian, toUncheckedByteOffset: start &+ 2, as: UInt64.self)
        }
        return start..<payload.upperBound
    }

    private static func encode(
        opcode: Opcode, fin: Bool, length: Int, maskBit: UInt8, into output: inout [UInt8]
    ) {
        checkEncodable(opcode: opcode, fin: fin, length: length)
        output.append(opcode.rawValue | (fin ? 0x80 : 0))
        if length <= 125 {
            output.append(UInt8(length) | maskBit)
        } else if length <= 0xFFFF {
            output.append(126 | maskBit)
            output.append(UInt8(length >> 8))
            output.append(UInt8(length & 0xFF))
        } else {
            output.append(127 | maskBit)
            for shift in stride(from: 56, through: 0, by: -8) {
                output.append(UInt8(length >> shift & 0xFF))
            }
        }
    }

    @inline(__always)
    @inlinable
    static func checkEncodable(opcode: Opcode, fin: Bool, length: Int) {
        precondition(length >= 0, "negative payload length")
        precondition(
            !opcode.isControl || (fin && length <= longestControlPayload),
            "a control frame is final and holds at most 125 bytes")
    }
}
