/// Every statement of the data path, prepared once a connection under its name.
///
/// Values go in as parameters only. What is many goes in as arrays, one a column: a statement does
/// its work for the whole batch.
///
/// What is found by columns of two tables is looked up in a LATERAL query, which OFFSET 0 keeps the
/// planner from merging. Merged, it takes the index by the chat alone and filters, because it
/// counts on the pages being in its cache after the first of many look-ups. What is found by the
/// member alone is too, with `ended_seq IS NULL` outside: else a plan that was made while the table
/// was empty takes the index of those present, which begins with the chat, and reads all of it.
enum Statement: String, CaseIterable {
    // A write's first flight
    case begin, createChats, lock, presences, members, stays, sends, stored, places, devices
    case watermarks, creatorMarks, sessions
    // Its second
    case insertEntries, endStays, insertStays, setDevices, setWatermarks, setHeads
    case dropSessions, clearMarks, keepSessions, setMarks, pruneSessions, announce, commit
    case rollback
    // Reads
    case views, heads, locate, conversations, listMembers, clock, receipts, arrivals, entries
    case keptSessions, keptMarks, chatsOf
    case probe, replan

    /// How a row of `entries e` is read: `EntryRow`.
    static let entryColumns = """
        e.seq, e.id, e.author, e.device, e.created_at, e.kind, e.subject, e.type, e.reply_to, \
        e.thread, e.expires_at, e.content
        """
    private static let chatColumns = """
        c.key, c.id, c.kind, c.name, c.creator, c.created_at, c.last_seq, c.member_count, \
        c.direct_pair
        """

