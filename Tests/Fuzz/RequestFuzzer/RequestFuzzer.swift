import HTTP

/// libFuzzer's door to `RequestParserExercise`, called once an input; built and run by
/// `Scripts/fuzz request`. The input's layout is told there.
@c(LLVMFuzzerTestOneInput)
public func fuzzRequests(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe UnsafeBufferPointer(start: start, count: count)
    unsafe RequestParserExercise.run(input.span)
    #if MARTLET_PLANTED_TRAP
        if count > 1 {
            precondition(unsafe !isPlanted(input.span.extracting(1..<count)), "the planted trap")
        }
    #endif
    return 0
}

/// What `Scripts/fuzz --trap` must find: an accepted request with a header `x-bug` of seven bytes.
private func isPlanted(_ bytes: Span<UInt8>) -> Bool {
    var parser = RequestParser()
    var scannedFrom = 0
    guard case .head = parser.parse(bytes, scannedFrom: &scannedFrom) else { return false }
    for field in parser.head.headers where field.name.count == 5 {
        // As a word: libFuzzer sees what it is compared with, which no fuzzer guesses.
        let word = field.name.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32(bytes[$1]) }
        if word == 0x782D_6275, bytes[field.name.upperBound - 1] == 0x67 {
            return field.value.count == 7
        }
    }
    return false
}
