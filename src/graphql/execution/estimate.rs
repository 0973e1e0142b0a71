//! Estimates the size of the response to a document, and the memory for its variables. The document
//! is walked only once, and each fragment is visited only once.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value as ConstValue, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
    },
};
use async_graphql_value::Value;

use super::{
    introspection,
    limits::invalid,
    schema_index::{self, SchemaIndex, root_type},
};
use crate::domain::page::PAGE_DEFAULT;

/// Estimated length of a list that is not a page.
pub const LIST_LENGTH: u64 = 10;
/// Estimated number of bytes of memory for a value, without its text.
const VALUE_BYTES: usize = 64;

/// The estimated size of a selection set.
#[derive(Clone, Copy, Default)]
pub struct Estimate {
    /// Number of fields, with each fragment counted wherever it is spread.
    pub expanded_fields: usize,
    /// Number of fields at the top level of the selection set, including the fields of fragments.
    pub root_fields: usize,
    pub depth: usize,
    pub introspection_depth: usize,
    /// Number of fields in the response, without the fields of introspections.
    pub complexity: u64,
    /// Number of fields and fragments in introspections, each counted as often as it is executed.
    pub introspection: u64,
    /// Number of `__schema` fields.
    pub schema_fields: usize,
    /// Number of bytes of variables, each counted wherever an argument uses it.
    pub input_bytes: u64,
}

/// Estimates the operations and fragments of one document.
pub struct Estimator<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    variable_bytes: HashMap<&'d Name, u64>,
    index: &'d SchemaIndex,
    introspections: introspection::Counter<'d>,
    /// The estimates of the fragments. The value is `None` while a fragment is being estimated.
    /// This makes cycles detectable.
    fragments: HashMap<&'d Name, Option<Estimate>>,
    aliases: usize,
}

impl<'d> Estimator<'d> {
    pub fn new(
        document: &'d ExecutableDocument,
        variables: &'d Variables,
        index: &'d SchemaIndex,
    ) -> Self {
        let variable_bytes = variables.iter().map(|(name, value)| (name, bytes_of(value)));
        Self {
            document,
            variables,
            variable_bytes: variable_bytes.collect(),
            index,
            introspections: introspection::Counter::new(document, variables, index),
            fragments: HashMap::new(),
            aliases: 0,
        }
    }

    pub fn operation(
        &mut self,
        operation: &'d OperationDefinition,
    ) -> Result<Estimate, ServerError> {
        let set = self.selection_set(root_type(operation.ty), &operation.selection_set)?;
        let definitions = operation.variable_definitions.iter();
        let of_variables = definitions.flat_map(|definition| &definition.node.directives);
        Ok(self.with_directives(set, operation.directives.iter().chain(of_variables)))
    }

