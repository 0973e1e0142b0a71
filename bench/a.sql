-- pgbench -M prepared: charges one message with separate prepared statements in one transaction. All transactions
-- compete for the team's row, so this row is locked as late as possible: the conditional UPDATE locks it, after all
-- rows that can be written before it. If a condition fails, \gset gets no row, and the client ends. Two alternatives
-- were slower. One was SELECT ... FOR UPDATE after the lookup. The other was inserting the message before updating the
-- team, because the message's foreign key then takes a shared lock on the referenced row.
\set n random(1, 64)
BEGIN;
SELECT k.id AS key_id, a.id AS account_id, a.team_id AS team_id, gen_random_uuid() AS message_id
FROM api_key k JOIN account a ON a.id = k.account_id JOIN team t ON t.id = a.team_id
WHERE k.hash = decode(lpad(to_hex(:n::int), 64, '0'), 'hex') AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > now())
  AND (k.grace_ends_at IS NULL OR k.grace_ends_at > now())
  AND a.status = 'ACTIVE' AND (a.credit_limit_micros IS NULL OR a.total_spent_micros < a.credit_limit_micros)
  AND t.balance_micros >= 8300
\gset
INSERT INTO usage_day AS u (account_id, day, channel, country, team_id, messages, segments, delivered, failed,
  charged_micros, refunded_micros, updated_at)
VALUES (:account_id, (now() AT TIME ZONE 'UTC')::date, 'SMS', 'US', :team_id, 1, 1, 0, 0, 8300, 0, now())
ON CONFLICT (account_id, day, channel, country) DO UPDATE SET messages = u.messages + 1, segments = u.segments + 1,
  charged_micros = u.charged_micros + 8300, updated_at = now();
UPDATE account SET total_spent_micros = total_spent_micros + 8300, updated_at = now()
WHERE id = :account_id AND status = 'ACTIVE' AND (credit_limit_micros IS NULL OR total_spent_micros < credit_limit_micros)
RETURNING 1 AS counted
\gset
UPDATE team SET balance_micros = balance_micros - 8300, updated_at = now()
WHERE id = :team_id AND balance_micros >= 8300 RETURNING balance_micros AS balance
\gset
INSERT INTO message (id, team_id, account_id, api_key_id, environment, channel, status, recipient, country, text, segments,
  cost_micros, input_hash, due_at, created_at, updated_at)
VALUES (:message_id, :team_id, :account_id, :key_id, 'LIVE', 'SMS', 'QUEUED', '+12025550123', 'US', 'Your code is 123456', 1,
  8300, sha256('Your code is 123456'), now(), now(), now());
INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, amount_micros, balance_after_micros, created_at)
VALUES (gen_random_uuid(), :team_id, :account_id, :message_id, 'CHARGE', -8300, :balance, now());
COMMIT;
