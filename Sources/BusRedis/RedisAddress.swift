import Basics

/// A password that is not printed, whoever prints what it is in (P18).
package struct RedisPassword: Hashable, Sendable, CustomStringConvertible,
    CustomDebugStringConvertible, CustomReflectable
{
    let text: String

    package init(_ text: String) { self.text = text }

    package var description: String { "hidden" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Where Redis is, and how to get in.
package struct RedisAddress: Hashable, Sendable, CustomStringConvertible {
    /// Why a text names no Redis: nothing of the text is in it, which may hold a password.
    package struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        package let description: String

        init(_ description: String) { self.description = description }
    }

    package static let defaultPort: UInt16 = 6_379

    /// A name, an IPv4 address, or an IPv6 address without brackets.
    package var host: String
    package var port: UInt16
    /// Over TLS.
    package var isSecure: Bool
    /// nil for Redis's default user.
    package var user: String?
    package var password: RedisPassword?
    package var database: Int
    /// A PEM file of the authorities to trust instead of the system's; for TLS.
    package var authorities: String?

    /// From `REDIS_HOST` and its like.
    package init(
        host: String, port: String? = nil, password: String? = nil, isSecure: Bool = false
    ) throws(Problem) {
        self.host = try Self.host(host)
        self.port = try Self.port(port)
        self.isSecure = isSecure
        self.password = password.flatMap { $0.isEmpty ? nil : RedisPassword($0) }
        database = 0
    }

    /// From `redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS. User and
    /// password may be percent-encoded, and must be where they hold one of `@ : / ? # %`.
    package init(url: String) throws(Problem) {
        let rest: Substring
        if url.hasPrefix("redis://") {
            rest = url.dropFirst("redis://".count)
            isSecure = false
        } else if url.hasPrefix("rediss://") {
            rest = url.dropFirst("rediss://".count)
            isSecure = true
        } else {
            throw Problem("a Redis URL begins with redis:// or rediss://")
        }
        guard !rest.contains(where: { "?# ".contains($0) || $0.isNewline }) else {
            throw Problem(
                "a Redis URL is redis://[user[:password]@]host[:port][/database], without spaces,"
                    + " ? and #; write %3F for a ? and %23 for a # in a password")
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var authority = rest[..<slash]
        if let at = authority.lastIndex(of: "@") {
            (user, password) = try Self.credentials(authority[..<at])
            authority = authority[authority.index(after: at)...]
        }
        (host, port) = try Self.hostAndPort(authority)
        database = try Self.database(rest[slash...].dropFirst())
    }

    /// Without user and password.
    package var description: String {
        let host = host.contains(":") ? "[\(host)]" : host
        return "\(isSecure ? "rediss" : "redis")://\(host):\(port)/\(database)"
    }

    // MARK: Parts

    private static func credentials(
        _ text: Substring
    ) throws(Problem) -> (String?, RedisPassword?) {
        guard let colon = text.firstIndex(of: ":") else {
            throw Problem(
                "the Redis URL has a user and no password: it is user:password@, or :password@")
        }
        guard let user = decoded(text[..<colon]),
            let password = decoded(text[text.index(after: colon)...])
        else {
            throw Problem(
                "user or password of the Redis URL has a % that is not followed by two hex digits,"
                    + " or is not UTF-8; write %25 for a %")
        }
        guard !password.isEmpty else {
            throw Problem("the password of the Redis URL is empty; leave out the part before the @")
        }
        return (user.isEmpty ? nil : user, RedisPassword(password))
    }

    private static func hostAndPort(
        _ text: Substring
    ) throws(Problem) -> (String, UInt16) {
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else {
                throw Problem("the Redis URL has a [ without its ]")
            }
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else {
                throw Problem("the Redis URL has something behind its ] that is no port")
            }
            return (
                try host(String(text[text.index(after: text.startIndex)..<end])),
                try port(rest.isEmpty ? nil : String(rest.dropFirst()))
            )
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2 else {
            throw Problem("the Redis URL's host has too many colons; write [::1] for IPv6")
        }
        return (try host(String(parts[0])), try port(parts.count == 2 ? String(parts[1]) : nil))
    }

    private static func host(_ text: String) throws(Problem) -> String {
        guard !text.isEmpty else { throw Problem("the Redis host is empty") }
        let isName = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: ":"):
                true
            default: false
            }
        }
        guard isName, text.utf8.count <= 253 else {
            throw Problem("the Redis host is no name or address")
        }
        return text
    }

    private static func port(_ text: String?) throws(Problem) -> UInt16 {
        guard let text, !text.isEmpty else { return defaultPort }
        guard let port = UInt16(text), port > 0 else {
            throw Problem("the Redis port is a number from 1 to 65535")
        }
        return port
    }

    private static func database(_ text: Substring) throws(Problem) -> Int {
        guard !text.isEmpty else { return 0 }
        guard let number = UInt16(text) else {
            throw Problem("what follows the Redis host is the number of a database, such as /0")
        }
        return Int(number)
    }

    /// nil where a percent sign is not followed by two hex digits, or the result is not UTF-8.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexDigit),
                let low = rest.popFirst().flatMap(hexDigit)
            else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
