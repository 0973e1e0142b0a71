//! `PostgreSQL`: a connection of the writer's own, which no request can leave inside a transaction;
//! arrays as parameters; BEGIN and lock in one round trip.

use std::{collections::HashSet, time::Duration};

use entity::message;
use sea_orm::{
    ActiveEnum, FromQueryResult, QueryResult,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _,
        postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow},
        query::Query,
    },
};
use uuid::Uuid;

use super::statements::{Decide, Interrupted, Statements, check_guards, drafts};
use crate::domain::{
    Fault, Unavailable,
    billing::{
        batch::{BatchOutcome, BatchState, ChargeEntry, Earlier, KeyRow, OptedOut},
        queue::Sending,
    },
    channel::recipient::identity,
};

const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

pub const POSTGRES: Statements = Statements {
    lock_teams: "SELECT id FROM team WHERE id = ANY('{ids}'::uuid[]) ORDER BY id FOR UPDATE",
    read_keys: "SELECT k.id AS key_id, k.revoked_at, k.expires_at, k.grace_ends_at, \
                       a.id AS account_id, a.is_sub_account, a.status, a.credit_limit_micros, \
                       a.total_spent_micros, a.test_message_count, a.test_message_bytes, \
                       EXISTS (SELECT 1 FROM opt_out o WHERE o.account_id = a.id) AS has_opt_outs, \
                       t.id AS team_id, t.balance_micros \
                FROM api_key k JOIN account a ON a.id = k.account_id \
                JOIN team t ON t.id = k.team_id WHERE k.id = ANY($1)",
    read_earlier: "SELECT m.id, m.account_id, m.environment, m.idempotency_key, m.input_hash \
                   FROM unnest($1::uuid[], $2::text[], $3::text[]) \
                       AS r(account_id, environment, idempotency_key) \
                   JOIN message m USING (account_id, environment, idempotency_key)",
    read_opted_out: "SELECT o.account_id, o.channel, o.address \
                     FROM unnest($1::uuid[], $2::text[], $3::text[]) \
                       AS r(account_id, channel, address) \
                     JOIN opt_out o USING (account_id, channel, address)",
    read_contacts: "SELECT id FROM contact WHERE id = ANY($1) AND busy_with IS DISTINCT FROM id",
    write: "WITH sent AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], \
                $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], \
                $10::text[], $11::int[], $12::bigint[], $13::text[], $14::bytea[], $15::text[], \
                $16::uuid[], $17::bigint[], $33::text[], $34::timestamptz[], $35::timestamptz[], \
                $36::timestamptz[], $37::text[], $38::uuid[], $39::uuid[], $40::text[], \
                $41::int[]) \
              AS s(id, team_id, account_id, api_key_id, environment, channel, recipient, country, \
                subject, text, segments, cost_micros, idempotency_key, input_hash, metadata, \
                entry_id, balance_after_micros, status, due_at, send_at, valid_until, html, \
                contact_id, sender_id, sent_from, word_bytes)), \
            messages AS (INSERT INTO message (id, team_id, account_id, api_key_id, environment, \
                channel, status, recipient, country, subject, text, segments, cost_micros, \
                idempotency_key, input_hash, metadata, due_at, send_at, valid_until, html, \
                contact_id, sender_id, sent_from, word_bytes, created_at, updated_at) \
              SELECT id, team_id, account_id, api_key_id, environment, channel, status, \
                recipient, country, subject, text, segments, cost_micros, idempotency_key, \
                input_hash, metadata, due_at, send_at, valid_until, html, contact_id, sender_id, \
                sent_from, word_bytes, $18, $18 \
              FROM sent \
              RETURNING 1), \
            entries AS (INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, \
                amount_micros, balance_after_micros, created_at) \
              SELECT entry_id, team_id, account_id, id, 'CHARGE', -cost_micros, \
                balance_after_micros, $18 FROM sent WHERE entry_id IS NOT NULL RETURNING 1), \
            days AS (INSERT INTO usage_day AS u (account_id, team_id, day, channel, country, \
                messages, segments, delivered, failed, charged_micros, refunded_micros, \
                updated_at) \
              SELECT s.account_id, s.team_id, $19, s.channel, s.country, s.messages, s.segments, \
                0, 0, s.charged_micros, 0, $18 \
              FROM unnest($20::uuid[], $21::uuid[], $22::text[], $23::text[], $24::bigint[], \
                $25::bigint[], $26::bigint[]) AS s(account_id, team_id, channel, country, \
                messages, segments, charged_micros) \
              ON CONFLICT (account_id, day, channel, country) DO UPDATE SET \
                messages = u.messages + excluded.messages, \
                segments = u.segments + excluded.segments, \
                charged_micros = u.charged_micros + excluded.charged_micros, \
                updated_at = excluded.updated_at RETURNING 1), \
            totals AS (UPDATE account SET total_spent_micros = c.after, \
                test_message_count = c.count_after, test_message_bytes = c.bytes_after, \
                updated_at = CASE WHEN account.total_spent_micros = c.after \
                  THEN account.updated_at ELSE $18 END \
              FROM unnest($27::uuid[], $28::bigint[], $29::bigint[], $42::bigint[], \
                $43::bigint[], $44::bigint[], $45::bigint[]) \
                AS c(id, before, after, count_before, count_after, bytes_before, bytes_after) \
              WHERE account.id = c.id AND account.total_spent_micros = c.before \
                AND account.test_message_count = c.count_before \
                AND account.test_message_bytes = c.bytes_before RETURNING 1), \
            balances AS (UPDATE team SET balance_micros = c.after, updated_at = $18 \
              FROM unnest($30::uuid[], $31::bigint[], $32::bigint[]) AS c(id, before, after) \
              WHERE team.id = c.id AND team.balance_micros = c.before RETURNING 1) \
            SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM entries) \
                + (SELECT count(*) FROM days) + (SELECT count(*) FROM totals) \
                + (SELECT count(*) FROM balances) AS written",
    // The team first, as everywhere, unless somebody holds it: then the ordinary route waits. Key and
    // account are locked too, because a statement that waits for a lock looks again at the locked row
    // alone (PostgreSQL manual, 13.2.1).
    accept_one: "WITH payer AS (SELECT id, balance_micros FROM team WHERE id = $2 \
              FOR UPDATE SKIP LOCKED), \
            used AS (SELECT k.id FROM payer JOIN api_key k ON k.team_id = payer.id \
              WHERE k.id = $4 AND k.revoked_at IS NULL \
                AND (k.expires_at IS NULL OR k.expires_at > $16) \
                AND (k.grace_ends_at IS NULL OR k.grace_ends_at > $16) FOR SHARE OF k), \
            spender AS (UPDATE account SET \
                updated_at = CASE WHEN is_sub_account THEN $16 ELSE updated_at END, \
                total_spent_micros = \
                  total_spent_micros + CASE WHEN is_sub_account THEN $12 ELSE 0 END \
              FROM payer, used WHERE account.id = $3 AND account.status = 'ACTIVE' \
                AND payer.balance_micros >= $12 \
                AND account.total_spent_micros <= 1000000000000000 - $12 \
                AND (account.credit_limit_micros IS NULL \
                  OR account.total_spent_micros < account.credit_limit_micros) \
                AND NOT EXISTS (SELECT 1 FROM opt_out o WHERE o.account_id = $3 \
                  AND o.channel = $5 AND o.address = $21) \
              RETURNING account.id), \
            paid AS (UPDATE team SET balance_micros = team.balance_micros - $12, \
                updated_at = $16 \
              FROM spender WHERE team.id = $2 AND team.balance_micros >= $12 \
              RETURNING team.balance_micros), \
            stored AS (INSERT INTO message (id, team_id, account_id, api_key_id, environment, \
                channel, status, recipient, country, subject, text, segments, cost_micros, \
                idempotency_key, input_hash, metadata, due_at, html, sender_id, sent_from, \
                created_at, updated_at) \
              SELECT $1, $2, $3, $4, 'LIVE', $5, 'QUEUED', $6, $7, $8, $9, $10, $12, $13, $14, \
                $15, $16, $18, $19, $20, $16, $16 FROM paid), \
            entered AS (INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, \
                amount_micros, balance_after_micros, created_at) \
              SELECT $11, $2, $3, $1, 'CHARGE', -$12, paid.balance_micros, $16 FROM paid), \
            counted AS (INSERT INTO usage_day AS u (account_id, team_id, day, channel, country, \
                messages, segments, delivered, failed, charged_micros, refunded_micros, \
                updated_at) \
              SELECT $3, $2, $17, $5, COALESCE($7, ''), 1, $10, 0, 0, $12, 0, $16 FROM paid \
              ON CONFLICT (account_id, day, channel, country) DO UPDATE SET \
                messages = u.messages + 1, segments = u.segments + excluded.segments, \
                charged_micros = u.charged_micros + excluded.charged_micros, \
                updated_at = excluded.updated_at) \
            SELECT 1 FROM paid",
    mark_refunded: "UPDATE message SET refunded_at = CASE WHEN cost_micros > 0 THEN $2::timestamptz END \
                    WHERE id = ANY($1) AND refunded_at IS NULL \
                    RETURNING id, team_id, account_id, environment, channel, country, cost_micros",
};

