//! Delivery as rows: a message is its own job. The worker claims what is due, which marks the attempt
//! before any network call, and settles what came of it; what a crash leaves is in the rows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    account::{self, AccountStatus},
    message::{self, MessageStatus},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, Order,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, LockBehavior, LockType, Query},
};
use uuid::Uuid;

use super::{Fault, billing, events::Change, phone_number_use, quiet_hours, schedule, usage};
use crate::{App, db::has_id};

/// Messages that are claimed together; their carriers are called all at once, so that the deadline of
/// one call bounds them all.
pub const CLAIM_MAX: usize = 256;
/// How often one claim looks for more, where quiet hours have put off what it found.
const CLAIM_LOOKS_MAX: usize = 16;
/// How long a claimed message belongs to its worker.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// How long a carrier may take to answer: well within the lease.
pub const CARRIER_DEADLINE: Duration = Duration::from_secs(20);
/// When a message that was handed over is asked about for the first time.
const REPORT_AFTER: TimeDelta = TimeDelta::milliseconds(500);
/// The longest rest between two questions; they follow in half the time that has passed.
const REPORT_REST_MAX: TimeDelta = TimeDelta::hours(1);
/// When a message without a report is given up as UNKNOWN.
const REPORT_UNTIL: TimeDelta = TimeDelta::hours(72);

/// A message that this worker may act on until its lease runs out.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub message: message::Model,
    pub step: Step,
}

/// What is to be done with a claimed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hand it over for the first time.
    Send,
    /// A worker was cut off while handing it over: it may have gone out.
    Resume,
    /// It was handed over: ask what became of it.
    Report,
    /// Its time is over before it was handed over.
    Expire,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Sent,
    Delivered,
    /// Ask again later.
    Pending,
    Undelivered {
        code: String,
        text: String,
    },
    /// It was not handed over in its time: refunded.
    Expired,
    /// It reached no provider: refunded.
    Failed {
        code: String,
        text: String,
    },
    Unknown {
        code: String,
        text: String,
    },
}

/// Claims due messages: SCHEDULED and QUEUED ones whose account may send (R4) become SENDING under a
/// new lease, or are put off where the account has its quiet hours; those whose time is over keep
/// their status and get a lease to expire under; SENDING ones whose lease ran out and SENT ones get a
/// new lease.
pub async fn claim(app: &App) -> Result<Vec<Claimed>, Fault> {
    let now = app.clock.now();
    // A look first: an idle server takes no write lock.
    if due(now).one(&app.db.read).await?.is_none() {
        return Ok(Vec::new());
    }
    let txn = app.db.begin_write().await?;
    let mut claimed: Vec<Claimed> = Vec::new();
    let mut changes = Vec::new();
    for _ in 0..CLAIM_LOOKS_MAX {
        let room = CLAIM_MAX - claimed.len();
        let due = due(now)
            .limit(room as u64)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(&txn)
            .await?;
        let is_all = due.len() < room;
        let (due, put_off) = quiet_hours::put_off(app, &txn, due, now).await?;
        changes.extend(due.iter().chain(&put_off).map(Change::of_message));
        claimed.extend(lease(app, &txn, due, now).await?);
        if is_all || claimed.len() == CLAIM_MAX {
            break;
        }
    }
    txn.commit().await?;
    app.events.tell(changes);
    Ok(claimed)
}

/// Gives due messages a new lease.
async fn lease(
    app: &App,
    txn: &DatabaseTransaction,
    mut due: Vec<message::Model>,
    now: DateTime<Utc>,
) -> Result<Vec<Claimed>, Fault> {
    use message::Column;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    phone_number_use::drop_lost(app, txn, &mut due).await?;
    let lease_id = app.new_id();
    let goes_out = || {
        let is_in_time =
            Condition::any().add(Column::ValidUntil.is_null()).add(Column::ValidUntil.gt(now));
        Condition::all().add(message::Entity::is_unclaimed()).add(is_in_time)
    };
    let status = Expr::case(goes_out(), MessageStatus::Sending).finally(Expr::col(Column::Status));
    let updated_at = Expr::case(goes_out(), now).finally(Expr::col(Column::UpdatedAt));
    message::Entity::update_many()
        .col_expr(Column::LeaseId, Expr::value(lease_id))
        .col_expr(Column::DueAt, Expr::value(now + LEASE))
        .col_expr(Column::Status, status.into())
        .col_expr(Column::UpdatedAt, updated_at.into())
        .filter(has_id(app.db.backend(), due.iter().map(|row| row.id)))
        .exec(txn)
        .await?;
    let claimed = due.into_iter().map(|row| {
        let step = step_of(&row, now);
        Claimed { message: message::Model { lease_id: Some(lease_id), ..row }, step }
    });
    Ok(claimed.collect())
}

