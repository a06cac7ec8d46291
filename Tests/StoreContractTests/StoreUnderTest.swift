import Basics
import Domain
import Foundation
import Reactor
import ServiceSupport
import StoreCore
import TestSupport
import Testing

@testable import StorePostgres
@testable import StoreSQLite

/// The stores that the contract suite runs on.
enum StoreUnderTest: String, CaseIterable, Sendable {
    case model, sqlite, postgres
}

/// The contract: what `Operation.swift` and `Store.swift` say, on every store.
@Suite("Store contract") struct StoreContract {}

/// A fresh store and short ways to talk to it. Ids and times are made in order, so two harnesses
/// that are told the same get the same outcomes.
final class Harness {
    let store: any Store
    /// For SQLite; removed with the harness.
    let folder: String?
    /// For Postgres.
    let database: TestDatabase?
    var keepsFolder = false
    private var made = 0
    private(set) var time = WallTime(milliseconds: 1_000)

    init(_ kind: StoreUnderTest) {
        switch kind {
        case .model:
            store = ModelStore()
            folder = nil
            database = nil
        case .postgres:
            folder = nil
            let made = Result { try TestDatabase() }
            database = try? made.get()
            do {
                store = try made.get().open()
            } catch {
                Issue.record("\(error)")
                store = ModelStore()
            }
        case .sqlite:
            database = nil
            let path = Self.freshFolder()
            folder = path
            do throws(StoreFailure) {
                store = try SQLiteStore.open(folder: path)
            } catch {
                Issue.record("\(error)")
                store = ModelStore()
            }
        }
    }

    init(_ store: any Store, folder: String?, database: TestDatabase? = nil) {
        self.store = store
        self.folder = folder
        self.database = database
    }

    deinit {
        (store as? PostgresStore)?.close()
        (store as? SQLiteStore)?.close()
        if let folder, !keepsFolder { try? FileManager.default.removeItem(atPath: folder) }
    }

    static func freshFolder() -> String {
        FileManager.default.temporaryDirectory.path + "/martlet-store-\(UUID().uuidString)"
    }

    // MARK: Submitting

    @discardableResult
    func submit(_ operations: [Domain.Operation], attempt: Int = 1) -> [Outcome] {
        guard case .committed(let outcomes) = result(operations, attempt: attempt) else {
            Issue.record("the batch was not committed")
            return []
        }
        #expect(outcomes.count == operations.count)
        return outcomes
    }

    func result(_ operations: [Domain.Operation], attempt: Int = 1) -> BatchResult {
        var results: [BatchResult] = []
        store.submit(Batch(operations: operations, attempt: attempt)) { results.append($0) }
        database?.pump { !results.isEmpty }
        #expect(results.count == 1)
        return results.first ?? .unknown(StoreFailure(.unavailable, "no completion"))
    }

    @discardableResult
    func run(_ operation: Domain.Operation) -> Outcome {
        submit([operation]).first ?? .head(-1)
    }

    /// The seq of a committed message; nil for any other outcome.
    @discardableResult
    func send(_ chat: ChatID, _ author: UserID, _ text: String = "hello") -> Seq? {
        guard case .appended(let entry) = run(message(chat, author, text)) else { return nil }
        return entry.seq
    }

    // MARK: Operations

    func freshID() -> MessageID {
        made += 1
        time.milliseconds += 1
        return MessageID(trusted: "entry-\(made)")
    }

    func message(
        _ chat: ChatID, _ author: UserID, _ text: String = "hello", clientID: String? = nil,
        type: String = "text", replyTo: MessageID? = nil, thread: MessageID? = nil,
        expiresAt: WallTime? = nil, content: [UInt8]? = nil, device: DeviceID = "phone"
    ) -> Domain.Operation {
        let id = freshID()
        return .append(
            AppendMessage(
                id: id, chat: chat, author: author, device: device, clientMessageID: clientID,
                createdAt: time,
                message: Message(
                    encryptedContent: content ?? Array(text.utf8), type: type, replyTo: replyTo,
                    thread: thread, expiresAt: expiresAt)))
    }

    func creation(
        _ chat: ChatID, _ members: [UserID], kind: ConversationKind = .group, name: String? = nil,
        by creator: UserID? = nil
    ) -> Domain.Operation {
        time.milliseconds += 1
        return .createConversation(
            CreateConversation(
                id: chat, kind: kind, name: name, creator: creator ?? members[0], members: members,
                createdAt: time))
    }

    func change(
        _ chat: ChatID, _ kind: MembershipChange.Kind, _ users: [UserID], by author: UserID,
        maximum: Int = 100
    ) -> Domain.Operation {
        let ids = users.map { _ in freshID() }
        return .changeMembership(
            ChangeMembership(
                chat: chat, author: author, device: "phone", kind: kind, users: users,
                entryIDs: ids, maximumMembers: maximum, at: time))
    }

