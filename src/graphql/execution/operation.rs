//! Finds the operation to execute in a document, and prepares the operation's variables.

use std::collections::HashSet;

use async_graphql::{
    Name, Positioned, ServerError, Variables,
    parser::types::{ExecutableDocument, OperationDefinition, OperationType},
};

use crate::graphql::errors::{Code, error};

/// Returns the operation to execute (`GetOperation`, section 6.1 of the specification).
pub fn find_operation<'d>(
    document: &'d ExecutableDocument,
    name: Option<&str>,
) -> Result<&'d Positioned<OperationDefinition>, ServerError> {
    let mut operations = document.operations.iter();
    let selected = match name {
        Some(name) => operations.find(|(other, _)| other.is_some_and(|other| other == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    let message = match name {
        Some(_) => "The document has no operation with this operationName.",
        None => "operationName is required: the document does not have exactly one operation.",
    };
    let (_, operation) =
        selected.ok_or_else(|| error(Code::OperationResolutionFailure, message))?;
    Ok(operation)
}

/// Refuses mutations and subscriptions that are sent with GET. A GET request must not change
/// anything, because opening a URL in a browser is enough to send one.
pub fn check_method(
    operation: &Positioned<OperationDefinition>,
    is_get: bool,
) -> Result<(), ServerError> {
    if is_get && operation.node.ty != OperationType::Query {
        let message = "Only a query can be sent with GET. Use POST.";
        return Err(error(Code::MethodNotAllowed, message));
    }
    Ok(())
}

/// Drops variables that the operation does not declare. They are not used, and a subscription would
/// keep them in memory until it ends.
pub fn drop_undeclared_variables(
    operation: &Positioned<OperationDefinition>,
    variables: &mut Variables,
) {
    let definitions = operation.node.variable_definitions.iter();
    let declared: HashSet<&Name> =
        definitions.map(|definition| &definition.node.name.node).collect();
    variables.retain(|name, _| declared.contains(name));
}

/// Adds the default values of variables that are missing (section 6.1.2 of the specification).
/// async-graphql would ignore these defaults in `@skip` and `@include`.
pub fn add_defaults(operation: &Positioned<OperationDefinition>, variables: &mut Variables) {
    for definition in &operation.node.variable_definitions {
        let name = &definition.node.name.node;
        if let (None, Some(default)) = (variables.get(name), &definition.node.default_value) {
            variables.insert(name.clone(), default.node.clone());
        }
    }
}
