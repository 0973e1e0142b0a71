//! Documents against the specification of September 2025, before the library that executes them sees any of it: read
//! and validated by bluejay, against the schema that the caller's role sees. The library's own parser, validation and
//! coercion decide nothing.
//!
//! Two of bluejay's rules take exponential time for fragments that spread each other. `cost` bounds what a document's
//! fragments amount to, and must have passed before [`RoleSchema::validate`] is called.

use std::collections::HashSet;

use async_graphql::{Pos, ServerError};
use bluejay_parser::{
    HasSpan as _, Span,
    ast::{
        Parse as _, ParseOptions,
        definition::{DefinitionDocument, SchemaDefinition},
        executable::ExecutableDocument,
    },
    error::Location,
};
use bluejay_validator::{
    executable::{
        Cache,
        document::{ArgumentError, BuiltinRulesValidator, Error},
    },
    value::input_coercion,
};

use entity::api_key::Role;

use super::{cost, role_visibility::forbidden, schema_index::SchemaIndex};
use crate::graphql::errors::{Code, error};

mod convert;
mod custom_scalars;
mod schema_definition;
mod text_positions;

pub use convert::convert;
use custom_scalars::CustomScalars;
use text_positions::Positions;

/// Errors of one document that are told at most.
const ERRORS_MAX: usize = 10;

/// A document as it was read, and how many tokens it has.
pub struct Parsed<'t> {
    pub document: ExecutableDocument<'t>,
    pub tokens: usize,
}

/// Reads a document within the limits of tokens and nesting.
pub fn parse(text: &str) -> Result<Parsed<'_>, ServerError> {
    let options = ParseOptions {
        graphql_ruby_compatibility: false,
        max_depth: cost::NESTING_MAX,
        max_tokens: Some(cost::TOKENS_MAX),
    };
    let parsed = ExecutableDocument::parse_with_options(text, options);
    let tokens = parsed.token_count;
    if tokens > cost::TOKENS_MAX {
        return Err(cost::too_long("tokens", cost::TOKENS_MAX));
    }
    let errors = match parsed.result {
        Ok(document) => return Ok(Parsed { document, tokens }),
        Err(errors) => errors,
    };
    if errors.iter().any(|error| error.message() == "Max depth exceeded") {
        return Err(cost::too_long("levels of nesting", cost::NESTING_MAX));
    }
    let mut refused = error(Code::GraphqlParseFailed, "The query is not written in GraphQL.");
    if let Some(failure) = errors.into_iter().next() {
        let (message, locations) = located(failure, text);
        refused.message = format!("Syntax error: {message}.");
        refused.locations = locations;
    }
    Err(refused)
}

