//! Tests the decision on a batch against a naive model. The model decides on one message after another and uses plain
//! numbers.

use std::{cell::Cell, collections::HashSet};

use entity::message::Channel;
use proptest::prelude::*;

use super::{super::verdict::*, *};
use crate::domain::{
    Refusal,
    billing::test_storage::{TEST_BYTES_MAX, TEST_MESSAGES_MAX},
    caller::AccountCaller,
    channel::{
        content::Content, recipient::Recipient, schedule::Schedule, send_refusal::SendRefusal,
    },
};

const TEAMS: usize = 2;
const ACCOUNTS: usize = 4;
const KEYS: usize = 6;
const OPTED_OUT: &str = "+12025550100";

/// Rows as plain numbers. Account `n` belongs to team `n % TEAMS`, and key `n` to account `n % ACCOUNTS`;
/// the first account of each team is its main account.
#[derive(Clone, Debug)]
struct World {
    balances: [i64; TEAMS],
    spent: [i64; ACCOUNTS],
    limits: [Option<i64>; ACCOUNTS],
    statuses: [AccountStatus; ACCOUNTS],
    are_revoked: [bool; KEYS],
    /// Whether [`OPTED_OUT`] has opted out of the account's messages.
    have_opt_out: [bool; ACCOUNTS],
    /// The free storage for TEST messages of each account, in messages and bytes.
    test_capacity: [(i64, i64); ACCOUNTS],
}

/// A message to send.
#[derive(Clone, Debug)]
struct Given {
    key: usize,
    is_to_opted_out: bool,
    is_test: bool,
    template_is_gone: bool,
    /// The contact to which the message is sent. The first contact exists, the second does not.
    contact: Option<usize>,
    cost: Option<i64>,
    /// Number of bytes of content. If there are more than 2, two of them are metadata and the others are text.
    bytes: u8,
    idempotency_key: Option<u8>,
    input: u8,
    simulated: Option<SendRefusal>,
}

/// The verdict of the naive model on a message.
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

    fn judge(&mut self, given: &Given, used_keys: &mut HashMap<(usize, bool, u8), u8>) -> Expected {
        let account = given.key % ACCOUNTS;
        let team = account % TEAMS;
        let slot = given.idempotency_key.map(|key| (account, given.is_test, key));
        match slot.and_then(|slot| used_keys.get(&slot)) {
            Some(input) if *input == given.input => return Expected::Replayed,
            Some(_) => return Expected::Refused(SendRefusal::IdempotencyConflict),
            None => {}
        }
        if given.template_is_gone {
            return Expected::Refused(SendRefusal::TemplateNotFound);
        }
        if given.contact == Some(1) {
            return Expected::Refused(SendRefusal::ContactNotFound);
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
        if given.is_to_opted_out && self.have_opt_out[account] {
            return Expected::Refused(SendRefusal::OptedOut);
        }
        let Some(cost) = given.cost else {
            return Expected::Refused(SendRefusal::NoPrice);
        };
        if given.is_test {
            if let Some(code) = given.simulated {
                return Expected::Refused(code);
            }
            let (messages, bytes) = &mut self.test_capacity[account];
            if *messages == 0 || *bytes < given.bytes.into() {
                return Expected::Refused(SendRefusal::TestStorageFull);
            }
            *messages -= 1;
            *bytes -= i64::from(given.bytes);
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
            used_keys.insert(slot, given.input);
        }
        Expected::Accepted
    }
}

fn id(kind: u8, number: usize) -> Uuid {
    let mut bytes = [kind; 16];
    bytes[15] = u8::try_from(number).expect("a small number");
    Uuid::from_bytes(bytes)
}

fn template_is_gone() -> Refusal<SendRefusal> {
    Refusal { code: SendRefusal::TemplateNotFound, message: "Gone.".into(), field: &[] }
}

