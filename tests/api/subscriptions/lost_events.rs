//! Events reach subscribers in every process, even if a notification was lost or a subscriber lags.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use db_test::db_test;
use futures_util::{FutureExt as _, StreamExt as _, future::join_all};
use serde_json::json;
use tokio::time::timeout;
use tollgate::domain::{api_key::authentication, events, subscriptions};

use super::{ACCOUNTS, BALANCE, MESSAGES, PRICE_MICROS, listening};
use crate::harness::{Received, Setup, Socket, TestApp, text};

#[db_test(postgres)]
async fn events_and_revocations_reach_the_sockets_of_another_process(t: &TestApp) {
    t.set_sms_price(PRICE_MICROS).await;
    let other = t.beside(Setup::default()).await;
    let (team, server, _other_server) = (t.team(1_000).await, t.serve().await, other.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let mut balance = listening(server.address, &sub.key, BALANCE).await;
    let mut messages = listening(server.address, &sub.key, MESSAGES).await;
    let mut accounts = listening(server.address, &team.key, ACCOUNTS).await;
    // Until this process listens to notifications, only the fallback finds changes.
    let mut sent = HashSet::new();
    while sent.is_empty() {
        let answer = other.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
        sent.insert(answer.data()["sendMessage"]["message"]["id"].clone());
        assert_eq!(
            t.top_up(&team, json!(100), &format!("{}", sent.len())).await.refusals(),
            [""; 0]
        );
        let event = messages.event("a").await["messageUpdated"].take();
        assert!(sent.contains(&event["id"]), "{event}");
    }
    let spent = balance.event("a").await["balanceChanged"]["totalSpent"].take();
    assert_eq!(spent, json!(100));
    assert_eq!(accounts.event("a").await["accountUpdated"]["totalSpent"], json!(100));

    other.revoke_key(&team, &sub.key_id).await;
    let ends = join_all([&mut balance, &mut messages].map(|socket| async {
        loop {
            if let Received::Closed(code) = socket.next().await {
                return code;
            }
        }
    }));
    assert_eq!(ends.await, [4403, 4403]);
}

/// Notifications that are sent while the listening connection is down are lost. When the process has connected again,
/// it reads the missed messages.
#[db_test(postgres)]
async fn a_missed_message_of_another_process_arrives_after_a_reconnect(t: &TestApp) {
    let silent = t.beside(Setup::default()).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let mut messages = listening(server.address, &team.key, MESSAGES).await;
    // The process `silent` sends no notifications.
    let answer = silent.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;

    let end_connection = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                          WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    while t.number(end_connection).await == 0 {
        tokio::task::yield_now().await;
    }

    let event = messages.event("a").await;
    assert_eq!(event["messageUpdated"]["id"], answer.data()["sendMessage"]["message"]["id"]);
}

/// The missed messages are received oldest first. No message from before the subscription is received.
#[db_test]
async fn a_lagging_subscriber_receives_each_missed_message_once(t: &TestApp) {
    let team = t.team(10_000).await;
    let sibling = t.sub_account(&team, json!({})).await;
    let silent = t.beside(Setup::default()).await;
    let send = async |t: &TestApp, key: &str| {
        let answer = t.send(key, json!({ "to": "+12025550123", "text": "Hi" })).await;
        text(&answer.data()["sendMessage"]["message"]["id"])
    };
    send(t, &team.key).await;
    t.step(TimeDelta::seconds(11));

    let caller =
        authentication::authenticate(&t.app, &team.key).await.expect("the database answers");
    let caller = caller.expect("a caller").account().expect("an account");
    let mut late = Box::pin(subscriptions::messages(Arc::clone(&t.app), caller, None));
    // The subscription begins here, and receives nothing until it is polled again.
    assert!(late.next().now_or_never().is_none());
    let mut expected = vec![send(&silent, &team.key).await];
    send(t, &sibling.key).await;
    let sending = async {
        // A second subscriber that does not lag receives each event before the next message is
        // sent.
        let mut events_of_other = t.app.events.listen(team.id.parse().expect("an id"));
        for _ in 0..BEHIND {
            t.step(TimeDelta::milliseconds(10));
            expected.push(send(t, &team.key).await);
            events_of_other.next().await;
        }
    };
    tokio::select! {
        () = events::run(&t.app) => unreachable!("it runs until it is dropped"),
        () = sending => {}
    }
    let mut found = Vec::new();
    while found.len() < expected.len() {
        let event = timeout(SOON, late.next()).await.expect("one more").expect("no end");
        found.push(event.row.id.to_string());
    }
    assert_eq!(found, expected);
    drop(late);
}

/// More events than the number by which a subscriber may lag.
const BEHIND: usize = 70;
const SOON: Duration = Duration::from_secs(20);

/// The process that makes the change does not know that the other process has subscribers.
#[db_test]
async fn a_change_without_a_notification_is_found_by_polling(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let mut balances = Socket::with_key(server.address, &team.key).await;
    let mut accounts = Socket::with_key(server.address, &team.key).await;
    for (socket, id, query) in
        [(&mut balances, "balance", BALANCE), (&mut accounts, "accounts", ACCOUNTS)]
    {
        socket.subscribe(id, query).await;
        assert_eq!(socket.before_pong().await, []);
    }

    // This process serves no sockets, so it knows of no subscribers and sends no notification. The first poll may still
    // find a change.
    let other = t.beside(Setup::default()).await;
    let mut balance = 1_000;
    for tries in 1.. {
        assert!(tries < 10, "the fallback does not poll");
        t.step(TimeDelta::seconds(1));
        balance += 500;
        let answer = other.top_up(&team, json!(500), &format!("untold-{balance}")).await;
        assert_eq!(answer.refusals(), [""; 0]);
        if let Ok(event) = timeout(Duration::from_secs(3), balances.event("balance")).await {
            assert_eq!(event["balanceChanged"]["balance"], balance);
            break;
        }
    }
    t.step(TimeDelta::seconds(1));
    let raise = "mutation($id: ID!) { updateSubAccount(account: { id: $id }, \
                 input: { creditLimit: 77 }) { errors { code } } }";
    let answer = other.ask_with(&team.key, raise, json!({ "id": sub.id })).await;
    assert_eq!(answer.refusals(), [""; 0]);
    // Changes from shortly before the subscription may be received first.
    while accounts.event("accounts").await["accountUpdated"]["creditLimit"] != 77 {}
    drop(other);
}
