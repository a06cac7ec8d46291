import Wire

/// What a client says on the plain-JSON face, by its canonical names; either dialect takes them.
/// Each is the whole text of a frame.
package enum Frames {
    package static func authenticate(
        token: String, device: String? = nil, id: Int64? = nil
    ) -> [UInt8] {
        frame("session.auth", id) { json in
            json.key("token")
            json.string(token)
            if let device {
                json.key("deviceId")
                json.string(device)
            }
        }
    }

    package static func join(_ chat: String, since: Int64? = nil, id: Int64? = nil) -> [UInt8] {
        frame("chat.join", id) { json in
            json.key("chatId")
            json.string(chat)
            if let since {
                json.key("since")
                json.integer(since)
            }
        }
    }

    package static func leave(_ chat: String, id: Int64? = nil) -> [UInt8] {
        frame("chat.leave", id) { json in
            json.key("chatId")
            json.string(chat)
        }
    }

    /// - Parameter chats: each with the last seq that arrived.
    package static func resume(_ chats: [(chat: String, seq: Int64)], id: Int64? = nil) -> [UInt8] {
        frame("resume", id) { json in
            json.key("chats")
            json.beginObject()
            for (chat, seq) in chats {
                json.key(named: chat)
                json.integer(seq)
            }
            json.endObject()
        }
    }

    package static func send(
        _ content: String, to chat: String, clientMessageID: String?, type: String = "text",
        id: Int64? = nil
    ) -> [UInt8] {
        frame("message.send", id) { json in
            json.key("chatId")
            json.string(chat)
            if let clientMessageID {
                json.key("clientMsgId")
                json.string(clientMessageID)
            }
            json.key("encryptedContent")
            json.string(content)
            json.key("type")
            json.string(type)
        }
    }

    package static func delivered(_ chat: String, seq: Int64, id: Int64? = nil) -> [UInt8] {
        frame("delivery.ack", id) { json in
            json.key("chatId")
            json.string(chat)
            json.key("seq")
            json.integer(seq)
        }
    }

    package static func read(
        _ chat: String, seq: Int64, isPrivate: Bool = false, id: Int64? = nil
    ) -> [UInt8] {
        frame("read.set", id) { json in
            json.key("chatId")
            json.string(chat)
            json.key("seq")
            json.integer(seq)
            if isPrivate {
                json.key("private")
                json.bool(true)
            }
        }
    }

    package static func typing(_ chat: String, isTyping: Bool, id: Int64? = nil) -> [UInt8] {
        frame("typing", id) { json in
            json.key("chatId")
            json.string(chat)
            json.key("isTyping")
            json.bool(isTyping)
        }
    }

    package static func subscribe(_ topics: [String], id: Int64? = nil) -> [UInt8] {
        frame("topic.subscribe", id) { list(topics, in: &$0) }
    }

    package static func unsubscribe(_ topics: [String], id: Int64? = nil) -> [UInt8] {
        frame("topic.unsubscribe", id) { list(topics, in: &$0) }
    }

    private static func list(_ topics: [String], in json: inout JSONWriter) {
        json.key("topics")
        json.beginArray()
        for topic in topics { json.string(topic) }
        json.endArray()
    }

    private static func frame(
        _ type: StaticString, _ id: Int64?, _ payload: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        var json = JSONWriter(capacity: 160)
        json.beginObject()
        json.key("type")
        json.string(literal: type)
        if let id {
            json.key("id")
            json.integer(id)
        }
        json.key("payload")
        json.beginObject()
        payload(&json)
        json.endObject()
        json.endObject()
        return json.bytes
    }
}
