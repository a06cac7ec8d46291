/// Writes commands as Redis reads them: an array of bulk strings, each with its length in front, so
/// any bytes go through.
enum RESPCommand {
    static func append(_ words: [[UInt8]], to output: inout [UInt8]) {
        appendHeader(words: words.count, to: &output)
        for word in words { append(word: word, to: &output) }
    }

    static func appendHeader(words count: Int, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "*"))
        appendNumber(count, to: &output)
    }

    static func append(word: [UInt8], to output: inout [UInt8]) {
        output.append(UInt8(ascii: "$"))
        appendNumber(word.count, to: &output)
        output.append(contentsOf: word)
        appendLineEnd(to: &output)
    }

    private static func appendNumber(_ number: Int, to output: inout [UInt8]) {
        var divisor = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            output.append(UInt8(ascii: "0") + UInt8(number / divisor % 10))
            divisor /= 10
        }
        appendLineEnd(to: &output)
    }

    private static func appendLineEnd(to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\r"))
        output.append(UInt8(ascii: "\n"))
    }
}
