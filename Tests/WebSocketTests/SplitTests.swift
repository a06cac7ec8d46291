import Foundation
import Testing

@testable import WebSocket

@Suite("A stream means the same in any pieces")
struct SplitTests {
    /// Every kind of frame, with fragments, control frames between them and characters cut.
    private static let stream: [UInt8] =
        frame(.text, "Hello, wörld €") + frame(.binary, [UInt8](0..<140)) + frame(.ping, "ping")
        + frame(.text, [0xF0, 0x9F], fin: false) + frame(.pong)
        + frame(.continuation, [0x98], fin: false)
        + frame(.continuation, fin: false) + frame(.continuation, [0x80, 0x21])
        + frame(.binary, fin: false) + frame(.ping, [1, 2]) + frame(.continuation, [9])
        + frame(.text) + frame(.close, [0x03, 0xE8] + Array("gödbye".utf8)) + frame(.text, "late")

    private static let events: [Event] = [
        text("Hello, wörld €"), .message(kind: .binary, [UInt8](0..<140)),
        .ping(Array("ping".utf8)), .pong([]), text("😀!"), .ping([1, 2]),
        .message(kind: .binary, [9]), text(""), .close(code: 1000, reason: Array("gödbye".utf8)),
    ]

    @Test("Cut in two at every byte")
    func everyCut() {
        #expect(decode(Self.stream) == Self.events)
        for cut in 1..<Self.stream.count {
            var isFirst = true
            let events = FrameDecoderExercise.events(
                of: Self.stream, role: .server, limits: MessageLimits()
            ) { rest in
                defer { isFirst = false }
                return isFirst ? cut : rest
            }
            #expect(events == Self.events, "cut at \(cut)")
        }
    }

    @Test("In pieces of each size", arguments: 1...40)
    func everySize(size: Int) {
        let events = FrameDecoderExercise.events(
            of: Self.stream, role: .server, limits: MessageLimits()
        ) { _ in size }
        #expect(events == Self.events)
    }

    @Test("Cut in three at every pair of bytes of a fragmented message")
    func everyPair() {
        let stream =
            frame(.text, "é", fin: false) + frame(.ping, "!") + frame(.continuation, "€")
        let expected = decode(stream)
        #expect(expected == [.ping([0x21]), text("é€")])
        for first in 1..<(stream.count - 1) {
            for second in 1..<(stream.count - first) {
                var pieces = [first, second]
                let events = FrameDecoderExercise.events(
                    of: stream, role: .server, limits: MessageLimits()
                ) { rest in pieces.isEmpty ? rest : pieces.removeFirst() }
                #expect(events == expected)
            }
        }
    }

    @Test("A megabyte that drips in a byte at a time takes linear work")
    func drip() {
        let payload = [UInt8](repeating: 0x61, count: 1_000_000)
        let events = FrameDecoderExercise.events(
            of: frame(.text, payload), role: .server, limits: MessageLimits()
        ) { _ in 1 }
        // Copying what is held for each byte would be 5 × 10^11 bytes: this test would not end.
        #expect(events == [.message(kind: .text, payload)])
    }

    @Test("5,000 seeded streams of good and broken frames keep the invariants")
    func seededFrames() {
        for seed in UInt64(0)..<5_000 {
            var generator = SeededGenerator(seed: seed)
            var input: [UInt8] = [
                UInt8.random(in: 0...3, using: &generator) & 2,
                UInt8.random(in: 0...255, using: &generator),
            ]
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                input += Self.randomFrame(&generator)
            }
            FrameDecoderExercise.run(input.span)
        }
    }

    @Test("5,000 seeded strings of random bytes keep the invariants")
    func seededBytes() {
        for seed in UInt64(0)..<5_000 {
            var generator = SeededGenerator(seed: seed ^ 0xABCD)
            let count = Int.random(in: 0...60, using: &generator)
            let input = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            FrameDecoderExercise.run(input.span)
        }
    }

    /// Mostly correct, sometimes with a byte of the header changed.
    private static func randomFrame(_ generator: inout SeededGenerator) -> [UInt8] {
        let opcodes: [Opcode] = [
            .text, .binary, .continuation, .continuation, .ping, .pong, .close,
        ]
        let opcode = opcodes.randomElement(using: &generator)!
        let isFinal = opcode.isControl || Bool.random(using: &generator)
        let isLong = !opcode.isControl && Int.random(in: 0..<6, using: &generator) == 0
        var payload = (0..<Int.random(in: 0...(isLong ? 220 : 12), using: &generator)).map { _ in
            UInt8.random(in: 0x20...0x7E, using: &generator)
        }
        if opcode == .close && payload.count >= 2 { payload[0...1] = [0x03, 0xE8] }
        if !payload.isEmpty && Int.random(in: 0..<4, using: &generator) == 0 {
            payload[payload.count - 1] = UInt8.random(in: 0x80...0xFF, using: &generator)
        }
        var bytes = frame(opcode, payload, fin: isFinal)
        if Int.random(in: 0..<12, using: &generator) == 0 {
            bytes[Int.random(in: 0...1, using: &generator)] ^=
                1 << UInt8.random(in: 0...7, using: &generator)
        }
        return bytes
    }
}

@Suite("The frame corpus")
struct FrameCorpusTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fuzz/Corpus/frame")

    @Test("Every file of the corpus keeps the invariants")
    func corpus() throws {
        let files = try FileManager.default.contentsOfDirectory(
            at: Self.folder, includingPropertiesForKeys: nil)
        #expect(files.count >= 20)
        for file in files {
            let bytes = [UInt8](try Data(contentsOf: file))
            #expect(bytes.count >= 2, "\(file.lastPathComponent)")
            FrameDecoderExercise.run(bytes.span)
        }
    }
}
