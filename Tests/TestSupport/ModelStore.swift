import Basics
import Domain
import StoreCore

/// What the durable store is to do, in arrays and dictionaries: slow, and right by being plain. The
/// contract suite holds the real stores to its answers; the simulator copies it, crashes it, loses
/// its replies, and asks it at the end what was committed.
///
/// A value: a copy is a snapshot. Nothing depends on the order of a dictionary.
package struct ModelState: Sendable {
    /// Ids are the same where their bytes are, as in a database; `String` compares characters.
    typealias Name = [UInt8]

    /// A stay of a user in a chat.
    package struct Period: Hashable, Sendable {
        package var user: UserID
        package var role: Role
        package var joinedAt: WallTime
        /// The first entry seen; 0 for a member from the creation on.
        package var joinedSeq: Seq
        /// The last entry seen, the one that ended the stay; nil while it lasts.
        package var endedSeq: Seq?

        package var isPresent: Bool { endedSeq == nil }

        package func shows(_ seq: Seq) -> Bool {
            seq >= joinedSeq && (endedSeq.map { seq <= $0 } ?? true)
        }
    }

    /// How far a device, or a user over all devices, has come.
    package struct Watermarks: Hashable, Sendable {
        package var delivered: Seq = 0
        package var read: Seq = 0
        /// The highest read mark that was not private: what others are shown.
        package var publicRead: Seq = 0
    }

    struct Send: Hashable, Sendable {
        var author: Name
        var clientMessageID: Name
    }

    struct Device: Hashable, Sendable {
        var user: Name
        var device: Name
    }

    struct Chat: Sendable {
        var id: ChatID
        var kind: ConversationKind
        var name: String?
        var creator: UserID
        var createdAt: WallTime
        /// Entry of seq n at index n − 1.
        var log: [LogEntry] = []
        /// In the order of joining.
        var periods: [Period] = []
        var sends: [Send: Int] = [:]
        var users: [Name: Watermarks] = [:]
        var devices: [Device: Watermarks] = [:]

        var lastSeq: Seq { Seq(log.count) }
        var memberCount: Int { periods.count(where: \.isPresent) }

        /// The index in `periods` of the user's present stay.
        func presence(of user: UserID) -> Int? {
            periods.firstIndex { $0.isPresent && $0.user.text.name == user.text.name }
        }

        func periods(of user: UserID) -> [Period] {
            periods.filter { $0.user.text.name == user.text.name }
        }
    }

    struct Place: Sendable {
        var chat: Int
        var index: Int
    }

    /// In the order of creation.
    var chats: [Chat] = []
    var chatIndex: [Name: Int] = [:]
    var directIndex: [[Name]: Int] = [:]
    var entryPlaces: [Name: Place] = [:]
    var sessions: [String: KeepSession] = [:]
    /// By session and item.
    var marks: [String: [Name: Seq]] = [:]

    package init() {}

    /// Applies a batch: the writes in order, then the reads. One outcome an operation.
    ///
    /// - Parameter seen: what sends are decided on, where that is not what is there: the bug of a
    ///   transaction that looked before it had the lock.
    package mutating func apply(_ batch: Batch, decidingOn seen: ModelState? = nil) -> [Outcome] {
        let isRepeated = batch.attempt > 1
        let wasCommitted = isRepeated && hasTraces(of: batch)
        var outcomes: [Outcome?] = []
        for operation in batch.operations {
            switch operation {
            case .append(let append):
                outcomes.append(
                    self.append(
                        append, isRepeated: isRepeated, wasCommitted: wasCommitted, seen: seen))
            case .advanceCursor(let advance):
                outcomes.append(advanceCursor(advance, isRepeated: isRepeated))
            case .createConversation(let create):
                outcomes.append(createConversation(create))
            case .changeMembership(let change):
                outcomes.append(changeMembership(change, wasCommitted: wasCommitted))
            case .keepSession(let keep):
                let known = sessions[keep.name]?.epoch
                if known == keep.epoch || known == keep.replaces {
                    if known != keep.epoch { marks[keep.name] = nil }
                    sessions[keep.name] = keep
                    outcomes.append(.done)
                } else {
                    outcomes.append(.refused(.alreadyExists))
                }
            case .keepMarks(let keep):
                if sessions[keep.name]?.epoch == keep.epoch {
                    for mark in keep.marks {
                        marks[keep.name, default: [:]][mark.item.name] = mark.seq
                    }
                    outcomes.append(.done)
                } else {
                    outcomes.append(.refused(.notFound))
                }
            case .dropSessions(let drop):
                self.drop(drop)
                outcomes.append(.done)
            default:
                outcomes.append(nil)
            }
        }
        return zip(batch.operations, outcomes).map { operation, outcome in
            outcome ?? read(operation)
        }
    }

    private mutating func drop(_ drop: DropSessions) {
        let gone = sessions.filter { name, kept in
            switch drop {
            case .named(let dropped, let epoch): name == dropped && kept.epoch == epoch
            case .all(let user, let at): kept.user == user && kept.at <= at
            }
        }
        for name in gone.keys {
            sessions[name] = nil
            marks[name] = nil
        }
    }

    /// A batch is whole or not at all, so one of its entries speaks for all of it.
    private func hasTraces(of batch: Batch) -> Bool {
        batch.operations.contains { operation in
            switch operation {
            case .append(let append): entry(append.id) != nil
            case .changeMembership(let change): change.entryIDs.contains { entry($0) != nil }
            default: false
            }
        }
    }

    func entry(_ id: MessageID) -> LogEntry? {
        entryPlaces[id.text.name].map { chats[$0.chat].log[$0.index] }
    }

    func index(of chat: ChatID) -> Int? { chatIndex[chat.text.name] }

    // MARK: For an oracle

    /// The ids of all chats, in the order of creation.
    package var chatIDs: [ChatID] { chats.map(\.id) }

    /// The committed log; empty where there is no such chat.
    package func entries(of chat: ChatID) -> [LogEntry] {
        index(of: chat).map { chats[$0].log } ?? []
    }

    /// All stays, ended ones too, in the order of joining.
    package func periods(of chat: ChatID) -> [Period] {
        index(of: chat).map { chats[$0].periods } ?? []
    }

    /// Whether a user may see an entry of a chat.
    package func shows(_ seq: Seq, of chat: ChatID, to user: UserID) -> Bool {
        index(of: chat).map { chats[$0].periods(of: user).contains { $0.shows(seq) } } ?? false
    }

    package func watermarks(of user: UserID, in chat: ChatID) -> Watermarks {
        index(of: chat).flatMap { chats[$0].users[user.text.name] } ?? Watermarks()
    }

    package func watermarks(
        of user: UserID, device: DeviceID, in chat: ChatID
    ) -> Watermarks {
        let key = Device(user: user.text.name, device: device.text.name)
        return index(of: chat).flatMap { chats[$0].devices[key] } ?? Watermarks()
    }

    package var keptCount: Int { sessions.count }

    /// Gives a member another role, for which there is no operation yet.
    package mutating func setRole(_ role: Role, of user: UserID, in chat: ChatID) {
        guard let index = index(of: chat), let period = chats[index].presence(of: user) else {
            return
        }
        chats[index].periods[period].role = role
    }
}

extension String {
    var name: ModelState.Name { Array(utf8) }
}

/// The model behind the store's seam. Commits at once and never fails.
package final class ModelStore: Store {
    package var state: ModelState

    package init(_ state: ModelState = ModelState()) { self.state = state }

    package func submit(_ batch: Batch, completion: @escaping (BatchResult) -> Void) {
        completion(.committed(state.apply(batch)))
    }

    package func probe(completion: @escaping (StoreFailure?) -> Void) { completion(nil) }
}
