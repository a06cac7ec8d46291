import Basics
import Domain

extension ModelState {
    /// The answer to a read. A write is answered by `apply`.
    func read(_ operation: Operation) -> Outcome {
        switch operation {
        case .openChats(let open): .opened(open.chats.map { opened($0, open.user) })
        case .readLogs(let read): .logs(readLogs(read))
        case .readHistory(let read): readHistory(read)
        case .readRange(let read): .range(readRange(read))
        case .head(let chat): .head(index(of: chat).map { chats[$0].lastSeq } ?? 0)
        case .locate(let id, let chat): .located(locate(id, in: chat))
        case .findChats(let id, let user): .chats(findChats(of: id, for: user))
        case .readNews(let read): .news(news(read))
        case .listConversations(let user):
            .conversations(chats.indices.compactMap { conversation($0, for: user) })
        case .listMembers(let chat, let user): members(of: chat, for: user)
        case .findSession(let name, let at): .session(findSession(name, at: at))
        case .append, .advanceCursor, .createConversation, .changeMembership, .keepSession,
            .keepMarks, .dropSessions:
            .head(0)
        }
    }

    private func access(_ chat: Chat, _ user: UserID) -> OpenedChat.Access {
        if chat.presence(of: user) != nil { return .member }
        guard let last = chat.periods(of: user).compactMap(\.endedSeq).max() else { return .none }
        return .former(lastVisible: last)
    }

    private func end(_ chat: Chat, _ access: OpenedChat.Access) -> Seq {
        switch access {
        case .member: chat.lastSeq
        case .former(let lastVisible): lastVisible
        case .none: 0
        }
    }

    private func opened(_ id: ChatID, _ user: UserID) -> OpenedChat {
        let nothing = OpenedChat(
            chat: id, access: .none, lastSeq: 0, readSeq: 0, memberCount: 0)
        guard let index = index(of: id) else { return nothing }
        let chat = chats[index]
        let access = access(chat, user)
        if access == .none { return nothing }
        return OpenedChat(
            chat: id, access: access, lastSeq: end(chat, access),
            readSeq: chat.users[user.text.name]?.read ?? 0,
            memberCount: access == .member ? chat.memberCount : 0,
            staySeq: chat.presence(of: user).map { chat.periods[$0].joinedSeq } ?? 0)
    }

    private func findSession(_ name: String, at: WallTime) -> KeptSession? {
        guard let kept = sessions[name], kept.until >= at else { return nil }
        return KeptSession(
            user: kept.user, epoch: kept.epoch, state: kept.state,
            marks: (marks[name] ?? [:]).map {
                KeptMark(String(decoding: $0.key, as: UTF8.self), $0.value)
            }
            .sorted { $0.item.name.lexicographicallyPrecedes($1.item.name) })
    }

    private func readLogs(_ read: ReadLogs) -> [LogPage] {
        var budget = Budget(entries: read.maximumEntries, bytes: read.maximumBytes)
        return read.chats.map { from in
            page(from.chat, read.user, after: from.after) { budget.takes($0) }
        }
    }

    /// The first entry always; then as many as are left, until one is too large.
    private struct Budget {
        var entriesLeft: Int
        var bytesLeft: Int
        var isFirst = true

        init(entries: Int, bytes: Int) {
            entriesLeft = max(1, entries)
            bytesLeft = bytes
        }

        mutating func takes(_ entry: LogEntry) -> Bool {
            let size = entry.approximateBytes
            guard isFirst || (entriesLeft > 0 && size <= bytesLeft) else {
                entriesLeft = 0
                return false
            }
            isFirst = false
            entriesLeft -= 1
            bytesLeft = max(0, bytesLeft - size)
            return true
        }
    }

    private func readHistory(_ read: ReadHistory) -> Outcome {
        guard let index = index(of: read.chat), chats[index].presence(of: read.user) != nil else {
            return .refused(.notFound)
        }
        var budget = Budget(entries: read.limit, bytes: read.maximumBytes)
        return .history(page(read.chat, read.user, after: read.after) { budget.takes($0) })
    }

    /// Entries that the user may see, from `after` on, until `takes` says no.
    private func page(
        _ id: ChatID, _ user: UserID, after: Seq, takes: (LogEntry) -> Bool
    ) -> LogPage {
        guard let index = index(of: id) else {
            return LogPage(chat: id, access: .none, entries: [], readThrough: 0, isComplete: true)
        }
        let access = access(chats[index], user)
        let end = end(chats[index], access)
        let periods = chats[index].periods(of: user)
        var entries: [LogEntry] = []
        for entry in chats[index].log where entry.seq > after {
            guard periods.contains(where: { $0.shows(entry.seq) }) else { continue }
            guard takes(entry) else {
                return LogPage(
                    chat: id, access: access, entries: entries,
                    readThrough: entries.last?.seq ?? max(0, after), isComplete: false)
            }
            entries.append(entry)
        }
        return LogPage(
            chat: id, access: access, entries: entries, readThrough: end, isComplete: true)
    }

    private func readRange(_ read: ReadRange) -> [LogEntry] {
        guard read.maximumEntries > 0 else { return [] }
        var budget = Budget(entries: read.maximumEntries, bytes: read.maximumBytes)
        return Array(
            entries(of: read.chat).filter { $0.seq > read.after }.prefix { budget.takes($0) })
    }

    private func findChats(of id: MessageID, for user: UserID) -> [ChatID] {
        guard let place = entryPlaces[id.text.name] else { return [] }
        let chat = chats[place.chat]
        let isSeen = chat.periods(of: user).contains { $0.shows(Seq(place.index + 1)) }
        return isSeen ? [chat.id] : []
    }

    private func locate(_ id: MessageID, in chat: ChatID) -> Seq? {
        guard let place = entryPlaces[id.text.name], place.chat == index(of: chat) else {
            return nil
        }
        return Seq(place.index + 1)
    }

    /// All there is: a store may give more than what moved.
    private func news(_ read: ReadNews) -> News {
        var news = News(heads: [], receipts: [], arrivals: [], at: StoreTime(value: 0))
        for id in read.chats {
            let place = index(of: id)
            news.heads.append(place.map { chats[$0].lastSeq } ?? 0)
            guard let place, read.since != nil else { continue }
            for name in chats[place].users.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
                guard let marks = chats[place].users[name] else { continue }
                news.receipts.append(
                    Receipt(
                        chat: id, user: UserID(trusted: String(decoding: name, as: UTF8.self)),
                        deliveredSeq: marks.delivered > 0 ? marks.delivered : nil,
                        readSeq: marks.publicRead > 0 ? marks.publicRead : nil,
                        isReadPrivate: false, at: WallTime(milliseconds: 0)))
            }
        }
        guard read.since != nil else { return news }
        for user in read.users {
            for chat in chats {
                guard let stay = chat.presence(of: user) else { continue }
                news.arrivals.append(
                    News.Arrival(
                        user: user, chat: chat.id,
                        since: max(0, chat.periods[stay].joinedSeq - 1)))
            }
        }
        return news
    }

    private func members(of chat: ChatID, for user: UserID) -> Outcome {
        guard let index = index(of: chat), chats[index].presence(of: user) != nil else {
            return .refused(.notFound)
        }
        return .members(
            chats[index].periods.filter(\.isPresent).map { period in
                let name = period.user.text.name
                let marks = chats[index].users[name] ?? Watermarks()
                return Member(
                    user: period.user, role: period.role, joinedAt: period.joinedAt,
                    deliveredSeq: marks.delivered,
                    readSeq: name == user.text.name ? marks.read : marks.publicRead)
            })
    }
}
