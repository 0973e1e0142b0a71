//! Rate limits. Keys and accounts are limited by the cost of their requests, and addresses by the number of invalid
//! keys.

use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request},
};
use db_test::db_test;
use entity::api_key::{Environment, Role};
use futures_util::future::join_all;
use serde_json::json;
use tollgate::{domain::api_key::plain_key::PlainKey, http};

use crate::harness::{Answer, Apps, Log, Received, Setup, Socket, TestApp, post, text};

fn limited(key_rate: u32, account_rate: u32) -> Setup {
    let http = http::Settings { key_rate, account_rate, ..http::Settings::default() };
    Setup { http, ..Setup::default() }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

/// A query with complexity 1 + 60 (1 + 1 + 80) = 4,921. A bucket of 5,000 allows one such query, but not two.
const COSTLY: &str = "{ subAccounts(first: 60) { nodes { apiKeys(first: 80) { totalCount } } } }";

/// Returns the cost that is left in the key's bucket, according to the response header.
fn left(answer: &Answer) -> u32 {
    let limit = header(&answer.headers, "ratelimit").expect("a header");
    let (_, rest) = limit.split_once("\"key\";r=").expect("a key's limit");
    rest.split(';').next().expect("a number").parse().expect("a number")
}

#[db_test]
async fn a_key_over_its_rate_limit_is_refused_until_its_bucket_refills(apps: &Apps) {
    // The bucket allows one costly request and refills slowly.
    let t = apps.start_with(limited(1, 0)).await;
    let team = t.team(1_000).await;
    let sibling = t.api_key(&team, &team.main_account_id, "LIVE").await;

    let first = t.ask(&sibling, COSTLY).await;
    assert_eq!(first.codes(), [""; 0], "{}", first.body);
    assert_eq!(header(&first.headers, "ratelimit-policy"), Some("\"key\";q=1;w=1"));
    let cost = 5_000 - left(&first);
    let before = t.everything().await;

    let refused = t.ask(&sibling, COSTLY).await;
    assert_eq!((refused.status.as_u16(), refused.codes()), (429, vec!["RATE_LIMITED"]));
    let wait: u64 = header(&refused.headers, "retry-after").expect("a header").parse().expect("n");
    let missing = u64::from(cost - left(&first));
    assert!(wait <= missing + 1 && wait + 5 > missing, "{wait} of {missing} seconds");
    assert_eq!(refused.body["errors"][0]["extensions"]["retryAfterSeconds"], wait);
    assert_eq!(header(&refused.headers, "ratelimit"), Some("\"key\";r=0;t=1"));
    assert_eq!(header(&refused.headers, "ratelimit-policy"), Some("\"key\";q=1;w=1"));
    assert_eq!(t.everything().await, before);

    let other_key = t.ask(&team.key, "{ account { name } }").await;
    assert_eq!(other_key.codes(), [""; 0], "another key has its own bucket");
}

/// The test covers HTTP requests, socket messages and the inbound hook.
#[db_test]
async fn a_refused_request_still_pays_for_its_bytes(apps: &Apps) {
    let mut setup = limited(1, 0);
    setup.http.has_sandbox = true;
    let settings = setup.http.clone();
    let t = apps.start_with(setup).await;
    let team = t.team(1_000).await;
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(t.api_key(&team, &team.main_account_id, "LIVE").await);
    }
    let before = t.everything().await;
    // The bucket refills a little as time passes.
    let assert_left = |answer: &Answer, expected: u32| {
        assert!((expected..expected + 30).contains(&left(answer)), "{}", left(answer));
    };
    let padded = |bytes: usize| " ".repeat(bytes);

    // A body of 4 KiB costs 1. A body of 256 KiB costs 2,016 more.
    let answer = t.request(post(&keys[0], padded(4 * 1024))).await;
    assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    assert_left(&answer, 4_999);
    for expected in [2_982, 965] {
        let answer = t.request(post(&keys[0], padded(256 * 1024))).await;
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
        assert_left(&answer, expected);
    }
    let answer = t.request(post(&keys[0], padded(256 * 1024))).await;
    assert_eq!((answer.status.as_u16(), answer.codes()), (429, vec!["RATE_LIMITED"]));
    // A body that is refused before it is received costs only the minimum.
    let answer = t.request(post(&keys[1], padded(256 * 1024 + 1))).await;
    assert_eq!(answer.codes(), ["PAYLOAD_TOO_LARGE"]);
    assert_left(&answer, 4_999);

    let get = |key: &str, bytes: usize| {
        let uri = format!("/graphql?query={}", "x".repeat(bytes - "query=".len()));
        let request = Request::get(uri).header("authorization", format!("Bearer {key}"));
        request.body(Body::empty()).expect("a request")
    };
    for (bytes, expected) in [(4 * 1024, 4_999), (4 * 1024 + 128, 4_997)] {
        let answer = t.request(get(&keys[2], bytes)).await;
        assert_eq!(answer.codes(), ["GRAPHQL_PARSE_FAILED"]);
        assert_left(&answer, expected);
    }
    let mut inbound = post(&keys[3], padded(16 * 1024));
    *inbound.uri_mut() = "/sandbox/inbound".parse().expect("a path");
    let answer = t.request(inbound).await;
    assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    assert_left(&answer, 4_903);

    let server = t.serve_with(settings).await;
    let mut socket = Socket::with_key(server.address, &keys[4]).await;
    for _ in 0..2 {
        // The operation is not valid and is refused. The socket stays open.
        socket.subscribe("a", &padded(250 * 1024)).await;
        let Received::Message(refused) = socket.next().await else {
            panic!("an error was expected")
        };
        assert_eq!(refused["payload"][0]["extensions"]["code"], "QUERY_TOO_LARGE");
    }
    let mut refusals = 0;
    let code = loop {
        socket.subscribe("a", "{").await;
        let Received::Message(refused) = socket.next().await else {
            panic!("an error was expected")
        };
        let code = text(&refused["payload"][0]["extensions"]["code"]);
        if code != "GRAPHQL_PARSE_FAILED" {
            break code;
        }
        refusals += 1;
    };
    assert_eq!(code, "RATE_LIMITED");
    // Opening the socket cost 1, and each of the large messages cost 1,970.
    assert!((1_059..1_120).contains(&refusals), "{refusals}");
    // The server must refuse the message before parsing it. Without the operation's id it cannot send an error, so it
    // closes the socket.
    socket.subscribe("a", &padded(250 * 1024)).await;
    assert_eq!(socket.next().await, Received::Closed(1013));
    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn all_keys_of_an_account_share_its_rate_limit(apps: &Apps) {
    let t = apps.start_with(limited(0, 1)).await;
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;

    let first = t.ask(&team.key, COSTLY).await;
    assert_eq!(first.codes(), [""; 0], "{}", first.body);
    assert_eq!(header(&first.headers, "ratelimit-policy"), Some("\"account\";q=1;w=1"));
    assert_eq!(t.ask(&second, COSTLY).await.codes(), ["RATE_LIMITED"]);
    assert!(t.sends(&sub.key).await, "another account has its own bucket");
}

#[db_test]
async fn without_rate_limits_there_are_no_rate_limit_headers(apps: &Apps) {
    let t = apps.start_with(limited(0, 0)).await;
    let team = t.team(0).await;
    for _ in 0..10 {
        let answer = t.ask(&team.key, COSTLY).await;
        assert_eq!(answer.codes(), [""; 0]);
        assert_eq!(header(&answer.headers, "ratelimit"), None);
        assert_eq!(header(&answer.headers, "ratelimit-policy"), None);
    }
}

fn from(peer: &str, mut request: Request<Body>) -> Request<Body> {
    let address: SocketAddr = format!("{peer}:4711").parse().expect("an address");
    request.extensions_mut().insert(ConnectInfo(address));
    request
}

/// Valid keys still work from the limited address, and other addresses are not affected.
#[db_test]
async fn an_address_that_tries_many_wrong_keys_is_limited(t: &TestApp) {
    let team = t.team(1_000).await;
    let unseen = t.api_key(&team, &team.main_account_id, "LIVE").await;
    let query = json!({ "query": "{ account { name } }" }).to_string();
    let ask = async |peer: &str, key: &str| {
        let answer = t.request(from(peer, post(key, query.clone()))).await;
        (answer.status.as_u16(), answer.codes().join(","))
    };

    let (mut wrong, mut limited) = (0, 0);
    for _ in 0..2 * http::FAILURES_MAX {
        match ask("203.0.113.7", "tg_live_wrong").await {
            (401, code) if code == "UNAUTHENTICATED" => wrong += 1,
            (429, code) if code == "RATE_LIMITED" => limited += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(wrong >= http::FAILURES_MAX && limited > 0, "{wrong} wrong, {limited} limited");
    // The bucket may have refilled a little. This loop empties it again.
    let before = t.statements();
    while ask("203.0.113.7", "tg_live_wrong").await.0 != 429 {}
    assert_eq!(t.statements(), before, "a malformed key is not looked up");
    assert_eq!(
        ask("203.0.113.7", &unseen).await,
        (200, String::new()),
        "an unseen key is not looked up"
    );
    assert_eq!(
        ask("203.0.113.7", &team.key).await,
        (200, String::new()),
        "a known key still works"
    );
    assert_eq!(ask("203.0.113.8", "tg_live_wrong").await, (401, "UNAUTHENTICATED".to_owned()));
}

/// Each SQL statement looks up many invalid keys.
#[db_test]
async fn well_formed_wrong_keys_do_not_block_valid_keys(t: &TestApp) {
    let team = t.team(1_000).await;
    let mut unseen = Vec::new();
    for _ in 0..10 {
        unseen.push(t.api_key(&team, &team.main_account_id, "LIVE").await);
    }
    let wrong = || PlainKey::generate(Role::MainAccount, Environment::Live).reveal().to_owned();
    let query = json!({ "query": "{ __typename }" }).to_string();
    let ask = async |key: String| {
        let answer = t.request(from("203.0.113.7", post(&key, query.clone()))).await;
        answer.status.as_u16()
    };

    let before = t.statements();
    let crowd = join_all((0..2_000).map(|_| ask(wrong()))).await;
    assert!(crowd.iter().all(|status| [401, 429].contains(status)));
    assert!(crowd.contains(&429));
    let statements = t.statements() - before;
    assert!(statements < 200, "{statements} statements for 2,000 keys");
    let (wrongs, rights) = tokio::join!(
        join_all((0..2_000).map(|_| ask(wrong()))),
        join_all(unseen.into_iter().map(ask))
    );
    assert!(wrongs.iter().all(|status| [401, 429].contains(status)));
    assert_eq!(rights, [200; 10]);
}

/// The server sees every client behind an untrusted proxy under the proxy's address, so it logs a warning.
#[db_test]
async fn an_untrusted_proxy_is_logged_once(apps: &Apps) {
    let trusted_proxies = vec!["203.0.113.7/32".parse().expect("a network")];
    let http = http::Settings { trusted_proxies, ..http::Settings::default() };
    let t = apps.start_with(Setup { http, ..Setup::default() }).await;
    let team = t.team(1_000).await;
    let (log, _until_the_end) = Log::begin();
    let ask = async |peer: &str, name: &'static str| {
        let mut request = from(peer, post(&team.key, r#"{ "query": "{ __typename }" }"#));
        request.headers_mut().insert(name, "198.51.100.1".parse().expect("a value"));
        assert_eq!(t.request(request).await.status, 200);
        log.text().matches("is not in --trusted-proxies").count()
    };
    assert_eq!(ask("203.0.113.7", "x-forwarded-for").await, 0);
    assert_eq!(ask("203.0.113.8", "x-forwarded-by").await, 0);
    assert_eq!(ask("203.0.113.8", "x-forwarded-for").await, 1);
    assert_eq!(ask("203.0.113.8", "x-forwarded-for").await, 1);
    assert_eq!(ask("203.0.113.9", "forwarded").await, 1);
}
