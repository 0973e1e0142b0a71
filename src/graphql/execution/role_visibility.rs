//! What a role does not see (R18): fields, types, arguments, input fields and values of enums that its introspection
//! lacks. Validation against the schema of the role knows none of them; what only that schema lacks is forbidden.

use async_graphql::{
    Pos, Positioned, ServerError,
    indexmap::IndexMap,
    parser::types::{
        ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use entity::api_key::Role;

use super::schema_index::SchemaIndex;
use crate::graphql::errors::{Code, set_code};

/// Calls of mutations that the caller may not make.
pub struct Forbidden {
    pub error: ServerError,
    /// The names of these mutations, one for each response key.
    pub mutations: Vec<String>,
}

impl Forbidden {
    /// What an operation calls that was refused with this error; the error itself where that is no mutation, but a part
    /// of what is visible.
    pub fn new(
        error: ServerError,
        document: &ExecutableDocument,
        operation: &Positioned<OperationDefinition>,
        full: &SchemaIndex,
        shape: &SchemaIndex,
    ) -> Result<Self, ServerError> {
        let root = root_of(OperationType::Mutation);
        let mut names = IndexMap::new();
        if operation.node.ty == OperationType::Mutation {
            collect_names(document, &operation.node.selection_set, &mut names);
        }
        names.retain(|_, name| {
            full.field(root, name).is_some() && shape.field(root, name).is_none()
        });
        if names.is_empty() {
            return Err(error);
        }
        Ok(Self { error, mutations: names.into_values().map(str::to_owned).collect() })
    }
}

/// The names of fields by their response keys. The document's size was checked, so no fragment spreads itself.
fn collect_names<'d>(
    document: &'d ExecutableDocument,
    set: &'d Positioned<SelectionSet>,
    names: &mut IndexMap<&'d str, &'d str>,
) {
    for selection in &set.node.items {
        match &selection.node {
            Selection::Field(field) => {
                let key = field.node.response_key().node.as_str();
                names.entry(key).or_insert(field.node.name.node.as_str());
            }
            Selection::InlineFragment(inline) => {
                collect_names(document, &inline.node.selection_set, names);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(found) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect_names(document, &found.node.selection_set, names);
                }
            }
        }
    }
}

/// The type at the root of an operation.
pub fn root_of(operation: OperationType) -> &'static str {
    match operation {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

/// The refusal of something that the caller's role does not see.
pub fn forbidden(name: &str, role: Role, pos: Option<Pos>) -> ServerError {
    let key = match role {
        Role::SubAccount => "a sub-account's key",
        Role::MainAccount => "a main account's key",
        Role::Operator => "an operator's key",
    };
    let message = format!("{name:?} is not available to {key}. Use a key of another role.");
    let mut error = ServerError::new(message, pos);
    set_code(&mut error, Code::Forbidden);
    error
}
