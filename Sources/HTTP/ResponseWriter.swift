/// Writes one response into an array of bytes: status line, fields, body (RFC 9112 §4, §6).
///
///     var response = ResponseWriter(status: 200, into: &output)
///     response.field("Content-Type", "text/plain", into: &output)
///     response.end(body: body.span, into: &output)
///
/// No value can break out of its line: one that the program wrote itself must be clean, and one
/// that comes from outside is refused when it is not.
public struct ResponseWriter {
    private let status: UInt16

    /// Appends the status line.
    ///
    /// - Parameter status: 100–599.
    public init(status: UInt16, into output: inout [UInt8]) {
        precondition((100...599).contains(status), "no HTTP status: \(status)")
        self.status = status
        output.append(contentsOf: "HTTP/1.1 ".utf8)
        Self.append(UInt64(status), to: &output)
        output.append(ASCII.space)
        Self.append(Self.reason(of: status), to: &output)
        Self.endLine(&output)
    }

    /// Appends a field whose value the program itself holds.
    public func field(_ name: StaticString, _ value: StaticString, into output: inout [UInt8]) {
        precondition(Self.isClean(value), "a header value holds a control character")
        beginField(name, &output)
        Self.append(value, to: &output)
        Self.endLine(&output)
    }

    /// Appends a field with a number.
    public func field(_ name: StaticString, number: UInt64, into output: inout [UInt8]) {
        beginField(name, &output)
        Self.append(number, to: &output)
        Self.endLine(&output)
    }

    /// Appends a field whose value comes from elsewhere, such as a request or the configuration.
    ///
    /// - Returns: false, with nothing appended, when the value holds a control character (tab
    ///   included): then there is no honest way to send it.
    public func field(
        _ name: StaticString, untrusted value: String, into output: inout [UInt8]
    ) -> Bool {
        guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return false }
        beginField(name, &output)
        output.append(contentsOf: value.utf8)
        Self.endLine(&output)
        return true
    }

    /// Appends a field whose value is part of a request, such as an echoed `Origin`.
    ///
    /// - Returns: false, with nothing appended, when the value holds a control character.
    public func field(
        _ name: StaticString, untrusted bytes: Span<UInt8>, _ range: Range<Int>,
        into output: inout [UInt8]
    ) -> Bool {
        for index in range where bytes[index] < 0x20 || bytes[index] == 0x7F { return false }
        beginField(name, &output)
        Self.append(bytes.extracting(range), to: &output)
        Self.endLine(&output)
        return true
    }

    /// Appends Content-Length, the empty line and the body. Statuses that have no body (1xx, 204,
    /// 304: RFC 9110 §6.4.1) get neither length nor body.
    ///
    /// - Parameter isHead: the request was HEAD: the length is sent, the body is not
    ///   (RFC 9110 §9.3.2).
    public func end(
        body: Span<UInt8>, isHead: Bool = false, into output: inout [UInt8]
    ) {
        if status < 200 || status == 204 || status == 304 {
            precondition(body.isEmpty, "status \(status) has no body")
            Self.endLine(&output)
            return
        }
        field("Content-Length", number: UInt64(body.count), into: &output)
        Self.endLine(&output)
        if !isHead { Self.append(body, to: &output) }
    }

    /// Appends the end of a response without a body.
    public func end(into output: inout [UInt8]) {
        let nothing: [UInt8] = []
        end(body: nothing.span, into: &output)
    }

    /// Appends the whole answer to a refused head: its text as the body, and the connection's end.
    public static func append(_ error: RequestError, into output: inout [UInt8]) {
        let response = ResponseWriter(status: error.status, into: &output)
        response.field("Connection", "close", into: &output)
        response.field("Content-Type", "text/plain; charset=utf-8", into: &output)
        var body: [UInt8] = []
        append(error.text, to: &body)
        body.append(ASCII.lineFeed)
        response.end(body: body.span, into: &output)
    }

    /// Appends `100 Continue`, which precedes the real response (RFC 9110 §15.2.1).
    public static func appendContinue(into output: inout [UInt8]) {
        ResponseWriter(status: 100, into: &output).end(into: &output)
    }

    /// The reason phrase; empty for a status without a registered one. Readers ignore it
    /// (RFC 9112 §4), people do not.
    public static func reason(of status: UInt16) -> StaticString {
        switch status {
        case 100: "Continue"
        case 101: "Switching Protocols"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 406: "Not Acceptable"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 410: "Gone"
        case 411: "Length Required"
        case 412: "Precondition Failed"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 422: "Unprocessable Content"
        case 425: "Too Early"
        case 426: "Upgrade Required"
        case 428: "Precondition Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        case 507: "Insufficient Storage"
        default: ""
        }
    }

    // MARK: - Pieces

    private func beginField(_ name: StaticString, _ output: inout [UInt8]) {
        precondition(Self.isToken(name), "a header name is a token")
        Self.append(name, to: &output)
        output.append(UInt8(ascii: ":"))
        output.append(ASCII.space)
    }

    private static func endLine(_ output: inout [UInt8]) {
        output.append(ASCII.carriageReturn)
        output.append(ASCII.lineFeed)
    }

    private static func isToken(_ text: StaticString) -> Bool {
        text.utf8CodeUnitCount > 0 && text.withUTF8Buffer { unsafe $0.allSatisfy(ASCII.isToken) }
    }

    private static func isClean(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { unsafe $0.allSatisfy { $0 >= 0x20 && $0 != 0x7F } }
    }

    private static func append(_ text: StaticString, to output: inout [UInt8]) {
        text.withUTF8Buffer { unsafe output.append(contentsOf: $0) }
    }

    private static func append(_ bytes: Span<UInt8>, to output: inout [UInt8]) {
        unsafe bytes.withUnsafeBufferPointer { unsafe output.append(contentsOf: $0) }
    }

    private static func append(_ number: UInt64, to output: inout [UInt8]) {
        let start = output.count
        var rest = number
        repeat {
            output.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        output[start...].reverse()
    }
}
