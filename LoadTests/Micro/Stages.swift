import Basics
import Domain
import WebSocket
import Wire

/// Frames of one read, as a browser sends them.
final class FrameDecode: Bench {
    let unitsPerRound = 64
    private let frames: [UInt8]
    private var buffer: [UInt8]
    private var decoder = MessageDecoder(role: .server)

    init() {
        var bytes: [UInt8] = []
        for _ in 0..<unitsPerRound {
            bytes += maskedFrame(Array(repeating: UInt8(ascii: "x"), count: 128))
        }
        frames = bytes
        buffer = bytes
    }

    func round() {
        // The frames as they came: decoding unmasks them where they lie. A local buffer for as long
        // as a span looks into it.
        var bytes: [UInt8] = []
        swap(&bytes, &buffer)
        bytes.removeAll(keepingCapacity: true)
        bytes.append(contentsOf: frames)
        var span = bytes.mutableSpan
        var offset = 0
        var count = 0
        while offset < span.count {
            guard decoder.nextWhole(in: &span, at: &offset, limits: MessageLimits()) != nil
            else { preconditionFailure("the decoder refuses a frame") }
            count += 1
        }
        precondition(count == unitsPerRound)
        swap(&bytes, &buffer)
    }
}

/// A `message.send` as clients write it.
let sendText = Array(
    (#"{"type":"message.send","id":"42","payload":{"chatId":"0192f3a1-7c5d-7abc-8def-0123456789ab","#
        + #""clientMsgId":"5f3c1e9a-2b4d-4c6e-8f0a-1b2c3d4e5f60","encryptedContent":""#
        + String(repeating: "c", count: 88) + #"","type":"text"}}"#).utf8)

final class JSONRead: Bench {
    let unitsPerRound = 1
    private var reader = JSONReader(hashSeed: 1)

    func round() {
        do throws(JSONError) {
            try reader.parse(sendText.span)
        } catch {
            preconditionFailure("\(error.text)")
        }
    }
}

final class CommandDecode: Bench {
    let unitsPerRound = 1
    private var reader = JSONReader(hashSeed: 1)
    private let limits = Limits()

    func round() {
        let frame = CommandDecoder.decode(sendText.span, with: &reader, limits: limits)
        guard case .success(.send) = frame.command else {
            preconditionFailure("the decoder refuses a command")
        }
    }
}

final class EventEncode: Bench {
    let unitsPerRound = 1
    private let entry = LogEntry(
        chat: ChatID(trusted: "0192f3a1-7c5d-7abc-8def-0123456789ab"), seq: 123_456,
        id: MessageID(trusted: "0192f3a1-7c5d-7abc-8def-0123456789ac"),
        author: UserID(trusted: "alice"), device: DeviceID(trusted: "phone"),
        createdAt: WallTime(milliseconds: 1_767_225_600_000),
        body: .message(
            Message(
                encryptedContent: Array(repeating: UInt8(ascii: "c"), count: 88), type: "text")))
    private var output: [UInt8] = []

    func round() {
        let event = EventEncoder.entry(entry)
        output.removeAll(keepingCapacity: true)
        FrameHeader.encode(opcode: .text, length: event.textCount(in: .v1), into: &output)
        event.append(in: .v1, to: &output)
    }
}

/// A client's frame around `payload`.
func maskedFrame(_ payload: [UInt8]) -> [UInt8] {
    let key = MaskingKey(0x12, 0x34, 0x56, 0x78)
    var bytes: [UInt8] = []
    FrameHeader.encode(opcode: .text, length: payload.count, mask: key, into: &bytes)
    let start = bytes.count
    bytes += payload
    var span = bytes.mutableSpan
    Masking.apply(key, to: &span, in: start..<span.count)
    return bytes
}
