/// Drives `RequestParser` and what reads its result with arbitrary bytes, and checks what must hold
/// for all of them. Pure, so that a fuzzer and a unit test share it.
///
/// Layout of the input: byte 0 chooses small or default limits (bit 0) and seeds the cuts, the rest
/// comes from the peer.
public enum RequestParserExercise {
    /// Limits small enough for short inputs to go over each.
    public static let smallLimits = RequestLimits(
        headBytes: 256, headers: 4, targetBytes: 64, bodyBytes: 1_000)

    /// Traps when an invariant does not hold: a request means something else when it arrives in
    /// pieces, or a range points outside its place.
    public static func run(_ input: Span<UInt8>) {
        guard let seed = input.isEmpty ? nil : input[0] else { return }
        let limits = seed & 1 == 0 ? smallLimits : RequestLimits()
        let bytes = input.extracting(1..<input.count)
        var parser = RequestParser(limits: limits)
        var scannedFrom = 0
        let whole = parser.parse(bytes, scannedFrom: &scannedFrom)
        precondition(scannedFrom >= 0 && scannedFrom <= bytes.count)
        let head = parser.head
        if case .head(let length) = whole { check(head, bytes, length, limits) }

        var state = UInt64(seed) &+ 1
        precondition(
            inPieces(bytes, &parser) { 1 } == whole, "a request means something else byte by byte")
        if case .head = whole { precondition(isSame(parser.head, head)) }
        let cut = inPieces(bytes, &parser) {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 59) + 1
        }
        precondition(cut == whole, "a request means something else in pieces")
    }

    /// The result when `bytes` arrive in pieces.
    private static func inPieces(
        _ bytes: Span<UInt8>, _ parser: inout RequestParser, pieceLength: () -> Int
    ) -> RequestParse {
        var scannedFrom = 0
        var received = 0
        while true {
            let result = parser.parse(bytes.extracting(0..<received), scannedFrom: &scannedFrom)
            precondition(scannedFrom <= received, "more was scanned than has come")
            if result != .needMore || received == bytes.count { return result }
            received = min(bytes.count, received + pieceLength())
        }
    }

    private static func isSame(_ one: RequestHead, _ other: RequestHead) -> Bool {
        one.method == other.method && one.target == other.target && one.path == other.path
            && one.query == other.query && one.headers == other.headers && one.host == other.host
            && one.contentLength == other.contentLength && one.keepAlive == other.keepAlive
            && one.upgradesToWebSocket == other.upgradesToWebSocket
            && one.expectsContinue == other.expectsContinue
    }

    private static func check(
        _ head: RequestHead, _ bytes: Span<UInt8>, _ length: Int, _ limits: RequestLimits
    ) {
        precondition(length <= bytes.count && length <= limits.headBytes)
        precondition(head.headers.count <= limits.headers)
        precondition(head.target.count <= limits.targetBytes && !head.path.isEmpty)
        precondition((head.contentLength ?? 0) <= limits.bodyBytes)
        precondition(head.host != nil || head.minorVersion == 0)
        precondition(head.path.lowerBound == head.target.lowerBound)
        precondition((head.query ?? head.path).upperBound == head.target.upperBound)
        var end = head.target.upperBound
        for field in head.headers {
            precondition(field.name.lowerBound > end && !field.name.isEmpty)
            precondition(field.value.lowerBound > field.name.upperBound)
            precondition(field.value.upperBound <= length - 4)
            for index in field.value {
                precondition(bytes[index] >= 0x20 || bytes[index] == ASCII.tab)
            }
            end = field.value.upperBound
        }
        read(head, bytes)
    }

    /// Runs every reader over the head; none may trap.
    private static func read(_ head: RequestHead, _ bytes: Span<UInt8>) {
        if let segment = PercentDecoding.segment(bytes, head.path) {
            precondition(segment.utf8.count <= head.path.count && !segment.utf8.contains(0))
        }
        if case .value(let text) = QueryString.value(of: "token", in: bytes, query: head.query) {
            precondition(text.utf8.count <= head.target.count)
        }
        var cursor = RequestHead.ListCursor()
        var elements = 0
        while let element = head.nextElement(of: "connection", after: &cursor, in: bytes) {
            precondition(!element.isEmpty)
            elements += 1
        }
        precondition(elements == 0 || head.value(of: "connection", in: bytes) != nil)
        precondition(
            head.connectionListsUpgrade
                == head.list("connection", contains: "upgrade", in: bytes))
        let all = IPAddress(v4: 0x7F00_0001)
        if let everywhere = try? CIDR("::/0") {
            _ = ForwardedFor(trusted: [everywhere]).client(peer: all, head: head, in: bytes)
        }
    }
}
