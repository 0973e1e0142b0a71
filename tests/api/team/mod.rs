//! Teams: operators create teams, top them up and correct their balances. Each team has one main account.

use db_test::db_test;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, TestTeam, UNKNOWN_IDS, text};

mod sub_account;

const NOTHING: [&str; 0] = [];

async fn create(t: &TestApp, name: &str) -> Answer {
    t.ask_with(
        &t.operator,
        "mutation($name: String!) { createTeam(input: { name: $name }) { team { id name currency \
         balance createdAt } mainAccount { id name isSubAccount status creditLimit totalSpent } \
         plainKey errors { code field } } }",
        json!({ "name": name }),
    )
    .await
}

/// Makes a top-up or an adjustment. It is made for this team unless the input names another team.
async fn deposit(t: &TestApp, team: &TestTeam, field: &str, input: Value) -> Answer {
    let input_type = if field == "topUpTeam" { "TopUpTeamInput" } else { "AdjustTeamBalanceInput" };
    let query = format!(
        "mutation($input: {input_type}!) {{ {field}(input: $input) {{ team {{ balance }} \
         entry {{ id kind amount balanceAfter note }} replayed errors {{ code field }} }} }}"
    );
    let mut whole = json!({ "teamId": team.id, "amount": 100, "idempotencyKey": "k" });
    if field == "adjustTeamBalance" {
        whole["reason"] = json!("Correction");
    }
    for (name, value) in input.as_object().expect("an input object") {
        whole[name] = value.clone();
    }
    t.ask_with(&t.operator, &query, json!({ "input": whole })).await
}

/// Parses JSON. The JSON may be a number that no Rust type can represent.
fn raw(json: &str) -> Value {
    json.parse().expect("the tests write JSON")
}

