//! Templates: made, changed, deleted, listed and previewed; what is refused of them, from both
//! sides of each limit; and that a hostile one costs little of its own request and nothing of others.

use std::time::Duration;

use db_test::db_test;
use entity::message::Channel;
use sea_orm::DbBackend;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tollgate::domain::{
    Fault, Unavailable,
    api_key::authentication,
    channel::send_refusal::SendRefusal,
    deadline::Deadline,
    message::{self, NewMessage, Sent},
    template::{
        self, NewTemplate, TEMPLATES_PER_ACCOUNT_MAX, TemplateChange, limits::TIME_MAX,
        render::RenderRefusal,
    },
};
use uuid::Uuid;

use crate::harness::{Answer, Database, NOBODYS_IDS, TestApp, text};

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

/// A template is made, read, changed in part and deleted, by a main account and by a sub-account.
#[db_test]
#[tokio::test]
async fn a_template_is_made_changed_and_deleted(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let none = || json!(null);
    // Given in another order than the channels'.
    let bodies = json!([
        body("TELEGRAM", none(), json!("Code {{ code }}"), none()),
        body("EMAIL", json!("For {{ name }}"), json!("Hi"), json!("<b>{{ name }}</b>")),
        body("SMS", none(), json!("Hi {{ name }}"), none()),
    ]);
    let variables =
        json!([{ "name": "name", "default": "you" }, { "name": "code", "default": null }]);

    for key in [&team.key, &sub.key] {
        let input = json!({ "name": " Welcome ", "bodies": bodies, "variables": variables });
        let made = create(&t, key, input).await.data()["createTemplate"].clone();
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
            let changed = update(&t, key, &id, change.clone()).await;
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

        let deleted = delete(&t, key, &id).await;
        let expected = json!({ "templateId": id, "errors": [] });
        assert_eq!(deleted.data()["deleteTemplate"], expected);
        assert_eq!(delete(&t, key, &id).await.refusals(), ["NOT_FOUND"]);
        assert_eq!(update(&t, key, &id, json!({})).await.refusals(), ["NOT_FOUND"]);
    }
    assert_eq!(t.everything().await["template"], [""; 0]);
    t.close().await;
}