/// A writer's connection; made when it is first needed, and again after it broke.
pub struct Store {
    options: PgConnectOptions,
    /// How long a batch may take before its connection is given up.
    deadline: Duration,
    connection: Option<PgConnection>,
    statements: Statements,
}

impl Store {
    pub fn new(options: PgConnectOptions, deadline: Duration, statements: Statements) -> Self {
        Self { options, deadline, connection: None, statements }
    }

    /// Locks, reads, decides, writes and commits. A connection that was in the middle of something
    /// when it failed is not used again.
    pub async fn commit(
        &mut self,
        sendings: &[&Sending],
        decide: Decide<'_>,
    ) -> Result<BatchOutcome, Interrupted> {
        let deadline = self.deadline;
        let mut connection = self.connect().await?;
        let written = async {
            let mut txn = connection.begin_with(self.lock_of(sendings)).await?;
            let ground = self.read(&mut txn, sendings).await?;
            let judged = decide(ground);
            if !judged.charges.is_empty() {
                let written = write(self.statements.write, &judged).fetch_one(&mut *txn).await?;
                let written: i64 = written.try_get("written")?;
                check_guards(u64::try_from(written).unwrap_or(0), &judged)?;
            }
            Ok::<_, Fault>((txn, judged))
        };
        let (txn, judged) = within(deadline, written).await?;
        if judged.charges.is_empty() {
            within(deadline, async { Ok(txn.rollback().await?) }).await?;
            self.connection = Some(connection);
            return Ok(judged);
        }
        match within(deadline, async { Ok(txn.commit().await?) }).await {
            Ok(()) => {
                self.connection = Some(connection);
                Ok(judged)
            }
            Err(fault) if fault.is_lost_connection() => {
                Err(Interrupted::InDoubt(Box::new(judged), fault))
            }
            Err(fault) => Err(Interrupted::Before(fault)),
        }
    }

