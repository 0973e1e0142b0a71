//! Decides on a batch with a pure function. Its input is the locked rows, and the messages in the order of their
//! arrival. Its result is a verdict on each message, and the changes to write. The function does not use the database,
//! so it can be tested against a naive model.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{
    account::AccountStatus,
    api_key::Environment,
    message::{self, Channel, MessageStatus},
};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{
    queue::{Reply, SendRequest},
    test_storage::TestStored,
    usage, usage_counters,
    verdict::{AccountState, Draft, Judgement, Verdict, refusal},
};
use crate::{
    domain::{Fault, api_key::authentication::is_valid},
    money::Micros,
};

/// A key with its account and its team, as read under the team's lock.
#[derive(Clone, Debug, FromQueryResult)]
pub struct KeyRow {
    pub key_id: Uuid,
    pub revoked_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub grace_ends_at: Option<DateTime<Utc>>,
    pub account_id: Uuid,
    pub is_sub_account: bool,
    pub status: AccountStatus,
    pub credit_limit_micros: Option<i64>,
    pub total_spent_micros: i64,
    pub test_message_count: i64,
    pub test_message_bytes: i64,
    /// Whether any address has opted out of the account's messages. Most accounts have no opt-outs.
    pub has_opt_outs: bool,
    pub team_id: Uuid,
    pub balance_micros: i64,
}

/// A stored message with an idempotency key that also occurs in the batch. The content of the message is not read,
/// because it may be large and the team is locked.
#[derive(Clone, Debug, FromQueryResult)]
pub struct EarlierMessage {
    pub id: Uuid,
    pub account_id: Uuid,
    pub environment: Environment,
    pub idempotency_key: String,
    pub input_hash: Vec<u8>,
}

/// A recipient in the batch that has opted out of the account's messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, FromQueryResult)]
pub struct OptedOut {
    pub account_id: Uuid,
    pub channel: Channel,
    pub address: String,
}

/// The stored rows on which the outcome of a batch depends.
#[derive(Debug, Default)]
pub struct BatchState {
    pub keys: Vec<KeyRow>,
    /// The stored messages with idempotency keys that also occur in the batch.
    pub earlier: Vec<EarlierMessage>,
    pub opted_out: HashSet<OptedOut>,
    /// The contacts in the batch that exist and are not being erased.
    pub contacts: HashSet<Uuid>,
}

/// The outcome of a batch: a reply to each message, in order, and the changes that must be committed
/// before any reply is sent.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    pub replies: Vec<Reply>,
    pub charges: Vec<Charge>,
    /// The balance of each team that is charged.
    pub balances: BTreeMap<Uuid, Change<Micros>>,
    /// The totals of each sub-account that is charged, and of each account that sends TEST messages.
    pub totals: BTreeMap<Uuid, Change<Totals>>,
    pub usage: BTreeMap<usage_counters::Slot, usage::Figures>,
}

/// An accepted message, with its ledger entry unless it is free.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The index of the message's reply.
    pub index: usize,
    pub entry: Option<ChargeEntry>,
}

#[derive(Clone, Copy, Debug)]
pub struct ChargeEntry {
    pub id: Uuid,
    pub balance_after: Micros,
}

/// Totals of an account's messages. They are stored in the account's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub spent: Micros,
    pub test_stored: TestStored,
}

/// A value of a row before and after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<T> {
    pub before: T,
    pub after: T,
}

impl BatchOutcome {
    /// Creates the outcome for a message that was accepted on the fast path, where the database itself checks and
    /// charges the message.
    pub fn of_one(row: message::Model) -> Self {
        let charges = vec![Charge { index: 0, entry: None }];
        Self { replies: vec![Ok(Verdict::Accepted(row))], charges, ..Self::default() }
    }

    /// Returns the accepted messages, each with its ledger entry.
    pub fn accepted(&self) -> impl Iterator<Item = (&message::Model, Option<ChargeEntry>)> {
        self.charges.iter().filter_map(|charge| match &self.replies[charge.index] {
            Ok(Verdict::Accepted(row)) => Some((row, charge.entry)),
            _ => None,
        })
    }
}

