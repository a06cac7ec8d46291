/// The stages of the data path that are counted, each by itself.
enum Stage: String, CaseIterable {
    case frameDecode = "frame-decode"
    case jsonRead = "json-read"
    case commandDecode = "command-decode"
    case eventEncode = "event-encode"
    case handshake
    case echo
    case hubPublish = "hub-publish"
    case hubPublishJoined = "hub-publish-8"
    case hubPublishTwoShards = "hub-publish-two-shards"
    case send

    /// What one unit is.
    var unit: String {
        switch self {
        case .frameDecode: "a masked text frame of 128 bytes, checked and unmasked"
        case .jsonRead: "a message.send of 260 bytes, validated and indexed"
        case .commandDecode: "the same, as a command"
        case .eventEncode: "a stored message, as a message.new frame"
        case .handshake: "a connection accepted, upgraded, and ended by its peer"
        case .echo: "a message echoed by a shard, 16 to a read"
        case .hubPublish: "a delivery of one message to a room of 1,000"
        case .hubPublishJoined: "a delivery, 8 messages of one tick to a room of 1,000"
        case .hubPublishTwoShards: "a delivery of one message to a room of 1,000 on two shards"
        case .send: "a message.send into a chat of ten: to the lane, acked, delivered to nine"
        }
    }

    func make() -> any Bench {
        switch self {
        case .frameDecode: FrameDecode()
        case .jsonRead: JSONRead()
        case .commandDecode: CommandDecode()
        case .eventEncode: EventEncode()
        case .handshake: Opening()
        case .echo: Echo()
        case .hubPublish: HubPublish(shards: 1, messages: 1)
        case .hubPublishJoined: HubPublish(shards: 1, messages: 8)
        case .hubPublishTwoShards: HubPublish(shards: 2, messages: 1)
        case .send: Send()
        }
    }
}

/// A stage, set up. Only `round` is counted.
protocol Bench: AnyObject {
    var unitsPerRound: Int { get }
    func round()
}
