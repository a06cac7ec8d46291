import Basics
import BusCore
import Domain
import HTTP
import Identity
import StoreCore
import Wire

/// The HTTP API: chats, their members and their history, health and metrics.
extension GatewayShard {
    func route(
        _ connection: Connection, _ request: HTTPRequest, _ path: [String], _ head: RequestHead,
        _ bytes: Span<UInt8>, _ body: Span<UInt8>
    ) {
        var request = request
        if path.first == "health" || path == ["metrics"] {
            answerStatus(connection, request, path)
            return
        }
        guard path.count >= 3, path[0] == "api", path[1] == "v1", path[2] == "chats" else {
            answerUnknown(connection, request)
            return
        }
        guard let caller = authenticate(connection, request, head, bytes) else { return }
        let actor = caller.actor
        switch path.count {
        case 3:
            request.route = .chats
            switch request.method {
            case .get, .head:
                ask(.listConversations(actor.user), .listChats(request), connection)
            case .post:
                createChat(connection, request, caller, body)
            default:
                refuseMethod(connection, request, allow: "GET, HEAD, POST")
            }
        case 5 where path[4] == "members":
            request.route = .members
            guard let chat = chat(path[3], connection, request) else { return }
            switch request.method {
            case .get, .head:
                ask(.listMembers(chat, by: actor.user), .listMembers(request), connection)
            case .post:
                addMembers(connection, request, actor, chat, body)
            default:
                refuseMethod(connection, request, allow: "GET, HEAD, POST")
            }
        case 6 where path[4] == "members":
            request.route = .member
            guard let chat = chat(path[3], connection, request) else { return }
            guard request.method == .delete else {
                refuseMethod(connection, request, allow: "DELETE")
                return
            }
            removeMember(connection, request, actor, chat, path[5])
        case 5 where path[4] == "messages":
            request.route = .messages
            guard let chat = chat(path[3], connection, request) else { return }
            guard request.method == .get || request.method == .head else {
                refuseMethod(connection, request, allow: "GET, HEAD")
                return
            }
            history(connection, request, actor, chat, head, bytes)
        default:
            answerUnknown(connection, request)
        }
    }

    // MARK: Who asks

    struct Caller {
        var actor: Actor
        var isService: Bool
    }

    private func authenticate(
        _ connection: Connection, _ request: HTTPRequest, _ head: RequestHead,
        _ bytes: Span<UInt8>
    ) -> Caller? {
        guard let token = Credentials.bearer(head, bytes) else {
            answer(
                connection, request,
                CommandError(.unauthorized, "send a token as Authorization: Bearer"))
            return nil
        }
        guard let claims = verified(token, connection, request) else { return nil }
        let state = userState(UserID(trusted: claims.userId))
        state.lastUsed = now.instant
        if let wait = state.http.take(
            rate: limits.httpRequestsPerMinute, periodMs: 60_000,
            burst: limits.httpRequestsPerMinute, now: now.instant)
        {
            counters[.rateLimited] += 1
            answer(
                connection, request,
                CommandError(.rateLimited, "too many requests; wait", retryAfterMs: wait))
            return nil
        }
        let device = claims.deviceId ?? "http"
        return Caller(
            actor: Actor(user: state.id, device: DeviceID(trusted: device)),
            isService: claims.role == "service")
    }

    /// What a token of the `Authorization` header says; nil where it is not good, and the request
    /// has been answered with 401.
    func verified(
        _ token: String, _ connection: Connection, _ request: HTTPRequest
    ) -> Claims? {
        let error: CommandError
        switch verifier.verify(token, nowMilliseconds: now.wall.milliseconds) {
        case .valid(let claims): return claims
        case .expired: error = CommandError(.tokenExpired, "the token has expired; get a new one")
        case .invalid: error = CommandError(.invalidToken, "the token is not valid; get a new one")
        }
        counters[.authenticationsFailed] += 1
        answer(connection, request, error)
        return nil
    }

    // MARK: Requests

    private func chat(
        _ text: String, _ connection: Connection, _ request: HTTPRequest
    ) -> ChatID? {
        if let chat = ChatID(text) { return chat }
        answer(connection, request, CommandError(Refusal.notFound))
        return nil
    }

