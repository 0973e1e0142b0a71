//! Answers as the specification's section 6.4.4 has them. async-graphql 7.2.1 drops the key of a
//! field that failed; the field must be null instead, or, where it is non-null, its nearest nullable
//! parent. It also answers null for an object none of whose fields is included. One pass over answer
//! and document mends that, and puts the keys of every object in the order of their selection, for the
//! library answers in the order of completion.

use std::collections::HashSet;

use async_graphql::{
    Name, PathSegment, Positioned, Response, Value, Variables,
    indexmap::IndexMap,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, Selection,
        SelectionSet,
    },
};
use async_graphql_value::Value as InputValue;

use super::{
    hidden::root_of,
    shape::{Shape, TypeRef},
};

/// Sees to it that every object of the answer has a field, by `__typename` where all others might
/// be skipped: so that an object without fields can be told from null. [`mend`] takes it out again,
/// for the document that it goes by is the one before this.
pub fn keep_objects(document: &mut ExecutableDocument) {
    let operations: Vec<&mut Positioned<OperationDefinition>> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    for operation in operations {
        keep_objects_of(&mut operation.node.selection_set);
    }
    for fragment in document.fragments.values_mut() {
        keep_objects_of(&mut fragment.node.selection_set);
    }
}

fn keep_objects_of(set: &mut Positioned<SelectionSet>) {
    let mut is_safe = set.node.items.is_empty();
    for selection in &mut set.node.items {
        match &mut selection.node {
            Selection::Field(field) => {
                is_safe |= field.node.directives.is_empty();
                if !field.node.name.node.starts_with("__") {
                    keep_objects_of(&mut field.node.selection_set);
                }
            }
            Selection::InlineFragment(inline) => keep_objects_of(&mut inline.node.selection_set),
            Selection::FragmentSpread(_) => {}
        }
    }
    if !is_safe {
        let typename = Field {
            alias: None,
            name: Positioned::new(Name::new("__typename"), set.pos),
            arguments: Vec::new(),
            directives: Vec::new(),
            selection_set: Positioned::default(),
        };
        set.node
            .items
            .push(Positioned::new(Selection::Field(Positioned::new(typename, set.pos)), set.pos));
    }
}

/// A non-null position that has no value: its parent becomes null.
struct NoValue;

/// Mends the answer to the operation that was executed.
pub fn mend(
    response: &mut Response,
    document: &ExecutableDocument,
    operation_name: Option<&str>,
    variables: &Variables,
    shape: &Shape,
) {
    let Some(operation) = executed(document, operation_name) else {
        return;
    };
    let root = root_of(operation.ty);
    let failed = response.errors.iter().map(|error| keys(&error.path)).collect();
    let mut mender = Mender { document, operation, variables, shape, failed, path: Vec::new() };
    if mender.failed.is_empty() {
        mender.arrange(&[&operation.selection_set], &mut [&mut response.data]);
        return;
    }
    let data = std::mem::take(&mut response.data);
    response.data = mender.object(root, &[&operation.selection_set], data).unwrap_or(Value::Null);
}

fn executed<'d>(
    document: &'d ExecutableDocument,
    operation_name: Option<&str>,
) -> Option<&'d OperationDefinition> {
    let mut operations = document.operations.iter();
    let found = operations.find(|(name, _)| match operation_name {
        Some(wanted) => name.is_some_and(|name| name == wanted),
        None => true,
    });
    found.map(|(_, operation)| &operation.node)
}

struct Mender<'d> {
    document: &'d ExecutableDocument,
    operation: &'d OperationDefinition,
    variables: &'d Variables,
    shape: &'d Shape,
    /// The paths of all errors: what tells an emptied object from a null one.
    failed: HashSet<Vec<String>>,
    path: Vec<String>,
}

