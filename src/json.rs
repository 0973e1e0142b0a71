//! Checks JSON from clients, files and other processes before it is parsed. All untrusted JSON must pass [`parse`].
//! Elsewhere, Clippy forbids the parsing functions of `serde_json` and axum's `Json`. Clippy cannot forbid
//! `str::parse::<serde_json::Value>`, but only tests use that function.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

/// Maximum nesting depth of arrays and objects. A message's metadata may have half of this depth.
pub const DEPTH_MAX: usize = 64;
/// Maximum number of values, including arrays and objects. Each value takes about 100 bytes of memory.
pub const VALUES_MAX: usize = 20_000;
/// The prefix of names that have a special meaning in `serde_json`. They have this meaning because sqlx enables the
/// `raw_value` feature of `serde_json`, and this program enables `arbitrary_precision`.
///
/// If the first name of an object is `$serde_json::private::RawValue`, its value is a string that is parsed again, with
/// a new depth limit. About 50 such objects inside each other overflow the stack and end the process. An object with
/// the name `$serde_json::private::Number` becomes a number.
const PRIVATE_PREFIX: &str = "$serde_json::private";

/// The reason why JSON is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("The JSON is not valid, or not of the expected shape.")]
    Invalid,
    #[error("The JSON is nested too deeply (at most {DEPTH_MAX} levels are accepted).")]
    TooDeep,
    #[error("The JSON has too many values (at most {VALUES_MAX} are accepted).")]
    TooManyValues,
    #[error("The JSON has a reserved key (keys must not begin with {PRIVATE_PREFIX}).")]
    ReservedName,
    #[error("The top-level JSON object has a duplicate key.")]
    DuplicateName,
}

/// The nesting depth and the number of values of a JSON document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    depth: usize,
    values: usize,
}

/// Parses JSON with a limited depth and number of values.
///
/// # Errors
/// See [`JsonError`]. An error never contains a part of the input.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    measure(text)?;
    from_slice(text)
}

#[expect(clippy::disallowed_methods, reason = "the text was checked, or is a string")]
fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice(text).map_err(|_| JsonError::Invalid)
}

/// Measures JSON in one pass without recursion. Input that is not valid JSON may pass this step; the parser then
/// refuses it.
fn measure(text: &[u8]) -> Result<Extent, JsonError> {
    let mut extent = Extent::default();
    let mut outermost_names = HashSet::new();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        let is_value = match byte {
            b'"' => {
                let begin = at;
                at = end_of_string(text, begin);
                at += 1;
                let is_name = is_colon_next(text, at);
                // Names at a deeper level that do not begin with `$` or an escape sequence are skipped. They cannot be
                // reserved, and they may occur more than once.
                if is_name && (depth == 1 || matches!(text.get(begin), Some(b'$' | b'\\'))) {
                    let name: String = from_slice(&text[begin - 1..at.min(text.len())])?;
                    if name.starts_with(PRIVATE_PREFIX) {
                        return Err(JsonError::ReservedName);
                    }
                    if depth == 1 && !outermost_names.insert(name) {
                        return Err(JsonError::DuplicateName);
                    }
                }
                !is_name
            }
            b'{' | b'[' => {
                depth += 1;
                true
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                false
            }
            byte if is_between_values(*byte) => false,
            _ => {
                // A number, `true`, `false` or `null`.
                let is_inside = |byte: &u8| !is_between_values(*byte) && !b"\"{}[]".contains(byte);
                at += text[at..].iter().take_while(|byte| is_inside(byte)).count();
                true
            }
        };
        extent.depth = extent.depth.max(depth);
        extent.values += usize::from(is_value);
        if extent.depth > DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        if extent.values > VALUES_MAX {
            return Err(JsonError::TooManyValues);
        }
    }
    Ok(extent)
}

fn is_between_values(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')
}

