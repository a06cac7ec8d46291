import Basics
import Domain

extension ModelState {
    // MARK: Messages

    mutating func append(
        _ append: AppendMessage, isRepeated: Bool, wasCommitted: Bool, seen: ModelState? = nil
    ) -> Outcome {
        if isRepeated, let stored = entry(append.id) {
            return same(stored, append.chat, append.author)
        }
        guard let index = index(of: append.chat) else { return .refused(.notFound) }
        // What left no entry in a batch that was committed was refused, or a duplicate.
        if wasCommitted { return firstSend(append, index) ?? .refused(.notFound) }
        let seen = seen ?? self
        guard seen.chats[index].presence(of: append.author) != nil else {
            return .refused(.notFound)
        }
        if let first = seen.firstSend(append, index) { return first }
        if let stored = entry(append.id) { return same(stored, append.chat, append.author) }
        let entry = write(
            append.id, index, append.author, append.device, append.createdAt,
            .message(append.message))
        if let key = sendKey(append) { chats[index].sends[key] = chats[index].log.count - 1 }
        return .appended(entry)
    }

    private func same(_ stored: LogEntry, _ chat: ChatID, _ author: UserID) -> Outcome {
        stored.chat.text.name == chat.text.name && stored.author.text.name == author.text.name
            ? .appended(stored) : .refused(.alreadyExists)
    }

    private func sendKey(_ append: AppendMessage) -> Send? {
        append.clientMessageID.map {
            Send(author: append.author.text.name, clientMessageID: $0.name)
        }
    }

    private func firstSend(_ append: AppendMessage, _ index: Int) -> Outcome? {
        guard let key = sendKey(append), let found = chats[index].sends[key] else { return nil }
        let first = chats[index].log[found]
        guard case .message(let message) = first.body, isSame(message, append.message) else {
            return .refused(.idempotencyConflict)
        }
        return .duplicate(id: first.id, seq: first.seq, createdAt: first.createdAt)
    }

    private func isSame(_ a: Message, _ b: Message) -> Bool {
        a.encryptedContent == b.encryptedContent && a.type.name == b.type.name
            && a.replyTo?.text.name == b.replyTo?.text.name
            && a.thread?.text.name == b.thread?.text.name && a.expiresAt == b.expiresAt
    }

    private mutating func write(
        _ id: MessageID, _ index: Int, _ author: UserID, _ device: DeviceID, _ at: WallTime,
        _ body: LogEntry.Body
    ) -> LogEntry {
        let entry = LogEntry(
            chat: chats[index].id, seq: chats[index].lastSeq + 1, id: id, author: author,
            device: device, createdAt: at, body: body)
        entryPlaces[id.text.name] = Place(chat: index, index: chats[index].log.count)
        chats[index].log.append(entry)
        return entry
    }

    // MARK: Chats

    mutating func createConversation(_ create: CreateConversation) -> Outcome {
        let pair =
            create.kind == .direct
            ? create.members.map(\.text.name).sorted { $0.lexicographicallyPrecedes($1) } : nil
        let taken = index(of: create.id)
        if let taken, isSame(chats[taken], create),
            let conversation = conversation(taken, for: create.creator)
        {
            return .conversation(conversation, created: true)
        }
        if let pair, let existing = directIndex[pair],
            let conversation = conversation(existing, for: create.creator)
        {
            return .conversation(conversation, created: false)
        }
        guard taken == nil else { return .refused(.alreadyExists) }
        var chat = Chat(
            id: create.id, kind: create.kind, name: create.name, creator: create.creator,
            createdAt: create.createdAt)
        for member in create.members {
            let isOwner =
                create.kind == .direct || member.text.name == create.creator.text.name
            chat.periods.append(
                Period(
                    user: member, role: isOwner ? .owner : .member, joinedAt: create.createdAt,
                    joinedSeq: 0))
        }
        chatIndex[create.id.text.name] = chats.count
        if let pair { directIndex[pair] = chats.count }
        chats.append(chat)
        return .conversation(
            conversation(chats.count - 1, for: create.creator)!, created: true)
    }

    private func isSame(_ chat: Chat, _ create: CreateConversation) -> Bool {
        let founders = chat.periods.filter { $0.joinedSeq == 0 }.map(\.user.text.name)
        return chat.creator.text.name == create.creator.text.name && chat.kind == create.kind
            && chat.name?.name == create.name?.name
            && Set(founders) == Set(create.members.map(\.text.name))
    }

    func conversation(_ index: Int, for user: UserID) -> Conversation? {
        let chat = chats[index]
        guard let presence = chat.presence(of: user) else { return nil }
        return Conversation(
            id: chat.id, kind: chat.kind, name: chat.name, createdAt: chat.createdAt,
            lastSeq: chat.lastSeq, readSeq: chat.users[user.text.name]?.read ?? 0,
            role: chat.periods[presence].role, memberCount: chat.memberCount)
    }

    // MARK: Members

