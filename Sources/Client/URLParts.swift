/// The parts of `ws://host:port/path` or `http://…` that a client needs. The two schemes mean the
/// same server here, so that one address serves the socket and the HTTP API.
package struct URLParts: Hashable, Sendable {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    package var host: String
    package var port: UInt16
    /// Path and query, beginning with `/`; `/` where there was none.
    package var target: String

    package init(host: String, port: UInt16, target: String = "/") {
        self.host = host
        self.port = port
        self.target = target
    }

    /// - Throws: `.badURL`, which says what to write instead.
    package init(_ text: String) throws(ClientError) {
        let rest: Substring
        switch Self.scheme(of: text) {
        case ("ws", let after)?, ("http", let after)?:
            rest = after
        case ("wss", _)?, ("https", _)?:
            throw .badURL(
                "TLS is not supported by this client yet; use ws:// behind a tunnel that ends TLS, "
                    + "such as ssh -L or stunnel")
        case (let scheme, _)?:
            throw .badURL("the scheme \(scheme):// is unknown; use ws://host:port")
        case nil:
            throw .badURL("an address needs its scheme, such as ws://127.0.0.1:3001")
        }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
        let authority = rest[..<end]
        guard !authority.contains("@") else {
            throw .badURL("an address here has no user name; pass the token on its own")
        }
        (host, port) = try Self.hostAndPort(authority)
        let path = rest[end...]
        guard !path.contains("#") else {
            throw .badURL("an address has no fragment (#…)")  // RFC 6455 §3
        }
        target = path.hasPrefix("/") ? String(path) : "/" + path
        guard target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .badURL("the path holds characters that must be percent-encoded")
        }
    }

    /// The value of `Host`: with brackets around IPv6, with the port unless it is 80.
    package var hostField: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == 80 ? name : "\(name):\(port)"
    }

    /// The same server at another path.
    package func at(_ target: String) -> URLParts {
        URLParts(host: host, port: port, target: target)
    }

    /// Where the plain-JSON face is: the path that was given, else `/ws`.
    package var socket: URLParts { target == "/" ? at("/ws") : self }

    /// `text` as one segment of a path: everything but unreserved characters is percent-encoded
    /// (RFC 3986 §2.3), so that no id can leave its segment.
    package static func encodeSegment(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                bytes.append(byte)
            default:
                // The dot too: "." and ".." would be resolved away (RFC 3986 §5.2.4).
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func scheme(of text: String) -> (String, Substring)? {
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else {
            return nil
        }
        return (text[..<colon].lowercased(), text[text.index(colon, offsetBy: 3)...])
    }

    private static func hostAndPort(
        _ authority: Substring
    ) throws(ClientError) -> (String, UInt16) {
        var host = authority
        var portText: Substring?
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else {
                throw .badURL("an IPv6 address stands in brackets: ws://[::1]:3001")
            }
            host = authority[authority.index(after: authority.startIndex)..<close]
            let after = authority[authority.index(after: close)...]
            guard after.isEmpty || after.hasPrefix(":") else {
                throw .badURL("after the bracket of an IPv6 address comes :port")
            }
            if !after.isEmpty { portText = after.dropFirst() }
            guard host.contains(":") else {
                throw .badURL("only an IPv6 address stands in brackets")
            }
        } else if let colon = authority.firstIndex(of: ":") {
            host = authority[..<colon]
            portText = authority[authority.index(after: colon)...]
            guard portText?.contains(":") != true else {
                throw .badURL("an IPv6 address stands in brackets: ws://[::1]:3001")
            }
        }
        guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .badURL("the address has no host; use ws://host:port")
        }
        guard let portText else { return (String(host), 80) }
        guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let port = UInt16(portText), port > 0
        else {
            throw .badURL("the port is a number within 1...65535")
        }
        return (String(host), port)
    }
}