fn request(given: &Given) -> SendRequest {
    let account = given.key % ACCOUNTS;
    let environment = if given.is_test { Environment::Test } else { Environment::Live };
    let cost = given.cost.map(|cost| if given.is_test { 0 } else { cost });
    let metadata = (given.bytes > 2).then(|| "{}".to_owned());
    let text = "x".repeat(usize::from(given.bytes) - metadata.as_ref().map_or(0, String::len));
    let draft = Draft {
        recipient: Recipient {
            channel: Channel::Sms,
            address: if given.is_to_opted_out { OPTED_OUT } else { "+12025550123" }.to_owned(),
            country: Some("US".to_owned()),
        },
        contact_id: given.contact.map(|contact| id(4, contact)),
        content: Content { text, ..Content::default() },
        origin: None,
        segments: 1,
        cost: cost.and_then(Micros::new).ok_or(PriceRefusal::NoPrice),
        simulated: given.simulated.filter(|_| given.is_test),
    };
    SendRequest {
        caller: AccountCaller {
            key_id: id(1, given.key),
            team_id: id(3, account % TEAMS),
            account_id: id(2, account),
            environment,
            is_sub_account: !World::is_main(account),
        },
        message: PricedMessage {
            draft: if given.template_is_gone { Err(template_is_gone()) } else { Ok(draft) },
            metadata,
            schedule: Schedule::default(),
            idempotency_key: given.idempotency_key.map(|key| key.to_string()),
            input_hash: vec![given.input],
        },
    }
}

fn batch_state(world: &World, earlier: Vec<EarlierMessage>, now: DateTime<Utc>) -> BatchState {
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
            test_message_count: TEST_MESSAGES_MAX - world.test_capacity[account].0,
            test_message_bytes: TEST_BYTES_MAX - world.test_capacity[account].1,
            has_opt_outs: world.have_opt_out[account],
            team_id: id(3, team),
            balance_micros: world.balances[team],
        }
    });
    let opted_out = (0..ACCOUNTS).filter(|account| world.have_opt_out[*account]);
    let opted_out = opted_out.map(|account| OptedOut {
        account_id: id(2, account),
        channel: Channel::Sms,
        address: OPTED_OUT.to_owned(),
    });
    let contacts = HashSet::from([id(4, 0)]);
    BatchState { keys: keys.collect(), earlier, opted_out: opted_out.collect(), contacts }
}

/// Returns the storage of an account with this free capacity in messages and bytes.
fn storage_with_capacity((messages, bytes): (i64, i64)) -> TestStored {
    TestStored { messages: TEST_MESSAGES_MAX - messages, bytes: TEST_BYTES_MAX - bytes }
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
        prop::array::uniform4(prop::bool::weighted(0.4)),
        prop::array::uniform4((0_i64..4, 0_i64..16)),
    )
        .prop_map(
            |(
                balances,
                mut spent,
                mut limits,
                mut statuses,
                are_revoked,
                have_opt_out,
                test_capacity,
            )| {
                for main in 0..TEAMS {
                    (spent[main], limits[main]) = (0, None);
                    statuses[main] = AccountStatus::Active;
                }
                World {
                    balances,
                    spent,
                    limits,
                    statuses,
                    are_revoked,
                    have_opt_out,
                    test_capacity,
                }
            },
        )
}

