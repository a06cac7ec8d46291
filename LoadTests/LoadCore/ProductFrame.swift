import Glibc
import Wire

/// A text frame of Martlet's plain face, so far as a load needs it. Ranges are places in the frame.
///
/// Read in two ways that have to agree: `scan` takes the usual frames as the server writes them,
/// compact and with their members in the usual order, in some 30 ns; `read` takes any JSON with the
/// contract's names, and is asked wherever `scan` is not sure.
package struct ProductFrame: Equatable, Sendable {
    package enum Kind: Sendable {
        case message, ack, typing, ready, caughtUp, error, other
    }

    package var kind = Kind.other
    /// `encryptedContent` without its quotes.
    package var content = 0..<0
    /// Of a message; 0 where it has none.
    package var seq: UInt64 = 0
    /// Of an ack, where it is a number of ours.
    package var id: UInt64 = 0
    package var isOK = false
    package var isDuplicate = false
    /// Of a typing event.
    package var user = 0..<0
    package var isTyping = false
    /// An error's code, the raw text between quotes.
    package var code = 0..<0
    /// An ack's `lastSeq`.
    package var lastSeq: UInt64 = 0

    package init() {}
}

// MARK: - The cheap way

extension ProductFrame {
    /// Names as one dialect of the server spells them, ready to be compared.
    package struct Names: Sendable {
        let message: [UInt8]
        let ack: [UInt8]
        let typing: [UInt8]

        package init(_ dialect: Dialect) {
            message = Array("{\"type\":\"\(EventName.messageNew.name(in: dialect))\",".utf8)
            ack = Array("{\"type\":\"\(EventName.ack.name(in: dialect))\",\"id\":".utf8)
            typing = Array("{\"type\":\"\(EventName.typing.name(in: dialect))\",".utf8)
        }
    }

    private static let contentKey = Array("\"encryptedContent\":\"".utf8)
    private static let seqKey = Array("\"seq\":".utf8)
    private static let okStart = Array(",\"payload\":{\"ok\":true,".utf8)
    private static let userKey = Array("\"userId\":\"".utf8)
    private static let typingTrue = Array("\"isTyping\":true}}".utf8)
    private static let typingFalse = Array("\"isTyping\":false}}".utf8)
    private static let duplicateTail = Array("\"duplicate\":false}}".utf8)

    /// - Parameter hint: where the content was in the frame before; most often it is there again.
    /// - Returns: nil where this is not one of the usual frames: ask `read`.
    @inline(__always)
    package static func scan(
        _ bytes: UnsafePointer<UInt8>, count: Int, _ names: borrowing Names, hint: inout Int
    ) -> ProductFrame? {
        if unsafe starts(bytes, count, with: names.message) {
            return unsafe scanMessage(bytes, count, &hint)
        }
        if unsafe starts(bytes, count, with: names.ack) {
            return unsafe scanAck(bytes, count, from: names.ack.count)
        }
        if unsafe starts(bytes, count, with: names.typing) {
            return unsafe scanTyping(bytes, count)
        }
        return nil
    }

    @inline(__always)
    private static func scanMessage(
        _ bytes: UnsafePointer<UInt8>, _ count: Int, _ hint: inout Int
    ) -> ProductFrame? {
        var start = hint
        if unsafe !matches(bytes, count, at: start &- contentKey.count, contentKey) {
            guard let place = unsafe find(contentKey, bytes, count) else { return nil }
            start = place + contentKey.count
            hint = start
        }
        guard let end = unsafe memchr(bytes + start, 0x22, count - start) else { return nil }
        let length = unsafe UnsafeRawPointer(end) - UnsafeRawPointer(bytes + start)
        // A backslash would make the text something else than its bytes.
        guard unsafe memchr(bytes + start, 0x5C, length) == nil else { return nil }
        // …,"seq":123}}
        var place = count - 3
        guard place > start + length, unsafe bytes[count - 1] == 0x7D,
            unsafe bytes[count - 2] == 0x7D
        else { return nil }
        var scale: UInt64 = 1
        var seq: UInt64 = 0
        while case let digit = unsafe bytes[place] &- 0x30, digit < 10, scale <= 1 << 56 {
            seq &+= UInt64(digit) &* scale
            scale &*= 10
            place &-= 1
        }
        guard scale > 1, unsafe matches(bytes, count, at: place &- seqKey.count &+ 1, seqKey) else {
            return nil
        }
        var frame = ProductFrame()
        frame.kind = .message
        frame.content = start..<(start + length)
        frame.seq = seq
        return frame
    }

    private static func scanAck(
        _ bytes: UnsafePointer<UInt8>, _ count: Int, from start: Int
    ) -> ProductFrame? {
        var place = start
        var id: UInt64 = 0
        while place < count, case let digit = unsafe bytes[place] &- 0x30, digit < 10,
            id < 1 << 56
        {
            id = id &* 10 &+ UInt64(digit)
            place += 1
        }
        // The tail that only the ack of a message has: what else an ack may say is for `read`.
        guard place > start, unsafe matches(bytes, count, at: place, okStart),
            unsafe matches(bytes, count, at: count - duplicateTail.count, duplicateTail)
        else { return nil }
        var frame = ProductFrame()
        frame.kind = .ack
        frame.id = id
        frame.isOK = true
        return frame
    }

