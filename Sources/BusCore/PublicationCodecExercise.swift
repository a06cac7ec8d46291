/// What the fuzzer and the tests do with arbitrary bytes: take them for a channel's name and a
/// payload, and where they are accepted, write them again. As a value has exactly one form, any
/// difference traps.
///
/// The input is a byte of length, as many bytes of the channel's name, and the payload.
package enum PublicationCodecExercise {
    package enum Found: Hashable, Sendable {
        case publication, digest
    }

    /// - Returns: what the payload was accepted as; nil if it was refused.
    @discardableResult
    package static func run(_ input: borrowing Span<UInt8>) -> Found? {
        guard input.count > 0, input.count > Int(input[0]) else { return nil }
        let border = 1 + Int(input[0])
        let name = bytes(input.extracting(1..<border))
        let payload = bytes(input.extracting(border..<input.count))

        if name == ChannelNames.digest {
            precondition(ChannelNames.channel(named: name) == nil, "the digest is no channel")
            guard let digest = Digest(decoding: payload) else { return nil }
            precondition(digest.encoded() == payload, "the digest has another form")
            return .digest
        }
        guard let channel = ChannelNames.channel(named: name) else { return nil }
        precondition(ChannelNames.name(of: channel) == name, "the channel has another name")
        guard let publication = PublicationCodec.decode(payload, on: channel) else { return nil }
        precondition(
            PublicationCodec.encode(publication) == payload, "the publication has another form")
        return .publication
    }

    private static func bytes(_ span: borrowing Span<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(span.count)
        for index in span.indices { bytes.append(span[index]) }
        return bytes
    }
}
