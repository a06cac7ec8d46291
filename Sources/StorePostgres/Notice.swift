import Domain

/// What a transaction tells other sessions at its COMMIT, through LISTEN and NOTIFY.
///
/// The inbox tells of each chat that it writes to. A store that `announcesWrites` tells of its own
/// writes too, for as long as the bus cannot: a commit that notifies waits for others that do, one
/// lock for the whole server.
package enum Notice: Hashable, Sendable {
    /// Its log grew, or marks moved in it.
    case chat(ChatID)
    /// They came into a chat.
    case user(UserID)

    static let chatChannel = "martlet_inbox"
    static let userChannel = "martlet_users"

    init?(channel: String, payload: String) {
        switch channel {
        case Self.chatChannel:
            guard let chat = ChatID(payload) else { return nil }
            self = .chat(chat)
        case Self.userChannel:
            guard let user = UserID(payload) else { return nil }
            self = .user(user)
        default:
            return nil
        }
    }

    var channel: String {
        switch self {
        case .chat: Self.chatChannel
        case .user: Self.userChannel
        }
    }

    var payload: String {
        switch self {
        case .chat(let chat): chat.text
        case .user(let user): user.text
        }
    }
}
