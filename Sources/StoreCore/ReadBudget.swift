import Domain

/// What is left of the bounds of one read. The first entry is given even if it is too large.
package struct ReadBudget {
    package private(set) var entries: Int
    private var bytes: Int
    private var isUntouched = true

    package init(entries: Int, bytes: Int) {
        self.entries = max(1, entries)
        self.bytes = bytes
    }

    /// Whether the next entry is given. After a no, no other is.
    package mutating func takes(_ entry: LogEntry) -> Bool {
        let size = entry.approximateBytes
        guard isUntouched || (entries > 0 && bytes >= size) else {
            // What comes after it is not given either.
            entries = 0
            return false
        }
        isUntouched = false
        entries -= 1
        // A first entry larger than all leaves nothing.
        bytes = max(0, bytes) >= size ? bytes - size : 0
        return true
    }
}
