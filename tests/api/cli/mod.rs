//! The commands of the program.

pub(crate) mod commands;
pub(crate) mod csv_files;
pub(crate) mod database;
