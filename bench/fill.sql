-- psql -v messages=N: inserts N delivered messages from 50 sub-accounts over 30 days, with consistent ledger entries
-- and usage (`tollgate reconcile` can check the consistency). For speed, triggers and foreign keys are disabled while
-- the rows are inserted, and the indexes are recreated at the end. Expects one team that has a balance and no messages.
SET synchronous_commit = off;
SET maintenance_work_mem = '1GB';
SET max_parallel_maintenance_workers = 2;
SET session_replication_role = replica;

CREATE TEMP TABLE remade AS SELECT indexdef FROM pg_indexes
WHERE tablename IN ('message', 'ledger_entry') AND indexname NOT LIKE '%_pkey';
SELECT format('DROP INDEX %I', indexname) FROM pg_indexes
WHERE tablename IN ('message', 'ledger_entry') AND indexname NOT LIKE '%_pkey' \gexec

CREATE TEMP TABLE sender AS
SELECT row_number() OVER (ORDER BY a.id) - 1 AS n, a.id, a.team_id, k.id AS key_id, t.balance_micros AS opening
FROM account a JOIN team t ON t.id = a.team_id JOIN api_key k ON k.account_id = a.id
WHERE a.is_sub_account LIMIT 50;

INSERT INTO message (id, team_id, account_id, api_key_id, environment, channel, status, recipient, country, text,
  segments, cost_micros, input_hash, created_at, updated_at)
SELECT ('019aa000' || lpad(to_hex(i), 24, '0'))::uuid, s.team_id, s.id, s.key_id, 'LIVE', 'SMS', 'DELIVERED',
  '+12025550123', 'US', 'Your code is 123456', 1, 8300, '\x00', at, at
FROM generate_series(1, :messages) i JOIN sender s ON s.n = i % 50,
  LATERAL (SELECT date_trunc('day', now(), 'UTC') - interval '1 day' * (i / 50 % 30) AS at) AS moment;

INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, amount_micros, balance_after_micros, created_at)
SELECT ('019aa000' || lpad(to_hex(i), 24, '0'))::uuid, s.team_id, s.id, ('019aa000' || lpad(to_hex(i), 24, '0'))::uuid,
  'CHARGE', -8300, s.opening - 8300 * i::bigint, now()
FROM generate_series(1, :messages) i JOIN sender s ON s.n = i % 50;

INSERT INTO usage_day (account_id, day, channel, country, team_id, messages, segments, delivered, failed,
  charged_micros, refunded_micros, updated_at)
SELECT s.id, (now() AT TIME ZONE 'UTC')::date - (i / 50 % 30)::int, 'SMS', 'US', s.team_id, count(*), count(*),
  count(*), 0, count(*) * 8300, 0, now()
FROM generate_series(1, :messages) i JOIN sender s ON s.n = i % 50
GROUP BY s.id, s.team_id, i / 50 % 30;

UPDATE account a SET total_spent_micros = u.spent
FROM (SELECT account_id, sum(charged_micros) AS spent FROM usage_day GROUP BY account_id) u WHERE u.account_id = a.id;
UPDATE team SET balance_micros = balance_micros - 8300 * (:messages)::bigint;

SELECT indexdef FROM remade \gexec
VACUUM ANALYZE;
