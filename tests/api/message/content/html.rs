//! The HTML of e-mail messages.

use db_test::db_test;
use serde_json::json;

use super::{assert_refused, each_way, quote, send, send_many};
use crate::harness::{Database, Postgres, Sqlite, TestApp};

/// The test covers HTML of the maximum length and shorter HTML, in messages with and without text.
#[db_test]
async fn html_is_stored_shown_and_submitted_unchanged(t: &TestApp) {
    let team = t.team(1_000).await;
    let to = "ada@example.com";
    let html = "<p>Grüße & <b>{{ more }}</b></p>";
    for (input, shown_text) in [
        (json!({ "to": to, "text": "Hi", "html": html }), json!("Hi")),
        (json!({ "to": to, "html": html, "subject": "Hi" }), json!(null)),
        (json!({ "to": to, "text": "", "html": html }), json!(null)),
    ] {
        let [one, of_many, quoted] = each_way(t, &team.key, &input).await;
        assert_eq!(quoted["wouldBeAccepted"], true);
        for sent in [one, of_many] {
            let message = &sent["message"];
            assert_eq!((&message["text"], &message["html"]), (&shown_text, &json!(html)));
            assert_eq!((&message["cost"], &message["segments"]), (&json!(0.04), &json!(1)));
        }
    }
    t.deliver().await;
    let last = t.carrier.last.lock().expect("the record").clone().expect("it was submitted");
    assert_eq!((last.text.as_str(), last.html.as_deref()), ("", Some(html)));
    let largest =
        json!({ "to": to, "html": "h".repeat(100 * 1024), "text": "t".repeat(100 * 1024) });
    assert_eq!(send(t, &team.key, largest).await["errors"], json!([]));

    let before = t.everything().await;
    for (input, field) in [
        (json!({ "to": to, "html": " " }), "html"),
        (json!({ "to": to, "html": "" }), "html"),
        (json!({ "to": to, "html": "a\u{0}" }), "html"),
        (json!({ "to": to, "html": "h".repeat(100 * 1024 + 1) }), "html"),
        (json!({ "to": to, "html": html, "text": " " }), "text"),
        (json!({ "to": "+12025550123", "html": html }), "html"),
        (json!({ "to": "+12025550123", "text": "Hi", "html": html }), "html"),
    ] {
        let refused =
            [send(t, &team.key, input.clone()).await, quote(t, &team.key, input.clone()).await];
        assert_refused(&refused, "INVALID_CONTENT", field, &input);
    }
    assert_eq!(t.everything().await, before);
}

/// Each message has 200 KiB. The limit includes these bytes twice, because they are read and returned, so 82 messages
/// exceed the limit of 32 MiB.
#[db_test]
async fn html_counts_in_the_memory_limit_of_an_answer(t: &TestApp, database: Database) {
    let team = t.team(1_000).await;
    let input = vec![json!({ "to": "a@example.com", "text": "Hi", "html": "Hi" }); 82];
    assert_eq!(send_many(t, &team.key, &input).await.codes(), [""; 0]);
    // The messages are inserted with SQL, because an account may not write 16 MiB at once.
    let large = match database {
        Sqlite => "replace(hex(zeroblob(51200)), '00', 'xx')",
        Postgres => "repeat('x', 102400)",
    };
    t.execute(&format!("UPDATE message SET text = {large}, html = {large}")).await;
    let query = "query($n: Int) { messages(first: $n) { nodes { html text } } }";
    for (count, codes) in [(81, &[][..]), (82, &["QUERY_TOO_LARGE"][..])] {
        let answer = t.ask_with(&team.key, query, json!({ "n": count })).await;
        assert_eq!(answer.codes(), codes, "{count}");
    }
}
