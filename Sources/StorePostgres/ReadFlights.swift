import Basics
import Domain
import StoreCore

/// The reads of a batch, in two flights: what each user may see of each chat, and how far the logs
/// go; then, where entries are asked for, the entries of the ranges that came out. Statements serve
/// all operations of a kind.
///
/// Between the two flights others commit; the ends of the ranges stay those of the first.
struct ReadFlights {
    /// What a user may see of a chat: the entries of each period of membership.
    struct View {
        var chat: Int64
        var lastSeq: Seq
        var memberCount: Int
        var readSeq: Seq
        /// The first entry of the present stay.
        var staySeq: Seq
        /// Ascending, apart from each other; the open one, if any, is the last and ends at the
        /// log's end.
        var periods: [ClosedRange<Seq>]
        var isPresent: Bool

        /// Up to where the user may see: the log's end, for a former member the last period's end.
        var end: Seq { isPresent ? lastSeq : periods.last?.upperBound ?? 0 }

        var access: OpenedChat.Access { isPresent ? .member : .former(lastVisible: end) }
    }

    private struct Head {
        var key: Int64
        var lastSeq: Seq
    }

    private let operations: [Operation]
    private var pairs: [(chat: ChatID, user: UserID)] = []
    private var headChats: [ChatID] = []
    private var located: [(id: MessageID, chat: ChatID)] = []
    private var listed: [UserID] = []
    private var rosters: [(chat: ChatID, user: UserID)] = []
    private var sessionNames: [(name: String, at: WallTime)] = []
    private var sought: [(id: MessageID, user: UserID)] = []

    // Answers, by place in the lists above.
    private var views: [Int: View] = [:]
    private var heads: [Int: Head] = [:]
    private var places: [Int: Seq] = [:]
    private var conversations: [Int: [Conversation]] = [:]
    private var members: [Int: [Member]] = [:]
    private var news: [News] = []
    private var sessions: [Int: KeptSession] = [:]
    private var found: [Int: [ChatID]] = [:]

    init(_ operations: [Operation]) {
        self.operations = operations
        for operation in operations {
            switch operation {
            case .openChats(let open): pairs += open.chats.map { ($0, open.user) }
            case .readLogs(let read): pairs += read.chats.map { ($0.chat, read.user) }
            case .readHistory(let read): pairs.append((read.chat, read.user))
            case .readRange(let read): headChats.append(read.chat)
            case .head(let chat): headChats.append(chat)
            case .readNews(let read): headChats += read.chats
            case .locate(let id, let chat): located.append((id, chat))
            case .listConversations(let user): listed.append(user)
            case .listMembers(let chat, let user): rosters.append((chat, user))
            case .findSession(let name, let at): sessionNames.append((name, at))
            case .findChats(let id, let user): sought.append((id, user))
            case .append, .advanceCursor, .createConversation, .changeMembership, .keepSession,
                .keepMarks, .dropSessions:
                break
            }
        }
    }

    // MARK: First flight

    func requests() -> Requests {
        var requests = Requests()
        // Before the rows that are stamped: see the statement.
        if hasNews { requests.add(.clock) }
        if !pairs.isEmpty {
            requests.add(.views) {
                $0.addTexts(pairs) { $0.chat.text }
                $0.addTexts(pairs) { $0.user.text }
            }
        }
        if !sought.isEmpty {
            requests.add(.chatsOf) {
                $0.addTexts(sought) { $0.id.text }
                $0.addTexts(sought) { $0.user.text }
            }
        }
        if !sessionNames.isEmpty {
            requests.add(.keptSessions) {
                $0.addTexts(sessionNames) { $0.name }
                $0.addNumbers(sessionNames) { $0.at.milliseconds }
            }
            requests.add(.keptMarks) { $0.addTexts(sessionNames) { $0.name } }
        }
        if !headChats.isEmpty {
            requests.add(.heads) { $0.addTexts(headChats) { $0.text } }
        }
        if !located.isEmpty {
            requests.add(.locate) {
                $0.addTexts(located) { $0.chat.text }
                $0.addTexts(located) { $0.id.text }
            }
        }
        if !listed.isEmpty {
            requests.add(.conversations) { $0.addTexts(listed) { $0.text } }
        }
        if !rosters.isEmpty {
            requests.add(.listMembers) {
                $0.addTexts(rosters) { $0.chat.text }
                $0.addTexts(rosters) { $0.user.text }
            }
        }
        for case .readNews(let read) in operations {
            requests.add(.receipts) {
                $0.addTexts(read.since == nil ? [] : read.chats) { $0.text }
                $0.add(read.since?.value ?? 0)
            }
            requests.add(.arrivals) {
                $0.addTexts(read.since == nil ? [] : read.users) { $0.text }
                $0.add(read.since?.value ?? 0)
            }
        }
        return requests
    }

