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

/// One currency for an installation.
pub const CURRENCY: &str = "USD";

/// What a custom scalar is given, as far as that can be judged.
#[derive(Clone, Copy, Debug)]
pub enum Given<'v> {
    Number,
    Text(&'v str),
    Object,
    /// A list, a boolean or a value of an enum.
    Other,
}

/// Checks what a custom scalar is given before anything is executed; the error says what is expected.
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

const CENTS: &str = "cents are given as a number, such as 4500 or 0.04";
const DATE_TIME: &str = "a time is given as RFC 3339, such as 2026-11-23T10:00:00Z";
const DATE: &str = "a day is given as YYYY-MM-DD";
const JSON_OBJECT: &str = "a JSON object is expected";

/// GraphQL's `Cents`, described there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cents(pub GivenAmount);

impl From<Micros> for Cents {
    fn from(amount: Micros) -> Self {
        Self(Ok(amount))
    }
}

/// Money in cents, as a JSON number: whole where it can be (4500), else with up to four decimals
/// (0.04). 4500.0 and 4.5e3 are 4500. No amount is beyond 100000000000 cents, so every value
/// survives a double. What has more decimals or is beyond that bound is refused by the field it was
/// given to.
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

/// GraphQL's `DateTime`, described there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// A moment in UTC (RFC 3339), such as 2026-11-23T10:00:00.000Z.
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

/// GraphQL's `Date`, described there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(pub NaiveDate);

/// A day in UTC, as YYYY-MM-DD.
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
    /// Whole milliseconds, without leap seconds, in years that RFC 3339 can write: the same on every database.
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

/// About how many bytes a value of JSON takes besides its text: as it is read, and as it is answered.
const JSON_VALUE_BYTES: usize = 160;

/// GraphQL's `JSONObject`, described there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonObject(pub Map<String, serde_json::Value>);

impl JsonObject {
    /// A column that holds an object as text; it takes its share of what the request may hold.
    pub fn from_column(
        text: Option<&str>,
        reservation: &Reservation,
    ) -> Result<Option<Self>, Fault> {
        reservation.take(text.map_or(0, json_bytes))?;
        let read = |text: &str| json::parse(text.as_bytes()).map(Self);
        text.map(read).transpose().map_err(|_| Fault::Broken("stored metadata is a JSON object"))
    }
}

/// About how much room JSON takes once it is read and answered. Each value but the first follows one of these signs.
fn json_bytes(text: &str) -> usize {
    let values = text.bytes().filter(|byte| b",:[{".contains(byte)).count();
    2 * text.len() + values * JSON_VALUE_BYTES
}

/// A JSON object of your own; kept as it is, numbers exactly.
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

/// JSON as the library's own value. Its serde route would turn exact numbers into objects, for
/// `serde_json` hands those over in a way of its own.
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