    private static func scanTyping(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> ProductFrame? {
        var frame = ProductFrame()
        frame.kind = .typing
        if unsafe matches(bytes, count, at: count - typingTrue.count, typingTrue) {
            frame.isTyping = true
        } else if unsafe !matches(bytes, count, at: count - typingFalse.count, typingFalse) {
            return nil
        }
        guard let place = unsafe find(userKey, bytes, count) else { return nil }
        let start = place + userKey.count
        guard let end = unsafe memchr(bytes + start, 0x22, count - start) else { return nil }
        let length = unsafe UnsafeRawPointer(end) - UnsafeRawPointer(bytes + start)
        guard unsafe memchr(bytes + start, 0x5C, length) == nil else { return nil }
        frame.user = start..<(start + length)
        return frame
    }

    @inline(__always)
    private static func starts(
        _ bytes: UnsafePointer<UInt8>, _ count: Int, with text: borrowing [UInt8]
    ) -> Bool {
        unsafe matches(bytes, count, at: 0, text)
    }

    @inline(__always)
    private static func matches(
        _ bytes: UnsafePointer<UInt8>, _ count: Int, at place: Int, _ text: borrowing [UInt8]
    ) -> Bool {
        guard place >= 0, place &+ text.count <= count else { return false }
        return unsafe text.withUnsafeBufferPointer { text in
            guard let base = text.baseAddress else { return true }
            return unsafe memcmp(bytes + place, base, text.count) == 0
        }
    }

    @inline(never)
    private static func find(
        _ text: [UInt8], _ bytes: UnsafePointer<UInt8>, _ count: Int
    ) -> Int? {
        var place = 0
        while place + text.count <= count {
            if unsafe bytes[place] == text[0] && matches(bytes, count, at: place, text) {
                return place
            }
            place += 1
        }
        return nil
    }
}

// MARK: - The real reader

extension ProductFrame {
    /// Any frame of either dialect, by the JSON reader. A frame that is no JSON object with a
    /// `type`, or whose content needs decoding, gives nil.
    package static func read(
        _ source: borrowing Span<UInt8>, with reader: inout JSONReader
    ) -> ProductFrame? {
        guard let root = try? reader.parse(source),
            let type = reader.member(root, "type", in: source)
        else { return nil }
        var frame = ProductFrame()
        let payload = reader.member(root, "payload", in: source)
        guard let name = name(of: type, reader, source), let payload else { return frame }
        switch name {
        case .messageNew:
            frame.kind = .message
            frame.seq = number(payload, "seq", reader, source)
            frame.content = text(payload, "encryptedContent", reader, source)
            if frame.content.isEmpty { return nil }
        case .ack:
            frame.kind = .ack
            frame.id = number(root, "id", reader, source)
            frame.isOK = bool(payload, "ok", reader, source)
            frame.isDuplicate = bool(payload, "duplicate", reader, source)
            frame.lastSeq = number(payload, "lastSeq", reader, source)
            if let error = reader.member(payload, "error", in: source) {
                frame.code = text(error, "code", reader, source)
            }
        case .typing:
            frame.kind = .typing
            frame.user = text(payload, "userId", reader, source)
            frame.isTyping = bool(payload, "isTyping", reader, source)
        case .error:
            frame.kind = .error
            frame.code = text(payload, "code", reader, source)
        case .sessionReady: frame.kind = .ready
        case .caughtUp: frame.kind = .caughtUp
        case .sessionExpiring, .messageStored, .receipt, .chatChanged, .notification, .topicEvent:
            break
        }
        return frame
    }

    private static func number(
        _ node: JSONNode, _ key: StaticString, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) -> UInt64 {
        guard let value = reader.member(node, key, in: source),
            let integer = reader.integer(value, in: source)
        else { return 0 }
        return UInt64(max(0, integer))
    }

    private static func bool(
        _ node: JSONNode, _ key: StaticString, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) -> Bool {
        guard let value = reader.member(node, key, in: source) else { return false }
        return reader.bool(value) ?? false
    }

    /// Empty where it is absent, no string, or written with escapes.
    private static func text(
        _ node: JSONNode, _ key: StaticString, _ reader: borrowing JSONReader,
        _ source: borrowing Span<UInt8>
    ) -> Range<Int> {
        guard let value = reader.member(node, key, in: source) else { return 0..<0 }
        return reader.plainRange(value) ?? 0..<0
    }

    private static func name(
        of node: JSONNode, _ reader: borrowing JSONReader, _ source: borrowing Span<UInt8>
    ) -> EventName? {
        for name in EventName.allCases {
            if reader.stringEquals(node, name.v1, in: source)
                || reader.stringEquals(node, name.ws, in: source)
            {
                return name
            }
        }
        return nil
    }
}