/// What is wrong is said by name and changes nothing, when a template is made as when it is
/// changed.
#[db_test]
#[tokio::test]
async fn a_bad_template_is_refused_by_name(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let id = t.template(&team.key, sms("Hi {{ name }}"), json!([{ "name": "name" }])).await;
    let before = t.everything().await;
    let none = || json!(null);
    let half = "x".repeat(100 * 1024);
    let names = |count: usize| -> Value {
        (0..count).map(|number| json!({ "name": format!("v{number}") })).collect()
    };
    let variable = |name: &str| json!({ "bodies": sms("Hi"), "variables": [{ "name": name }] });
    let default = |chars: usize| {
        let default = "é".repeat(chars);
        json!({ "bodies": sms("Hi"), "variables": [{ "name": "a", "default": default }] })
    };
    let nul = json!({ "bodies": sms("Hi"), "variables": [{ "name": "a", "default": "\u{0}" }] });
    let with = |body: Value| json!({ "bodies": [body] });
    let mail = |text: &str, html: &str| with(body("EMAIL", json!(null), json!(text), json!(html)));

    for (input, code) in [
        (json!({ "name": " ", "bodies": sms("Hi") }), "NAME_INVALID"),
        (json!({ "name": "n".repeat(201), "bodies": sms("Hi") }), "NAME_INVALID"),
        (json!({ "bodies": [] }), "BODIES_INVALID"),
        (json!({ "bodies": [sms("a")[0], sms("b")[0]] }), "BODIES_INVALID"),
        (json!({ "bodies": sms(" ") }), "BODIES_INVALID"),
        (json!({ "bodies": sms("a\u{0}") }), "BODIES_INVALID"),
        (with(body("SMS", none(), none(), none())), "BODIES_INVALID"),
        (with(body("SMS", json!("s"), json!("t"), none())), "BODIES_INVALID"),
        (with(body("TELEGRAM", none(), json!("t"), json!("h"))), "BODIES_INVALID"),
        (with(body("EMAIL", json!("s"), none(), none())), "BODIES_INVALID"),
        (mail(&half, &format!("{half}x")), "BODIES_INVALID"),
        (json!({ "bodies": sms("Hi"), "variables": names(51) }), "VARIABLES_INVALID"),
        (variable(""), "VARIABLES_INVALID"),
        (variable("1a"), "VARIABLES_INVALID"),
        (variable("a-b"), "VARIABLES_INVALID"),
        (variable("é"), "VARIABLES_INVALID"),
        (variable(&"a".repeat(65)), "VARIABLES_INVALID"),
        (default(1_001), "VARIABLES_INVALID"),
        (nul, "VARIABLES_INVALID"),
        (
            json!({ "bodies": sms("Hi"), "variables": [{ "name": "a" }, { "name": "a" }] }),
            "VARIABLES_INVALID",
        ),
        (json!({ "bodies": sms("Hi {{ name") }), "SYNTAX_INVALID"),
        (
            json!({ "bodies": sms("{% if a %}Hi"), "variables": [{ "name": "a" }] }),
            "SYNTAX_INVALID",
        ),
        (json!({ "bodies": sms("{% include 'other' %}") }), "SYNTAX_INVALID"),
        (json!({ "bodies": sms("{% macro a() %}{% endmacro %}") }), "SYNTAX_INVALID"),
        (json!({ "bodies": sms("{{ 'a'|nonsense }}") }), "SYNTAX_INVALID"),
        (json!({ "bodies": sms("{% filter nonsense %}a{% endfilter %}") }), "SYNTAX_INVALID"),
        (json!({ "bodies": sms("{{ 1 is nonsense }}") }), "SYNTAX_INVALID"),
        (json!({ "bodies": sms("{{ 1 is not nonsense }}") }), "SYNTAX_INVALID"),
        (json!({ "bodies": sms("Hi {{ nobody }}"), "variables": [] }), "VARIABLE_UNDECLARED"),
        (json!({ "bodies": sms("{{ debug() }}") }), "SYNTAX_INVALID"),
        (mail("Hi", "{% if a %}{{ b.c }}{% endif %}"), "VARIABLE_UNDECLARED"),
    ] {
        let mut new = json!({ "name": "Good" });
        for (name, value) in input.as_object().expect("an input object") {
            new[name] = value.clone();
        }
        let refused = create(&t, &team.key, new).await;
        assert_eq!(refused.refusals(), [code], "{input}");
        assert_eq!(refused.data()["createTemplate"]["template"], none());
        assert_eq!(update(&t, &team.key, &id, input.clone()).await.refusals(), [code], "{input}");
    }
    // What is kept must fit what is changed.
    let changed = update(&t, &team.key, &id, json!({ "variables": null })).await;
    let error = &changed.data()["updateTemplate"]["errors"][0];
    assert_eq!(error["code"], "VARIABLE_UNDECLARED");
    assert!(text(&error["message"]).contains(" name,"), "{error}");
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// Limits from their other side.
#[db_test]
#[tokio::test]
async fn what_just_fits_is_stored(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let half = format!("{}\n", "x".repeat(1_023)).repeat(100);
    let names: Value = (0..50).map(|number| json!({ "name": format!("v{number}") })).collect();
    let elifs = "{% elif 0 %}".repeat(100);
    let line = "é".repeat(65_000);
    for (bodies, variables) in [
        (json!([body("EMAIL", json!(null), json!(half), json!(half))]), json!(null)),
        (sms("{{ v49 }}"), names),
        (sms("Hi"), json!([{ "name": "_".repeat(64), "default": "é".repeat(1_000) }])),
        (sms(&"{{1}}".repeat(1_000)), json!(null)),
        (sms(&format!("{{{{-1{}}}}}", "+1".repeat(49))), json!(null)),
        (sms(&format!("{{% if 0 %}}{elifs}{{% endif %}}")), json!(null)),
        (sms(&format!("{line}\nx")), json!(null)),
    ] {
        let input = json!({ "name": "n".repeat(200), "bodies": bodies, "variables": variables });
        let made = create(&t, &team.key, input).await;
        assert_eq!(made.refusals(), [""; 0], "{}", made.body);
    }
    for (source, what) in [
        ("{{1}}".repeat(1_001), "1000 tags"),
        (format!("{{{{1{}}}}}", "+1".repeat(50)), "100 tokens"),
        (format!("{{% if 0 %}}{elifs}{{% elif 0 %}}{{% endif %}}"), "100 elif"),
        (format!("x\n{line}x"), "65000 characters"),
    ] {
        let refused = create(&t, &team.key, json!({ "name": "n", "bodies": sms(&source) })).await;
        assert_eq!(refused.refusals(), ["SYNTAX_INVALID"], "{what}");
        let message = text(&refused.data()["createTemplate"]["errors"][0]["message"]);
        assert!(message.contains(what), "{message}");
    }
    t.close().await;
}

/// A TEST key reads templates, previews them and changes none.
#[db_test]
#[tokio::test]
async fn a_test_key_changes_no_template(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let before = t.everything().await;

    for answer in [
        create(&t, &test_key, json!({ "name": "Mine", "bodies": sms("Hi") })).await,
        update(&t, &test_key, &id, json!({ "name": "Mine" })).await,
        delete(&t, &test_key, &id).await,
    ] {
        assert_eq!(answer.codes(), ["FORBIDDEN"]);
    }
    assert_eq!(t.everything().await, before);
    let list = t.ask(&test_key, "{ templates { nodes { id } } }").await;
    assert_eq!(list.data()["templates"]["nodes"], json!([{ "id": id }]));
    assert_eq!(preview(&t, &test_key, &id, json!({})).await[0]["text"], "Hi");
    t.close().await;
}

/// They are listed newest first, page by page, and to their own account only.
#[db_test]
#[tokio::test]
async fn templates_are_listed(database: Database) {
    let t = TestApp::start(database).await;
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
    for id in NOBODYS_IDS.iter().copied().chain([ids[0].as_str()]) {
        assert_eq!(preview(&t, &team.key, id, json!({})).await, json!([]), "{id}");
    }
    t.close().await;
}

/// A preview shows each channel as a send would make it, with what an SMS would take, and stores
/// nothing.
#[db_test]
#[tokio::test]
async fn a_preview_shows_what_a_send_would_say(database: Database) {
    let t = TestApp::start(database).await;
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
    let shown = preview(&t, &team.key, &id, good).await;
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
    assert_eq!(preview(&t, &team.key, &id, missing).await, all("VARIABLE_MISSING", "variables"));
    let none = preview(&t, &team.key, &id, json!(null)).await;
    assert_eq!(none, all("VARIABLE_MISSING", "variables"));
    let large = json!({ "name": "x".repeat(16 * 1024) });
    assert_eq!(preview(&t, &team.key, &id, large).await, all("VARIABLES_INVALID", "variables"));
    // Each channel fails by itself: too long, two lines, and a part of a variable.
    let bad = json!({ "name": "a\nb", "times": "!".repeat(1_600), "order": {} });
    let failures = json!([
        failed("SMS", "TEMPLATE_FAILED", "id"),
        failed("EMAIL", "TEMPLATE_FAILED", "id"),
        failed("WHATSAPP", "VARIABLE_MISSING", "variables"),
    ]);
    assert_eq!(preview(&t, &team.key, &id, bad).await, failures);
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// Templates that cost much, and whether each is stored.
fn hostile_templates() -> Vec<(String, bool)> {
    let many = |part: &str| part.repeat(64_000 / part.len());
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(1_000), close.repeat(1_000));
    let chain = |part: &str| format!("{{{{ big{} }}}}", many(part));
    let each = |inner: &str| {
        format!("{{% for a in items %}}{{% for b in items %}}{inner}{{% endfor %}}{{% endfor %}}")
    };
    vec![
        // Chains and nests, which cost the compiler a level each.
        (chain("+1"), false),
        (chain("~1"), false),
        (chain(" or 1"), false),
        (chain("**1"), false),
        (chain("<1"), false),
        (chain(".a"), false),
        (chain("[0]"), false),
        (chain("()"), false),
        (chain("|e"), false),
        (chain(" is none"), false),
        (chain(" if 1 else 1"), false),
        (format!("{{{{ {}1 }}}}", many("-")), false),
        (format!("{{{{ {}1 }}}}", many("not ")), false),
        (format!("{{% if 0 %}}{}{{% endif %}}", many("{% elif 0 %}")), false),
        (nested("{{ (", ") }}"), false),
        (nested("{% if 1 %}", "{% endif %}"), false),
        (nested("{% for i in [1] %}", "{% endfor %}"), false),
        (many("{"), false),
        (many("{{"), false),
        (many("{#"), false),
        ("{".repeat(100_000), false),
        (format!("{}{{{{ $", " ".repeat(65_535)), false),
        (format!("{}{{{{ $", "\n".repeat(100_000)), false),
        (many("{{1}}"), false),
        // Comparisons of lists and maps, in each way there is.
        (each("{% if d == e %}{% endif %}"), true),
        (each("{% if d != e %}{% endif %}"), true),
        (each("{% if d < e %}{% endif %}"), true),
        (each("{% if d[0] in e %}{% endif %}"), true),
        (each("{% if [d] in [[e]] %}{% endif %}"), true),
        (each("{% if d is eq e %}{% endif %}"), false),
        (each("{% if d is in([e]) %}{% endif %}"), false),
        (each("{{ d|sort|length }}"), false),
        (each("{{ d|unique|length }}"), false),
        (each("{{ d|min }}{{ d|max }}"), false),
        (each("{{ d|groupby('id')|length }}"), false),
        (each("{{ d|sort(attribute='in') }}"), false),
        (each("{{ d|selectattr('in', 'eq', e)|list }}"), false),
        (each("{{ loop.changed(d) }}"), false),
        // Lists and texts that grow by themselves.
        ("{% set v = [1, 2] %}{% set v = [v, v] %}{{ v }}".to_owned(), false),
        ("{{ items + items }}".to_owned(), false),
        ("{{ items * 100000000 }}".to_owned(), false),
        ("{{ 'a' * 1000000000 }}".to_owned(), false),
        ("{{ range(1000000000)|list|length }}".to_owned(), false),
        ("{{ items|zip(items)|list }}".to_owned(), false),
        ("{{ '%1000000000d'|format(1) }}".to_owned(), false),
        ("{{ big|indent(1000000000) }}".to_owned(), false),
        ("{{ big|urlencode }}".to_owned(), false),
        ("{{ 9 ** 999999999 }}".to_owned(), false),
        ("{{ big|replace('x', big)|replace('x', big)|length }}".to_owned(), true),
        ("{{ items|join(big)|length }}".to_owned(), true),
        // What the library panics at.
        ("{{ '%.65535e'|format(1.5) }}".to_owned(), false),
        ("{{ big[::-9223372036854775808] }}".to_owned(), false),
        ("{% for i in items %}{{ loop.cycle() }}{% endfor %}".to_owned(), false),
        // Recursion and loops.
        ("{% for i in items recursive %}{{ loop([1]) }}{% endfor %}".to_owned(), false),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}".to_owned(), false),
        (each(""), true),
        (each("{{ b }}"), true),
        (each("{% if 'y' in big %}{% endif %}"), true),
        (each(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100))), true),
        ("{% for a in big %}{% for b in big %}{{ a }}{% endfor %}{% endfor %}".to_owned(), true),
        (each("{{ big|upper }}"), true),
        // At the limits: what is stored is rendered.
        (format!("{{{{ {}1 }}}}", "-".repeat(99)), true),
        (format!("{{{{ {}1{} }}}}", "(".repeat(10), ")".repeat(10)), true),
        (many("{{ big }}")[..999 * 9].to_owned(), true),
    ]
}

