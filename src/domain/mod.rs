//! The rules of the product and all of its SQL. Knows neither GraphQL nor HTTP.
//!
//! There are two ways to fail. [`Failure::Refused`] is the caller's affair: a code of the action's
//! own enum, written out where it is decided, that becomes data in the answer. [`Fault`] is
//! everything else; `?` on a database error makes one.

use std::borrow::Cow;

use sea_orm::DbErr;

pub mod account;
pub mod api_key;
pub mod api_key_list;
pub mod api_key_revocation;
pub mod audit;
pub mod audit_call;
pub mod audit_log;
pub mod audit_log_list;
pub mod audit_refusals;
pub mod audited_transaction;
pub mod authentication;
pub mod backlog;
pub mod billing;
pub mod caller;
pub mod contact;
pub mod contact_address;
pub mod contact_csv;
pub mod contact_details;
pub mod contact_erasure;
pub mod contact_list;
pub mod contact_merge;
pub mod contact_tag;
pub mod csv_file;
pub mod delivery;
pub mod events;
mod fault;
pub mod fresh;
mod import_pace;
pub mod inbound;
pub mod inventory;
pub mod inventory_import;
pub mod key_lookup;
pub mod ledger;
pub mod list;
pub mod magic_recipient;
pub mod message;
pub mod message_content;
pub mod message_list;
pub mod message_source;
pub mod opt_out;
pub mod opt_out_list;
pub mod page;
pub mod phone_number;
pub mod phone_number_list;
pub mod phone_number_renewal;
pub mod phone_number_transfer;
mod phone_number_use;
pub mod plain_key;
pub mod price;
pub mod price_import;
pub mod quiet_hours;
pub mod range;
pub mod recipient;
pub mod room;
pub mod schedule;
pub mod search;
pub mod segments;
pub mod sender;
pub mod sender_details;
pub mod sender_identity;
pub mod sender_list;
mod shared_read;
pub mod sub_account;
pub mod sub_account_list;
pub mod sub_account_status;
pub mod team;
pub mod template;
pub mod template_filters;
pub mod template_language;
pub mod template_list;
pub mod template_preview;
pub mod template_render;
pub mod template_source;
pub mod template_values;
pub mod template_work;
pub mod test_retention;
pub mod updates;
pub mod usage;
pub mod usage_counters;
pub mod validate;
pub mod watch;
pub mod words;

pub use fault::{Fault, Unavailable};

/// A refusal that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<C> {
    pub code: C,
    /// For people: what was wrong and what to do.
    pub message: Cow<'static, str>,
    /// The path of the argument at fault, from the mutation's arguments down; empty if none is.
    pub field: &'static [&'static str],
}

/// Why an action did not happen. Nothing was changed.
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

/// Writes a refusal out: `return Err(refused(LastKey, &["id"], "…"))`.
pub fn refused<C>(
    code: C,
    field: &'static [&'static str],
    message: impl Into<Cow<'static, str>>,
) -> Failure<C> {
    Failure::Refused(Refusal { code, message: message.into(), field })
}

/// Takes a fault out: it ends the whole call, and a refusal only what was refused.
pub fn split<T, C>(result: Result<T, Failure<C>>) -> Result<Result<T, Refusal<C>>, Fault> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
        Err(Failure::Fault(fault)) => Err(fault),
    }
}

/// A bad argument that no rule of the action judges.
pub fn bad_input(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::BadInput(message.into())
}
