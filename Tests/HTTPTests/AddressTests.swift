import Foundation
import Testing

@testable import HTTP

@Suite("IP addresses, RFC 4291 §2.2 and RFC 5952")
struct IPAddressTests {
    @Test(
        "An address is parsed and written in its canonical form",
        arguments: [
            ("0.0.0.0", "0.0.0.0"), ("127.0.0.1", "127.0.0.1"),
            ("255.255.255.255", "255.255.255.255"),
            ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8::1", "2001:db8::1"),
            ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4"), ("0:0:1::", "0:0:1::"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:102:304", "1.2.3.4"), ("::1.2.3.4", "::102:304"),
            ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
            ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
            ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("fe80::1", "fe80::1"),
        ])
    func valid(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
    }

    @Test(
        "What is no address is refused",
        arguments: [
            "", ".", "1", "1.2.3", "1.2.3.", ".1.2.3", "1.2.3.4.", "1.2.3.4.5", "256.1.1.1",
            "1.2.3.999",
            "01.2.3.4", "1.2.3.00", "1.2.3.4 ", " 1.2.3.4", "1.2.3.a", "-1.2.3.4", "0x1.2.3.4", ":",
            ":::",
            "1:", ":1", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::",
            "::1%eth0",
            "[::1]", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3",
            "1.2.3.4::",
            "::1.2.3.4:5", "1::2:", ":1::2", "::ffff:1.2.3.256", "1:2:3:4:5::6:7:8:9",
        ])
    func invalid(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("10,000 random addresses are parsed and written as the system does it")
    func againstSystem() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<10_000 {
            var groups = (0..<8).map { _ in UInt16.random(in: 0...0xFFFF, using: &generator) }
            for index in groups.indices where Bool.random(using: &generator) { groups[index] = 0 }
            let bits = groups.reduce(UInt128(0)) { $0 << 16 | UInt128($1) }
            let address = IPAddress(bits: bits)
            #expect(IPAddress(address.description) == address)
            var system = in6_addr()
            unsafe #expect(
                inet_pton(
                    AF_INET6, address.isV4 ? "::ffff:\(address)" : address.description, &system)
                    == 1)
            let bytes = unsafe withUnsafeBytes(of: &system) { unsafe [UInt8]($0) }
            #expect(bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) } == bits)
        }
    }
}

@Suite("Address blocks")
struct CIDRTests {
    @Test(
        "A block holds its first and its last address and not their neighbours",
        arguments: [
            (
                "10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"],
                ["9.255.255.255", "11.0.0.0", "::a00:1"]
            ),
            ("192.0.2.7", ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", ["192.0.2.6", "192.0.2.7"], ["192.0.2.5", "192.0.2.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::1", "2001:db8::"]),
            ("::/0", ["::", "1.2.3.4", "ffff::"], []),
            ("fd00::/8", ["fd00::", "fdff:ffff::1"], ["fc00::", "fe00::"]),
            ("2001:db8::1", ["2001:db8::1"], ["2001:db8::", "2001:db8::2"]),
            ("2001:db8::/127", ["2001:db8::", "2001:db8::1"], ["2001:db8::2"]),
            ("::ffff:10.0.0.0/104", ["10.1.2.3"], ["11.0.0.0"]),
        ])
    func contains(text: String, inside: [String], outside: [String]) throws {
        let block = try CIDR(text)
        for address in inside { #expect(block.contains(IPAddress(address)!), "\(address)") }
        for address in outside { #expect(!block.contains(IPAddress(address)!), "\(address)") }
    }

    @Test(
        "A text that is no block says what to write",
        arguments: [
            ("", "is no CIDR block"), ("10.0.0/8", "is no CIDR block"),
            ("host/8", "is no CIDR block"),
            ("10.0.0.0/33", "0 to 32"), ("10.0.0.0/", "0 to 32"), ("10.0.0.0/a", "0 to 32"),
            ("10.0.0.0/08", "0 to 32"), ("10.0.0.0/-1", "0 to 32"), ("10.0.0.0/8/9", "0 to 32"),
            ("::/129", "0 to 128"), ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"), ("1.2.3.4/0", "write 0.0.0.0/0"),
        ])
    func invalid(text: String, advice: String) {
        let error = #expect(throws: CIDR.ParseError.self) { try CIDR(text) }
        #expect(error?.description.contains(advice) == true, "\(error?.description ?? "")")
    }
}

@Suite("X-Forwarded-For behind trusted proxies")
struct ForwardedForTests {
    private let resolver: ForwardedFor

    init() throws {
        resolver = ForwardedFor(trusted: [try CIDR("10.0.0.0/8"), try CIDR("fd00::/8")])
    }

    @Test(
        "The client is the right-most hop that is no trusted proxy",
        arguments: [
            ("10.0.0.1", nil, "10.0.0.1"), ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", " , ,", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"), ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
            ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("fd00::1", "2001:db8::5", "2001:db8::5"),
            // A peer that is no proxy may write what it likes.
            ("9.9.9.9", "1.2.3.4", "9.9.9.9"), ("9.9.9.9", "10.0.0.1", "9.9.9.9"),
            // A hop that is no address hides what is left of it.
            ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, unknown, 10.5.5.5", "10.5.5.5"),
            ("10.0.0.1", "unknown, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "unknown, 10.3.3.3, 1.2.3.4, 10.4.4.4", "1.2.3.4"),
            // Ports, brackets.
            ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
            ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
            ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"), ("10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "1.2.3.4:", "10.0.0.1"), ("10.0.0.1", "1.2.3.4:a", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4:123456", "10.0.0.1"), ("10.0.0.1", "[2001:db8::1", "10.0.0.1"),
            ("10.0.0.1", "[2001:db8::1]x", "10.0.0.1"), ("10.0.0.1", "[", "10.0.0.1"),
            ("10.0.0.1", ":1", "10.0.0.1"),
        ] as [(String, String?, String)])
    func client(peer: String, value: String?, expected: String) throws {
        let peer = try #require(IPAddress(peer))
        // In one line and in a line for each element.
        let elements = value?.split(separator: ",", omittingEmptySubsequences: false) ?? []
        let oneLine = try head(value.map { get("X-Forwarded-For: \($0)") } ?? get())
        let manyLines = try head(
            "GET / HTTP/1.1\r\nHost: a\r\n"
                + elements.map { "X-Forwarded-For: \($0)\r\n" }.joined() + "\r\n")
        for request in [oneLine, manyLines] {
            let address = resolver.client(peer: peer, head: request.head, in: request.bytes.span)
            #expect(address.description == expected)
        }
    }

    @Test("Without trusted proxies the header is ignored")
    func untrusted() throws {
        let resolver = ForwardedFor(trusted: [])
        let peer = try #require(IPAddress("10.0.0.1"))
        let request = try head(get("X-Forwarded-For: 1.2.3.4"))
        #expect(resolver.client(peer: peer, head: request.head, in: request.bytes.span) == peer)
        #expect(!resolver.isTrusted(peer))
    }
}
