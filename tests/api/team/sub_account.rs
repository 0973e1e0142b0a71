//! Sub-accounts: made, changed, suspended, deactivated and listed by the main account of their team.

use axum::http::StatusCode;
use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};
use tollgate::domain::team::sub_account::SUB_ACCOUNTS_MAX;

use crate::harness::{Answer, Database, TestApp, TestTeam, text};

/// What a test reads of an account; `totalSpent` and the reasons of a block are read where they matter.
const SHOWN: &str = "name status statusReason statusChangedAt creditLimit externalId metadata \
                     teamBalanceVisible";
const NOTHING: [&str; 0] = [];

fn by_id(id: &str) -> Value {
    json!({ "id": id })
}

/// One of the mutations that change a sub-account.
async fn change(
    t: &TestApp,
    team: &TestTeam,
    field: &str,
    account: &Value,
    input: Value,
) -> Answer {
    let (parameter, argument, more) = match field {
        "reactivateSubAccount" => ("", "", ""),
        "suspendSubAccount" => (", $input: SuspendSubAccountInput", ", input: $input", ""),
        "deactivateSubAccount" => {
            (", $input: DeactivateSubAccountInput", ", input: $input", "keysRevoked")
        }
        _ => (", $input: UpdateSubAccountInput!", ", input: $input", ""),
    };
    let query = format!(
        "mutation($account: AccountRef!{parameter}) {{ {field}(account: $account{argument}) \
         {{ account {{ {SHOWN} }} {more} errors {{ code message field }} }} }}"
    );
    t.ask_with(&team.key, &query, json!({ "account": account, "input": input })).await
}

async fn read(t: &TestApp, team: &TestTeam, by: &Value, fields: &str) -> Value {
    let query = format!("query($by: AccountRef!) {{ subAccount(by: $by) {{ {fields} }} }}");
    let answer = t.ask_with(&team.key, &query, json!({ "by": by })).await;
    answer.data()["subAccount"].clone()
}

/// JSON as it is written, for numbers that no Rust type holds.
fn raw(json: &str) -> Value {
    json.parse().expect("the tests write JSON")
}

