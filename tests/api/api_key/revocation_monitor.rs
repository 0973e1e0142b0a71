//! Each process notices revoked keys without a message from another process.

use std::time::Duration;

use db_test::db_test;
use serde_json::json;
use tokio::time::timeout;
use tollgate::domain::api_key::{self, authentication};

use crate::harness::{Setup, TestApp};

/// A process notices a revoked key within two seconds, even if the key's account is suspended or deactivated.
#[db_test]
async fn a_process_notices_a_revoked_key_without_a_notification(t: &TestApp) {
    let team = t.team(1_000).await;
    let other = t.beside(Setup::default()).await;
    let account = "account: { id: $id }";
    for (action, of_key) in [
        ("revokeApiKey(id: $id)", true),
        (&*format!("suspendSubAccount({account})"), false),
        (&*format!("deactivateSubAccount({account})"), false),
    ] {
        let (sub, unaffected) =
            (t.sub_account(&team, json!({})).await, t.sub_account(&team, json!({})).await);
        let key_monitor = async |key: &str| {
            let caller =
                authentication::authenticate(&other.app, key).await.expect("the database answers");
            let caller = caller.expect("a caller");
            api_key::revocation_monitor::watch(&other.app, &caller)
                .await
                .expect("the database answers")
                .expect("a usable key")
        };
        let (ended, remains) = (key_monitor(&sub.key).await, key_monitor(&unaffected.key).await);
        let query = format!("mutation($id: ID!) {{ {action} {{ errors {{ code }} }} }}");
        let id = if of_key { &sub.key_id } else { &sub.id };
        let answer = t.ask_with(&team.key, &query, json!({ "id": id })).await;
        assert_eq!(answer.refusals(), [""; 0]);

        assert!(!ended.is_cancelled(), "{action}: the token ended before a poll");
        let polls = async {
            tokio::select! {
                () = api_key::revocation_monitor::run(&other.app) => unreachable!("it polls forever"),
                () = ended.cancelled() => {}
            }
        };
        // The monitor polls every second. The timeout is longer to allow for a slow machine.
        timeout(Duration::from_secs(10), polls).await.expect("the revocation is noticed");
        assert!(!remains.is_cancelled(), "{action}");
    }
}
