/// The client's side of the opening handshake (RFC 6455 §4.1), for tests, load generators and
/// terminal clients.
public struct ClientHandshake: Sendable {
    /// What a server's answer is.
    public enum Answer: Sendable, Equatable {
        /// The head is not complete yet.
        case needMore
        /// The connection is a WebSocket; frames begin at `length`.
        case accepted(length: Int, subprotocol: String?, extensions: String?)
        /// An answer with another status. `length` is where its body begins.
        case refused(status: Int, length: Int)
        /// Not a valid answer to this request, and why.
        case invalid(String)
    }

    /// The most bytes of an answer's head.
    public static let longestHead = 16_384

    /// The value of `Sec-WebSocket-Key`.
    public let key: [UInt8]
    private let request: [UInt8]
    private let subprotocols: [String]
    private let offersExtensions: Bool

    /// - Parameters:
    ///   - host: the value of `Host`, with the port when it is not the scheme's.
    ///   - target: path and query, beginning with `/`.
    ///   - nonce: 16 random bytes.
    ///   - subprotocols: in the order of preference.
    ///   - fields: other fields such as `Origin`, `Authorization` or `Sec-WebSocket-Extensions`.
    ///     Values hold printable ASCII only: anything else is a programmer error here.
    public init(
        host: String, target: String = "/", nonce: [UInt8], subprotocols: [String] = [],
        fields: [(name: String, value: String)] = []
    ) {
        precondition(nonce.count == 16, "the nonce has 16 bytes")
        precondition(target.utf8.first == UInt8(ascii: "/") && !target.utf8.contains(0x20))
        key = Base64.encode(nonce.span)
        var lines = [
            "GET \(target) HTTP/1.1", "Host: \(host)", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Key: \(String(decoding: key, as: UTF8.self))",
            "Sec-WebSocket-Version: 13",
        ]
        if !subprotocols.isEmpty {
            lines.append("Sec-WebSocket-Protocol: " + subprotocols.joined(separator: ", "))
        }
        lines += fields.map { "\($0.name): \($0.value)" }
        precondition(lines.allSatisfy(Handshake.isFieldValue), "a request line is printable ASCII")
        request = Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
        self.subprotocols = subprotocols
        offersExtensions = fields.contains {
            $0.name.lowercased() == "sec-websocket-extensions"
        }
    }

    /// The request head.
    public func requestBytes() -> [UInt8] { request }

    /// Judges what the server has sent so far (RFC 6455 §4.1, "validate the server's response").
    public func check(_ bytes: Span<UInt8>) -> Answer {
        guard let length = Self.headLength(bytes) else {
            return bytes.count < Self.longestHead ? .needMore : .invalid("the head has no end")
        }
        guard length <= Self.longestHead else { return .invalid("the head is too long") }
        let text = unsafe bytes.extracting(0..<(length - 4)).withUnsafeBufferPointer {
            unsafe String(decoding: $0, as: UTF8.self)
        }
        // "\r\n" is one Character, so this splits at line ends.
        let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        let status = lines[0].split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard status.count >= 2, status[0] == "HTTP/1.1", status[1].utf8.count == 3,
            let code = Int(status[1])
        else { return .invalid("no HTTP/1.1 status line") }
        guard code == 101 else { return .refused(status: code, length: length) }

        var values: [String: [String]] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else {
                return .invalid("a header line has no colon")
            }
            let name = line[..<colon].lowercased()
            values[name, default: []].append(Self.trimmed(line[line.index(after: colon)...]))
        }
        return judge(values, length)
    }

    private func judge(_ values: [String: [String]], _ length: Int) -> Answer {
        guard Self.list(values["upgrade"]) == ["websocket"] else {
            return .invalid("Upgrade is not websocket")
        }
        guard Self.list(values["connection"]).contains("upgrade") else {
            return .invalid("Connection does not list upgrade")
        }
        let expected = String(decoding: Handshake.acceptKey(for: key.span), as: UTF8.self)
        guard values["sec-websocket-accept"] == [expected] else {
            return .invalid("Sec-WebSocket-Accept does not belong to the key")
        }
        let chosen = values["sec-websocket-protocol"] ?? []
        guard chosen.count <= 1, chosen.allSatisfy(subprotocols.contains) else {
            return .invalid("the server chose a subprotocol that was not offered")
        }
        let extensions = values["sec-websocket-extensions"] ?? []
        guard extensions.isEmpty || offersExtensions else {
            return .invalid("the server chose an extension that was not offered")
        }
        return .accepted(
            length: length, subprotocol: chosen.first,
            extensions: extensions.isEmpty ? nil : extensions.joined(separator: ", "))
    }

    /// Bytes of the head with its empty line, or nil when that has not come.
    private static func headLength(_ bytes: Span<UInt8>) -> Int? {
        var state = 0
        for index in 0..<min(bytes.count, longestHead) {
            let expected = state & 1 == 0 ? UInt8(ascii: "\r") : UInt8(ascii: "\n")
            if bytes[index] == expected {
                state += 1
                if state == 4 { return index + 1 }
            } else {
                state = bytes[index] == UInt8(ascii: "\r") ? 1 : 0
            }
        }
        return nil
    }

    /// The lower-case elements of comma lists.
    private static func list(_ values: [String]?) -> [String] {
        (values ?? []).flatMap { $0.split(separator: ",").map { trimmed($0).lowercased() } }
    }

    private static func trimmed(_ text: Substring) -> String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        guard let first = text.firstIndex(where: { !isSpace($0) }),
            let last = text.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(text[first...last])
    }
}
