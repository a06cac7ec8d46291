/// What a peer did wrong on the frame level. It ends the connection: the server sends a close frame
/// with `closeCode` and `text`, then closes. Peers cause these in normal traffic, so they are
/// values, never traps.
public enum ProtocolViolation: UInt8, Sendable, CaseIterable {
    /// RSV1–RSV3 without an extension that gives them a meaning (RFC 6455 §5.2).
    case reservedBits
    /// An opcode of 0x3–0x7 or 0xB–0xF (RFC 6455 §5.2).
    case unknownOpcode
    /// A client's frame without a mask (RFC 6455 §5.1).
    case unmaskedFrame
    /// A server's frame with a mask (RFC 6455 §5.1).
    case maskedFrame
    /// A length in more bytes than it needs (RFC 6455 §5.2).
    case nonMinimalLength
    /// A 64-bit length whose top bit is set (RFC 6455 §5.2).
    case lengthTopBit
    /// A control frame of more than 125 bytes (RFC 6455 §5.5).
    case controlFrameTooLong
    /// A control frame without FIN (RFC 6455 §5.5).
    case fragmentedControlFrame
    /// A continuation frame while no message is open (RFC 6455 §5.4).
    case unexpectedContinuation
    /// A new text or binary frame inside an unfinished message (RFC 6455 §5.4).
    case interleavedMessage
    /// A close payload of one byte: a code takes two (RFC 6455 §5.5.1).
    case truncatedCloseCode
    /// A close code that must not be sent (RFC 6455 §7.4).
    case invalidCloseCode
    /// A close reason that is not UTF-8 (RFC 6455 §5.5.1).
    case invalidCloseReason
    /// A text message that is not UTF-8 (RFC 6455 §8.1).
    case invalidUTF8
    /// A data frame over the limit, known from its header alone.
    case frameTooLarge
    /// Fragments that together go over the limit, known from a header alone.
    case messageTooLarge
    /// More fragments than a message may have.
    case tooManyFragments

    /// The code of the close frame that answers it.
    public var closeCode: CloseCode {
        switch self {
        case .invalidCloseReason, .invalidUTF8: .invalidPayload
        case .frameTooLarge, .messageTooLarge: .messageTooBig
        case .tooManyFragments: .policyViolation
        default: .protocolError
        }
    }

    /// The reason of the close frame that answers it: at most 123 bytes of ASCII.
    public var text: StaticString {
        switch self {
        case .reservedBits: "reserved bits set; agree on an extension in the handshake first"
        case .unknownOpcode: "unknown opcode; use 0x0-0x2 or 0x8-0xA"
        case .unmaskedFrame: "a client must mask its frames"
        case .maskedFrame: "a server must not mask its frames"
        case .nonMinimalLength: "length not in its shortest form"
        case .lengthTopBit: "the top bit of a 64-bit length must be 0"
        case .controlFrameTooLong: "a control frame holds at most 125 bytes"
        case .fragmentedControlFrame: "a control frame must not be fragmented"
        case .unexpectedContinuation: "continuation frame without a message to continue"
        case .interleavedMessage: "finish the open message before the next one"
        case .truncatedCloseCode: "a close payload is empty or at least 2 bytes"
        case .invalidCloseCode: "this close code must not be sent"
        case .invalidCloseReason: "close reason is not UTF-8"
        case .invalidUTF8: "text is not UTF-8; send bytes as binary"
        case .frameTooLarge: "frame over the limit"
        case .messageTooLarge: "message over the limit"
        case .tooManyFragments: "too many fragments in one message"
        }
    }
}
