import Basics
import Domain

/// An event as the clients of Socket.IO hear it: a name and one argument.
///
/// In v1 that is what a plain connection hears. The families that were there before have other names
/// and, for some events, other fields, or one event for each message where Martlet moves a mark over
/// many. All of it is derived from the event that was encoded once; nothing is decided anew.
extension EncodedEvent {
    /// What cannot be read off the payload, or not cheaply.
    package enum Legacy: Sendable {
        case same
        /// An entry of the log; ns calls its chat a conversation.
        case entry(RecoveryOffset)
        case stored(ChatID)
        case typing(Typing)
        case receipt(Receipt, delivered: [MessageID], read: [MessageID])
    }

    /// Hands each event that a client of the dialect hears to `body`: mostly one, of a receipt any
    /// number.
    package func forEachSocketEvent(
        in dialect: Dialect, _ body: (_ name: StaticString, _ payload: [UInt8]) -> Void
    ) {
        switch (dialect, legacy) {
        case (.root, .receipt(let receipt, let delivered, let read)),
            (.ns, .receipt(let receipt, let delivered, let read)):
            let names = name.names(in: dialect)
            for id in delivered {
                body(names[0], Self.mark(id, receipt, in: dialect, isRead: false))
            }
            for id in read { body(names[1], Self.mark(id, receipt, in: dialect, isRead: true)) }
        case (.ns, .typing(let typing)):
            body(name.names(in: .ns)[typing.isTyping ? 0 : 1], Self.typist(typing))
        case (.root, .stored):
            body(
                name.name(in: .root),
                with { json in
                    json.key("stage")
                    json.string(literal: "stored")
                })
        case (.ns, .entry(let place)) where name == .messageNew:
            body(name.name(in: .ns), inConversation(place.chat))
        case (.ns, .stored(let chat)):
            body(name.name(in: .ns), inConversation(chat))
        default:
            guard !isForLegacyOnly else { return }
            body(name.name(in: dialect), payload)
        }
    }

    /// Where in the logs it is; nil for what is in none.
    package var offset: RecoveryOffset? {
        if case .entry(let place) = legacy, place.seq > 0 { place } else { nil }
    }

    private func inConversation(_ chat: ChatID) -> [UInt8] {
        with { json in
            json.key("conversationId")
            json.string(chat.text)
        }
    }

    /// The payload with further fields behind its own.
    private func with(_ fields: (inout JSONWriter) -> Void) -> [UInt8] {
        var more = JSONWriter(capacity: 128)
        more.beginObject()
        fields(&more)
        more.endObject()
        var bytes: [UInt8] = []
        bytes.reserveCapacity(payload.count + more.bytes.count)
        bytes += payload.dropLast()
        bytes.append(UInt8(ascii: ","))
        bytes += more.bytes.dropFirst()
        return bytes
    }

    private static func mark(
        _ message: MessageID, _ receipt: Receipt, in dialect: Dialect, isRead: Bool
    ) -> [UInt8] {
        var json = JSONWriter(capacity: 192)
        json.beginObject()
        json.key("messageId")
        json.string(message.text)
        json.key(dialect == .ns ? "conversationId" : "chatId")
        json.string(receipt.chat.text)
        json.key("userId")
        json.string(receipt.user.text)
        if isRead {
            json.key("readAt")
        } else {
            json.key("stage")
            json.string(literal: "delivered")
            json.key("at")
        }
        json.timestamp(milliseconds: receipt.at.milliseconds)
        json.endObject()
        return json.bytes
    }

    private static func typist(_ typing: Typing) -> [UInt8] {
        var json = JSONWriter(capacity: 128)
        json.beginObject()
        json.key("userId")
        json.string(typing.user.text)
        if let email = typing.email {
            json.key("email")
            json.string(email)
        }
        json.key("conversationId")
        json.string(typing.chat.text)
        json.endObject()
        return json.bytes
    }
}