/// Metadata of exactly this many bytes as compact JSON.
fn metadata_of(bytes: usize) -> Value {
    json!({ "k": "x".repeat(bytes - r#"{"k":""}"#.len()) })
}

/// Every input that is refused: the field, its value, the code.
fn invalid_inputs() -> Vec<(&'static str, Value, &'static str)> {
    let mut cases = vec![
        ("metadata", metadata_of(17 * 1024), "METADATA_INVALID"),
        ("metadata", metadata_of(16 * 1024 + 1), "METADATA_INVALID"),
        ("metadata", json!({ "k": "\0" }), "METADATA_INVALID"),
    ];
    for name in ["", "   ", "a\u{7}b", "a\nb", "a\0b", &"é".repeat(201)] {
        cases.push(("name", json!(name), "NAME_INVALID"));
    }
    for external_id in ["", "a\u{7f}b", "a\nb", "a\0b", &"é".repeat(201)] {
        cases.push(("externalId", json!(external_id), "EXTERNAL_ID_INVALID"));
    }
    for limit in [
        "-1",
        "-0.0001",
        "0.00001",
        "1e-400",
        "100000000000.0001",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "1e400",
    ] {
        cases.push(("creditLimit", raw(limit), "CREDIT_LIMIT_INVALID"));
    }
    cases
}

/// C4, C11, C12, C16, C30, D4: made over the main account's API, with a key of its own that works.
#[db_test]
#[tokio::test]
async fn a_sub_account_comes_with_its_first_live_key(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(50_000).await;

    let input = json!({
        "name": " Client ABC ", "externalId": "abc-1", "creditLimit": 10_000,
        "metadata": { "plan": "gold" }, "teamBalanceVisible": false,
    });
    let answer = t.create_sub_account(&team.key, input).await;

    assert_eq!(answer.refusals(), NOTHING);
    let made = &answer.data()["createSubAccount"];
    let id = text(&made["account"]["id"]);
    assert_eq!(
        made["account"],
        json!({
            "id": id, "name": "Client ABC", "status": "ACTIVE", "creditLimit": 10_000, "totalSpent": 0,
            "externalId": "abc-1", "metadata": { "plan": "gold" }, "teamBalanceVisible": false,
        })
    );
    let key = text(&made["plainKey"]);
    assert!(key.starts_with("tg_live_sub_"), "the kind of the key is in it");
    let (prefix, last_four) = (text(&made["apiKey"]["prefix"]), text(&made["apiKey"]["lastFour"]));
    assert!(key.starts_with(&prefix) && key.ends_with(&last_four));
    assert_eq!(made["apiKey"]["environment"], "LIVE");
    let own = t.ask(&key, "{ viewer { role environment account { id isSubAccount } } }").await;
    let account = json!({ "id": id, "isSubAccount": true });
    let viewer = json!({ "role": "SUB_ACCOUNT", "environment": "LIVE", "account": account });
    assert_eq!(own.data()["viewer"], viewer);
    t.close().await;
}

/// C13, R5, R6: each refusal names its code and its field, and nothing is made or changed.
#[db_test]
#[tokio::test]
async fn invalid_input_is_refused_by_name_and_changes_nothing(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "kept" })).await;
    let before = t.everything().await;

    for (field, value, code) in invalid_inputs() {
        let mut new = json!({ "name": "New" });
        new[field] = value.clone();
        let created = t.create_sub_account(&team.key, new).await;
        let input = json!({ (field): value });
        let updated = change(&t, &team, "updateSubAccount", &by_id(&sub.id), input).await;

        for answer in [created, updated] {
            assert_eq!(answer.refusals(), [code], "{field}: {value}");
            let data = answer.data().as_object().expect("an object of root fields");
            for payload in data.values() {
                assert_eq!(payload["account"], json!(null));
                assert_eq!(payload["errors"][0]["field"], json!(["input", field]));
            }
        }
    }
    // A number as a literal is read from its text as well.
    for limit in ["-1", "0.00001", "100000000000.0001", "9223372036854775807", "1e400"] {
        let query = format!(
            "mutation {{ createSubAccount(input: {{ name: \"New\", creditLimit: {limit} }}) \
             {{ errors {{ code }} }} }}"
        );
        assert_eq!(t.ask(&team.key, &query).await.refusals(), ["CREDIT_LIMIT_INVALID"], "{limit}");
    }
    // What is no number at all does not fit the type.
    for limit in [json!("NaN"), json!("500"), json!(true), json!([])] {
        let input = json!({ "name": "New", "creditLimit": limit });
        let answer = t.create_sub_account(&team.key, input).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{limit}");
        assert_eq!(answer.codes(), ["GRAPHQL_VALIDATION_FAILED"], "{limit}");
    }

    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// C13, R5, R6: the limits from their good side.
#[db_test]
#[tokio::test]
async fn values_at_the_limits_are_kept_exactly(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;

    for (field, value, kept) in [
        ("name", json!("é".repeat(200)), json!("é".repeat(200))),
        ("name", json!("N"), json!("N")),
        ("externalId", json!("é".repeat(200)), json!("é".repeat(200))),
        ("externalId", json!("-"), json!("-")),
        ("creditLimit", json!(null), json!(null)),
        ("creditLimit", json!(0), json!(0)),
        ("creditLimit", raw("0.0001"), raw("0.0001")),
        ("creditLimit", raw("4500.0"), json!(4500)),
        ("creditLimit", raw("4.5e3"), json!(4500)),
        ("creditLimit", raw("99999999999.9999"), raw("99999999999.9999")),
        ("creditLimit", raw("100000000000"), raw("100000000000")),
        ("metadata", metadata_of(16 * 1024), metadata_of(16 * 1024)),
        ("metadata", json!({}), json!({})),
        ("metadata", json!({ "path": "\\u0000" }), json!({ "path": "\\u0000" })),
        (
            "metadata",
            raw(r#"{"n":12345678901234567890.5}"#),
            raw(r#"{"n":12345678901234567890.5}"#),
        ),
    ] {
        let mut input = json!({ "name": "New" });
        input[field] = value.clone();
        let answer = t.create_sub_account(&team.key, input).await;

        assert_eq!(answer.refusals(), NOTHING, "{field}: {value}");
        assert_eq!(answer.data()["createSubAccount"]["account"][field], kept);
        let id = text(&answer.data()["createSubAccount"]["account"]["id"]);
        assert_eq!(read(&t, &team, &by_id(&id), field).await[field], kept);
    }
    t.close().await;
}

/// R5: numbers in metadata that a database cannot keep are kept or refused, never a failure of ours.
#[db_test]
#[tokio::test]
async fn an_absurd_number_in_metadata_is_no_fault_of_the_server(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;

    for number in ["1e200000", "-1e200000", "1e-200000", "1e99999999999999999999"] {
        let metadata = raw(&format!("{{\"n\":{number}}}"));
        let input = json!({ "name": "New", "metadata": metadata });
        let answer = t.create_sub_account(&team.key, input).await;

        assert_eq!(answer.codes(), NOTHING, "{number}");
        match answer.refusals()[..] {
            [] => {
                let kept = &answer.data()["createSubAccount"]["account"]["metadata"];
                assert_eq!(*kept, metadata, "{number}");
            }
            ref codes => assert_eq!(codes, ["METADATA_INVALID"], "{number}"),
        }
    }
    t.close().await;
}

/// R5: one holder of an externalId in a team, also when two ask at once; other teams have their own.
#[db_test]
#[tokio::test]
async fn an_external_id_is_taken_once_in_a_team(database: Database) {
    let t = TestApp::start(database).await;
    let (team, other_team) = (t.team(0).await, t.team(0).await);
    let taken = json!({ "name": "Holder", "externalId": "taken" });
    assert_eq!(t.create_sub_account(&team.key, taken.clone()).await.refusals(), NOTHING);
    let sub = t.sub_account(&team, json!({ "externalId": "own" })).await;

    let before = t.everything().await;
    let created = t.create_sub_account(&team.key, taken.clone()).await;
    let to_taken = json!({ "externalId": "taken" });
    let updated = change(&t, &team, "updateSubAccount", &by_id(&sub.id), to_taken).await;
    let after = t.everything().await;

    for answer in [&created, &updated] {
        assert_eq!(answer.refusals(), ["EXTERNAL_ID_TAKEN"]);
    }
    assert_eq!(after, before);
    assert_eq!(t.create_sub_account(&other_team.key, taken).await.refusals(), NOTHING);
    let to_own = json!({ "externalId": "own" });
    let again = change(&t, &team, "updateSubAccount", &by_id(&sub.id), to_own).await;
    assert_eq!(again.refusals(), NOTHING);

    let race = json!({ "name": "Racer", "externalId": "race" });
    let (one, two) = tokio::join!(
        t.create_sub_account(&team.key, race.clone()),
        t.create_sub_account(&team.key, race.clone()),
    );
    let mut refusals = [one.refusals(), two.refusals()].concat();
    refusals.sort_unstable();
    assert_eq!(refusals, ["EXTERNAL_ID_TAKEN"]);
    assert_eq!(t.number("SELECT COUNT(*) FROM account WHERE external_id = 'race'").await, 1);
    t.close().await;
}

/// C30, R5: what is left out is kept, null clears, a value replaces; nothing else changes.
#[db_test]
#[tokio::test]
async fn an_update_keeps_clears_or_sets_each_field(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "e", "creditLimit": 5 })).await;
    let account = by_id(&sub.id);
    let mut expected = read(&t, &team, &account, SHOWN).await;

    for (field, value, null_gives) in [
        ("externalId", json!("a-1"), json!(null)),
        ("creditLimit", json!(500), json!(null)),
        ("metadata", json!({ "plan": "gold" }), json!(null)),
        ("name", json!("Renamed"), json!("Renamed")),
        ("teamBalanceVisible", json!(false), json!(false)),
    ] {
        for (input, then) in [
            (json!({ (field): value }), value.clone()),
            (json!({}), value.clone()),
            (json!({ (field): null }), null_gives),
            (json!({ (field): value }), value),
        ] {
            let answer = change(&t, &team, "updateSubAccount", &account, input).await;

            assert_eq!(answer.refusals(), NOTHING);
            expected[field] = then;
            assert_eq!(answer.data()["updateSubAccount"]["account"], expected, "{field}");
            assert_eq!(read(&t, &team, &account, SHOWN).await, expected, "{field}");
        }
    }
    t.close().await;
}

