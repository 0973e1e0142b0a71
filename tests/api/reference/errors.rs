//! Generates the reference page about errors. The page lists the codes of each mutation, read from the schema, and the
//! codes of top-level errors.

use std::collections::HashMap;

use async_graphql::parser::types::{
    BaseType, EnumType, FieldDefinition, ObjectType, Type, TypeDefinition, TypeKind,
    TypeSystemDefinition,
};
use tollgate::{graphql::errors::Code, http::reference::status_of};

use super::page::Page;

pub fn page() -> Page {
    let mut page = Page::new("Errors");
    page.text(
        "There are two kinds of errors. A *refusal* of a mutation is part of its payload: `errors` is a list of \
         objects with `code`, `message` and `field`, and each mutation has its own codes. Every other error is a \
         top-level error with `extensions.code`. Programs should use the codes; messages can change.",
    );
    top_level(&mut page);
    mutations(&mut page);
    page
}

fn top_level(page: &mut Page) {
    page.heading("Top-level errors");
    page.text(
        "The status is that of a response without `data`, when the request is refused before it is executed. An \
         error of a single field comes with status 200. With `application/json`, status 400 becomes 200 if the \
         request is well-formed; `application/graphql-response+json` keeps it. Where `extensions` has \
         `retryAfterSeconds`, a response with status 429 or 503 has it as the header `Retry-After` too.",
    );
    let rows = <Code as strum::IntoEnumIterator>::iter().map(|code| {
        let status = status_of(code).as_u16().to_string();
        [code.as_str().to_owned(), status, code.description().to_owned()]
    });
    page.table_of(["Code", "HTTP status", "Meaning"], rows);
}

fn mutations(page: &mut Page) {
    page.heading("Refusals of mutations");
    page.text(
        "A refused mutation has changed nothing. Two mutations handle several items separately: `sendMessages` \
         returns one payload for each message, and `importOptOuts` one verdict for each address, which has `code` \
         and `message` instead of `errors`.",
    );
    let schema = Schema::read();
    for (fields, codes) in schema.refusals() {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        page.text(&format!("### {}", fields.join(", ")));
        let TypeKind::Enum(EnumType { values }) = &schema.types[codes].kind else {
            panic!("{codes} is an enum");
        };
        page.text(&description(schema.types[codes].description.as_ref()));
        let rows = values.iter().map(|value| {
            let meaning = description(value.node.description.as_ref());
            [value.node.value.node.to_string(), meaning]
        });
        page.table_of(["Code", "Meaning"], rows);
    }
}

struct Schema {
    types: HashMap<String, TypeDefinition>,
}

impl Schema {
    fn read() -> Self {
        let document = async_graphql::parser::parse_schema(tollgate::graphql::sdl());
        let definitions = document.expect("the schema can be parsed").definitions.into_iter();
        let types = definitions.filter_map(|definition| match definition {
            TypeSystemDefinition::Type(found) => Some((found.node.name.to_string(), found.node)),
            _ => None,
        });
        Self { types: types.collect() }
    }

    /// Returns the enums of error codes in the order of the mutations. Each enum is paired with the root fields that
    /// use it.
    fn refusals(&self) -> Vec<(Vec<&str>, &str)> {
        let mut refusals: Vec<(Vec<&str>, &str)> = Vec::new();
        for field in self.fields("Mutation").iter().chain(self.fields("Query")) {
            let Some(codes) = self.codes_of(name_of(&field.node.ty.node)) else { continue };
            let name = field.node.name.node.as_str();
            match refusals.iter_mut().find(|(_, found)| *found == codes) {
                Some((fields, _)) => fields.push(name),
                None => refusals.push((vec![name], codes)),
            }
        }
        let all = self.types.keys().filter(|name| name.ends_with("ErrorCode")).count();
        assert_eq!(refusals.len(), all, "every enum of codes belongs to a root field");
        refusals
    }

    /// Returns the name of the enum with the codes that a payload or a verdict can have.
    fn codes_of(&self, payload: &str) -> Option<&str> {
        let errors = self.field(payload, "errors").map_or(payload, name_of);
        self.field(errors, "code").map(name_of).filter(|codes| codes.ends_with("ErrorCode"))
    }

    fn field(&self, on: &str, name: &str) -> Option<&Type> {
        let field = self.fields(on).iter().find(|field| field.node.name.node == name)?;
        Some(&field.node.ty.node)
    }

    fn fields(&self, on: &str) -> &[async_graphql::Positioned<FieldDefinition>] {
        match self.types.get(on).map(|found| &found.kind) {
            Some(TypeKind::Object(ObjectType { fields, .. })) => fields,
            _ => &[],
        }
    }
}

/// Returns the name of a type, without the lists around it.
fn name_of(of: &Type) -> &str {
    match &of.base {
        BaseType::Named(name) => name,
        BaseType::List(entry) => name_of(entry),
    }
}

/// Returns a description in one line.
fn description(text: Option<&async_graphql::Positioned<String>>) -> String {
    let text = text.map(|text| text.node.as_str()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
