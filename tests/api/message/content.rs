//! What a message says and whom it goes to: contacts, HTML and templates; by sendMessage,
//! sendMessages and messageQuote alike.

use std::sync::Arc;

use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Answer, Database, NOBODYS_IDS, Postgres, Sqlite, TestApp, text};

const MESSAGE: &str = "{ message { id channel to subject text html cost segments contact { id } } \
                       replayed errors { code field } }";

async fn send(t: &TestApp, key: &str, input: Value) -> Value {
    let query =
        format!("mutation($input: SendMessageInput!) {{ sendMessage(input: $input) {MESSAGE} }}");
    t.ask_with(key, &query, json!({ "input": input })).await.data()["sendMessage"].clone()
}

async fn send_many(t: &TestApp, key: &str, input: &[Value]) -> Answer {
    let query = format!(
        "mutation($input: [SendMessageInput!]!) {{ sendMessages(input: $input) {MESSAGE} }}"
    );
    t.ask_with(key, &query, json!({ "input": input })).await
}

async fn quote(t: &TestApp, key: &str, input: Value) -> Value {
    let query = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                 { cost segments encoding wouldBeAccepted errors { code field } } }";
    t.ask_with(key, query, json!({ "input": input })).await.data()["messageQuote"].clone()
}

async fn run(t: &TestApp, key: &str, query: &str, variables: Value) {
    assert_eq!(t.ask_with(key, query, variables).await.refusals(), [""; 0], "{query}");
}

/// The same refusal by each way to send, and nothing is changed by it.
#[track_caller]
fn assert_refused(answers: &[Value], code: &str, field: &str, input: &Value) {
    let expected = json!([{ "code": code, "field": ["input", field] }]);
    for answer in answers {
        assert_eq!(answer["errors"], expected, "{input}");
    }
}

/// What each way to send answers to one message.
async fn each_way(t: &TestApp, key: &str, input: &Value) -> [Value; 3] {
    let many = send_many(t, key, &vec![input.clone(); 3]).await.data()["sendMessages"].clone();
    assert_eq!((&many[0]["errors"], &many[1]["errors"]), (&many[1]["errors"], &many[2]["errors"]));
    [send(t, key, input.clone()).await, many[0].clone(), quote(t, key, input.clone()).await]
}

/// A message to a contact goes to its primary address of the channel that is asked for, or of the
/// first that it has, at the same price; it shows the contact.
#[db_test]
#[tokio::test]
async fn a_contact_is_reached_at_its_primary_address(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let addresses = ["ada@example.com", "+12025550123", "+12025550124", "ada@example.org"];
    let (contact, ids) = t.contact(&team.key, &addresses).await;
    // By channel: the second number becomes the primary one.
    let primary = "mutation($id: ID!) { updateContactAddress(id: $id, input: { isPrimary: true }) \
                   { errors { code } } }";
    run(&t, &team.key, primary, json!({ "id": ids[1] })).await;
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
            let [one, of_many, quoted] = each_way(&t, key, &input).await;
            for sent in [one, of_many] {
                let message = &sent["message"];
                assert_eq!((&message["channel"], &message["to"]), (&json!(channel), &json!(to)));
                assert_eq!((&message["cost"], &message["segments"]), (&cost, &json!(1)));
                assert_eq!(message["contact"], json!({ "id": id }));
            }
            assert_eq!((&quoted["cost"], &quoted["wouldBeAccepted"]), (&cost, &json!(true)));
        }
    }
    let plain = send(&t, &team.key, json!({ "to": "+12025550124", "text": "Hi" })).await;
    assert_eq!(plain["message"]["contact"], json!(null), "an address as such is nobody's");
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE country = 'US'").await, 25);
    t.close().await;
}

