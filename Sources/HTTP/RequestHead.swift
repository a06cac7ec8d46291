/// The methods that are served; any other is a 501.
public enum HTTPMethod: UInt8, Sendable, CaseIterable {
    case get, head, post, put, patch, delete, options

    /// The method as it stands in a request line. Methods are case-sensitive (RFC 9110 §9.1).
    public var name: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        }
    }
}

/// Where one header's name and value are in the request's bytes. Sixteen bytes each.
public struct HeaderField: Hashable, Sendable {
    private var nameStart: UInt32
    private var nameEnd: UInt32
    private var valueStart: UInt32
    private var valueEnd: UInt32

    init(name: Range<Int>, value: Range<Int>) {
        nameStart = UInt32(name.lowerBound)
        nameEnd = UInt32(name.upperBound)
        valueStart = UInt32(value.lowerBound)
        valueEnd = UInt32(value.upperBound)
    }

    public var name: Range<Int> { Int(nameStart)..<Int(nameEnd) }
    /// Without the white space around it; may be empty.
    public var value: Range<Int> { Int(valueStart)..<Int(valueEnd) }
}

/// A parsed request head: facts, and index ranges into the bytes it was parsed from. It holds no
/// byte of the request, so look-ups take the same bytes again.
public struct RequestHead: Sendable {
    public internal(set) var method: HTTPMethod = .get
    /// 0 or 1: the x of HTTP/1.x.
    public internal(set) var minorVersion: UInt8 = 1
    /// The whole target: path, and query with its question mark.
    public internal(set) var target: Range<Int> = 0..<0
    /// The target up to the question mark, still percent-encoded. It begins with `/`, or is `*`.
    public internal(set) var path: Range<Int> = 0..<0
    /// What follows the question mark, still percent-encoded; nil without a question mark.
    public internal(set) var query: Range<Int>?
    /// In the order of the request.
    public internal(set) var headers: [HeaderField] = []

    /// The value of Host; nil only in HTTP/1.0.
    public internal(set) var host: Range<Int>?
    /// Bytes of body that follow the head; nil when none were announced, which means none.
    public internal(set) var contentLength: Int?
    /// `Connection` lists `close`.
    public internal(set) var connectionListsClose = false
    /// `Connection` lists `keep-alive`.
    public internal(set) var connectionListsKeepAlive = false
    /// `Connection` lists `upgrade`.
    public internal(set) var connectionListsUpgrade = false
    /// `Upgrade` lists `websocket`.
    public internal(set) var upgradeListsWebSocket = false
    /// The value of `Sec-WebSocket-Key`: the first, where it is repeated.
    public internal(set) var webSocketKey: Range<Int>?
    /// The value of `Sec-WebSocket-Version`: the first, where it is repeated.
    public internal(set) var webSocketVersion: Range<Int>?
    /// One of these two came more than once.
    public internal(set) var repeatsWebSocketField = false
    /// `Expect: 100-continue`: the client waits for `100 Continue` before it sends its body
    /// (RFC 9110 §10.1.1). Never in HTTP/1.0.
    public internal(set) var expectsContinue = false

    /// Whether the connection stays open after the answer (RFC 9112 §9.3).
    public var keepAlive: Bool {
        !connectionListsClose && (minorVersion == 1 || connectionListsKeepAlive)
    }

    /// Whether the request asks for a WebSocket; whether it may have one, the handshake decides.
    public var upgradesToWebSocket: Bool { connectionListsUpgrade && upgradeListsWebSocket }

    /// Forgets everything but the storage of the header table.
    mutating func reset() {
        var storage = headers
        headers = []
        storage.removeAll(keepingCapacity: true)
        self = RequestHead()
        headers = storage
    }
}

// MARK: - Look-up

extension RequestHead {
    /// The first value of a header, or nil.
    ///
    /// - Parameters:
    ///   - name: in lower case.
    ///   - bytes: those that the head was parsed from.
    public func value(of name: StaticString, in bytes: Span<UInt8>) -> Range<Int>? {
        for index in headers.indices {
            let field = headers[index]
            if ASCII.matches(bytes, field.name, name) { return field.value }
        }
        return nil
    }

    /// A place in the comma lists of one header; a new one stands before the first element.
    public struct ListCursor: Sendable {
        var header = 0
        /// Where the next element of that header begins; nil before its first.
        var position: Int?

        public init() {}
    }

    /// The next element of a header whose value is a comma list (RFC 9110 §5.6.1), through all the
    /// lines that repeat it, without the white space around it. Empty elements are skipped.
    ///
    ///     var cursor = RequestHead.ListCursor()
    ///     while let element = head.nextElement(of: "x-forwarded-for", after: &cursor, in: bytes)
    ///
    /// - Parameter name: in lower case.
    public func nextElement(
        of name: StaticString, after cursor: inout ListCursor, in bytes: Span<UInt8>
    ) -> Range<Int>? {
        while cursor.header < headers.count {
            let field = headers[cursor.header]
            if cursor.position == nil && !ASCII.matches(bytes, field.name, name) {
                cursor.header += 1
                continue
            }
            let end = field.value.upperBound
            var start = cursor.position ?? field.value.lowerBound
            while start < end {
                let element = CommaList.element(bytes, start..<end)
                start = min(element.upperBound + 1, end)
                let trimmed = ASCII.trimmed(bytes, element)
                if !trimmed.isEmpty {
                    cursor.position = start
                    return trimmed
                }
            }
            cursor.header += 1
            cursor.position = nil
        }
        return nil
    }

    /// Whether a comma list has this element, in any case of letters.
    ///
    /// - Parameters:
    ///   - name: of the header, in lower case.
    ///   - element: in lower case.
    public func list(
        _ name: StaticString, contains element: StaticString, in bytes: Span<UInt8>
    ) -> Bool {
        var cursor = ListCursor()
        while let range = nextElement(of: name, after: &cursor, in: bytes) {
            if ASCII.matches(bytes, range, element) { return true }
        }
        return false
    }
}

/// Values that are comma lists (RFC 9110 §5.6.1).
enum CommaList {
    /// The first element of `range`, untrimmed: up to its first comma, or all of it.
    static func element(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
        var end = range.lowerBound
        while end < range.upperBound && bytes[end] != UInt8(ascii: ",") { end &+= 1 }
        return range.lowerBound..<end
    }

    /// Whether the list in `range` has this element, in any case of letters.
    static func contains(
        _ bytes: Span<UInt8>, _ range: Range<Int>, _ element: StaticString
    ) -> Bool {
        var start = range.lowerBound
        while start < range.upperBound {
            let next = Self.element(bytes, start..<range.upperBound)
            if ASCII.matches(bytes, ASCII.trimmed(bytes, next), element) { return true }
            start = next.upperBound + 1
        }
        return false
    }
}
