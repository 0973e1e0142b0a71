use std::collections::HashMap;

use async_graphql::parser::parse_query;

use super::*;
use crate::graphql::execution::schema_index::{self, Argument, Type};

/// Returns a schema in which `Query.q` has an argument of each kind and returns a `Query`.
fn index() -> SchemaIndex {
    let named = |name: &str| TypeRef::Named(name.to_owned());
    let list = |of_type| TypeRef::List(Box::new(of_type));
    let args = [
        ("a", named("Int")),
        ("l", list(named("Int"))),
        ("n", named("Note")),
        ("j", named("JSON")),
    ];
    let args: HashMap<_, _> =
        args.map(|(name, of_type)| (name.to_owned(), Argument { of_type, default: None })).into();
    let note = Type { input_fields: args.clone(), ..Type::default() };
    let q = schema_index::Field { of_type: named("Query"), args };
    let query = Type { fields: [("q".to_owned(), q)].into(), ..Type::default() };
    SchemaIndex([("Query".to_owned(), query), ("Note".to_owned(), note)].into())
}

/// Returns the collected fields of an operation. Only the variables `y`, `yes` and `no` have
/// values.
fn collected(document: &str, name: Option<&str>) -> String {
    let document = parse_query(document).expect("a document");
    let mut operations = document.operations.iter();
    let selected = operations.find(|(known, _)| known.map(Name::as_str) == name);
    let (_, operation) = selected.expect("the document has the operation");
    let mut variables = Variables::default();
    for (name, value) in [
        ("y", ConstValue::Null),
        ("yes", ConstValue::Boolean(true)),
        ("no", ConstValue::Boolean(false)),
    ] {
        variables.insert(Name::new(name), value);
    }
    let collected =
        collect(&document, &operation.node, &variables, &index()).expect("no condition is null");
    without_positions(&collected.selection_set)
}

fn parsed(query: &str) -> String {
    let document = parse_query(query).expect("a document");
    let (_, operation) = document.operations.iter().next().expect("an operation");
    without_positions(&operation.node.selection_set)
}

fn without_positions(part: &impl std::fmt::Debug) -> String {
    let debug = format!("{part:?}");
    let mut parts = debug.split("pos: Pos(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

#[test]
fn arguments_without_a_value_are_left_out_and_null_is_kept() {
    for (document, expected) in [
        ("query($x: Int, $y: Int) { q(a: $x) }", "{ q }"),
        ("query($x: Int, $y: Int) { q(a: $y) }", "{ q(a: $y) }"),
        ("query($x: Int) { q(n: { a: $x, l: 1 }) }", "{ q(n: { l: 1 }) }"),
        ("query($x: Int) { q(n: { n: { a: $x } }) }", "{ q(n: { n: {} }) }"),
        ("query($x: Int) { q(l: [1, $x, 2]) }", "{ q(l: [1, null, 2]) }"),
        ("query($x: Int) { q(n: { l: [$x] }) }", "{ q(n: { l: [null] }) }"),
        (
            "query($x: Int) { q(j: { a: $x, b: [$x, { c: $x, d: 1 }] }) }",
            "{ q(j: { b: [null, { d: 1 }] }) }",
        ),
        (
            "query($x: Int) { ... on Query { q(a: $x) { ...F } } } fragment F on Query { b: q(a: $x, l: 1) }",
            "{ q { b: q(l: 1) } }",
        ),
    ] {
        assert_eq!(collected(document, None), parsed(expected), "{document}");
    }
}

#[test]
fn variables_of_other_operations_are_ignored() {
    for (text, expected) in
        [("query B { q(a: 1) }", "{ q(a: 1) }"), ("query B($x: Int) { q(a: $x) }", "{ q }")]
    {
        let document = format!("query A($x: Int) {{ q(a: $x) }} {text}");
        assert_eq!(collected(&document, Some("B")), parsed(expected), "{document}");
    }
}

#[test]
fn fields_with_the_same_response_key_are_merged() {
    for (document, expected) in [
        ("{ q { a: q } q { b: q } }", "{ q { a: q b: q } }"),
        (
            "{ q { a: q } ...F x: q } fragment F on Query { q { a: q b: q } y: q }",
            "{ q { a: q b: q } y: q x: q }",
        ),
        (
            "{ ... { ...F ...F } ...F } fragment F on Query { q { q { a: q } } q { q { b: q } } }",
            "{ q { q { a: q b: q } } }",
        ),
        ("{ __typename q __typename }", "{ __typename q }"),
    ] {
        assert_eq!(collected(document, None), parsed(expected), "{document}");
    }
    let many =
        format!("{{ {} }} fragment F on Query {{ {} }}", "...F ".repeat(90), "q { q } ".repeat(27));
    assert_eq!(collected(&many, None), parsed("{ q { q } }"));
}

#[test]
fn skip_and_include_are_evaluated() {
    let variables = "$yes: Boolean!, $no: Boolean = false, $missing: Boolean";
    for (set, expected) in [
        ("{ q @skip(if: $yes) x: q }", "{ x: q }"),
        ("{ q @include(if: $yes) @skip(if: $no) }", "{ q }"),
        ("{ q @include(if: $yes) @skip(if: true) x: q }", "{ x: q }"),
        ("{ q { a: q } q @include(if: $no) { b: q } }", "{ q { a: q } }"),
        ("{ ... @skip(if: $no) { q } ... @skip(if: $yes) { x: q } }", "{ q }"),
        ("{ ...F @include(if: $no) q }", "{ q }"),
    ] {
        let document = format!("query({variables}) {set} fragment F on Query {{ x: q }}");
        assert_eq!(collected(&document, None), parsed(expected), "{set}");
    }
}

#[test]
fn an_empty_selection_set_has_a_placeholder() {
    let document = parse_query("{ q @skip(if: true) }").expect("a document");
    let (_, operation) = document.operations.iter().next().expect("an operation");
    let collected = collect(&document, &operation.node, &Variables::default(), &index())
        .expect("no condition is null");
    let [item] = &collected.selection_set.node.items[..] else { panic!("there is one field") };
    let Selection::Field(field) = &item.node else { panic!("the selection is a field") };
    assert_eq!(field.node.response_key().node, PLACEHOLDER_KEY);
}
