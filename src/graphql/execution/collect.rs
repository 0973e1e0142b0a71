//! The operation that is executed: the document's with its fragments spread, with `@skip` and `@include` decided, with
//! each response key once (`CollectFields`, section 6.3.2 of the specification), and without what is given a variable
//! that has no value (sections 3.10 and 6.4.1), so that a default applies and a patch keeps what is stored.
//!
//! The library would execute each occurrence of a field by itself, and takes null for a variable without a value, which
//! clears what is stored. There are no interfaces and unions, so every fragment is about the type that it is spread on.

use std::{cell::Cell, collections::HashSet};

use async_graphql::{
    Name, Pos, Positioned, ServerError, Variables,
    indexmap::IndexMap,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Value};

use super::{
    cost::invalid,
    role_visibility::root_of,
    schema_index::{SchemaIndex, TypeRef},
};

/// The response key of a field that stands where no other is left, for the library takes a field without fields for a
/// scalar. No document has such a key.
pub const NOTHING: &str = "";

/// Collects the fields of a valid operation; fails if a condition is null. `variables`
/// has the defaults of those that were not given.
pub fn collect(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Variables,
    shape: &SchemaIndex,
) -> Result<OperationDefinition, ServerError> {
    let declared = operation.variable_definitions.iter();
    let names = declared.map(|definition| &definition.node.name.node);
    let absent = names.filter(|name| !variables.contains_key(*name)).collect();
    let undecided = Cell::new(None);
    let collector = Collector { document, variables, absent, shape, undecided };
    let set = &operation.selection_set;
    let collected = collector.selection_set(root_of(operation.ty), [&set.node], set.pos);
    if let Some(pos) = collector.undecided.get() {
        let message = "The argument if of @skip or @include is null (expected true or false).";
        return Err(invalid(message.to_owned(), pos));
    }
    Ok(OperationDefinition {
        ty: operation.ty,
        variable_definitions: operation.variable_definitions.clone(),
        directives: Vec::new(),
        selection_set: Positioned::new(collected, set.pos),
    })
}

struct Collector<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    /// The variables that the operation declares and that have no value.
    absent: HashSet<&'d Name>,
    shape: &'d SchemaIndex,
    /// The position of a condition that is null: a variable with a default may be.
    undecided: Cell<Option<Pos>>,
}

impl<'d> Collector<'d> {
    /// The fields of selection sets on one type, of the same field where it occurs several times.
    fn selection_set(
        &self,
        on: &str,
        sets: impl IntoIterator<Item = &'d SelectionSet>,
        pos: Pos,
    ) -> SelectionSet {
        let mut fields = IndexMap::new();
        for set in sets {
            self.fields(set, &mut fields);
        }
        if fields.is_empty() {
            return SelectionSet { items: vec![selected(nothing(pos), pos)] };
        }
        let items = fields.into_values().map(|occurrences| {
            let first = occurrences[0];
            selected(self.field(on, &occurrences), first.pos)
        });
        SelectionSet { items: items.collect() }
    }

    /// The occurrences of fields by their response keys.
    fn fields(
        &self,
        set: &'d SelectionSet,
        fields: &mut IndexMap<&'d str, Vec<&'d Positioned<Field>>>,
    ) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    if self.is_included(&field.node.directives) {
                        let key = field.node.response_key().node.as_str();
                        fields.entry(key).or_default().push(field);
                    }
                }
                Selection::InlineFragment(inline) => {
                    if self.is_included(&inline.node.directives) {
                        self.fields(&inline.node.selection_set.node, fields);
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                    if let Some(fragment) = fragment
                        && self.is_included(&spread.node.directives)
                    {
                        self.fields(&fragment.node.selection_set.node, fields);
                    }
                }
            }
        }
    }

    fn field(&self, on: &str, occurrences: &[&'d Positioned<Field>]) -> Field {
        let first = &occurrences[0].node;
        // `__typename` has neither arguments nor fields.
        let known = self.shape.field(on, &first.name.node);
        let arguments = first.arguments.iter().filter_map(|(name, value)| {
            let known = known?.args.get(name.node.as_str())?;
            let given = self.given(&value.node, &known.of_type)?;
            Some((name.clone(), Positioned::new(given, value.pos)))
        });
        let set = &first.selection_set;
        let selection_set = if set.node.items.is_empty() {
            SelectionSet::default()
        } else {
            let sets = occurrences.iter().map(|field| &field.node.selection_set.node);
            let of_type = known.map_or("", |known| known.of_type.name());
            self.selection_set(of_type, sets, set.pos)
        };
        Field {
            alias: first.alias.clone(),
            name: first.name.clone(),
            arguments: arguments.collect(),
            directives: Vec::new(),
            selection_set: Positioned::new(selection_set, set.pos),
        }
    }

    /// A value without what is given a variable that has none; `None` if that is all of it. An item of a list is null
    /// then, for the others keep their places.
    fn given(&self, value: &Value, of_type: &TypeRef) -> Option<Value> {
        Some(match value {
            Value::Variable(name) if self.absent.contains(name) => return None,
            Value::List(items) => {
                let of_item = match of_type.nullable() {
                    TypeRef::List(inner) => inner,
                    // Within a scalar, such as `JSONObject`.
                    scalar => scalar,
                };
                let items =
                    items.iter().map(|item| self.given(item, of_item).unwrap_or(Value::Null));
                Value::List(items.collect())
            }
            Value::Object(fields) => {
                let known = self.shape.0.get(of_type.name()).map(|known| &known.input_fields);
                let given = fields.iter().filter_map(|(name, value)| {
                    let known = known.and_then(|known| known.get(name.as_str()));
                    let of_field = known.map_or(of_type, |known| &known.of_type);
                    Some((name.clone(), self.given(value, of_field)?))
                });
                Value::Object(given.collect())
            }
            value => value.clone(),
        })
    }

    fn is_included(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| match directive.node.name.node.as_str() {
            "skip" => !self.is_true(&directive.node),
            "include" => self.is_true(&directive.node),
            _ => true,
        })
    }

    fn is_true(&self, directive: &Directive) -> bool {
        let Some(condition) = directive.get_argument("if") else { return false };
        let value = match &condition.node {
            Value::Boolean(value) => Some(*value),
            Value::Variable(name) => match self.variables.get(name) {
                Some(ConstValue::Boolean(value)) => Some(*value),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            self.undecided.set(Some(condition.pos));
        }
        value.unwrap_or_default()
    }
}

fn selected(field: Field, pos: Pos) -> Positioned<Selection> {
    Positioned::new(Selection::Field(Positioned::new(field, pos)), pos)
}

/// A field that costs nothing.
fn nothing(pos: Pos) -> Field {
    Field {
        alias: Some(Positioned::new(Name::new(NOTHING), pos)),
        name: Positioned::new(Name::new("__typename"), pos),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    }
}

#[cfg(test)]
mod tests;
