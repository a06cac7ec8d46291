/// The door for services that write into the database: a view to insert into.
///
///     INSERT INTO martlet.inbox (chat_id, sender_id, encrypted_content, client_msg_id)
///     VALUES ('conv-1', 'ann', '…', 'k-17') RETURNING id, seq;
///
/// The insert does what a send does, in the service's own transaction: it locks the chat, checks
/// that the sender is a member, looks for an earlier send under the same `client_msg_id` (which it
/// then returns), takes the next seq, inserts. When the service commits, every gateway hears of it
/// (`NOTIFY martlet_inbox`, the chat's id) and delivers what it finds. The chat stays locked until
/// then, so the transaction should be short.
///
/// A service needs `GRANT USAGE ON SCHEMA martlet` and `GRANT INSERT ON martlet.inbox`; for
/// RETURNING also `GRANT SELECT (id, seq, created_at) ON martlet.inbox`. It needs no right on the
/// tables: the trigger runs as the owner of the schema, with a fixed search path.
enum InboxSchema {
    /// The largest setting of a gateway for one message.
    static let contentBytes = 16_000_000

    static let second = """
        CREATE FUNCTION martlet.is_identifier(name text) RETURNS boolean
        LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
            SELECT octet_length(name) BETWEEN 1 AND 128
                AND name !~ E'[\\\\u0001-\\\\u001f\\\\u007f-\\\\u009f]'
        $$;

        CREATE FUNCTION martlet.new_id() RETURNS text
        LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
            -- UUID version 7 (RFC 9562 §5.7): 48 bits of milliseconds, the version, random bits.
            SELECT encode(
                set_bit(set_bit(overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(int8send(
                        (extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6), 52, 1), 53, 1),
                'hex')::uuid::text
        $$;

        CREATE VIEW martlet.inbox AS
            SELECT c.id AS chat_id, e.author AS sender_id,
                convert_from(e.content, 'UTF8') AS encrypted_content, e.type,
                e.id, e.client_message_id AS client_msg_id, e.reply_to AS reply_to_id,
                e.thread AS thread_id, e.device AS device_id,
                to_timestamp(e.created_at / 1000.0) AS created_at,
                to_timestamp(e.expires_at / 1000.0) AS expires_at, e.seq
            FROM martlet.entries e JOIN martlet.chats c ON c.key = e.chat
            WHERE e.kind = 'message';

        CREATE FUNCTION martlet.take_in() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        DECLARE
            place record;
            earlier record;
            body bytea := convert_to(NEW.encrypted_content, 'UTF8');
            expiry bigint := (extract(epoch FROM NEW.expires_at) * 1000)::bigint;
            created bigint := (extract(epoch FROM
                coalesce(NEW.created_at, clock_timestamp())) * 1000)::bigint;
        BEGIN
            NEW.type := coalesce(NEW.type, 'text');
            NEW.device_id := coalesce(NEW.device_id, 'inbox');
            IF body IS NULL THEN
                RAISE not_null_violation USING MESSAGE = 'martlet: encrypted_content is missing';
            END IF;
            IF octet_length(body) > \(contentBytes) THEN
                RAISE program_limit_exceeded
                    USING MESSAGE = 'martlet: encrypted_content has more than \(contentBytes) bytes';
            END IF;
            IF NOT (martlet.is_identifier(NEW.type) AND martlet.is_identifier(NEW.device_id)
                AND coalesce(martlet.is_identifier(NEW.id), true)
                AND coalesce(martlet.is_identifier(NEW.client_msg_id), true)
                AND coalesce(martlet.is_identifier(NEW.reply_to_id), true)
                AND coalesce(martlet.is_identifier(NEW.thread_id), true))
            THEN
                RAISE check_violation USING MESSAGE =
                    'martlet: ids and the type have 1 to 128 bytes and no control characters';
            END IF;

            -- The lock in a statement of its own: what follows sees what its last holder did.
            SELECT c.key, c.last_seq INTO place FROM martlet.chats c
                WHERE c.id = NEW.chat_id FOR NO KEY UPDATE;
            IF place.key IS NULL OR NOT EXISTS (
                SELECT FROM martlet.memberships m
                WHERE m.chat = place.key AND m.member = NEW.sender_id AND m.ended_seq IS NULL)
            THEN
                RAISE insufficient_privilege USING MESSAGE =
                    'martlet: there is no such chat, or the sender is not a member of it';
            END IF;

            SELECT e.seq, e.id, e.created_at, e.author, e.client_message_id,
                e.content = body AND e.type = NEW.type
                AND e.reply_to IS NOT DISTINCT FROM NEW.reply_to_id
                AND e.thread IS NOT DISTINCT FROM NEW.thread_id
                AND e.expires_at IS NOT DISTINCT FROM expiry AS is_same
            INTO earlier FROM martlet.entries e
            WHERE e.chat = place.key AND e.author = NEW.sender_id
                AND e.client_message_id = NEW.client_msg_id;
            IF earlier.seq IS NULL AND NEW.id IS NOT NULL THEN
                SELECT e.seq, e.id, e.created_at, e.author, e.client_message_id,
                    e.author = NEW.sender_id AND e.content = body AS is_same
                INTO earlier FROM martlet.entries e
                WHERE e.id = NEW.id AND e.chat = place.key;
            END IF;
            IF earlier.seq IS NOT NULL THEN
                IF earlier.is_same IS NOT TRUE THEN
                    RAISE unique_violation USING MESSAGE =
                        'martlet: the id or client_msg_id was used for another message';
                END IF;
                NEW.id := earlier.id;
                NEW.seq := earlier.seq;
                NEW.created_at := to_timestamp(earlier.created_at / 1000.0);
                RETURN NEW;
            END IF;

            NEW.id := coalesce(NEW.id, martlet.new_id());
            NEW.seq := place.last_seq + 1;
            NEW.created_at := to_timestamp(created / 1000.0);
            INSERT INTO martlet.entries (chat, seq, created_at, expires_at, id, author, device,
                kind, client_message_id, type, reply_to, thread, content)
            VALUES (place.key, NEW.seq, created, expiry, NEW.id, NEW.sender_id, NEW.device_id,
                'message', NEW.client_msg_id, NEW.type, NEW.reply_to_id, NEW.thread_id, body);
            UPDATE martlet.chats SET last_seq = NEW.seq WHERE key = place.key;
            PERFORM pg_notify('martlet_inbox', NEW.chat_id);
            RETURN NEW;
        END $$;
        REVOKE ALL ON FUNCTION martlet.take_in() FROM PUBLIC;

        CREATE TRIGGER inbox_take_in INSTEAD OF INSERT ON martlet.inbox
            FOR EACH ROW EXECUTE FUNCTION martlet.take_in();
        """
}
