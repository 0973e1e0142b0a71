//! The addresses of a contact. A contact has at least one address, and one primary address per channel. Each address
//! belongs to only one contact of an account. Some tests merge two contacts.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

const PAYLOAD: &str =
    "{ contact { tags addresses { address label isPrimary } } errors { code message field } }";

async fn add(t: &TestApp, key: &str, contact_id: &str, input: Value) -> Answer {
    let query = format!(
        "mutation($id: ID!, $input: AddContactAddressInput!) \
         {{ addContactAddress(contactId: $id, input: $input) {PAYLOAD} }}"
    );
    t.ask_with(key, &query, json!({ "id": contact_id, "input": input })).await
}

async fn update(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = format!(
        "mutation($id: ID!, $input: UpdateContactAddressInput!) \
         {{ updateContactAddress(id: $id, input: $input) {PAYLOAD} }}"
    );
    t.ask_with(key, &query, json!({ "id": id, "input": input })).await
}

async fn remove(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = format!("mutation($id: ID!) {{ removeContactAddress(id: $id) {PAYLOAD} }}");
    t.ask_with(key, &query, json!({ "id": id })).await
}

async fn merge(t: &TestApp, key: &str, keep: &str, merge: &str) -> Answer {
    let query = format!(
        "mutation($input: MergeContactsInput!) {{ mergeContacts(input: $input) {PAYLOAD} }}"
    );
    t.ask_with(key, &query, json!({ "input": { "keepId": keep, "mergeId": merge } })).await
}

/// Returns the addresses in a response. An asterisk marks a primary address.
#[track_caller]
fn addresses(answer: &Answer) -> Vec<String> {
    let data = answer.data().as_object().expect("an object of root fields");
    let payload = data.values().next().expect("a root field");
    assert_eq!(payload["errors"], json!([]));
    let addresses = payload["contact"]["addresses"].as_array().expect("a contact's addresses");
    let shown = addresses.iter().map(|address| {
        let star = if address["isPrimary"] == json!(true) { "*" } else { "" };
        format!("{}{star}", address["address"].as_str().expect("text"))
    });
    shown.collect()
}

/// Adding, changing or removing addresses leaves exactly one primary address on each channel.
#[db_test]
async fn exactly_one_address_per_channel_is_primary(t: &TestApp) {
    let team = t.team(0).await;
    let key = &team.key;
    let (id, ids) = t.contact(key, &["+12025550101", "+12025550102", "a@b.io"]).await;

    let added = add(t, key, &id, json!({ "address": "+1 202 555 0103", "label": "new" })).await;
    assert_eq!(addresses(&added), ["+12025550101*", "+12025550102", "+12025550103", "a@b.io*"]);
    let added = add(t, key, &id, json!({ "address": "b@b.io", "isPrimary": true })).await;
    assert_eq!(
        addresses(&added),
        ["+12025550101*", "+12025550102", "+12025550103", "b@b.io*", "a@b.io"]
    );
    let first = add(t, key, &id, json!({ "address": "9", "channel": "TELEGRAM" })).await;
    assert_eq!(addresses(&first)[5], "9*");
    let second = update(t, key, &ids[1], json!({ "isPrimary": true, "label": "two" })).await;
    assert_eq!(addresses(&second)[..3], ["+12025550102*", "+12025550101", "+12025550103"]);
    let again = update(t, key, &ids[1], json!({ "isPrimary": true })).await;
    assert_eq!(addresses(&again), addresses(&second));
    let removed = remove(t, key, &ids[1]).await;
    assert_eq!(addresses(&removed)[..2], ["+12025550101*", "+12025550103"]);
    let moved = update(t, key, &ids[0], json!({ "address": "+12025550102" })).await;
    assert_eq!(addresses(&moved)[..2], ["+12025550102*", "+12025550103"]);
    let label = |answer: &Answer| {
        answer.data()["updateContactAddress"]["contact"]["addresses"][0]["label"].clone()
    };
    for (input, expected) in [
        (json!({ "label": "home" }), json!("home")),
        (json!({}), json!("home")),
        (json!({ "label": null }), json!(null)),
    ] {
        assert_eq!(label(&update(t, key, &ids[0], input).await), expected);
    }
    let query = "query($text: String) { contacts(filter: { search: $text }) { totalCount } }";
    for (text, count) in [("0101", 0), ("0102", 1), ("b@b.io", 1)] {
        let found = t.ask_with(key, query, json!({ "text": text })).await;
        assert_eq!(found.data()["contacts"]["totalCount"], count, "{text}");
    }
}