/// Neither a contact that is not there, nor one without an address of the channel, nor an opted-out
/// one is sent to; a recipient is given once.
#[db_test]
#[tokio::test]
async fn a_contact_that_cannot_be_reached_is_refused(database: Database) {
    let t = TestApp::start(database).await;
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
        (json!({ "contactId": NOBODYS_IDS[0], "text": "Hi" }), "CONTACT_NOT_FOUND", "contactId"),
        (json!({ "contactId": NOBODYS_IDS[1], "text": "Hi" }), "CONTACT_NOT_FOUND", "contactId"),
        (json!({ "contactId": foreign, "text": "Hi" }), "CONTACT_NOT_FOUND", "contactId"),
        (
            json!({ "contactId": contact, "channel": "TELEGRAM", "text": "Hi" }),
            "CONTACT_UNREACHABLE",
            "contactId",
        ),
        (json!({ "contactId": contact, "text": "Hi" }), "OPTED_OUT", "contactId"),
        // The channel, and with it what may be said, is known when the contact is.
        (json!({ "contactId": contact, "text": "Hi", "html": "Hi" }), "INVALID_CONTENT", "html"),
        (json!({ "contactId": contact, "text": "a".repeat(1_601) }), "INVALID_CONTENT", "text"),
        (
            json!({ "contactId": NOBODYS_IDS[0], "channel": "SMS", "text": "" }),
            "INVALID_CONTENT",
            "text",
        ),
    ] {
        assert_refused(&each_way(&t, &team.key, &input).await, code, field, &input);
    }
    assert_eq!(t.everything().await, before);
    let by_mail = json!({ "contactId": contact, "channel": "EMAIL", "text": "Hi" });
    assert_eq!(
        send(&t, &team.key, by_mail).await["errors"],
        json!([]),
        "the other channel is open"
    );
    t.close().await;
}

/// An e-mail has HTML beside its text or alone; it is stored, shown and handed over as it is, up to
/// its limit.
#[db_test]
#[tokio::test]
async fn an_email_has_html(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let to = "ada@example.com";
    let html = "<p>Grüße & <b>{{ more }}</b></p>";
    for (input, shown_text) in [
        (json!({ "to": to, "text": "Hi", "html": html }), json!("Hi")),
        (json!({ "to": to, "html": html, "subject": "Hi" }), json!(null)),
        (json!({ "to": to, "text": "", "html": html }), json!(null)),
    ] {
        let [one, of_many, quoted] = each_way(&t, &team.key, &input).await;
        assert_eq!(quoted["wouldBeAccepted"], true);
        for sent in [one, of_many] {
            let message = &sent["message"];
            assert_eq!((&message["text"], &message["html"]), (&shown_text, &json!(html)));
            assert_eq!((&message["cost"], &message["segments"]), (&json!(0.04), &json!(1)));
        }
    }
    t.deliver().await;
    let last = t.carrier.last.lock().expect("the record").clone().expect("it was handed over");
    assert_eq!((last.text.as_str(), last.html.as_deref()), ("", Some(html)));
    let largest =
        json!({ "to": to, "html": "h".repeat(100 * 1024), "text": "t".repeat(100 * 1024) });
    assert_eq!(send(&t, &team.key, largest).await["errors"], json!([]));

    let before = t.everything().await;
    for (input, field) in [
        (json!({ "to": to, "html": " " }), "html"),
        (json!({ "to": to, "html": "" }), "html"),
        (json!({ "to": to, "html": "a\u{0}" }), "html"),
        (json!({ "to": to, "html": "h".repeat(100 * 1024 + 1) }), "html"),
        (json!({ "to": to, "html": html, "text": " " }), "text"),
        (json!({ "to": "+12025550123", "html": html }), "html"),
        (json!({ "to": "+12025550123", "text": "Hi", "html": html }), "html"),
    ] {
        let refused =
            [send(&t, &team.key, input.clone()).await, quote(&t, &team.key, input.clone()).await];
        assert_refused(&refused, "INVALID_CONTENT", field, &input);
    }
    assert_eq!(t.everything().await, before);
    t.close().await;
}

fn bodies() -> Value {
    json!([
        { "channel": "SMS",
          "text": "Dear {{ name }}{% if code %}, your code is {{ code }}{% endif %}." },
        { "channel": "EMAIL", "subject": "For {{ name }}", "html": "<p>{{ name }}</p>" },
    ])
}

