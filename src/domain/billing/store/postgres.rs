//! The store for `PostgreSQL`. Each writer has its own connection, so a dropped request cannot leave the connection
//! inside a transaction. BEGIN and the statement that locks the teams are sent in one round trip.

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
        batch::{BatchOutcome, BatchState, ChargeEntry, EarlierMessage, KeyRow, OptedOut},
        queue::SendRequest,
    },
    channel::recipient::identity,
};

mod statements;

pub use statements::POSTGRES;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A writer's connection. It is opened when it is needed, and opened again after a failure.
pub struct Store {
    options: PgConnectOptions,
    /// Timeout of a batch. When the timeout is exceeded, the connection is closed.
    deadline: Duration,
    connection: Option<PgConnection>,
    statements: Statements,
}

impl Store {
    pub fn new(options: PgConnectOptions, deadline: Duration, statements: Statements) -> Self {
        Self { options, deadline, connection: None, statements }
    }

    /// Commits a batch. After a failure the connection is not used again.
    pub async fn commit(
        &mut self,
        requests: &[&SendRequest],
        decide: Decide<'_>,
    ) -> Result<BatchOutcome, Interrupted> {
        let deadline = self.deadline;
        let mut connection = self.connect().await?;
        let written = async {
            let mut txn = connection.begin_with(self.lock_of(requests)).await?;
            let state = self.read(&mut txn, requests).await?;
            let outcome = decide(state);
            if !outcome.charges.is_empty() {
                let written = write(self.statements.write, &outcome).fetch_one(&mut *txn).await?;
                let written: i64 = written.try_get("written")?;
                check_guards(u64::try_from(written).unwrap_or(0), &outcome)?;
            }
            Ok::<_, Fault>((txn, outcome))
        };
        let (txn, outcome) = within(deadline, written).await?;
        if outcome.charges.is_empty() {
            within(deadline, async { Ok(txn.rollback().await?) }).await?;
            self.connection = Some(connection);
            return Ok(outcome);
        }
        match within(deadline, async { Ok(txn.commit().await?) }).await {
            Ok(()) => {
                self.connection = Some(connection);
                Ok(outcome)
            }
            Err(fault) if fault.is_lost_connection() => {
                Err(Interrupted::InDoubt(Box::new(outcome), fault))
            }
            Err(fault) => Err(Interrupted::Before(fault)),
        }
    }

