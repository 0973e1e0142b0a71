//! The database: its files, connections, migrations, indexes and row security.

mod files;
mod indexes;
mod migration;
mod readers;
pub mod row_security;
