//! Messages from templates: the stored content, the price, and the reasons for a refusal.

use db_test::db_test;
use serde_json::{Value, json};

use super::{assert_refused, bodies, each_way, run, send, send_many, variables};
use crate::harness::{TestApp, UNKNOWN_IDS, text};

/// The price of the message depends on the content that the template produced. Variables are escaped in HTML, but not
/// in text.
#[db_test]
async fn a_message_keeps_the_content_that_its_template_produced(t: &TestApp) {
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
        // The channel is the first one that both the contact and the template support.
        (json!({ "contactId": no_sms }), json!({ "name": "C" }), mail("C", "<p>C</p>"), 1),
    ] {
        let mut input = to;
        (input["templateId"], input["variables"]) = (json!(template), variables);
        for key in [&team.key, &test_key] {
            let [one, of_many, quoted] = each_way(t, key, &input).await;
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
    run(t, &team.key, change, json!({ "id": template })).await;
    assert_eq!(t.ask(&team.key, all).await.body, before);
    let delete = "mutation($id: ID!) { deleteTemplate(id: $id) { errors { code } } }";
    run(t, &team.key, delete, json!({ "id": template })).await;
    assert_eq!(t.ask(&team.key, all).await.body, before);
}

/// The content is checked after repeats have been answered, and before the account's status, the opt-out and the
/// balance.
#[db_test]
async fn a_template_that_produces_no_valid_message_is_refused_before_charging(t: &TestApp) {
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
        (from(UNKNOWN_IDS[0], json!({})), "TEMPLATE_NOT_FOUND", "templateId"),
        (from(UNKNOWN_IDS[1], json!({})), "TEMPLATE_NOT_FOUND", "templateId"),
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
            assert_refused(&each_way(t, &sub.key, input).await, code, field, input);
        }
        assert_eq!(t.everything().await, before, "{sql}");
    }
}

#[db_test]
async fn templates_produce_at_most_2_mib_in_one_call(t: &TestApp) {
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

    let fits = send_many(t, &team.key, &input).await;
    let before = t.everything().await;
    input.push(one(1));
    let too_much = send_many(t, &team.key, &input).await;
    let too_large = send(t, &team.key, one(100 * 1024 + 1)).await;

    let fits = fits.data()["sendMessages"].as_array().expect("a list").clone();
    assert!(fits.len() == 21 && fits.iter().all(|one| one["errors"] == json!([])));
    assert_eq!(too_much.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(too_large["errors"][0]["code"], "TEMPLATE_FAILED");
    assert_eq!(t.everything().await, before);
}
