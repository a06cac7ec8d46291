/// How much one peer may send in one piece. Defaults in bytes: frame 1 MB, message 1 MB (10^6), and
/// 64 fragments. Passed to each call rather than stored in each connection.
public struct MessageLimits: Hashable, Sendable {
    /// Payload bytes of one data frame.
    public var frameBytes: Int
    /// Payload bytes of one message, all its fragments together.
    public var messageBytes: Int
    /// Frames of one message; empty ones count, since each costs work.
    public var fragments: Int

    public init(
        frameBytes: Int = 1_000_000, messageBytes: Int = 1_000_000, fragments: Int = 64
    ) {
        precondition(frameBytes >= 0 && messageBytes >= 0 && fragments >= 1)
        self.frameBytes = frameBytes
        self.messageBytes = messageBytes
        self.fragments = fragments
    }
}

/// The unmasked payload of a message or a control frame.
public enum Payload: Sendable {
    /// These indices of the buffer that was handed to `MessageDecoder.next`: the path without a
    /// copy, for a whole frame. Valid until the caller reuses its buffer.
    case inPlace(Range<Int>)
    /// Put together from pieces; owned by the receiver.
    case assembled([UInt8])

    public var count: Int {
        switch self {
        case .inPlace(let range): range.count
        case .assembled(let bytes): bytes.count
        }
    }

    /// A copy of the payload, whichever way it is held.
    ///
    /// - Parameter buffer: the bytes that `next` was called with.
    public func copy(from buffer: Span<UInt8>) -> [UInt8] {
        switch self {
        case .inPlace(let range):
            unsafe buffer.extracting(range).withUnsafeBufferPointer { unsafe [UInt8]($0) }
        case .assembled(let bytes):
            bytes
        }
    }
}

/// A message that lies in the buffer that was handed to `MessageDecoder.nextWhole`.
@frozen public struct WholeMessage: Sendable {
    public let kind: MessageKind
    /// Its unmasked payload. Valid until the caller reuses its buffer.
    public let range: Range<Int>

    @inlinable public init(kind: MessageKind, range: Range<Int>) {
        self.kind = kind
        self.range = range
    }
}

/// One thing that `MessageDecoder.next` found.
public enum DecodedItem: Sendable {
    /// All bytes are consumed; what they began is remembered.
    case needMore
    case message(kind: MessageKind, Payload)
    /// To be answered by a pong with the same payload (RFC 6455 §5.5.3).
    case ping(Payload)
    case pong(Payload)
    /// The peer closes. `code` is nil when its frame was empty (RFC 6455 §7.1.5 calls that 1005).
    /// Bytes after it are discarded.
    case close(code: CloseCode?, reason: Payload)
    /// The peer broke a rule: close with its code. Every later call says the same.
    case violation(ProtocolViolation)
}
