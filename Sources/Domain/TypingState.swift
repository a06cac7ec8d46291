import Basics

/// What one connection is typing, where. It lives with the connection, so a crash leaves no ghost:
/// the others' copies are only ever what was forwarded, and this side ends each of them.
///
///     idle ── true ──► typing ── true, ≥ 2 s since the last forward ──► typing (forward again)
///      ▲                 │
///      └── false, send, leave, disconnect, 6 s without a true ──┘  (forward false)
package struct TypingState: Sendable {
    package static let lifetimeMs = 6_000
    package static let forwardIntervalMs = 2_000
    /// More chats at once than a person types in.
    package static let maximumChats = 8

    private struct Entry: Sendable {
        var chat: ChatID
        var expiresAt: Instant
        var forwardedAt: Instant
        var isTyping: Bool
    }

    private var entries: [Entry] = []

    package init() {}

    package var isEmpty: Bool { entries.isEmpty }

    /// Whether the chat is to be told.
    package mutating func set(_ chat: ChatID, isTyping: Bool, now: Instant) -> Bool {
        guard let index = entries.firstIndex(where: { $0.chat == chat }) else {
            guard isTyping, entries.count < Self.maximumChats else { return false }
            entries.append(
                Entry(
                    chat: chat, expiresAt: now.advanced(byMilliseconds: Self.lifetimeMs),
                    forwardedAt: now, isTyping: true))
            return true
        }
        let wasTyping = entries[index].isTyping
        let mayForwardTrue =
            now.milliseconds(since: entries[index].forwardedAt) >= Self.forwardIntervalMs
        if isTyping {
            entries[index].expiresAt = now.advanced(byMilliseconds: Self.lifetimeMs)
            guard mayForwardTrue else { return false }
            entries[index].isTyping = true
            entries[index].forwardedAt = now
            return true
        }
        // The end is always told, if the beginning was. The entry stays until it expires, to keep
        // the pace of forwards.
        entries[index].isTyping = false
        return wasTyping
    }

    /// Forgets what has expired. Returns the chats that must be told of an end.
    package mutating func expire(now: Instant) -> [ChatID] {
        var ended: [ChatID] = []
        entries.removeAll { entry in
            guard entry.expiresAt <= now else { return false }
            if entry.isTyping { ended.append(entry.chat) }
            return true
        }
        return ended
    }

    /// Everything that is being typed, which ends now: the connection is gone.
    package mutating func endAll() -> [ChatID] {
        let ended = entries.filter(\.isTyping).map(\.chat)
        entries = []
        return ended
    }

    package var nextExpiry: Instant? { entries.map(\.expiresAt).min() }
}
