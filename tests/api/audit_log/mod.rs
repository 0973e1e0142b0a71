//! The audit log: which entries are written, who can see them, and that they cannot be changed.

pub mod calls;
pub mod entry;
mod forbidden;
mod integrity;
mod list;
mod refusals;

use serde_json::Value;

use crate::harness::TestApp;

const FIELDS: &str = "action outcome code count actor actorKey { id } team { id } account { id } targetId before \
                      after requestId createdAt";

async fn count(t: &TestApp) -> i64 {
    t.number("SELECT COUNT(*) FROM audit_entry").await
}

/// Returns the newest entries that are visible to a key.
async fn newest(t: &TestApp, key: &str, first: usize) -> Vec<Value> {
    let query = format!("{{ auditLog(first: {first}) {{ nodes {{ {FIELDS} }} }} }}");
    let answer = t.ask(key, &query).await;
    answer.data()["auditLog"]["nodes"].as_array().expect("nodes").clone()
}
