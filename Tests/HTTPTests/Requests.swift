import HTTP
import Testing

/// A parsed request with its bytes, so that a test can ask for text instead of ranges.
struct Parsed {
    let head: RequestHead
    let bytes: [UInt8]
    let length: Int

    func text(_ range: Range<Int>?) -> String? {
        range.map { String(decoding: bytes[$0], as: UTF8.self) }
    }

    func value(_ name: StaticString) -> String? { text(head.value(of: name, in: bytes.span)) }

    func elements(_ name: StaticString) -> [String] {
        var cursor = RequestHead.ListCursor()
        var elements: [String] = []
        while let range = head.nextElement(of: name, after: &cursor, in: bytes.span) {
            elements.append(text(range)!)
        }
        return elements
    }
}

/// The result for bytes that arrive whole.
func parse(_ bytes: [UInt8], limits: RequestLimits = RequestLimits()) -> RequestParse {
    var parser = RequestParser(limits: limits)
    var scannedFrom = 0
    return parser.parse(bytes.span, scannedFrom: &scannedFrom)
}

func parse(_ text: String, limits: RequestLimits = RequestLimits()) -> RequestParse {
    parse(Array(text.utf8), limits: limits)
}

/// The head of a request that must be good.
func head(_ text: String, limits: RequestLimits = RequestLimits()) throws -> Parsed {
    let bytes = Array(text.utf8)
    var parser = RequestParser(limits: limits)
    var scannedFrom = 0
    let result = parser.parse(bytes.span, scannedFrom: &scannedFrom)
    guard case .head(let length) = result else {
        Issue.record("\(result) for \(text)")
        throw RequestError.malformedRequestLine
    }
    return Parsed(head: parser.head, bytes: bytes, length: length)
}

/// A GET with Host and these further header lines.
func get(_ lines: String...) -> String {
    "GET / HTTP/1.1\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n"
}
