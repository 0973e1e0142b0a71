//! Hidden fields (R18): the library validates and coerces arguments before guards run and would so
//! name hidden inputs. So whatever the caller's own introspection lacks, fields, types, input fields
//! and enum values, is refused before the library looks at a document, whatever its arguments.

use async_graphql::{
    Positioned, ServerError, Value as ConstValue, Variables,
    parser::types::{
        BaseType, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet, Type,
    },
};
use async_graphql_value::Value;

use super::{
    errors::{Code, set_code},
    shape::Shape,
};

/// Refuses what `shape`, the caller's view of the schema, lacks of the `full` one. The variables are those of the
/// operation to execute, and no operation declares one twice: each value is looked at once.
pub fn check_hidden(
    document: &ExecutableDocument,
    executed: &Positioned<OperationDefinition>,
    variables: &Variables,
    full: &Shape,
    shape: &Shape,
) -> Result<(), ServerError> {
    let hidden = Hidden { full, shape };
    for (_, operation) in document.operations.iter() {
        let root = root_of(operation.node.ty);
        for variable in &operation.node.variable_definitions {
            let name = type_name(&variable.node.var_type.node);
            hidden.check_type(name, variable.pos)?;
            if let Some(default) = &variable.node.default_value {
                hidden.check_const(name, &default.node, variable.pos)?;
            }
        }
        hidden.check_selection_set(root, &operation.node.selection_set)?;
    }
    for fragment in document.fragments.values() {
        let on = fragment.node.type_condition.node.on.node.as_str();
        hidden.check_type(on, fragment.pos)?;
        hidden.check_selection_set(on, &fragment.node.selection_set)?;
    }
    for variable in &executed.node.variable_definitions {
        if let Some(given) = variables.get(&variable.node.name.node) {
            let name = type_name(&variable.node.var_type.node);
            hidden.check_const(name, given, variable.pos)?;
        }
    }
    Ok(())
}

/// Calls of mutations that the caller may not make.
pub struct Forbidden {
    pub error: ServerError,
    /// The names of these mutations, each as often as it is called.
    pub mutations: Vec<String>,
}

impl Forbidden {
    /// What an operation calls that [`check_hidden`] refused with this error; the error itself where that is no
    /// mutation, but a part of what is visible.
    pub fn new(
        error: ServerError,
        document: &ExecutableDocument,
        operation: &Positioned<OperationDefinition>,
        full: &Shape,
        shape: &Shape,
    ) -> Result<Self, ServerError> {
        let root = root_of(OperationType::Mutation);
        let mut names = Vec::new();
        if operation.node.ty == OperationType::Mutation {
            collect_names(document, &operation.node.selection_set, &mut names);
        }
        names.retain(|name| full.field(root, name).is_some() && shape.field(root, name).is_none());
        if names.is_empty() {
            return Err(error);
        }
        Ok(Self { error, mutations: names.into_iter().map(str::to_owned).collect() })
    }
}

/// The document's size was checked, so no fragment spreads itself.
fn collect_names<'d>(
    document: &'d ExecutableDocument,
    set: &'d Positioned<SelectionSet>,
    names: &mut Vec<&'d str>,
) {
    for selection in &set.node.items {
        match &selection.node {
            Selection::Field(field) => names.push(field.node.name.node.as_str()),
            Selection::InlineFragment(inline) => {
                collect_names(document, &inline.node.selection_set, names);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(found) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect_names(document, &found.node.selection_set, names);
                }
            }
        }
    }
}

struct Hidden<'s> {
    full: &'s Shape,
    shape: &'s Shape,
}

