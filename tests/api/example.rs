//! The worked example of the requirements, over HTTP.

use rstest::rstest;
use serde_json::json;

use crate::harness::{Database, Postgres, Sqlite, TestApp};

/// C7, C24, C25, C33 and the example of the design: the balance query by the key in use.
#[rstest]
#[tokio::test]
async fn balance_is_what_the_key_in_use_may_see(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (keys, is_fresh) = tollgate::cli::demo::stand(&t.app).await.expect("the example stands");
    assert!(is_fresh);
    let query = "{ balance { balance currency isSubAccount totalSpent creditLimit } }";

    for (key, is_sub_account, total_spent, credit_limit) in [
        (&keys.main, false, json!(null), json!(null)),
        (&keys.clients[0], true, json!(4500), json!(10_000)),
        (&keys.clients[1], true, json!(12_000), json!(20_000)),
        (&keys.clients[2], true, json!(3000), json!(null)),
    ] {
        let answer = t.ask(key, query).await;
        assert_eq!(
            answer.data()["balance"],
            json!({
                "balance": 50_000, "currency": "USD", "isSubAccount": is_sub_account,
                "totalSpent": total_spent, "creditLimit": credit_limit,
            })
        );
    }
    assert_eq!(t.ask(&keys.operator, query).await.data()["balance"], json!(null));
    t.close().await;
}
