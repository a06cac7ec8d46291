import Basics
import SocketIO
import Wire

/// What the protocol's own tests need of a server, with `--conformance` and at no other time: the
/// namespaces `/` and `/custom`, which anybody may join and which say back what they are told.
extension GatewayShard {
    private enum Place {
        case root
        case custom

        var prefix: StaticString { self == .root ? "" : "/custom," }
    }

    func performConformance(
        _ packet: SocketPacket, _ text: Span<UInt8>, _ parts: [[UInt8]], _ engine: EngineSession
    ) {
        var place: Place? = .root
        if let name = packet.namespace, !text.extracting(name).isEqual(to: "/") {
            place = text.extracting(name).isEqual(to: "/custom") ? .custom : nil
        }
        let payload = text.extracting(packet.payload)
        let hasJoined = place.map { engine.conformance.contains($0.prefix.utf8CodeUnitCount) }
        switch packet.kind {
        case .connect:
            guard let place else {
                refuseNamespace(engine, packet, text)
                return
            }
            guard hasJoined == false, payload.isEmpty || isObject(payload) else { break }
            engine.conformance.insert(place.prefix.utf8CodeUnitCount)
            joined(engine)
            let sid = identifiers.next(at: now.wall).text
            say(engine, packet: "40", place, nil, "{\"sid\":\"\(sid)\"}", [])
            let auth = payload.isEmpty ? Array("{}".utf8) : payload.copied()
            say(engine, packet: "42", place, nil, [UInt8]("[\"auth\",".utf8) + auth + [93], [])
            return
        case .disconnect:
            guard let place, hasJoined == true, payload.isEmpty else { break }
            engine.conformance.remove(place.prefix.utf8CodeUnitCount)
            return
        case .event, .binaryEvent:
            guard let place, hasJoined == true, let root = event(packet, text) else { break }
            perform(root, payload, packet, place, parts, engine)
            return
        case .ack, .binaryAck:
            guard hasJoined == true, isAck(packet, text) else { break }
            return
        case .connectError:
            break
        }
        end(engine, .malformedPacket, poll: .refused)
    }

    private func isObject(_ payload: Span<UInt8>) -> Bool {
        guard let root = parsed(payload) else { return false }
        return json.kind(root) == .object
    }

    /// `message` comes back as `message-back`, `message-with-ack` as its ack: the arguments as they
    /// came, byte for byte.
    private func perform(
        _ root: JSONNode, _ payload: Span<UInt8>, _ packet: SocketPacket, _ place: Place,
        _ parts: [[UInt8]], _ engine: EngineSession
    ) {
        guard place == .root else { return }
        var arguments = json.elements(root)
        guard let name = json.next(&arguments) else { return }
        var rest: [UInt8] = []
        while let argument = json.next(&arguments) {
            if !rest.isEmpty { rest.append(UInt8(ascii: ",")) }
            rest += payload.extracting(json.rawRange(argument)).copied()
        }
        if json.stringEquals(name, "message", in: payload) {
            let back = [UInt8]("[\"message-back\"".utf8) + (rest.isEmpty ? [] : [44] + rest) + [93]
            say(engine, packet: parts.isEmpty ? "42" : "45", place, nil, back, parts)
        } else if json.stringEquals(name, "message-with-ack", in: payload), let id = packet.id {
            say(engine, packet: parts.isEmpty ? "43" : "46", place, id, [91] + rest + [93], parts)
        }
    }

    private func say(
        _ engine: EngineSession, packet types: StaticString, _ place: Place, _ id: Int64?,
        _ payload: String, _ parts: [[UInt8]]
    ) {
        say(engine, packet: types, place, id, Array(payload.utf8), parts)
    }

    private func say(
        _ engine: EngineSession, packet types: StaticString, _ place: Place, _ id: Int64?,
        _ payload: [UInt8], _ parts: [[UInt8]]
    ) {
        var text: [UInt8] = []
        text.append(types)
        if !parts.isEmpty { text += Array("\(parts.count)-".utf8) }
        text.append(place.prefix)
        if let id { text += Array("\(id)".utf8) }
        text += payload
        say(engine, text)
        for part in parts { say(engine, binary: part) }
    }
}
