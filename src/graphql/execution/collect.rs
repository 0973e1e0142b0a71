//! Collects the fields of an operation (`CollectFields`, section 6.3.2 of the specification).
//! Expands fragments, evaluates `@skip` and `@include`, and merges fields with the same response
//! key. Leaves out arguments and input fields whose variable has no value (sections 3.10 and
//! 6.4.1).
//!
//! async-graphql would execute each occurrence of a field separately. It would also treat a
//! variable without a value as null. In an update, this would clear a stored value instead of
//! keeping it.
//!
//! The schema has no interfaces or unions, so the type condition of a fragment is always the type
//! on which the fragment is spread.

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
    limits::invalid,
    schema_index::{SchemaIndex, TypeRef, root_type},
};

/// The response key of the placeholder that is put into an empty selection set. async-graphql would
/// treat a field with an empty selection set as a scalar. A document cannot contain this key.
pub const PLACEHOLDER_KEY: &str = "";

/// Collects the fields of a valid operation. `variables` must include the default values. Fails if
/// the condition of `@skip` or `@include` is null.
pub fn collect(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Variables,
    index: &SchemaIndex,
) -> Result<OperationDefinition, ServerError> {
    let declared = operation.variable_definitions.iter();
    let names = declared.map(|definition| &definition.node.name.node);
    let absent = names.filter(|name| !variables.contains_key(*name)).collect();
    let null_condition = Cell::new(None);
    let collector = Collector { document, variables, absent, index, null_condition };
    let set = &operation.selection_set;
    let collected = collector.selection_set(root_type(operation.ty), [&set.node], set.pos);
    if let Some(pos) = collector.null_condition.get() {
        let message = "The argument \"if\" of @skip or @include is null (expected true or false).";
        return Err(invalid(message, pos));
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
    /// The declared variables that have no value.
    absent: HashSet<&'d Name>,
    index: &'d SchemaIndex,
    /// The position of a condition that is null. Validation allows a null condition for a nullable
    /// variable with a default.
    null_condition: Cell<Option<Pos>>,
}

impl<'d> Collector<'d> {
    /// Merges the selection sets of all occurrences of a field. All selection sets are on the same
    /// type.
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
            return SelectionSet { items: vec![selected(placeholder(pos), pos)] };
        }
        let items = fields.into_values().map(|occurrences| {
            let first = occurrences[0];
            selected(self.field(on, &occurrences), first.pos)
        });
        SelectionSet { items: items.collect() }
    }

    /// Adds the fields of a selection set to the occurrences, which are grouped by response key.
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
        // The index does not contain `__typename`. This field has neither arguments nor fields.
        let definition = self.index.field(on, &first.name.node);
        let arguments = first.arguments.iter().filter_map(|(name, value)| {
            let argument = definition?.args.get(name.node.as_str())?;
            let present = self.without_absent_variables(&value.node, &argument.of_type)?;
            Some((name.clone(), Positioned::new(present, value.pos)))
        });
        let set = &first.selection_set;
        let selection_set = if set.node.items.is_empty() {
            SelectionSet::default()
        } else {
            let sets = occurrences.iter().map(|field| &field.node.selection_set.node);
            let of_type = definition.map_or("", |definition| definition.of_type.name());
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

    /// Returns a value without the input fields whose variable has no value. Returns `None` if the
    /// value itself is a variable without a value. In a list, a variable without a value becomes
    /// null, so that the other items keep their positions.
    fn without_absent_variables(&self, value: &Value, of_type: &TypeRef) -> Option<Value> {
        Some(match value {
            Value::Variable(name) if self.absent.contains(name) => return None,
            Value::List(items) => {
                let of_item = match of_type.nullable() {
                    TypeRef::List(inner) => inner,
                    // The list is inside a scalar such as `JSONObject`.
                    scalar => scalar,
                };
                let items = items.iter().map(|item| self.without_absent_variables(item, of_item));
                Value::List(items.map(Option::unwrap_or_default).collect())
            }
            Value::Object(fields) => {
                let input_type = self.index.0.get(of_type.name());
                let present = fields.iter().filter_map(|(name, value)| {
                    let field = input_type.and_then(|known| known.input_fields.get(name.as_str()));
                    let of_field = field.map_or(of_type, |field| &field.of_type);
                    Some((name.clone(), self.without_absent_variables(value, of_field)?))
                });
                Value::Object(present.collect())
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
            self.null_condition.set(Some(condition.pos));
        }
        value.unwrap_or_default()
    }
}

fn selected(field: Field, pos: Pos) -> Positioned<Selection> {
    Positioned::new(Selection::Field(Positioned::new(field, pos)), pos)
}

/// Returns the placeholder for a selection set in which no field is left.
fn placeholder(pos: Pos) -> Field {
    Field {
        alias: Some(Positioned::new(Name::new(PLACEHOLDER_KEY), pos)),
        name: Positioned::new(Name::new("__typename"), pos),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    }
}

#[cfg(test)]
mod tests;