/// R5: your own id serves wherever an id of a sub-account does.
#[db_test]
#[tokio::test]
async fn an_external_id_names_its_sub_account(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "c-1" })).await;
    t.sub_account(&team, json!({ "externalId": "C-1" })).await;
    let named = json!({ "externalId": "c-1" });

    assert_eq!(read(&t, &team, &named, "id").await, json!({ "id": sub.id }));
    for (field, input, shows) in [
        ("updateSubAccount", json!({ "name": "Renamed" }), json!("ACTIVE")),
        ("suspendSubAccount", json!({}), json!("SUSPENDED")),
        ("reactivateSubAccount", json!(null), json!("ACTIVE")),
        ("deactivateSubAccount", json!(null), json!("INACTIVE")),
    ] {
        let answer = change(&t, &team, field, &named, input).await;

        assert_eq!(answer.refusals(), NOTHING, "{field}");
        assert_eq!(answer.data()[field]["account"]["externalId"], "c-1");
        assert_eq!(answer.data()[field]["account"]["status"], shows);
    }
    t.close().await;
}

/// C8, C9, C29, C30, R1, R2, R4: the main account is no sub-account, and sub-accounts do not nest.
#[db_test]
#[tokio::test]
async fn only_sub_accounts_are_managed_and_only_by_the_main_account(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let main = by_id(&team.main_account_id);
    let before = t.everything().await;

    for field in
        ["updateSubAccount", "suspendSubAccount", "reactivateSubAccount", "deactivateSubAccount"]
    {
        let answer = change(&t, &team, field, &main, json!({})).await;
        assert_eq!(answer.refusals(), ["NOT_FOUND"], "{field}");
        assert_eq!(answer.data()[field]["errors"][0]["field"], json!(["account"]));
    }
    assert_eq!(read(&t, &team, &main, "id").await, json!(null));
    let list = t.ask(&team.key, "{ subAccounts { totalCount nodes { id } } }").await;
    assert_eq!(list.data()["subAccounts"], json!({ "totalCount": 1, "nodes": [{ "id": sub.id }] }));
    for input in [json!({ "name": "Nested" }), json!({ "name": "" })] {
        assert_eq!(t.create_sub_account(&sub.key, input).await.codes(), ["FORBIDDEN"]);
    }

    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// C23, R4: a suspension refuses sends and nothing else, is reversible at once, and lets what was
/// accepted wait.
#[db_test]
#[tokio::test]
async fn a_suspended_account_reads_and_waits_and_does_not_send(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = by_id(&sub.id);
    assert!(t.sends(&sub.key).await);

    let input = json!({ "reason": " Unpaid " });
    let suspended = change(&t, &team, "suspendSubAccount", &account, input).await;
    let shown = &suspended.data()["suspendSubAccount"]["account"];
    assert_eq!(shown["status"], "SUSPENDED");
    assert_eq!(shown["statusReason"], "Unpaid");
    assert_eq!(shown["statusChangedAt"], "2026-03-16T12:00:00.000Z");

    t.step(TimeDelta::minutes(1));
    t.deliver().await;
    let before = t.everything().await;
    let input = json!({ "reason": "Another" });
    let again = change(&t, &team, "suspendSubAccount", &account, input).await;
    assert_eq!(again.data()["suspendSubAccount"]["account"], *shown);
    let send = t.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    assert_eq!(send.refusals(), ["ACCOUNT_SUSPENDED"]);
    for reason in ["", "  ", "a\u{1b}b", &"x".repeat(501)] {
        for field in ["suspendSubAccount", "deactivateSubAccount"] {
            let answer = change(&t, &team, field, &account, json!({ "reason": reason })).await;
            assert_eq!(answer.refusals(), ["REASON_INVALID"]);
            assert_eq!(answer.data()[field]["errors"][0]["field"], json!(["input", "reason"]));
        }
    }
    let own = t.ask(&sub.key, "{ messages { nodes { status } } }").await;
    assert_eq!(own.data()["messages"]["nodes"], json!([{ "status": "QUEUED" }]));
    assert_eq!(t.everything().await, before);

    let reactivated = change(&t, &team, "reactivateSubAccount", &account, json!(null)).await;
    let shown = &reactivated.data()["reactivateSubAccount"]["account"];
    assert_eq!([&shown["status"], &shown["statusReason"]], [&json!("ACTIVE"), &json!(null)]);
    assert_ne!(shown["statusChangedAt"], "2026-03-16T12:00:00.000Z");
    let before = t.everything().await;
    t.step(TimeDelta::minutes(1));
    let again = change(&t, &team, "reactivateSubAccount", &account, json!(null)).await;
    assert_eq!(again.data()["reactivateSubAccount"]["account"], *shown);
    assert_eq!(t.everything().await, before);
    assert!(t.sends(&sub.key).await);
    t.deliver().await;
    let own = t.ask(&sub.key, "{ messages { nodes { status } } }").await;
    let delivered = json!({ "status": "DELIVERED" });
    assert_eq!(own.data()["messages"]["nodes"], json!([delivered, delivered]));
    t.close().await;
}

/// C6, R4, R12: a deactivation revokes every key, cancels and refunds what waits, and is not undone
/// by a reactivation.
#[db_test]
#[tokio::test]
async fn a_deactivated_account_loses_its_keys_for_good_and_gets_back_what_waited(
    database: Database,
) {
    let t = TestApp::start(database).await;
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = by_id(&sub.id);
    let live = t.api_key(&team, &sub.id, "LIVE").await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { errors { code } } }";
    let revoked = t.ask_with(&team.key, revoke, json!({ "id": sub.key_id })).await;
    assert_eq!(revoked.refusals(), NOTHING);
    assert!(t.sends(&live).await);
    t.deliver().await;
    assert!(t.sends(&live).await && t.sends(&live).await);

    let input = json!({ "reason": "Left" });
    let answer = change(&t, &team, "deactivateSubAccount", &account, input).await;

    let payload = &answer.data()["deactivateSubAccount"];
    assert_eq!([&payload["keysRevoked"], &payload["errors"]], [&json!(2), &json!([])]);
    assert_eq!(payload["account"]["status"], "INACTIVE");
    assert_eq!(payload["account"]["statusReason"], "Left");
    for key in [&sub.key, &live, &test] {
        let answer = t.ask(key, "{ balance { balance } }").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.codes(), ["UNAUTHENTICATED"]);
    }
    // The worker follows.
    assert_eq!(read(&t, &team, &account, "totalSpent").await, json!({ "totalSpent": 3 }));
    assert_eq!(t.work_off().await, 1);
    assert_eq!(read(&t, &team, &account, "totalSpent").await, json!({ "totalSpent": 1 }));
    let balance = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(balance.data()["balance"]["balance"], 99);

    let before = t.everything().await;
    t.step(TimeDelta::minutes(1));
    let again = change(&t, &team, "deactivateSubAccount", &account, json!({})).await;
    let payload = &again.data()["deactivateSubAccount"];
    assert_eq!([&payload["keysRevoked"], &payload["errors"]], [&json!(0), &json!([])]);
    let suspended = change(&t, &team, "suspendSubAccount", &account, json!({})).await;
    assert_eq!(suspended.refusals(), ["ACCOUNT_INACTIVE"]);
    assert_eq!(t.everything().await, before);

    let reactivated = change(&t, &team, "reactivateSubAccount", &account, json!(null)).await;
    assert_eq!(reactivated.data()["reactivateSubAccount"]["account"]["status"], "ACTIVE");
    for key in [&sub.key, &live, &test] {
        assert_eq!(t.ask(key, "{ __typename }").await.status, StatusCode::UNAUTHORIZED);
    }
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    let own = t.ask(&key, "{ messages { nodes { status errorCode cost refundedAt } } }").await;
    let nodes = own.data()["messages"]["nodes"].as_array().expect("a list");
    for (node, is_canceled) in nodes.iter().zip([true, true, false]) {
        let code = if is_canceled { json!("ACCOUNT_INACTIVE") } else { json!(null) };
        assert_eq!(node["status"], if is_canceled { "CANCELED" } else { "DELIVERED" });
        assert_eq!([&node["errorCode"], &node["cost"]], [&code, &json!(1)]);
        assert_eq!(node["refundedAt"] != json!(null), is_canceled);
    }
    assert_eq!(nodes.len(), 3);
    assert!(t.sends(&key).await);
    t.close().await;
}

