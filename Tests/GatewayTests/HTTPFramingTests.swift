import Basics
import Gateway
import HTTP
import TestSupport
import Testing

@Suite("HTTP/1.1: requests and answers as bytes")
struct HTTPFramingTests {
    private let health = TestSocket.request("GET", "/health/live")

    @Test("A request in pieces of any size is answered once, when it is whole")
    func pieces() {
        let body = #"{"type":"group"}"#
        for size in [1, 2, 3, 7, 40] {
            let node = TestNode()
            let socket = node.connect()
            let request = TestSocket.request(
                "POST", "/api/v1/chats", token: node.token("alice"), body: body)
            var start = 0
            while start < request.count {
                #expect(!socket.hasUnread, "answered before its end")
                socket.send(Array(request[start..<min(start + size, request.count)]))
                start += size
            }
            #expect(socket.response().status == 201)
            #expect(!socket.hasUnread)
        }
    }

    @Test("Requests on one connection are answered one after the other")
    func keepAlive() {
        let node = TestNode()
        let socket = node.connect()
        for _ in 0..<3 {
            let answer = socket.request("GET", "/health/live")
            #expect(answer.status == 200)
            #expect(answer.field("Connection") == nil)
        }
        #expect(!socket.isClosed && !socket.isHalfClosed)
    }

    @Test("Connection: close is answered in kind, and our half is shut behind the answer")
    func close() {
        let node = TestNode()
        let socket = node.connect()
        let answer = socket.request("GET", "/health/live", fields: ["Connection: close"])
        #expect(answer.status == 200)
        #expect(answer.field("Connection") == "close")
        #expect(socket.isHalfClosed && !socket.isClosed)
        socket.end()
        #expect(socket.isClosed)
    }

    @Test("What comes behind a request with Connection: close is not answered")
    func nothingAfterClose() {
        let node = TestNode()
        let socket = node.connect()
        socket.send(
            TestSocket.request("GET", "/health/live", fields: ["Connection: close"]) + health)
        #expect(socket.response().status == 200)
        socket.send(health)
        #expect(!socket.hasUnread)
    }

    @Test("HTTP/1.0 closes after the answer")
    func oldVersion() {
        let node = TestNode()
        let socket = node.connect()
        socket.send("GET /health/live HTTP/1.0\r\n\r\n")
        #expect(socket.response().status == 200)
        #expect(socket.isHalfClosed)
    }

    @Test("Pipelined requests are answered in order")
    func pipelining() {
        let node = TestNode()
        let socket = node.connect()
        let unknown = TestSocket.request("GET", "/nowhere")
        socket.send(health + unknown + health)
        #expect((0..<3).map { _ in socket.response().status } == [200, 404, 200])
        #expect(!socket.hasUnread)
    }

    @Test("What is pipelined behind a request that waits for the store is answered after it")
    func pipeliningWhileAnswering() {
        let node = TestNode()
        let socket = node.connect()
        let list = TestSocket.request("GET", "/api/v1/chats", token: node.token("alice"))
        node.holdsAnswers = true
        socket.send(list)
        socket.send(TestSocket.request("GET", "/nowhere"))
        socket.send(Array(health[..<10]))
        #expect(!socket.hasUnread, "an answer overtook the one before")
        node.holdsAnswers = false
        #expect(socket.response().status == 200)
        #expect(socket.response().status == 404)
        #expect(!socket.hasUnread)
        socket.send(Array(health[10...]))
        #expect(socket.response().status == 200)
    }

