import Basics
import Domain
import StoreCore

/// How a row of `entries` is read, its columns being `Statement.entryColumns` from `first` on.
enum EntryRow {
    static let messageKind = "message"

    static func entry(_ rows: Rows, _ row: Int, from first: Int32, chat: ChatID) -> LogEntry {
        LogEntry(
            chat: chat, seq: rows.integer(row, first),
            id: MessageID(trusted: rows.text(row, first + 1)),
            author: UserID(trusted: rows.text(row, first + 2)),
            device: DeviceID(trusted: rows.text(row, first + 3)),
            createdAt: WallTime(milliseconds: rows.integer(row, first + 4)),
            body: body(rows, row, first))
    }

    private static func body(_ rows: Rows, _ row: Int, _ first: Int32) -> LogEntry.Body {
        if let kind = MembershipChange.Kind(rawValue: rows.text(row, first + 5)) {
            let user = UserID(trusted: rows.text(row, first + 6))
            return .membership(MembershipChange(kind: kind, user: user))
        }
        return .message(
            Message(
                encryptedContent: rows.blob(row, first + 11), type: rows.text(row, first + 7),
                replyTo: rows.optionalText(row, first + 8).map(MessageID.init(trusted:)),
                thread: rows.optionalText(row, first + 9).map(MessageID.init(trusted:)),
                expiresAt: rows.optionalInteger(row, first + 10).map(
                    WallTime.init(milliseconds:))))
    }
}

/// A flight's statements with their parameters, in the order of sending. Those that would do
/// nothing are left out.
struct Requests {
    private(set) var list: [(statement: Statement, parameters: Parameters)] = []

    init() {}

    /// One statement without parameters.
    init(_ statement: Statement) { add(statement) }

    mutating func add(_ statement: Statement, _ build: (inout Parameters) -> Void = { _ in }) {
        var parameters = Parameters()
        build(&parameters)
        list.append((statement, parameters))
    }
}

/// The first flight of a batch with writes: lock, then load.
extension Needs {
    func requests() -> Requests {
        var requests = Requests()
        requests.add(.begin)
        if !creations.isEmpty {
            requests.add(.createChats) { $0.addCreations(creations) }
        }
        if !chats.isEmpty || !directPairs.isEmpty {
            requests.add(.lock) {
                $0.addTexts(chats.elements) { $0.text }
                $0.addTexts(directPairs) { $0 }
            }
        }
        if !sessions.isEmpty { requests.add(.sessions) { $0.addTexts(sessions.elements) { $0 } } }
        if !wholeChats.isEmpty {
            requests.add(.members) {
                $0.addTexts(wholeChats.elements) { $0.text }
                $0.addTexts(directPairs) { $0 }
            }
        }
        if !presences.isEmpty { requests.add(.presences) { $0.addPairs(presences.elements) } }
        if !stays.isEmpty { requests.add(.stays) { $0.addPairs(stays.elements) } }
        if !sends.isEmpty {
            requests.add(.sends) {
                $0.addTexts(sends.elements) { $0.chat.text }
                $0.addTexts(sends.elements) { $0.author.text }
                $0.addTexts(sends.elements) { $0.clientMessageID.text }
            }
        }
        if !ids.isEmpty { requests.add(.stored) { $0.addTexts(ids.elements) { $0.text } } }
        if !places.isEmpty {
            requests.add(.places) {
                $0.addTexts(places.elements) { $0.chat.text }
                $0.addTexts(places.elements) { $0.id.text }
            }
        }
        if !devices.isEmpty {
            requests.add(.devices) {
                $0.addTexts(devices.elements) { $0.chat.text }
                $0.addTexts(devices.elements) { $0.user.text }
                $0.addTexts(devices.elements) { $0.device.text }
            }
        }
        if !watermarks.isEmpty {
            requests.add(.watermarks) { $0.addPairs(watermarks.elements) }
        }
        if !creations.isEmpty {
            requests.add(.creatorMarks) {
                $0.addTexts(creations) { $0.id.text }
                $0.addTexts(creations) { $0.directPair }
                $0.addTexts(creations) { $0.creator.text }
            }
        }
        return requests
    }

