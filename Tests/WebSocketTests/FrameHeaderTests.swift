import Testing

@testable import WebSocket

@Suite("Frame headers, RFC 6455 §5.2")
struct FrameHeaderTests {
    @Test(
        "A server's header takes the shortest form of the length",
        arguments: [
            (0, [0x82, 0]), (1, [0x82, 1]), (125, [0x82, 125]), (126, [0x82, 126, 0, 126]),
            (127, [0x82, 126, 0, 127]), (65_535, [0x82, 126, 0xFF, 0xFF]),
            (65_536, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (1_000_000, [0x82, 127, 0, 0, 0, 0, 0, 0x0F, 0x42, 0x40]),
        ] as [(Int, [UInt8])])
    func shortestForm(length: Int, expected: [UInt8]) {
        var output: [UInt8] = []
        FrameHeader.encode(opcode: .binary, length: length, into: &output)
        #expect(output == expected)
        #expect(FrameHeader.headerLength(forPayload: length) == expected.count)

        // In front of a payload where it lies, and nowhere else.
        var memory = [UInt8](repeating: 0xEE, count: 11 + length)
        var span = memory.mutableSpan
        let frame = FrameHeader.write(
            opcode: .binary, before: 11..<(11 + length), in: &span)
        #expect(frame == (11 - expected.count)..<(11 + length))
        #expect(Array(memory[frame].prefix(expected.count)) == expected)
        #expect(memory[..<frame.lowerBound].allSatisfy { $0 == 0xEE })
        #expect(memory[11...].allSatisfy { $0 == 0xEE })
    }

    @Test("A client's header adds the mask bit and the key in wire order")
    func clientHeader() {
        var output: [UInt8] = []
        FrameHeader.encode(
            opcode: .text, fin: false, length: 5, mask: MaskingKey(0x37, 0xFA, 0x21, 0x3D),
            into: &output)
        #expect(output == [0x01, 0x85, 0x37, 0xFA, 0x21, 0x3D])
        output = []
        FrameHeader.encode(
            opcode: .binary, length: 126, mask: MaskingKey(1, 2, 3, 4), into: &output)
        #expect(output == [0x82, 0xFE, 0, 126, 1, 2, 3, 4])
    }

    @Test("Every opcode and FIN bit survive encoding", arguments: Opcode.allCases)
    func opcodes(opcode: Opcode) {
        var output: [UInt8] = []
        FrameHeader.encode(opcode: opcode, length: 3, into: &output)
        #expect(output[0] == 0x80 | opcode.rawValue)
        #expect(Opcode(nibble: opcode.rawValue) == opcode)
        #expect(opcode.isControl == (opcode.rawValue >= 8))
    }

    @Test("The two ways to read an opcode agree on all sixteen")
    func nibbles() {
        for nibble in UInt8(0)..<16 {
            #expect(Opcode(nibble: nibble) == Opcode(rawValue: nibble))
        }
    }

    @Test("The fast path reads a header as the general one does, or leaves it alone")
    func commonAgainstGeneral() {
        let limits = MessageLimits(frameBytes: 300, messageBytes: 300)
        var common = 0
        for first in UInt8.min...UInt8.max {
            for second in UInt8.min...UInt8.max {
                for extended in [0, 125, 126, 300, 301] as [UInt16] {
                    let bytes =
                        [first, second, UInt8(extended >> 8), UInt8(extended & 0xFF), 5, 6, 7, 8]
                        + [UInt8](repeating: 9, count: 320)
                    guard
                        let (kind, payload, key) = FrameHeader.parseCommon(
                            bytes.span, at: 0, limits: limits)
                    else { continue }
                    common += 1
                    guard
                        case .header(let header) = FrameHeader.parse(
                            bytes.span, at: 0,
                            expecting: FrameExpectation(role: .server, limits: limits))
                    else {
                        Issue.record("only the fast path takes \(first), \(second), \(extended)")
                        return
                    }
                    #expect(header.opcode == kind.opcode && header.isFinal)
                    #expect(header.maskingKey == key)
                    #expect(payload.lowerBound == header.headerLength)
                    #expect(payload.count == header.payloadLength)
                }
            }
        }
        // Two opcodes; 126 short lengths with five words each, and the two good words.
        #expect(common == 2 * (126 * 5 + 2))
    }

    @Test("The fast path wants the whole payload in the buffer")
    func commonNeedsPayload() {
        let whole = frame(.binary, [1, 2, 3])
        let limits = MessageLimits()
        #expect(FrameHeader.parseCommon(whole.span, at: 0, limits: limits) != nil)
        let cut = Array(whole.dropLast())
        #expect(FrameHeader.parseCommon(cut.span, at: 0, limits: limits) == nil)
    }
}

@Suite("Masking, RFC 6455 §5.3")
struct MaskingTests {
    @Test("Words at a time give what bytes at a time give, for each length, start and phase")
    func wordsAgainstBytes() {
        var generator = SeededGenerator(seed: 1)
        for length in 0...67 {
            for start in 0..<9 {
                for phase in 0..<5 {
                    let key = MaskingKey(word: UInt32(truncatingIfNeeded: generator.next()))
                    let original = (0..<90).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                    var fast = original
                    var slow = original
                    var fastSpan = fast.mutableSpan
                    Masking.apply(
                        key, to: &fastSpan, in: start..<(start + length), phase: phase)
                    var slowSpan = slow.mutableSpan
                    Masking.applyBytewise(
                        key, to: &slowSpan, in: start..<(start + length), phase: phase)
                    #expect(fast == slow)
                }
            }
        }
    }

