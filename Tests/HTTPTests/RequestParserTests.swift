import Testing

@testable import HTTP

@Suite("Request heads, RFC 9112")
struct RequestParserTests {
    @Test("A browser's upgrade request gives its facts")
    func browser() throws {
        let request = try head(
            "GET /ws/messages?EIO=4&transport=websocket HTTP/1.1\r\nHost: example.com:8080\r\n"
                + "Connection: keep-alive, Upgrade\r\nUPGRADE: WebSocket\r\n"
                + "Origin: \t https://a.b \t\r\n"
                + "Sec-WebSocket-Protocol: martlet.v1, bearer.x.y.z\r\nX-Empty:\r\n"
                + "X-Tab: a\tb\r\n\r\nrest")
        #expect(request.head.method == .get && request.head.minorVersion == 1)
        #expect(
            request.text(request.head.target) == "/ws/messages?EIO=4&transport=websocket")
        #expect(request.text(request.head.path) == "/ws/messages")
        #expect(request.text(request.head.query) == "EIO=4&transport=websocket")
        #expect(request.text(request.head.host) == "example.com:8080")
        #expect(request.head.upgradesToWebSocket && request.head.keepAlive)
        #expect(request.head.contentLength == nil && !request.head.expectsContinue)
        #expect(request.value("origin") == "https://a.b")
        #expect(request.value("x-empty") == "")
        #expect(request.value("x-tab") == "a\tb")
        #expect(request.value("x-absent") == nil)
        #expect(request.elements("sec-websocket-protocol") == ["martlet.v1", "bearer.x.y.z"])
        #expect(request.length == request.bytes.count - 4)
        #expect(request.head.headers.count == 7)
    }

    @Test("Each method is known by its exact name", arguments: HTTPMethod.allCases)
    func methods(method: HTTPMethod) throws {
        let request = try head("\(method.name) /x HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(request.head.method == method)
    }

    @Test(
        "A request line that is not exactly one is refused",
        arguments: [
            ("GET / HTTP/1.1", nil), ("get / HTTP/1.1", .unknownMethod),
            ("TRACE / HTTP/1.1", .unknownMethod), ("CONNECT a:1 HTTP/1.1", .unknownMethod),
            ("OPTIONSX / HTTP/1.1", .unknownMethod), ("GE / HTTP/1.1", .unknownMethod),
            ("G(T / HTTP/1.1", .malformedRequestLine), (" / HTTP/1.1", .malformedRequestLine),
            ("GET  / HTTP/1.1", .malformedRequestLine), ("GET /  HTTP/1.1", .malformedRequestLine),
            ("GET / HTTP/1.1 ", .malformedRequestLine), (" GET / HTTP/1.1", .malformedRequestLine),
            ("GET /", .malformedRequestLine), ("GET", .malformedRequestLine),
            ("GET / ", .malformedRequestLine), ("GET / HTTP/1", .malformedRequestLine),
            ("GET / http/1.1", .malformedRequestLine), ("GET / HTTP/1.1x", .malformedRequestLine),
            ("GET / HTTP/a.b", .malformedRequestLine), ("GET / HTTP/1,1", .malformedRequestLine),
            ("GET\t/ HTTP/1.1", .malformedRequestLine), ("GET / HTTP/1.2", .unsupportedVersion),
            ("GET / HTTP/0.9", .unsupportedVersion), ("GET / HTTP/2.0", .unsupportedVersion),
            ("PRI * HTTP/2.0", .unsupportedVersion), ("GET * HTTP/1.1", .malformedTarget),
            ("OPTIONS * HTTP/1.1", nil), ("OPTIONS ** HTTP/1.1", .malformedTarget),
            ("GET http://a/ HTTP/1.1", .malformedTarget), ("GET a HTTP/1.1", .malformedTarget),
            ("GET ?a HTTP/1.1", .malformedTarget), ("GET /a#b HTTP/1.1", .malformedTarget),
            ("GET /é HTTP/1.1", .malformedTarget), ("GET /a\tb HTTP/1.1", .malformedTarget),
        ] as [(String, RequestError?)])
    func requestLine(line: String, error: RequestError?) {
        let text = line + "\r\nHost: a\r\n\r\n"
        #expect(parse(text) == error.map { .bad($0) } ?? .head(length: text.utf8.count))
    }

    @Test("A query may be absent, empty, or hold question marks")
    func query() throws {
        for (target, path, query) in [
            ("/a", "/a", nil), ("/a?", "/a", ""), ("/?b?c", "/", "b?c"),
            ("/a?b=%20&c", "/a", "b=%20&c"),
        ] as [(String, String, String?)] {
            let request = try head("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(request.text(request.head.path) == path)
            #expect(request.text(request.head.query) == query)
        }
    }

    @Test("One empty line before the request is skipped, a second is not")
    func emptyLineFirst() {
        let request = get()
        #expect(parse("\r\n" + request) == .head(length: request.utf8.count + 2))
        #expect(parse("\r\n\r\n" + request) == .bad(.malformedRequestLine))
    }

    @Test(
        "Lines end with CR LF, and nothing else of control characters is let in but a tab",
        arguments: [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", .bareLineEnding),
            ("GET / HTTP/1.1\r\nHost: a\n\n", .bareLineEnding),
            ("GET / HTTP/1.1\rHost: a\r\n\r\n", .bareLineEnding),
            ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", .bareLineEnding),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", .bareLineEnding),
            ("\n" + get(), .bareLineEnding), (get("X: a\0b"), .controlCharacter),
            (get("X: a\u{1}b"), .controlCharacter), (get("X: a\u{1F}b"), .controlCharacter),
            (get("X: a\u{7F}b"), .controlCharacter), ("\u{16}\u{3}\u{1}", .controlCharacter),
            (get("X: a\u{B}b"), .controlCharacter),
        ] as [(String, RequestError)])
    func lineEndings(text: String, error: RequestError) {
        #expect(parse(Array(text.utf8)) == .bad(error))
    }

    @Test("Each of the 256 bytes in a header's value is taken or refused as RFC 9110 §5.5 says")
    func valueBytes() {
        for byte in UInt8.min...UInt8.max where byte != 0x0D && byte != 0x0A {
            let bytes =
                Array("GET / HTTP/1.1\r\nHost: a\r\nX: a".utf8) + [byte] + Array("b\r\n\r\n".utf8)
            let isAllowed = byte == 0x09 || (byte >= 0x20 && byte != 0x7F)
            let isHead = parse(bytes) == .head(length: bytes.count)
            #expect(isHead == isAllowed, "byte \(byte)")
        }
    }

    @Test("Each of the 256 bytes in a header's name is taken or refused, at each place of a word")
    func nameBytes() {
        let symbols = Set("!#$%&'*+-.^_`|~".utf8)
        for byte in UInt8.min...UInt8.max where byte != UInt8(ascii: ":") {
            let isLetter = (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            let isToken = isLetter || (0x30...0x39).contains(byte) || symbols.contains(byte)
            #expect(ASCII.isToken(byte) == isToken)
            for place in 0..<17 {
                var name = [UInt8](repeating: UInt8(ascii: "n"), count: 17)
                name[place] = byte
                let bytes =
                    Array("GET / HTTP/1.1\r\nHost: a\r\n".utf8) + name + Array(": b\r\n\r\n".utf8)
                let isHead = parse(bytes) == .head(length: bytes.count)
                #expect(isHead == isToken, "byte \(byte) at \(place)")
            }
        }
    }

    @Test(
        "A header line that is not name, colon, value is refused",
        arguments: [
            ("X : a", .malformedHeaderName), (": a", .malformedHeaderName),
            ("X", .malformedHeaderName), ("X a", .malformedHeaderName),
            ("X(y): a", .malformedHeaderName), ("X\t: a", .malformedHeaderName),
            (" folded", .foldedHeader), ("\tfolded", .foldedHeader), (" X: a", .foldedHeader),
        ] as [(String, RequestError)])
    func headerLines(line: String, error: RequestError) {
        #expect(parse(get(line)) == .bad(error))
        #expect(parse(get("A: b", line, "C: d")) == .bad(error))
    }

    @Test("HTTP/1.1 has exactly one Host, HTTP/1.0 at most one")
    func host() throws {
        #expect(parse("GET / HTTP/1.1\r\n\r\n") == .bad(.missingHost))
        #expect(parse(get("Host: a")) == .bad(.repeatedHost))
        #expect(parse("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n") == .bad(.repeatedHost))
        #expect(try head("GET / HTTP/1.0\r\n\r\n").head.host == nil)
        for value in ["a b", "a/b", "a@b", "a,b", "ä", "a?b", "<a>", "a\\b", "a#b"] {
            #expect(parse("GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n") == .bad(.malformedHost))
        }
        for value in ["", "a.b-c_d", "[::1]:80", "127.0.0.1:8080", "a%20b"] {
            let request = try head("GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n")
            #expect(request.text(request.head.host) == value)
        }
    }

    @Test(
        "Content-Length is digits, once, and within the body's limit",
        arguments: [
            ("0", 0), ("7", 7), ("007", 7), ("999999", 999_999), ("1000000", 1_000_000),
        ])
    func contentLength(value: String, length: Int) throws {
        #expect(try head(get("Content-Length: \(value)")).head.contentLength == length)
    }

    @Test(
        "A Content-Length that two readers could read differently is refused",
        arguments: [
            (["Content-Length:"], .malformedContentLength),
            (["Content-Length: -1"], .malformedContentLength),
            (["Content-Length: +1"], .malformedContentLength),
            (["Content-Length: 1, 1"], .malformedContentLength),
            (["Content-Length: 1 1"], .malformedContentLength),
            (["Content-Length: 0x1"], .malformedContentLength),
            (["Content-Length: 1.0"], .malformedContentLength),
            (["Content-Length: 1", "content-length: 2"], .conflictingContentLength),
            (["Content-Length: 1000001"], .bodyTooLarge),
            (["Content-Length: 9223372036854775808"], .bodyTooLarge),
            (["Content-Length: 18446744073709551615"], .bodyTooLarge),
            (["Content-Length: 18446744073709551616"], .bodyTooLarge),
            // 2 × 2^64 + 15, which wraps to 15 in the multiplication alone.
            (["Content-Length: 36893488147419103247"], .bodyTooLarge),
            (["Content-Length: 99999999999999999999999999999999"], .bodyTooLarge),
            (["Content-Length: 99999999999999999999999999999999x"], .malformedContentLength),
            (["Transfer-Encoding: chunked"], .transferEncoding),
            (["Transfer-Encoding: identity"], .transferEncoding),
            (["Transfer-Encoding:"], .transferEncoding),
            (["Content-Length: 1", "Transfer-Encoding: chunked"], .lengthAndTransferEncoding),
            (["transfer-encoding: x", "Content-Length: 1"], .lengthAndTransferEncoding),
        ] as [([String], RequestError)])
    func framing(lines: [String], error: RequestError) {
        let text =
            "POST / HTTP/1.1\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n"
        #expect(parse(text) == .bad(error))
    }

    @Test("The same Content-Length twice is one")
    func sameContentLength() throws {
        let request = try head(get("Content-Length: 5", "Content-Length: 5"))
        #expect(request.head.contentLength == 5)
    }

    @Test(
        "A connection stays open as RFC 9112 §9.3 says",
        arguments: [
            ("1.1", nil, true), ("1.1", "close", false), ("1.1", "Close", false),
            ("1.1", "keep-alive", true), ("1.1", "upgrade, close", false), ("1.1", "closed", true),
            ("1.0", nil, false), ("1.0", "keep-alive", true), ("1.0", "Keep-Alive,close", false),
            ("1.0", "keep", false),
        ] as [(String, String?, Bool)])
    func keepAlive(version: String, connection: String?, keepAlive: Bool) throws {
        let line = connection.map { "Connection: \($0)\r\n" } ?? ""
        let request = try head("GET / HTTP/\(version)\r\nHost: a\r\n\(line)\r\n")
        #expect(request.head.keepAlive == keepAlive)
    }

    @Test("An upgrade needs both of its fields, each as an element of its list")
    func upgrade() throws {
        let both = try head(get("Connection: x,Upgrade", "Upgrade: h2c, websocket")).head
        #expect(both.upgradesToWebSocket)
        let split = try head(get("Connection: x", "Connection: upgrade", "Upgrade: websocket")).head
        #expect(split.upgradesToWebSocket)
        #expect(try !head(get("Upgrade: websocket")).head.upgradesToWebSocket)
        #expect(try !head(get("Connection: upgrade")).head.upgradesToWebSocket)
        let other = try head(get("Connection: upgrades", "Upgrade: websockets")).head
        #expect(!other.connectionListsUpgrade && !other.upgradeListsWebSocket)
    }

    @Test("Expect: 100-continue is a fact in HTTP/1.1 only")
    func expect() throws {
        #expect(try head(get("Expect: 100-Continue")).head.expectsContinue)
        #expect(try !head(get("Expect: something")).head.expectsContinue)
        #expect(try !head("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").head.expectsContinue)
    }

    @Test("The two fields of a WebSocket's handshake are facts, and so is a second one of either")
    func webSocketFields() throws {
        let request = try head(get("Sec-WebSocket-Key: a", "SEC-websocket-VERSION: 13"))
        #expect(request.text(request.head.webSocketKey) == "a")
        #expect(request.text(request.head.webSocketVersion) == "13")
        #expect(!request.head.repeatsWebSocketField)
        for name in ["Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
            let twice = try head(get("\(name): a", "\(name): b"))
            #expect(twice.head.repeatsWebSocketField)
            let range = twice.head.webSocketKey ?? twice.head.webSocketVersion
            #expect(twice.text(range) == "a")
        }
        let none = try head(get("Sec-WebSocket-Keys: a")).head
        #expect(none.webSocketKey == nil && none.webSocketVersion == nil)
    }

    @Test("Capitals are made small eight at a time as one by one, whatever the byte and its place")
    func lowercased() {
        for byte in UInt8.min...UInt8.max {
            for place in 0..<8 {
                for around in [0x4141_4141_4141_4141, 0xFFFF_FFFF_FFFF_FFFF, 0] as [UInt64] {
                    let shift = UInt64(place * 8)
                    let word = around & ~(0xFF << shift) | UInt64(byte) << shift
                    let expected = (0..<8).reduce(UInt64(0)) { sum, index in
                        let one = UInt8(truncatingIfNeeded: word >> UInt64(index * 8))
                        return sum | UInt64(ASCII.lowercased(one)) << UInt64(index * 8)
                    }
                    #expect(ASCII.lowercased(word) == expected)
                }
            }
        }
    }

    @Test("Look-ups walk comma lists through all lines")
    func lists() throws {
        let request = try head(
            get(
                "X-Forwarded-For: 1.1.1.1,2.2.2.2 ,", "Other: x", "x-forwarded-FOR: , ,\t3.3.3.3",
                "X-Forwarded-For:", "X-Forwarded-For-Not: 4.4.4.4"))
        let bytes = request.bytes
        #expect(request.elements("x-forwarded-for") == ["1.1.1.1", "2.2.2.2", "3.3.3.3"])
        #expect(request.value("x-forwarded-for") == "1.1.1.1,2.2.2.2 ,")
        #expect(request.elements("absent") == [])
        let isListed = request.head.list("other", contains: "x", in: bytes.span)
        #expect(isListed)
    }

    @Test("Every error has a status of its kind and one line of advice")
    func errors() {
        let statuses: Set<UInt16> = [400, 413, 414, 431, 501, 505]
        for error in RequestError.allCases {
            #expect(statuses.contains(error.status))
            #expect((10...100).contains(error.text.utf8CodeUnitCount) && error.text.isASCII)
        }
    }
}

@Suite("The bounds of request heads")
struct RequestLimitTests {
    @Test("A head of 16 KiB passes, one byte more does not", arguments: [16_383, 16_384, 16_385])
    func headBytes(count: Int) {
        let rest = get("X: ").utf8.count
        let text = get("X: " + String(repeating: "a", count: count - rest))
        #expect(text.utf8.count == count)
        #expect(parse(text) == (count <= 16_384 ? .head(length: count) : .bad(.headTooLarge)))
        // What follows a head does not count.
        #expect(
            parse(text + "body") == (count <= 16_384 ? .head(length: count) : .bad(.headTooLarge)))
    }

    @Test("A head without an end is refused as soon as the limit's last byte is there")
    func endless() {
        let line = Array("GET / HTTP/1.1\r\nX: ".utf8)
        let filled = line + [UInt8](repeating: 0x61, count: 16_384 - line.count)
        #expect(parse(Array(filled.dropLast())) == .needMore)
        #expect(parse(filled) == .bad(.headTooLarge))
        let target = Array("GET /".utf8) + [UInt8](repeating: 0x61, count: 16_379)
        #expect(parse(Array(target.dropLast())) == .needMore)
        #expect(parse(target) == .bad(.targetTooLong))
        let carriageReturn = Array(filled.dropLast()) + [0x0D]
        #expect(parse(carriageReturn) == .bad(.headTooLarge))
        #expect(parse(carriageReturn + [0x0A, 0x0D, 0x0A]) == .bad(.headTooLarge))
    }

    @Test("64 headers pass, 65 do not", arguments: [63, 64, 65])
    func headers(count: Int) {
        let lines = (1..<count).map { "X-\($0): y\r\n" }.joined()
        let text = "GET / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n"
        #expect(
            parse(text) == (count <= 64 ? .head(length: text.utf8.count) : .bad(.tooManyHeaders)))
    }

    @Test("A target of 8 KiB passes, one byte more does not", arguments: [8_191, 8_192, 8_193])
    func target(count: Int) {
        let text =
            "GET /" + String(repeating: "a", count: count - 1) + " HTTP/1.1\r\nHost: a\r\n\r\n"
        #expect(
            parse(text) == (count <= 8_192 ? .head(length: text.utf8.count) : .bad(.targetTooLong)))
    }

    @Test("The limits are the caller's choice")
    func ownLimits() {
        let limits = RequestLimits(headBytes: 64, headers: 2, targetBytes: 4, bodyBytes: 9)
        #expect(parse("GET /abc HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits) == .head(length: 30))
        #expect(
            parse("GET /abcd HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits) == .bad(.targetTooLong))
        #expect(parse(get("A: b"), limits: limits) == .head(length: 33))
        #expect(parse(get("A: b", "C: d"), limits: limits) == .bad(.tooManyHeaders))
        #expect(parse(get("Content-Length: 9"), limits: limits) == .head(length: 46))
        #expect(parse(get("Content-Length: 10"), limits: limits) == .bad(.bodyTooLarge))
    }
}

