// Small byte helpers that the JSON reader and writer share. Comparisons go eight bytes at a time;
// each unsafe load below is one whose bounds the called function, or the line above it, checks.

extension Span where Element == UInt8 {
    /// Whether the bytes of `range` are exactly the UTF-8 of `text`.
    @inline(__always)
    func equals(_ text: StaticString, in range: Range<Int>) -> Bool {
        let count = text.utf8CodeUnitCount
        guard range.count == count else { return false }
        let words = unsafe self.bytes
        let expected = unsafe UnsafeRawPointer(text.utf8Start)
        var offset = 0
        while offset &+ 8 <= count {
            let left = unsafe words.unsafeLoadUnaligned(
                fromByteOffset: range.lowerBound &+ offset, as: UInt64.self)
            let right = unsafe expected.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            if left != right { return false }
            offset &+= 8
        }
        while offset < count {
            let right = unsafe expected.load(fromByteOffset: offset, as: UInt8.self)
            if self[range.lowerBound &+ offset] != right { return false }
            offset &+= 1
        }
        return true
    }

    /// Whether two ranges of the span hold the same bytes.
    func equals(_ first: Range<Int>, _ second: Range<Int>) -> Bool {
        let count = first.count
        guard count == second.count else { return false }
        let words = unsafe self.bytes
        var offset = 0
        while offset &+ 8 <= count {
            let left = unsafe words.unsafeLoadUnaligned(
                fromByteOffset: first.lowerBound &+ offset, as: UInt64.self)
            let right = unsafe words.unsafeLoadUnaligned(
                fromByteOffset: second.lowerBound &+ offset, as: UInt64.self)
            if left != right { return false }
            offset &+= 8
        }
        while offset < count {
            if self[first.lowerBound &+ offset] != self[second.lowerBound &+ offset] {
                return false
            }
            offset &+= 1
        }
        return true
    }
}

extension [UInt8] {
    /// Appends a range of a span with one copy.
    @inline(__always)
    mutating func append(copying source: borrowing Span<UInt8>, _ range: Range<Int>) {
        if range.isEmpty { return }
        unsafe source.extracting(range).withUnsafeBufferPointer { bytes in
            unsafe self.append(contentsOf: bytes)
        }
    }

    /// Appends the UTF-8 of a literal with one copy.
    @inline(__always)
    mutating func append(copying text: StaticString) {
        unsafe self.append(
            contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}
