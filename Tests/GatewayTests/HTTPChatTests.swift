import Basics
import Domain
import Gateway
import TestSupport
import Testing

@Suite("HTTP: chats, members, history")
struct HTTPChatTests {
    private func create(
        _ node: TestNode, _ user: String, _ body: String, role: String? = nil
    ) -> TestSocket.Response {
        node.connect().request(
            "POST", "/api/v1/chats", token: node.token(user, role: role), body: body)
    }

    // MARK: Creating

    @Test("A group is made with its creator as owner")
    func createGroup() {
        let node = TestNode()
        let answer = create(
            node, "alice", #"{"type":"group","name":"Team","members":["bob","carol","bob"]}"#)
        #expect(answer.status == 201)
        let data = answer.json.data
        #expect(data.type == "group" && data.name == "Team" && data.role == "owner")
        #expect(data.memberCount == 3 && data.lastSeq == 0 && data.readSeq == 0)
        #expect(data.createdAt == "2026-01-01T00:00:00.000Z")
        #expect(data.id.stringValue?.utf8.count == 36)
    }

    @Test("A group may be made without others and without a name")
    func createAlone() {
        let data = create(TestNode(), "alice", #"{"type":"group"}"#).json.data
        #expect(data.memberCount == 1 && data.name == nil)
    }

    @Test("A direct chat that the pair has already is answered with 200, by whichever asks")
    func directTwice() {
        let node = TestNode()
        let first = create(node, "alice", #"{"type":"direct","members":["bob"]}"#)
        #expect(first.status == 201)
        let again = create(node, "alice", #"{"type":"direct","members":["bob"]}"#)
        let other = create(node, "bob", #"{"type":"direct","members":["bob","alice"]}"#)
        #expect(again.status == 200 && other.status == 200)
        #expect(again.json.data.id == first.json.data.id)
        #expect(other.json.data.id == first.json.data.id)
    }

    @Test(
        "What no chat can be made of is refused, and nothing is made",
        arguments: [
            (#"{"#, "INVALID_INPUT"), ("", "INVALID_INPUT"), ("[]", "INVALID_INPUT"),
            (#"{}"#, "VALIDATION_ERROR"), (#"{"type":"channel"}"#, "VALIDATION_ERROR"),
            (#"{"type":1}"#, "VALIDATION_ERROR"),
            (#"{"type":"direct"}"#, "VALIDATION_ERROR"),
            (#"{"type":"direct","members":[]}"#, "VALIDATION_ERROR"),
            (#"{"type":"direct","members":["alice"]}"#, "VALIDATION_ERROR"),
            (#"{"type":"direct","members":["bob","carol"]}"#, "VALIDATION_ERROR"),
            (#"{"type":"group","members":"bob"}"#, "VALIDATION_ERROR"),
            (#"{"type":"group","members":[1]}"#, "VALIDATION_ERROR"),
            (#"{"type":"group","members":[""]}"#, "VALIDATION_ERROR"),
            (#"{"type":"group","members":["a\u0001"]}"#, "VALIDATION_ERROR"),
            (#"{"type":"group","name":""}"#, "VALIDATION_ERROR"),
            (#"{"type":"group","name":7}"#, "VALIDATION_ERROR"),
        ])
    func badCreation(body: String, code: String) {
        let node = TestNode()
        let answer = create(node, "alice", body)
        #expect(answer.status == 400)
        #expect(answer.json.error.code == .string(code))
        #expect(node.store.state.chatIDs.isEmpty)
    }

    @Test("A name has at most 256 bytes", arguments: [(255, 201), (256, 201), (257, 400)])
    func nameLimit(length: Int, status: Int) {
        let name = String(repeating: "n", count: length)
        #expect(
            create(TestNode(), "alice", #"{"type":"group","name":"\#(name)"}"#).status == status)
    }

    @Test(
        "A chat has at most as many members as the limit",
        arguments: [
            (2, 201), (3, 201), (4, 400),
        ])
    func memberLimit(count: Int, status: Int) {
        let others = (1..<count).map { "\"u\($0)\"" }.joined(separator: ",")
        let answer = create(
            TestNode(limits: ["members": "3"]), "alice",
            #"{"type":"group","members":[\#(others)]}"#)
        #expect(answer.status == status)
        if status == 400 { #expect(answer.json.error.code == "VALIDATION_ERROR") }
    }

    @Test("Only a service names a chat's id")
    func ownID() {
        let node = TestNode()
        let body = #"{"type":"group","id":"conv-123"}"#
        let refused = create(node, "alice", body)
        #expect(refused.status == 403)
        #expect(refused.json.error.code == "INSUFFICIENT_PERMISSIONS")
        let made = create(node, "backend", body, role: "service")
        #expect(made.status == 201 && made.json.data.id == "conv-123")
        #expect(create(node, "backend", body, role: "service").status == 201, "the same again")
        let taken = create(node, "other", body, role: "service")
        #expect(taken.status == 409 && taken.json.error.code == "ALREADY_EXISTS")
        let bad = create(node, "backend", #"{"type":"group","id":"a\nb"}"#, role: "service")
        #expect(bad.status == 400 && bad.json.error.code == "VALIDATION_ERROR")
    }

    // MARK: Listing

    @Test("The list holds one's own chats only")
    func list() {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        node.group("c2", ["bob"])
        node.append("c1", by: "bob", "hello")
        let data = node.connect().request(
            "GET", "/api/v1/chats", token: node.token("alice")
        ).json.data
        #expect(data.elements.map(\.id) == ["c1"])
        #expect(data[0].lastSeq == 1 && data[0].role == "owner" && data[0].memberCount == 2)
    }

    @Test("Members are listed to members, and to nobody else")
    func members() {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        let socket = node.connect()
        let data = socket.request(
            "GET", "/api/v1/chats/c1/members", token: node.token("bob")
        ).json.data
        #expect(data.elements.map(\.userId) == ["alice", "bob"])
        #expect(data[0].role == "owner" && data[1].role == "member")
        #expect(data[0].deliveredSeq == 0 && data[0].readSeq == 0)
        let foreign = socket.request(
            "GET", "/api/v1/chats/c1/members", token: node.token("eve"))
        let unknown = socket.request(
            "GET", "/api/v1/chats/c9/members", token: node.token("eve"))
        #expect(foreign.status == 404 && unknown.status == 404)
        #expect(foreign.json.error == unknown.json.error)
    }

    // MARK: Members

    @Test("Adding answers with the entries, and adding again makes none")
    func add() {
        let node = TestNode()
        node.group("c1", ["alice"])
        let socket = node.connect()
        let body = #"{"userIds":["bob","carol","bob"]}"#
        let path = "/api/v1/chats/c1/members"
        let answer = socket.request("POST", path, token: node.token("alice"), body: body)
        #expect(answer.status == 200)
        let data = answer.json.data
        #expect(data.elements.map(\.userId) == ["bob", "carol"])
        #expect(data.elements.map(\.seq) == [1, 2])
        #expect(data[0].kind == "memberAdded" && data[0].by == "alice")
        let again = socket.request("POST", path, token: node.token("alice"), body: body)
        #expect(again.status == 200 && again.json.data == [])
        #expect(node.log("c1").count == 2)
    }

    @Test(
        "Who may not add, add to or remove from a chat is refused",
        arguments: [
            ("POST", "c1", "", "bob", 403, "INSUFFICIENT_PERMISSIONS"),
            ("POST", "c1", "", "eve", 404, "NOT_FOUND"),
            ("POST", "c9", "", "alice", 404, "NOT_FOUND"),
            ("POST", "d1", "", "alice", 403, "INSUFFICIENT_PERMISSIONS"),
            ("DELETE", "c1", "/alice", "bob", 403, "INSUFFICIENT_PERMISSIONS"),
            ("DELETE", "c1", "/bob", "eve", 404, "NOT_FOUND"),
            ("DELETE", "c9", "/bob", "alice", 404, "NOT_FOUND"),
            ("DELETE", "d1", "/alice", "alice", 403, "INSUFFICIENT_PERMISSIONS"),
            ("DELETE", "c1", "/%01", "alice", 404, "NOT_FOUND"),
            ("POST", "%01", "", "alice", 404, "NOT_FOUND"),
        ])
    func refusedChanges(
        method: String, chat: String, user: String, caller: String, status: Int, code: String
    ) {
        let node = TestNode()
        node.group("c1", ["alice", "bob"])
        node.commit(
            .createConversation(
                CreateConversation(
                    id: ChatID(trusted: "d1"), kind: .direct, name: nil,
                    creator: UserID(trusted: "alice"),
                    members: [UserID(trusted: "alice"), UserID(trusted: "bob")],
                    createdAt: node.now.wall)))
        let answer = node.connect().request(
            method, "/api/v1/chats/\(chat)/members\(user)", token: node.token(caller),
            body: method == "POST" ? #"{"userIds":["dave"]}"# : nil)
        #expect(answer.status == status)
        #expect(answer.json.error.code == .string(code))
        #expect(node.log("c1").isEmpty && node.log("d1").isEmpty)
    }

    @Test(
        "Adding needs a list of ids",
        arguments: [
            "{}", #"{"userIds":[]}"#, #"{"userIds":"bob"}"#, #"{"userIds":[7]}"#,
        ])
    func badAdding(body: String) {
        let node = TestNode()
        node.group("c1", ["alice"])
        let answer = node.connect().request(
            "POST", "/api/v1/chats/c1/members", token: node.token("alice"), body: body)
        #expect(answer.status == 400 && answer.json.error.code == "VALIDATION_ERROR")
    }

    @Test("Nobody is added beyond the limit of members")
    func addTooMany() {
        let node = TestNode(limits: ["members": "3"])
        node.group("c1", ["alice", "bob"])
        let socket = node.connect()
        let path = "/api/v1/chats/c1/members"
        let token = node.token("alice")
        let two = socket.request("POST", path, token: token, body: #"{"userIds":["c","d"]}"#)
        #expect(two.status == 400 && two.json.error.code == "VALIDATION_ERROR")
        #expect(
            socket.request("POST", path, token: token, body: #"{"userIds":["c"]}"#).status == 200)
        #expect(
            socket.request("POST", path, token: token, body: #"{"userIds":["d"]}"#).status == 400)
    }

    @Test(
        "One request adds at most as many members as the limit",
        arguments: [
            (3, true), (4, true), (5, false),
        ])
    func membersPerRequest(count: Int, isTaken: Bool) {
        let node = TestNode(limits: ["membersPerRequest": "4"])
        node.group("c1", ["alice"])
        let socket = node.connect()
        let others = (0..<count).map { "\"u\($0)\"" }.joined(separator: ",")
        let added = socket.request(
            "POST", "/api/v1/chats/c1/members", token: node.token("alice"),
            body: #"{"userIds":[\#(others)]}"#)
        #expect(added.status == (isTaken ? 200 : 400))
        if !isTaken { #expect(added.json.error.code == "VALIDATION_ERROR") }
        #expect(node.log("c1").count == (isTaken ? count : 0))
    }

    @Test(
        "A creation names at most as many members as the limit, the creator among them",
        arguments: [
            (2, true), (3, true), (4, false),
        ])
    func membersPerCreation(others: Int, isTaken: Bool) {
        let node = TestNode(limits: ["membersPerRequest": "4"])
        // Who is named twice, and the creator, count once.
        let names = (["alice", "u0"] + (0..<others).map { "u\($0)" })
            .map { "\"\($0)\"" }.joined(separator: ",")
        let made = create(node, "alice", #"{"type":"group","members":[\#(names)]}"#)
        #expect(made.status == (isTaken ? 201 : 400))
        #expect(made.json.data.memberCount == (isTaken ? .number(Double(others + 1)) : .missing))
        if !isTaken { #expect(made.json.error.code == "VALIDATION_ERROR") }
        #expect(node.store.state.chatIDs.count == (isTaken ? 1 : 0))
    }

    @Test("Removing makes an entry; leaving is removing oneself")
    func remove() {
        let node = TestNode()
        node.group("c1", ["alice", "bob", "carol"])
        let socket = node.connect()
        let removed = socket.request(
            "DELETE", "/api/v1/chats/c1/members/bob", token: node.token("alice"))
        #expect(removed.status == 200 && removed.json.data[0].kind == "memberRemoved")
        let left = socket.request(
            "DELETE", "/api/v1/chats/c1/members/carol", token: node.token("carol"))
        #expect(left.status == 200 && left.json.data[0].kind == "memberLeft")
        let nobody = socket.request(
            "DELETE", "/api/v1/chats/c1/members/dave", token: node.token("alice"))
        #expect(nobody.status == 200 && nobody.json.data == [])
        #expect(
            socket.request("GET", "/api/v1/chats/c1/members", token: node.token("bob")).status
                == 404)
    }

    @Test("A user's id in the path is decoded")
    func encodedPath() {
        let node = TestNode()
        node.group("a/b c", ["alice", "bob/ü"])
        let answer = node.connect().request(
            "DELETE", "/api/v1/chats/a%2Fb%20c/members/bob%2F%C3%BC", token: node.token("alice"))
        #expect(answer.status == 200)
        #expect(answer.json.data[0].userId == "bob/ü")
    }

    // MARK: History

    private func history(_ node: TestNode, _ query: String, user: String = "alice")
        -> TestSocket.Response
    {
        node.connect().request(
            "GET", "/api/v1/chats/c1/messages" + query, token: node.token(user))
    }

    private func nodeWithHistory(limits: [String: String] = [:]) -> TestNode {
        let node = TestNode(limits: limits)
        node.group("c1", ["alice", "bob"])
        for number in 1...7 { node.append("c1", by: "bob", "m\(number)") }
        return node
    }

    @Test("History is read in pages, ascending, and says where it stands")
    func paging() {
        let node = nodeWithHistory()
        var after = 0
        var seen: [String?] = []
        var pages = 0
        while true {
            let answer = history(node, "?after=\(after)&limit=3")
            #expect(answer.status == 200)
            seen += answer.json.data.elements.map(\.encryptedContent.stringValue)
            after = answer.json.meta.readThrough.intValue ?? -1
            pages += 1
            if answer.json.meta.hasMore != true { break }
        }
        #expect(seen == (1...7).map { "m\($0)" })
        #expect(pages == 3 && after == 7)
    }

    @Test("A page that ends with the log says that there is no more")
    func exactPage() {
        let node = nodeWithHistory()
        let answer = history(node, "?after=4&limit=3")
        #expect(answer.json.data.elements.map(\.seq) == [5, 6, 7])
        #expect(answer.json.meta.hasMore == false)
        #expect(history(node, "?after=7").json.data == [])
        #expect(history(node, "?after=99").json.data == [])
    }

    @Test("An entry of history has the fields of its event")
    func entryFields() {
        let entry = history(nodeWithHistory(), "?limit=1").json.data[0]
        #expect(
            entry.keys == [
                "chatId", "createdAt", "encryptedContent", "id", "kind", "replyToId",
                "senderDeviceId", "senderId", "seq", "type",
            ])
        #expect(entry.senderId == "bob" && entry.chatId == "c1" && entry.type == "text")
        #expect(entry.replyToId == nil && entry.kind == "message")
    }

    @Test(
        "A page has at most as many entries as the limit",
        arguments: [
            ("1", 200, 1), ("3", 200, 3), ("4", 200, 4), ("5", 400, 0), ("0", 400, 0),
            ("-1", 400, 0),
            ("x", 400, 0), ("", 400, 0), ("99999999999999999999", 400, 0),
        ])
    func pageLimit(limit: String, status: Int, count: Int) {
        let answer = history(nodeWithHistory(limits: ["historyPage": "4"]), "?limit=\(limit)")
        #expect(answer.status == status)
        #expect(answer.json.data.elements.count == count)
        if status == 400 { #expect(answer.json.error.code == "VALIDATION_ERROR") }
    }

    @Test("Without a limit the page is the limit")
    func standardPage() {
        let answer = history(nodeWithHistory(limits: ["historyPage": "4"]), "")
        #expect(answer.json.data.elements.count == 4 && answer.json.meta.hasMore == true)
    }

    @Test(
        "A position that is none is refused",
        arguments: [
            "-1", "x", "1.5", "99999999999999999999", "%zz",
        ])
    func badAfter(after: String) {
        let answer = history(nodeWithHistory(), "?after=\(after)")
        #expect(answer.status == 400 && answer.json.error.code == "VALIDATION_ERROR")
    }

    @Test("The largest position is a position")
    func largestAfter() {
        let answer = history(nodeWithHistory(), "?after=9223372036854775807")
        #expect(answer.status == 200 && answer.json.data == [])
    }

    @Test("History is for present members; for others the chat does not exist")
    func foreignHistory() {
        let node = nodeWithHistory()
        let foreign = history(node, "", user: "eve")
        #expect(foreign.status == 404)
        node.change("c1", .removed, "bob", by: "alice")
        #expect(history(node, "", user: "bob").status == 404)
        let unknown = node.connect().request(
            "GET", "/api/v1/chats/c9/messages", token: node.token("eve"))
        #expect(unknown.json.error == foreign.json.error)
    }

    @Test("Who was added sees the log from that entry on")
    func historyFromJoining() {
        let node = nodeWithHistory()
        node.change("c1", .added, "dave", by: "alice")
        node.append("c1", by: "bob", "m9")
        let data = history(node, "", user: "dave").json.data
        #expect(data.elements.map(\.seq) == [8, 9])
        #expect(data[0].kind == "memberAdded" && data[0].userId == "dave")
    }

    // MARK: The store fails

    @Test(
        "While the store refuses, each request is 503 with Retry-After",
        arguments: [
            ("GET", "/api/v1/chats", nil), ("POST", "/api/v1/chats", #"{"type":"group"}"#),
            ("GET", "/api/v1/chats/c1/members", nil),
            ("POST", "/api/v1/chats/c1/members", #"{"userIds":["x"]}"#),
            ("DELETE", "/api/v1/chats/c1/members/bob", nil),
            ("GET", "/api/v1/chats/c1/messages", nil),
        ] as [(String, String, String?)])
    func storeFails(method: String, path: String, body: String?) {
        let node = nodeWithHistory()
        node.fate = { _ in .fails }
        let answer = node.connect().request(method, path, token: node.token("alice"), body: body)
        #expect(answer.status == 503)
        #expect(answer.json.error.code == "SERVICE_UNAVAILABLE")
        #expect(answer.field("Retry-After") == "1")
    }

    @Test("A creation whose fate stays unknown is not answered; the connection ends after 10 s")
    func unknownFate() {
        let node = TestNode()
        node.fate = { _ in .commitsSilently }
        let socket = node.connect()
        socket.send(
            TestSocket.request(
                "POST", "/api/v1/chats", token: node.token("alice"), body: #"{"type":"group"}"#))
        node.advance(9_900)
        #expect(!socket.isClosed && !socket.hasUnread)
        node.advance(300)
        #expect(socket.isClosed && !socket.hasUnread)
        #expect(node.store.state.chatIDs.count == 1)
    }
}
