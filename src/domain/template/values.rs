//! Converts the variables of a message to values of the template library. Comparing two lists or maps makes the
//! rendering fail, because the library would compare all their items for the price of one step.

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

    /// All variables as one map.
    pub fn root(&self) -> Value {
        Value::from(self.by_name.clone())
    }

    /// Whether two lists or two maps were compared.
    pub fn were_compared(&self) -> bool {
        self.were_compared.load(atomic::Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct List {
    items: Vec<Value>,
    were_compared: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Map {
    entries: BTreeMap<String, Value>,
    were_compared: Arc<AtomicBool>,
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        compare(&self.were_compared, other)
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.entries.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|map| {
            Box::new(map.entries.keys().map(|key| Value::from(key.as_str())))
        })
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        compare(&self.were_compared, other)
    }
}

/// Records a comparison with another list or map of the variables; the rendering then fails, so the result is
/// arbitrary. A list that is written in the template is short and may be compared.
fn compare(were_compared: &AtomicBool, other: &DynObject) -> Option<Ordering> {
    let is_variable =
        other.downcast_ref::<List>().is_some() || other.downcast_ref::<Map>().is_some();
    if !is_variable {
        return None;
    }
    were_compared.store(true, atomic::Ordering::Relaxed);
    Some(Ordering::Equal)
}

/// Converts JSON to the library's values. The library's own conversion by serde is not used because it turns numbers
/// into objects (`serde_json` has the feature `arbitrary_precision`).
fn from_json(json: &Json, were_compared: &Arc<AtomicBool>) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => Value::from_object(List {
            items: values.iter().map(|value| from_json(value, were_compared)).collect(),
            were_compared: Arc::clone(were_compared),
        }),
        Json::Object(object) => {
            let entries = object.iter();
            let entries =
                entries.map(|(name, value)| (name.clone(), from_json(value, were_compared)));
            let entries = entries.collect();
            Value::from_object(Map { entries, were_compared: Arc::clone(were_compared) })
        }
    }
}

/// An integer, or else the nearest double, or else the number as text.
fn from_number(number: &Number) -> Value {
    let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    let any = whole.or_else(|| number.as_f64().map(Value::from));
    any.unwrap_or_else(|| Value::from(number.to_string()))
}
