//! Parses documents with bluejay, and validates them against the schema that the caller's role
//! sees, according to the specification of September 2025. The parser, the validation and the
//! coercion of async-graphql are not used.
//!
//! Two rules of bluejay take exponential time if fragments spread each other. Therefore
//! `cost::check_cost` must accept a document before [`SchemaValidator::validate`] is called.

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

use super::{
    limits::{NESTING_MAX, TOKENS_MAX, check_count, too_many},
    role_visibility::forbidden,
    schema_index::SchemaIndex,
};
use crate::graphql::errors::{Code, error};

mod convert;
mod custom_scalars;
mod schema_definition;
mod text_positions;

pub use convert::convert;
use custom_scalars::CustomScalars;
use text_positions::TextPositions;

/// Maximum number of validation errors that are returned for a document.
const ERRORS_MAX: usize = 10;

/// A parsed document and its number of tokens.
pub struct Parsed<'t> {
    pub document: ExecutableDocument<'t>,
    pub tokens: usize,
}

/// Parses a document within the limits on tokens and nesting.
pub fn parse(text: &str) -> Result<Parsed<'_>, ServerError> {
    let options = ParseOptions {
        graphql_ruby_compatibility: false,
        max_depth: NESTING_MAX,
        max_tokens: Some(TOKENS_MAX),
    };
    let parsed = ExecutableDocument::parse_with_options(text, options);
    let tokens = parsed.token_count;
    check_count(tokens, TOKENS_MAX, "The query", "tokens")?;
    let errors = match parsed.result {
        Ok(document) => return Ok(Parsed { document, tokens }),
        Err(errors) => errors,
    };
    if errors.iter().any(|error| error.message() == "Max depth exceeded") {
        return Err(too_many(NESTING_MAX, "The query", "levels of nesting"));
    }
    let mut error =
        error(Code::GraphqlParseFailed, "Syntax error: the query is not valid GraphQL.");
    if let Some(failure) = errors.into_iter().next() {
        let (message, locations) = describe(failure, text);
        error.message = format!("Syntax error: {message}.");
        error.locations = locations;
    }
    Err(error)
}

/// Validates documents against the schema that one audience sees.
pub struct SchemaValidator(SchemaDefinition<'static, CustomScalars>);

/// The reason why a document is not valid.
pub enum Invalid {
    /// Errors that do not depend on the caller's role.
    Errors(Vec<ServerError>),
    /// An error that names a part of the full schema that the caller's role does not see.
    Forbidden(ServerError),
}

impl SchemaValidator {
    /// Creates a validator. It leaks the text of the schema, so this must be called only once for
    /// each audience.
    pub fn new(index: &SchemaIndex) -> Self {
        let text: &'static str = Box::leak(schema_definition::write(index).into_boxed_str());
        let parsed = DefinitionDocument::<CustomScalars>::parse(text).result;
        let document = Box::leak(Box::new(parsed.expect("the schema can be parsed")));
        Self(SchemaDefinition::try_from(&*document).expect("the schema is valid"))
    }

    /// Validates a document that `cost::check_cost` has accepted. `self` is the part of the schema
    /// that `role` sees, and `full` is the whole schema.
    pub fn validate(&self, text: &str, full: &Self, role: Role) -> Result<(), Invalid> {
        let document = parse(text).map_err(|error| Invalid::Errors(vec![error]))?.document;
        let cache = Cache::new(&document, &self.0);
        let errors: Vec<Failure<'_>> = BuiltinRulesValidator::validate(&document, &self.0, &cache)
            .filter(|error| !is_ignored(error))
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        if let Some(span) = full.find_hidden(&document, &errors) {
            let offset = span.byte_range().start;
            let pos = TextPositions::new(text).at(offset);
            let error = forbidden(name_at(text, offset), role, Some(pos));
            return Err(Invalid::Forbidden(error));
        }
        let errors = errors.into_iter().take(ERRORS_MAX);
        Err(Invalid::Errors(errors.map(|failure| to_error(failure.into(), text)).collect()))
    }

    /// Returns the first name in a document that exists in this schema although the given errors
    /// report it as unknown in another schema.
    fn find_hidden(
        &self,
        document: &ExecutableDocument<'_>,
        errors: &[Failure<'_>],
    ) -> Option<Span> {
        let mut names = errors.iter().filter_map(unknown_name).peekable();
        names.peek()?;
        let cache = Cache::new(document, &self.0);
        let errors = BuiltinRulesValidator::validate(document, &self.0, &cache);
        let unknown: HashSet<Span> = errors.filter_map(|failure| unknown_name(&failure)).collect();
        names.find(|span| !unknown.contains(span))
    }
}

type Failure<'d> = Error<'d, ExecutableDocument<'d>, SchemaDefinition<'static, CustomScalars>>;

/// Introspection fields (section 4.2) that bluejay 0.5 does not know. bluejay does not allow a
/// schema to define their types.
const UNKNOWN_INTROSPECTION_FIELDS: [(&str, &str); 3] = [
    ("__Type", "isOneOf"),
    ("__InputValue", "isDeprecated"),
    ("__InputValue", "deprecationReason"),
];

/// Returns whether an error from bluejay is ignored. If a root field of a subscription occurs
/// twice, bluejay wrongly counts two root fields. `subscription_root` therefore checks the rule for
/// root fields instead.
fn is_ignored(failure: &Failure<'_>) -> bool {
    matches!(failure, Error::SubscriptionRootNotSingleField { .. })
        || is_introspection_field(failure)
}

fn is_introspection_field(failure: &Failure<'_>) -> bool {
    matches!(failure, Error::FieldDoesNotExistOnType { field, r#type }
        if UNKNOWN_INTROSPECTION_FIELDS.contains(&(r#type.name(), field.name().as_str()))
            && field.selection_set().is_none()
            && field.arguments().is_none())
}

/// Returns the location of the name that is not in the schema, if the error reports such a name.
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

/// Returns the first name at or after an offset. At the offset, there may be a bracket, because the
/// type of a list begins with one.
fn name_at(text: &str, offset: usize) -> &str {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name = text[offset..].trim_start_matches(|letter| !is_name(letter));
    let end = name.find(|letter| !is_name(letter)).unwrap_or(name.len());
    &name[..end]
}

fn to_error(failure: bluejay_parser::Error, text: &str) -> ServerError {
    let mut error = error(Code::GraphqlValidationFailed, format!("{}.", failure.message()));
    error.locations = describe(failure, text).1;
    error
}

/// Returns the detailed message and the locations of an error. bluejay treats more characters as
/// line ends than the specification does (section 2.1.3). These characters are therefore replaced
/// by others of the same length.
fn describe(failure: bluejay_parser::Error, text: &str) -> (String, Vec<Pos>) {
    let text = text.replace(['\u{2028}', '\u{2029}'], "\u{2026}").replace('\u{85}', "\u{b7}");
    let text = text.replace(['\u{b}', '\u{c}'], " ");
    let errors = bluejay_parser::Error::into_graphql_errors(&text, [failure]);
    let message = errors.first().map(|error| error.message.to_string()).unwrap_or_default();
    let locations = errors.into_iter().flat_map(|error| error.locations);
    (message, locations.map(|Location { line, col }| Pos { line, column: col }).collect())
}
