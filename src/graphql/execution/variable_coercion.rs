//! The values of an operation's variables, coerced to their types (section 6.1.2 of the specification) before anything
//! is executed.

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    indexmap::IndexMap,
    parser::types::{self, BaseType, OperationDefinition},
};
use entity::api_key::Role;
use serde_json::Number;

use super::{
    cost::invalid,
    role_visibility::forbidden,
    schema_index::{self, SchemaIndex, TypeRef},
};
use crate::graphql::{
    errors::{Code, error},
    scalars::{self, Given},
};

/// Coerces the variables of a valid operation. `shape` is the schema of the caller's `role`, and `full` that of all. What
/// is not declared was dropped, and defaults were filled in.
pub fn coerce(
    operation: &Positioned<OperationDefinition>,
    variables: &mut Variables,
    shape: &SchemaIndex,
    full: &SchemaIndex,
    role: Role,
) -> Result<(), ServerError> {
    let coercion = Coercion { shape, full };
    for definition in &operation.node.variable_definitions {
        let name = &definition.node.name.node;
        let of_type = &definition.node.var_type.node;
        let given = variables.get_mut(name);
        let is_missing = given.as_ref().is_none_or(|value| **value == Value::Null);
        if is_missing && !of_type.nullable {
            return Err(error(Code::BadUserInput, format!("The variable ${name} must be given.")));
        }
        if let Some(value) = given {
            let coerced = coercion.value(value, InputType::Declared(of_type));
            coerced.map_err(|mismatch| mismatch.refusal(name, role, definition.pos))?;
        }
    }
    Ok(())
}

/// A type as an operation declares it, or as the schema does.
#[derive(Clone, Copy)]
enum InputType<'t> {
    Declared(&'t types::Type),
    OfSchema(&'t TypeRef),
}

enum Inner<'t> {
    Named(&'t str),
    List(InputType<'t>),
}

impl<'t> InputType<'t> {
    fn is_nullable(self) -> bool {
        match self {
            Self::Declared(of_type) => of_type.nullable,
            Self::OfSchema(of_type) => !matches!(of_type, TypeRef::NonNull(_)),
        }
    }

    fn inner(self) -> Inner<'t> {
        match self {
            Self::Declared(of_type) => match &of_type.base {
                BaseType::Named(name) => Inner::Named(name),
                BaseType::List(inner) => Inner::List(Self::Declared(inner)),
            },
            Self::OfSchema(of_type) => match of_type.nullable() {
                TypeRef::Named(name) => Inner::Named(name),
                TypeRef::List(inner) => Inner::List(Self::OfSchema(inner)),
                TypeRef::NonNull(inner) => Self::OfSchema(inner).inner(),
            },
        }
    }
}

/// Why a value does not fit, and where in the variable it is, innermost first.
struct Mismatch {
    reason: Reason,
    path: Vec<String>,
}

enum Reason {
    Expected(String),
    /// The caller's role does not see this field or value.
    Hidden(String),
}

impl Mismatch {
    fn expected(what: impl Into<String>) -> Self {
        Self { reason: Reason::Expected(what.into()), path: Vec::new() }
    }

    fn hidden(name: &str) -> Self {
        Self { reason: Reason::Hidden(name.to_owned()), path: Vec::new() }
    }

    fn within(mut self, segment: impl Into<String>) -> Self {
        self.path.push(segment.into());
        self
    }

    fn refusal(self, variable: &Name, role: Role, pos: Pos) -> ServerError {
        match self.reason {
            Reason::Hidden(name) => forbidden(&name, role, Some(pos)),
            Reason::Expected(reason) => {
                let path: String = self.path.into_iter().rev().collect();
                invalid(format!("The variable ${variable}{path} is not valid: {reason}."), pos)
            }
        }
    }
}

struct Coercion<'s> {
    shape: &'s SchemaIndex,
    full: &'s SchemaIndex,
}

