//! The rules of the product and all of its SQL. This layer does not depend on GraphQL or HTTP.
//!
//! There are two kinds of failure. [`Failure::Refused`] is a refusal that the caller can act on. Its code is from the
//! action's own enum, and it is returned as data in the response. [`Fault`] is every other failure. `?` converts a
//! database error to a fault.

use std::borrow::Cow;

use sea_orm::DbErr;

pub mod account;
pub mod api_key;
pub mod audit_log;
pub mod billing;
pub mod caller;
pub mod channel;
pub mod contact;
pub mod csv_file;
pub mod deadline;
pub mod events;
mod import_pace;
pub mod list;
pub mod message;
pub mod message_batch;
pub mod opt_out;
pub mod page;
pub mod phone_number;
pub mod range;
pub mod search;
pub mod sender;
pub mod subscriptions;
pub mod team;
pub mod template;
pub mod validate;
pub mod write_rate;

use crate::db::is_unique_violation;
pub use crate::fault::{Fault, Unavailable};

/// A refusal that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<C> {
    pub code: C,
    /// Human-readable explanation of the refusal and how to resolve it.
    pub message: Cow<'static, str>,
    /// The path to the argument at fault, from the mutation's arguments down; empty if no argument is at fault.
    pub field: &'static [&'static str],
}

/// The reason why an action was not done. Nothing was changed.
#[derive(Debug)]
pub enum Failure<C> {
    Refused(Refusal<C>),
    Fault(Fault),
}

impl<C> From<Fault> for Failure<C> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<C> From<DbErr> for Failure<C> {
    fn from(error: DbErr) -> Self {
        Self::Fault(Fault::Database(error))
    }
}

/// Builds a refusal: `return Err(refused(LastKey, &["id"], "…"))`.
pub fn refused<C>(
    code: C,
    field: &'static [&'static str],
    message: impl Into<Cow<'static, str>>,
) -> Failure<C> {
    Failure::Refused(Refusal { code, message: message.into(), field })
}

/// Converts a violation of a unique index to a refusal. If several calls are made at the same time, the index lets only
/// one of them succeed. Any other error becomes a fault.
pub fn refused_if_taken<C>(
    error: DbErr,
    code: C,
    field: &'static [&'static str],
    message: &'static str,
) -> Failure<C> {
    if is_unique_violation(&error) { refused(code, field, message) } else { error.into() }
}

/// Separates a fault from a refusal. A fault ends the whole call. A refusal concerns only one item of the call.
pub fn split<T, C>(result: Result<T, Failure<C>>) -> Result<Result<T, Refusal<C>>, Fault> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
        Err(Failure::Fault(fault)) => Err(fault),
    }
}

/// Returns the fault for an invalid argument for which the action has no refusal code.
pub fn bad_input(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::BadInput(message.into())
}
