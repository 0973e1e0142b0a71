//! Inserts 100,000 rows into every table that a list reads.

use sea_orm::DbBackend;

use crate::harness::TestApp;

const ROWS: u32 = 100_000;

/// A table, its columns, and the values of row `i` as a template for [`sql`]. The accounts 0 to 999 belong to the team
/// under test. The rows of the other tables are distributed evenly over these accounts.
const TABLES: [(&str, &str, &str); 14] = [
    ("team", "id, name, balance_micros, created_at, updated_at", "ID1, 'Team', 0, NOW, NOW"),
    (
        "account",
        "id, team_id, is_sub_account, name, status, total_spent_micros, team_balance_visible, \
         search_text, test_message_count, created_at, updated_at",
        "ID2, CASE WHEN i < 1000 THEN OURS ELSE ANOTHER END, true, 'Sub ' || i, 'ACTIVE', 0, true, \
         'sub ' || i, CASE WHEN i < 1000 THEN 100 ELSE 0 END, NOW, NOW",
    ),
    (
        "api_key",
        "id, team_id, account_id, role, name, hash, prefix, last_four, environment, created_at, \
         revoked_at",
        "ID3, OURS, ACCOUNT, 'SUB_ACCOUNT', 'Key', HASH, 'tg_test_sub_', 'abcd', 'TEST', NOW, NOW",
    ),
    (
        "contact",
        "id, team_id, account_id, display_name, search_text, created_at, updated_at",
        "ID4, OURS, ACCOUNT, 'Ann', 'ann', NOW, NOW",
    ),
    (
        "contact_address",
        "id, team_id, account_id, contact_id, channel, address, is_primary",
        "ID5, OURS, ACCOUNT, ID4, 'SMS', '+1202' || i, true",
    ),
    ("contact_tag", "account_id, contact_id, tag, team_id", "ACCOUNT, ID4, 'vip', OURS"),
    (
        "opt_out",
        "id, team_id, account_id, channel, address, source, created_at",
        "ID6, OURS, ACCOUNT, 'SMS', '+1202' || i, 'API', NOW",
    ),
    (
        "message",
        "id, team_id, account_id, api_key_id, environment, channel, status, recipient, text, \
         segments, cost_micros, input_hash, created_at, updated_at, send_at, due_at",
        "ID7, OURS, ACCOUNT, ID3, 'TEST', 'SMS', \
         CASE WHEN i / 1000 % 2 = 0 THEN 'SCHEDULED' ELSE 'DELIVERED' END, '+12025550123', 'Hello', 1, 0, \
         HASH, NOW, NOW, CASE WHEN i / 1000 % 2 = 0 THEN LATER END, CASE WHEN i / 1000 % 2 = 0 THEN LATER END",
    ),
    // Each account and each team has as many deposits as withdrawals of the same amount, so that balances and totals
    // are correct.
    (
        "ledger_entry",
        "id, team_id, account_id, kind, amount_micros, balance_after_micros, note, created_at",
        "ID8, CASE WHEN i < 2000 THEN OURS ELSE BY_TURNS END, ACCOUNT, 'ADJUSTMENT', \
         1 - 2 * (i / 1000 % 2), \
         CASE WHEN i < 2000 THEN balance_micros ELSE 0 END + 1 - i / 1000 % 2, 'Pair', NOW",
    ),
    // Every second number belongs to an account.
    (
        "inventory_number",
        "number, country, number_type, has_sms, has_whatsapp, upfront_price_micros, \
         monthly_price_micros, is_withdrawn, phone_number_id, updated_at",
        "NUMBER, 'US', 'LOCAL', true, i % 3 = 0, 0, 0, false, CASE WHEN i % 2 = 0 THEN IDA END, NOW",
    ),
    // In every 2,000 numbers, the last 1,000 were released.
    (
        "phone_number",
        "id, team_id, account_id, buyer_id, number, country, number_type, has_sms, has_whatsapp, \
         status, upfront_price_micros, monthly_price_micros, months_paid, renews_at, released_at, \
         input_hash, created_at, updated_at",
        "IDA, OURS, ACCOUNT, ACCOUNT, NUMBER, 'US', 'LOCAL', true, false, \
         CASE WHEN i / 1000 % 2 = 0 THEN 'ACTIVE' ELSE 'RELEASED' END, 0, 0, 1, LATER, \
         CASE WHEN i / 1000 % 2 = 1 THEN NOW END, HASH, NOW, NOW",
    ),
    (
        "sender",
        "id, team_id, account_id, name, is_default, created_at, updated_at",
        "IDC, OURS, ACCOUNT, 'Support', i < 1000, NOW, NOW",
    ),
    // Every second entry is private to a sub-account. Every fourth was refused.
    (
        "audit_entry",
        "id, team_id, account_id, is_private, actor, key_id, action, outcome, code, created_at",
        "ID9, CASE WHEN i < 2000 THEN OURS ELSE BY_TURNS END, ACCOUNT, i % 2 = 1, 'SUB_ACCOUNT', \
         ID3, 'ADD_OPT_OUT', CASE WHEN i % 4 = 2 THEN 'REFUSED' ELSE 'DONE' END, \
         CASE WHEN i % 4 = 2 THEN 'FORBIDDEN' END, NOW",
    ),
    (
        "template",
        "id, team_id, account_id, name, sms_text, variables, created_at, updated_at",
        "IDB, OURS, ACCOUNT, 'Welcome', 'Hello', '[]', NOW, NOW",
    ),
];

