-- Creates a key for each sub-account, for use with pgbench. The hash of a key is the number of its sub-account.
INSERT INTO api_key (id, team_id, account_id, role, name, hash, prefix, last_four, environment, created_at)
SELECT gen_random_uuid(), team_id, id, 'SUB_ACCOUNT', 'pgbench',
       decode(lpad(to_hex((row_number() OVER (ORDER BY id))::int), 64, '0'), 'hex'), 'tg_live_sub_none', 'none', 'LIVE', now()
FROM account WHERE is_sub_account;
