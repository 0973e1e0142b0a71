//! Rules for input that several features share. Each function returns the normalized value or `None`;
//! the caller builds the refusal, because its code depends on the action.

use icu_locale_core::Locale;
use serde_json::{Map, Value};

use crate::time_zone::TimeZone;

/// Maximum number of characters in a name.
pub const NAME_CHARS_MAX: usize = 200;
/// Maximum number of characters in an external id.
pub const EXTERNAL_ID_CHARS_MAX: usize = 200;
/// Maximum number of bytes of metadata as compact JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Maximum nesting depth of objects and lists in metadata. The JSON parser must be able to read stored metadata.
pub const METADATA_LEVELS_MAX: usize = 32;
/// Maximum number of characters in an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Maximum number of characters in a note or a reason.
pub const NOTE_CHARS_MAX: usize = 500;

/// Maximum number of bytes of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;
/// Maximum number of bytes in the name of a time zone; the longest name has half as many.
const TIME_ZONE_BYTES_MAX: usize = 64;

/// Maximum number of characters in a label or a tag.
pub const LABEL_CHARS_MAX: usize = 64;
/// Maximum number of characters in a language tag; RFC 5646 (section 4.4.1) recommends supporting at least 35.
pub const LOCALE_CHARS_MAX: usize = 64;
/// Maximum number of values in metadata and in the variables of a template: values at all levels, including arrays and
/// objects. Each value is allocated whenever the object is read, and a template can compare all of them in one step.
pub const OBJECT_VALUES_MAX: usize = 1_000;

pub const NAME_RULE: &str = "The name must have 1 to 200 characters, at least one of them visible, and no control, \
                             line-separator or bidirectional control characters.";
pub const METADATA_RULE: &str = "The metadata must be at most 16 KiB as JSON, with at most 1,000 values and 32 \
                                 levels of nesting, and must not contain NUL.";
pub const VARIABLES_RULE: &str = "The variables must be at most 16 KiB as JSON, with at most 1,000 values and 32 \
                                  levels of nesting, and must not contain NUL.";
pub const IDEMPOTENCY_KEY_RULE: &str =
    "The idempotency key must have 1 to 255 characters and no control characters.";
pub const NOTE_RULE: &str = "The note must have 1 to 500 characters, at least one of them visible, and no control, \
                             line-separator or bidirectional control characters.";
pub const REASON_RULE: &str = "The reason must have 1 to 500 characters, at least one of them visible, and no \
                               control, line-separator or bidirectional control characters.";
pub const LABEL_RULE: &str = "The label must have 1 to 64 characters, at least one of them visible, and no control, \
                              line-separator or bidirectional control characters.";
pub const LOCALE_RULE: &str =
    "The locale is not valid (expected a BCP 47 tag, such as en, de-AT or zh-Hant-TW).";
pub const TIME_ZONE_RULE: &str =
    "The time zone is not valid (expected an IANA time zone name, such as Europe/Vienna).";

/// Returns whether text has at most `chars_max` characters. If the text is much longer, its characters are not counted.
pub fn is_within(text: &str, chars_max: usize) -> bool {
    text.len() <= chars_max * CHAR_BYTES_MAX && text.chars().count() <= chars_max
}

/// Trims a name and checks that it has 1 to 200 characters.
pub fn name(text: &str) -> Option<String> {
    line(text.trim(), NAME_CHARS_MAX)
}

/// Checks that an external id has 1 to 200 characters. The id is not changed.
pub fn external_id(text: &str) -> Option<String> {
    line(text, EXTERNAL_ID_CHARS_MAX)
}

/// Checks that an idempotency key has 1 to 255 characters. The key is not changed. Invisible characters are allowed,
/// because the key is not displayed.
pub fn idempotency_key(text: &str) -> Option<String> {
    let fits = !text.is_empty() && is_within(text, IDEMPOTENCY_KEY_CHARS_MAX);
    (fits && may_be_stored(text)).then(|| text.to_owned())
}