/// Returns whether [`fill`] inserts rows into this table.
pub fn is_filled(table: &str) -> bool {
    TABLES.iter().any(|(filled, ..)| *filled == table)
}

/// Fills the tables.
pub async fn fill(t: &TestApp, team_id: &str) {
    let backend = t.app.db.backend();
    for (table, columns, values) in TABLES {
        let statement = format!(
            "INSERT INTO {table} ({columns}) WITH RECURSIVE n(i) AS \
             (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS} - 1) \
             SELECT {values} \
             FROM n, (SELECT balance_micros FROM team WHERE id = OURS) AS ours WHERE true"
        );
        t.execute(&sql(backend, team_id, &statement)).await;
    }
    if backend == DbBackend::Postgres {
        t.execute("ANALYZE").await;
    }
}

/// Returns an SQL expression for the UUIDv7 of row `n` in a table. `kind` is the number of the table. Tables that are
/// filtered by time have ids with the current timestamp. Other tables have ids with a small fixed timestamp.
fn id(backend: DbBackend, kind: u8, n: &str) -> String {
    let of_now = "019cf6846e00";
    let moment =
        if (7..=9).contains(&kind) { of_now.to_owned() } else { format!("0000000{kind:x}0000") };
    match backend {
        DbBackend::Postgres => {
            format!("('{moment}70008000' || lpad(to_hex({n}), 12, '0'))::uuid")
        }
        _ => format!("unhex('{moment}70008000' || printf('%012x', {n}))"),
    }
}

/// Replaces the placeholders of a template. `OURS` is the placeholder for the id of the team under test.
fn sql(backend: DbBackend, team_id: &str, statement: &str) -> String {
    let (ours, hash, moment) = match backend {
        DbBackend::Postgres => (
            format!("'{team_id}'::uuid"),
            "decode(lpad(to_hex(i), 64, '0'), 'hex')",
            "timestamptz ",
        ),
        _ => (format!("unhex('{}')", team_id.replace('-', "")), "unhex(printf('%064x', i))", ""),
    };
    let ids = (1..=12).map(|kind| (format!("ID{kind:X}"), id(backend, kind, "i")));
    let others = [
        ("OURS", ours),
        ("ANOTHER", id(backend, 1, "(1 + i % 99)")),
        ("BY_TURNS", id(backend, 1, "(i / 2000)")),
        ("ACCOUNT,", id(backend, 2, "(i % 1000)") + ","),
        ("NUMBER", "'+1303' || (1000000 + i)".to_owned()),
        ("HASH", hash.to_owned()),
        ("NOW", format!("{moment}'2026-03-16 12:00:00+00:00'")),
        ("LATER", format!("{moment}'2026-04-14 12:00:00+00:00'")),
    ];
    let others = others.map(|(word, meant)| (word.to_owned(), meant));
    ids.chain(others).fold(statement.to_owned(), |sql, (word, meant)| sql.replace(&word, &meant))
}
