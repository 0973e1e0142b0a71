//! Opt-outs: adding, importing, removing and listing them, and the order of the checks that refuse a message.

use db_test::db_test;
use migration::{Migrator, MigratorTrait as _};
use serde_json::{Value, json};

use crate::harness::{Answer, Apps, Setup, TestApp};

mod inbound;

const OPT_OUT: &str = "{ optOut { channel address source reason } errors { code message field } }";

async fn add(t: &TestApp, key: &str, input: Value) -> Answer {
    let query =
        format!("mutation($input: AddOptOutInput!) {{ addOptOut(input: $input) {OPT_OUT} }}");
    t.ask_with(key, &query, json!({ "input": input })).await
}

async fn remove(t: &TestApp, key: &str, input: Value) -> Answer {
    let query =
        format!("mutation($input: RemoveOptOutInput!) {{ removeOptOut(input: $input) {OPT_OUT} }}");
    t.ask_with(key, &query, json!({ "input": input })).await
}

async fn import(t: &TestApp, key: &str, input: Vec<Value>) -> Answer {
    let query = "mutation($input: [AddOptOutInput!]!) { importOptOuts(input: $input) \
                 { optOut { address reason } code } }";
    t.ask_with(key, query, json!({ "input": input })).await
}

async fn quoted(t: &TestApp, key: &str, input: Value) -> Value {
    let query = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                 { wouldBeAccepted errors { code field } } }";
    t.ask_with(key, query, json!({ "input": input })).await.data()["messageQuote"].clone()
}

/// The message is refused on the opt-out's channel, in both environments, alone and in a batch. Messages of other
/// accounts are sent. After the opt-out is removed, messages of this account are sent too.
#[db_test]
async fn a_message_to_an_opted_out_address_is_refused_and_not_charged(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let opted_out = json!({ "to": "+12025550123", "text": "Hi" });
    let added = add(t, &sub.key, json!({ "address": "+1 202 555 0123", "reason": " no " })).await;
    let expected = json!({ "channel": "SMS", "address": "+12025550123", "source": "API",
                           "reason": "no" });
    assert_eq!(added.data()["addOptOut"], json!({ "optOut": expected, "errors": [] }));
    let before = t.everything().await;

    let field = json!(["input", "to"]);
    for key in [&sub.key, &test_key] {
        let refused = t.send(key, opted_out.clone()).await;
        assert_eq!(refused.refusals(), ["OPTED_OUT"]);
        assert_eq!(refused.data()["sendMessage"]["errors"][0]["field"], field);
        let errors = json!([{ "code": "OPTED_OUT", "field": field }]);
        let expected = json!({ "wouldBeAccepted": false, "errors": errors });
        assert_eq!(quoted(t, key, opted_out.clone()).await, expected);
    }
    assert_eq!(t.everything().await, before);

    let batch: Vec<Value> = [123, 124, 123, 125]
        .map(|end| json!({ "to": format!("+12025550{end}"), "text": "Hi" }))
        .to_vec();
    let query = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                 { message { to } errors { code } } }";
    let sent = t.ask_with(&sub.key, query, json!({ "input": batch })).await;
    let refused = json!({ "message": null, "errors": [{ "code": "OPTED_OUT" }] });
    let accepted = |to: &str| json!({ "message": { "to": to }, "errors": [] });
    let expected = json!([refused, accepted("+12025550124"), refused, accepted("+12025550125")]);
    assert_eq!(sent.data()["sendMessages"], expected);
    let by_whatsapp = json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Hi" });
    assert_eq!(t.send(&sub.key, by_whatsapp).await.refusals(), [""; 0]);
    assert!(t.sends(&team.key).await, "another account");

    let removed = remove(t, &sub.key, json!({ "address": "+12025550123" })).await;
    assert_eq!(removed.data()["removeOptOut"]["optOut"]["reason"], "no");
    assert!(t.sends(&sub.key).await && t.sends(&test_key).await);
}