/// C13, C23, R8: every reason at once, and whether there is any.
#[db_test]
#[tokio::test]
async fn an_account_says_why_its_sends_are_refused(database: Database) {
    let t = TestApp::start(database).await;
    t.set_sms_price(10_000).await;
    let team = t.team(3).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 2 })).await;
    let account = by_id(&sub.id);
    let expect = async |reasons: Value, remaining: Value| {
        let fields = "isBlocked blockedBy remainingCredit";
        let expected = json!({
            "isBlocked": reasons != json!([]), "blockedBy": reasons, "remainingCredit": remaining,
        });
        assert_eq!(read(&t, &team, &account, fields).await, expected);
    };

    expect(json!([]), json!(2)).await;
    assert!(t.sends(&sub.key).await);
    expect(json!([]), json!(1)).await;
    assert!(t.sends(&sub.key).await);
    t.deliver().await;
    expect(json!(["CREDIT_LIMIT"]), json!(0)).await;
    change(&t, &team, "updateSubAccount", &account, json!({ "creditLimit": 1 })).await;
    expect(json!(["CREDIT_LIMIT"]), json!(0)).await;
    change(&t, &team, "suspendSubAccount", &account, json!({})).await;
    expect(json!(["SUSPENDED", "CREDIT_LIMIT"]), json!(0)).await;
    assert!(t.sends(&team.key).await);
    expect(json!(["SUSPENDED", "CREDIT_LIMIT", "BALANCE"]), json!(0)).await;
    change(&t, &team, "deactivateSubAccount", &account, json!({})).await;
    expect(json!(["INACTIVE", "CREDIT_LIMIT", "BALANCE"]), json!(0)).await;
    change(&t, &team, "reactivateSubAccount", &account, json!({})).await;
    change(&t, &team, "updateSubAccount", &account, json!({ "creditLimit": null })).await;
    expect(json!(["BALANCE"]), json!(null)).await;
    assert_eq!(t.top_up(&team, json!(1), "more").await.refusals(), NOTHING);
    expect(json!([]), json!(null)).await;
    t.close().await;
}

