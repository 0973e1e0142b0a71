//! Writes the part of the schema that one audience sees in the schema definition language.
//! Descriptions are left out, because the result is only used for validation.

use std::{collections::HashMap, fmt::Write as _};

use crate::graphql::execution::schema_index::{Argument, SchemaIndex, Type};

/// Built-in scalars (section 3.5 of the specification).
const BUILT_IN: [&str; 5] = ["Int", "Float", "String", "Boolean", "ID"];

/// Returns the type definitions, sorted by name.
pub fn write(index: &SchemaIndex) -> String {
    let mut types: Vec<_> = index.0.iter().filter(|(name, _)| is_defined_here(name)).collect();
    types.sort_by_key(|(name, _)| *name);
    let mut text = String::new();
    for (name, of_type) in types {
        write_type(&mut text, name, of_type).expect("writing to a string does not fail");
    }
    text
}

/// Returns whether a name is defined by this schema and not by the specification.
fn is_defined_here(name: &str) -> bool {
    !name.starts_with("__") && !BUILT_IN.contains(&name)
}

fn write_type(text: &mut String, name: &str, of_type: &Type) -> std::fmt::Result {
    if !of_type.fields.is_empty() {
        writeln!(text, "type {name} {{")?;
        for (name, field) in sorted(&of_type.fields).filter(|(name, _)| is_defined_here(name)) {
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
    for (name, argument) in sorted(arguments) {
        write!(text, "  {name}: {}", argument.of_type)?;
        match &argument.default {
            Some(default) => writeln!(text, " = {default}")?,
            None => writeln!(text)?,
        }
    }
    Ok(())
}

fn sorted<T>(named: &HashMap<String, T>) -> impl Iterator<Item = (&String, &T)> {
    let mut named: Vec<_> = named.iter().collect();
    named.sort_by_key(|(name, _)| *name);
    named.into_iter()
}
