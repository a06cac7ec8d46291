import HTTP
import Testing

@Suite("PROXY protocol, version 2")
struct ProxyHeaderTests {
    private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]

    private func header(
        _ addresses: [UInt8], _ command: UInt8 = 0x21, _ family: UInt8 = 0x11
    ) -> [UInt8] {
        Self.signature + [
            command, family, UInt8(addresses.count >> 8), UInt8(addresses.count & 255),
        ] + addresses
    }

    private let v4: [UInt8] = [203, 0, 113, 9, 10, 0, 0, 1, 0x1F, 0x90, 0, 80]

    private func parse(_ bytes: [UInt8]) -> ProxyHeader.Parsed { ProxyHeader.parse(bytes.span) }

    @Test("The client's address is the source, of either family; TLVs behind it are passed over")
    func addresses() {
        #expect(parse(header([]) + []) == .malformed)
        let client = IPAddress("203.0.113.9")
        #expect(parse(header(v4)) == .present(client, length: 28))
        #expect(
            parse(header(v4 + [3, 0, 1, 7]) + Array("GET".utf8)) == .present(client, length: 32))
        let v6 = [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [9]
        let both = v6 + [UInt8](repeating: 1, count: 20)
        #expect(
            parse(header(both, 0x21, 0x21)) == .present(IPAddress("2001:db8::9"), length: 52))
    }

    @Test("A balancer that speaks for itself, or of no TCP, names nobody")
    func local() {
        #expect(parse(header([], 0x20, 0)) == .present(nil, length: 16))
        #expect(
            parse(header([UInt8](repeating: 0, count: 216), 0x21, 0x31))
                == .present(nil, length: 232))
    }

    @Test("Each part of a header may still become one; anything else is no header")
    func pieces() {
        let whole = header(v4)
        for count in 0..<whole.count { #expect(parse(Array(whole[..<count])) == .needMore) }
        for other in ["G", "GET / HTTP/1.1\r\n", "\r\nGET", "\r\n\r\n\0\r\nQUIX", "PROXY TCP4 "] {
            #expect(parse(Array(other.utf8)) == .absent, "\(other)")
        }
    }

    @Test(
        "What begins like one and is none is refused",
        arguments: [
            [0x11, 0x11, 0, 12], [0x22, 0x11, 0, 12], [0x21, 0x11, 0, 11], [0x21, 0x21, 0, 35],
            [0x21, 0x11, 0x08, 0x01], [0x21, 0x11, 0xFF, 0xFF],
        ] as [[UInt8]])
    func malformed(_ head: [UInt8]) {
        #expect(parse(Self.signature + head + [UInt8](repeating: 0, count: 64)) == .malformed)
    }

    @Test("The longest header is taken", arguments: [2_047, 2_048])
    func longest(count: Int) {
        let addresses = v4 + [UInt8](repeating: 0, count: count - v4.count)
        #expect(parse(header(addresses)) == .present(IPAddress("203.0.113.9"), length: 16 + count))
    }
}
