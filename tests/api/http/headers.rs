//! The headers of cross-origin requests, request ids, and the metrics of requests and messages.

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use db_test::db_test;
use futures_util::stream;
use serde_json::json;
use tollgate::http;

use crate::harness::{Apps, Setup, TestApp, post};

const PAGE: &str = "https://app.example.com";

fn has<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

/// Pages from listed origins can read the headers for rate limits and request ids. No origin is listed by default.
#[db_test]
async fn only_listed_origins_may_send_cross_origin_requests(apps: &Apps) {
    let origins = vec![PAGE.parse().expect("a header's value")];
    let http = http::Settings { cors_origins: origins, ..http::Settings::default() };
    let t = apps.start_with(Setup { http, ..Setup::default() }).await;
    let team = t.team(0).await;
    let preflight = |origin: &str| {
        Request::options("/graphql")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .body(Body::empty())
            .expect("a request")
    };
    let ask = |origin: &str| {
        let mut request = post(&team.key, json!({ "query": "{ account { name } }" }).to_string());
        request.headers_mut().insert(header::ORIGIN, origin.parse().expect("a value"));
        request
    };

    let allowed = t.request(preflight(PAGE)).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(has(&allowed.headers, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(has(&allowed.headers, "access-control-allow-methods"), Some("GET,POST"));
    let answer = t.request(ask(PAGE)).await;
    assert_eq!(*answer.data(), json!({ "account": { "name": "Acme" } }));
    assert_eq!(has(&answer.headers, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(
        has(&answer.headers, "access-control-expose-headers"),
        Some("ratelimit,ratelimit-policy,retry-after,x-request-id")
    );
    assert_eq!(has(&answer.headers, "access-control-allow-credentials"), None);
    for origin in ["https://evil.example.com", "null", "http://app.example.com"] {
        for request in [preflight(origin), ask(origin)] {
            let answer = t.request(request).await;
            assert_eq!(has(&answer.headers, "access-control-allow-origin"), None, "{origin}");
        }
    }

    let t = apps.start().await;
    let answer = t.request(preflight(PAGE)).await;
    assert_eq!(has(&answer.headers, "access-control-allow-origin"), None);
}

/// If the client's request id is long or has other characters, the request gets a new id.
#[db_test]
async fn the_request_id_of_the_client_is_returned_if_it_is_short_and_plain(t: &TestApp) {
    let team = t.team(0).await;
    let longest = "a".repeat(64);
    for (given, is_kept) in [
        (Some("order-17"), true),
        (Some(&*longest), true),
        (Some(&*format!("{longest}a")), false),
        (Some("two words"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut request = post(&team.key, json!({ "query": "{ account { name } }" }).to_string());
        if let Some(given) = given {
            request.headers_mut().insert("x-request-id", given.parse().expect("text"));
        }
        let answer = t.request(request).await;
        let id = has(&answer.headers, "x-request-id").expect("an id");
        assert_eq!(Some(id) == given, is_kept, "{given:?}: {id}");
        assert!(is_kept || uuid::Uuid::try_parse(id).is_ok(), "{id}");
    }
}

#[db_test]
async fn refused_requests_have_a_request_id_too(apps: &Apps) {
    let origins = vec![PAGE.parse().expect("a header's value")];
    let http = http::Settings { cors_origins: origins, ..http::Settings::default() };
    let t = apps.start_with(Setup { http, ..Setup::default() }).await;
    let team = t.team(0).await;
    let preflight = Request::options("/graphql")
        .header("origin", PAGE)
        .header("access-control-request-method", "POST");
    for request in [preflight, Request::get("/elsewhere"), Request::get("/graphql")] {
        let answer = t.request(request.body(Body::empty()).expect("a request")).await;
        assert!(has(&answer.headers, "x-request-id").is_some(), "{}", answer.status);
    }

    // The body of this request is never sent.
    let body = Body::from_stream(stream::pending::<Result<&[u8], axum::Error>>());
    let mut request = post(&team.key, body);
    request.headers_mut().insert("x-request-id", "order-17".parse().expect("text"));
    request.headers_mut().insert(header::ORIGIN, PAGE.parse().expect("text"));
    let refused = t.request(request).await;
    assert_eq!((refused.status.as_u16(), refused.codes()), (503, vec!["UNAVAILABLE"]));
    assert_eq!(has(&refused.headers, "x-request-id"), Some("order-17"));
    assert_eq!(has(&refused.headers, "access-control-allow-origin"), Some(PAGE));
}

#[db_test]
async fn requests_and_messages_are_counted_in_the_metrics(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 0 })).await;
    assert!(t.sends(&team.key).await && t.sends(&team.key).await);
    assert!(!t.sends(&sub.key).await);
    assert_eq!(t.ask(&team.key, "{ nothing }").await.status, 400);
    assert_eq!(t.ask("wrong", "{ account { name } }").await.status, 401);

    let text = t.metrics().await;
    for line in [
        "tollgate_messages_total{verdict=\"ACCEPTED\"} 2",
        "tollgate_messages_total{verdict=\"CREDIT_LIMIT_REACHED\"} 1",
        "tollgate_requests_total{operation=\"query\",code=\"GRAPHQL_VALIDATION_FAILED\"} 1",
        "tollgate_requests_total{operation=\"none\",code=\"UNAUTHENTICATED\"} 1",
        "tollgate_writer_batch_messages_count 3",
        "tollgate_writer_waiting 0",
        "tollgate_text_bytes 0",
        "tollgate_worker_lag_seconds 0.0",
        "tollgate_audit_drift -1",
        "tollgate_sockets 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(text.contains("tollgate_request_seconds_bucket{le=\"0.001\",operation=\"mutation\"}"));
    t.step(chrono::TimeDelta::seconds(7));
    assert!(t.metrics().await.contains("tollgate_worker_lag_seconds 7.0"));
    for secret in [&team.key, &team.id, "12025550"] {
        assert!(!text.contains(secret));
    }
}
