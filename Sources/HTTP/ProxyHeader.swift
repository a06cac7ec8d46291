/// The binary header that a balancer puts in front of a connection to say whose it is: PROXY protocol,
/// version 2. Read from peers that are trusted, and at the very beginning, before TLS or HTTP.
///
///     signature 12 │ version and command 1 │ family 1 │ length 2 │ addresses, then TLVs
///
/// Source: haproxy.org, "The PROXY protocol", §2.2.
public enum ProxyHeader {
    public enum Parsed: Hashable, Sendable {
        /// It may still become one.
        case needMore
        /// Something else begins here: there is none.
        case absent
        /// The client, or nil where the balancer speaks for itself (a health check), and the header's
        /// length in bytes.
        case present(IPAddress?, length: Int)
        /// It begins like one and is none.
        case malformed
    }

    /// Addresses and TLVs beyond this are nobody's: what the protocol defines takes a few hundred.
    public static let maximumLength = 2_048

    private static let signature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]
    private static let fixedCount = 16

    /// What `bytes`, the first that the peer sent, begin with.
    public static func parse(_ bytes: Span<UInt8>) -> Parsed {
        for index in 0..<min(bytes.count, signature.count) where bytes[index] != signature[index] {
            return .absent
        }
        guard bytes.count >= fixedCount else { return .needMore }
        let length = Int(bytes[14]) << 8 | Int(bytes[15])
        guard bytes[12] >> 4 == 2, bytes[12] & 0xF < 2, length <= maximumLength else {
            return .malformed
        }
        guard bytes.count >= fixedCount + length else { return .needMore }
        let total = fixedCount + length
        if bytes[12] & 0xF == 0 { return .present(nil, length: total) }
        switch bytes[13] {
        case 0x11:
            guard length >= 12 else { return .malformed }
            return .present(IPAddress(v4: UInt32(number(bytes, 16..<20))), length: total)
        case 0x21:
            guard length >= 36 else { return .malformed }
            return .present(IPAddress(bits: number(bytes, 16..<32)), length: total)
        default:
            // Unix sockets, datagrams, or unspecified: no address that means anything here.
            return .present(nil, length: total)
        }
    }

    private static func number(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt128 {
        var number: UInt128 = 0
        for index in range { number = number << 8 | UInt128(bytes[index]) }
        return number
    }
}
