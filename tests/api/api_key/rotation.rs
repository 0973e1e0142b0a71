//! Rotating a key: how long the old key works, and how long the new one lasts.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::json;

use super::{NOTHING, keys_of, made, rotate, works};
use crate::harness::{TestApp, text};

/// The new key has the same properties as the old key.
#[db_test]
async fn without_a_grace_period_the_old_key_is_revoked_immediately(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let input = json!({
        "name": "Nightly", "environment": "TEST", "expiresAt": "2026-03-17T00:00:00Z",
    });
    let (id, old) = made(t, &team, &sub.id, input).await;

    let answer = rotate(t, &team, &id, None).await;

    assert_eq!(answer.refusals(), NOTHING);
    let payload = &answer.data()["rotateApiKey"];
    let key = &payload["apiKey"];
    assert_eq!([&key["name"], &key["environment"]], ["Nightly", "TEST"]);
    assert_eq!(key["expiresAt"], "2026-03-17T00:00:00.000Z");
    assert_ne!(key["id"], json!(id));
    assert!(works(t, &text(&payload["plainKey"])).await && !works(t, &old).await);

    // Even the main account's last LIVE key can be rotated, although it cannot be revoked.
    let id = t.key_id(&team.key).await;
    let answer = rotate(t, &team, &id, Some(0)).await;
    assert!(works(t, &text(&answer.data()["rotateApiKey"]["plainKey"])).await);
    assert!(!works(t, &team.key).await);
}

/// If the old key expires before the end of the grace period, it works only until it expires.
#[db_test]
async fn with_a_grace_period_the_old_key_works_until_its_end(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let short = json!({ "name": "Short", "expiresAt": "2026-03-16T12:00:30Z" });
    let (short_id, short) = made(t, &team, &sub.id, short).await;

    let before = t.everything().await;
    for grace in [-1, 2_592_001, i32::MIN, i32::MAX] {
        let answer = rotate(t, &team, &sub.key_id, Some(grace)).await;
        assert_eq!(answer.refusals(), ["GRACE_INVALID"], "{grace}");
        let field = &answer.data()["rotateApiKey"]["errors"][0]["field"];
        assert_eq!(*field, json!(["input", "graceSeconds"]));
    }
    assert_eq!(t.everything().await, before);

    let long = rotate(t, &team, &sub.key_id, Some(60)).await;
    let new = text(&long.data()["rotateApiKey"]["plainKey"]);
    assert_eq!(long.data()["rotateApiKey"]["apiKey"]["expiresAt"], json!(null));
    let rotated = rotate(t, &team, &short_id, Some(2_592_000)).await;
    let of_short = &rotated.data()["rotateApiKey"]["apiKey"]["expiresAt"];
    assert_eq!(*of_short, "2026-03-16T12:00:30.000Z");
    // The keys are listed newest first: the successor of the short-lived key, the successor of the first key, the
    // short-lived key, and the first key.
    let (half, one) = ("2026-03-16T12:00:30.000Z", "2026-03-16T12:01:00.000Z");
    let ends = [json!(half), json!(null), json!(half), json!(one)];
    let ends = ends.map(|end| json!({ "expiresAt": end, "revokedAt": null }));
    assert_eq!(keys_of(t, &team, &sub.id, "expiresAt revokedAt").await, json!(ends));
    t.step(TimeDelta::seconds(30));
    assert!(!works(t, &short).await && works(t, &sub.key).await);
    t.step(TimeDelta::milliseconds(29_999));
    assert!(works(t, &sub.key).await);
    t.step(TimeDelta::milliseconds(1));
    assert!(!works(t, &sub.key).await && works(t, &new).await);
}

/// In this test, a client repeats a rotation because the response to the first request was lost.
#[db_test]
async fn a_key_from_a_repeated_rotation_lasts_as_long_as_the_first(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let rotate = "mutation($id: ID!) { rotateApiKey(id: $id, input: { graceSeconds: 60 }) \
                  { apiKey { expiresAt } plainKey errors { code } } }";

    let mut keys = Vec::new();
    for _ in 0..2 {
        let answer = t.ask_with(&team.key, rotate, json!({ "id": sub.key_id })).await;
        assert_eq!(answer.refusals(), NOTHING);
        let made = &answer.data()["rotateApiKey"];
        assert_eq!(made["apiKey"]["expiresAt"], json!(null));
        keys.push(made["plainKey"].as_str().expect("a key").to_owned());
        t.step(TimeDelta::seconds(30));
    }

    assert!(!works(t, &sub.key).await, "the grace of the first rotation has ended");
    assert!(works(t, &keys[0]).await && works(t, &keys[1]).await);
}
