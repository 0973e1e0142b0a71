//! The constants that `docs/reference/limits.md` lists.

pub use super::{
    billing::usage::VALUE_BYTES as USAGE_VALUE_BYTES,
    execution::{
        estimate::LIST_LENGTH,
        executor::INTROSPECTION_SHORT,
        field_permits::{FIELDS_OF_TEAM_MAX, FIELDS_WITHOUT_WAITING_MAX as FEW_FIELDS},
        introspection_permits::INTROSPECTIONS_OF_TEAM_MAX,
        limits::{
            ALIASES_MAX, COMPLEXITY_MAX, DEPTH_MAX, EXPANDED_SIZE_MAX, INPUT_BYTES_MAX,
            INTROSPECTION_DEPTH_MAX, INTROSPECTION_MAX, NESTING_MAX, QUERY_CHARS_MAX,
            ROOT_MUTATION_FIELDS_MAX, SUBSCRIPTION_FIELDS_MAX, SUBSCRIPTION_INPUT_BYTES_MAX,
            SUBSCRIPTION_QUERY_BYTES_MAX, SUBSCRIPTION_TOKENS_MAX, TOKENS_MAX,
        },
        persisted_queries::BYTES_MAX as PERSISTED_QUERY_BYTES_MAX,
    },
};