    private var hasNews: Bool {
        operations.contains { if case .readNews = $0 { true } else { false } }
    }

    mutating func take(_ requests: Requests, _ replies: [Rows]) {
        var at = StoreTime(value: 0)
        for (request, rows) in zip(requests.list, replies) {
            switch request.statement {
            case .clock: at.value = rows.integer(0, 0)
            case .receipts:
                news.append(News(heads: [], receipts: receipts(rows), arrivals: [], at: at))
            case .arrivals: news[news.count - 1].arrivals = arrivals(rows)
            default:
                for row in 0..<rows.count {
                    take(request.statement, rows, row, place: Int(rows.integer(row, 0)) - 1)
                }
            }
        }
    }

    private mutating func take(_ statement: Statement, _ rows: Rows, _ row: Int, place: Int) {
        switch statement {
        case .views: takeView(rows, row, place)
        case .chatsOf: found[place, default: []].append(ChatID(trusted: rows.text(row, 1)))
        case .keptSessions:
            sessions[place] = KeptSession(
                user: UserID(trusted: rows.text(row, 1)), epoch: rows.integer(row, 2),
                state: rows.blob(row, 3))
        // After the sessions.
        case .keptMarks:
            sessions[place]?.marks.append(KeptMark(rows.text(row, 1), rows.integer(row, 2)))
        case .heads:
            heads[place] = Head(key: rows.integer(row, 1), lastSeq: rows.integer(row, 2))
        case .locate: places[place] = rows.integer(row, 1)
        case .conversations:
            conversations[place, default: []].append(
                Conversation(
                    id: ChatID(trusted: rows.text(row, 1)),
                    kind: ConversationKind(rawValue: rows.text(row, 2)) ?? .group,
                    name: rows.optionalText(row, 3),
                    createdAt: WallTime(milliseconds: rows.integer(row, 4)),
                    lastSeq: rows.integer(row, 5), readSeq: rows.integer(row, 6),
                    role: Role(rawValue: rows.text(row, 7)) ?? .member,
                    memberCount: Int(rows.integer(row, 8))))
        case .listMembers:
            members[place, default: []].append(
                Member(
                    user: UserID(trusted: rows.text(row, 1)),
                    role: Role(rawValue: rows.text(row, 2)) ?? .member,
                    joinedAt: WallTime(milliseconds: rows.integer(row, 3)),
                    deliveredSeq: rows.integer(row, 4), readSeq: rows.integer(row, 5)))
        default: break
        }
    }

    /// One row a period, in the order of joining.
    private mutating func takeView(_ rows: Rows, _ row: Int, _ place: Int) {
        let lastSeq = rows.integer(row, 2)
        var view =
            views[place]
            ?? View(
                chat: rows.integer(row, 1), lastSeq: lastSeq,
                memberCount: Int(rows.integer(row, 3)), readSeq: rows.integer(row, 6),
                staySeq: 0, periods: [], isPresent: false)
        let first = max(1, rows.integer(row, 4))
        let ended = rows.optionalInteger(row, 5)
        view.isPresent = ended == nil
        view.staySeq = ended == nil ? rows.integer(row, 4) : 0
        // A new chat has no entries, hence no range yet.
        let last = ended ?? lastSeq
        if first <= last { view.periods.append(first...last) }
        views[place] = view
    }

    private func receipts(_ rows: Rows) -> [Receipt] {
        (0..<rows.count).map { row in
            let delivered = rows.integer(row, 2)
            let read = rows.integer(row, 3)
            return Receipt(
                chat: ChatID(trusted: rows.text(row, 0)),
                user: UserID(trusted: rows.text(row, 1)),
                deliveredSeq: delivered > 0 ? delivered : nil, readSeq: read > 0 ? read : nil,
                isReadPrivate: false, at: WallTime(milliseconds: rows.integer(row, 4)))
        }
    }

