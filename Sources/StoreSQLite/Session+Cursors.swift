import Domain
import StoreCore

/// How far devices, and users over all of them, have received and read.
struct CursorStatements {
    let device: Statement
    let setDevice: Statement
    let user: Statement
    let setUser: Statement

    init(_ connection: Connection) throws(SQLError) {
        device = try connection.prepare(
            "SELECT delivered, read FROM cursors WHERE chat = ?1 AND user = ?2 AND device = ?3")
        setDevice = try connection.prepare(
            """
            INSERT INTO cursors (chat, user, device, delivered, read)
            VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT DO UPDATE SET delivered = ?4, read = ?5
            """)
        user = try connection.prepare(
            """
            SELECT delivered, read, public_read FROM watermarks WHERE chat = ?1 AND user = ?2
            """)
        setUser = try connection.prepare(
            """
            INSERT INTO watermarks (chat, user, delivered, read, public_read)
            VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT DO UPDATE SET delivered = ?3, read = ?4, public_read = ?5
            """)
    }
}

extension Session {
    func advanceCursor(
        _ advance: AdvanceCursor, _ submission: Submission
    ) throws(SQLError) -> Outcome {
        guard let (chat, lastSeq) = try place(advance.chat, advance.user) else {
            return .refused(.notFound)
        }
        var asked: [Seq] = []
        for position in [advance.delivered, advance.read] {
            switch try resolve(position, advance, chat, lastSeq) {
            case .success(let seq): asked.append(seq)
            case .failure(let refusal): return .refused(refusal)
            }
        }
        let read = asked[1]
        let delivered = max(asked[0], read)
        let device = try raiseDevice(advance, chat, delivered, read)
        let receipt = try raiseUser(advance, chat, delivered, read, submission)
        return .cursor(receipt, delivered: device.delivered, read: device.read)
    }

    private enum Resolved {
        case success(Seq)
        case failure(Refusal)
    }

    /// 0 where nothing is asked. An entry that the user may not see is as unknown as one that is
    /// not there.
    private func resolve(
        _ position: LogPosition?, _ advance: AdvanceCursor, _ chat: Int64, _ lastSeq: Seq
    ) throws(SQLError) -> Resolved {
        switch position {
        case nil: return .success(0)
        case .seq(let seq):
            return seq <= lastSeq ? .success(max(0, seq)) : .failure(.invalidPosition)
        case .entry(let id):
            guard let place = try place(of: id), Place.chat(place) == chat,
                let view = try view(advance.chat, advance.user), view.shows(Place.seq(place))
            else { return .failure(.notFound) }
            return .success(Place.seq(place))
        }
    }

    private func raiseDevice(
        _ advance: AdvanceCursor, _ chat: Int64, _ delivered: Seq, _ read: Seq
    ) throws(SQLError) -> (delivered: Seq, read: Seq) {
        let device = statements.cursors.device
        let setDevice = statements.cursors.setDevice
        device.bind(1, chat)
        device.bind(2, advance.user.text)
        device.bind(3, advance.device.text)
        var before: (delivered: Seq, read: Seq) = (0, 0)
        if try device.step() {
            before.delivered = device.integer(0)
            before.read = device.integer(1)
            device.reset()
        }
        let after = (delivered: max(before.delivered, delivered), read: max(before.read, read))
        guard after != before else { return after }
        setDevice.bind(1, chat)
        setDevice.bind(2, advance.user.text)
        setDevice.bind(3, advance.device.text)
        setDevice.bind(4, after.delivered)
        setDevice.bind(5, after.read)
        try setDevice.run()
        return after
    }

    private func raiseUser(
        _ advance: AdvanceCursor, _ chat: Int64, _ delivered: Seq, _ read: Seq,
        _ submission: Submission
    ) throws(SQLError) -> Receipt? {
        let setUser = statements.cursors.setUser
        let before = try watermarks(chat, advance.user)
        var after = before
        let receipt = after.raise(
            for: advance, delivered: delivered, read: read, isRepeated: submission.isRepeated)
        if after != before {
            setUser.bind(1, chat)
            setUser.bind(2, advance.user.text)
            setUser.bind(3, after.delivered)
            setUser.bind(4, after.read)
            setUser.bind(5, after.publicRead)
            try setUser.run()
        }
        return receipt
    }

    func watermarks(_ chat: Int64, _ user: UserID) throws(SQLError) -> Watermarks {
        let statement = statements.cursors.user
        statement.bind(1, chat)
        statement.bind(2, user.text)
        guard try statement.step() else { return Watermarks() }
        defer { statement.reset() }
        return Watermarks(
            delivered: statement.integer(0),
            read: statement.integer(1),
            publicRead: statement.integer(2))
    }
}
