//! Templates that are expensive to render or to compile. If the server refuses to create a template, the test skips the
//! template.

use std::sync::Arc;

use db_test::db_test;
use serde_json::{Value, json};

use crate::{
    Database::{self},
    client::Client,
    fixture::Fixture,
    is_full, report,
    requests::{post, thirty},
    scale,
};

/// Number of entries in each map of the variables. In total, the variables have nearly the maximum number of values.
const ENTRIES: usize = 80;
/// Length of the list over which a template loops.
const ITERATIONS: usize = 300;
/// Minimum number of templates that must be accepted, so that the test has an effect.
const ACCEPTED_MIN: usize = 12;

/// Returns a mutation that sends the message `$m` 20 times, which is the maximum with variables of this size.
fn send_20() -> String {
    let list = "$m,".repeat(20);
    format!("mutation($m:SendMessageInput!){{sendMessages(input:[{list}]){{errors{{code}}}}}}")
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn template_bombs(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let account = fixture.sub_account().await;
    let mut sends: Vec<Arc<[u8]>> = Vec::new();
    for (name, text) in sources() {
        let Some(id) = create(&fixture, &account.live, &name, &text).await else { continue };
        let message =
            json!({ "to": "ada@example.com", "templateId": id, "variables": variables() });
        sends.push(post(&account.test, &send_20(), &json!({ "m": message })));
    }
    let count = sends.len();
    report(&format!("  {count} of {} template bombs were accepted", sources().len()));
    if count < ACCEPTED_MIN {
        fixture.fail(format!("only {count} template bombs were accepted"));
    }

    for connections in scale(&[4][..], &[2, 4, 40][..]) {
        let name = format!("20 messages a call from costly templates, {connections} connections");
        fixture
            .attack(&name, &["200", "TEMPLATE_FAILED"], async |attack| {
                attack.repeat(*connections, &sends);
                attack.run().await;
            })
            .await;
    }
    let mut previews: Vec<Arc<[u8]>> = Vec::new();
    for (name, text) in long_sources() {
        let Some(id) = create(&fixture, &account.live, &name, &text).await else { continue };
        let field = "templatePreview(id:$id,variables:$v){errors{code}}";
        let query = format!("query($id:ID!,$v:JSONObject){{ {} }}", thirty(field));
        previews.push(post(&account.test, &query, &json!({ "id": id, "v": variables() })));
    }
    if previews.len() < long_sources().len() {
        fixture.fail(format!("only {} long templates were accepted", previews.len()));
    }
    fixture
        .attack(
            "30 previews of a long template a request, 8 connections",
            &["200", "TEMPLATE_FAILED"],
            async |attack| {
                attack.repeat(8, &previews);
                attack.run().await;
            },
        )
        .await;
    fixture.finish().await;
}

/// Creates a template, and returns the id. Returns `None` if the template is refused.
async fn create(fixture: &Fixture, key: &str, name: &str, text: &str) -> Option<String> {
    let create = "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) \
                  { template { id } errors { code message } } }";
    let variables =
        ["d", "e", "l", "m", "n", "s", "t"].map(|name| json!({ "name": name, "default": "" }));
    let input = json!({
        "name": name,
        "bodies": [{ "channel": "EMAIL", "subject": "Hi", "text": format!("x{text}") }],
        "variables": variables,
    });
    let client = &mut Client::new(fixture.server.address);
    let answer = client.graphql(key, create, &json!({ "input": input })).await.expect("a response");
    let made = answer.json();
    let id = made["data"]["createTemplate"]["template"]["id"].as_str();
    if id.is_none() && is_full() {
        report(&format!("  {name}: {}", answer.body));
    }
    Some(id?.to_owned())
}

/// Returns the variables: two equal maps, two equal lists, a list for loops, and two long texts that differ at the end.
fn variables() -> Value {
    let entries: serde_json::Map<String, Value> =
        (0..ENTRIES).map(|at| (format!("k{at:04}"), json!(at))).collect();
    let numbers: Vec<usize> = (0..ENTRIES).collect();
    let iterations: Vec<usize> = (0..ITERATIONS).collect();
    let text = "a".repeat(4_000);
    json!({
        "d": { "x": entries }, "e": { "x": entries }, "l": [numbers], "m": [numbers], "n": iterations,
        "s": format!("{text}b"), "t": format!("{text}c"),
    })
}

/// The body of a loop, with a name for the body.
const TAGS: &[(&str, &str)] = &[
    ("equal maps", "{% if d == e %}{% endif %}"),
    ("ordered maps", "{% if d < e %}{% endif %}"),
    ("equal lists", "{% if l == m %}{% endif %}"),
    ("ordered lists", "{% if l <= m %}{% endif %}"),
    ("a map in a list", "{% if d in [e, e, e, e] %}{% endif %}"),
    ("a list in a list", "{% if l[0] in m %}{% endif %}"),
    ("unique", "{% set u = l|unique %}"),
    ("sort", "{% set u = l[0]|sort %}"),
    ("max", "{% set u = l|max %}"),
    ("a test of equality", "{% if d is eq(e) %}{% endif %}"),
    ("long texts compared", "{% if s == t %}{% endif %}"),
    ("a text in a long text", "{% if 'ac' in s %}{% endif %}"),
    ("text put between all characters", r#"{% if s|replace("", t)|length == 0 %}{% endif %}"#),
    ("all characters replaced by text", r#"{% if s|replace("a", t)|length == 0 %}{% endif %}"#),
    ("all characters left out", r#"{% if s|replace("a", "")|length == 0 %}{% endif %}"#),
    ("long texts joined", "{% if (s ~ t)|length == 0 %}{% endif %}"),
    ("lists joined by long texts", "{% if n|join(s)|length == 0 %}{% endif %}"),
    ("long texts in capitals", "{% if s|upper|lower|title|length == 0 %}{% endif %}"),
    ("long texts in lists", "{% set u = s|list %}"),
    ("maps in order", "{% set u = d.x|dictsort %}"),
    ("maps as text", "{% if d|string|length == 0 %}{% endif %}"),
    ("lists backwards", "{% set u = l[0]|reverse %}"),
    ("lists as text", "{% if l[0]|join|length == 0 %}{% endif %}"),
    ("a text compared with a number", "{% if a == b %}{% endif %}"),
    ("long texts in capitals by turns", "{% if s|upper|length == t|lower|length %}{% endif %}"),
    ("a long text replaced", r#"{% if s|replace("b", "c")|length == 0 %}{% endif %}"#),
    ("a long text escaped", "{% if s|e|e|e|length == 0 %}{% endif %}"),
    ("a long text trimmed and titled", "{% if s|trim|title|length == 0 %}{% endif %}"),
    ("numbers rounded", "{% if (a / 7)|round(9) > b %}{% endif %}"),
    ("nothing", ""),
];

/// Returns templates with each of the [`TAGS`]: in nested loops over numbers, in nested loops over a variable, and
/// without a loop.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for (name, tag) in TAGS {
        let tags = tag.repeat(20);
        for (how, walk) in [("numbers", "range(1000)"), ("a list", "n")] {
            let open = format!("{{% for a in {walk} %}}{{% for b in {walk} %}}");
            let text = format!("{open}{tags}{{% endfor %}}{{% endfor %}}");
            sources.push((format!("{name}, in loops over {how}"), text));
        }
        sources.push((format!("{name}, without a loop"), tag.repeat(400)));
    }
    sources
}

/// Returns templates that take long to compile.
fn long_sources() -> Vec<(String, String)> {
    [
        ("a thousand tags", "{{ s|upper|lower|trim }} and words between them, ".repeat(990)),
        ("a thousand conditions", "{% if s %}a{% endif %}".repeat(480)),
        ("long tags", format!("{{{{ s{} }}}}", "|trim".repeat(45)).repeat(240)),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .to_vec()
}
