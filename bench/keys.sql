-- A key of pgbench's for each of the team's sub-accounts: the hash is the key's number.
INSERT INTO api_key (id, team_id, account_id, role, name, hash, prefix, last_four, environment, created_at)
SELECT gen_random_uuid(), team_id, id, 'SUB_ACCOUNT', 'pgbench',
       decode(lpad(to_hex((row_number() OVER (ORDER BY id))::int), 64, '0'), 'hex'), 'tg_live_sub_none', 'none', 'LIVE', now()
FROM account WHERE is_sub_account;