/// Input and repeats are also checked before the opt-out.
#[db_test]
async fn an_opt_out_is_checked_after_key_and_status_and_before_price_and_money(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let first = json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": "a" });
    assert_eq!(t.send(&sub.key, first.clone()).await.refusals(), [""; 0]);
    add(t, &sub.key, json!({ "address": "+12025550123" })).await;

    let replayed = t.send(&sub.key, first).await;
    assert_eq!(replayed.data()["sendMessage"]["replayed"], true);
    for (input, code) in [
        (json!({ "to": "+12025550123", "text": "" }), "INVALID_CONTENT"),
        (
            json!({ "to": "+12025550123", "text": "Ho", "idempotencyKey": "a" }),
            "IDEMPOTENCY_CONFLICT",
        ),
    ] {
        assert_eq!(t.send(&sub.key, input.clone()).await.refusals(), [code]);
        assert_eq!(quoted(t, &sub.key, input).await["errors"][0]["code"], code);
    }
    for (sql, code) in [
        ("UPDATE account SET credit_limit_micros = 0 WHERE is_sub_account", "OPTED_OUT"),
        ("DELETE FROM price", "OPTED_OUT"),
        ("UPDATE account SET status = 'SUSPENDED' WHERE is_sub_account", "ACCOUNT_SUSPENDED"),
    ] {
        t.execute(sql).await;
        let input = json!({ "to": "+12025550123", "text": "Hi" });
        assert_eq!(t.send(&sub.key, input.clone()).await.refusals(), [code], "{sql}");
        assert_eq!(quoted(t, &sub.key, input).await["errors"][0]["code"], code, "{sql}");
    }
}

/// An opt-out that is not valid changes nothing.
#[db_test]
async fn adding_an_opt_out_twice_keeps_the_first(t: &TestApp) {
    let team = t.team(0).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    add(t, &team.key, json!({ "address": "a@b.io", "reason": "first" })).await;
    let before = t.everything().await;

    let again = add(t, &team.key, json!({ "address": "a@B.io", "reason": "second" })).await;
    assert_eq!(again.data()["addOptOut"]["optOut"]["reason"], "first");
    for (input, code) in [
        (json!({ "address": "x" }), "ADDRESS_INVALID"),
        (json!({ "address": "a@b.io", "channel": "SMS" }), "ADDRESS_INVALID"),
        (json!({ "address": "c@b.io", "reason": "" }), "REASON_INVALID"),
        (json!({ "address": "c@b.io", "reason": "é".repeat(501) }), "REASON_INVALID"),
    ] {
        assert_eq!(add(t, &team.key, input).await.refusals(), [code]);
    }
    for (input, code) in [
        (json!({ "address": "x" }), "ADDRESS_INVALID"),
        (json!({ "address": "b@b.io" }), "NOT_FOUND"),
        (json!({ "address": "+12025550123", "channel": "WHATSAPP" }), "NOT_FOUND"),
    ] {
        assert_eq!(remove(t, &team.key, input).await.refusals(), [code]);
    }
    for answer in [
        add(t, &test_key, json!({ "address": "c@b.io" })).await,
        remove(t, &test_key, json!({ "address": "a@b.io" })).await,
        import(t, &test_key, vec![]).await,
    ] {
        assert_eq!(answer.codes(), ["FORBIDDEN"]);
    }
    assert_eq!(t.everything().await, before);
}