    private func createChat(
        _ connection: Connection, _ request: HTTPRequest, _ caller: Caller, _ body: Span<UInt8>
    ) {
        do throws(CommandError) {
            let root = try parse(body)
            let kind: ConversationKind
            switch json.member(root, "type", in: body).flatMap({ json.string($0, in: body) }) {
            case "direct": kind = .direct
            case "group": kind = .group
            default:
                throw CommandError(.validationError, "type is \"direct\" or \"group\"")
            }
            var members = try users("members", of: root, body, isRequired: kind == .direct)
            let others = members.filter { $0 != caller.actor.user }
            members = [caller.actor.user] + others
            if kind == .direct, members.count != 2 {
                throw CommandError(
                    .validationError, "a direct chat has exactly one other member")
            }
            try checkCount(members)
            guard members.count <= limits.membersPerChat else {
                throw CommandError(Refusal.tooManyMembers)
            }
            var name: String?
            if let node = json.member(root, "name", in: body), !json.isNull(node) {
                guard let text = json.text(node, maximumUTF8Count: 256, in: body), !text.isEmpty
                else {
                    throw CommandError(.validationError, "name is a string of 1 to 256 bytes")
                }
                name = text
            }
            let operation = CreateConversation(
                id: try newChatID(root, body, caller), kind: kind, name: name,
                creator: caller.actor.user, members: members, createdAt: now.wall)
            ask(
                .createConversation(operation), .createChat(request, members: members), connection)
        } catch {
            answer(connection, request, error)
        }
    }

    private func newChatID(
        _ root: JSONNode, _ body: Span<UInt8>, _ caller: Caller
    ) throws(CommandError) -> ChatID {
        guard let node = json.member(root, "id", in: body), !json.isNull(node) else {
            return ChatID(trusted: identifiers.next(at: now.wall).text)
        }
        guard caller.isService else {
            throw CommandError(
                .insufficientPermissions,
                "only a token with the role service names a chat's id; leave it out")
        }
        guard let text = json.identifier(node, in: body) else {
            throw CommandError(
                .validationError, "id is a string of 1 to 128 bytes without control characters")
        }
        return ChatID(trusted: text)
    }

    private func addMembers(
        _ connection: Connection, _ request: HTTPRequest, _ actor: Actor, _ chat: ChatID,
        _ body: Span<UInt8>
    ) {
        do throws(CommandError) {
            let root = try parse(body)
            let users = try users("userIds", of: root, body, isRequired: true)
            try checkCount(users)
            changeMembers(connection, request, actor, chat, .added, users)
        } catch {
            answer(connection, request, error)
        }
    }

    private func removeMember(
        _ connection: Connection, _ request: HTTPRequest, _ actor: Actor, _ chat: ChatID,
        _ text: String
    ) {
        guard let user = UserID(text) else {
            answer(connection, request, CommandError(Refusal.notFound))
            return
        }
        changeMembers(
            connection, request, actor, chat, user == actor.user ? .left : .removed, [user])
    }

    private func changeMembers(
        _ connection: Connection, _ request: HTTPRequest, _ actor: Actor, _ chat: ChatID,
        _ kind: MembershipChange.Kind, _ users: [UserID]
    ) {
        let entries = users.map { _ in
            MessageID(trusted: identifiers.next(at: now.wall).text)
        }
        ask(
            .changeMembership(
                ChangeMembership(
                    chat: chat, author: actor.user, device: actor.device, kind: kind, users: users,
                    entryIDs: entries, maximumMembers: limits.membersPerChat, at: now.wall)),
            .changeMembers(request), connection)
    }

    private func history(
        _ connection: Connection, _ request: HTTPRequest, _ actor: Actor, _ chat: ChatID,
        _ head: RequestHead, _ bytes: Span<UInt8>
    ) {
        guard let after = number("after", 0, 0...Int.max, head, bytes),
            let limit = number("limit", limits.historyPage, 1...limits.historyPage, head, bytes)
        else {
            answer(
                connection, request,
                CommandError(
                    .validationError,
                    "after is a seq, 0 or more; limit is within 1...\(limits.historyPage)"))
            return
        }
        ask(
            .readHistory(
                ReadHistory(chat: chat, user: actor.user, after: Seq(after), limit: limit)),
            .history(request), connection)
    }