/// A program that never ends, grows without end, goes down without end or walks along what it is not charged
/// for is refused when it is made, or fails when it is rendered.
#[db_test]
#[tokio::test]
async fn a_hostile_template_is_refused_or_fails(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let variables = json!([{ "name": "big", "default": "x".repeat(1_000) }, { "name": "items" }, { "name": "d" }, { "name": "e" }]);
    let deep: Value = (0..50).map(|number| json!({ "id": number, "in": [[[number]]] })).collect();
    let given =
        json!({ "big": "x".repeat(5_000), "items": vec![1; 300], "d": [deep], "e": [deep] });

    for (source, is_stored) in hostile_templates() {
        let beginning: String = source.chars().take(90).collect();
        let input = json!({ "name": "Hostile", "bodies": sms(&source), "variables": variables });
        let made = create(&t, &team.key, input).await;
        let made = &made.data()["createTemplate"];
        assert_eq!(made["template"].is_object(), is_stored, "{beginning} {}", made["errors"]);
        if !is_stored {
            assert_eq!(made["errors"][0]["code"], "SYNTAX_INVALID", "{beginning}");
            continue;
        }
        let id = text(&made["template"]["id"]);
        let before = t.everything().await;
        let shown = preview(&t, &team.key, &id, given.clone()).await;
        let input = json!({ "to": "+12025550123", "templateId": id, "variables": given });
        let sent = t.send(&team.key, input).await;
        if shown[0]["text"] != json!(null) {
            // Harmless at its limits.
            assert_eq!(sent.refusals(), [""; 0], "{beginning}");
            continue;
        }
        assert_eq!(shown[0]["errors"][0]["code"], "TEMPLATE_FAILED", "{beginning}");
        assert_eq!(sent.refusals(), ["TEMPLATE_FAILED"], "{beginning}");
        assert_eq!(t.everything().await, before, "{beginning}");
    }
    t.close().await;
}

