//! How a request is read, bounded, validated, executed and answered.

pub(crate) mod access;
pub(crate) mod hostile_documents;
pub(crate) mod hostile_json;
pub(crate) mod introspection;
pub(crate) mod limits;
pub(crate) mod long_arguments;
pub(crate) mod memory_budget;
pub(crate) mod results;
pub(crate) mod variable_coercion;
