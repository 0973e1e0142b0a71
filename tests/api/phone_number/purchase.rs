//! Buying a phone number: exactly once, within balance and credit limit, and the reasons for a refusal.

use std::sync::Arc;

use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{STOCK, available, buy, money, release, update};
use crate::harness::{Setup, Socket, TestApp, text};

#[db_test]
async fn a_purchase_charges_one_fee_and_updates_balance_total_ledger_and_usage(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;

    let input = json!({ "number": "+1 (202) 555-0101", "name": " Support " });
    let bought = t.purchase(&sub.key, input).await;

    assert_eq!(bought.refusals(), [""; 0]);
    let number = &bought.data()["purchasePhoneNumber"]["phoneNumber"];
    let shown = json!({
        "id": number["id"], "number": "+12025550101", "country": "US", "type": "LOCAL",
        "capabilities": ["SMS"], "name": "Support", "status": "ACTIVE", "upfrontPrice": 100,
        "monthlyPrice": 250.5, "renewsAt": "2026-04-16T12:00:00.000Z", "releasesAt": null,
        "releasedAt": null,
    });
    assert_eq!(*number, shown);
    assert_eq!(bought.data()["purchasePhoneNumber"]["replayed"], false);
    assert_eq!(money(t, &sub.key).await, json!({ "balance": 649.5, "totalSpent": 350.5 }));
    let ledger = "{ ledger { nodes { kind amount balanceAfter account { id } messageId note \
                  phoneNumberId phoneNumberMonth phoneNumber { number } } } }";
    let entry = |amount: Value, after: Value, month: i32, seen: Value| {
        json!({
            "kind": "NUMBER_FEE", "amount": amount, "balanceAfter": after,
            "account": { "id": sub.id }, "messageId": null, "note": null,
            "phoneNumberId": number["id"], "phoneNumberMonth": month, "phoneNumber": seen,
        })
    };
    // The main account sees the id of the phone number in the ledger entry, but not the number.
    for (key, seen) in [(&sub.key, json!({ "number": "+12025550101" })), (&team.key, Value::Null)] {
        let entries = t.ask(key, ledger).await.data()["ledger"]["nodes"].clone();
        let expected = json!([
            entry(json!(-250.5), json!(649.5), 1, seen.clone()),
            entry(json!(-100), json!(900), 0, seen),
        ]);
        assert_eq!(json!(entries.as_array().expect("entries")[..2]), expected);
    }
    let usage = "{ account { usage(groupBy: [CHANNEL, COUNTRY]) { totals { messages charged spent } \
                 buckets { channel country figures { messages charged } } } } }";
    assert!(t.sends(&sub.key).await);
    let usage = t.ask(&sub.key, usage).await.data()["account"]["usage"].clone();
    let bucket = |channel: Value, messages: i32, charged: Value| {
        let figures = json!({ "messages": messages, "charged": charged });
        json!({ "channel": channel, "country": "US", "figures": figures })
    };
    let buckets = [bucket(Value::Null, 0, json!(350.5)), bucket(json!("SMS"), 1, json!(0.83))];
    let totals = json!({ "messages": 1, "charged": 351.33, "spent": 351.33 });
    assert_eq!(usage, json!({ "totals": totals, "buckets": buckets }));

    let us = json!({ "country": "us" });
    assert_eq!(available(t, &team.key, us).await, ["+12025550102", "+12025550103"]);
    let list = "{ phoneNumbers { totalCount nodes { number } } }";
    let mine = json!({ "totalCount": 1, "nodes": [{ "number": "+12025550101" }] });
    assert_eq!(t.ask(&sub.key, list).await.data()["phoneNumbers"], mine);
    let none = json!({ "totalCount": 0, "nodes": [] });
    assert_eq!(t.ask(&team.key, list).await.data()["phoneNumbers"], none);
    let one = format!("{{ phoneNumber(id: {}) {{ number }} }}", number["id"]);
    assert_eq!(t.ask(&sub.key, &one).await.data()["phoneNumber"], mine["nodes"][0]);

    // The total spent of a main account is null.
    assert_eq!(buy(t, &team.key, "+12025550102").await.refusals(), [""; 0]);
    let left = json!({ "balance": 398.67, "totalSpent": null });
    assert_eq!(money(t, &team.key).await, left);
}

#[db_test]
async fn a_free_phone_number_is_bought_without_balance_and_without_a_ledger_entry(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 0 })).await;

    assert_eq!(buy(t, &sub.key, "+12025550103").await.refusals(), [""; 0]);

    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry").await, 0);
    assert_eq!(t.number("SELECT COUNT(*) FROM usage_day").await, 0);
}

