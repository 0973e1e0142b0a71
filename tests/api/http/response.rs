//! Responses: status codes, headers, error messages and health checks.

use axum::{
    body::Body,
    http::{Request, header},
};
use db_test::db_test;
use serde_json::{Value, json};

use super::QUERY;
use crate::harness::{TestApp, post};

/// The error message does not contain the query.
#[db_test]
async fn a_syntax_error_is_reported_in_one_line_with_its_position(t: &TestApp) {
    let team = t.team(0).await;

    for (request, code) in [
        (json!({ "query": "{ account { secret+12025550123" }), "GRAPHQL_PARSE_FAILED"),
        (json!({ "query": "" }), "GRAPHQL_PARSE_FAILED"),
        (json!({ "query": "{ nothing }" }), "GRAPHQL_VALIDATION_FAILED"),
        (json!({ "query": "{ account }" }), "GRAPHQL_VALIDATION_FAILED"),
        (json!({ "query": "query($a: ID!) { message(id: $a) { id } }" }), "BAD_USER_INPUT"),
        (json!({ "query": "{ ...F } fragment F on Query { ...F }" }), "GRAPHQL_VALIDATION_FAILED"),
        (
            json!({ "query": "query A { account { id } } query B { account { id } }" }),
            "OPERATION_RESOLUTION_FAILURE",
        ),
        (
            json!({ "query": "query A { account { id } }", "operationName": "B" }),
            "OPERATION_RESOLUTION_FAILURE",
        ),
        (json!({ "query": "subscription { balanceChanged { balance } }" }), "BAD_USER_INPUT"),
        (
            json!({ "query": "{ ...F } fragment F on Query { ...Nowhere ...Nowhere }" }),
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ] {
        let answer = t.request(post(&team.key, request.to_string())).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.body);
        assert!(answer.codes().iter().all(|found| *found == code), "{request}: {}", answer.body);
        let message = answer.body["errors"][0]["message"].as_str().expect("a message");
        assert!(!message.contains('\n') && !message.contains("12025550123"), "{message}");
        assert!(!answer.body.as_object().expect("an object").contains_key("data"));
    }
    let one_of_two = json!({ "query": "query A { account { name } } query B { team { name } }", "operationName": "B" });
    let answer = t.request(post(&team.key, one_of_two.to_string())).await;
    assert_eq!(*answer.data(), json!({ "team": { "name": "Acme" } }));
}

/// The client receives only the request id. The log entry contains the same id.
#[db_test]
async fn an_internal_error_is_logged_and_hidden_from_the_client(t: &TestApp) {
    let team = t.team(0).await;
    t.execute("ALTER TABLE usage_day RENAME TO elsewhere").await;

    let answer = t.ask(&team.key, "{ account { usage { totals { spent } } } team { name } }").await;

    assert_eq!(answer.codes(), ["INTERNAL_SERVER_ERROR"]);
    assert_eq!(answer.body["data"], json!({ "account": null, "team": { "name": "Acme" } }));
    let id = answer.headers["x-request-id"].to_str().expect("text");
    let message = answer.body["errors"][0]["message"].as_str().expect("a message");
    assert_eq!(message, format!("Internal server error. Request id: {id}"));
    t.execute("ALTER TABLE elsewhere RENAME TO usage_day").await;
}

#[db_test]
async fn responses_must_not_be_cached(t: &TestApp) {
    let team = t.team(0).await;
    let answer = t.ask(&team.key, QUERY).await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(
        answer.headers[header::CONTENT_TYPE],
        "application/graphql-response+json; charset=utf-8"
    );
    assert!(answer.headers.contains_key("x-request-id"));
    let wrong = t.ask("wrong", QUERY).await;
    let nowhere = t.request(Request::get("/elsewhere").body(Body::empty()).expect("a request"));
    for answer in [answer, wrong, nowhere.await] {
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{}", answer.status);
    }
}

#[db_test]
async fn the_server_reports_health_and_readiness(t: &TestApp) {
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = t.request(request).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, Value::from(body)));
    }
    t.execute("DELETE FROM seaql_migrations WHERE version LIKE '%usage'").await;
    let request = Request::get("/readyz").body(Body::empty()).expect("a request");
    assert_eq!(t.request(request).await.status, 503);
}

/// With `application/json`, every well-formed request is answered with status 200.
#[db_test]
async fn the_status_depends_on_the_accepted_media_type(t: &TestApp) {
    let team = t.team(0).await;
    let ask = async |accept: Option<&str>, query: &str| {
        let mut request = post(&team.key, json!({ "query": query }).to_string());
        match accept {
            Some(accept) => {
                let accept = accept.parse().expect("a header's value");
                request.headers_mut().insert(header::ACCEPT, accept);
            }
            None => {
                request.headers_mut().remove(header::ACCEPT);
            }
        }
        t.request(request).await
    };
    let (newer, older) = ("application/graphql-response+json", "application/json");

    for (accept, media_type, status) in [
        (Some(newer), newer, 400),
        (Some(older), older, 200),
        (Some("*/*"), older, 200),
        (None, older, 200),
        (Some("application/graphql-response+json;q=0.9, application/json;q=0.8"), newer, 400),
    ] {
        for (query, status) in [(QUERY, 200), ("{", status), ("{ nothing }", status)] {
            let answer = ask(accept, query).await;
            assert_eq!(answer.status, status, "{accept:?} {query}");
            let expected = format!("{media_type}; charset=utf-8");
            assert_eq!(answer.headers[header::CONTENT_TYPE], expected);
            assert_eq!(answer.headers[header::VARY], "accept");
        }
    }
}
