//! Listing messages, and their metadata.

use db_test::db_test;
use serde_json::json;

use crate::harness::{TestApp, text};

#[db_test]
async fn messages_are_listed_by_filter_newest_first(t: &TestApp) {
    let team = t.team(1000).await;
    let metadata = json!({ "order": 12.50, "big": 12_345_678_901_234_567_890_u64, "list": [1, { "x": null }] });
    let mut ids = Vec::new();
    for input in [
        json!({ "to": "+12025550100", "text": "one" }),
        json!({ "to": "Ada@EXAMPLE.com", "text": "two", "subject": "Two", "metadata": metadata }),
        json!({ "to": "+15005550001", "text": "three" }),
    ] {
        let sent = t.send(&team.key, input).await;
        ids.push(text(&sent.data()["sendMessage"]["message"]["id"]));
        t.step(chrono::TimeDelta::minutes(1));
    }
    t.deliver().await;

    for (filter, expected) in [
        (json!({}), vec!["three", "two", "one"]),
        (json!({ "channel": ["EMAIL"] }), vec!["two"]),
        (json!({ "status": ["DELIVERED"] }), vec!["two", "one"]),
        (json!({ "status": ["FAILED", "QUEUED"] }), vec!["three"]),
        (json!({ "status": [] }), vec![]),
        (json!({ "to": "+1 202 555 0100" }), vec!["one"]),
        (json!({ "to": "Ada@example.com" }), vec!["two"]),
        (json!({ "createdAt": { "from": "2026-03-16T12:01:00Z" } }), vec!["three", "two"]),
        (json!({ "createdAt": { "to": "2026-03-16T12:01:00Z" } }), vec!["one"]),
    ] {
        let answer = t
            .ask_with(
                &team.key,
                "query($filter: MessageFilter) { messages(filter: $filter) { nodes { text } totalCount } }",
                json!({ "filter": filter }),
            )
            .await;
        let messages = &answer.data()["messages"];
        let texts: Vec<_> = messages["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .map(|node| text(&node["text"]))
            .collect();
        assert_eq!(texts, expected, "{filter}");
        assert_eq!(messages["totalCount"], expected.len());
    }
    let shown = t
        .ask_with(
            &team.key,
            "query($id: ID!) { message(id: $id) { to subject metadata channel idempotencyKey createdAt } }",
            json!({ "id": ids[1] }),
        )
        .await;
    assert_eq!(
        shown.data()["message"],
        json!({ "to": "Ada@example.com", "subject": "Two", "metadata": metadata, "channel": "EMAIL",
                "idempotencyKey": null, "createdAt": "2026-03-16T12:01:00.000Z" })
    );
}

#[db_test]
async fn metadata_is_stored_exactly_or_refused(t: &TestApp) {
    let team = t.team(1000).await;
    let nested = |levels: usize| format!("{}1{}", "{a:".repeat(levels), "}".repeat(levels));
    let literal = |metadata: &str| {
        format!(
            "mutation {{ sendMessage(input: {{ to: \"a@example.com\", text: \"Hi\", \
             metadata: {metadata} }}) {{ message {{ metadata }} errors {{ code }} }} }}"
        )
    };
    let before = t.everything().await;

    for metadata in [nested(33), nested(60), "{a: [[[[\"\\u0000\"]]]]}".to_owned()] {
        let refused = t.ask(&team.key, &literal(&metadata)).await;
        assert_eq!(refused.refusals(), ["METADATA_INVALID"], "{metadata}");
    }
    // The JSON library uses these names internally.
    for metadata in [
        "{\"a\":1,\"$serde_json::private::Number\":\"x\"}",
        "{\"$serde_json::private::Number\":\"x\"}",
    ] {
        let body = format!(
            "{{\"query\":\"mutation($m: JSONObject) {{ sendMessage(input: {{ to: \\\"a@example.com\\\", \
             text: \\\"Hi\\\", metadata: $m }}) {{ errors {{ code }} }} }}\",\"variables\":{{\"m\":{metadata}}}}}"
        );
        let answer = t.raw(&team.key, body).await;
        assert!(answer.contains("BAD_USER_INPUT"), "{answer}");
    }
    assert_eq!(t.everything().await, before);

    assert_eq!(t.ask(&team.key, &literal(&nested(32))).await.refusals(), [""; 0]);
    let numbers = "{\"query\":\"mutation($m: JSONObject) { sendMessage(input: { to: \\\"a@example.com\\\", text: \\\"Hi\\\", \
                   metadata: $m }) { message { metadata } } }\", \
                   \"variables\": {\"m\": {\"a\":[1e131000,1e-20000,-0,1e2,1.50,0.1]}}}";
    let answer = t.raw(&team.key, numbers.to_owned()).await;
    assert_eq!(
        answer,
        "{\"data\":{\"sendMessage\":{\"message\":{\"metadata\":{\"a\":[1e+131000,1e-20000,-0,1e+2,1.50,0.1]}}}}}"
    );
    let query = json!({ "query": "{ messages(first: 1) { nodes { metadata } } }" }).to_string();
    let stored = t.raw(&team.key, query).await;
    assert!(stored.contains("[1e+131000,1e-20000,-0,1e+2,1.50,0.1]"), "{stored}");
}
