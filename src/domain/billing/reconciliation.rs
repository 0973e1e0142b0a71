//! Reconciliation (the command `tollgate reconcile`). In one snapshot, balances, totals, running balances, charges,
//! refunds, fees and usage are recomputed from the ledger, and message counters are recomputed from the messages. Any
//! difference is a bug or manipulated data.

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement};
use uuid::Uuid;

use crate::{app::App, domain::Fault, money::Micros};

/// A stored value that differs from the recomputed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The rule that the row breaks.
    pub check: String,
    /// The id of the row that differs from the ledger.
    pub id: Uuid,
    pub stored_micros: i64,
    pub ledger_micros: i64,
    /// The difference as a sentence.
    pub fault: String,
}

/// The numbers of checked rows, and the differences that were found.
#[derive(Debug)]
pub struct Audit {
    pub teams: u64,
    pub accounts: u64,
    pub ledger_entries: u64,
    pub drifts: Vec<Drift>,
}

/// A rule that balances, totals and counters must follow.
struct Check {
    rule: &'static str,
    /// The kind of object that the id belongs to.
    subject: &'static str,
    /// The description of a row that breaks the rule, with the placeholders `{stored}` and `{expected}`.
    fault: &'static str,
    unit: Unit,
    /// Selects the id, the stored value and the expected value of each row that breaks the rule.
    select: &'static str,
}

/// The unit of a value.
#[derive(Clone, Copy)]
enum Unit {
    Money,
    Messages,
    Bytes,
}

