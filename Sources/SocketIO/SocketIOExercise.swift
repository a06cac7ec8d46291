/// Drives the readers of this module with arbitrary bytes and checks what must hold for all of them.
/// Pure, so that a fuzzer and a unit test share it.
public enum SocketIOExercise {
    /// Traps when an invariant does not hold: records do not cover the payload, a cut is not at a
    /// separator or goes over its bounds, a packet's parts overlap, leave it, or read differently when
    /// they are written again, an id reads differently from its own text.
    public static func run(_ input: Span<UInt8>) {
        checkRecords(input)
        checkCut(input)
        if let packet = SocketPacket.parse(input) { check(packet, input) }
        if let id = EngineID(input) {
            precondition(Array(id.text.utf8) == copy(input, 0..<input.count), "\(id.text)")
        }
    }

    private static func checkRecords(_ input: Span<UInt8>) {
        var position = 0
        var separators = 0
        var records = 0
        for index in 0..<input.count where input[index] == PollingPayload.separator {
            separators += 1
        }
        while let record = PollingPayload.next(in: input, at: &position) {
            records += 1
            guard case .text(let range) = record else { continue }
            precondition(range.upperBound == position - 1 && !range.isEmpty, "\(range)")
            for index in range {
                precondition(input[index] != PollingPayload.separator, "a separator in a record")
            }
        }
        precondition(records == separators + 1, "\(records) records, \(separators) separators")
        precondition(position == input.count + 1, "ended at \(position) of \(input.count)")
    }

    private static func checkCut(_ input: Span<UInt8>) {
        for (packets, bytes) in [(1, 10), (3, 10), (16, 100)] {
            let cut = PollingPayload.cut(input, packets: packets, bytes: bytes)
            precondition(cut <= input.count)
            guard cut > 0 else { continue }
            precondition(input[cut - 1] == PollingPayload.separator, "cut at \(cut)")
            var count = 0
            for index in 0..<cut where input[index] == PollingPayload.separator { count += 1 }
            precondition(count <= packets, "\(count) packets")
            precondition(count == 1 || cut <= bytes, "\(cut) bytes")
        }
    }

    private static func check(_ packet: SocketPacket, _ input: Span<UInt8>) {
        precondition(packet.payload.upperBound == input.count)
        precondition(packet.attachments <= SocketPacket.maximumAttachments)
        var text = [packet.kind.rawValue]
        if packet.kind.hasAttachments { text += Array("\(packet.attachments)-".utf8) }
        if let namespace = packet.namespace {
            precondition(input[namespace.lowerBound] == UInt8(ascii: "/"))
            text += copy(input, namespace)
            text.append(UInt8(ascii: ","))
        }
        if let id = packet.id { text += Array("\(id)".utf8) }
        let payload = copy(input, packet.payload)
        text += payload
        guard let again = SocketPacket.parse(text.span) else {
            preconditionFailure("the packet was refused when it was written again")
        }
        precondition(
            again.kind == packet.kind && again.attachments == packet.attachments
                && again.id == packet.id && copy(text.span, again.payload) == payload
                && again.namespace.map { copy(text.span, $0) }
                    == packet.namespace.map { copy(input, $0) },
            "\(packet) reads as \(again)")
    }

    private static func copy(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
        var copy: [UInt8] = []
        for index in range { copy.append(bytes[index]) }
        return copy
    }
}