fn variables() -> Value {
    json!([{ "name": "name" }, { "name": "code", "default": "" }])
}

/// A message from a template says what the template gives, is priced by that, and keeps it whatever
/// becomes of the template; HTML is escaped, text is not.
#[db_test]
#[tokio::test]
async fn a_message_keeps_what_its_template_gave(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let template = t.template(&team.key, bodies(), variables()).await;
    let (contact, _) = t.contact(&team.key, &["+12025550123", "ada@example.com"]).await;
    let (mail_only, _) = t.contact(&team.key, &["bob@example.com"]).await;
    let whatsapp = json!([{ "address": "+12025550125", "channel": "WHATSAPP" },
                          { "address": "cy@example.com" }]);
    let made = t.create_contact(&team.key, json!({ "addresses": whatsapp })).await;
    let no_sms = text(&made.data()["createContact"]["contact"]["id"]);
    let long = "é".repeat(161);
    let mail = |name: &str, html: &str| json!([format!("For {name}"), null, html]);
    let sms = |text: &str| json!([null, text, null]);

    let mut shown = Vec::new();
    for (to, variables, said, segments) in [
        (json!({ "to": "+12025550123" }), json!({ "name": "<Ada>" }), sms("Dear <Ada>."), 1),
        (
            json!({ "to": "+12025550123" }),
            json!({ "name": long, "code": 7, "other": [] }),
            sms(&format!("Dear {long}, your code is 7.")),
            2,
        ),
        (
            json!({ "to": "ada@example.com" }),
            json!({ "name": "A & B" }),
            mail("A & B", "<p>A &amp; B</p>"),
            1,
        ),
        (json!({ "contactId": contact }), json!({ "name": "Ada" }), sms("Dear Ada."), 1),
        (
            json!({ "contactId": contact, "channel": "EMAIL" }),
            json!({ "name": "Ada", "code": null }),
            mail("Ada", "<p>Ada</p>"),
            1,
        ),
        (json!({ "contactId": mail_only }), json!({ "name": "B" }), mail("B", "<p>B</p>"), 1),
        // The first channel that both have.
        (json!({ "contactId": no_sms }), json!({ "name": "C" }), mail("C", "<p>C</p>"), 1),
    ] {
        let mut input = to;
        (input["templateId"], input["variables"]) = (json!(template), variables);
        for key in [&team.key, &test_key] {
            let [one, of_many, quoted] = each_way(&t, key, &input).await;
            for sent in [one, of_many] {
                let message = &sent["message"];
                let says = json!([message["subject"], message["text"], message["html"]]);
                assert_eq!(says, said, "{input}");
                assert_eq!(message["segments"], segments);
                assert_eq!(quoted["cost"], message["cost"]);
            }
            assert_eq!(
                (&quoted["segments"], &quoted["wouldBeAccepted"]),
                (&json!(segments), &json!(true))
            );
        }
        shown.push(said);
    }
    let all = "{ messages(first: 100) { nodes { subject text html } } }";
    let before = t.ask(&team.key, all).await.body;
    let change = "mutation($id: ID!) { updateTemplate(id: $id, input: { name: \"New\", \
                  bodies: [{ channel: SMS, text: \"New\" }] }) { errors { code } } }";
    run(&t, &team.key, change, json!({ "id": template })).await;
    assert_eq!(t.ask(&team.key, all).await.body, before);
    let delete = "mutation($id: ID!) { deleteTemplate(id: $id) { errors { code } } }";
    run(&t, &team.key, delete, json!({ "id": template })).await;
    assert_eq!(t.ask(&team.key, all).await.body, before);
    t.close().await;
}