/// Trims a note and checks that it has 1 to 500 characters.
pub fn note(text: &str) -> Option<String> {
    line(text.trim(), NOTE_CHARS_MAX)
}

/// Trims a label or tag and checks that it has 1 to 64 characters.
pub fn label(text: &str) -> Option<String> {
    line(text.trim(), LABEL_CHARS_MAX)
}

/// Returns a well-formed BCP 47 tag in its canonical case.
pub fn locale(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() <= LOCALE_CHARS_MAX).then(|| Locale::normalize(text).ok())?.map(Into::into)
}

/// Finds a time zone by its name in the IANA database.
pub fn time_zone(text: &str) -> Option<TimeZone> {
    let text = text.trim();
    (text.len() <= TIME_ZONE_BYTES_MAX).then(|| TimeZone::named(text))?
}

/// Returns the JSON text of metadata. The object must be at most 16 KiB, and have at most 1,000 values and 32 levels of
/// nesting. It must not contain NUL, because PostgreSQL cannot store NUL, or names that `serde_json` reserves. Equal
/// objects have equal JSON text, because the names are sorted.
pub fn metadata(metadata: &Map<String, Value>) -> Option<String> {
    let mut budget = ObjectBudget { values: OBJECT_VALUES_MAX, bytes: METADATA_BYTES_MAX };
    if !budget.fits_members(metadata, METADATA_LEVELS_MAX) {
        return None;
    }
    serde_json::to_string(metadata).ok().filter(|text| text.len() <= METADATA_BYTES_MAX)
}

/// Returns whether an object can be the variables of a template. The rules are the same as for [`metadata`].
pub fn are_variables(variables: &Map<String, Value>) -> bool {
    metadata(variables).is_some()
}

/// The number of values and bytes that an object may still have. An object that is too large is refused before all of
/// it is read.
struct ObjectBudget {
    values: usize,
    /// Bytes of the object's strings. The JSON text of the strings has at least as many bytes.
    bytes: usize,
}

impl ObjectBudget {
    fn fits_members(&mut self, object: &Map<String, Value>, levels: usize) -> bool {
        levels > 0
            && object.iter().all(|(name, value)| {
                !name.starts_with("$serde_json::private")
                    && self.fits_text(name)
                    && self.fits(value, levels - 1)
            })
    }

    fn fits(&mut self, value: &Value, levels: usize) -> bool {
        let Some(values) = self.values.checked_sub(1) else { return false };
        self.values = values;
        match value {
            Value::String(text) => self.fits_text(text),
            Value::Array(values) => {
                levels > 0 && values.iter().all(|value| self.fits(value, levels - 1))
            }
            Value::Object(object) => self.fits_members(object, levels),
            _ => true,
        }
    }

    fn fits_text(&mut self, text: &str) -> bool {
        let Some(bytes) = self.bytes.checked_sub(text.len()) else { return false };
        self.bytes = bytes;
        !text.contains('\0')
    }
}

