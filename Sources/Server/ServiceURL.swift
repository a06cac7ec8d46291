/// Addresses of the services that a node needs, as URLs: put together from the parts that existing
/// deployments set, and masked where they are shown.
package enum ServiceURL {
    /// `scheme://[user[:password]@]host[:port][/path]`, each part percent-encoded.
    package static func make(
        scheme: String, host: String, port: String?, user: String?, password: String?,
        path: String?
    ) -> String {
        var url = scheme + "://"
        if user != nil || password != nil {
            url += encoded(user ?? "")
            if let password { url += ":" + encoded(password) }
            url += "@"
        }
        url += host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
        if let port { url += ":" + port }
        if let path { url += "/" + encoded(path) }
        return url
    }

    /// All but unreserved characters as %XX (RFC 3986 §2.3).
    private static func encoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF")
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                result.append("%")
                result.append(digits[Int(byte >> 4)])
                result.append(digits[Int(byte & 15)])
            }
        }
        return result
    }

    /// The same with the password, and everything that parameters might hide, as asterisks.
    package static func masked(_ url: String) -> String {
        guard let scheme = url.firstRange(of: "://") else { return "********" }
        let rest = url[scheme.upperBound...]
        let authorityEnd = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        var authority = String(rest[..<authorityEnd])
        // The last one: an unencoded @ in a password is the user's mistake, not ours to show.
        if let at = authority.lastIndex(of: "@") {
            let user = authority[..<at].prefix { $0 != ":" }
            let hasPassword = authority[..<at].contains(":")
            authority =
                String(user) + (hasPassword ? ":********" : "") + String(authority[at...])
        }
        let path = rest[authorityEnd...]
        let parameters = path.firstIndex(of: "?").map { _ in "?********" } ?? ""
        return url[..<scheme.upperBound] + authority + String(path.prefix { $0 != "?" })
            + parameters
    }

    /// Host, port and path: what a log line may say.
    package static func place(_ url: String) -> String {
        let masked = masked(url)
        guard let scheme = masked.firstRange(of: "://") else { return masked }
        let rest = masked[scheme.upperBound...]
        let host = rest.lastIndex(of: "@").map { rest[rest.index(after: $0)...] } ?? rest
        return String(host.prefix { $0 != "?" })
    }
}
