//! How a request is read, limited, validated, executed and answered.

mod access;
mod hostile_documents;
mod hostile_json;
mod introspection;
mod limits;
mod long_arguments;
mod memory_budget;
mod results;
mod variable_coercion;
