//! `schema.graphql` is what the program serves, and all of it is described.

use std::collections::BTreeSet;

use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};

/// D2, D6: the committed schema is the program's own.
#[test]
fn the_committed_schema_is_the_programs_own() {
    let committed = include_str!("../../schema.graphql");
    assert!(
        committed.trim_end() == tollgate::graphql::sdl().trim_end(),
        "schema.graphql is out of date: cargo run -- schema > schema.graphql"
    );
}

/// Types, fields, arguments, inputs and enum values all say what they are; custom scalars say where
/// they are specified; no description speaks of Rust.
#[test]
fn everything_is_described() {
    let document = async_graphql::parser::parse_schema(tollgate::graphql::sdl()).expect("our SDL");
    let mut missing = BTreeSet::new();
    let mut described = 0;
    let mut check = |name: String, text: Option<&str>| {
        described += 1;
        let is_sentence = text.is_some_and(|text| {
            text.trim().ends_with('.') && !text.contains('`') && !text.contains("::")
        });
        if !is_sentence {
            missing.insert(name);
        }
    };
    for definition in &document.definitions {
        let TypeSystemDefinition::Type(found) = definition else { continue };
        let found = &found.node;
        let name = found.name.node.as_str();
        let text = |text: &Option<async_graphql::Positioned<String>>| {
            text.as_ref().map(|text| text.node.clone())
        };
        check(name.to_owned(), text(&found.description).as_deref());
        match &found.kind {
            TypeKind::Object(object) => {
                for field in &object.fields {
                    let path = format!("{name}.{}", field.node.name.node);
                    check(path.clone(), text(&field.node.description).as_deref());
                    for argument in &field.node.arguments {
                        let path = format!("{path}({})", argument.node.name.node);
                        check(path, text(&argument.node.description).as_deref());
                    }
                }
            }
            TypeKind::InputObject(input) => {
                for field in &input.fields {
                    let path = format!("{name}.{}", field.node.name.node);
                    check(path, text(&field.node.description).as_deref());
                }
            }
            TypeKind::Enum(values) => {
                for value in &values.values {
                    let path = format!("{name}.{}", value.node.value.node);
                    check(path, text(&value.node.description).as_deref());
                }
            }
            TypeKind::Scalar => {
                let is_specified =
                    found.directives.iter().any(|found| found.node.name.node == "specifiedBy");
                assert!(is_specified, "{name} does not say where it is specified");
            }
            TypeKind::Interface(_) | TypeKind::Union(_) => {
                panic!("{name}: the schema has no interfaces and no unions")
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert!(described > 300, "only {described} descriptions were looked at");
}

/// Payloads: the object is nullable, the errors are not; root mutation fields are nullable.
#[test]
fn payloads_are_of_one_form() {
    let document = async_graphql::parser::parse_schema(tollgate::graphql::sdl()).expect("our SDL");
    let mut payloads = 0;
    for definition in &document.definitions {
        let TypeSystemDefinition::Type(found) = definition else { continue };
        let TypeKind::Object(object) = &found.node.kind else { continue };
        let name = found.node.name.node.as_str();
        if name == "Mutation" {
            for field in &object.fields {
                assert!(field.node.ty.node.nullable, "Mutation.{}", field.node.name.node);
            }
        }
        let Some(mutation) = name.strip_suffix("Payload") else { continue };
        payloads += 1;
        for field in &object.fields {
            let of_type = field.node.ty.node.to_string();
            match field.node.name.node.as_str() {
                "errors" => assert_eq!(of_type, format!("[{mutation}Error!]!")),
                "replayed" => assert_eq!(of_type, "Boolean!"),
                other => assert!(field.node.ty.node.nullable, "{name}.{other}"),
            }
        }
    }
    assert_eq!(payloads, 15);
}