/// The schema as one role sees it.
pub struct RoleSchema(SchemaDefinition<'static, CustomScalars>);

/// Why a document is not valid.
pub enum Invalid {
    /// It is not valid in any role's schema, or for another reason than what the role's schema lacks.
    Errors(Vec<ServerError>),
    /// It is valid in the full schema; the role's lacks what the error names.
    Forbidden(ServerError),
}

impl RoleSchema {
    /// Reads the schema of a role. Its text is kept for as long as the process runs, so this is done once for each
    /// role.
    pub fn new(shape: &SchemaIndex) -> Self {
        let text: &'static str = Box::leak(schema_definition::of(shape).into_boxed_str());
        let parsed = DefinitionDocument::<CustomScalars>::parse(text).result;
        let document = Box::leak(Box::new(parsed.expect("the schema of a role can be read")));
        Self(SchemaDefinition::try_from(&*document).expect("the schema of a role is valid"))
    }

    /// Validates a document of which [`cost::check_cost`] was checked. This is the schema of
    /// `role`, and `full` that of all.
    pub fn validate(&self, text: &str, full: &Self, role: Role) -> Result<(), Invalid> {
        let document = parse(text).map_err(|error| Invalid::Errors(vec![error]))?.document;
        let cache = Cache::new(&document, &self.0);
        let errors: Vec<Failure<'_>> = BuiltinRulesValidator::validate(&document, &self.0, &cache)
            .filter(|error| !is_for_others(error))
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        if let Some(span) = full.has_what_lacks(&document, &errors) {
            let at = span.byte_range().start;
            let error = forbidden(name_at(text, at), role, Some(Positions::new(text).at(at)));
            return Err(Invalid::Forbidden(error));
        }
        let errors = errors.into_iter().take(ERRORS_MAX);
        Err(Invalid::Errors(errors.map(|failure| refusal(failure.into(), text)).collect()))
    }

    /// The first part of a document that another role's schema lacks, as these errors say, and this one has.
    fn has_what_lacks(
        &self,
        document: &ExecutableDocument<'_>,
        errors: &[Failure<'_>],
    ) -> Option<Span> {
        let mut lacking = errors.iter().filter_map(unknown_name).peekable();
        lacking.peek()?;
        let cache = Cache::new(document, &self.0);
        let errors = BuiltinRulesValidator::validate(document, &self.0, &cache);
        let unknown: HashSet<Span> = errors.filter_map(|failure| unknown_name(&failure)).collect();
        lacking.find(|span| !unknown.contains(span))
    }
}

type Failure<'d> = Error<'d, ExecutableDocument<'d>, SchemaDefinition<'static, CustomScalars>>;

/// Fields of an introspection (section 4.2) that bluejay 0.5 does not know; it lets no schema define their types.
const INTROSPECTED: [(&str, &str); 3] = [
    ("__Type", "isOneOf"),
    ("__InputValue", "isDeprecated"),
    ("__InputValue", "deprecationReason"),
];

/// Whether it is no error, or one that is looked for elsewhere: bluejay counts a field twice that a subscription has twice
/// at its root (`subscription_root`).
fn is_for_others(failure: &Failure<'_>) -> bool {
    matches!(failure, Error::SubscriptionRootNotSingleField { .. })
        || is_about_introspection(failure)
}

fn is_about_introspection(failure: &Failure<'_>) -> bool {
    matches!(failure, Error::FieldDoesNotExistOnType { field, r#type }
        if INTROSPECTED.contains(&(r#type.name(), field.name().as_str()))
            && field.selection_set().is_none()
            && field.arguments().is_none())
}

/// Where the name is that the schema lacks, if that is what the error says.
fn unknown_name(failure: &Failure<'_>) -> Option<Span> {
    Some(match failure {
        Error::FieldDoesNotExistOnType { field, .. } => *field.name().span(),
        Error::OperationTypeNotDefined { operation } => *operation.operation_type().span(),
        Error::FragmentDefinitionTargetTypeDoesNotExist { fragment_definition } => {
            *fragment_definition.type_condition().named_type().span()
        }
        Error::InlineFragmentTargetTypeDoesNotExist { inline_fragment } => {
            *inline_fragment.type_condition()?.named_type().span()
        }
        Error::VariableDefinitionTypeNotInput { variable_definition } => {
            *variable_definition.r#type().span()
        }
        Error::InvalidVariableArgument(ArgumentError::ArgumentDoesNotExistOnField {
            argument,
            ..
        }) => *argument.name().span(),
        Error::InvalidVariableValue(input_coercion::Error::NoInputFieldWithName {
            field, ..
        })
        | Error::InvalidConstValue(input_coercion::Error::NoInputFieldWithName { field, .. }) => {
            *field.span()
        }
        Error::InvalidVariableValue(input_coercion::Error::NoEnumMemberWithName {
            value, ..
        }) => *value.span(),
        Error::InvalidConstValue(input_coercion::Error::NoEnumMemberWithName { value, .. }) => {
            *value.span()
        }
        _ => return None,
    })
}

/// The first name from an offset on; the type of a list begins with a bracket.
fn name_at(text: &str, at: usize) -> &str {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name = text[at..].trim_start_matches(|letter| !is_of_name(letter));
    let end = name.find(|letter| !is_of_name(letter)).unwrap_or(name.len());
    &name[..end]
}

fn refusal(failure: bluejay_parser::Error, text: &str) -> ServerError {
    let mut refused = error(Code::GraphqlValidationFailed, format!("{}.", failure.message()));
    refused.locations = located(failure, text).1;
    refused
}

/// What is wrong in particular, and where. bluejay takes more characters for ends of lines than the specification has
/// (section 2.1.3), so they are replaced by others of the same length.
fn located(failure: bluejay_parser::Error, text: &str) -> (String, Vec<Pos>) {
    let text = text.replace(['\u{2028}', '\u{2029}'], "\u{2026}").replace('\u{85}', "\u{b7}");
    let text = text.replace(['\u{b}', '\u{c}'], " ");
    let located = bluejay_parser::Error::into_graphql_errors(&text, [failure]);
    let message = located.first().map(|error| error.message.to_string()).unwrap_or_default();
    let locations = located.into_iter().flat_map(|error| error.locations);
    (message, locations.map(|Location { line, col }| Pos { line, column: col }).collect())
}
