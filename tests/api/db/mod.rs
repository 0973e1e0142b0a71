//! The database: its files, connections and walls.

pub(crate) mod files;
pub(crate) mod indexes;
pub(crate) mod migration;
pub(crate) mod readers;
pub(crate) mod row_security;
