import Basics
import BusCore
import SocketIO
import Wire

/// Bench rooms over Socket.IO: what its users write first, `join` a room and `msg` to all in it. For
/// measurements beside other servers of Socket.IO; open to anybody, and only with `bench`.
extension GatewayShard {
    func performBench(_ packet: SocketPacket, _ text: Span<UInt8>, _ engine: EngineSession) {
        switch packet.kind {
        case .connect:
            let sid = identifiers.next(at: now.wall).text
            say(engine, Array("40{\"sid\":\"\(sid)\"}".utf8))
        case .event:
            guard let event = event(packet, text) else { break }
            perform(event, packet, text, engine)
            return
        case .ack, .disconnect:
            return
        case .connectError, .binaryEvent, .binaryAck:
            break
        }
        if packet.kind != .connect { end(engine, .malformedPacket, poll: .refused) }
    }

    private func perform(
        _ event: JSONNode, _ packet: SocketPacket, _ text: Span<UInt8>, _ engine: EngineSession
    ) {
        let payload = text.extracting(packet.payload)
        var arguments = json.elements(event)
        guard let name = json.next(&arguments), let argument = json.next(&arguments) else { return }
        if json.stringEquals(name, "msg", in: payload) {
            var packet = Array("42".utf8)
            packet += payload.copied()
            publishToRoom(engine.main, packet)
        } else if json.stringEquals(name, "join", in: payload), engine.main.subscriber == nil,
            let room = json.string(argument, in: payload)
        {
            joinRoom(engine.main, "socket.io " + room)
            if let id = packet.id { say(engine, Array("43\(id)[]".utf8)) }
        }
    }
}