    /// Accepts one message with a single statement, without a transaction.
    pub async fn accept_one(
        &mut self,
        outcome: BatchOutcome,
        entry_id: Uuid,
    ) -> Result<Option<BatchOutcome>, Interrupted> {
        let Some((row, _)) = outcome.accepted().next() else { return Ok(None) };
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
                Ok(accepted.is_some().then_some(outcome))
            }
            // The session was terminated, and the statement was rolled back.
            Err(fault) if fault.is_shutdown() => Err(Interrupted::Before(fault)),
            Err(fault) if fault.is_lost_connection() => {
                Err(Interrupted::InDoubt(Box::new(outcome), fault))
            }
            Err(fault) => {
                self.connection = Some(connection);
                Err(Interrupted::Before(fault))
            }
        }
    }

    /// Returns whether the batch was committed. First takes the teams' locks, which the transaction of the batch has
    /// until it ends. Then checks whether one of the batch's messages is stored.
    pub async fn was_committed(&mut self, outcome: &BatchOutcome) -> Result<bool, Fault> {
        let Some((row, _)) = outcome.accepted().next() else { return Ok(false) };
        let teams = outcome.accepted().map(|(row, _)| row.team_id);
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
            None => match tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect()).await {
                Ok(connected) => Ok(connected?),
                Err(_) => Err(Unavailable::Silent.into()),
            },
        }
    }

    fn lock_of(&self, requests: &[&SendRequest]) -> AssertSqlSafe<String> {
        lock_text(self.statements.lock_teams, requests.iter().map(|request| request.caller.team_id))
    }

    async fn read(
        &self,
        txn: &mut PgConnection,
        requests: &[&SendRequest],
    ) -> Result<BatchState, Fault> {
        let mut keys: Vec<Uuid> = requests.iter().map(|request| request.caller.key_id).collect();
        keys.sort_unstable();
        keys.dedup();
        let keys = sqlx::query(self.statements.read_keys).bind(keys).fetch_all(&mut *txn).await?;

        let mut idempotency_keys: (Vec<Uuid>, Vec<String>, Vec<&str>) = Default::default();
        for request in requests {
            if let Some(key) = &request.message.idempotency_key {
                idempotency_keys.0.push(request.caller.account_id);
                idempotency_keys.1.push(request.caller.environment.to_value());
                idempotency_keys.2.push(key);
            }
        }
        let earlier = if idempotency_keys.0.is_empty() {
            Vec::new()
        } else {
            let select = sqlx::query(self.statements.read_earlier);
            select
                .bind(idempotency_keys.0)
                .bind(idempotency_keys.1)
                .bind(idempotency_keys.2)
                .fetch_all(&mut *txn)
                .await?
        };
        let keys = rows::<KeyRow>(keys)?;
        let opted_out = if keys.iter().any(|key| key.has_opt_outs) {
            let drafts: Vec<_> = drafts(requests).collect();
            let select = sqlx::query(self.statements.read_opted_out)
                .bind(column(&drafts, |(account_id, _)| *account_id))
                .bind(column(&drafts, |(_, draft)| draft.recipient.channel.to_value()))
                .bind(column(&drafts, |(_, draft)| draft.recipient.identity().into_owned()));
            rows::<OptedOut>(select.fetch_all(&mut *txn).await?)?.into_iter().collect()
        } else {
            HashSet::new()
        };
        let contacts: Vec<Uuid> =
            drafts(requests).filter_map(|(_, draft)| draft.contact_id).collect();
        let contacts = if contacts.is_empty() {
            HashSet::new()
        } else {
            let select = sqlx::query(self.statements.read_contacts).bind(contacts);
            let rows = select.fetch_all(&mut *txn).await?;
            rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?
        };
        Ok(BatchState { keys, earlier: rows::<EarlierMessage>(earlier)?, opted_out, contacts })
    }
}

fn rows<T: FromQueryResult>(rows: Vec<PgRow>) -> Result<Vec<T>, Fault> {
    let rows = rows.into_iter().map(|row| T::from_query_result(&QueryResult::from(row), ""));
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns BEGIN and the lock statement in one query string. A simple query can contain several statements but no
/// parameters, so the ids are part of the string. This is safe because they are UUIDs.
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
    outcome: &'q BatchOutcome,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    let sent: Vec<(&message::Model, Option<ChargeEntry>)> = outcome.accepted().collect();
    // All rows of a batch have the same time.
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
    let days: Vec<_> = outcome.usage.iter().collect();
    let query = query
        .bind(column(&days, |(slot, _)| slot.account_id))
        .bind(column(&days, |(slot, _)| slot.team_id))
        .bind(column(&days, |(slot, _)| slot.channel_text()))
        .bind(column(&days, |(slot, _)| slot.country.as_str()))
        .bind(column(&days, |(_, figures)| figures.messages))
        .bind(column(&days, |(_, figures)| figures.segments))
        .bind(column(&days, |(_, figures)| figures.charged_micros));
    let totals: Vec<_> = outcome.totals.iter().collect();
    let balances: Vec<_> = outcome.balances.iter().collect();
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

/// Runs a step on the writer's connection with a timeout. When the timeout is exceeded, the connection is closed.
async fn within<T>(
    deadline: Duration,
    step: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(deadline, step).await {
        Ok(result) => result,
        Err(_) => Err(Unavailable::Silent.into()),
    }
}
