import Basics
import Domain
import TestSupport

/// What must never happen, checked as things happen, against the store's committed history; and
/// what must have happened once everything has healed.
final class Oracle {
    private(set) var violations: [String] = []
    private(set) var acked = 0
    private(set) var deliveries = 0

    struct Ack {
        var chat: ChatID
        var seq: Seq
        var id: String
        var clientMessageID: String
        var user: UserID
    }
    private(set) var acks: [Ack] = []

    func violate(_ promise: String, _ text: String) {
        if violations.count < 20 { violations.append("\(promise): \(text)") }
    }

    /// P1, P4: an ack names a committed entry, and one clientMsgId has one entry.
    func acked(_ ack: Ack, store: ModelState) {
        acked += 1
        acks.append(ack)
        check(ack, store: store)
    }

    private func check(_ ack: Ack, store: ModelState) {
        let log = store.entries(of: ack.chat)
        guard ack.seq >= 1, ack.seq <= log.count else {
            violate(
                "P1", "\(ack.clientMessageID) acked at seq \(ack.seq), log ends at \(log.count)")
            return
        }
        let entry = log[Int(ack.seq) - 1]
        if entry.id.text != ack.id {
            violate(
                "P1",
                "\(ack.clientMessageID) acked as \(ack.id), but seq \(ack.seq) is \(entry.id.text)")
        }
    }

    /// P5: an error that means "not stored" was sent for an attempt.
    func refused(clientMessageID: String, chat: ChatID, hadUncertain: Bool, store: ModelState) {
        guard !hadUncertain else { return }
        if find(clientMessageID, in: store.entries(of: chat)).count > 0 {
            violate("P5", "\(clientMessageID) was called not stored, but it is in the log")
        }
    }

    private func find(_ clientMessageID: String, in log: [LogEntry]) -> [LogEntry] {
        let content = Array(clientMessageID.utf8)
        return log.filter {
            if case .message(let message) = $0.body {
                message.encryptedContent == content
            } else {
                false
            }
        }
    }

    /// A device was given an entry. `previous` is the last seq it had of that chat.
    func delivered(
        chat: ChatID, seq: Seq, id: String, content: String?, to user: UserID, device: String,
        previous: Seq, store: ModelState
    ) {
        deliveries += 1
        let log = store.entries(of: chat)
        guard seq >= 1, seq <= log.count else {
            violate(
                "P1", "\(device) was given seq \(seq) of \(chat.text), log ends at \(log.count)")
            return
        }
        let entry = log[Int(seq) - 1]
        if entry.id.text != id {
            violate("P3", "\(device) was given \(id) as seq \(seq), the log has \(entry.id.text)")
        }
        if case .message(let message) = entry.body, let content,
            message.encryptedContent != Array(content.utf8)
        {
            violate("P3", "\(device) was given another content at seq \(seq)")
        }
        if seq <= previous {
            violate("P3", "\(device) was given seq \(seq) of \(chat.text) after \(previous)")
        }
        if !store.shows(seq, of: chat, to: user) {
            violate("P13", "\(device) was given seq \(seq), which \(user.text) may not see")
        }
        for missing in stride(from: previous + 1, to: seq, by: 1)
        where store.shows(missing, of: chat, to: user) {
            violate(
                "P3", "\(device) was given seq \(seq) of \(chat.text) after \(previous): a hole")
            break
        }
    }

    /// After healing: P1, P3, P4 over the whole history; P2 for each device.
    func checkEnd(
        store: ModelState, chats: [ChatID],
        devices: [(device: String, user: UserID, has: [ChatID: Seq])]
    ) {
        for ack in acks { check(ack, store: store) }
        for chat in chats {
            var seen: [String: Seq] = [:]
            for (index, entry) in store.entries(of: chat).enumerated() {
                if entry.seq != Seq(index + 1) {
                    violate("P3", "\(chat.text) has seq \(entry.seq) at place \(index + 1)")
                }
                guard case .message(let message) = entry.body else { continue }
                if !store.shows(entry.seq, of: chat, to: entry.author) {
                    violate(
                        "P13",
                        "\(entry.author.text) wrote seq \(entry.seq) of \(chat.text), no member then"
                    )
                }
                let content = String(decoding: message.encryptedContent, as: UTF8.self)
                if let first = seen[content] {
                    violate("P4", "\(content) is in \(chat.text) twice: \(first) and \(entry.seq)")
                }
                seen[content] = entry.seq
            }
            let end = Seq(store.entries(of: chat).count)
            for (device, user, has) in devices {
                let from = has[chat] ?? 0
                for seq in stride(from: from + 1, through: end, by: 1)
                where store.shows(seq, of: chat, to: user) {
                    violate(
                        "P2", "\(device) never got seq \(seq) of \(chat.text); it has up to \(from)"
                    )
                    break
                }
            }
        }
    }
}
