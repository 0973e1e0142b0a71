//! The schema as one viewpoint's introspection shows it: what `hidden` and `mend` look things up in.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

/// What is asked of the schema; lists of lists are not in it, so four levels of type are enough.
pub const INTROSPECTION: &str = "{ __schema { types { name isOneOf \
    fields(includeDeprecated: true) { name args { name type { ...T } } type { ...T } } \
    inputFields { name type { ...T } } enumValues(includeDeprecated: true) { name } } } } \
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// A type as a field, an argument or a list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeRef {
    Named(String),
    List(Box<TypeRef>),
    NonNull(Box<TypeRef>),
}

#[derive(Clone, Debug)]
pub struct Field {
    pub of_type: TypeRef,
    pub args: HashMap<String, TypeRef>,
}

#[derive(Clone, Debug, Default)]
pub struct Type {
    pub fields: HashMap<String, Field>,
    pub input_fields: HashMap<String, TypeRef>,
    pub enum_values: HashSet<String>,
    /// An input object of which exactly one field is given.
    pub is_one_of: bool,
}

/// All types of a schema, by name.
#[derive(Clone, Debug)]
pub struct Shape(pub HashMap<String, Type>);

impl Shape {
    /// Reads the answer to [`INTROSPECTION`].
    pub fn read(answer: serde_json::Value) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_value(answer)?;
        let types = answer.schema.types.into_iter().map(|found| {
            let fields = found.fields.unwrap_or_default().into_iter().map(|field| {
                (field.name, Field { of_type: field.of_type.into(), args: named(field.args) })
            });
            let values = found.enum_values.unwrap_or_default().into_iter().map(|value| value.name);
            let shape = Type {
                fields: fields.collect(),
                input_fields: named(found.input_fields.unwrap_or_default()),
                enum_values: values.collect(),
                is_one_of: found.is_one_of.unwrap_or_default(),
            };
            (found.name, shape)
        });
        Ok(Self(types.collect()))
    }

    pub fn field(&self, type_name: &str, field: &str) -> Option<&Field> {
        self.0.get(type_name)?.fields.get(field)
    }
}

impl TypeRef {
    /// The name at the bottom.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(inner) | Self::NonNull(inner) => inner.name(),
        }
    }

    /// Whether it is a list, null or not.
    pub fn is_list(&self) -> bool {
        match self {
            Self::Named(_) => false,
            Self::List(_) => true,
            Self::NonNull(inner) => inner.is_list(),
        }
    }
}

fn named(values: Vec<JsonValue>) -> HashMap<String, TypeRef> {
    values.into_iter().map(|value| (value.name, value.of_type.into())).collect()
}

impl From<JsonType> for TypeRef {
    fn from(found: JsonType) -> Self {
        match (found.kind.as_str(), found.of_type) {
            ("NON_NULL", Some(inner)) => Self::NonNull(Box::new((*inner).into())),
            ("LIST", Some(inner)) => Self::List(Box::new((*inner).into())),
            _ => Self::Named(found.name.unwrap_or_default()),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "__schema")]
    schema: JsonSchema,
}

#[derive(Deserialize)]
struct JsonSchema {
    types: Vec<JsonNamedType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonNamedType {
    name: String,
    fields: Option<Vec<JsonField>>,
    input_fields: Option<Vec<JsonValue>>,
    enum_values: Option<Vec<JsonEnumValue>>,
    is_one_of: Option<bool>,
}

#[derive(Deserialize)]
struct JsonField {
    name: String,
    args: Vec<JsonValue>,
    #[serde(rename = "type")]
    of_type: JsonType,
}

#[derive(Deserialize)]
struct JsonValue {
    name: String,
    #[serde(rename = "type")]
    of_type: JsonType,
}

#[derive(Deserialize)]
struct JsonEnumValue {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonType {
    kind: String,
    name: Option<String>,
    of_type: Option<Box<JsonType>>,
}
