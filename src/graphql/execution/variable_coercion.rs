//! Coerces the variables of an operation to their types before anything is executed
//! (`CoerceVariableValues`, section 6.1.2 of the specification).

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    indexmap::IndexMap,
    parser::types::{self, BaseType, OperationDefinition},
};
use entity::api_key::Role;
use serde_json::Number;

use super::{
    limits::invalid,
    role_visibility::forbidden,
    schema_index::{self, SchemaIndex, TypeRef},
};
use crate::graphql::{
    errors::{Code, error},
    scalars::{self, Given},
};

/// Coerces the variables of a valid operation. `visible` is the part of the schema that the
/// caller's `role` sees, and `full` is the whole schema. `variables` must include the default
/// values, and must not include undeclared variables.
pub fn coerce(
    operation: &Positioned<OperationDefinition>,
    variables: &mut Variables,
    visible: &SchemaIndex,
    full: &SchemaIndex,
    role: Role,
) -> Result<(), ServerError> {
    let coercion = Coercion { visible, full };
    for definition in &operation.node.variable_definitions {
        let name = &definition.node.name.node;
        let of_type = &definition.node.var_type.node;
        let value = variables.get_mut(name);
        let is_missing = value.as_ref().is_none_or(|value| **value == Value::Null);
        if is_missing && !of_type.nullable {
            return Err(error(Code::BadUserInput, format!("The variable ${name} is required.")));
        }
        if let Some(value) = value {
            let coerced = coercion.value(value, InputType::Variable(of_type));
            coerced.map_err(|mismatch| mismatch.into_error(name, role, definition.pos))?;
        }
    }
    Ok(())
}

/// The type of a variable or of an input field.
#[derive(Clone, Copy)]
enum InputType<'t> {
    Variable(&'t types::Type),
    Field(&'t TypeRef),
}

/// A type without the non-null marker.
enum NullableType<'t> {
    Named(&'t str),
    List(InputType<'t>),
}

impl<'t> InputType<'t> {
    fn is_nullable(self) -> bool {
        match self {
            Self::Variable(of_type) => of_type.nullable,
            Self::Field(of_type) => !matches!(of_type, TypeRef::NonNull(_)),
        }
    }

    fn nullable(self) -> NullableType<'t> {
        match self {
            Self::Variable(of_type) => match &of_type.base {
                BaseType::Named(name) => NullableType::Named(name),
                BaseType::List(inner) => NullableType::List(Self::Variable(inner)),
            },
            Self::Field(of_type) => match of_type.nullable() {
                TypeRef::Named(name) => NullableType::Named(name),
                TypeRef::List(inner) => NullableType::List(Self::Field(inner)),
                TypeRef::NonNull(inner) => Self::Field(inner).nullable(),
            },
        }
    }
}

/// The reason why a value does not match its type.
struct Mismatch {
    reason: Reason,
    /// The path to the value inside the variable, innermost segment first.
    path: Vec<String>,
}

enum Reason {
    Invalid(String),
    /// The name of a field or an enum value that the caller's role does not see.
    Hidden(String),
}

impl Mismatch {
    fn invalid(reason: impl Into<String>) -> Self {
        Self { reason: Reason::Invalid(reason.into()), path: Vec::new() }
    }

    fn hidden(name: &str) -> Self {
        Self { reason: Reason::Hidden(name.to_owned()), path: Vec::new() }
    }

    fn within(mut self, segment: impl Into<String>) -> Self {
        self.path.push(segment.into());
        self
    }

    fn into_error(self, variable: &Name, role: Role, pos: Pos) -> ServerError {
        match self.reason {
            Reason::Hidden(name) => forbidden(&name, role, Some(pos)),
            Reason::Invalid(reason) => {
                let path: String = self.path.into_iter().rev().collect();
                invalid(format!("The variable ${variable}{path} is not valid: {reason}."), pos)
            }
        }
    }
}

struct Coercion<'s> {
    visible: &'s SchemaIndex,
    full: &'s SchemaIndex,
}

