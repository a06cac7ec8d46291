import Basics

package enum ConversationKind: String, CaseIterable, Sendable {
    /// Exactly two users, one per pair.
    case direct
    case group
}

package enum Role: String, CaseIterable, Sendable {
    case owner, admin, member

    package var mayAddMembers: Bool { self != .member }
    /// Whether this role may remove a member of role `other`.
    package func mayRemove(_ other: Role) -> Bool {
        switch self {
        case .owner: other != .owner
        case .admin: other == .member
        case .member: false
        }
    }
}

/// One entry of a chat's log. Immutable once committed.
package struct LogEntry: Hashable, Sendable {
    package enum Body: Hashable, Sendable {
        case message(Message)
        case membership(MembershipChange)
    }

    package var chat: ChatID
    package var seq: Seq
    package var id: MessageID
    /// Who wrote it; for a membership change, who made it.
    package var author: UserID
    package var device: DeviceID
    package var createdAt: WallTime
    package var body: Body

    package init(
        chat: ChatID, seq: Seq, id: MessageID, author: UserID, device: DeviceID,
        createdAt: WallTime, body: Body
    ) {
        self.chat = chat
        self.seq = seq
        self.id = id
        self.author = author
        self.device = device
        self.createdAt = createdAt
        self.body = body
    }

    /// What it costs in a queue, roughly, in bytes.
    package var approximateBytes: Int {
        switch body {
        case .message(let message): 256 + message.encryptedContent.count
        case .membership: 256
        }
    }
}

/// What a sender wrote. The content is opaque: stored and returned byte for byte.
package struct Message: Hashable, Sendable {
    /// UTF-8.
    package var encryptedContent: [UInt8]
    package var type: String
    package var replyTo: MessageID?
    package var thread: MessageID?
    package var expiresAt: WallTime?

    package init(
        encryptedContent: [UInt8], type: String, replyTo: MessageID? = nil,
        thread: MessageID? = nil, expiresAt: WallTime? = nil
    ) {
        self.encryptedContent = encryptedContent
        self.type = type
        self.replyTo = replyTo
        self.thread = thread
        self.expiresAt = expiresAt
    }
}

package struct MembershipChange: Hashable, Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        case added = "memberAdded"
        case removed = "memberRemoved"
        case left = "memberLeft"
    }

    package var kind: Kind
    package var user: UserID

    package init(kind: Kind, user: UserID) {
        self.kind = kind
        self.user = user
    }

    package var endsMembership: Bool { kind != .added }
}

/// A chat as one of its members sees it.
package struct Conversation: Hashable, Sendable {
    package var id: ChatID
    package var kind: ConversationKind
    package var name: String?
    package var createdAt: WallTime
    package var lastSeq: Seq
    /// How far the asking user has read, over all their devices.
    package var readSeq: Seq
    package var role: Role
    package var memberCount: Int

    package init(
        id: ChatID, kind: ConversationKind, name: String?, createdAt: WallTime, lastSeq: Seq,
        readSeq: Seq, role: Role, memberCount: Int
    ) {
        self.id = id
        self.kind = kind
        self.name = name
        self.createdAt = createdAt
        self.lastSeq = lastSeq
        self.readSeq = readSeq
        self.role = role
        self.memberCount = memberCount
    }
}

package struct Member: Hashable, Sendable {
    package var user: UserID
    package var role: Role
    package var joinedAt: WallTime
    /// Watermarks over all of the user's devices. A private reader's `readSeq` is not shown.
    package var deliveredSeq: Seq
    package var readSeq: Seq

    package init(
        user: UserID, role: Role, joinedAt: WallTime, deliveredSeq: Seq, readSeq: Seq
    ) {
        self.user = user
        self.role = role
        self.joinedAt = joinedAt
        self.deliveredSeq = deliveredSeq
        self.readSeq = readSeq
    }
}

/// That a user's watermarks in a chat moved forward. A field is nil where that one did not move.
package struct Receipt: Hashable, Sendable {
    package var chat: ChatID
    package var user: UserID
    package var deliveredSeq: Seq?
    package var readSeq: Seq?
    /// The read mark is for the user's own devices only.
    package var isReadPrivate: Bool
    package var at: WallTime

    package init(
        chat: ChatID, user: UserID, deliveredSeq: Seq?, readSeq: Seq?, isReadPrivate: Bool,
        at: WallTime
    ) {
        self.chat = chat
        self.user = user
        self.deliveredSeq = deliveredSeq
        self.readSeq = readSeq
        self.isReadPrivate = isReadPrivate
        self.at = at
    }
}

package struct Typing: Hashable, Sendable {
    package var chat: ChatID
    package var user: UserID
    package var isTyping: Bool
    /// By the typist's token; told to clients of the ns family alone.
    package var email: String?

    package init(chat: ChatID, user: UserID, isTyping: Bool, email: String? = nil) {
        self.chat = chat
        self.user = user
        self.isTyping = isTyping
        self.email = email
    }
}