/// An idempotency key with its scope: the account and the environment.
type IdempotencyKey = (Uuid, Environment, String);

/// Decides on each message in order, as if the messages had arrived one after another. The total and the balance that
/// are checked include the charges of earlier messages in the batch.
pub fn judge<'a>(
    state: BatchState,
    requests: impl Iterator<Item = &'a SendRequest>,
    now: DateTime<Utc>,
    new_id: &dyn Fn() -> Uuid,
) -> BatchOutcome {
    let keys: HashMap<Uuid, KeyRow> = state.keys.into_iter().map(|row| (row.key_id, row)).collect();
    let earlier = state.earlier.into_iter().map(|row| {
        let key = (row.account_id, row.environment, row.idempotency_key);
        (key, (row.id, row.input_hash))
    });
    let mut used_keys: HashMap<IdempotencyKey, (Uuid, Vec<u8>)> = earlier.collect();

    let mut outcome = BatchOutcome::default();
    for (index, request) in requests.enumerate() {
        let SendRequest { caller, message } = request;
        let idempotency_key = message
            .idempotency_key
            .as_ref()
            .map(|key| (caller.account_id, caller.environment, key.clone()));
        let earlier = idempotency_key.as_ref().and_then(|key| used_keys.get(key));
        let Some(key) = keys.get(&caller.key_id) else {
            outcome.replies.push(Err(Fault::Broken("a caller's key exists")));
            continue;
        };
        let draft = message.draft.as_ref().ok();
        let is_contact_gone = draft
            .and_then(|draft| draft.contact_id)
            .is_some_and(|contact| !state.contacts.contains(&contact));
        let is_opted_out = !state.opted_out.is_empty()
            && draft.is_some_and(|draft| {
                state.opted_out.contains(&OptedOut {
                    account_id: caller.account_id,
                    channel: draft.recipient.channel,
                    address: draft.recipient.identity().into_owned(),
                })
            });
        let account_state = AccountState {
            is_contact_gone,
            is_opted_out,
            ..outcome.account_state(caller.environment, key, now)
        };
        let reply = match account_state.judge(message, earlier.map(|(_, hash)| &hash[..])) {
            Judgement::Accept(draft, cost) => {
                let row = new_row(request, draft, cost, now, new_id());
                match outcome.charge(index, &row, &account_state, key, new_id) {
                    Ok(()) => {
                        if let Some(key) = idempotency_key {
                            used_keys.insert(key, (row.id, row.input_hash.clone()));
                        }
                        Ok(Verdict::Accepted(row))
                    }
                    Err(fault) => Err(fault),
                }
            }
            Judgement::Replay => earlier
                .map(|(id, _)| Verdict::Replayed(*id))
                .ok_or(Fault::Broken("a replayed message has the idempotency key")),
            Judgement::KeyRevoked => Err(Fault::KeyRevoked),
            Judgement::Refuse(code) => Ok(Verdict::Refused(refusal(code, message))),
        };
        outcome.replies.push(reply);
    }
    outcome
}

impl BatchOutcome {
    /// Returns the account state for the next message. It is based on the locked rows and on the charges of the batch
    /// so far.
    fn account_state(
        &self,
        environment: Environment,
        key: &KeyRow,
        now: DateTime<Utc>,
    ) -> AccountState {
        let balance = self.balances.get(&key.team_id).map(|change| change.after);
        let totals = self.totals.get(&key.account_id).map(|change| change.after);
        let totals = totals.unwrap_or_else(|| key.totals());
        AccountState {
            now,
            environment,
            is_key_usable: is_valid(key.revoked_at, key.expires_at, key.grace_ends_at, now),
            status: key.status,
            is_contact_gone: false,
            is_opted_out: false,
            credit_limit: key.credit_limit_micros.map(Micros::from_db),
            total_spent: totals.spent,
            balance: balance.unwrap_or_else(|| Micros::from_db(key.balance_micros)),
            test_stored: totals.test_stored,
        }
    }