/// Returns the index of the quotation mark that ends a string, or the length of the text if the string does not end.
fn end_of_string(text: &[u8], begin: usize) -> usize {
    let mut at = begin;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn is_colon_next(text: &[u8], at: usize) -> bool {
    let mut rest = text.iter().skip(at);
    rest.find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn extent_of(value: &Value) -> Extent {
        let children: Vec<&Value> = match value {
            Value::Array(values) => values.iter().collect(),
            Value::Object(object) => object.values().collect(),
            _ => return Extent { depth: 0, values: 1 },
        };
        let inner = children.into_iter().map(extent_of).fold(Extent::default(), |sum, next| {
            Extent { depth: sum.depth.max(next.depth), values: sum.values + next.values }
        });
        Extent { depth: inner.depth + 1, values: inner.values + 1 }
    }

    fn has_private_name(value: &Value) -> bool {
        match value {
            Value::Array(values) => values.iter().any(has_private_name),
            Value::Object(object) => object
                .iter()
                .any(|(name, value)| name.starts_with(PRIVATE_PREFIX) || has_private_name(value)),
            _ => false,
        }
    }

    /// Generates random sequences of JSON tokens, incomplete tokens, and names that `serde_json` reserves.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "\"a\"",
            "\"b\":",
            "{\"c\" :",
            "null",
            "true",
            "-1.5e3",
            "0",
            " ",
            "\n",
            "\"\\\"\"",
            "\"\\u005c\"",
            "\"$serde_json::private::RawValue\":",
            "\"\\u0024serde_json::private::Number\":",
            "\"[[1]]\"",
            "{}",
            "[]",
            "\"é\"",
            "\u{feff}",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".{0,6}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        /// A parsed value has exactly the measured depth, and at most the measured number of values. It can have fewer
        /// values, because both values of a duplicate name are measured but only the last one is kept. (At the top
        /// level, a duplicate name is refused.)
        #[test]
        fn text_that_is_parsed_was_measured_correctly(text in pieces()) {
            if let Ok(value) = parse::<Value>(text.as_bytes()) {
                let (measured, real) = (measure(text.as_bytes()).expect("it passed"), extent_of(&value));
                prop_assert_eq!(measured.depth, real.depth);
                prop_assert!(measured.values >= real.values);
                prop_assert!(!has_private_name(&value));
            }
        }

        #[test]
        fn valid_json_is_measured_exactly_and_parsed(value in values()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("JSON")] {
                prop_assert_eq!(measure(text.as_bytes()), Ok(extent_of(&value)));
                prop_assert_eq!(parse::<Value>(text.as_bytes()), Ok(value.clone()));
            }
        }
    }

    #[test]
    fn depth_and_number_of_values_are_limited() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let list = |values: usize| format!("[{}]", vec!["0"; values].join(","));
        assert!(parse::<Value>(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(parse::<Value>(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(parse::<Value>("[".repeat(1_000_000).as_bytes()), Err(JsonError::TooDeep));
        assert!(parse::<Value>(list(VALUES_MAX - 1).as_bytes()).is_ok());
        assert_eq!(parse::<Value>(list(VALUES_MAX).as_bytes()), Err(JsonError::TooManyValues));
    }

    #[test]
    fn reserved_names_are_refused_however_they_are_written() {
        for name in [
            "$serde_json::private::RawValue",
            "$serde_json::private::Number",
            r"\u0024serde_json::private::RawValue",
            r"$serde\u005fjson::private::Number",
            r"\u0024\u0073erde_json::private",
        ] {
            for text in [format!(r#"{{"{name}":"7"}}"#), format!("[{{\"{name}\" \n\t: \"[1]\"}}]")]
            {
                assert_eq!(parse::<Value>(text.as_bytes()), Err(JsonError::ReservedName), "{text}");
            }
            let as_value = format!(r#"["{name}"]"#);
            assert!(parse::<Value>(as_value.as_bytes()).is_ok(), "{as_value}");
        }
        assert!(parse::<Value>(br#"{"$serde_json":1, "a$serde_json::private::Number":2}"#).is_ok());
    }

    #[test]
    fn a_duplicate_name_in_the_top_level_object_is_refused() {
        assert_eq!(parse::<Value>(br#"{"query":1,"query":2}"#), Err(JsonError::DuplicateName));
        assert_eq!(parse::<Value>(br#"{"query":1,"\u0071uery":2}"#), Err(JsonError::DuplicateName));
        assert!(parse::<Value>(br#"{"a":{"query":1},"query":2}"#).is_ok());
        // Characters beyond U+FFFF are escaped as surrogate pairs.
        assert!(parse::<Value>(br#"{"\ud83d\ude00":1,"\ud83d\ude01":2}"#).is_ok());
        let twice = br#"{"\ud83d\ude00":1,"\uD83D\uDE00":2}"#;
        assert_eq!(parse::<Value>(twice), Err(JsonError::DuplicateName));
        for half in [r"\ud83d", r"\ude00\ud83d", r"\ud83d\u0041", r"\ud83dx", r"\ud83d\n", r"\u00"]
        {
            let text = format!(r#"{{"{half}":1}}"#);
            assert_eq!(parse::<Value>(text.as_bytes()), Err(JsonError::Invalid), "{half}");
        }
    }

    #[test]
    fn invalid_json_is_refused() {
        for text in
            ["", "{", "\"", "\"\\", "{\"a\":}", "[1,]", "nul", "1 2", "{\"a\" \"b\"}", "\u{0}"]
        {
            assert_eq!(parse::<Value>(text.as_bytes()), Err(JsonError::Invalid), "{text:?}");
        }
        assert_eq!(parse::<Value>(b"\"\xff\""), Err(JsonError::Invalid));
        assert_eq!(parse::<Map<String, Value>>(b"[]"), Err(JsonError::Invalid));
    }
}
