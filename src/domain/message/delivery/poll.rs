//! Which accounts have due messages, and the messages themselves: the statements behind a claim.
//!
//! Due messages stand in lines, one for each environment and status, by the index `message_turns`. A line
//! is not read from its front, where one account's backlog may stand. It is stepped through: from a team to
//! the next team, and within a team from an account to the next account. Each step is one probe of the
//! index, so what a look costs depends on the teams and accounts that it passes, and not on how many
//! messages each of them has. Teams and accounts that are passed in one look are bounded; the next look
//! goes on behind them.
//!
//! What an account may not send is stepped over with it. The messages of a SUSPENDED account wait where they
//! are, except those whose time is over, which the index `message_expiring` finds. Those of an INACTIVE
//! account wait for their cancelation (`backlog`). If the account was reactivated meanwhile, what it
//! accepted since stands behind them in the QUEUED line, and its SCHEDULED line waits. What has an earlier moment,
//! because the clock was set back, waits with them. Which messages are the old ones, their keys say.

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

use super::rotation::{LINES, RotationPosition};
use crate::domain::{Fault, events::Change};

/// Teams of a line that one look passes at most.
pub const TEAMS_MAX: usize = 64;
/// Accounts of a team that one look passes, if it passes many teams: with few teams there are more.
const ACCOUNTS_MIN: usize = 16;
/// Accounts of all teams that one look passes together, as long as each team has the least.
const ACCOUNTS_TOGETHER: usize = 1024;

/// A row of a look: an account with due messages, or the last team or account that was passed where there
/// may be more.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Seen {
    pub line: i32,
    /// 0 behind the place at which the look began, 1 from the start up to it.
    pub part: i32,
    pub nth_team: i32,
    /// As `part`, of the team's accounts.
    pub half: i32,
    pub team_id: Uuid,
    /// `None`: there may be more teams behind this one.
    pub account_id: Option<Uuid>,
    /// There may be more accounts of the team behind this one.
    pub is_last: bool,
    /// Since when the message is due that is due for longest; it may be due later.
    pub due_at: Option<DateTime<Utc>>,
    /// Only messages whose time is over may be claimed.
    pub is_suspended: Option<bool>,
}

/// A due message, without its texts.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Due {
    /// The number of the account's place in line among those that were asked for.
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
    /// How large its texts are.
    pub bytes: i64,
}

impl Due {
    /// That it changes.
    pub fn change(&self) -> Change {
        let (account_id, message_id) = (Some(self.account_id), Some(self.id));
        Change { team_id: self.team_id, account_id, message_id }
    }

    /// Whether no worker has claimed it yet, as [`entity::message::Entity::is_unclaimed`].
    pub fn is_unclaimed(&self) -> bool {
        matches!(self.status, MessageStatus::Scheduled | MessageStatus::Queued)
    }

    /// Whether the time in which it may go out is over.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.valid_until.is_some_and(|until| until <= now)
    }
}

/// An account's place in a line, and how many of its messages there are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub number: usize,
    pub environment: Environment,
    pub status: MessageStatus,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub is_suspended: bool,
    pub count: usize,
}

/// What differs between the databases.
struct Words {
    positions: &'static str,
    nil: &'static str,
    max: &'static str,
    ever: &'static str,
}

const POSTGRES: Words = Words {
    positions: "SELECT (value ->> 0)::int, (value ->> 1)::uuid, (value ->> 2)::uuid \
             FROM jsonb_array_elements($1::jsonb) AS given (value)",
    nil: "'00000000-0000-0000-0000-000000000000'::uuid",
    max: "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid",
    ever: "'-infinity'::timestamptz",
};
const SQLITE: Words = Words {
    positions: "SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2) FROM json_each($1)",
    nil: "x'00000000000000000000000000000000'",
    max: "x'ffffffffffffffffffffffffffffffff'",
    // Moments are texts.
    ever: "''",
};

