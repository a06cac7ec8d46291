/// What `RequestParser.parse` found.
public enum RequestParse: Sendable, Equatable {
    /// The head is not complete and breaks no rule so far.
    case needMore
    /// A complete head in the first `length` bytes; its body or the next request follows.
    case head(length: Int)
    /// Answer with the error's status and close.
    case bad(RequestError)
}

/// Parses request heads (RFC 9112 §2–§5, RFC 9110 §5), strictly: where two readers could disagree
/// about what a request says, there is no request (request smuggling lives in such gaps).
///
/// Two passes over the head. The first looks for the empty line, sees every control character and
/// can be resumed, so a client that sends a byte at a time costs no more than one that does not.
/// The second runs once, over a whole head of at most `limits.headBytes`.
///
/// A value to be used again: one per thread, for all its connections. `head` is valid until the
/// next `parse`; once its header table is warm, parsing allocates nothing.
public struct RequestParser: Sendable {
    /// The head of the last `.head` result; meaningless after any other.
    public private(set) var head = RequestHead()
    public let limits: RequestLimits

    public init(limits: RequestLimits = RequestLimits()) {
        self.limits = limits
        head.headers.reserveCapacity(min(limits.headers, 64))
    }

    /// Reads one request head from the front of `bytes`.
    ///
    /// - Parameters:
    ///   - bytes: all that has come of the request, from its first byte.
    ///   - scannedFrom: how much of it earlier calls have seen. The connection keeps it: 0 before
    ///     the first call and after a request; only this function changes it in between.
    public mutating func parse(_ bytes: Span<UInt8>, scannedFrom: inout Int) -> RequestParse {
        let length: Int
        switch findEnd(bytes, &scannedFrom) {
        case .needMore: return .needMore
        case .bad(let error): return .bad(error)
        case .head(let found): length = found
        }
        head.reset()
        do {
            try parseHead(bytes, length)
            return .head(length: length)
        } catch {
            return .bad(error)
        }
    }

    /// The first pass: up to and including the empty line. Every control character but a tab must
    /// be the CR or the LF of a line's end.
    private func findEnd(_ bytes: Span<UInt8>, _ scannedFrom: inout Int) -> RequestParse {
        let end = min(bytes.count, limits.headBytes)
        var index = min(max(0, scannedFrom), end)
        while true {
            index = ASCII.firstControl(bytes, from: index, to: end)
            guard index < end else { break }
            switch bytes[index] {
            case ASCII.tab:
                index += 1
            case ASCII.carriageReturn:
                guard index + 1 < end else {
                    // Its LF is still to come, or would be beyond the limit.
                    scannedFrom = index
                    return end == limits.headBytes ? .bad(tooLarge(bytes)) : .needMore
                }
                guard bytes[index + 1] == ASCII.lineFeed else { return .bad(.bareLineEnding) }
                // An LF right before can only be the end of the line before, so this line is
                // empty. The very first line may be: a line left over from the request before
                // (RFC 9112 §2.2).
                let isEmptyLine = index > 0 && bytes[index - 1] == ASCII.lineFeed
                index += 2
                if isEmptyLine {
                    scannedFrom = index
                    return .head(length: index)
                }
            case ASCII.lineFeed:
                return .bad(.bareLineEnding)
            default:
                return .bad(.controlCharacter)
            }
        }
        scannedFrom = index
        return end == limits.headBytes ? .bad(tooLarge(bytes)) : .needMore
    }

    /// Which limit a head without an end is over: the target's if the request line has no end.
    private func tooLarge(_ bytes: Span<UInt8>) -> RequestError {
        for index in 2..<limits.headBytes where bytes[index] == ASCII.lineFeed {
            return .headTooLarge
        }
        return .targetTooLong
    }

    // MARK: - The second pass

    private mutating func parseHead(
        _ bytes: Span<UInt8>, _ length: Int
    ) throws(RequestError) {
        // The empty line is no line of the head.
        let end = length - 2
        var start = bytes[0] == ASCII.carriageReturn ? 2 : 0
        guard start < end else { throw .malformedRequestLine }
        let lineEnd = Self.lineEnd(bytes, start, end)
        try parseRequestLine(bytes, start..<lineEnd)
        start = lineEnd + 2

        var framing = Framing()
        while start < end {
            guard head.headers.count < limits.headers else { throw .tooManyHeaders }
            let field = try Self.field(bytes, start, end, next: &start)
            head.headers.append(field)
            try note(field, bytes, &framing)
        }
        try finish(framing)
    }

    /// Facts that only the whole head decides.
    private struct Framing {
        var contentLength: UInt64?
        var hasTransferEncoding = false
    }

