import Basics
import Wire

/// Makes HS256 tokens that `TokenVerifier` accepts: for development, for tests, and for the small
/// deployment that has no identity provider.
package struct TokenMinter: Sendable {
    private let secret: Secret

    package init(secret: Secret) { self.secret = secret }

    /// - Parameters:
    ///   - user: becomes `sub`; 1–128 UTF-8 bytes without control characters.
    ///   - lifetimeSeconds: from `now` to `exp`, at least 1.
    ///   - nowMilliseconds: becomes `iat`; from 1970 on.
    /// - Throws: which argument `TokenVerifier` would refuse.
    package func mint(
        user: String, deviceId: String? = nil, email: String? = nil, role: String? = nil,
        permissions: [String] = [], lifetimeSeconds: Int64, nowMilliseconds: Int64
    ) throws(TokenMintError) -> String {
        guard Self.isText(user, 1...128) else { throw .badUser }
        guard deviceId.map({ Self.isText($0, 1...128) }) ?? true else { throw .badDevice }
        guard email.map({ Self.isText($0, 0...320) }) ?? true else { throw .badEmail }
        guard role.map({ Self.isText($0, 0...128) }) ?? true else { throw .badRole }
        guard permissions.count <= TokenVerifier.maximumPermissions,
            permissions.allSatisfy({ Self.isText($0, 1...128) })
        else { throw .badPermissions }
        let issuedAt = nowMilliseconds / 1_000
        let (expiresAt, overflow) = issuedAt.addingReportingOverflow(lifetimeSeconds)
        guard nowMilliseconds >= 0, lifetimeSeconds >= 1, !overflow, expiresAt <= 253_402_300_799
        else { throw .badLifetime }

        var payload = JSONWriter(capacity: 256)
        payload.beginObject()
        payload.key("sub")
        payload.string(user)
        if let deviceId {
            payload.key("deviceId")
            payload.string(deviceId)
        }
        if let email {
            payload.key("email")
            payload.string(email)
        }
        if let role {
            payload.key("role")
            payload.string(role)
        }
        if !permissions.isEmpty {
            payload.key("permissions")
            payload.beginArray()
            for permission in permissions { payload.string(permission) }
            payload.endArray()
        }
        payload.key("iat")
        payload.integer(issuedAt)
        payload.key("exp")
        payload.integer(expiresAt)
        payload.endObject()

        // {"alg":"HS256","typ":"JWT"}
        var token = Array("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.".utf8)
        Base64URL.encode(payload.bytes.span, to: &token)
        let code = secret.authenticationCode(for: token.span)
        token.append(UInt8(ascii: "."))
        Base64URL.encode(code.span, to: &token)
        guard token.count <= TokenVerifier.maximumTokenCount else { throw .tooLong }
        return String(decoding: token, as: UTF8.self)
    }

    private static func isText(_ text: String, _ count: ClosedRange<Int>) -> Bool {
        count.contains(text.utf8.count)
            && !text.unicodeScalars.contains { $0.properties.generalCategory == .control }
    }
}

/// Which argument cannot stand in a token.
package enum TokenMintError: Error, Equatable, Sendable {
    case badUser
    case badDevice
    case badEmail
    case badRole
    case badPermissions
    case badLifetime
    case tooLong

    package var text: StaticString {
        switch self {
        case .badUser: "the user must be a text of 1 to 128 bytes without control characters"
        case .badDevice: "the device must be a text of 1 to 128 bytes without control characters"
        case .badEmail: "the e-mail must be at most 320 bytes without control characters"
        case .badRole: "the role must be at most 128 bytes without control characters"
        case .badPermissions: "there may be 64 permissions of 1 to 128 bytes"
        case .badLifetime: "the lifetime must be at least 1 s and end before the year 10000"
        case .tooLong: "the token would be longer than 8192 bytes; name fewer permissions"
        }
    }
}
