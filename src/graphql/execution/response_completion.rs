//! Answers as the specification's section 6.4.4 has them. async-graphql 7.2.1 drops the key of a
//! field that failed; the field must be null instead, or, where it is non-null, its nearest nullable
//! parent. One pass over answer and operation mends that, takes out what `collect` put where no field is left, and puts
//! the keys of every object in the order of their selection, for the library answers in the order of completion.

use std::collections::HashSet;

use async_graphql::{
    Name, PathSegment, Response, Value,
    indexmap::IndexMap,
    parser::types::{Field, OperationDefinition, Selection, SelectionSet},
};

use super::{
    collect::NOTHING,
    role_visibility::root_of,
    schema_index::{SchemaIndex, TypeRef},
};

/// A non-null position that has no value: its parent becomes null.
struct NoValue;

/// Mends the answer to an operation, as it was collected.
pub fn complete_response(
    response: &mut Response,
    operation: &OperationDefinition,
    shape: &SchemaIndex,
) {
    let set = &operation.selection_set.node;
    let failed = response.errors.iter().map(|error| keys(&error.path)).collect();
    let mut mender = Completer { shape, failed, path: Vec::new() };
    if mender.failed.is_empty() {
        arrange(set, &mut response.data);
        return;
    }
    let data = std::mem::take(&mut response.data);
    response.data = mender.object(root_of(operation.ty), set, data).unwrap_or(Value::Null);
}

/// The fields of a set, each with its response key.
fn fields(set: &SelectionSet) -> impl Iterator<Item = (&str, &Field)> {
    let keyed = set.items.iter().filter_map(|selection| match &selection.node {
        Selection::Field(field) => Some((field.node.response_key().node.as_str(), &field.node)),
        Selection::FragmentSpread(_) | Selection::InlineFragment(_) => None,
    });
    keyed.filter(|(key, _)| *key != NOTHING)
}

/// Puts the keys of an object, or of the objects of a list, in the order of their selection. Without a failure that is
/// all there is to mend, and mostly not even that.
fn arrange(set: &SelectionSet, value: &mut Value) {
    match value {
        Value::Object(found) => {
            if !found.keys().map(Name::as_str).eq(fields(set).map(|(key, _)| key)) {
                let places: IndexMap<&str, ()> = fields(set).map(|(key, _)| (key, ())).collect();
                found.retain(|key, _| places.contains_key(key.as_str()));
                found.sort_by_cached_key(|key, _| places.get_index_of(key.as_str()));
            }
            for (value, (_, field)) in found.values_mut().zip(fields(set)) {
                let set = &field.selection_set.node;
                if !set.items.is_empty() {
                    arrange(set, value);
                }
            }
        }
        Value::List(values) => values.iter_mut().for_each(|value| arrange(set, value)),
        _ => {}
    }
}

struct Completer<'d> {
    shape: &'d SchemaIndex,
    /// The paths of all errors: what tells an emptied object from a null one.
    failed: HashSet<Vec<String>>,
    path: Vec<String>,
}

impl Completer<'_> {
    fn object(&mut self, on: &str, set: &SelectionSet, value: Value) -> Result<Value, NoValue> {
        let mut found = match value {
            Value::Object(found) => found,
            // The library answers null for an object all of whose fields failed.
            Value::Null if self.has_failed_below() => IndexMap::new(),
            other => return Ok(other),
        };
        let mut mended = IndexMap::new();
        for (key, field) in fields(set) {
            let value = found.swap_remove(key);
            let known = self.shape.field(on, &field.name.node);
            self.path.push(key.to_owned());
            let value = match known {
                Some(known) => self.complete(&known.of_type, &field.selection_set.node, value),
                // `__typename` is the library's own and does not fail.
                None => Ok(value.unwrap_or(Value::Null)),
            };
            self.path.pop();
            mended.insert(Name::new(key), value?);
        }
        Ok(Value::Object(mended))
    }

    fn complete(
        &mut self,
        of_type: &TypeRef,
        set: &SelectionSet,
        value: Option<Value>,
    ) -> Result<Value, NoValue> {
        match of_type {
            TypeRef::NonNull(inner) => match self.complete(inner, set, value)? {
                Value::Null => Err(NoValue),
                value => Ok(value),
            },
            TypeRef::List(inner) => match value {
                Some(Value::List(values)) => Ok(self.list(inner, set, values)),
                _ => Ok(Value::Null),
            },
            TypeRef::Named(name) => match value {
                None => Ok(Value::Null),
                Some(value) if set.items.is_empty() => Ok(value),
                Some(value) => Ok(self.object(name, set, value).unwrap_or(Value::Null)),
            },
        }
    }

    /// A list one of whose non-null items has no value is null itself.
    fn list(&mut self, of_type: &TypeRef, set: &SelectionSet, values: Vec<Value>) -> Value {
        let mut mended = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            self.path.push(index.to_string());
            let value = self.complete(of_type, set, Some(value));
            self.path.pop();
            match value {
                Ok(value) => mended.push(value),
                Err(NoValue) => return Value::Null,
            }
        }
        Value::List(mended)
    }

    fn has_failed_below(&self) -> bool {
        self.failed.iter().any(|path| path.len() > self.path.len() && path.starts_with(&self.path))
    }
}

fn keys(path: &[PathSegment]) -> Vec<String> {
    path.iter()
        .map(|segment| match segment {
            PathSegment::Field(name) => name.clone(),
            PathSegment::Index(index) => index.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
