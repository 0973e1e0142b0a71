//! The rule for root fields of a subscription. It replaces the rule of bluejay.

use std::collections::HashSet;

use async_graphql::{
    Positioned, ServerError,
    parser::types::{
        Directive, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};

use super::limits::invalid;

/// Refuses a subscription unless it has exactly one root field. The root field must not be an
/// introspection field and must not depend on `@skip` or `@include` (section 5.2.4.1 of the
/// specification). In all other respects, the document must already be valid.
pub fn check_subscription_root(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
) -> Result<(), ServerError> {
    if operation.node.ty != OperationType::Subscription {
        return Ok(());
    }
    let mut keys = HashSet::new();
    let set = &operation.node.selection_set.node;
    if collect_keys(document, set, &mut keys).is_some() && keys.len() == 1 {
        return Ok(());
    }
    let message = "A subscription must have exactly one root field, which is not an introspection field and has no @skip or @include.";
    Err(invalid(message, operation.pos))
}

/// Collects the response keys. Returns `None` if there is an introspection field, `@skip` or
/// `@include`.
fn collect_keys<'d>(
    document: &'d ExecutableDocument,
    set: &'d SelectionSet,
    keys: &mut HashSet<&'d str>,
) -> Option<()> {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                let is_introspection = field.node.name.node.starts_with("__");
                if is_introspection || is_conditional(&field.node.directives) {
                    return None;
                }
                keys.insert(field.node.response_key().node.as_str());
            }
            Selection::InlineFragment(inline) => {
                if is_conditional(&inline.node.directives) {
                    return None;
                }
                collect_keys(document, &inline.node.selection_set.node, keys)?;
            }
            Selection::FragmentSpread(spread) => {
                if is_conditional(&spread.node.directives) {
                    return None;
                }
                let fragment = document.fragments.get(&spread.node.fragment_name.node)?;
                collect_keys(document, &fragment.node.selection_set.node, keys)?;
            }
        }
    }
    Some(())
}

fn is_conditional(directives: &[Positioned<Directive>]) -> bool {
    let mut names = directives.iter().map(|directive| directive.node.name.node.as_str());
    names.any(|name| matches!(name, "skip" | "include"))
}
