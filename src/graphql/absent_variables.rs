//! Variables without a value. An argument or an input field that is given such a variable counts as not given
//! (sections 3.10 and 6.4.1 of the specification), so a default applies and a patch keeps what is stored. The library
//! takes `null` for it, which clears what is stored. So they are left out of the document before it is executed.

use std::collections::HashSet;

use async_graphql::{
    Name, Positioned, Variables,
    parser::types::{
        DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet,
    },
};
use async_graphql_value::Value;

use super::{
    hidden::root_of,
    shape::{Shape, TypeRef},
};

/// Leaves out of a valid document what is given a variable that has no value. `operation_name` is that of the
/// operation to execute, and `variables` has the defaults of those that were not given.
pub fn leave_out(
    document: &mut ExecutableDocument,
    operation_name: Option<&str>,
    variables: &Variables,
    shape: &Shape,
) {
    let operation = match (&mut document.operations, operation_name) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get_mut(name),
        (DocumentOperations::Multiple(operations), None) => operations.values_mut().next(),
    };
    let Some(operation) = operation else { return };
    let absent = absent_of(operation, variables).cloned().collect::<HashSet<_>>();
    if absent.is_empty() {
        return;
    }
    let leaving = Leaving { absent, shape };
    leaving.selection_set(root_of(operation.node.ty), &mut operation.node.selection_set.node);
    for fragment in document.fragments.values_mut() {
        let fragment = &mut fragment.node;
        leaving
            .selection_set(&fragment.type_condition.node.on.node, &mut fragment.selection_set.node);
    }
}

/// The variables that an operation declares and that have no value.
fn absent_of<'d>(
    operation: &'d Positioned<OperationDefinition>,
    variables: &Variables,
) -> impl Iterator<Item = &'d Name> {
    let declared = operation.node.variable_definitions.iter();
    let names = declared.map(|definition| &definition.node.name.node);
    names.filter(|name| !variables.contains_key(*name))
}

struct Leaving<'s> {
    absent: HashSet<Name>,
    shape: &'s Shape,
}

impl Leaving<'_> {
    fn selection_set(&self, on: &str, set: &mut SelectionSet) {
        for selection in &mut set.items {
            match &mut selection.node {
                Selection::Field(field) => {
                    // `__typename` takes no variable.
                    let Some(known) = self.shape.field(on, &field.node.name.node) else { continue };
                    field.node.arguments.retain_mut(|(name, value)| {
                        let known = known.args.get(name.node.as_str());
                        known.is_none_or(|known| self.keeps(&mut value.node, &known.of_type))
                    });
                    self.selection_set(known.of_type.name(), &mut field.node.selection_set.node);
                }
                Selection::InlineFragment(inline) => {
                    let inline = &mut inline.node;
                    let condition = inline.type_condition.as_ref();
                    let on = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    self.selection_set(on, &mut inline.selection_set.node);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    /// Whether a value counts as given. What it holds that does not is left out of it; an item of a list is null
    /// then, for the others keep their places.
    fn keeps(&self, value: &mut Value, of_type: &TypeRef) -> bool {
        match value {
            Value::Variable(name) => return !self.absent.contains(name),
            Value::List(items) => {
                let item_type = match of_type.nullable() {
                    TypeRef::List(inner) => inner,
                    // Within a scalar, such as `JSONObject`.
                    scalar => scalar,
                };
                for item in items {
                    if !self.keeps(item, item_type) {
                        *item = Value::Null;
                    }
                }
            }
            Value::Object(members) => {
                let known = self.shape.0.get(of_type.name());
                let fields = known.map(|known| &known.input_fields);
                members.retain(|name, value| {
                    let known = fields.and_then(|fields| fields.get(name.as_str()));
                    self.keeps(value, known.map_or(of_type, |known| &known.of_type))
                });
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;
    use crate::graphql::shape;

    fn executed(
        document: &str,
        operation_name: Option<&str>,
        given: &[&str],
    ) -> ExecutableDocument {
        let named = |name: &str| TypeRef::Named(name.to_owned());
        let list = |of_type| TypeRef::List(Box::new(of_type));
        let args = [
            ("a", named("Int")),
            ("l", list(named("Int"))),
            ("n", named("Note")),
            ("j", named("JSON")),
        ];
        let args = args.map(|(name, of_type)| (name.to_owned(), of_type));
        let note = shape::Type { input_fields: args.clone().into(), ..shape::Type::default() };
        let q =
            shape::Field { of_type: named("Query"), args: args.into(), defaults: HashSet::new() };
        let query = shape::Type { fields: [("q".to_owned(), q)].into(), ..shape::Type::default() };
        let shape = Shape([("Query".to_owned(), query), ("Note".to_owned(), note)].into());
        let mut document = parse_query(document).expect("a document");
        let mut variables = Variables::default();
        for name in given {
            variables.insert(Name::new(name), async_graphql::Value::Null);
        }
        leave_out(&mut document, operation_name, &variables, &shape);
        document
    }

    #[test]
    fn what_has_no_value_is_left_out_and_null_is_a_value() {
        for (document, expected) in [
            ("query($x: Int, $y: Int) { q(a: $x) }", "query($x: Int, $y: Int) { q }"),
            ("query($x: Int, $y: Int) { q(a: $y) }", "query($x: Int, $y: Int) { q(a: $y) }"),
            ("query($x: Int) { q(n: { a: $x, l: 1 }) }", "query($x: Int) { q(n: { l: 1 }) }"),
            ("query($x: Int) { q(n: { n: { a: $x } }) }", "query($x: Int) { q(n: { n: {} }) }"),
            ("query($x: Int) { q(l: [1, $x, 2]) }", "query($x: Int) { q(l: [1, null, 2]) }"),
            ("query($x: Int) { q(n: { l: [$x] }) }", "query($x: Int) { q(n: { l: [null] }) }"),
            (
                "query($x: Int) { q(j: { a: $x, b: [$x, { c: $x, d: 1 }] }) }",
                "query($x: Int) { q(j: { b: [null, { d: 1 }] }) }",
            ),
            (
                "query($x: Int) { ... on Query { q(a: $x) { ...F } } } fragment F on Query { q(a: $x, l: 1) }",
                "query($x: Int) { ... on Query { q { ...F } } } fragment F on Query { q(l: 1) }",
            ),
        ] {
            let document = executed(document, None, &["y"]);
            let expected = parse_query(expected).expect("a document");
            assert_eq!(without_positions(&document), without_positions(&expected));
        }
    }

    #[test]
    fn only_the_variables_of_the_executed_operation_count() {
        let other = "query A($x: Int) { q(a: $x) }";
        for (text, expected) in [
            ("query B { q(a: 1) }", "query B { q(a: 1) }"),
            ("query B($x: Int) { q(a: $x) }", "query B($x: Int) { q }"),
        ] {
            let document = executed(&format!("{other} {text}"), Some("B"), &[]);
            let expected = parse_query(format!("{other} {expected}")).expect("a document");
            for name in ["A", "B"] {
                assert_eq!(operation(&document, name), operation(&expected, name));
            }
        }
    }

    /// One operation's text, because the operations of a document are in no order.
    fn operation(document: &ExecutableDocument, name: &str) -> String {
        let (_, operation) = document
            .operations
            .iter()
            .find(|(given, _)| given.is_some_and(|given| given == name))
            .expect("the document has the operation");
        without_positions(operation)
    }

    fn without_positions(part: &impl std::fmt::Debug) -> String {
        let debug = format!("{part:?}");
        let mut parts = debug.split("pos: Pos(");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
    }
}
