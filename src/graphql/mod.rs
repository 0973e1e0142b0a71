//! The GraphQL API.

mod access;
mod account;
mod api_key;
mod audit_log;
mod billing;
mod connection;
mod contact;
mod enums;
pub mod errors;
mod execution;
mod input;
mod loaders;
mod message;
mod opt_out;
mod payload;
mod phone_number;
pub mod reference;
pub mod scalars;
mod schema;
mod sender;
mod subscriptions;
mod team;
mod template;
mod viewer;

pub use execution::document_cache::DocumentSource;
pub use execution::executor::QueryExecutor;
pub use execution::limits::COMPLEXITY_MAX;
pub use execution::request::{Answer, EventAnswer, Operation, Prepared};
pub use schema::sdl;
