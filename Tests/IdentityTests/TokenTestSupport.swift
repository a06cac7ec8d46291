import Basics

@testable import Identity

/// 2026-01-01T00:00:00Z.
let now: Int64 = 1_767_225_600_000

let firstSecret = makeSecret("first-secret-first-secret-first-secret")
let secondSecret = makeSecret("second-secret-second-secret-second-secret")

func makeSecret(_ text: String) -> Secret {
    do throws(SecretError) { return try Secret(text) } catch { preconditionFailure("\(error)") }
}

/// A token over exactly this header and payload, however wrong they are, with a genuine signature.
func sign(
    header: String = #"{"alg":"HS256","typ":"JWT"}"#, _ payload: String,
    with secret: Secret = firstSecret
) -> String {
    let signed = Base64URL.encode(Array(header.utf8)) + "." + Base64URL.encode(Array(payload.utf8))
    return signed + "." + Base64URL.encode(secret.authenticationCode(for: signed.utf8.span))
}

func verify(
    _ token: String, secrets: [Secret] = [firstSecret], at time: Int64 = now
) -> TokenVerdict {
    var verifier = TokenVerifier(secrets: secrets)
    return verifier.verify(token, nowMilliseconds: time)
}

func verify(bytes token: [UInt8], at time: Int64 = now) -> TokenVerdict {
    var verifier = TokenVerifier(secrets: [firstSecret])
    return verifier.verify(token.span, nowMilliseconds: time)
}