/// What stands against a template is said by name before anything is charged, at its place in R8:
/// after a repeat, and before status, opt-out and money.
#[db_test]
#[tokio::test]
async fn a_template_that_gives_no_message_is_refused(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let template = t.template(&sub.key, bodies(), variables()).await;
    let foreign = t.template(&team.key, bodies(), variables()).await;
    let parts = json!([{ "channel": "SMS", "text": "{{ order.id }}{{ n - 2 }}" }]);
    let parts = t.template(&sub.key, parts, json!([{ "name": "order" }, { "name": "n" }])).await;
    t.opt_out(&sub.key, "+12025550123").await;
    let to = "+12025550123";
    let named = json!({ "name": "Ada" });

    let from = |template: &str, variables: Value| {
        let mut input = json!({ "to": to, "templateId": template });
        input["variables"] = variables;
        input
    };
    let with = |name: &str, value: &str| {
        let mut input = from(&template, named.clone());
        input[name] = json!(value);
        input
    };
    let order = json!({ "id": 1 });

    let cases = [
        (with("text", "Hi"), "INVALID_CONTENT", "text"),
        (with("text", ""), "INVALID_CONTENT", "text"),
        (with("subject", "Hi"), "INVALID_CONTENT", "subject"),
        (with("html", "Hi"), "INVALID_CONTENT", "html"),
        (json!({ "to": to, "text": "Hi", "variables": {} }), "VARIABLES_INVALID", "variables"),
        (
            from(&template, json!({ "name": "x".repeat(16 * 1024) })),
            "VARIABLES_INVALID",
            "variables",
        ),
        (from(&template, json!({ "name": vec![0; 1_000] })), "VARIABLES_INVALID", "variables"),
        (from(&template, json!({ "name": vec![0; 999] })), "TEMPLATE_FAILED", "templateId"),
        (from(&template, json!({ "name": "\u{0}" })), "VARIABLES_INVALID", "variables"),
        (from(NOBODYS_IDS[0], json!({})), "TEMPLATE_NOT_FOUND", "templateId"),
        (from(NOBODYS_IDS[1], json!({})), "TEMPLATE_NOT_FOUND", "templateId"),
        (from(&foreign, named.clone()), "TEMPLATE_NOT_FOUND", "templateId"),
        (with("channel", "WHATSAPP"), "TEMPLATE_BODY_MISSING", "templateId"),
        (from(&template, json!(null)), "VARIABLE_MISSING", "variables"),
        (from(&template, json!({ "name": null })), "VARIABLE_MISSING", "variables"),
        (from(&parts, json!({ "order": {}, "n": 1 })), "VARIABLE_MISSING", "variables"),
        (from(&parts, json!({ "order": order, "n": {} })), "TEMPLATE_FAILED", "templateId"),
        (from(&template, json!({ "name": "x".repeat(1_600) })), "TEMPLATE_FAILED", "templateId"),
        (
            json!({ "to": "a@example.com", "templateId": template,
                    "variables": { "name": "a\nb" } }),
            "TEMPLATE_FAILED",
            "templateId",
        ),
    ];
    for sql in [
        "UPDATE account SET credit_limit_micros = 0 WHERE is_sub_account",
        "DELETE FROM price",
        "UPDATE account SET status = 'SUSPENDED' WHERE is_sub_account",
    ] {
        t.execute(sql).await;
        let before = t.everything().await;
        for (input, code, field) in &cases {
            assert_refused(&each_way(&t, &sub.key, input).await, code, field, input);
        }
        assert_eq!(t.everything().await, before, "{sql}");
    }
    t.close().await;
}

