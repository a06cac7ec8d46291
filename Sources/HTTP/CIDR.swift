/// A block of addresses: all that share their first bits with `base` (RFC 4632 §3.1,
/// RFC 4291 §2.3).
public struct CIDR: Hashable, Sendable {
    public let base: IPAddress
    /// Leading bits that count, of the 128 of `IPAddress`: a `/8` of IPv4 is 104.
    public let prefixLength: Int

    /// Why a text is no block, for the operator who wrote it.
    public struct ParseError: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    /// Parses `10.0.0.0/8`, `2001:db8::/32`, or one address.
    ///
    /// - Throws: `ParseError`, saying what is wrong and, for bits beyond the prefix, what was
    ///   probably meant.
    public init(_ text: String) throws(ParseError) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(String(parts[0])) else {
            throw ParseError(
                description: "\"\(text)\" is no CIDR block: write it like 10.0.0.0/8 or fd00::/8")
        }
        // The form of the text counts: `::ffff:10.0.0.0/104` has a prefix of 128 bits.
        let width = parts[0].utf8.contains(UInt8(ascii: ":")) ? 128 : 32
        var length = width
        if parts.count == 2 {
            guard let number = Self.prefix(parts[1]), number <= width else {
                throw ParseError(
                    description:
                        "\"\(text)\": the prefix length must be a number from 0 to \(width)")
            }
            length = number
        }
        base = address
        prefixLength = length + 128 - width
        let masked = IPAddress(bits: address.bits & Self.mask(prefixLength))
        guard masked == address else {
            throw ParseError(
                description: "\"\(text)\" has bits beyond its prefix: write \(masked)/\(length)")
        }
    }

    /// Whether the address is in the block.
    public func contains(_ address: IPAddress) -> Bool {
        address.bits & Self.mask(prefixLength) == base.bits
    }

    private static func mask(_ length: Int) -> UInt128 {
        length == 0 ? 0 : UInt128.max << UInt128(128 - length)
    }

    /// One to three digits without a leading zero.
    private static func prefix(_ text: Substring) -> Int? {
        let digits = text.utf8
        guard (1...3).contains(digits.count), digits.allSatisfy(ASCII.isDigit),
            digits.count == 1 || digits.first != UInt8(ascii: "0")
        else { return nil }
        return Int(text)
    }
}

extension CIDR: CustomStringConvertible {
    /// As `init` takes it.
    public var description: String { "\(base)/\(base.isV4 ? prefixLength - 96 : prefixLength)" }
}
