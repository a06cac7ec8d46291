/// An IP address of either family, as 128 bits; an IPv4 address is held in its mapped form
/// `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so that a socket of either family names a peer alike.
public struct IPAddress: Hashable, Sendable {
    /// The address as a number: its first byte on the wire is the most significant.
    public let bits: UInt128

    public init(bits: UInt128) {
        self.bits = bits
    }

    /// - Parameter v4: the IPv4 address as a number, `0x7F00_0001` for 127.0.0.1.
    public init(v4: UInt32) {
        bits = Self.mappedPrefix | UInt128(v4)
    }

    public var isV4: Bool { bits >> 32 == Self.mappedPrefix >> 32 }

    private static let mappedPrefix: UInt128 = 0xFFFF_0000_0000

    /// Parses `192.0.2.1` or `2001:db8::1` (RFC 4291 §2.2), also with the last 32 bits in dots.
    /// No brackets, port, zone, white space or leading zeros in a dotted part; nil otherwise.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        self.init(bytes.span, 0..<bytes.count)
    }

    /// Parses `range` of `bytes` as an address.
    public init?(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        if let v4 = Self.parseV4(bytes, range) {
            self.init(v4: v4)
        } else if let v6 = Self.parseV6(bytes, range) {
            self.init(bits: v6)
        } else {
            return nil
        }
    }

    /// Four numbers of 0–255 without leading zeros, which some readers take for octal.
    private static func parseV4(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt32? {
        guard range.count <= 15 else { return nil }
        var address: UInt32 = 0
        var parts = 0
        var number: UInt32?
        for index in range {
            let byte = bytes[index]
            if byte == UInt8(ascii: ".") {
                guard let part = number, parts < 3 else { return nil }
                address = address << 8 | part
                parts += 1
                number = nil
            } else {
                guard ASCII.isDigit(byte), number != 0 else { return nil }
                let next = (number ?? 0) * 10 + UInt32(byte - 0x30)
                guard next <= 255 else { return nil }
                number = next
            }
        }
        guard let part = number, parts == 3 else { return nil }
        return address << 8 | part
    }

    /// Up to eight groups of four hexadecimal digits; one `::` stands for one or more zero groups.
    private static func parseV6(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt128? {
        guard range.count >= 2 && range.count <= 45 else { return nil }
        var address: UInt128 = 0
        var groups = 0
        var gap: Int?
        var index = range.lowerBound
        let end = range.upperBound
        func isColon(_ index: Int) -> Bool { index < end && bytes[index] == UInt8(ascii: ":") }
        if isColon(index) {
            guard isColon(index + 1) else { return nil }
            gap = 0
            index += 2
        }
        while index < end {
            if groups <= 6, let v4 = parseV4(bytes, index..<end) {
                address = address << 32 | UInt128(v4)
                groups += 2
                index = end
                break
            }
            guard groups < 8, let group = hexGroup(bytes, &index, end) else { return nil }
            address = address << 16 | UInt128(group)
            groups += 1
            guard index < end else { break }
            guard isColon(index) else { return nil }
            index += 1
            if isColon(index) {
                guard gap == nil else { return nil }
                gap = groups
                index += 1
            } else if index == end {
                return nil
            }
        }
        guard let gap else { return groups == 8 ? address : nil }
        guard groups <= 7 else { return nil }
        // The groups after the gap are the low ones; those before it move up to the top.
        let lowBits = UInt128((groups - gap) * 16)
        let low = address & ((1 << lowBits) - 1)
        let high = address >> lowBits
        return gap == 0 ? low : high << UInt128((8 - gap) * 16) | low
    }

    private static func hexGroup(_ bytes: Span<UInt8>, _ index: inout Int, _ end: Int) -> UInt16? {
        let start = index
        var group: UInt16 = 0
        while index < end, index - start < 4, let digit = ASCII.hexValue(bytes[index]) {
            group = group << 4 | UInt16(digit)
            index += 1
        }
        return index > start ? group : nil
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted for IPv4, else the canonical text of RFC 5952: lower case, no leading zeros, the
    /// first longest run of two or more zero groups as `::`.
    public var description: String {
        if isV4 {
            let v4 = UInt32(truncatingIfNeeded: bits)
            return "\(v4 >> 24).\(v4 >> 16 & 0xFF).\(v4 >> 8 & 0xFF).\(v4 & 0xFF)"
        }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> UInt128(112 - 16 * $0)) }
        let gap = Self.longestZeroRun(groups)
        var text = ""
        var index = 0
        while index < 8 {
            if index == gap.lowerBound && gap.count >= 2 {
                text += "::"
                index = gap.upperBound
                continue
            }
            if !text.isEmpty && !text.hasSuffix(":") { text += ":" }
            text += String(groups[index], radix: 16)
            index += 1
        }
        return text
    }

    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int> {
        var longest = 0..<0
        var start = 0
        for index in 0..<8 {
            if groups[index] != 0 {
                start = index + 1
            } else if index + 1 - start > longest.count {
                longest = start..<(index + 1)
            }
        }
        return longest
    }
}
