//! Reading a request: methods, media types, sizes, bodies and persisted queries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use axum::{
    body::Body,
    http::{Request, header},
};
use db_test::db_test;
use futures_util::stream;
use serde_json::json;
use tokio::task::JoinSet;
use tollgate::http;

use super::QUERY;
use crate::harness::{TestApp, encoded, get, post, sha256_hex};

#[db_test]
async fn requests_with_another_method_media_type_or_shape_are_refused(t: &TestApp) {
    let team = t.team(0).await;
    let bearer = format!("Bearer {}", team.key);

    for (request, status, code) in [
        (
            Request::put("/graphql").header("authorization", &bearer).body(Body::empty()),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            Request::delete("/graphql").header("authorization", &bearer).body(Body::empty()),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            Request::get("/graphql?query={__typename}")
                .header("authorization", &bearer)
                .header("accept", "text/html")
                .body(Body::empty()),
            406,
            "NOT_ACCEPTABLE",
        ),
        (Request::get("/elsewhere").body(Body::empty()), 404, "BAD_USER_INPUT"),
        (
            Request::post("/graphql").header("authorization", &bearer).body(Body::from("{}")),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            Request::post("/graphql")
                .header("authorization", &bearer)
                .header("content-type", "text/plain")
                .body(Body::from("{}")),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            Request::post("/graphql")
                .header("authorization", &bearer)
                .header("content-type", "application/json; charset=latin1")
                .body(Body::from("{}")),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            Request::post("/graphql")
                .header("authorization", &bearer)
                .header("content-type", "multipart/form-data; boundary=x")
                .body(Body::from("{}")),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
    ] {
        let answer = t.request(request.expect("a request")).await;
        assert_eq!(answer.status, status, "{code}");
        assert_eq!(answer.codes(), [code]);
        assert_eq!(answer.headers.get(header::ALLOW).is_some(), status == 405);
    }
    for body in [
        "",
        "null",
        "7",
        "[]",
        "{",
        "{}",
        "[{\"query\":\"{ account { id } }\"}]",
        "{\"query\":7}",
        "{\"query\":\"{ account { id } }\",\"variables\":[]}",
        "{\"query\":\"{ account { id } }\",\"operationName\":7}",
        "{\"query\":\"{ account { id } }\",\"extensions\":7}",
    ] {
        let answer = t.request(post(&team.key, body)).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    }
}

/// Requests with other keys of the same team are not delayed either. The requests whose bodies are never sent are
/// refused in the end.
#[db_test]
async fn requests_whose_bodies_are_never_sent_delay_no_other_request(t: &Arc<TestApp>) {
    let (team, other) = (t.team(1_000).await, t.team(1_000).await);
    let hot = t.sub_account(&team, json!({})).await;
    let waited_for = Arc::new(AtomicUsize::new(0));
    let mut hanging = JoinSet::new();
    for _ in 0..http::HELD_MAX {
        let (t, key, body) = (Arc::clone(t), hot.key.clone(), endless_body(&waited_for));
        hanging.spawn(async move { t.request(post(&key, body)).await });
    }
    let mut refused = Vec::new();
    // On a slow machine, the first requests may be refused before the last ones are received.
    while waited_for.load(Ordering::Relaxed) + refused.len() < http::HELD_MAX {
        refused.extend(hanging.try_join_next());
        tokio::task::yield_now().await;
    }
    for key in [&hot.key, &team.key, &other.key] {
        assert!(t.sends(key).await);
    }

    while let Some(answer) = hanging.join_next().await {
        refused.push(answer);
    }
    for refused in refused {
        let refused = refused.expect("it is answered");
        assert_eq!((refused.status.as_u16(), refused.codes()), (503, vec!["UNAVAILABLE"]));
    }
    assert!(t.sends(&hot.key).await);
}

/// Returns a body that is never sent. When the server begins to wait for the body, 1 is added to `waited_for`.
fn endless_body(waited_for: &Arc<AtomicUsize>) -> Body {
    let (waited_for, mut is_new) = (Arc::clone(waited_for), true);
    let never = stream::poll_fn(move |_| {
        if std::mem::take(&mut is_new) {
            waited_for.fetch_add(1, Ordering::Relaxed);
        }
        Poll::<Option<Result<&[u8], axum::Error>>>::Pending
    });
    Body::from_stream(never)
}

/// The error for an incomplete body does not say that the body is too large.
#[db_test]
async fn an_incomplete_body_is_refused_as_bad_input(t: &TestApp) {
    let team = t.team(0).await;
    let parts = [Ok("{\"query\":"), Err(axum::Error::new("it broke off"))];
    let refused = t.request(post(&team.key, Body::from_stream(stream::iter(parts)))).await;
    assert_eq!((refused.status.as_u16(), refused.codes()), (400, vec!["BAD_USER_INPUT"]));
    let parts = [Ok::<_, axum::Error>("x".repeat(http::BODY_BYTES_MAX)), Ok("x".to_owned())];
    let refused = t.request(post(&team.key, Body::from_stream(stream::iter(parts)))).await;
    assert_eq!((refused.status.as_u16(), refused.codes()), (413, vec!["PAYLOAD_TOO_LARGE"]));
}

#[db_test]
async fn get_requests_run_queries_but_no_mutations(t: &TestApp) {
    let team = t.team(1_000).await;
    let document = "query A($with: Boolean! = true) { account { name @include(if: $with) } } \
                    query B { team { name } } \
                    mutation C { sendMessage(input: { to: \"+12025550123\", text: \"Hi\" }) { replayed } }";
    let document = encoded(document);
    let before = t.everything().await;

    let asked =
        async |rest: &str| t.request(get(&team.key, &format!("query={document}{rest}"))).await;
    let answer = asked("&operationName=B").await;
    assert_eq!(*answer.data(), json!({ "team": { "name": "Acme" } }));
    let without = format!("&operationName=A&variables={}", encoded("{\"with\": false}"));
    assert_eq!(*asked(&without).await.data(), json!({ "account": {} }));

    for (rest, status, code) in [
        ("&operationName=C", 405, "METHOD_NOT_ALLOWED"),
        ("", 400, "OPERATION_RESOLUTION_FAILURE"),
        ("&operationName=B&operationName=B", 400, "BAD_USER_INPUT"),
        ("&operationName=A&variables=7", 400, "BAD_USER_INPUT"),
        ("&operationName=A&variables=%7B", 400, "BAD_USER_INPUT"),
        ("&operationName=B&extensions=[]", 400, "BAD_USER_INPUT"),
    ] {
        let refused = asked(rest).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (status, vec![code]), "{rest}");
        let allow = refused.headers.get(header::ALLOW).map(|allow| allow.to_str().expect("text"));
        assert_eq!(allow, (status == 405).then_some("POST"));
    }
    let nothing = t.request(get(&team.key, "")).await;
    assert_eq!((nothing.status.as_u16(), nothing.codes()), (400, vec!["BAD_USER_INPUT"]));
    assert_eq!(t.everything().await, before);
}

