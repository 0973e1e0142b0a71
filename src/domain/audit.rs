//! The audit (R14): recomputes from the ledger, in one snapshot, what the rows claim: balances,
//! totals, running balances, charges, refunds, fees and usage; and from the messages, what is counted of
//! them. Finding nothing is the only good answer.

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement};

use super::Fault;
use crate::App;

/// A contradiction in the books.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Drift {
    /// Which check found it.
    pub check: String,
    /// The row that contradicts the ledger.
    pub id: String,
    pub stored_micros: i64,
    pub ledger_micros: i64,
}

/// What was looked at, and what was found.
#[derive(Debug)]
pub struct Audit {
    pub teams: u64,
    pub accounts: u64,
    pub ledger_entries: u64,
    pub drifts: Vec<Drift>,
}

/// Each check selects id, stored and expected amount of exactly the rows that contradict the ledger.
const CHECKS: &[(&str, &str)] = &[
    (
        "a team's balance is the sum of its ledger",
        "SELECT t.id, t.balance_micros AS stored, \
                CAST(COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM team t LEFT JOIN ledger_entry l ON l.team_id = t.id \
         GROUP BY t.id, t.balance_micros \
         HAVING t.balance_micros <> COALESCE(SUM(l.amount_micros), 0)",
    ),
    (
        "a sub-account's totalSpent is its charges less its refunds",
        "SELECT a.id, a.total_spent_micros AS stored, \
                CAST(-COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM account a LEFT JOIN ledger_entry l ON l.account_id = a.id \
         WHERE a.is_sub_account GROUP BY a.id, a.total_spent_micros \
         HAVING a.total_spent_micros <> -COALESCE(SUM(l.amount_micros), 0)",
    ),
    (
        "a message's cost is its one charge",
        "SELECT m.id, m.cost_micros AS stored, \
                CAST(-COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM message m LEFT JOIN ledger_entry l ON l.message_id = m.id AND l.kind = 'CHARGE' \
         GROUP BY m.id, m.cost_micros \
         HAVING m.cost_micros <> -COALESCE(SUM(l.amount_micros), 0) OR COUNT(l.id) > 1",
    ),
    (
        "a message that reached no provider is refunded once, in full, and no other is",
        "SELECT m.id, \
                CASE WHEN m.status IN ('FAILED', 'EXPIRED', 'CANCELED') THEN m.cost_micros \
                     ELSE 0 END AS stored, \
                CAST(COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM message m LEFT JOIN ledger_entry l ON l.message_id = m.id AND l.kind = 'REFUND' \
         GROUP BY m.id, m.status, m.cost_micros, m.refunded_at \
         HAVING CASE WHEN m.status IN ('FAILED', 'EXPIRED', 'CANCELED') THEN m.cost_micros \
                     ELSE 0 END \
                    <> COALESCE(SUM(l.amount_micros), 0) \
             OR COUNT(l.id) > 1 OR (m.refunded_at IS NULL) <> (COUNT(l.id) = 0)",
    ),
    (
        "an account's usage is its ledger: charged",
        "SELECT id, stored, expected FROM ( \
           SELECT a.id, \
                  CAST(COALESCE((SELECT SUM(u.charged_micros) FROM usage_day u \
                                 WHERE u.account_id = a.id), 0) AS BIGINT) AS stored, \
                  CAST(-COALESCE((SELECT SUM(l.amount_micros) FROM ledger_entry l \
                                  WHERE l.account_id = a.id \
                                  AND l.kind IN ('CHARGE', 'NUMBER_FEE')), 0) \
                       AS BIGINT) AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    ),
    (
        "an account's usage is its ledger: refunded",
        "SELECT id, stored, expected FROM ( \
           SELECT a.id, \
                  CAST(COALESCE((SELECT SUM(u.refunded_micros) FROM usage_day u \
                                 WHERE u.account_id = a.id), 0) AS BIGINT) AS stored, \
                  CAST(COALESCE((SELECT SUM(l.amount_micros) FROM ledger_entry l \
                                 WHERE l.account_id = a.id AND l.kind = 'REFUND'), 0) \
                       AS BIGINT) AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    ),
    (
        "an account's usage counts its live messages",
        "SELECT id, stored, expected FROM ( \
           SELECT a.id, \
                  CAST(COALESCE((SELECT SUM(u.messages) FROM usage_day u \
                                 WHERE u.account_id = a.id), 0) AS BIGINT) AS stored, \
                  (SELECT COUNT(*) FROM message m \
                   WHERE m.account_id = a.id AND m.environment = 'LIVE') AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    ),
    (
        "an account's TEST messages are counted",
        "SELECT id, stored, expected FROM ( \
           SELECT a.id, a.test_message_count AS stored, \
                  (SELECT COUNT(*) FROM message m \
                   WHERE m.account_id = a.id AND m.environment = 'TEST') AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    ),
    (
        "the bytes of an account's TEST messages are counted",
        "SELECT id, stored, expected FROM ( \
           SELECT a.id, a.test_message_bytes AS stored, \
                  CAST(COALESCE((SELECT SUM(m.word_bytes) FROM message m \
                                 WHERE m.account_id = a.id AND m.environment = 'TEST'), 0) \
                       AS BIGINT) AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    ),
    (
        "a phone number's fees are those of its months, each once",
        "SELECT p.id, p.upfront_price_micros + p.months_paid * p.monthly_price_micros AS stored, \
                CAST(-COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM phone_number p LEFT JOIN ledger_entry l ON l.phone_number_id = p.id \
         GROUP BY p.id, p.upfront_price_micros, p.months_paid, p.monthly_price_micros \
         HAVING p.upfront_price_micros + p.months_paid * p.monthly_price_micros \
                    <> -COALESCE(SUM(l.amount_micros), 0)",
    ),
    (
        "an entry begins with a balance that another entry of its team left, or with 0",
        "SELECT team_id AS id, began AS stored, 0 AS expected FROM ( \
           SELECT team_id, balance_after_micros - amount_micros AS began FROM ledger_entry \
           WHERE balance_after_micros <> amount_micros \
           EXCEPT SELECT team_id, balance_after_micros FROM ledger_entry) AS begun",
    ),
];

/// Runs every check in one snapshot of the database.
pub async fn run(app: &App) -> Result<Audit, Fault> {
    let txn = app.db.read.snapshot().await?;
    let backend = app.db.backend();
    let mut counts = [0_u64; 3];
    for (count, table) in counts.iter_mut().zip(["team", "account", "ledger_entry"]) {
        let statement =
            Statement::from_string(backend, format!("SELECT COUNT(*) AS n FROM {table}"));
        let row = txn.query_one_raw(statement).await?;
        let rows = row.map(|row| row.try_get::<i64>("", "n")).transpose()?.unwrap_or(0);
        *count = u64::try_from(rows).unwrap_or(0);
    }
    let mut drifts = Vec::new();
    for (check, select) in CHECKS {
        let id = match backend {
            DbBackend::Postgres => "CAST(id AS TEXT)",
            _ => "lower(hex(id))",
        };
        let statement = format!(
            "SELECT '{}' AS \"check\", {id} AS id, stored AS stored_micros, \
                    expected AS ledger_micros \
             FROM ({select}) AS drifts",
            check.replace('\'', "''"),
        );
        let statement = Statement::from_string(backend, statement);
        drifts.extend(Drift::find_by_statement(statement).all(&txn).await?);
    }
    txn.end().await?;
    let [teams, accounts, ledger_entries] = counts;
    Ok(Audit { teams, accounts, ledger_entries, drifts })
}
