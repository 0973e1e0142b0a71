//! The queries of a claim. A poll finds the accounts with due messages, and `take` locks due messages of an account.
//!
//! Due messages are in queues, one for each environment and status, in the index `message_turns`. A queue is not read
//! from its beginning, because the backlog of one account may be there. A poll jumps from one team to the next, and
//! within a team from one account to the next, with one probe of the index each. So its cost depends on the number of
//! teams and accounts visited, not on the number of messages. One poll visits a limited number of teams and accounts,
//! and the next poll continues after them.
//!
//! Accounts that may not send are skipped. Messages of a SUSPENDED account wait, except for expired messages. The index
//! `message_expiring` finds expired messages. Messages of an INACTIVE account wait for their cancelation (see
//! `backlog`). If the account was reactivated before the cancelation is complete, only QUEUED messages that were
//! accepted since the reactivation are due, and SCHEDULED messages wait. The generation of the API key distinguishes
//! old messages from new ones, in case the clock was set back.

use chrono::{DateTime, Utc};
use entity::{
    api_key::Environment,
    message::{Channel, MessageStatus},
};
use sea_orm::{
    ActiveEnum, ConnectionTrait, DatabaseTransaction, DbBackend, FromQueryResult, Statement,
};
use serde_json::json;
use uuid::Uuid;

use super::rotation::{QUEUES, RotationPosition};
use crate::domain::{Fault, events::Change};

/// Maximum number of teams of a queue that one poll visits.
pub const TEAMS_MAX: usize = 64;
/// Minimum number of accounts of a team that one poll visits. The number is higher if there are few teams.
const ACCOUNTS_MIN: usize = 16;
/// Number of accounts that one poll visits in total, if that is more than the minimum for each team.
const ACCOUNTS_TOTAL: usize = 1024;

/// A row of a poll: an account with due messages, or the last visited team or account if there may be more after it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct PolledRow {
    pub queue: i32,
    /// The part of the queue that contains the team. 0 is the part after the rotation position. 1 is the part from the
    /// beginning of the queue up to the rotation position.
    pub team_part: i32,
    pub nth_team: i32,
    /// Like `team_part`, for the accounts of the team.
    pub account_part: i32,
    pub team_id: Uuid,
    /// `None` if there may be more teams after this one.
    pub account_id: Option<Uuid>,
    /// Whether there may be more accounts of the team after this one.
    pub is_last: bool,
    /// When the account's oldest message became due, or will become due.
    pub due_at: Option<DateTime<Utc>>,
    /// Whether only expired messages may be claimed.
    pub is_suspended: Option<bool>,
}

/// A due message, without its content.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Due {
    /// The number of the [`ClaimRequest`] that found this message.
    pub number: i32,
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub channel: Channel,
    pub status: MessageStatus,
    pub recipient: String,
    pub sent_from: Option<String>,
    pub valid_until: Option<DateTime<Utc>>,
    pub due_at: DateTime<Utc>,
    /// Size of the message's text and HTML, in bytes.
    pub bytes: i64,
}

impl Due {
    /// Returns the change event for this message.
    pub fn change(&self) -> Change {
        let (account_id, message_id) = (Some(self.account_id), Some(self.id));
        Change { team_id: self.team_id, account_id, message_id }
    }

    /// Returns whether no worker has claimed the message yet, like [`entity::message::Entity::is_unclaimed`].
    pub fn is_unclaimed(&self) -> bool {
        matches!(self.status, MessageStatus::Scheduled | MessageStatus::Queued)
    }

    /// Returns whether the message's `validUntil` has passed.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.valid_until.is_some_and(|until| until <= now)
    }
}

/// A request for up to `count` due messages of an account in a queue.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest {
    pub number: usize,
    pub environment: Environment,
    pub status: MessageStatus,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub is_suspended: bool,
    pub count: usize,
}

/// The SQL that differs between the databases.
struct Dialect {
    positions: &'static str,
    nil: &'static str,
    max: &'static str,
    min_time: &'static str,
}

const POSTGRES: Dialect = Dialect {
    positions: "SELECT (value ->> 0)::int, (value ->> 1)::uuid, (value ->> 2)::uuid \
             FROM jsonb_array_elements($1::jsonb) AS given (value)",
    nil: "'00000000-0000-0000-0000-000000000000'::uuid",
    max: "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid",
    min_time: "'-infinity'::timestamptz",
};
const SQLITE: Dialect = Dialect {
    positions: "SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2) FROM json_each($1)",
    nil: "x'00000000000000000000000000000000'",
    max: "x'ffffffffffffffffffffffffffffffff'",
    // Times are stored as text.
    min_time: "''",
};

