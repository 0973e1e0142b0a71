//! Errors for parts of the schema that the caller's role does not see: fields, types, arguments,
//! input fields and enum values that are missing from the introspection of the role. If only such
//! parts make a document invalid, the document fails with FORBIDDEN.

use async_graphql::{
    Pos, Positioned, ServerError,
    indexmap::IndexMap,
    parser::types::{
        ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use entity::api_key::Role;

use super::schema_index::{SchemaIndex, root_type};
use crate::graphql::errors::{Code, set_code};

/// An operation that calls mutations that the caller's role does not see.
pub struct Forbidden {
    pub error: ServerError,
    /// The names of these mutations for the audit log, one for each response key.
    pub mutations: Vec<String>,
}

impl Forbidden {
    /// Finds the mutations in an operation that was refused with this error. If the role sees all
    /// mutations of the operation and only some other part is hidden, returns the error itself.
    pub fn new(
        error: ServerError,
        document: &ExecutableDocument,
        operation: &Positioned<OperationDefinition>,
        full: &SchemaIndex,
        visible: &SchemaIndex,
    ) -> Result<Self, ServerError> {
        let root = root_type(OperationType::Mutation);
        let mut names = IndexMap::new();
        if operation.node.ty == OperationType::Mutation {
            collect_names(document, &operation.node.selection_set, &mut names);
        }
        names.retain(|_, name| {
            full.field(root, name).is_some() && visible.field(root, name).is_none()
        });
        if names.is_empty() {
            return Err(error);
        }
        Ok(Self { error, mutations: names.into_values().map(str::to_owned).collect() })
    }
}

/// Collects the names of the root fields by response key. The cost has been checked, so no fragment
/// contains itself.
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
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect_names(document, &fragment.node.selection_set, names);
                }
            }
        }
    }
}

/// Returns the error for a name that the caller's role does not see.
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