/// Where accounts wait: all that may be due, by the places at which the look begins. Columns are said to be
/// not NULL where an index says so, for that is how the databases recognise it.
const LOOK: &str = "WITH RECURSIVE place (line, team_id, account_id) AS ({places}), \
    line (line, environment, status) AS (VALUES {lines}), \
    part (line, environment, status, part, begins, ends) AS ( \
      SELECT l.line, l.environment, l.status, 0, COALESCE(p.team_id, {nil}), {max} \
      FROM line l LEFT JOIN place p ON p.line = l.line AND p.account_id IS NULL \
      UNION ALL \
      SELECT l.line, l.environment, l.status, 1, {nil}, p.team_id \
      FROM line l JOIN place p ON p.line = l.line AND p.account_id IS NULL), \
    passed (line, environment, status, part, ends, nth_team, team_id) AS ( \
      SELECT p.line, p.environment, p.status, p.part, p.ends, 1, \
        (SELECT m.team_id FROM message m WHERE m.environment = p.environment \
         AND m.status = p.status AND m.team_id > p.begins AND m.due_at IS NOT NULL \
         ORDER BY m.team_id LIMIT 1) \
      FROM part p \
      UNION ALL \
      SELECT t.line, t.environment, t.status, t.part, t.ends, t.nth_team + 1, \
        (SELECT m.team_id FROM message m WHERE m.environment = t.environment \
         AND m.status = t.status AND m.team_id > t.team_id AND m.due_at IS NOT NULL \
         ORDER BY m.team_id LIMIT 1) \
      FROM passed t WHERE t.team_id < t.ends AND t.nth_team < {teams}), \
    half (line, environment, status, part, nth_team, team_id, half, begins, ends) AS ( \
      SELECT t.line, t.environment, t.status, t.part, t.nth_team, t.team_id, 0, \
        COALESCE(p.account_id, {nil}), {max} \
      FROM passed t LEFT JOIN place p \
        ON p.line = t.line AND p.team_id = t.team_id AND p.account_id IS NOT NULL \
      WHERE t.team_id <= t.ends \
      UNION ALL \
      SELECT t.line, t.environment, t.status, t.part, t.nth_team, t.team_id, 1, {nil}, p.account_id \
      FROM passed t JOIN place p \
        ON p.line = t.line AND p.team_id = t.team_id AND p.account_id IS NOT NULL \
      WHERE t.team_id <= t.ends), \
    waiting (line, environment, status, part, nth_team, team_id, half, ends, nth_account, \
        account_id) AS ( \
      SELECT h.line, h.environment, h.status, h.part, h.nth_team, h.team_id, h.half, h.ends, 1, \
        (SELECT m.account_id FROM message m WHERE m.environment = h.environment \
         AND m.status = h.status AND m.team_id = h.team_id AND m.account_id > h.begins \
         AND m.due_at IS NOT NULL ORDER BY m.account_id LIMIT 1) \
      FROM half h \
      UNION ALL \
      SELECT w.line, w.environment, w.status, w.part, w.nth_team, w.team_id, w.half, w.ends, \
        w.nth_account + 1, \
        (SELECT m.account_id FROM message m WHERE m.environment = w.environment \
         AND m.status = w.status AND m.team_id = w.team_id AND m.account_id > w.account_id \
         AND m.due_at IS NOT NULL ORDER BY m.account_id LIMIT 1) \
      FROM waiting w WHERE w.account_id < w.ends AND w.nth_account < {accounts}) \
    SELECT s.line, s.part, s.nth_team, s.half, s.nth_account, s.team_id, s.account_id, \
      s.nth_account = {accounts} AS is_last, s.due_at, \
      (SELECT a.status = 'SUSPENDED' FROM account a WHERE a.id = s.account_id) AS is_suspended \
    FROM (SELECT w.*, (SELECT CASE \
        WHEN w.status IN ('SENDING', 'SENT') \
          OR a.status = 'ACTIVE' AND (a.cancel_until IS NULL OR w.status = 'QUEUED') \
        THEN (SELECT m.due_at FROM message m WHERE m.environment = w.environment \
          AND m.status = w.status AND m.team_id = w.team_id AND m.account_id = w.account_id \
          AND m.due_at IS NOT NULL AND m.due_at >= CASE \
            WHEN a.cancel_until IS NOT NULL AND w.status = 'QUEUED' THEN a.status_changed_at \
            ELSE {ever} END \
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
    SELECT t.line, t.part, t.nth_team, 0, 0, t.team_id, NULL, false, NULL, NULL \
    FROM passed t WHERE t.nth_team = {teams} AND t.team_id <= t.ends \
    ORDER BY 1, 2, 3, 4, 5";

/// Which accounts of each line have due messages, in the order of their turns.
pub fn statement(
    backend: DbBackend,
    positions: &[RotationPosition],
    now: DateTime<Utc>,
) -> Statement {
    let words = if backend == DbBackend::Postgres { POSTGRES } else { SQLITE };
    let lines = LINES.iter().enumerate().map(|(number, (environment, status))| {
        format!("({number}, '{}', '{}')", environment.to_value(), status.to_value())
    });
    let accounts = format!(
        "(SELECT CASE WHEN COUNT(team_id) >= {} THEN {ACCOUNTS_MIN} \
         ELSE {ACCOUNTS_TOGETHER} / (COUNT(team_id) + 1) END FROM passed)",
        ACCOUNTS_TOGETHER / ACCOUNTS_MIN
    );
    let text = LOOK
        .replace("{places}", words.positions)
        .replace("{lines}", &lines.collect::<Vec<_>>().join(", "))
        .replace("{nil}", words.nil)
        .replace("{max}", words.max)
        .replace("{ever}", words.ever)
        .replace("{teams}", &TEAMS_MAX.to_string())
        .replace("{accounts}", &accounts);
    let mut given = Vec::new();
    for (line, position) in positions.iter().enumerate() {
        let hex = |id: Uuid| id.simple().to_string();
        given.extend(position.team().map(|team_id| json!([line, hex(team_id), null])));
        let accounts = position.accounts(TEAMS_MAX);
        given.extend(accounts.map(|(team, account)| json!([line, hex(team), hex(account)])));
    }
    let given = serde_json::Value::from(given).to_string();
    Statement::from_sql_and_values(backend, text, [given.into(), now.into()])
}