    mutating func changeMembership(_ change: ChangeMembership, wasCommitted: Bool) -> Outcome {
        let stored = change.entryIDs.compactMap { entry($0) }
        if !stored.isEmpty {
            let areSame = stored.allSatisfy {
                $0.chat.text.name == change.chat.text.name
                    && $0.author.text.name == change.author.text.name
            }
            return areSame ? .membership(stored) : .refused(.alreadyExists)
        }
        guard let index = index(of: change.chat),
            let author = chats[index].presence(of: change.author)
        else { return .refused(.notFound) }
        if let refusal = refusal(change, chats[index], chats[index].periods[author].role) {
            return .refused(refusal)
        }
        let users = affected(change, chats[index])
        guard !users.isEmpty else { return .membership([]) }
        guard !wasCommitted else { return .refused(.notFound) }
        return .membership(apply(change, to: users, index))
    }

    /// The users, with their entries' ids, whom the change makes a difference to.
    private func affected(
        _ change: ChangeMembership, _ chat: Chat
    ) -> [(user: UserID, entryID: MessageID)] {
        var seen: Set<Name> = []
        var found: [(user: UserID, entryID: MessageID)] = []
        for (user, entryID) in zip(change.users, change.entryIDs)
        where seen.insert(user.text.name).inserted {
            let isPresent = chat.presence(of: user) != nil
            if isPresent == change.kind.endsPresence { found.append((user, entryID)) }
        }
        return found
    }

    private func refusal(_ change: ChangeMembership, _ chat: Chat, _ role: Role) -> Refusal? {
        if chat.kind == .direct { return .forbidden }
        let users = affected(change, chat).map(\.user)
        switch change.kind {
        case .added:
            if !role.mayAddMembers { return .forbidden }
            if !users.isEmpty, chat.memberCount + users.count > change.maximumMembers {
                return .tooManyMembers
            }
        case .removed:
            let roles = users.compactMap { chat.presence(of: $0) }.map { chat.periods[$0].role }
            if !roles.allSatisfy(role.mayRemove) { return .forbidden }
        case .left:
            let isOwnOnly = change.users.allSatisfy { $0.text.name == change.author.text.name }
            if !isOwnOnly { return .forbidden }
        }
        return nil
    }

    private mutating func apply(
        _ change: ChangeMembership, to users: [(user: UserID, entryID: MessageID)], _ index: Int
    ) -> [LogEntry] {
        var entries: [LogEntry] = []
        for (user, entryID) in users {
            let entry = write(
                entryID, index, change.author, change.device, change.at,
                .membership(MembershipChange(kind: change.kind, user: user)))
            entries.append(entry)
            if let presence = chats[index].presence(of: user) {
                chats[index].periods[presence].endedSeq = entry.seq
            } else {
                chats[index].periods.append(
                    Period(
                        user: user, role: .member, joinedAt: change.at, joinedSeq: entry.seq))
            }
        }
        appointOwner(index)
        return entries
    }

    /// A chat with members has an owner.
    private mutating func appointOwner(_ index: Int) {
        let present = chats[index].periods.indices.filter { chats[index].periods[$0].isPresent }
        let admin = present.first { chats[index].periods[$0].role == .admin }
        guard !present.contains(where: { chats[index].periods[$0].role == .owner }),
            let heir = admin ?? present.first
        else { return }
        chats[index].periods[heir].role = .owner
    }

    // MARK: Cursors

    mutating func advanceCursor(_ advance: AdvanceCursor, isRepeated: Bool) -> Outcome {
        guard let index = index(of: advance.chat),
            chats[index].presence(of: advance.user) != nil
        else { return .refused(.notFound) }
        var asked: [Seq] = []
        for position in [advance.delivered, advance.read] {
            switch position {
            case nil: asked.append(0)
            case .seq(let seq):
                guard seq <= chats[index].lastSeq else { return .refused(.invalidPosition) }
                asked.append(max(0, seq))
            case .entry(let id):
                guard let place = entryPlaces[id.text.name], place.chat == index,
                    shows(Seq(place.index + 1), of: advance.chat, to: advance.user)
                else { return .refused(.notFound) }
                asked.append(Seq(place.index + 1))
            }
        }
        let read = asked[1]
        let delivered = max(asked[0], read)

        let user = advance.user.text.name
        let device = Device(user: user, device: advance.device.text.name)
        var own = chats[index].devices[device] ?? Watermarks()
        own.delivered = max(own.delivered, delivered)
        own.read = max(own.read, read)
        chats[index].devices[device] = own

        let before = chats[index].users[user] ?? Watermarks()
        var after = before
        after.delivered = max(before.delivered, delivered)
        after.read = max(before.read, read)
        if !advance.isReadPrivate { after.publicRead = max(before.publicRead, read) }
        chats[index].users[user] = after

        let shown = advance.isReadPrivate ? before.read : before.publicRead
        // A repeated submission gives the receipt of a mark that stands where it was asked to be.
        let isDeliveredNew =
            delivered > before.delivered
            || (isRepeated && delivered > 0 && delivered == before.delivered)
        let isReadNew = read > shown || (isRepeated && read > 0 && read == shown)
        let receipt = Receipt(
            chat: advance.chat, user: advance.user, deliveredSeq: isDeliveredNew ? delivered : nil,
            readSeq: isReadNew ? read : nil, isReadPrivate: advance.isReadPrivate && isReadNew,
            at: advance.at)
        return .cursor(
            isDeliveredNew || isReadNew ? receipt : nil, delivered: own.delivered, read: own.read)
    }
}

extension MembershipChange.Kind {
    fileprivate var endsPresence: Bool { self != .added }
}
