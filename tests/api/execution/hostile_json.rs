//! JSON that would crash the process, or that the parser would read as another value, is refused at every entry point
//! before the JSON is parsed.

use db_test::db_test;
use serde_json::{Value, json};
use tollgate::http;

use crate::harness::{Apps, Received, Setup, Socket, TestApp, encoded, get, inbound, post};

/// The longest URL that the tests' client sends.
const ADDRESS_BYTES_MAX: usize = 60_000;

/// Returns JSON that contains JSON as a string, which again contains JSON, and so on. `serde_json` would parse each
/// level on the same stack, but with a fresh recursion limit.
fn parsed_again(levels: usize) -> String {
    let mut bomb = "1".to_owned();
    for _ in 0..levels {
        let text = bomb.replace('\\', r"\u005c").replace('"', r"\u0022");
        let object = format!(r#"{{"$serde_json::private::RawValue":"{text}"}}"#);
        bomb = format!("{}{object}{}", "[".repeat(120), "]".repeat(120));
    }
    bomb
}

/// Returns JSON values that no entry point accepts, each with a name.
fn bombs() -> Vec<(&'static str, String)> {
    let nested =
        |open: &str, close: &str, times: usize| open.repeat(times) + "1" + &close.repeat(times);
    vec![
        ("JSON in JSON", parsed_again(60)),
        ("JSON in JSON, as an address may have it", parsed_again(20)),
        ("JSON in JSON, a little", parsed_again(1)),
        ("a raw value", r#"{"$serde_json::private::RawValue":"7"}"#.to_owned()),
        ("a raw value by escapes", r#"{"\u0024serde_json::private::RawValue":"7"}"#.to_owned()),
        ("a number as an object", r#"{"$serde_json::private::Number":"7"}"#.to_owned()),
        ("lists", nested("[", "]", 100)),
        ("objects", nested(r#"{"a":"#, "}", 65)),
        ("brackets without end", "[".repeat(100_000)),
        ("values", format!("[{}]", vec!["0"; 20_001].join(","))),
    ]
}

#[db_test]
async fn hostile_json_is_refused_at_every_entry_point(apps: &Apps) {
    let http = http::Settings { has_sandbox: true, ..http::Settings::default() };
    let setup = Setup { http, ..Setup::default() };
    let t = apps.start_with(setup).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    assert!(t.sends(&team.key).await, "the key is known from here on");
    let before = t.everything().await;

    for (name, bomb) in bombs() {
        let query = json!("{ account { name } }");
        for body in [
            bomb.clone(),
            format!(r#"{{"query":{query},"variables":{{"x":{bomb}}}}}"#),
            format!(r#"{{"query":{query},"extensions":{{"x":{bomb}}}}}"#),
            format!(r#"{{"query":{query},"other":{bomb}}}"#),
        ] {
            let by_post = t.request(post(&team.key, body)).await;
            assert_eq!(
                (by_post.status.as_u16(), by_post.codes()),
                (400, vec!["BAD_USER_INPUT"]),
                "{name}"
            );
        }
        for parameter in ["variables", "extensions"] {
            let given = format!(r#"{{"x":{}}}"#, &bomb);
            let asked = format!("query=%7Baccount%7Bname%7D%7D&{parameter}={}", encoded(&given));
            if asked.len() > ADDRESS_BYTES_MAX {
                continue;
            }
            let by_get = t.request(get(&team.key, &asked)).await;
            assert_eq!(
                (by_get.status.as_u16(), by_get.codes()),
                (400, vec!["BAD_USER_INPUT"]),
                "{name}"
            );
        }
        let written = format!(r#"{{"channel":"SMS","from":"+12025550123","text":{bomb}}}"#);
        let by_hook = t.request(inbound(&team.key, written)).await;
        let status = by_hook.status.as_u16();
        assert!(status == 400 || status == 413, "{name}: {status}");

        let init = format!(r#"{{"type":"connection_init","payload":{{"x":{bomb}}}}}"#);
        let mut unauthenticated = Socket::silent(server.address).await;
        unauthenticated.send_text(init).await;
        // Without a key, the message is refused as too large or as not valid JSON.
        let closed = unauthenticated.next().await;
        assert!(matches!(closed, Received::Closed(4400 | 1009)), "{name}: {closed:?}");
        let mut known = Socket::with_key(server.address, &team.key).await;
        let payload = format!(r#"{{"query":{query},"variables":{{"x":{bomb}}}}}"#);
        known.send_text(format!(r#"{{"id":"1","type":"subscribe","payload":{payload}}}"#)).await;
        assert_eq!(known.next().await, Received::Closed(4400), "{name}: with a key");
    }
    assert_eq!(t.everything().await, before);
}

/// An object with a reserved name is not stored as another value either.
#[db_test]
async fn an_object_is_never_read_as_a_number(t: &TestApp) {
    let team = t.team(1_000).await;
    let before = t.everything().await;
    let top_up = "mutation($team: ID!, $amount: Cents!) { topUpTeam( \
                  input: { teamId: $team, amount: $amount, idempotencyKey: \"1\" }) { errors { code } } }";
    let send = "mutation($m: JSONObject) { sendMessage(input: { to: \"+12025550123\", text: \"Hello\", \
                metadata: $m }) { message { metadata } errors { code } } }";

    for private in ["RawValue", "Number"] {
        let object = format!(r#"{{"$serde_json::private::{private}":"7"}}"#);
        let variables = format!(r#"{{"team":"{}","amount":{object}}}"#, team.id);
        let body = format!(r#"{{"query":{},"variables":{variables}}}"#, json!(top_up));
        let refused = t.request(post(&t.operator, body)).await;
        assert_eq!(refused.codes(), ["BAD_USER_INPUT"]);
        for metadata in [object.clone(), format!(r#"{{"a":[{object}]}}"#)] {
            let body = format!(r#"{{"query":{},"variables":{{"m":{metadata}}}}}"#, json!(send));
            let refused = t.request(post(&team.key, body)).await;
            assert_eq!(refused.codes(), ["BAD_USER_INPUT"]);
        }
        let wrapped = format!(
            r#"{{"$serde_json::private::{private}":{}}}"#,
            json!(r#"{"query":"{viewer{role}}"}"#)
        );
        let refused = t.request(post(&team.key, wrapped)).await;
        assert_eq!(refused.codes(), ["BAD_USER_INPUT"]);
    }
    assert_eq!(t.everything().await, before);

    // Objects whose names only resemble the reserved names are stored unchanged.
    let kept = json!({ "$serde_json": 1, "serde_json::private::Number": "7" });
    let answer = t.ask_with(&team.key, send, json!({ "m": kept })).await;
    assert_eq!(answer.data()["sendMessage"]["message"]["metadata"], kept);
}

/// The body is refused because a proxy or a log could interpret a duplicate name differently than the server does.
#[db_test]
async fn a_body_with_a_duplicate_name_is_refused(t: &TestApp) {
    let team = t.team(1_000).await;
    let body = r#"{"query":"{ viewer { role } }","query":"{ account { name } }"}"#;

    let refused = t.request(post(&team.key, body)).await;

    assert_eq!((refused.status.as_u16(), refused.codes()), (400, vec!["BAD_USER_INPUT"]));
    let message: &Value = &refused.body["errors"][0]["message"];
    assert_eq!(message, "The top-level JSON object has a duplicate key.");
}