/// R13: a repeat answers with the first message, whatever became of its contact and its template; what is
/// compared is the input. An erasure leaves nothing to compare with, so a repeat is refused then.
#[db_test]
#[tokio::test]
async fn a_repeat_outlives_contact_and_template(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let template = t.template(&team.key, bodies(), variables()).await;
    let (contact, addresses) = t.contact(&team.key, &["+12025550123", "ada@example.com"]).await;
    let (other, _) = t.contact(&team.key, &["+12025550199"]).await;
    let input = json!({ "contactId": contact, "templateId": template, "idempotencyKey": "k",
                        "variables": { "name": "Ada", "code": 1.50 } });
    let first = send(&t, &team.key, input.clone()).await;
    assert_eq!(first["errors"], json!([]));
    t.deliver().await;
    let with = |name: &str, value: Value| {
        let mut input = input.clone();
        input[name] = value;
        input
    };
    // The same once normalised.
    let same = [
        input.clone(),
        with("contactId", json!(contact.to_uppercase())),
        with("templateId", json!(template.to_uppercase())),
        with("variables", json!({ "code": 1.50, "name": "Ada" })),
    ];
    let conflicts = [
        with("contactId", json!(other)),
        with("contactId", json!(NOBODYS_IDS[0])),
        with("contactId", json!(NOBODYS_IDS[1])),
        with("channel", json!("SMS")),
        with("templateId", json!(NOBODYS_IDS[1])),
        with("variables", json!({ "name": "Bob" })),
        with("variables", json!({ "name": "Ada", "code": 1.50, "more": 1 })),
        json!({ "to": "+12025550123", "text": first["message"]["text"], "idempotencyKey": "k" }),
        json!({ "to": "+12025550123", "templateId": template, "idempotencyKey": "k",
                "variables": input["variables"] }),
    ];

    let change_address = "mutation($id: ID!) { updateContactAddress(id: $id, \
                          input: { address: \"+12025550188\" }) { errors { code } } }";
    let change_template = "mutation($id: ID!) { updateTemplate(id: $id, input: { \
                           bodies: [{ channel: EMAIL, text: \"{{ name }}\" }] }) \
                           { errors { code } } }";
    let delete_template = "mutation($id: ID!) { deleteTemplate(id: $id) { errors { code } } }";
    let delete_contact = "mutation($id: ID!) { deleteContact(id: $id) { errors { code } } }";
    for (what, id) in [
        ("{ viewer { role } }", json!(null)),
        (change_address, json!(addresses[0])),
        (change_template, json!(template)),
        (delete_template, json!(template)),
    ] {
        if id != json!(null) {
            run(&t, &team.key, what, json!({ "id": id })).await;
        }
        let before = t.everything().await;
        for input in &same {
            let [one, of_many, quoted] = each_way(&t, &team.key, input).await;
            for repeat in [one, of_many] {
                assert_eq!(repeat["replayed"], true, "{what} {input}");
                assert_eq!(repeat["message"]["id"], first["message"]["id"]);
            }
            assert_eq!((&quoted["cost"], &quoted["wouldBeAccepted"]), (&json!(0), &json!(true)));
        }
        for input in &conflicts {
            let answers = each_way(&t, &team.key, input).await;
            assert_refused(&answers, "IDEMPOTENCY_CONFLICT", "idempotencyKey", input);
        }
        assert_eq!(t.everything().await, before, "{what}");
    }
    // The key of an erased message still holds, and nothing is left to compare a repeat with. Another key finds
    // nothing to send.
    run(&t, &team.key, delete_contact, json!({ "id": contact })).await;
    let before = t.everything().await;
    for input in same.iter().chain(&conflicts) {
        let answers = each_way(&t, &team.key, input).await;
        assert_refused(&answers, "IDEMPOTENCY_CONFLICT", "idempotencyKey", input);
    }
    assert_eq!(t.everything().await, before);
    let fresh = with("idempotencyKey", json!("l"));
    assert_eq!(send(&t, &team.key, fresh).await["errors"][0]["code"], "TEMPLATE_NOT_FOUND");
    t.close().await;
}

/// Messages of one call are judged in order also where one has no letter: it holds no key, and
/// finds its key held.
#[db_test]
#[tokio::test]
async fn a_call_is_judged_in_order(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let gone =
        |key: &str| json!({ "contactId": NOBODYS_IDS[0], "text": "Hi", "idempotencyKey": key });
    let good = |key: &str| json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": key });
    let input = [gone("a"), good("a"), gone("a"), good("b"), gone("b"), gone("c"), gone("c")];

    let sent = send_many(&t, &team.key, &input).await.data()["sendMessages"].clone();

    let codes: Vec<Value> = (0..7).map(|at| sent[at]["errors"][0]["code"].clone()).collect();
    let expected = json!([
        "CONTACT_NOT_FOUND",
        null,
        "IDEMPOTENCY_CONFLICT",
        null,
        "IDEMPOTENCY_CONFLICT",
        "CONTACT_NOT_FOUND",
        "CONTACT_NOT_FOUND"
    ]);
    assert_eq!(json!(codes), expected);
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 2);
    t.close().await;
}