fn given() -> impl Strategy<Value = Given> {
    let simulated = prop::option::weighted(0.2, Just(SendRefusal::CreditLimitReached));
    (
        0..KEYS,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
        (prop::bool::weighted(0.05), prop::option::weighted(0.3, 0_usize..2)),
        (prop::option::weighted(0.95, 0_i64..12), 1_u8..8),
        prop::option::weighted(0.4, 0_u8..4),
        0_u8..2,
        simulated,
    )
        .prop_map(
            |(key, is_to_opted_out, is_test, gone, size, idempotency_key, input, simulated)| {
                Given {
                    key,
                    is_to_opted_out,
                    is_test,
                    template_is_gone: gone.0,
                    contact: gone.1,
                    cost: size.0,
                    bytes: size.1,
                    idempotency_key,
                    input,
                    simulated,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The verdicts, balances and totals are the same as in the naive model, for any messages in any batches.
    #[test]
    fn a_batch_has_the_outcome_of_its_messages_one_after_another(
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
        let mut used_keys = HashMap::new();
        let mut earlier = Vec::new();
        let mut entries = HashSet::new();
        for batch in given.chunks(batch_size) {
            let opening = world.balances;
            let requests: Vec<SendRequest> = batch.iter().map(request).collect();
            let state = batch_state(&world, earlier.clone(), now);

            let outcome = judge(state, requests.iter(), now, &new_id);

            for (given, reply) in batch.iter().zip(&outcome.replies) {
                let actual = match reply {
                    Ok(Verdict::Accepted(_)) => Expected::Accepted,
                    Ok(Verdict::Replayed(_)) => Expected::Replayed,
                    Ok(Verdict::Refused(refusal)) => Expected::Refused(refusal.code),
                    Err(Fault::KeyRevoked) => Expected::Revoked,
                    Err(fault) => panic!("{fault}"),
                };
                prop_assert_eq!(actual, naive.judge(given, &mut used_keys));
            }
            prop_assert_eq!(outcome.replies.len(), batch.len());
            for (row, entry) in outcome.accepted() {
                prop_assert_eq!(entry.is_some(), row.cost_micros > 0);
                if let Some(entry) = entry {
                    prop_assert!(entries.insert(entry.id), "each entry has a unique id");
                }
            }
            for (number, balance) in world.balances.iter_mut().enumerate() {
                // The balances after the team's ledger entries lead from its opening balance to its closing balance.
                let mut running = opening[number];
                for (row, entry) in outcome.accepted().filter(|(row, _)| row.team_id == id(3, number)) {
                    if let Some(entry) = entry {
                        running -= row.cost_micros;
                        prop_assert_eq!(entry.balance_after.get(), running);
                    }
                }
                if let Some(change) = outcome.balances.get(&id(3, number)) {
                    prop_assert_eq!(change.before.get(), *balance);
                    *balance = change.after.get();
                }
                prop_assert_eq!(*balance, running);
            }
            for (number, spent) in world.spent.iter_mut().enumerate() {
                if let Some(change) = outcome.totals.get(&id(2, number)) {
                    prop_assert_eq!(change.before.spent.get(), *spent);
                    *spent = change.after.spent.get();
                }
            }
            for (number, capacity) in world.test_capacity.iter_mut().enumerate() {
                let of_account = outcome.accepted().filter(|(row, _)| {
                    row.account_id == id(2, number) && row.environment == Environment::Test
                });
                let (mut messages, mut bytes) = *capacity;
                for (row, _) in of_account {
                    messages -= 1;
                    bytes -= i64::from(row.word_bytes);
                }
                if let Some(Change { before, after }) = outcome.totals.get(&id(2, number)) {
                    prop_assert_eq!(before.test_stored, storage_with_capacity(*capacity));
                    prop_assert_eq!(after.test_stored, storage_with_capacity((messages, bytes)));
                } else {
                    prop_assert_eq!(*capacity, (messages, bytes));
                }
                *capacity = (messages, bytes);
            }
            let live = outcome.accepted().filter(|(row, _)| row.environment == Environment::Live);
            prop_assert!(live.into_iter().all(|(row, _)| row.word_bytes == 0));
            let charged: i64 = outcome.usage.values().map(|figures| figures.charged_micros).sum();
            let before: i64 = opening.iter().sum();
            let after: i64 = world.balances.iter().sum();
            prop_assert_eq!(charged, before - after, "usage equals the charges");
            earlier.extend(outcome.accepted().filter_map(|(row, _)| {
                Some(EarlierMessage {
                    id: row.id,
                    account_id: row.account_id,
                    environment: row.environment,
                    idempotency_key: row.idempotency_key.clone()?,
                    input_hash: row.input_hash.clone(),
                })
            }));
        }
        prop_assert_eq!(world.balances, naive.balances);
        prop_assert_eq!(world.spent, naive.spent);
        prop_assert_eq!(world.test_capacity, naive.test_capacity);
    }
}
