//! Completes async-graphql's response (section 6.4.4 of the specification). async-graphql 7.2.1
//! drops the key of a failed field. According to the specification, the field must be null or, if
//! its type is non-null, its nearest nullable parent must be null. This module also removes the
//! placeholders that `collect` has inserted. It sorts the keys of each object in the order of the
//! selection, because async-graphql returns them in the order in which their fields were completed.

use std::collections::HashSet;

use async_graphql::{
    Name, PathSegment, Response, Value,
    indexmap::IndexMap,
    parser::types::{Field, OperationDefinition, Selection, SelectionSet},
};

use super::{
    collect::PLACEHOLDER_KEY,
    schema_index::{SchemaIndex, TypeRef, root_type},
};

/// The error that makes a parent null, because a value of non-null type is null.
struct NullPropagation;

/// Completes the response to an operation whose fields have been collected.
pub fn complete_response(
    response: &mut Response,
    operation: &OperationDefinition,
    index: &SchemaIndex,
) {
    let set = &operation.selection_set.node;
    let failed = response.errors.iter().map(|error| keys(&error.path)).collect();
    let mut completer = Completer { index, failed, path: Vec::new() };
    if completer.failed.is_empty() {
        sort_keys(set, &mut response.data);
        return;
    }
    let data = std::mem::take(&mut response.data);
    response.data = completer.object(root_type(operation.ty), set, data).unwrap_or(Value::Null);
}

/// Returns the fields of a collected selection set with their response keys, without the
/// placeholder.
fn fields(set: &SelectionSet) -> impl Iterator<Item = (&str, &Field)> {
    let keyed = set.items.iter().filter_map(|selection| match &selection.node {
        Selection::Field(field) => Some((field.node.response_key().node.as_str(), &field.node)),
        Selection::FragmentSpread(_) | Selection::InlineFragment(_) => None,
    });
    keyed.filter(|(key, _)| *key != PLACEHOLDER_KEY)
}

/// Sorts the keys of an object, or of the objects in a list, in the order of the selection, and
/// removes placeholders. A response without errors needs no other completion.
fn sort_keys(set: &SelectionSet, value: &mut Value) {
    match value {
        Value::Object(object) => {
            if !object.keys().map(Name::as_str).eq(fields(set).map(|(key, _)| key)) {
                let order: IndexMap<&str, ()> = fields(set).map(|(key, _)| (key, ())).collect();
                object.retain(|key, _| order.contains_key(key.as_str()));
                object.sort_by_cached_key(|key, _| order.get_index_of(key.as_str()));
            }
            for (value, (_, field)) in object.values_mut().zip(fields(set)) {
                let set = &field.selection_set.node;
                if !set.items.is_empty() {
                    sort_keys(set, value);
                }
            }
        }
        Value::List(values) => values.iter_mut().for_each(|value| sort_keys(set, value)),
        _ => {}
    }
}

struct Completer<'d> {
    index: &'d SchemaIndex,
    /// The paths of all errors. They make it possible to distinguish an object in which all fields
    /// failed from null.
    failed: HashSet<Vec<String>>,
    path: Vec<String>,
}

impl Completer<'_> {
    fn object(
        &mut self,
        on: &str,
        set: &SelectionSet,
        value: Value,
    ) -> Result<Value, NullPropagation> {
        let mut object = match value {
            Value::Object(object) => object,
            // async-graphql returns null for an object in which all fields failed.
            Value::Null if self.has_failed_below() => IndexMap::new(),
            other => return Ok(other),
        };
        let mut completed = IndexMap::new();
        for (key, field) in fields(set) {
            let value = object.swap_remove(key);
            let definition = self.index.field(on, &field.name.node);
            self.path.push(key.to_owned());
            let value = match definition {
                Some(definition) => {
                    self.complete(&definition.of_type, &field.selection_set.node, value)
                }
                // The index does not contain `__typename`. This field cannot fail.
                None => Ok(value.unwrap_or(Value::Null)),
            };
            self.path.pop();
            completed.insert(Name::new(key), value?);
        }
        Ok(Value::Object(completed))
    }

    fn complete(
        &mut self,
        of_type: &TypeRef,
        set: &SelectionSet,
        value: Option<Value>,
    ) -> Result<Value, NullPropagation> {
        match of_type {
            TypeRef::NonNull(inner) => match self.complete(inner, set, value)? {
                Value::Null => Err(NullPropagation),
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

    /// Completes a list. The list becomes null if an item of non-null type is null.
    fn list(&mut self, of_type: &TypeRef, set: &SelectionSet, values: Vec<Value>) -> Value {
        let mut completed = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            self.path.push(index.to_string());
            let value = self.complete(of_type, set, Some(value));
            self.path.pop();
            match value {
                Ok(value) => completed.push(value),
                Err(NullPropagation) => return Value::Null,
            }
        }
        Value::List(completed)
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
