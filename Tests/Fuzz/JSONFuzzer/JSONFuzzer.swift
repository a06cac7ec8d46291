import Wire

/// libFuzzer's door to `JSONReaderExercise`, called once an input; built and run by
/// `Scripts/fuzz json`. The input is the document.
@c(LLVMFuzzerTestOneInput)
public func fuzzJSON(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe UnsafeBufferPointer(start: start, count: count)
    unsafe JSONReaderExercise.run(input.span)
    #if MARTLET_PLANTED_TRAP
        precondition(unsafe !isPlanted(input.span), "the planted trap")
    #endif
    return 0
}

/// What `Scripts/fuzz --trap` must find: an object with a member that is an array in an array.
private func isPlanted(_ source: Span<UInt8>) -> Bool {
    var reader = JSONReader(hashSeed: 1)
    do throws(JSONError) {
        try reader.parse(source)
    } catch {
        return false
    }
    guard reader.kind(reader.root) == .object else { return false }
    var members = reader.members(reader.root)
    while let member = reader.next(&members) {
        var depth = 0
        var value: JSONNode? = member.value
        while let node = value, reader.kind(node) == .array {
            depth += 1
            var elements = reader.elements(node)
            value = reader.next(&elements)
        }
        if depth == 2 { return true }
    }
    return false
}
