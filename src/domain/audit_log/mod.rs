//! The audit log: every call that manages something, moves money or changes what an account owns, with who
//! made it and what came of it. Messages are not in it, for they tell of themselves.
//!
//! What is done is entered in the transaction that does it: changes begin with one of the functions of
//! [`authentication`](super::api_key::authentication), which give an
//! [`AuditedTransaction`](transaction::AuditedTransaction), and that cannot be committed without
//! an [`Entry`]. What is refused is entered once that is known, in a write of its own
//! ([`refused_call`]), by the mutation or by a command. Refusals that repeat are
//! counted ([`refusals`]).
//!
//! An entry holds ids, numbers and settings, never a key, a hash, a text of a message, an address, or anything
//! else of a contact; of metadata it says only that it changed. An entry about what a sub-account did with
//! what it owns is private: operators see it, its main account does not.

mod entry;
pub mod list;
pub mod refusals;
pub mod refused_call;
pub mod transaction;

pub use entry::{Actor, Entry, Settings, cents, moment};
