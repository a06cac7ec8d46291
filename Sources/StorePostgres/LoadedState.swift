import Basics
import Domain
import StoreCore

/// What the tables say of the chats that a batch touches, and what the batch makes of it. A value
/// without a database behind it.
struct LoadedState {
    struct Chat {
        var key: Int64
        var id: ChatID
        var kind: ConversationKind
        var name: String?
        var creator: UserID
        var createdAt: WallTime
        var lastSeq: Seq
        var memberCount: Int
        var directPair: String?
        /// Its row was inserted for a creation of this batch that has not had its turn yet: until
        /// then nobody sees it.
        var isPending = false
        var isChanged = false
        /// In the order of joining, as far as they were needed; the batch's own come last.
        var stays: [Stay] = []
        /// The present stay of a user, as an index of `stays`.
        var present: [UserID: Int] = [:]
    }

    struct Stay {
        /// nil for one that the batch begins.
        var key: Int64?
        var user: UserID
        var role: Role
        var joinedSeq: Seq
        var joinedAt: WallTime
        var endedSeq: Seq?
        var isChanged = false

        func shows(_ seq: Seq) -> Bool {
            seq >= joinedSeq && (endedSeq.map { seq <= $0 } ?? true)
        }
    }

    struct Send: Hashable {
        var chat: Int64
        var author: UserID
        var clientMessageID: ExactText
    }

    struct User: Hashable {
        var chat: Int64
        var user: UserID
    }

    struct Device: Hashable {
        var chat: Int64
        var user: UserID
        var device: DeviceID
    }

    struct Named: Hashable {
        var chat: Int64
        var id: MessageID
    }

    struct DeviceMarks: Equatable {
        var delivered: Seq = 0
        var read: Seq = 0
    }

    /// In the order of keys; new ones behind.
    private(set) var chats: [Chat] = []
    private var byID: [ChatID: Int] = [:]
    private var byPair: [ExactText: Int] = [:]

    /// First sends under a client's id, of the tables and of the batch.
    var sends: [Send: LogEntry] = [:]
    /// Entries by id, of those that were looked up and those of the batch.
    var entries: [MessageID: LogEntry] = [:]
    /// Seqs of entries that cursors name.
    var places: [Named: Seq] = [:]
    /// Stays that were over before the batch.
    var pastStays: [User: [ClosedRange<Seq>]] = [:]
    var watermarks: [User: Watermarks] = [:]
    /// Kept sessions, by name.
    var sessions: [String: SessionPlan.Known] = [:]
    var devices: [Device: DeviceMarks] = [:]

    // MARK: Loading

    mutating func add(_ chat: Chat) {
        byID[chat.id] = chats.count
        if let pair = chat.directPair { byPair[ExactText(pair)] = chats.count }
        chats.append(chat)
    }

    /// The index of a chat that was locked, by its key.
    func index(key: Int64) -> Int? {
        var low = 0
        var high = chats.count
        while low < high {
            let middle = (low + high) / 2
            if chats[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low < chats.count && chats[low].key == key ? low : nil
    }

    /// A loaded stay; one that is known already is not taken twice.
    mutating func add(_ stay: Stay, to chat: Int) {
        if stay.endedSeq == nil {
            guard chats[chat].present[stay.user] == nil else { return }
            chats[chat].present[stay.user] = chats[chat].stays.count
        }
        chats[chat].stays.append(stay)
    }

    // MARK: Asking

    /// nil where there is no such chat, or not yet.
    func index(of chat: ChatID) -> Int? {
        guard let index = byID[chat], !chats[index].isPending else { return nil }
        return index
    }

    func index(ofPair pair: String) -> Int? {
        guard let index = byPair[ExactText(pair)], !chats[index].isPending else { return nil }
        return index
    }

    /// The row that was inserted for a creation which has its turn now.
    func pendingIndex(of chat: ChatID) -> Int? {
        guard let index = byID[chat], chats[index].isPending else { return nil }
        return index
    }

    /// The present stay.
    func stay(of user: UserID, in chat: Int) -> Stay? {
        chats[chat].present[user].map { chats[chat].stays[$0] }
    }

    func shows(_ seq: Seq, of chat: Int, to user: UserID) -> Bool {
        let past = pastStays[User(chat: chats[chat].key, user: user)] ?? []
        return past.contains { $0.contains(seq) }
            || chats[chat].stays.contains { $0.user == user && $0.shows(seq) }
    }

    // MARK: Changing

    mutating func reveal(_ chat: Int) { chats[chat].isPending = false }

    mutating func raise(_ chat: Int, to seq: Seq) {
        chats[chat].lastSeq = seq
        chats[chat].isChanged = true
    }

    mutating func begin(_ stay: Stay, in chat: Int) {
        chats[chat].present[stay.user] = chats[chat].stays.count
        chats[chat].stays.append(stay)
    }

    mutating func end(_ user: UserID, in chat: Int, at seq: Seq) {
        guard let index = chats[chat].present.removeValue(forKey: user) else { return }
        chats[chat].stays[index].endedSeq = seq
        chats[chat].stays[index].isChanged = true
    }

    mutating func setMemberCount(_ count: Int, of chat: Int) {
        chats[chat].memberCount = count
        chats[chat].isChanged = true
    }

    mutating func setRole(_ role: Role, ofStay stay: Int, in chat: Int) {
        chats[chat].stays[stay].role = role
        chats[chat].stays[stay].isChanged = true
    }
}
