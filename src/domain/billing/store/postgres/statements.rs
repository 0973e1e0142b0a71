//! The `PostgreSQL` statements that accept and refund messages. The rows are passed as array parameters, so one
//! statement writes a whole batch.

use crate::domain::billing::store::statements::Statements;

pub const POSTGRES: Statements = Statements {
    lock_teams: "SELECT id FROM team WHERE id = ANY('{ids}'::uuid[]) ORDER BY id FOR UPDATE",
    read_keys: "SELECT k.id AS key_id, k.revoked_at, k.expires_at, k.grace_ends_at, \
                       a.id AS account_id, a.is_sub_account, a.status, a.credit_limit_micros, \
                       a.total_spent_micros, a.test_message_count, a.test_message_bytes, \
                       EXISTS (SELECT 1 FROM opt_out o WHERE o.account_id = a.id) AS has_opt_outs, \
                       t.id AS team_id, t.balance_micros \
                FROM api_key k JOIN account a ON a.id = k.account_id \
                JOIN team t ON t.id = k.team_id WHERE k.id = ANY($1)",
    read_earlier: "SELECT m.id, m.account_id, m.environment, m.idempotency_key, m.input_hash \
                   FROM unnest($1::uuid[], $2::text[], $3::text[]) \
                       AS r(account_id, environment, idempotency_key) \
                   JOIN message m USING (account_id, environment, idempotency_key)",
    read_opted_out: "SELECT o.account_id, o.channel, o.address \
                     FROM unnest($1::uuid[], $2::text[], $3::text[]) \
                       AS r(account_id, channel, address) \
                     JOIN opt_out o USING (account_id, channel, address)",
    read_contacts: "SELECT id FROM contact WHERE id = ANY($1) AND busy_with IS DISTINCT FROM id",
    write: "WITH sent AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], \
                $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], \
                $10::text[], $11::int[], $12::bigint[], $13::text[], $14::bytea[], $15::text[], \
                $16::uuid[], $17::bigint[], $33::text[], $34::timestamptz[], $35::timestamptz[], \
                $36::timestamptz[], $37::text[], $38::uuid[], $39::uuid[], $40::text[], \
                $41::int[]) \
              AS s(id, team_id, account_id, api_key_id, environment, channel, recipient, country, \
                subject, text, segments, cost_micros, idempotency_key, input_hash, metadata, \
                entry_id, balance_after_micros, status, due_at, send_at, valid_until, html, \
                contact_id, sender_id, sent_from, word_bytes)), \
            messages AS (INSERT INTO message (id, team_id, account_id, api_key_id, environment, \
                channel, status, recipient, country, subject, text, segments, cost_micros, \
                idempotency_key, input_hash, metadata, due_at, send_at, valid_until, html, \
                contact_id, sender_id, sent_from, word_bytes, created_at, updated_at) \
              SELECT id, team_id, account_id, api_key_id, environment, channel, status, \
                recipient, country, subject, text, segments, cost_micros, idempotency_key, \
                input_hash, metadata, due_at, send_at, valid_until, html, contact_id, sender_id, \
                sent_from, word_bytes, $18, $18 \
              FROM sent \
              RETURNING 1), \
            entries AS (INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, \
                amount_micros, balance_after_micros, created_at) \
              SELECT entry_id, team_id, account_id, id, 'CHARGE', -cost_micros, \
                balance_after_micros, $18 FROM sent WHERE entry_id IS NOT NULL RETURNING 1), \
            days AS (INSERT INTO usage_day AS u (account_id, team_id, day, channel, country, \
                messages, segments, delivered, failed, charged_micros, refunded_micros, \
                updated_at) \
              SELECT s.account_id, s.team_id, $19, s.channel, s.country, s.messages, s.segments, \
                0, 0, s.charged_micros, 0, $18 \
              FROM unnest($20::uuid[], $21::uuid[], $22::text[], $23::text[], $24::bigint[], \
                $25::bigint[], $26::bigint[]) AS s(account_id, team_id, channel, country, \
                messages, segments, charged_micros) \
              ON CONFLICT (account_id, day, channel, country) DO UPDATE SET \
                messages = u.messages + excluded.messages, \
                segments = u.segments + excluded.segments, \
                charged_micros = u.charged_micros + excluded.charged_micros, \
                updated_at = excluded.updated_at RETURNING 1), \
            totals AS (UPDATE account SET total_spent_micros = c.after, \
                test_message_count = c.count_after, test_message_bytes = c.bytes_after, \
                updated_at = CASE WHEN account.total_spent_micros = c.after \
                  THEN account.updated_at ELSE $18 END \
              FROM unnest($27::uuid[], $28::bigint[], $29::bigint[], $42::bigint[], \
                $43::bigint[], $44::bigint[], $45::bigint[]) \
                AS c(id, before, after, count_before, count_after, bytes_before, bytes_after) \
              WHERE account.id = c.id AND account.total_spent_micros = c.before \
                AND account.test_message_count = c.count_before \
                AND account.test_message_bytes = c.bytes_before RETURNING 1), \
            balances AS (UPDATE team SET balance_micros = c.after, updated_at = $18 \
              FROM unnest($30::uuid[], $31::bigint[], $32::bigint[]) AS c(id, before, after) \
              WHERE team.id = c.id AND team.balance_micros = c.before RETURNING 1) \
            SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM entries) \
                + (SELECT count(*) FROM days) + (SELECT count(*) FROM totals) \
                + (SELECT count(*) FROM balances) AS written",
    // The team is locked first, as in every operation. If another transaction has the lock, this statement does
    // nothing, and the ordinary path waits for the lock. The key and the account are locked too, because a statement
    // that waited for a lock reads only the locked row again (PostgreSQL manual, 13.2.1).
    accept_one: "WITH payer AS (SELECT id, balance_micros FROM team WHERE id = $2 \
              FOR UPDATE SKIP LOCKED), \
            used AS (SELECT k.id FROM payer JOIN api_key k ON k.team_id = payer.id \
              WHERE k.id = $4 AND k.revoked_at IS NULL \
                AND (k.expires_at IS NULL OR k.expires_at > $16) \
                AND (k.grace_ends_at IS NULL OR k.grace_ends_at > $16) FOR SHARE OF k), \
            spender AS (UPDATE account SET \
                updated_at = CASE WHEN is_sub_account THEN $16 ELSE updated_at END, \
                total_spent_micros = \
                  total_spent_micros + CASE WHEN is_sub_account THEN $12 ELSE 0 END \
              FROM payer, used WHERE account.id = $3 AND account.status = 'ACTIVE' \
                AND payer.balance_micros >= $12 \
                AND account.total_spent_micros <= 1000000000000000 - $12 \
                AND (account.credit_limit_micros IS NULL \
                  OR account.total_spent_micros < account.credit_limit_micros) \
                AND NOT EXISTS (SELECT 1 FROM opt_out o WHERE o.account_id = $3 \
                  AND o.channel = $5 AND o.address = $21) \
              RETURNING account.id), \
            paid AS (UPDATE team SET balance_micros = team.balance_micros - $12, \
                updated_at = $16 \
              FROM spender WHERE team.id = $2 AND team.balance_micros >= $12 \
              RETURNING team.balance_micros), \
            stored AS (INSERT INTO message (id, team_id, account_id, api_key_id, environment, \
                channel, status, recipient, country, subject, text, segments, cost_micros, \
                idempotency_key, input_hash, metadata, due_at, html, sender_id, sent_from, \
                created_at, updated_at) \
              SELECT $1, $2, $3, $4, 'LIVE', $5, 'QUEUED', $6, $7, $8, $9, $10, $12, $13, $14, \
                $15, $16, $18, $19, $20, $16, $16 FROM paid), \
            entered AS (INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, \
                amount_micros, balance_after_micros, created_at) \
              SELECT $11, $2, $3, $1, 'CHARGE', -$12, paid.balance_micros, $16 FROM paid), \
            counted AS (INSERT INTO usage_day AS u (account_id, team_id, day, channel, country, \
                messages, segments, delivered, failed, charged_micros, refunded_micros, \
                updated_at) \
              SELECT $3, $2, $17, $5, COALESCE($7, ''), 1, $10, 0, 0, $12, 0, $16 FROM paid \
              ON CONFLICT (account_id, day, channel, country) DO UPDATE SET \
                messages = u.messages + 1, segments = u.segments + excluded.segments, \
                charged_micros = u.charged_micros + excluded.charged_micros, \
                updated_at = excluded.updated_at) \
            SELECT 1 FROM paid",
    mark_refunded: "UPDATE message SET refunded_at = CASE WHEN cost_micros > 0 THEN $2::timestamptz END \
                    WHERE id = ANY($1) AND refunded_at IS NULL \
                    RETURNING id, team_id, account_id, environment, channel, country, cost_micros",
};
