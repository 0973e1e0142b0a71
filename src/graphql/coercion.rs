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
/// all of what may stand there.
pub fn takes_variables_whole(document: &ExecutableDocument) -> bool {
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
            !of_type.is_one_of
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
