import Domain

/// What channels are called between instances: `martlet:c:` and a chat's id, `martlet:u:` and a
/// user's, `martlet:t:` and a topic, `martlet:r:` and a bench room's name. An id is everything behind its prefix, whatever
/// bytes it has, so the two ways are each other's inverse. Each name is one key of Redis Cluster,
/// fit for sharded channels too.
package enum ChannelNames {
    /// Where all instances tell their digests.
    package static let digest = Array("martlet:digest".utf8)

    /// A room's name comes out of a request's target, so it is no longer than the longest head.
    package static let maximumRoomBytes = 65_536

    private static let prefix = Array("martlet:".utf8)

    package static func name(of channel: Channel) -> [UInt8] {
        switch channel {
        case .chat(let chat): name("c", chat.text)
        case .user(let user): name("u", user.text)
        case .topic(let topic): name("t", topic.text)
        case .room(let room): name("r", room)
        }
    }

    private static func name(_ letter: Unicode.Scalar, _ text: String) -> [UInt8] {
        var name: [UInt8] = []
        name.reserveCapacity(prefix.count + 2 + text.utf8.count)
        name.append(contentsOf: prefix)
        name.append(UInt8(ascii: letter))
        name.append(UInt8(ascii: ":"))
        name.append(contentsOf: text.utf8)
        return name
    }

    /// nil where the name is not one that `name(of:)` gives, `digest` among them.
    package static func channel(named name: [UInt8]) -> Channel? {
        let start = prefix.count + 2
        guard name.count > start, name.count <= start + maximumRoomBytes,
            name.starts(with: prefix), name[start - 1] == UInt8(ascii: ":"),
            let text = String(validating: name[start...], as: UTF8.self)
        else { return nil }
        return switch name[start - 2] {
        case UInt8(ascii: "c"): ChatID(text).map { .chat($0) }
        case UInt8(ascii: "u"): UserID(text).map { .user($0) }
        case UInt8(ascii: "t"): TopicName(text).map { .topic($0) }
        case UInt8(ascii: "r"): .room(text)
        default: nil
        }
    }
}
