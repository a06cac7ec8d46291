import Testing

@testable import Identity

@Suite("Secret")
struct SecretTests {
    @Test(
        "A secret has at least 32 bytes, and a shorter one is refused with the command that makes one"
    )
    func minimum() {
        for count in [0, 1, 31] {
            #expect(throws: SecretError.tooShort(count: count)) {
                try Secret(String(repeating: "x", count: count))
            }
        }
        #expect(throws: Never.self) { try Secret(String(repeating: "x", count: 32)) }
        #expect(throws: Never.self) { try Secret(String(repeating: "x", count: 33)) }
        #expect(throws: Never.self) { try Secret(String(repeating: "é", count: 16)) }
        #expect("\(SecretError.tooShort(count: 5))".contains("openssl rand -hex 32"))
        #expect("\(SecretError.tooShort(count: 5))".contains("has 5 bytes"))
    }

    @Test("A secret is never printed, by any of the ways to print a value")
    func printing() {
        let secret = makeSecret("canary-canary-canary-canary-canary")
        var dumped = ""
        dump([secret], to: &dumped)
        for text in [
            "\(secret)", String(reflecting: secret), String(describing: [secret]), dumped,
            "\(TokenMinter(secret: secret))", "\(TokenKey.hs256(secret))",
        ] {
            #expect(!text.contains("canary"))
            #expect(!text.contains("99, 97"))
        }
        #expect(Mirror(reflecting: secret).children.isEmpty)
    }

    @Test("The key's memory is zero once its last owner is gone")
    func zeroing() {
        var secret: Secret? = makeSecret("to-be-zeroed-to-be-zeroed-to-be-zeroed")
        // Shares the key's memory, which only this test can do.
        let memory = secret?.bytes ?? []
        #expect(memory.count == 38)
        #expect(!memory.contains(0))
        secret = nil
        #expect(memory.count == 38 && memory.allSatisfy { $0 == 0 })
    }

    /// RFC 4231 §4.4 has a short key, §4.7 and §4.8 have keys longer than a block of SHA-256.
    @Test(
        "HMAC-SHA-256 gives the codes of RFC 4231",
        arguments: [
            (
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
            ),
            (
                "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
            ),
        ])
    func vectors(_ message: String, _ hex: String) throws {
        let secret = try Secret([UInt8](repeating: 0xAA, count: 131).span)
        let code = secret.authenticationCode(for: message.utf8.span)
        #expect(
            code.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() == hex)
        let isAuthentic = secret.authenticates(message.utf8.span, code: code.span)
        #expect(isAuthentic)
        for index in code.indices {
            for bit in 0..<8 {
                var changed = code
                changed[index] ^= 1 << UInt8(bit)
                let isAccepted = secret.authenticates(message.utf8.span, code: changed.span)
                #expect(!isAccepted)
            }
        }
        for wrong in [[], Array(code.dropLast()), code + [0]] {
            let isAccepted = secret.authenticates(message.utf8.span, code: wrong.span)
            #expect(!isAccepted)
        }
    }

    @Test("An empty message has a code")
    func emptyMessage() {
        let code = firstSecret.authenticationCode(for: [UInt8]().span)
        #expect(code.count == 32)
        let isAuthentic = firstSecret.authenticates([UInt8]().span, code: code.span)
        #expect(isAuthentic)
    }

    @Test("Random bytes have the length asked for and do not repeat")
    func random() {
        #expect(SecureRandom.bytes(count: 0).isEmpty)
        #expect(SecureRandom.bytes(count: 33).count == 33)
        #expect(Set((0..<100).map { _ in SecureRandom.bytes(count: 16) }).count == 100)
    }
}
