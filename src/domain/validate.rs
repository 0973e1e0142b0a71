//! What several features ask of the same kind of input. Each function gives the normalised value or
//! `None`; the caller writes the refusal, for the code is its own.

use icu_locale_core::Locale;
use serde_json::{Map, Value};

use crate::time_zone::TimeZone;

/// Characters of a name at most.
pub const NAME_CHARS_MAX: usize = 200;
/// Characters of an external id at most.
pub const EXTERNAL_ID_CHARS_MAX: usize = 200;
/// Bytes of metadata as compact JSON at most.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Levels of objects and lists in metadata at most: what is stored must be readable again.
pub const METADATA_LEVELS_MAX: usize = 32;
/// Characters of an idempotency key at most.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Characters of a note or a reason at most.
pub const NOTE_CHARS_MAX: usize = 500;

/// Bytes of a character at most.
const CHAR_BYTES_MAX: usize = 4;
/// Bytes of the name of a time zone at most: the longest has half as many.
const TIME_ZONE_BYTES_MAX: usize = 64;

/// Characters of a label or a tag at most.
pub const LABEL_CHARS_MAX: usize = 64;
/// Characters of a language tag at most; what RFC 5646 (section 4.4.1) advises, and more.
pub const LOCALE_CHARS_MAX: usize = 64;
/// Values of metadata, and of the variables of a template, at most at all levels, arrays and objects among them. Each is
/// made anew whenever it is read, and a template compares as many in one step.
pub const OBJECT_VALUES_MAX: usize = 1_000;

pub const NAME_RULE: &str = "The name must have 1 to 200 characters, at least one of them visible, and no control, line-separator or direction characters.";
pub const METADATA_RULE: &str = "The metadata must be at most 16 KiB as JSON, 1,000 values and 32 levels deep, and must not hold NUL.";
pub const VARIABLES_RULE: &str = "The variables must be at most 16 KiB as JSON, 1,000 values and 32 levels deep, and must not hold NUL.";
pub const IDEMPOTENCY_KEY_RULE: &str =
    "The idempotency key must have 1 to 255 characters and no control characters.";
pub const NOTE_RULE: &str = "The note must have 1 to 500 characters, at least one of them visible, and no control, line-separator or direction characters.";
pub const REASON_RULE: &str = "The reason must have 1 to 500 characters, at least one of them visible, and no control, line-separator or direction characters.";
pub const LABEL_RULE: &str = "The label must have 1 to 64 characters, at least one of them visible, and no control, line-separator or direction characters.";
pub const LOCALE_RULE: &str = "The locale must be a BCP 47 tag, such as en, de-AT or zh-Hant-TW.";
pub const TIME_ZONE_RULE: &str =
    "The time zone must be a name of the IANA time zone database, such as Europe/Vienna.";

/// Whether text has so many characters at most. Text that is much too long is not walked through.
pub fn is_within(text: &str, chars_max: usize) -> bool {
    text.len() <= chars_max * CHAR_BYTES_MAX && text.chars().count() <= chars_max
}

/// A trimmed name of 1 to 200 characters.
pub fn name(text: &str) -> Option<String> {
    line(text.trim(), NAME_CHARS_MAX)
}

/// An external id of 1 to 200 characters, as given.
pub fn external_id(text: &str) -> Option<String> {
    line(text, EXTERNAL_ID_CHARS_MAX)
}

/// An idempotency key of 1 to 255 characters, as given: nobody reads it.
pub fn idempotency_key(text: &str) -> Option<String> {
    let fits = !text.is_empty() && is_within(text, IDEMPOTENCY_KEY_CHARS_MAX);
    (fits && may_be_stored(text)).then(|| text.to_owned())
}

/// A trimmed note of 1 to 500 characters.
pub fn note(text: &str) -> Option<String> {
    line(text.trim(), NOTE_CHARS_MAX)
}

/// A trimmed label or tag of 1 to 64 characters.
pub fn label(text: &str) -> Option<String> {
    line(text.trim(), LABEL_CHARS_MAX)
}

/// A well-formed BCP 47 tag, in its usual capitals.
pub fn locale(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() <= LOCALE_CHARS_MAX).then(|| Locale::normalize(text).ok())?.map(Into::into)
}

/// A name of the IANA time zone database, as it is written there.
pub fn time_zone(text: &str) -> Option<TimeZone> {
    let text = text.trim();
    (text.len() <= TIME_ZONE_BYTES_MAX).then(|| TimeZone::named(text))?
}

