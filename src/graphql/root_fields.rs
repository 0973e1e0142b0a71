//! Rules for the fields at the root of an operation that the library does not keep.

use std::collections::HashSet;

use async_graphql::{
    Positioned, ServerError,
    parser::types::{
        ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};

use super::cost::invalid;

/// Refuses a response key that occurs twice at the root of a mutation. Such fields are one field
/// (section 6.3.2, `CollectFields`), but the library would execute each: two charges for one
/// answer.
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
                    let message =
                        format!("Duplicate response key {key:?}; give one of the fields an alias.");
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

/// Refuses a subscription that does not have exactly one field at its root (section 5.2.4.1 of the
/// specification), outside of any fragment: the library does not look into fragments there, nor for `__typename`.
pub fn check_subscription_root(
    operation: &Positioned<OperationDefinition>,
) -> Result<(), ServerError> {
    if operation.node.ty != OperationType::Subscription {
        return Ok(());
    }
    let is_plain = match &operation.node.selection_set.node.items[..] {
        [selection] => matches!(&selection.node, Selection::Field(field)
            if field.node.directives.is_empty() && field.node.name.node != "__typename"),
        _ => false,
    };
    let message = "A subscription has one field at its root, without a fragment or a directive.";
    if is_plain { Ok(()) } else { Err(invalid(message.to_owned(), operation.pos)) }
}