    /// Reads the flight's rows. A chat whose key `createChats` returned is pending.
    func state(_ requests: Requests, _ replies: [Rows]) -> LoadedState {
        var state = LoadedState()
        var created: Set<Int64> = []
        for (request, rows) in zip(requests.list, replies) {
            for row in 0..<rows.count {
                switch request.statement {
                case .createChats: created.insert(rows.integer(row, 0))
                case .lock: state.addChat(rows, row, created)
                case .members, .presences: state.addStay(rows, row)
                case .stays: state.addPastStay(rows, row)
                case .sends: state.addSend(rows, row)
                case .stored: state.addEntry(rows, row)
                case .places: state.addPlace(rows, row)
                case .devices: state.addDevice(rows, row)
                case .watermarks, .creatorMarks: state.addWatermarks(rows, row)
                case .sessions:
                    state.sessions[rows.text(row, 0)] = SessionPlan.Known(
                        user: UserID(trusted: rows.text(row, 1)), epoch: rows.integer(row, 2),
                        at: WallTime(milliseconds: rows.integer(row, 3)))
                default: break
                }
            }
        }
        return state
    }
}

extension Parameters {
    fileprivate mutating func addPairs(_ pairs: [Needs.Pair]) {
        addTexts(pairs) { $0.chat.text }
        addTexts(pairs) { $0.user.text }
    }

    fileprivate mutating func addCreations(_ creations: [CreateConversation]) {
        addTexts(creations) { $0.id.text }
        addTexts(creations) { $0.kind.rawValue }
        addTexts(creations) { $0.name }
        addTexts(creations) { $0.creator.text }
        addNumbers(creations) { $0.createdAt.milliseconds }
        addNumbers(creations) { Int64($0.members.count) }
        addTexts(creations) { $0.directPair }
    }
}

extension LoadedState {
    fileprivate mutating func addChat(_ rows: Rows, _ row: Int, _ created: Set<Int64>) {
        let key = rows.integer(row, 0)
        add(
            Chat(
                key: key, id: ChatID(trusted: rows.text(row, 1)),
                kind: ConversationKind(rawValue: rows.text(row, 2)) ?? .group,
                name: rows.optionalText(row, 3), creator: UserID(trusted: rows.text(row, 4)),
                createdAt: WallTime(milliseconds: rows.integer(row, 5)),
                lastSeq: rows.integer(row, 6), memberCount: Int(rows.integer(row, 7)),
                directPair: rows.optionalText(row, 8), isPending: created.contains(key)))
    }

    /// Rows of chats that were not locked, which another transaction made meanwhile, are none of
    /// this batch's.
    fileprivate mutating func addStay(_ rows: Rows, _ row: Int) {
        guard let chat = index(key: rows.integer(row, 0)) else { return }
        add(
            Stay(
                key: rows.integer(row, 1), user: UserID(trusted: rows.text(row, 2)),
                role: Role(rawValue: rows.text(row, 3)) ?? .member,
                joinedSeq: rows.integer(row, 4),
                joinedAt: WallTime(milliseconds: rows.integer(row, 5)),
                endedSeq: rows.optionalInteger(row, 6)),
            to: chat)
    }

    fileprivate mutating func addPastStay(_ rows: Rows, _ row: Int) {
        let user = User(chat: rows.integer(row, 0), user: UserID(trusted: rows.text(row, 1)))
        let joined = rows.integer(row, 2)
        pastStays[user, default: []].append(joined...max(joined, rows.integer(row, 3)))
    }

