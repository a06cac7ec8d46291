import Basics
import Domain
import HTTP

/// The routes that are counted, by template: whatever clients ask for, the labels stay these.
package enum HTTPRoute: String, CaseIterable, Sendable {
    case unknown = "unknown"
    case socket = "/ws"
    case health = "/health"
    case live = "/health/live"
    case ready = "/health/ready"
    case metrics = "/metrics"
    case chats = "/api/v1/chats"
    case members = "/api/v1/chats/{chatId}/members"
    case member = "/api/v1/chats/{chatId}/members/{userId}"
    case messages = "/api/v1/chats/{chatId}/messages"
    case engine = "/socket.io/"

    var index: Int { HTTPRoute.allCases.firstIndex(of: self) ?? 0 }
}

/// What an answer needs to know of its request, which may come long after the bytes are gone.
struct HTTPRequest {
    var route = HTTPRoute.unknown
    var method: HTTPMethod
    var keepsAlive: Bool
    var isHead: Bool
    /// The decoded segments of the path; nil where one cannot be decoded.
    var path: [String]?
    /// The value of Origin, where there is one that is allowed.
    var origin: String?
    /// A browser may come with credentials, of which none are read.
    var allowsCredentials = false
    /// For 405: what is allowed instead.
    var allow: StaticString?
    var began = Instant.start

    init(head: RequestHead, bytes: Span<UInt8>) {
        method = head.method
        keepsAlive = head.keepAlive
        isHead = head.method == .head
        path = Self.segments(bytes, head.path)
        origin = head.value(of: "origin", in: bytes).map { Self.text(bytes, $0) }
    }

    private static func segments(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [String]? {
        var segments: [String] = []
        var start = range.lowerBound
        // The path begins with a slash, or is "*".
        if start < range.upperBound, bytes[start] == UInt8(ascii: "/") { start += 1 }
        var index = start
        while index <= range.upperBound {
            if index == range.upperBound || bytes[index] == UInt8(ascii: "/") {
                guard let segment = PercentDecoding.segment(bytes, start..<index) else {
                    return nil
                }
                segments.append(segment)
                start = index + 1
            }
            index += 1
        }
        // One slash at the end is no further segment.
        if segments.last == "" { segments.removeLast() }
        return segments
    }

    static func text(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String {
        unsafe bytes.extracting(range).withUnsafeBufferPointer {
            unsafe String(decoding: $0, as: UTF8.self)
        }
    }
}

/// What a handshake says about who is there.
struct Credentials {
    /// From `Authorization: Bearer`.
    var header: String?
    /// From the subprotocol `bearer.<token>`, or (discouraged) from the query.
    private var other: String?
    var device: String?
    /// The client offers the subprotocol `martlet.v1`.
    var offersV1 = false

    var token: String? { header ?? other }

    init(_ head: RequestHead, _ bytes: Span<UInt8>) {
        header = Self.bearer(head, bytes)
        var cursor = RequestHead.ListCursor()
        while let element = head.nextElement(
            of: "sec-websocket-protocol", after: &cursor, in: bytes)
        {
            let text = HTTPRequest.text(bytes, element)
            if text == "martlet.v1" {
                offersV1 = true
            } else if text.hasPrefix("bearer."), other == nil {
                other = String(text.dropFirst(7))
            }
        }
        if other == nil,
            case .value(let token) = QueryString.value(of: "token", in: bytes, query: head.query)
        {
            other = token
        }
        if case .value(let id) = QueryString.value(of: "deviceId", in: bytes, query: head.query) {
            device = id
        }
    }

    /// The token of `Authorization: Bearer <token>`; nil where there is no such header. Another
    /// scheme reads as an empty token, which is refused as invalid.
    static func bearer(_ head: RequestHead, _ bytes: Span<UInt8>) -> String? {
        guard let range = head.value(of: "authorization", in: bytes) else { return nil }
        let value = HTTPRequest.text(bytes, range)
        guard value.utf8.count > 7, value.prefix(7).lowercased() == "bearer " else { return "" }
        return String(value.dropFirst(7))
    }
}

/// An HTTP request that waits for the store.
enum HTTPWork {
    case createChat(HTTPRequest, members: [UserID])
    case listChats(HTTPRequest)
    case listMembers(HTTPRequest)
    case changeMembers(HTTPRequest)
    case history(HTTPRequest)

    var request: HTTPRequest {
        switch self {
        case .createChat(let request, _), .listChats(let request), .listMembers(let request),
            .changeMembers(let request), .history(let request):
            request
        }
    }
}
