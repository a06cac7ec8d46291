/// How the store is run. The defaults are meant to stay; tests shorten some.
package struct PostgresSettings: Hashable, Sendable {
    /// A statement of ours takes milliseconds. One that takes longer stands behind a sick disk.
    package var statementTimeoutMs = 8_000
    /// For the rows of a chat that another gateway, or a service in the inbox, has locked.
    package var lockTimeoutMs = 5_000
    /// A gateway that was stopped (SIGSTOP, a partition) in a transaction gives its chats free.
    package var idleInTransactionTimeoutMs = 5_000
    /// After which a flight's connection is given up. Above the server's own timeouts, which say
    /// what happened. Before COMMIT was sent the batch is then certainly not stored; after it, its
    /// fate is unknown.
    package var flightDeadlineMs = 9_000
    /// For one attempt to connect.
    package var connectDeadlineMs = 5_000
    /// For `open`, attempts and all.
    package var openDeadlineMs = 10_000
    /// Between two attempts to connect: at first, and at most. Half of it is random.
    package var firstBackoffMs = 50
    package var maximumBackoffMs = 2_000
    /// How often a batch that met a deadlock or a lock is tried again here, and until when.
    package var batchRetries = 4
    package var batchRetryMs = 6_000

    package init() {}
}

/// Where tests get between the store and the server. Production never sets them.
struct PostgresFaults {
    /// Before the second flight of a batch is sent, the one with COMMIT.
    var onCommit: (() -> Void)?
    /// After it was sent; true drops the connection, its replies unread.
    var onCommitSent: (() -> Bool)?
}
