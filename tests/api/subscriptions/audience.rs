//! The events that a subscriber with each kind of key receives.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use super::{ACCOUNTS, BALANCE, MESSAGES, PRICE_MICROS, listening};
use crate::harness::TestApp;

/// A key that must not see the balance receives only events of its own account.
#[db_test]
async fn balance_events_show_each_key_what_it_may_see(t: &TestApp) {
    t.set_sms_price(PRICE_MICROS).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let open = t.sub_account(&team, json!({ "name": "Open", "creditLimit": 500 })).await;
    let hidden = json!({ "name": "Hidden", "teamBalanceVisible": false });
    let hidden = t.sub_account(&team, hidden).await;
    let mut of_main = listening(server.address, &team.key, BALANCE).await;
    let mut of_open = listening(server.address, &open.key, BALANCE).await;
    let mut of_hidden = listening(server.address, &hidden.key, BALANCE).await;
    let view = |balance: Value, spent: Value, limit: Value| {
        let is_sub_account = !spent.is_null();
        json!({ "balanceChanged": { "balance": balance, "isSubAccount": is_sub_account,
            "totalSpent": spent, "creditLimit": limit } })
    };

    assert!(t.sends(&open.key).await);
    assert_eq!(of_main.event("a").await, view(json!(900), json!(null), json!(null)));
    assert_eq!(of_open.event("a").await, view(json!(900), json!(100), json!(500)));

    // A key that must not see the balance receives its first event only when its own account changes.
    assert!(t.sends(&hidden.key).await);
    assert_eq!(of_hidden.event("a").await, view(json!(null), json!(100), json!(null)));
    assert_eq!(of_main.event("a").await, view(json!(800), json!(null), json!(null)));
    assert_eq!(of_open.event("a").await, view(json!(800), json!(100), json!(500)));

    assert_eq!(t.top_up(&team, json!(50), "more").await.refusals(), [""; 0]);
    assert_eq!(of_open.event("a").await, view(json!(850), json!(100), json!(500)));
    t.set_limit(&team.key, &hidden.id, json!(700)).await;
    assert_eq!(of_hidden.event("a").await, view(json!(null), json!(100), json!(700)));
}

/// An event is sent when the message is accepted and whenever its status changes.
#[db_test]
async fn message_events_go_only_to_the_account_of_the_message(t: &TestApp) {
    t.set_sms_price(PRICE_MICROS).await;
    let (team, other, server) = (t.team(10_000).await, t.team(10_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let sibling = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let mut own = listening(server.address, &sub.key, MESSAGES).await;
    let mut others = Vec::new();
    for key in [&team.key, &sibling.key, &other.key, &test_key] {
        others.push(listening(server.address, key, MESSAGES).await);
    }

    let answer = t.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    let id = &answer.data()["sendMessage"]["message"]["id"];
    let event =
        |status: &str| json!({ "messageUpdated": { "id": id, "status": status, "cost": 100 } });
    assert_eq!(own.event("a").await, event("QUEUED"));
    for other_socket in &mut others {
        // This subscription names a message of another account by its id.
        let query = format!("subscription {{ messageUpdated(id: {id}) {{ id status }} }}");
        other_socket.subscribe("b", &query).await;
        assert_eq!(other_socket.before_pong().await, []);
    }
    t.deliver().await;
    let mut statuses = Vec::new();
    while statuses.last() != Some(&json!("DELIVERED")) {
        statuses.push(own.event("a").await["messageUpdated"]["status"].take());
    }
    assert!(
        statuses
            .iter()
            .all(|status| ["SENDING", "SENT", "DELIVERED"].map(Value::from).contains(status))
    );

    // The first event on each of these sockets is about the key's own message, and not about an earlier message of
    // another account.
    for (key, other_socket) in
        [&team.key, &sibling.key, &other.key, &test_key].into_iter().zip(&mut others)
    {
        let answer = t.send(key, json!({ "to": "+12025550124", "text": "Hi" })).await;
        let own_id = &answer.data()["sendMessage"]["message"]["id"];
        assert_eq!(other_socket.event("a").await["messageUpdated"]["id"], *own_id);
    }
}

#[db_test]
async fn events_of_one_message_are_selected_by_its_id(t: &TestApp) {
    let (team, server) = (t.team(10_000).await, t.serve().await);
    let answer = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    let id = &answer.data()["sendMessage"]["message"]["id"];
    let one = format!("subscription {{ messageUpdated(id: {id}) {{ id status }} }}");
    let junk = "subscription { messageUpdated(id: \"junk\") { id status } }";
    let mut socket = listening(server.address, &team.key, &one).await;
    socket.subscribe("junk", junk).await;
    assert_eq!(socket.before_pong().await, []);

    assert!(t.sends(&team.key).await, "another");
    t.deliver().await;
    let mut status = Value::Null;
    while status != "DELIVERED" {
        let mut event = socket.event("a").await["messageUpdated"].take();
        assert_eq!(event["id"], *id);
        status = event["status"].take();
    }
}

#[db_test]
async fn account_events_go_to_the_main_account_of_the_team(t: &TestApp) {
    t.set_sms_price(PRICE_MICROS).await;
    let (team, other, server) = (t.team(1_000).await, t.team(1_000).await, t.serve().await);
    let foreign = t.sub_account(&other, json!({})).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 500 })).await;
    // The fallback also finds changes from the last few seconds, because clocks may differ. After this step, the
    // changes above are too old to be found.
    t.step(TimeDelta::seconds(11));
    let mut socket = listening(server.address, &team.key, ACCOUNTS).await;
    let event = |status: &str, spent: i64, limit: i64| {
        json!({ "accountUpdated":
            { "id": sub.id, "status": status, "totalSpent": spent, "creditLimit": limit } })
    };

    assert!(t.sends(&foreign.key).await);
    assert!(t.sends(&team.key).await, "a message of the main account is charged to no sub-account");
    t.step(TimeDelta::seconds(1));
    assert!(t.sends(&sub.key).await);
    assert_eq!(socket.event("a").await, event("ACTIVE", 100, 500));
    t.step(TimeDelta::seconds(1));
    t.set_limit(&team.key, &sub.id, json!(100)).await;
    assert_eq!(socket.event("a").await, event("ACTIVE", 100, 100));
    t.step(TimeDelta::seconds(1));
    t.change_status(&team, &sub.id, "suspendSubAccount").await;
    assert_eq!(socket.event("a").await, event("SUSPENDED", 100, 100));
    let made = t.sub_account(&team, json!({})).await;
    assert_eq!(socket.event("a").await["accountUpdated"]["id"], made.id);
}
