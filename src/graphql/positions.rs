//! Variables stand where their types allow it (section 5.8.5 of the specification). The library has this rule, but
//! 7.2.1 shows it no value, so it refuses nothing: a variable that calls itself a string would bring an object in.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value as ConstValue,
    parser::types::{
        BaseType, Directive, ExecutableDocument, Selection, SelectionSet, Type, VariableDefinition,
    },
};
use async_graphql_value::Value;

use super::{
    errors::{Code, error},
    hidden::root_of,
    shape::{Shape, TypeRef},
};

/// Refuses a variable whose type does not fit an argument or an input field that it is given to. The document's
/// size was checked, so no fragment spreads itself.
pub fn check_positions(document: &ExecutableDocument, shape: &Shape) -> Result<(), ServerError> {
    for (_, operation) in document.operations.iter() {
        let definitions = operation.node.variable_definitions.iter();
        let definitions = definitions.map(|definition| (&definition.node.name.node, definition));
        let mut positions = Positions {
            document,
            shape,
            definitions: definitions.collect(),
            spread: HashSet::new(),
        };
        positions.directives(&operation.node.directives)?;
        positions.selection_set(root_of(operation.node.ty), &operation.node.selection_set)?;
    }
    Ok(())
}

struct Positions<'d> {
    document: &'d ExecutableDocument,
    shape: &'d Shape,
    definitions: HashMap<&'d Name, &'d Positioned<VariableDefinition>>,
    /// Fragments that were looked at for this operation.
    spread: HashSet<&'d Name>,
}