/// Persisted queries follow the same rules as other queries: a GET request cannot run a mutation, and a field that is
/// hidden from the role cannot be selected.
#[db_test]
async fn a_persisted_query_is_sent_once_and_then_named_by_its_hash(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let hash = sha256_hex;
    let extensions = |hash: &str| json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let post_hash = async |key: &str, query: &str| {
        let body = json!({ "extensions": extensions(&hash(query)) }).to_string();
        t.request(post(key, body)).await
    };
    let post_both = async |key: &str, query: &str, hash: &str| {
        let body = json!({ "query": query, "extensions": extensions(hash) }).to_string();
        t.request(post(key, body)).await
    };

    let unknown = post_hash(&sub.key, QUERY).await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.codes(), ["PERSISTED_QUERY_NOT_FOUND"]);
    assert_eq!(unknown.body["errors"][0]["message"], "PersistedQueryNotFound");
    let wrong = post_both(&sub.key, QUERY, &hash("something else")).await;
    assert_eq!((wrong.status.as_u16(), wrong.codes()), (400, vec!["BAD_USER_INPUT"]));
    assert_eq!(post_hash(&sub.key, QUERY).await.codes(), ["PERSISTED_QUERY_NOT_FOUND"]);

    let name = json!({ "account": { "name": "Client" } });
    assert_eq!(*post_both(&sub.key, QUERY, &hash(QUERY)).await.data(), name);
    assert_eq!(*post_hash(&sub.key, QUERY).await.data(), name);
    let by_get = format!("extensions={}", encoded(&extensions(&hash(QUERY)).to_string()));
    assert_eq!(*t.request(get(&sub.key, &by_get)).await.data(), name);

    let send = "mutation { sendMessage(input: { to: \"+12025550123\", text: \"Hi\" }) { errors { code } } }";
    assert_eq!(post_both(&team.key, send, &hash(send)).await.refusals(), [""; 0]);
    let another = t.api_key(&team, &team.main_account_id, "LIVE").await;
    let before = t.everything().await;
    let by_get = format!("extensions={}", encoded(&extensions(&hash(send)).to_string()));
    let refused = t.request(get(&team.key, &by_get)).await;
    assert_eq!((refused.status.as_u16(), refused.codes()), (405, vec!["METHOD_NOT_ALLOWED"]));

    let manage = "mutation { createSubAccount(input: { name: \"\" }) { errors { code } } }";
    assert_eq!(post_both(&team.key, manage, &hash(manage)).await.refusals(), ["NAME_INVALID"]);
    assert_eq!(post_hash(&another, manage).await.refusals(), ["NAME_INVALID"]);
    // A hash does not reveal the queries of another account.
    for query in [manage, send] {
        assert_eq!(post_hash(&sub.key, query).await.codes(), ["PERSISTED_QUERY_NOT_FOUND"]);
    }
    assert_eq!(post_both(&sub.key, manage, &hash(manage)).await.codes(), ["FORBIDDEN"]);
    assert_eq!(post_hash(&sub.key, manage).await.codes(), ["PERSISTED_QUERY_NOT_FOUND"]);
    assert_eq!(t.everything().await, before);

    for persisted in [
        json!(7),
        json!({}),
        json!({ "version": 2, "sha256Hash": hash(QUERY) }),
        json!({ "version": 1, "sha256Hash": "é".repeat(32) }),
        json!({ "version": 1, "sha256Hash": "+1".repeat(32) }),
    ] {
        let body = json!({ "extensions": { "persistedQuery": persisted } }).to_string();
        let refused = t.request(post(&sub.key, body)).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (400, vec!["BAD_USER_INPUT"]));
    }
}
