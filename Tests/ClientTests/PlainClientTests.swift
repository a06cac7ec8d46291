import Testing
import WebSocket
import Wire

@testable import Client

@Suite("The blocking client", .timeLimit(.minutes(1)))
struct PlainClientTests {
    private func client(
        of server: FakeServer, token: String? = "t.o.k", dialect: Dialect = .v1,
        place: PlainClient.TokenPlace = .subprotocol, source: String? = nil
    ) throws -> PlainClient {
        try PlainClient(
            connecting: URLParts("ws://127.0.0.1:\(server.port)/ws"), token: token,
            dialect: dialect, tokenPlace: place, sourceAddress: source)
    }

    @Test("Text goes both ways, and the token is in the subprotocol")
    func talks() throws {
        let server = FakeServer { peer in
            peer.note(
                peer.upgrade().contains(
                    "Sec-WebSocket-Protocol: martlet.v1, bearer.t.o.k") ? "token" : "no token")
            peer.note(peer.next())
            peer.frame(.text, Array("hello".utf8))
            peer.note(peer.next())
            peer.note(peer.next())
        }
        let client = try client(of: server)
        #expect(client.subprotocol == "martlet.v1")
        try client.send("hi")
        #expect(try client.receive(timeoutMs: 5_000) == .text(Array("hello".utf8)))
        try client.send(.binary, [1, 2])
        client.abort()
        #expect(server.finish() == ["token", "text hi", "binary \u{1}\u{2}", "end"])
    }

    @Test(
        "The token goes where it is told",
        arguments: [
            (PlainClient.TokenPlace.header, "Authorization: Bearer t.o.k"),
            (.query, "GET /ws?token=t.o.k HTTP/1.1"),
        ])
    func tokenPlaces(place: PlainClient.TokenPlace, line: String) throws {
        let server = FakeServer { peer in
            let head = peer.upgrade(subprotocol: nil)
            peer.note(head)
        }
        let client = try client(of: server, dialect: .ws, place: place)
        #expect(client.subprotocol == nil)
        let head = server.finish().joined()
        #expect(head.contains(line))
        #expect(!head.contains("martlet.v1"))
        #expect(!head.contains("bearer."))
    }

    @Test("Pings are answered on the way, and frames behind the handshake are not lost")
    func pings() throws {
        let server = FakeServer { peer in
            peer.upgrade(extra: [0x89, 1, UInt8(ascii: "p"), 0x81, 1, UInt8(ascii: "x")])
            peer.note(peer.next())
        }
        let client = try client(of: server)
        #expect(try client.receive(timeoutMs: 5_000) == .text([UInt8(ascii: "x")]))
        #expect(server.finish() == ["pong p"])
    }

