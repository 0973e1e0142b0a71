//! The ledger: a list of all changes to a team's balance. A main account sees its team's whole ledger, and a
//! sub-account sees only its own entries. No entry ever changes.

use chrono::TimeDelta;
use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::harness::{Database, Postgres, TestApp, TestSubAccount, TestTeam, UNKNOWN_IDS, text};

const ENTRY: &str = "kind amount balanceAfter account { id } note createdAt";

struct Stage {
    team: TestTeam,
    sub: TestSubAccount,
    other: TestSubAccount,
}

/// Makes ledger entries, one minute apart. An operator tops up 100 cents. `sub` sends a message for 2 cents, which are
/// then refunded. `other` and the main account each send a message for 2 cents. Finally, an operator deducts 6.5 cents.
async fn staged(t: &TestApp) -> Stage {
    t.set_sms_price(20_000).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "s-1" })).await;
    let other = t.sub_account(&team, json!({ "name": "Other" })).await;
    let top_up = t.top_up(&team, json!(100), "in").await;
    assert!(top_up.refusals().is_empty());
    t.step(TimeDelta::minutes(1));
    let sent = t.send(&sub.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    assert!(sent.refusals().is_empty());
    t.step(TimeDelta::minutes(1));
    let delivered = t.deliver_due().await;
    assert_eq!(delivered, 1);
    for key in [&other.key, &team.key] {
        t.step(TimeDelta::minutes(1));
        assert!(t.sends(key).await);
    }
    t.step(TimeDelta::minutes(1));
    let adjusted = t
        .ask_with(
            &t.operator,
            "mutation($id: ID!) { adjustTeamBalance(input: { teamId: $id, amount: -6.5, \
             idempotencyKey: \"out\", reason: \"Typo\" }) { errors { code } } }",
            json!({ "id": team.id }),
        )
        .await;
    assert!(adjusted.refusals().is_empty());
    Stage { team, sub, other }
}

async fn ledger(t: &TestApp, key: &str, filter: &Value, fields: &str) -> Value {
    let query = format!(
        "query($filter: LedgerFilter) {{ ledger(filter: $filter) {{ nodes {{ {fields} }} }} }}"
    );
    let answer = t.ask_with(key, &query, json!({ "filter": filter })).await;
    answer.data()["ledger"]["nodes"].clone()
}

/// The ledger lists its entries newest first.
#[db_test]
async fn the_ledger_shows_each_movement_with_the_balance_after_it(t: &TestApp) {
    let stage = staged(t).await;
    let entry = |kind: &str, amount: Value, balance: Value, account: Option<&str>, minute: u8| {
        json!({
            "kind": kind, "amount": amount, "balanceAfter": balance,
            "account": account.map(|id| json!({ "id": id })),
            "note": (kind == "ADJUSTMENT").then_some("Typo"),
            "createdAt": format!("2026-03-16T12:0{minute}:00.000Z"),
        })
    };
    let main = stage.team.main_account_id.as_str();
    let expected = json!([
        entry("ADJUSTMENT", json!(-6.5), json!(89.5), None, 5),
        entry("CHARGE", json!(-2), json!(96), Some(main), 4),
        entry("CHARGE", json!(-2), json!(98), Some(&stage.other.id), 3),
        entry("REFUND", json!(2), json!(100), Some(&stage.sub.id), 2),
        entry("CHARGE", json!(-2), json!(98), Some(&stage.sub.id), 1),
        entry("TOP_UP", json!(100), json!(100), None, 0),
    ]);

    assert_eq!(ledger(t, &stage.team.key, &json!(null), ENTRY).await, expected);
    let of_team = format!(
        "query($id: ID!) {{ teamById(id: $id) {{ balance ledger {{ nodes {{ {ENTRY} }} }} }} }}"
    );
    let answer = t.ask_with(&t.operator, &of_team, json!({ "id": stage.team.id })).await;
    let team = json!({ "balance": 89.5, "ledger": { "nodes": expected } });
    assert_eq!(answer.data()["teamById"], team);
    let answer = t.ask(&stage.team.key, "{ team { balance ledger { totalCount } } }").await;
    let team = json!({ "balance": 89.5, "ledger": { "totalCount": 6 } });
    assert_eq!(answer.data()["team"], team);

    for (sub, spent) in [(&stage.sub, 0), (&stage.other, 2)] {
        let own = t.ask(&sub.key, "{ balance { balance totalSpent } }").await;
        assert_eq!(own.data()["balance"], json!({ "balance": 89.5, "totalSpent": spent }));
    }
}