#[db_test]
async fn an_address_that_is_not_valid_is_refused_and_changes_nothing(t: &TestApp) {
    let team = t.team(0).await;
    let key = &team.key;
    let (id, ids) = t.contact(key, &["+12025550101", "a@b.io"]).await;
    let (single, single_ids) = t.contact(key, &["+12025550102"]).await;
    let many: Vec<String> = (0..20).map(|at| format!("+120255502{at:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (full, _) = t.contact(key, &many).await;
    let before = t.everything().await;

    for (input, contact_id, code) in [
        (json!({ "address": "x" }), &id, "ADDRESS_INVALID"),
        (json!({ "address": "c@d.io", "label": "" }), &id, "LABEL_INVALID"),
        (json!({ "address": "c@d.io" }), &full, "TOO_MANY_ADDRESSES"),
        (json!({ "address": "+12025550102" }), &id, "ADDRESS_TAKEN"),
        (json!({ "address": "+12025550101", "isPrimary": true }), &id, "ADDRESS_TAKEN"),
    ] {
        assert_eq!(add(t, key, contact_id, input.clone()).await.refusals(), [code], "{input}");
    }
    for (input, code) in [
        (json!({ "address": "a@b.io" }), "ADDRESS_INVALID"),
        (json!({ "label": "" }), "LABEL_INVALID"),
        (json!({ "address": "+12025550102" }), "ADDRESS_TAKEN"),
        (json!({ "isPrimary": false }), "PRIMARY_NEEDED"),
    ] {
        assert_eq!(update(t, key, &ids[0], input.clone()).await.refusals(), [code], "{input}");
    }
    assert_eq!(remove(t, key, &single_ids[0]).await.refusals(), ["LAST_ADDRESS"]);
    assert_eq!(merge(t, key, &single, &single).await.refusals(), ["SAME_CONTACT"]);
    assert_eq!(merge(t, key, &full, &single).await.refusals(), ["TOO_MANY_ADDRESSES"]);
    assert_eq!(t.everything().await, before);
}

/// The contact that is kept also keeps its primary addresses and its name.
#[db_test]
async fn a_merge_moves_addresses_and_tags(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let tags = |from: usize, count: usize| -> Vec<String> {
        (from..from + count).map(|tag| format!("{tag:02}")).collect()
    };
    let make = async |key: &str, tags: Vec<String>, addresses: &[&str]| {
        let addresses: Vec<Value> =
            addresses.iter().map(|address| json!({ "address": address })).collect();
        let answer = t.create_contact(key, json!({ "tags": tags, "addresses": addresses })).await;
        crate::harness::text(&answer.data()["createContact"]["contact"]["id"])
    };
    let keep = make(&sub.key, tags(0, 30), &["+12025550101"]).await;
    let merged = make(&sub.key, tags(20, 30), &["+12025550100", "a@b.io", "b@b.io"]).await;
    let other = make(&sub.key, tags(50, 1), &["+12025550102"]).await;

    let answer = merge(t, &sub.key, &keep, &merged).await;

    assert_eq!(addresses(&answer), ["+12025550101*", "+12025550100", "a@b.io*", "b@b.io"]);
    assert_eq!(answer.data()["mergeContacts"]["contact"]["tags"], json!(tags(0, 50)));
    let query = "query($id: ID!) { contact(id: $id) { id } contacts(filter: { search: \"0100\" }) \
                 { nodes { id } } }";
    let gone = t.ask_with(&sub.key, query, json!({ "id": merged })).await;
    assert_eq!(*gone.data(), json!({ "contact": null, "contacts": { "nodes": [{ "id": keep }] } }));
    let before = t.everything().await;
    assert_eq!(merge(t, &sub.key, &keep, &other).await.refusals(), ["TOO_MANY_TAGS"]);
    assert_eq!(merge(t, &sub.key, &keep, &merged).await.refusals(), ["NOT_FOUND"]);
    assert_eq!(t.everything().await, before);
}

/// The order of the addresses in the requests does not matter.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_concurrent_contacts_with_the_same_addresses_one_is_created(t: &TestApp) {
    let team = t.team(0).await;
    let mut wanted: Vec<Value> =
        (0..8).map(|at| json!({ "address": format!("+120255501{at:02}") })).collect();

    let creations = (0..8).map(|_| {
        wanted.rotate_left(3);
        t.create_contact(&team.key, json!({ "addresses": wanted }))
    });
    let answers = futures_util::future::join_all(creations).await;

    let mut codes: Vec<_> = answers.iter().flat_map(Answer::refusals).collect();
    codes.dedup();
    assert_eq!(codes, ["ADDRESS_TAKEN"]);
    assert_eq!(answers.iter().filter(|answer| answer.refusals().is_empty()).count(), 1);
    assert_eq!(t.number("SELECT COUNT(*) FROM contact_address").await, 8);
    assert_eq!(t.number("SELECT COUNT(*) FROM contact").await, 1);
}
