//! Contacts: any LIVE key of an account can create, update and find the contacts of the account.

use db_test::db_test;
use sea_orm::{ConnectionTrait as _, DbBackend};
use serde_json::{Value, json};
use tollgate::domain::list::LONG_LOOKED_AT_MAX;

use crate::harness::{Answer, NOON, TestApp, text};

mod address;
mod erasure;
mod merge;

async fn update(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = "mutation($id: ID!, $input: UpdateContactInput!) { updateContact(id: $id, input: $input) \
                 { contact { id displayName locale timeZone tags metadata updatedAt } \
                 errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id, "input": input })).await
}

/// The first address of each channel becomes the primary address. Two accounts may have contacts with the same address.
#[db_test]
async fn a_contact_is_stored_in_normalized_form(t: &TestApp) {
    let (team, keys) = t.main_and_sub_keys().await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let input = json!({
        "displayName": " Ada Lovelace ", "locale": "EN-latn-gb", "timeZone": "Europe/London",
        "tags": ["vip", " b ", "vip", "Z"], "metadata": { "born": 1815 },
        "addresses": [
            { "address": "Ada@Example.COM" },
            { "address": "+1 (202) 555-0123", "label": " work " },
            { "address": "+12025550124", "channel": "SMS" },
            { "address": "+12025550123", "channel": "WHATSAPP" },
            { "address": "42", "channel": "TELEGRAM" },
        ],
    });

    for key in &keys {
        let answer = t.create_contact(key, input.clone()).await;
        let made = &answer.data()["createContact"]["contact"];
        let address = |at: usize, channel: &str, address: &str, label: Value, is_primary: bool| {
            json!({ "id": made["addresses"][at]["id"], "channel": channel, "address": address,
                    "label": label, "isPrimary": is_primary })
        };
        let expected = json!({
            "id": made["id"], "displayName": "Ada Lovelace", "locale": "en-Latn-GB",
            "timeZone": "Europe/London", "tags": ["Z", "b", "vip"], "metadata": { "born": 1815 },
            "createdAt": NOON.replace('Z', ".000Z"), "updatedAt": NOON.replace('Z', ".000Z"),
            "addresses": [
                address(0, "SMS", "+12025550123", json!("work"), true),
                address(1, "SMS", "+12025550124", json!(null), false),
                address(2, "EMAIL", "Ada@example.com", json!(null), true),
                address(3, "WHATSAPP", "+12025550123", json!(null), true),
                address(4, "TELEGRAM", "42", json!(null), true),
            ],
        });
        assert_eq!(answer.data()["createContact"], json!({ "contact": expected, "errors": [] }));
        let query = "query($id: ID!) { contact(id: $id) { id displayName locale timeZone tags \
                     metadata createdAt updatedAt addresses { id channel address label isPrimary } } }";
        let found = t.ask_with(key, query, json!({ "id": made["id"] })).await;
        assert_eq!(found.data()["contact"], expected);
        if *key == team.key {
            let found = t.ask_with(&test_key, query, json!({ "id": made["id"] })).await;
            assert_eq!(found.data()["contact"], expected, "one account in both environments");
        }
    }
}