/// A call with more than 1,000 opt-outs is refused as a whole.
#[db_test]
async fn up_to_1000_opt_outs_are_imported_with_a_verdict_each(t: &TestApp) {
    let team = t.team(0).await;
    add(t, &team.key, json!({ "address": "+12025550100", "reason": "before" })).await;
    let mut input: Vec<Value> = (0..996)
        .map(|at| json!({ "address": format!("+120{}5550{:03}", 2 + at / 500, 100 + at % 500) }))
        .collect();
    input.extend([
        json!({ "address": "nonsense" }),
        json!({ "address": "a@b.io", "reason": "" }),
        json!({ "address": "a@b.io", "reason": "one" }),
        json!({ "address": "A@b.io" }),
    ]);

    let answer = import(t, &team.key, input.clone()).await;

    let verdicts = answer.data()["importOptOuts"].as_array().expect("verdicts");
    assert_eq!(verdicts.len(), 1_000);
    let done = |address: &str, reason: Value| json!({ "optOut": { "address": address, "reason": reason }, "code": null });
    let refused = |code: &str| json!({ "optOut": null, "code": code });
    assert_eq!(verdicts[0], done("+12025550100", json!("before")));
    assert_eq!(verdicts[1], done("+12025550101", json!(null)));
    assert_eq!(verdicts[996], refused("ADDRESS_INVALID"));
    assert_eq!(verdicts[997], refused("REASON_INVALID"));
    assert_eq!(verdicts[998], done("a@b.io", json!("one")));
    // Both addresses are the same mailbox.
    assert_eq!(verdicts[999], verdicts[998]);
    assert_eq!(t.number("SELECT COUNT(*) FROM opt_out WHERE source = 'API'").await, 1);
    assert_eq!(t.number("SELECT COUNT(*) FROM opt_out").await, 997);
    let before = t.everything().await;
    assert_eq!(import(t, &team.key, input.clone()).await.data()["importOptOuts"][1], verdicts[1]);
    input.push(json!({ "address": "b@b.io" }));
    assert_eq!(import(t, &team.key, input).await.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(t.everything().await, before);
}

/// Opt-outs are also shown on the account's contacts.
#[db_test]
async fn opt_outs_are_listed_by_channel_and_text_to_their_own_account(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    for input in [
        json!({ "address": "+12025550123" }),
        json!({ "address": "+12025550123", "channel": "WHATSAPP" }),
        json!({ "address": "Ada@example.com" }),
    ] {
        assert_eq!(add(t, &sub.key, input).await.refusals(), [""; 0]);
    }
    let query = "query($filter: OptOutFilter) { optOuts(filter: $filter) \
                 { totalCount nodes { channel } } }";

    for (filter, channels) in [
        (json!(null), vec!["EMAIL", "WHATSAPP", "SMS"]),
        (json!({ "channel": ["SMS", "EMAIL"] }), vec!["EMAIL", "SMS"]),
        (json!({ "channel": [] }), vec![]),
        (json!({ "search": "ADA@" }), vec!["EMAIL"]),
        (json!({ "search": "+1 (202) 555-0123" }), vec!["WHATSAPP", "SMS"]),
        (json!({ "search": "%" }), vec![]),
        (json!({ "search": "\u{0}" }), vec![]),
    ] {
        let answer = t.ask_with(&sub.key, query, json!({ "filter": filter })).await;
        let nodes: Vec<Value> =
            channels.iter().map(|channel| json!({ "channel": channel })).collect();
        let expected = json!({ "totalCount": channels.len(), "nodes": nodes });
        assert_eq!(answer.data()["optOuts"], expected, "{filter}");
        let main = t.ask_with(&team.key, query, json!({ "filter": filter })).await;
        assert_eq!(main.data()["optOuts"], json!({ "totalCount": 0, "nodes": [] }));
    }

    for (key, are_out) in [(&sub.key, [true, false, true]), (&team.key, [false, false, false])] {
        t.contact(key, &["+12025550123", "+12025550124", "Ada@example.com"]).await;
        let query = "{ contacts { nodes { addresses { isOptedOut } } } }";
        let shown = t.ask(key, query).await;
        let addresses = are_out.map(|is_out| json!({ "isOptedOut": is_out }));
        assert_eq!(shown.data()["contacts"]["nodes"][0]["addresses"], json!(addresses));
    }
}

/// The test covers sends, batches, quotes, contacts and the removal of the opt-out.
#[db_test]
async fn an_opt_out_applies_to_every_spelling_of_a_mailbox(t: &TestApp) {
    let team = t.team(1000).await;
    for (address, kept, spellings) in [
        (
            "Ada@Example.com",
            "ada@example.com",
            ["ada@example.com", "ADA@EXAMPLE.COM", "\"ada\"@example.com", "\"A\\da\"@ｅxample.com"],
        ),
        (
            "eve@bücher.com",
            "eve@xn--bcher-kva.com",
            [
                "EVE@Bücher.com",
                "eve@xn--bcher-kva.com",
                "\"eve\"@BÜCHER.com",
                "Eve@XN--BCHER-KVA.com",
            ],
        ),
        (
            "\"Max M\"@example.com",
            "max m@example.com",
            [
                "\"Max M\"@example.com",
                "\"max m\"@example.com",
                "\"MAX M\"@Example.com",
                "\"Max m\"@EXAMPLE.com",
            ],
        ),
    ] {
        let added = add(t, &team.key, json!({ "address": address })).await;
        assert_eq!(added.data()["addOptOut"]["optOut"]["address"], kept);
        let mail = |to: &str| json!({ "to": to, "subject": "S", "text": "Hi" });
        for spelling in spellings {
            let before = t.everything().await;
            let again = add(t, &team.key, json!({ "address": spelling })).await;
            assert_eq!(again.data()["addOptOut"]["optOut"]["address"], kept, "{spelling}");
            assert_eq!(
                t.send(&team.key, mail(spelling)).await.refusals(),
                ["OPTED_OUT"],
                "{spelling}"
            );
            let quote = quoted(t, &team.key, mail(spelling)).await;
            assert_eq!(quote["errors"][0]["code"], "OPTED_OUT", "{spelling}");
            let query = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                         { errors { code } } }";
            let input = json!([mail(spelling), mail(spelling)]);
            let sent = t.ask_with(&team.key, query, json!({ "input": input })).await;
            let refused = json!({ "errors": [{ "code": "OPTED_OUT" }] });
            assert_eq!(sent.data()["sendMessages"], json!([refused, refused]), "{spelling}");
            assert_eq!(t.everything().await, before);
        }
        let (contact, _) = t.contact(&team.key, &[spellings[2]]).await;
        let query = format!("{{ contact(id: \"{contact}\") {{ addresses {{ isOptedOut }} }} }}");
        let shown = t.ask(&team.key, &query).await;
        assert_eq!(shown.data()["contact"]["addresses"], json!([{ "isOptedOut": true }]));
        let by_contact = json!({ "contactId": contact, "channel": "EMAIL", "text": "Hi" });
        assert_eq!(t.send(&team.key, by_contact).await.refusals(), ["OPTED_OUT"]);
        let query = "query($text: String) { optOuts(filter: { search: $text }) { totalCount } }";
        let found = t.ask_with(&team.key, query, json!({ "text": spellings[1] })).await;
        assert_eq!(found.data()["optOuts"]["totalCount"], 1, "{kept}");

        let removed = remove(t, &team.key, json!({ "address": spellings[3] })).await;
        assert_eq!(removed.data()["removeOptOut"]["optOut"]["address"], kept);
        assert_eq!(t.send(&team.key, mail(spellings[0])).await.refusals(), [""; 0]);
    }
    // Another mailbox is not affected.
    add(t, &team.key, json!({ "address": "ada@example.com" })).await;
    for other in ["a.da@example.com", "ada+1@example.com", "ada@example.org"] {
        let mail = json!({ "to": other, "text": "Hi" });
        assert_eq!(t.send(&team.key, mail).await.refusals(), [""; 0], "{other}");
    }
    let tab = json!({ "to": "\"a\tb\"@example.com", "text": "Hi" });
    assert_eq!(t.send(&team.key, tab).await.refusals(), ["INVALID_RECIPIENT"]);
}