/// What a plain message hashes to is what it always was, so that earlier keys hold.
#[db_test]
#[tokio::test]
async fn the_hash_of_a_plain_message_holds(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let input = json!({ "to": "A@Example.com", "text": "Hi", "subject": "S",
                        "metadata": { "b": 1, "a": 2 } });
    send(&t, &team.key, input).await;

    let hashed = r#"["EMAIL","A@example.com","Hi","S","{\"a\":2,\"b\":1}"]"#;
    let hex: String = Sha256::digest(hashed).iter().map(|byte| format!("{byte:02x}")).collect();
    let found = match database {
        Sqlite => format!("SELECT COUNT(*) FROM message WHERE input_hash = x'{hex}'"),
        Postgres => format!("SELECT COUNT(*) FROM message WHERE input_hash = '\\x{hex}'"),
    };
    assert_eq!(t.number(&found).await, 1);
    t.close().await;
}

/// A call of a hundred needs one statement more for all its contacts and one for all its templates,
/// and a plain one needs none.
#[db_test]
#[tokio::test]
async fn a_call_reads_contacts_and_templates_once(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000_000).await;
    let mut inputs = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for number in 0..100 {
        let to = format!("+12025550{number:03}");
        let (contact, _) = t.contact(&team.key, &[&to]).await;
        let template = t.template(&team.key, bodies(), variables()).await;
        inputs[0].push(json!({ "to": to, "text": "Hi" }));
        inputs[1].push(json!({ "contactId": contact, "text": "Hi" }));
        inputs[2]
            .push(json!({ "to": to, "templateId": template, "variables": { "name": number } }));
        inputs[3].push(json!({ "contactId": contact, "templateId": template,
                               "variables": { "name": number } }));
    }

    let mut counts = Vec::new();
    for input in &inputs {
        for length in [3, 100] {
            // What is known of key and prices is read again every second: the least of several is
            // without that.
            let mut least = usize::MAX;
            for _ in 0..4 {
                let before = t.statements();
                let sent = send_many(&t, &team.key, &input[..length]).await;
                least = least.min(t.statements() - before);
                let sent = sent.data()["sendMessages"].as_array().expect("a list").clone();
                assert!(sent.iter().all(|one| one["errors"] == json!([])), "{}", sent[0]);
            }
            counts.push(least);
        }
    }

    let plain = counts[0];
    // The contact of the answer is read too; on SQLite the writer's statements count as well.
    let of_contacts = plain + 2 + usize::from(database == Sqlite);
    assert_eq!(
        counts,
        [
            plain,
            plain,
            of_contacts,
            of_contacts,
            plain + 1,
            plain + 1,
            of_contacts + 1,
            of_contacts + 1
        ]
    );
    t.close().await;
}

