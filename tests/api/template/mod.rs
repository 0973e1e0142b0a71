//! Templates: created, updated, deleted, listed and previewed.

mod time;
mod validation;

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, UNKNOWN_IDS, text};

const TEMPLATE: &str = "{ template { id name bodies { channel subject text html } \
                        variables { name default } createdAt updatedAt } \
                        errors { code message field } }";

async fn create(t: &TestApp, key: &str, input: Value) -> Answer {
    let query = format!(
        "mutation($input: CreateTemplateInput!) {{ createTemplate(input: $input) {TEMPLATE} }}"
    );
    t.ask_with(key, &query, json!({ "input": input })).await
}

async fn update(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = format!(
        "mutation($id: ID!, $input: UpdateTemplateInput!) \
         {{ updateTemplate(id: $id, input: $input) {TEMPLATE} }}"
    );
    t.ask_with(key, &query, json!({ "id": id, "input": input })).await
}

async fn delete(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = "mutation($id: ID!) { deleteTemplate(id: $id) \
                 { templateId errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id })).await
}

async fn preview(t: &TestApp, key: &str, id: &str, variables: Value) -> Value {
    let query = "query($id: ID!, $variables: JSONObject) \
                 { templatePreview(id: $id, variables: $variables) { channel subject text html \
                 segments \
                 encoding errors { code field } } }";
    let answer = t.ask_with(key, query, json!({ "id": id, "variables": variables })).await;
    answer.data()["templatePreview"].clone()
}

fn sms(text: &str) -> Value {
    json!([{ "channel": "SMS", "text": text }])
}

fn body(channel: &str, subject: Value, text: Value, html: Value) -> Value {
    let mut body = json!({ "channel": channel });
    (body["subject"], body["text"], body["html"]) = (subject, text, html);
    body
}

/// The test covers templates of a main account and of a sub-account.
#[db_test]
async fn a_template_is_created_updated_and_deleted(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let none = || json!(null);
    // The bodies in the input are not in the order in which the server returns the channels.
    let bodies = json!([
        body("TELEGRAM", none(), json!("Code {{ code }}"), none()),
        body("EMAIL", json!("For {{ name }}"), json!("Hi"), json!("<b>{{ name }}</b>")),
        body("SMS", none(), json!("Hi {{ name }}"), none()),
    ]);
    let variables =
        json!([{ "name": "name", "default": "you" }, { "name": "code", "default": null }]);

    for key in [&team.key, &sub.key] {
        let input = json!({ "name": " Welcome ", "bodies": bodies, "variables": variables });
        let made = create(t, key, input).await.data()["createTemplate"].clone();
        let template = &made["template"];
        let ordered = json!([bodies[2], bodies[1], bodies[0]]);
        assert_eq!(made["errors"], json!([]));
        assert_eq!((&template["name"], &template["bodies"]), (&json!("Welcome"), &ordered));
        assert_eq!(template["variables"], variables);
        let id = text(&template["id"]);

        t.step(chrono::TimeDelta::seconds(1));
        let whatsapp = json!([body("WHATSAPP", none(), json!("Bye"), none())]);
        for (change, field, value) in [
            (json!({}), "name", json!("Welcome")),
            (json!({ "name": null, "bodies": null }), "bodies", ordered.clone()),
            (json!({ "name": "Second" }), "name", json!("Second")),
            (json!({ "bodies": whatsapp }), "bodies", whatsapp.clone()),
            (json!({ "variables": [variables[0]] }), "variables", json!([variables[0]])),
            (json!({ "variables": null }), "variables", json!([])),
        ] {
            let changed = update(t, key, &id, change.clone()).await;
            assert_eq!(changed.refusals(), [""; 0], "{change}");
            let changed = &changed.data()["updateTemplate"]["template"];
            assert_eq!(changed[field], value, "{change}");
            assert_eq!(changed["createdAt"], template["createdAt"]);
            assert_ne!(changed["updatedAt"], template["updatedAt"]);
            let query = "query($id: ID!) { template(id: $id) { id name \
                         bodies { channel subject text html } \
                         variables { name default } createdAt updatedAt } }";
            let read = t.ask_with(key, query, json!({ "id": id })).await;
            assert_eq!(&read.data()["template"], changed);
        }

        let deleted = delete(t, key, &id).await;
        let expected = json!({ "templateId": id, "errors": [] });
        assert_eq!(deleted.data()["deleteTemplate"], expected);
        assert_eq!(delete(t, key, &id).await.refusals(), ["NOT_FOUND"]);
        assert_eq!(update(t, key, &id, json!({})).await.refusals(), ["NOT_FOUND"]);
    }
    assert_eq!(t.everything().await["template"], [""; 0]);
}

