/// One packet of Engine.IO protocol 4: a digit, and what follows it.
///
///     "0{…}" open   "1" close   "2…" ping   "3…" pong   "4…" message   "5" upgrade   "6" noop
///
/// A binary message has no digit: it is a binary frame on a WebSocket, and `b` with base64 behind it
/// in a polling payload.
///
/// Source: the Engine.IO protocol, version 4, "Packet encoding".
public enum EnginePacket: UInt8, Sendable, CaseIterable {
    case open = 0x30
    case close
    case ping
    case pong
    case message
    case upgrade
    case noop

    /// The type of a text packet, which is its first byte; nil where there is none, or no such type.
    /// What the packet carries is all that follows that byte.
    public static func type(of text: Span<UInt8>) -> EnginePacket? {
        guard !text.isEmpty else { return nil }
        return EnginePacket(rawValue: text[0])
    }
}
