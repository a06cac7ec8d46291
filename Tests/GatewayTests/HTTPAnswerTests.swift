import Basics
import Gateway
import StoreCore
import Testing

@Suite("HTTP: envelopes, CORS, who asks, limits")
struct HTTPAnswerTests {
    // MARK: Envelopes

    @Test("A success is {success, data, meta, timestamp}")
    func success() {
        let node = TestNode()
        let answer = node.connect().request("GET", "/api/v1/chats", token: node.token("alice"))
        #expect(answer.status == 200)
        #expect(answer.field("Content-Type") == "application/json")
        #expect(answer.json.keys == ["data", "meta", "success", "timestamp"])
        #expect(answer.json.success == true)
        #expect(answer.json.data == [])
        #expect(answer.json.timestamp == "2026-01-01T00:00:00.000Z")
    }

    @Test("An error is {success:false, error{code,message,details}, meta, timestamp}")
    func error() {
        let node = TestNode()
        let answer = node.connect().request("GET", "/api/v1/nothing")
        #expect(answer.status == 404)
        #expect(answer.json.keys == ["error", "meta", "success", "timestamp"])
        #expect(answer.json.success == false)
        #expect(answer.json.error.keys == ["code", "details", "message"])
        #expect(answer.json.error.code == "NOT_FOUND")
    }

    @Test(
        "A path that does not exist is 404",
        arguments: [
            "/", "/api", "/api/v1", "/api/v1/chat", "/api/v2/chats", "/healthy", "/health/other",
            "/metrics/more", "/bench/echo", "/ws/other", "/wss",
        ])
    func notFound(path: String) {
        let answer = TestNode().connect().request("GET", path)
        #expect(answer.status == 404)
    }

    @Test(
        "A path below chats that does not exist is 404 to those who may ask",
        arguments: [
            "/api/v1/chats/c1", "/api/v1/chats/c1/other", "/api/v1/chats/c1/messages/m1",
            "/api/v1/chats/c1/members/alice/more", "/api/v1/chats/c1/messages/m1/x/y",
        ])
    func notFoundBelow(path: String) {
        let node = TestNode()
        let answer = node.connect().request("GET", path, token: node.token("alice"))
        #expect(answer.status == 404)
    }

    @Test(
        "Another method than those of the path is 405, with Allow",
        arguments: [
            ("DELETE", "/api/v1/chats", "GET, HEAD, POST"),
            ("PUT", "/api/v1/chats/c1/members", "GET, HEAD, POST"),
            ("GET", "/api/v1/chats/c1/members/alice", "DELETE"),
            ("POST", "/api/v1/chats/c1/messages", "GET, HEAD"),
            ("POST", "/health", "GET, HEAD"), ("DELETE", "/metrics", "GET, HEAD"),
        ])
    func methodNotAllowed(method: String, path: String, allow: String) {
        let node = TestNode()
        let answer = node.connect().request(method, path, token: node.token("alice"))
        #expect(answer.status == 405)
        #expect(answer.field("Allow") == allow)
        #expect(answer.json.success == false)
    }

    @Test("A path that cannot be decoded is 400", arguments: ["/%zz", "/a%", "/%ff", "/%00"])
    func badPath(path: String) {
        let answer = TestNode().connect().request("GET", path)
        #expect(answer.status == 400)
        #expect(answer.json.error.code == "INVALID_INPUT")
    }

    // MARK: CORS

    @Test("An allowed origin is named in the answer, and the answer varies by it")
    func allowedOrigin() {
        let node = TestNode(origins: ["https://a.example", "capacitor://localhost"])
        for origin in ["https://a.example", "capacitor://localhost"] {
            let answer = node.connect().request(
                "GET", "/health/live", fields: ["Origin: \(origin)"])
            #expect(answer.status == 200)
            #expect(answer.field("Access-Control-Allow-Origin") == origin)
            #expect(answer.field("Vary") == "Origin")
        }
    }

    @Test(
        "An origin that is not on the list, to the letter, is refused",
        arguments: [
            "https://b.example", "http://a.example", "https://a.example:443",
            "https://a.example.evil", "https://A.example", "null", "",
        ])
    func refusedOrigin(origin: String) {
        let node = TestNode(origins: ["https://a.example"])
        let answer = node.connect().request(
            "GET", "/health/live", fields: ["Origin: \(origin)"])
        #expect(answer.status == 403)
        #expect(answer.json.error.code == "FORBIDDEN")
        #expect(answer.field("Access-Control-Allow-Origin") == nil)
    }

