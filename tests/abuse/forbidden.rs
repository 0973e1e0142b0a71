//! Mutations that a key may not use, in a loop: each refusal is in the audit log, which must not grow with them.

use std::sync::Arc;

use db_test::db_test;
use entity::audit_entry::{self, AuditOutcome};
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::json;
use tollgate::db::Db;

use crate::{
    Database::{self},
    requests::post,
    say, scale,
    stage::Stage,
};

/// Entries of refusals that the attack may leave, however long it lasts: one for each key, action and minute.
const ENTRIES_MAX: u64 = 100;
const CONNECTIONS: usize = 4;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn forbidden_mutations(database: Database) {
    let mut stage = Stage::start(database).await;
    let account = stage.sub_account().await;
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
    // These may be used, and are refused by what they say.
    let refused = ten(r#"deleteContact(id: "nonsense") { errors { code } }"#);
    let refused = post(&account.live, &refused, &json!({}));

    let kinds = [
        ("10 forbidden mutations a request, 4 connections", forbidden, "FORBIDDEN"),
        ("10 refused mutations a request, 4 connections", vec![refused], "NOT_FOUND"),
    ];
    for (name, requests, expected) in kinds.into_iter().take(scale(1, 2)) {
        let before = refusals(&stage).await;
        stage
            .attack(name, &[expected], async |attack| {
                attack.repeat(CONNECTIONS, &requests);
                attack.lasts().await;
            })
            .await;
        let left = refusals(&stage).await - before;
        say(&format!("  {left} entries in the audit log"));
        if left > ENTRIES_MAX {
            stage.fails(format!("{name}: {left} entries in the audit log"));
        }
    }
    stage.finish().await;
}

async fn refusals(stage: &Stage) -> u64 {
    let db = Db::connect(&stage.url, 1).await.expect("the database opens");
    let refused = audit_entry::Entity::find()
        .filter(audit_entry::Column::Outcome.eq(AuditOutcome::Refused))
        .count(&db.read)
        .await;
    db.close().await.expect("the connections close");
    refused.expect("the entries are counted")
}
