//! Writes the outcomes of claimed messages: status, refund, usage, and when the next report is requested. An outcome is
//! written only while the worker's lease is valid, so a message is settled only once.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use entity::message::{self, MessageStatus};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait,
    QueryFilter, QueryTrait, sea_query::Expr,
};
use uuid::Uuid;

use super::{Claimed, Outcome};
use crate::{
    app::App,
    db::has_id,
    domain::{
        Fault,
        billing::{self, usage, usage_counters},
        events::Change,
    },
};

/// Delay between submitting a message and first requesting its report.
const REPORT_AFTER: TimeDelta = TimeDelta::milliseconds(500);
/// Maximum delay between two requests for a report. Up to this maximum, the delay is half of the time since the message
/// was submitted.
const REPORT_DELAY_MAX: TimeDelta = TimeDelta::hours(1);
/// Time after which a message without a report becomes UNKNOWN.
const REPORT_UNTIL: TimeDelta = TimeDelta::hours(72);

/// Writes outcomes in one transaction, under the locks of the teams whose money or usage changes. A message whose lease
/// was taken over by another worker is skipped. If the transaction fails, the messages of each team are settled
/// separately. If this fails for a team, the leases of its messages expire and the messages are claimed again.
pub async fn settle(app: &App, settled: Vec<(Claimed, Outcome)>) -> Result<(), Fault> {
    let now = app.clock.now();
    let settled: Vec<(message::Model, Outcome)> = settled
        .into_iter()
        .map(|(claimed, outcome)| {
            let outcome = unknown_if_too_old(&claimed.message, outcome, now);
            (claimed.message, outcome)
        })
        .collect();
    let Err(fault) = settle_together(app, &settled).await else { return Ok(()) };
    let mut by_team: BTreeMap<Uuid, Vec<(message::Model, Outcome)>> = BTreeMap::new();
    for (message, outcome) in settled {
        by_team.entry(message.team_id).or_default().push((message, outcome));
    }
    if by_team.len() < 2 {
        return Err(fault);
    }
    let mut first_fault = Ok(());
    for settled in by_team.into_values() {
        let result = settle_together(app, &settled).await;
        first_fault = first_fault.and(result);
    }
    first_fault
}

/// Changes the outcome of a message that has waited too long for its report to UNKNOWN.
fn unknown_if_too_old(message: &message::Model, outcome: Outcome, now: DateTime<Utc>) -> Outcome {
    if outcome == Outcome::Pending && now - message.updated_at > REPORT_UNTIL {
        let text = "The carrier did not report the delivery within 72 hours.".to_owned();
        return Outcome::Unknown { code: "NO_REPORT".to_owned(), text };
    }
    outcome
}

async fn settle_together(app: &App, settled: &[(message::Model, Outcome)]) -> Result<(), Fault> {
    let now = app.clock.now();
    let txn = app.db.begin_write().await?;
    let counts = |outcome: &Outcome| {
        matches!(
            outcome,
            Outcome::Delivered
                | Outcome::Undelivered { .. }
                | Outcome::Failed { .. }
                | Outcome::Expired
        )
    };
    let teams = settled.iter().filter(|(_, outcome)| counts(outcome)).map(|(row, _)| row.team_id);
    let teams = crate::domain::account::team_lock::lock_teams(&txn, teams).await?;

    // Messages with the same outcome and lease are written by one statement.
    let mut updates: HashMap<UpdateKey, Vec<&message::Model>> = HashMap::new();
    for (message, outcome) in settled {
        let due_at = due_after(message, outcome, now);
        updates.entry((message.lease_id, outcome, due_at)).or_default().push(message);
    }
    let mut refunded = Vec::new();
    let mut counted: BTreeMap<usage_counters::Slot, usage::Figures> = BTreeMap::new();
    for ((lease_id, outcome, due_at), messages) in updates {
        let written = write(app, &txn, lease_id, outcome, due_at, &messages).await?;
        for message in messages {
            if !written.contains(&message.id) {
                tracing::warn!(message.id = %message.id, "A message was already settled by another worker");
                continue;
            }
            let slot = usage_counters::Slot::of(message, now);
            match (outcome, slot) {
                (Outcome::Failed { .. } | Outcome::Expired, _) => refunded.push(message.id),
                (Outcome::Delivered, Some(slot)) => counted.entry(slot).or_default().delivered += 1,
                (Outcome::Undelivered { .. }, Some(slot)) => {
                    counted.entry(slot).or_default().failed += 1;
                }
                _ => {}
            }
        }
    }
    if !refunded.is_empty() {
        billing::refund(app, &txn, &teams, refunded).await?;
    }
    usage_counters::add(app, &txn, counted).await?;
    txn.commit().await?;
    app.events.publish(settled.iter().map(|(message, _)| Change::of_message(message)));
    Ok(())
}

