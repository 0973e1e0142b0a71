//! Merging contacts that have many messages: the messages are moved in steps.

use rstest::rstest;
use serde_json::json;

use crate::harness::{Database, Postgres, Sqlite, TestApp};

/// A merge moves any number of messages.
#[rstest]
#[tokio::test]
async fn a_merge_moves_all_messages(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(10_000).await;
    let (kept, _) = t.contact(&team.key, &["+12025550101"]).await;
    let (merged, _) = t.contact(&team.key, &["+12025550102"]).await;
    for (contact, messages) in [(&merged, 1_001), (&kept, 2)] {
        let input = json!({ "to": null, "contactId": contact });
        t.send_many(&team.key, messages, input).await;
    }

    let query = "mutation($keep: ID!, $merge: ID!) { mergeContacts(input: { keepId: $keep, \
                 mergeId: $merge }) { contact { id } errors { code } } }";
    let answer = t.ask_with(&team.key, query, json!({ "keep": kept, "merge": merged })).await;

    assert_eq!(answer.data()["mergeContacts"]["contact"]["id"], json!(kept));
    let of_contacts = "SELECT COUNT(*) FROM message m JOIN contact c ON c.id = m.contact_id";
    assert_eq!(t.number(of_contacts).await, 1_003);
    let contacts = "SELECT COUNT(DISTINCT contact_id) FROM message";
    assert_eq!(t.number(contacts).await, 1);
    t.close().await;
}

/// The words of a trigger that runs one statement when a contact's messages begin to be moved.
fn when_moved(t: &TestApp, statement: &str) -> Vec<String> {
    match t.app.db.backend() {
        sea_orm::DbBackend::Postgres => vec![
            format!(
                "CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN {statement}; RETURN NULL; END $$"
            ),
            "CREATE TRIGGER moved AFTER UPDATE OF contact_id ON message \
             FOR EACH ROW EXECUTE FUNCTION moved()"
                .to_owned(),
        ],
        _ => vec![format!(
            "CREATE TRIGGER moved AFTER UPDATE OF contact_id ON message BEGIN {statement}; END"
        )],
    }
}

/// A merge that becomes impossible after its first step has moved messages moves them back.
#[rstest]
#[case(
    "UPDATE contact_address SET contact_id = {kept}, is_primary = FALSE WHERE contact_id = {other}",
    "TOO_MANY_ADDRESSES"
)]
#[case(
    "DELETE FROM contact_address WHERE contact_id = {kept}; DELETE FROM contact WHERE id = {kept}",
    "NOT_FOUND"
)]
#[tokio::test]
async fn a_merge_that_becomes_impossible_changes_nothing(
    #[values(Sqlite, Postgres)] database: Database,
    #[case] meanwhile: &str,
    #[case] code: &str,
) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(10_000).await;
    let (kept, _) = t.contact(&team.key, &["+12025550101"]).await;
    let (merged, _) = t.contact(&team.key, &["+12025550102"]).await;
    let many: Vec<String> = (0..19).map(|at| format!("+120255502{at:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (other, _) = t.contact(&team.key, &many).await;
    for (contact, messages) in [(&merged, 1_001), (&kept, 2)] {
        let input = json!({ "to": null, "contactId": contact });
        t.send_many(&team.key, messages, input).await;
    }
    let before = t.everything().await;
    let id = |id: &str| match database {
        Postgres => format!("'{id}'"),
        Sqlite => format!("x'{}'", id.replace('-', "")),
    };
    let meanwhile = meanwhile.replace("{kept}", &id(&kept)).replace("{other}", &id(&other));
    for statement in when_moved(&t, &meanwhile) {
        t.execute(&statement).await;
    }

    let query = "mutation($keep: ID!, $merge: ID!) { mergeContacts(input: { keepId: $keep, \
                 mergeId: $merge }) { contact { id } errors { code } } }";
    let answer = t.ask_with(&team.key, query, json!({ "keep": kept, "merge": merged })).await;

    assert_eq!(answer.refusals(), [code]);
    let after = t.everything().await;
    assert_eq!(after["message"], before["message"]);
    assert_eq!(after["contact_tag"], before["contact_tag"]);
    assert_eq!(after["contact"].len(), if code == "NOT_FOUND" { 2 } else { 3 });
    t.close().await;
}
