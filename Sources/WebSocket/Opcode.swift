/// What a frame carries (RFC 6455 §5.2). The values 0x3–0x7 and 0xB–0xF are reserved: a frame that
/// uses one is a protocol violation, so they have no case.
public enum Opcode: UInt8, Sendable, CaseIterable {
    case continuation = 0x0
    case text = 0x1
    case binary = 0x2
    case close = 0x8
    case ping = 0x9
    case pong = 0xA

    /// Control frames are short, never fragmented, and may come between the fragments of a message
    /// (RFC 6455 §5.5).
    public var isControl: Bool { self == .close || self == .ping || self == .pong }

    /// The same as `init(rawValue:)`, which the compiler does not inline: this one runs for each
    /// frame.
    @inline(__always)
    init?(nibble: UInt8) {
        switch nibble {
        case 0x2: self = .binary
        case 0x1: self = .text
        case 0x0: self = .continuation
        case 0x8: self = .close
        case 0x9: self = .ping
        case 0xA: self = .pong
        default: return nil
        }
    }
}

/// The side of the connection that *reads*: a server wants masked frames, a client unmasked ones
/// (RFC 6455 §5.1).
public enum Role: UInt8, Sendable {
    case server
    case client
}

/// The two kinds of message. A text message is valid UTF-8 by the time it is delivered.
public enum MessageKind: UInt8, Sendable {
    case text
    case binary

    /// The opcode of the first frame of such a message.
    public var opcode: Opcode { self == .text ? .text : .binary }
}
