/// Which entries of the log have been seen: all up to one seq, and some beyond it. An ack of one's
/// own message may overtake the entry before it.
package struct SeenEntries: Hashable, Sendable {
    /// Nothing up to here is missing.
    package private(set) var through: Int64
    private var beyond: Set<Int64> = []

    package init(through: Int64) { self.through = through }

    package func contains(_ seq: Int64) -> Bool { seq <= through || beyond.contains(seq) }

    /// Returns whether it is new.
    @discardableResult
    package mutating func insert(_ seq: Int64) -> Bool {
        guard !contains(seq) else { return false }
        beyond.insert(seq)
        advance()
        return true
    }

    /// The server has given everything up to `seq` that there is to give.
    package mutating func reached(_ seq: Int64) {
        guard seq > through else { return }
        through = seq
        beyond = beyond.filter { $0 > seq }
        advance()
    }

    private mutating func advance() {
        while through < Int64.max, beyond.remove(through + 1) != nil { through += 1 }
    }
}
