//! The variables of a message as its template sees them. Lists and maps are never compared: the library would
//! walk through both for one step, however much they hold. A render that tries to fails.

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

    /// What a render starts from.
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

/// Notes a comparison with another list or map of the variables, whose outcome does not matter any more. One that
/// is written in the template is short.
fn compare(were_compared: &AtomicBool, other: &DynObject) -> Option<Ordering> {
    let is_given = other.downcast_ref::<List>().is_some() || other.downcast_ref::<Map>().is_some();
    if !is_given {
        return None;
    }
    were_compared.store(true, atomic::Ordering::Relaxed);
    Some(Ordering::Equal)
}

/// JSON as the library's own values. Its serde route would turn exact numbers into objects, for `serde_json`
/// hands those over in a way of its own.
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

/// A whole number, or the nearest double; what is neither is its text.
fn from_number(number: &Number) -> Value {
    let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    let any = whole.or_else(|| number.as_f64().map(Value::from));
    any.unwrap_or_else(|| Value::from(number.to_string()))
}