/// A contact that is erased while a message to it waits for its turn is not sent to any more, by
/// the short route as by the ordinary one.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_that_is_erased_meanwhile_is_not_sent_to(
    database: Database,
    #[values(1, 7)] count: usize,
) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let (contact, _) = t.contact(&team.key, &["+12025550123"]).await;
    assert!(t.sends(&team.key).await, "the writer's connection stands");
    let t = Arc::new(t);
    let txn = t.app.db.begin_write().await.expect("a transaction begins");
    let id = team.id.parse().expect("an id");
    tollgate::domain::account::team_lock::lock_team(&txn, id)
        .await
        .expect("the lock is free")
        .expect("the team is there");
    let taken = t.app.writers.taken().messages;
    let sending = {
        let (t, key) = (Arc::clone(&t), team.key.clone());
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

    let sent = sending.await.expect("an answer");

    for one in sent.data()["sendMessages"].as_array().expect("a list") {
        assert_eq!(
            one["errors"],
            json!([{ "code": "CONTACT_NOT_FOUND", "field": ["input", "contactId"] }])
        );
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 1);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// A contact takes its messages along in a merge, and an erasure finds them also where the contact
/// has another address by now; HTML goes too.
#[db_test]
#[tokio::test]
async fn messages_go_with_their_contact(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let (merged, addresses) = t.contact(&team.key, &["ada@example.com"]).await;
    let (kept, _) = t.contact(&team.key, &["ada@example.org"]).await;
    let (other, _) = t.contact(&team.key, &["bob@example.com"]).await;
    for contact in [&merged, &kept, &other] {
        let input = json!({ "contactId": contact, "html": "<b>Ada</b>" });
        assert_eq!(send(&t, &team.key, input).await["errors"], json!([]));
    }
    let change = "mutation($id: ID!) { updateContactAddress(id: $id, \
                  input: { address: \"new@example.com\" }) { errors { code } } }";
    run(&t, &team.key, change, json!({ "id": addresses[0] })).await;
    let merge = "mutation($input: MergeContactsInput!) { mergeContacts(input: $input) \
                 { errors { code } } }";
    run(&t, &team.key, merge, json!({ "input": { "keepId": kept, "mergeId": merged } })).await;
    let query = "{ messages { nodes { to html contact { id } } } }";
    let shown = async || t.ask(&team.key, query).await.data()["messages"]["nodes"].clone();
    let node = |to: &str, contact: &str| {
        let contact = json!({ "id": contact });
        json!({ "to": to, "html": "<b>Ada</b>", "contact": contact })
    };
    let others = node("bob@example.com", &other);
    let expected = json!([others, node("ada@example.org", &kept), node("ada@example.com", &kept)]);
    assert_eq!(shown().await, expected);

    // What waits for its hand-over stands against the erasure, whatever its address.
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
    t.close().await;
}

/// What templates make of one small call is bounded: 2 MiB, from both sides.
#[db_test]
#[tokio::test]
async fn a_call_makes_two_mebibytes_at_most(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let html = "{% for part in parts %}{{ kib }}{% endfor %}{{ rest }}";
    let bodies = json!([{ "channel": "EMAIL", "html": html }]);
    let variables = json!([{ "name": "parts" }, { "name": "kib" }, { "name": "rest" }]);
    let template = t.template(&team.key, bodies, variables).await;
    let one = |size: usize| {
        let (kib, rest) = ("x".repeat(1_024), "x".repeat(size % 1_024));
        let variables = json!({ "parts": vec![0; size / 1_024], "kib": kib, "rest": rest });
        json!({ "to": "a@example.com", "templateId": template, "variables": variables })
    };
    let mut input = vec![one(100 * 1024); 20];
    input.push(one(48 * 1024));

    let fits = send_many(&t, &team.key, &input).await;
    let before = t.everything().await;
    input.push(one(1));
    let too_much = send_many(&t, &team.key, &input).await;
    let too_large = send(&t, &team.key, one(100 * 1024 + 1)).await;

    let fits = fits.data()["sendMessages"].as_array().expect("a list").clone();
    assert!(fits.len() == 21 && fits.iter().all(|one| one["errors"] == json!([])));
    assert_eq!(too_much.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(too_large["errors"][0]["code"], "TEMPLATE_FAILED");
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// The HTML of messages counts to what one answer may hold: read and shown, 82 of these are more
/// than 32 MiB.
#[db_test]
#[tokio::test]
async fn html_counts_to_the_text_of_an_answer(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let input = vec![json!({ "to": "a@example.com", "text": "Hi", "html": "Hi" }); 82];
    assert_eq!(send_many(&t, &team.key, &input).await.codes(), [""; 0]);
    // Past the program: an account writes no 16 MiB at once.
    let large = match database {
        Sqlite => "replace(hex(zeroblob(51200)), '00', 'xx')",
        Postgres => "repeat('x', 102400)",
    };
    t.execute(&format!("UPDATE message SET text = {large}, html = {large}")).await;
    let query = "query($n: Int) { messages(first: $n) { nodes { html text } } }";
    for (count, codes) in [(81, &[][..]), (82, &["QUERY_TOO_LARGE"][..])] {
        let answer = t.ask_with(&team.key, query, json!({ "n": count })).await;
        assert_eq!(answer.codes(), codes, "{count}");
    }
    t.close().await;
}
