import Basics
import Domain
import StoreCore

/// Sessions that others may go on with. Their marks go with them (`ON DELETE CASCADE`).
struct KeptStatements {
    let epoch: Statement
    let keep: Statement
    let prune: Statement
    let dropNamed: Statement
    let dropUser: Statement
    let dropMarks: Statement
    let setMark: Statement
    let find: Statement
    let marks: Statement

    /// Rows that are over and go with each that is kept: more than come.
    static let pruned = 4

    init(_ connection: Connection) throws(SQLError) {
        epoch = try connection.prepare("SELECT epoch FROM kept_sessions WHERE name = ?1")
        keep = try connection.prepare(
            """
            INSERT INTO kept_sessions (name, user, epoch, kept_at, until, state)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT DO UPDATE
                SET user = ?2, epoch = ?3, kept_at = ?4, until = ?5, state = ?6
            """)
        prune = try connection.prepare(
            """
            DELETE FROM kept_sessions WHERE name IN
                (SELECT name FROM kept_sessions WHERE until < ?1 LIMIT \(Self.pruned))
            """)
        dropNamed = try connection.prepare(
            "DELETE FROM kept_sessions WHERE name = ?1 AND epoch = ?2")
        dropUser = try connection.prepare(
            "DELETE FROM kept_sessions WHERE user = ?1 AND kept_at <= ?2")
        dropMarks = try connection.prepare("DELETE FROM kept_marks WHERE name = ?1")
        setMark = try connection.prepare(
            """
            INSERT INTO kept_marks (name, item, seq) VALUES (?1, ?2, ?3)
            ON CONFLICT DO UPDATE SET seq = ?3
            """)
        find = try connection.prepare(
            "SELECT user, epoch, state FROM kept_sessions WHERE name = ?1 AND until >= ?2")
        marks = try connection.prepare(
            "SELECT item, seq FROM kept_marks WHERE name = ?1 ORDER BY item")
    }
}

extension Session {
    private func epoch(of name: String) throws(SQLError) -> Int64? {
        let statement = statements.kept.epoch
        statement.bind(1, name)
        guard try statement.step() else { return nil }
        defer { statement.reset() }
        return statement.integer(0)
    }

    func keepSession(_ keep: KeepSession) throws(SQLError) -> Outcome {
        let known = try epoch(of: keep.name)
        let isSame = known == keep.epoch
        guard isSame || known == keep.replaces else { return .refused(.alreadyExists) }
        let prune = statements.kept.prune
        prune.bind(1, keep.at.milliseconds)
        try prune.run()
        if !isSame {
            let dropMarks = statements.kept.dropMarks
            dropMarks.bind(1, keep.name)
            try dropMarks.run()
        }
        let statement = statements.kept.keep
        statement.bind(1, keep.name)
        statement.bind(2, keep.user.text)
        statement.bind(3, keep.epoch)
        statement.bind(4, keep.at.milliseconds)
        statement.bind(5, keep.until.milliseconds)
        statement.bind(6, keep.state)
        try statement.run()
        return .done
    }

    func keepMarks(_ keep: KeepMarks) throws(SQLError) -> Outcome {
        guard try epoch(of: keep.name) == keep.epoch else { return .refused(.notFound) }
        let statement = statements.kept.setMark
        for mark in keep.marks {
            statement.bind(1, keep.name)
            statement.bind(2, mark.item)
            statement.bind(3, mark.seq)
            try statement.run()
        }
        return .done
    }

    func dropSessions(_ drop: DropSessions) throws(SQLError) -> Outcome {
        switch drop {
        case .named(let name, let epoch):
            statements.kept.dropNamed.bind(1, name)
            statements.kept.dropNamed.bind(2, epoch)
            try statements.kept.dropNamed.run()
        case .all(let user, let at):
            statements.kept.dropUser.bind(1, user.text)
            statements.kept.dropUser.bind(2, at.milliseconds)
            try statements.kept.dropUser.run()
        }
        return .done
    }

    func findSession(_ name: String, at: WallTime) throws(SQLError) -> Outcome {
        let statement = statements.kept.find
        statement.bind(1, name)
        statement.bind(2, at.milliseconds)
        guard try statement.step() else { return .session(nil) }
        var found = KeptSession(
            user: UserID(trusted: statement.text(0)), epoch: statement.integer(1),
            state: statement.blob(2))
        statement.reset()
        let marks = statements.kept.marks
        marks.bind(1, name)
        while try marks.step() { found.marks.append(KeptMark(marks.text(0), marks.integer(1))) }
        return .session(found)
    }
}
