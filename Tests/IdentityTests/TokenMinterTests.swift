import Testing

@testable import Identity

@Suite("TokenMinter")
struct TokenMinterTests {
    private let minter = TokenMinter(secret: firstSecret)

    @Test("A minted token verifies with the claims it was made from, until its lifetime ends")
    func roundTrip() throws {
        let token = try minter.mint(
            user: "u\"\\é😀", deviceId: "d", email: "a@b.c", role: "admin", permissions: ["p", "q"],
            lifetimeSeconds: 600, nowMilliseconds: now + 999)
        let claims = Claims(
            userId: "u\"\\é😀", deviceId: "d", expiresAtMilliseconds: now + 600_000, role: "admin",
            email: "a@b.c", permissions: ["p", "q"])
        #expect(verify(token) == .valid(claims))
        #expect(verify(token, at: now + 659_999) == .valid(claims))
        #expect(verify(token, at: now + 660_000) == .expired(claims))
        #expect(verify(token, secrets: [secondSecret]) == .invalid(.badSignature))
        let plain = try minter.mint(user: "u", lifetimeSeconds: 1, nowMilliseconds: now)
        #expect(verify(plain) == .valid(Claims(userId: "u", expiresAtMilliseconds: now + 1_000)))
    }

    @Test("The longest values that the verifier accepts can be minted, longer ones cannot")
    func bounds() throws {
        func text(_ count: Int) -> String { String(repeating: "x", count: count) }
        let longest = try minter.mint(
            user: text(128), deviceId: text(128), email: text(320), role: text(128),
            permissions: [String](repeating: "p", count: 64), lifetimeSeconds: 1,
            nowMilliseconds: now)
        guard case .valid = verify(longest) else {
            Issue.record("a token of the longest values is refused")
            return
        }
        func error(
            user: String = "u", deviceId: String? = nil, email: String? = nil, role: String? = nil,
            permissions: [String] = [], lifetime: Int64 = 1, at time: Int64 = now
        ) -> TokenMintError? {
            do throws(TokenMintError) {
                _ = try minter.mint(
                    user: user, deviceId: deviceId, email: email, role: role,
                    permissions: permissions, lifetimeSeconds: lifetime, nowMilliseconds: time)
                return nil
            } catch { return error }
        }
        #expect(error(user: "") == .badUser)
        #expect(error(user: text(129)) == .badUser)
        #expect(error(user: "a\n") == .badUser)
        #expect(error(user: "a\u{85}") == .badUser)
        #expect(error(deviceId: "") == .badDevice)
        #expect(error(deviceId: text(129)) == .badDevice)
        #expect(error(email: text(321)) == .badEmail)
        #expect(error(role: text(129)) == .badRole)
        #expect(error(permissions: [""]) == .badPermissions)
        #expect(error(permissions: [String](repeating: "p", count: 65)) == .badPermissions)
        #expect(error(permissions: [String](repeating: text(128), count: 64)) == .tooLong)
        #expect(error(lifetime: 0) == .badLifetime)
        #expect(error(lifetime: .min) == .badLifetime)
        #expect(error(lifetime: .max) == .badLifetime)
        #expect(error(at: -1) == .badLifetime)
        #expect(error(at: .min) == .badLifetime)
        #expect(error(at: .max) == .badLifetime)
        #expect(error(lifetime: 253_402_300_799 - now / 1_000) == nil)
        #expect(error(lifetime: 253_402_300_800 - now / 1_000) == .badLifetime)
    }
}
