//! Messages to contacts: the address that is used, and the effects of merging or erasing a contact.

use std::sync::Arc;

use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::{assert_refused, each_way, run, send, send_many};
use crate::harness::{TestApp, UNKNOWN_IDS, text};

/// The message is sent to the contact's primary address on the given channel. If no channel is given, the first channel
/// for which the contact has an address is used. The price is the same as without a contact.
#[db_test]
async fn a_message_to_a_contact_uses_its_primary_address(t: &TestApp) {
    let team = t.team(1_000).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let addresses = ["ada@example.com", "+12025550123", "+12025550124", "ada@example.org"];
    let (contact, ids) = t.contact(&team.key, &addresses).await;
    // The second number becomes the contact's primary address.
    let primary = "mutation($id: ID!) { updateContactAddress(id: $id, input: { isPrimary: true }) \
                   { errors { code } } }";
    run(t, &team.key, primary, json!({ "id": ids[1] })).await;
    let (mail_only, _) = t.contact(&team.key, &["bob@example.com"]).await;

    for (input, channel, to, cost) in [
        (json!({ "contactId": contact }), "SMS", "+12025550124", json!(0.83)),
        (json!({ "contactId": contact.to_uppercase() }), "SMS", "+12025550124", json!(0.83)),
        (json!({ "contactId": contact, "channel": "SMS" }), "SMS", "+12025550124", json!(0.83)),
        (
            json!({ "contactId": contact, "channel": "EMAIL" }),
            "EMAIL",
            "ada@example.com",
            json!(0.04),
        ),
        (json!({ "contactId": mail_only }), "EMAIL", "bob@example.com", json!(0.04)),
    ] {
        let mut input = input;
        input["text"] = json!("Hi");
        let id = text(&input["contactId"]).to_lowercase();
        for (key, cost) in [(&team.key, cost), (&test_key, json!(0))] {
            let [one, of_many, quoted] = each_way(t, key, &input).await;
            for sent in [one, of_many] {
                let message = &sent["message"];
                assert_eq!((&message["channel"], &message["to"]), (&json!(channel), &json!(to)));
                assert_eq!((&message["cost"], &message["segments"]), (&cost, &json!(1)));
                assert_eq!(message["contact"], json!({ "id": id }));
            }
            assert_eq!((&quoted["cost"], &quoted["wouldBeAccepted"]), (&cost, &json!(true)));
        }
    }
    let plain = send(t, &team.key, json!({ "to": "+12025550124", "text": "Hi" })).await;
    assert_eq!(plain["message"]["contact"], json!(null), "an address alone refers to no contact");
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE country = 'US'").await, 25);
}

/// A contact is refused if it is unknown, has no address for the channel, or has opted out. A message with two
/// recipients is refused too.
#[db_test]
async fn a_contact_without_a_usable_address_is_refused(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let (contact, _) = t.contact(&team.key, &["+12025550123", "ada@example.com"]).await;
    let (foreign, _) = t.contact(&sub.key, &["+12025550124"]).await;
    t.opt_out(&team.key, "+12025550123").await;
    let before = t.everything().await;

    for (input, code, field) in [
        (json!({ "text": "Hi" }), "INVALID_RECIPIENT", "to"),
        (
            json!({ "to": "+12025550124", "contactId": contact, "text": "Hi" }),
            "INVALID_RECIPIENT",
            "to",
        ),
        (json!({ "contactId": UNKNOWN_IDS[0], "text": "Hi" }), "CONTACT_NOT_FOUND", "contactId"),
        (json!({ "contactId": UNKNOWN_IDS[1], "text": "Hi" }), "CONTACT_NOT_FOUND", "contactId"),
        (json!({ "contactId": foreign, "text": "Hi" }), "CONTACT_NOT_FOUND", "contactId"),
        (
            json!({ "contactId": contact, "channel": "TELEGRAM", "text": "Hi" }),
            "CONTACT_UNREACHABLE",
            "contactId",
        ),
        (json!({ "contactId": contact, "text": "Hi" }), "OPTED_OUT", "contactId"),
        // The contact determines the channel, and the channel determines the allowed content.
        (json!({ "contactId": contact, "text": "Hi", "html": "Hi" }), "INVALID_CONTENT", "html"),
        (json!({ "contactId": contact, "text": "a".repeat(1_601) }), "INVALID_CONTENT", "text"),
        (
            json!({ "contactId": UNKNOWN_IDS[0], "channel": "SMS", "text": "" }),
            "INVALID_CONTENT",
            "text",
        ),
    ] {
        assert_refused(&each_way(t, &team.key, &input).await, code, field, &input);
    }
    assert_eq!(t.everything().await, before);
    let by_mail = json!({ "contactId": contact, "channel": "EMAIL", "text": "Hi" });
    assert_eq!(
        send(t, &team.key, by_mail).await["errors"],
        json!([]),
        "the other channel is not opted out"
    );
}

