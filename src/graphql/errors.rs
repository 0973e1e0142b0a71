//! The two kinds of failures. A refusal is a part of the data: it is an entry of the payload's
//! `errors`, with a code from the mutation's own enum. Every other failure is a top-level error
//! with a [`Code`]. The internal cause of a failure is logged with the request's id and not shown
//! to the client.

use std::{borrow::Cow, sync::Arc};

use async_graphql::{ErrorExtensionValues, OutputType, ServerError, SimpleObject, TypeName, Value};
use entity::api_enum::ApiEnum;
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::enums::DomainEnum;
use crate::domain::{Fault, Refusal};

/// Number of seconds after which an UNAVAILABLE request should be retried.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The values that `extensions.code` of a top-level error can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    Unauthenticated,
    Forbidden,
    BadUserInput,
    GraphqlParseFailed,
    GraphqlValidationFailed,
    OperationResolutionFailure,
    QueryTooLarge,
    PersistedQueryNotFound,
    RateLimited,
    PayloadTooLarge,
    MethodNotAllowed,
    UnsupportedMediaType,
    NotAcceptable,
    Unavailable,
    InternalServerError,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the description of the code in `docs/reference/errors.md`, as Markdown.
    pub fn description(self) -> &'static str {
        match self {
            Self::Unauthenticated => {
                "The API key is missing, malformed, unknown, expired or revoked."
            }
            Self::Forbidden => "The key is valid, but not allowed to use this field.",
            Self::BadUserInput => {
                "An argument, a cursor or the JSON of the request is not valid, a required variable is missing, \
                 or the connection closed before the whole body arrived. A request to an unknown path gets \
                 this code with status 404."
            }
            Self::GraphqlParseFailed => "The query is not valid GraphQL syntax.",
            Self::GraphqlValidationFailed => {
                "The query does not match the schema, or a variable has the wrong type."
            }
            Self::OperationResolutionFailure => {
                "`operationName` does not select exactly one operation of the document."
            }
            Self::QueryTooLarge => {
                "The query, or the data of the field at `path`, exceeds a [limit](limits.md)."
            }
            Self::PersistedQueryNotFound => {
                "The server does not know the hash of the persisted query. Send the query together with its hash."
            }
            Self::RateLimited => {
                "The key, its account or the client's address exceeds a [rate limit](limits.md#rate-limits), or a \
                 socket, an account or a team has too many operations. Wait for `retryAfterSeconds` if it is present."
            }
            Self::PayloadTooLarge => "The body is larger than the [limit](limits.md#requests).",
            Self::MethodNotAllowed => {
                "The method is neither GET nor POST, or a mutation was sent with GET."
            }
            Self::UnsupportedMediaType => "The body was not sent as `application/json`.",
            Self::NotAcceptable => {
                "`Accept` allows neither `application/graphql-response+json` nor `application/json`."
            }
            Self::Unavailable => {
                "The server is too busy, the database cannot be reached or its disk is full, the body arrived too \
                 slowly, or the request took too long. Repeat the request with the same idempotency key after \
                 `retryAfterSeconds`."
            }
            Self::InternalServerError => {
                "An internal error of the server. The message contains the request id, which is also in the log \
                 and in the `x-request-id` header."
            }
        }
    }
}

/// Returns the code of an error, if the error has one.
pub fn code_of(error: &ServerError) -> Option<Code> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => code.parse().ok(),
        _ => None,
    }
}

/// Returns `OK` or the code of the first error, as one word for logs and metrics.
pub fn first_code(errors: &[ServerError]) -> &'static str {
    match errors.first() {
        None => "OK",
        Some(error) => code_of(error).unwrap_or(Code::InternalServerError).as_str(),
    }
}

/// Creates a top-level error with a code.
pub fn error(code: Code, message: impl Into<String>) -> ServerError {
    let mut error = ServerError::new(message, None);
    set_code(&mut error, code);
    error
}

pub fn set_code(error: &mut ServerError, code: Code) {
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", code.as_str());
}

/// Replaces the errors of an execution with errors that may be shown to the client, each with a
/// code. A failure of the server or its database is logged only once per request, because it can
/// make every field fail.
pub fn settle(errors: Vec<ServerError>, request_id: &str) -> Vec<ServerError> {
    let count = errors.len();
    if let Some(fault) = errors.iter().filter_map(fault_of).find(|fault| is_failure(fault)) {
        log(fault, count, request_id);
    }
    errors.into_iter().map(|error| settle_one(error, request_id)).collect()
}

/// Returns the [`Fault`] of an error. Resolvers return a fault with `?`, and async-graphql stores
/// it as the source of the error.
fn fault_of(error: &ServerError) -> Option<&Fault> {
    let by_loader = || error.source::<Arc<Fault>>().map(AsRef::as_ref);
    error.source::<Fault>().or_else(by_loader)
}

fn settle_one(mut error: ServerError, request_id: &str) -> ServerError {
    let (code, message, seconds) = match fault_of(&error) {
        // This is an error from async-graphql: an argument does not have the expected type.
        None => (Code::BadUserInput, one_line(&error.message), None),
        Some(fault) => {
            let (code, message) = show(fault, request_id);
            (code, message, retry_delay(fault, code))
        }
    };
    error.message = message;
    error.source = None;
    set_code(&mut error, code);
    if let Some(seconds) = seconds {
        set_retry_after(&mut error, seconds);
    }
    error
}