    private func arrivals(_ rows: Rows) -> [News.Arrival] {
        (0..<rows.count).map { row in
            News.Arrival(
                user: UserID(trusted: rows.text(row, 0)), chat: ChatID(trusted: rows.text(row, 1)),
                since: rows.integer(row, 2))
        }
    }

    // MARK: Second flight

    /// Entries (after, through] of a chat.
    struct Range: Hashable {
        var chat: Int64
        var after: Seq
        var through: Seq
    }

    /// For each operation that reads entries its ranges in reading order, one request each; empty
    /// where there is nothing to read.
    func entryRequests() -> Requests {
        var requests = Requests()
        forEachReading { ranges, entries, bytes in
            requests.add(.entries) {
                $0.addNumbers(ranges) { $0.chat }
                $0.addNumbers(ranges) { $0.after }
                $0.addNumbers(ranges) { $0.through }
                $0.add(Int64(entries))
                $0.add(Int64(bytes))
            }
        }
        return requests
    }

    private func forEachReading(_ body: ([Range], _ entries: Int, _ bytes: Int) -> Void) {
        var pair = 0
        var head = 0
        for operation in operations {
            switch operation {
            case .openChats(let open): pair += open.chats.count
            case .head: head += 1
            case .readNews(let read): head += read.chats.count
            case .readLogs(let read):
                let ranges = read.chats.enumerated().flatMap { offset, from in
                    self.ranges(views[pair + offset], after: from.after)
                }
                pair += read.chats.count
                if !ranges.isEmpty { body(ranges, max(1, read.maximumEntries), read.maximumBytes) }
            case .readHistory(let read):
                let ranges = historyRanges(views[pair], read)
                pair += 1
                if !ranges.isEmpty { body(ranges, max(1, read.limit), read.maximumBytes) }
            case .readRange(let read):
                let ranges = self.ranges(heads[head], read)
                head += 1
                if !ranges.isEmpty { body(ranges, read.maximumEntries, read.maximumBytes) }
            default: break
            }
        }
    }

    private func ranges(_ view: View?, after: Seq) -> [Range] {
        guard let view else { return [] }
        return view.periods.compactMap { period in
            let from = max(after, period.lowerBound - 1)
            return from < period.upperBound
                ? Range(chat: view.chat, after: from, through: period.upperBound) : nil
        }
    }

    private func historyRanges(_ view: View?, _ read: ReadHistory) -> [Range] {
        guard let view, view.isPresent else { return [] }
        return ranges(view, after: read.after)
    }

    private func ranges(_ head: Head?, _ read: ReadRange) -> [Range] {
        let after = max(0, read.after)
        guard let head, read.maximumEntries > 0, after < head.lastSeq else { return [] }
        return [Range(chat: head.key, after: after, through: head.lastSeq)]
    }

    // MARK: Outcomes

    /// - Parameter replies: of the second flight.
    func outcomes(_ replies: [Rows]) -> [Outcome] {
        var pair = 0
        var head = 0
        var locate = 0
        var list = 0
        var roster = 0
        var session = 0
        var seeker = 0
        var newsCount = 0
        var reply = 0
        func nextEntries(_ isAsked: Bool) -> EntryReader {
            guard isAsked else { return EntryReader(nil) }
            defer { reply += 1 }
            return EntryReader(replies[reply])
        }
        return operations.map { operation in
            switch operation {
            case .openChats(let open):
                defer { pair += open.chats.count }
                return .opened(
                    open.chats.enumerated().map { opened($1, views[pair + $0]) })
            case .readLogs(let read):
                defer { pair += read.chats.count }
                return logs(read, pair, nextEntries)
            case .readHistory(let read):
                defer { pair += 1 }
                guard let view = views[pair], view.isPresent else { return .refused(.notFound) }
                var entries = nextEntries(!historyRanges(view, read).isEmpty)
                var budget = ReadBudget(entries: read.limit, bytes: read.maximumBytes)
                return .history(page(view, read.chat, after: read.after, &entries, &budget))
            case .readRange(let read):
                defer { head += 1 }
                var entries = nextEntries(!ranges(heads[head], read).isEmpty)
                var budget = ReadBudget(entries: read.maximumEntries, bytes: read.maximumBytes)
                var entriesFound: [LogEntry] = []
                while let entry = entries.next(ordinal: 1, chat: read.chat), budget.takes(entry) {
                    entriesFound.append(entry)
                }
                return .range(entriesFound)
            case .head:
                defer { head += 1 }
                return .head(heads[head]?.lastSeq ?? 0)
            case .readNews(let read):
                defer {
                    head += read.chats.count
                    newsCount += 1
                }
                var told = news[newsCount]
                told.heads = read.chats.indices.map { heads[head + $0]?.lastSeq ?? 0 }
                return .news(told)
            case .locate:
                defer { locate += 1 }
                return .located(places[locate])
            case .listConversations:
                defer { list += 1 }
                return .conversations(conversations[list] ?? [])
            case .listMembers:
                defer { roster += 1 }
                return members[roster].map { .members($0) } ?? .refused(.notFound)
            case .findChats:
                defer { seeker += 1 }
                return .chats(found[seeker] ?? [])
            case .findSession:
                defer { session += 1 }
                return .session(sessions[session])
            case .append, .advanceCursor, .createConversation, .changeMembership, .keepSession,
                .keepMarks, .dropSessions:
                return .refused(.notFound)
            }
        }
    }

