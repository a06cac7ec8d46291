import Domain
import Glibc

/// What appends need of chats: key, last seq and who is a member, kept over batches so that an
/// append reads one index and writes one row. Another connection's write (an operator's shell)
/// shows in `PRAGMA data_version` and empties it; so does a rollback.
///
/// A raised last seq is written when a batch has something else to do than append, once a chat.
struct Heads {
    struct Head {
        let chat: Int64
        var lastSeq: Seq
        var isRaised = false
        var members: Set<ExactText> = []
    }

    /// Names in all chats together; above it the heads are dropped and learnt anew (about 20 MB).
    static let maximumNames = 65_536

    private var slots: [ExactText: Int] = [:]
    private(set) var heads: [Head] = []
    private var nameCount = 0
    private var raised: [Int] = []

    /// The head's slot, where the user is known to be a member.
    func slot(_ chat: ChatID, _ user: UserID) -> Int? {
        guard let slot = slots[ExactText(chat.text)],
            heads[slot].members.contains(ExactText(user.text))
        else { return nil }
        return slot
    }

    /// Takes up what was read from the tables. Returns the slot.
    mutating func learn(_ chat: ChatID, _ user: UserID, key: Int64, lastSeq: Seq) -> Int {
        let name = ExactText(chat.text)
        nameCount += 1
        if let slot = slots[name] {
            heads[slot].members.insert(ExactText(user.text))
            return slot
        }
        slots[name] = heads.count
        heads.append(Head(chat: key, lastSeq: lastSeq, members: [ExactText(user.text)]))
        return heads.count - 1
    }

    mutating func raise(_ slot: Int, to seq: Seq) {
        heads[slot].lastSeq = seq
        guard !heads[slot].isRaised else { return }
        heads[slot].isRaised = true
        raised.append(slot)
    }

    /// The heads to be written, which count as written from now on.
    mutating func takeRaised() -> [Head] {
        guard !raised.isEmpty else { return [] }
        let taken = raised.map { heads[$0] }
        for slot in raised { heads[slot].isRaised = false }
        raised.removeAll(keepingCapacity: true)
        return taken
    }

    /// Not while some are raised.
    mutating func forget() { self = Heads() }

    var isFull: Bool { nameCount >= Self.maximumNames }
}

/// Text that is the same where its bytes are, as in the tables. `String` takes different bytes of
/// the same characters (é, and e with a combining accent) for equal.
struct ExactText: Hashable {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (a: ExactText, b: ExactText) -> Bool { a.text.hasSameBytes(as: b.text) }

    func hash(into hasher: inout Hasher) {
        let isHashed: Void? = unsafe text.utf8.withContiguousStorageIfAvailable {
            unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0))
        }
        if isHashed == nil { for byte in text.utf8 { hasher.combine(byte) } }
    }
}

extension String {
    func hasSameBytes(as other: String) -> Bool {
        guard utf8.count == other.utf8.count else { return false }
        guard !isEmpty else { return true }
        let isSame: Bool?? = unsafe utf8.withContiguousStorageIfAvailable { one in
            unsafe other.utf8.withContiguousStorageIfAvailable { two in
                unsafe memcmp(one.baseAddress!, two.baseAddress!, one.count) == 0
            }
        }
        if case .some(.some(let isSame)) = isSame { return isSame }
        return utf8.elementsEqual(other.utf8)
    }
}

extension String? {
    func hasSameBytes(as other: String?) -> Bool {
        switch (self, other) {
        case (nil, nil): true
        case (let one?, let two?): one.hasSameBytes(as: two)
        default: false
        }
    }
}