/// Two contacts of an account cannot have the same address.
#[db_test]
async fn a_contact_that_is_not_valid_is_refused_and_not_created(t: &TestApp) {
    let (_, [key, _]) = t.main_and_sub_keys().await;
    t.contact(&key, &["+12025550123"]).await;
    let before = t.everything().await;
    let sms = |count: usize| -> Vec<Value> {
        (0..count).map(|at| json!({ "address": format!("+120255501{at:02}") })).collect()
    };
    let labeled = |label: &str| json!({ "addresses": [{ "address": "a@b.io", "label": label }] });
    let with = |name: &str, value: Value| {
        let mut input = json!({ "addresses": [{ "address": "a@b.io" }] });
        input[name] = value;
        input
    };
    let tags: Vec<String> = (0..51).map(|tag| tag.to_string()).collect();

    for (input, code, field) in [
        (with("displayName", json!("")), "NAME_INVALID", "displayName"),
        (with("displayName", json!("é".repeat(201))), "NAME_INVALID", "displayName"),
        (with("locale", json!("english")), "LOCALE_INVALID", "locale"),
        (with("locale", json!("en_US")), "LOCALE_INVALID", "locale"),
        (with("locale", json!("")), "LOCALE_INVALID", "locale"),
        (with("timeZone", json!("Europe/Atlantis")), "TIME_ZONE_INVALID", "timeZone"),
        (with("timeZone", json!("+02:00")), "TIME_ZONE_INVALID", "timeZone"),
        (with("tags", json!(tags)), "TAGS_INVALID", "tags"),
        (with("tags", json!(["a", " "])), "TAGS_INVALID", "tags"),
        (with("tags", json!(["é".repeat(65)])), "TAGS_INVALID", "tags"),
        (with("tags", json!(["a\u{0}"])), "TAGS_INVALID", "tags"),
        (with("metadata", json!({ "a": "a".repeat(16 * 1024) })), "METADATA_INVALID", "metadata"),
        (json!({ "addresses": [] }), "ADDRESS_COUNT_INVALID", "addresses"),
        (json!({ "addresses": sms(21) }), "ADDRESS_COUNT_INVALID", "addresses"),
        (json!({ "addresses": [{ "address": "x" }] }), "ADDRESS_INVALID", "addresses"),
        (
            json!({ "addresses": [{ "address": "a@b.io", "channel": "SMS" }] }),
            "ADDRESS_INVALID",
            "addresses",
        ),
        (labeled(""), "LABEL_INVALID", "addresses"),
        (labeled(&"é".repeat(65)), "LABEL_INVALID", "addresses"),
        (
            json!({ "addresses": [{ "address": "a@b.io" }, { "address": "a@B.IO" }] }),
            "ADDRESS_TAKEN",
            "addresses",
        ),
        (
            json!({ "addresses": [{ "address": "a@b.io" }, { "address": "+1 202 555 0123" }] }),
            "ADDRESS_TAKEN",
            "addresses",
        ),
    ] {
        let answer = t.create_contact(&key, input.clone()).await;
        assert_eq!(answer.refusals(), [code], "{input}");
        let payload = &answer.data()["createContact"];
        assert_eq!(payload["contact"], json!(null));
        assert_eq!(payload["errors"][0]["field"], json!(["input", field]));
    }
    assert_eq!(t.everything().await, before);

    let whole = json!({
        "displayName": "é".repeat(200), "tags": tags[..50], "addresses": sms(20),
        "metadata": { "a": "a".repeat(16 * 1024 - 8) },
    });
    assert_eq!(t.create_contact(&key, whole).await.refusals(), [""; 0]);
}

/// An update with input that is not valid changes nothing.
#[db_test]
async fn an_update_keeps_omitted_fields_and_clears_null_ones(t: &TestApp) {
    let (_, [_, key]) = t.main_and_sub_keys().await;
    let first = json!({ "displayName": "Ada", "locale": "en", "timeZone": "Europe/London",
                        "tags": ["a", "b"], "metadata": { "k": 1.5 } });
    let mut input = first.clone();
    input["addresses"] = json!([{ "address": "ada@example.com" }]);
    let made = t.create_contact(&key, input).await;
    let id = text(&made.data()["createContact"]["contact"]["id"]);
    let mut expected = first;

    for (field, value, cleared) in [
        ("displayName", json!("Countess"), json!(null)),
        ("locale", json!("de-AT"), json!(null)),
        ("timeZone", json!("Asia/Tokyo"), json!(null)),
        ("tags", json!(["b", "c"]), json!([])),
        ("metadata", json!({ "l": [true] }), json!(null)),
    ] {
        for (given, now) in [(json!(null), cleared), (value.clone(), value)] {
            t.step(chrono::TimeDelta::seconds(1));
            expected[field] = now;
            let answer = update(t, &key, &id, json!({ field: given })).await;
            let contact = &answer.data()["updateContact"]["contact"];
            let mut shown = expected.clone();
            shown["id"] = json!(id);
            shown["updatedAt"] = contact["updatedAt"].clone();
            assert_eq!(*contact, shown, "{field}");
            assert_ne!(contact["updatedAt"], NOON.replace('Z', ".000Z"));
        }
    }
    let query = "query($text: String) { contacts(filter: { search: $text }) { totalCount } }";
    for (text, count) in [("countess", 1), ("Ada@", 1), ("ada ", 1), ("bob", 0)] {
        let found = t.ask_with(&key, query, json!({ "text": text })).await;
        assert_eq!(found.data()["contacts"]["totalCount"], count, "{text}");
    }

    let before = t.everything().await;
    for (input, code) in [
        (json!({ "displayName": " " }), "NAME_INVALID"),
        (json!({ "locale": "x" }), "LOCALE_INVALID"),
        (json!({ "timeZone": "Vienna" }), "TIME_ZONE_INVALID"),
        (json!({ "tags": [""] }), "TAGS_INVALID"),
        (json!({ "metadata": { "a\u{0}": 1 } }), "METADATA_INVALID"),
    ] {
        assert_eq!(update(t, &key, &id, input).await.refusals(), [code]);
    }
    assert_eq!(t.everything().await, before);
}