    /// One message by one statement, which commits itself.
    pub async fn accept_one(
        &mut self,
        judged: BatchOutcome,
        entry_id: Uuid,
    ) -> Result<Option<BatchOutcome>, Interrupted> {
        let Some((row, _)) = judged.accepted().next() else { return Ok(None) };
        let deadline = self.deadline;
        let mut connection = self.connect().await?;
        let accepted = sqlx::query(self.statements.accept_one)
            .bind(row.id)
            .bind(row.team_id)
            .bind(row.account_id)
            .bind(row.api_key_id)
            .bind(row.channel.to_value())
            .bind(&row.recipient)
            .bind(&row.country)
            .bind(&row.subject)
            .bind(&row.text)
            .bind(row.segments)
            .bind(entry_id)
            .bind(row.cost_micros)
            .bind(&row.idempotency_key)
            .bind(&row.input_hash)
            .bind(&row.metadata)
            .bind(row.created_at)
            .bind(row.created_at.date_naive())
            .bind(&row.html)
            .bind(row.sender_id)
            .bind(&row.sent_from)
            .bind(identity(row.channel, &row.recipient))
            .fetch_optional(&mut connection);
        match within(deadline, async { Ok(accepted.await?) }).await {
            Ok(accepted) => {
                self.connection = Some(connection);
                Ok(accepted.is_some().then_some(judged))
            }
            // The session was ended with the statement undone.
            Err(fault) if fault.is_shutdown() => Err(Interrupted::Before(fault)),
            Err(fault) if fault.is_lost_connection() => {
                Err(Interrupted::InDoubt(Box::new(judged), fault))
            }
            Err(fault) => {
                self.connection = Some(connection);
                Err(Interrupted::Before(fault))
            }
        }
    }

