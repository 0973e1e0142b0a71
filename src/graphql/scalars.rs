//! The custom scalars of the API.

use async_graphql::{InputValueError, InputValueResult, Number, Scalar, ScalarType, Value};
use chrono::{Datelike, NaiveDate, SecondsFormat, Utc};
use serde_json::Map;

use crate::{
    domain::Fault,
    json,
    limits::memory_budget::Reservation,
    money::{GivenAmount, Micros},
};

/// The currency in which all amounts are given.
pub const CURRENCY: &str = "USD";

/// The kind of value that was passed for a custom scalar, as far as the kind is known before
/// execution.
#[derive(Clone, Copy, Debug)]
pub enum Given<'v> {
    Number,
    Text(&'v str),
    Object,
    /// A list, a boolean or an enum value.
    Other,
}

/// Checks the value for a custom scalar before anything is executed. The error says which kind of
/// value was expected.
pub fn check(scalar: &str, given: Given<'_>) -> Result<(), &'static str> {
    match (scalar, given) {
        ("Cents", Given::Number) | ("JSONObject", Given::Object) => Ok(()),
        ("DateTime", Given::Text(text)) if DateTime::read(text).is_some() => Ok(()),
        ("Date", Given::Text(text)) if Date::read(text).is_some() => Ok(()),
        ("Cents", _) => Err(CENTS),
        ("JSONObject", _) => Err(JSON_OBJECT),
        ("DateTime", _) => Err(DATE_TIME),
        ("Date", _) => Err(DATE),
        _ => Ok(()),
    }
}

const CENTS: &str = "expected a number of cents, such as 4500 or 0.04";
const DATE_TIME: &str = "expected an RFC 3339 time, such as 2026-11-23T10:00:00Z";
const DATE: &str = "expected a date in the form YYYY-MM-DD";
const JSON_OBJECT: &str = "expected a JSON object";

/// The GraphQL scalar `Cents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cents(pub GivenAmount);

impl From<Micros> for Cents {
    fn from(amount: Micros) -> Self {
        Self(Ok(amount))
    }
}

/// Amount of money in cents, as a JSON number: an integer where possible (4500), otherwise with up
/// to four decimal places (0.04). Inputs such as 4500.0 and 4.5e3 are accepted, as 4500. The
/// largest amount is 100000000000 cents, so a double-precision number represents every value
/// exactly. Amounts with more decimal places and larger amounts are refused.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259#section-6")]
impl ScalarType for Cents {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => Ok(Self(Micros::from_cents_text(number.as_str()))),
            _ => Err(InputValueError::custom(CENTS)),
        }
    }

    fn to_value(&self) -> Value {
        let text = self.0.map(Micros::to_cents_text).ok();
        text.and_then(|text| text.parse::<Number>().ok()).map_or(Value::Null, Value::Number)
    }
}

/// The GraphQL scalar `DateTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// Point in time in UTC (RFC 3339), such as 2026-11-23T10:00:00.000Z.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let moment = match &value {
            Value::String(text) => Self::read(text),
            _ => None,
        };
        moment.ok_or_else(|| InputValueError::custom(DATE_TIME))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// The GraphQL scalar `Date`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(pub NaiveDate);

/// Day in UTC as YYYY-MM-DD, such as 2026-11-23.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339#section-5.6")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        let day = match &value {
            Value::String(text) => Self::read(text),
            _ => None,
        };
        day.ok_or_else(|| InputValueError::custom(DATE))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.format("%Y-%m-%d").to_string())
    }
}

impl DateTime {
    /// Parses a time and reduces it to whole milliseconds, without leap seconds, so that all
    /// databases store the same value. Returns `None` if the time is outside the years that RFC
    /// 3339 can express.
    fn read(text: &str) -> Option<Self> {
        let moment = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        let moment = chrono::DateTime::from_timestamp_millis(moment.timestamp_millis())?;
        has_four_digits(moment.year()).then_some(Self(moment))
    }
}

impl Date {
    fn read(text: &str) -> Option<Self> {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        has_four_digits(day.year()).then_some(Self(day))
    }
}

fn has_four_digits(year: i32) -> bool {
    (0..=9999).contains(&year)
}

/// Approximate number of bytes that a JSON value needs in addition to its text. It covers both
/// reading the value and returning it.
pub const JSON_VALUE_BYTES: usize = 160;

/// The GraphQL scalar `JSONObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonObject(pub Map<String, serde_json::Value>);

impl JsonObject {
    /// Reads an object from a column that contains it as text. The object is counted against the
    /// request's memory reservation.
    pub fn from_column(
        text: Option<&str>,
        reservation: &Reservation,
    ) -> Result<Option<Self>, Fault> {
        reservation.take(text.map_or(0, json_bytes))?;
        let read = |text: &str| json::parse(text.as_bytes()).map(Self);
        text.map(read).transpose().map_err(|_| Fault::Broken("stored metadata is a JSON object"))
    }
}

/// Returns the approximate number of bytes that JSON needs when it is read and returned. The number
/// of values is estimated by counting the characters that precede a value.
fn json_bytes(text: &str) -> usize {
    let values = text.bytes().filter(|byte| b",:[{".contains(byte)).count();
    2 * text.len() + values * JSON_VALUE_BYTES
}

/// A JSON object with your own data. It is returned exactly as given, including the precision of
/// numbers.
#[Scalar(
    name = "JSONObject",
    specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259#section-4"
)]
impl ScalarType for JsonObject {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value.into_json() {
            Ok(serde_json::Value::Object(object)) => Ok(Self(object)),
            _ => Err(InputValueError::custom(JSON_OBJECT)),
        }
    }

    fn to_value(&self) -> Value {
        to_value(serde_json::Value::Object(self.0.clone()))
    }
}

/// Converts JSON to a value of async-graphql. serde is not used for the conversion, because it
/// would turn exact numbers into objects: `serde_json` serializes them in a special way.
pub fn to_value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Boolean(value),
        serde_json::Value::Number(value) => Value::Number(value),
        serde_json::Value::String(value) => Value::String(value),
        serde_json::Value::Array(values) => Value::List(values.into_iter().map(to_value).collect()),
        serde_json::Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(name, value)| (async_graphql::Name::new(name), to_value(value)))
                .collect(),
        ),
    }
}