#[db_test]
async fn each_team_has_its_own_main_account_and_balance(t: &TestApp) {
    let mut made = Vec::new();
    for name in [" Acme ", "Acme"] {
        let answer = create(t, name).await;
        assert_eq!(answer.refusals(), NOTHING);
        let payload = &answer.data()["createTeam"];
        let id = text(&payload["team"]["id"]);
        assert_eq!(
            payload["team"],
            json!({
                "id": id, "name": "Acme", "currency": "USD", "balance": 0,
                "createdAt": "2026-03-16T12:00:00.000Z",
            })
        );
        let main_account_id = text(&payload["mainAccount"]["id"]);
        assert_eq!(
            payload["mainAccount"],
            json!({
                "id": main_account_id, "name": "Acme", "isSubAccount": false, "status": "ACTIVE",
                "creditLimit": null, "totalSpent": null,
            })
        );
        let key = text(&payload["plainKey"]);
        let own = t.ask(&key, "{ team { id mainAccount { id } } viewer { role } }").await;
        let team = json!({ "id": id, "mainAccount": { "id": main_account_id } });
        assert_eq!(*own.data(), json!({ "team": team, "viewer": { "role": "MAIN_ACCOUNT" } }));
        made.push(TestTeam { id, main_account_id, key });
    }
    assert_ne!(made[0].id, made[1].id);
    assert_ne!(made[0].main_account_id, made[1].main_account_id);
    assert_eq!(t.top_up(&made[0], json!(500), "k").await.refusals(), NOTHING);
    for (team, balance) in [(&made[0], 500), (&made[1], 0)] {
        let own = t.ask(&team.key, "{ balance { balance } }").await;
        assert_eq!(own.data()["balance"]["balance"], balance);
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM account WHERE NOT is_sub_account").await, 2);

    let before = t.everything().await;
    for name in ["", " ", "a\tb", "a\0b", &"é".repeat(201)] {
        let answer = create(t, name).await;
        assert_eq!(answer.refusals(), ["NAME_INVALID"], "{name:?}");
        let errors = json!([{ "code": "NAME_INVALID", "field": ["input", "name"] }]);
        let refused =
            json!({ "team": null, "mainAccount": null, "plainKey": null, "errors": errors });
        assert_eq!(answer.data()["createTeam"], refused);
    }
    assert_eq!(t.everything().await, before);
    assert_eq!(create(t, &"é".repeat(200)).await.refusals(), NOTHING);
}

/// The main account is renamed together with its team.
#[db_test]
async fn an_operator_renames_a_team(t: &TestApp) {
    let (team, other) = (t.team(100).await, t.team(100).await);
    let rename = "mutation($input: RenameTeamInput!) { renameTeam(input: $input) \
                  { team { name mainAccount { name } } errors { code field } } }";
    let ask = async |key: &str, id: &str, name: &str| {
        t.ask_with(key, rename, json!({ "input": { "teamId": id, "name": name } })).await
    };
    let before = t.everything().await;

    for (id, name, code, field) in [
        (team.id.as_str(), " ", "NAME_INVALID", "name"),
        (&team.main_account_id, "New", "NOT_FOUND", "teamId"),
        (UNKNOWN_IDS[1], "New", "NOT_FOUND", "teamId"),
    ] {
        let refused = ask(&t.operator, id, name).await;
        let error = json!({ "code": code, "field": ["input", field] });
        assert_eq!(refused.data()["renameTeam"], json!({ "team": null, "errors": [error] }));
    }
    assert_eq!(ask(&team.key, &team.id, "New").await.codes(), ["FORBIDDEN"]);
    assert_eq!(t.everything().await, before);

    let renamed = ask(&t.operator, &team.id, " New ").await;
    let shown = json!({ "name": "New", "mainAccount": { "name": "New" } });
    assert_eq!(renamed.data()["renameTeam"], json!({ "team": shown, "errors": [] }));
    let query = "{ team { name balance mainAccount { name } } }";
    for (key, name) in [(&team.key, "New"), (&other.key, "Acme")] {
        let expected = json!({ "name": name, "balance": 100, "mainAccount": { "name": name } });
        assert_eq!(t.ask(key, query).await.data()["team"], expected);
    }
}

/// The list of teams is sorted newest first. A lookup with an unknown id returns null.
#[db_test]
async fn operators_list_all_teams_and_find_each_by_its_id(t: &TestApp) {
    let teams = [t.team(0).await, t.team(700).await, t.team(0).await];

    let list = t
        .ask(
            &t.operator,
            "{ teams(first: 2) { totalCount nodes { id balance } pageInfo { endCursor } } }",
        )
        .await;
    let list = &list.data()["teams"];
    assert_eq!(list["totalCount"], 3);
    let newest = [(&teams[2], 0), (&teams[1], 700)];
    let newest = newest.map(|(team, balance)| json!({ "id": team.id, "balance": balance }));
    assert_eq!(list["nodes"], json!(newest));
    let rest =
        format!("{{ teams(after: {}) {{ nodes {{ id }} }} }}", list["pageInfo"]["endCursor"]);
    let rest = t.ask(&t.operator, &rest).await;
    assert_eq!(rest.data()["teams"]["nodes"], json!([{ "id": teams[0].id }]));

    let by_id = "query($id: ID!) { teamById(id: $id) { id mainAccount { id isSubAccount } \
                 ledger { totalCount } usage { totals { messages } } } }";
    for (team, entries) in [(&teams[0], 0), (&teams[1], 1)] {
        let found = t.ask_with(&t.operator, by_id, json!({ "id": team.id })).await;
        assert_eq!(
            found.data()["teamById"],
            json!({
                "id": team.id, "mainAccount": { "id": team.main_account_id, "isSubAccount": false },
                "ledger": { "totalCount": entries }, "usage": { "totals": { "messages": 0 } },
            })
        );
    }
    for id in [UNKNOWN_IDS[0], UNKNOWN_IDS[1], &teams[0].main_account_id] {
        let found = t.ask_with(&t.operator, by_id, json!({ "id": id })).await;
        assert_eq!(*found.data(), json!({ "teamById": null }));
        let before = t.everything().await;
        for field in ["topUpTeam", "adjustTeamBalance"] {
            let answer = deposit(t, &teams[0], field, json!({ "teamId": id })).await;
            assert_eq!(answer.refusals(), ["NOT_FOUND"], "{field} of {id}");
            let error = &answer.data()[field]["errors"][0];
            assert_eq!(error["field"], json!(["input", "teamId"]));
        }
        assert_eq!(t.everything().await, before);
    }
}

#[db_test]
async fn a_deposit_that_is_not_valid_is_refused_and_moves_no_money(t: &TestApp) {
    let team = t.team(500).await;
    let before = t.everything().await;
    let both = ["topUpTeam", "adjustTeamBalance"];
    let mut cases: Vec<(&[&str], &str, Value, &str)> = vec![
        (&both[..1], "amount", json!(-1), "AMOUNT_INVALID"),
        (&both[1..], "amount", json!(-501), "INSUFFICIENT_BALANCE"),
        (&both[1..], "amount", raw("-500.0001"), "INSUFFICIENT_BALANCE"),
        (&both[1..], "amount", raw("-100000000000"), "INSUFFICIENT_BALANCE"),
    ];
    for amount in [
        "0",
        "-0.0",
        "0.00001",
        "100000000000.0001",
        "100000000000",
        "99999999500.0001",
        "9223372036854775807",
        "-9223372036854775808",
        "1e400",
    ] {
        cases.push((&both, "amount", raw(amount), "AMOUNT_INVALID"));
    }
    for key in ["", "a\nb", "a\0b", &"é".repeat(256)] {
        cases.push((&both, "idempotencyKey", json!(key), "IDEMPOTENCY_KEY_INVALID"));
    }
    for words in ["", "  ", "a\u{7}b", "a\0b", &"é".repeat(501)] {
        cases.push((&both[..1], "note", json!(words), "NOTE_INVALID"));
        cases.push((&both[1..], "reason", json!(words), "REASON_INVALID"));
    }

    for (fields, name, value, code) in cases {
        for field in fields {
            let answer = deposit(t, &team, field, json!({ (name): value })).await;
            let errors = json!([{ "code": code, "field": ["input", name] }]);
            let refused =
                json!({ "team": null, "entry": null, "replayed": false, "errors": errors });
            assert_eq!(answer.data()[*field], refused, "{field} with {name}: {value}");
        }
    }

    assert_eq!(t.everything().await, before);
}

/// A repeat with different input is refused. Top-ups and adjustments of a team share one set of idempotency keys. The
/// keys of two teams are separate.
#[db_test]
async fn a_repeated_deposit_returns_the_first_and_moves_no_money(t: &TestApp) {
    let (team, other_team) = (t.team(0).await, t.team(0).await);
    let top_up = json!({ "amount": raw("250.5"), "note": " Invoice 7 " });
    let adjustment = json!({ "amount": -50, "idempotencyKey": "a", "reason": "Typo" });

    let first = deposit(t, &team, "topUpTeam", top_up.clone()).await;
    let payload = &first.data()["topUpTeam"];
    assert_eq!([&payload["replayed"], &payload["team"]["balance"]], [&json!(false), &raw("250.5")]);
    let entry = json!({
        "id": payload["entry"]["id"], "kind": "TOP_UP", "amount": raw("250.5"),
        "balanceAfter": raw("250.5"), "note": "Invoice 7",
    });
    assert_eq!(payload["entry"], entry);
    let adjusted = deposit(t, &team, "adjustTeamBalance", adjustment.clone()).await;
    let correction = adjusted.data()["adjustTeamBalance"].clone();
    assert_eq!(correction["entry"]["kind"], "ADJUSTMENT");
    assert_eq!(correction["entry"]["balanceAfter"], raw("200.5"));

    let before = t.everything().await;
    let again = deposit(t, &team, "topUpTeam", top_up.clone()).await;
    assert_eq!(
        again.data()["topUpTeam"],
        json!({ "team": { "balance": raw("200.5") }, "entry": entry, "replayed": true, "errors": [] })
    );
    let again = deposit(t, &team, "adjustTeamBalance", adjustment).await;
    assert_eq!(again.data()["adjustTeamBalance"]["replayed"], true);
    assert_eq!(again.data()["adjustTeamBalance"]["entry"], correction["entry"]);
    for (field, input) in [
        ("topUpTeam", json!({ "amount": raw("250.6"), "note": "Invoice 7" })),
        ("topUpTeam", json!({ "amount": raw("250.5"), "note": "Invoice 8" })),
        ("topUpTeam", json!({ "amount": raw("250.5") })),
        ("topUpTeam", json!({ "amount": 50, "idempotencyKey": "a", "note": "Typo" })),
        ("adjustTeamBalance", json!({ "amount": raw("250.5"), "reason": "Invoice 7" })),
        ("adjustTeamBalance", json!({ "amount": -50, "idempotencyKey": "a", "reason": "Other" })),
        ("adjustTeamBalance", json!({ "amount": 50, "idempotencyKey": "a", "reason": "Typo" })),
    ] {
        let answer = deposit(t, &team, field, input.clone()).await;
        assert_eq!(answer.refusals(), ["IDEMPOTENCY_CONFLICT"], "{field} with {input}");
        let error = &answer.data()[field]["errors"][0];
        assert_eq!(error["field"], json!(["input", "idempotencyKey"]));
    }
    assert_eq!(t.everything().await, before);

    let elsewhere = deposit(t, &other_team, "topUpTeam", top_up).await;
    assert_eq!(elsewhere.data()["topUpTeam"]["replayed"], false);
    // A refused deposit does not use up its idempotency key.
    let refused = deposit(
        t,
        &team,
        "adjustTeamBalance",
        json!({
            "amount": -1000, "idempotencyKey": "later",
        }),
    );
    assert_eq!(refused.await.refusals(), ["INSUFFICIENT_BALANCE"]);
    let later = json!({ "amount": raw("-200.5"), "idempotencyKey": "later" });
    let emptied = deposit(t, &team, "adjustTeamBalance", later).await;
    assert_eq!(emptied.data()["adjustTeamBalance"]["team"]["balance"], 0);
}

#[db_test]
async fn a_balance_can_reach_the_maximum_amount_and_not_exceed_it(t: &TestApp) {
    let team = t.team(0).await;

    let filled = t.top_up(&team, raw("100000000000"), "all").await;
    assert_eq!(filled.data()["topUpTeam"]["team"]["balance"], raw("100000000000"));
    let before = t.everything().await;
    for field in ["topUpTeam", "adjustTeamBalance"] {
        for amount in [raw("0.0001"), json!(1), raw("100000000000")] {
            let answer = deposit(t, &team, field, json!({ "amount": amount })).await;
            assert_eq!(answer.refusals(), ["AMOUNT_INVALID"], "{field} {amount}");
        }
    }
    assert_eq!(t.everything().await, before);
    let input = json!({ "amount": raw("-100000000000") });
    let emptied = deposit(t, &team, "adjustTeamBalance", input).await;
    assert_eq!(emptied.data()["adjustTeamBalance"]["team"]["balance"], 0);
}

#[db_test]
async fn concurrent_top_ups_with_one_idempotency_key_are_one(t: &TestApp) {
    let team = t.team(0).await;

    let answers = join_all((0..20).map(|_| t.top_up(&team, json!(100), "race"))).await;

    let payloads: Vec<&Value> = answers.iter().map(|answer| &answer.data()["topUpTeam"]).collect();
    assert_eq!(payloads.iter().filter(|payload| payload["replayed"] == false).count(), 1);
    for payload in payloads {
        assert_eq!(payload["errors"], json!([]));
        assert_eq!(payload["team"]["balance"], 100);
        assert_eq!(payload["entry"], answers[0].data()["topUpTeam"]["entry"]);
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry").await, 1);
    assert_eq!(t.number("SELECT balance_micros FROM team").await, 1_000_000);
}
