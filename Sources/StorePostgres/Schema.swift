import StoreCore

/// The tables of the schema `martlet`, as a list of numbered migrations. A migration that was
/// released is frozen; the next change is a new one. Within a major version migrations only expand
/// (a new table, a new column with a default), so that gateways of the previous release go on
/// working while the new ones start.
///
/// `martlet.migrations` has one row for each that was applied. A migration that older binaries
/// cannot live with says so in `needs`: those below that version are refused.
enum Schema {
    static let migrations = [first, InboxSchema.second, third]
    static var version: Int { migrations.count }

    /// Shared by all gateways of a database: "martlet" in ASCII.
    static let advisoryLock: Int64 = 0x6D_6172_746C_6574

    static let versionTable = """
        CREATE SCHEMA IF NOT EXISTS martlet;
        CREATE TABLE IF NOT EXISTS martlet.migrations (
            version bigint PRIMARY KEY,
            needs bigint NOT NULL DEFAULT 0,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        """

    /// The newest version, and the lowest that a binary must know.
    static let readVersion = """
        SELECT coalesce(max(version), 0)::bigint, coalesce(max(needs), 0)::bigint
        FROM martlet.migrations
        """

    /// - Times that clients see are milliseconds in `bigint`, as they came; `moved_at` and
    ///   `began_at` are this server's clock, so that gateways' clocks need not agree.
    /// - Names compare byte for byte (COLLATE "C"), which is also the quickest to index.
    /// - No foreign keys: a chat is never deleted, and each would cost a look-up and a row lock of
    ///   `chats` for every row written.
    /// - `chats` is updated with each message and has no index on what changes, so that updates stay
    ///   in their page (HOT); the fill factor leaves room there for them.
    /// - `entries` has 16 partitions: each has its own pages to extend, its own indexes, its own
    ///   vacuum, and they can go to several disks or servers. More cost a lock each in a
    ///   transaction that looks ids up, and 16 is what Postgres locks without the shared table.
    /// - `entries_id` begins with the id, not the chat: ids of this time are neighbours, so all
    ///   chats of a partition write its last page.
    /// - `entries_send` is what makes a resend find its first send (P4).
    /// - A membership is a period. `joined_seq` is the first entry that the user sees of it, 0 for
    ///   who was there from the creation on; `ended_seq` the last one. At most one is open. `key`
    ///   ascends, so it is the order of joining.
    private static let first = """
        CREATE TABLE martlet.chats (
            key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            kind text COLLATE "C" NOT NULL,
            name text COLLATE "C",
            creator text COLLATE "C" NOT NULL,
            created_at bigint NOT NULL,
            last_seq bigint NOT NULL DEFAULT 0,
            member_count bigint NOT NULL,
            direct_pair text COLLATE "C" UNIQUE
        ) WITH (fillfactor = 70);

        CREATE TABLE martlet.memberships (
            key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            chat bigint NOT NULL,
            member text COLLATE "C" NOT NULL,
            role text COLLATE "C" NOT NULL,
            joined_seq bigint NOT NULL,
            joined_at bigint NOT NULL,
            ended_seq bigint,
            began_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE UNIQUE INDEX memberships_present ON martlet.memberships (chat, member)
            WHERE ended_seq IS NULL;
        CREATE INDEX memberships_member ON martlet.memberships (member, chat);
        CREATE INDEX memberships_left ON martlet.memberships (chat)
            WHERE joined_seq = 0 AND ended_seq IS NOT NULL;

        CREATE TABLE martlet.entries (
            chat bigint NOT NULL,
            seq bigint NOT NULL,
            created_at bigint NOT NULL,
            expires_at bigint,
            id text COLLATE "C" NOT NULL,
            author text COLLATE "C" NOT NULL,
            device text COLLATE "C" NOT NULL,
            kind text COLLATE "C" NOT NULL,
            subject text COLLATE "C",
            client_message_id text COLLATE "C",
            type text COLLATE "C",
            reply_to text COLLATE "C",
            thread text COLLATE "C",
            content bytea,
            PRIMARY KEY (chat, seq)
        ) PARTITION BY HASH (chat);
        DO $$
        BEGIN
            FOR part IN 0..15 LOOP
                EXECUTE format(
                    'CREATE TABLE martlet.entries_%s PARTITION OF martlet.entries '
                    'FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part, part);
                -- Ciphertext does not compress.
                EXECUTE format(
                    'ALTER TABLE martlet.entries_%s ALTER COLUMN content SET STORAGE EXTERNAL',
                    part);
            END LOOP;
        END $$;
        CREATE UNIQUE INDEX entries_id ON martlet.entries (id, chat);
        CREATE INDEX entries_send ON martlet.entries (chat, author, client_message_id)
            WHERE client_message_id IS NOT NULL;

        CREATE TABLE martlet.watermarks (
            chat bigint NOT NULL,
            member text COLLATE "C" NOT NULL,
            delivered bigint NOT NULL,
            read bigint NOT NULL,
            public_read bigint NOT NULL,
            moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (chat, member)
        ) WITH (fillfactor = 70);

        CREATE TABLE martlet.cursors (
            chat bigint NOT NULL,
            member text COLLATE "C" NOT NULL,
            device text COLLATE "C" NOT NULL,
            delivered bigint NOT NULL,
            read bigint NOT NULL,
            PRIMARY KEY (chat, member, device)
        ) WITH (fillfactor = 70);

        CREATE TABLE martlet.health (probes bigint NOT NULL) WITH (fillfactor = 10);
        INSERT INTO martlet.health VALUES (0);

        CREATE FUNCTION martlet.entries_between(
            chats bigint[], after bigint[], through bigint[], maximum_entries bigint,
            maximum_bytes bigint
        ) RETURNS TABLE (
            ordinal bigint, seq bigint, id text, author text, device text, created_at bigint,
            kind text, subject text, type text, reply_to text, thread text, expires_at bigint,
            content bytea
        ) LANGUAGE plpgsql STABLE AS $$
        -- Entries of each range in turn, ascending, until the bounds are passed by one.
        DECLARE
            entries_left bigint := maximum_entries;
            bytes_left bigint := maximum_bytes;
        BEGIN
            FOR i IN 1..cardinality(chats) LOOP
                ordinal := i;
                FOR seq, id, author, device, created_at, kind, subject, type, reply_to, thread,
                    expires_at, content
                IN
                    SELECT e.seq, e.id, e.author, e.device, e.created_at, e.kind, e.subject,
                        e.type, e.reply_to, e.thread, e.expires_at, e.content
                    FROM martlet.entries e
                    WHERE e.chat = chats[i] AND e.seq > after[i] AND e.seq <= through[i]
                    ORDER BY e.seq
                LOOP
                    RETURN NEXT;
                    entries_left := entries_left - 1;
                    bytes_left := bytes_left - 256 - coalesce(length(content), 0);
                    IF entries_left < 0 OR bytes_left < 0 THEN
                        RETURN;
                    END IF;
                END LOOP;
            END LOOP;
        END $$;
        """

    private static let third = """
        CREATE TABLE martlet.kept_sessions (
            name text COLLATE "C" PRIMARY KEY,
            member text COLLATE "C" NOT NULL,
            epoch bigint NOT NULL,
            kept_at bigint NOT NULL,
            until bigint NOT NULL,
            state bytea NOT NULL
        ) WITH (fillfactor = 70);
        CREATE INDEX kept_sessions_member ON martlet.kept_sessions (member);
        CREATE INDEX kept_sessions_until ON martlet.kept_sessions (until);
        CREATE TABLE martlet.kept_marks (
            name text COLLATE "C" NOT NULL,
            item text COLLATE "C" NOT NULL,
            seq bigint NOT NULL,
            PRIMARY KEY (name, item)
        ) WITH (fillfactor = 70);
        """
}

/// What a migration did: the schema versions before and after. Equal where nothing was to do.
package struct PostgresMigration: Hashable, Sendable {
    package var from: Int
    package var to: Int
}
