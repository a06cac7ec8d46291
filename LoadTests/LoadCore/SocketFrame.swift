import Glibc

/// Martlet's events over Socket.IO, turned into the plain face's frames and back: what a load says and
/// reads is then the same in both.
///
///     42["message.new",{…}]      {"type":"message.new","payload":{…}}
///     437[{…}]                   {"type":"ack","id":7,"payload":{…}}
///     427["message.send",{…}]    {"type":"message.send","id":7,"payload":{…}}
package enum SocketFrame {
    private static let type = Array("{\"type\":\"".utf8)
    private static let payload = Array(",\"payload\":".utf8)
    private static let id = Array("\",\"id\":".utf8)
    private static let ack = Array("{\"type\":\"ack\",\"id\":".utf8)
    /// What a frame is longer than its packet, at most.
    package static let growth = 40

    package enum Said: Equatable {
        case open
        case ping
        /// So many bytes in `target`.
        case frame(Int)
        /// Nothing that a load need know.
        case other
    }

    /// What a packet of the server is.
    ///
    /// - Parameter target: has room for `count + growth` bytes.
    package static func read(
        _ bytes: UnsafePointer<UInt8>, count: Int, into target: UnsafeMutablePointer<UInt8>
    ) -> Said {
        guard count > 0 else { return .other }
        switch unsafe bytes[0] {
        case UInt8(ascii: "0"): return .open
        case UInt8(ascii: "2"): return .ping
        case UInt8(ascii: "4"): break
        default: return .other
        }
        guard count > 5, unsafe bytes[count - 1] == UInt8(ascii: "]") else { return .other }
        var length = 0
        func put(_ text: [UInt8]) {
            unsafe (target + length).update(from: text, count: text.count)
            length += text.count
        }
        func copy(_ range: Range<Int>) {
            unsafe (target + length).update(from: bytes + range.lowerBound, count: range.count)
            length += range.count
        }
        var place = 2
        while place < count, unsafe bytes[place] != UInt8(ascii: "[") { place += 1 }
        let start = place + 1
        if unsafe bytes[1] == UInt8(ascii: "2") {
            guard start + 1 < count,
                let end = unsafe memchr(bytes + start + 1, 0x22, count - start - 1)
            else { return .other }
            let name = start + 1..<(unsafe UnsafeRawPointer(end) - UnsafeRawPointer(bytes))
            guard name.upperBound + 2 < count else { return .other }
            put(type)
            copy(name.lowerBound..<(name.upperBound + 1))
            put(payload)
            copy((name.upperBound + 2)..<(count - 1))
        } else if unsafe bytes[1] == UInt8(ascii: "3") {
            put(ack)
            copy(2..<place)
            put(payload)
            copy(start..<(count - 1))
        } else {
            return .other
        }
        unsafe target[length] = UInt8(ascii: "}")
        return .frame(length + 1)
    }

    /// A plain frame as a packet. `frame` is as `Frames` writes it: type, perhaps id, payload.
    package static func packet(of frame: [UInt8]) -> [UInt8] {
        guard let nameEnd = frame[type.count...].firstIndex(of: 0x22),
            let start = frame.firstRange(of: payload)
        else { return [] }
        var packet = Array("42".utf8)
        if frame[nameEnd...].starts(with: id) {
            packet += frame[(nameEnd + id.count)..<start.lowerBound]
        }
        packet += Array("[\"".utf8)
        packet += frame[type.count..<nameEnd]
        packet += Array("\",".utf8)
        packet += frame[start.upperBound...].dropLast()
        packet.append(UInt8(ascii: "]"))
        return packet
    }

    /// Says who is there.
    package static func connect(token: String) -> [UInt8] {
        Array("40{\"token\":\"\(token)\",\"proto\":1}".utf8)
    }
}
