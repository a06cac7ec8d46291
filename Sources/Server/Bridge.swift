import BusCore
import Domain
import Wire

/// The public channels `chat:{id}`, `user:{id}` and `job:{id}`, on which backends in any language
/// speak JSON.
/// What comes is handed to the channel's home as it is, which reads and checks it.
struct Bridge {
    /// A message of the largest ciphertext with everything around it; more is no message.
    static let maximumBytes = 1_048_576

    let mode: BridgeMode

    private static let chatPrefix = Array("chat:".utf8)
    private static let userPrefix = Array("user:".utf8)

    /// Under what other names a channel is to be heard.
    func names(of channel: Channel) -> [[UInt8]] {
        guard mode != .off else { return [] }
        return switch channel {
        case .chat(let chat): [Self.chatPrefix + Array(chat.text.utf8)]
        case .user(let user): [Self.userPrefix + Array(user.text.utf8)]
        case .topic(let topic): [Array(topic.text.utf8)]
        case .room: []
        }
    }

    func channel(named name: [UInt8]) -> Channel? {
        if name.starts(with: Self.chatPrefix),
            let text = String(validating: name[Self.chatPrefix.count...], as: UTF8.self)
        {
            return ChatID(text).map { .chat($0) }
        }
        if name.starts(with: Self.userPrefix),
            let text = String(validating: name[Self.userPrefix.count...], as: UTF8.self)
        {
            return UserID(text).map { .user($0) }
        }
        return String(validating: name, as: UTF8.self).flatMap { TopicName($0) }
            .map { .topic($0) }
    }

    /// What the public is to hear of a publication of ours: messages alone, where that was asked for.
    func outgoing(_ publication: Publication) -> (name: [UInt8], payload: [UInt8])? {
        guard mode == .both, case .entry(let entry) = publication.content,
            case .message = entry.body, case .chat(let chat) = publication.channel
        else { return nil }
        return (
            Self.chatPrefix + Array(chat.text.utf8), ForeignEvent.encode(entry)
        )
    }
}
