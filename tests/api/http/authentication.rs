//! Requests without a valid key.

use axum::{
    body::Body,
    http::{Request, header},
};
use db_test::db_test;
use serde_json::json;

use super::QUERY;
use crate::harness::TestApp;

#[db_test]
async fn without_a_valid_key_nothing_is_executed(t: &TestApp) {
    let team = t.team(0).await;
    let end = if team.key.ends_with('X') { 'Y' } else { 'X' };
    let wrong_end = format!("{}{end}", &team.key[..team.key.len() - 1]);
    let unknown = "tg_live_000000000000000000000000000000000000";
    let revoked = t.api_key(&team, &team.main_account_id, "LIVE").await;
    t.revoke_key(&team, &t.key_id(&revoked).await).await;
    let before = t.everything().await;
    let body = json!({ "query": QUERY }).to_string();

    let (no_key, no_bearer) =
        ("The request has no API key.", "The Authorization header is not valid");
    let (malformed, not_valid) = ("The API key is malformed.", "The API key is not valid here");
    for (authorization, said) in [
        (None, no_key),
        (Some(String::new()), no_bearer),
        (Some("Bearer".to_owned()), no_bearer),
        (Some(format!("Basic {}", team.key)), no_bearer),
        (Some(team.key.clone()), no_bearer),
        (Some(format!("Bearer {wrong_end}")), malformed),
        (Some(format!("Bearer {unknown}")), malformed),
        (Some(format!("Bearer {} x", team.key)), malformed),
        (Some(format!("Bearer {revoked}")), not_valid),
        (Some("Bearer tg_live_3NSH\u{2026}".to_owned()), malformed),
    ] {
        let mut request =
            Request::post("/graphql").header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Body::from(body.clone())).expect("a request");
        let answer = t.request(request).await;
        assert_eq!(answer.status, 401, "{authorization:?}");
        assert_eq!(answer.codes(), ["UNAUTHENTICATED"]);
        let message = answer.body["errors"][0]["message"].as_str().expect("a message");
        assert!(message.starts_with(said), "{authorization:?}: {message}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"tollgate\"");
        assert!(!answer.body.as_object().expect("an object").contains_key("data"));
    }
    let two = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", team.key))
        .header(header::AUTHORIZATION, format!("Bearer {}", team.key));
    let answer = t.request(two.body(Body::from(body.clone())).expect("a request")).await;
    assert_eq!((answer.status.as_u16(), answer.codes()), (401, vec!["UNAUTHENTICATED"]));
    assert_eq!(t.everything().await, before);
    let lower_case = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json; charset=UTF-8")
        .header(header::AUTHORIZATION, format!("bearer {}", team.key))
        .body(Body::from(body))
        .expect("a request");
    assert_eq!(t.request(lower_case).await.status, 200);
}

#[db_test]
async fn a_key_with_a_wrong_checksum_is_refused_without_a_database_query(t: &TestApp) {
    let team = t.team(0).await;
    let before = t.statements();

    for key in [
        "junk",
        "tg_live_",
        &team.key[1..],
        &format!("{}0", team.key),
        "tg_live_sub_'; DROP TABLE team",
    ] {
        assert_eq!(t.ask(key, QUERY).await.status, 401);
    }

    assert_eq!(t.statements(), before);
}
