import SocketIO

/// How a simulated client's events lie in its WebSocket's frames.
enum ClientFace {
    /// `{type, id?, payload}`.
    case plain
    /// Packets of Socket.IO in packets of Engine.IO, the main namespace: v1's names where the device is
    /// not a legacy one, and those of the family root where it is.
    case socketIO

    /// The text of an event.
    func text(_ type: String, _ payload: String, id: Int?) -> String {
        switch self {
        case .plain:
            let number = id.map { ",\"id\":\($0)" } ?? ""
            return "{\"type\":\"\(type)\"\(number),\"payload\":\(payload)}"
        case .socketIO:
            return "42" + (id.map { "\($0)" } ?? "") + "[\"\(type)\",\(payload)]"
        }
    }

    /// What a text of the server is, over Socket.IO.
    enum Said: Equatable {
        /// The session is open: say who is there.
        case open
        /// Answered by code of the client, unlike a ping of the WebSocket.
        case ping
        /// The namespace is joined; by that name it can be come back to.
        case joined(pass: String?)
        /// As a plain connection would have heard it, and where in the logs it is.
        case frame([UInt8], offset: String?)
        case nothing
        /// What no server may say.
        case broken
    }

    static func read(_ text: [UInt8]) -> Said {
        switch EnginePacket.type(of: text.span) {
        case .open: return .open
        case .ping: return .ping
        case .message: break
        case .noop: return .nothing
        case .close, .pong, .upgrade, nil: return .broken
        }
        let packet = Array(text.dropFirst())
        guard let head = SocketPacket.parse(packet.span), head.namespace == nil else {
            return .broken
        }
        let payload = packet[head.payload]
        switch head.kind {
        case .connect: return .joined(pass: pass(Array(payload)))
        case .disconnect, .connectError: return .nothing
        case .event:
            guard let comma = payload.firstIndex(of: UInt8(ascii: ",")), payload.count > 4 else {
                return .broken
            }
            let name = payload[(payload.startIndex + 1)..<comma]
            let (argument, offset) = arguments(Array(payload[(comma + 1)...].dropLast()))
            return .frame(
                Array("{\"type\":".utf8) + known(Array(name)) + Array(",\"payload\":".utf8)
                    + argument + Array("}".utf8), offset: offset)
        case .ack:
            guard let id = head.id, payload.count > 2 else { return .broken }
            return .frame(
                Array("{\"type\":\"ack\",\"id\":\(id),\"payload\":".utf8)
                    + payload.dropFirst().dropLast() + Array("}".utf8), offset: nil)
        case .binaryEvent, .binaryAck: return .broken
        }
    }

    /// An object, and perhaps a text behind it, which is an offset.
    private static func arguments(_ bytes: [UInt8]) -> (argument: [UInt8], offset: String?) {
        guard bytes.last == UInt8(ascii: "\""), let end = bytes.lastIndex(of: UInt8(ascii: "}"))
        else { return (bytes, nil) }
        let text = bytes[(end + 1)...].dropFirst(2).dropLast()
        return (Array(bytes[...end]), String(decoding: text, as: UTF8.self))
    }

    /// The `pid` of a CONNECT's answer, which has nothing behind it.
    private static func pass(_ bytes: [UInt8]) -> String? {
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: "\"pid\":\"")
        return parts.count == 2 ? String(parts[1].dropLast(2)) : nil
    }

    /// The names of root where the device knows others; its receipts are of messages, not of marks.
    private static func known(_ name: [UInt8]) -> [UInt8] {
        switch String(decoding: name, as: UTF8.self) {
        case "\"authenticated\"": Array("\"READY\"".utf8)
        case "\"message\"": Array("\"MESSAGE\"".utf8)
        default: name
        }
    }
}