    @Test("Masking twice gives the payload back, and pieces give what the whole gives")
    func involution() {
        let key = MaskingKey(0xDE, 0xAD, 0xBE, 0xEF)
        let original = (0..<200).map { UInt8($0) }
        var whole = original
        var span = whole.mutableSpan
        Masking.apply(key, to: &span, in: 0..<200)
        for cut in 0...200 {
            var pieces = original
            var span = pieces.mutableSpan
            Masking.apply(key, to: &span, in: 0..<cut)
            Masking.apply(key, to: &span, in: cut..<200, phase: cut)
            #expect(pieces == whole)
        }
        var again = whole.mutableSpan
        Masking.apply(key, to: &again, in: 0..<200)
        #expect(whole == original)
    }
}

@Suite("Close codes, RFC 6455 §7.4")
struct CloseCodeTests {
    @Test("Exactly the assigned and the free ranges are valid on the wire")
    func validity() {
        let valid = (0...Int(UInt16.max)).filter {
            CloseCode(rawValue: UInt16($0)).isValidOnWire
        }
        #expect(valid == Array(1000...1003) + Array(1007...1014) + Array(3000...4999))
    }

    @Test("Every violation answers with a sendable code and a reason that fits a close frame")
    func violations() {
        for violation in ProtocolViolation.allCases {
            #expect(violation.closeCode.isValidOnWire)
            #expect((1...123).contains(violation.text.utf8CodeUnitCount))
            #expect(violation.text.isASCII)
        }
        #expect(ProtocolViolation.invalidUTF8.closeCode == .invalidPayload)
        #expect(ProtocolViolation.frameTooLarge.closeCode == .messageTooBig)
        #expect(ProtocolViolation.messageTooLarge.closeCode == .messageTooBig)
        #expect(ProtocolViolation.tooManyFragments.closeCode == .policyViolation)
        #expect(ProtocolViolation.reservedBits.closeCode == .protocolError)
    }

    @Test("A close frame's reason is cut at a character, at 123 bytes")
    func reasonLength() {
        for (reason, kept) in [
            (String(repeating: "a", count: 122), 122), (String(repeating: "a", count: 123), 123),
            (String(repeating: "a", count: 124), 123),
            (String(repeating: "a", count: 122) + "é", 122),
            (String(repeating: "a", count: 121) + "é", 123), ("", 0),
        ] {
            var output: [UInt8] = []
            CloseFrame.append(code: .draining, reason: reason, into: &output)
            #expect(output.count == 2 + 2 + kept)
            #expect(
                decode(output, role: .client)
                    == [.close(code: 4200, reason: Array(reason.utf8.prefix(kept)))])
        }
    }
}
