//! Arguments that are longer than any stored value, or that repeat one value thousands of times. The server checks
//! lengths first, and does not query the database for values that cannot be stored.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::TestApp;

const LONG: usize = 200_000;

/// Sends a query with one variable, `$t` of the type `of`, and returns the body of the response.
async fn ask(t: &TestApp, key: &str, of: &str, query: &str, value: &Value) -> Value {
    let query = format!("query($t: {of}) {{ {query} }}");
    t.ask_with(key, &query, json!({ "t": value })).await.body
}

/// The limit counts characters, not bytes.
#[db_test]
async fn a_search_has_at_most_200_characters(t: &TestApp) {
    let team = t.team(1000).await;
    for query in [
        "contacts(filter: { search: $t }) { totalCount }",
        "optOuts(filter: { search: $t }) { totalCount }",
        "team { subAccounts(filter: { search: $t }) { totalCount } }",
    ] {
        for text in ["a".repeat(200), "😀".repeat(200), format!("{}x", " ".repeat(LONG))] {
            let found = ask(t, &team.key, "String!", query, &json!(text)).await;
            assert_eq!(found["errors"], Value::Null, "{query}");
        }
        for text in ["a".repeat(201), "😀".repeat(201), format!("+1{}", "1".repeat(LONG))] {
            let found = ask(t, &team.key, "String!", query, &json!(text)).await;
            let error = &found["errors"][0];
            assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{query}");
            assert_eq!(error["message"], "The search text must have at most 200 characters.");
        }
    }
}

