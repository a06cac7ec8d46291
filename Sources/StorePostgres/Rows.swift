import CPostgres

/// The rows of one answer, in binary form. Columns are `bigint`, `text`, `bytea` or `boolean`; the
/// statements cast what is not.
@safe final class Rows {
    private let result: OpaquePointer
    let count: Int

    /// Takes the result over.
    init(_ result: OpaquePointer) {
        unsafe self.result = unsafe result
        unsafe count = Int(PQntuples(result))
    }

    deinit { unsafe PQclear(result) }

    func isNull(_ row: Int, _ column: Int32) -> Bool {
        unsafe PQgetisnull(result, Int32(row), column) == 1
    }

    private func withValue<T>(
        _ row: Int, _ column: Int32, _ body: (UnsafeRawBufferPointer) -> T
    ) -> T {
        let start = unsafe PQgetvalue(result, Int32(row), column)
        let length = unsafe Int(PQgetlength(result, Int32(row), column))
        return unsafe body(UnsafeRawBufferPointer(start: start, count: length))
    }

    func integer(_ row: Int, _ column: Int32) -> Int64 {
        unsafe withValue(row, column) { bytes in
            unsafe bytes.reduce(0) { $0 << 8 | Int64($1) }
        }
    }

    func optionalInteger(_ row: Int, _ column: Int32) -> Int64? {
        isNull(row, column) ? nil : integer(row, column)
    }

    func bool(_ row: Int, _ column: Int32) -> Bool { integer(row, column) != 0 }

    func text(_ row: Int, _ column: Int32) -> String {
        unsafe withValue(row, column) { unsafe String(decoding: $0, as: UTF8.self) }
    }

    func optionalText(_ row: Int, _ column: Int32) -> String? {
        isNull(row, column) ? nil : text(row, column)
    }

    func blob(_ row: Int, _ column: Int32) -> [UInt8] {
        unsafe withValue(row, column) { unsafe Array($0) }
    }
}
