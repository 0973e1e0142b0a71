//! Calls with several messages, and repeats with the same idempotency key.

use db_test::db_test;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{assert_refused, bodies, each_way, run, send, send_many, variables};
use crate::harness::{Database, Postgres, Sqlite, TestApp, UNKNOWN_IDS};

/// The input of a repeat is compared with the input of the first message. After an erasure the first input is no longer
/// stored, so the repeat is refused.
#[db_test]
async fn a_repeat_returns_the_first_message_after_its_contact_or_template_changed(t: &TestApp) {
    let team = t.team(1_000).await;
    let template = t.template(&team.key, bodies(), variables()).await;
    let (contact, addresses) = t.contact(&team.key, &["+12025550123", "ada@example.com"]).await;
    let (other, _) = t.contact(&team.key, &["+12025550199"]).await;
    let input = json!({ "contactId": contact, "templateId": template, "idempotencyKey": "k",
                        "variables": { "name": "Ada", "code": 1.50 } });
    let first = send(t, &team.key, input.clone()).await;
    assert_eq!(first["errors"], json!([]));
    t.deliver().await;
    let with = |name: &str, value: Value| {
        let mut input = input.clone();
        input[name] = value;
        input
    };
    // These inputs are equal to the first one after normalization.
    let same = [
        input.clone(),
        with("contactId", json!(contact.to_uppercase())),
        with("templateId", json!(template.to_uppercase())),
        with("variables", json!({ "code": 1.50, "name": "Ada" })),
    ];
    let conflicts = [
        with("contactId", json!(other)),
        with("contactId", json!(UNKNOWN_IDS[0])),
        with("contactId", json!(UNKNOWN_IDS[1])),
        with("channel", json!("SMS")),
        with("templateId", json!(UNKNOWN_IDS[1])),
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
            run(t, &team.key, what, json!({ "id": id })).await;
        }
        let before = t.everything().await;
        for input in &same {
            let [one, of_many, quoted] = each_way(t, &team.key, input).await;
            for repeat in [one, of_many] {
                assert_eq!(repeat["replayed"], true, "{what} {input}");
                assert_eq!(repeat["message"]["id"], first["message"]["id"]);
            }
            assert_eq!((&quoted["cost"], &quoted["wouldBeAccepted"]), (&json!(0), &json!(true)));
        }
        for input in &conflicts {
            let answers = each_way(t, &team.key, input).await;
            assert_refused(&answers, "IDEMPOTENCY_CONFLICT", "idempotencyKey", input);
        }
        assert_eq!(t.everything().await, before, "{what}");
    }
    // The idempotency key of an erased message remains taken, but the message's input can no longer be compared, so
    // every repeat is a conflict. With another idempotency key, the contact is not found.
    run(t, &team.key, delete_contact, json!({ "id": contact })).await;
    let before = t.everything().await;
    for input in same.iter().chain(&conflicts) {
        let answers = each_way(t, &team.key, input).await;
        assert_refused(&answers, "IDEMPOTENCY_CONFLICT", "idempotencyKey", input);
    }
    assert_eq!(t.everything().await, before);
    let fresh = with("idempotencyKey", json!("l"));
    assert_eq!(send(t, &team.key, fresh).await["errors"][0]["code"], "TEMPLATE_NOT_FOUND");
}

/// A refused message does not use up its idempotency key. If an earlier message of the same call has used a key, a
/// later message with this key is a repeat or a conflict.
#[db_test]
async fn the_messages_of_a_call_are_judged_in_order(t: &TestApp) {
    let team = t.team(1_000).await;
    let gone =
        |key: &str| json!({ "contactId": UNKNOWN_IDS[0], "text": "Hi", "idempotencyKey": key });
    let good = |key: &str| json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": key });
    let input = [gone("a"), good("a"), gone("a"), good("b"), gone("b"), gone("c"), gone("c")];

    let sent = send_many(t, &team.key, &input).await.data()["sendMessages"].clone();

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
}

/// If the hash changed, repeats of messages that an earlier version accepted would be refused.
#[db_test]
async fn the_stored_hash_of_a_plain_message_does_not_change_between_versions(
    t: &TestApp,
    database: Database,
) {
    let team = t.team(1_000).await;
    let input = json!({ "to": "A@Example.com", "text": "Hi", "subject": "S",
                        "metadata": { "b": 1, "a": 2 } });
    send(t, &team.key, input).await;

    let hashed = r#"["EMAIL","A@example.com","Hi","S","{\"a\":2,\"b\":1}"]"#;
    let hex: String = Sha256::digest(hashed).iter().map(|byte| format!("{byte:02x}")).collect();
    let found = match database {
        Sqlite => format!("SELECT COUNT(*) FROM message WHERE input_hash = x'{hex}'"),
        Postgres => format!("SELECT COUNT(*) FROM message WHERE input_hash = '\\x{hex}'"),
    };
    assert_eq!(t.number(&found).await, 1);
}

/// A call without contacts or templates reads neither.
#[db_test]
async fn a_call_reads_its_contacts_and_templates_with_one_statement_each(
    t: &TestApp,
    database: Database,
) {
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
            // Cached keys and prices are read again every second. The minimum over several calls does not include the
            // statements that read them.
            let mut least = usize::MAX;
            for _ in 0..4 {
                let before = t.statements();
                let sent = send_many(t, &team.key, &input[..length]).await;
                least = least.min(t.statements() - before);
                let sent = sent.data()["sendMessages"].as_array().expect("a list").clone();
                assert!(sent.iter().all(|one| one["errors"] == json!([])), "{}", sent[0]);
            }
            counts.push(least);
        }
    }

    let plain = counts[0];
    // If a message has a contact, the contact in the response is read with another statement. On SQLite, the writer's
    // statements are included too.
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
}
