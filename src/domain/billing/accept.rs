//! Accepting messages: under the team's lock, judge each in order, then write message, ledger entry,
//! balance, total and usage in the same transaction, or nothing of them.

use std::collections::{BTreeMap, HashMap};

use entity::{
    account, api_key,
    ledger_entry::LedgerKind,
    message::{self, MessageStatus},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter};

use super::{
    Cause, Movements, PricedMessage, SendRefusal, add_to_total_spent, lock_team,
    verdict::{Judgement, Standing},
};
use crate::{
    App,
    domain::{
        Fault, Refusal, account::stored, authentication::is_usable, caller::AccountCaller, usage,
    },
    money::Micros,
};

/// The answer to one message.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Charged, stored, and due for delivery.
    Accepted(message::Model),
    /// Accepted earlier under the same idempotency key; nothing was charged now.
    Replayed(message::Model),
    Refused(Refusal<SendRefusal>),
}

/// Accepts or refuses each message in order, as if they came one after another. A fault means that
/// none was accepted.
pub async fn accept(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<PricedMessage>,
) -> Result<Vec<Verdict>, Fault> {
    let txn = app.db.begin_write().await?;
    let team =
        lock_team(&txn, caller.team_id).await?.ok_or(Fault::Broken("a key's team exists"))?;
    let mut standing = read_standing(app, &txn, caller, stored(team.balance_micros)).await?;
    let mut earlier = read_earlier(&txn, caller, &messages).await?;

    let mut movements = Movements::of(app, &team);
    let mut charged = Micros::ZERO;
    let mut accepted = Vec::new();
    let mut verdicts = Vec::with_capacity(messages.len());
    for message in messages {
        let held_by = message.idempotency_key.as_ref().and_then(|key| earlier.get(key));
        let cost = match standing.judge(&message, held_by.map(|held| &held.input_hash[..])) {
            Judgement::Accept(cost) => cost,
            Judgement::Replay => {
                verdicts.extend(held_by.cloned().map(Verdict::Replayed));
                continue;
            }
            Judgement::KeyRevoked => return Err(Fault::KeyRevoked),
            Judgement::Refuse(code) => {
                verdicts.push(Verdict::Refused(refusal(code, &message)));
                continue;
            }
        };
        let row = new_row(app, caller, message, cost);
        if cost > Micros::ZERO {
            let cause = Cause {
                account_id: Some(caller.account_id),
                message_id: Some(row.id),
                ..Cause::default()
            };
            movements
                .add(LedgerKind::Charge, -cost, cause)
                .ok_or(Fault::Broken("an accepted message costs no more than the balance"))?;
            charged = charged.checked_add(cost).ok_or(Fault::Broken("charges fit the balance"))?;
            standing.balance = movements.balance;
            standing.total_spent = standing
                .total_spent
                .checked_add(cost)
                .ok_or(Fault::Broken("an accepted message keeps the total within bounds"))?;
        }
        if let Some(key) = &row.idempotency_key {
            earlier.insert(key.clone(), row.clone());
        }
        accepted.push(row.clone());
        verdicts.push(Verdict::Accepted(row));
    }

    if !accepted.is_empty() {
        count_usage(app, &txn, &accepted).await?;
        let rows = accepted.into_iter().map(IntoActiveModel::into_active_model);
        message::Entity::insert_many(rows).exec_without_returning(&txn).await?;
        movements.write(&txn).await?;
        add_to_total_spent(app, &txn, caller.account_id, charged).await?;
        txn.commit().await?;
        app.due.notify_one();
    }
    Ok(verdicts)
}

/// What [`accept`] would answer to one message now, without a charge or a trace. `Ok(cost)` is what
/// it would charge.
pub async fn quote(
    app: &App,
    caller: &AccountCaller,
    message: &PricedMessage,
) -> Result<Result<Micros, Refusal<SendRefusal>>, Fault> {
    let team = crate::domain::account::own_team(app, caller).await?;
    let balance = stored(team.balance_micros);
    let standing = read_standing(app, &app.db.read, caller, balance).await?;
    let earlier = read_earlier(&app.db.read, caller, std::slice::from_ref(message)).await?;
    let held_by = message.idempotency_key.as_ref().and_then(|key| earlier.get(key));
    match standing.judge(message, held_by.map(|held| &held.input_hash[..])) {
        Judgement::Accept(cost) => Ok(Ok(cost)),
        Judgement::Replay => Ok(Ok(Micros::ZERO)),
        Judgement::KeyRevoked => Err(Fault::KeyRevoked),
        Judgement::Refuse(code) => Ok(Err(refusal(code, message))),
    }
}

fn refusal(code: SendRefusal, message: &PricedMessage) -> Refusal<SendRefusal> {
    let text = code.message(message.recipient.channel);
    Refusal { code, message: text.into(), field: code.field() }
}

async fn read_standing<C: ConnectionTrait>(
    app: &App,
    db: &C,
    caller: &AccountCaller,
    balance: Micros,
) -> Result<Standing, Fault> {
    let key = api_key::Entity::owned_by(caller.account_id)
        .filter(api_key::Column::Id.eq(caller.key_id))
        .one(db)
        .await?;
    let account = account::Entity::of_team(caller.team_id)
        .filter(account::Column::Id.eq(caller.account_id))
        .one(db)
        .await?
        .ok_or(Fault::Broken("a key's account exists"))?;
    let now = app.clock.now();
    let is_key_usable = key.is_some_and(|key| is_usable(&key, now));
    Ok(Standing::new(caller.environment, is_key_usable, &account, balance))
}

/// The messages that hold the idempotency keys of these.
async fn read_earlier<C: ConnectionTrait>(
    db: &C,
    caller: &AccountCaller,
    messages: &[PricedMessage],
) -> Result<HashMap<String, message::Model>, Fault> {
    let keys: Vec<&str> =
        messages.iter().filter_map(|message| message.idempotency_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = message::Entity::owned_by(caller.account_id, caller.environment)
        .filter(message::Column::IdempotencyKey.is_in(keys))
        .all(db)
        .await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.idempotency_key.clone()?, row))).collect())
}

fn new_row(
    app: &App,
    caller: &AccountCaller,
    message: PricedMessage,
    cost: Micros,
) -> message::Model {
    let now = app.clock.now();
    message::Model {
        id: app.new_id(),
        team_id: caller.team_id,
        account_id: caller.account_id,
        api_key_id: caller.key_id,
        environment: caller.environment,
        channel: message.recipient.channel,
        status: MessageStatus::Queued,
        recipient: message.recipient.address,
        country: message.recipient.country,
        subject: message.subject,
        text: message.text,
        segments: message.segments,
        cost_micros: cost.get(),
        refunded_at: None,
        error_code: None,
        error_message: None,
        idempotency_key: message.idempotency_key,
        input_hash: message.input_hash,
        metadata: message.metadata,
        due_at: Some(now),
        lease_id: None,
        created_at: now,
        updated_at: now,
    }
}

async fn count_usage<C: ConnectionTrait>(
    app: &App,
    txn: &C,
    accepted: &[message::Model],
) -> Result<(), Fault> {
    let mut counted: BTreeMap<usage::Slot, usage::Figures> = BTreeMap::new();
    for row in accepted {
        if let Some(slot) = usage::Slot::of(row, app.clock.now()) {
            let figures = counted.entry(slot).or_default();
            figures.messages += 1;
            figures.segments += i64::from(row.segments);
            figures.charged_micros += row.cost_micros;
        }
    }
    usage::add(app, txn, counted).await
}
