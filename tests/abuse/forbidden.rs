//! Calls to mutations that a key may not use. Refusals are recorded in the audit log, but the number of entries must
//! not grow with the number of refusals.

use std::sync::Arc;

use db_test::db_test;
use entity::audit_entry::{self, AuditOutcome};
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::json;
use tollgate::db::Db;

use crate::{
    Database::{self},
    fixture::Fixture,
    report,
    requests::post,
    scale,
};

/// Maximum number of audit log entries that an attack causes. The server writes one entry per key, action and minute.
const ENTRIES_MAX: u64 = 100;
const CONNECTIONS: usize = 4;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn forbidden_mutations(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let account = fixture.sub_account().await;
    let ten = |field: &str| {
        let fields: String = (0..10).map(|at| format!("a{at}: {field} ")).collect();
        format!("mutation {{ {fields} }}")
    };
    let id = "01a20ae3-938d-7450-aca1-147918b12866";
    let forbidden: Vec<Arc<[u8]>> = [
        r#"createTeam(input: { name: "x" }) { plainKey }"#.to_owned(),
        r#"createSubAccount(input: { name: "x" }) { plainKey }"#.to_owned(),
        format!(r#"suspendSubAccount(account: {{ id: "{id}" }}) {{ errors {{ code }} }}"#),
        format!(r#"revokeApiKey(id: "{id}") {{ errors {{ code }} }}"#),
    ]
    .iter()
    .map(|field| post(&account.test, &ten(field), &json!({})))
    .collect();
    // The key may use this mutation, but its input is refused.
    let refused = ten(r#"deleteContact(id: "nonsense") { errors { code } }"#);
    let refused = post(&account.live, &refused, &json!({}));

    let kinds = [
        ("10 forbidden mutations a request, 4 connections", forbidden, "FORBIDDEN"),
        ("10 refused mutations a request, 4 connections", vec![refused], "NOT_FOUND"),
    ];
    for (name, requests, expected) in kinds.into_iter().take(scale(1, 2)) {
        let before = refusals(&fixture).await;
        fixture
            .attack(name, &[expected], async |attack| {
                attack.repeat(CONNECTIONS, &requests);
                attack.run().await;
            })
            .await;
        let left = refusals(&fixture).await - before;
        report(&format!("  {left} entries in the audit log"));
        if left > ENTRIES_MAX {
            fixture.fail(format!("{name}: {left} entries in the audit log"));
        }
    }
    fixture.finish().await;
}

async fn refusals(fixture: &Fixture) -> u64 {
    let db = Db::connect(&fixture.url, 1).await.expect("the database opens");
    let refused = audit_entry::Entity::find()
        .filter(audit_entry::Column::Outcome.eq(AuditOutcome::Refused))
        .count(&db.read)
        .await;
    db.close().await.expect("the connections close");
    refused.expect("the entries are counted")
}