/// How long the message that is due for longest has been due.
pub async fn lag(app: &App) -> Result<Duration, Fault> {
    let now = app.clock.now();
    let oldest = due(now).one(&app.db.read).await?.and_then(|message| message.due_at);
    Ok(oldest.and_then(|due_at| (now - due_at).to_std().ok()).unwrap_or_default())
}

/// The messages that are due, those that are due for longest first.
pub fn due(now: DateTime<Utc>) -> Select<message::Entity> {
    // The status of each, by the account's key: an EXISTS may be planned to read all accounts first.
    let sender_status = Query::select()
        .column(account::Column::Status)
        .from(account::Entity)
        .and_where(
            Expr::col((account::Entity, account::Column::Id))
                .equals((message::Entity, message::Column::AccountId)),
        )
        .to_owned();
    let sender_status = Expr::SubQuery(None, Box::new(sender_status.into()));
    let may_go = Condition::any()
        .add(message::Entity::is_unclaimed().not())
        .add(message::Column::ValidUntil.lte(now))
        .add(sender_status.eq(AccountStatus::Active));
    message::Entity::find()
        .filter(message::Column::DueAt.lte(now))
        .filter(may_go)
        .order_by(message::Column::DueAt, Order::Asc)
}

fn step_of(row: &message::Model, now: DateTime<Utc>) -> Step {
    match row.status {
        MessageStatus::Scheduled | MessageStatus::Queued if schedule::is_over(row, now) => {
            Step::Expire
        }
        MessageStatus::Scheduled | MessageStatus::Queued => Step::Send,
        MessageStatus::Sending => Step::Resume,
        _ => Step::Report,
    }
}

/// Writes what came of claimed messages in one transaction, under the locks of the teams whose money or
/// usage changes. A message whose lease another worker has taken since is left to that one. A team
/// that cannot be settled does not hold up the others; its leases run out and are claimed again.
pub async fn settle(app: &App, settled: Vec<(Claimed, Outcome)>) -> Result<(), Fault> {
    let now = app.clock.now();
    let settled: Vec<(message::Model, Outcome)> = settled
        .into_iter()
        .map(|(claimed, outcome)| {
            let outcome = given_up(&claimed.message, outcome, now);
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

/// A message that waits for its report for too long ends as UNKNOWN.
fn given_up(message: &message::Model, outcome: Outcome, now: DateTime<Utc>) -> Outcome {
    if outcome == Outcome::Pending && now - message.updated_at > REPORT_UNTIL {
        let text = "The carrier gave no report within 72 hours.".to_owned();
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
    let teams = billing::lock_teams(&txn, teams).await?;

    // Messages that share an outcome and a lease share a statement.
    let mut alike: HashMap<Alike, Vec<&message::Model>> = HashMap::new();
    for (message, outcome) in settled {
        let due_at = due_after(message, outcome, now);
        alike.entry((message.lease_id, outcome, due_at)).or_default().push(message);
    }
    let mut refunded = Vec::new();
    let mut counted: BTreeMap<usage::Slot, usage::Figures> = BTreeMap::new();
    for ((lease_id, outcome, due_at), messages) in alike {
        let written = write(app, &txn, lease_id, outcome, due_at, &messages).await?;
        for message in messages {
            if !written.contains(&message.id) {
                tracing::warn!(message.id = %message.id, "A message was settled by another worker");
                continue;
            }
            let slot = usage::Slot::of(message, now);
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
    usage::add(app, &txn, counted).await?;
    txn.commit().await?;
    app.events.tell(settled.iter().map(|(message, _)| Change::of_message(message)));
    Ok(())
}

/// The lease, the outcome, and when to look again.
type Alike<'o> = (Option<Uuid>, &'o Outcome, Option<DateTime<Utc>>);

/// When the worker has to look at the message again after this outcome.
fn due_after(
    message: &message::Model,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match outcome {
        Outcome::Sent => Some(now + REPORT_AFTER),
        Outcome::Pending => {
            // In whole steps, so that messages of about one age share a statement.
            let rest = (now - message.updated_at) / 2;
            let steps = rest.num_milliseconds() / REPORT_AFTER.num_milliseconds();
            let rest = REPORT_AFTER * i32::try_from(steps).unwrap_or(i32::MAX);
            Some(now + rest.clamp(REPORT_AFTER, REPORT_REST_MAX))
        }
        _ => None,
    }
}

/// Writes one outcome of messages whose lease is still ours, and says which those are.
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
        Outcome::Expired => Some(("EXPIRED", "The message was not handed over before validUntil.")),
        Outcome::Undelivered { code, text }
        | Outcome::Failed { code, text }
        | Outcome::Unknown { code, text } => Some((code.as_str(), text.as_str())),
    };
    let mut update = message::Entity::update_many();
    if let Some((code, text)) = reason {
        to.error_code = Set(Some(code.to_owned()));
        // A carrier's words may name the recipient, who may have been erased in the meantime.
        let is_known = Expr::col(message::Column::Recipient).ne("");
        let text = Expr::case(is_known, text.to_owned()).finally(Option::<String>::None);
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
