//! A schema in the schema language, as its introspection shows it to one role: for validation, without descriptions.

use std::{collections::HashMap, fmt::Write as _};

use crate::graphql::execution::schema_index::{Argument, SchemaIndex, Type};

/// Scalars that every schema has (section 3.5 of the specification).
const BUILT_IN: [&str; 5] = ["Int", "Float", "String", "Boolean", "ID"];

/// The types of a schema, in the order of their names.
pub fn of(shape: &SchemaIndex) -> String {
    let mut types: Vec<_> = shape.0.iter().filter(|(name, _)| is_own(name)).collect();
    types.sort_by_key(|(name, _)| *name);
    let mut text = String::new();
    for (name, of_type) in types {
        write_type(&mut text, name, of_type).expect("a string can be written to");
    }
    text
}

/// Whether the schema defines it, and not the specification.
fn is_own(name: &str) -> bool {
    !name.starts_with("__") && !BUILT_IN.contains(&name)
}

fn write_type(text: &mut String, name: &str, of_type: &Type) -> std::fmt::Result {
    if !of_type.fields.is_empty() {
        writeln!(text, "type {name} {{")?;
        for (name, field) in in_order(&of_type.fields).filter(|(name, _)| is_own(name)) {
            write!(text, "  {name}")?;
            if !field.args.is_empty() {
                write!(text, "(")?;
                write_arguments(text, &field.args)?;
                write!(text, ")")?;
            }
            writeln!(text, ": {}", field.of_type)?;
        }
    } else if !of_type.input_fields.is_empty() {
        let one_of = if of_type.is_one_of { " @oneOf" } else { "" };
        writeln!(text, "input {name}{one_of} {{")?;
        write_arguments(text, &of_type.input_fields)?;
    } else if !of_type.enum_values.is_empty() {
        let mut values: Vec<_> = of_type.enum_values.iter().map(String::as_str).collect();
        values.sort_unstable();
        writeln!(text, "enum {name} {{ {}", values.join(" "))?;
    } else {
        return writeln!(text, "scalar {name}");
    }
    writeln!(text, "}}")
}

fn write_arguments(text: &mut String, arguments: &HashMap<String, Argument>) -> std::fmt::Result {
    for (name, argument) in in_order(arguments) {
        write!(text, "  {name}: {}", argument.of_type)?;
        match &argument.default {
            Some(default) => writeln!(text, " = {default}")?,
            None => writeln!(text)?,
        }
    }
    Ok(())
}

fn in_order<T>(named: &HashMap<String, T>) -> impl Iterator<Item = (&String, &T)> {
    let mut named: Vec<_> = named.iter().collect();
    named.sort_by_key(|(name, _)| *name);
    named.into_iter()
}
