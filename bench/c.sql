-- pgbench -M prepared: charges one message with one statement. Each part reads the rows of the part before it. The
-- team's row is therefore locked late, just before the ledger entry is inserted. If a condition fails, the count of
-- rows is 0, and the division by zero aborts the statement.
\set n random(1, 64)
WITH k AS (
  SELECT k.id AS key_id, a.id AS account_id, a.team_id
  FROM api_key k JOIN account a ON a.id = k.account_id JOIN team t ON t.id = a.team_id
  WHERE k.hash = decode(lpad(to_hex(:n::int), 64, '0'), 'hex') AND k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > now())
    AND (k.grace_ends_at IS NULL OR k.grace_ends_at > now())
    AND t.balance_micros >= 8300
), spent AS (
  UPDATE account a SET total_spent_micros = total_spent_micros + 8300, updated_at = now() FROM k
  WHERE a.id = k.account_id AND a.status = 'ACTIVE'
    AND (a.credit_limit_micros IS NULL OR a.total_spent_micros < a.credit_limit_micros)
  RETURNING k.key_id, k.account_id, k.team_id
), sent AS (
  INSERT INTO message (id, team_id, account_id, api_key_id, environment, channel, status, recipient, country, text, segments,
    cost_micros, input_hash, due_at, created_at, updated_at)
  SELECT gen_random_uuid(), team_id, account_id, key_id, 'LIVE', 'SMS', 'QUEUED', '+12025550123', 'US', 'Your code is 123456', 1,
    8300, sha256('Your code is 123456'), now(), now(), now()
  FROM spent
  RETURNING id, team_id, account_id
), used AS (
  INSERT INTO usage_day AS u (account_id, day, channel, country, team_id, messages, segments, delivered, failed,
    charged_micros, refunded_micros, updated_at)
  SELECT account_id, (now() AT TIME ZONE 'UTC')::date, 'SMS', 'US', team_id, 1, 1, 0, 0, 8300, 0, now() FROM sent
  ON CONFLICT (account_id, day, channel, country) DO UPDATE SET messages = u.messages + 1, segments = u.segments + 1,
    charged_micros = u.charged_micros + 8300, updated_at = now()
  RETURNING team_id
), paid AS (
  UPDATE team t SET balance_micros = balance_micros - 8300, updated_at = now() FROM used
  WHERE t.id = used.team_id AND t.balance_micros >= 8300
  RETURNING t.balance_micros
), noted AS (
  INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, amount_micros, balance_after_micros, created_at)
  SELECT gen_random_uuid(), sent.team_id, sent.account_id, sent.id, 'CHARGE', -8300, paid.balance_micros, now() FROM sent, paid
  RETURNING 1
)
SELECT 1 / count(*) FROM noted;
