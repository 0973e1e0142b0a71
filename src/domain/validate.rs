//! What several features ask of the same kind of input. Each function gives the normalised value or
//! `None`; the caller writes the refusal, for the code is its own.

use serde_json::{Map, Value};

/// Characters of a name at most.
pub const NAME_CHARS_MAX: usize = 200;
/// Characters of an external id at most.
pub const EXTERNAL_ID_CHARS_MAX: usize = 200;
/// Bytes of metadata as compact JSON at most.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Characters of an idempotency key at most.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Characters of a note or a reason at most.
pub const NOTE_CHARS_MAX: usize = 500;

pub const NAME_RULE: &str = "The name must have 1 to 200 characters and no control characters.";
pub const METADATA_RULE: &str = "The metadata must be at most 16 KiB as JSON, without NUL.";
pub const IDEMPOTENCY_KEY_RULE: &str =
    "The idempotency key must have 1 to 255 characters and no control characters.";
pub const NOTE_RULE: &str = "The text must have 1 to 500 characters and no control characters.";

/// A trimmed name of 1 to 200 characters.
pub fn name(text: &str) -> Option<String> {
    line(text.trim(), NAME_CHARS_MAX)
}

/// An external id of 1 to 200 characters, as given.
pub fn external_id(text: &str) -> Option<String> {
    line(text, EXTERNAL_ID_CHARS_MAX)
}

/// An idempotency key of 1 to 255 characters, as given.
pub fn idempotency_key(text: &str) -> Option<String> {
    line(text, IDEMPOTENCY_KEY_CHARS_MAX)
}

/// A trimmed note of 1 to 500 characters.
pub fn note(text: &str) -> Option<String> {
    line(text.trim(), NOTE_CHARS_MAX)
}

/// An object of at most 16 KiB. One that holds NUL is refused, for PostgreSQL cannot keep it.
pub fn metadata(metadata: Map<String, Value>) -> Option<Value> {
    let metadata = Value::Object(metadata);
    (metadata.to_string().len() <= METADATA_BYTES_MAX && !has_nul(&metadata)).then_some(metadata)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(object) => {
            object.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        _ => false,
    }
}

/// Whether text can be in a row at all: no name, id or address has control characters, and
/// PostgreSQL cannot even be asked for NUL.
pub fn may_be_stored(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn line(text: &str, chars_max: usize) -> Option<String> {
    let fits = !text.is_empty() && text.chars().count() <= chars_max;
    (fits && may_be_stored(text)).then(|| text.to_owned())
}