/// The templates of one request have 200 ms of a processor together, whatever fields they are in: what does not
/// fit is refused by name, and nothing of it is charged.
#[db_test]
#[tokio::test]
async fn the_templates_of_a_request_share_their_time(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    // Takes all its steps for each of 200 messages: many times what one request may take.
    let source = "Hi{% for a in wide %}{% for b in wide %}{% if wide|upper|title == b %}{% endif %}\
                  {% endfor %}{% endfor %}";
    let variables = json!([{ "name": "wide" }]);
    let id = t.template(&team.key, sms(source), variables).await;
    let before = t.everything().await;
    let aliases: String = (0..2)
        .map(|at| format!("a{at}: sendMessages(input: $input) {{ errors {{ code message }} }} "))
        .collect();
    let query = format!("mutation($input: [SendMessageInput!]!) {{ {aliases} }}");
    let given = json!({ "wide": "\u{390}".repeat(500) });
    let one = json!({ "to": "+12025550123", "templateId": id, "variables": given });

    let sent = t.ask_with(&team.key, &query, json!({ "input": vec![one; 100] })).await;

    let messages: Vec<String> = (0..2)
        .flat_map(|at| sent.data()[format!("a{at}")].as_array().expect("a list").clone())
        .map(|one| {
            assert_eq!(one["errors"][0]["code"], "TEMPLATE_FAILED");
            text(&one["errors"][0]["message"])
        })
        .collect();
    assert_eq!(messages.len(), 200);
    let used_up = messages.iter().position(|message| message.contains("200 ms"));
    let used_up = used_up.expect("there is not time for all");
    assert!(used_up > 0 && messages[..used_up].iter().all(|message| message.contains("steps")));
    assert!(messages[used_up..].iter().all(|message| message.contains("200 ms")));
    assert_eq!(t.everything().await, before);
    // The next request has its own.
    assert!(t.sends(&team.key).await);
    assert_eq!(preview(&t, &team.key, &id, json!({ "wide": "" })).await[0]["text"], "Hi");
    t.close().await;
}

