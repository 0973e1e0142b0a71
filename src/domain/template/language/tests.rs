use super::*;

#[track_caller]
fn assert_refused(source: &str, what: &str) {
    let problem = check("SMS text", source).expect_err(source);
    assert!(problem.contains(what), "{source}: {problem}");
}

#[test]
fn what_templates_need_is_in_the_language() {
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
        ("{% set a = b %}", "no tag set"),
        ("{% set a %}{% endset %}", "no tag set"),
        ("{% with a = b %}{% endwith %}", "no tag with"),
        ("{% filter upper %}{% endfilter %}", "no tag filter"),
        ("{% autoescape false %}{% endautoescape %}", "no tag autoescape"),
        ("{% do a() %}", "no tag do"),
        ("{% macro a() %}{% endmacro %}", "no tag macro"),
        ("{% call a() %}{% endcall %}", "no tag call"),
        ("{% include 'a' %}", "no tag include"),
        ("{% extends 'a' %}", "no tag extends"),
        ("{% import 'a' as b %}", "no tag import"),
        ("{% from 'a' import b %}", "no tag from"),
        ("{% block a %}{% endblock %}", "no tag block"),
        ("{% for a in b %}{% break %}{% endfor %}", "no tag break"),
        ("{% %}", "syntax error"),
        ("{{ a", "syntax error"),
        ("{% for a in b recursive %}{{ a }}{% endfor %}", "recursive"),
        ("{% for a in b %}{{ loop(a) }}{% endfor %}", "cannot be called"),
        ("{% for a in b %}{{ loop.cycle() }}{% endfor %}", "cannot be called"),
        ("{% for a in b %}{{ loop.changed(a) }}{% endfor %}", "cannot be called"),
        ("{% for a in range(3) %}{% endfor %}", "cannot be called"),
        ("{{ a.items() }}", "cannot be called"),
        ("{{ a['b'](c) }}", "cannot be called"),
        ("{{ a[1:] }}", "sliced"),
        ("{{ a[::-9223372036854775808] }}", "sliced"),
        ("{{ {'a': 1} }}", "no maps"),
        ("{{ 2 ** 3 }}", "no operator **"),
        ("{{ a + b }}", "+ adds"),
        ("{{ 'a' + b }}", "+ adds"),
        ("{{ a|int(b) + c }}", "+ adds"),
        ("{{ loop.index + a }}", "+ adds"),
        ("{{ a * 2 }}", "* multiplies"),
        ("{{ 2 * a }}", "* multiplies"),
        ("{{ 'x' * 2 }}", "* multiplies"),
        ("{{ [1] * 2 }}", "* multiplies"),
        ("{{ a|default(1) * 2 }}", "* multiplies"),
        ("{{ (a and 1) * 2 }}", "* multiplies"),
        ("{{ (a + 1) * (b if c else 2) }}", "* multiplies"),
        ("{% for a in b %}{{ loop.first * 2 }}{% endfor %}", "* multiplies"),
        ("{{ a|nonsense }}", "no filter nonsense"),
        ("{{ a|sort }}", "no filter sort"),
        ("{{ a|unique }}", "no filter unique"),
        ("{{ a|min }}{{ a|max }}", "no filter min"),
        ("{{ a|groupby('b') }}", "no filter groupby"),
        ("{{ a|map(attribute='b') }}", "no filter map"),
        ("{{ a|selectattr('b', 'eq', c) }}", "no filter selectattr"),
        ("{{ a|sum(start=b) }}", "no filter sum"),
        ("{{ '%.65535e'|format(1.5) }}", "no filter format"),
        ("{{ a|indent(1000000) }}", "no filter indent"),
        ("{{ a|upper.x }}", "no filter upper.x"),
        ("{{ a|items }}", "items is for loops"),
        ("{% for k, v in a|items|first %}{% endfor %}", "items is for loops"),
        ("{{ a|upper(1) }}", "upper takes no arguments"),
        ("{{ a|round(10) }}", "round takes a number of digits from 0 to 9"),
        ("{{ a|round(-1) }}", "round takes a number of digits from 0 to 9"),
        ("{{ a|round('b') }}", "round takes a number of digits from 0 to 9"),
        ("{{ a|replace('b') }}", "replace takes 2 arguments"),
        ("{{ a|join(', ', 'b') }}", "join takes 0 or 1 arguments"),
        ("{{ a|join(attribute='b') }}", "join takes 0 or 1 arguments, without names"),
        ("{{ a|default(*b) }}", "without names"),
        ("{{ a|default(**b) }}", "without names"),
        ("{{ a is nonsense }}", "no test nonsense"),
        ("{{ a is not nonsense }}", "no test nonsense"),
        ("{{ a is eq b }}", "no test eq"),
        ("{{ a is in(b) }}", "no test in"),
        ("{{ a is sameas b }}", "no test sameas"),
        ("{{ a is string(b) }}", "string takes no argument"),
        // Also where they are deep within something else.
        (
            "{% if a %}{% else %}{{ [1, (b if c[d|default(e.f())] else 2)]|join }}{% endif %}",
            "called",
        ),
        ("{% for a in b if c[:1] %}{% endfor %}", "sliced"),
        ("{% for a in b %}{% else %}{{ c is eq c }}{% endfor %}", "no test eq"),
    ] {
        assert_refused(source, what);
    }
}

#[test]
fn what_compiling_takes_is_bounded_from_both_sides() {
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
            "100 words",
        ),
        (brackets(BRACKETS_MAX), brackets(BRACKETS_MAX + 1), "10 brackets"),
        (ifs(BLOCKS_MAX), ifs(BLOCKS_MAX + 1), "10 blocks"),
        (loops(LOOPS_MAX), loops(LOOPS_MAX + 1), "2 loops"),
        (elifs(BRANCHES_MAX), elifs(BRANCHES_MAX + 1), "100 elif"),
        (format!("{line}\n{line}"), format!("a\n{line}a"), "65000 characters"),
    ] {
        assert!(check("SMS text", &most).is_ok(), "{what}");
        assert_refused(&more, what);
    }
}
