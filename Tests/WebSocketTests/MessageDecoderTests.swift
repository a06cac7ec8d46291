import Testing

@testable import WebSocket

@Suite("Messages, RFC 6455 §5")
struct MessageDecoderTests {
    @Test("The examples of RFC 6455 §5.7 decode")
    func examples() {
        let hello: [UInt8] = Array("Hello".utf8)
        #expect(decode([0x81, 0x05] + hello, role: .client) == [text("Hello")])
        #expect(
            decode([0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
                == [text("Hello")])
        #expect(
            decode([0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F], role: .client)
                == [text("Hello")])
        #expect(decode([0x89, 0x05] + hello, role: .client) == [.ping(hello)])
        #expect(
            decode([0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
                == [.pong(hello)])
        let small = [UInt8](repeating: 7, count: 256)
        #expect(
            decode([0x82, 0x7E, 0x01, 0x00] + small, role: .client)
                == [.message(kind: .binary, small)])
        let large = [UInt8](repeating: 7, count: 65_536)
        #expect(
            decode([0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0] + large, role: .client)
                == [.message(kind: .binary, large)])
    }

    @Test(
        "Payloads on both sides of each length form arrive as they were sent",
        arguments: [0, 1, 7, 8, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537])
    func lengths(count: Int) {
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        #expect(decode(frame(.binary, payload)) == [.message(kind: .binary, payload)])
    }

    @Test("A whole frame stays in the buffer; fragments are put together")
    func payloadPlace() {
        var bytes = frame(.text, "abc") + frame(.text, "d", fin: false) + frame(.continuation, "e")
        var span = bytes.mutableSpan
        var decoder = MessageDecoder(role: .server)
        var offset = 0
        guard
            case .message(.text, .inPlace(let range)) = decoder.next(
                in: &span, at: &offset, limits: MessageLimits())
        else {
            Issue.record("not in place")
            return
        }
        #expect(range == 6..<9 && offset == 9)
        guard
            case .message(.text, .assembled(let payload)) = decoder.next(
                in: &span, at: &offset, limits: MessageLimits())
        else {
            Issue.record("not assembled")
            return
        }
        #expect(payload == Array("de".utf8))
        #expect(offset == span.count && !decoder.hasPartialMessage)
    }

    @Test("Control frames come between fragments, in their order")
    func interleavedControl() {
        let stream =
            frame(.text, "a", fin: false) + frame(.ping, "p")
            + frame(.continuation, "b", fin: false)
            + frame(.pong) + frame(.continuation, "c") + frame(.binary, [1])
        #expect(
            decode(stream) == [
                .ping([0x70]), .pong([]), text("abc"), .message(kind: .binary, [1]),
            ])
    }

    @Test(
        "Each broken rule is named",
        arguments: [
            (rawFrame(0xC1, []), .reservedBits), (rawFrame(0xA1, []), .reservedBits),
            (rawFrame(0x91, []), .reservedBits), (rawFrame(0xC9, []), .reservedBits),
            (rawFrame(0x83, []), .unknownOpcode), (rawFrame(0x87, []), .unknownOpcode),
            (rawFrame(0x8B, []), .unknownOpcode), (rawFrame(0x8F, []), .unknownOpcode),
            (rawFrame(0x81, mask: nil, []), .unmaskedFrame),
            (rawFrame(0x89, mask: nil, []), .unmaskedFrame),
            (rawFrame(0x82, length: .word(0), []), .nonMinimalLength),
            (rawFrame(0x82, length: .word(125), []), .nonMinimalLength),
            (rawFrame(0x82, length: .long(126), []), .nonMinimalLength),
            (rawFrame(0x82, length: .long(65_535), []), .nonMinimalLength),
            (rawFrame(0x82, length: .long(1 << 63), []), .lengthTopBit),
            (rawFrame(0x82, length: .long(.max), []), .lengthTopBit),
            (rawFrame(0x82, length: .long(1 << 63 - 1), []), .frameTooLarge),
            (rawFrame(0x89, length: .word(126), []), .controlFrameTooLong),
            (rawFrame(0x88, length: .long(126), []), .controlFrameTooLong),
            (rawFrame(0x09, []), .fragmentedControlFrame),
            (rawFrame(0x08, []), .fragmentedControlFrame),
            (rawFrame(0x80, []), .unexpectedContinuation),
            (rawFrame(0x00, []), .unexpectedContinuation),
            (frame(.text, fin: false) + frame(.text), .interleavedMessage),
            (frame(.binary, fin: false) + frame(.binary, fin: false), .interleavedMessage),
            (rawFrame(0x88, [3]), .truncatedCloseCode),
            (rawFrame(0x88, [0x03, 0xE7]), .invalidCloseCode),
            (rawFrame(0x88, [0x03, 0xED]), .invalidCloseCode),
            (rawFrame(0x88, [0x13, 0x88]), .invalidCloseCode),
            (rawFrame(0x88, [0x03, 0xE8, 0xFF]), .invalidCloseReason),
            (rawFrame(0x88, [0x03, 0xE8, 0xC3]), .invalidCloseReason),
            (frame(.text, [0xFF]), .invalidUTF8), (frame(.text, [0x41, 0xC3]), .invalidUTF8),
            (frame(.text, [0xC3], fin: false) + frame(.continuation, [0x41]), .invalidUTF8),
            (frame(.text, [0xC3], fin: false) + frame(.continuation), .invalidUTF8),
        ] as [([UInt8], ProtocolViolation)])
    func violations(stream: [UInt8], violation: ProtocolViolation) {
        #expect(decode(stream) == [.violation(violation)])
        // What came before is still delivered, what follows is not.
        #expect(
            decode(frame(.ping) + stream + frame(.text, "x")) == [.ping([]), .violation(violation)])
    }

    @Test("A client refuses a masked frame")
    func maskedFromServer() {
        #expect(decode(frame(.text, "x"), role: .client) == [.violation(.maskedFrame)])
    }

    @Test("A rule broken in the first two bytes needs no third one")
    func earlyViolation() {
        #expect(decode([0xC2, 0xFF]) == [.violation(.reservedBits)])
        #expect(decode([0x82, 0x7F]) == [.violation(.unmaskedFrame)])
        #expect(decode([0xC2]) == [])
    }

    @Test("Oversize is known from the length, before the key and the payload")
    func oversizeBeforePayload() {
        let header = rawFrame(0x82, length: .long(1_000_001), [])
        #expect(decode(Array(header[..<10])) == [.violation(.frameTooLarge)])
        #expect(decode(Array(header[..<9])) == [])
    }

    @Test("A frame at its limit passes, one byte more does not")
    func frameLimit() {
        let limits = MessageLimits(frameBytes: 200, messageBytes: 1_000)
        for count in [199, 200] {
            let payload = [UInt8](repeating: 1, count: count)
            #expect(
                decode(frame(.binary, payload), limits: limits)
                    == [.message(kind: .binary, payload)])
        }
        let over = frame(.binary, [UInt8](repeating: 1, count: 201))
        #expect(decode(over, limits: limits) == [.violation(.frameTooLarge)])
    }

    @Test("A message at its limit passes in one frame or in two, one byte more does not")
    func messageLimit() {
        let limits = MessageLimits(frameBytes: 1_000, messageBytes: 300)
        func fragments(_ first: Int, _ second: Int) -> [UInt8] {
            frame(.binary, [UInt8](repeating: 1, count: first), fin: false)
                + frame(.continuation, [UInt8](repeating: 1, count: second))
        }
        let full: [Event] = [.message(kind: .binary, [UInt8](repeating: 1, count: 300))]
        #expect(decode(frame(.binary, [UInt8](repeating: 1, count: 300)), limits: limits) == full)
        #expect(decode(fragments(100, 200), limits: limits) == full)
        #expect(decode(fragments(300, 0), limits: limits) == full)
        #expect(decode(fragments(100, 201), limits: limits) == [.violation(.messageTooLarge)])
        #expect(decode(fragments(301, 0), limits: limits) == [.violation(.messageTooLarge)])
        let over = frame(.binary, [UInt8](repeating: 1, count: 301))
        #expect(decode(over, limits: limits) == [.violation(.messageTooLarge)])
    }

    @Test("The default limit is a megabyte of 10^6 bytes")
    func defaultLimit() {
        let full = frame(.binary, [UInt8](repeating: 1, count: 1_000_000))
        #expect(decode(full).count == 1)
        let over = frame(.binary, [UInt8](repeating: 1, count: 1_000_001))
        #expect(decode(over) == [.violation(.frameTooLarge)])
    }

    @Test("64 fragments pass, the 65th does not; empty ones count")
    func fragmentLimit() {
        func message(fragments: Int) -> [UInt8] {
            frame(.text, fin: false)
                + (0..<(fragments - 2)).flatMap { _ in frame(.continuation, fin: false) }
                + frame(.continuation)
        }
        #expect(decode(message(fragments: 63)) == [text("")])
        #expect(decode(message(fragments: 64)) == [text("")])
        #expect(decode(message(fragments: 65)) == [.violation(.tooManyFragments)])
        #expect(decode(message(fragments: 64) + message(fragments: 64)).count == 2)
    }

    @Test("A control frame of 125 bytes passes, whole or in pieces")
    func controlLimit() {
        let payload = [UInt8](repeating: 0x61, count: 125)
        #expect(decode(frame(.ping, payload)) == [.ping(payload)])
        let pieces = FrameDecoderExercise.events(
            of: frame(.ping, payload), role: .server, limits: MessageLimits()
        ) { _ in 10 }
        #expect(pieces == [.ping(payload)])
    }

    @Test("A close frame gives its code and reason, and ends the stream")
    func close() {
        #expect(decode(frame(.close)) == [.close(code: nil, reason: [])])
        #expect(decode(frame(.close, [0x03, 0xE8])) == [.close(code: 1000, reason: [])])
        let reason = frame(.close, [0x0F, 0xA1, 0xC3, 0xA9])
        #expect(
            decode(reason + frame(.text, "late") + [0xFF, 0xFF]) == [
                .close(code: 4001, reason: [0xC3, 0xA9])
            ])
        let inside = frame(.text, "a", fin: false) + reason + frame(.continuation, "b")
        #expect(decode(inside) == [.close(code: 4001, reason: [0xC3, 0xA9])])
    }

    @Test("Impossible text is refused inside a frame that is not complete")
    func failsInsidePartialFrame() {
        let whole = frame(.text, [0x41, 0xED, 0xA0, 0x80] + [UInt8](repeating: 0x41, count: 90))
        // Header of 6 bytes, then 41 ED A0: the third byte of the payload is impossible.
        #expect(decode(Array(whole[..<8])) == [])
        #expect(decode(Array(whole[..<9])) == [.violation(.invalidUTF8)])
    }

    @Test("A character may be cut by a fragment or by a control frame")
    func characterAcrossFragments() {
        let euro: [UInt8] = [0xE2, 0x82, 0xAC]
        let stream =
            frame(.text, [euro[0]], fin: false) + frame(.ping)
            + frame(.continuation, [euro[1]], fin: false)
            + frame(.continuation, [euro[2]])
        #expect(decode(stream) == [.ping([]), text("€")])
    }

    @Test("Between messages a decoder holds nothing; inside one it says so")
    func partialState() {
        #expect(MemoryLayout<MessageDecoder>.size <= 48)
        var decoder = MessageDecoder(role: .server)
        func feed(_ bytes: [UInt8]) {
            var copy = bytes
            var span = copy.mutableSpan
            var offset = 0
            while true {
                if case .needMore = decoder.next(in: &span, at: &offset, limits: MessageLimits()) {
                    return
                }
            }
        }
        #expect(!decoder.hasPartialMessage)
        feed([])
        #expect(!decoder.hasPartialMessage)
        let bytes = frame(.text, "hello", fin: false)
        feed(Array(bytes[..<1]))
        #expect(decoder.hasPartialMessage && decoder.heldByteCount == 0)
        feed(Array(bytes[1..<8]))
        #expect(decoder.hasPartialMessage && decoder.heldByteCount == 2)
        feed(Array(bytes[8...]))
        #expect(decoder.hasPartialMessage && decoder.heldByteCount == 5)
        feed(frame(.ping, "p"))
        #expect(decoder.hasPartialMessage)
        feed(frame(.continuation))
        #expect(!decoder.hasPartialMessage && decoder.heldByteCount == 0)
        let ping = frame(.ping, "p")
        feed(Array(ping[..<3]))
        #expect(decoder.hasPartialMessage)
        feed(Array(ping[3...]))
        #expect(!decoder.hasPartialMessage)
    }

    @Test("An announced megabyte holds no more than what has come")
    func memoryGrowsWithBytes() {
        var decoder = MessageDecoder(role: .server)
        var bytes = Array(frame(.binary, [UInt8](repeating: 1, count: 1_000_000))[..<1_014])
        var span = bytes.mutableSpan
        var offset = 0
        guard case .needMore = decoder.next(in: &span, at: &offset, limits: MessageLimits()) else {
            Issue.record("a piece is no message")
            return
        }
        #expect(decoder.heldByteCount == 1_000)
    }

    @Test("A copy of a decoder goes its own way")
    func copies() {
        func next(_ decoder: inout MessageDecoder, _ bytes: [UInt8]) -> [UInt8]? {
            var copy = bytes
            var span = copy.mutableSpan
            var offset = 0
            let item = decoder.next(in: &span, at: &offset, limits: MessageLimits())
            guard case .message(_, let payload) = item else { return nil }
            return payload.copy(from: span.span)
        }
        var one = MessageDecoder(role: .server)
        #expect(next(&one, frame(.binary, [1], fin: false)) == nil)
        var two = one
        #expect(next(&two, frame(.continuation, [2])) == [1, 2])
        #expect(next(&one, frame(.continuation, [3])) == [1, 3])
    }
}
