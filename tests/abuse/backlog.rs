//! Backlogs of tens of thousands of messages, which are sent, suspended, canceled, or released from quiet hours. A
//! second probe measures how long the delivery of messages from another team takes.

use std::{
    slice::from_ref,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};
use tokio::time::sleep;
use tollgate::clock::{Clock as _, SystemClock};

use crate::{
    Database::{self},
    attack::{Attack, duration},
    client::Client,
    figures::{Times, milliseconds},
    fixture::Fixture,
    probe::{self, DELIVERED_WITHIN},
    report,
    requests::{post, send_400},
    scale,
};

/// How long the server is observed while it processes a backlog.
const AFTERMATH: Duration = Duration::from_secs(2);

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flood_of_messages(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let kinds = [("TEST", 1), ("TEST", 4), ("LIVE", 1), ("LIVE", 4)];
    for (environment, connections) in kinds.into_iter().take(scale(1, 4)) {
        let mut keys = Vec::new();
        for _ in 0..connections {
            let account = fixture.sub_account().await;
            keys.push(if environment == "TEST" { account.test } else { account.live });
        }
        let name = format!("400 {environment} messages a call, {connections} accounts");
        try_backlog(&mut fixture, &name, async |attack| flood(attack, &keys, &json!({})).await)
            .await;
    }
    fixture.finish().await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_suspended_backlog(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let (account, main) = (fixture.sub_account().await, fixture.attacker.clone());
    let id = json!({ "id": account.id });
    let name = "TEST messages that are due while their account is suspended, and reactivated";
    try_backlog(&mut fixture, name, async |attack| {
        let due = SystemClock.now() + duration() + Duration::from_secs(1);
        flood(attack, &[account.test], &json!({ "sendAt": due })).await;
        call(attack, &main, "suspendSubAccount", &id).await;
        sleep(Duration::from_secs(1) + AFTERMATH).await;
        call(attack, &main, "reactivateSubAccount", &id).await;
        sleep(AFTERMATH).await;
    })
    .await;
    fixture.finish().await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_canceled_backlog(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let main = fixture.attacker.clone();
    // A request with 400 of these messages is just below the limit of 2 MiB.
    let long = "Lorem ipsum ".repeat(5_000 / 12);
    let mail = json!({ "to": "ada@example.com", "subject": "Hi", "text": long });
    let backlogs = [("e-mails of 5 KB", mail), ("short messages", json!({}))];
    for (what, message) in backlogs.into_iter().take(scale(1, 2)) {
        let account = fixture.sub_account().await;
        let id = json!({ "id": account.id });
        let name = format!("{what} for another day whose account is deactivated");
        try_backlog(&mut fixture, &name, async |attack| {
            let mut message = message;
            message["sendAt"] = json!(SystemClock.now() + TimeDelta::days(20));
            flood(attack, &[account.test], &message).await;
            call(attack, &main, "deactivateSubAccount", &id).await;
            sleep(AFTERMATH).await;
        })
        .await;
    }
    fixture.finish().await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backlog_after_quiet_hours(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let account = fixture.sub_account().await;
    try_backlog(
        &mut fixture,
        "LIVE messages that wait for the end of quiet hours",
        async |attack| {
            let hour =
                |hours| (SystemClock.now() + TimeDelta::hours(hours)).format("%H:%M").to_string();
            let now = json!({ "from": hour(-1), "to": hour(2), "timeZone": "UTC" });
            set_quiet_hours(attack, &account.live, &now).await;
            flood(attack, from_ref(&account.live), &json!({})).await;
            for _ in 0..2 {
                set_quiet_hours(attack, &account.live, &Value::Null).await;
                sleep(Duration::from_millis(300)).await;
                set_quiet_hours(attack, &account.live, &now).await;
            }
            set_quiet_hours(attack, &account.live, &Value::Null).await;
            sleep(AFTERMATH).await;
        },
    )
    .await;
    fixture.finish().await;
}

/// Runs an attack with the usual probe and with a probe that waits for deliveries, and checks the results of both
/// probes.
async fn try_backlog(fixture: &mut Fixture, name: &str, script: impl AsyncFnOnce(&mut Attack)) {
    let (address, key) = (fixture.server.address, fixture.probe.clone());
    let mut deliveries = Vec::new();
    fixture
        .attack(name, &["200"], async |attack| {
            let probe = probe::deliveries(address, &key);
            script(attack).await;
            attack.stop().await;
            deliveries = probe.stop().await;
        })
        .await;
    let delivered =
        Times::new(deliveries.iter().filter_map(|delivery| delivery.as_ref().ok().copied()));
    report(&format!(
        "  delivery: median {}, maximum {}",
        milliseconds(delivered.percentile(50)),
        milliseconds(delivered.worst()),
    ));
    if let Some(seen) = deliveries.iter().find_map(|delivery| delivery.as_ref().err()) {
        fixture.fail(format!("{name}: after {DELIVERED_WITHIN:?} a message has the status {seen}"));
    }
}

/// Sends messages with this content for the duration of an attack, on one connection per key.
async fn flood(attack: &mut Attack, keys: &[String], content: &Value) {
    let mut message = json!({ "to": "+12025550123", "text": "Hello" });
    if let (Some(message), Some(content)) = (message.as_object_mut(), content.as_object()) {
        message.extend(content.clone());
    }
    for key in keys {
        attack.repeat(1, &[post(key, &send_400(), &json!({ "m": message }))]);
    }
    attack.run().await;
    attack.stop().await;
}

/// Calls a mutation on a sub-account, and prints how long the call took.
async fn call(attack: &Attack, key: &str, mutation: &str, account: &Value) {
    let query = format!(
        "mutation($account: AccountRef!) {{ {mutation}(account: $account) {{ errors {{ code }} }} }}"
    );
    ask(attack, key, mutation, &query, &json!({ "account": account })).await;
}

async fn set_quiet_hours(attack: &Attack, key: &str, input: &Value) {
    let query = "mutation($input: SetQuietHoursInput) \
                 { setQuietHours(input: $input) { errors { code } } }";
    ask(attack, key, "setQuietHours", query, &json!({ "input": input })).await;
}

async fn ask(attack: &Attack, key: &str, name: &str, query: &str, variables: &Value) {
    let begun = Instant::now();
    let answer = Client::new(attack.target).graphql(key, query, variables).await;
    let answer = answer.map_or_else(|failure| failure.to_string(), |answer| answer.body);
    report(&format!("  {name} took {}: {answer}", milliseconds(begun.elapsed())));
}
