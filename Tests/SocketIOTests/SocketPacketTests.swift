import Foundation
import SocketIO
import Testing

@Suite("Socket.IO 5: the head of a packet")
struct SocketPacketTests {
    /// A packet, and what it says: kind, attachments, namespace, id, payload.
    private static let good: [(String, SocketPacket.Kind, Int, String?, Int64?, String)] = [
        ("0", .connect, 0, nil, nil, ""),
        (#"0{"token":"t"}"#, .connect, 0, nil, nil, #"{"token":"t"}"#),
        ("0/custom", .connect, 0, "/custom", nil, ""),
        ("0/custom,", .connect, 0, "/custom", nil, ""),
        (#"0/custom,{"a":1}"#, .connect, 0, "/custom", nil, #"{"a":1}"#),
        ("0/b?x=1,", .connect, 0, "/b?x=1", nil, ""),
        ("0/,", .connect, 0, "/", nil, ""),
        ("1/custom", .disconnect, 0, "/custom", nil, ""),
        (#"2["a"]"#, .event, 0, nil, nil, #"["a"]"#),
        (#"212["a"]"#, .event, 0, nil, 12, #"["a"]"#),
        (#"2/n,0["a"]"#, .event, 0, "/n", 0, #"["a"]"#),
        ("3456[1]", .ack, 0, nil, 456, "[1]"),
        (#"50-["a"]"#, .binaryEvent, 0, nil, nil, #"["a"]"#),
        (#"510-["a"]"#, .binaryEvent, 10, nil, nil, #"["a"]"#),
        (#"51-/n,7["a"]"#, .binaryEvent, 1, "/n", 7, #"["a"]"#),
        ("62-789[]", .binaryAck, 2, nil, 789, "[]"),
        (#"2999999999999999["a"]"#, .event, 0, nil, 999_999_999_999_999, #"["a"]"#),
        // What is no id is the payload's beginning, for its reader to refuse.
        ("2abc", .event, 0, nil, nil, "abc"),
    ]

    private func parse(_ text: String) -> SocketPacket? { SocketPacket.parse(text.utf8.span) }
    private func namespace(_ name: String) -> Namespace? { Namespace(named: name.utf8.span) }
    private func engineID(_ text: String) -> EngineID? { EngineID(text.utf8.span) }

    @Test("A packet is read into its parts", arguments: good)
    func isRead(
        _ text: String, _ kind: SocketPacket.Kind, _ attachments: Int, _ namespace: String?,
        _ id: Int64?, _ payload: String
    ) throws {
        let packet = try #require(parse(text))
        let bytes = Array(text.utf8)
        #expect(packet.kind == kind)
        #expect(packet.attachments == attachments)
        #expect(packet.namespace.map { String(decoding: bytes[$0], as: UTF8.self) } == namespace)
        #expect(packet.id == id)
        #expect(String(decoding: bytes[packet.payload], as: UTF8.self) == payload)
    }

    @Test(
        "What breaks the grammar is no packet",
        arguments: [
            "", "7", "x", "abc", "5", "5-[]", "51", "511-[]", "5100-[]", "5x-[]", "51[]", "6[]",
            #"21000000000000000["a"]"#, #"299999999999999999999999["a"]"#,
        ])
    func isRefused(_ text: String) { #expect(parse(text) == nil) }

    @Test("Namespaces are found by their whole name")
    func namespaces() {
        for namespace in Namespace.allCases {
            let prefix = "\(namespace.prefix)"
            let name = prefix.isEmpty ? "/" : String(prefix.dropLast())
            #expect(self.namespace(name) == namespace)
        }
        for name in ["", "/messages/", "/message", "/messagess", "messages", "/Messages", "//"] {
            #expect(namespace(name) == nil, "\(name)")
        }
    }

    @Test("An id is what its text says, and nothing else is one")
    func ids() {
        let id = EngineID(
            high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98, owner: 0xFFFF_0001, shard: 513)
        #expect(id.text.utf8.count == EngineID.textCount)
        #expect(engineID(id.text) == id)
        #expect(engineID(String(id.text.dropLast())) == nil)
        #expect(engineID(id.text + "A") == nil)
        #expect(engineID("+" + id.text.dropFirst()) == nil)
    }

    @Test("The fuzzer's corpus, and every packet of these tests cut anywhere, holds its invariants")
    func corpus() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fuzz/Corpus/socketio")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        #expect(files.count >= 11)
        for file in files { SocketIOExercise.run([UInt8](try Data(contentsOf: file)).span) }
        for (text, _, _, _, _, _) in Self.good {
            let bytes = Array(text.utf8)
            for end in 0...bytes.count { SocketIOExercise.run(Array(bytes[..<end]).span) }
        }
    }
}
