//! Inbound messages through the sandbox's hook, with words by which a person opts out or opts in again.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, header},
};
use db_test::db_test;
use futures_util::stream;
use serde_json::{Value, json};
use tollgate::{domain::opt_out::inbound::StopWords, http};

use crate::harness::{Answer, Apps, Setup, TestApp, inbound};

async fn start(apps: &Apps, has_sandbox: bool) -> Arc<TestApp> {
    let stop_words = StopWords::with(&["alto".to_owned()]);
    let http = http::Settings { has_sandbox, stop_words, ..http::Settings::default() };
    apps.start_with(Setup { http, ..Setup::default() }).await
}

async fn write(t: &TestApp, key: &str, text: &str) -> Answer {
    let body = json!({ "channel": "SMS", "from": "+12025550123", "text": text });
    t.request(inbound(key, body.to_string())).await
}

/// A stop or start word has an effect only if it is the whole message. Case and punctuation do not matter.
#[db_test]
async fn stop_words_opt_out_and_start_words_opt_in(apps: &Apps) {
    let t = start(apps, true).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let effect = async |text: &str| {
        let answer = write(&t, &team.key, text).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        answer.body["effect"].as_str().expect("an effect").to_owned()
    };

    for (stop, word, start) in [
        ("STOP", "STOP", "START"),
        ("stop.", "STOP", "yes"),
        (" Stopall\n", "STOPALL", "UnStop"),
        ("Stop all!", "STOPALL", " start\n"),
        ("UNSUBSCRIBE", "UNSUBSCRIBE", "START"),
        ("cancel", "CANCEL", "START"),
        ("End", "END", "START"),
        ("QUIT", "QUIT", "START"),
        ("revoke", "REVOKE", "START"),
        ("Opt-out", "OPTOUT", "START"),
        ("opt out", "OPTOUT", "START"),
        ("REMOVE", "REMOVE", "START"),
        ("Arr\u{ea}t", "ARRET", "START"),
        ("td", "TD", "START"),
        ("\u{201c}\u{ff33}\u{ff34}\u{ff2f}\u{ff30}\u{201d}\u{200b}", "STOP", "START"),
        ("Alto", "ALTO", "START"),
    ] {
        assert_eq!(effect(stop).await, "OPTED_OUT");
        assert_eq!(effect(stop).await, "OPTED_OUT", "a repeat has the same effect");
        for text in ["STOP PLEASE", "Start it", "Yes?", "", ".", "HELP", "NO", "BASTA"] {
            assert_eq!(effect(text).await, "NONE", "{text:?}");
        }
        let refused = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hello" })).await;
        assert_eq!(refused.refusals(), ["OPTED_OUT"]);
        assert!(t.sends(&sub.key).await, "{stop:?} was sent to another account");
        let query = "{ optOuts { nodes { channel address source reason } } }";
        let listed = t.ask(&team.key, query).await;
        let expected = json!([{ "channel": "SMS", "address": "+12025550123", "source": "INBOUND",
                                "reason": word }]);
        assert_eq!(listed.data()["optOuts"]["nodes"], expected);
        assert_eq!(effect(start).await, "OPTED_IN");
        assert_eq!(effect(start).await, "OPTED_IN", "a repeat has the same effect");
        assert!(t.sends(&team.key).await, "{start:?}");
    }
}

