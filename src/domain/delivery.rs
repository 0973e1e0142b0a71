//! Delivery as rows: a message is its own job. The worker claims what is due, which marks the attempt
//! before any network call, and settles what came of it; what a crash leaves is in the rows.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    account::{self, AccountStatus},
    message::{self, MessageStatus},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait, Order, QueryFilter,
    QueryOrder, QuerySelect, Select,
    sea_query::{Expr, LockBehavior, LockType, Query},
};
use uuid::Uuid;

use super::{Fault, billing, usage};
use crate::App;

/// Messages that are claimed together; their carriers are called all at once, so that the deadline of
/// one call bounds them all.
const CLAIM_MAX: u64 = 50;
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
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    Delivered,
    /// Ask again later.
    Pending,
    Undelivered {
        code: String,
        text: String,
    },
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

/// Claims due messages: QUEUED ones whose account may send (R4) become SENDING under a new lease;
/// SENDING ones whose lease ran out and SENT ones get a new lease.
pub async fn claim(app: &App) -> Result<Vec<Claimed>, Fault> {
    let now = app.clock.now();
    // A look first: an idle server takes no write lock.
    if due(now).one(&app.db.read).await?.is_none() {
        return Ok(Vec::new());
    }
    let txn = app.db.begin_write().await?;
    let due = due(now)
        .limit(CLAIM_MAX)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(&txn)
        .await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let lease_id = app.new_id();
    let ids = |step: Step| {
        due.iter().filter(move |row| step_of(row) == step).map(|row| row.id).collect::<Vec<_>>()
    };
    let leased = message::ActiveModel {
        lease_id: Set(Some(lease_id)),
        due_at: Set(Some(now + LEASE)),
        ..Default::default()
    };
    let sending = message::ActiveModel {
        status: Set(MessageStatus::Sending),
        updated_at: Set(now),
        ..leased.clone()
    };
    for (to, ids) in
        [(sending, ids(Step::Send)), (leased, [ids(Step::Resume), ids(Step::Report)].concat())]
    {
        message::Entity::update_many()
            .set(to)
            .filter(message::Column::Id.is_in(ids))
            .exec(&txn)
            .await?;
    }
    txn.commit().await?;
    let claimed = due.into_iter().map(|row| {
        let step = step_of(&row);
        Claimed { message: message::Model { lease_id: Some(lease_id), ..row }, step }
    });
    Ok(claimed.collect())
}

fn due(now: DateTime<Utc>) -> Select<message::Entity> {
    let sender_is_active = Query::select()
        .expr(Expr::value(1))
        .from(account::Entity)
        .and_where(
            Expr::col((account::Entity, account::Column::Id))
                .equals((message::Entity, message::Column::AccountId)),
        )
        .and_where(Expr::col((account::Entity, account::Column::Status)).eq(AccountStatus::Active))
        .to_owned();
    let may_go = Condition::any()
        .add(message::Column::Status.ne(MessageStatus::Queued))
        .add(Expr::exists(sender_is_active));
    message::Entity::find()
        .filter(message::Column::DueAt.lte(now))
        .filter(may_go)
        .order_by(message::Column::DueAt, Order::Asc)
}

fn step_of(row: &message::Model) -> Step {
    match row.status {
        MessageStatus::Queued => Step::Send,
        MessageStatus::Sending => Step::Resume,
        _ => Step::Report,
    }
}

/// Writes what came of claimed messages, one transaction a team, under the team's lock. A message
/// whose lease another worker has taken since is left to that one. A team that cannot be settled
/// does not hold up the others; its leases run out and are claimed again.
pub async fn settle(app: &App, settled: Vec<(Claimed, Outcome)>) -> Result<(), Fault> {
    let now = app.clock.now();
    let mut by_team: BTreeMap<Uuid, Vec<(message::Model, Outcome)>> = BTreeMap::new();
    for (claimed, outcome) in settled {
        let outcome = given_up(&claimed.message, outcome, now);
        by_team.entry(claimed.message.team_id).or_default().push((claimed.message, outcome));
    }
    let mut first_fault = Ok(());
    for (team_id, settled) in by_team {
        let result = settle_team(app, team_id, settled).await;
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

async fn settle_team(
    app: &App,
    team_id: Uuid,
    settled: Vec<(message::Model, Outcome)>,
) -> Result<(), Fault> {
    let txn = app.db.begin_write().await?;
    billing::lock_team(&txn, team_id).await?;
    let mut failed = Vec::new();
    let mut counted: BTreeMap<usage::Slot, usage::Figures> = BTreeMap::new();
    for (message, outcome) in settled {
        if !write(app, &txn, &message, &outcome).await? {
            tracing::warn!(message.id = %message.id, "A message was settled by another worker");
            continue;
        }
        let slot = usage::Slot::of(&message, app.clock.now());
        match (outcome, slot) {
            (Outcome::Failed { .. }, _) => failed.push(message),
            (Outcome::Delivered, Some(slot)) => counted.entry(slot).or_default().delivered += 1,
            (Outcome::Undelivered { .. }, Some(slot)) => {
                counted.entry(slot).or_default().failed += 1;
            }
            _ => {}
        }
    }
    if !failed.is_empty() {
        billing::refund(app, &txn, team_id, &failed).await?;
    }
    usage::add(app, &txn, counted).await?;
    Ok(txn.commit().await?)
}

/// Writes one outcome; false if the lease is no longer ours.
async fn write(
    app: &App,
    txn: &DatabaseTransaction,
    message: &message::Model,
    outcome: &Outcome,
) -> Result<bool, Fault> {
    let now = app.clock.now();
    let mut to =
        message::ActiveModel { lease_id: Set(None), due_at: Set(None), ..Default::default() };
    match outcome {
        Outcome::Sent => {
            to.status = Set(MessageStatus::Sent);
            to.due_at = Set(Some(now + REPORT_AFTER));
        }
        Outcome::Pending => {
            let rest = (now - message.updated_at) / 2;
            to.due_at = Set(Some(now + rest.clamp(REPORT_AFTER, REPORT_REST_MAX)));
        }
        Outcome::Delivered => to.status = Set(MessageStatus::Delivered),
        Outcome::Undelivered { .. } => to.status = Set(MessageStatus::Undelivered),
        Outcome::Failed { .. } => to.status = Set(MessageStatus::Failed),
        Outcome::Unknown { .. } => to.status = Set(MessageStatus::Unknown),
    }
    if let Outcome::Undelivered { code, text }
    | Outcome::Failed { code, text }
    | Outcome::Unknown { code, text } = outcome
    {
        to.error_code = Set(Some(code.clone()));
        to.error_message = Set(Some(text.clone()));
    }
    if *outcome != Outcome::Pending {
        to.updated_at = Set(now);
    }
    let updated = message::Entity::update_many()
        .set(to)
        .filter(message::Column::Id.eq(message.id))
        .filter(message::Column::LeaseId.eq(message.lease_id))
        .exec(txn)
        .await?;
    Ok(updated.rows_affected == 1)
}
