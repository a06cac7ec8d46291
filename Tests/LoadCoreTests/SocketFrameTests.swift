import LoadCore
import Testing

@Suite("Martlet over Socket.IO, as the load reads and says it")
struct SocketFrameTests {
    private func read(_ packet: String) -> (SocketFrame.Said, String) {
        let bytes = Array(packet.utf8)
        var target = [UInt8](repeating: 0, count: bytes.count + SocketFrame.growth)
        let said = unsafe bytes.withUnsafeBufferPointer { source in
            unsafe target.withUnsafeMutableBufferPointer { target in
                guard let from = source.baseAddress, let into = target.baseAddress else {
                    return SocketFrame.Said.other
                }
                return unsafe SocketFrame.read(from, count: source.count, into: into)
            }
        }
        guard case .frame(let length) = said else { return (said, "") }
        return (said, String(decoding: target[..<length], as: UTF8.self))
    }

    @Test(
        "An event and an ack become the plain face's frames",
        arguments: [
            (
                #"42["message.new",{"id":"1","seq":7}]"#,
                #"{"type":"message.new","payload":{"id":"1","seq":7}}"#
            ),
            (#"42["typing",{}]"#, #"{"type":"typing","payload":{}}"#),
            (#"4312[{"ok":true}]"#, #"{"type":"ack","id":12,"payload":{"ok":true}}"#),
        ])
    func frames(_ packet: String, _ frame: String) {
        #expect(read(packet).1 == frame)
    }

    @Test("What is no event says what it is, and nothing is read beyond its end")
    func others() {
        #expect(read(#"0{"sid":"x"}"#).0 == .open)
        #expect(read("2").0 == .ping)
        for packet in [
            "40", #"40{"sid":"x"}"#, "6", "4", "42", "42[", "42[]", #"42["a"]"#, #"42["a]"#, "43",
        ] {
            #expect(read(packet).0 == .other, "\(packet)")
        }
    }

    @Test("A frame becomes a packet, with its id and without")
    func packets() {
        func packet(_ frame: String) -> String {
            String(decoding: SocketFrame.packet(of: Array(frame.utf8)), as: UTF8.self)
        }
        #expect(
            packet(#"{"type":"chat.join","id":3,"payload":{"chatId":"c"}}"#)
                == #"423["chat.join",{"chatId":"c"}]"#)
        #expect(packet(#"{"type":"typing","payload":{"a":[1]}}"#) == #"42["typing",{"a":[1]}]"#)
    }
}
