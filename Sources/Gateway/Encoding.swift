import Wire

/// How events lie on the wire of a connection: their names and their framing together. A pass of
/// the fan-out makes its bytes once an encoding, whatever the number of connections that share it.
///
/// Not the same as a dialect: the same names may go out in other frames, and dialects that differ
/// only in what their clients expect may share their bytes.
enum Encoding: UInt8, CaseIterable {
    /// The names of `Dialect.v1`, each event in a WebSocket text frame.
    case v1Frames
    /// The names of `Dialect.ws`, likewise.
    case wsFrames

    /// Of a plain WebSocket.
    init(framing dialect: Dialect) {
        switch dialect {
        case .v1: self = .v1Frames
        case .ws: self = .wsFrames
        }
    }

    var dialect: Dialect {
        switch self {
        case .v1Frames: .v1
        case .wsFrames: .ws
        }
    }
}

/// One of something for each encoding, by its raw value, without memory of its own.
typealias PerEncoding<Value> = InlineArray<2, Value>
