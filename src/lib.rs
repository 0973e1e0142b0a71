//! Tollgate: a GraphQL server for messaging with sub-accounts that share one prepaid balance.
//!
//! The map of this house, top to bottom; an arrow may skip a storey downward and never goes up:
//!
//! ```text
//! main → cli → http → graphql → domain → entity        worker → carrier → domain → entity
//! ```
//!
//! - [`domain`] holds the rules and all SQL; a feature has the same file name there, in [`graphql`]
//!   and in `tests/api`. [`domain::billing`] is the only code that moves money.
//! - [`graphql`] turns arguments into domain calls and rows into answers; [`http`] turns requests
//!   into callers and answers into HTTP.
//! - [`worker`] hands accepted messages to a [`carrier`].
//! - [`clock`], [`json`], [`money`], [`metrics`], [`quota`], [`time_zone`] and [`db`] are what everything stands on.

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
