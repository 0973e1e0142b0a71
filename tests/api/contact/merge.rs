//! Merging contacts with many messages: the messages are moved in steps.

use db_test::db_test;
use serde_json::json;

use crate::harness::TestApp;

#[db_test]
async fn a_merge_moves_all_messages_in_several_steps(t: &TestApp) {
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
}

#[db_test]
async fn an_interrupted_merge_locks_both_contacts_until_a_repeat_completes_it(t: &TestApp) {
    let team = t.team(10_000).await;
    let (kept, of_kept) = t.contact(&team.key, &["+12025550101", "kept@example.com"]).await;
    let (merged, of_merged) = t.contact(&team.key, &["+12025550102"]).await;
    let (other, _) = t.contact(&team.key, &["+12025550103"]).await;
    for (contact, messages) in [(&merged, 1_001), (&kept, 2)] {
        let input = json!({ "to": null, "contactId": contact });
        t.send_many(&team.key, messages, input).await;
    }
    t.deliver().await;
    t.plant_failure_after("contact_id", 502, &format!("contact_id = {}", t.id(&kept))).await;
    let query = "mutation($keep: ID!, $merge: ID!) { mergeContacts(input: { keepId: $keep, \
                 mergeId: $merge }) { contact { id } errors { code } } }";
    let merge = async |keep: &str, merge: &str| {
        t.ask_with(&team.key, query, json!({ "keep": keep, "merge": merge })).await
    };

    assert_eq!(merge(&kept, &merged).await.codes(), ["INTERNAL_SERVER_ERROR"]);

    let moved = format!("SELECT COUNT(*) FROM message WHERE contact_id = {}", t.id(&kept));
    assert_eq!(t.number(&moved).await, 502);
    let before = t.everything().await;
    for contact in [&kept, &merged] {
        for call in [
            format!("updateContact(id: \"{contact}\", input: {{ tags: [\"a\"] }})"),
            format!("deleteContact(id: \"{contact}\")"),
            format!(
                "addContactAddress(contactId: \"{contact}\", input: {{ address: \"a@example.com\" }})"
            ),
        ] {
            let refused =
                t.ask(&team.key, &format!("mutation {{ {call} {{ errors {{ code }} }} }}")).await;
            assert_eq!(refused.refusals(), ["CONTACT_IN_USE"], "{call}");
        }
        assert_eq!(merge(contact, &other).await.refusals(), ["CONTACT_IN_USE"]);
        assert_eq!(merge(&other, contact).await.refusals(), ["CONTACT_IN_USE"]);
    }
    for call in [
        format!("updateContactAddress(id: \"{}\", input: {{ label: \"a\" }})", of_merged[0]),
        format!("removeContactAddress(id: \"{}\")", of_kept[1]),
    ] {
        let refused =
            t.ask(&team.key, &format!("mutation {{ {call} {{ errors {{ code }} }} }}")).await;
        assert_eq!(refused.refusals(), ["CONTACT_IN_USE"], "{call}");
    }
    assert_eq!(t.everything().await, before);

    t.remove_failure().await;
    let answer = merge(&kept, &merged).await;
    assert_eq!(answer.data()["mergeContacts"]["contact"]["id"], json!(kept));
    assert_eq!(t.number(&moved).await, 1_003);
    assert_eq!(t.number("SELECT COUNT(*) FROM contact WHERE busy_with IS NOT NULL").await, 0);
    assert_eq!(t.number("SELECT COUNT(*) FROM contact").await, 2);
    let update = format!(
        "mutation {{ updateContact(id: \"{kept}\", input: {{ tags: [] }}) {{ errors {{ code }} }} }}"
    );
    assert_eq!(t.ask(&team.key, &update).await.refusals(), [""; 0]);
}
