import WebSocket

typealias Event = FrameDecoderExercise.Event

/// A frame spelled out, so that a test can break any rule of it.
func rawFrame(
    _ firstByte: UInt8, length: LengthForm? = nil, mask: MaskingKey? = MaskingKey(1, 2, 3, 4),
    _ payload: [UInt8]
) -> [UInt8] {
    let form =
        length
        ?? (payload.count <= 125
            ? .short(UInt8(payload.count))
            : payload.count <= 0xFFFF ? .word(UInt16(payload.count)) : .long(UInt64(payload.count)))
    let maskBit: UInt8 = mask == nil ? 0 : 0x80
    var bytes = [firstByte]
    switch form {
    case .short(let value):
        bytes.append(value | maskBit)
    case .word(let value):
        bytes += [126 | maskBit, UInt8(value >> 8), UInt8(value & 0xFF)]
    case .long(let value):
        bytes.append(127 | maskBit)
        bytes += stride(from: 56, through: 0, by: -8).map { UInt8(value >> UInt64($0) & 0xFF) }
    }
    if let mask { bytes += (0..<4).map(mask.byte(at:)) }
    bytes += payload.enumerated().map { $1 ^ (mask?.byte(at: $0) ?? 0) }
    return bytes
}

/// How a frame announces its length.
enum LengthForm {
    case short(UInt8)
    case word(UInt16)
    case long(UInt64)
}

/// A correct masked frame.
func frame(_ opcode: Opcode, _ payload: [UInt8] = [], fin: Bool = true) -> [UInt8] {
    rawFrame(opcode.rawValue | (fin ? 0x80 : 0), payload)
}

func frame(_ opcode: Opcode, _ text: String, fin: Bool = true) -> [UInt8] {
    frame(opcode, Array(text.utf8), fin: fin)
}

/// The events of a stream that arrives whole.
func decode(
    _ stream: [UInt8], role: Role = .server, limits: MessageLimits = MessageLimits()
) -> [Event] {
    FrameDecoderExercise.events(of: stream, role: role, limits: limits) { $0 }
}

func text(_ string: String) -> Event { .message(kind: .text, Array(string.utf8)) }

/// SplitMix64: a seed gives the same sequence everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