/// The SQL of the poll. `IS NOT NULL` repeats the conditions of partial indexes. Otherwise the databases would not use
/// those indexes.
const POLL: &str = "WITH RECURSIVE rotation (queue, team_id, account_id) AS ({positions}), \
    queue (queue, environment, status) AS (VALUES {queues}), \
    team_part (queue, environment, status, team_part, begins, ends) AS ( \
      SELECT l.queue, l.environment, l.status, 0, COALESCE(p.team_id, {nil}), {max} \
      FROM queue l LEFT JOIN rotation p ON p.queue = l.queue AND p.account_id IS NULL \
      UNION ALL \
      SELECT l.queue, l.environment, l.status, 1, {nil}, p.team_id \
      FROM queue l JOIN rotation p ON p.queue = l.queue AND p.account_id IS NULL), \
    visited (queue, environment, status, team_part, ends, nth_team, team_id) AS ( \
      SELECT p.queue, p.environment, p.status, p.team_part, p.ends, 1, \
        (SELECT m.team_id FROM message m WHERE m.environment = p.environment \
         AND m.status = p.status AND m.team_id > p.begins AND m.due_at IS NOT NULL \
         ORDER BY m.team_id LIMIT 1) \
      FROM team_part p \
      UNION ALL \
      SELECT t.queue, t.environment, t.status, t.team_part, t.ends, t.nth_team + 1, \
        (SELECT m.team_id FROM message m WHERE m.environment = t.environment \
         AND m.status = t.status AND m.team_id > t.team_id AND m.due_at IS NOT NULL \
         ORDER BY m.team_id LIMIT 1) \
      FROM visited t WHERE t.team_id < t.ends AND t.nth_team < {teams}), \
    account_part (queue, environment, status, team_part, nth_team, team_id, account_part, begins, ends) AS ( \
      SELECT t.queue, t.environment, t.status, t.team_part, t.nth_team, t.team_id, 0, \
        COALESCE(p.account_id, {nil}), {max} \
      FROM visited t LEFT JOIN rotation p \
        ON p.queue = t.queue AND p.team_id = t.team_id AND p.account_id IS NOT NULL \
      WHERE t.team_id <= t.ends \
      UNION ALL \
      SELECT t.queue, t.environment, t.status, t.team_part, t.nth_team, t.team_id, 1, {nil}, p.account_id \
      FROM visited t JOIN rotation p \
        ON p.queue = t.queue AND p.team_id = t.team_id AND p.account_id IS NOT NULL \
      WHERE t.team_id <= t.ends), \
    waiting (queue, environment, status, team_part, nth_team, team_id, account_part, ends, nth_account, \
        account_id) AS ( \
      SELECT h.queue, h.environment, h.status, h.team_part, h.nth_team, h.team_id, h.account_part, h.ends, 1, \
        (SELECT m.account_id FROM message m WHERE m.environment = h.environment \
         AND m.status = h.status AND m.team_id = h.team_id AND m.account_id > h.begins \
         AND m.due_at IS NOT NULL ORDER BY m.account_id LIMIT 1) \
      FROM account_part h \
      UNION ALL \
      SELECT w.queue, w.environment, w.status, w.team_part, w.nth_team, w.team_id, w.account_part, w.ends, \
        w.nth_account + 1, \
        (SELECT m.account_id FROM message m WHERE m.environment = w.environment \
         AND m.status = w.status AND m.team_id = w.team_id AND m.account_id > w.account_id \
         AND m.due_at IS NOT NULL ORDER BY m.account_id LIMIT 1) \
      FROM waiting w WHERE w.account_id < w.ends AND w.nth_account < {accounts}) \
    SELECT s.queue, s.team_part, s.nth_team, s.account_part, s.nth_account, s.team_id, s.account_id, \
      s.nth_account = {accounts} AS is_last, s.due_at, \
      (SELECT a.status = 'SUSPENDED' FROM account a WHERE a.id = s.account_id) AS is_suspended \
    FROM (SELECT w.*, (SELECT CASE \
        WHEN w.status IN ('SENDING', 'SENT') \
          OR a.status = 'ACTIVE' AND (a.cancel_until IS NULL OR w.status = 'QUEUED') \
        THEN (SELECT m.due_at FROM message m WHERE m.environment = w.environment \
          AND m.status = w.status AND m.team_id = w.team_id AND m.account_id = w.account_id \
          AND m.due_at IS NOT NULL AND m.due_at >= CASE \
            WHEN a.cancel_until IS NOT NULL AND w.status = 'QUEUED' THEN a.status_changed_at \
            ELSE {min_time} END \
          ORDER BY m.due_at LIMIT 1) \
        WHEN a.status = 'SUSPENDED' AND a.cancel_until IS NULL \
        THEN (SELECT m.valid_until FROM message m WHERE m.account_id = w.account_id \
          AND m.environment = w.environment AND m.status = w.status \
          AND m.valid_until IS NOT NULL AND m.status IN ('SCHEDULED', 'QUEUED') \
          ORDER BY m.valid_until LIMIT 1) \
        END FROM account a WHERE a.id = w.account_id) AS due_at \
      FROM waiting w WHERE w.account_id <= w.ends) s \
    WHERE s.due_at <= $2 OR s.nth_account = {accounts} \
    UNION ALL \
    SELECT t.queue, t.team_part, t.nth_team, 0, 0, t.team_id, NULL, false, NULL, NULL \
    FROM visited t WHERE t.nth_team = {teams} AND t.team_id <= t.ends \
    ORDER BY 1, 2, 3, 4, 5";