/// Returns whether a stored name, id or address can equal this text. Stored values have no control characters, and
/// PostgreSQL refuses a query with NUL.
pub fn may_be_stored(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Returns whether text is a single line that is displayed as it is stored: without control characters, without
/// Unicode's line and paragraph separators, and without characters that change the text direction.
pub fn is_line(text: &str) -> bool {
    !text.chars().any(|char| {
        let is_separator = matches!(char, '\u{2028}' | '\u{2029}');
        char.is_control() || is_separator || is_bidi_control(char)
    })
}

/// Returns whether a character has Unicode's property `Bidi_Control`.
fn is_bidi_control(char: char) -> bool {
    matches!(
        char,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    )
}

/// Returns whether the text has any visible character.
pub fn is_visible(text: &str) -> bool {
    !text.chars().all(|char| char.is_whitespace() || is_ignorable(char))
}

/// Returns whether a character has Unicode's property `Default_Ignorable_Code_Point`, or is the Braille pattern without
/// dots.
pub fn is_ignorable(char: char) -> bool {
    matches!(
        char,
        '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFF8}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

fn line(text: &str, chars_max: usize) -> Option<String> {
    let fits = is_within(text, chars_max) && is_visible(text) && is_line(text);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_a_visible_single_line() {
        for text in [
            "Ada",
            " Ada ",
            "Ada\u{200D}B",
            "می\u{200C}خواهم",
            "שלום",
            "👩\u{200D}💻",
            "☎\u{FE0F}",
            "a\u{AD}b",
            "-",
        ] {
            assert_eq!(name(text).as_deref(), Some(text.trim()), "{text:?}");
        }
        for text in [
            "",
            " ",
            "\u{A0}\u{3000}",
            "\u{200B}",
            "\u{200D}\u{200C}\u{2060}\u{FEFF}",
            " \u{3164} ",
            "\u{2800}",
            "\u{E0041}",
            "a\nb",
            "a\tb",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{2029}b",
            "a\u{202E}b",
            "a\u{2067}b\u{2069}",
            "a\u{200E}b",
            "a\u{200F}b",
            "a\u{61C}b",
        ] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }

    /// The object itself is not included in the number of values.
    #[test]
    fn metadata_that_is_too_large_is_refused() {
        let list = |values: usize| json!({ "a": vec![0; values - 1] });
        let many = |values: usize| {
            Value::Object((0..values).map(|at| (at.to_string(), json!([]))).collect())
        };
        let long = |bytes: usize| json!({ "a": "a".repeat(bytes - r#"{"a":""}"#.len()) });
        let quotes = |count: usize| json!({ "a": "\"".repeat(count) });
        let nested =
            |levels: usize| json!({ "a": (2..levels).fold(json!([]), |inner, _| json!([inner])) });
        let object = |value: Value| match value {
            Value::Object(object) => object,
            _ => unreachable!("it is an object"),
        };
        for good in [
            json!({}),
            list(OBJECT_VALUES_MAX),
            many(OBJECT_VALUES_MAX),
            long(METADATA_BYTES_MAX),
            quotes((METADATA_BYTES_MAX - 8) / 2),
            nested(METADATA_LEVELS_MAX),
        ] {
            assert!(are_variables(&object(good.clone())));
            assert_eq!(metadata(&object(good.clone())), Some(good.to_string()));
        }
        for bad in [
            list(OBJECT_VALUES_MAX + 1),
            many(OBJECT_VALUES_MAX + 1),
            long(METADATA_BYTES_MAX + 1),
            quotes((METADATA_BYTES_MAX - 8) / 2 + 1),
            nested(METADATA_LEVELS_MAX + 1),
            json!({ "a\0": 1 }),
            json!({ "a": ["\0"] }),
            json!({ "$serde_json::private::Number": "1" }),
        ] {
            assert!(!are_variables(&object(bad.clone())), "{bad}");
            assert_eq!(metadata(&object(bad)), None);
        }
    }

    #[test]
    fn the_length_of_a_text_is_its_number_of_characters() {
        for char in ["a", "é", "€", "😀"] {
            assert!(is_within(&char.repeat(200), 200), "{char}");
            assert!(!is_within(&char.repeat(201), 200), "{char}");
        }
        assert!(is_within("", 0));
    }

    #[test]
    fn a_time_zone_is_found_by_its_trimmed_name() {
        assert_eq!(time_zone(" Europe/Vienna "), TimeZone::named("Europe/Vienna"));
        assert_eq!(time_zone(&"Europe/Vienna".repeat(20_000)), None);
    }

    #[test]
    fn an_idempotency_key_may_have_invisible_characters() {
        for key in [" ", "a\u{2028}", "\u{200B}", "\u{202E}"] {
            assert_eq!(idempotency_key(key).as_deref(), Some(key));
        }
    }
}
