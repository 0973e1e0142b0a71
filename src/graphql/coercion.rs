//! Variables that fit their types beyond doubt (section 6.1.2 of the specification). A document that was found
//! valid before is not validated again for such: of all rules, only the one of arguments' values looks at
//! variables. Whatever is doubtful here is validated by the library.

use async_graphql::{
    Positioned, Value as ConstValue, Variables,
    parser::types::{
        BaseType, Directive, ExecutableDocument, OperationDefinition, Selection, SelectionSet, Type,
    },
};
use async_graphql_value::Value;

use super::shape::{Shape, TypeRef};

/// Whether each argument of the document is written out or one variable, so that a variable's own type says
/// all of what may stand there. The library judges fragments by the variables of whichever operation runs, also
/// fragments that only another one spreads: such documents are left to it.
pub fn takes_variables_whole(document: &ExecutableDocument) -> bool {
    if document.operations.iter().count() > 1 && !document.fragments.is_empty() {
        return false;
    }
    let operations = document.operations.iter().all(|(_, operation)| {
        are_whole(&operation.node.directives) && is_whole(&operation.node.selection_set.node)
    });
    operations
        && document.fragments.values().all(|fragment| {
            are_whole(&fragment.node.directives) && is_whole(&fragment.node.selection_set.node)
        })
}

fn is_whole(set: &SelectionSet) -> bool {
    set.items.iter().all(|selection| match &selection.node {
        Selection::Field(field) => {
            let mut values = field.node.arguments.iter().map(|(_, value)| &value.node);
            values.all(is_literal_or_variable)
                && are_whole(&field.node.directives)
                && is_whole(&field.node.selection_set.node)
        }
        Selection::InlineFragment(inline) => {
            are_whole(&inline.node.directives) && is_whole(&inline.node.selection_set.node)
        }
        Selection::FragmentSpread(spread) => are_whole(&spread.node.directives),
    })
}

fn are_whole(directives: &[Positioned<Directive>]) -> bool {
    let mut arguments = directives.iter().flat_map(|directive| &directive.node.arguments);
    arguments.all(|(_, value)| is_literal_or_variable(&value.node))
}

fn is_literal_or_variable(value: &Value) -> bool {
    matches!(value, Value::Variable(_)) || is_literal(value)
}

fn is_literal(value: &Value) -> bool {
    match value {
        Value::Variable(_) => false,
        Value::List(values) => values.iter().all(is_literal),
        Value::Object(values) => values.values().all(is_literal),
        _ => true,
    }
}

/// Whether the variables of the operation fit their types beyond doubt.
pub fn fit(
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
    shape: &Shape,
) -> bool {
    operation.node.variable_definitions.iter().all(|definition| {
        let of_type = &definition.node.var_type.node;
        match variables.get(&definition.node.name.node) {
            // A null may meet an argument that has a default instead.
            Some(ConstValue::Null) => false,
            Some(value) => fits_declared(value, of_type, shape),
            None => of_type.nullable,
        }
    })
}

fn fits_declared(value: &ConstValue, of_type: &Type, shape: &Shape) -> bool {
    match (&of_type.base, value) {
        (_, ConstValue::Null) => of_type.nullable,
        (BaseType::List(inner), ConstValue::List(values)) => {
            values.iter().all(|value| fits_declared(value, inner, shape))
        }
        (BaseType::List(_), _) => false,
        (BaseType::Named(name), value) => fits_named(value, name, shape),
    }
}

fn fits(value: &ConstValue, of_type: &TypeRef, shape: &Shape) -> bool {
    match (of_type, value) {
        (TypeRef::NonNull(_), ConstValue::Null) => false,
        (TypeRef::NonNull(inner), value) => fits(value, inner, shape),
        (_, ConstValue::Null) => true,
        (TypeRef::List(inner), ConstValue::List(values)) => {
            values.iter().all(|value| fits(value, inner, shape))
        }
        (TypeRef::List(_), _) => false,
        (TypeRef::Named(name), value) => fits_named(value, name, shape),
    }
}

/// A value that is not null. Scalars of our own are the library's to judge, and so is a lone item of a list.
fn fits_named(value: &ConstValue, name: &str, shape: &Shape) -> bool {
    match (name, value) {
        ("String" | "ID", ConstValue::String(_)) | ("Boolean", ConstValue::Boolean(_)) => true,
        ("Int", ConstValue::Number(number)) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        (_, ConstValue::Enum(value)) => is_enum_value(value, name, shape),
        (_, ConstValue::String(value)) => is_enum_value(value, name, shape),
        (_, ConstValue::Object(values)) => {
            let Some(of_type) = shape.0.get(name) else { return false };
            let is_missing = |(field, of_type): (&String, &TypeRef)| {
                matches!(of_type, TypeRef::NonNull(_)) && !values.contains_key(field.as_str())
            };
            // Scalars of our own have no fields either.
            !of_type.input_fields.is_empty()
                && !of_type.is_one_of
                && values.iter().all(|(field, value)| {
                    let of_type = of_type.input_fields.get(field.as_str());
                    of_type.is_some_and(|of_type| fits(value, of_type, shape))
                })
                && !of_type.input_fields.iter().any(is_missing)
        }
        _ => false,
    }
}