/// Returns the statement that finds the accounts with due messages in each queue, in the order of their turns.
pub fn statement(
    backend: DbBackend,
    positions: &[RotationPosition],
    now: DateTime<Utc>,
) -> Statement {
    let dialect = if backend == DbBackend::Postgres { POSTGRES } else { SQLITE };
    let queues = QUEUES.iter().enumerate().map(|(number, (environment, status))| {
        format!("({number}, '{}', '{}')", environment.to_value(), status.to_value())
    });
    let accounts = format!(
        "(SELECT CASE WHEN COUNT(team_id) >= {} THEN {ACCOUNTS_MIN} \
         ELSE {ACCOUNTS_TOTAL} / (COUNT(team_id) + 1) END FROM visited)",
        ACCOUNTS_TOTAL / ACCOUNTS_MIN
    );
    let text = POLL
        .replace("{positions}", dialect.positions)
        .replace("{queues}", &queues.collect::<Vec<_>>().join(", "))
        .replace("{nil}", dialect.nil)
        .replace("{max}", dialect.max)
        .replace("{min_time}", dialect.min_time)
        .replace("{teams}", &TEAMS_MAX.to_string())
        .replace("{accounts}", &accounts);
    let mut rows = Vec::new();
    for (queue, position) in positions.iter().enumerate() {
        let hex = |id: Uuid| id.simple().to_string();
        rows.extend(position.team().map(|team_id| json!([queue, hex(team_id), null])));
        let accounts = position.accounts(TEAMS_MAX);
        rows.extend(accounts.map(|(team, account)| json!([queue, hex(team), hex(account)])));
    }
    let rows = serde_json::Value::from(rows).to_string();
    Statement::from_sql_and_values(backend, text, [rows.into(), now.into()])
}

/// Selects the due messages of one account in one queue. The account's status is checked again, because it may have
/// changed since the poll.
const DUE: &str = "SELECT {number} AS number, m.id, m.team_id, m.account_id, m.channel, m.status, \
      m.recipient, m.sent_from, m.valid_until, m.due_at, \
      CAST(octet_length(m.text) + COALESCE(octet_length(m.html), 0) AS BIGINT) AS bytes \
    FROM message m WHERE m.environment = {environment} AND m.status = {status} \
      AND m.account_id = {account} AND ";
const MAY_BE_SENT: &str = "m.team_id = {team} AND m.due_at IS NOT NULL AND m.due_at <= {now} \
      AND ({status} IN ('SENDING', 'SENT') OR EXISTS (SELECT 1 FROM account a \
        WHERE a.id = {account} AND a.status = 'ACTIVE' \
        AND (a.cancel_until IS NULL OR {status} = 'QUEUED'))) \
      AND m.due_at >= COALESCE((SELECT a.status_changed_at FROM account a \
        WHERE a.id = {account} AND a.cancel_until IS NOT NULL AND {status} = 'QUEUED'), {min_time}) \
      AND ({status} <> 'QUEUED' \
        OR NOT EXISTS (SELECT 1 FROM account a WHERE a.id = {account} AND a.cancel_until IS NOT NULL) \
        OR NOT EXISTS (SELECT 1 FROM api_key k JOIN account a ON a.id = k.account_id \
          WHERE k.id = m.api_key_id AND k.generation < a.key_generation)) \
    ORDER BY m.due_at LIMIT {count}";