    /// Waits with the teams' locks until the transaction in doubt has ended, then looks for one of its
    /// messages.
    pub async fn was_committed(&mut self, judged: &BatchOutcome) -> Result<bool, Fault> {
        let Some((row, _)) = judged.accepted().next() else { return Ok(false) };
        let teams = judged.accepted().map(|(row, _)| row.team_id);
        let lock = lock_text(self.statements.lock_teams, teams);
        let deadline = self.deadline;
        let mut connection = self.connect().await?;
        let found = async {
            let mut txn = connection.begin_with(lock).await?;
            let found = sqlx::query("SELECT 1 FROM message WHERE id = $1")
                .bind(row.id)
                .fetch_optional(&mut *txn)
                .await?;
            txn.rollback().await?;
            Ok(found.is_some())
        };
        let found = within(deadline, found).await?;
        self.connection = Some(connection);
        Ok(found)
    }

    async fn connect(&mut self) -> Result<PgConnection, Fault> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => match tokio::time::timeout(CONNECT_DEADLINE, self.options.connect()).await {
                Ok(connected) => Ok(connected?),
                Err(_) => Err(Unavailable::Silent.into()),
            },
        }
    }

    fn lock_of(&self, sendings: &[&Sending]) -> AssertSqlSafe<String> {
        lock_text(self.statements.lock_teams, sendings.iter().map(|sending| sending.caller.team_id))
    }

    async fn read(
        &self,
        txn: &mut PgConnection,
        sendings: &[&Sending],
    ) -> Result<BatchState, Fault> {
        let mut keys: Vec<Uuid> = sendings.iter().map(|sending| sending.caller.key_id).collect();
        keys.sort_unstable();
        keys.dedup();
        let keys = sqlx::query(self.statements.read_keys).bind(keys).fetch_all(&mut *txn).await?;

        let mut held: (Vec<Uuid>, Vec<String>, Vec<&str>) = Default::default();
        for sending in sendings {
            if let Some(key) = &sending.message.idempotency_key {
                held.0.push(sending.caller.account_id);
                held.1.push(sending.caller.environment.to_value());
                held.2.push(key);
            }
        }
        let earlier = if held.0.is_empty() {
            Vec::new()
        } else {
            let select = sqlx::query(self.statements.read_earlier);
            select.bind(held.0).bind(held.1).bind(held.2).fetch_all(&mut *txn).await?
        };
        let keys = rows::<KeyRow>(keys)?;
        let opted_out = if keys.iter().any(|key| key.has_opt_outs) {
            let drafts: Vec<_> = drafts(sendings).collect();
            let select = sqlx::query(self.statements.read_opted_out)
                .bind(column(&drafts, |(account_id, _)| *account_id))
                .bind(column(&drafts, |(_, draft)| draft.recipient.channel.to_value()))
                .bind(column(&drafts, |(_, draft)| draft.recipient.identity().into_owned()));
            rows::<OptedOut>(select.fetch_all(&mut *txn).await?)?.into_iter().collect()
        } else {
            HashSet::new()
        };
        let contacts: Vec<Uuid> =
            drafts(sendings).filter_map(|(_, draft)| draft.contact_id).collect();
        let contacts = if contacts.is_empty() {
            HashSet::new()
        } else {
            let select = sqlx::query(self.statements.read_contacts).bind(contacts);
            let rows = select.fetch_all(&mut *txn).await?;
            rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?
        };
        Ok(BatchState { keys, earlier: rows::<Earlier>(earlier)?, opted_out, contacts })
    }
}