/// A search finds an address in any notation. A contact must have all of the given tags, and an address on any of the
/// given channels.
#[db_test]
async fn contacts_are_filtered_by_name_address_tags_and_channels(t: &TestApp) {
    let (_, [key, sub_key]) = t.main_and_sub_keys().await;
    for (name, tags, addresses) in [
        ("Ärzte_1", json!(["a", "b"]), json!([{ "address": "+12025550100" }])),
        ("Bob", json!(["b"]), json!([{ "address": "Bob@example.com" }, { "address": "bob@b.io" }])),
        (
            "C%",
            json!([]),
            json!([{ "address": "7", "channel": "TELEGRAM" }, { "address": "c@c.io" }]),
        ),
    ] {
        let input = json!({ "displayName": name, "tags": tags, "addresses": addresses });
        assert_eq!(t.create_contact(&key, input).await.refusals(), [""; 0]);
    }
    let query = "query($filter: ContactFilter) { contacts(filter: $filter) \
                 { totalCount nodes { displayName } } }";
    let search = |text: &str| json!({ "search": text });

    for (filter, names) in [
        (json!(null), vec!["C%", "Bob", "Ärzte_1"]),
        (search("äRZTE"), vec!["Ärzte_1"]),
        (search("+1 (202) 555-0100"), vec!["Ärzte_1"]),
        (search("2025550"), vec!["Ärzte_1"]),
        (search("BOB@EXAMPLE"), vec!["Bob"]),
        (search("%"), vec!["C%"]),
        (search("_"), vec!["Ärzte_1"]),
        (search("'"), vec![]),
        (search("a\u{0}"), vec![]),
        (json!({ "tags": ["b"] }), vec!["Bob", "Ärzte_1"]),
        (json!({ "tags": ["b", " a "] }), vec!["Ärzte_1"]),
        (json!({ "tags": ["B"] }), vec![]),
        (json!({ "tags": ["b\u{0}"] }), vec![]),
        (json!({ "tags": [] }), vec!["C%", "Bob", "Ärzte_1"]),
        (json!({ "channel": ["EMAIL"] }), vec!["C%", "Bob"]),
        (json!({ "channel": ["SMS", "TELEGRAM"] }), vec!["C%", "Ärzte_1"]),
        (json!({ "channel": [] }), vec![]),
        (json!({ "channel": ["EMAIL"], "tags": ["b"], "search": "b" }), vec!["Bob"]),
    ] {
        let answer = t.ask_with(&key, query, json!({ "filter": filter })).await;
        let nodes: Vec<Value> = names.iter().map(|name| json!({ "displayName": name })).collect();
        let expected = json!({ "totalCount": names.len(), "nodes": nodes });
        assert_eq!(answer.data()["contacts"], expected, "{filter}");
        let other = t.ask_with(&sub_key, query, json!({ "filter": filter })).await;
        assert_eq!(other.data()["contacts"], json!({ "totalCount": 0, "nodes": [] }));
    }
    let tags = vec!["a"; 51];
    for filter in [search(&"é".repeat(201)), json!({ "tags": tags })] {
        let answer = t.ask_with(&key, query, json!({ "filter": filter })).await;
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    }
}

#[db_test]
async fn a_list_of_contacts_costs_four_statements_whatever_its_length(t: &TestApp) {
    let (_, [key, _]) = t.main_and_sub_keys().await;
    let query = "{ contacts(first: 50) { nodes { tags addresses { address } } } }";

    let mut made = 0;
    for count in [2, 20] {
        for at in made..count {
            t.contact(&key, &[&format!("+120255501{at:02}")]).await;
        }
        made = count;
        t.app.keys.forget_all();
        let start = t.statements();
        let answer = t.ask(&key, query).await;
        let statements = t.statements() - start;

        assert_eq!(answer.data()["contacts"]["nodes"].as_array().map(Vec::len), Some(count));
        // The statements read the key, the page of contacts, the addresses of these contacts, and their tags.
        assert_eq!(statements, 4, "for {count} contacts");
    }
}