fn is_enum_value(value: &str, name: &str, shape: &Shape) -> bool {
    shape.0.get(name).is_some_and(|of_type| of_type.enum_values.contains(value))
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use async_graphql::parser::{parse_query, types::DocumentOperations};
    use serde_json::json;

    use super::*;
    use crate::graphql::shape;

    fn named(name: &str) -> TypeRef {
        TypeRef::Named(name.to_owned())
    }

    /// `Note`, an input of each kind of field; `Kind`, an enum; `Ref`, one of two ids; `Moment`, a scalar.
    fn shape() -> Shape {
        let required = |of_type| TypeRef::NonNull(Box::new(of_type));
        let fields = |fields: &[(&str, TypeRef)]| {
            fields.iter().map(|(name, of_type)| ((*name).to_owned(), of_type.clone())).collect()
        };
        let note = fields(&[
            ("text", required(named("String"))),
            ("stars", named("Int")),
            ("kinds", TypeRef::List(Box::new(required(named("Kind"))))),
            ("at", named("Moment")),
            ("inner", named("Note")),
        ]);
        let kinds = HashSet::from(["GOOD", "BAD"].map(str::to_owned));
        let ids = fields(&[("id", named("ID")), ("name", named("String"))]);
        Shape(HashMap::from([
            ("Note".to_owned(), shape::Type { input_fields: note, ..shape::Type::default() }),
            ("Kind".to_owned(), shape::Type { enum_values: kinds, ..shape::Type::default() }),
            (
                "Ref".to_owned(),
                shape::Type { input_fields: ids, is_one_of: true, ..shape::Type::default() },
            ),
            ("Moment".to_owned(), shape::Type::default()),
        ]))
    }

    #[test]
    fn a_variable_within_a_value_is_not_whole() {
        for (document, is_whole) in [
            ("{ a }", true),
            ("query($x: Int) { a(x: $x, y: [1, { z: 2 }]) }", true),
            ("query($x: Boolean!) { a @include(if: $x) { b(x: $x) } }", true),
            ("query($x: Int) { ...F } fragment F on Q { a(x: $x) }", true),
            ("query($x: Int) { a(x: [$x]) }", false),
            ("query($x: Int) { a(x: { y: $x }) }", false),
            ("query($x: Int) { a { b(x: [{ y: [$x] }]) } }", false),
            ("query($x: Int) { ... { a(x: [$x]) } }", false),
            ("query($x: Int) { ...F } fragment F on Q { a(x: [$x]) }", false),
            ("query A { a } query B($x: Int) { a(x: [$x]) }", false),
            ("query A { a } query B($x: Int) { a(x: $x) }", true),
            ("query A { ...F } query B { a } fragment F on Q { a }", false),
            ("query($x: Boolean!) { a @odd(ifs: [$x]) }", false),
        ] {
            let parsed = parse_query(document).expect("a document");
            assert_eq!(takes_variables_whole(&parsed), is_whole, "{document}");
        }
    }

    #[test]
    fn only_what_is_beyond_doubt_fits() {
        let note = |name: &str, value| {
            let mut note = json!({ "text": "Hello" });
            note[name] = value;
            note
        };
        for (of_type, value, is_fit) in [
            ("String", json!("a"), true),
            ("String", json!(1), false),
            ("String!", json!("a"), true),
            ("ID!", json!("1"), true),
            ("ID!", json!(1), false),
            ("Boolean", json!(true), true),
            ("Boolean", json!("true"), false),
            ("Int", json!(-2_147_483_648_i64), true),
            ("Int", json!(2_147_483_648_i64), false),
            ("Int", json!(1.0), false),
            ("Kind", json!("GOOD"), true),
            ("Kind", json!("good"), false),
            ("[Kind!]", json!(["GOOD", "BAD"]), true),
            ("[Kind!]", json!([null]), false),
            ("[Kind]", json!([null]), true),
            ("[Kind!]", json!("GOOD"), false),
            ("Moment", json!("2026-01-01T00:00:00Z"), false),
            ("Moment", json!({}), false),
            ("Ref!", json!({ "id": "1" }), false),
            ("Other", json!({}), false),
            ("Note!", json!({ "text": "Hello" }), true),
            ("Note!", json!({}), false),
            ("Note!", note("text", json!(null)), false),
            ("Note!", note("stars", json!(5)), true),
            ("Note!", note("stars", json!(null)), true),
            ("Note!", note("stars", json!("5")), false),
            ("Note!", note("kinds", json!(["BAD"])), true),
            ("Note!", note("kinds", json!("BAD")), false),
            ("Note!", note("at", json!({})), false),
            ("Note!", note("inner", json!({ "text": "Within" })), true),
            ("Note!", note("inner", json!({ "stars": 5 })), false),
            ("Note!", note("nothing", json!(1)), false),
            ("Note!", json!([{ "text": "Hello" }]), false),
        ] {
            assert_eq!(fits_query(of_type, Some(&value)), is_fit, "{of_type} {value}");
        }
        assert!(fits_query("String", None));
        assert!(!fits_query("String!", None));
        assert!(!fits_query("String", Some(&json!(null))), "it may meet a default");
    }

    fn fits_query(of_type: &str, value: Option<&serde_json::Value>) -> bool {
        let document = parse_query(format!("query($x: {of_type}) {{ a(x: $x) }}"));
        let DocumentOperations::Single(operation) = document.expect("a document").operations else {
            panic!("there is one operation, without a name");
        };
        let variables = value.map_or_else(|| json!({}), |value| json!({ "x": value }));
        fit(&operation, &Variables::from_json(variables), &shape())
    }
}