    @Test("An error too names the origin, so that the page can read it")
    func errorWithOrigin() {
        let node = TestNode(origins: ["https://a.example"])
        let answer = node.connect().request(
            "GET", "/api/v1/chats", fields: ["Origin: https://a.example"])
        #expect(answer.status == 401)
        #expect(answer.field("Access-Control-Allow-Origin") == "https://a.example")
    }

    @Test("Without Origin there are no CORS fields")
    func noOrigin() {
        let node = TestNode(origins: ["https://a.example"])
        let answer = node.connect().request("GET", "/health/live")
        #expect(answer.status == 200)
        #expect(answer.field("Access-Control-Allow-Origin") == nil)
    }

    @Test("A preflight says which methods and headers are allowed, without a token")
    func preflight() {
        let node = TestNode(origins: ["https://a.example"])
        let socket = node.connect()
        let answer = socket.request(
            "OPTIONS", "/api/v1/chats",
            fields: [
                "Origin: https://a.example", "Access-Control-Request-Method: POST",
                "Access-Control-Request-Headers: authorization,content-type",
            ])
        #expect(answer.status == 204)
        #expect(answer.field("Access-Control-Allow-Origin") == "https://a.example")
        #expect(answer.field("Access-Control-Allow-Methods")?.contains("POST") == true)
        let allowed = answer.field("Access-Control-Allow-Headers")?.lowercased() ?? ""
        #expect(allowed.contains("authorization") && allowed.contains("content-type"))
        #expect(answer.field("Content-Length") == nil)
        #expect(!socket.hasUnread)
    }

    @Test("A preflight from elsewhere is refused")
    func refusedPreflight() {
        let node = TestNode(origins: ["https://a.example"])
        let answer = node.connect().request(
            "OPTIONS", "/api/v1/chats", fields: ["Origin: https://b.example"])
        #expect(answer.status == 403)
        #expect(answer.field("Access-Control-Allow-Methods") == nil)
    }

    // MARK: Who asks

    @Test("No token is 401 UNAUTHORIZED, and says how to send one")
    func noToken() {
        let answer = TestNode().connect().request("GET", "/api/v1/chats")
        #expect(answer.status == 401)
        #expect(answer.json.error.code == "UNAUTHORIZED")
        #expect(answer.field("WWW-Authenticate") == "Bearer")
    }

    @Test(
        "A token that is none, or is sent another way, is 401 INVALID_TOKEN",
        arguments: [
            "Bearer nonsense", "Bearer a.b.c", "Basic YWxpY2U6cHc=", "Bearer", "nonsense",
        ])
    func invalidToken(value: String) {
        let node = TestNode()
        let answer = node.connect().request(
            "GET", "/api/v1/chats", fields: ["Authorization: \(value)"])
        #expect(answer.status == 401)
        #expect(answer.json.error.code == "INVALID_TOKEN")
        #expect(answer.field("WWW-Authenticate") == "Bearer")
        #expect(node.counter(.authenticationsFailed) == 1)
    }

    @Test("An expired token is 401 TOKEN_EXPIRED; one within the leeway is taken")
    func expiredToken() {
        let node = TestNode()
        let socket = node.connect()
        let expired = socket.request("GET", "/api/v1/chats", token: node.expiredToken("alice"))
        #expect(expired.status == 401)
        #expect(expired.json.error.code == "TOKEN_EXPIRED")
        let late = node.token("alice", seconds: 1, issued: -30)
        #expect(socket.request("GET", "/api/v1/chats", token: late).status == 200)
    }

    @Test("The scheme is read in any case of letters")
    func scheme() {
        let node = TestNode()
        let answer = node.connect().request(
            "GET", "/api/v1/chats", fields: ["Authorization: bEaReR \(node.token("alice"))"])
        #expect(answer.status == 200)
    }

    // MARK: The rate

