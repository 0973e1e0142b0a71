//! What is refused for its cost or its form before the library looks at a document.
//!
//! Validation walks a fragment once for every spread of it, so a document of a kilobyte can keep a
//! core busy for minutes. Its expanded size is computed first, in linear time.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned, ServerError,
    parser::types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};

use super::errors::{Code, error, set_code};

/// Characters of a query at most.
pub const QUERY_CHARS_MAX: usize = 15_000;
/// Levels of fields at most.
pub const DEPTH_MAX: usize = 12;
/// Levels of fields inside `__schema` and `__type`, which GraphiQL and code generators need.
pub const INTROSPECTION_DEPTH_MAX: usize = 15;
/// Fields at the root of a mutation at most.
pub const ROOT_MUTATION_FIELDS_MAX: usize = 10;
/// Aliases in a document at most.
pub const ALIASES_MAX: usize = 30;
/// Fields of a document at most, each fragment counted where it is spread.
pub const EXPANDED_SIZE_MAX: usize = 10_000;

/// Checks a document's cost.
pub fn check_cost(document: &ExecutableDocument) -> Result<(), ServerError> {
    let mut measured = Measured { document, fragments: HashMap::new(), aliases: 0 };
    let mut size = 0_usize;
    for (_, operation) in document.operations.iter() {
        let measure = measured.selection_set(&operation.node.selection_set)?;
        size = size.saturating_add(measure.size);
        let is_mutation = operation.node.ty == OperationType::Mutation;
        if is_mutation && measure.width > ROOT_MUTATION_FIELDS_MAX {
            return Err(too_large(format!(
                "A mutation has at most {ROOT_MUTATION_FIELDS_MAX} fields at its root."
            )));
        }
        if measure.depth > DEPTH_MAX {
            return Err(too_large(format!("A query is at most {DEPTH_MAX} levels deep.")));
        }
        if measure.introspection_depth > INTROSPECTION_DEPTH_MAX {
            return Err(too_large(format!(
                "Introspection is at most {INTROSPECTION_DEPTH_MAX} levels deep."
            )));
        }
    }
    // Validation walks every fragment from its definition too, spread or not.
    for fragment in document.fragments.values() {
        let measure = measured.selection_set(&fragment.node.selection_set)?;
        size = size.saturating_add(measure.size);
    }
    if size > EXPANDED_SIZE_MAX {
        return Err(too_large(format!("A query has at most {EXPANDED_SIZE_MAX} fields in all.")));
    }
    if measured.aliases > ALIASES_MAX {
        return Err(too_large(format!("A query has at most {ALIASES_MAX} aliases.")));
    }
    Ok(())
}

/// Refuses a response key that stands twice at the root of a mutation. Such fields are one field
/// (section 6.3.2, `CollectFields`), but the library would execute each: two charges for one answer.
pub fn check_mutation_keys(document: &ExecutableDocument) -> Result<(), ServerError> {
    for (_, operation) in document.operations.iter() {
        if operation.node.ty == OperationType::Mutation {
            collect_keys(document, &operation.node.selection_set, &mut HashSet::new())?;
        }
    }
    Ok(())
}

fn collect_keys<'d>(
    document: &'d ExecutableDocument,
    set: &'d Positioned<SelectionSet>,
    keys: &mut HashSet<&'d str>,
) -> Result<(), ServerError> {
    for selection in &set.node.items {
        match &selection.node {
            Selection::Field(field) => {
                let key = field.node.response_key().node.as_str();
                if !keys.insert(key) {
                    let message = format!("{key:?} stands twice; give one of them an alias.");
                    return Err(invalid(message, field.pos));
                }
            }
            Selection::InlineFragment(inline) => {
                collect_keys(document, &inline.node.selection_set, keys)?;
            }
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node);
                if let Some(fragment) = fragment {
                    collect_keys(document, &fragment.node.selection_set, keys)?;
                }
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Measure {
    /// Fields, each fragment counted where it is spread.
    size: usize,
    /// Fields at the top of the set, those of its fragments among them.
    width: usize,
    depth: usize,
    introspection_depth: usize,
}

struct Measured<'d> {
    document: &'d ExecutableDocument,
    /// `None` while a fragment is being measured: meeting it again is a cycle.
    fragments: HashMap<&'d Name, Option<Measure>>,
    aliases: usize,
}

impl<'d> Measured<'d> {
    fn selection_set(&mut self, set: &'d Positioned<SelectionSet>) -> Result<Measure, ServerError> {
        let mut sum = Measure::default();
        for selection in &set.node.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node)?,
                Selection::InlineFragment(inline) => {
                    self.selection_set(&inline.node.selection_set)?
                }
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name)?,
            };
            sum.size = sum.size.saturating_add(part.size);
            sum.width = sum.width.saturating_add(part.width);
            sum.depth = sum.depth.max(part.depth);
            sum.introspection_depth = sum.introspection_depth.max(part.introspection_depth);
        }
        Ok(sum)
    }

    fn field(&mut self, field: &'d Field) -> Result<Measure, ServerError> {
        if field.alias.is_some() {
            self.aliases += 1;
        }
        let inner = self.selection_set(&field.selection_set)?;
        let size = inner.size.saturating_add(1);
        let depth = inner.depth + 1;
        Ok(match field.name.node.as_str() {
            "__schema" | "__type" => {
                Measure { size, width: 1, depth: 0, introspection_depth: depth }
            }
            _ => {
                let introspection_depth = inner.introspection_depth;
                Measure { size, width: 1, depth, introspection_depth }
            }
        })
    }

    fn fragment(&mut self, name: &'d Positioned<Name>) -> Result<Measure, ServerError> {
        match self.fragments.get(&name.node) {
            Some(Some(measure)) => return Ok(*measure),
            Some(None) => {
                let message = format!("The fragment {:?} contains itself.", name.node.as_str());
                return Err(invalid(message, name.pos));
            }
            None => {}
        }
        // Validation walks on past it, so this cannot be left to validation.
        let Some(fragment) = self.document.fragments.get(&name.node) else {
            let message = format!("There is no fragment {:?}.", name.node.as_str());
            return Err(invalid(message, name.pos));
        };
        self.fragments.insert(&name.node, None);
        let measure = self.selection_set(&fragment.node.selection_set)?;
        self.fragments.insert(&name.node, Some(measure));
        Ok(measure)
    }
}

fn invalid(message: String, pos: async_graphql::Pos) -> ServerError {
    let mut error = ServerError::new(message, Some(pos));
    set_code(&mut error, Code::GraphqlValidationFailed);
    error
}

fn too_large(message: String) -> ServerError {
    error(Code::QueryTooLarge, message)
}