#[db_test]
async fn a_purchase_reports_the_first_reason_in_order_and_changes_nothing(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 500 })).await;
    let first = json!({ "number": "+12025550101", "idempotencyKey": "a" });
    assert_eq!(t.purchase(&sub.key, first.clone()).await.refusals(), [""; 0]);
    let other = "+12025550102";
    let with = |name: &str, value: Value| {
        let mut input = json!({ "number": other });
        input[name] = value;
        input
    };

    for (sql, input, code, field) in [
        ("", json!({ "number": "12025550102" }), "NUMBER_INVALID", json!(["input", "number"])),
        ("", json!({ "number": "+123456" }), "NUMBER_INVALID", json!(["input", "number"])),
        ("", with("name", json!("")), "NAME_INVALID", json!(["input", "name"])),
        ("", with("name", json!("é".repeat(201))), "NAME_INVALID", json!(["input", "name"])),
        (
            "",
            with("idempotencyKey", json!("é".repeat(256))),
            "IDEMPOTENCY_KEY_INVALID",
            json!(["input", "idempotencyKey"]),
        ),
        (
            "",
            with("idempotencyKey", json!("a")),
            "IDEMPOTENCY_CONFLICT",
            json!(["input", "idempotencyKey"]),
        ),
        ("", json!({ "number": "+12025550199" }), "NUMBER_UNAVAILABLE", json!(["input", "number"])),
        // A number that is already bought has the same error as an unknown number.
        ("", json!({ "number": "+12025550101" }), "NUMBER_UNAVAILABLE", json!(["input", "number"])),
        // From here on, each case adds a reason for a refusal, and the reasons of the earlier cases remain.
        (
            "UPDATE team SET balance_micros = 2499999",
            with("name", json!("x")),
            "INSUFFICIENT_BALANCE",
            json!([]),
        ),
        (
            "UPDATE account SET credit_limit_micros = 3505000 WHERE is_sub_account",
            with("name", json!("x")),
            "CREDIT_LIMIT_REACHED",
            json!([]),
        ),
        ("", json!({ "number": "+12025550101" }), "NUMBER_UNAVAILABLE", json!(["input", "number"])),
        (
            "UPDATE account SET status = 'SUSPENDED' WHERE is_sub_account",
            with("name", json!("x")),
            "ACCOUNT_SUSPENDED",
            json!([]),
        ),
        (
            "UPDATE account SET status = 'INACTIVE' WHERE is_sub_account",
            with("name", json!("x")),
            "ACCOUNT_INACTIVE",
            json!([]),
        ),
    ] {
        if !sql.is_empty() {
            t.execute(sql).await;
        }
        let before = t.everything().await;
        let refused = t.purchase(&sub.key, input.clone()).await;
        let payload = &refused.data()["purchasePhoneNumber"];
        assert_eq!(payload["errors"][0]["code"], code, "{sql} {input}");
        assert_eq!(payload["errors"][0]["field"], field, "{input}");
        assert_eq!(payload["phoneNumber"], Value::Null);
        assert_eq!(t.everything().await, before, "{input}");
        // A repeat returns the first purchase, even if a new purchase would be refused now.
        let replayed = t.purchase(&sub.key, first.clone()).await;
        assert_eq!(replayed.data()["purchasePhoneNumber"]["replayed"], true, "{sql}");
        assert_eq!(t.everything().await, before, "{input}");
    }
    t.execute("UPDATE team SET balance_micros = 6495000").await;
    t.execute("UPDATE account SET status = 'ACTIVE'").await;
}

/// A purchase may spend the whole balance.
#[db_test]
async fn the_purchase_that_crosses_the_limit_is_the_last(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 1 })).await;

    t.top_up(&team, json!(350.4999), "almost").await;
    assert_eq!(buy(t, &sub.key, "+12025550101").await.refusals(), ["INSUFFICIENT_BALANCE"]);
    t.top_up(&team, json!(0.0001), "enough").await;
    assert_eq!(buy(t, &sub.key, "+12025550101").await.refusals(), [""; 0]);
    assert_eq!(money(t, &sub.key).await, json!({ "balance": 0, "totalSpent": 350.5 }));

    assert_eq!(buy(t, &sub.key, "+12025550102").await.refusals(), ["CREDIT_LIMIT_REACHED"]);
    assert_eq!(buy(t, &team.key, "+12025550102").await.refusals(), ["INSUFFICIENT_BALANCE"]);
    assert_eq!(money(t, &sub.key).await, json!({ "balance": 0, "totalSpent": 350.5 }));
}

