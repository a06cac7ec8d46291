import Basics
import CSQLite
import Domain
import StoreCore

/// The tables, as a list of numbered migrations. A migration that was released is frozen; the next
/// change is a new one. Within a major version migrations only expand (a new table, a new column
/// with a default), so that what an older binary wrote never has to be rewritten.
///
/// `user_version` of the file counts the migrations it has.
enum Schema {
    /// "MARL" in the file's header, so that another program's file is not taken for ours.
    static let applicationID: Int64 = 0x4D41_524C

    static let migrations = [first, second]
    static var version: Int { migrations.count }

    /// - `entries.position` is the chat's key and the seq in one integer (`Place`): an index of
    ///   small keys. Entries lie in the order of arrival, so an append writes the last page.
    ///   Refused: `position` as the rowid, one B-tree less, but with 100 busy chats each append
    ///   then goes into a page of its own and splits it (measured: 1.5 times the CPU at 1 KiB);
    ///   and WITHOUT ROWID, where rows of 1 KiB spill into overflow pages (4 times slower).
    /// - `entries_send` is what makes a resend find its first send (P4); see `sendKey`. Membership
    ///   entries and sends without a client's id are not in it.
    /// - A membership is a period. `joined_seq` is the first entry that the user sees of it, 0 for
    ///   who was there from the creation on; `ended_seq` the last one. At most one is open.
    ///   `key` ascends, so it is the order of joining.
    /// - Watermarks of a user over all devices are kept, not computed: a user may have had
    ///   thousands of devices (a client without a device id is a new one each time).
    /// - Ids compare byte for byte (the BINARY collation).
    private static let first = """
        CREATE TABLE chats (
            key INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            name TEXT,
            creator TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            last_seq INTEGER NOT NULL,
            member_count INTEGER NOT NULL,
            direct_pair TEXT UNIQUE
        ) STRICT;

        CREATE TABLE memberships (
            key INTEGER PRIMARY KEY,
            chat INTEGER NOT NULL REFERENCES chats (key),
            user TEXT NOT NULL,
            role TEXT NOT NULL,
            joined_seq INTEGER NOT NULL,
            joined_at INTEGER NOT NULL,
            ended_seq INTEGER
        ) STRICT;
        CREATE UNIQUE INDEX memberships_present ON memberships (chat, user)
            WHERE ended_seq IS NULL;
        CREATE INDEX memberships_user ON memberships (user, chat);

        CREATE TABLE entries (
            key INTEGER PRIMARY KEY,
            position INTEGER NOT NULL UNIQUE,
            id TEXT NOT NULL UNIQUE,
            author TEXT NOT NULL,
            device TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            subject TEXT,
            client_message_id TEXT,
            send INTEGER,
            type TEXT,
            reply_to TEXT,
            thread TEXT,
            expires_at INTEGER,
            content BLOB
        ) STRICT;
        CREATE INDEX entries_send ON entries (send) WHERE send IS NOT NULL;

        CREATE TABLE keys (name TEXT PRIMARY KEY, key BLOB NOT NULL) STRICT;
        INSERT INTO keys VALUES ('send', randomblob(16));

        CREATE TABLE health (probes INTEGER NOT NULL) STRICT;
        INSERT INTO health VALUES (0);

        CREATE TABLE watermarks (
            chat INTEGER NOT NULL REFERENCES chats (key),
            user TEXT NOT NULL,
            delivered INTEGER NOT NULL,
            read INTEGER NOT NULL,
            public_read INTEGER NOT NULL,
            PRIMARY KEY (chat, user)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE cursors (
            chat INTEGER NOT NULL REFERENCES chats (key),
            user TEXT NOT NULL,
            device TEXT NOT NULL,
            delivered INTEGER NOT NULL,
            read INTEGER NOT NULL,
            PRIMARY KEY (chat, user, device)
        ) STRICT, WITHOUT ROWID;
        """

    private static let second = """
        CREATE TABLE kept_sessions (
            name TEXT PRIMARY KEY,
            user TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            kept_at INTEGER NOT NULL,
            until INTEGER NOT NULL,
            state BLOB NOT NULL
        ) STRICT;
        CREATE INDEX kept_sessions_user ON kept_sessions (user);
        CREATE INDEX kept_sessions_until ON kept_sessions (until);
        CREATE TABLE kept_marks (
            name TEXT NOT NULL REFERENCES kept_sessions (name) ON DELETE CASCADE,
            item TEXT NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (name, item)
        ) STRICT, WITHOUT ROWID;
        """

    /// Brings a file to this binary's version, each migration in a transaction of its own.
    /// - Throws: `.schema` where the file is newer than this binary, or not ours.
    static func migrate(
        _ connection: Connection, path: String
    ) throws(StoreFailure) -> SQLiteMigration {
        let from: Int
        let isOurs: Bool
        do throws(SQLError) {
            from = Int(try connection.number("PRAGMA user_version"))
            let application = try connection.number("PRAGMA application_id")
            let tables = try connection.number("SELECT count(*) FROM sqlite_schema")
            isOurs = application == applicationID || (application == 0 && tables == 0)
        } catch {
            throw error.failure
        }
        guard isOurs else {
            throw StoreFailure(
                .schema,
                "\(path) is the database of another program; choose another data folder")
        }
        guard from <= version else {
            throw StoreFailure(
                .schema,
                "\(path) has schema version \(from), this binary knows up to \(version); "
                    + "start the newer binary, or restore a backup made before it ran")
        }
        for number in from..<version {
            do throws(SQLError) {
                try connection.execute("BEGIN IMMEDIATE")
                try connection.execute(migrations[number])
                try connection.execute(
                    "PRAGMA application_id = \(applicationID); "
                        + "PRAGMA user_version = \(number + 1); COMMIT")
            } catch {
                // Closing the handle, which the caller does now, rolls back.
                throw error.failure
            }
        }
        return SQLiteMigration(from: from, to: version)
    }
}

/// What a migration did: the schema versions before and after. Equal where nothing was to do.
package struct SQLiteMigration: Hashable, Sendable {
    package var from: Int
    package var to: Int
}

/// A chat's key and a seq in one integer: the rowid of an entry. A chat has room for 2^32 − 1
/// entries, a file for 2^31 chats.
enum Place {
    static let maximumSeq: Seq = 0xFFFF_FFFF
    static let maximumChat: Int64 = 0x7FFF_FFFF

    static func of(chat: Int64, seq: Seq) -> Int64 {
        invariant(
            chat >= 0 && chat <= maximumChat && seq >= 0 && seq <= maximumSeq,
            "place of chat \(chat), seq \(seq)")
        return chat << 32 | seq
    }

    static func chat(_ place: Int64) -> Int64 { place >> 32 }
    static func seq(_ place: Int64) -> Seq { place & maximumSeq }
}
