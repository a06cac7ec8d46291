import Basics
import Domain
import StoreCore

/// Decides a batch of writes: the loaded rows and the operations go in, in the order of their
/// arrival, outcomes and rows to write come out. No I/O, no clock.
///
/// The chats are locked meanwhile, so nothing that it decides on changes under it.
struct Planner {
    /// An entry to insert.
    struct NewEntry {
        var chat: Int64
        var entry: LogEntry
        var clientMessageID: String?
    }

    private(set) var state: LoadedState
    private(set) var newEntries: [NewEntry] = []
    private(set) var movedWatermarks = Distinct<LoadedState.User>()
    private(set) var movedDevices = Distinct<LoadedState.Device>()
    private(set) var sessions: SessionPlan
    /// An earlier submission may have been committed.
    private let isRepeated: Bool
    /// An earlier one was: a transaction is whole, so one entry that the batch names shows it.
    /// Operations that left no trace in it (refused, or nothing to do) are then not applied now:
    /// they would come after what followed them.
    private let wasCommitted: Bool

    init(_ state: LoadedState, _ batch: Batch) {
        self.state = state
        sessions = SessionPlan(state.sessions)
        isRepeated = batch.attempt > 1
        wasCommitted = batch.attempt > 1 && Self.hasTraces(of: batch, in: state)
    }

    private static func hasTraces(of batch: Batch, in state: LoadedState) -> Bool {
        batch.operations.contains { operation in
            switch operation {
            case .append(let append): state.entries[append.id] != nil
            case .changeMembership(let change):
                change.entryIDs.contains { state.entries[$0] != nil }
            default: false
            }
        }
    }

    /// One outcome an operation; nil for reads, which come later.
    mutating func decide(_ batch: Batch) -> [Outcome?] {
        let outcomes = batch.operations.map { decide($0) }
        for chat in state.chats {
            invariant(!chat.isPending, "a chat was inserted and its creation refused")
        }
        return outcomes
    }

    private mutating func decide(_ operation: Operation) -> Outcome? {
        switch operation {
        case .append(let append): self.append(append)
        case .advanceCursor(let advance): advanceCursor(advance)
        case .createConversation(let create): createConversation(create)
        case .changeMembership(let change): changeMembership(change)
        case .keepSession(let keep): sessions.keep(keep)
        case .keepMarks(let keep): sessions.keep(keep)
        case .dropSessions(let drop): sessions.drop(drop)
        default: nil
        }
    }

    // MARK: Messages

    private mutating func append(_ append: AppendMessage) -> Outcome {
        if isRepeated, let stored = state.entries[append.id] {
            return same(stored, append.chat, append.author)
        }
        guard let chat = state.index(of: append.chat) else { return .refused(.notFound) }
        if wasCommitted { return firstSend(append, chat) ?? .refused(.notFound) }
        guard state.stay(of: append.author, in: chat) != nil else { return .refused(.notFound) }
        if let first = firstSend(append, chat) { return first }
        if let stored = state.entries[append.id] {
            return same(stored, append.chat, append.author)
        }
        let entry = LogEntry(
            chat: append.chat, seq: state.chats[chat].lastSeq + 1, id: append.id,
            author: append.author, device: append.device, createdAt: append.createdAt,
            body: .message(append.message))
        write(entry, chat, clientMessageID: append.clientMessageID)
        if let key = sendKey(append, chat) { state.sends[key] = entry }
        return .appended(entry)
    }

    /// Takes the seq, which the entry has.
    private mutating func write(_ entry: LogEntry, _ chat: Int, clientMessageID: String?) {
        let key = state.chats[chat].key
        state.raise(chat, to: entry.seq)
        state.entries[entry.id] = entry
        state.places[LoadedState.Named(chat: key, id: entry.id)] = entry.seq
        newEntries.append(NewEntry(chat: key, entry: entry, clientMessageID: clientMessageID))
    }

    private func same(_ stored: LogEntry, _ chat: ChatID, _ author: UserID) -> Outcome {
        stored.chat == chat && stored.author == author
            ? .appended(stored) : .refused(.alreadyExists)
    }

    private func sendKey(_ append: AppendMessage, _ chat: Int) -> LoadedState.Send? {
        append.clientMessageID.map {
            LoadedState.Send(
                chat: state.chats[chat].key, author: append.author, clientMessageID: ExactText($0))
        }
    }

