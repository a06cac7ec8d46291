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

/// What `Scripts/fuzz --trap` must find: an accepted request with a query, and with a header of
/// five letters that has seven bytes.
private func isPlanted(_ bytes: Span<UInt8>) -> Bool {
    var parser = RequestParser()
    var scannedFrom = 0
    guard case .head = parser.parse(bytes, scannedFrom: &scannedFrom), parser.head.query != nil
    else { return false }
    for field in parser.head.headers where field.name.count == 5 {
        if field.value.count == 7 { return true }
    }
    return false
}