    private func number(
        _ key: StaticString, _ standard: Int, _ range: ClosedRange<Int>, _ head: RequestHead,
        _ bytes: Span<UInt8>
    ) -> Int? {
        switch QueryString.value(of: key, in: bytes, query: head.query) {
        case .absent: standard
        case .malformed: nil
        case .value(let text): Int(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    private func checkCount(_ users: [UserID]) throws(CommandError) {
        guard users.count <= limits.membersPerRequest else {
            throw CommandError(
                .validationError,
                "at most \(limits.membersPerRequest) members at once; add the others in parts")
        }
    }

    private func parse(_ body: Span<UInt8>) throws(CommandError) -> JSONNode {
        let root: JSONNode
        do throws(JSONError) {
            root = try json.parse(body)
        } catch {
            throw CommandError(
                .invalidInput, "the body is not valid JSON: \(error.text) (at byte \(error.offset))"
            )
        }
        guard json.kind(root) == .object else {
            throw CommandError(.invalidInput, "the body is a JSON object")
        }
        return root
    }

    /// A list of user ids, without repeats, in the order given.
    private func users(
        _ key: StaticString, of root: JSONNode, _ body: Span<UInt8>, isRequired: Bool
    ) throws(CommandError) -> [UserID] {
        guard let list = json.member(root, key, in: body), !json.isNull(list) else {
            if isRequired {
                throw CommandError(.validationError, "\(key) is missing: a list of user ids")
            }
            return []
        }
        guard json.kind(list) == .array, !isRequired || json.count(list) > 0 else {
            throw CommandError(.validationError, "\(key) is a list of user ids")
        }
        var users: [UserID] = []
        var seen: Set<UserID> = []
        var elements = json.elements(list)
        while let element = json.next(&elements) {
            guard let text = json.identifier(element, in: body) else {
                throw CommandError(
                    .validationError,
                    "a user id is a string of 1 to 128 bytes without control characters")
            }
            let user = UserID(trusted: text)
            if seen.insert(user).inserted { users.append(user) }
        }
        return users
    }

    private func ask(_ operation: Operation, _ work: HTTPWork, _ connection: Connection) {
        connection.http?.isAnswering = true
        connection.deadline = nil
        submit(operation, .http(connection.key, work))
    }

    // MARK: Answers

    /// The store has answered; the connection may be gone.
    func answered(_ key: ConnectionKey, _ work: HTTPWork, _ result: LaneAnswer.Result) {
        let request = work.request
        guard case .outcome(let outcome) = result else {
            if let connection = connection(key) { answer(connection, request, .storeUnavailable) }
            return
        }
        let completion = Core.complete(outcome)
        if let connection = connection(key) {
            if case .refused(let error) = completion.reply {
                answer(connection, request, error)
            } else {
                answer(connection, request, outcome)
            }
        }
        announce(completion.announcements, from: nil)
        if case .createChat(_, let members) = work,
            case .conversation(let chat, created: true) = outcome
        {
            // The creator among them: whoever follows all their chats, follows this one now.
            for user in members {
                publish(.user(user), .joined(chat.id, since: 0), from: nil)
            }
        }
    }

    private func answer(_ connection: Connection, _ request: HTTPRequest, _ outcome: Outcome) {
        switch outcome {
        case .conversation(let chat, let created):
            answer(connection, request, status: created ? 201 : 200) { write(chat, to: &$0) }
        case .conversations(let chats):
            answer(connection, request, status: 200) { json in
                json.beginArray()
                for chat in chats { write(chat, to: &json) }
                json.endArray()
            }
        case .members(let members):
            answer(connection, request, status: 200) { json in
                json.beginArray()
                for member in members { write(member, to: &json) }
                json.endArray()
            }
        case .membership(let entries):
            answer(connection, request, status: 200) { json in
                json.beginArray()
                for entry in entries { EventEncoder.write(entry, to: &json) }
                json.endArray()
            }
        case .history(let page):
            answer(
                connection, request, status: 200,
                data: { json in
                    json.beginArray()
                    for entry in page.entries { EventEncoder.write(entry, to: &json) }
                    json.endArray()
                },
                meta: { json in
                    json.key("readThrough")
                    json.integer(page.readThrough)
                    json.key("hasMore")
                    json.bool(!page.isComplete)
                })
        case .appended, .duplicate, .cursor, .opened, .logs, .range, .head, .located, .news,
            .chats, .session, .done, .refused:
            invariant(false, "this outcome answers no HTTP request")
        }
    }

    private func write(_ chat: Conversation, to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.string(chat.id.text)
        json.key("type")
        json.string(chat.kind.rawValue)
        json.key("name")
        if let name = chat.name { json.string(name) } else { json.null() }
        json.key("createdAt")
        json.timestamp(milliseconds: chat.createdAt.milliseconds)
        json.key("lastSeq")
        json.integer(chat.lastSeq)
        json.key("readSeq")
        json.integer(chat.readSeq)
        json.key("role")
        json.string(chat.role.rawValue)
        json.key("memberCount")
        json.integer(chat.memberCount)
        json.endObject()
    }

    private func write(_ member: Member, to json: inout JSONWriter) {
        json.beginObject()
        json.key("userId")
        json.string(member.user.text)
        json.key("role")
        json.string(member.role.rawValue)
        json.key("joinedAt")
        json.timestamp(milliseconds: member.joinedAt.milliseconds)
        json.key("deliveredSeq")
        json.integer(member.deliveredSeq)
        json.key("readSeq")
        json.integer(member.readSeq)
        json.endObject()
    }

    func answerUnknown(_ connection: Connection, _ request: HTTPRequest) {
        answer(
            connection, request,
            CommandError(.notFound, "there is nothing at this path; see the protocol's HTTP page"))
    }

    private func refuseMethod(
        _ connection: Connection, _ request: HTTPRequest, allow: StaticString
    ) {
        var request = request
        request.allow = allow
        answer(
            connection, request,
            CommandError(.invalidInput, "this path takes \(allow)"), status: 405)
    }

    // MARK: Health

    private func answerStatus(
        _ connection: Connection, _ request: HTTPRequest, _ path: [String]
    ) {
        var request = request
        guard request.method == .get || request.method == .head else {
            refuseMethod(connection, request, allow: "GET, HEAD")
            return
        }
        switch path {
        case ["health"]:
            request.route = .health
            answerHealth(connection, request, isReady: status.isReady)
        case ["health", "ready"]:
            request.route = .ready
            answerHealth(connection, request, isReady: status.isReady)
        case ["health", "live"]:
            // This shard's loop has just ticked.
            request.route = .live
            answerJSON(connection, request, status: 200) { json in
                json.beginObject()
                json.key("status")
                json.string("healthy")
                json.endObject()
            }
        case ["metrics"]:
            request.route = .metrics
            // Whoever asks is counted, too, though they came in this tick.
            status.counters[index].publish(counters)
            answerText(
                connection, request, "text/plain; version=0.0.4; charset=utf-8",
                MetricsText.render(status))
        default:
            answerUnknown(connection, request)
        }
    }

    private func answerHealth(
        _ connection: Connection, _ request: HTTPRequest, isReady: Bool
    ) {
        let failure = status.failure
        answerJSON(connection, request, status: isReady ? 200 : 503) { json in
            json.beginObject()
            json.key("status")
            json.string(
                !isReady ? "unhealthy" : status.isDegraded ? "degraded" : "healthy")
            json.key("timestamp")
            json.timestamp(milliseconds: now.wall.milliseconds)
            json.key("service")
            json.string("martlet")
            json.key("version")
            json.string(configuration.version)
            json.key("checks")
            json.beginObject()
            json.key("database")
            json.string(failure == nil ? "ok" : "error")
            if status.bus.isShared {
                json.key("redis")
                json.string(status.isDegraded ? "error" : "ok")
            }
            json.key("lane")
            json.string(status.isOverloaded ? "error" : "ok")
            if status.isDraining {
                json.key("draining")
                json.string("error")
            }
            json.endObject()
            if status.bus.isShared {
                json.key("redisBreaker")
                json.string(status.bus.breakerName)
            }
            json.endObject()
        }
    }
}