/// If a mailbox has several opt-outs, the oldest one is kept.
#[db_test]
async fn opt_outs_of_an_older_version_apply_to_every_spelling_too(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let names: Vec<_> = Migrator::migrations().iter().map(|one| one.name().to_owned()).collect();
    let at = names.iter().position(|name| name.ends_with("hardening")).expect("the migration");
    let steps = u32::try_from(names.len() - at).expect("a small number");
    for (key, address, reason) in [
        (&team.key, "a@b.io", "oldest"),
        (&team.key, "b@b.io", "second"),
        (&team.key, "c@b.io", "third"),
        (&team.key, "d@b.io", "fourth"),
        (&sub.key, "a@b.io", "another account's"),
        (&team.key, "+12025550123", "a number"),
    ] {
        let input = json!({ "address": address, "reason": reason });
        assert_eq!(add(&t, key, input).await.refusals(), [""; 0]);
    }
    Migrator::down(&t.app.db.write, Some(steps)).await.expect("the migration runs down");
    for (address, reason) in [
        ("Ada@example.com", "oldest"),
        ("\"ada\"@example.com", "second"),
        ("ADA@example.com", "third"),
        ("eve@bücher.com", "fourth"),
        ("Ada@Example.com", "another account''s"),
    ] {
        t.execute(&format!("UPDATE opt_out SET address = '{address}' WHERE reason = '{reason}'"))
            .await;
    }
    t.app.db.migrate().await.expect("the migration runs up again");

    let query = "{ optOuts { nodes { address reason } } }";
    let shown = async |key: &str| t.ask(key, query).await.data()["optOuts"]["nodes"].clone();
    let opt_out = |address: &str, reason: &str| json!({ "address": address, "reason": reason });
    let expected = [
        opt_out("+12025550123", "a number"),
        opt_out("eve@xn--bcher-kva.com", "fourth"),
        opt_out("ada@example.com", "oldest"),
    ];
    assert_eq!(shown(&team.key).await, json!(expected));
    assert_eq!(shown(&sub.key).await, json!([opt_out("ada@example.com", "another account's")]));
}
