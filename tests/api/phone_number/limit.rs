//! The maximum number of phone numbers of an account.

use db_test::db_test;
use serde_json::json;
use tollgate::domain::phone_number::NUMBERS_MAX;

use crate::harness::{Database, Postgres, Sqlite, TestApp, text};

/// The limit includes bought and transferred numbers, but not released numbers.
#[db_test]
async fn an_account_has_at_most_1000_phone_numbers(t: &TestApp, database: Database) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let (id, nothing) = match database {
        Sqlite => ("randomblob(16)", "x''"),
        Postgres => ("gen_random_uuid()", "''::bytea"),
    };
    let count = NUMBERS_MAX - 1;
    t.execute(&format!(
        "INSERT INTO inventory_number (number, country, number_type, has_sms, has_whatsapp, \
         upfront_price_micros, monthly_price_micros, is_withdrawn, updated_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT '+1303' || (1000000 + i), 'US', 'LOCAL', TRUE, FALSE, 0, 0, FALSE, a.created_at \
         FROM n, account a WHERE a.is_sub_account"
    ))
    .await;
    t.execute(&format!(
        "INSERT INTO phone_number (id, team_id, account_id, buyer_id, number, country, number_type, \
         has_sms, has_whatsapp, status, upfront_price_micros, monthly_price_micros, months_paid, \
         renews_at, input_hash, created_at, updated_at) \
         SELECT {id}, a.team_id, a.id, a.id, i.number, 'US', 'LOCAL', TRUE, FALSE, 'ACTIVE', 0, 0, 1, \
         a.created_at, {nothing}, a.created_at, a.created_at \
         FROM inventory_number i, account a WHERE a.is_sub_account"
    ))
    .await;
    t.stock(
        "+12025550101,US,LOCAL,SMS,0,0\n+12025550102,US,LOCAL,SMS,0,0\n\
         +12025550103,US,LOCAL,SMS,0,0\n",
    )
    .await;
    let buy = async |key: &str, number: &str| t.purchase(key, json!({ "number": number })).await;

    let last = buy(&sub.key, "+12025550101").await;
    assert_eq!(last.refusals(), [""; 0]);
    let mains = buy(&team.key, "+12025550102").await;
    let mains = text(&mains.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    let before = t.everything().await;
    let refused = buy(&sub.key, "+12025550103").await;
    assert_eq!(refused.refusals(), ["TOO_MANY_NUMBERS"]);
    let transfer = format!(
        "mutation {{ transferPhoneNumber(id: \"{mains}\", input: {{ to: {{ id: \"{}\" }} }}) \
         {{ errors {{ code }} }} }}",
        sub.id
    );
    assert_eq!(t.ask(&team.key, &transfer).await.refusals(), ["TOO_MANY_NUMBERS"]);
    assert_eq!(t.everything().await, before);

    let last = &last.data()["purchasePhoneNumber"]["phoneNumber"]["id"];
    let release = format!("mutation {{ releasePhoneNumber(id: {last}) {{ errors {{ code }} }} }}");
    assert_eq!(t.ask(&sub.key, &release).await.refusals(), [""; 0]);
    assert_eq!(t.ask(&team.key, &transfer).await.refusals(), [""; 0]);
    assert_eq!(buy(&sub.key, "+12025550103").await.refusals(), ["TOO_MANY_NUMBERS"]);
}
