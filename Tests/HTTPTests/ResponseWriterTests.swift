import HTTP
import Testing

@Suite("Responses, RFC 9112 §4")
struct ResponseWriterTests {
    private let body = Array("hello".utf8)

    @Test("A response is its status line, its fields, its length and its body")
    func whole() {
        var output = Array("before".utf8)
        let response = ResponseWriter(status: 200, into: &output)
        response.field("Content-Type", "text/plain", into: &output)
        response.field("Retry-After", number: 0, into: &output)
        response.field("X-Large", number: .max, into: &output)
        response.end(body: body.span, into: &output)
        #expect(
            String(decoding: output, as: UTF8.self)
                == "beforeHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nRetry-After: 0\r\n"
                + "X-Large: 18446744073709551615\r\nContent-Length: 5\r\n\r\nhello")
    }

    @Test("An answer to HEAD has the length without the body")
    func headRequest() {
        var output: [UInt8] = []
        let response = ResponseWriter(status: 200, into: &output)
        response.end(body: body.span, isHead: true, into: &output)
        #expect(
            String(decoding: output, as: UTF8.self)
                == "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    }

    @Test(
        "A status without a body has no length either",
        arguments: [
            (100, "Continue"), (101, "Switching Protocols"), (204, "No Content"),
            (304, "Not Modified"),
        ] as [(UInt16, String)])
    func noBody(status: UInt16, reason: String) {
        var output: [UInt8] = []
        ResponseWriter(status: status, into: &output).end(into: &output)
        #expect(String(decoding: output, as: UTF8.self) == "HTTP/1.1 \(status) \(reason)\r\n\r\n")
    }

    @Test("Other statuses say that their body is empty; an unknown one keeps the space")
    func emptyBody() {
        var output: [UInt8] = []
        ResponseWriter(status: 503, into: &output).end(into: &output)
        ResponseWriter(status: 599, into: &output).end(into: &output)
        #expect(
            String(decoding: output, as: UTF8.self)
                == "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
                + "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n")
    }

    @Test(
        "A value from outside that could end its line is refused and leaves no trace",
        arguments: [
            ("https://a.b", true), ("", true), ("é", true), ("a\r\nSet-Cookie: b", false),
            ("a\rb", false), ("a\nb", false), ("a\0b", false), ("a\u{7F}", false), ("a\tb", false),
        ])
    func injection(value: String, isTaken: Bool) {
        var output: [UInt8] = []
        let response = ResponseWriter(status: 200, into: &output)
        let before = output
        #expect(response.field("Location", untrusted: value, into: &output) == isTaken)
        let expected = before + (isTaken ? Array("Location: \(value)\r\n".utf8) : [])
        #expect(output == expected)

        output = before
        let bytes = Array(("<" + value + ">").utf8)
        let taken = response.field(
            "Location", untrusted: bytes.span, 1..<(bytes.count - 1), into: &output)
        #expect(taken == isTaken)
        #expect(output == expected)
    }

    @Test("Every refused head has an answer that closes", arguments: RequestError.allCases)
    func errors(error: RequestError) {
        var output: [UInt8] = []
        ResponseWriter.append(error, into: &output)
        let text = String(decoding: output, as: UTF8.self)
        #expect(
            text.hasPrefix(
                "HTTP/1.1 \(error.status) \(ResponseWriter.reason(of: error.status))\r\n"))
        #expect(text.contains("\r\nConnection: close\r\n"))
        #expect(text.hasSuffix("\r\n\r\n\(error.text)\n"))
        #expect(text.contains("Content-Length: \(error.text.utf8CodeUnitCount + 1)\r\n"))
        #expect(ResponseWriter.reason(of: error.status).utf8CodeUnitCount > 0)
    }

    @Test("100 Continue is a response by itself")
    func interim() {
        var output: [UInt8] = []
        ResponseWriter.appendContinue(into: &output)
        #expect(String(decoding: output, as: UTF8.self) == "HTTP/1.1 100 Continue\r\n\r\n")
    }
}
