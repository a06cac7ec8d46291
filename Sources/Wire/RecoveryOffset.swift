import Basics
import Domain

/// What stands behind an event's argument, as a further one, where sessions can be recovered: the client
/// names the last that it was given when it comes back. The same for everybody who is given the event, so
/// a broadcast stays one encoding.
///
///     <seq>:<chat>       such as 17:conv-123
package struct RecoveryOffset: Hashable, Sendable {
    package let chat: ChatID
    package let seq: Seq

    package init(chat: ChatID, seq: Seq) {
        self.chat = chat
        self.seq = seq
    }

    /// nil where a client names what was never sent.
    package init?(_ text: String) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")),
            let seq = Seq(text[..<colon]), seq > 0,
            let chat = ChatID(String(text[text.utf8.index(after: colon)...]))
        else { return nil }
        self.init(chat: chat, seq: seq)
    }

    package var text: String { "\(seq):\(chat.text)" }

    /// Digits, the colon, and a chat's name.
    package static let maximumBytes = 20 + 128
}