    fileprivate mutating func addSend(_ rows: Rows, _ row: Int) {
        let chat = rows.integer(row, 0)
        guard let index = index(key: chat) else { return }
        let entry = EntryRow.entry(rows, row, from: 2, chat: chats[index].id)
        let key = Send(
            chat: chat, author: entry.author, clientMessageID: ExactText(rows.text(row, 1)))
        sends[key] = entry
    }

    fileprivate mutating func addEntry(_ rows: Rows, _ row: Int) {
        let entry = EntryRow.entry(rows, row, from: 1, chat: ChatID(trusted: rows.text(row, 0)))
        entries[entry.id] = entry
    }

    fileprivate mutating func addPlace(_ rows: Rows, _ row: Int) {
        let name = Named(chat: rows.integer(row, 0), id: MessageID(trusted: rows.text(row, 1)))
        places[name] = rows.integer(row, 2)
    }

    fileprivate mutating func addDevice(_ rows: Rows, _ row: Int) {
        let device = Device(
            chat: rows.integer(row, 0), user: UserID(trusted: rows.text(row, 1)),
            device: DeviceID(trusted: rows.text(row, 2)))
        devices[device] = DeviceMarks(
            delivered: rows.integer(row, 3), read: rows.integer(row, 4))
    }

    fileprivate mutating func addWatermarks(_ rows: Rows, _ row: Int) {
        let user = User(chat: rows.integer(row, 0), user: UserID(trusted: rows.text(row, 1)))
        watermarks[user] = Watermarks(
            delivered: rows.integer(row, 2), read: rows.integer(row, 3),
            publicRead: rows.integer(row, 4))
    }
}

/// The second flight: the rows that the plan came to, one statement a kind.
extension Planner {
    /// Without COMMIT.
    func requests(announces: Bool = false) -> Requests {
        var requests = Requests()
        if !newEntries.isEmpty { requests.add(.insertEntries) { $0.addEntries(newEntries) } }
        addStays(&requests)
        let devices = movedDevices.elements
        if !devices.isEmpty {
            requests.add(.setDevices) {
                $0.addNumbers(devices) { $0.chat }
                $0.addTexts(devices) { $0.user.text }
                $0.addTexts(devices) { $0.device.text }
                $0.addNumbers(devices) { state.devices[$0]?.delivered }
                $0.addNumbers(devices) { state.devices[$0]?.read }
            }
        }
        let users = movedWatermarks.elements
        if !users.isEmpty {
            requests.add(.setWatermarks) {
                $0.addNumbers(users) { $0.chat }
                $0.addTexts(users) { $0.user.text }
                $0.addNumbers(users) { state.watermarks[$0]?.delivered }
                $0.addNumbers(users) { state.watermarks[$0]?.read }
                $0.addNumbers(users) { state.watermarks[$0]?.publicRead }
            }
        }
        let heads = state.chats.filter(\.isChanged)
        if !heads.isEmpty {
            requests.add(.setHeads) {
                $0.addNumbers(heads) { $0.key }
                $0.addNumbers(heads) { $0.lastSeq }
                $0.addNumbers(heads) { Int64($0.memberCount) }
            }
        }
        addSessions(&requests)
        let notices = announces ? notices : []
        if !notices.isEmpty {
            requests.add(.announce) {
                $0.addTexts(notices) { $0.channel }
                $0.addTexts(notices) { $0.payload }
            }
        }
        return requests
    }