/// A repeat returns the number even after its release. Idempotency keys belong to one account.
#[db_test]
async fn a_repeat_returns_the_number_in_its_current_state(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let input = |number: &str, name: Value| json!({ "number": number, "name": name, "idempotencyKey": "k" });

    let refused = t.purchase(&sub.key, input("+12025550199", Value::Null)).await;
    assert_eq!(
        refused.refusals(),
        ["NUMBER_UNAVAILABLE"],
        "a refused purchase uses no idempotency key"
    );
    let bought = t.purchase(&sub.key, input("+12025550101", json!("A"))).await;
    let id = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    update(t, &sub.key, &id, json!({ "name": "B" })).await;
    let before = t.everything().await;

    let again = t.purchase(&sub.key, input("+1 202-555-0101", json!(" A "))).await;
    let payload = &again.data()["purchasePhoneNumber"];
    assert_eq!(
        (&payload["replayed"], &payload["phoneNumber"]["name"]),
        (&json!(true), &json!("B"))
    );
    assert_eq!(payload["phoneNumber"]["id"], json!(id));
    for (number, name) in [("+12025550101", Value::Null), ("+12025550102", json!("A"))] {
        let refused = t.purchase(&sub.key, input(number, name)).await;
        assert_eq!(refused.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    }
    assert_eq!(t.everything().await, before);
    let elsewhere = t.purchase(&team.key, input("+12025550102", Value::Null)).await;
    assert_eq!(elsewhere.data()["purchasePhoneNumber"]["replayed"], false);

    release(t, &sub.key, &id).await;
    let again = t.purchase(&sub.key, input("+12025550101", json!("A"))).await;
    let status = &again.data()["purchasePhoneNumber"]["phoneNumber"]["status"];
    assert_eq!(*status, "RELEASED");
}

/// The buyers belong to several teams and use several processes.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_buyers_one_gets_the_number_and_pays(t: &Arc<TestApp>) {
    let second = t.beside(Setup::default()).await;
    let teams = [t.team(1000).await, t.team(1000).await];
    let sub = t.sub_account(&teams[0], json!({})).await;
    let keys = [teams[0].key.clone(), teams[1].key.clone(), sub.key.clone()];
    let processes = [Arc::clone(t), second];
    let rounds = 8;
    for round in 0..rounds {
        let number = format!("+1202555{:04}", 2000 + round);
        processes[0].stock(&format!("{number},US,LOCAL,SMS,1,2\n")).await;
        let buyers = (0..12).map(|at| {
            let (process, key) = (Arc::clone(&processes[at % 2]), keys[at % 3].clone());
            let number = number.clone();
            tokio::spawn(async move { buy(&process, &key, &number).await })
        });
        let mut got = 0;
        for answer in join_all(buyers.collect::<Vec<_>>()).await {
            let answer = answer.expect("no buyer panics");
            match answer.refusals()[..] {
                [] => got += 1,
                ["NUMBER_UNAVAILABLE"] => {}
                _ => panic!("{}", answer.body),
            }
        }
        assert_eq!(got, 1, "{number}");
    }
    let t = &processes[0];
    assert_eq!(
        t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'NUMBER_FEE'").await,
        2 * rounds
    );
    let left = t.number("SELECT CAST(SUM(balance_micros) AS BIGINT) FROM team").await;
    assert_eq!(left, 20_000_000 - rounds * 30_000);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_repeats_over_two_processes_buy_once(t: &Arc<TestApp>) {
    t.stock(STOCK).await;
    let second = t.beside(Setup::default()).await;
    let team = t.team(1000).await;
    let processes = [Arc::clone(t), second];

    let buyers = (0..20).map(|at| {
        let (process, key) = (Arc::clone(&processes[at % 2]), team.key.clone());
        let input = json!({ "number": "+12025550101", "idempotencyKey": "once" });
        tokio::spawn(async move { process.purchase(&key, input).await })
    });
    let mut first = 0;
    let mut ids = std::collections::BTreeSet::new();
    for answer in join_all(buyers.collect::<Vec<_>>()).await {
        let answer = answer.expect("no buyer panics");
        let payload = &answer.data()["purchasePhoneNumber"];
        first += i32::from(payload["replayed"] == false);
        ids.insert(text(&payload["phoneNumber"]["id"]));
    }

    assert_eq!((first, ids.len()), (1, 1));
    let left = json!({ "balance": 649.5, "totalSpent": null });
    assert_eq!(money(&processes[0], &team.key).await, left);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_to_the_balance_receive_purchases_and_renewals(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let server = t.serve().await;
    let mut socket = Socket::with_key(server.address, &sub.key).await;
    socket.subscribe("a", "subscription { balanceChanged { balance totalSpent } }").await;
    socket.before_pong().await;

    buy(t, &sub.key, "+12025550102").await;
    let event = |balance: i32, spent: i32| json!({ "balanceChanged": { "balance": balance, "totalSpent": spent } });
    assert_eq!(socket.event("a").await, event(750, 250));
    t.step(TimeDelta::days(31));
    t.renew().await;
    assert_eq!(socket.event("a").await, event(500, 500));
}