    /// `.duplicate` or `.idempotencyConflict` where the author has used the client's id here.
    private func firstSend(_ append: AppendMessage, _ chat: Int) -> Outcome? {
        guard let key = sendKey(append, chat), let first = state.sends[key] else { return nil }
        guard case .message(let message) = first.body, isSame(message, append.message) else {
            return .refused(.idempotencyConflict)
        }
        return .duplicate(id: first.id, seq: first.seq, createdAt: first.createdAt)
    }

    private func isSame(_ a: Message, _ b: Message) -> Bool {
        a.encryptedContent == b.encryptedContent && a.type.hasSameBytes(as: b.type)
            && a.replyTo == b.replyTo && a.thread == b.thread && a.expiresAt == b.expiresAt
    }

    // MARK: Chats

    /// In this order: the same request of the same creator again → the pair's direct chat → an id
    /// that is taken → a new chat.
    private mutating func createConversation(_ create: CreateConversation) -> Outcome {
        invariant(
            Set(create.members).count == create.members.count
                && create.members.contains(create.creator),
            "the creator is no member, or a member is named twice")
        invariant(
            create.kind != .direct || create.members.count == 2,
            "a direct chat of \(create.members.count)")
        let taken = state.index(of: create.id)
        if let taken, isSame(state.chats[taken], create),
            let conversation = conversation(taken, for: create.creator)
        {
            return .conversation(conversation, created: true)
        }
        if let pair = create.directPair, let existing = state.index(ofPair: pair),
            let conversation = conversation(existing, for: create.creator)
        {
            return .conversation(conversation, created: false)
        }
        guard taken == nil else { return .refused(.alreadyExists) }
        guard let chat = state.pendingIndex(of: create.id) else {
            invariant(false, "a new chat has no row")
            return .refused(.alreadyExists)
        }
        state.reveal(chat)
        for member in create.members {
            let isOwner = create.kind == .direct || member == create.creator
            state.begin(
                LoadedState.Stay(
                    user: member, role: isOwner ? .owner : .member, joinedSeq: 0,
                    joinedAt: create.createdAt),
                in: chat)
        }
        return .conversation(conversation(chat, for: create.creator)!, created: true)
    }

    private func isSame(_ chat: LoadedState.Chat, _ create: CreateConversation) -> Bool {
        let founders = chat.stays.filter { $0.joinedSeq == 0 }.map(\.user)
        return chat.creator == create.creator && chat.kind == create.kind
            && chat.name.hasSameBytes(as: create.name) && Set(founders) == Set(create.members)
    }

    /// nil where the user is not a member now.
    private func conversation(_ index: Int, for user: UserID) -> Conversation? {
        guard let stay = state.stay(of: user, in: index) else { return nil }
        let chat = state.chats[index]
        let marks = state.watermarks[LoadedState.User(chat: chat.key, user: user)]
        return Conversation(
            id: chat.id, kind: chat.kind, name: chat.name, createdAt: chat.createdAt,
            lastSeq: chat.lastSeq, readSeq: marks?.read ?? 0, role: stay.role,
            memberCount: chat.memberCount)
    }

    // MARK: Members

    private mutating func changeMembership(_ change: ChangeMembership) -> Outcome {
        invariant(
            change.users.count == change.entryIDs.count,
            "\(change.users.count) users, \(change.entryIDs.count) entry ids")
        // Its entries are there: it was committed then, whatever holds now.
        let stored = change.entryIDs.compactMap { state.entries[$0] }
        if !stored.isEmpty {
            let areSame = stored.allSatisfy {
                $0.chat == change.chat && $0.author == change.author
            }
            return areSame ? .membership(stored) : .refused(.alreadyExists)
        }
        guard let chat = state.index(of: change.chat),
            let author = state.stay(of: change.author, in: chat)
        else { return .refused(.notFound) }
        let users = affected(change, chat)
        if let refusal = refusal(change, users.map(\.user), chat, author.role) {
            return .refused(refusal)
        }
        guard !users.isEmpty else { return .membership([]) }
        guard !wasCommitted else { return .refused(.notFound) }
        let entries = users.map { apply(change, to: $0.user, $0.entryID, chat) }
        if change.kind == .left, author.role == .owner { appointOwner(chat) }
        return .membership(entries)
    }

    /// Whom the change makes a difference to, with their entries' ids.
    private func affected(
        _ change: ChangeMembership, _ chat: Int
    ) -> [(user: UserID, entryID: MessageID)] {
        var seen: Set<UserID> = []
        return zip(change.users, change.entryIDs).compactMap { user, entryID in
            guard seen.insert(user).inserted else { return nil }
            let isPresent = state.stay(of: user, in: chat) != nil
            return isPresent == (change.kind != .added) ? (user, entryID) : nil
        }
    }