impl<'d> Mender<'d> {
    /// Puts the keys of objects that share their selection in its order. Without a failure that is
    /// all there is to mend, and mostly not even that.
    fn arrange(&self, sets: &[&'d Positioned<SelectionSet>], values: &mut [&mut Value]) {
        let mut fields: IndexMap<&'d str, Vec<&'d Field>> = IndexMap::new();
        for set in sets {
            self.collect(set, &mut fields);
        }
        for value in &mut *values {
            if let Value::Object(found) = value
                && !found.keys().map(Name::as_str).eq(fields.keys().copied())
            {
                found.retain(|key, _| fields.contains_key(key.as_str()));
                let place = |key: &Name| fields.get_index_of(key.as_str()).unwrap_or(usize::MAX);
                found.sort_by_key(|key, _| place(key));
            }
        }
        for (key, fields) in fields {
            let sets: Vec<_> = fields.iter().map(|field| &field.selection_set).collect();
            if sets.iter().all(|set| set.node.items.is_empty()) {
                continue;
            }
            let mut below = Vec::new();
            for value in &mut *values {
                if let Value::Object(found) = value
                    && let Some(value) = found.get_mut(key)
                {
                    objects(value, &mut below);
                }
            }
            if !below.is_empty() {
                self.arrange(&sets, &mut below);
            }
        }
    }

    fn object(
        &mut self,
        on: &str,
        sets: &[&'d Positioned<SelectionSet>],
        value: Value,
    ) -> Result<Value, NoValue> {
        let mut found = match value {
            Value::Object(found) => found,
            // The library answers null for an object all of whose fields failed.
            Value::Null if self.has_failed_below() => IndexMap::new(),
            other => return Ok(other),
        };
        let mut fields: IndexMap<&'d str, Vec<&'d Field>> = IndexMap::new();
        for set in sets {
            self.collect(set, &mut fields);
        }
        let mut mended = IndexMap::with_capacity(fields.len());
        for (key, fields) in fields {
            let value = found.swap_remove(key);
            let field_name = fields[0].name.node.as_str();
            let known = self.shape.field(on, field_name);
            self.path.push(key.to_owned());
            let value = match known {
                Some(known) => {
                    let sets: Vec<_> = fields.iter().map(|field| &field.selection_set).collect();
                    self.complete(&known.of_type, &sets, value)
                }
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
        sets: &[&'d Positioned<SelectionSet>],
        value: Option<Value>,
    ) -> Result<Value, NoValue> {
        match of_type {
            TypeRef::NonNull(inner) => match self.complete(inner, sets, value)? {
                Value::Null => Err(NoValue),
                value => Ok(value),
            },
            TypeRef::List(inner) => match value {
                Some(Value::List(values)) => Ok(self.list(inner, sets, values)),
                _ => Ok(Value::Null),
            },
            TypeRef::Named(name) => match value {
                None => Ok(Value::Null),
                Some(value) if sets.iter().all(|set| set.node.items.is_empty()) => Ok(value),
                Some(value) => Ok(self.object(name, sets, value).unwrap_or(Value::Null)),
            },
        }
    }

    /// A list one of whose non-null items has no value is null itself.
    fn list(
        &mut self,
        of_type: &TypeRef,
        sets: &[&'d Positioned<SelectionSet>],
        values: Vec<Value>,
    ) -> Value {
        let mut mended = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            self.path.push(index.to_string());
            let value = self.complete(of_type, sets, Some(value));
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

    /// The fields of a set by response key, as section 6.3.2 (`CollectFields`) has them.
    fn collect(
        &self,
        set: &'d Positioned<SelectionSet>,
        fields: &mut IndexMap<&'d str, Vec<&'d Field>>,
    ) {
        for selection in &set.node.items {
            match &selection.node {
                Selection::Field(field) => {
                    if self.is_included(&field.node.directives) {
                        let key = field.node.response_key().node.as_str();
                        fields.entry(key).or_default().push(&field.node);
                    }
                }
                Selection::InlineFragment(inline) => {
                    if self.is_included(&inline.node.directives) {
                        self.collect(&inline.node.selection_set, fields);
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                    if let Some(fragment) = fragment
                        && self.is_included(&spread.node.directives)
                    {
                        self.collect(&fragment.node.selection_set, fields);
                    }
                }
            }
        }
    }

    fn is_included(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| {
            let condition = directive.node.get_argument("if").map(|value| &value.node);
            match directive.node.name.node.as_str() {
                "skip" => !self.is_true(condition),
                "include" => self.is_true(condition),
                _ => true,
            }
        })
    }

    fn is_true(&self, condition: Option<&InputValue>) -> bool {
        match condition {
            Some(InputValue::Boolean(value)) => *value,
            Some(InputValue::Variable(name)) => {
                let definition = self
                    .operation
                    .variable_definitions
                    .iter()
                    .find(|definition| definition.node.name.node == *name);
                let default = definition.and_then(|found| found.node.default_value());
                self.variables.get(name).or(default) == Some(&Value::Boolean(true))
            }
            _ => false,
        }
    }
}

/// The objects in a value: itself, or those of a list.
fn objects<'v>(value: &'v mut Value, into: &mut Vec<&'v mut Value>) {
    match value {
        Value::Object(_) => into.push(value),
        Value::List(values) => values.iter_mut().for_each(|value| objects(value, into)),
        _ => {}
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