    private func addSessions(_ requests: inout Requests) {
        let (names, users) = (sessions.droppedNames.elements, sessions.droppedUsers.elements)
        if !names.isEmpty || !users.isEmpty {
            requests.add(.dropSessions) {
                $0.addTexts(names) { $0 }
                $0.addTexts(users) { $0.user.text }
                $0.addNumbers(users) { $0.at.milliseconds }
            }
        }
        let cleared = sessions.clearedNames.elements
        if !cleared.isEmpty { requests.add(.clearMarks) { $0.addTexts(cleared) { $0 } } }
        // In the order of names, so that two instances do not wait for each other.
        let kept = sessions.kept.values.sorted { $0.name < $1.name }
        if !kept.isEmpty {
            requests.add(.keepSessions) {
                $0.addTexts(kept) { $0.name }
                $0.addTexts(kept) { $0.user.text }
                $0.addNumbers(kept) { $0.epoch }
                $0.addNumbers(kept) { $0.at.milliseconds }
                $0.addNumbers(kept) { $0.until.milliseconds }
                $0.addBlobs(kept) { $0.state }
            }
        }
        let marks = sessions.marks.sorted {
            ($0.key.name, $0.key.item.text) < ($1.key.name, $1.key.item.text)
        }
        if !marks.isEmpty {
            requests.add(.setMarks) {
                $0.addTexts(marks) { $0.key.name }
                $0.addTexts(marks) { $0.key.item.text }
                $0.addNumbers(marks) { $0.value }
            }
        }
        if let at = kept.map(\.at).max() {
            requests.add(.pruneSessions) {
                $0.add(at.milliseconds)
                $0.add(Int64(4 * kept.count))
            }
        }
    }

    /// What others have to hear of that the plan writes.
    private var notices: [Notice] {
        let moved = Set(movedWatermarks.elements.map(\.chat))
        var notices: [Notice] = []
        for chat in state.chats {
            if chat.isChanged || moved.contains(chat.key) { notices.append(.chat(chat.id)) }
            for stay in chat.stays where stay.key == nil { notices.append(.user(stay.user)) }
        }
        return notices
    }

    /// Ended ones first: a user has at most one open stay in a chat.
    private func addStays(_ requests: inout Requests) {
        var changed: [LoadedState.Stay] = []
        var begun: [(chat: Int64, stay: LoadedState.Stay)] = []
        for chat in state.chats {
            for stay in chat.stays {
                if stay.key == nil {
                    begun.append((chat.key, stay))
                } else if stay.isChanged {
                    changed.append(stay)
                }
            }
        }
        if !changed.isEmpty {
            requests.add(.endStays) {
                $0.addNumbers(changed) { $0.key }
                $0.addTexts(changed) { $0.role.rawValue }
                $0.addNumbers(changed) { $0.endedSeq }
            }
        }
        if !begun.isEmpty {
            requests.add(.insertStays) {
                $0.addNumbers(begun) { $0.chat }
                $0.addTexts(begun) { $0.stay.user.text }
                $0.addTexts(begun) { $0.stay.role.rawValue }
                $0.addNumbers(begun) { $0.stay.joinedSeq }
                $0.addNumbers(begun) { $0.stay.joinedAt.milliseconds }
                $0.addNumbers(begun) { $0.stay.endedSeq }
            }
        }
    }
}

extension Parameters {
    fileprivate mutating func addEntries(_ entries: [Planner.NewEntry]) {
        func message(_ new: Planner.NewEntry) -> Message? {
            if case .message(let message) = new.entry.body { message } else { nil }
        }
        func change(_ new: Planner.NewEntry) -> MembershipChange? {
            if case .membership(let change) = new.entry.body { change } else { nil }
        }
        addNumbers(entries) { $0.chat }
        addNumbers(entries) { $0.entry.seq }
        addTexts(entries) { $0.entry.id.text }
        addTexts(entries) { $0.entry.author.text }
        addTexts(entries) { $0.entry.device.text }
        addNumbers(entries) { $0.entry.createdAt.milliseconds }
        addTexts(entries) { change($0)?.kind.rawValue ?? EntryRow.messageKind }
        addTexts(entries) { change($0)?.user.text }
        addTexts(entries) { $0.clientMessageID }
        addTexts(entries) { message($0)?.type }
        addTexts(entries) { message($0)?.replyTo?.text }
        addTexts(entries) { message($0)?.thread?.text }
        addNumbers(entries) { message($0)?.expiresAt?.milliseconds }
        addBlobs(entries) { message($0)?.encryptedContent }
    }
}