/// The values that messages must have in common to be written by one statement: the lease, the outcome, and when they
/// are due next.
type UpdateKey<'o> = (Option<Uuid>, &'o Outcome, Option<DateTime<Utc>>);

/// Returns when the message is due next after this outcome.
fn due_after(
    message: &message::Model,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match outcome {
        Outcome::Sent => Some(now + REPORT_AFTER),
        Outcome::Pending => {
            // The delay is rounded, so that messages of similar age are written by one statement.
            let delay = (now - message.updated_at) / 2;
            let steps = delay.num_milliseconds() / REPORT_AFTER.num_milliseconds();
            let delay = REPORT_AFTER * i32::try_from(steps).unwrap_or(i32::MAX);
            Some(now + delay.clamp(REPORT_AFTER, REPORT_DELAY_MAX))
        }
        _ => None,
    }
}

/// Writes one outcome for those messages that still have this lease, and returns their ids.
async fn write(
    app: &App,
    txn: &DatabaseTransaction,
    lease_id: Option<Uuid>,
    outcome: &Outcome,
    due_at: Option<DateTime<Utc>>,
    messages: &[&message::Model],
) -> Result<HashSet<Uuid>, Fault> {
    let status = match outcome {
        Outcome::Sent => Some(MessageStatus::Sent),
        Outcome::Pending => None,
        Outcome::Delivered => Some(MessageStatus::Delivered),
        Outcome::Undelivered { .. } => Some(MessageStatus::Undelivered),
        Outcome::Failed { .. } => Some(MessageStatus::Failed),
        Outcome::Expired => Some(MessageStatus::Expired),
        Outcome::Unknown { .. } => Some(MessageStatus::Unknown),
    };
    let mut to =
        message::ActiveModel { lease_id: Set(None), due_at: Set(due_at), ..Default::default() };
    if let Some(status) = status {
        to.status = Set(status);
        to.updated_at = Set(app.clock.now());
    }
    let reason = match outcome {
        Outcome::Sent | Outcome::Pending | Outcome::Delivered => None,
        Outcome::Expired => Some(("EXPIRED", "The message was not sent before validUntil.")),
        Outcome::Undelivered { code, text }
        | Outcome::Failed { code, text }
        | Outcome::Unknown { code, text } => Some((code.as_str(), text.as_str())),
    };
    let mut update = message::Entity::update_many();
    if let Some((code, text)) = reason {
        to.error_code = Set(Some(code.to_owned()));
        // The carrier's text may name the recipient, so it is not stored if the recipient has been erased in the
        // meantime.
        let has_recipient = Expr::col(message::Column::Recipient).ne("");
        let text = Expr::case(has_recipient, text.to_owned()).finally(Option::<String>::None);
        update = update.col_expr(message::Column::ErrorMessage, text.into());
    }
    let ids = messages.iter().map(|message| message.id);
    let mut update = update
        .set(to)
        .filter(has_id(app.db.backend(), ids))
        .filter(message::Column::LeaseId.eq(lease_id));
    let update = QueryTrait::query(&mut update).returning_col(message::Column::Id).to_owned();
    let rows = txn.query_all(&update).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}
