/// What the HTTP head says about an upgrade, as plain values: this module does not know how a head
/// is parsed.
public struct HandshakeFacts: Sendable {
    /// The method is GET.
    public var isGET: Bool
    /// The version is HTTP/1.1.
    public var isHTTP11: Bool
    /// `Upgrade` lists `websocket`, in any case of letters.
    public var upgradeListsWebSocket: Bool
    /// `Connection` lists `upgrade`, in any case of letters.
    public var connectionListsUpgrade: Bool
    /// The value of `Sec-WebSocket-Key` in the request's bytes; nil when absent.
    public var key: Range<Int>?
    /// The value of `Sec-WebSocket-Version`; nil when absent.
    public var version: Range<Int>?
    /// One of these two fields comes more than once.
    public var hasRepeatedField: Bool

    public init(
        isGET: Bool, isHTTP11: Bool, upgradeListsWebSocket: Bool, connectionListsUpgrade: Bool,
        key: Range<Int>?, version: Range<Int>?, hasRepeatedField: Bool = false
    ) {
        self.isGET = isGET
        self.isHTTP11 = isHTTP11
        self.upgradeListsWebSocket = upgradeListsWebSocket
        self.connectionListsUpgrade = connectionListsUpgrade
        self.key = key
        self.version = version
        self.hasRepeatedField = hasRepeatedField
    }
}

/// Why a handshake is refused (RFC 6455 §4.2.1).
public enum HandshakeRefusal: UInt8, Error, Sendable, CaseIterable {
    case notGET
    case notHTTP11
    case noUpgrade
    case noConnectionUpgrade
    case repeatedField
    case unsupportedVersion
    case invalidKey

    /// The status of the answer. A 426 must carry the fields of `Handshake.refusalFields`.
    public var status: UInt16 {
        switch self {
        case .noUpgrade, .unsupportedVersion: 426
        default: 400
        }
    }

    /// What the reader of the answer should do.
    public var text: StaticString {
        switch self {
        case .notGET: "open a WebSocket with GET"
        case .notHTTP11: "open a WebSocket with HTTP/1.1"
        case .noUpgrade: "this address speaks WebSocket; send Upgrade: websocket"
        case .noConnectionUpgrade: "send Connection: Upgrade; a proxy may have removed it"
        case .repeatedField: "send Sec-WebSocket-Key and Sec-WebSocket-Version once"
        case .unsupportedVersion: "send Sec-WebSocket-Version: 13"
        case .invalidKey: "Sec-WebSocket-Key must be 16 bytes in base64 (24 characters)"
        }
    }
}

/// The server's side of the opening handshake (RFC 6455 §4.2).
public enum Handshake {
    /// Bytes of a `Sec-WebSocket-Key`: 16 bytes in base64.
    public static let keyLength = 24

    /// The fields, names and values, that an answer with status 426 adds (RFC 6455 §4.4,
    /// RFC 9110 §15.5.22).
    public static let refusalFields: [(name: StaticString, value: StaticString)] = [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
    ]

    /// Judges an upgrade request.
    ///
    /// - Parameter bytes: the request head that the ranges of `facts` point into.
    /// - Returns: the 28 bytes for `Sec-WebSocket-Accept`, or why not.
    public static func accept(
        _ facts: HandshakeFacts, in bytes: Span<UInt8>
    ) -> Result<[UInt8], HandshakeRefusal> {
        guard facts.isGET else { return .failure(.notGET) }
        guard facts.isHTTP11 else { return .failure(.notHTTP11) }
        guard facts.upgradeListsWebSocket else { return .failure(.noUpgrade) }
        guard facts.connectionListsUpgrade else { return .failure(.noConnectionUpgrade) }
        guard !facts.hasRepeatedField else { return .failure(.repeatedField) }
        guard let version = facts.version, version.count == 2,
            bytes[version.lowerBound] == UInt8(ascii: "1"),
            bytes[version.lowerBound + 1] == UInt8(ascii: "3")
        else { return .failure(.unsupportedVersion) }
        guard let key = facts.key, isKey(bytes.extracting(key)) else {
            return .failure(.invalidKey)
        }
        return .success(acceptKey(for: bytes.extracting(key)))
    }

    /// Base64 of the SHA-1 of the key and the protocol's own id (RFC 6455 §4.2.2).
    ///
    /// - Parameter key: `keyLength` bytes.
    public static func acceptKey(for key: Span<UInt8>) -> [UInt8] {
        precondition(key.count == keyLength, "isKey has looked at it")
        let id: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        var text = InlineArray<60, UInt8>(repeating: 0)
        for index in 0..<keyLength { text[index] = key[index] }
        // The id's 36 bytes live as long as the program.
        for index in 0..<36 { text[keyLength + index] = unsafe id.utf8Start[index] }
        let digest = SHA1.digest(text.span)
        let bytes = InlineArray<20, UInt8> { index in
            UInt8(truncatingIfNeeded: digest[index / 4] >> UInt32(24 - index % 4 * 8))
        }
        return Base64.encode(bytes.span)
    }

    /// Whether `key` is base64 of 16 bytes. The four bits that the last digit has to spare may be
    /// anything, as in other servers: some clients fill them with random ones.
    static func isKey(_ key: Span<UInt8>) -> Bool {
        guard key.count == keyLength else { return false }
        for index in 0..<22 where Base64.digit(of: key[index]) == nil { return false }
        return key[22] == UInt8(ascii: "=") && key[23] == UInt8(ascii: "=")
    }

    /// Appends the whole 101 answer (RFC 6455 §4.2.2).
    ///
    /// - Parameters:
    ///   - accept: from `accept(_:in:)`.
    ///   - subprotocol: the one chosen from the client's list; nil leaves the field out.
    ///   - extensions: the value of `Sec-WebSocket-Extensions`; nil leaves the field out.
    public static func appendAnswer(
        accept: [UInt8], subprotocol: String? = nil, extensions: String? = nil,
        into output: inout [UInt8]
    ) {
        output.append(
            contentsOf: """
                HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Accept:\u{20}
                """.utf8)
        output.append(contentsOf: accept)
        appendField("Sec-WebSocket-Protocol: ", subprotocol, into: &output)
        appendField("Sec-WebSocket-Extensions: ", extensions, into: &output)
        output.append(contentsOf: "\r\n\r\n".utf8)
    }

    private static func appendField(_ name: String, _ value: String?, into output: inout [UInt8]) {
        guard let value else { return }
        precondition(isFieldValue(value), "a header value of the server's own choice is clean")
        output.append(contentsOf: "\r\n".utf8)
        output.append(contentsOf: name.utf8)
        output.append(contentsOf: value.utf8)
    }

    /// Printable ASCII and spaces: nothing that could end the line.
    static func isFieldValue(_ value: String) -> Bool {
        value.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
    }
}
