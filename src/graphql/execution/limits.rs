//! Limits on documents and their variables, and the errors for requests that exceed a limit. The
//! limits bound the memory, the stack and the processor time that a request can use before it is
//! executed.

use std::fmt::Display;

use async_graphql::{Pos, ServerError, parser::types::OperationType};

use crate::graphql::errors::{Code, error, set_code};

/// Maximum number of characters in a query.
pub const QUERY_CHARS_MAX: usize = 15_000;
/// Maximum number of tokens in a query.
pub const TOKENS_MAX: usize = 1_000;
/// Maximum nesting, as the parser counts it. A field in a selection is counted as two levels. An
/// argument, a list or an input object is counted as one level. The parser and the validation need
/// stack space for each level.
pub const NESTING_MAX: usize = 128;
/// Maximum depth of fields outside of `__schema` and `__type`.
pub const DEPTH_MAX: usize = 12;
/// Maximum depth of fields inside of `__schema` and `__type`. GraphiQL and code generators need
/// this depth.
pub const INTROSPECTION_DEPTH_MAX: usize = 15;
/// Maximum number of fields and fragments in the introspections of a document, each counted as
/// often as it is executed. With all options, the query that GraphiQL and code generators send
/// has 14,500 fields and fragments.
pub const INTROSPECTION_MAX: u64 = 40_000;
/// Maximum number of root fields in a mutation.
pub const ROOT_MUTATION_FIELDS_MAX: usize = 10;
/// Maximum number of aliases in a document.
pub const ALIASES_MAX: usize = 30;
/// Maximum number of fields in a document, with each fragment counted wherever it is spread.
pub const EXPANDED_SIZE_MAX: usize = 10_000;
/// Maximum estimated number of fields in a response. The fields in a page are counted once for each
/// requested row.
pub const COMPLEXITY_MAX: u64 = 5_000;
/// Maximum estimated number of bytes of all variables. Each variable is counted wherever an
/// argument uses it, even in a directive or an unused fragment, because validation copies the
/// variable to each of these places.
pub const INPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Maximum estimated number of bytes of a subscription's variables. They stay in memory until the
/// subscription ends.
pub const SUBSCRIPTION_INPUT_BYTES_MAX: u64 = 8 * 1024;
/// Maximum number of fields in a subscription, with each fragment counted wherever it is spread.
/// The number is limited because the document stays in memory until the subscription ends, and is
/// executed for each event. A message with all its fields has about 70 fields.
pub const SUBSCRIPTION_FIELDS_MAX: usize = 100;
/// Maximum number of tokens in a subscription's document.
pub const SUBSCRIPTION_TOKENS_MAX: usize = 300;
/// Maximum size of a subscription's document, in bytes.
pub const SUBSCRIPTION_QUERY_BYTES_MAX: usize = 4 * 1024;

/// Returns an error if a count exceeds its maximum. The error says that `subject` has too many
/// `items`.
pub fn check_count<N: PartialOrd + Display + Copy>(
    count: N,
    max: N,
    subject: &str,
    items: &str,
) -> Result<(), ServerError> {
    if count > max { Err(too_many(max, subject, items)) } else { Ok(()) }
}

/// Refuses variables that use too much memory, because a variable is copied to each argument that
/// uses it.
pub fn check_input(operation: OperationType, bytes: u64) -> Result<(), ServerError> {
    let max = match operation {
        OperationType::Subscription => SUBSCRIPTION_INPUT_BYTES_MAX,
        OperationType::Query | OperationType::Mutation => INPUT_BYTES_MAX,
    };
    if bytes > max {
        return Err(too_large(format!(
            "The variables take {} KiB, with each one counted once for every use (maximum {} KiB). Send less data in one \
             request, or use large variables fewer times.",
            bytes / 1024,
            max / 1024
        )));
    }
    Ok(())
}

pub fn check_complexity(complexity: u64) -> Result<(), ServerError> {
    if complexity > COMPLEXITY_MAX {
        return Err(too_large(format!(
            "The response is estimated at {complexity} fields (maximum {COMPLEXITY_MAX}). Request smaller pages or \
             fewer fields."
        )));
    }
    Ok(())
}

/// Refuses a subscription whose document is too large to be kept in memory.
pub fn check_subscription_document(tokens: usize, text_bytes: usize) -> Result<(), ServerError> {
    if tokens > SUBSCRIPTION_TOKENS_MAX || text_bytes > SUBSCRIPTION_QUERY_BYTES_MAX {
        return Err(too_large(format!(
            "The document of the subscription is too large (maximum {SUBSCRIPTION_TOKENS_MAX} tokens and {} KiB). \
             Send the subscription without other operations.",
            SUBSCRIPTION_QUERY_BYTES_MAX / 1024
        )));
    }
    Ok(())
}

/// Returns the error for a document that is not valid at this position.
pub fn invalid(message: impl Into<String>, pos: Pos) -> ServerError {
    let mut error = ServerError::new(message, Some(pos));
    set_code(&mut error, Code::GraphqlValidationFailed);
    error
}

/// Returns the error for a document whose introspections exceed [`INTROSPECTION_MAX`].
pub fn too_much_introspection() -> ServerError {
    let items = "fields and fragments, each counted as often as it is executed";
    too_many(INTROSPECTION_MAX, "The introspection", items)
}

/// Returns the error for a `subject` that has more than `max` of some `items`.
pub fn too_many(max: impl Display, subject: &str, items: &str) -> ServerError {
    too_large(format!("{subject} has too many {items} (maximum {max})."))
}

fn too_large(message: String) -> ServerError {
    error(Code::QueryTooLarge, message)
}
