//! Tollgate: a GraphQL server for messaging with sub-accounts that share one prepaid balance.
//!
//! A module may use the modules to its right, and never those to its left:
//!
//! ```text
//! main → cli → http → graphql → domain → carrier → entity        worker → domain → carrier → entity
//! ```
//!
//! - [`domain`] contains the business rules and all SQL. A feature has the same name in [`domain`], in [`graphql`] and
//!   in `tests/api`. Only [`domain::billing`] moves money.
//! - [`graphql`] converts arguments to domain calls and rows to GraphQL types; [`http`] authenticates requests and
//!   writes responses.
//! - [`worker`] submits accepted messages to a [`carrier`].
//! - [`clock`], [`db`], [`json`], [`limits`], [`metrics`], [`money`] and [`time_zone`] are used by every layer.

pub mod app;
pub mod carrier;
pub mod cli;
pub mod clock;
pub mod db;
pub mod domain;
mod fault;
pub mod graphql;
pub mod http;
pub mod json;
pub mod limits;
pub mod metrics;
pub mod money;
pub mod time_zone;
pub mod worker;