#[db_test]
async fn a_test_key_reads_and_previews_templates_and_changes_none(t: &TestApp) {
    let team = t.team(0).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let before = t.everything().await;

    for answer in [
        create(t, &test_key, json!({ "name": "Mine", "bodies": sms("Hi") })).await,
        update(t, &test_key, &id, json!({ "name": "Mine" })).await,
        delete(t, &test_key, &id).await,
    ] {
        assert_eq!(answer.codes(), ["FORBIDDEN"]);
    }
    assert_eq!(t.everything().await, before);
    let list = t.ask(&test_key, "{ templates { nodes { id } } }").await;
    assert_eq!(list.data()["templates"]["nodes"], json!([{ "id": id }]));
    assert_eq!(preview(t, &test_key, &id, json!({})).await[0]["text"], "Hi");
}

#[db_test]
async fn templates_are_listed_to_their_own_account_newest_first(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(t.template(&sub.key, sms(&format!("Text {number}")), json!([])).await);
        t.step(chrono::TimeDelta::milliseconds(1));
    }
    let query = "query($after: String) { templates(first: 2, after: $after) \
                 { totalCount nodes { id } pageInfo { hasNextPage endCursor } } }";
    let node = |at: usize| json!({ "id": ids[at] });

    let first = t.ask(&sub.key, query).await.data()["templates"].clone();
    let after = first["pageInfo"]["endCursor"].clone();
    let second = t.ask_with(&sub.key, query, json!({ "after": after })).await;

    assert_eq!((&first["totalCount"], &first["nodes"]), (&json!(3), &json!([node(2), node(1)])));
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    assert_eq!(second.data()["templates"]["nodes"], json!([node(0)]));
    let main = t.ask(&team.key, query).await;
    assert_eq!(main.data()["templates"]["totalCount"], 0);
    for id in UNKNOWN_IDS.iter().copied().chain([ids[0].as_str()]) {
        assert_eq!(preview(t, &team.key, id, json!({})).await, json!([]), "{id}");
    }
}