/// The test covers the fast path and a batch.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_while_its_contact_is_erased_is_refused(
    t: &Arc<TestApp>,
    #[values(1, 7)] count: usize,
) {
    let team = t.team(1_000).await;
    let (contact, _) = t.contact(&team.key, &["+12025550123"]).await;
    assert!(t.sends(&team.key).await, "the writer's connection is open");
    let txn = t.lock_team(&team).await;
    let taken = t.app.writers.taken().messages;
    let sending = {
        let (t, key) = (Arc::clone(t), team.key.clone());
        let input = vec![json!({ "contactId": contact, "text": "Hi" }); count];
        tokio::spawn(async move { send_many(&t, &key, &input).await })
    };
    while t.app.writers.taken().messages < taken + count as u64 {
        tokio::task::yield_now().await;
    }
    for table in ["contact_tag", "contact_address", "contact"] {
        txn.execute_unprepared(&format!("DELETE FROM {table}")).await.expect("it is deleted");
    }
    txn.commit().await.expect("the erasure is committed");

    let sent = sending.await.expect("a response");

    for one in sent.data()["sendMessages"].as_array().expect("a list") {
        assert_eq!(
            one["errors"],
            json!([{ "code": "CONTACT_NOT_FOUND", "field": ["input", "contactId"] }])
        );
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 1);
}

/// A merge and an erasure also include messages to an address that the contact no longer has, and the HTML of messages.
#[db_test]
async fn a_merge_and_an_erasure_include_all_messages_of_the_contact(t: &TestApp) {
    let team = t.team(1_000).await;
    let (merged, addresses) = t.contact(&team.key, &["ada@example.com"]).await;
    let (kept, _) = t.contact(&team.key, &["ada@example.org"]).await;
    let (other, _) = t.contact(&team.key, &["bob@example.com"]).await;
    for contact in [&merged, &kept, &other] {
        let input = json!({ "contactId": contact, "html": "<b>Ada</b>" });
        assert_eq!(send(t, &team.key, input).await["errors"], json!([]));
    }
    let change = "mutation($id: ID!) { updateContactAddress(id: $id, \
                  input: { address: \"new@example.com\" }) { errors { code } } }";
    run(t, &team.key, change, json!({ "id": addresses[0] })).await;
    let merge = "mutation($input: MergeContactsInput!) { mergeContacts(input: $input) \
                 { errors { code } } }";
    run(t, &team.key, merge, json!({ "input": { "keepId": kept, "mergeId": merged } })).await;
    let query = "{ messages { nodes { to html contact { id } } } }";
    let shown = async || t.ask(&team.key, query).await.data()["messages"]["nodes"].clone();
    let node = |to: &str, contact: &str| {
        let contact = json!({ "id": contact });
        json!({ "to": to, "html": "<b>Ada</b>", "contact": contact })
    };
    let others = node("bob@example.com", &other);
    let expected = json!([others, node("ada@example.org", &kept), node("ada@example.com", &kept)]);
    assert_eq!(shown().await, expected);

    // A waiting message prevents the erasure, even if the message is sent to an address that the contact no longer has.
    let others_are_delivered = "UPDATE message SET status = 'DELIVERED', due_at = NULL \
                                WHERE recipient <> 'ada@example.com'";
    t.execute(others_are_delivered).await;
    let delete = "mutation($id: ID!) { deleteContact(id: $id) { messagesErased errors { code } } }";
    let in_use = t.ask_with(&team.key, delete, json!({ "id": kept })).await;
    assert_eq!(in_use.refusals(), ["CONTACT_IN_USE"]);
    assert_eq!(shown().await, expected);
    t.deliver().await;
    let erased = t.ask_with(&team.key, delete, json!({ "id": kept })).await;
    assert_eq!(erased.data()["deleteContact"], json!({ "messagesErased": 2, "errors": [] }));
    let blank = json!({ "to": null, "html": null, "contact": null });
    assert_eq!(shown().await, json!([others, blank, blank]));
}