impl<'d> Positions<'d> {
    fn selection_set(
        &mut self,
        on: &str,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<(), ServerError> {
        for selection in &set.node.items {
            match &selection.node {
                Selection::Field(field) => {
                    self.directives(&field.node.directives)?;
                    // What there is not is validation's to name.
                    let shape = self.shape;
                    let Some(known) = shape.field(on, &field.node.name.node) else { continue };
                    for (name, value) in &field.node.arguments {
                        if let Some(of_type) = known.args.get(name.node.as_str()) {
                            let has_default = known.defaults.contains(name.node.as_str());
                            self.value(&value.node, of_type, has_default)?;
                        }
                    }
                    self.selection_set(known.of_type.name(), &field.node.selection_set)?;
                }
                Selection::InlineFragment(inline) => {
                    self.directives(&inline.node.directives)?;
                    let condition = inline.node.type_condition.as_ref();
                    let on = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    self.selection_set(on, &inline.node.selection_set)?;
                }
                Selection::FragmentSpread(spread) => {
                    self.directives(&spread.node.directives)?;
                    let found =
                        self.document.fragments.get_key_value(&spread.node.fragment_name.node);
                    let Some((name, fragment)) = found else { continue };
                    if self.spread.insert(name) {
                        let on = fragment.node.type_condition.node.on.node.as_str();
                        self.selection_set(on, &fragment.node.selection_set)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The schema has `@skip` and `@include` alone, each of one `if`. Lists and objects there are refused here,
    /// because validation would copy every variable inside.
    fn directives(&self, directives: &[Positioned<Directive>]) -> Result<(), ServerError> {
        let is_boolean = TypeRef::NonNull(Box::new(TypeRef::Named("Boolean".to_owned())));
        let mut arguments = directives.iter().flat_map(|directive| &directive.node.arguments);
        arguments.try_for_each(|(name, value)| match &value.node {
            Value::List(_) | Value::Object(_) => {
                let message = format!(
                    "The argument {:?} of a directive must be a Boolean.",
                    name.node.as_str()
                );
                Err(invalid(message, value.pos))
            }
            value => self.value(value, &is_boolean, false),
        })
    }

    fn value(
        &self,
        value: &Value,
        of_type: &TypeRef,
        has_default: bool,
    ) -> Result<(), ServerError> {
        match value {
            Value::Variable(name) => self.variable(name, of_type, has_default),
            Value::List(values) => {
                let TypeRef::List(inner) = of_type.nullable() else { return Ok(()) };
                values.iter().try_for_each(|value| self.value(value, inner, false))
            }
            Value::Object(values) => {
                let Some(known) = self.shape.0.get(of_type.name()) else { return Ok(()) };
                values.iter().try_for_each(|(name, value)| {
                    let Some(of_type) = known.input_fields.get(name.as_str()) else {
                        return Ok(());
                    };
                    self.value(value, of_type, known.defaults.contains(name.as_str()))
                })
            }
            _ => Ok(()),
        }
    }

    fn variable(&self, name: &Name, at: &TypeRef, has_default: bool) -> Result<(), ServerError> {
        // One that is not declared is validation's to name.
        let Some(definition) = self.definitions.get(name) else { return Ok(()) };
        let of_type = &definition.node.var_type.node;
        let default = definition.node.default_value.as_ref().map(|default| &default.node);
        let is_never_null = has_default || default.is_some_and(|value| *value != ConstValue::Null);
        let at_type = if of_type.nullable && is_never_null { at.nullable() } else { at };
        if fits(of_type, at_type) {
            return Ok(());
        }
        let message = format!(
            "The variable ${name} is of type {of_type}, and stands where {at} is expected."
        );
        Err(invalid(message, definition.pos))
    }
}

fn invalid(message: String, pos: Pos) -> ServerError {
    let mut refused = error(Code::GraphqlValidationFailed, message);
    refused.locations = vec![pos];
    refused
}

/// Whether all values of one type are of the other (`AreTypesCompatible`).
fn fits(of_type: &Type, at: &TypeRef) -> bool {
    match (&of_type.base, at) {
        (_, TypeRef::NonNull(_)) if of_type.nullable => false,
        (BaseType::Named(name), at) => *at.nullable() == TypeRef::Named(name.to_string()),
        (BaseType::List(inner), at) => match at.nullable() {
            TypeRef::List(at) => fits(inner, at),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;
    use crate::graphql::shape;

    /// `q(a: Int, b: Int!, c: Int! = 1, l: [Kind!], n: Note): Query`, and `Note`, which has the same of them.
    fn shape() -> Shape {
        let named = |name: &str| TypeRef::Named(name.to_owned());
        let required = |of_type| TypeRef::NonNull(Box::new(of_type));
        let args: HashMap<String, TypeRef> = [
            ("a", named("Int")),
            ("b", required(named("Int"))),
            ("c", required(named("Int"))),
            ("l", TypeRef::List(Box::new(required(named("Kind"))))),
            ("n", named("Note")),
        ]
        .map(|(name, of_type)| (name.to_owned(), of_type))
        .into();
        let defaults = HashSet::from(["c".to_owned()]);
        let note = shape::Type {
            input_fields: args.clone(),
            defaults: defaults.clone(),
            ..shape::Type::default()
        };
        let q = shape::Field { of_type: named("Query"), args, defaults };
        let query = shape::Type { fields: [("q".to_owned(), q)].into(), ..shape::Type::default() };
        Shape([("Query".to_owned(), query), ("Note".to_owned(), note)].into())
    }

    #[test]
    fn a_variable_stands_where_its_type_fits() {
        for (document, is_allowed) in [
            ("query($x: Int) { q(a: $x) }", true),
            ("query($x: Int!) { q(a: $x, b: $x, c: $x) }", true),
            ("query($x: Int) { q(b: $x) }", false),
            ("query($x: Int = 1) { q(b: $x) }", true),
            ("query($x: Int = null) { q(b: $x) }", false),
            ("query($x: Int) { q(c: $x) }", true),
            ("query($x: String) { q(a: $x) }", false),
            ("query($x: String = \"1\") { q(c: $x) }", false),
            ("query($x: JSONObject) { q(n: $x) }", false),
            ("query($x: Note!) { q(n: $x) }", true),
            ("query($x: [Int]) { q(a: $x) }", false),
            ("query($x: Kind!) { q(l: $x) }", false),
            ("query($x: Kind!) { q(l: [$x]) }", true),
            ("query($x: Kind) { q(l: [$x]) }", false),
            ("query($x: [Kind!]!) { q(l: $x) }", true),
            ("query($x: [Kind]) { q(l: $x) }", false),
            ("query($x: [[Kind!]]) { q(l: $x) }", false),
            ("query($x: Int) { q(n: { a: $x, c: $x }) }", true),
            ("query($x: Int) { q(n: { b: $x }) }", false),
            ("query($x: Int) { q(n: { n: { l: [$x] } }) }", false),
            ("query($x: Boolean!) { q @skip(if: $x) { q @include(if: $x) } }", true),
            ("query($x: Boolean) { q @skip(if: $x) }", false),
            ("query($x: Int!) { ... @include(if: $x) { q } }", false),
            ("query($x: Boolean!) { q @include(if: [$x, $x]) }", false),
            ("query($x: Boolean!) { ... @include(if: { a: $x }) { q } }", false),
            ("query @skip(if: []) { q }", false),
            ("query($x: String) { q { ...F } } fragment F on Query { q(a: $x) }", false),
            ("query($x: Int) { q { ...F } } fragment F on Query { q(a: $x) }", true),
            ("query A { q } query B($x: String) { ... on Query { q(a: $x) } }", false),
            (
                "query A($x: Int) { ...F } query B($x: ID) { ...F } fragment F on Query { q(a: $x) }",
                false,
            ),
            ("query($x: Int) { other(a: $x) q(z: $x, a: $y) }", true),
        ] {
            let parsed = parse_query(document).expect("a document");
            let checked = check_positions(&parsed, &shape());
            assert_eq!(checked.is_ok(), is_allowed, "{document}: {checked:?}");
        }
    }
}
