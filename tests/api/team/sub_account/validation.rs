//! The input of sub-accounts: input that is refused, and values on both sides of each limit.

use axum::http::StatusCode;
use db_test::db_test;
use serde_json::{Value, json};
use tollgate::domain::team::sub_account::SUB_ACCOUNTS_MAX;

use super::{NOTHING, by_id, change, read};
use crate::harness::{TestApp, TestTeam, text};
use crate::team::raw;

/// Returns metadata with exactly this many bytes as compact JSON.
fn metadata_of(bytes: usize) -> Value {
    json!({ "k": "x".repeat(bytes - r#"{"k":""}"#.len()) })
}

/// Returns every refused input: the field, its value, and the error code.
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

#[db_test]
async fn input_that_is_not_valid_is_refused_with_its_code_and_changes_nothing(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "kept" })).await;
    let before = t.everything().await;

    for (field, value, code) in invalid_inputs() {
        let mut new = json!({ "name": "New" });
        new[field] = value.clone();
        let created = t.create_sub_account(&team.key, new).await;
        let input = json!({ (field): value });
        let updated = change(t, &team, "updateSubAccount", &by_id(&sub.id), input).await;

        for answer in [created, updated] {
            assert_eq!(answer.refusals(), [code], "{field}: {value}");
            let data = answer.data().as_object().expect("an object of root fields");
            for payload in data.values() {
                assert_eq!(payload["account"], json!(null));
                assert_eq!(payload["errors"][0]["field"], json!(["input", field]));
            }
        }
    }
    // A number in the query's text is checked in the same way.
    for limit in ["-1", "0.00001", "100000000000.0001", "9223372036854775807", "1e400"] {
        let query = format!(
            "mutation {{ createSubAccount(input: {{ name: \"New\", creditLimit: {limit} }}) \
             {{ errors {{ code }} }} }}"
        );
        assert_eq!(t.ask(&team.key, &query).await.refusals(), ["CREDIT_LIMIT_INVALID"], "{limit}");
    }
    // A value that is not a number has the wrong type.
    for limit in [json!("NaN"), json!("500"), json!(true), json!([])] {
        let input = json!({ "name": "New", "creditLimit": limit });
        let answer = t.create_sub_account(&team.key, input).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{limit}");
        assert_eq!(answer.codes(), ["GRAPHQL_VALIDATION_FAILED"], "{limit}");
    }

    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn values_at_the_limits_are_stored_exactly(t: &TestApp) {
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
        assert_eq!(read(t, &team, &by_id(&id), field).await[field], kept);
    }
}

/// An extreme number never causes an internal error.
#[db_test]
async fn an_extreme_number_in_metadata_is_stored_or_refused(t: &TestApp) {
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
}

/// The maximum includes inactive sub-accounts.
#[db_test]
async fn a_team_has_at_most_100000_sub_accounts(t: &TestApp) {
    let (team, other) = (t.team(1_000).await, t.team(1_000).await);
    let create = async |team: &TestTeam, name: &str| {
        let query = "mutation($input: CreateSubAccountInput!) { createSubAccount(input: $input) \
                     { account { name } errors { code field } } }";
        t.ask_with(&team.key, query, json!({ "input": { "name": name } })).await
    };
    let counts = "SELECT MAX(sub_account_count) FROM team";
    let first = t.sub_account(&team, json!({})).await;
    change(t, &team, "deactivateSubAccount", &by_id(&first.id), json!({})).await;
    assert_eq!(create(&team, "").await.refusals(), ["NAME_INVALID"]);
    assert_eq!(t.number(counts).await, 1, "a refused sub-account does not count");
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
}
