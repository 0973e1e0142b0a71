//! The audit log: every call that changes, or tries to change, settings, objects or a balance, with its caller and its
//! outcome. Messages are not in the audit log, because their rows already are a record of them.
//!
//! The entry of a change is written in the transaction of the change. Changes begin with a function of
//! [`authentication`](super::api_key::authentication), which returns an
//! [`AuditedTransaction`](transaction::AuditedTransaction); it cannot be committed without an [`Entry`]. A refused call
//! changes nothing, so its entry is written afterwards and separately ([`refused_call`]), by the mutation or the
//! command. Repeated refusals are counted ([`refusals`]).
//!
//! An entry has ids, numbers and settings. It never has a key, a hash, the text of a message, an address, or any other
//! data of a contact; for metadata it shows only that they changed. An entry about a sub-account's change to an object
//! that it owns is private: operators see the entry, the team's main account does not.

mod entry;
pub mod list;
pub mod refusals;
pub mod refused_call;
pub mod transaction;

pub use entry::{Actor, Entry, Settings, cents, moment};
