//! The judgement of a batch: a pure function from what the locked rows say, and the messages in the
//! order in which they came, to a verdict for each and to what is to be written. It knows no
//! database, so it can be tested against a naive model.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use entity::{
    account::AccountStatus,
    api_key::Environment,
    message::{self, MessageStatus},
};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{
    queue::{Reply, Sending},
    verdict::{Judgement, Standing, Verdict, refusal},
};
use crate::{
    domain::{Fault, account::stored, authentication::is_valid, usage},
    money::Micros,
};

/// A key with its account and its team, as they are under the lock.
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
    pub team_id: Uuid,
    pub balance_micros: i64,
}

/// What judges a batch besides its messages.
#[derive(Debug, Default)]
pub struct Ground {
    pub keys: Vec<KeyRow>,
    /// The messages that hold idempotency keys of the batch.
    pub earlier: Vec<message::Model>,
}

/// The outcome of a batch: an answer for each message, in order, and what must be committed before
/// any of them is given.
#[derive(Debug, Default)]
pub struct Judged {
    pub replies: Vec<Reply>,
    pub charges: Vec<Charge>,
    /// The balance of each team that is charged.
    pub balances: BTreeMap<Uuid, Change>,
    /// The `totalSpent` of each sub-account that is charged.
    pub totals: BTreeMap<Uuid, Change>,
    pub usage: BTreeMap<usage::Slot, usage::Figures>,
}

/// An accepted message, and its entry in the ledger unless it costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Its place among the replies.
    pub at: usize,
    pub entry: Option<ChargeEntry>,
}

#[derive(Clone, Copy, Debug)]
pub struct ChargeEntry {
    pub id: Uuid,
    pub balance_after: Micros,
}

/// An amount before and after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub before: Micros,
    pub after: Micros,
}

impl Judged {
    /// One message as the shortest route would accept it: the database judges and charges it.
    pub fn of_one(row: message::Model) -> Self {
        let charges = vec![Charge { at: 0, entry: None }];
        Self { replies: vec![Ok(Verdict::Accepted(row))], charges, ..Self::default() }
    }

    /// The accepted messages, each with its entry in the ledger.
    pub fn accepted(&self) -> impl Iterator<Item = (&message::Model, Option<ChargeEntry>)> {
        self.charges.iter().filter_map(|charge| match &self.replies[charge.at] {
            Ok(Verdict::Accepted(row)) => Some((row, charge.entry)),
            _ => None,
        })
    }
}

/// The key of R13.
type IdempotencyKey = (Uuid, Environment, String);

/// Judges each message in order, as if they came one after another (R8, R10).
pub fn judge<'a>(
    ground: Ground,
    sendings: impl Iterator<Item = &'a Sending>,
    now: DateTime<Utc>,
    new_id: &dyn Fn() -> Uuid,
) -> Judged {
    let keys: HashMap<Uuid, KeyRow> =
        ground.keys.into_iter().map(|row| (row.key_id, row)).collect();
    let mut held: HashMap<IdempotencyKey, message::Model> = HashMap::new();
    for row in ground.earlier {
        if let Some(key) = row.idempotency_key.clone() {
            held.insert((row.account_id, row.environment, key), row);
        }
    }

    let mut judged = Judged::default();
    for (at, sending) in sendings.enumerate() {
        let Sending { caller, message } = sending;
        let held_key = message
            .idempotency_key
            .as_ref()
            .map(|key| (caller.account_id, caller.environment, key.clone()));
        let earlier = held_key.as_ref().and_then(|key| held.get(key));
        let Some(key) = keys.get(&caller.key_id) else {
            judged.replies.push(Err(Fault::Broken("a caller's key exists")));
            continue;
        };
        let standing = judged.standing(caller.environment, key, now);
        let reply = match standing.judge(message, earlier.map(|row| &row.input_hash[..])) {
            Judgement::Accept(cost) => {
                let row = new_row(sending, cost, now, new_id());
                match judged.charge(at, &row, &standing, key, new_id) {
                    Ok(()) => {
                        if let Some(key) = held_key {
                            held.insert(key, row.clone());
                        }
                        Ok(Verdict::Accepted(row))
                    }
                    Err(fault) => Err(fault),
                }
            }
            Judgement::Replay => earlier
                .cloned()
                .map(Verdict::Replayed)
                .ok_or(Fault::Broken("a replayed message is held by its key")),
            Judgement::KeyRevoked => Err(Fault::KeyRevoked),
            Judgement::Refuse(code) => Ok(Verdict::Refused(refusal(code, message))),
        };
        judged.replies.push(reply);
    }
    judged
}