    private func opened(_ chat: ChatID, _ view: View?) -> OpenedChat {
        guard let view else {
            return OpenedChat(chat: chat, access: .none, lastSeq: 0, readSeq: 0, memberCount: 0)
        }
        return OpenedChat(
            chat: chat, access: view.access, lastSeq: view.end, readSeq: view.readSeq,
            memberCount: view.isPresent ? view.memberCount : 0, staySeq: view.staySeq)
    }

    private func logs(
        _ read: ReadLogs, _ pair: Int, _ nextEntries: (Bool) -> EntryReader
    ) -> Outcome {
        let isAsked = read.chats.indices.contains {
            !ranges(views[pair + $0], after: read.chats[$0].after).isEmpty
        }
        var entries = nextEntries(isAsked)
        var budget = ReadBudget(entries: read.maximumEntries, bytes: read.maximumBytes)
        return .logs(
            read.chats.enumerated().map { offset, from in
                guard let view = views[pair + offset] else {
                    return LogPage(
                        chat: from.chat, access: .none, entries: [], readThrough: 0,
                        isComplete: true)
                }
                return page(view, from.chat, after: from.after, &entries, &budget)
            })
    }

    /// What the server stopped before is not there: a log has no gaps, so a range that does not
    /// reach its end is cut short.
    private func page(
        _ view: View, _ chat: ChatID, after: Seq, _ reader: inout EntryReader,
        _ budget: inout ReadBudget
    ) -> LogPage {
        var page = LogPage(
            chat: chat, access: view.access, entries: [], readThrough: max(0, after),
            isComplete: true)
        for range in ranges(view, after: after) {
            reader.beginRange()
            var reached = range.after
            while page.isComplete, let entry = reader.next(chat: chat) {
                page.isComplete = budget.takes(entry)
                guard page.isComplete else { break }
                page.entries.append(entry)
                page.readThrough = entry.seq
                reached = entry.seq
            }
            if reached < range.through { page.isComplete = false }
            // The ranges after it are passed over, their rows too.
            if !page.isComplete { continue }
        }
        if page.isComplete { page.readThrough = view.end }
        return page
    }
}

/// Goes through the rows of `entries_between`, range by range.
struct EntryReader {
    private let rows: Rows?
    private var row = 0
    private var ordinal: Int64 = 0

    init(_ rows: Rows?) { self.rows = rows }

    /// What is left of the range before is passed over.
    mutating func beginRange() { ordinal += 1 }

    mutating func next(chat: ChatID) -> LogEntry? {
        guard let rows else { return nil }
        while row < rows.count, rows.integer(row, 0) < ordinal { row += 1 }
        guard row < rows.count, rows.integer(row, 0) == ordinal else { return nil }
        defer { row += 1 }
        return EntryRow.entry(rows, row, from: 1, chat: chat)
    }

    mutating func next(ordinal: Int64, chat: ChatID) -> LogEntry? {
        self.ordinal = ordinal
        return next(chat: chat)
    }
}
