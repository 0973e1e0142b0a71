//! Benchmarks of the part of a request that does not need the database: `cargo bench --bench pure`.

use std::hint::black_box;

use chrono::DateTime;
use criterion::{Criterion, criterion_group, criterion_main};
use entity::{
    account::AccountStatus,
    api_key::{Environment, Role},
    message::Channel,
};
use tollgate::{
    domain::{
        api_key::plain_key::PlainKey,
        billing::{AccountState, Draft, PricedMessage, test_storage::TestStored},
        channel::{content::Content, recipient::Recipient, schedule::Schedule, segments},
    },
    money::Micros,
};

fn plain_key(c: &mut Criterion) {
    let key = PlainKey::generate(Role::SubAccount, Environment::Live);
    let valid = key.reveal();
    let changed = format!("{}A", &valid[..valid.len() - 1]);
    let changed =
        if changed == valid { format!("{}B", &valid[..valid.len() - 1]) } else { changed };
    let mut group = c.benchmark_group("PlainKey::parse");
    for (name, text) in [("valid", valid), ("wrong checksum", &changed), ("malformed", "Bearer x")]
    {
        group.bench_function(name, |b| b.iter(|| PlainKey::parse(black_box(text))));
    }
    group.finish();
}

fn segments(c: &mut Criterion) {
    let mut group = c.benchmark_group("segments::count");
    for (name, text) in [
        ("GSM-7, 20 characters", "Your code is 123456.".to_owned()),
        ("GSM-7, 1600 characters", "0123456789".repeat(160)),
        ("UCS-2, 70 characters", "ж".repeat(70)),
    ] {
        group.bench_function(name, |b| b.iter(|| segments::count(black_box(&text))));
    }
    group.finish();
}

fn verdict(c: &mut Criterion) {
    let money = |cents| Micros::from_cents(cents);
    let draft = Draft {
        recipient: Recipient {
            channel: Channel::Sms,
            address: "+12025550123".to_owned(),
            country: Some("US".to_owned()),
        },
        contact_id: None,
        content: Content { text: "Your code is 123456.".to_owned(), ..Content::default() },
        origin: None,
        segments: 1,
        cost: Ok(money(1)),
        simulated: None,
    };
    let message = PricedMessage {
        draft: Ok(draft),
        metadata: None,
        schedule: Schedule::default(),
        idempotency_key: Some("order-1".to_owned()),
        input_hash: vec![7; 32],
    };
    let account_state = AccountState {
        now: DateTime::UNIX_EPOCH,
        environment: Environment::Live,
        is_key_usable: true,
        status: AccountStatus::Active,
        is_contact_gone: false,
        is_opted_out: false,
        credit_limit: Some(money(100)),
        total_spent: money(99),
        balance: money(1_000),
        test_stored: TestStored::default(),
    };
    let at_limit = AccountState { total_spent: money(100), ..account_state.clone() };
    let mut group = c.benchmark_group("AccountState::judge");
    for (name, account_state, earlier) in [
        ("accepted", &account_state, None),
        ("at the limit", &at_limit, None),
        ("replayed", &account_state, Some(&message.input_hash[..])),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| black_box(account_state).judge(black_box(&message), earlier));
        });
    }
    group.finish();
}

criterion_group!(benches, plain_key, segments, verdict);
criterion_main!(benches);