/// The main account sees the id of a sub-account's message, but cannot read the message.
#[db_test]
async fn a_sub_account_sees_only_its_own_movements(t: &TestApp) {
    let stage = staged(t).await;
    let fields = "kind messageId message { id to } account { id }";

    let own = ledger(t, &stage.sub.key, &json!(null), fields).await;
    let sent = t.ask(&stage.sub.key, "{ messages { nodes { id } } }").await;
    let id = text(&sent.data()["messages"]["nodes"][0]["id"]);
    let entry = |kind: &str, message: Value| {
        let account = json!({ "id": stage.sub.id });
        json!({ "kind": kind, "messageId": id, "message": message, "account": account })
    };
    let message = json!({ "id": id, "to": "+15005550001" });
    assert_eq!(own, json!([entry("REFUND", message.clone()), entry("CHARGE", message)]));

    let of_sub = json!({ "account": { "id": stage.sub.id } });
    let seen = ledger(t, &stage.team.key, &of_sub, fields).await;
    assert_eq!(seen, json!([entry("REFUND", json!(null)), entry("CHARGE", json!(null))]));
    let of_main = json!({ "account": { "id": stage.team.main_account_id } });
    let seen = ledger(t, &stage.team.key, &of_main, "messageId message { id }").await;
    assert_eq!(seen[0]["message"]["id"], seen[0]["messageId"]);

    let other = ledger(t, &stage.other.key, &json!(null), "kind account { id }").await;
    assert_eq!(other, json!([{ "kind": "CHARGE", "account": { "id": stage.other.id } }]));
    let test_key = t.api_key(&stage.team, &stage.sub.id, "TEST").await;
    let tested = ledger(t, &test_key, &json!(null), fields).await;
    assert_eq!(tested, json!([entry("REFUND", json!(null)), entry("CHARGE", json!(null))]));
}

/// A filter's time range includes its start and excludes its end.
#[db_test]
async fn the_ledger_is_filtered_by_kind_account_and_time(t: &TestApp) {
    let stage = staged(t).await;
    let time = |from: Value, to: Value| json!({ "createdAt": { "from": from, "to": to } });
    let minute = |minute: u8| json!(format!("2026-03-16T12:0{minute}:00Z"));
    let (all, none) =
        (vec!["ADJUSTMENT", "CHARGE", "CHARGE", "REFUND", "CHARGE", "TOP_UP"], vec![]);

    for (filter, kinds) in [
        (json!({}), all.clone()),
        (json!({ "kind": ["REFUND"] }), vec!["REFUND"]),
        (json!({ "kind": ["TOP_UP", "ADJUSTMENT"] }), vec!["ADJUSTMENT", "TOP_UP"]),
        (json!({ "kind": [] }), none.clone()),
        (json!({ "account": { "id": stage.sub.id } }), vec!["REFUND", "CHARGE"]),
        (json!({ "account": { "externalId": "s-1" } }), vec!["REFUND", "CHARGE"]),
        (json!({ "account": { "externalId": "S-1" } }), none.clone()),
        (json!({ "account": { "id": stage.team.main_account_id } }), vec!["CHARGE"]),
        (json!({ "account": { "id": UNKNOWN_IDS[0] } }), none.clone()),
        (json!({ "account": { "id": UNKNOWN_IDS[1] } }), none.clone()),
        (json!({ "account": { "externalId": "s-1" }, "kind": ["CHARGE"] }), vec!["CHARGE"]),
        (time(json!(null), json!(null)), all),
        (time(minute(2), minute(4)), vec!["CHARGE", "REFUND"]),
        (time(minute(5), json!(null)), vec!["ADJUSTMENT"]),
        (time(json!(null), minute(1)), vec!["TOP_UP"]),
        (time(minute(4), minute(2)), none.clone()),
        (time(json!("2026-03-16T12:00:00.001Z"), minute(1)), none),
    ] {
        let expected: Vec<Value> = kinds.iter().map(|kind| json!({ "kind": kind })).collect();
        let found = ledger(t, &stage.team.key, &filter, "kind").await;
        assert_eq!(found, json!(expected), "{filter}");
    }
}