    @Test("Fragments and split frames become one message", arguments: [1, 2, 3, 7])
    func pieces(size: Int) throws {
        let server = FakeServer { peer in
            peer.upgrade()
            var bytes: [UInt8] = []
            FrameHeader.encode(opcode: .text, fin: false, length: 3, into: &bytes)
            bytes += Array("abc".utf8)
            FrameHeader.encode(opcode: .continuation, fin: true, length: 200, into: &bytes)
            bytes += [UInt8](repeating: UInt8(ascii: "d"), count: 200)
            var rest = bytes[...]
            while !rest.isEmpty {
                peer.write(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
        }
        let client = try client(of: server)
        let expected = Array(("abc" + String(repeating: "d", count: 200)).utf8)
        #expect(try client.receive(timeoutMs: 5_000) == .text(expected))
        #expect(try client.receive(timeoutMs: 5_000) == .ended)
        #expect(try client.receive(timeoutMs: 0) == .ended)
        #expect(client.descriptor == -1)
    }

    @Test("A close is told, answered with its code, and followed by the end")
    func closed() throws {
        let server = FakeServer { peer in
            peer.upgrade()
            peer.frame(.close, [0x10, 0x68] + Array("why".utf8))
            peer.note(peer.next())
        }
        let client = try client(of: server)
        #expect(
            try client.receive(timeoutMs: 5_000) == .close(.draining, reason: "why"))
        #expect(try client.receive(timeoutMs: 5_000) == .ended)
        #expect(server.finish() == ["close 4200 "])
    }

    @Test("Closing says so, and waits for the server's half")
    func closes() throws {
        let server = FakeServer { peer in
            peer.upgrade()
            peer.note(peer.next())
            peer.frame(.close, [0x03, 0xE8])
        }
        let client = try client(of: server)
        client.close(reason: "done", timeoutMs: 5_000)
        client.close()
        #expect(server.finish() == ["close 1000 done"])
        #expect(throws: ClientError.ended) { try client.send("x") }
    }

    @Test("Nothing within the time is told as that, and the connection lives on")
    func timesOut() throws {
        let server = FakeServer { peer in
            peer.upgrade()
            _ = peer.next()
            peer.frame(.text, [UInt8(ascii: "x")])
            _ = peer.next()
        }
        let client = try client(of: server)
        #expect(try client.receive(timeoutMs: 0) == .timedOut)
        #expect(try client.receive(timeoutMs: 20) == .timedOut)
        try client.send("go")
        #expect(try client.receive(timeoutMs: 5_000) == .text([UInt8(ascii: "x")]))
        client.abort()
        _ = server.finish()
    }

    @Test("A server that breaks the framing rules is a typed error")
    func violation() throws {
        let server = FakeServer { peer in
            peer.upgrade(extra: [0xC1, 0])
            _ = peer.next()
        }
        let client = try client(of: server)
        #expect(throws: ClientError.self) { try client.receive(timeoutMs: 5_000) }
        #expect(try client.receive(timeoutMs: 0) == .ended)
        client.abort()
        _ = server.finish()
    }

    @Test("Raw bytes go out as they are")
    func raw() throws {
        let server = FakeServer { peer in
            peer.upgrade()
            peer.note(peer.next())
        }
        let client = try client(of: server)
        try client.sendFrame([0x81, 0x00])
        #expect(server.finish() == ["violation unmaskedFrame"])
    }

    @Test("A refused upgrade carries the API's error")
    func refused() throws {
        let server = FakeServer { peer in
            _ = peer.head()
            let body = #"{"success":false,"error":{"code":"INVALID_TOKEN","message":"new"}}"#
            peer.write(
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        }
        #expect(
            throws: ClientError.refused(
                status: 401, code: "INVALID_TOKEN", message: "new", retryAfterMs: nil)
        ) { try client(of: server) }
    }

    @Test("A wrong accept key, a half answer and silence are errors, in time")
    func badHandshakes() throws {
        let wrong = FakeServer { peer in
            _ = peer.head()
            peer.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    + "Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n")
        }
        #expect(throws: ClientError.self) { try client(of: wrong) }
        let half = FakeServer { peer in
            _ = peer.head()
            peer.write("HTTP/1.1 101 Swi")
        }
        #expect(throws: ClientError.ended) { try client(of: half) }
        let silent = FakeServer { peer in
            _ = peer.head()
            peer.note(peer.next())
        }
        #expect(throws: ClientError.timedOut("the WebSocket handshake")) {
            try PlainClient(
                connecting: URLParts("ws://127.0.0.1:\(silent.port)/ws"), token: nil,
                timeoutMs: 50)
        }
        #expect(silent.finish() == ["end"])
    }

    @Test(
        "A token that would break out of its header is refused",
        arguments: [
            "", "a b", "a\r\nX", "a,b",
        ])
    func hostileToken(token: String) {
        #expect(throws: ClientError.self) {
            try PlainClient(
                connecting: URLParts(host: "127.0.0.1", port: 9), token: token)
        }
    }

    @Test("Nobody there, a name that is none, and a source of another family are typed errors")
    func cannotConnect() throws {
        let server = FakeServer([])
        _ = server.finish()
        func error(_ url: URLParts, source: String? = nil) -> ClientError? {
            do throws(ClientError) {
                _ = try PlainClient(connecting: url, token: nil, sourceAddress: source)
                return nil
            } catch {
                return error
            }
        }
        let here = URLParts(host: "127.0.0.1", port: server.port)
        guard case .cannotConnect? = error(here) else {
            Issue.record("connected to a closed port")
            return
        }
        guard case .cannotResolve? = error(URLParts(host: "no.such.invalid", port: 1)) else {
            Issue.record("found a host that does not exist")
            return
        }
        guard case .badURL? = error(here, source: "::1") else {
            Issue.record("bound IPv6 for IPv4")
            return
        }
    }

    @Test("It connects from the source address that is given")
    func sourceAddress() throws {
        let server = FakeServer { peer in
            peer.upgrade()
            peer.note(peer.next())
        }
        let client = try client(of: server, source: "127.0.0.2")
        client.abort(reset: true)
        #expect(server.finish() == ["end"])
    }

    @Test("One HTTP request carries token and body, and gives status and body")
    func http() throws {
        let request = #"{"type":"direct","members":["bob"]}"#
        let server = FakeServer { peer in
            let head = peer.head()
            peer.note(head.contains("POST /api/v1/chats HTTP/1.1") ? "path" : head)
            peer.note(head.contains("Authorization: Bearer tok") ? "token" : head)
            peer.note(peer.body(request.utf8.count))
            let body = #"{"success":true,"data":{"id":"c","lastSeq":9,"readSeq":4}}"#
            peer.write("HTTP/1.1 201 Created\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        }
        let api = ChatAPI(url: try URLParts("ws://127.0.0.1:\(server.port)"), token: "tok")
        let chat = try api.openDirectChat(with: "bob")
        #expect(chat == ChatAPI.Chat(id: "c", lastSeq: 9, readSeq: 4, isNew: true))
        #expect(server.finish() == ["path", "token", request])
    }

    @Test("Members and history are read; a refusal is an error with its code")
    func lists() throws {
        func answer(_ status: String, _ body: String) -> @Sendable (FakeServer.Peer) -> Void {
            { peer in
                peer.note(String(peer.head().prefix { $0 != "\r\n" }))
                let length = "Content-Length: \(body.utf8.count)"
                peer.write("HTTP/1.1 \(status)\r\n\(length)\r\n\r\n\(body)")
            }
        }
        let server = FakeServer([
            answer(
                "200 OK",
                #"{"data":[{"userId":"bob","role":"member","deliveredSeq":3,"readSeq":2}]}"#),
            answer(
                "200 OK",
                #"{"data":[{"id":"m","chatId":"c d","senderId":"bob","encryptedContent":"x","#
                    + #""kind":"message","seq":1},{"kind":"added","userId":"eve","by":"bob","#
                    + #""chatId":"c d","seq":2}]}"#),
            answer("404 Not Found", #"{"error":{"code":"NOT_FOUND","message":"no"}}"#),
        ])
        let api = ChatAPI(url: try URLParts("ws://127.0.0.1:\(server.port)"), token: "tok")
        #expect(
            try api.members(of: "c d") == [
                ChatAPI.Member(user: "bob", role: "member", deliveredSeq: 3, readSeq: 2)
            ])
        let history = try api.history(of: "c d", after: 0, limit: 5)
        #expect(history.map(\.seq) == [1, 2])
        guard case .message(let message) = history[0], case .changed(let change) = history[1]
        else {
            Issue.record("other kinds of entries")
            return
        }
        #expect(message.content == "x")
        #expect(change.user == "eve")
        #expect(
            throws: ClientError.refused(
                status: 404, code: "NOT_FOUND", message: "no", retryAfterMs: nil)
        ) { try api.removeMember("e/e", from: "c d") }
        #expect(
            server.finish() == [
                "GET /api/v1/chats/c%20d/members HTTP/1.1",
                "GET /api/v1/chats/c%20d/messages?after=0&limit=5 HTTP/1.1",
                "DELETE /api/v1/chats/c%20d/members/e%2Fe HTTP/1.1",
            ])
    }
}
