import Basics
import Testing

@testable import Identity

/// Seconds; one hour after `now`.
private let soon = now / 1_000 + 3_600

@Suite("TokenVerifier: form and signature")
struct TokenSignatureTests {
    /// RFC 7515 A.1: its key has 64 bytes, its payload is {"iss":"joe","exp":1300819380,…}.
    private static let vector =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        + ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    private static let vectorKey =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"

    @Test("The signature of RFC 7515 A.1 verifies, so that the missing user is what is refused")
    func rfc7515() throws {
        let key = try #require(Base64URL.decode(Self.vectorKey))
        #expect(key.count == 64)
        let secret = try Secret(key.span)
        let time: Int64 = 1_300_819_379_000
        #expect(verify(Self.vector, secrets: [secret], at: time) == .invalid(.missingUser))
        #expect(verify(Self.vector, at: time) == .invalid(.badSignature))
        let dot = try #require(Self.vector.lastIndex(of: "."))
        let code = secret.authenticationCode(for: Array(Self.vector[..<dot].utf8).span)
        #expect(Base64URL.encode(code) == Self.vector[dot...].dropFirst())
    }

    @Test("A genuine token gives its claims")
    func genuine() {
        let token = sign(
            #"{"sub":"s","userId":"u","deviceId":"d","role":"admin","email":"a@b.c","permissions":["x","y"],"exp":\#(soon)}"#
        )
        #expect(
            verify(token)
                == .valid(
                    Claims(
                        userId: "u", deviceId: "d", expiresAtMilliseconds: soon * 1_000,
                        role: "admin", email: "a@b.c", permissions: ["x", "y"])))
    }

    @Test("Each configured secret is tried, and only those")
    func severalSecrets() {
        let payload = #"{"sub":"u","exp":\#(soon)}"#
        let valid = TokenVerdict.valid(Claims(userId: "u", expiresAtMilliseconds: soon * 1_000))
        let first = sign(payload)
        let second = sign(payload, with: secondSecret)
        for secrets in [[firstSecret, secondSecret], [secondSecret, firstSecret]] {
            #expect(verify(first, secrets: secrets) == valid)
            #expect(verify(second, secrets: secrets) == valid)
        }
        #expect(verify(second, secrets: [firstSecret]) == .invalid(.badSignature))
        #expect(verify(first, secrets: [secondSecret]) == .invalid(.badSignature))
        #expect(verify(first, secrets: []) == .invalid(.unsupportedAlgorithm))
    }

    @Test(
        "Only the algorithm of a configured key is accepted, in exactly its spelling",
        arguments: [
            "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", " HS256", "HS384", "HS512",
            "RS256",
            "ES256", "PS256", "EdDSA", "HS2567", "HS25", "HS256\\u0000",
        ])
    func algorithms(_ name: String) {
        let payload = #"{"sub":"u","exp":\#(soon)}"#
        let token = sign(header: #"{"alg":"\#(name)"}"#, payload)
        #expect(verify(token) == .invalid(.unsupportedAlgorithm))
        // Unsigned, as attacks on `none` send it.
        let dot = token.lastIndex(of: ".") ?? token.endIndex
        #expect(verify(token[..<dot] + ".") == .invalid(.wrongPartCount))
        #expect(verify(String(token[..<dot])) == .invalid(.wrongPartCount))
    }

    @Test(
        "A header that is not an object with one text alg is refused",
        arguments: [
            "{}", "[]", #""HS256""#, "", "{", #"{"alg":null}"#, #"{"alg":256}"#,
            #"{"alg":["HS256"]}"#,
            #"{"ALG":"HS256"}"#, #"{"alg":"HS256","alg":"HS256"}"#,
            #"{"alg":"none","alg":"HS256"}"#,
            #"{"alg":"HS256"} "x""#, "\u{FEFF}{\"alg\":\"HS256\"}",
        ])
    func headers(_ header: String) {
        let expected: TokenRejection = header.isEmpty ? .wrongPartCount : .badHeader
        #expect(verify(sign(header: header, #"{"sub":"u","exp":\#(soon)}"#)) == .invalid(expected))
    }

    @Test("crit is refused; headers that point to keys are ignored and never used")
    func otherHeaders() {
        let payload = #"{"sub":"u","exp":\#(soon)}"#
        for crit in [#"["exp"]"#, "[]", "null"] {
            let token = sign(header: #"{"alg":"HS256","crit":\#(crit),"exp":1}"#, payload)
            #expect(verify(token) == .invalid(.criticalExtension))
        }
        let pointing =
            #"{"alg":"HS256","jku":"https://evil.example/","x5u":"u","kid":"../../etc/passwd","jwk":{"kty":"oct","k":"AA"},"x5c":["AA"]}"#
        #expect(
            verify(sign(header: pointing, payload))
                == .valid(Claims(userId: "u", expiresAtMilliseconds: soon * 1_000)))
        #expect(
            verify(sign(header: pointing, payload, with: secondSecret)) == .invalid(.badSignature))
    }

    @Test("Changing any byte of a token to any other makes it invalid")
    func tampering() {
        let token = Array(sign(#"{"sub":"u","exp":\#(soon)}"#).utf8)
        guard case .valid = verify(bytes: token) else {
            Issue.record("the untouched token is not valid")
            return
        }
        var verifier = TokenVerifier(secrets: [firstSecret])
        var accepted: [Int] = []
        for index in token.indices {
            for byte in UInt8.min...UInt8.max where byte != token[index] {
                var changed = token
                changed[index] = byte
                guard case .invalid = verifier.verify(changed.span, nowMilliseconds: now) else {
                    accepted.append(index)
                    continue
                }
            }
            var shorter = token
            shorter.remove(at: index)
            if case .invalid = verifier.verify(shorter.span, nowMilliseconds: now) { continue }
            accepted.append(index)
        }
        #expect(accepted.isEmpty)
    }

    @Test(
        "Anything but three non-empty parts is refused",
        arguments: [
            "", ".", "..", "...", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.", ".a.b.c",
        ])
    func partCounts(_ token: String) {
        #expect(verify(token) == .invalid(.wrongPartCount))
    }

    @Test("Padding, white space and the other base64 alphabet are refused")
    func encodings() {
        let token = sign(#"{"sub":"u","exp":\#(soon)}"#)
        #expect(verify(token + "=") == .invalid(.badEncoding))
        #expect(verify(token + "\n") == .invalid(.badEncoding))
        #expect(verify(" " + token) == .invalid(.badEncoding))
        #expect(verify("Bearer " + token) == .invalid(.badEncoding))
        #expect(verify("+" + token.dropFirst()) == .invalid(.badEncoding))
    }

    @Test("A signature of another length is refused")
    func signatureLengths() {
        let token = sign(#"{"sub":"u","exp":\#(soon)}"#)
        let dot = token.lastIndex(of: ".") ?? token.endIndex
        for count in [1, 31, 33, 64] {
            let signature = Base64URL.encode([UInt8](repeating: 0, count: count))
            #expect(verify(token[..<dot] + "." + signature) == .invalid(.badSignature))
        }
    }

    @Test("A token of 8,192 bytes is looked at, one of 8,193 is not")
    func length() {
        func token(filling count: Int) -> String {
            sign(#"{"sub":"u","exp":\#(soon),"x":"\#(String(repeating: "x", count: count))"}"#)
        }
        let base = token(filling: 0).utf8.count
        var fillings: [Int: String] = [:]
        for count in (8_190 - base) * 3 / 4...(8_196 - base) * 3 / 4 {
            let token = token(filling: count)
            fillings[token.utf8.count] = token
        }
        let longest = fillings.keys.filter { $0 <= 8_192 }.max() ?? 0
        let shortest = fillings.keys.filter { $0 > 8_192 }.min() ?? 0
        #expect((8_191...8_192).contains(longest) && (8_193...8_194).contains(shortest))
        #expect(
            verify(fillings[longest] ?? "")
                == .valid(Claims(userId: "u", expiresAtMilliseconds: soon * 1_000)))
        #expect(verify(fillings[shortest] ?? "") == .invalid(.tooLong))
        #expect(verify(String(repeating: ".", count: 8_192)) == .invalid(.wrongPartCount))
        #expect(verify(String(repeating: ".", count: 8_193)) == .invalid(.tooLong))
    }

    @Test("The signature is checked before the claims are looked at")
    func order() {
        for payload in ["{}", "nonsense", #"{"sub":"u","exp":1}"#] {
            #expect(verify(sign(payload, with: secondSecret)) == .invalid(.badSignature))
        }
    }

    @Test("A verifier is reusable after any verdict")
    func reuse() {
        var verifier = TokenVerifier(secrets: [firstSecret])
        let good = sign(#"{"sub":"u","exp":\#(soon)}"#)
        for bad in [
            "", "a.b.c", sign("{}"), sign("{}", with: secondSecret), sign(#"{"sub":"u","exp":1}"#),
        ] {
            let first = verifier.verify(bad, nowMilliseconds: now)
            let second = verifier.verify(good, nowMilliseconds: now)
            #expect(first != second)
            #expect(second == .valid(Claims(userId: "u", expiresAtMilliseconds: soon * 1_000)))
        }
    }
}

@Suite("TokenVerifier: claims")
struct TokenClaimsTests {
    private func verdict(_ payload: String, at time: Int64 = now) -> TokenVerdict {
        verify(sign(payload), at: time)
    }

    @Test("exp has 60 s of leeway: 59 s after it the token is valid, 60 s after it expired")
    func expiryLeeway() {
        let expiry = now / 1_000
        let claims = Claims(userId: "u", expiresAtMilliseconds: now)
        let payload = #"{"sub":"u","exp":\#(expiry)}"#
        for (after, isValid) in [
            (-1, true), (0, true), (59_000, true), (59_999, true), (60_000, false), (60_001, false),
            (61_000, false),
        ] as [(Int64, Bool)] {
            #expect(
                verdict(payload, at: now + after) == (isValid ? .valid(claims) : .expired(claims)),
                "\(after) ms after exp")
        }
    }

    @Test("nbf and iat may be 60 s in the future, not 61", arguments: ["nbf", "iat"])
    func futureLeeway(_ name: String) {
        let rejection: TokenRejection = name == "nbf" ? .notYetValid : .issuedInFuture
        let valid = TokenVerdict.valid(Claims(userId: "u", expiresAtMilliseconds: soon * 1_000))
        for (ahead, isValid) in [
            (-1_000, true), (0, true), (59, true), (60, true), (61, false), (1_000, false),
        ] as [(Int64, Bool)] {
            let payload = #"{"sub":"u","exp":\#(soon),"\#(name)":\#(now / 1_000 + ahead)}"#
            #expect(verdict(payload) == (isValid ? valid : .invalid(rejection)), "\(ahead) s ahead")
        }
    }

    @Test("A token that is both expired and not yet valid is invalid, not expired")
    func futureBeforeExpiry() {
        #expect(verdict(#"{"sub":"u","exp":1,"nbf":\#(soon)}"#) == .invalid(.notYetValid))
    }

    @Test(
        "exp may be any number of seconds up to the year 9999, and never traps",
        arguments: [
            ("1767225600", 1_767_225_600_000), ("1767225600.5", 1_767_225_600_500),
            ("1767225600.9999", 1_767_225_600_999), ("1.7672256e9", 1_767_225_600_000),
            ("0", 0), ("-0", 0), ("0.5", 500), ("1e-400", 0), ("253402300799", 253_402_300_799_000),
            ("253402300800", nil), ("253402300799.5", nil), ("1767225600000", nil), ("-1", nil),
            ("-0.5", nil), ("1e308", nil), ("1e309", nil), ("-1e308", nil), ("1e400", nil),
            ("9223372036854775807", nil), ("9223372036854775808", nil),
            ("-9223372036854775808", nil),
            ("99999999999999999999999999", nil), (#""1767225600""#, nil), ("true", nil),
            ("[]", nil), ("{}", nil),
        ] as [(String, Int64?)])
    func expiryForms(_ exp: String, _ milliseconds: Int64?) {
        let verdict = verdict(#"{"sub":"u","exp":\#(exp)}"#)
        guard let milliseconds else {
            #expect(verdict == .invalid(.badExpiry))
            return
        }
        let claims = Claims(userId: "u", expiresAtMilliseconds: milliseconds)
        #expect(verdict == (milliseconds > now - 60_000 ? .valid(claims) : .expired(claims)))
    }

    @Test("nbf and iat that are no such number are refused")
    func otherDates() {
        for value in ["-1", "1e308", #""1""#, "true", "253402300800"] {
            #expect(
                verdict(#"{"sub":"u","exp":\#(soon),"nbf":\#(value)}"#) == .invalid(.badNotBefore))
            #expect(
                verdict(#"{"sub":"u","exp":\#(soon),"iat":\#(value)}"#) == .invalid(.badIssuedAt))
        }
    }

    @Test("No clock value traps", arguments: [.min, .min + 1, -1, 0, .max - 1, .max] as [Int64])
    func clocks(_ time: Int64) {
        let claims = Claims(userId: "u", expiresAtMilliseconds: soon * 1_000)
        let plain = verdict(#"{"sub":"u","exp":\#(soon)}"#, at: time)
        #expect(plain == (time < now ? .valid(claims) : .expired(claims)))
        let dated = verdict(#"{"sub":"u","exp":\#(soon),"nbf":\#(soon),"iat":\#(soon)}"#, at: time)
        #expect(dated == (time < now ? .invalid(.notYetValid) : .expired(claims)))
    }

    @Test("A token without exp is refused")
    func missingExpiry() {
        #expect(verdict(#"{"sub":"u"}"#) == .invalid(.missingExpiry))
        #expect(verdict(#"{"sub":"u","exp":null}"#) == .invalid(.missingExpiry))
        #expect(verdict(#"{"sub":"u","Exp":\#(soon)}"#) == .invalid(.missingExpiry))
    }

    @Test(
        "The user is userId, else sub; null counts as absent, and a wrong userId does not fall back"
    )
    func user() {
        func user(_ members: String) -> TokenVerdict { verdict("{\(members)\"exp\":\(soon)}") }
        func valid(_ id: String) -> TokenVerdict {
            .valid(Claims(userId: id, expiresAtMilliseconds: soon * 1_000))
        }
        #expect(user(#""sub":"s","userId":"u","#) == valid("u"))
        #expect(user(#""sub":"s","#) == valid("s"))
        #expect(user(#""sub":"s","userId":null,"#) == valid("s"))
        #expect(user(#""sub":17,"userId":"u","#) == valid("u"))
        #expect(user("") == .invalid(.missingUser))
        #expect(user(#""sub":null,"#) == .invalid(.missingUser))
        for wrong in ["17", "true", "[]", "{}", #""""#, #"["u"]"#] {
            #expect(user("\"userId\":\(wrong),\"sub\":\"s\",") == .invalid(.badUser))
            #expect(user("\"sub\":\(wrong),") == .invalid(.badUser))
        }
    }

    @Test(
        "Ids have 1 to 128 UTF-8 bytes and no control characters",
        arguments: [
            ("a", true), (String(repeating: "x", count: 127), true),
            (String(repeating: "x", count: 128), true),
            (String(repeating: "x", count: 129), false), (String(repeating: "é", count: 64), true),
            (String(repeating: "é", count: 65), false), ("", false), ("a\\u0000b", false),
            ("a\\nb", false),
            ("\\u001f", false), (" ", true), ("\\u007f", false), ("\\u0085", false),
            ("\\u00a0", true), ("😀", true),
        ])
    func ids(_ id: String, _ isAccepted: Bool) {
        let asUser = verdict(#"{"sub":"\#(id)","exp":\#(soon)}"#)
        let asDevice = verdict(#"{"sub":"u","deviceId":"\#(id)","exp":\#(soon)}"#)
        let asPermission = verdict(#"{"sub":"u","permissions":["\#(id)"],"exp":\#(soon)}"#)
        if isAccepted {
            guard case .valid = asUser, case .valid(let claims) = asDevice,
                case .valid = asPermission
            else {
                Issue.record("\(id) was refused")
                return
            }
            #expect(claims.deviceId != nil)
        } else {
            #expect(asUser == .invalid(.badUser))
            #expect(asDevice == .invalid(.badDevice))
            #expect(asPermission == .invalid(.badPermissions))
        }
    }

    @Test(
        "role, email and permissions of another type or size are refused; empty or null is absent")
    func optionalClaims() {
        func with(_ member: String) -> TokenVerdict {
            verdict("{\"sub\":\"u\",\(member),\"exp\":\(soon)}")
        }
        func text(_ count: Int) -> String { "\"" + String(repeating: "x", count: count) + "\"" }
        let plain = TokenVerdict.valid(Claims(userId: "u", expiresAtMilliseconds: soon * 1_000))
        for absent in [
            #""role":"""#, #""email":"""#, #""role":null"#, #""email":null"#, #""deviceId":null"#,
            #""permissions":null"#, #""permissions":[]"#,
        ] {
            #expect(with(absent) == plain, "\(absent)")
        }
        for wrong in ["1", "true", "[]", "{}", #""a\n""#] {
            #expect(with("\"role\":\(wrong)") == .invalid(.badRole))
            #expect(with("\"email\":\(wrong)") == .invalid(.badEmail))
        }
        for (name, limit, rejection) in [
            ("role", 128, TokenRejection.badRole), ("email", 320, .badEmail),
        ] {
            #expect(with("\"\(name)\":\(text(limit))") != .invalid(rejection))
            #expect(with("\"\(name)\":\(text(limit + 1))") == .invalid(rejection))
        }
        for wrong in ["1", #""a""#, "{}", "[1]", "[null]", #"["a",["b"]]"#, #"[""]"#] {
            #expect(with("\"permissions\":\(wrong)") == .invalid(.badPermissions))
        }
        for (count, isAccepted) in [(63, true), (64, true), (65, false)] {
            let list = [String](repeating: "\"p\"", count: count).joined(separator: ",")
            #expect((with("\"permissions\":[\(list)]") != .invalid(.badPermissions)) == isAccepted)
        }
    }

    @Test(
        "A genuinely signed payload that is not one JSON object is refused",
        arguments: [
            "[]", "1", #""u""#, "null", "{", #"{"sub":"u","exp":1} x"#,
            #"{"sub":"a","sub":"b","exp":1}"#,
            #"{"sub":"a","\u0073ub":"b","exp":1}"#, "\u{FEFF}{}", #"{"sub":"\ud800","exp":1}"#,
            "{\"x\":" + String(repeating: "[", count: 8) + String(repeating: "]", count: 8) + "}",
            "[" + [String](repeating: "1", count: 1_500).joined(separator: ",") + "]",
        ])
    func payloads(_ payload: String) {
        #expect(verdict(payload) == .invalid(.badPayload))
    }

    @Test("No rejection text repeats anything of the token, and each names what to mend")
    func texts() {
        let texts = TokenRejection.allCases.map { "\($0.text)" }
        #expect(Set(texts).count == TokenRejection.allCases.count)
    }
}