#[db_test]
async fn a_hidden_balance_is_shown_to_no_key_of_the_sub_account(t: &TestApp) {
    let stage = staged(t).await;
    let everywhere = "{ team { balance } balance { balance totalSpent } viewer { team { balance } } \
                      ledger { nodes { amount balanceAfter } } }";
    let hide = "mutation($id: ID!, $visible: Boolean) { updateSubAccount(account: { id: $id }, \
                input: { teamBalanceVisible: $visible }) { errors { code } } }";

    for (is_visible, balance, after) in [
        (true, json!(89.5), json!(98)),
        (false, json!(null), json!(null)),
        (true, json!(89.5), json!(98)),
    ] {
        let variables = json!({ "id": stage.other.id, "visible": is_visible });
        assert!(t.ask_with(&stage.team.key, hide, variables).await.refusals().is_empty());
        let seen = t.ask(&stage.other.key, everywhere).await;
        assert_eq!(
            *seen.data(),
            json!({
                "team": { "balance": balance }, "viewer": { "team": { "balance": balance } },
                "balance": { "balance": balance, "totalSpent": 2 },
                "ledger": { "nodes": [{ "amount": -2, "balanceAfter": after }] },
            })
        );
        let main = t
            .ask(
                &stage.team.key,
                "{ balance { balance } ledger(first: 1) { nodes { balanceAfter } } }",
            )
            .await;
        let expected = json!({
            "balance": { "balance": 89.5 }, "ledger": { "nodes": [{ "balanceAfter": 89.5 }] },
        });
        assert_eq!(*main.data(), expected);
    }
}

/// If the balance is hidden from an account, its quotes report a low balance only when the balance is zero.
#[db_test]
async fn quotes_do_not_reveal_a_hidden_balance(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(2).await;
    let hidden = t.sub_account(&team, json!({ "teamBalanceVisible": false })).await;
    let shown = t.sub_account(&team, json!({})).await;
    let message =
        |segments: usize| json!({ "to": "+12025550123", "text": "a".repeat(segments * 153) });
    let quoted = async |key: &str, segments: usize| {
        let query = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                     { cost wouldBeAccepted errors { code } } }";
        let answer = t.ask_with(key, query, json!({ "input": message(segments) })).await;
        let quote = &answer.data()["messageQuote"];
        assert_eq!(quote["cost"], segments);
        assert_eq!(quote["wouldBeAccepted"], quote["errors"] == json!([]));
        quote["errors"].clone()
    };
    let too_low = json!([{ "code": "INSUFFICIENT_BALANCE" }]);

    for key in [&shown.key, &team.key] {
        assert_eq!(quoted(key, 2).await, json!([]));
        assert_eq!(quoted(key, 3).await, too_low);
    }
    for segments in [2, 3, 10] {
        assert_eq!(quoted(&hidden.key, segments).await, json!([]));
    }
    let before = t.everything().await;
    assert_eq!(t.send(&hidden.key, message(3)).await.refusals(), ["INSUFFICIENT_BALANCE"]);
    assert_eq!(t.everything().await, before);
    assert_eq!(t.send(&hidden.key, message(2)).await.refusals(), [""; 0]);
    assert_eq!(quoted(&hidden.key, 2).await, too_low);
    let blocked = t.ask(&hidden.key, "{ account { blockedBy } }").await;
    assert_eq!(blocked.data()["account"]["blockedBy"], json!(["BALANCE"]));
}

#[db_test]
async fn the_database_refuses_to_change_or_delete_an_entry(t: &TestApp, database: Database) {
    staged(t).await;
    let before = t.everything().await;

    for sql in [
        "UPDATE ledger_entry SET amount_micros = 1 WHERE kind = 'TOP_UP'",
        "UPDATE ledger_entry SET note = 'Another' WHERE kind = 'ADJUSTMENT'",
        "DELETE FROM ledger_entry WHERE kind = 'CHARGE'",
        "DELETE FROM ledger_entry",
    ] {
        let refused = t.app.db.write.execute_unprepared(sql).await.expect_err("append-only");
        assert!(refused.to_string().contains("the ledger is append-only"), "{refused}");
    }
    if database == Postgres {
        let truncated = t.app.db.write.execute_unprepared("TRUNCATE ledger_entry").await;
        assert!(truncated.is_err());
    }

    assert_eq!(t.everything().await, before);
}