    @Test("Requests that all wait for the store, sent in one piece, are answered in order")
    func pipelinedStoreRequests() {
        let node = TestNode()
        let socket = node.connect()
        let token = node.token("alice")
        let create = TestSocket.request(
            "POST", "/api/v1/chats", token: token, body: #"{"type":"group"}"#)
        let list = TestSocket.request("GET", "/api/v1/chats", token: token)
        socket.send(list + create + list)
        #expect(socket.response().json.data.elements.isEmpty)
        #expect(socket.response().status == 201)
        #expect(socket.response().json.data.elements.count == 1)
    }

    @Test(
        "A body as long as the limit is taken, one byte more is refused with 413",
        arguments: [
            (1_023, 400), (1_024, 400), (1_025, 413),
        ])
    func bodyLimit(length: Int, status: Int) {
        let node = TestNode(limits: ["requestBody": "1024"])
        let socket = node.connect()
        let body = String(repeating: "x", count: length)
        let answer = socket.request(
            "POST", "/api/v1/chats", token: node.token("alice"), body: body)
        #expect(answer.status == status)
        #expect(socket.isHalfClosed == (status == 413))
    }

    @Test("A body at the limit may be followed at once by the next request")
    func bodyLimitWithPipelining() {
        let node = TestNode(limits: ["requestBody": "1024", "requestHead": "1024"])
        let socket = node.connect()
        let token = node.token("alice")
        let body = String(repeating: "x", count: 1_024)
        let first = TestSocket.request("POST", "/api/v1/chats", token: token, body: body)
        let second = TestSocket.request("POST", "/api/v1/chats", token: token, body: body)
        socket.send(Array(first[..<(first.count - 1)]))
        socket.send([first[first.count - 1]] + second)
        #expect(socket.response().status == 400)
        #expect(socket.response().status == 400)
        #expect(!socket.isClosed)
    }

    @Test("A client that pipelines beyond all measure while an answer is awaited is closed")
    func pipeliningBound() {
        let node = TestNode(
            limits: ["requestBody": "1024", "requestHead": "1024", "readPerTick": "4096"])
        let socket = node.connect()
        node.holdsAnswers = true
        socket.send(TestSocket.request("GET", "/api/v1/chats", token: node.token("alice")))
        for _ in 0..<20 { socket.send([UInt8](repeating: 65, count: 1_024)) }
        #expect(socket.isClosed)
        node.holdsAnswers = false
    }

    @Test(
        "A head as long as the limit is taken, one byte more is refused with 431",
        arguments: [
            (1_023, 200), (1_024, 200), (1_025, 431),
        ])
    func headLimit(length: Int, status: Int) {
        let node = TestNode(limits: ["requestHead": "1024"])
        let socket = node.connect()
        let empty = TestSocket.request("GET", "/health/live", fields: ["X: "]).count
        let padding = String(repeating: "x", count: length - empty)
        let request = TestSocket.request("GET", "/health/live", fields: ["X: " + padding])
        #expect(request.count == length)
        socket.send(request)
        #expect(socket.response().status == status)
        #expect(socket.isHalfClosed == (status == 431))
    }

    @Test(
        "As many headers as the limit are taken, one more is refused with 431",
        arguments: [
            (7, 200), (8, 200), (9, 431),
        ])
    func headerLimit(count: Int, status: Int) {
        let node = TestNode(limits: ["requestHeaders": "8"])
        let socket = node.connect()
        let fields = (1..<count).map { "X-\($0): y" }
        #expect(socket.request("GET", "/health/live", fields: fields).status == status)
    }

    @Test("Expect: 100-continue is answered before the body, once")
    func expectContinue() {
        let node = TestNode()
        let socket = node.connect()
        let body = #"{"type":"group"}"#
        socket.send(
            "POST /api/v1/chats HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
                + "Authorization: Bearer \(node.token("alice"))\r\n"
                + "Content-Length: \(body.utf8.count)\r\n\r\n")
        #expect(socket.response().status == 100)
        #expect(!socket.hasUnread)
        let bytes = Array(body.utf8)
        for byte in bytes.dropLast() {
            socket.send([byte])
            #expect(!socket.hasUnread)
        }
        socket.send([bytes.last!])
        #expect(socket.response().status == 201)
        #expect(!socket.hasUnread)
    }

    @Test("Expect: 100-continue with the body at hand needs no 100")
    func expectContinueWithBody() {
        let node = TestNode()
        let socket = node.connect()
        let answer = socket.request(
            "POST", "/api/v1/chats", token: node.token("alice"),
            fields: ["Expect: 100-continue"], body: #"{"type":"group"}"#)
        #expect(answer.status == 201)
    }

    @Test("Two requests with Expect on one connection get a 100 each")
    func expectTwice() {
        let node = TestNode()
        let socket = node.connect()
        let token = node.token("alice")
        for _ in 0..<2 {
            let request = TestSocket.request(
                "POST", "/api/v1/chats", token: token, fields: ["Expect: 100-continue"],
                body: #"{"type":"group"}"#)
            socket.send(Array(request.dropLast(16)))
            #expect(socket.response().status == 100)
            socket.send(Array(request.suffix(16)))
            #expect(socket.response().status == 201)
        }
    }

    @Test(
        "A body that is refused anyway is not waited for: the answer comes, and the end",
        arguments: [
            ("POST /api/v1/chats", "", 401), ("POST /api/v1/chats", "Authorization: Bearer x", 401),
            ("POST /nowhere", "", 404), ("POST /health", "", 405), ("POST /ws", "", 400),
        ])
    func earlyRefusal(line: String, field: String, status: Int) {
        let socket = TestNode().connect()
        socket.send(
            "\(line) HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 900000\r\n"
                + (field.isEmpty ? "" : field + "\r\n") + "\r\n{")
        let answer = socket.response()
        #expect(answer.status == status)
        #expect(answer.field("Connection") == "close" && socket.isHalfClosed)
        socket.send(health)
        #expect(!socket.hasUnread)
    }

    @Test("A client that pipelines and does not read is answered as it reads, all in order")
    func unreadAnswers() {
        let node = TestNode()
        let socket = node.connect()
        socket.limit(to: 0)
        let requests = (0..<1_000).flatMap { number in
            number % 2 == 0 ? health : TestSocket.request("GET", "/nowhere")
        }
        socket.send(requests)
        #expect(node.counter(.outboxBytes) < 100_000, "no more is answered than is read")
        socket.limit(to: 30_000)
        socket.limit(to: nil)
        let statuses = (0..<1_000).map { _ in socket.response().status }
        #expect(statuses == (0..<1_000).map { $0 % 2 == 0 ? 200 : 404 })
        #expect(!socket.hasUnread && !socket.isClosed)
    }

    @Test("A head that drips in is answered 408 at its deadline, whatever still comes")
    func headDeadline() {
        let node = TestNode()
        let socket = node.connect()
        socket.send("GET / HT")
        for _ in 0..<9 {
            node.advance(1_000)
            socket.send("T")
        }
        node.advance(900)
        #expect(!socket.hasUnread)
        node.advance(120)
        let answer = socket.response()
        #expect(answer.status == 408)
        #expect(answer.field("Connection") == "close")
        #expect(socket.isHalfClosed)
        node.advance(5_100)
        #expect(socket.isClosed)
    }

    @Test("A connection that says nothing is closed at the head's deadline, without a word")
    func silence() {
        let node = TestNode()
        let socket = node.connect()
        node.advance(9_980)
        #expect(!socket.isClosed)
        node.advance(40)
        #expect(socket.isClosed && !socket.hasUnread)
    }

    @Test("A body that drips in has a deadline too")
    func bodyDeadline() {
        let node = TestNode()
        let socket = node.connect()
        socket.send(
            "POST /api/v1/chats HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n"
                + "Authorization: Bearer \(node.token("alice"))\r\n\r\n{")
        node.advance(29_900)
        #expect(!socket.hasUnread)
        node.advance(200)
        #expect(socket.response().status == 408)
    }

    @Test("An idle connection is closed after the keep-alive time, counted from its last answer")
    func keepAliveTimeout() {
        let node = TestNode()
        let socket = node.connect()
        _ = socket.request("GET", "/health/live")
        node.advance(30_000)
        _ = socket.request("GET", "/health/live")
        node.advance(59_950)
        #expect(!socket.isClosed)
        node.advance(80)
        #expect(socket.isClosed && !socket.hasUnread)
    }

    @Test("A request that waits for the store is not cut off by any deadline")
    func slowStore() {
        let node = TestNode()
        let socket = node.connect()
        node.holdsAnswers = true
        socket.send(TestSocket.request("GET", "/api/v1/chats", token: node.token("alice")))
        node.advance(120_000)
        #expect(!socket.isClosed && !socket.hasUnread)
        node.holdsAnswers = false
        #expect(socket.response().status == 200)
    }

    @Test("A client that shut its half still gets the answer it waits for")
    func halfClosedClient() {
        let node = TestNode()
        let socket = node.connect()
        node.holdsAnswers = true
        socket.send(TestSocket.request("GET", "/api/v1/chats", token: node.token("alice")))
        socket.end()
        #expect(!socket.isClosed)
        node.holdsAnswers = false
        #expect(socket.response().status == 200)
        #expect(socket.isHalfClosed)
        node.advance(5_100)
        #expect(socket.isClosed)
    }

    @Test("A client that is gone when the store answers costs nothing")
    func goneClient() {
        let node = TestNode()
        let socket = node.connect()
        node.holdsAnswers = true
        socket.send(
            TestSocket.request(
                "POST", "/api/v1/chats", token: node.token("alice"), body: #"{"type":"group"}"#))
        socket.isReset = true
        node.together {
            node.shards[0].failed(socket.key)
        }
        node.holdsAnswers = false
        #expect(socket.isClosed)
        #expect(node.store.state.chatIDs.count == 1)
    }

    @Test(
        "A head that is no HTTP is refused in plain text and the connection ends",
        arguments: [
            ("GARBAGE\r\n\r\n", 400), ("GET / HTTP/2.0\r\n\r\n", 505),
            ("BREW / HTTP/1.1\r\nHost: t\r\n\r\n", 501), ("GET / HTTP/1.1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        ])
    func badHeads(text: String, status: Int) {
        let node = TestNode()
        let socket = node.connect()
        socket.send(text)
        let answer = socket.response()
        #expect(answer.status == status)
        #expect(answer.field("Connection") == "close")
        #expect(socket.isHalfClosed)
        socket.send(health)
        #expect(!socket.hasUnread, "what follows cannot be trusted")
    }

    @Test("HEAD is answered as GET, without the body")
    func head() {
        let node = TestNode()
        let socket = node.connect()
        let whole = socket.request("GET", "/health/live")
        let head = socket.request("HEAD", "/health/live")
        #expect(head.status == 200)
        #expect(head.field("Content-Length") == whole.field("Content-Length"))
        #expect(!socket.hasUnread)
    }

    @Test("Beyond the limit of connections new ones are not taken, and later they are")
    func connectionLimit() {
        let node = TestNode(limits: ["connections": "16"])
        let sockets = (0..<16).map { _ in node.connect() }
        #expect(node.accept() == nil)
        #expect(node.counter(.connectionsShed) == 1)
        sockets[3].end()
        #expect(node.accept() != nil)
        #expect(node.accept() == nil)
    }

    @Test("The slot of a connection that closes is not given away in the same tick")
    func slotReuse() {
        let node = TestNode()
        let first = node.connect()
        let shard = node.shards[0]
        // The descriptor of the first is closed only after the tick: its slot must stay its own.
        shard.beginTick(node.now)
        shard.peerEnded(first.key)
        let second = shard.accept(address: IPAddress(v4: 1))
        shard.endTick()
        #expect(shard.takeOutput().closed == [first.key])
        #expect(second != nil && second?.slot != first.key.slot)
        shard.beginTick(node.now)
        let third = shard.accept(address: IPAddress(v4: 1))
        #expect(third?.slot == first.key.slot)
        #expect(third != first.key)
    }

    @Test("An old key reaches no new connection")
    func oldKey() {
        let node = TestNode()
        let first = node.connect()
        first.end()
        let second = node.connect()
        #expect(second.key.slot == first.key.slot)
        node.give(.bytes(first.key, health), to: 0)
        #expect(!second.hasUnread && !first.hasUnread)
        node.give(.ended(first.key), to: 0)
        #expect(!second.isClosed)
    }
}
