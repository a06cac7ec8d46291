import Gateway
import WebSocket

/// A shard's whole way of an echo, without the kernel's.
final class Echo: Bench {
    let unitsPerRound = 16
    private let node = MicroNode(shards: 1)
    private let key: ConnectionKey
    private let bytes: [UInt8]

    init() {
        key = node.connect("/bench/echo")
        let frame = maskedFrame(Array(repeating: UInt8(ascii: "x"), count: 128))
        bytes = Array((0..<unitsPerRound).map { _ in frame }.joined())
    }

    func round() {
        let before = node.bytesWritten
        node.give(key, bytes)
        precondition(node.bytesWritten - before == unitsPerRound * (4 + 128))
    }
}

/// A connection's beginning and end, without the kernel's part.
final class Opening: Bench {
    let unitsPerRound = 1
    private let node = MicroNode(shards: 1)
    private let request = MicroNode.handshake("/bench/echo").requestBytes()

    func round() {
        let before = node.bytesWritten
        let key = node.accept(shard: 0)
        node.give(key, request)
        precondition(node.bytesWritten > before, "the handshake is not answered")
        node.end(key)
    }
}

/// One sender into a room of 1,000, itself among them, spread over the shards in turn.
final class HubPublish: Bench {
    private static let members = 1_000
    let unitsPerRound: Int
    private let node: MicroNode
    private let sender: ConnectionKey
    private let bytes: [UInt8]
    private let expected: Int

    init(shards: Int, messages: Int) {
        unitsPerRound = Self.members * messages
        node = MicroNode(shards: shards)
        sender = node.connect("/bench/room/x")
        for index in 1..<Self.members {
            _ = node.connect("/bench/room/x", shard: index % shards)
        }
        let frame = maskedFrame(Array(repeating: UInt8(ascii: "x"), count: 128))
        bytes = Array((0..<messages).map { _ in frame }.joined())
        expected = unitsPerRound * (4 + 128)
    }

    func round() {
        let before = node.bytesWritten
        node.give(sender, bytes)
        precondition(node.bytesWritten - before == expected)
    }
}

/// Authenticated, dialect v1: a message from its bytes to the lane, and its outcome to ten people.
final class Send: Bench {
    let unitsPerRound = 1
    private let node = MicroNode(shards: 1)
    private let sender: ConnectionKey
    private let bytes: [UInt8]

    init() {
        let people = (0..<10).map { "user-\($0)" }
        let chat = "0192f3a1-7c5d-7abc-8def-0123456789ab"
        node.group(chat, people)
        let join = maskedFrame(
            Array(#"{"type":"chat.join","id":1,"payload":{"chatId":"\#(chat)"}}"#.utf8))
        var keys: [ConnectionKey] = []
        for user in people {
            let key = node.connect("/ws", token: node.token(user))
            node.give(key, join)
            keys.append(key)
        }
        sender = keys[0]
        bytes = maskedFrame(sendText)
    }

    func round() {
        let before = node.bytesWritten
        node.give(sender, bytes)
        // An ack, and nine deliveries of more than the content.
        precondition(node.bytesWritten - before > 10 * 88, "the message was not delivered")
    }
}