    /// Adds an accepted message to the changes to write.
    fn charge(
        &mut self,
        index: usize,
        row: &message::Model,
        account_state: &AccountState,
        key: &KeyRow,
        new_id: &dyn Fn() -> Uuid,
    ) -> Result<(), Fault> {
        let cost = Micros::from_db(row.cost_micros);
        let before =
            Totals { spent: account_state.total_spent, test_stored: account_state.test_stored };
        let mut after = before;
        let mut entry = None;
        if cost > Micros::ZERO {
            let balance = account_state
                .balance
                .checked_sub(cost)
                .filter(|balance| *balance >= Micros::ZERO)
                .ok_or(Fault::Broken("an accepted message does not cost more than the balance"))?;
            let total_spent = account_state.total_spent.checked_add(cost).ok_or(Fault::Broken(
                "the total stays within its bounds after an accepted message",
            ))?;
            entry = Some(ChargeEntry { id: new_id(), balance_after: balance });
            change(&mut self.balances, key.team_id, account_state.balance, balance);
            // No total is kept for a main account.
            if key.is_sub_account {
                after.spent = total_spent;
            }
        }
        if row.environment == Environment::Test {
            after.test_stored = before.test_stored.with(row.word_bytes.into());
        }
        if after != before {
            change(&mut self.totals, key.account_id, before, after);
        }
        if let Some(slot) = usage_counters::Slot::of(row, row.created_at) {
            let figures = self.usage.entry(slot).or_default();
            figures.messages += 1;
            figures.segments += i64::from(row.segments);
            figures.charged_micros += row.cost_micros;
        }
        self.charges.push(Charge { index, entry });
        Ok(())
    }
}

impl KeyRow {
    fn totals(&self) -> Totals {
        let test_stored =
            TestStored { messages: self.test_message_count, bytes: self.test_message_bytes };
        Totals { spent: Micros::from_db(self.total_spent_micros), test_stored }
    }
}

fn change<T: Copy>(changes: &mut BTreeMap<Uuid, Change<T>>, id: Uuid, before: T, after: T) {
    changes.entry(id).or_insert(Change { before, after: before }).after = after;
}

/// Creates the row of an accepted message.
pub(super) fn new_row(
    request: &SendRequest,
    draft: &Draft,
    cost: Micros,
    now: DateTime<Utc>,
    id: Uuid,
) -> message::Model {
    let SendRequest { caller, message } = request;
    let draft = draft.clone();
    let due_at = message.schedule.due_at(now);
    message::Model {
        id,
        team_id: caller.team_id,
        account_id: caller.account_id,
        api_key_id: caller.key_id,
        environment: caller.environment,
        channel: draft.recipient.channel,
        status: if due_at > now { MessageStatus::Scheduled } else { MessageStatus::Queued },
        recipient: draft.recipient.address,
        country: draft.recipient.country,
        subject: draft.content.subject,
        text: draft.content.text,
        html: draft.content.html,
        contact_id: draft.contact_id,
        segments: draft.segments,
        cost_micros: cost.get(),
        refunded_at: None,
        error_code: None,
        error_message: None,
        idempotency_key: message.idempotency_key.clone(),
        input_hash: message.input_hash.clone(),
        metadata: message.metadata.clone(),
        word_bytes: i32::try_from(message.word_bytes(caller.environment)).unwrap_or(i32::MAX),
        sender_id: draft.origin.as_ref().map(|origin| origin.sender_id),
        sent_from: draft.origin.map(|origin| origin.sent_from),
        send_at: message.schedule.send_at,
        valid_until: message.schedule.valid_until,
        due_at: Some(due_at),
        lease_id: None,
        created_at: now,
        updated_at: now,
    }
}

#[cfg(test)]
mod tests;
