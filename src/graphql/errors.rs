//! Two channels of failure. A refusal is data: `errors` in the payload, typed by the mutation's own
//! enum. Everything else is a top-level error with a code of the closed list below; what went wrong
//! inside is logged with the request's id and never shown.

use std::{borrow::Cow, sync::Arc};

use async_graphql::{ErrorExtensionValues, OutputType, ServerError, SimpleObject, TypeName, Value};
use entity::api_enum::ApiEnum;
use strum::{EnumString, IntoStaticStr};

use super::enums::DomainEnum;
use crate::domain::{Fault, Refusal};

/// When a request that was UNAVAILABLE is worth another try.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The codes that a top-level error can have, in `extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
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
}

/// The code that an error was given.
pub fn code_of(error: &ServerError) -> Option<Code> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => code.parse().ok(),
        _ => None,
    }
}

/// `OK`, or the code of the first error, as one word.
pub fn first_code(errors: &[ServerError]) -> &'static str {
    match errors.first() {
        None => "OK",
        Some(error) => code_of(error).unwrap_or(Code::InternalServerError).as_str(),
    }
}

/// A top-level error of ours.
pub fn error(code: Code, message: impl Into<String>) -> ServerError {
    let mut error = ServerError::new(message, None);
    set_code(&mut error, code);
    error
}

pub fn set_code(error: &mut ServerError, code: Code) {
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", code.as_str());
}

/// Gives the errors of an execution their codes and the words that may be shown. Failures of ours are logged once for
/// the request, for every field may have failed.
pub fn settle(errors: Vec<ServerError>, request_id: &str) -> Vec<ServerError> {
    let count = errors.len();
    if let Some(fault) = errors.iter().filter_map(fault_of).find(|fault| is_failure(fault)) {
        log(fault, count, request_id);
    }
    errors.into_iter().map(|error| settle_one(error, request_id)).collect()
}

/// Resolvers return a [`Fault`] with `?`; the library keeps it as the error's source.
fn fault_of(error: &ServerError) -> Option<&Fault> {
    let by_loader = || error.source::<Arc<Fault>>().map(AsRef::as_ref);
    error.source::<Fault>().or_else(by_loader)
}

fn settle_one(mut error: ServerError, request_id: &str) -> ServerError {
    let (code, message, seconds) = match fault_of(&error) {
        // The library's own: an argument that did not fit its type.
        None => (Code::BadUserInput, one_line(&error.message), None),
        Some(fault) => {
            let (code, message) = show(fault, request_id);
            (code, message, worth_another_try_after(fault, code))
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

/// The code by which a call was refused; `None` where it failed instead.
pub fn refusal_of(fault: &Fault) -> Option<Code> {
    match fault {
        Fault::BadInput(_) => Some(Code::BadUserInput),
        Fault::Forbidden(_) => Some(Code::Forbidden),
        Fault::KeyRevoked => Some(Code::Unauthenticated),
        _ => None,
    }
}

/// What is shown of a fault outside of an execution.
pub fn of_fault(fault: &Fault, request_id: &str) -> ServerError {
    if is_failure(fault) {
        log(fault, 1, request_id);
    }
    let (code, message) = show(fault, request_id);
    match worth_another_try_after(fault, code) {
        Some(seconds) => try_again(code, message, seconds),
        None => error(code, message),
    }
}

/// After how many seconds a request that failed like this may succeed.
fn worth_another_try_after(fault: &Fault, code: Code) -> Option<u64> {
    match fault {
        Fault::WritesTooFast { wait } => Some(wait.as_secs() + 1),
        _ => (code == Code::Unavailable).then_some(RETRY_AFTER_SECONDS),
    }
}

/// An UNAVAILABLE, with when to try again.
pub fn unavailable(message: impl Into<String>) -> ServerError {
    try_again(Code::Unavailable, message, RETRY_AFTER_SECONDS)
}

/// Something that may well succeed after so many seconds.
pub fn try_again(code: Code, message: impl Into<String>, seconds: u64) -> ServerError {
    let mut error = error(code, message);
    set_retry_after(&mut error, seconds);
    error
}

fn set_retry_after(error: &mut ServerError, seconds: u64) {
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    extensions.set("retryAfterSeconds", seconds);
}

/// When an error says to try again, in seconds.
pub fn retry_after(error: &ServerError) -> Option<u64> {
    match error.extensions.as_ref()?.get("retryAfterSeconds")? {
        Value::Number(seconds) => seconds.as_u64(),
        _ => None,
    }
}

/// Whether it is a failure of the server or its database, to be logged.
fn is_failure(fault: &Fault) -> bool {
    matches!(fault, Fault::Database(_) | Fault::Broken(_))
}

fn log(fault: &Fault, errors: usize, request_id: &str) {
    if fault.is_unavailable() {
        tracing::error!(request.id = request_id, errors, %fault, "The database does not answer");
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
            let message = "The database is too busy or cannot be reached; try again, a send with the \
                 same idempotency key.";
            (Code::Unavailable, message.to_owned())
        }
        Fault::Database(_) | Fault::Broken(_) => (Code::InternalServerError, internal(request_id)),
    }
}

/// What is shown of a failure of ours.
pub fn internal(request_id: &str) -> String {
    format!("Something went wrong on the server. Request id: {request_id}")
}

/// The first line of a text, for the library's can draw pictures.
pub fn one_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// Why a mutation was refused: nothing was changed.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct UserError<R: ApiEnum> {
    /// What was wrong, for programs.
    code: DomainEnum<R>,
    /// What was wrong and what to do, for people.
    message: String,
    /// The path of the argument at fault, from the mutation's arguments down; empty if none is.
    field: Vec<String>,
}

/// `CreateSubAccountErrorCode` names `CreateSubAccountError`.
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