    private func refusal(
        _ change: ChangeMembership, _ users: [UserID], _ chat: Int, _ role: Role
    ) -> Refusal? {
        if state.chats[chat].kind == .direct { return .forbidden }
        switch change.kind {
        case .added:
            if !role.mayAddMembers { return .forbidden }
            let count = state.chats[chat].memberCount + users.count
            return !users.isEmpty && count > change.maximumMembers ? .tooManyMembers : nil
        case .removed:
            let roles = users.compactMap { state.stay(of: $0, in: chat)?.role }
            return roles.allSatisfy(role.mayRemove) ? nil : .forbidden
        case .left:
            return change.users.allSatisfy { $0 == change.author } ? nil : .forbidden
        }
    }

    private mutating func apply(
        _ change: ChangeMembership, to user: UserID, _ entryID: MessageID, _ chat: Int
    ) -> LogEntry {
        let seq = state.chats[chat].lastSeq + 1
        let entry = LogEntry(
            chat: change.chat, seq: seq, id: entryID, author: change.author,
            device: change.device, createdAt: change.at,
            body: .membership(MembershipChange(kind: change.kind, user: user)))
        write(entry, chat, clientMessageID: nil)
        let memberCount = state.chats[chat].memberCount
        if change.kind == .added {
            state.setMemberCount(memberCount + 1, of: chat)
            state.begin(
                LoadedState.Stay(
                    user: user, role: .member, joinedSeq: seq, joinedAt: change.at),
                in: chat)
        } else {
            state.setMemberCount(memberCount - 1, of: chat)
            state.end(user, in: chat, at: seq)
        }
        return entry
    }

    /// A chat with members has an owner: the longest-standing admin, else member, takes over.
    private mutating func appointOwner(_ chat: Int) {
        let stays = state.chats[chat].stays
        let present = stays.indices.filter { stays[$0].endedSeq == nil }
        guard !present.contains(where: { stays[$0].role == .owner }),
            let heir = present.first(where: { stays[$0].role == .admin }) ?? present.first
        else { return }
        state.setRole(.owner, ofStay: heir, in: chat)
    }

    // MARK: Cursors

    private mutating func advanceCursor(_ advance: AdvanceCursor) -> Outcome {
        guard let chat = state.index(of: advance.chat),
            state.stay(of: advance.user, in: chat) != nil
        else { return .refused(.notFound) }
        var asked: [Seq] = []
        for position in [advance.delivered, advance.read] {
            switch position {
            case nil: asked.append(0)
            case .seq(let seq):
                guard seq <= state.chats[chat].lastSeq else { return .refused(.invalidPosition) }
                asked.append(max(0, seq))
            case .entry(let id):
                // An entry that the user may not see is as unknown as one that is not there.
                let name = LoadedState.Named(chat: state.chats[chat].key, id: id)
                guard let seq = state.places[name], state.shows(seq, of: chat, to: advance.user)
                else { return .refused(.notFound) }
                asked.append(seq)
            }
        }
        let read = asked[1]
        let delivered = max(asked[0], read)
        let device = raiseDevice(advance, chat, delivered, read)
        let receipt = raiseUser(advance, chat, delivered, read)
        return .cursor(receipt, delivered: device.delivered, read: device.read)
    }

    private mutating func raiseDevice(
        _ advance: AdvanceCursor, _ chat: Int, _ delivered: Seq, _ read: Seq
    ) -> LoadedState.DeviceMarks {
        let key = LoadedState.Device(
            chat: state.chats[chat].key, user: advance.user, device: advance.device)
        let before = state.devices[key] ?? LoadedState.DeviceMarks()
        let after = LoadedState.DeviceMarks(
            delivered: max(before.delivered, delivered), read: max(before.read, read))
        guard after != before else { return after }
        state.devices[key] = after
        movedDevices.insert(key)
        return after
    }

    private mutating func raiseUser(
        _ advance: AdvanceCursor, _ chat: Int, _ delivered: Seq, _ read: Seq
    ) -> Receipt? {
        let key = LoadedState.User(chat: state.chats[chat].key, user: advance.user)
        let before = state.watermarks[key] ?? Watermarks()
        var after = before
        let receipt = after.raise(
            for: advance, delivered: delivered, read: read, isRepeated: isRepeated)
        if after != before {
            state.watermarks[key] = after
            movedWatermarks.insert(key)
        }
        return receipt
    }
}
