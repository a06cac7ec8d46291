/// Finds the client's address behind trusted proxies, from the `X-Forwarded-For` that they append
/// to. The left end of that list is whatever the client wrote, so only the right end counts: going
/// left from the peer, the first hop that is not a trusted proxy is the client.
///
/// Without trusted blocks, or from a peer outside them, the header is ignored.
public struct ForwardedFor: Sendable {
    public let trusted: [CIDR]

    public init(trusted: [CIDR]) {
        self.trusted = trusted
    }

    /// Whether the address belongs to one of our own proxies.
    public func isTrusted(_ address: IPAddress) -> Bool {
        trusted.contains { $0.contains(address) }
    }

    /// The address that rate limits and logs should use.
    ///
    /// - Parameters:
    ///   - peer: the other end of the TCP connection, or of the PROXY header.
    ///   - head: a parsed request head; its lines of the header count in their order.
    ///   - bytes: those that the head was parsed from.
    public func client(peer: IPAddress, head: RequestHead, in bytes: Span<UInt8>) -> IPAddress {
        guard isTrusted(peer) else { return peer }
        var hop: IPAddress?
        var cursor = RequestHead.ListCursor()
        while let element = head.nextElement(of: "x-forwarded-for", after: &cursor, in: bytes) {
            hop = step(hop, Self.address(bytes, element))
        }
        return hop ?? peer
    }

    /// Reading left to right gives the same as walking right to left: an untrusted hop hides all
    /// that is left of it, and a trusted one shows it. A hop that is no address hides it too, since
    /// what a proxy passed on unread is worth nothing; the hop right of it is the last one known.
    private func step(_ shown: IPAddress?, _ hop: IPAddress?) -> IPAddress? {
        guard let hop else { return nil }
        return isTrusted(hop) ? shown ?? hop : hop
    }

    /// An address as proxies write it: bare, `1.2.3.4:5678`, `[2001:db8::1]` or
    /// `[2001:db8::1]:5678`.
    private static func address(_ bytes: Span<UInt8>, _ range: Range<Int>) -> IPAddress? {
        if let bare = IPAddress(bytes, range) { return bare }
        let isBracketed = bytes[range.lowerBound] == UInt8(ascii: "[")
        let closing = isBracketed ? UInt8(ascii: "]") : UInt8(ascii: ":")
        let start = range.lowerBound + (isBracketed ? 1 : 0)
        var end = start
        while end < range.upperBound && bytes[end] != closing { end += 1 }
        guard end < range.upperBound, let address = IPAddress(bytes, start..<end),
            isBracketed || address.isV4
        else { return nil }
        let rest = (isBracketed ? end + 1 : end)..<range.upperBound
        return rest.isEmpty || isPort(bytes, rest) ? address : nil
    }

    /// A colon and one to five digits.
    private static func isPort(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard (2...6).contains(range.count), bytes[range.lowerBound] == UInt8(ascii: ":") else {
            return false
        }
        for index in range.dropFirst() where !ASCII.isDigit(bytes[index]) { return false }
        return true
    }
}
