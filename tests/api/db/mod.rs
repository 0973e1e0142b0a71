//! The database: its files, connections and walls.

mod files;
mod indexes;
mod migration;
mod readers;
pub mod row_security;
