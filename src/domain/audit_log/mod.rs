//! The audit log: every call that changes, or tries to change, settings, objects or a balance, with its caller and its
//! outcome. Sent messages are not recorded in the audit log, because their rows already are a record.
//!
//! The entry for a change is written in the transaction of the change. Changes begin with a function from
//! [`authentication`](super::api_key::authentication), which returns an
//! [`AuditedTransaction`](transaction::AuditedTransaction). Such a transaction cannot be committed without an
//! [`Entry`]. A refused call changes nothing, so the mutation or the command writes its entry afterwards and separately
//! ([`refused_call`]). Repeated refusals are counted ([`refusals`]).
//!
//! An entry contains ids, numbers and settings. It never contains a key, a hash, the text of a message, an address, or
//! any other data of a contact. It shows that metadata changed, but not the content of the metadata. If a sub-account
//! changes an object that it owns, the entry is private: operators see the entry, but the team's main account does not.

mod entry;
pub mod list;
pub mod refusals;
pub mod refused_call;
pub mod transaction;

pub use entry::{Actor, Entry, Settings, cents, moment};