/// The preview of an SMS shows its segments. A preview stores nothing.
#[db_test]
async fn a_preview_shows_each_channel_as_it_would_be_sent(t: &TestApp) {
    let team = t.team(0).await;
    let bodies = json!([
        body(
            "SMS",
            json!(null),
            json!("Hi {{ name }}{% for time in times %}!{% endfor %}"),
            json!(null)
        ),
        body(
            "EMAIL",
            json!("For {{ name }}"),
            json!(null),
            json!("<p>{{ name }} & {{ city }}</p>")
        ),
        body("WHATSAPP", json!(null), json!("{{ order.id }}"), json!(null)),
    ]);
    let variables = json!([{ "name": "name" }, { "name": "times" }, { "name": "order" },
                           { "name": "city", "default": "<Wien>" }]);
    let id = t.template(&team.key, bodies, variables).await;
    let before = t.everything().await;

    let good = json!({ "name": "<Ж>", "times": "!".repeat(67), "order": { "id": 12.5 }, "city": null, "more": 1 });
    let shown = preview(t, &team.key, &id, good).await;
    let sms = format!("Hi <Ж>{}", "!".repeat(67));
    let expected = json!([
        { "channel": "SMS", "subject": null, "text": sms, "html": null, "segments": 2,
          "encoding": "UCS2", "errors": [] },
        { "channel": "EMAIL", "subject": "For <Ж>", "text": null,
          "html": "<p>&lt;Ж&gt; & &lt;Wien&gt;</p>", "segments": 1, "encoding": null, "errors": [] },
        { "channel": "WHATSAPP", "subject": null, "text": "12.5", "html": null, "segments": 1,
          "encoding": null, "errors": [] },
    ]);
    assert_eq!(shown, expected);

    let failed = |channel: &str, code: &str, field: &str| {
        json!({ "channel": channel, "subject": null, "text": null, "html": null, "segments": null,
                "encoding": null, "errors": [{ "code": code, "field": [field] }] })
    };
    let all = |code: &str, field: &str| {
        json!(["SMS", "EMAIL", "WHATSAPP"].map(|channel| failed(channel, code, field)))
    };
    let missing = json!({ "name": "Ada", "times": "!" });
    assert_eq!(preview(t, &team.key, &id, missing).await, all("VARIABLE_MISSING", "variables"));
    let none = preview(t, &team.key, &id, json!(null)).await;
    assert_eq!(none, all("VARIABLE_MISSING", "variables"));
    let large = json!({ "name": "x".repeat(16 * 1024) });
    assert_eq!(preview(t, &team.key, &id, large).await, all("VARIABLES_INVALID", "variables"));
    // Each channel fails for its own reason: the text is too long, the subject has two lines, or a part of a variable
    // is missing.
    let bad = json!({ "name": "a\nb", "times": "!".repeat(1_600), "order": {} });
    let failures = json!([
        failed("SMS", "TEMPLATE_FAILED", "id"),
        failed("EMAIL", "TEMPLATE_FAILED", "id"),
        failed("WHATSAPP", "VARIABLE_MISSING", "variables"),
    ]);
    assert_eq!(preview(t, &team.key, &id, bad).await, failures);
    assert_eq!(t.everything().await, before);
}

/// A change to a template takes effect immediately, even if another process makes the change within the same
/// millisecond.
#[db_test]
async fn a_stored_template_that_is_no_longer_valid_is_refused_when_used(t: &TestApp) {
    let team = t.team(1_000).await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let send = async || {
        let query = "mutation($input: SendMessageInput!) \
                     { sendMessage(input: $input) { message { text } errors { code message } } }";
        let input = json!({ "to": "+12025550123", "templateId": id });
        t.ask_with(&team.key, query, json!({ "input": input })).await.data()["sendMessage"].clone()
    };
    assert_eq!(send().await["message"]["text"], "Hi");

    let change = json!({ "bodies": sms("Ho") });
    assert_eq!(update(t, &team.key, &id, change).await.refusals(), [""; 0]);
    assert_eq!(send().await["message"]["text"], "Ho");
    t.execute("UPDATE template SET sms_text = 'Hu'").await;
    assert_eq!(send().await["message"]["text"], "Hu");

    for (source, what) in [
        ("{% set a = 1 %}{{ a }}", "unknown tag set"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "function calls are not supported"),
        ("{{ [2, 1]|sort }}", "unknown filter sort"),
        ("{{ \"x\" * 3 }}", "* needs"),
    ] {
        t.execute(&format!("UPDATE template SET sms_text = '{source}'")).await;
        let refused = send().await;
        assert_eq!(refused["errors"][0]["code"], "TEMPLATE_FAILED", "{source}");
        let message = text(&refused["errors"][0]["message"]);
        assert!(message.contains(what), "{source}: {message}");
        let shown = preview(t, &team.key, &id, json!({})).await;
        assert_eq!(shown[0]["errors"][0]["code"], "TEMPLATE_FAILED", "{source}");
        // The name of this template can only be changed together with the bodies, because the updated template must be
        // valid.
        let renamed = update(t, &team.key, &id, json!({ "name": "New" })).await;
        assert_eq!(renamed.refusals(), ["SYNTAX_INVALID"], "{source}");
    }
    let change = json!({ "bodies": sms("Hi again") });
    assert_eq!(update(t, &team.key, &id, change).await.refusals(), [""; 0]);
    assert_eq!(send().await["message"]["text"], "Hi again");
}
