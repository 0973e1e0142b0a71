//! The custom scalars of the API.

use async_graphql::{InputValueError, InputValueResult, Number, Scalar, ScalarType, Value};
use chrono::{Datelike, NaiveDate, SecondsFormat, Utc};
use serde_json::Map;

use crate::{
    domain::{Fault, room::Room},
    json,
    money::{GivenAmount, Micros},
};

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
            _ => Err(InputValueError::custom("cents are given as a number, such as 4500 or 0.04")),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Number(_))
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
            Value::String(text) => chrono::DateTime::parse_from_rfc3339(text).ok(),
            _ => None,
        };
        // Whole milliseconds, without leap seconds, in years that RFC 3339 can write: the same on
        // every database.
        moment
            .and_then(|moment| chrono::DateTime::from_timestamp_millis(moment.timestamp_millis()))
            .filter(|moment| has_four_digits(moment.year()))
            .map(Self)
            .ok_or_else(|| {
                InputValueError::custom("a time is given as RFC 3339, such as 2026-11-23T10:00:00Z")
            })
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
            Value::String(text) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
            _ => None,
        };
        day.filter(|day| has_four_digits(day.year()))
            .map(Self)
            .ok_or_else(|| InputValueError::custom("a day is given as YYYY-MM-DD"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.format("%Y-%m-%d").to_string())
    }
}

fn has_four_digits(year: i32) -> bool {
    (0..=9999).contains(&year)
}

/// About how much more room JSON takes once it is read.
const JSON_GROWTH: usize = 8;

/// GraphQL's `JSONObject`, described there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonObject(pub Map<String, serde_json::Value>);

impl JsonObject {
    /// A column that holds an object as text; it takes its share of what the request may hold.
    pub fn from_column(text: Option<&str>, room: &Room) -> Result<Option<Self>, Fault> {
        room.take(text.map_or(0, str::len) * JSON_GROWTH)?;
        let read = |text: &str| json::parse(text.as_bytes()).map(Self);
        text.map(read).transpose().map_err(|_| Fault::Broken("stored metadata is a JSON object"))
    }
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
            _ => Err(InputValueError::custom("a JSON object is expected")),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Object(_))
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
