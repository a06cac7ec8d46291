import Domain
import StoreCore

/// What must be known before a batch of writes can be decided: which chats to lock and which rows
/// to load after that. Each list without repeats.
struct Needs {
    struct Pair: Hashable {
        var chat: ChatID
        var user: UserID
    }

    struct Send: Hashable {
        var chat: ChatID
        var author: UserID
        var clientMessageID: ExactText
    }

    struct Device: Hashable {
        var chat: ChatID
        var user: UserID
        var device: DeviceID
    }

    struct Named: Hashable {
        var chat: ChatID
        var id: MessageID
    }

    /// In the order of the batch, repeats too.
    private(set) var creations: [CreateConversation] = []
    private(set) var directPairs: [String] = []
    private(set) var chats = Distinct<ChatID>()
    private(set) var presences = Distinct<Pair>()
    /// All members of these.
    private(set) var wholeChats = Distinct<ChatID>()
    private(set) var sends = Distinct<Send>()
    /// Entry ids to look up in all chats.
    private(set) var ids = Distinct<MessageID>()
    /// Entries that cursors are set at.
    private(set) var places = Distinct<Named>()
    private(set) var stays = Distinct<Pair>()
    private(set) var devices = Distinct<Device>()
    private(set) var watermarks = Distinct<Pair>()
    /// Kept sessions.
    private(set) var sessions = Distinct<String>()

    /// - Parameter looksUpAllIDs: an earlier submission may have been committed, or an id turned
    ///   out to be taken. Otherwise an append's id is looked up only where a service chose it: of
    ///   those made here 74 bits are random, and a chat's own index guards them besides.
    init(_ batch: Batch, looksUpAllIDs: Bool) {
        for operation in batch.operations {
            switch operation {
            case .append(let append):
                chats.insert(append.chat)
                presences.insert(Pair(chat: append.chat, user: append.author))
                if let client = append.clientMessageID {
                    sends.insert(
                        Send(
                            chat: append.chat, author: append.author,
                            clientMessageID: ExactText(client)))
                }
                if looksUpAllIDs || !append.id.text.isUUIDv7 { ids.insert(append.id) }
            case .advanceCursor(let advance): add(advance)
            case .createConversation(let create):
                creations.append(create)
                chats.insert(create.id)
                wholeChats.insert(create.id)
                if let pair = create.directPair { directPairs.append(pair) }
            case .changeMembership(let change):
                chats.insert(change.chat)
                wholeChats.insert(change.chat)
                for id in change.entryIDs { ids.insert(id) }
            case .keepSession(let keep): sessions.insert(keep.name)
            case .keepMarks(let keep): sessions.insert(keep.name)
            case .dropSessions(.named(let name, _)): sessions.insert(name)
            default: break
            }
        }
    }

    private mutating func add(_ advance: AdvanceCursor) {
        let pair = Pair(chat: advance.chat, user: advance.user)
        chats.insert(advance.chat)
        presences.insert(pair)
        watermarks.insert(pair)
        devices.insert(Device(chat: advance.chat, user: advance.user, device: advance.device))
        for case .entry(let id) in [advance.delivered, advance.read].compactMap(\.self) {
            places.insert(Named(chat: advance.chat, id: id))
            stays.insert(pair)
        }
    }
}

extension CreateConversation {
    /// The pair in an order of its own; nil where it is no direct chat. Ids contain no control
    /// characters, so U+001F parts them.
    var directPair: String? {
        guard kind == .direct, members.count == 2 else { return nil }
        let isAscending = members[0].text.utf8.lexicographicallyPrecedes(members[1].text.utf8)
        let (first, second) = isAscending ? (0, 1) : (1, 0)
        return members[first].text + "\u{1F}" + members[second].text
    }
}

/// Values in the order of their first coming.
struct Distinct<Element: Hashable> {
    private(set) var elements: [Element] = []
    private var seen: Set<Element> = []

    var isEmpty: Bool { elements.isEmpty }

    mutating func insert(_ element: Element) {
        if seen.insert(element).inserted { elements.append(element) }
    }
}

/// Text that is the same where its bytes are, as in the tables. `String` takes different bytes of
/// the same characters (é, and e with a combining accent) for equal.
struct ExactText: Hashable {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (a: ExactText, b: ExactText) -> Bool { a.text.hasSameBytes(as: b.text) }

    func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension String {
    func hasSameBytes(as other: String) -> Bool {
        utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8)
    }

    /// Whether it is written as `Identifier.text` is. RFC 9562 §5.7: version 7, variant 10.
    var isUUIDv7: Bool {
        guard utf8.count == 36 else { return false }
        for (index, byte) in utf8.enumerated() {
            let isHex = (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
            switch index {
            case 8, 13, 18, 23: guard byte == UInt8(ascii: "-") else { return false }
            case 14: guard byte == UInt8(ascii: "7") else { return false }
            case 19: guard isHex, byte >= 0x38, byte <= 0x62 else { return false }
            default: guard isHex else { return false }
            }
        }
        return true
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
