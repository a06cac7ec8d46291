import Basics
import Wire

/// The answer to one HTTP request.
package struct HTTPAnswer: Hashable, Sendable {
    package var status: Int
    /// In order, names in lower case.
    package var fields: [Field]
    package var body: [UInt8]

    package struct Field: Hashable, Sendable {
        package var name: String
        package var value: String
    }

    /// The first value of a header field; its name in lower case.
    package func field(_ name: String) -> String? {
        fields.first { $0.name == name }?.value
    }
}

/// One blocking HTTP request on a connection of its own: no pool, no redirects, no TLS.
package enum HTTPExchange {
    /// The most bytes of an answer, head and body together.
    package static let longestAnswer = 16_000_000

    /// - Parameters:
    ///   - token: sent as `Authorization: Bearer`.
    ///   - json: the body, sent as `application/json`.
    ///   - fields: further header fields; printable ASCII.
    ///   - source: the local address to bind.
    /// - Throws: whatever keeps the answer from being read whole by the deadline. A refusal is an
    ///   answer: look at its status.
    package static func request(
        _ method: String, _ url: URLParts, token: String? = nil, json: [UInt8]? = nil,
        fields: [(name: String, value: String)] = [], source: String? = nil,
        timeoutMs: Int = 5_000
    ) throws(ClientError) -> HTTPAnswer {
        let deadline = MonotonicClock.now().advanced(byMilliseconds: timeoutMs)
        let stream = try Stream.connect(
            host: url.host, port: url.port, source: source, deadline: deadline)
        try stream.write(
            head(method, url, token, json, fields) + (json ?? []), until: deadline)
        var received: [UInt8] = []
        var scanned = 0
        while true {
            let result = try stream.read(into: &received, until: deadline)
            if result == .timedOut { throw .timedOut("\(method) \(url.target)") }
            guard received.count <= longestAnswer else {
                throw .badAnswer("longer than \(longestAnswer) bytes")
            }
            let parse = try parse(
                received, isHead: method == "HEAD", isEnded: result == .ended,
                scannedFrom: &scanned)
            if let parse { return parse }
            if result == .ended { throw .ended }
        }
    }

    private static func head(
        _ method: String, _ url: URLParts, _ token: String?, _ json: [UInt8]?,
        _ fields: [(name: String, value: String)]
    ) -> [UInt8] {
        var lines = [
            "\(method) \(url.target) HTTP/1.1", "Host: \(url.hostField)", "Connection: close",
            "Accept: application/json",
        ]
        if let token { lines.append("Authorization: Bearer \(token)") }
        if let json {
            lines += ["Content-Type: application/json", "Content-Length: \(json.count)"]
        }
        lines += fields.map { "\($0.name): \($0.value)" }
        // A token comes from a person's clipboard: a line break in it must not become a header.
        let clean = lines.map { String($0.unicodeScalars.filter { $0.value >= 0x20 }) }
        return Array((clean.joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    // MARK: The answer

    /// The answer in `bytes`, nil where more must come (RFC 9112 §6.3 for how long the body is).
    ///
    /// - Parameters:
    ///   - isEnded: the server has ended the connection, which ends a body without a length.
    ///   - scannedFrom: where the search for the head's end goes on; begins at 0.
    static func parse(
        _ bytes: [UInt8], isHead: Bool, isEnded: Bool, scannedFrom: inout Int
    ) throws(ClientError) -> HTTPAnswer? {
        guard let end = headEnd(bytes, from: &scannedFrom) else { return nil }
        let text = String(decoding: bytes[..<(end - 4)], as: UTF8.self)
        // "\r\n" is one Character.
        let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        let status = lines[0].split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard status.count >= 2, status[0].hasPrefix("HTTP/1."), status[1].utf8.count == 3,
            let code = Int(status[1]), code >= 100
        else { throw .badAnswer("no HTTP status line") }
        if code < 200, code != 101 {
            // An interim answer (RFC 9110 §15.2): the real one follows.
            var scanned = 0
            return try parse(
                Array(bytes[end...]), isHead: isHead, isEnded: isEnded, scannedFrom: &scanned)
        }
        var answer = HTTPAnswer(status: code, fields: [], body: [])
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else {
                throw .badAnswer("a header line has no colon")
            }
            answer.fields.append(
                HTTPAnswer.Field(
                    name: line[..<colon].lowercased(),
                    value: trimmed(line[line.index(after: colon)...])))
        }
        if isHead || code == 101 || code == 204 || code == 304 { return answer }
        let rest = bytes[end...]
        if answer.field("transfer-encoding")?.lowercased() == "chunked" {
            guard let body = try chunked(rest) else { return nil }
            answer.body = body
        } else if let text = answer.field("content-length") {
            guard let length = Int(text), length >= 0, length <= longestAnswer else {
                throw .badAnswer("Content-Length is no length")
            }
            guard rest.count >= length else { return nil }
            answer.body = Array(rest.prefix(length))
        } else {
            guard isEnded else { return nil }
            answer.body = Array(rest)
        }
        return answer
    }

    private static func headEnd(_ bytes: [UInt8], from scanned: inout Int) -> Int? {
        var index = scanned
        while index + 4 <= bytes.count {
            if bytes[index] == 13, bytes[index + 1] == 10, bytes[index + 2] == 13,
                bytes[index + 3] == 10
            {
                return index + 4
            }
            index += 1
        }
        scanned = index
        return nil
    }

    /// RFC 9112 §7.1, extensions and trailers passed over; nil where the last chunk has not come.
    private static func chunked(_ bytes: ArraySlice<UInt8>) throws(ClientError) -> [UInt8]? {
        var body: [UInt8] = []
        var rest = bytes
        while true {
            guard let lineEnd = rest.firstIndex(of: 10) else { return nil }
            let line = String(decoding: rest[..<lineEnd], as: UTF8.self)
            let digits = line.prefix { $0.isHexDigit }
            guard let size = Int(digits, radix: 16), size <= longestAnswer else {
                throw .badAnswer("a chunk has no size")
            }
            rest = rest[(lineEnd + 1)...]
            if size == 0 { return body }
            guard rest.count >= size + 2 else { return nil }
            body += rest.prefix(size)
            rest = rest.dropFirst(size + 2)
        }
    }

    static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }
}
