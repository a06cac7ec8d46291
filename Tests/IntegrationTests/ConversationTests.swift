import Client
import ServerSupport
import Testing
import WebSocket
import Wire

/// Two users and the real program between them.
struct ConversationTests {
    @Test(
        "Two users talk: messages, typing, delivery and reading reach the other",
        arguments: Dialect.plain)
    func talk(dialect: Dialect) throws {
        let server = try TestServer()
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let alice = try TestClient(server, user: "alice", device: "a1", dialect: dialect)
        let bob = try TestClient(server, user: "bob", device: "b1", dialect: dialect)
        #expect(alice.plain.subprotocol == (dialect == .v1 ? "martlet.v1" : nil))
        try alice.join(chat)
        try bob.join(chat)

        try alice.plain.send(text: Frames.typing(chat, isTyping: true))
        #expect(try Self.typing(bob) == ["alice", "true"])
        let content = "\u{1F600} \"quoted\" \\ \n – кириллица \u{0}"
        let sent = try alice.send(content, to: chat, id: "m-1")
        #expect(sent.seq == 1)
        #expect(sent.isDuplicate == false)
        #expect(try Self.typing(bob) == ["alice", "false"])
        let message = try bob.message()
        #expect(message.content == content)
        #expect(message.id == sent.messageID)
        #expect(message.seq == 1)
        #expect(message.sender == "alice")
        #expect(message.senderDevice == "a1")
        #expect(message.createdAt == sent.createdAt)

        try bob.plain.send(text: Frames.delivered(chat, seq: 1))
        #expect(try Self.receipt(alice).deliveredSeq == 1)
        try bob.plain.send(text: Frames.read(chat, seq: 1))
        let read = try Self.receipt(alice)
        #expect(read.readSeq == 1)
        #expect(read.user == "bob")

        try bob.send("answer", to: chat)
        let own = dialect.hearsEcho ? ["alice", "bob"] : ["bob"]
        var heard: [String] = []
        while heard.last != "bob" { heard.append(try alice.message().sender) }
        #expect(heard == own, "legacy clients hear their own messages too")
    }

    private static func typing(_ client: TestClient) throws -> [String] {
        try client.next("typing") { event in
            if case .typing(_, let user, let isTyping) = event {
                [user, "\(isTyping)"]
            } else {
                nil
            }
        }
    }

    private static func receipt(_ client: TestClient) throws -> ServerEvent.Receipt {
        try client.next("receipt") { event in
            if case .receipt(let receipt) = event { receipt } else { nil }
        }
    }

    @Test("A user's other device hears what the first one sent")
    func otherDevice() throws {
        let server = try TestServer()
        let chat = try server.api("alice").openDirectChat(with: "bob").id
        let phone = try TestClient(server, user: "alice", device: "phone")
        let laptop = try TestClient(server, user: "alice", device: "laptop")
        try phone.join(chat)
        try laptop.join(chat)
        try phone.send("from the phone", to: chat)
        #expect(try laptop.message().senderDevice == "phone")
    }

    // MARK: Who is there

    @Test(
        "A token is taken from the subprotocol, the header and the query",
        arguments: [PlainClient.TokenPlace.subprotocol, .header, .query], Dialect.plain)
    func tokenPlaces(place: PlainClient.TokenPlace, dialect: Dialect) throws {
        let server = try TestServer()
        let client = try TestClient(
            server, token: try server.token(user: "alice", device: "d7"), dialect: dialect,
            tokenPlace: place)
        let ready = try client.ready()
        #expect(ready.user == "alice")
        #expect(ready.device == "d7")
    }

    @Test("A token is taken from the first frame", arguments: Dialect.plain)
    func tokenInFirstFrame(dialect: Dialect) throws {
        let server = try TestServer()
        let client = try TestClient(server, token: nil, dialect: dialect)
        let token = try server.token(user: "alice")
        let ack = try client.request {
            Frames.authenticate(token: token, device: "d8", id: $0)
        }
        #expect(ack.isOK)
        #expect(ack.expiresAt != nil)
        #expect(try client.ready().device == "d8")
    }