    var sql: String {
        switch self {
        case .begin: "BEGIN ISOLATION LEVEL READ COMMITTED"
        case .commit: "COMMIT"
        case .rollback: "ROLLBACK"

        // In the order of the batch: whose id or pair is taken by an earlier one, or is in the
        // table, is left out. It waits for another transaction that is making the same.
        case .createChats:
            """
            INSERT INTO martlet.chats
                (id, kind, name, creator, created_at, member_count, direct_pair)
            SELECT id, kind, name, creator, created_at, member_count, direct_pair
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                $6::bigint[], $7::text[]) WITH ORDINALITY
                AS n (id, kind, name, creator, created_at, member_count, direct_pair, place)
            ORDER BY place
            ON CONFLICT DO NOTHING
            RETURNING key
            """
        // The lock that an UPDATE takes, in the order of keys. A statement of its own, so that
        // those after it see what the last holder committed.
        case .lock:
            """
            SELECT \(Self.chatColumns) FROM martlet.chats c
            WHERE c.id = ANY ($1::text[]) OR c.direct_pair = ANY ($2::text[])
            ORDER BY c.key FOR NO KEY UPDATE
            """
        case .presences:
            """
            SELECT m.chat, m.key, m.member, m.role, m.joined_seq, m.joined_at, m.ended_seq
            FROM unnest($1::text[], $2::text[]) AS n (chat, member)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.memberships m
                WHERE m.chat = c.key AND m.member = n.member AND m.ended_seq IS NULL OFFSET 0) m
            """
        // All present members, and for creations all founders.
        case .members:
            """
            SELECT m.chat, m.key, m.member, m.role, m.joined_seq, m.joined_at, m.ended_seq
            FROM martlet.chats c
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.memberships m WHERE m.chat = c.key AND m.ended_seq IS NULL
                UNION ALL
                SELECT * FROM martlet.memberships m
                WHERE m.chat = c.key AND m.joined_seq = 0 AND m.ended_seq IS NOT NULL
            ) m
            WHERE c.id = ANY ($1::text[]) OR c.direct_pair = ANY ($2::text[])
            ORDER BY m.key
            """
        // Stays that are over.
        case .stays:
            """
            SELECT m.chat, m.member, m.joined_seq, m.ended_seq
            FROM unnest($1::text[], $2::text[]) AS n (chat, member)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.memberships m
                WHERE m.member = n.member AND m.chat = c.key AND m.ended_seq IS NOT NULL
                OFFSET 0) m
            """
        case .sends:
            """
            SELECT e.chat, e.client_message_id, \(Self.entryColumns)
            FROM unnest($1::text[], $2::text[], $3::text[]) AS n (chat, author, client)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.entries e
                WHERE e.chat = c.key AND e.author = n.author AND e.client_message_id = n.client
                OFFSET 0) e
            """
        case .stored:
            """
            SELECT c.id, \(Self.entryColumns)
            FROM unnest($1::text[]) AS n (id)
            JOIN martlet.entries e ON e.id = n.id
            JOIN martlet.chats c ON c.key = e.chat
            """
        case .places:
            """
            SELECT e.chat, e.id, e.seq
            FROM unnest($1::text[], $2::text[]) AS n (chat, id)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.entries e WHERE e.id = n.id AND e.chat = c.key OFFSET 0) e
            """
        case .devices:
            """
            SELECT d.chat, d.member, d.device, d.delivered, d.read
            FROM unnest($1::text[], $2::text[], $3::text[]) AS n (chat, member, device)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.cursors d
                WHERE d.chat = c.key AND d.member = n.member AND d.device = n.device OFFSET 0) d
            """
        case .watermarks:
            """
            SELECT w.chat, w.member, w.delivered, w.read, w.public_read
            FROM unnest($1::text[], $2::text[]) AS n (chat, member)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.watermarks w
                WHERE w.chat = c.key AND w.member = n.member OFFSET 0) w
            """
        // The chat may be the one that a pair already has, under another id.
        case .creatorMarks:
            """
            SELECT w.chat, w.member, w.delivered, w.read, w.public_read
            FROM unnest($1::text[], $2::text[], $3::text[]) AS n (chat, pair, member)
            JOIN martlet.chats c ON c.id = n.chat OR c.direct_pair = n.pair
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.watermarks w
                WHERE w.chat = c.key AND w.member = n.member OFFSET 0) w
            """

        // In the order of names, so that two instances do not wait for each other.
        case .sessions:
            """
            SELECT k.name, k.member, k.epoch, k.kept_at FROM martlet.kept_sessions k
            WHERE k.name = ANY ($1::text[]) ORDER BY k.name FOR NO KEY UPDATE
            """

        case .insertEntries:
            """
            INSERT INTO martlet.entries
                (chat, seq, id, author, device, created_at, kind, subject, client_message_id,
                type, reply_to, thread, expires_at, content)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[],
                $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                $12::text[], $13::bigint[], $14::bytea[])
            """
        case .endStays:
            """
            UPDATE martlet.memberships m SET role = n.role, ended_seq = n.ended_seq
            FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS n (key, role, ended_seq)
            WHERE m.key = n.key
            """
        case .insertStays:
            """
            INSERT INTO martlet.memberships
                (chat, member, role, joined_seq, joined_at, ended_seq)
            SELECT chat, member, role, joined_seq, joined_at, ended_seq
            FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
                $6::bigint[]) WITH ORDINALITY
                AS n (chat, member, role, joined_seq, joined_at, ended_seq, place)
            ORDER BY place
            """
        case .setDevices:
            """
            INSERT INTO martlet.cursors (chat, member, device, delivered, read)
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
            ON CONFLICT (chat, member, device)
            DO UPDATE SET delivered = excluded.delivered, read = excluded.read
            """
        case .setWatermarks:
            """
            INSERT INTO martlet.watermarks (chat, member, delivered, read, public_read)
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[],
                $5::bigint[])
            ON CONFLICT (chat, member) DO UPDATE SET delivered = excluded.delivered,
                read = excluded.read, public_read = excluded.public_read,
                moved_at = clock_timestamp()
            """
        case .setHeads:
            """
            UPDATE martlet.chats c SET last_seq = n.last_seq, member_count = n.member_count
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
                AS n (key, last_seq, member_count)
            WHERE c.key = n.key
            """

        case .dropSessions:
            """
            WITH gone AS (
                DELETE FROM martlet.kept_sessions
                WHERE name = ANY ($1::text[]) OR EXISTS (
                    SELECT FROM unnest($2::text[], $3::bigint[]) AS n (member, at)
                    WHERE n.member = kept_sessions.member AND kept_at <= n.at)
                RETURNING name)
            DELETE FROM martlet.kept_marks m USING gone WHERE m.name = gone.name
            """
        case .clearMarks: "DELETE FROM martlet.kept_marks WHERE name = ANY ($1::text[])"
        case .keepSessions:
            """
            INSERT INTO martlet.kept_sessions (name, member, epoch, kept_at, until, state)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::bytea[])
            ON CONFLICT (name) DO UPDATE SET member = excluded.member, epoch = excluded.epoch,
                kept_at = excluded.kept_at, until = excluded.until, state = excluded.state
            """
        case .setMarks:
            """
            INSERT INTO martlet.kept_marks (name, item, seq)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
            ON CONFLICT (name, item) DO UPDATE SET seq = excluded.seq
            """
        // A few that are over with each batch that keeps some; more than come.
        case .pruneSessions:
            """
            WITH gone AS (
                DELETE FROM martlet.kept_sessions WHERE name IN (
                    SELECT name FROM martlet.kept_sessions WHERE until < $1::bigint
                    ORDER BY until LIMIT $2::bigint FOR UPDATE SKIP LOCKED)
                RETURNING name)
            DELETE FROM martlet.kept_marks m USING gone WHERE m.name = gone.name
            """

        // Told at COMMIT, to every session that listens; the same twice is told once.
        case .announce:
            """
            SELECT pg_notify(n.channel, n.payload)
            FROM unnest($1::text[], $2::text[]) AS n (channel, payload)
            """

        case .views:
            """
            SELECT n.place, c.key, c.last_seq, c.member_count, m.joined_seq, m.ended_seq,
                coalesce(w.read, 0)
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (chat, member, place)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.memberships m
                WHERE m.member = n.member AND m.chat = c.key OFFSET 0) m
            LEFT JOIN martlet.watermarks w ON w.chat = m.chat AND w.member = m.member
            ORDER BY n.place, m.key
            """
        case .chatsOf:
            """
            SELECT n.place, c.id
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (id, member, place)
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.entries e WHERE e.id = n.id OFFSET 0) e
            JOIN martlet.chats c ON c.key = e.chat
            WHERE EXISTS (
                SELECT FROM martlet.memberships m
                WHERE m.member = n.member AND m.chat = e.chat AND m.joined_seq <= e.seq
                    AND (m.ended_seq IS NULL OR m.ended_seq >= e.seq))
            ORDER BY n.place, c.key
            """
        case .keptSessions:
            """
            SELECT n.place, k.member, k.epoch, k.state
            FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS n (name, at, place)
            JOIN martlet.kept_sessions k ON k.name = n.name AND k.until >= n.at
            """
        case .keptMarks:
            """
            SELECT n.place, m.item, m.seq
            FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.kept_marks m WHERE m.name = n.name OFFSET 0) m
            ORDER BY n.place, m.item
            """
        case .heads:
            """
            SELECT n.place, c.key, c.last_seq
            FROM unnest($1::text[]) WITH ORDINALITY AS n (chat, place)
            JOIN martlet.chats c ON c.id = n.chat
            """
        case .locate:
            """
            SELECT n.place, e.seq
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (chat, id, place)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.entries e WHERE e.id = n.id AND e.chat = c.key OFFSET 0) e
            """
        case .conversations:
            """
            SELECT n.place, c.id, c.kind, c.name, c.created_at, c.last_seq, coalesce(w.read, 0),
                m.role, c.member_count
            FROM unnest($1::text[]) WITH ORDINALITY AS n (member, place)
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.memberships m WHERE m.member = n.member OFFSET 0) m
            JOIN martlet.chats c ON c.key = m.chat
            LEFT JOIN martlet.watermarks w ON w.chat = m.chat AND w.member = m.member
            WHERE m.ended_seq IS NULL
            ORDER BY n.place, c.key
            """
        case .listMembers:
            """
            SELECT n.place, m.member, m.role, m.joined_at, coalesce(w.delivered, 0),
                coalesce(CASE WHEN m.member = n.member THEN w.read ELSE w.public_read END, 0)
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (chat, member, place)
            JOIN martlet.chats c ON c.id = n.chat
            CROSS JOIN LATERAL (
                SELECT FROM martlet.memberships m
                WHERE m.chat = c.key AND m.member = n.member AND m.ended_seq IS NULL OFFSET 0) own
            JOIN martlet.memberships m ON m.chat = c.key AND m.ended_seq IS NULL
            LEFT JOIN martlet.watermarks w ON w.chat = m.chat AND w.member = m.member
            ORDER BY n.place, m.key
            """
        // Before every transaction that is under way, and 10 s early besides: what is stamped with
        // this server's clock and committed after this was asked is stamped later than that.
        case .clock:
            """
            SELECT (extract(epoch FROM least(
                clock_timestamp() - interval '10 s',
                (SELECT min(xact_start) FROM pg_stat_activity
                    WHERE datname = current_database() AND backend_xid IS NOT NULL)
            )) * 1000000)::bigint
            """
        case .receipts:
            """
            SELECT n.chat, w.member, w.delivered, w.public_read,
                (extract(epoch FROM w.moved_at) * 1000)::bigint
            FROM unnest($1::text[]) WITH ORDINALITY AS n (chat, place)
            JOIN martlet.chats c ON c.id = n.chat
            JOIN martlet.watermarks w ON w.chat = c.key
            WHERE w.moved_at >= to_timestamp($2::bigint / 1000000.0)
            ORDER BY n.place, w.member
            """
        case .arrivals:
            """
            SELECT m.member, c.id, greatest(m.joined_seq - 1, 0)
            FROM unnest($1::text[]) WITH ORDINALITY AS n (member, place)
            CROSS JOIN LATERAL (
                SELECT * FROM martlet.memberships m WHERE m.member = n.member OFFSET 0) m
            JOIN martlet.chats c ON c.key = m.chat
            WHERE m.ended_seq IS NULL AND m.began_at >= to_timestamp($2::bigint / 1000000.0)
            ORDER BY n.place, c.key
            """
        case .entries:
            """
            SELECT ordinal, \(Self.entryColumns)
            FROM martlet.entries_between(
                $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint, $5::bigint) e
            """
        case .replan: "DISCARD PLANS"
        case .probe: "UPDATE martlet.health SET probes = probes + 1"
        }
    }
}