/// The due messages of one account in one line that may be claimed: `{…}` are its environment, status, team
/// and account. What the account may do is read again, for it may have changed since the look.
const DUE: &str = "SELECT {number} AS number, m.id, m.team_id, m.account_id, m.channel, m.status, \
      m.recipient, m.sent_from, m.valid_until, m.due_at, \
      CAST(octet_length(m.text) + COALESCE(octet_length(m.html), 0) AS BIGINT) AS bytes \
    FROM message m WHERE m.environment = {environment} AND m.status = {status} \
      AND m.account_id = {account} AND ";
const MAY_GO: &str = "m.team_id = {team} AND m.due_at IS NOT NULL AND m.due_at <= {now} \
      AND ({status} IN ('SENDING', 'SENT') OR EXISTS (SELECT 1 FROM account a \
        WHERE a.id = {account} AND a.status = 'ACTIVE' \
        AND (a.cancel_until IS NULL OR {status} = 'QUEUED'))) \
      AND m.due_at >= COALESCE((SELECT a.status_changed_at FROM account a \
        WHERE a.id = {account} AND a.cancel_until IS NOT NULL AND {status} = 'QUEUED'), {ever}) \
      AND ({status} <> 'QUEUED' \
        OR NOT EXISTS (SELECT 1 FROM account a WHERE a.id = {account} AND a.cancel_until IS NOT NULL) \
        OR NOT EXISTS (SELECT 1 FROM api_key k JOIN account a ON a.id = k.account_id \
          WHERE k.id = m.api_key_id AND k.generation < a.key_generation)) \
    ORDER BY m.due_at LIMIT {count}";
const IS_OVER: &str = "m.valid_until IS NOT NULL AND m.valid_until <= {now} \
      AND m.status IN ('SCHEDULED', 'QUEUED') AND m.due_at <= {now} \
      AND EXISTS (SELECT 1 FROM account a WHERE a.id = {account} AND a.status = 'SUSPENDED' \
        AND a.cancel_until IS NULL) \
    ORDER BY m.valid_until LIMIT {count}";

/// The text of the statement that takes due messages, of all that are wanted on `PostgreSQL` and of one on
/// `SQLite`, where statements cost no round trip and have no LATERAL.
fn take_text(backend: DbBackend, is_over: bool) -> String {
    let one = format!("{DUE}{}", if is_over { IS_OVER } else { MAY_GO });
    let fill = |text: &str, words: &Words, names: [&str; 7]| {
        let placeholders = ["number", "environment", "status", "team", "account", "count", "now"];
        let text = text.replace("{ever}", words.ever);
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

/// Statements that take these due messages.
pub fn take_statements(
    backend: DbBackend,
    wanted: &[Wanted],
    is_over: bool,
    now: DateTime<Utc>,
) -> Vec<Statement> {
    let wanted: Vec<&Wanted> = wanted.iter().filter(|one| one.is_suspended == is_over).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let text = take_text(backend, is_over);
    if backend == DbBackend::Postgres {
        let given = wanted.iter().map(|one| {
            let (environment, status) = (one.environment.to_value(), one.status.to_value());
            json!([one.number, environment, status, one.team_id, one.account_id, one.count])
        });
        let given = given.collect::<serde_json::Value>().to_string();
        return vec![Statement::from_sql_and_values(backend, text, [given.into(), now.into()])];
    }
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let of_one = wanted.iter().map(|one| {
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
    of_one.collect()
}

/// Takes due messages, those that are due for longest first, and holds them until the transaction ends.
/// What another worker holds is left to it.
pub async fn take(
    txn: &DatabaseTransaction,
    wanted: &[Wanted],
    now: DateTime<Utc>,
) -> Result<Vec<Due>, Fault> {
    let backend = txn.get_database_backend();
    let mut taken = Vec::new();
    for is_over in [false, true] {
        for statement in take_statements(backend, wanted, is_over, now) {
            taken.extend(Due::find_by_statement(statement).all(txn).await?);
        }
    }
    taken.sort_by_key(|due| (due.number, due.due_at));
    Ok(taken)
}