    /// The index of the CR that ends the line at `start`. The first pass has seen to it that a
    /// control character is a tab or a line's end.
    @inline(__always)
    private static func lineEnd(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
        var index = ASCII.firstControl(bytes, from: start, to: end)
        while index < end && bytes[index] == ASCII.tab {
            index = ASCII.firstControl(bytes, from: index &+ 1, to: end)
        }
        return index
    }

    /// One header line: name, colon, value (RFC 9112 §5).
    @inline(__always)
    private static func field(
        _ bytes: Span<UInt8>, _ start: Int, _ end: Int, next: inout Int
    ) throws(RequestError) -> HeaderField {
        let colon = ASCII.skipToken(bytes, from: start, to: end)
        guard colon > start && colon < end && bytes[colon] == UInt8(ascii: ":") else {
            let isFolded = bytes[start] == ASCII.space || bytes[start] == ASCII.tab
            throw isFolded ? .foldedHeader : .malformedHeaderName
        }
        let lineEnd = lineEnd(bytes, colon &+ 1, end)
        next = lineEnd &+ 2
        return HeaderField(
            name: start..<colon, value: ASCII.trimmed(bytes, (colon &+ 1)..<lineEnd))
    }

    /// Takes the facts of the headers that framing and connection handling depend on. The length
    /// of the name excludes nearly all others at once.
    @inline(__always)
    private mutating func note(
        _ field: HeaderField, _ bytes: Span<UInt8>, _ framing: inout Framing
    ) throws(RequestError) {
        switch field.name.count {
        case 4 where ASCII.matches(bytes, field.name, "host"):
            guard head.host == nil else { throw .repeatedHost }
            guard Self.isHost(bytes, field.value) else { throw .malformedHost }
            head.host = field.value
        case 6 where ASCII.matches(bytes, field.name, "expect"):
            if ASCII.matches(bytes, field.value, "100-continue") { head.expectsContinue = true }
        case 7 where ASCII.matches(bytes, field.name, "upgrade"):
            if CommaList.contains(bytes, field.value, "websocket") {
                head.upgradeListsWebSocket = true
            }
        case 10 where ASCII.matches(bytes, field.name, "connection"):
            noteConnection(bytes, field.value)
        case 14 where ASCII.matches(bytes, field.name, "content-length"):
            try noteContentLength(bytes, field.value, &framing)
        case 17 where ASCII.matches(bytes, field.name, "transfer-encoding"):
            framing.hasTransferEncoding = true
        case 17 where ASCII.matches(bytes, field.name, "sec-websocket-key"):
            if head.webSocketKey != nil { head.repeatsWebSocketField = true }
            head.webSocketKey = head.webSocketKey ?? field.value
        case 21 where ASCII.matches(bytes, field.name, "sec-websocket-version"):
            if head.webSocketVersion != nil { head.repeatsWebSocketField = true }
            head.webSocketVersion = head.webSocketVersion ?? field.value
        default:
            break
        }
    }

    private mutating func noteConnection(_ bytes: Span<UInt8>, _ value: Range<Int>) {
        var start = value.lowerBound
        while start < value.upperBound {
            let element = CommaList.element(bytes, start..<value.upperBound)
            start = element.upperBound + 1
            let name = ASCII.trimmed(bytes, element)
            if ASCII.matches(bytes, name, "close") { head.connectionListsClose = true }
            if ASCII.matches(bytes, name, "keep-alive") { head.connectionListsKeepAlive = true }
            if ASCII.matches(bytes, name, "upgrade") { head.connectionListsUpgrade = true }
        }
    }

    /// Digits only (RFC 9110 §8.6): no sign, no list. A number that no UInt64 holds is over any
    /// limit.
    private func noteContentLength(
        _ bytes: Span<UInt8>, _ value: Range<Int>, _ framing: inout Framing
    ) throws(RequestError) {
        guard !value.isEmpty else { throw .malformedContentLength }
        var number: UInt64 = 0
        var isOverflow = false
        for index in value {
            guard ASCII.isDigit(bytes[index]) else { throw .malformedContentLength }
            let (product, overflow) = number.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(bytes[index] - 0x30))
            isOverflow = isOverflow || overflow || carry
            number = sum
        }
        if isOverflow { number = .max }
        if let earlier = framing.contentLength, earlier != number {
            throw .conflictingContentLength
        }
        framing.contentLength = number
    }

    /// Draws the conclusions from the whole head.
    private mutating func finish(_ framing: Framing) throws(RequestError) {
        if framing.hasTransferEncoding {
            // Two answers to where the body ends: the classic way to smuggle a request
            // (RFC 9112 §6.3).
            throw framing.contentLength == nil ? .transferEncoding : .lengthAndTransferEncoding
        }
        if let length = framing.contentLength {
            guard length <= UInt64(limits.bodyBytes) else { throw .bodyTooLarge }
            head.contentLength = Int(length)
        }
        if head.minorVersion == 0 {
            head.expectsContinue = false
        } else if head.host == nil {
            throw .missingHost
        }
    }

    /// The characters of `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2); may be empty.
    /// Of the ones a name could have by grammar, `,` `;` `=` `(` `)` are refused: a comma means two
    /// Host lines that something merged.
    private static func isHost(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for index in range {
            let byte = bytes[index]
            let isAllowed =
                ASCII.isToken(byte) && byte != UInt8(ascii: "#") && byte != UInt8(ascii: "^")
                && byte != UInt8(ascii: "`") && byte != UInt8(ascii: "|")
                || byte == UInt8(ascii: ":") || byte == UInt8(ascii: "[")
                || byte == UInt8(ascii: "]")
            guard isAllowed else { return false }
        }
        return true
    }
}