    /// Returns the estimate of a fragment. Fails if the fragment is not defined or contains itself.
    pub fn fragment(&mut self, name: &'d Name, pos: Pos) -> Result<Estimate, ServerError> {
        match self.fragments.get(name) {
            Some(Some(estimate)) => return Ok(*estimate),
            Some(None) => {
                let message = format!("The fragment {:?} contains itself.", name.as_str());
                return Err(invalid(message, pos));
            }
            None => {}
        }
        // Validation also reports unknown fragments, but only after it has walked the rest of the
        // document.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Err(invalid(format!("The fragment {:?} is not defined.", name.as_str()), pos));
        };
        self.fragments.insert(name, None);
        let on = fragment.node.type_condition.node.on.node.as_str();
        let estimate = self.selection_set(on, &fragment.node.selection_set)?;
        let estimate = self.with_directives(estimate, &fragment.node.directives);
        self.fragments.insert(name, Some(estimate));
        Ok(estimate)
    }

    /// Returns the number of aliases in the operations and fragments that have been estimated.
    pub fn aliases(&self) -> usize {
        self.aliases
    }

    fn selection_set(
        &mut self,
        on: &str,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<Estimate, ServerError> {
        let mut sum = Estimate::default();
        for selection in &set.node.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(on, &field.node)?,
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    let on = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    let inner = self.selection_set(on, &inline.node.selection_set)?;
                    self.with_directives(inner, &inline.node.directives)
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name;
                    let inner = self.fragment(&name.node, name.pos)?;
                    self.with_directives(inner, &spread.node.directives)
                }
            };
            sum.expanded_fields = sum.expanded_fields.saturating_add(part.expanded_fields);
            sum.root_fields = sum.root_fields.saturating_add(part.root_fields);
            sum.complexity = sum.complexity.saturating_add(part.complexity);
            sum.introspection = sum.introspection.saturating_add(part.introspection);
            sum.schema_fields = sum.schema_fields.saturating_add(part.schema_fields);
            sum.input_bytes = sum.input_bytes.saturating_add(part.input_bytes);
            sum.depth = sum.depth.max(part.depth);
            sum.introspection_depth = sum.introspection_depth.max(part.introspection_depth);
        }
        Ok(sum)
    }

    fn field(&mut self, on: &str, field: &'d Field) -> Result<Estimate, ServerError> {
        if field.alias.is_some() {
            self.aliases += 1;
        }
        let index = self.index;
        let name = field.name.node.as_str();
        // A field that is not in the schema is ignored here, because validation reports it.
        let (inner_type, count) = index.field(on, name).map_or(("", 1), |definition| {
            (definition.of_type.name(), self.list_length(on, field, definition))
        });
        let inner = self.selection_set(inner_type, &field.selection_set)?;
        let arguments = field.arguments.iter().map(|(_, value)| self.input_bytes(&value.node));
        let estimate = Estimate {
            expanded_fields: inner.expanded_fields.saturating_add(1),
            root_fields: 1,
            depth: inner.depth + 1,
            complexity: inner.complexity.saturating_mul(count).saturating_add(1),
            input_bytes: arguments
                .fold(inner.input_bytes.saturating_mul(count), u64::saturating_add),
            ..inner
        };
        let estimate = self.with_directives(estimate, &field.directives);
        Ok(match name {
            "__schema" | "__type" => Estimate {
                depth: 0,
                introspection_depth: estimate.depth,
                complexity: 1,
                introspection: self.introspections.count(field)?,
                schema_fields: usize::from(name == "__schema"),
                ..estimate
            },
            _ => estimate,
        })
    }

    /// Adds the variables that the arguments of directives use.
    fn with_directives<'a>(
        &self,
        estimate: Estimate,
        directives: impl IntoIterator<Item = &'a Positioned<Directive>>,
    ) -> Estimate {
        let arguments =
            directives.into_iter().flat_map(|directive| directive.node.arguments.iter());
        let bytes = arguments.map(|(_, value)| self.input_bytes(&value.node));
        let input_bytes = bytes.fold(estimate.input_bytes, u64::saturating_add);
        Estimate { input_bytes, ..estimate }
    }

    /// Returns the number of bytes of the variables in a value.
    fn input_bytes(&self, value: &Value) -> u64 {
        match value {
            Value::Variable(name) => self.variable_bytes.get(name).copied().unwrap_or_default(),
            Value::List(values) => {
                values.iter().map(|value| self.input_bytes(value)).fold(0, u64::saturating_add)
            }
            Value::Object(members) => {
                members.values().map(|value| self.input_bytes(value)).fold(0, u64::saturating_add)
            }
            _ => 0,
        }
    }

    /// Returns the expected number of values that a field returns. The number is 1 if the field is
    /// not a list.
    fn list_length(&self, on: &str, field: &Field, definition: &schema_index::Field) -> u64 {
        let of_type = &definition.of_type;
        if of_type.name().ends_with("Connection") || definition.args.contains_key("first") {
            return self
                .largest_argument(field, &["first", "last"], |value| match value {
                    // The resolver refuses page sizes that are not valid.
                    ConstValue::Number(size) => size.as_u64(),
                    _ => None,
                })
                .unwrap_or(PAGE_DEFAULT)
                // A page without rows can still have a `totalCount`.
                .max(1);
        }
        if !of_type.is_list() || on.ends_with("Connection") {
            return 1;
        }
        // A mutation with a list of inputs returns one payload for each input.
        self.largest_argument(field, &["input"], |value| match value {
            ConstValue::List(inputs) => u64::try_from(inputs.len()).ok(),
            _ => None,
        })
        .unwrap_or(LIST_LENGTH)
    }

    /// Returns the largest number that `read` finds in the named arguments or in the variables that
    /// they use.
    fn largest_argument(
        &self,
        field: &Field,
        names: &[&str],
        read: impl Fn(&ConstValue) -> Option<u64>,
    ) -> Option<u64> {
        let named = field.arguments.iter().filter(|(name, _)| names.contains(&name.node.as_str()));
        let numbers = named.filter_map(|(_, value)| match &value.node {
            Value::Variable(name) => self.variables.get(name).and_then(&read),
            // The length of a list is known even if the items of the list are variables.
            Value::List(inputs) => read(&ConstValue::List(vec![ConstValue::Null; inputs.len()])),
            value => value.clone().into_const().and_then(|value| read(&value)),
        });
        numbers.max()
    }
}

/// Returns the estimated number of bytes of memory for a value.
fn bytes_of(value: &ConstValue) -> u64 {
    fn bytes(value: &ConstValue) -> usize {
        let content = match value {
            ConstValue::String(text) => text.len(),
            ConstValue::List(values) => values.iter().map(bytes).sum(),
            ConstValue::Object(members) => {
                members.iter().map(|(name, value)| VALUE_BYTES + name.len() + bytes(value)).sum()
            }
            _ => 0,
        };
        VALUE_BYTES + content
    }
    u64::try_from(bytes(value)).unwrap_or(u64::MAX)
}
