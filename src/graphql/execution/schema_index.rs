//! An index for the part of the schema that one audience sees. It is built from the response to an
//! introspection.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use async_graphql::parser::types::OperationType;
use serde::Deserialize;

/// The introspection query from which an index is built. The schema has no lists of lists, so four
/// levels of `ofType` are enough.
pub const INTROSPECTION: &str = "{ __schema { types { name isOneOf \
    fields(includeDeprecated: true) { name args(includeDeprecated: true) { name defaultValue type { ...T } } type { ...T } } \
    inputFields(includeDeprecated: true) { name defaultValue type { ...T } } enumValues(includeDeprecated: true) { name } } } } \
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// The type of a field, an argument or a list item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeRef {
    Named(String),
    List(Box<TypeRef>),
    NonNull(Box<TypeRef>),
}

#[derive(Clone, Debug)]
pub struct Field {
    pub of_type: TypeRef,
    pub args: HashMap<String, Argument>,
}

/// An argument or an input field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub of_type: TypeRef,
    /// The default value as a GraphQL literal.
    pub default: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Type {
    pub fields: HashMap<String, Field>,
    pub input_fields: HashMap<String, Argument>,
    pub enum_values: HashSet<String>,
    /// Whether the type is an input object with `@oneOf`.
    pub is_one_of: bool,
}

/// Writes the type in the notation of the schema definition language.
impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::List(inner) => write!(f, "[{inner}]"),
            Self::NonNull(inner) => write!(f, "{inner}!"),
        }
    }
}

/// All types of a schema, by name.
#[derive(Clone, Debug)]
pub struct SchemaIndex(pub HashMap<String, Type>);

impl SchemaIndex {
    /// Builds the index from the response to [`INTROSPECTION`].
    pub fn read(response: serde_json::Value) -> Result<Self, serde_json::Error> {
        let response: JsonResponse = serde_json::from_value(response)?;
        let types = response.schema.types.into_iter().map(|json| {
            let fields = json.fields.unwrap_or_default().into_iter().map(|field| {
                (field.name, Field { of_type: field.of_type.into(), args: named(field.args) })
            });
            let input_fields = json.input_fields.unwrap_or_default();
            let values = json.enum_values.unwrap_or_default().into_iter().map(|value| value.name);
            let of_type = Type {
                fields: fields.collect(),
                input_fields: named(input_fields),
                enum_values: values.collect(),
                is_one_of: json.is_one_of.unwrap_or_default(),
            };
            (json.name, of_type)
        });
        let mut types: HashMap<String, Type> = types.collect();
        if let Some(query) = types.get_mut(root_type(OperationType::Query)) {
            query.fields.extend(introspection_fields());
        }
        Ok(Self(types))
    }

    pub fn field(&self, type_name: &str, field: &str) -> Option<&Field> {
        self.0.get(type_name)?.fields.get(field)
    }
}

impl TypeRef {
    /// Returns the name of the innermost type.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(inner) | Self::NonNull(inner) => inner.name(),
        }
    }

    /// Returns the type without the outermost non-null marker.
    pub fn nullable(&self) -> &Self {
        match self {
            Self::NonNull(inner) => inner,
            Self::Named(_) | Self::List(_) => self,
        }
    }

    /// Returns whether the type is a list or a non-null list.
    pub fn is_list(&self) -> bool {
        match self {
            Self::Named(_) => false,
            Self::List(_) => true,
            Self::NonNull(inner) => inner.is_list(),
        }
    }
}

/// Returns the name of the root type for a kind of operation.
pub fn root_type(operation: OperationType) -> &'static str {
    match operation {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

/// Returns the fields that every query root type has although introspection does not list them
/// (section 4.2 of the specification).
fn introspection_fields() -> [(String, Field); 2] {
    let field = |name: &str, of_type, args| (name.to_owned(), Field { of_type, args });
    let named = |name: &str| TypeRef::Named(name.to_owned());
    let required = |name: &str| TypeRef::NonNull(Box::new(named(name)));
    let name = Argument { of_type: required("String"), default: None };
    let name = HashMap::from([("name".to_owned(), name)]);
    [
        field("__schema", required("__Schema"), HashMap::new()),
        field("__type", named("__Type"), name),
    ]
}

fn named(values: Vec<JsonValue>) -> HashMap<String, Argument> {
    let named = values.into_iter().map(|value| {
        let argument = Argument { of_type: value.of_type.into(), default: value.default_value };
        (value.name, argument)
    });
    named.collect()
}

impl From<JsonType> for TypeRef {
    fn from(json: JsonType) -> Self {
        match (json.kind.as_str(), json.of_type) {
            ("NON_NULL", Some(inner)) => Self::NonNull(Box::new((*inner).into())),
            ("LIST", Some(inner)) => Self::List(Box::new((*inner).into())),
            _ => Self::Named(json.name.unwrap_or_default()),
        }
    }
}

#[derive(Deserialize)]
struct JsonResponse {
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
#[serde(rename_all = "camelCase")]
struct JsonValue {
    name: String,
    default_value: Option<String>,
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
