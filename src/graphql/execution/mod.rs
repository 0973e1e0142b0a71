//! Executes GraphQL requests: reads the document, checks its limits, validates it for the caller's role, coerces the
//! variables, executes the operation and completes the response.

pub mod collect;
pub mod cost;
pub mod document_cache;
pub mod estimate;
pub mod executor;
pub mod field_permits;
pub mod introspection;
pub mod introspection_permits;
pub mod limits;
pub mod operation;
pub mod persisted_queries;
pub mod request;
pub mod response_completion;
pub mod role_schemas;
pub mod role_visibility;
pub mod schema_index;
pub mod subscription_root;
pub mod text_size;
pub mod validation;
pub mod variable_coercion;
