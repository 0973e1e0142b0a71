//! Keys that expire.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::json;

use super::{NOTHING, keys_of, made, rotate, works};
use crate::harness::TestApp;

#[db_test]
async fn a_key_is_refused_from_the_moment_of_its_expiry(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let input = json!({ "name": "Short", "expiresAt": "2026-03-16T12:01:00Z" });
    let (id, key) = made(t, &team, &sub.id, input).await;

    t.step(TimeDelta::milliseconds(59_999));
    assert!(works(t, &key).await);
    t.step(TimeDelta::milliseconds(1));
    assert!(!works(t, &key).await);

    assert!(works(t, &sub.key).await);
    let before = t.everything().await;
    assert_eq!(rotate(t, &team, &id, None).await.refusals(), ["KEY_REVOKED"]);
    assert_eq!(t.everything().await, before);
}

/// Expired keys do not count towards the maximum of 100 keys that are not revoked.
#[db_test]
async fn expired_keys_count_as_revoked(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let expires = json!({ "name": "Short", "expiresAt": "2026-03-16T12:00:02Z" });
    made(t, &team, &sub.id, expires.clone()).await;
    let (id, _) = made(t, &team, &sub.id, expires).await;
    assert_eq!(rotate(t, &team, &id, Some(1)).await.refusals(), NOTHING);
    assert_eq!(rotate(t, &team, &sub.key_id, Some(1)).await.refusals(), NOTHING);
    let lasting = "SELECT COUNT(*) FROM api_key k JOIN account a ON a.id = k.account_id \
                   WHERE a.is_sub_account AND k.revoked_at IS NULL";
    t.step(TimeDelta::seconds(2));
    assert_eq!(t.number(lasting).await, 5);

    made(t, &team, &sub.id, json!({ "name": "New" })).await;

    assert_eq!(t.number(lasting).await, 2);
    let (one, two) = ("2026-03-16T12:00:01.000Z", "2026-03-16T12:00:02.000Z");
    let listed = keys_of(t, &team, &sub.id, "revokedAt").await;
    let ends = [json!(null), json!(null), json!(two), json!(one), json!(two), json!(one)];
    let ends: Vec<_> = ends.into_iter().map(|end| json!({ "revokedAt": end })).collect();
    assert_eq!(listed, json!(ends));
}