    @Test("A bad token in the header is a 401, elsewhere an error and close 4001")
    func badToken() throws {
        let server = try TestServer()
        let bad = try server.token(user: "alice").dropLast(2) + "AA"
        for place in [PlainClient.TokenPlace.subprotocol, .query] {
            let client = try TestClient(server, token: String(bad), tokenPlace: place)
            #expect(try client.error().code == "INVALID_TOKEN")
            #expect(try client.close() == .unauthenticated)
        }
        #expect(throws: ClientError.self) {
            do throws(ClientError) {
                _ = try PlainClient(
                    connecting: server.url.socket, token: String(bad), tokenPlace: .header)
            } catch {
                if case .refused(401, "INVALID_TOKEN", _, _) = error {
                } else {
                    Issue.record("\(error)")
                }
                throw error
            }
        }
    }

    @Test("An expired token is told apart: error TOKEN_EXPIRED and close 4002")
    func expiredToken() throws {
        let server = try TestServer()
        let old = try server.token(user: "alice", secondsAgo: 7_200)
        let client = try TestClient(server, token: old)
        #expect(try client.error().code == "TOKEN_EXPIRED")
        #expect(try client.close() == .tokenExpired)
    }

    @Test("Whoever does not say who they are in time, or says something else, is closed with 4001")
    func noToken() throws {
        let server = try TestServer(TestServer.Options(limits: ["authTimeout=200"]))
        let silent = try TestClient(server, token: nil)
        #expect(try silent.close() == .unauthenticated)
        let rash = try TestClient(server, token: nil)
        try rash.plain.send(text: Frames.join("some chat"))
        #expect(try rash.close() == .unauthenticated)
    }

    // MARK: HTTP

    @Test("Chats are made, listed, joined, left and read over HTTP")
    func overHTTP() throws {
        let server = try TestServer()
        let alice = try server.api("alice")
        let bob = try server.api("bob")
        let direct = try alice.openDirectChat(with: "bob")
        #expect(direct.isNew)
        let again = try bob.openDirectChat(with: "alice")
        #expect(again.id == direct.id)
        #expect(!again.isNew)

        let group = try alice.createChat(type: "group", members: ["bob"], name: "the group").id
        try alice.addMembers(["carol", "dave"], to: group)
        #expect(
            try bob.members(of: group).map(\.user).sorted() == ["alice", "bob", "carol", "dave"])
        #expect(try bob.members(of: group).first { $0.user == "alice" }?.role == "owner")
        let list = try HTTPExchange.request(
            "GET", server.url.at("/api/v1/chats"), token: bob.token)
        #expect(list.status == 200)
        #expect(list.text.contains(direct.id) && list.text.contains(group))

        let client = try TestClient(server, user: "carol")
        try client.join(group)
        for number in 1...5 { try client.send("message \(number)", to: group) }
        let history = try bob.history(of: group)
        #expect(history.map(\.seq) == Array(1...Int64(history.count)))
        #expect(history.count == 7, "two were added, five messages")
        let page = try bob.history(of: group, after: 3, limit: 2)
        #expect(page.map(\.seq) == [4, 5])

        try server.api("dave").removeMember("dave", from: group)
        try alice.removeMember("bob", from: group)
        #expect(try alice.members(of: group).map(\.user).sorted() == ["alice", "carol"])
        // Not a member any more, never a member, no such chat: one answer for all.
        for (api, chat) in [(bob, group), (try server.api("eve"), group), (alice, "no-such-chat")] {
            #expect(Self.status { _ = try api.members(of: chat) } == 404)
        }
        #expect(
            Self.status {
                _ = try ChatAPI(url: server.url, token: "no token").openDirectChat(with: "bob")
            } == 401)
    }

    /// The status of a refusal; 0 where it was none.
    private static func status(_ call: () throws -> Void) -> Int {
        do {
            try call()
        } catch let error as ClientError {
            if case .refused(let status, _, _, _) = error { return status }
        } catch {}
        return 0
    }
}