const CHECKS: &[Check] = &[
    Check {
        rule: "a team's balance is the sum of its ledger entries",
        subject: "team",
        fault: "its stored balance is {stored}, but its ledger entries add up to {expected}",
        unit: Unit::Money,
        select: "SELECT t.id, t.balance_micros AS stored, \
                CAST(COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM team t LEFT JOIN ledger_entry l ON l.team_id = t.id \
         GROUP BY t.id, t.balance_micros \
         HAVING t.balance_micros <> COALESCE(SUM(l.amount_micros), 0)",
    },
    Check {
        rule: "a sub-account's totalSpent is its charges less its refunds",
        subject: "account",
        fault: "its stored totalSpent is {stored}, but its charges less refunds are {expected}",
        unit: Unit::Money,
        select: "SELECT a.id, a.total_spent_micros AS stored, \
                CAST(-COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM account a LEFT JOIN ledger_entry l ON l.account_id = a.id \
         WHERE a.is_sub_account GROUP BY a.id, a.total_spent_micros \
         HAVING a.total_spent_micros <> -COALESCE(SUM(l.amount_micros), 0)",
    },
    Check {
        rule: "a message's cost is the amount of its only charge",
        subject: "message",
        fault: "its stored cost is {stored}; its charges in the ledger add up to {expected}. They must be equal, and there \
                must not be more than one charge",
        unit: Unit::Money,
        select: "SELECT m.id, m.cost_micros AS stored, \
                CAST(-COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM message m LEFT JOIN ledger_entry l ON l.message_id = m.id AND l.kind = 'CHARGE' \
         GROUP BY m.id, m.cost_micros \
         HAVING m.cost_micros <> -COALESCE(SUM(l.amount_micros), 0) OR COUNT(l.id) > 1",
    },
    Check {
        rule: "a message is refunded once and in full if it is FAILED, EXPIRED or CANCELED, and otherwise never",
        subject: "message",
        fault: "its status requires a refund of {stored}; its refunds in the ledger add up to {expected}. A FAILED, EXPIRED \
                or CANCELED message must have exactly one refund and a refundedAt; any other message must have neither",
        unit: Unit::Money,
        select: "SELECT m.id, \
                CASE WHEN m.status IN ('FAILED', 'EXPIRED', 'CANCELED') THEN m.cost_micros \
                     ELSE 0 END AS stored, \
                CAST(COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM message m LEFT JOIN ledger_entry l ON l.message_id = m.id AND l.kind = 'REFUND' \
         GROUP BY m.id, m.status, m.cost_micros, m.refunded_at \
         HAVING CASE WHEN m.status IN ('FAILED', 'EXPIRED', 'CANCELED') THEN m.cost_micros \
                     ELSE 0 END \
                    <> COALESCE(SUM(l.amount_micros), 0) \
             OR COUNT(l.id) > 1 OR (m.refunded_at IS NULL) <> (COUNT(l.id) = 0)",
    },
    Check {
        rule: "the charges in an account's usage equal those in its ledger",
        subject: "account",
        fault: "the charges in its usage are {stored}, but those in its ledger are {expected}",
        unit: Unit::Money,
        select: "SELECT id, stored, expected FROM ( \
           SELECT a.id, \
                  CAST(COALESCE((SELECT SUM(u.charged_micros) FROM usage_day u \
                                 WHERE u.account_id = a.id), 0) AS BIGINT) AS stored, \
                  CAST(-COALESCE((SELECT SUM(l.amount_micros) FROM ledger_entry l \
                                  WHERE l.account_id = a.id \
                                  AND l.kind IN ('CHARGE', 'NUMBER_FEE')), 0) \
                       AS BIGINT) AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    },
    Check {
        rule: "the refunds in an account's usage equal those in its ledger",
        subject: "account",
        fault: "the refunds in its usage are {stored}, but those in its ledger are {expected}",
        unit: Unit::Money,
        select: "SELECT id, stored, expected FROM ( \
           SELECT a.id, \
                  CAST(COALESCE((SELECT SUM(u.refunded_micros) FROM usage_day u \
                                 WHERE u.account_id = a.id), 0) AS BIGINT) AS stored, \
                  CAST(COALESCE((SELECT SUM(l.amount_micros) FROM ledger_entry l \
                                 WHERE l.account_id = a.id AND l.kind = 'REFUND'), 0) \
                       AS BIGINT) AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    },
    Check {
        rule: "the number of messages in an account's usage is the number of its LIVE messages",
        subject: "account",
        fault: "the number of messages in its usage is {stored}, but it has {expected} LIVE messages",
        unit: Unit::Messages,
        select: "SELECT id, stored, expected FROM ( \
           SELECT a.id, \
                  CAST(COALESCE((SELECT SUM(u.messages) FROM usage_day u \
                                 WHERE u.account_id = a.id), 0) AS BIGINT) AS stored, \
                  (SELECT COUNT(*) FROM message m \
                   WHERE m.account_id = a.id AND m.environment = 'LIVE') AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    },
    Check {
        rule: "an account's stored count of TEST messages is the number of those messages",
        subject: "account",
        fault: "its stored count of TEST messages is {stored}, but it has {expected}",
        unit: Unit::Messages,
        select: "SELECT id, stored, expected FROM ( \
           SELECT a.id, a.test_message_count AS stored, \
                  (SELECT COUNT(*) FROM message m \
                   WHERE m.account_id = a.id AND m.environment = 'TEST') AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    },
    Check {
        rule: "an account's stored size of TEST messages is the total size of those messages",
        subject: "account",
        fault: "its stored size of TEST messages is {stored}, but their total size is {expected}",
        unit: Unit::Bytes,
        select: "SELECT id, stored, expected FROM ( \
           SELECT a.id, a.test_message_bytes AS stored, \
                  CAST(COALESCE((SELECT SUM(m.word_bytes) FROM message m \
                                 WHERE m.account_id = a.id AND m.environment = 'TEST'), 0) \
                       AS BIGINT) AS expected \
           FROM account a) AS sums WHERE stored <> expected",
    },
    Check {
        rule: "a phone number's fees in the ledger are its upfront price and the prices of its paid months",
        subject: "phone number",
        fault: "its upfront price and paid months cost {stored}, but its fees in the ledger add up to {expected}",
        unit: Unit::Money,
        select: "SELECT p.id, p.upfront_price_micros + p.months_paid * p.monthly_price_micros AS stored, \
                CAST(-COALESCE(SUM(l.amount_micros), 0) AS BIGINT) AS expected \
         FROM phone_number p LEFT JOIN ledger_entry l ON l.phone_number_id = p.id \
         GROUP BY p.id, p.upfront_price_micros, p.months_paid, p.monthly_price_micros \
         HAVING p.upfront_price_micros + p.months_paid * p.monthly_price_micros \
                    <> -COALESCE(SUM(l.amount_micros), 0)",
    },
    Check {
        rule: "the balance before a ledger entry is the balance after another entry of the team, or 0",
        subject: "team",
        fault: "the balance before one of its ledger entries is {stored}, which is not the balance after any other \
                entry",
        unit: Unit::Money,
        select: "SELECT team_id AS id, began AS stored, 0 AS expected FROM ( \
           SELECT team_id, balance_after_micros - amount_micros AS began FROM ledger_entry \
           WHERE balance_after_micros <> amount_micros \
           EXCEPT SELECT team_id, balance_after_micros FROM ledger_entry) AS begun",
    },
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
    for check in CHECKS {
        let id = match backend {
            DbBackend::Postgres => "CAST(id AS TEXT)",
            _ => "lower(hex(id))",
        };
        let select = check.select;
        let statement = format!("SELECT {id} AS id, stored, expected FROM ({select}) AS drifts");
        let statement = Statement::from_string(backend, statement);
        let rows = Row::find_by_statement(statement).all(&txn).await?;
        drifts.extend(rows.into_iter().map(|row| check.drift(&row)));
    }
    txn.end().await?;
    let [teams, accounts, ledger_entries] = counts;
    Ok(Audit { teams, accounts, ledger_entries, drifts })
}

/// A row that breaks a rule.
#[derive(FromQueryResult)]
struct Row {
    id: String,
    stored: i64,
    expected: i64,
}

impl Check {
    fn drift(&self, row: &Row) -> Drift {
        let id = Uuid::try_parse(&row.id).unwrap_or_default();
        let fault = self
            .fault
            .replace("{stored}", &self.unit.format(row.stored))
            .replace("{expected}", &self.unit.format(row.expected));
        Drift {
            check: self.rule.to_owned(),
            id,
            stored_micros: row.stored,
            ledger_micros: row.expected,
            fault: format!("{} {id}: {fault}.", self.subject),
        }
    }
}

impl Unit {
    fn format(self, value: i64) -> String {
        match self {
            // A manipulated value may be outside the range of valid amounts.
            Self::Money => Micros::new(value)
                .map_or_else(|| format!("{value} micro-units"), |amount| amount.to_string()),
            Self::Messages => format!("{value} messages"),
            Self::Bytes => format!("{value} bytes"),
        }
    }
}