impl Hidden<'_> {
    /// Each fragment is looked at once, where it is defined.
    fn check_selection_set(
        &self,
        on: &str,
        set: &Positioned<SelectionSet>,
    ) -> Result<(), ServerError> {
        for selection in &set.node.items {
            match &selection.node {
                Selection::Field(field) => self.check_field(on, field)?,
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    let on = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    self.check_type(on, inline.pos)?;
                    self.check_selection_set(on, &inline.node.selection_set)?;
                }
                Selection::FragmentSpread(_) => {}
            }
        }
        Ok(())
    }

    fn check_field(&self, on: &str, field: &Positioned<Field>) -> Result<(), ServerError> {
        let name = field.node.name.node.as_str();
        // What exists for nobody is validation's to name.
        let Some(known) = self.full.field(on, name) else {
            return Ok(());
        };
        if self.shape.field(on, name).is_none() {
            return Err(forbidden(name, field.pos));
        }
        for (argument, value) in &field.node.arguments {
            if let Some(of_type) = known.args.get(argument.node.as_str()) {
                self.check_value(of_type.name(), &value.node, value.pos)?;
            }
        }
        self.check_selection_set(known.of_type.name(), &field.node.selection_set)
    }

    fn check_type(&self, name: &str, pos: async_graphql::Pos) -> Result<(), ServerError> {
        if self.full.0.contains_key(name) && !self.shape.0.contains_key(name) {
            return Err(forbidden(name, pos));
        }
        Ok(())
    }

    /// Variables are checked where they are defined.
    fn check_value(
        &self,
        of_type: &str,
        value: &Value,
        pos: async_graphql::Pos,
    ) -> Result<(), ServerError> {
        match value {
            Value::List(values) => {
                values.iter().try_for_each(|value| self.check_value(of_type, value, pos))
            }
            Value::Object(object) => object.iter().try_for_each(|(name, value)| {
                match self.check_input_field(of_type, name, pos)? {
                    Some(inner) => self.check_value(inner, value, pos),
                    None => Ok(()),
                }
            }),
            Value::Enum(name) => self.check_enum_value(of_type, name, pos),
            // The library takes the name of an enum value as a string as well.
            Value::String(name) => self.check_enum_value(of_type, name, pos),
            _ => Ok(()),
        }
    }

    fn check_const(
        &self,
        of_type: &str,
        value: &ConstValue,
        pos: async_graphql::Pos,
    ) -> Result<(), ServerError> {
        match value {
            ConstValue::List(values) => {
                values.iter().try_for_each(|value| self.check_const(of_type, value, pos))
            }
            ConstValue::Object(object) => object.iter().try_for_each(|(name, value)| {
                match self.check_input_field(of_type, name, pos)? {
                    Some(inner) => self.check_const(inner, value, pos),
                    None => Ok(()),
                }
            }),
            ConstValue::Enum(name) => self.check_enum_value(of_type, name, pos),
            ConstValue::String(name) => self.check_enum_value(of_type, name, pos),
            _ => Ok(()),
        }
    }

    /// The type of an input field that the caller may use; `None` if there is no such field.
    fn check_input_field(
        &self,
        of_type: &str,
        name: &str,
        pos: async_graphql::Pos,
    ) -> Result<Option<&str>, ServerError> {
        let in_shape = |shape: &Shape| {
            shape.0.get(of_type).is_some_and(|found| found.input_fields.contains_key(name))
        };
        let Some(known) = self.full.0.get(of_type).and_then(|found| found.input_fields.get(name))
        else {
            return Ok(None);
        };
        if in_shape(self.shape) { Ok(Some(known.name())) } else { Err(forbidden(name, pos)) }
    }

    fn check_enum_value(
        &self,
        of_type: &str,
        name: &str,
        pos: async_graphql::Pos,
    ) -> Result<(), ServerError> {
        let has = |shape: &Shape| {
            shape.0.get(of_type).is_some_and(|found| found.enum_values.contains(name))
        };
        if has(self.full) && !has(self.shape) { Err(forbidden(name, pos)) } else { Ok(()) }
    }
}

/// The type at the root of an operation.
pub fn root_of(operation: OperationType) -> &'static str {
    match operation {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

fn type_name(of_type: &Type) -> &str {
    match &of_type.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => type_name(inner),
    }
}

fn forbidden(name: &str, pos: async_graphql::Pos) -> ServerError {
    let message = format!("This key may not use {name:?}.");
    let mut error = ServerError::new(message, Some(pos));
    set_code(&mut error, Code::Forbidden);
    error
}
