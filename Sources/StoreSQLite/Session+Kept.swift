import Basics
import Domain
import StoreCore

/// Sessions that others may go on with.
struct KeptStatements {
    let keep: Statement
    let prune: Statement
    let dropNamed: Statement
    let dropUser: Statement
    let find: Statement

    /// Rows that are over and go with each that is kept: more than come.
    static let pruned = 4

    init(_ connection: Connection) throws(SQLError) {
        keep = try connection.prepare(
            """
            INSERT INTO kept_sessions (name, user, state, until) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO UPDATE SET user = ?2, state = ?3, until = ?4
            """)
        prune = try connection.prepare(
            """
            DELETE FROM kept_sessions WHERE name IN
                (SELECT name FROM kept_sessions WHERE until < ?1 LIMIT \(Self.pruned))
            """)
        dropNamed = try connection.prepare("DELETE FROM kept_sessions WHERE name = ?1")
        dropUser = try connection.prepare("DELETE FROM kept_sessions WHERE user = ?1")
        find = try connection.prepare(
            "SELECT user, state FROM kept_sessions WHERE name = ?1 AND until >= ?2")
    }
}

extension Session {
    func keepSession(_ keep: KeepSession) throws(SQLError) -> Outcome {
        let prune = statements.kept.prune
        prune.bind(1, keep.at.milliseconds)
        try prune.run()
        let statement = statements.kept.keep
        statement.bind(1, keep.name)
        statement.bind(2, keep.session.user.text)
        statement.bind(3, keep.session.state)
        statement.bind(4, keep.until.milliseconds)
        try statement.run()
        return .done
    }

    func dropSessions(_ drop: DropSessions) throws(SQLError) -> Outcome {
        switch drop {
        case .named(let name):
            statements.kept.dropNamed.bind(1, name)
            try statements.kept.dropNamed.run()
        case .all(let user):
            statements.kept.dropUser.bind(1, user.text)
            try statements.kept.dropUser.run()
        }
        return .done
    }

    func findSession(_ name: String, at: WallTime) throws(SQLError) -> Outcome {
        let statement = statements.kept.find
        statement.bind(1, name)
        statement.bind(2, at.milliseconds)
        guard try statement.step() else { return .session(nil) }
        defer { statement.reset() }
        return .session(
            KeptSession(user: UserID(trusted: statement.text(0)), state: statement.blob(1)))
    }
}