/// A revoked key is refused even while another process still has it in its cache.
#[db_test]
async fn only_a_live_key_that_is_not_revoked_changes_contacts(t: &TestApp) {
    let (team, [key, _]) = t.main_and_sub_keys().await;
    let sub = t.sub_account(&team, json!({})).await;
    let (id, addresses) = t.contact(&key, &["+12025550123", "a@b.io"]).await;
    let (other, _) = t.contact(&key, &["+12025550124"]).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let query = "{ contacts { totalCount } }";
    assert_eq!(t.ask(&sub.key, query).await.data()["contacts"]["totalCount"], 0);
    t.app
        .db
        .write
        .execute_unprepared(&format!(
            "UPDATE api_key SET revoked_at = created_at WHERE last_four = '{}'",
            &sub.key[sub.key.len() - 4..]
        ))
        .await
        .expect("the statement runs");
    let before = t.everything().await;

    for mutation in [
        "createContact(input: { addresses: [{ address: \"c@d.io\" }] }) { contact { id } }"
            .to_owned(),
        format!("updateContact(id: \"{id}\", input: {{ tags: [\"a\"] }}) {{ contact {{ id }} }}"),
        format!("deleteContact(id: \"{id}\") {{ contactId }}"),
        format!(
            "addContactAddress(contactId: \"{id}\", input: {{ address: \"c@d.io\" }}) \
             {{ contact {{ id }} }}"
        ),
        format!(
            "updateContactAddress(id: \"{}\", input: {{ label: \"a\" }}) {{ contact {{ id }} }}",
            addresses[0]
        ),
        format!("removeContactAddress(id: \"{}\") {{ contact {{ id }} }}", addresses[1]),
        format!(
            "mergeContacts(input: {{ keepId: \"{id}\", mergeId: \"{other}\" }}) {{ contact {{ id }} }}"
        ),
    ] {
        let refused = t.ask(&test_key, &format!("mutation {{ {mutation} }}")).await;
        assert_eq!(refused.codes(), ["FORBIDDEN"], "{mutation}");
        assert!(refused.body["errors"][0]["message"].to_string().contains("needs a LIVE key"));
        let refused = t.ask(&sub.key, &format!("mutation {{ {mutation} }}")).await;
        assert_eq!(refused.codes(), ["UNAUTHENTICATED"], "{mutation}");
    }

    assert_eq!(t.everything().await, before);
}

/// The limit is lower when searching by text or by several tags. If a page ends at the limit, the end cursor leads to
/// the next page.
#[db_test]
async fn a_contact_search_reads_a_limited_number_of_contacts_per_page(t: &TestApp) {
    let team = t.team(1_000).await;
    let input = json!({ "displayName": "100% of \u{c4}da_\\", "tags": ["a", "b"],
                        "addresses": [{ "address": "ada@example.com" }] });
    t.create_contact(&team.key, input).await;
    let (id, series) = match t.app.db.backend() {
        DbBackend::Postgres => (
            "('ffffffff-0000-7000-8000-' || lpad(to_hex(n.i), 12, '0'))::uuid",
            "CAST(n.i AS text)",
        ),
        _ => ("unhex('ffffffff000070008000' || printf('%012x', n.i))", "n.i"),
    };
    let add = async |from: u64, to: u64| {
        t.execute(&format!(
            "INSERT INTO contact (id, team_id, account_id, display_name, search_text, created_at, \
             updated_at) WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n \
             WHERE i < {to} - 1) SELECT {id}, c.team_id, c.account_id, {series}, {series}, \
             c.created_at, c.updated_at FROM contact c CROSS JOIN n WHERE c.search_text LIKE '%ada@%'"
        ))
        .await;
        t.execute(&format!(
            "INSERT INTO contact_tag (team_id, account_id, contact_id, tag) WITH RECURSIVE n(i) AS \
             (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to} - 1) \
             SELECT c.team_id, c.account_id, {id}, 'a' FROM contact c CROSS JOIN n \
             WHERE c.search_text LIKE '%ada@%'"
        ))
        .await;
    };
    let ask = async |filter: Value, after: Value| {
        let query = "query($filter: ContactFilter, $after: String) { contacts(filter: $filter, first: 5, \
                     after: $after) { totalCount nodes { displayName } \
                     pageInfo { hasNextPage endCursor } } }";
        let variables = json!({ "filter": filter, "after": after });
        t.ask_with(&team.key, query, variables).await.data()["contacts"].clone()
    };
    let filters = [json!({ "search": "100% of \u{e4}DA_\\" }), json!({ "tags": ["a", "b"] })];
    let found = json!([{ "displayName": "100% of \u{c4}da_\\" }]);

    add(0, LONG_LOOKED_AT_MAX - 1).await;
    for filter in &filters {
        let whole = ask(filter.clone(), Value::Null).await;
        assert_eq!((&whole["nodes"], &whole["totalCount"]), (&found, &json!(1)), "{filter}");
    }
    add(LONG_LOOKED_AT_MAX - 1, LONG_LOOKED_AT_MAX).await;
    for filter in &filters {
        let short = ask(filter.clone(), Value::Null).await;
        assert_eq!((&short["nodes"], &short["totalCount"]), (&json!([]), &json!(null)), "{filter}");
        assert_eq!(short["pageInfo"]["hasNextPage"], true);
        let next = ask(filter.clone(), short["pageInfo"]["endCursor"].clone()).await;
        assert_eq!((&next["nodes"], &next["pageInfo"]["hasNextPage"]), (&found, &json!(false)));
    }
    // The lower limit does not apply to a filter with a single tag, because an index finds the contacts with this tag.
    let tagged = ask(json!({ "tags": ["a"], "channel": ["EMAIL"] }), Value::Null).await;
    assert_eq!((&tagged["nodes"], &tagged["totalCount"]), (&found, &json!(1)));
}
