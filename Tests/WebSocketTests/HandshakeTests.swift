import Foundation
import Testing

@testable import WebSocket

private func hex(_ digest: SHA1.Digest) -> String {
    digest.indices.map { String(format: "%08x", digest[$0]) }.joined()
}

@Suite("The handshake's digest and text form")
struct DigestTests {
    @Test(
        "SHA-1 gives the digests of FIPS 180 and RFC 3174",
        arguments: [
            ("", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
            ),
            ("01234567", 80, "dea356a2cddd90c7a7ecedc5ebb563934f460452"),
            ("a", 1_000_000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ])
    func sha1(part: String, count: Int, digest: String) {
        let message = Array(String(repeating: part, count: count).utf8)
        #expect(hex(SHA1.digest(message.span)) == digest)
    }

    @Test("SHA-1 pads right on both sides of a block's end")
    func sha1Padding() {
        // Digests of 55, 56, 63, 64 and 65 letters a, as sha1sum gives them.
        let digests = [
            55: "c1c8bbdc22796e28c0e15163d20899b65621d65a",
            56: "c2db330f6083854c99d4b5bfb6e8f29f201be699",
            63: "03f09f5b158a7a8cdad920bddc29b81c18a551f5",
            64: "0098ba824b5c16427bd7a1122a5a442a25ec644d",
            65: "11655326c708d70319be2610e8a57d9a5b959d3b",
        ]
        for (count, digest) in digests {
            #expect(hex(SHA1.digest([UInt8](repeating: 0x61, count: count).span)) == digest)
        }
    }

    @Test(
        "Base64 gives the examples of RFC 4648 §10, both ways",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
        ])
    func base64(plain: String, encoded: String) {
        #expect(Base64.encode(Array(plain.utf8).span) == Array(encoded.utf8))
        #expect(Base64.decode(Array(encoded.utf8).span) == Array(plain.utf8))
    }

    @Test("All 256 bytes survive Base64")
    func base64Bytes() {
        let bytes = [UInt8](0...255)
        #expect(Base64.decode(Base64.encode(bytes.span).span) == bytes)
    }

    @Test(
        "Base64 that no encoder writes is refused",
        arguments: ["Z", "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zg==Zg==", "Zm9-", "Zm9v\n"])
    func base64Refused(text: String) {
        #expect(Base64.decode(Array(text.utf8).span) == nil)
    }
}

@Suite("The server's handshake, RFC 6455 §4.2")
struct HandshakeTests {
    private static let bytes = Array("dGhlIHNhbXBsZSBub25jZQ==138".utf8)

    private func facts() -> HandshakeFacts {
        HandshakeFacts(
            isGET: true, isHTTP11: true, upgradeListsWebSocket: true,
            connectionListsUpgrade: true, key: 0..<24, version: 24..<26)
    }

    private func refusal(_ change: (inout HandshakeFacts) -> Void) -> HandshakeRefusal? {
        var facts = facts()
        change(&facts)
        guard case .failure(let refusal) = Handshake.accept(facts, in: Self.bytes.span) else {
            return nil
        }
        return refusal
    }

