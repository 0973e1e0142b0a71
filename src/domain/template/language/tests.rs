use super::*;

#[track_caller]
fn assert_refused(source: &str, expected: &str) {
    let problem = check("SMS text", source).expect_err(source);
    assert!(problem.contains(expected), "{source}: {problem}");
}

#[test]
fn the_language_has_common_features_of_templates() {
    for (source, variables) in [
        ("Hi {{ name }}, {# a comment #}{% raw %}{{ raw }}{% endraw %}", "name"),
        ("{{ name|default('you')|title }}{{ a|d(b, true)|trim|e }}", "a b name"),
        (
            "{% if a == b and not (c.d >= 3 or 'x' in e) %}{% elif f is defined %}{% else %}{% endif %}",
            "a b c e f",
        ),
        ("{% if 1 < a < 5 and b is not none and c not in ['x', 'y'] %}{% endif %}", "a b c"),
        ("{{ a if b else c }}{{ a[0].b['c'].0 }}{{ a ~ ' ' ~ b }}{{ a[b] }}", "a b c"),
        (
            "{% for x in xs %}{{ loop.index + 1 }}/{{ loop.length }}{{ ', ' if not loop.last }}{{ x }}{% else %}-{% endfor %}",
            "xs",
        ),
        (
            "{% for k, v in map|items if v %}{% for x in v.xs %}{{ k }}{{ y }}{% endfor %}{% endfor %}",
            "map y",
        ),
        (
            "{% for x in x %}{{ x }}{% endfor %}{{ (price|float * count|int)|round(2) - a }}",
            "a count price x",
        ),
        ("{{ a|round }}{{ a|round(0) }}{{ a|round(9) }}{{ a|round(b) }}", "a b"),
        ("{{ 2 * -3 + a / b - c % 2 // 1 }}{{ a + 1 }}{{ a|length * (b|int(1) + c) }}", "a b c"),
        (
            "{{ [a, b]|join(', ') }}{{ a|replace('x', b)|upper|lower|capitalize|string|safe }}",
            "a b",
        ),
        ("{{ a|first }}{{ a|last|abs }}{{ a|count|float(0) }}{{ a is odd }}{{ loop.x }}", "a loop"),
    ] {
        let used = check("SMS text", source).expect(source).variables;
        assert_eq!(used.into_iter().collect::<Vec<_>>().join(" "), variables, "{source}");
    }
}

