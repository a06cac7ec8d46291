/// Why a request head is refused. Each one ends the connection after its answer: the bytes that
/// follow cannot be trusted to begin a request. Peers cause these in normal traffic, so they are
/// values, never traps.
public enum RequestError: UInt8, Error, Sendable, CaseIterable {
    case malformedRequestLine
    case malformedTarget
    case bareLineEnding
    case controlCharacter
    case foldedHeader
    case malformedHeaderName
    case missingHost
    case repeatedHost
    case malformedHost
    case malformedContentLength
    case conflictingContentLength
    case lengthAndTransferEncoding
    case bodyTooLarge
    case targetTooLong
    case headTooLarge
    case tooManyHeaders
    case transferEncoding
    case unknownMethod
    case unsupportedVersion

    /// The status of the answer.
    public var status: UInt16 {
        switch self {
        case .malformedRequestLine, .malformedTarget, .bareLineEnding, .controlCharacter,
            .foldedHeader, .malformedHeaderName, .missingHost, .repeatedHost, .malformedHost,
            .malformedContentLength, .conflictingContentLength, .lengthAndTransferEncoding:
            400
        case .bodyTooLarge: 413
        case .targetTooLong: 414
        case .headTooLarge, .tooManyHeaders: 431
        case .transferEncoding, .unknownMethod: 501
        case .unsupportedVersion: 505
        }
    }

    /// What the reader of the answer should do, in one line. Stable, and without a byte of the
    /// request.
    public var text: StaticString {
        switch self {
        case .malformedRequestLine: "send the request line as METHOD SP /path SP HTTP/1.1"
        case .malformedTarget: "send the target as a path that begins with / in printable ASCII"
        case .bareLineEnding: "end each line with CR LF"
        case .controlCharacter: "send no control characters in the request head"
        case .foldedHeader: "send each header on one line"
        case .malformedHeaderName: "send each header as name, colon, value; no space in the name"
        case .missingHost: "send a Host header"
        case .repeatedHost: "send one Host header only"
        case .malformedHost: "send Host as a name or address with an optional port"
        case .malformedContentLength: "send Content-Length as digits only"
        case .conflictingContentLength: "send one Content-Length only"
        case .lengthAndTransferEncoding: "send Content-Length without Transfer-Encoding"
        case .bodyTooLarge: "send a smaller body"
        case .targetTooLong: "send a shorter path and query"
        case .headTooLarge: "send fewer or shorter headers"
        case .tooManyHeaders: "send fewer headers"
        case .transferEncoding: "send the body with Content-Length instead of Transfer-Encoding"
        case .unknownMethod: "use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"
        case .unsupportedVersion: "use HTTP/1.1"
        }
    }
}

/// How big a request may be.
public struct RequestLimits: Hashable, Sendable {
    /// Bytes of the head, from the request line to the empty line; 16 KiB.
    public var headBytes: Int
    /// Header lines; 64.
    public var headers: Int
    /// Bytes of path and query; 8 KiB.
    public var targetBytes: Int
    /// Bytes of the body, as announced by Content-Length; 1 MB (10^6).
    public var bodyBytes: Int

    public init(
        headBytes: Int = 16_384, headers: Int = 64, targetBytes: Int = 8_192,
        bodyBytes: Int = 1_000_000
    ) {
        precondition(headBytes >= 32 && headBytes <= 1 << 20, "headBytes out of range")
        precondition(headers >= 1 && targetBytes >= 1 && bodyBytes >= 0)
        self.headBytes = headBytes
        self.headers = headers
        self.targetBytes = targetBytes
        self.bodyBytes = bodyBytes
    }
}