@Suite("A request means the same in any pieces")
struct RequestSplitTests {
    @Test("A head that drips in a byte at a time is scanned once")
    func drip() {
        let text = "\r\n" + get("X-Long: " + String(repeating: "a", count: 3_000), "Y: z")
        let bytes = Array(text.utf8)
        var parser = RequestParser()
        var scannedFrom = 0
        for count in 0..<bytes.count {
            let result = parser.parse(bytes.span.extracting(0..<count), scannedFrom: &scannedFrom)
            #expect(result == .needMore)
            // At most a CR that waits for its LF is looked at again.
            #expect(count - scannedFrom <= 1)
        }
        #expect(parser.parse(bytes.span, scannedFrom: &scannedFrom) == .head(length: bytes.count))
        #expect(parser.head.headers.count == 3)
    }

    @Test("Cut in two at every byte")
    func everyCut() {
        let bytes = Array(get("Connection: upgrade", "Content-Length: 12").utf8) + [0x61]
        for cut in 0...bytes.count {
            var parser = RequestParser()
            var scannedFrom = 0
            let first = parser.parse(bytes.span.extracting(0..<cut), scannedFrom: &scannedFrom)
            #expect(first == (cut < bytes.count - 1 ? .needMore : .head(length: bytes.count - 1)))
            if first != .needMore { continue }
            let second = parser.parse(bytes.span, scannedFrom: &scannedFrom)
            #expect(second == .head(length: bytes.count - 1))
            #expect(parser.head.contentLength == 12 && parser.head.connectionListsUpgrade)
        }
    }

    @Test("A parser that is used again keeps nothing of the request before")
    func reuse() {
        var parser = RequestParser()
        let first = Array(
            get(
                "Connection: close, upgrade", "Upgrade: websocket", "Content-Length: 3",
                "Expect: 100-continue"
            ).utf8)
        let second = Array("GET /b?c HTTP/1.0\r\n\r\n".utf8)
        var scannedFrom = 0
        #expect(parser.parse(first.span, scannedFrom: &scannedFrom) == .head(length: first.count))
        scannedFrom = 0
        #expect(parser.parse(second.span, scannedFrom: &scannedFrom) == .head(length: second.count))
        let head = parser.head
        #expect(head.headers.isEmpty && head.host == nil && head.contentLength == nil)
        #expect(!head.upgradesToWebSocket && !head.connectionListsClose && !head.expectsContinue)
        scannedFrom = 0
        #expect(parser.parse(first.span, scannedFrom: &scannedFrom) == .head(length: first.count))
        #expect(parser.head.query == nil)
    }
}