    @Test("The example of RFC 6455 §1.3 is accepted with its key")
    func example() {
        #expect(
            Handshake.accept(facts(), in: Self.bytes.span)
                == .success(Array("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".utf8)))
    }

    @Test("Each missing condition is named, with 400 or 426")
    func refusals() {
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0.isGET = false } == .notGET)
        #expect(refusal { $0.isHTTP11 = false } == .notHTTP11)
        #expect(refusal { $0.upgradeListsWebSocket = false } == .noUpgrade)
        #expect(refusal { $0.connectionListsUpgrade = false } == .noConnectionUpgrade)
        #expect(refusal { $0.hasRepeatedField = true } == .repeatedField)
        #expect(refusal { $0.version = nil } == .unsupportedVersion)
        #expect(refusal { $0.version = 24..<27 } == .unsupportedVersion)
        #expect(refusal { $0.version = 24..<25 } == .unsupportedVersion)
        #expect(refusal { $0.version = 26..<27 } == .unsupportedVersion)
        #expect(refusal { $0.key = nil } == .invalidKey)
        for refusal in HandshakeRefusal.allCases {
            let is426 = refusal == .noUpgrade || refusal == .unsupportedVersion
            #expect(refusal.status == (is426 ? 426 : 400))
            #expect(refusal.text.utf8CodeUnitCount > 0)
        }
    }

    @Test(
        "A key is 24 characters of base64 for 16 bytes",
        arguments: [
            ("dGhlIHNhbXBsZSBub25jZQ==", true), ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("++++////++++////++++//==", true), ("", false), ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZQ===", false), ("dGhlIHNhbXBsZSBub25jZWE=", false),
            ("dGhlIHNhbXBsZSBub25jZWFh", false), ("dGhlIHNhbXBsZSBub25jZ===", false),
            ("dGhlIHNhbXBsZSBub25j-Q==", false), ("dGhlIHNhbXBsZSBub25jZQ=A", false),
        ])
    func keys(key: String, isKey: Bool) {
        #expect(Handshake.isKey(Array(key.utf8).span) == isKey)
    }

    @Test("The answer has exactly the fields it needs")
    func answer() {
        var output: [UInt8] = []
        Handshake.appendAnswer(accept: Array("abc=".utf8), into: &output)
        #expect(
            String(decoding: output, as: UTF8.self)
                == "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                + "Connection: Upgrade\r\nSec-WebSocket-Accept: abc=\r\n\r\n")
        output = []
        Handshake.appendAnswer(
            accept: Array("abc=".utf8), subprotocol: "martlet.v1", extensions: "x; y=1",
            into: &output)
        #expect(
            String(decoding: output, as: UTF8.self).hasSuffix(
                "Accept: abc=\r\nSec-WebSocket-Protocol: martlet.v1\r\n"
                    + "Sec-WebSocket-Extensions: x; y=1\r\n\r\n"))
    }
}

@Suite("The client's handshake, RFC 6455 §4.1")
struct ClientHandshakeTests {
    private let client = ClientHandshake(
        host: "server.example.com", target: "/chat?x=1", nonce: Array("the sample nonce".utf8),
        subprotocols: ["chat", "superchat"], fields: [("Origin", "http://example.com")])

    private func check(_ answer: String) -> ClientHandshake.Answer {
        client.check(Array(answer.utf8).span)
    }

    private let good =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n"
        + "Connection: keep-alive, Upgrade\r\n"
        + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        + "Sec-WebSocket-Protocol: chat\r\n\r\n"

    @Test("The request is the one of RFC 6455 §1.2")
    func request() {
        #expect(
            String(decoding: client.requestBytes(), as: UTF8.self)
                == "GET /chat?x=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
                + "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
                + "Origin: http://example.com\r\n\r\n")
    }

    @Test("A good answer is accepted, with the frames that follow it left alone")
    func accepted() {
        let expected = ClientHandshake.Answer.accepted(
            length: good.utf8.count, subprotocol: "chat", extensions: nil)
        #expect(check(good) == expected)
        #expect(check(good + "\u{1}\u{2}") == expected)
        for length in 0..<good.utf8.count {
            #expect(client.check(Array(good.utf8.prefix(length)).span) == .needMore)
        }
    }

    @Test(
        "An answer that lacks a condition is invalid",
        arguments: [
            ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
            ("Upgrade: WebSocket", "Upgrade: h2c"), ("keep-alive, Upgrade", "keep-alive"),
            ("Protocol: chat", "Protocol: other"), ("HTTP/1.1", "HTTP/1.0"),
            ("Protocol: chat", "Extensions: permessage-deflate"),
            ("Sec-WebSocket-Protocol: chat", "no colon"),
            ("Sec-WebSocket-Accept", "Sec-WebSocket-Reject"),
        ])
    func invalid(part: String, replacement: String) {
        let start = good.range(of: part)!
        let answer = check(good.replacingCharacters(in: start, with: replacement))
        guard case .invalid = answer else {
            Issue.record("accepted: \(answer)")
            return
        }
    }

    @Test("Another status is a refusal, and an endless head is invalid")
    func refused() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\nbody"
        #expect(check(answer) == .refused(status: 503, length: answer.utf8.count - 4))
        let endless = [UInt8](repeating: 0x41, count: ClientHandshake.longestHead)
        #expect(client.check(Array(endless.dropLast()).span) == .needMore)
        #expect(client.check(endless.span) == .invalid("the head has no end"))
    }

    @Test("The server's own answer satisfies the client")
    func bothSides() {
        var output: [UInt8] = []
        Handshake.appendAnswer(
            accept: Handshake.acceptKey(for: client.key.span), subprotocol: "superchat",
            into: &output)
        #expect(
            client.check(output.span)
                == .accepted(length: output.count, subprotocol: "superchat", extensions: nil))
    }
}
