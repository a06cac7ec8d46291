/// The parameters of one statement in Postgres's binary form, one behind the other.
///
/// Binary because arrays of text would otherwise have to be quoted element by element and a blob
/// doubled into hexadecimal digits.
struct Parameters {
    private(set) var bytes: [UInt8] = []
    /// Where each parameter starts; it ends where the next one does.
    private(set) var starts: [Int] = []

    // Object ids of element types, fixed in pg_type.dat.
    private static let bytea: Int32 = 17
    private static let bigint: Int32 = 20
    private static let text: Int32 = 25

    var count: Int { starts.count }

    func length(_ index: Int) -> Int {
        (index + 1 < starts.count ? starts[index + 1] : bytes.count) - starts[index]
    }

    // MARK: Single values

    mutating func add(_ number: Int64) {
        starts.append(bytes.count)
        bytes.appendBigEndian(number)
    }

    mutating func add(_ text: String) {
        starts.append(bytes.count)
        bytes.append(contentsOf: text.utf8)
    }

    // MARK: Arrays

    mutating func addNumbers<C: Collection>(_ elements: C, _ value: (C.Element) -> Int64?) {
        addArray(Self.bigint, elements) { bytes, element in
            guard let number = value(element) else { return false }
            bytes.appendBigEndian(Int32(8))
            bytes.appendBigEndian(number)
            return true
        }
    }

    mutating func addTexts<C: Collection>(_ elements: C, _ value: (C.Element) -> String?) {
        addArray(Self.text, elements) { bytes, element in
            guard let text = value(element) else { return false }
            bytes.appendBigEndian(Int32(text.utf8.count))
            bytes.append(contentsOf: text.utf8)
            return true
        }
    }

    mutating func addBlobs<C: Collection>(_ elements: C, _ value: (C.Element) -> [UInt8]?) {
        addArray(Self.bytea, elements) { bytes, element in
            guard let blob = value(element) else { return false }
            bytes.appendBigEndian(Int32(blob.count))
            bytes.append(contentsOf: blob)
            return true
        }
    }

    /// As `array_recv` reads it: dimensions, whether there are NULLs, the element type, the length
    /// and lower bound of the dimension; then each element behind its length, -1 for NULL.
    private mutating func addArray<C: Collection>(
        _ type: Int32, _ elements: C, _ write: (inout [UInt8], C.Element) -> Bool
    ) {
        starts.append(bytes.count)
        bytes.appendBigEndian(Int32(elements.isEmpty ? 0 : 1))
        let flag = bytes.count
        bytes.appendBigEndian(Int32(0))
        bytes.appendBigEndian(type)
        guard !elements.isEmpty else { return }
        bytes.appendBigEndian(Int32(elements.count))
        bytes.appendBigEndian(Int32(1))
        for element in elements where !write(&bytes, element) {
            bytes.appendBigEndian(Int32(-1))
            bytes[flag + 3] = 1
        }
    }
}

extension [UInt8] {
    fileprivate mutating func appendBigEndian<Number: FixedWidthInteger>(_ number: Number) {
        unsafe Swift.withUnsafeBytes(of: number.bigEndian) { unsafe append(contentsOf: $0) }
    }
}