/// Once the time of a request is used up, its templates are refused wherever it asks for them: a message by
/// name, and a template that would be stored as bad input. A repeat is answered all the same.
#[db_test]
#[tokio::test]
async fn without_time_no_template_is_touched(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let repeated = json!({ "to": "+12025550123", "templateId": id, "idempotencyKey": "k" });
    assert_eq!(t.send(&team.key, repeated).await.refusals(), [""; 0]);
    let before = t.everything().await;
    let caller = authentication::authenticate(&t.app, &team.key).await.expect("the key is read");
    let caller = caller.expect("a good key").account().expect("an account");
    let live = caller.live().expect("a live key");
    let id: Uuid = id.parse().expect("an id");
    let patience = Deadline::until(Instant::now() + Duration::from_secs(10));
    patience.template_time.add(TIME_MAX);
    let room = t.app.memory_budget.of(None);
    let message = |key: Option<&str>| NewMessage {
        to: Some("+12025550123".to_owned()),
        template_id: Some(id),
        idempotency_key: key.map(str::to_owned),
        ..NewMessage::default()
    };
    let words = NewMessage { template_id: None, text: Some("Hi".to_owned()), ..message(None) };

    let sent = message::send_many(
        &t.app,
        &caller,
        vec![message(None), message(Some("k"))],
        &patience,
        &room,
    )
    .await
    .expect("verdicts");
    let quoted = message::quote(&t.app, &caller, message(None), &patience).await.expect("a quote");
    let shown = template::preview::preview(&t.app, &caller, Some(id), Map::new(), &room, &patience)
        .await
        .expect("previews");
    let body = template::body::Body {
        channel: Channel::Sms,
        subject: None,
        text: Some("Ho".to_owned()),
        html: None,
    };
    let new = NewTemplate { name: "New".to_owned(), bodies: vec![body.clone()], variables: vec![] };
    let made = template::create(&t.app, &live, new, &patience).await;
    let change = TemplateChange { bodies: Some(vec![body]), ..TemplateChange::default() };
    let changed = template::update(&t.app, &live, Some(id), change, &patience).await;

    let is_used_up = |refusal: &str| refusal.contains("200 ms");
    let [Sent::Refused(refused), Sent::Replayed(_)] = &sent[..] else { panic!("{sent:?}") };
    assert!(refused.code == SendRefusal::TemplateFailed && is_used_up(&refused.message));
    assert!(quoted.refusal.is_some_and(|refused| refused.code == SendRefusal::TemplateFailed));
    let shown = shown[0].content.as_ref().expect_err("there is no time");
    assert!(shown.code == RenderRefusal::TemplateFailed && is_used_up(&shown.message));
    for failure in [made.map_err(|it| format!("{it:?}")), changed.map_err(|it| format!("{it:?}"))] {
        let failure = failure.expect_err("there is no time");
        assert!(failure.contains("BadInput") && is_used_up(&failure), "{failure}");
    }
    assert_eq!(t.everything().await, before);
    let sent = message::send(&t.app, &caller, words, &patience, &room).await.expect("a verdict");
    assert!(matches!(sent, Sent::Accepted(_)), "{sent:?}");
    t.close().await;
}

