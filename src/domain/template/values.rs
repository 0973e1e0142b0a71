//! Converts the variables of a message to values of the template library. Comparing two lists or maps makes the
//! rendering fail, because the library would compare all their items and count the comparison as only one step.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{self, AtomicBool},
    },
};

use minijinja::{
    Value,
    value::{DynObject, Enumerator, Object, ObjectExt as _, ObjectRepr},
};
use serde_json::{Number, Value as Json};

/// Variables by name.
#[derive(Default)]
pub struct Values {
    by_name: BTreeMap<String, Value>,
    were_compared: Arc<AtomicBool>,
}

impl Values {
    pub fn insert(&mut self, name: &str, value: &Json) {
        self.by_name.insert(name.to_owned(), from_json(value, &self.were_compared));
    }

    /// Returns all variables as one map.
    pub fn root(&self) -> Value {
        Value::from(self.by_name.clone())
    }

    /// Returns whether two lists or two maps were compared.
    pub fn were_compared(&self) -> bool {
        self.were_compared.load(atomic::Ordering::Relaxed)
    }
}

/// A list or a map.
#[derive(Debug)]
struct Container {
    items: Items,
    were_compared: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Items {
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Object for Container {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.items {
            Items::List(_) => ObjectRepr::Seq,
            Items::Map(_) => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match &self.items {
            Items::List(values) => values.get(key.as_usize()?).cloned(),
            Items::Map(entries) => entries.get(key.as_str()?).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.items {
            Items::List(values) => Enumerator::Seq(values.len()),
            Items::Map(_) => self.mapped_enumerator(|container| match &container.items {
                Items::List(_) => Box::new(std::iter::empty()),
                Items::Map(entries) => {
                    Box::new(entries.keys().map(|key| Value::from(key.as_str())))
                }
            }),
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(match &self.items {
            Items::List(values) => values.len(),
            Items::Map(entries) => entries.len(),
        })
    }

    /// Records a comparison with another list or map from the variables. The rendering then fails, so the result does
    /// not matter. A list that is written in the template is short and may be compared.
    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>()?;
        self.were_compared.store(true, atomic::Ordering::Relaxed);
        Some(Ordering::Equal)
    }
}

/// Converts JSON to the library's values. The library's own conversion by serde is not used, because it turns numbers
/// into objects if the feature `arbitrary_precision` of `serde_json` is enabled, as in this program.
fn from_json(json: &Json, were_compared: &Arc<AtomicBool>) -> Value {
    let convert = |json| from_json(json, were_compared);
    let items = match json {
        Json::Null => return Value::from(()),
        Json::Bool(value) => return Value::from(*value),
        Json::Number(number) => return from_number(number),
        Json::String(text) => return Value::from(text.as_str()),
        Json::Array(values) => Items::List(values.iter().map(convert).collect()),
        Json::Object(object) => {
            Items::Map(object.iter().map(|(name, value)| (name.clone(), convert(value))).collect())
        }
    };
    Value::from_object(Container { items, were_compared: Arc::clone(were_compared) })
}

/// Converts a number to an integer, or else to the nearest double, or else to text.
fn from_number(number: &Number) -> Value {
    let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    let any = whole.or_else(|| number.as_f64().map(Value::from));
    any.unwrap_or_else(|| Value::from(number.to_string()))
}
