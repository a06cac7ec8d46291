import Testing

@testable import BusRedis

@Suite("Replies of Redis")
struct RESPReaderTests {
    private static func replies(_ stream: [UInt8], step: Int = 65_536) -> [RESPReply]? {
        var reader = RESPReader()
        var replies: [RESPReply] = []
        do throws(RESPReader.Violation) {
            for start in stride(from: 0, to: stream.count, by: step) {
                try reader.feed(stream.span.extracting(start..<min(start + step, stream.count)))
                while let reply = try reader.next() { replies.append(reply) }
            }
        } catch {
            return nil
        }
        return replies
    }

    private static let stream = bytes(
        "+OK\r\n-ERR no\r\n:42\r\n:-1\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n"
            + "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$6\r\na\r\n\0\r\n\r\n*2\r\n+a\r\n$-1\r\n")
    private static let expected: [RESPReply] = [
        .status(bytes("OK")), .error(bytes("ERR no")), .integer(42), .integer(-1), .null,
        .bulk([]), .null, .array([]),
        .array([.bulk(bytes("message")), .bulk(bytes("c")), .bulk(bytes("a\r\n\0\r\n"))]),
        .array([.status(bytes("a")), .null]),
    ]

    @Test("Each kind is read, in pieces of any size")
    func pieces() {
        for step in 1...Self.stream.count {
            #expect(Self.replies(Self.stream, step: step) == Self.expected)
        }
    }

    @Test(
        "An array of 16 is read, one of 17 refused before its elements come",
        arguments: [
            (16, true), (17, false), (2_147_483_647, false),
        ])
    func elements(count: Int, isGood: Bool) {
        #expect((Self.replies(bytes("*\(count)\r\n")) != nil) == isGood)
        if isGood {
            let elements = [RESPReply](repeating: .integer(1), count: count)
            let stream = "*\(count)\r\n" + String(repeating: ":1\r\n", count: count)
            #expect(Self.replies(bytes(stream)) == [.array(elements)])
        }
    }

    @Test("Arrays in arrays are refused")
    func nesting() {
        #expect(Self.replies(bytes("*1\r\n*1\r\n:1\r\n")) == nil)
    }

    @Test("A bulk string of 2 MiB is read, one byte more refused")
    func bulks() {
        let limit = RESPReader.maximumReplyBytes
        for (count, isGood) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
            let content = [UInt8](repeating: 0x78, count: count)
            let replies = Self.replies(bytes("$\(count)\r\n") + content + bytes("\r\n"))
            #expect(replies == (isGood ? [.bulk(content)] : nil))
        }
    }

    @Test("The strings of an array have 2 MiB together, and the next reply as much again")
    func sums() {
        let half = RESPReader.maximumReplyBytes / 2
        func array(_ counts: [Int]) -> [UInt8] {
            counts.reduce(bytes("*\(counts.count)\r\n")) {
                $0 + bytes("$\($1)\r\n") + [UInt8](repeating: 0x78, count: $1) + bytes("\r\n")
            }
        }
        #expect(Self.replies(array([half, half]) + array([half, half]))?.count == 2)
        #expect(Self.replies(array([half, half, 1])) == nil)
    }

    @Test("An announced gigabyte costs nothing until it comes, and is refused when too much has")
    func announcements() {
        for header in ["$999999999\r\n", "$9223372036854775807\r\n", "+", "-", ":"] {
            #expect(Self.replies(bytes(header))?.isEmpty == true)
            let endless = [UInt8](repeating: 0x31, count: RESPReader.maximumReplyBytes + 200_000)
            #expect(Self.replies(bytes(header) + endless) == nil)
        }
    }

    @Test(
        "What is no reply is refused",
        arguments: [
            "x\r\n", "\r\n", "HTTP/1.1 200 OK\r\n", ":x\r\n", ":99999999999999999999\r\n", "*x\r\n",
            "*-2\r\n", "$-2\r\n", "$x\r\n", "*1\r\nx\r\n", "%1\r\n+a\r\n+b\r\n", "_\r\n",
        ])
    func noReply(text: String) {
        #expect(Self.replies(bytes(text)) == nil)
    }

    @Test("After an error nothing more is read")
    func afterError() {
        var reader = RESPReader()
        let bad = bytes("x\r\n")
        let good = bytes("+OK\r\n")
        try? reader.feed(bad.span)
        for _ in 0..<3 {
            #expect(throws: RESPReader.Violation()) { _ = try reader.next() }
        }
        #expect(throws: RESPReader.Violation()) { try reader.feed(good.span) }
    }

    @Test("Every changed byte gives replies or a refusal")
    func mutations() {
        var stream = Self.stream
        for index in stream.indices {
            let byte = stream[index]
            for value in [byte ^ 1, byte ^ 0x20, 0, 0x39, 0x2A, 0x24, 0xFF] {
                stream[index] = value
                _ = Self.replies(stream, step: 7)
            }
            stream[index] = byte
        }
    }

    @Test("Random bytes of the protocol's alphabet trap nothing")
    func noise() {
        let alphabet = bytes("*$:+-0123456789\r\nab")
        for _ in 0..<5_000 {
            var stream: [UInt8] = []
            for _ in 0..<Int.random(in: 1..<60) {
                stream.append(alphabet.randomElement() ?? 0)
                if Bool.random() { stream += bytes("\r\n") }
            }
            _ = Self.replies(stream, step: Int.random(in: 1..<20))
        }
    }

    @Test("A command is written so that any byte goes through")
    func commands() {
        var output: [UInt8] = []
        RESPCommand.append([bytes("PUBLISH"), [], bytes("a\r\n\0")], to: &output)
        #expect(output == bytes("*3\r\n$7\r\nPUBLISH\r\n$0\r\n\r\n$4\r\na\r\n\0\r\n"))
        output = []
        RESPCommand.append(word: [UInt8](repeating: 0x78, count: 1_000), to: &output)
        #expect(output.starts(with: bytes("$1000\r\nx")))
    }
}
