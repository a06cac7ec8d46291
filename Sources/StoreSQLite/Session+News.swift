import Basics
import Domain

/// What a gateway compares with what it has. The file belongs to one process, whose own bus loses
/// nothing that is durable, so the times of changes are not kept: all of it is given.
extension Session {
    func locate(_ id: MessageID, in chat: ChatID) throws(SQLError) -> Seq? {
        guard let place = try place(of: id), let known = try self.chat(chat),
            Place.chat(place) == known.key
        else { return nil }
        return Place.seq(place)
    }

    func news(_ read: ReadNews) throws(SQLError) -> News {
        var news = News(heads: [], receipts: [], arrivals: [], at: StoreTime(value: 0))
        for id in read.chats {
            let chat = try chat(id)
            news.heads.append(chat?.lastSeq ?? 0)
            if let chat, read.since != nil { news.receipts += try receipts(of: id, chat.key) }
        }
        guard read.since != nil else { return news }
        for user in read.users {
            for conversation in try conversations(of: user) {
                guard let view = try view(conversation.id, user), view.isPresent else { continue }
                let first = view.periods.last?.lowerBound ?? 1
                news.arrivals.append(
                    News.Arrival(user: user, chat: conversation.id, since: max(0, first - 1)))
            }
        }
        return news
    }

    private func receipts(of chat: ChatID, _ key: Int64) throws(SQLError) -> [Receipt] {
        let marks = statements.reads.marks
        marks.bind(1, key)
        var found: [Receipt] = []
        while try marks.step() {
            found.append(
                Receipt(
                    chat: chat, user: UserID(trusted: marks.text(0)),
                    deliveredSeq: marks.integer(1) > 0 ? marks.integer(1) : nil,
                    readSeq: marks.integer(2) > 0 ? marks.integer(2) : nil,
                    isReadPrivate: false, at: WallTime(milliseconds: 0)))
        }
        return found
    }
}
