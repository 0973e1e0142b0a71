//! The store for `SQLite`. All writers share one connection. Its pool serves waiting writers in order of arrival. The
//! rows of a table are passed as one JSON parameter and read as JSONB, so that cells are found without parsing. A batch
//! is written with a single message to the thread of the connection. Parameters are named `$1`, not `?1`, because the
//! driver counts parameters wrongly if the numbers after `?` have gaps.

use std::collections::HashSet;

use chrono::{DateTime, SecondsFormat, Utc};
use entity::message;
use sea_orm::{
    ActiveEnum, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, EntityTrait,
    FromQueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use serde_json::json;
use uuid::Uuid;

use super::statements::{Decide, Interrupted, Statements, check_guards, drafts};
use crate::domain::{
    Fault,
    billing::{
        Draft,
        batch::{BatchOutcome, BatchState, Change, EarlierMessage, KeyRow, OptedOut},
        queue::SendRequest,
    },
};

pub const SQLITE: Statements = Statements {
    lock_teams: "",
    read_keys: "SELECT k.id AS key_id, k.revoked_at, k.expires_at, k.grace_ends_at, \
                       a.id AS account_id, a.is_sub_account, a.status, a.credit_limit_micros, \
                       a.total_spent_micros, a.test_message_count, a.test_message_bytes, \
                       EXISTS (SELECT 1 FROM opt_out o WHERE o.account_id = a.id) AS has_opt_outs, \
                       t.id AS team_id, t.balance_micros \
                FROM json_each($1) AS j JOIN api_key k ON k.id = unhex(j.value) \
                JOIN account a ON a.id = k.account_id JOIN team t ON t.id = k.team_id",
    read_earlier: "SELECT m.id, m.account_id, m.environment, m.idempotency_key, m.input_hash \
                   FROM json_each($1) AS j JOIN message m \
                   ON m.account_id = unhex(j.value ->> 0) AND m.environment = j.value ->> 1 \
                   AND m.idempotency_key = j.value ->> 2",
    read_opted_out: "SELECT o.account_id, o.channel, o.address \
                     FROM json_each($1) AS j JOIN opt_out o \
                     ON o.account_id = unhex(j.value ->> 0) AND o.channel = j.value ->> 1 \
                     AND o.address = j.value ->> 2",
    read_contacts: "SELECT c.id FROM json_each($1) AS j JOIN contact c ON c.id = unhex(j.value) \
                    AND c.busy_with IS NOT c.id",
    write: "INSERT INTO message (id, team_id, account_id, api_key_id, environment, channel, status, \
                recipient, country, subject, text, segments, cost_micros, idempotency_key, \
                input_hash, metadata, due_at, send_at, valid_until, html, contact_id, sender_id, \
                sent_from, word_bytes, created_at, updated_at) \
              SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), \
                unhex(value ->> 3), value ->> 4, value ->> 5, value ->> 17, value ->> 6, value ->> 7, \
                value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, \
                unhex(value ->> 13), value ->> 14, value ->> 18, value ->> 19, value ->> 20, \
                value ->> 21, unhex(value ->> 22), unhex(value ->> 23), value ->> 24, \
                value ->> 25, $5, $5 \
              FROM jsonb_each($1); \
            INSERT INTO ledger_entry (id, team_id, account_id, message_id, kind, amount_micros, \
                balance_after_micros, created_at) \
              SELECT unhex(value ->> 15), unhex(value ->> 1), unhex(value ->> 2), \
                unhex(value ->> 0), 'CHARGE', -(value ->> 11), value ->> 16, $5 \
              FROM jsonb_each($1) WHERE value ->> 15 IS NOT NULL; \
            INSERT INTO usage_day (account_id, team_id, day, channel, country, messages, segments, \
                delivered, failed, charged_micros, refunded_micros, updated_at) \
              SELECT unhex(value ->> 0), unhex(value ->> 1), $6, value ->> 2, value ->> 3, \
                value ->> 4, value ->> 5, 0, 0, value ->> 6, 0, $5 FROM jsonb_each($2) WHERE true \
              ON CONFLICT (account_id, day, channel, country) DO UPDATE SET \
                messages = messages + excluded.messages, \
                segments = segments + excluded.segments, \
                charged_micros = charged_micros + excluded.charged_micros, \
                updated_at = excluded.updated_at; \
            UPDATE account SET total_spent_micros = c.value ->> 2, \
                test_message_count = c.value ->> 4, test_message_bytes = c.value ->> 6, \
                updated_at = CASE WHEN account.total_spent_micros = c.value ->> 2 \
                  THEN account.updated_at ELSE $5 END \
              FROM jsonb_each($3) AS c WHERE account.id = unhex(c.value ->> 0) \
                AND account.total_spent_micros = c.value ->> 1 \
                AND account.test_message_count = c.value ->> 3 \
                AND account.test_message_bytes = c.value ->> 5; \
            UPDATE team SET balance_micros = c.value ->> 2, updated_at = $5 \
              FROM jsonb_each($4) AS c WHERE team.id = unhex(c.value ->> 0) \
                AND team.balance_micros = c.value ->> 1",
    accept_one: "",
    mark_refunded: "UPDATE message SET refunded_at = CASE WHEN cost_micros > 0 THEN $2 END \
                    WHERE id IN (SELECT unhex(value) FROM json_each($1)) \
                    AND refunded_at IS NULL \
                    RETURNING id, team_id, account_id, environment, channel, country, cost_micros",
};

pub struct Store {
    db: DatabaseConnection,
    statements: Statements,
}

impl Store {
    pub fn new(db: DatabaseConnection, statements: Statements) -> Self {
        Self { db, statements }
    }

    /// Commits a batch.
    pub async fn commit(
        &mut self,
        requests: &[&SendRequest],
        decide: Decide<'_>,
    ) -> Result<BatchOutcome, Interrupted> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let txn = self.db.begin_with_options(options).await?;
        let outcome = decide(self.read(&txn, requests).await?);
        if outcome.charges.is_empty() {
            txn.rollback().await?;
            return Ok(outcome);
        }
        let written = txn.execute_raw(write(self.statements.write, &outcome)).await?;
        check_guards(written.rows_affected(), &outcome)?;
        match txn.commit().await {
            Ok(()) => Ok(outcome),
            Err(error) => Err(Interrupted::InDoubt(Box::new(outcome), error.into())),
        }
    }

    /// Returns whether the batch was committed. Only this process writes the file, so the batch's transaction has ended
    /// before this read.
    pub async fn was_committed(&mut self, outcome: &BatchOutcome) -> Result<bool, Fault> {
        let Some((row, _)) = outcome.accepted().next() else { return Ok(false) };
        Ok(message::Entity::find_by_id(row.id).one(&self.db).await?.is_some())
    }

    async fn read(
        &self,
        txn: &DatabaseTransaction,
        requests: &[&SendRequest],
    ) -> Result<BatchState, Fault> {
        let mut keys: Vec<String> =
            requests.iter().map(|request| hex(request.caller.key_id)).collect();
        keys.sort_unstable();
        keys.dedup();
        let keys = statement(self.statements.read_keys, [json!(keys).to_string().into()]);
        let keys = KeyRow::find_by_statement(keys).all(txn).await?;

        let idempotency_keys: Vec<_> = requests
            .iter()
            .filter_map(|SendRequest { caller, message }| {
                let key = message.idempotency_key.as_ref()?;
                Some(json!([hex(caller.account_id), caller.environment.to_value(), key]))
            })
            .collect();
        let earlier = if idempotency_keys.is_empty() {
            Vec::new()
        } else {
            let select = statement(
                self.statements.read_earlier,
                [json!(idempotency_keys).to_string().into()],
            );
            EarlierMessage::find_by_statement(select).all(txn).await?
        };
        let opted_out = if keys.iter().any(|key| key.has_opt_outs) {
            let recipients = drafts(requests).map(|(account_id, Draft { recipient, .. })| {
                json!([hex(account_id), recipient.channel.to_value(), recipient.identity()])
            });
            let recipients: serde_json::Value = recipients.collect();
            let select = statement(self.statements.read_opted_out, [recipients.to_string().into()]);
            OptedOut::find_by_statement(select).all(txn).await?.into_iter().collect()
        } else {
            HashSet::new()
        };
        let contacts: Vec<String> =
            drafts(requests).filter_map(|(_, draft)| draft.contact_id.map(hex)).collect();
        let contacts = if contacts.is_empty() {
            HashSet::new()
        } else {
            let select =
                statement(self.statements.read_contacts, [json!(contacts).to_string().into()]);
            let rows = txn.query_all_raw(select).await?;
            rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?
        };
        Ok(BatchState { keys, earlier, opted_out, contacts })
    }
}

