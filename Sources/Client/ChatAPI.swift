import Wire

/// The parts of the HTTP API that the terminal client and the tests use; each call is one blocking
/// request.
package struct ChatAPI: Sendable {
    package var url: URLParts
    package var token: String
    package var timeoutMs: Int

    package init(url: URLParts, token: String, timeoutMs: Int = 5_000) {
        self.url = url
        self.token = token
        self.timeoutMs = timeoutMs
    }

    package struct Chat: Hashable, Sendable {
        package var id: String
        package var lastSeq: Int64
        package var readSeq: Int64
        /// Whether it was made by this call.
        package var isNew: Bool
    }

    package struct Member: Hashable, Sendable {
        package var user: String
        package var role: String
        package var deliveredSeq: Int64
        package var readSeq: Int64
    }

    /// An element of a chat's history.
    package enum Entry: Hashable, Sendable {
        case message(ServerEvent.Message)
        case changed(ServerEvent.MembershipChange)

        package var seq: Int64 {
            switch self {
            case .message(let message): message.seq
            case .changed(let change): change.seq
            }
        }
    }

    /// The one direct chat with `other`: made where there is none yet.
    package func openDirectChat(with other: String) throws(ClientError) -> Chat {
        try createChat(type: "direct", members: [other])
    }

    /// - Parameters:
    ///   - type: `direct` or `group`.
    ///   - members: the others; the caller is a member by itself.
    ///   - id: for tokens with the role service only.
    package func createChat(
        type: String, members: [String], name: String? = nil, id: String? = nil
    ) throws(ClientError) -> Chat {
        var body = JSONWriter(capacity: 128)
        body.beginObject()
        body.key("type")
        body.string(type)
        body.key("members")
        body.beginArray()
        for member in members { body.string(member) }
        body.endArray()
        if let name {
            body.key("name")
            body.string(name)
        }
        if let id {
            body.key("id")
            body.string(id)
        }
        body.endObject()
        let answer = try request("POST", "/api/v1/chats", json: body.bytes)
        return try Self.decode(answer) { data, json, text in
            guard let id = data.string("id", json, text) else { return nil }
            return Chat(
                id: id, lastSeq: data.integer("lastSeq", json, text) ?? 0,
                readSeq: data.integer("readSeq", json, text) ?? 0, isNew: answer.status == 201)
        }
    }

    package func members(of chat: String) throws(ClientError) -> [Member] {
        let answer = try request("GET", "\(path(of: chat))/members")
        return try Self.decodeList(answer) { fields, json, text in
            fields.string("userId", json, text).map { user in
                Member(
                    user: user, role: fields.string("role", json, text) ?? "",
                    deliveredSeq: fields.integer("deliveredSeq", json, text) ?? 0,
                    readSeq: fields.integer("readSeq", json, text) ?? 0)
            }
        }
    }

    package func addMembers(_ users: [String], to chat: String) throws(ClientError) {
        var body = JSONWriter(capacity: 128)
        body.beginObject()
        body.key("userIds")
        body.beginArray()
        for user in users { body.string(user) }
        body.endArray()
        body.endObject()
        _ = try request("POST", "\(path(of: chat))/members", json: body.bytes)
    }

    /// Also how one leaves: with the caller's own id.
    package func removeMember(_ user: String, from chat: String) throws(ClientError) {
        _ = try request("DELETE", "\(path(of: chat))/members/\(URLParts.encodeSegment(user))")
    }

    /// Entries with a seq above `after`, ascending.
    ///
    /// - Parameter limit: at most this many; nil for the server's page.
    package func history(
        of chat: String, after: Int64 = 0, limit: Int? = nil
    ) throws(ClientError) -> [Entry] {
        let answer = try request(
            "GET",
            "\(path(of: chat))/messages?after=\(after)" + (limit.map { "&limit=\($0)" } ?? ""))
        return try Self.decodeList(answer) { fields, json, text in
            fields.string("kind", json, text) == "message"
                ? .message(ServerEventReader.message(fields, json, text))
                : .changed(ServerEventReader.change(fields, json, text))
        }
    }

    private func path(of chat: String) -> String {
        "/api/v1/chats/\(URLParts.encodeSegment(chat))"
    }

    private func request(
        _ method: String, _ target: String, json: [UInt8]? = nil
    ) throws(ClientError) -> HTTPAnswer {
        let answer = try HTTPExchange.request(
            method, url.at(target), token: token, json: json, timeoutMs: timeoutMs)
        guard (200...299).contains(answer.status) else { throw Self.refusal(answer) }
        return answer
    }

    // MARK: Envelopes

    /// The error of a refusal: `{success:false, error:{code, message}}`, or another server's text.
    static func refusal(_ answer: HTTPAnswer) -> ClientError {
        var json = JSONReader()
        let text = answer.body.span
        let retryAfterMs = answer.field("retry-after").flatMap { Int($0) }
            .map { min(max($0, 0), 3_600) * 1_000 }
        do throws(JSONError) {
            let root = JSONFields(try json.parse(text))
            let error = JSONFields(root.node("error", json, text))
            return .refused(
                status: answer.status, code: error.string("code", json, text),
                message: error.string("message", json, text) ?? "no reason was given",
                retryAfterMs: error.integer("retryAfterMs", json, text).map { Int($0) }
                    ?? retryAfterMs)
        } catch {
            let text = String(decoding: answer.body.prefix(200), as: UTF8.self)
            let firstLine = text.split(whereSeparator: \.isNewline).first.map(String.init)
            return .refused(
                status: answer.status, code: nil, message: firstLine ?? "no reason was given",
                retryAfterMs: retryAfterMs)
        }
    }

    private typealias Decoder<Value> = (
        JSONFields, borrowing JSONReader, borrowing Span<UInt8>
    ) -> Value?

    private static func decode<Value>(
        _ answer: HTTPAnswer, _ body: Decoder<Value>
    ) throws(ClientError) -> Value {
        var json = JSONReader()
        let text = answer.body.span
        let root: JSONNode
        do throws(JSONError) {
            root = try json.parse(text)
        } catch {
            throw .badAnswer("not JSON: \(error.text)")
        }
        let data = JSONFields(JSONFields(root).node("data", json, text))
        guard let value = body(data, json, text) else { throw .badAnswer("data is missing") }
        return value
    }

    private static func decodeList<Value>(
        _ answer: HTTPAnswer, _ body: Decoder<Value>
    ) throws(ClientError) -> [Value] {
        var json = JSONReader(maximumNodes: 1 << 20)
        let text = answer.body.span
        let root: JSONNode
        do throws(JSONError) {
            root = try json.parse(text)
        } catch {
            throw .badAnswer("not JSON: \(error.text)")
        }
        guard let list = JSONFields(root).node("data", json, text) else {
            throw .badAnswer("data is missing")
        }
        var values: [Value] = []
        var elements = json.elements(list)
        while let element = json.next(&elements) {
            guard let value = body(JSONFields(element), json, text) else {
                throw .badAnswer("an element has no id")
            }
            values.append(value)
        }
        return values
    }
}