impl Judged {
    /// What judges the next message: the locked rows, and what the batch has charged so far.
    fn standing(&self, environment: Environment, key: &KeyRow, now: DateTime<Utc>) -> Standing {
        let so_far = |changes: &BTreeMap<Uuid, Change>, id: Uuid, locked: i64| {
            changes.get(&id).map_or_else(|| stored(locked), |change| change.after)
        };
        Standing {
            environment,
            is_key_usable: is_valid(key.revoked_at, key.expires_at, key.grace_ends_at, now),
            status: key.status,
            credit_limit: key.credit_limit_micros.map(stored),
            total_spent: so_far(&self.totals, key.account_id, key.total_spent_micros),
            balance: so_far(&self.balances, key.team_id, key.balance_micros),
        }
    }

    /// Adds an accepted message to what is to be written.
    fn charge(
        &mut self,
        at: usize,
        row: &message::Model,
        standing: &Standing,
        key: &KeyRow,
        new_id: &dyn Fn() -> Uuid,
    ) -> Result<(), Fault> {
        let cost = stored(row.cost_micros);
        let mut entry = None;
        if cost > Micros::ZERO {
            let balance = standing
                .balance
                .checked_sub(cost)
                .filter(|balance| *balance >= Micros::ZERO)
                .ok_or(Fault::Broken("an accepted message costs no more than the balance"))?;
            let total_spent = standing
                .total_spent
                .checked_add(cost)
                .ok_or(Fault::Broken("an accepted message keeps the total within bounds"))?;
            entry = Some(ChargeEntry { id: new_id(), balance_after: balance });
            change(&mut self.balances, key.team_id, standing.balance, balance);
            // A main account has no total (R7).
            if key.is_sub_account {
                change(&mut self.totals, key.account_id, standing.total_spent, total_spent);
            }
        }
        if let Some(slot) = usage::Slot::of(row, row.created_at) {
            let figures = self.usage.entry(slot).or_default();
            figures.messages += 1;
            figures.segments += i64::from(row.segments);
            figures.charged_micros += row.cost_micros;
        }
        self.charges.push(Charge { at, entry });
        Ok(())
    }
}

fn change(changes: &mut BTreeMap<Uuid, Change>, id: Uuid, before: Micros, after: Micros) {
    changes.entry(id).or_insert(Change { before, after: before }).after = after;
}

