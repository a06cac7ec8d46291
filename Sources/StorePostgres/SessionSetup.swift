import StoreCore

/// What a new connection is asked before it serves: whether commits on it are durable (P1), and
/// that the schema is one that this binary knows.
struct SessionSetup {
    let settings: PostgresSettings

    static let verify = """
        SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'),
            pg_is_in_recovery(), current_setting('transaction_read_only'),
            current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
            current_setting('fsync'), current_setting('full_page_writes')
        """

    /// - Plans are made once, for any values: look-ups by index, one after the other. The planner
    ///   would otherwise read a table whole while it is small, and keep to that as it grows.
    /// - The TCP settings are the server's end of the connection; on a Unix socket they do nothing.
    var configure: String {
        let values = [
            ("statement_timeout", settings.statementTimeoutMs),
            ("lock_timeout", settings.lockTimeoutMs),
            ("idle_in_transaction_session_timeout", settings.idleInTransactionTimeoutMs),
            ("tcp_keepalives_idle", 10), ("tcp_keepalives_interval", 3),
            ("tcp_keepalives_count", 3), ("tcp_user_timeout", 9_000),
        ]
        let texts = [
            ("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off"),
            ("DateStyle", "ISO"), ("TimeZone", "UTC"),
        ]
        let all = values.map { ($0.0, String($0.1)) } + texts
        return "SELECT "
            + all.map { "set_config('\($0.0)', '\($0.1)', false)" }
            .joined(separator: ", ")
    }

    /// In two parts: the statements can only be prepared where the schema is right.
    func send(on link: Link) -> Bool {
        guard link.sendUnprepared(Self.verify, call: "verify"),
            link.sendUnprepared(Schema.readVersion, call: "read the schema's version"),
            link.sendUnprepared(configure, call: "configure"), link.sync()
        else { return false }
        for statement in Statement.allCases {
            guard link.prepare(statement) else { return false }
        }
        return link.sendUnprepared("LISTEN \(Notice.chatChannel)", call: "listen")
            && link.sendUnprepared("LISTEN \(Notice.userChannel)", call: "listen") && link.sync()
    }

    /// nil where the connection may serve.
    func failure(_ replies: [Link.Reply], server: String) -> StoreFailure? {
        for (index, reply) in replies.enumerated() {
            switch reply {
            case .done(let rows, _):
                if index == 0, let failure = weakness(rows, server) { return failure }
                if index == 1, let failure = mismatch(rows, server) { return failure }
            case .failed(let error):
                guard error.isSchemaMissing else { return error.failure }
                return StoreFailure(
                    .schema, "\(server) has no schema martlet, or an old one; run `martlet migrate`"
                )
            case .skipped: break
            }
        }
        return nil
    }

    private func weakness(_ rows: Rows, _ server: String) -> StoreFailure? {
        func weak(_ text: String) -> StoreFailure { StoreFailure(.durability, "\(server) \(text)") }
        let commit = rows.text(0, 4)
        guard rows.integer(0, 0) >= 130_000 else {
            return StoreFailure(.unavailable, "\(server) is too old; PostgreSQL 13 is needed")
        }
        guard rows.text(0, 1) == "UTF8" else {
            return StoreFailure(
                .unavailable,
                "\(server): the database's encoding is \(rows.text(0, 1)); make one with UTF8")
        }
        guard !rows.bool(0, 2) else {
            return StoreFailure(
                .unavailable,
                "\(server) is a standby; name the primary, or "
                    + "several hosts with target_session_attrs=read-write")
        }
        guard rows.text(0, 3) == "off" else {
            return StoreFailure(
                .unavailable, "\(server) is read-only; unset default_transaction_read_only")
        }
        switch commit {
        case "on", "remote_write", "remote_apply": break
        case "local" where rows.text(0, 5).isEmpty: break
        default:
            return weak(
                "has synchronous_commit = \(commit): acked messages would be lost in a crash; "
                    + "set it to on for this role or database")
        }
        guard rows.text(0, 6) == "on" else {
            return weak("has fsync = off: a crash destroys the database; set it to on")
        }
        guard rows.text(0, 7) == "on" else {
            return weak(
                "has full_page_writes = off: a crash may tear pages; set it to on")
        }
        return nil
    }

    private func mismatch(_ rows: Rows, _ server: String) -> StoreFailure? {
        Schema.failure(version: rows.integer(0, 0), needs: rows.integer(0, 1), server)
    }
}

extension Schema {
    static func failure(version: Int64, needs: Int64, _ server: String) -> StoreFailure? {
        if needs > Int64(Schema.version) {
            return StoreFailure(
                .schema,
                "\(server): the schema has version \(version) and needs a binary that knows "
                    + "version \(needs), this one knows up to \(Schema.version); start the newer one"
            )
        }
        if version < Int64(Schema.version) {
            return StoreFailure(
                .schema,
                "\(server): the schema has version \(version), needed is \(Schema.version); "
                    + "run `martlet migrate`")
        }
        return nil
    }
}