fn statement(text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, text, values)
}

fn write(text: &str, outcome: &BatchOutcome) -> Statement {
    let now = outcome.accepted().next().map(|(row, _)| row.created_at).unwrap_or_default();
    let sent = outcome.accepted().map(|(row, entry)| {
        json!([
            hex(row.id),
            hex(row.team_id),
            hex(row.account_id),
            hex(row.api_key_id),
            row.environment.to_value(),
            row.channel.to_value(),
            row.recipient,
            row.country,
            row.subject,
            row.text,
            row.segments,
            row.cost_micros,
            row.idempotency_key,
            hex::encode(&row.input_hash),
            row.metadata,
            entry.map(|entry| hex(entry.id)),
            entry.map(|entry| entry.balance_after.get()),
            row.status.to_value(),
            row.due_at.map(timestamp),
            row.send_at.map(timestamp),
            row.valid_until.map(timestamp),
            row.html,
            row.contact_id.map(hex),
            row.sender_id.map(hex),
            row.sent_from,
            row.word_bytes,
        ])
    });
    let sent: serde_json::Value = sent.collect();
    let days = outcome.usage.iter().map(|(slot, figures)| {
        json!([
            hex(slot.account_id),
            hex(slot.team_id),
            slot.channel_text(),
            slot.country,
            figures.messages,
            figures.segments,
            figures.charged_micros,
        ])
    });
    let days: serde_json::Value = days.collect();
    let totals = outcome.totals.iter().map(|(id, Change { before, after })| {
        json!([
            hex(*id),
            before.spent.get(),
            after.spent.get(),
            before.test_stored.messages,
            after.test_stored.messages,
            before.test_stored.bytes,
            after.test_stored.bytes,
        ])
    });
    let totals: serde_json::Value = totals.collect();
    let balances = outcome.balances.iter();
    let balances =
        balances.map(|(id, Change { before, after })| json!([hex(*id), before.get(), after.get()]));
    let balances: serde_json::Value = balances.collect();
    let values: [Value; 6] = [
        sent.to_string().into(),
        days.to_string().into(),
        totals.to_string().into(),
        balances.to_string().into(),
        now.into(),
        now.date_naive().into(),
    ];
    statement(text, values)
}

/// Formats a time like the driver, so that times can be compared as text.
fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
