import Basics
import Domain

/// Who belongs to a chat, and since which entry until which.
struct MembershipStatements {
    let insert: Statement
    let end: Statement
    let present: Statement
    let ownerCount: Statement
    let heir: Statement
    let setRole: Statement

    init(_ connection: Connection) throws(SQLError) {
        insert = try connection.prepare(
            """
            INSERT INTO memberships (chat, user, role, joined_seq, joined_at)
            VALUES (?1, ?2, ?3, ?4, ?5)
            """)
        end = try connection.prepare("UPDATE memberships SET ended_seq = ?2 WHERE key = ?1")
        present = try connection.prepare(
            """
            SELECT key, role FROM memberships
            WHERE chat = ?1 AND user = ?2 AND ended_seq IS NULL
            """)
        ownerCount = try connection.prepare(
            """
            SELECT count(*) FROM memberships
            WHERE chat = ?1 AND ended_seq IS NULL AND role = 'owner'
            """)
        heir = try connection.prepare(
            """
            SELECT key FROM memberships WHERE chat = ?1 AND ended_seq IS NULL
            ORDER BY role <> 'admin', key LIMIT 1
            """)
        setRole = try connection.prepare("UPDATE memberships SET role = ?2 WHERE key = ?1")
    }
}

extension Session {
    /// What a change amounts to, before anything is applied.
    private enum Decision {
        case refused(Refusal)
        /// Who joins, or the memberships that end; one entry each.
        case changes([Change])
    }

    private struct Change {
        var user: UserID
        var entryID: MessageID
        /// The key of the open membership; nil for one who joins.
        var membership: Int64?
    }

    func changeMembership(
        _ change: ChangeMembership, _ submission: Submission
    ) throws(SQLError) -> Outcome {
        invariant(
            change.users.count == change.entryIDs.count,
            "\(change.users.count) users, \(change.entryIDs.count) entry ids")
        if let stored = try storedEntries(change) { return stored }
        guard let presence = try presence(change.chat, change.author) else {
            return .refused(.notFound)
        }
        switch try decide(change, presence) {
        case .refused(let refusal): return .refused(refusal)
        case .changes(let changes):
            guard !changes.isEmpty else { return .membership([]) }
            // An earlier submission was committed and this was not part of it: it was refused, or
            // there was nothing to do then.
            guard !submission.wasCommitted else { return .refused(.notFound) }
            return .membership(try apply(changes, of: change, presence))
        }
    }

    /// The entries of this change that are stored: it was committed then, whatever holds now.
    private func storedEntries(_ change: ChangeMembership) throws(SQLError) -> Outcome? {
        var entries: [LogEntry] = []
        for id in change.entryIDs {
            guard let entry = try entry(id) else { continue }
            guard entry.chat.text.hasSameBytes(as: change.chat.text),
                entry.author.text.hasSameBytes(as: change.author.text)
            else { return .refused(.alreadyExists) }
            entries.append(entry)
        }
        return entries.isEmpty ? nil : .membership(entries)
    }

    private func decide(
        _ change: ChangeMembership, _ presence: Presence
    ) throws(SQLError) -> Decision {
        guard presence.kind != .direct else { return .refused(.forbidden) }
        if change.kind == .added, !presence.role.mayAddMembers { return .refused(.forbidden) }
        var changes: [Change] = []
        var seen = Set<ExactText>()
        for (user, entryID) in zip(change.users, change.entryIDs) {
            guard seen.insert(ExactText(user.text)).inserted else { continue }
            let present = try presentMember(presence.chat, user)
            switch change.kind {
            case .added:
                guard present == nil else { continue }
            case .removed:
                guard let present else { continue }
                guard presence.role.mayRemove(present.role) else { return .refused(.forbidden) }
            case .left:
                guard user.text.hasSameBytes(as: change.author.text) else {
                    return .refused(.forbidden)
                }
            }
            changes.append(Change(user: user, entryID: entryID, membership: present?.key))
        }
        let grows = change.kind == .added && !changes.isEmpty
        guard !grows || presence.memberCount + changes.count <= change.maximumMembers else {
            return .refused(.tooManyMembers)
        }
        return .changes(changes)
    }

    private func apply(
        _ changes: [Change], of change: ChangeMembership, _ presence: Presence
    ) throws(SQLError) -> [LogEntry] {
        let end = statements.membership.end
        guard presence.lastSeq + Seq(changes.count) <= Place.maximumSeq else {
            throw SQLError(code: SQLError.diskFullCode, call: "an entry beyond 2^32 in a chat")
        }
        var seq = presence.lastSeq
        var memberCount = presence.memberCount
        var entries: [LogEntry] = []
        for one in changes {
            seq += 1
            let entry = LogEntry(
                chat: change.chat, seq: seq, id: one.entryID, author: change.author,
                device: change.device, createdAt: change.at,
                body: .membership(MembershipChange(kind: change.kind, user: one.user)))
            try insert(entry, in: presence.chat, clientMessageID: nil)
            entries.append(entry)
            if let membership = one.membership {
                memberCount -= 1
                end.bind(1, membership)
                end.bind(2, seq)
                try end.run()
            } else {
                memberCount += 1
                try insertMembership(
                    chat: presence.chat, user: one.user, role: .member, joinedSeq: seq,
                    joinedAt: change.at)
            }
        }
        try setLast(presence.chat, seq, memberCount: memberCount)
        if change.kind == .left, presence.role == .owner { try appointOwner(presence.chat) }
        return entries
    }

    /// A chat with members has an owner: the longest-standing admin, else member, takes over.
    private func appointOwner(_ chat: Int64) throws(SQLError) {
        let owners = statements.membership.ownerCount
        owners.bind(1, chat)
        let hasOwner = try owners.step() && owners.integer(0) > 0
        owners.reset()
        guard !hasOwner else { return }
        let heir = statements.membership.heir
        heir.bind(1, chat)
        guard try heir.step() else { return }
        let membership = heir.integer(0)
        heir.reset()
        let setRole = statements.membership.setRole
        setRole.bind(1, membership)
        setRole.bind(2, Role.owner.rawValue)
        try setRole.run()
    }

    // MARK: Rows

    /// - Parameter joinedSeq: the first entry seen; 0 for a member from the creation on.
    func insertMembership(
        chat: Int64, user: UserID, role: Role, joinedSeq: Seq, joinedAt: WallTime
    ) throws(SQLError) {
        let insert = statements.membership.insert
        insert.bind(1, chat)
        insert.bind(2, user.text)
        insert.bind(3, role.rawValue)
        insert.bind(4, joinedSeq)
        insert.bind(5, joinedAt.milliseconds)
        try insert.run()
    }

    private func presentMember(
        _ chat: Int64, _ user: UserID
    ) throws(SQLError) -> (key: Int64, role: Role)? {
        let present = statements.membership.present
        present.bind(1, chat)
        present.bind(2, user.text)
        guard try present.step() else { return nil }
        defer { present.reset() }
        return (
            present.integer(0),
            Role(rawValue: present.text(1)) ?? .member
        )
    }
}