fn rows<T: FromQueryResult>(rows: Vec<PgRow>) -> Result<Vec<T>, Fault> {
    let rows = rows.into_iter().map(|row| T::from_query_result(&QueryResult::from(row), ""));
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The ids stand in the text, which holds nothing but their digits: a simple query takes BEGIN and
/// lock together.
fn lock_text(lock_teams: &str, teams: impl Iterator<Item = Uuid>) -> AssertSqlSafe<String> {
    let mut teams: Vec<Uuid> = teams.collect();
    teams.sort_unstable();
    teams.dedup();
    let ids: Vec<String> = teams.iter().map(Uuid::to_string).collect();
    let ids = format!("{{{}}}", ids.join(","));
    AssertSqlSafe(format!("BEGIN; {}", lock_teams.replace("{ids}", &ids)))
}

fn write<'q>(
    text: &'static str,
    judged: &'q BatchOutcome,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    let sent: Vec<(&message::Model, Option<ChargeEntry>)> = judged.accepted().collect();
    // All rows of a batch share their moment.
    let now = sent.first().map(|(row, _)| row.created_at).unwrap_or_default();
    let query = sqlx::query(text)
        .bind(column(&sent, |(row, _)| row.id))
        .bind(column(&sent, |(row, _)| row.team_id))
        .bind(column(&sent, |(row, _)| row.account_id))
        .bind(column(&sent, |(row, _)| row.api_key_id))
        .bind(column(&sent, |(row, _)| row.environment.to_value()))
        .bind(column(&sent, |(row, _)| row.channel.to_value()))
        .bind(column(&sent, |(row, _)| row.recipient.as_str()))
        .bind(column(&sent, |(row, _)| row.country.as_deref()))
        .bind(column(&sent, |(row, _)| row.subject.as_deref()))
        .bind(column(&sent, |(row, _)| row.text.as_str()))
        .bind(column(&sent, |(row, _)| row.segments))
        .bind(column(&sent, |(row, _)| row.cost_micros))
        .bind(column(&sent, |(row, _)| row.idempotency_key.as_deref()))
        .bind(column(&sent, |(row, _)| row.input_hash.as_slice()))
        .bind(column(&sent, |(row, _)| row.metadata.as_deref()))
        .bind(column(&sent, |(_, entry)| entry.map(|entry| entry.id)))
        .bind(column(&sent, |(_, entry)| entry.map(|entry| entry.balance_after.get())))
        .bind(now)
        .bind(now.date_naive());
    let days: Vec<_> = judged.usage.iter().collect();
    let query = query
        .bind(column(&days, |(slot, _)| slot.account_id))
        .bind(column(&days, |(slot, _)| slot.team_id))
        .bind(column(&days, |(slot, _)| slot.channel_text()))
        .bind(column(&days, |(slot, _)| slot.country.as_str()))
        .bind(column(&days, |(_, figures)| figures.messages))
        .bind(column(&days, |(_, figures)| figures.segments))
        .bind(column(&days, |(_, figures)| figures.charged_micros));
    let totals: Vec<_> = judged.totals.iter().collect();
    let balances: Vec<_> = judged.balances.iter().collect();
    query
        .bind(column(&totals, |(id, _)| **id))
        .bind(column(&totals, |(_, change)| change.before.spent.get()))
        .bind(column(&totals, |(_, change)| change.after.spent.get()))
        .bind(column(&balances, |(id, _)| **id))
        .bind(column(&balances, |(_, change)| change.before.get()))
        .bind(column(&balances, |(_, change)| change.after.get()))
        .bind(column(&sent, |(row, _)| row.status.to_value()))
        .bind(column(&sent, |(row, _)| row.due_at))
        .bind(column(&sent, |(row, _)| row.send_at))
        .bind(column(&sent, |(row, _)| row.valid_until))
        .bind(column(&sent, |(row, _)| row.html.as_deref()))
        .bind(column(&sent, |(row, _)| row.contact_id))
        .bind(column(&sent, |(row, _)| row.sender_id))
        .bind(column(&sent, |(row, _)| row.sent_from.as_deref()))
        .bind(column(&sent, |(row, _)| row.word_bytes))
        .bind(column(&totals, |(_, change)| change.before.test_stored.messages))
        .bind(column(&totals, |(_, change)| change.after.test_stored.messages))
        .bind(column(&totals, |(_, change)| change.before.test_stored.bytes))
        .bind(column(&totals, |(_, change)| change.after.test_stored.bytes))
}

fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Runs a step on the writer's own connection, which is given up with it when it takes too long.
async fn within<T>(
    deadline: Duration,
    step: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(deadline, step).await {
        Ok(result) => result,
        Err(_) => Err(Unavailable::Silent.into()),
    }
}