/// The limit, from both sides; another team's sub-accounts do not count, and inactive ones do.
#[db_test]
#[tokio::test]
async fn a_team_has_at_most_100000_sub_accounts(database: Database) {
    let t = TestApp::start(database).await;
    let (team, other) = (t.team(1_000).await, t.team(1_000).await);
    let create = async |team: &TestTeam, name: &str| {
        let query = "mutation($input: CreateSubAccountInput!) { createSubAccount(input: $input) \
                     { account { name } errors { code field } } }";
        t.ask_with(&team.key, query, json!({ "input": { "name": name } })).await
    };
    let counts = "SELECT MAX(sub_account_count) FROM team";
    let first = t.sub_account(&team, json!({})).await;
    change(&t, &team, "deactivateSubAccount", &by_id(&first.id), json!({})).await;
    assert_eq!(create(&team, "").await.refusals(), ["NAME_INVALID"]);
    assert_eq!(t.number(counts).await, 1, "what was refused does not count");
    t.execute(&format!(
        "UPDATE team SET sub_account_count = {} WHERE sub_account_count = 1",
        SUB_ACCOUNTS_MAX - 1
    ))
    .await;

    assert_eq!(create(&team, "Last").await.refusals(), NOTHING);
    let before = t.everything().await;
    let refused = create(&team, "One more").await;
    let errors = &refused.data()["createSubAccount"]["errors"];
    assert_eq!(*errors, json!([{ "code": "TOO_MANY_SUB_ACCOUNTS", "field": [] }]));
    assert_eq!(t.everything().await, before);
    assert_eq!(create(&other, "Another team's").await.refusals(), NOTHING);
    t.close().await;
}
