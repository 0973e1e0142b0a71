//! Templates that are refused when they are stored, and values on both sides of each limit.

use db_test::db_test;
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tollgate::domain::template::TEMPLATES_PER_ACCOUNT_MAX;

use super::{body, create, preview, sms, update};
use crate::harness::{TestApp, text};

/// The template is refused both when it is created and when it is updated.
#[db_test]
async fn a_template_that_is_not_valid_is_refused_and_changes_nothing(t: &TestApp) {
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
        let refused = create(t, &team.key, new).await;
        assert_eq!(refused.refusals(), [code], "{input}");
        assert_eq!(refused.data()["createTemplate"]["template"], none());
        assert_eq!(update(t, &team.key, &id, input.clone()).await.refusals(), [code], "{input}");
    }
    // If an update changes only the variables, the stored bodies must match the new variables.
    let changed = update(t, &team.key, &id, json!({ "variables": null })).await;
    let error = &changed.data()["updateTemplate"]["errors"][0];
    assert_eq!(error["code"], "VARIABLE_UNDECLARED");
    assert!(text(&error["message"]).contains(" name,"), "{error}");
    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn values_at_the_limits_are_accepted(t: &TestApp) {
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
        let made = create(t, &team.key, input).await;
        assert_eq!(made.refusals(), [""; 0], "{}", made.body);
    }
    for (source, what) in [
        ("{{1}}".repeat(1_001), "1000 tags"),
        (format!("{{{{1{}}}}}", "+1".repeat(50)), "100 tokens"),
        (format!("{{% if 0 %}}{elifs}{{% elif 0 %}}{{% endif %}}"), "100 elif"),
        (format!("x\n{line}x"), "65000 characters"),
    ] {
        let refused = create(t, &team.key, json!({ "name": "n", "bodies": sms(&source) })).await;
        assert_eq!(refused.refusals(), ["SYNTAX_INVALID"], "{what}");
        let message = text(&refused.data()["createTemplate"]["errors"][0]["message"]);
        assert!(message.contains(what), "{message}");
    }
}

/// Returns expensive templates, and whether each of them is stored.
fn hostile_templates() -> Vec<(String, bool)> {
    let many = |part: &str| part.repeat(64_000 / part.len());
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(1_000), close.repeat(1_000));
    let chain = |part: &str| format!("{{{{ big{} }}}}", many(part));
    let each = |inner: &str| {
        format!("{{% for a in items %}}{{% for b in items %}}{inner}{{% endfor %}}{{% endfor %}}")
    };
    vec![
        // Chains and nested expressions. The compiler makes a recursive call for each of their parts.
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
        // Comparisons of lists and maps with each operator.
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
        // Lists and strings that grow exponentially or are very large.
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
        // Input that makes the library panic.
        ("{{ '%.65535e'|format(1.5) }}".to_owned(), false),
        ("{{ big[::-9223372036854775808] }}".to_owned(), false),
        ("{% for i in items %}{{ loop.cycle() }}{% endfor %}".to_owned(), false),
        // Recursion and nested loops.
        ("{% for i in items recursive %}{{ loop([1]) }}{% endfor %}".to_owned(), false),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}".to_owned(), false),
        (each(""), true),
        (each("{{ b }}"), true),
        (each("{% if 'y' in big %}{% endif %}"), true),
        (each(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100))), true),
        ("{% for a in big %}{% for b in big %}{{ a }}{% endfor %}{% endfor %}".to_owned(), true),
        (each("{{ big|upper }}"), true),
        // Templates at the limits. They are stored and rendered.
        (format!("{{{{ {}1 }}}}", "-".repeat(99)), true),
        (format!("{{{{ {}1{} }}}}", "(".repeat(10), ")".repeat(10)), true),
        (many("{{ big }}")[..999 * 9].to_owned(), true),
    ]
}

/// A hostile template does not end, uses too much memory or recursion, or does work that the limits do not measure.
#[db_test]
async fn a_hostile_template_is_refused_when_stored_or_fails_when_rendered(t: &TestApp) {
    let team = t.team(1_000).await;
    let variables = json!([{ "name": "big", "default": "x".repeat(1_000) }, { "name": "items" }, { "name": "d" }, { "name": "e" }]);
    let deep: Value = (0..50).map(|number| json!({ "id": number, "in": [[[number]]] })).collect();
    let given =
        json!({ "big": "x".repeat(5_000), "items": vec![1; 300], "d": [deep], "e": [deep] });

    for (source, is_stored) in hostile_templates() {
        let beginning: String = source.chars().take(90).collect();
        let input = json!({ "name": "Hostile", "bodies": sms(&source), "variables": variables });
        let made = create(t, &team.key, input).await;
        let made = &made.data()["createTemplate"];
        assert_eq!(made["template"].is_object(), is_stored, "{beginning} {}", made["errors"]);
        if !is_stored {
            assert_eq!(made["errors"][0]["code"], "SYNTAX_INVALID", "{beginning}");
            continue;
        }
        let id = text(&made["template"]["id"]);
        let before = t.everything().await;
        let shown = preview(t, &team.key, &id, given.clone()).await;
        let input = json!({ "to": "+12025550123", "templateId": id, "variables": given });
        let sent = t.send(&team.key, input).await;
        if shown[0]["text"] != json!(null) {
            // The preview rendered this template, so a message from the template can also be sent.
            assert_eq!(sent.refusals(), [""; 0], "{beginning}");
            continue;
        }
        assert_eq!(shown[0]["errors"][0]["code"], "TEMPLATE_FAILED", "{beginning}");
        assert_eq!(sent.refusals(), ["TEMPLATE_FAILED"], "{beginning}");
        assert_eq!(t.everything().await, before, "{beginning}");
    }
}

#[db_test]
async fn an_account_has_at_most_1000_templates(t: &TestApp) {
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
}