    func cursor(
        _ chat: ChatID, _ user: UserID, delivered: LogPosition? = nil, read: LogPosition? = nil,
        isPrivate: Bool = false, device: DeviceID = "phone"
    ) -> Domain.Operation {
        time.milliseconds += 1
        return .advanceCursor(
            AdvanceCursor(
                chat: chat, user: user, device: device, delivered: delivered, read: read,
                isReadPrivate: isPrivate, at: time))
    }

    // MARK: Reading

    func opened(_ chat: ChatID, _ user: UserID) -> OpenedChat? {
        guard case .opened(let opened) = run(.openChats(OpenChats(user: user, chats: [chat])))
        else {
            return nil
        }
        return opened.first
    }

    func logs(
        _ user: UserID, _ from: [ReadLogs.From], entries: Int = 1_000, bytes: Int = 10_000_000
    ) -> [LogPage] {
        let read = ReadLogs(
            user: user, chats: from, maximumEntries: entries, maximumBytes: bytes)
        guard case .logs(let pages) = run(.readLogs(read)) else { return [] }
        return pages
    }

    /// The seqs that a user may see.
    func visible(_ chat: ChatID, _ user: UserID, after: Seq = 0) -> [Seq] {
        logs(user, [ReadLogs.From(chat: chat, after: after)]).first?.entries.map(\.seq) ?? []
    }

    func history(
        _ chat: ChatID, _ user: UserID, after: Seq = 0, limit: Int = 100, bytes: Int = 1_000_000
    ) -> LogPage? {
        let read = ReadHistory(
            chat: chat, user: user, after: after, limit: limit, maximumBytes: bytes)
        guard case .history(let page) = run(.readHistory(read)) else { return nil }
        return page
    }

    func range(
        _ chat: ChatID, after: Seq = 0, maximum: Int = 1_000, bytes: Int = 1_000_000
    ) -> [LogEntry] {
        let read = ReadRange(
            chat: chat, after: after, maximumEntries: maximum, maximumBytes: bytes)
        guard case .range(let entries) = run(.readRange(read)) else { return [] }
        return entries
    }

    func head(_ chat: ChatID) -> Seq? {
        guard case .head(let seq) = run(.head(chat)) else { return nil }
        return seq
    }

    func members(_ chat: ChatID, by user: UserID) -> [Member] {
        guard case .members(let members) = run(.listMembers(chat, by: user)) else { return [] }
        return members
    }

    func roles(_ chat: ChatID, by user: UserID) -> [String] {
        members(chat, by: user).map { "\($0.user.text) \($0.role.rawValue)" }
    }

    func conversations(_ user: UserID) -> [Conversation] {
        guard case .conversations(let found) = run(.listConversations(user)) else { return [] }
        return found
    }

    /// There is no operation for it yet.
    func setRole(_ role: Role, of user: UserID, in chat: ChatID) {
        if let model = store as? ModelStore { model.state.setRole(role, of: user, in: chat) }
        if let database {
            let sql = """
                UPDATE martlet.memberships SET role = '\(role.rawValue)'
                WHERE member = '\(user.text)' AND ended_seq IS NULL
                AND chat = (SELECT key FROM martlet.chats WHERE id = '\(chat.text)')
                """
            #expect(throws: Never.self) { try database.run(sql) }
        }
        guard let folder else { return }
        do throws(SQLError) {
            let connection = try Connection(path: folder + "/martlet.db")
            let statement = try connection.prepare(
                """
                UPDATE memberships SET role = ?1 WHERE user = ?2 AND ended_seq IS NULL
                AND chat = (SELECT key FROM chats WHERE id = ?3)
                """)
            statement.bind(1, role.rawValue)
            statement.bind(2, user.text)
            statement.bind(3, chat.text)
            try statement.run()
        } catch {
            Issue.record("\(error)")
        }
    }
}

extension UserID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(trusted: value) }
}
extension ChatID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(trusted: value) }
}
extension DeviceID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(trusted: value) }
}
extension MessageID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(trusted: value) }
}

extension Domain.Operation {
    var appendID: MessageID? {
        if case .append(let append) = self { append.id } else { nil }
    }

    /// The same send under another entry id, as a client's retry is.
    func resent(as id: MessageID) -> Domain.Operation {
        guard case .append(var append) = self else { return self }
        append.id = id
        return .append(append)
    }
}

extension Outcome {
    var entry: LogEntry? { if case .appended(let entry) = self { entry } else { nil } }

    var entries: [LogEntry]? { if case .membership(let entries) = self { entries } else { nil } }

    var receipt: Receipt? { if case .cursor(let receipt, _, _) = self { receipt } else { nil } }

    var conversation: Conversation? {
        if case .conversation(let conversation, _) = self { conversation } else { nil }
    }
}