/// Returns the code of a refused call, or `None` for other failures.
pub fn refusal_of(fault: &Fault) -> Option<Code> {
    match fault {
        Fault::BadInput(_) => Some(Code::BadUserInput),
        Fault::Forbidden(_) => Some(Code::Forbidden),
        Fault::KeyRevoked => Some(Code::Unauthenticated),
        _ => None,
    }
}

/// Returns the error that is shown for a fault that occurs outside of an execution.
pub fn of_fault(fault: &Fault, request_id: &str) -> ServerError {
    if is_failure(fault) {
        log(fault, 1, request_id);
    }
    let (code, message) = show(fault, request_id);
    match retry_delay(fault, code) {
        Some(seconds) => try_again(code, message, seconds),
        None => error(code, message),
    }
}

/// Returns the number of seconds after which the request may succeed.
fn retry_delay(fault: &Fault, code: Code) -> Option<u64> {
    match fault {
        Fault::WritesTooFast { wait } => Some(wait.as_secs() + 1),
        _ => (code == Code::Unavailable).then_some(RETRY_AFTER_SECONDS),
    }
}

/// Creates an UNAVAILABLE error with `retryAfterSeconds`.
pub fn unavailable(message: impl Into<String>) -> ServerError {
    try_again(Code::Unavailable, message, RETRY_AFTER_SECONDS)
}

/// Creates an error for a request that may succeed if it is retried after this many seconds.
pub fn try_again(code: Code, message: impl Into<String>, seconds: u64) -> ServerError {
    let mut error = error(code, message);
    set_retry_after(&mut error, seconds);
    error
}

fn set_retry_after(error: &mut ServerError, seconds: u64) {
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    extensions.set("retryAfterSeconds", seconds);
}

/// Returns the value of `retryAfterSeconds`, if the error has one.
pub fn retry_after(error: &ServerError) -> Option<u64> {
    match error.extensions.as_ref()?.get("retryAfterSeconds")? {
        Value::Number(seconds) => seconds.as_u64(),
        _ => None,
    }
}

/// Returns whether a fault is a failure of the server or its database. Such failures are logged.
fn is_failure(fault: &Fault) -> bool {
    matches!(fault, Fault::Database(_) | Fault::Broken(_))
}

fn log(fault: &Fault, errors: usize, request_id: &str) {
    if fault.is_unavailable() {
        tracing::error!(request.id = request_id, errors, %fault, "The database does not respond");
    } else {
        tracing::error!(request.id = request_id, errors, %fault, "A request failed");
    }
}

fn show(fault: &Fault, request_id: &str) -> (Code, String) {
    match fault {
        Fault::BadInput(_) => (Code::BadUserInput, fault.to_string()),
        Fault::TooMuchText => (Code::QueryTooLarge, fault.to_string()),
        Fault::WritesTooFast { .. } => (Code::RateLimited, fault.to_string()),
        Fault::Forbidden(_) => (Code::Forbidden, fault.to_string()),
        Fault::KeyRevoked => (Code::Unauthenticated, fault.to_string()),
        Fault::Unavailable(_) => (Code::Unavailable, fault.to_string()),
        Fault::Database(_) if fault.is_unavailable() => {
            let message = "The database is too busy or cannot be reached. Try again, and repeat a send \
                 with the same idempotency key.";
            (Code::Unavailable, message.to_owned())
        }
        Fault::Database(_) | Fault::Broken(_) => (Code::InternalServerError, internal(request_id)),
    }
}

/// Returns the message of an `INTERNAL_SERVER_ERROR`.
pub fn internal(request_id: &str) -> String {
    format!("Internal server error. Request id: {request_id}")
}

/// Returns the first non-blank line of an error message. The parser adds further lines that show
/// the position in the document.
pub fn one_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// A reason for a refusal. A refused mutation changes nothing.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct UserError<R: ApiEnum> {
    /// Machine-readable reason for the refusal.
    code: DomainEnum<R>,
    /// Human-readable explanation of the refusal and how to resolve it.
    message: String,
    /// Path to the invalid argument, starting with the name of an argument of the mutation or
    /// query, such as input. Empty if the refusal does not concern an argument.
    field: Vec<String>,
}

/// The name of the type is the name of the code's enum without `Code`, such as
/// `CreateSubAccountError`.
impl<R: ApiEnum> TypeName for UserError<R> {
    fn type_name() -> Cow<'static, str> {
        let code = <DomainEnum<R> as OutputType>::type_name();
        code.strip_suffix("Code").unwrap_or(&code).to_owned().into()
    }
}

impl<R: ApiEnum> UserError<R> {
    pub fn new(refusal: Refusal<R>) -> Self {
        Self {
            code: DomainEnum(refusal.code),
            message: refusal.message.into_owned(),
            field: refusal.field.iter().map(|part| (*part).to_owned()).collect(),
        }
    }
}