    @Test("The limit of requests a minute is each user's own, and 429 says when to come back")
    func rate() {
        let node = TestNode(limits: ["http": "3"])
        let socket = node.connect()
        let alice = node.token("alice")
        for _ in 0..<3 {
            #expect(socket.request("GET", "/api/v1/chats", token: alice).status == 200)
        }
        let refused = socket.request("GET", "/api/v1/chats", token: alice)
        #expect(refused.status == 429)
        #expect(refused.json.error.code == "RATE_LIMITED")
        let wait = refused.json.error.retryAfterMs.intValue ?? 0
        #expect((1...20_000).contains(wait))
        #expect(refused.field("Retry-After") == "\((wait + 999) / 1_000)")
        #expect(
            socket.request("GET", "/api/v1/chats", token: node.token("bob")).status == 200)
        node.advance(wait)
        #expect(socket.request("GET", "/api/v1/chats", token: alice).status == 200)
        #expect(socket.request("GET", "/api/v1/chats", token: alice).status == 429)
    }

    @Test("Health and metrics are not counted")
    func rateFree() {
        let node = TestNode(limits: ["http": "1"])
        let socket = node.connect()
        for _ in 0..<5 {
            #expect(socket.request("GET", "/health").status == 200)
            #expect(socket.request("GET", "/metrics").status == 200)
        }
    }

    @Test("With the limit off there is none")
    func rateOff() {
        let node = TestNode(limits: ["http": "off"])
        let socket = node.connect()
        for _ in 0..<300 {
            #expect(
                socket.request("GET", "/api/v1/chats", token: node.token("alice")).status == 200)
        }
    }

    // MARK: Health

    @Test("A working node is healthy")
    func healthy() {
        let node = TestNode()
        let answer = node.connect().request("GET", "/health")
        #expect(answer.status == 200)
        #expect(answer.json.status == "healthy")
        #expect(answer.json.service == "martlet")
        #expect(answer.json.version == "1.2.3")
        #expect(answer.json.timestamp == "2026-01-01T00:00:00.000Z")
        #expect(answer.json.checks.database == "ok")
        #expect(node.connect().request("GET", "/health/ready").status == 200)
    }

    @Test("A store that fails makes the node unhealthy, not dead, until it works again")
    func failingStore() {
        let node = TestNode()
        let socket = node.connect()
        node.fate = { _ in .fails }
        _ = socket.request("GET", "/api/v1/chats", token: node.token("alice"))
        let answer = socket.request("GET", "/health")
        #expect(answer.status == 503)
        #expect(answer.json.status == "unhealthy")
        #expect(answer.json.checks.database == "error")
        #expect(socket.request("GET", "/health/ready").status == 503)
        #expect(socket.request("GET", "/health/live").status == 200)
        node.fate = { _ in .commits }
        _ = socket.request("GET", "/api/v1/chats", token: node.token("alice"))
        #expect(socket.request("GET", "/health").status == 200)
    }

    @Test("A node that drains is not ready")
    func draining() {
        let node = TestNode()
        let socket = node.connect()
        node.status.beginDraining()
        let answer = socket.request("GET", "/health")
        #expect(answer.status == 503)
        #expect(answer.json.status == "unhealthy")
        #expect(answer.json.checks.draining == "error")
        #expect(answer.json.checks.database == "ok")
        #expect(socket.request("GET", "/health/live").status == 200)
    }

    @Test("A shard that drains ends idle connections, finishes what was asked, takes no new ones")
    func drainingShard() {
        let node = TestNode()
        let idle = node.connect()
        let asking = node.connect()
        node.holdsAnswers = true
        asking.send(TestSocket.request("GET", "/api/v1/chats", token: node.token("alice")))
        node.give(.mail(.drain), to: 0)
        #expect(idle.isHalfClosed && !idle.hasUnread)
        #expect(!asking.isHalfClosed)
        #expect(node.accept() == nil)
        node.holdsAnswers = false
        #expect(asking.response().status == 200)
        #expect(asking.isHalfClosed)
        node.advance(5_100)
        #expect(idle.isClosed && asking.isClosed)
        #expect(node.shards[0].isEmpty)
    }

    @Test("An overloaded lane makes the node unready")
    func overloaded() {
        let node = TestNode()
        node.status.set(overloaded: true)
        let answer = node.connect().request("GET", "/health")
        #expect(answer.status == 503)
        #expect(answer.json.checks.lane == "error")
    }

    // MARK: Metrics

    @Test("The metrics are Prometheus text: every series typed, once, with a number")
    func metrics() {
        let node = TestNode()
        let socket = node.connect()
        _ = socket.request("GET", "/health")
        _ = socket.request("GET", "/api/v1/chats", token: node.token("alice"))
        let answer = socket.request("GET", "/metrics")
        #expect(answer.field("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
        var types: [String: String] = [:]
        var seen: Set<String> = []
        for line in answer.text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("# HELP ") {
                #expect(words.count > 3)
            } else if line.hasPrefix("# TYPE ") {
                #expect(types.updateValue(String(words[3]), forKey: String(words[2])) == nil)
            } else {
                #expect(words.count == 2, "\(line)")
                #expect(Double(words[1]) != nil, "\(line)")
                #expect(seen.insert(String(words[0])).inserted, "\(line)")
                let name = words[0].prefix { $0 != "{" }
                let family = ["_bucket", "_sum", "_count"].reduce(String(name)) { name, suffix in
                    let base = String(name.dropLast(suffix.count))
                    return name.hasSuffix(suffix) && types[base] == "histogram" ? base : name
                }
                #expect(types[family] != nil, "\(line)")
            }
        }
        for counter in Counter.allCases {
            #expect(types[counter.name] == (counter.isGauge ? "gauge" : "counter"))
        }
        #expect(types["http_request_duration_seconds"] == "histogram")
        #expect(types["websocket_active_connections"] == "gauge")
        #expect(answer.text.contains("route=\"/api/v1/chats\""))
        #expect(answer.text.contains("le=\"+Inf\""))
    }

    @Test("The buckets of the durations are cumulative, and the last is the count")
    func durations() {
        let node = TestNode()
        let socket = node.connect()
        node.holdsAnswers = true
        socket.send(TestSocket.request("GET", "/api/v1/chats", token: node.token("alice")))
        node.advance(200)
        node.holdsAnswers = false
        _ = socket.response()
        _ = socket.request("GET", "/api/v1/chats", token: node.token("alice"))
        let text = socket.request("GET", "/metrics").text
        func value(_ series: String) -> String? {
            text.split(separator: "\n").first { $0.hasPrefix(series + " ") }
                .map { String($0.dropFirst(series.count + 1)) }
        }
        let name = "http_request_duration_seconds"
        let label = "route=\"/api/v1/chats\""
        #expect(value("\(name)_bucket{\(label),le=\"0.100000\"}") == "1")
        #expect(value("\(name)_bucket{\(label),le=\"0.500000\"}") == "2")
        #expect(value("\(name)_bucket{\(label),le=\"+Inf\"}") == "2")
        #expect(value("\(name)_count{\(label)}") == "2")
        #expect(value("\(name)_sum{\(label)}") == "0.200000")
    }

    @Test("What a client asks for makes no new label")
    func labels() {
        let node = TestNode()
        let socket = node.connect()
        for name in ["a", "b", "c"] {
            _ = socket.request("GET", "/secret-\(name)")
            _ = socket.request(
                "GET", "/api/v1/chats/secret-\(name)/messages", token: node.token("alice"))
        }
        let text = socket.request("GET", "/metrics").text
        #expect(!text.contains("secret"))
        #expect(text.contains("route=\"/api/v1/chats/{chatId}/messages\""))
    }

    // MARK: Behind a proxy

    /// Whether two connections that say they are `first` and `second` share one rate.
    private func sharesRate(
        _ node: TestNode, _ first: String, _ second: String, peer: String
    ) -> Bool {
        for _ in 0..<5 {
            let socket = node.connect(address: peer)
            _ = socket.upgrade(fields: ["X-Forwarded-For: \(first)"])
        }
        let socket = node.connect(address: peer)
        return socket.upgrade(fields: ["X-Forwarded-For: \(second)"]).status == 429
    }

    @Test("Behind a trusted proxy the address is the one it names")
    func trustedProxy() {
        let node = TestNode(limits: ["connects": "1"], trusting: ["10.0.0.0/8"])
        #expect(!sharesRate(node, "198.51.100.1", "198.51.100.2", peer: "10.1.2.3"))
        #expect(sharesRate(node, "198.51.100.3", "198.51.100.3", peer: "10.1.2.4"))
        #expect(sharesRate(node, "198.51.100.4", "1.1.1.1, 198.51.100.4", peer: "10.1.2.5"))
    }

    @Test("From anywhere else X-Forwarded-For is ignored")
    func untrustedProxy() {
        let trusting = TestNode(limits: ["connects": "1"], trusting: ["10.0.0.0/8"])
        #expect(sharesRate(trusting, "198.51.100.1", "198.51.100.2", peer: "192.0.2.1"))
        let trustingNobody = TestNode(limits: ["connects": "1"])
        #expect(sharesRate(trustingNobody, "198.51.100.1", "198.51.100.2", peer: "10.1.2.3"))
    }
}