/// A request whose client has gone or whose time is over renders nothing and charges nothing.
#[db_test]
#[tokio::test]
async fn templates_end_with_their_request(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let before = t.everything().await;
    let caller = authentication::authenticate(&t.app, &team.key).await.expect("the key is read");
    let caller = caller.expect("a good key").account().expect("an account");
    let gone = Deadline::until(Instant::now() + Duration::from_secs(10));
    gone.gone.cancel();
    for patience in [gone, Deadline::until(Instant::now())] {
        let message = NewMessage {
            to: Some("+12025550123".to_owned()),
            template_id: id.parse().ok(),
            ..NewMessage::default()
        };
        let room = t.app.memory_budget.of(None);
        let sent = message::send(&t.app, &caller, message, &patience, &room).await;
        let late = matches!(sent, Err(Fault::Unavailable(Unavailable::TemplatesLate)));
        assert!(late, "{sent:?}");
    }
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// What was stored before the language became smaller is still there, and says at its use what is wrong with it;
/// a change is in force at once, also one by another process and within the same instant.
#[db_test]
#[tokio::test]
async fn what_is_stored_is_used_as_it_is_now(database: Database) {
    let t = TestApp::start(database).await;
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
    assert_eq!(update(&t, &team.key, &id, change).await.refusals(), [""; 0]);
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
        let shown = preview(&t, &team.key, &id, json!({})).await;
        assert_eq!(shown[0]["errors"][0]["code"], "TEMPLATE_FAILED", "{source}");
        // Its name can be changed with its bodies only, for what comes of a change must be in order.
        let renamed = update(&t, &team.key, &id, json!({ "name": "New" })).await;
        assert_eq!(renamed.refusals(), ["SYNTAX_INVALID"], "{source}");
    }
    let change = json!({ "bodies": sms("Hi again") });
    assert_eq!(update(&t, &team.key, &id, change).await.refusals(), [""; 0]);
    assert_eq!(send().await["message"]["text"], "Hi again");
    t.close().await;
}