impl Coercion<'_> {
    fn value(&self, value: &mut Value, of_type: InputType<'_>) -> Result<(), Mismatch> {
        if *value == Value::Null {
            let null = || Mismatch::invalid("expected a non-null value");
            return if of_type.is_nullable() { Ok(()) } else { Err(null()) };
        }
        match (of_type.nullable(), value) {
            (NullableType::List(inner), Value::List(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let coerced = self.value(item, inner);
                    coerced.map_err(|mismatch| mismatch.within(format!("[{index}]")))?;
                }
                Ok(())
            }
            (NullableType::List(inner), item) => {
                self.value(item, inner)?;
                *item = Value::List(vec![std::mem::take(item)]);
                Ok(())
            }
            (NullableType::Named(name), value) => self.named(value, name),
        }
    }

    /// Coerces a value that is not null to the named type.
    fn named(&self, value: &mut Value, name: &str) -> Result<(), Mismatch> {
        match name {
            "String" => match value {
                Value::String(_) => Ok(()),
                _ => Err(Mismatch::invalid("expected a string")),
            },
            "Boolean" => match value {
                Value::Boolean(_) => Ok(()),
                _ => Err(Mismatch::invalid("expected true or false")),
            },
            "ID" => match value {
                Value::String(_) => Ok(()),
                Value::Number(number) => {
                    let id = integer(number).ok_or_else(|| Mismatch::invalid(ID))?;
                    *value = Value::String(id);
                    Ok(())
                }
                _ => Err(Mismatch::invalid(ID)),
            },
            "Int" => {
                let digits = match value {
                    Value::Number(number) => integer(number),
                    _ => None,
                };
                let int = digits.and_then(|digits| digits.parse::<i32>().ok());
                let int = int.ok_or_else(|| Mismatch::invalid(INT))?;
                *value = Value::Number(int.into());
                Ok(())
            }
            "Float" => match value {
                Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => Ok(()),
                _ => Err(Mismatch::invalid("expected a number")),
            },
            _ => match self.visible.0.get(name) {
                Some(of_type) if !of_type.input_fields.is_empty() => {
                    self.object(value, name, of_type)
                }
                Some(of_type) if !of_type.enum_values.is_empty() => {
                    self.enum_value(value, name, of_type)
                }
                _ => scalars::check(name, scalar_input(value)).map_err(Mismatch::invalid),
            },
        }
    }

    fn enum_value(
        &self,
        value: &Value,
        name: &str,
        of_type: &schema_index::Type,
    ) -> Result<(), Mismatch> {
        let enum_value = match value {
            Value::String(text) => text.as_str(),
            // The value is a literal in the document, because it is a default.
            Value::Enum(name) => name.as_str(),
            _ => return Err(Mismatch::invalid(format!("expected a value of {name}"))),
        };
        if of_type.enum_values.contains(enum_value) {
            return Ok(());
        }
        if self.full.0.get(name).is_some_and(|full| full.enum_values.contains(enum_value)) {
            return Err(Mismatch::hidden(enum_value));
        }
        Err(Mismatch::invalid(format!("{enum_value:?} is not a value of {name}")))
    }

    fn object(
        &self,
        value: &mut Value,
        name: &str,
        of_type: &schema_index::Type,
    ) -> Result<(), Mismatch> {
        let Value::Object(fields) = value else {
            return Err(Mismatch::invalid(format!("expected an object ({name})")));
        };
        for (field, value) in fields.iter_mut() {
            let Some(argument) = of_type.input_fields.get(field.as_str()) else {
                let full = self.full.0.get(name);
                let is_hidden =
                    full.is_some_and(|full| full.input_fields.contains_key(field.as_str()));
                return Err(if is_hidden {
                    Mismatch::hidden(field)
                } else {
                    Mismatch::invalid(format!("{name} has no field {:?}", field.as_str()))
                });
            };
            let coerced = self.value(value, InputType::Field(&argument.of_type));
            coerced.map_err(|mismatch| mismatch.within(format!(".{field}")))?;
        }
        if of_type.is_one_of {
            return check_one_of(fields, name);
        }
        let missing = of_type.input_fields.iter().find(|(field, argument)| {
            matches!(argument.of_type, TypeRef::NonNull(_))
                && argument.default.is_none()
                && !fields.contains_key(field.as_str())
        });
        match missing {
            Some((field, _)) => {
                Err(Mismatch::invalid(format!("{name} requires the field {field:?}")))
            }
            None => Ok(()),
        }
    }
}

/// Checks that a `@oneOf` input object has exactly one field and that this field is not null
/// (section 3.10.1).
fn check_one_of(fields: &IndexMap<Name, Value>, name: &str) -> Result<(), Mismatch> {
    if fields.len() == 1 && fields.values().all(|value| *value != Value::Null) {
        return Ok(());
    }
    Err(Mismatch::invalid(format!("expected exactly one field of {name}, with a non-null value")))
}

const ID: &str = "expected a string or an integer";
const INT: &str = "expected a 32-bit integer";

/// Returns the digits of a number without a fraction. JSON does not distinguish 5, 5.0 and 5e0.
fn integer(number: &Number) -> Option<String> {
    /// A float represents every integer up to this value exactly.
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    let text = number.as_str();
    if text.contains(['e', 'E']) {
        let number: f64 = text.parse().ok()?;
        return (number.fract() == 0.0 && number.abs() <= EXACT_MAX)
            .then(|| format!("{number:.0}"));
    }
    let (digits, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_integer = rest.bytes().all(|digit| digit == b'0');
    is_integer.then(|| digits.to_owned())
}

fn scalar_input(value: &Value) -> Given<'_> {
    match value {
        Value::Number(_) => Given::Number,
        Value::String(text) => Given::Text(text),
        Value::Object(_) => Given::Object,
        _ => Given::Other,
    }
}

#[cfg(test)]
mod tests;