#[test]
fn everything_else_is_refused() {
    for (source, what) in [
        ("{% set a = b %}", "unknown tag set"),
        ("{% set a %}{% endset %}", "unknown tag set"),
        ("{% with a = b %}{% endwith %}", "unknown tag with"),
        ("{% filter upper %}{% endfilter %}", "unknown tag filter"),
        ("{% autoescape false %}{% endautoescape %}", "unknown tag autoescape"),
        ("{% do a() %}", "unknown tag do"),
        ("{% macro a() %}{% endmacro %}", "unknown tag macro"),
        ("{% call a() %}{% endcall %}", "unknown tag call"),
        ("{% include 'a' %}", "unknown tag include"),
        ("{% extends 'a' %}", "unknown tag extends"),
        ("{% import 'a' as b %}", "unknown tag import"),
        ("{% from 'a' import b %}", "unknown tag from"),
        ("{% block a %}{% endblock %}", "unknown tag block"),
        ("{% for a in b %}{% break %}{% endfor %}", "unknown tag break"),
        ("{% %}", "syntax error"),
        ("{{ a", "syntax error"),
        ("{% for a in b recursive %}{{ a }}{% endfor %}", "recursive"),
        ("{% for a in b %}{{ loop(a) }}{% endfor %}", "function calls"),
        ("{% for a in b %}{{ loop.cycle() }}{% endfor %}", "function calls"),
        ("{% for a in b %}{{ loop.changed(a) }}{% endfor %}", "function calls"),
        ("{% for a in range(3) %}{% endfor %}", "function calls"),
        ("{{ a.items() }}", "function calls"),
        ("{{ a['b'](c) }}", "function calls"),
        ("{{ a[1:] }}", "slices are"),
        ("{{ a[::-9223372036854775808] }}", "slices are"),
        ("{{ {'a': 1} }}", "map literals"),
        ("{{ 2 ** 3 }}", "operator **"),
        ("{{ a + b }}", "+ needs"),
        ("{{ 'a' + b }}", "+ needs"),
        ("{{ a|int(b) + c }}", "+ needs"),
        ("{{ loop.index + a }}", "+ needs"),
        ("{{ a * 2 }}", "* needs"),
        ("{{ 2 * a }}", "* needs"),
        ("{{ 'x' * 2 }}", "* needs"),
        ("{{ [1] * 2 }}", "* needs"),
        ("{{ a|default(1) * 2 }}", "* needs"),
        ("{{ (a and 1) * 2 }}", "* needs"),
        ("{{ (a + 1) * (b if c else 2) }}", "* needs"),
        ("{% for a in b %}{{ loop.first * 2 }}{% endfor %}", "* needs"),
        ("{{ a|nonsense }}", "unknown filter nonsense"),
        ("{{ a|sort }}", "unknown filter sort"),
        ("{{ a|unique }}", "unknown filter unique"),
        ("{{ a|min }}{{ a|max }}", "unknown filter min"),
        ("{{ a|groupby('b') }}", "unknown filter groupby"),
        ("{{ a|map(attribute='b') }}", "unknown filter map"),
        ("{{ a|selectattr('b', 'eq', c) }}", "unknown filter selectattr"),
        ("{{ a|sum(start=b) }}", "unknown filter sum"),
        ("{{ '%.65535e'|format(1.5) }}", "unknown filter format"),
        ("{{ a|indent(1000000) }}", "unknown filter indent"),
        ("{{ a|upper.x }}", "unknown filter upper.x"),
        ("{{ a|items }}", "items can be used in loops only"),
        ("{% for k, v in a|items|first %}{% endfor %}", "items can be used in loops only"),
        ("{{ a|upper(1) }}", "upper takes no arguments"),
        ("{{ a|round(10) }}", "round must be a number from 0 to 9"),
        ("{{ a|round(-1) }}", "round must be a number from 0 to 9"),
        ("{{ a|round('b') }}", "round must be a number from 0 to 9"),
        ("{{ a|replace('b') }}", "replace takes 2 arguments"),
        ("{{ a|join(', ', 'b') }}", "join takes 0 or 1 arguments"),
        ("{{ a|join(attribute='b') }}", "join takes 0 or 1 arguments (keyword"),
        ("{{ a|default(*b) }}", "keyword arguments"),
        ("{{ a|default(**b) }}", "keyword arguments"),
        ("{{ a is nonsense }}", "unknown test nonsense"),
        ("{{ a is not nonsense }}", "unknown test nonsense"),
        ("{{ a is eq b }}", "unknown test eq"),
        ("{{ a is in(b) }}", "unknown test in"),
        ("{{ a is sameas b }}", "unknown test sameas"),
        ("{{ a is string(b) }}", "string takes no argument"),
        // Features that are not allowed, nested in other expressions.
        (
            "{% if a %}{% else %}{{ [1, (b if c[d|default(e.f())] else 2)]|join }}{% endif %}",
            "function calls",
        ),
        ("{% for a in b if c[:1] %}{% endfor %}", "slices are"),
        ("{% for a in b %}{% else %}{{ c is eq c }}{% endfor %}", "unknown test eq"),
    ] {
        assert_refused(source, what);
    }
}

#[test]
fn sources_up_to_each_limit_are_accepted_and_larger_ones_refused() {
    let line = "é".repeat(LINE_CHARS_MAX);
    let brackets = |count: usize| format!("{{{{ {}1{} }}}}", "(".repeat(count), ")".repeat(count));
    let nested = |open: &str, close: &str, count: usize| {
        format!("{}{}", open.repeat(count), close.repeat(count))
    };
    let ifs = |count| nested("{% if a %}", "{% endif %}", count);
    let loops = |count| nested("{% for a in b %}", "{% endfor %}", count);
    let elifs = |count| format!("{{% if a %}}{}{{% endif %}}", "{% elif b %}".repeat(count));
    for (most, more, what) in [
        ("{{1}}".repeat(TAGS_MAX), "{{1}}".repeat(TAGS_MAX + 1), "1000 tags"),
        (
            format!("{{{{ {}1 }}}}", "-".repeat(TAG_TOKENS_MAX - 1)),
            format!("{{{{ {}1 }}}}", "-".repeat(TAG_TOKENS_MAX)),
            "100 tokens",
        ),
        (brackets(BRACKETS_MAX), brackets(BRACKETS_MAX + 1), "brackets must be nested at most 10"),
        (ifs(BLOCKS_MAX), ifs(BLOCKS_MAX + 1), "blocks must be nested at most 10"),
        (loops(LOOPS_MAX), loops(LOOPS_MAX + 1), "loops must be nested at most 2"),
        (elifs(BRANCHES_MAX), elifs(BRANCHES_MAX + 1), "100 elif"),
        (format!("{line}\n{line}"), format!("a\n{line}a"), "65000 characters"),
    ] {
        assert!(check("SMS text", &most).is_ok(), "{what}");
        assert_refused(&more, what);
    }
}
