//! Accepts messages. Each message is queued for its team's writer. The writer either charges and stores the message or
//! refuses it (`writer`, `batch`). A quote applies the same rules without storing anything.

use entity::{account, api_key, message};
use sea_orm::{ColumnTrait, QueryFilter, QuerySelect};

use super::{
    Draft, PricedMessage, Verdict,
    queue::Reply,
    test_storage::TestStored,
    verdict::{AccountState, Judgement, refusal},
};
use crate::{
    app::App,
    domain::{
        Fault, Refusal, Unavailable, account::own_team, api_key::authentication::is_usable,
        caller::AccountCaller, channel::send_refusal::SendRefusal, deadline::Deadline,
        opt_out::list::opted_out_of,
    },
    money::Micros,
};

/// Accepts or refuses one message.
///
/// # Errors
/// The message was not accepted, except with [`Unavailable::OutcomeUnknown`].
pub async fn accept_one(
    app: &App,
    caller: &AccountCaller,
    message: PricedMessage,
    deadline: &Deadline,
) -> Reply {
    let mut waiting = app.writers.enqueue(caller, vec![message], deadline)?;
    waiting.pop().ok_or(Fault::Broken("an enqueued message waits for its verdict"))?.verdict().await
}

/// Accepts or refuses each message in order, as if the messages arrived one after another. If the queue cannot take all
/// of them, each message is refused as OVERLOADED.
pub async fn accept(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<PricedMessage>,
    deadline: &Deadline,
) -> Result<Vec<Verdict>, Fault> {
    let Some(first) = messages.first() else { return Ok(Vec::new()) };
    let overloaded =
        vec![Verdict::Refused(refusal(SendRefusal::Overloaded, first)); messages.len()];
    let waiting = match app.writers.enqueue(caller, messages, deadline) {
        Ok(waiting) => waiting,
        Err(Unavailable::Overloaded) => return Ok(overloaded),
        Err(unavailable) => return Err(unavailable.into()),
    };
    // All verdicts are awaited, so that no message is still being processed when the call returns.
    let mut replies = Vec::with_capacity(waiting.len());
    for waiting in waiting {
        replies.push(waiting.verdict().await);
    }
    let may_be_accepted = |reply: &Reply| {
        matches!(reply, Ok(_) | Err(Fault::Unavailable(Unavailable::OutcomeUnknown)))
    };
    let any_may_be_accepted = replies.iter().any(may_be_accepted);
    let replies: Result<Vec<Verdict>, Fault> = replies.into_iter().collect();
    replies.map_err(|fault| {
        if !any_may_be_accepted {
            return fault;
        }
        // Some messages may have been accepted, so the call must not report that no message was accepted.
        tracing::warn!(%fault, "Only some messages of a call could be processed");
        Unavailable::OutcomeUnknown.into()
    })
}

/// Returns the verdict that [`accept`] would give on a message now, without storing or charging the message. `Ok(cost)`
/// contains the charge. If the team's balance is hidden from the caller, a balance that is too low is not reported.
pub async fn quote(
    app: &App,
    caller: &AccountCaller,
    message: &PricedMessage,
) -> Result<Result<Micros, Refusal<SendRefusal>>, Fault> {
    let team = own_team(app, caller).await?;
    let readers = app.read_as(caller);
    let key = api_key::Entity::owned_by(caller.account_id)
        .filter(api_key::Column::Id.eq(caller.key_id))
        .one(&readers)
        .await?;
    let account = account::Entity::of_team(caller.team_id)
        .filter(account::Column::Id.eq(caller.account_id))
        .one(&readers)
        .await?
        .ok_or(Fault::Broken("a key's account exists"))?;
    let is_opted_out = match &message.draft {
        Err(_) => false,
        Ok(Draft { recipient, .. }) => {
            let address = [(recipient.channel, recipient.address.clone())];
            opted_out_of(app, caller.into(), &address).await?.contains(&address[0])
        }
    };
    let now = app.clock.now();
    let is_hidden = account.is_sub_account && !account.team_balance_visible;
    let state = AccountState {
        now,
        environment: caller.environment,
        is_key_usable: key.is_some_and(|key| is_usable(&key, now)),
        status: account.status,
        is_contact_gone: false,
        is_opted_out,
        credit_limit: account.credit_limit_micros.map(Micros::from_db),
        total_spent: Micros::from_db(account.total_spent_micros),
        balance: match Micros::from_db(team.balance_micros) {
            // A caller could determine a hidden balance from quotes for longer and longer messages, so a hidden balance
            // is treated as unlimited. A zero balance is not hidden: `blockedBy` reports it.
            balance if is_hidden && balance > Micros::ZERO => Micros::MAX,
            balance => balance,
        },
        test_stored: TestStored::of(&account),
    };
    let earlier = match &message.idempotency_key {
        None => None,
        Some(key) => {
            message::Entity::owned_by(caller.account_id, caller.environment)
                .select_only()
                .column(message::Column::InputHash)
                .filter(message::Column::IdempotencyKey.eq(key))
                .into_tuple::<Vec<u8>>()
                .one(&readers)
                .await?
        }
    };
    match state.judge(message, earlier.as_deref()) {
        Judgement::Accept(_, cost) => Ok(Ok(cost)),
        Judgement::Replay => Ok(Ok(Micros::ZERO)),
        Judgement::KeyRevoked => Err(Fault::KeyRevoked),
        Judgement::Refuse(code) => Ok(Err(refusal(code, message))),
    }
}
