//! Estimates the cost of a document, and refuses a document whose cost exceeds a limit.
//!
//! The cost is checked before validation, because validation walks a fragment each time it is
//! spread. A document of one kilobyte could therefore keep a processor busy for minutes.

use async_graphql::{
    ServerError, Variables,
    parser::types::{ExecutableDocument, OperationType},
};

use super::{
    estimate::{Estimate, Estimator},
    limits::{self, check_count},
    schema_index::SchemaIndex,
};

/// Estimated number of bytes of one field in the response to an introspection, including its name
/// and description.
const INTROSPECTION_FIELD_BYTES: u64 = 128;

/// The estimated cost of a document. It is the cost of the document's most expensive operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of fields in the response.
    pub fields: u64,
    /// Number of fields and fragments in the introspections, each counted as often as it is
    /// executed.
    pub introspection: u64,
    /// Number of bytes of memory for the variables of all operations and for the response to an
    /// introspection.
    pub bytes: u64,
}

/// Estimates the cost of a document. Fails if the cost exceeds a limit, if the document spreads an
/// unknown fragment, or if a fragment contains itself.
pub fn check_cost(
    document: &ExecutableDocument,
    variables: &Variables,
    index: &SchemaIndex,
) -> Result<Cost, ServerError> {
    let mut estimator = Estimator::new(document, variables, index);
    let (mut expanded_fields, mut complexity, mut input_bytes) = (0_usize, 0, 0_u64);
    let mut cost = Cost::default();
    for (_, operation) in document.operations.iter() {
        let estimate = estimator.operation(&operation.node)?;
        check_operation(operation.node.ty, &estimate)?;
        expanded_fields = expanded_fields.saturating_add(estimate.expanded_fields);
        complexity = complexity.max(estimate.complexity);
        input_bytes = input_bytes.saturating_add(estimate.input_bytes);
        let introspection_bytes = estimate.introspection.saturating_mul(INTROSPECTION_FIELD_BYTES);
        cost.fields = cost.fields.max(estimate.complexity.saturating_add(estimate.introspection));
        cost.introspection = cost.introspection.max(estimate.introspection);
        cost.bytes = cost.bytes.max(introspection_bytes);
    }
    // All fragments are estimated, because validation also walks the fragments that are never
    // spread.
    for (name, fragment) in &document.fragments {
        let estimate = estimator.fragment(name, fragment.pos)?;
        expanded_fields = expanded_fields.saturating_add(estimate.expanded_fields);
        input_bytes = input_bytes.saturating_add(estimate.input_bytes);
    }
    limits::check_input(OperationType::Query, input_bytes)?;
    cost.bytes = cost.bytes.saturating_add(input_bytes);
    let items = "fields, with each fragment counted wherever it is used";
    check_count(expanded_fields, limits::EXPANDED_SIZE_MAX, "The query", items)?;
    check_count(estimator.aliases(), limits::ALIASES_MAX, "The query", "aliases")?;
    limits::check_complexity(complexity)?;
    Ok(cost)
}

/// Checks the limits that apply to each operation of a document.
fn check_operation(kind: OperationType, estimate: &Estimate) -> Result<(), ServerError> {
    limits::check_input(kind, estimate.input_bytes)?;
    let (depth, depth_max) = (estimate.introspection_depth, limits::INTROSPECTION_DEPTH_MAX);
    check_count(depth, depth_max, "The introspection", "levels of fields")?;
    check_count(estimate.schema_fields, 1, "The query", "__schema fields")?;
    if estimate.introspection > limits::INTROSPECTION_MAX {
        return Err(limits::too_much_introspection());
    }
    match kind {
        OperationType::Query => {}
        OperationType::Mutation => {
            let (count, max) = (estimate.root_fields, limits::ROOT_MUTATION_FIELDS_MAX);
            check_count(count, max, "The mutation", "root fields")?;
        }
        OperationType::Subscription => {
            let (count, max) = (estimate.expanded_fields, limits::SUBSCRIPTION_FIELDS_MAX);
            check_count(count, max, "The subscription", "fields")?;
        }
    }
    check_count(estimate.depth, limits::DEPTH_MAX, "The query", "levels of fields")
}
