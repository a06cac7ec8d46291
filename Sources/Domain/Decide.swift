import Basics

/// The core: what a command means, and what its outcome means. Pure functions over values; the
/// gateway carries the answers out.
///
///     Command ─ decide ─► Operation ─ store ─► Outcome ─ complete ─► Reply + Announcement
///
/// Joining and resuming need the hub and live there; what typing and cursors remember is in
/// `TypingState` and `CursorCoalescer`.
package enum Core {
    /// The operation that a `message.send` asks of the store.
    package static func decide(
        _ send: SendMessage, by actor: Actor, id: MessageID, now: Now
    ) -> Operation {
        .append(
            AppendMessage(
                id: id, chat: send.chat, author: actor.user, device: actor.device,
                clientMessageID: send.clientMessageID, createdAt: now.wall, message: send.message))
    }

    /// What the sender is told once the store has answered. Only `.committed` outcomes come here:
    /// a batch that was not stored is answered `SERVICE_UNAVAILABLE` by the lane.
    package static func complete(_ outcome: Outcome) -> Completion {
        switch outcome {
        case .appended(let entry):
            Completion(
                reply: .sent(
                    id: entry.id, chat: entry.chat, seq: entry.seq, createdAt: entry.createdAt,
                    isDuplicate: false),
                announcements: [.entry(entry)])
        case .membership(let entries):
            Completion(reply: .done, announcements: entries.map { .entry($0) })
        case .cursor(let receipt, let delivered, let read):
            Completion(
                reply: .cursor(delivered: delivered, read: read),
                announcements: receipt.map(announcements) ?? [])
        case .refused(let refusal):
            Completion(reply: .refused(CommandError(refusal)), announcements: [])
        case .conversation, .duplicate, .opened, .logs, .history, .range, .head, .located,
            .news, .conversations, .members, .chats, .session, .done:
            Completion(reply: .done, announcements: [])
        }
    }

    /// A private read mark goes to the user's own devices; that the messages arrived, to all.
    private static func announcements(of receipt: Receipt) -> [Announcement] {
        guard receipt.isReadPrivate, receipt.readSeq != nil, receipt.deliveredSeq != nil else {
            return [.receipt(receipt)]
        }
        var delivered = receipt
        delivered.readSeq = nil
        delivered.isReadPrivate = false
        var read = receipt
        read.deliveredSeq = nil
        return [.receipt(delivered), .receipt(read)]
    }

    /// As `complete`, for a send: a duplicate is answered with the first send's place.
    package static func completeSend(_ outcome: Outcome, chat: ChatID) -> Completion {
        guard case .duplicate(let id, let seq, let createdAt) = outcome else {
            return complete(outcome)
        }
        return Completion(
            reply: .sent(id: id, chat: chat, seq: seq, createdAt: createdAt, isDuplicate: true),
            announcements: [])
    }
}

/// What follows from an outcome: the answer to whoever asked, and what the chat is told.
package struct Completion: Sendable {
    package var reply: Reply
    /// Published after the reply: commit → ack → publish.
    package var announcements: [Announcement]

    package init(reply: Reply, announcements: [Announcement]) {
        self.reply = reply
        self.announcements = announcements
    }
}

package enum Reply: Sendable {
    case sent(id: MessageID, chat: ChatID, seq: Seq, createdAt: WallTime, isDuplicate: Bool)
    case cursor(delivered: Seq, read: Seq)
    case done
    case refused(CommandError)
}

package enum Announcement: Sendable {
    case entry(LogEntry)
    case receipt(Receipt)
}