/// The limit, from both sides; another account's templates do not count.
#[db_test]
#[tokio::test]
async fn an_account_has_at_most_1000_templates(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let bodies = json!([{ "channel": "SMS", "text": "Hi" }]);
    t.template(&sub.key, bodies.clone(), json!([])).await;
    t.template(&team.key, bodies.clone(), json!([])).await;
    let id = match t.app.db.backend() {
        DbBackend::Postgres => "('ffffffff-0000-7000-8000-' || lpad(to_hex(n.i), 12, '0'))::uuid",
        _ => "unhex('ffffffff000070008000' || printf('%012x', n.i))",
    };
    t.execute(&format!(
        "INSERT INTO template (id, team_id, account_id, name, sms_text, variables, created_at, updated_at) \
         WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {TEMPLATES_PER_ACCOUNT_MAX} - 1) \
         SELECT {id}, o.team_id, o.account_id, o.name, o.sms_text, o.variables, o.created_at, o.updated_at \
         FROM template o JOIN account a ON a.id = o.account_id CROSS JOIN n WHERE a.is_sub_account",
    ))
    .await;
    let create = async |key: &str| {
        let query = "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) \
                     { template { id } errors { code field } } }";
        t.ask_with(key, query, json!({ "input": { "name": "T", "bodies": bodies } })).await
    };

    let last = create(&sub.key).await;
    assert_eq!(last.refusals(), [""; 0]);
    let before = t.everything().await;
    let refused = create(&sub.key).await;
    let errors = &refused.data()["createTemplate"]["errors"];
    assert_eq!(*errors, json!([{ "code": "TOO_MANY_TEMPLATES", "field": [] }]));
    assert_eq!(t.everything().await, before);
    assert_eq!(create(&team.key).await.refusals(), [""; 0]);
    let delete = "mutation($id: ID!) { deleteTemplate(id: $id) { errors { code } } }";
    let id = &last.data()["createTemplate"]["template"]["id"];
    assert_eq!(t.ask_with(&sub.key, delete, json!({ "id": id })).await.refusals(), [""; 0]);
    assert_eq!(create(&sub.key).await.refusals(), [""; 0]);
    t.close().await;
}