const IS_EXPIRED: &str = "m.valid_until IS NOT NULL AND m.valid_until <= {now} \
      AND m.status IN ('SCHEDULED', 'QUEUED') AND m.due_at <= {now} \
      AND EXISTS (SELECT 1 FROM account a WHERE a.id = {account} AND a.status = 'SUSPENDED' \
        AND a.cancel_until IS NULL) \
    ORDER BY m.valid_until LIMIT {count}";

/// Returns the SQL that takes due messages. On `PostgreSQL`, one statement is used for all requests. On `SQLite`, one
/// statement is used for each request, because `SQLite` has no LATERAL and its statements need no round trips.
fn take_sql(backend: DbBackend, is_expired: bool) -> String {
    let one = format!("{DUE}{}", if is_expired { IS_EXPIRED } else { MAY_BE_SENT });
    let fill = |text: &str, dialect: &Dialect, names: [&str; 7]| {
        let placeholders = ["number", "environment", "status", "team", "account", "count", "now"];
        let text = text.replace("{min_time}", dialect.min_time);
        placeholders.iter().zip(names).fold(text, |text, (placeholder, name)| {
            text.replace(&format!("{{{placeholder}}}"), name)
        })
    };
    if backend != DbBackend::Postgres {
        return fill(&one, &SQLITE, ["$1", "$2", "$3", "$4", "$5", "$6", "$7"]);
    }
    let names =
        ["w.number", "w.environment", "w.status", "w.team_id", "w.account_id", "w.count", "$2"];
    format!(
        "SELECT taken.* FROM (SELECT (value ->> 0)::int AS number, value ->> 1 AS environment, \
             value ->> 2 AS status, (value ->> 3)::uuid AS team_id, \
             (value ->> 4)::uuid AS account_id, (value ->> 5)::int AS count \
           FROM jsonb_array_elements($1::jsonb) AS given (value)) AS w \
         CROSS JOIN LATERAL ({} FOR UPDATE OF m SKIP LOCKED) AS taken",
        fill(&one, &POSTGRES, names)
    )
}

/// Returns the statements that take due messages for these requests.
pub fn take_statements(
    backend: DbBackend,
    requests: &[ClaimRequest],
    is_expired: bool,
    now: DateTime<Utc>,
) -> Vec<Statement> {
    let requests: Vec<&ClaimRequest> =
        requests.iter().filter(|one| one.is_suspended == is_expired).collect();
    if requests.is_empty() {
        return Vec::new();
    }
    let text = take_sql(backend, is_expired);
    if backend == DbBackend::Postgres {
        let rows = requests.iter().map(|one| {
            let (environment, status) = (one.environment.to_value(), one.status.to_value());
            json!([one.number, environment, status, one.team_id, one.account_id, one.count])
        });
        let rows = rows.collect::<serde_json::Value>().to_string();
        return vec![Statement::from_sql_and_values(backend, text, [rows.into(), now.into()])];
    }
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let statements = requests.iter().map(|one| {
        let values: [sea_orm::Value; 7] = [
            number(one.number).into(),
            one.environment.to_value().into(),
            one.status.to_value().into(),
            one.team_id.into(),
            one.account_id.into(),
            number(one.count).into(),
            now.into(),
        ];
        Statement::from_sql_and_values(backend, text.as_str(), values)
    });
    statements.collect()
}

/// Locks due messages until the transaction ends, oldest first. Messages locked by another worker are skipped.
pub async fn take(
    txn: &DatabaseTransaction,
    requests: &[ClaimRequest],
    now: DateTime<Utc>,
) -> Result<Vec<Due>, Fault> {
    let backend = txn.get_database_backend();
    let mut taken = Vec::new();
    for is_expired in [false, true] {
        for statement in take_statements(backend, requests, is_expired, now) {
            taken.extend(Due::find_by_statement(statement).all(txn).await?);
        }
    }
    taken.sort_by_key(|due| (due.number, due.due_at));
    Ok(taken)
}