/// An object of at most 16 KiB, 1,000 values and 32 levels that can be kept as it is: without NUL, which
/// PostgreSQL cannot keep, and without the names that `serde_json` uses for itself. Gives its text,
/// in which equal objects are equal, for the names are in order.
pub fn metadata(metadata: &Map<String, Value>) -> Option<String> {
    let mut room = ObjectBudget { values: OBJECT_VALUES_MAX, bytes: METADATA_BYTES_MAX };
    if !room.holds_members(metadata, METADATA_LEVELS_MAX) {
        return None;
    }
    serde_json::to_string(metadata).ok().filter(|text| text.len() <= METADATA_BYTES_MAX)
}

/// Whether an object can be the variables of a template: what [`metadata`] lets through.
pub fn are_variables(variables: &Map<String, Value>) -> bool {
    metadata(variables).is_some()
}

/// What an object may still have. Whatever is too large is told before all of it was walked through.
struct ObjectBudget {
    values: usize,
    /// Of its texts, which have no fewer in JSON.
    bytes: usize,
}

impl ObjectBudget {
    fn holds_members(&mut self, object: &Map<String, Value>, levels: usize) -> bool {
        levels > 0
            && object.iter().all(|(name, value)| {
                !name.starts_with("$serde_json::private")
                    && self.holds_text(name)
                    && self.holds(value, levels - 1)
            })
    }

    fn holds(&mut self, value: &Value, levels: usize) -> bool {
        let Some(values) = self.values.checked_sub(1) else { return false };
        self.values = values;
        match value {
            Value::String(text) => self.holds_text(text),
            Value::Array(values) => {
                levels > 0 && values.iter().all(|value| self.holds(value, levels - 1))
            }
            Value::Object(object) => self.holds_members(object, levels),
            _ => true,
        }
    }

    fn holds_text(&mut self, text: &str) -> bool {
        let Some(bytes) = self.bytes.checked_sub(text.len()) else { return false };
        self.bytes = bytes;
        !text.contains('\0')
    }
}

/// Whether text can be in a row at all: no name, id or address has control characters, and
/// PostgreSQL cannot even be asked for NUL.
pub fn may_be_stored(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether text is one line that reads as it is written: without control characters, without the separators that some
/// libraries end a line at, and without the characters that turn the direction of others.
pub fn is_line(text: &str) -> bool {
    !text.chars().any(|char| {
        let is_separator = matches!(char, '\u{2028}' | '\u{2029}');
        char.is_control() || is_separator || turns_direction(char)
    })
}

/// Unicode's property `Bidi_Control`.
fn turns_direction(char: char) -> bool {
    matches!(
        char,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    )
}

/// Whether anything of the text is seen.
pub fn is_visible(text: &str) -> bool {
    !text.chars().all(|char| char.is_whitespace() || is_ignorable(char))
}

/// Unicode's property `Default_Ignorable_Code_Point`, and the Braille pattern without dots.
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
    fn a_name_is_one_line_that_is_seen() {
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

    /// The object itself is none of its values.
    #[test]
    fn metadata_is_bounded() {
        let list = |values: usize| json!({ "a": vec![0; values - 1] });
        let many = |values: usize| {
            Value::Object((0..values).map(|at| (at.to_string(), json!([]))).collect())
        };
        let long = |bytes: usize| json!({ "a": "a".repeat(bytes - r#"{"a":""}"#.len()) });
        let quotes = |count: usize| json!({ "a": "\"".repeat(count) });
        let nested =
            |levels: usize| json!({ "a": (2..levels).fold(json!([]), |inner, _| json!([inner])) });
        let given = |value: Value| match value {
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
            assert!(are_variables(&given(good.clone())));
            assert_eq!(metadata(&given(good.clone())), Some(good.to_string()));
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
            assert!(!are_variables(&given(bad.clone())), "{bad}");
            assert_eq!(metadata(&given(bad)), None);
        }
    }

    #[test]
    fn long_text_is_told_by_its_bytes() {
        for char in ["a", "é", "€", "😀"] {
            assert!(is_within(&char.repeat(200), 200), "{char}");
            assert!(!is_within(&char.repeat(201), 200), "{char}");
        }
        assert!(is_within("", 0));
    }

    #[test]
    fn a_time_zone_is_a_short_name() {
        assert_eq!(time_zone(" Europe/Vienna "), TimeZone::named("Europe/Vienna"));
        assert_eq!(time_zone(&"Europe/Vienna".repeat(20_000)), None);
    }

    #[test]
    fn an_idempotency_key_is_what_it_always_was() {
        for key in [" ", "a\u{2028}", "\u{200B}", "\u{202E}"] {
            assert_eq!(idempotency_key(key).as_deref(), Some(key));
        }
    }
}
