use serde_json::{Value as Json, json};

use super::*;
use crate::domain::template::engine::TemplateEngine;
use crate::domain::template::language::{
    BLOCKS_MAX, BRACKETS_MAX, BRANCHES_MAX, FILTERS, TAG_TOKENS_MAX, TESTS,
};

fn compile(body: &Body) -> Result<Compiled, String> {
    Compiled::new(std::slice::from_ref(body), &mut TemplateEngine::for_test().time)
        .expect("there is time")
}

fn render_as(channel: Channel, source: &str, given: &Json) -> Result<String, RenderProblem> {
    let (text, html) = match channel {
        Channel::Email => (None, Some(source.to_owned())),
        _ => (Some(source.to_owned()), None),
    };
    let body = Body { channel, subject: None, text, html };
    let compiled = compile(&body).expect(source);
    let mut values = Values::default();
    for (name, value) in given.as_object().expect("variables by name") {
        values.insert(name, value);
    }
    let content = compiled.render(&body, &values)?;
    Ok(content.html.unwrap_or(content.text))
}

fn render(source: &str, given: &Json) -> Result<String, RenderProblem> {
    render_as(Channel::Sms, source, given)
}

#[track_caller]
fn assert_fails(source: &str, given: &Json, what: &str) {
    match render(source, given) {
        Err(RenderProblem::Failed(problem)) => {
            assert!(problem.contains(what), "{source}: {problem}");
        }
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn the_library_has_all_listed_filters_and_tests() {
    let mut state = ENVIRONMENT.empty_state();
    for (name, ..) in FILTERS.iter().chain(&[("items", 0, 0)]) {
        let tried = state.apply_filter(name, &[]);
        assert!(!tried.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter), "{name}");
    }
    for name in TESTS {
        let tried = state.perform_test(name, &[]);
        assert!(!tried.is_err_and(|error| error.kind() == ErrorKind::UnknownTest), "{name}");
    }
}

#[test]
fn templates_are_rendered_with_their_variables() {
    let given = json!({
        "name": "ada <l>", "n": 2, "price": "12.5", "yes": true, "none": null, "empty": [],
        "list": ["b", "a", 3], "map": { "x": 1, "y": [2] }, "items": [{ "id": 1 }, { "id": 2 }],
        "large": 1e300,
    });
    for (source, expected) in [
        (
            "{{ name }} {{ n }} {{ yes }} {{ none }} {{ list }} {{ map }}",
            "ada <l> 2 True None ['b', 'a', 3] {'x': 1, 'y': [2]}",
        ),
        (
            "{{ name|title }}{{ name|upper }}{{ name|capitalize }}{{ n|upper }}",
            "Ada <L>ADA <L>Ada <l>2",
        ),
        (
            "{{ 'ΟΔΥΣΣΕΥΣ ΣΑΣ (ÜBER)'|lower }}|{{ 'ΟΔΟΣ ad-AMS (über)'|title }}|{{ 'éA Σ'|capitalize }}",
            "οδυσσευς σας (über)|Οδος Ad-Ams (Über)|Éa σ",
        ),
        ("{{ name|e }}{{ ' x '|trim }}{{ name|replace('a', n) }}", "ada &lt;l&gt;x2d2 <l>"),
        (
            "{{ list|join('+') }}{{ name|first }}{{ list|last }}{{ name|last }}{{ map|first }}",
            "b+a+3a3>x",
        ),
        (
            "{{ list|length }}{{ name|count }}{{ map|length }}{{ empty|last is undefined }}",
            "372True",
        ),
        (
            "{{ (price|float * n|int)|round }} {{ (n / 3)|round(2) }} {{ large|round(9) == large }} {{ price|float|round(9) }}",
            "25.0 0.67 True 12.5",
        ),
        ("{{ n + 1 }}{{ n - 3 }}{{ -n|abs }}{{ 7 // n }}{{ 7 % n }}{{ 'x'|int(4) }}", "3-12314"),
        (
            "{% for i in items %}{{ loop.index }}:{{ i.id }}{{ ', ' if not loop.last }}{% endfor %}",
            "1:1, 2:2",
        ),
        ("{% for k, v in map|items if k != 'x' %}{{ k }}{{ v[0] }}{% endfor %}", "y2"),
        (
            "{% for x in empty %}{{ x }}{% else %}-{% endfor %}{% for c in 'ab' %}{{ c }}.{% endfor %}",
            "-a.b.",
        ),
        (
            "{% if 'a' in list and 'z' not in list and 'x' in map and 'da' in name %}in{% endif %}",
            "in",
        ),
        (
            "{% if n == 2.0 and name > 'a' and 1 < n < 3 and n != name and list != n %}eq{% endif %}",
            "eq",
        ),
        (
            "{% if empty == [] and map %}{{ nothing|default('d') }}{{ empty|d('e', true) }}{% endif %}",
            "de",
        ),
        (
            "{{ map.y.0 }}{{ list[1] }}{{ list[-1] }}{{ map['x'] }}{{ nothing is defined }}",
            "2a31False",
        ),
        ("{{ 'a' if nothing else 'b' }}{{ name ~ n ~ [n] }}{{ n is even }}", "bada <l>2[2]True"),
        ("a\n  {%- if yes -%}  b  {% endif %} \nc\n", "ab   \nc"),
    ] {
        assert_eq!(render(source, &given).as_deref(), Ok(expected), "{source}");
    }
    let html = "{{ name }}{{ name|safe }}{{ name|e }}{{ name|upper }}{{ '<' ~ name|safe }}";
    assert_eq!(
        render_as(Channel::Email, html, &given).as_deref(),
        Ok("ada &lt;l&gt;ada <l>ada &lt;l&gt;ADA &lt;L&gt;&lt;ada <l>")
    );
    for source in ["{{ nothing }}", "{{ map.z.a }}", "{{ nothing|upper }}", "{{ nothing == 1 }}"] {
        let missing = render(source, &given);
        assert!(matches!(missing, Err(RenderProblem::VariableMissing(_))), "{source} {missing:?}");
    }
}

/// Comparing lists or maps takes time in proportion to their size, but the library counts it as one step. So such a
/// comparison fails in every position.
#[test]
fn lists_and_maps_are_not_compared() {
    let deep: Json = (0..350).map(|at| (at.to_string(), json!([at]))).collect();
    let given = json!({
        "d": { "x": deep }, "e": { "x": deep }, "l": [deep, [1]], "m": [deep, [1]], "n": [[1], 2],
    });
    for source in [
        "{% if d == e %}{% endif %}",
        "{% if d != e %}{% endif %}",
        "{% if d < e %}{% endif %}",
        "{% if d == l %}{% endif %}",
        "{% if d.x <= e.x %}{% endif %}",
        "{% if l > m %}{% endif %}",
        "{% if l >= m %}{% endif %}",
        "{% if 1 != d == e %}{% endif %}",
        "{% if d.x in l %}{% endif %}",
        "{% if m not in [l] %}{% endif %}",
        "{% if [d] == [e] %}{% endif %}",
        "{% if (1, d) in [(1, e)] %}{% endif %}",
        "{% for a in l %}{% for b in m %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
        "{% for a in l if a in m %}{% endfor %}",
        "{% for a in d|items %}{% for b in e|items %}{{ a == b }}{% endfor %}{% endfor %}",
        "{{ 1 if d|default(1) == e else 2 }}",
    ] {
        assert_fails(source, &given, "compares lists or maps");
    }
    for (source, expected) in [
        (
            "{{ d == 1 }}{{ l == 'x' }}{{ n == [] }}{{ 1 in l }}{{ 2 in n }}{{ [1] in n }}{{ [[1], 2] == n }}{{ n != [[1], 2] }}",
            "FalseFalseFalseFalseTrueTrueTrueFalse",
        ),
        ("{{ d == d }}{{ l.0 in l }}{{ l < 'x' }}{{ none == d }}", "TrueTrueFalseFalse"),
    ] {
        assert_eq!(render(source, &given).as_deref(), Ok(expected), "{source}");
    }
}

/// Text filters refuse lists and maps, because converting them to text costs more than the steps that are counted for
/// it.
#[test]
fn text_filters_refuse_lists_and_maps() {
    let given = json!({ "l": [1], "m": { "x": 1 }, "ll": [[1]], "ten": 10, "less": -1 });
    for filter in [
        "capitalize",
        "e",
        "escape",
        "lower",
        "replace('a', 'b')",
        "safe",
        "string",
        "title",
        "trim",
        "upper",
        "float",
        "int",
        "round",
    ] {
        for name in ["l", "m"] {
            assert!(render(&format!("{{{{ {name}|{filter} }}}}"), &given).is_err(), "{filter}");
        }
    }
    for source in [
        "{{ 'x'|replace(l, 'b') }}",
        "{{ 'x'|replace('x', m) }}",
        "{{ ll|join }}",
        "{{ [m]|join(', ') }}",
        "{{ [1]|join(l) }}",
    ] {
        assert_fails(source, &given, "expected a string or a number");
    }
    assert_fails("{{ m|last }}", &given, "last cannot be used");
    assert_fails("{{ 1.5|round(ten) }}", &given, "from 0 to 9");
    assert_fails("{{ 1.5|round(less) }}", &given, "");
}

#[test]
fn a_rendering_succeeds_up_to_the_maximum_number_of_steps_and_fails_beyond() {
    let loops = |count: usize| {
        let given = json!({ "all": vec![0; 1_000], "some": vec![0; count] });
        let all = "{% for i in all %}{% endfor %}".repeat(3);
        render(&format!("{all}{{% for i in some %}}{{% endfor %}}ok"), &given)
    };
    assert_eq!(loops(330).as_deref(), Ok("ok"));
    let Err(RenderProblem::Failed(problem)) = loops(331) else {
        panic!("too many steps are accepted")
    };
    assert!(problem.contains("steps"), "{problem}");
}

/// A template that repeats content or lets it grow is stopped by the limit on steps or on the size of the result.
#[test]
fn expensive_templates_run_out_of_steps() {
    let given = json!({
        "big": "x".repeat(15_000), "wide": "ΐ".repeat(7_500), "list": vec![0.5; 990],
        "floats": vec![1e300; 900], "deep": [[vec![1; 980]]],
    });
    let twice = |inner: &str| {
        format!("{{% for a in list %}}{{% for b in list %}}{inner}{{% endfor %}}{{% endfor %}}")
    };
    for inner in [
        "",
        "{{ a }}",
        "{% if 'y' in list %}{% endif %}",
        "{% if 'y' in big %}{% endif %}",
        "{% if big|upper %}{% endif %}",
        "{% if wide|title|upper|lower %}{% endif %}",
        "{% if big|replace('x', 'yyyyyyyy') %}{% endif %}",
        "{% if big|replace('', big) %}{% endif %}",
        "{% if list|join(big) %}{% endif %}",
        "{% if big ~ big ~ big %}{% endif %}",
        "{% if big|e|string|trim|safe %}{% endif %}",
        "{% if a|round(9) %}{% endif %}",
        "{% if wide[7000] == wide[-1] %}{% endif %}",
        "{% if 0 %}{% elif 0 %}{% elif 0 %}{% else %}{% endif %}",
        "{% if not not not not a == a == a %}{% endif %}",
    ] {
        assert_fails(&twice(inner), &given, "steps");
    }
    for source in [
        "{% for a in list %}{{ deep }}{% endfor %}",
        "{% for c in wide %}{% for d in wide %}{% endfor %}{% endfor %}",
    ] {
        assert_fails(source, &given, "steps");
    }
    for source in
        ["{% for a in list %}{{ big }}{% endfor %}", "{% for a in list %}{{ floats }}{% endfor %}"]
    {
        let Err(RenderProblem::Failed(problem)) = render(source, &given) else {
            panic!("{source}")
        };
        assert!(problem.contains("100 KiB") || problem.contains("steps"), "{source}: {problem}");
    }
}

/// The deepest allowed template needs less than 1 MiB of stack; threads have more.
#[test]
fn the_deepest_template_compiles_on_a_small_stack() {
    let brackets = |(open, close): (&str, &str)| {
        format!("{{{{ {}1{} }}}}", open.repeat(BRACKETS_MAX), close.repeat(BRACKETS_MAX))
    };
    let chain = |link: &str, tokens: usize| {
        format!("{{{{ 1{} }}}}", link.repeat((TAG_TOKENS_MAX - 1) / tokens))
    };
    let tags = [
        [
            ("(", ")"),
            ("[", "]"),
            ("[1, ", "]"),
            ("(a or not ", ")"),
            ("a[", "]"),
            ("(1 if 1 else ", ")"),
        ]
        .map(brackets)
        .concat(),
        format!("{{{{ {}1 }}}}", "-".repeat(TAG_TOKENS_MAX - 1)),
        format!("{{{{ {}1 }}}}", "not ".repeat(TAG_TOKENS_MAX - 1)),
        [
            ("+1", 2),
            (" ~ a", 2),
            (" or a", 2),
            (" < a", 2),
            ("|abs", 2),
            (".a", 2),
            ("[0]", 3),
            (" is none", 2),
            (" if a else 1", 4),
        ]
        .map(|(link, tokens)| chain(link, tokens))
        .concat(),
    ]
    .concat();
    let elifs = "{% elif a %}".repeat(BRANCHES_MAX);
    let ends = "{% endif %}".repeat(BLOCKS_MAX - 2);
    let nested = format!(
        "{{% for a in 'x' %}}{{% for b in a %}}{}{tags}{elifs}{tags}{ends}{{% endfor %}}{{% endfor %}}{tags}",
        "{% if a %}".repeat(BLOCKS_MAX - 2),
    );
    let body = Body { channel: Channel::Sms, subject: None, text: Some(nested), html: None };
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let compiled = small.spawn(move || compile(&body).map(|compiled| compiled.variables));
    let variables = compiled.expect("a thread").join().expect("the stack is large enough");
    assert_eq!(variables, Ok(BTreeSet::from(["a".to_owned()])));
}