/// The row of an accepted message.
pub(super) fn new_row(
    sending: &Sending,
    cost: Micros,
    now: DateTime<Utc>,
    id: Uuid,
) -> message::Model {
    let Sending { caller, message } = sending.clone();
    message::Model {
        id,
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

#[cfg(test)]
mod tests {
    //! The judgement against a naive model: one message after another, on plain numbers.

    use std::{cell::Cell, collections::HashSet};

    use entity::message::Channel;
    use proptest::prelude::*;

    use super::{super::verdict::*, *};
    use crate::domain::{caller::AccountCaller, recipient::Recipient};

    const TEAMS: usize = 2;
    const ACCOUNTS: usize = 4;
    const KEYS: usize = 6;

    /// Rows as plain numbers. Account `n` is of team `n % TEAMS`, key `n` of account `n % ACCOUNTS`;
    /// the first account of each team is its main account.
    #[derive(Clone, Debug)]
    struct World {
        balances: [i64; TEAMS],
        spent: [i64; ACCOUNTS],
        limits: [Option<i64>; ACCOUNTS],
        statuses: [AccountStatus; ACCOUNTS],
        are_revoked: [bool; KEYS],
    }

    #[derive(Clone, Debug)]
    struct Given {
        key: usize,
        is_test: bool,
        cost: Option<i64>,
        idempotency_key: Option<u8>,
        input: u8,
        simulated: Option<SendRefusal>,
    }

    /// What the naive model says of one message.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Expected {
        Accepted,
        Replayed,
        Revoked,
        Refused(SendRefusal),
    }

    impl World {
        fn is_main(account: usize) -> bool {
            account < TEAMS
        }

        fn judge(&mut self, given: &Given, held: &mut HashMap<(usize, bool, u8), u8>) -> Expected {
            let account = given.key % ACCOUNTS;
            let team = account % TEAMS;
            let slot = given.idempotency_key.map(|key| (account, given.is_test, key));
            match slot.and_then(|slot| held.get(&slot)) {
                Some(input) if *input == given.input => return Expected::Replayed,
                Some(_) => return Expected::Refused(SendRefusal::IdempotencyConflict),
                None => {}
            }
            if self.are_revoked[given.key] {
                return Expected::Revoked;
            }
            match self.statuses[account] {
                AccountStatus::Active => {}
                AccountStatus::Suspended => {
                    return Expected::Refused(SendRefusal::AccountSuspended);
                }
                AccountStatus::Inactive => return Expected::Refused(SendRefusal::AccountInactive),
            }
            let Some(cost) = given.cost else {
                return Expected::Refused(SendRefusal::NoPrice);
            };
            if given.is_test {
                if let Some(code) = given.simulated {
                    return Expected::Refused(code);
                }
            } else if cost > 0 {
                if self.limits[account].is_some_and(|limit| self.spent[account] >= limit) {
                    return Expected::Refused(SendRefusal::CreditLimitReached);
                }
                if self.balances[team] < cost {
                    return Expected::Refused(SendRefusal::InsufficientBalance);
                }
                self.balances[team] -= cost;
                if !Self::is_main(account) {
                    self.spent[account] += cost;
                }
            }
            if let Some(slot) = slot {
                held.insert(slot, given.input);
            }
            Expected::Accepted
        }
    }

    fn id(kind: u8, number: usize) -> Uuid {
        let mut bytes = [kind; 16];
        bytes[15] = u8::try_from(number).expect("a small number");
        Uuid::from_bytes(bytes)
    }

    fn sending(given: &Given) -> Sending {
        let account = given.key % ACCOUNTS;
        let environment = if given.is_test { Environment::Test } else { Environment::Live };
        let cost = given.cost.map(|cost| if given.is_test { 0 } else { cost });
        Sending {
            caller: AccountCaller {
                key_id: id(1, given.key),
                team_id: id(3, account % TEAMS),
                account_id: id(2, account),
                environment,
                is_sub_account: !World::is_main(account),
            },
            message: PricedMessage {
                recipient: Recipient {
                    channel: Channel::Sms,
                    address: "+12025550123".to_owned(),
                    country: Some("US".to_owned()),
                },
                subject: None,
                text: "Hi".to_owned(),
                segments: 1,
                metadata: None,
                idempotency_key: given.idempotency_key.map(|key| key.to_string()),
                input_hash: vec![given.input],
                cost: cost.and_then(Micros::new).ok_or(PriceRefusal::NoPrice),
                simulated: given.simulated.filter(|_| given.is_test),
            },
        }
    }

    fn ground(world: &World, earlier: Vec<message::Model>, now: DateTime<Utc>) -> Ground {
        let keys = (0..KEYS).map(|key| {
            let account = key % ACCOUNTS;
            let team = account % TEAMS;
            KeyRow {
                key_id: id(1, key),
                revoked_at: world.are_revoked[key].then_some(now),
                expires_at: None,
                grace_ends_at: None,
                account_id: id(2, account),
                is_sub_account: !World::is_main(account),
                status: world.statuses[account],
                credit_limit_micros: world.limits[account],
                total_spent_micros: world.spent[account],
                team_id: id(3, team),
                balance_micros: world.balances[team],
            }
        });
        Ground { keys: keys.collect(), earlier }
    }

    fn world() -> impl Strategy<Value = World> {
        let status = prop_oneof![
            6 => Just(AccountStatus::Active),
            1 => Just(AccountStatus::Suspended),
            1 => Just(AccountStatus::Inactive),
        ];
        (
            prop::array::uniform2(0_i64..60),
            prop::array::uniform4(0_i64..20),
            prop::array::uniform4(prop::option::of(0_i64..30)),
            prop::array::uniform4(status),
            prop::array::uniform6(prop::bool::weighted(0.1)),
        )
            .prop_map(|(balances, mut spent, mut limits, mut statuses, are_revoked)| {
                for main in 0..TEAMS {
                    (spent[main], limits[main]) = (0, None);
                    statuses[main] = AccountStatus::Active;
                }
                World { balances, spent, limits, statuses, are_revoked }
            })
    }

    fn given() -> impl Strategy<Value = Given> {
        let simulated = prop::option::weighted(0.2, Just(SendRefusal::CreditLimitReached));
        (
            0..KEYS,
            prop::bool::weighted(0.2),
            prop::option::weighted(0.95, 0_i64..12),
            prop::option::weighted(0.4, 0_u8..4),
            0_u8..2,
            simulated,
        )
            .prop_map(|(key, is_test, cost, idempotency_key, input, simulated)| Given {
                key,
                is_test,
                cost,
                idempotency_key,
                input,
                simulated,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any messages in any batches get the verdicts, and leave the amounts, that the naive model says.
        #[test]
        fn a_batch_is_judged_as_one_message_after_another(
            mut world in world(),
            given in prop::collection::vec(given(), 0..24),
            batch_size in 1_usize..10,
        ) {
            let now = DateTime::<Utc>::UNIX_EPOCH;
            let ids = Cell::new(0_u128);
            let new_id = || {
                ids.set(ids.get() + 1);
                Uuid::from_u128(ids.get())
            };
            let mut naive = world.clone();
            let mut held = HashMap::new();
            let mut earlier = Vec::new();
            let mut entries = HashSet::new();
            for batch in given.chunks(batch_size) {
                let opening = world.balances;
                let sendings: Vec<Sending> = batch.iter().map(sending).collect();
                let ground = ground(&world, earlier.clone(), now);

                let judged = judge(ground, sendings.iter(), now, &new_id);

                for (given, reply) in batch.iter().zip(&judged.replies) {
                    let said = match reply {
                        Ok(Verdict::Accepted(_)) => Expected::Accepted,
                        Ok(Verdict::Replayed(_)) => Expected::Replayed,
                        Ok(Verdict::Refused(refusal)) => Expected::Refused(refusal.code),
                        Err(Fault::KeyRevoked) => Expected::Revoked,
                        Err(fault) => panic!("{fault}"),
                    };
                    prop_assert_eq!(said, naive.judge(given, &mut held));
                }
                prop_assert_eq!(judged.replies.len(), batch.len());
                for (row, entry) in judged.accepted() {
                    prop_assert_eq!(entry.is_some(), row.cost_micros > 0);
                    if let Some(entry) = entry {
                        prop_assert!(entries.insert(entry.id), "an entry's id is its own");
                    }
                }
                for (number, balance) in world.balances.iter_mut().enumerate() {
                    // The running balances of a team lead from what it had to what it has.
                    let mut running = opening[number];
                    for (row, entry) in judged.accepted().filter(|(row, _)| row.team_id == id(3, number)) {
                        if let Some(entry) = entry {
                            running -= row.cost_micros;
                            prop_assert_eq!(entry.balance_after.get(), running);
                        }
                    }
                    if let Some(change) = judged.balances.get(&id(3, number)) {
                        prop_assert_eq!(change.before.get(), *balance);
                        *balance = change.after.get();
                    }
                    prop_assert_eq!(*balance, running);
                }
                for (number, spent) in world.spent.iter_mut().enumerate() {
                    if let Some(change) = judged.totals.get(&id(2, number)) {
                        prop_assert_eq!(change.before.get(), *spent);
                        *spent = change.after.get();
                    }
                }
                let charged: i64 = judged.usage.values().map(|figures| figures.charged_micros).sum();
                let before: i64 = opening.iter().sum();
                let after: i64 = world.balances.iter().sum();
                prop_assert_eq!(charged, before - after, "usage is what was charged");
                earlier.extend(judged.accepted().map(|(row, _)| row.clone()));
            }
            prop_assert_eq!(world.balances, naive.balances);
            prop_assert_eq!(world.spent, naive.spent);
        }
    }
}
