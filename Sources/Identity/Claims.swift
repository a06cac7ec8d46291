/// What a verified token says about its bearer.
package struct Claims: Equatable, Sendable {
    /// `userId`, else `sub`: 1–128 UTF-8 bytes without control characters.
    package var userId: String

    /// `deviceId`, by the same rule.
    package var deviceId: String?

    /// `exp` in milliseconds since the epoch. The leeway is not in it.
    package var expiresAtMilliseconds: Int64

    /// `role`, at most 128 bytes without control characters; an empty one counts as absent.
    package var role: String?

    /// `email`, at most 320 bytes (RFC 5321 §4.5.3.1), likewise.
    package var email: String?

    /// `permissions`, at most `TokenVerifier.maximumPermissions`, each an identifier.
    package var permissions: [String]

    package init(
        userId: String, deviceId: String? = nil, expiresAtMilliseconds: Int64,
        role: String? = nil, email: String? = nil, permissions: [String] = []
    ) {
        self.userId = userId
        self.deviceId = deviceId
        self.expiresAtMilliseconds = expiresAtMilliseconds
        self.role = role
        self.email = email
        self.permissions = permissions
    }
}

/// What a token turned out to be.
package enum TokenVerdict: Equatable, Sendable {
    case valid(Claims)

    /// Genuine and well formed, but past `exp` and the leeway.
    case expired(Claims)

    case invalid(TokenRejection)
}

/// Why a token is refused. The texts tell an operator or developer what to mend, hold nothing of
/// the token, and are safe to log; peers are told no more than "invalid".
package enum TokenRejection: UInt8, Equatable, Sendable, CaseIterable {
    case tooLong
    case wrongPartCount
    case badEncoding
    case badHeader
    case unsupportedAlgorithm
    case criticalExtension
    case badSignature
    case badPayload
    case missingUser
    case badUser
    case badDevice
    case badRole
    case badEmail
    case badPermissions
    case missingExpiry
    case badExpiry
    case badNotBefore
    case badIssuedAt
    case notYetValid
    case issuedInFuture

    package var text: StaticString {
        switch self {
        case .tooLong: "the token is longer than 8192 bytes; put fewer claims into it"
        case .wrongPartCount: "a token is header.payload.signature, three parts"
        case .badEncoding: "a part is not base64url without padding"
        case .badHeader: "the header is not a JSON object with a text alg"
        case .unsupportedAlgorithm: "no configured key has the header's alg; sign with HS256"
        case .criticalExtension: "the header has crit, and no extension is supported"
        case .badSignature: "no configured secret made the signature; compare the secrets"
        case .badPayload: "the payload is not a JSON object"
        case .missingUser: "neither userId nor sub is there"
        case .badUser: "userId or sub is not a text of 1 to 128 bytes without control characters"
        case .badDevice: "deviceId is not a text of 1 to 128 bytes without control characters"
        case .badRole: "role is not a text of up to 128 bytes without control characters"
        case .badEmail: "email is not a text of up to 320 bytes without control characters"
        case .badPermissions: "permissions is not a list of up to 64 short texts"
        case .missingExpiry: "exp is missing; tokens without an end are not accepted"
        case .badExpiry: "exp is not a number of seconds between the years 1970 and 9999"
        case .badNotBefore: "nbf is not a number of seconds between the years 1970 and 9999"
        case .badIssuedAt: "iat is not a number of seconds between the years 1970 and 9999"
        case .notYetValid: "nbf is in the future; compare the clocks"
        case .issuedInFuture: "iat is in the future; compare the clocks"
        }
    }
}
