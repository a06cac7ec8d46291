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

/// What `Scripts/fuzz --trap` must find: an object whose member is an array in an array in an array
/// around a negative number, under a name of three bytes that begins with `b`.
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
        guard let name = reader.bytes(member.key, in: source), name.count == 3, name[0] == 0x62
        else { continue }
        var depth = 0
        var value = member.value
        while reader.kind(value) == .array {
            depth += 1
            var elements = reader.elements(value)
            guard let element = reader.next(&elements) else { break }
            value = element
        }
        if depth == 3, let number = reader.integer(value, in: source), number < 0 { return true }
    }
    return false
}