#[db_test]
async fn an_inbound_message_that_is_not_valid_or_without_a_live_key_changes_nothing(apps: &Apps) {
    let t = start(apps, true).await;
    let team = t.team(0).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let before = t.everything().await;

    for (key, status, code) in [
        (test_key.as_str(), 403, "FORBIDDEN"),
        (t.operator.as_str(), 403, "FORBIDDEN"),
        ("tg_live_nobody", 401, "UNAUTHENTICATED"),
    ] {
        let answer = write(&t, key, "STOP").await;
        assert_eq!((answer.status.as_u16(), answer.codes()), (status, vec![code]));
    }
    let good = json!({ "channel": "SMS", "from": "+12025550123", "text": "STOP" });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body.to_string()
    };
    for (body, status, code) in [
        (String::new(), 400, "BAD_USER_INPUT"),
        ("[]".to_owned(), 400, "BAD_USER_INPUT"),
        (json!(["SMS", "+12025550123", "STOP"]).to_string(), 400, "BAD_USER_INPUT"),
        ("{}".to_owned(), 400, "BAD_USER_INPUT"),
        (with("channel", json!("PIGEON")), 400, "BAD_USER_INPUT"),
        (with("accountId", json!(team.main_account_id)), 400, "BAD_USER_INPUT"),
        (with("text", json!(["STOP"])), 400, "BAD_USER_INPUT"),
        (with("from", json!("12345")), 400, "BAD_USER_INPUT"),
        (with("from", json!("(202) 555-0123")), 400, "BAD_USER_INPUT"),
        (with("text", json!("STOP".repeat(5_000))), 413, "PAYLOAD_TOO_LARGE"),
    ] {
        let answer = t.request(inbound(&team.key, body.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.codes()), (status, vec![code]), "{body:.80}");
    }
    let answer = t.request(inbound(&team.key, with("from", json!("12345")))).await;
    let message = answer.body["errors"][0]["message"].as_str().expect("a message");
    assert!(message.starts_with("from is not valid (expected "), "{message}");

    let mut untyped = inbound(&team.key, good.to_string());
    untyped.headers_mut().remove(header::CONTENT_TYPE);
    let answer = t.request(untyped).await;
    assert_eq!((answer.status.as_u16(), answer.codes()), (415, vec!["UNSUPPORTED_MEDIA_TYPE"]));
    let mut got = inbound(&team.key, Body::empty());
    *got.method_mut() = Method::GET;
    let answer = t.request(got).await;
    assert_eq!((answer.status.as_u16(), answer.codes()), (405, vec!["METHOD_NOT_ALLOWED"]));
    assert_eq!(answer.headers[header::ALLOW], "POST");
    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn an_opt_out_applies_to_its_own_channel_only(apps: &Apps) {
    let t = start(apps, true).await;
    let team = t.team(1000).await;
    for (channel, from) in
        [("WHATSAPP", "+12025550123"), ("EMAIL", "kim@example.com"), ("TELEGRAM", "12025550123")]
    {
        let body = json!({ "channel": channel, "from": from, "text": "STOP" }).to_string();
        let answer = t.request(inbound(&team.key, body)).await;
        assert_eq!(answer.body, json!({ "effect": "OPTED_OUT" }), "{channel}");
    }
    let listed = t.ask(&team.key, "{ optOuts { nodes { channel address } } }").await;
    let mut listed = listed.data()["optOuts"]["nodes"].as_array().expect("opt-outs").clone();
    listed.sort_by_key(|opt_out| opt_out["channel"].to_string());
    let expected =
        [("EMAIL", "kim@example.com"), ("TELEGRAM", "12025550123"), ("WHATSAPP", "+12025550123")];
    let expected =
        expected.map(|(channel, address)| json!({ "channel": channel, "address": address }));
    assert_eq!(listed, expected);
    assert!(t.sends(&team.key).await, "SMS to the same number are still accepted");
}

#[db_test]
async fn a_key_revoked_while_an_inbound_message_arrives_opts_nobody_out(apps: &Apps) {
    let t = start(apps, true).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let good = json!({ "channel": "SMS", "from": "+12025550123", "text": "STOP" }).to_string();
    let (has_begun, begun) = tokio::sync::oneshot::channel();
    let (revoked, is_revoked) = tokio::sync::oneshot::channel();
    let body = Body::from_stream(stream::once(async move {
        has_begun.send(()).expect("the test waits");
        is_revoked.await.expect("the test continues");
        Ok::<_, axum::Error>(good)
    }));
    let revoke = async {
        begun.await.expect("the body is asked for");
        t.revoke_key(&team, &sub.key_id).await;
        revoked.send(()).expect("the body is awaited");
    };

    let (answer, ()) = tokio::join!(t.request(inbound(&sub.key, body)), revoke);

    assert_eq!((answer.status.as_u16(), answer.codes()), (401, vec!["UNAUTHENTICATED"]));
    assert_eq!(t.number("SELECT COUNT(*) FROM opt_out").await, 0);
}

#[db_test]
async fn inbound_messages_count_for_the_rate_limit_and_in_the_metrics(apps: &Apps) {
    let t = start(apps, true).await;
    let team = t.team(0).await;
    let answer = write(&t, &team.key, "STOP").await;
    assert_eq!(answer.headers["ratelimit"], "\"key\";r=1999999;t=1, \"account\";r=3999999;t=1");
    let metrics = t.metrics().await;
    let line = "tollgate_requests_total{operation=\"inbound\",code=\"OK\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[db_test]
async fn only_the_sandbox_has_an_inbound_hook(apps: &Apps) {
    let t = start(apps, false).await;
    let team = t.team(1000).await;
    assert_eq!(write(&t, &team.key, "STOP").await.status, 404);
    assert!(t.sends(&team.key).await);
}
