//! Top-ups and adjustments of a team's balance by operators. An idempotency key changes the balance only once.

use super::movements::{Cause, Movements};
use entity::{
    audit_entry::AuditAction,
    ledger_entry::{self, LedgerKind},
    message, team,
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QuerySelect};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Failure, Fault,
        account::team_lock::lock_team,
        api_key::authentication::begin_as_operator,
        audit_log::{Entry, Settings, cents},
        caller::OperatorCaller,
        events::Change,
        refused,
        validate::{self, IDEMPOTENCY_KEY_RULE, NOTE_RULE, REASON_RULE},
    },
    money::{GivenAmount, Micros},
};

const TEAM_NOT_FOUND: &str = "No team has this id.";
const BEYOND_BOUND: &str = "The balance would exceed 100000000000 cents.";
const CONFLICT: &str =
    "This idempotencyKey was already used for another top-up or adjustment. Use a new key.";

entity::api_enum! {
    /// Reasons why topUpTeam is refused.
    pub enum TopUpRefusal as "TopUpTeamErrorCode" {
        /// No team has this id.
        NotFound,
        /// The amount is not greater than 0, has more than four decimal places, or would raise the balance above
        /// 100000000000 cents.
        AmountInvalid,
        /// The idempotencyKey is empty, longer than 255 characters, or contains control characters.
        IdempotencyKeyInvalid,
        /// The idempotencyKey was already used with a different input.
        IdempotencyConflict,
        /// The note is blank, longer than 500 characters, or contains control characters.
        NoteInvalid,
    }

    /// Reasons why adjustTeamBalance is refused.
    pub enum AdjustRefusal as "AdjustTeamBalanceErrorCode" {
        /// No team has this id.
        NotFound,
        /// The amount is 0, has more than four decimal places, or would raise the balance above
        /// 100000000000 cents.
        AmountInvalid,
        /// The idempotencyKey is empty, longer than 255 characters, or contains control characters.
        IdempotencyKeyInvalid,
        /// The idempotencyKey was already used with a different input.
        IdempotencyConflict,
        /// The reason is blank, longer than 500 characters, or contains control characters.
        ReasonInvalid,
        /// The balance would fall below 0.
        InsufficientBalance,
    }
}

/// A payment to a team's balance. `team_id` is `None` for a malformed id.
pub struct TopUp {
    pub team_id: Option<Uuid>,
    pub amount: GivenAmount,
    pub idempotency_key: String,
    pub note: Option<String>,
}

/// A correction of a team's balance, positive or negative.
pub struct Adjustment {
    pub team_id: Option<Uuid>,
    pub amount: GivenAmount,
    pub idempotency_key: String,
    pub reason: String,
}

/// The team after the deposit, and the ledger entry of the deposit. The entry may be from an earlier call with the same
/// idempotency key.
#[derive(Debug)]
pub struct Deposited {
    pub team: team::Model,
    pub entry: ledger_entry::Model,
    pub is_replay: bool,
}

/// Increases a team's balance.
pub async fn top_up(
    app: &App,
    operator: &OperatorCaller,
    top_up: TopUp,
) -> Result<Deposited, Failure<TopUpRefusal>> {
    use TopUpRefusal as Refusal;
    let amount = top_up.amount.ok().filter(|amount| *amount > Micros::ZERO).ok_or_else(|| {
        let message = "The amount is not valid (expected more than 0 and at most 100000000000 cents, with at most \
                       four decimal places).";
        refused(Refusal::AmountInvalid, &["input", "amount"], message)
    })?;
    let key = validate::idempotency_key(&top_up.idempotency_key).ok_or_else(|| {
        let field = &["input", "idempotencyKey"];
        refused(Refusal::IdempotencyKeyInvalid, field, IDEMPOTENCY_KEY_RULE)
    })?;
    let note = top_up
        .note
        .map(|note| validate::note(&note).ok_or(()))
        .transpose()
        .map_err(|()| refused(Refusal::NoteInvalid, &["input", "note"], NOTE_RULE))?;

    match deposit(app, operator, top_up.team_id, LedgerKind::TopUp, amount, key, note).await? {
        Outcome::Done(deposited) => Ok(*deposited),
        Outcome::NoTeam => Err(refused(Refusal::NotFound, &["input", "teamId"], TEAM_NOT_FOUND)),
        Outcome::Conflict => {
            let field = &["input", "idempotencyKey"];
            Err(refused(Refusal::IdempotencyConflict, field, CONFLICT))
        }
        Outcome::OutOfBounds => {
            Err(refused(Refusal::AmountInvalid, &["input", "amount"], BEYOND_BOUND))
        }
    }
}