// MARK: - The request line

extension RequestParser {
    /// `method SP target SP HTTP/1.x` (RFC 9112 §3), with exactly one space each.
    private mutating func parseRequestLine(
        _ bytes: Span<UInt8>, _ line: Range<Int>
    ) throws(RequestError) {
        let methodEnd = Self.index(of: ASCII.space, bytes, line)
        guard methodEnd > line.lowerBound && methodEnd < line.upperBound else {
            throw .malformedRequestLine
        }
        for index in line.lowerBound..<methodEnd where !ASCII.isToken(bytes[index]) {
            throw .malformedRequestLine
        }
        let targetStart = methodEnd + 1
        let targetEnd = Self.index(of: ASCII.space, bytes, targetStart..<line.upperBound)
        guard targetEnd < line.upperBound else { throw .malformedRequestLine }
        let minor = try Self.version(bytes, targetEnd + 1..<line.upperBound)
        guard let method = Self.method(bytes, line.lowerBound..<methodEnd) else {
            throw .unknownMethod
        }
        head.method = method
        head.minorVersion = minor
        try parseTarget(bytes, targetStart..<targetEnd)
    }

    /// The origin form, or the asterisk form of OPTIONS (RFC 9112 §3.2.1, §3.2.4). The forms for
    /// proxies are refused.
    private mutating func parseTarget(
        _ bytes: Span<UInt8>, _ target: Range<Int>
    ) throws(RequestError) {
        guard target.count <= limits.targetBytes else { throw .targetTooLong }
        guard let first = target.first else { throw .malformedTarget }
        let isAsterisk =
            bytes[first] == UInt8(ascii: "*") && target.count == 1 && head.method == .options
        guard isAsterisk || bytes[first] == UInt8(ascii: "/") else { throw .malformedTarget }
        var question: Int?
        for index in target {
            let byte = bytes[index]
            // The space ended the target, so 21–7E is what is left of printable ASCII. A fragment
            // is the browser's own business (RFC 3986 §3.5).
            guard byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "#") else {
                throw .malformedTarget
            }
            if question == nil && byte == UInt8(ascii: "?") { question = index }
        }
        head.target = target
        head.path = target.lowerBound..<(question ?? target.upperBound)
        head.query = question.map { ($0 + 1)..<target.upperBound }
    }

    /// The minor version. `HTTP/` and two digits with a dot are a version, known or not.
    private static func version(
        _ bytes: Span<UInt8>, _ range: Range<Int>
    ) throws(RequestError) -> UInt8 {
        let start = range.lowerBound
        guard range.count == 8, ASCII.matches(bytes, start..<(start + 5), "http/"),
            bytes[start] == UInt8(ascii: "H"), bytes[start + 1] == UInt8(ascii: "T"),
            bytes[start + 2] == UInt8(ascii: "T"), bytes[start + 3] == UInt8(ascii: "P"),
            ASCII.isDigit(bytes[start + 5]), bytes[start + 6] == UInt8(ascii: "."),
            ASCII.isDigit(bytes[start + 7])
        else { throw .malformedRequestLine }
        let minor = bytes[start + 7] - 0x30
        guard bytes[start + 5] == UInt8(ascii: "1"), minor <= 1 else { throw .unsupportedVersion }
        return minor
    }

    private static func method(_ bytes: Span<UInt8>, _ range: Range<Int>) -> HTTPMethod? {
        var word: UInt64 = 0
        guard range.count <= 7 else { return nil }
        for index in range { word = word << 8 | UInt64(bytes[index]) }
        switch word {
        case 0x47_4554: return .get
        case 0x4845_4144: return .head
        case 0x504F_5354: return .post
        case 0x50_5554: return .put
        case 0x50_4154_4348: return .patch
        case 0x4445_4C45_5445: return .delete
        case 0x4F_5054_494F_4E53: return .options
        default: return nil
        }
    }

    /// The index of the first `byte` in `range`, or its end.
    private static func index(
        of byte: UInt8, _ bytes: Span<UInt8>, _ range: Range<Int>
    ) -> Int {
        var index = range.lowerBound
        while index < range.upperBound && bytes[index] != byte { index &+= 1 }
        return index
    }
}