impl Coercion<'_> {
    fn value(&self, value: &mut Value, of_type: InputType<'_>) -> Result<(), Mismatch> {
        if *value == Value::Null {
            let null = || Mismatch::expected("null where a value is required");
            return if of_type.is_nullable() { Ok(()) } else { Err(null()) };
        }
        match (of_type.inner(), value) {
            (Inner::List(inner), Value::List(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let coerced = self.value(item, inner);
                    coerced.map_err(|mismatch| mismatch.within(format!("[{index}]")))?;
                }
                Ok(())
            }
            (Inner::List(inner), item) => {
                self.value(item, inner)?;
                *item = Value::List(vec![std::mem::take(item)]);
                Ok(())
            }
            (Inner::Named(name), value) => self.named(value, name),
        }
    }

    /// A value that is not null.
    fn named(&self, value: &mut Value, name: &str) -> Result<(), Mismatch> {
        match name {
            "String" => match value {
                Value::String(_) => Ok(()),
                _ => Err(Mismatch::expected("expected a string")),
            },
            "Boolean" => match value {
                Value::Boolean(_) => Ok(()),
                _ => Err(Mismatch::expected("expected true or false")),
            },
            "ID" => match value {
                Value::String(_) => Ok(()),
                Value::Number(number) => {
                    let id = whole(number).ok_or_else(|| Mismatch::expected(ID))?;
                    *value = Value::String(id);
                    Ok(())
                }
                _ => Err(Mismatch::expected(ID)),
            },
            "Int" => {
                let whole = match value {
                    Value::Number(number) => whole(number),
                    _ => None,
                };
                let int = whole.and_then(|text| text.parse::<i32>().ok());
                let int = int.ok_or_else(|| Mismatch::expected(INT))?;
                *value = Value::Number(int.into());
                Ok(())
            }
            "Float" => match value {
                Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => Ok(()),
                _ => Err(Mismatch::expected("expected a number")),
            },
            _ => match self.shape.0.get(name) {
                Some(known) if !known.input_fields.is_empty() => self.object(value, name, known),
                Some(known) if !known.enum_values.is_empty() => self.enum_value(value, name, known),
                _ => scalars::check(name, given(value)).map_err(Mismatch::expected),
            },
        }
    }

    fn enum_value(
        &self,
        value: &Value,
        name: &str,
        known: &schema_index::Type,
    ) -> Result<(), Mismatch> {
        let given = match value {
            Value::String(given) => given.as_str(),
            // A default was written in the document.
            Value::Enum(given) => given.as_str(),
            _ => return Err(Mismatch::expected(format!("expected a value of {name}"))),
        };
        if known.enum_values.contains(given) {
            return Ok(());
        }
        if self.full.0.get(name).is_some_and(|full| full.enum_values.contains(given)) {
            return Err(Mismatch::hidden(given));
        }
        Err(Mismatch::expected(format!("{given:?} is not a value of {name}")))
    }

    fn object(
        &self,
        value: &mut Value,
        name: &str,
        known: &schema_index::Type,
    ) -> Result<(), Mismatch> {
        let Value::Object(fields) = value else {
            return Err(Mismatch::expected(format!("expected an object ({name})")));
        };
        for (field, value) in fields.iter_mut() {
            let Some(argument) = known.input_fields.get(field.as_str()) else {
                let full = self.full.0.get(name);
                let is_hidden =
                    full.is_some_and(|full| full.input_fields.contains_key(field.as_str()));
                return Err(if is_hidden {
                    Mismatch::hidden(field)
                } else {
                    Mismatch::expected(format!("{name} has no field {:?}", field.as_str()))
                });
            };
            let coerced = self.value(value, InputType::OfSchema(&argument.of_type));
            coerced.map_err(|mismatch| mismatch.within(format!(".{field}")))?;
        }
        if known.is_one_of {
            return check_one_of(fields, name);
        }
        let missing = known.input_fields.iter().find(|(field, argument)| {
            matches!(argument.of_type, TypeRef::NonNull(_))
                && argument.default.is_none()
                && !fields.contains_key(field.as_str())
        });
        match missing {
            Some((field, _)) => {
                Err(Mismatch::expected(format!("{name} needs the field {field:?}")))
            }
            None => Ok(()),
        }
    }
}

/// Exactly one field is given, and it is not null (section 3.10.1).
fn check_one_of(fields: &IndexMap<Name, Value>, name: &str) -> Result<(), Mismatch> {
    if fields.len() == 1 && fields.values().all(|value| *value != Value::Null) {
        return Ok(());
    }
    Err(Mismatch::expected(format!("exactly one field of {name} must be given, and not null")))
}

const ID: &str = "expected a string or a whole number";
const INT: &str = "expected a whole number of 32 bits";

/// The digits of a number that is whole, such as 5, 5.0 or 5e0; JSON does not tell them apart.
fn whole(number: &Number) -> Option<String> {
    /// Up to this number, a float is exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    let text = number.as_str();
    if text.contains(['e', 'E']) {
        let number: f64 = text.parse().ok()?;
        return (number.fract() == 0.0 && number.abs() <= EXACT_MAX)
            .then(|| format!("{number:.0}"));
    }
    let (digits, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_whole = rest.bytes().all(|digit| digit == b'0');
    is_whole.then(|| digits.to_owned())
}

fn given(value: &Value) -> Given<'_> {
    match value {
        Value::Number(_) => Given::Number,
        Value::String(text) => Given::Text(text),
        Value::Object(_) => Given::Object,
        _ => Given::Other,
    }
}

#[cfg(test)]
mod tests;