/// Corrects a team's balance. The balance cannot become negative.
pub async fn adjust(
    app: &App,
    operator: &OperatorCaller,
    adjustment: Adjustment,
) -> Result<Deposited, Failure<AdjustRefusal>> {
    use AdjustRefusal as Refusal;
    let amount = adjustment.amount.ok().filter(|amount| *amount != Micros::ZERO).ok_or_else(|| {
        let message = "The amount is not valid (expected -100000000000 to 100000000000 cents but not 0, \
                       with at most four decimal places).";
        refused(Refusal::AmountInvalid, &["input", "amount"], message)
    })?;
    let key = validate::idempotency_key(&adjustment.idempotency_key).ok_or_else(|| {
        let field = &["input", "idempotencyKey"];
        refused(Refusal::IdempotencyKeyInvalid, field, IDEMPOTENCY_KEY_RULE)
    })?;
    let reason = validate::note(&adjustment.reason)
        .ok_or_else(|| refused(Refusal::ReasonInvalid, &["input", "reason"], REASON_RULE))?;

    let kind = LedgerKind::Adjustment;
    match deposit(app, operator, adjustment.team_id, kind, amount, key, Some(reason)).await? {
        Outcome::Done(deposited) => Ok(*deposited),
        Outcome::NoTeam => Err(refused(Refusal::NotFound, &["input", "teamId"], TEAM_NOT_FOUND)),
        Outcome::Conflict => {
            let field = &["input", "idempotencyKey"];
            Err(refused(Refusal::IdempotencyConflict, field, CONFLICT))
        }
        Outcome::OutOfBounds if amount < Micros::ZERO => {
            let message = "The balance would be below zero.";
            Err(refused(Refusal::InsufficientBalance, &["input", "amount"], message))
        }
        Outcome::OutOfBounds => {
            Err(refused(Refusal::AmountInvalid, &["input", "amount"], BEYOND_BOUND))
        }
    }
}

enum Outcome {
    Done(Box<Deposited>),
    NoTeam,
    Conflict,
    OutOfBounds,
}

async fn deposit(
    app: &App,
    operator: &OperatorCaller,
    team_id: Option<Uuid>,
    kind: LedgerKind,
    amount: Micros,
    idempotency_key: String,
    note: Option<String>,
) -> Result<Outcome, Fault> {
    let Some(team_id) = team_id else {
        return Ok(Outcome::NoTeam);
    };
    let action = match kind {
        LedgerKind::TopUp => AuditAction::TopUpTeam,
        _ => AuditAction::AdjustTeamBalance,
    };
    let txn = begin_as_operator(app, operator).await?;
    let Some(mut team) = lock_team(&txn, team_id).await? else {
        return Ok(Outcome::NoTeam);
    };
    let earlier = ledger_entry::Entity::of_team(team_id)
        .filter(ledger_entry::Column::IdempotencyKey.eq(&idempotency_key))
        .one(&txn)
        .await?;
    if let Some(entry) = earlier {
        let is_same =
            entry.kind == kind && entry.amount_micros == amount.get() && entry.note == note;
        if !is_same {
            return Ok(Outcome::Conflict);
        }
        txn.commit(app, Entry::of(action, entry.id).to_team(team_id).replayed()).await?;
        return Ok(Outcome::Done(Box::new(Deposited { team, entry, is_replay: true })));
    }

    if !can_still_refund(&txn, &team, amount).await? {
        return Ok(Outcome::OutOfBounds);
    }
    let mut movements = Movements::of(app, &team);
    let cause = Cause { idempotency_key: Some(idempotency_key), note, ..Cause::default() };
    let Some(entry) = movements.add(kind, amount, cause).cloned() else {
        return Ok(Outcome::OutOfBounds);
    };
    movements.write(&txn).await?;
    let before = Settings::from([("balance", cents(team.balance_micros))]);
    let after = Settings::from([
        ("balance", cents(entry.balance_after_micros)),
        ("amount", cents(entry.amount_micros)),
        ("note", json!(entry.note)),
    ]);
    let audited = Entry::of(action, entry.id).to_team(team_id).changed(before, after);
    txn.commit(app, audited).await?;
    app.events.publish([Change { team_id, account_id: None, message_id: None }]);
    team.balance_micros = entry.balance_after_micros;
    Ok(Outcome::Done(Box::new(Deposited { team, entry, is_replay: false })))
}

/// Returns whether the balance stays within its maximum even if all waiting messages are refunded.
async fn can_still_refund(
    txn: &DatabaseTransaction,
    team: &team::Model,
    amount: Micros,
) -> Result<bool, Fault> {
    if amount < Micros::ZERO {
        return Ok(true);
    }
    let waiting: Option<Option<i64>> = message::Entity::find()
        .select_only()
        .column_as(message::Column::CostMicros.sum().cast_as("BIGINT"), "waiting")
        .filter(message::Column::TeamId.eq(team.id))
        .filter(message::Entity::is_waiting())
        .into_tuple()
        .one(txn)
        .await?;
    let waiting = Micros::new(waiting.flatten().unwrap_or(0));
    let after = Micros::from_db(team.balance_micros).checked_add(amount);
    Ok(after.zip(waiting).and_then(|(after, waiting)| after.checked_add(waiting)).is_some())
}