/// A filter value of the maximum length finds its row.
#[db_test]
async fn a_filter_value_longer_than_any_stored_one_finds_nothing(t: &TestApp) {
    let team = t.team(1000).await;
    let (tag, external_id) = ("😀".repeat(64), "😀".repeat(200));
    let metadata = "a".repeat(16 * 1024 - r#"{"k":""}"#.len());
    let email = format!("{}@{}.com", "a".repeat(64), ["b".repeat(60), "c".repeat(60)].join("."));
    let contact = json!({ "tags": [tag], "addresses": [{ "address": email }] });
    assert!(t.create_contact(&team.key, contact).await.refusals().is_empty());
    let sub = json!({ "externalId": external_id, "metadata": { "k": metadata } });
    t.sub_account(&team, sub).await;
    let sent = t.send(&team.key, json!({ "to": email, "text": "Hello" })).await;
    assert!(sent.refusals().is_empty(), "{}", sent.body);
    let before = t.everything().await;

    let count = |found: &Value, path: &str| found.pointer(path).cloned().unwrap_or_default();
    for (query, of, path, known, unknown) in [
        (
            "messages(filter: { to: $t }) { totalCount }",
            "String!",
            "/data/messages/totalCount",
            json!(email),
            vec![json!("1".repeat(LONG)), json!(format!("+1{}2025550123", " ".repeat(LONG)))],
        ),
        (
            "contacts(filter: { tags: $t }) { totalCount }",
            "[String!]!",
            "/data/contacts/totalCount",
            json!(vec![tag.clone(); 50]),
            vec![
                json!(["😀".repeat(65)]),
                json!(vec!["a".repeat(LONG / 50); 50]),
                json!([tag, "x".repeat(65)]),
            ],
        ),
        (
            "team { subAccounts(filter: { metadata: { key: \"k\", value: $t } }) { totalCount } }",
            "String!",
            "/data/team/subAccounts/totalCount",
            json!(metadata),
            vec![json!(format!("{metadata}a")), json!("a".repeat(LONG))],
        ),
    ] {
        let found = ask(t, &team.key, of, query, &known).await;
        assert_eq!(count(&found, path), 1, "{query}: {found}");
        for unknown in unknown {
            let found = ask(t, &team.key, of, query, &unknown).await;
            assert_eq!(count(&found, path), 0, "{query}");
        }
    }
    let by = "subAccount(by: { externalId: $t }) { externalId }";
    let found = ask(t, &team.key, "String!", by, &json!(external_id)).await;
    assert_eq!(found["data"]["subAccount"]["externalId"], json!(external_id));
    let statements = t.statements();
    for unknown in ["😀".repeat(201), "a".repeat(LONG)] {
        let found = ask(t, &team.key, "String!", by, &json!(unknown)).await;
        assert_eq!(found, json!({ "data": { "subAccount": null } }));
    }
    assert_eq!(t.statements(), statements, "the database is not queried");
    assert_eq!(t.everything().await, before);
}

/// A cursor that is longer than any valid one is refused.
#[db_test]
async fn repeated_values_of_a_list_count_once(t: &TestApp) {
    let team = t.team(1000).await;
    t.sub_account(&team, json!({})).await;
    t.send_many(&team.key, 2, json!({ "text": "Hello" })).await;
    for (of, query, value, path) in [
        (
            "[MessageStatus!]",
            "messages(filter: { status: $t }) { totalCount }",
            "QUEUED",
            "/data/messages/totalCount",
        ),
        (
            "[AccountStatus!]",
            "team { subAccounts(filter: { status: $t }) { totalCount } }",
            "ACTIVE",
            "/data/team/subAccounts/totalCount",
        ),
        (
            "[LedgerKind!]",
            "ledger(filter: { kind: $t }) { totalCount }",
            "CHARGE",
            "/data/ledger/totalCount",
        ),
        (
            "[AuditAction!]",
            "auditLog(filter: { action: $t }) { totalCount }",
            "CREATE_SUB_ACCOUNT",
            "/data/auditLog/totalCount",
        ),
    ] {
        let once = ask(t, &team.key, of, query, &json!([value])).await;
        let often = ask(t, &team.key, of, query, &json!(vec![value; 5_000])).await;
        assert!(
            once.pointer(path).and_then(Value::as_i64).is_some_and(|count| count > 0),
            "{once}"
        );
        assert_eq!(often, once);
    }
    let capabilities =
        "availablePhoneNumbers(filter: { country: \"us\", capabilities: $t }) { number }";
    t.stock("+12025550101,US,LOCAL,SMS,0,0").await;
    let found = ask(t, &team.key, "[Channel!]", capabilities, &json!(vec!["SMS"; 5_000])).await;
    assert_eq!(found["data"]["availablePhoneNumbers"], json!([{ "number": "+12025550101" }]));

    for query in [
        "messages(after: $t) { totalCount }",
        "team { subAccounts { nodes { apiKeys(before: $t) { totalCount } } } }",
    ] {
        let found = ask(t, &team.key, "String!", query, &json!("A".repeat(LONG))).await;
        let error = &found["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{query}");
        let message =
            "The cursor does not belong to this list in this order; start without a cursor.";
        assert_eq!(error["message"], message);
    }
}

#[db_test]
async fn input_that_is_too_long_is_refused_with_the_code_of_its_rule(t: &TestApp) {
    let team = t.team(1000).await;
    let before = t.everything().await;
    let (long, spaced) = ("a".repeat(LONG), format!("+1{}2025550123", " ".repeat(LONG)));
    for (mutation, code) in [
        ("sendMessage(input: { to: $t, text: \"Hello\" })", "INVALID_RECIPIENT"),
        (
            "sendMessage(input: { to: \"+12025550123\", text: \"Hello\", idempotencyKey: $t })",
            "IDEMPOTENCY_KEY_INVALID",
        ),
        ("sendMessage(input: { to: \"+12025550123\", text: $t })", "INVALID_CONTENT"),
        ("addOptOut(input: { address: $t, channel: SMS })", "ADDRESS_INVALID"),
        ("addOptOut(input: { address: $t, channel: EMAIL })", "ADDRESS_INVALID"),
        ("setQuietHours(input: { from: $t, to: \"08:00\", timeZone: \"UTC\" })", "TIME_INVALID"),
        (
            "setQuietHours(input: { from: \"22:00\", to: \"08:00\", timeZone: $t })",
            "TIME_ZONE_INVALID",
        ),
        ("createContact(input: { locale: $t, addresses: [] })", "LOCALE_INVALID"),
        ("createContact(input: { timeZone: $t, addresses: [] })", "TIME_ZONE_INVALID"),
        ("createContact(input: { tags: [$t], addresses: [] })", "TAGS_INVALID"),
        ("createSender(input: { name: $t })", "NAME_INVALID"),
        ("createSender(input: { name: \"A\", email: $t })", "EMAIL_INVALID"),
        ("createSender(input: { name: \"A\", telegram: $t })", "TELEGRAM_INVALID"),
        ("createSubAccount(input: { name: \"A\", externalId: $t })", "EXTERNAL_ID_INVALID"),
        ("cancelMessage(id: $t)", "NOT_FOUND"),
        ("updateSubAccount(account: { externalId: $t }, input: { name: \"A\" })", "NOT_FOUND"),
        (
            "createTemplate(input: { name: \"A\", bodies: [{ channel: SMS, text: \"x\" }], \
             variables: [{ name: $t }] })",
            "VARIABLES_INVALID",
        ),
    ] {
        let of = if mutation.starts_with("cancel") { "ID!" } else { "String!" };
        let query = format!("mutation($t: {of}) {{ {mutation} {{ errors {{ code }} }} }}");
        for text in [&long, &spaced] {
            let answer = t.ask_with(&team.key, &query, json!({ "t": text })).await;
            assert_eq!(answer.refusals(), [code], "{mutation}");
        }
    }
    assert_eq!(t.everything().await, before);
}

/// Arrays and objects count as values too. Stored metadata with more values can still be read.
#[db_test]
async fn metadata_has_at_most_1000_values(t: &TestApp) {
    let team = t.team(1000).await;
    let of = |values: usize| json!({ "a": vec![0; values - 2], "b": {} });
    let send = |values| json!({ "to": "+12025550123", "text": "Hello", "metadata": of(values) });
    let contact =
        |values| json!({ "metadata": of(values), "addresses": [{ "address": "a@b.io" }] });
    let sub = |values| json!({ "name": "A", "metadata": of(values) });
    let before = t.everything().await;
    for answer in [
        t.send(&team.key, send(1_001)).await,
        t.create_contact(&team.key, contact(1_001)).await,
        t.create_sub_account(&team.key, sub(1_001)).await,
    ] {
        assert_eq!(answer.refusals(), ["METADATA_INVALID"], "{}", answer.body);
        assert!(answer.body.to_string().contains("1,000 values"), "{}", answer.body);
    }
    assert_eq!(t.everything().await, before);
    for answer in [
        t.send(&team.key, send(1_000)).await,
        t.create_contact(&team.key, contact(1_000)).await,
        t.create_sub_account(&team.key, sub(1_000)).await,
    ] {
        assert_eq!(answer.refusals(), [""; 0], "{}", answer.body);
    }
    let read = "{ messages { nodes { metadata } } contacts { nodes { metadata } } \
                team { subAccounts { nodes { metadata } } } }";
    let expected = |values| {
        let nodes = json!({ "nodes": [{ "metadata": of(values) }] });
        json!({ "messages": nodes, "contacts": nodes, "team": { "subAccounts": nodes } })
    };
    assert_eq!(*t.ask(&team.key, read).await.data(), expected(1_000));
    let stored = of(8_000);
    t.execute(&format!("UPDATE message SET metadata = '{stored}'")).await;
    t.execute(&format!("UPDATE contact SET metadata = '{stored}'")).await;
    t.execute(&format!("UPDATE account SET metadata = '{stored}' WHERE is_sub_account")).await;
    assert_eq!(*t.ask(&team.key, read).await.data(), expected(8_000));
}
