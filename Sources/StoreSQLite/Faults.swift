import StoreCore

/// Where tests make the device fail: around COMMIT and when the file is opened again. Empty in
/// production, where `commit` is COMMIT.
package struct SQLiteFaults {
    package enum Commit: Sendable {
        /// COMMIT reports an fsync error, and nothing was committed.
        case lost
        /// COMMIT reports an fsync error, yet the record is on the disk.
        case replyLost
        /// COMMIT reports a full disk.
        case diskFull
    }

    /// Asked before each COMMIT.
    package var onCommit: (() -> Commit?)?
    /// Asked before the file is opened again after an unknown commit.
    package var onOpen: (() -> StoreFailure?)?

    func commit(_ session: Session) throws(SQLError) {
        switch onCommit?() {
        case nil: try session.commit()
        case .lost: throw SQLError(code: SQLError.syncCode, call: "COMMIT (injected)")
        case .replyLost:
            try session.commit()
            throw SQLError(code: SQLError.syncCode, call: "COMMIT (injected)")
        case .diskFull: throw SQLError(code: SQLError.diskFullCode, call: "COMMIT (injected)")
        }
    }
}
