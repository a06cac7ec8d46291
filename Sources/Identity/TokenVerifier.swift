import Basics
import Wire

/// Verifies JSON Web Tokens (RFC 7519) in the compact form (RFC 7515 §7.1), by the rules of
/// RFC 8725: the algorithm belongs to the key and the header may only agree with it, so that `none`
/// and a public key used as an HMAC secret are not cases to remember but cannot be expressed.
///
/// In this order, each step only after the one before:
/// 1. at most 8 KiB, three non-empty parts of strict base64url;
/// 2. the header: a JSON object, `alg` of a configured key, no `crit`. Everything else in it is
///    ignored, above all `jku`, `x5u`, `jwk` and `x5c`: a token does not choose its key;
/// 3. the signature, by each key of that algorithm in the configured order, in constant time;
/// 4. the claims: types and ranges, then `nbf` and `iat`, then `exp`, with 60 s of leeway.
///
/// Holds scratch memory: a shard owns one, and time is a parameter.
package struct TokenVerifier: ~Copyable {
    package static let maximumTokenCount = 8_192
    package static let leewayMilliseconds: Int64 = 60_000
    package static let maximumPermissions = 64

    private let keys: [TokenKey]
    private var reader = JSONReader(maximumDepth: 8, maximumNodes: 1_024)
    private var json: [UInt8] = []
    private var signature: [UInt8] = []

    package init(keys: [TokenKey]) { self.keys = keys }

    /// - Parameter secrets: tried in order, so that a secret can be rotated: the new one first.
    package init(secrets: [Secret]) {
        self.init(keys: secrets.map { TokenKey.hs256($0) })
    }

    package mutating func verify(_ token: String, nowMilliseconds: Int64) -> TokenVerdict {
        verify(token.utf8.span, nowMilliseconds: nowMilliseconds)
    }

    /// - Parameter token: the compact form, without `Bearer` or white space around it.
    package mutating func verify(
        _ token: borrowing Span<UInt8>, nowMilliseconds: Int64
    ) -> TokenVerdict {
        do throws(TokenRejection) {
            guard token.count <= Self.maximumTokenCount else { throw .tooLong }
            let parts = try split(token)
            let algorithm = try algorithm(token, parts.header)
            try checkSignature(token, parts, algorithm)
            let claims = try claims(token, parts.payload, nowMilliseconds)
            let end = claims.expiresAtMilliseconds + Self.leewayMilliseconds
            return nowMilliseconds < end ? .valid(claims) : .expired(claims)
        } catch {
            return .invalid(error)
        }
    }

    // MARK: Form

    private struct Parts {
        var header: Range<Int>
        var payload: Range<Int>
        var signature: Range<Int>
    }

    private func split(_ token: borrowing Span<UInt8>) throws(TokenRejection) -> Parts {
        var firstDot = 0
        var secondDot = 0
        var dots = 0
        for index in token.indices where token[index] == UInt8(ascii: ".") {
            dots += 1
            if dots == 1 { firstDot = index } else if dots == 2 { secondDot = index }
        }
        guard dots == 2, firstDot > 0, secondDot > firstDot + 1, secondDot + 1 < token.count else {
            throw .wrongPartCount
        }
        return Parts(
            header: 0..<firstDot, payload: firstDot + 1..<secondDot,
            signature: secondDot + 1..<token.count)
    }

    /// Decodes a part into `json` and parses it as an object. Static, because the reader and a span
    /// of `json` may not both come from one exclusive access to `self`.
    private static func parseObject(
        _ token: borrowing Span<UInt8>, _ part: Range<Int>, into json: inout [UInt8],
        with reader: inout JSONReader, orThrow rejection: TokenRejection
    ) throws(TokenRejection) -> JSONNode {
        json.removeAll(keepingCapacity: true)
        guard Base64URL.decode(token, part, to: &json) else { throw .badEncoding }
        let root: JSONNode
        do throws(JSONError) {
            root = try reader.parse(json.span)
        } catch {
            throw rejection
        }
        guard reader.kind(root) == .object else { throw rejection }
        return root
    }

    // MARK: Header and signature

    private mutating func algorithm(
        _ token: borrowing Span<UInt8>, _ part: Range<Int>
    ) throws(TokenRejection) -> TokenAlgorithm {
        let root = try Self.parseObject(
            token, part, into: &json, with: &reader, orThrow: .badHeader)
        let source = json.span
        guard let name = reader.member(root, "alg", in: source), reader.kind(name) == .string else {
            throw .badHeader
        }
        guard reader.member(root, "crit", in: source) == nil else { throw .criticalExtension }
        for algorithm in TokenAlgorithm.allCases
        where reader.stringEquals(name, algorithm.name, in: source) {
            return algorithm
        }
        throw .unsupportedAlgorithm
    }

    private mutating func checkSignature(
        _ token: borrowing Span<UInt8>, _ parts: Parts, _ algorithm: TokenAlgorithm
    ) throws(TokenRejection) {
        signature.removeAll(keepingCapacity: true)
        guard Base64URL.decode(token, parts.signature, to: &signature) else { throw .badEncoding }
        let signed = token.extracting(0..<parts.payload.upperBound)
        var hasKey = false
        for key in keys where key.algorithm == algorithm {
            hasKey = true
            if key.verifies(signed, signature: signature.span) { return }
        }
        throw hasKey ? .badSignature : .unsupportedAlgorithm
    }

    // MARK: Claims

    private mutating func claims(
        _ token: borrowing Span<UInt8>, _ part: Range<Int>, _ nowMilliseconds: Int64
    ) throws(TokenRejection) -> Claims {
        let root = try Self.parseObject(
            token, part, into: &json, with: &reader, orThrow: .badPayload)
        let source = json.span
        guard let user = present(root, "userId", source) ?? present(root, "sub", source) else {
            throw .missingUser
        }
        guard let userId = reader.identifier(user, in: source) else { throw .badUser }
        guard let expiry = present(root, "exp", source) else { throw .missingExpiry }
        guard let expiresAt = milliseconds(expiry, source) else { throw .badExpiry }
        var claims = Claims(userId: userId, expiresAtMilliseconds: expiresAt)

        if let device = present(root, "deviceId", source) {
            guard let deviceId = reader.identifier(device, in: source) else { throw .badDevice }
            claims.deviceId = deviceId
        }
        if let node = present(root, "role", source) {
            guard let role = reader.text(node, maximumUTF8Count: 128, in: source) else {
                throw .badRole
            }
            claims.role = role.isEmpty ? nil : role
        }
        if let node = present(root, "email", source) {
            guard let email = reader.text(node, maximumUTF8Count: 320, in: source) else {
                throw .badEmail
            }
            claims.email = email.isEmpty ? nil : email
        }
        if let node = present(root, "permissions", source) {
            claims.permissions = try permissions(node, source)
        }

        // Both sides stay far from the ends of Int64: the claims are below the year 10000.
        if let node = present(root, "nbf", source) {
            guard let notBefore = milliseconds(node, source) else { throw .badNotBefore }
            guard notBefore - Self.leewayMilliseconds <= nowMilliseconds else {
                throw .notYetValid
            }
        }
        if let node = present(root, "iat", source) {
            guard let issuedAt = milliseconds(node, source) else { throw .badIssuedAt }
            guard issuedAt - Self.leewayMilliseconds <= nowMilliseconds else {
                throw .issuedInFuture
            }
        }
        return claims
    }

    /// The member, unless it is absent or null: issuers write null for what they do not know.
    private func present(
        _ root: JSONNode, _ name: StaticString, _ source: borrowing Span<UInt8>
    ) -> JSONNode? {
        guard let node = reader.member(root, name, in: source), !reader.isNull(node) else {
            return nil
        }
        return node
    }

    private func permissions(
        _ node: JSONNode, _ source: borrowing Span<UInt8>
    ) throws(TokenRejection) -> [String] {
        guard reader.kind(node) == .array, reader.count(node) <= Self.maximumPermissions else {
            throw .badPermissions
        }
        var permissions: [String] = []
        var elements = reader.elements(node)
        while let element = reader.next(&elements) {
            guard let permission = reader.identifier(element, in: source) else {
                throw .badPermissions
            }
            permissions.append(permission)
        }
        return permissions
    }

    /// A NumericDate (RFC 7519 §2: seconds, fractions allowed) in milliseconds, cut; nil outside
    /// the years 1970–9999, which also catches issuers that write milliseconds.
    private func milliseconds(_ node: JSONNode, _ source: borrowing Span<UInt8>) -> Int64? {
        let latest: Int64 = 253_402_300_799
        if let seconds = reader.integer(node, in: source) {
            return (0...latest).contains(seconds) ? seconds * 1_000 : nil
        }
        guard let seconds = reader.double(node, in: source), seconds >= 0,
            seconds <= Double(latest)
        else { return nil }
        return Int64(seconds * 1_000)
    }
}

/// A JOSE signature algorithm (RFC 7518 §3.1) that a key can be pinned to.
package enum TokenAlgorithm: Sendable, CaseIterable {
    case hs256

    /// The `alg` value, compared exactly.
    package var name: StaticString {
        switch self {
        case .hs256: "HS256"
        }
    }
}

/// A key with the one algorithm it may be used for. Keys of a JWKS file join as further cases.
package enum TokenKey: Sendable {
    case hs256(Secret)

    package var algorithm: TokenAlgorithm {
        switch self {
        case .hs256: .hs256
        }
    }

    /// In constant time where the algorithm compares secret values.
    func verifies(_ signed: borrowing Span<UInt8>, signature: borrowing Span<UInt8>) -> Bool {
        switch self {
        case .hs256(let secret): secret.authenticates(signed, code: signature)
        }
    }
}

extension TokenRejection: Error {}
