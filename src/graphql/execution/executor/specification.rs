//! Compares the validation of documents and the coercion of variables with graphql-js. The test
//! cases and the script that generates them are in `tests/specification`.

#![expect(clippy::disallowed_methods, reason = "the JSON files are part of the repository")]

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{
    EmptyMutation, EmptySubscription, Enum, ID, InputObject, InputType, MaybeUndefined, Object,
    OneofObject, Schema, ValidationMode,
};
use entity::api_key::Role;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::*;
use crate::graphql::{
    execution::{document_cache, role_schemas::VisibleSchema},
    scalars::{Cents, Date, DateTime, JsonObject},
};

/// The documents for which Tollgate and graphql-js give different results, with the reasons.
const DIFFERENCES: &str = include_str!("../../../../tests/specification/differences.json");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Syntax,
    Invalid,
    Valid,
    /// The document is valid, but its variables are not.
    Refused,
    Executed,
}

#[derive(Deserialize)]
struct Documents {
    documents: Vec<(Verdict, String)>,
    /// Each entry contains the verdict, the index of the original document, the start and the end
    /// of the replaced text, and the new text.
    mutants: Vec<(Verdict, usize, usize, usize, String)>,
}

#[derive(Deserialize)]
struct Difference {
    document: String,
    ours: Verdict,
    reason: String,
}

#[tokio::test]
async fn documents_are_validated_like_graphql_js() {
    let text = include_str!("../../../../tests/specification/documents.json");
    let cases: Documents = serde_json::from_str(text).expect("the cases can be read");
    let mut all = cases.documents.clone();
    for (verdict, original, start, end, text) in cases.mutants {
        let original = &cases.documents[original].1;
        all.push((verdict, format!("{}{text}{}", &original[..start], &original[end..])));
    }
    let schemas = RoleSchemas::get().await;
    let ours = all.iter().map(|(_, document)| verdict_of(document, &schemas.full));
    let differ = all.iter().zip(ours).filter(|((theirs, _), ours)| theirs != ours);
    let differences: BTreeMap<&str, Verdict> =
        differ.map(|((_, document), ours)| (document.as_str(), ours)).collect();

    let known: Vec<Difference> =
        serde_json::from_str(DIFFERENCES).expect("the differences can be read");
    assert!(known.iter().all(|difference| !difference.reason.is_empty()));
    let known: BTreeMap<&str, Verdict> =
        known.iter().map(|difference| (difference.document.as_str(), difference.ours)).collect();
    let new: BTreeSet<_> =
        differences.iter().filter(|(text, _)| !known.contains_key(*text)).collect();
    assert!(new.is_empty(), "{} new differences: {new:#?}", new.len());
    assert_eq!(differences, known, "remove obsolete differences from differences.json");
}

fn verdict_of(text: &str, schema: &VisibleSchema) -> Verdict {
    let parsed = match document_cache::parse(text) {
        Ok(parsed) => parsed,
        Err(error) if errors::code_of(&error) == Some(Code::GraphqlParseFailed) => {
            return Verdict::Syntax;
        }
        Err(_) => return Verdict::Invalid,
    };
    let cost = check_cost(&parsed.document, &Variables::default(), &schema.index);
    if cost.is_err_and(|error| errors::code_of(&error) != Some(Code::QueryTooLarge))
        || schema.validate(&parsed.document, text, schema, Role::Operator).is_err()
    {
        return Verdict::Invalid;
    }
    Verdict::Valid
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VariableCase {
    Executed(Verdict, String, Value, Option<BTreeMap<String, Value>>),
    Refused(Verdict, String, Value),
}

#[derive(Deserialize)]
struct VariableCases {
    cases: Vec<VariableCase>,
}

#[tokio::test]
async fn arguments_have_the_same_values_as_in_graphql_js() {
    let text = include_str!("../../../../tests/specification/variables.json");
    let cases: VariableCases = serde_json::from_str(text).expect("the cases can be read");
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription)
        .validation_mode(ValidationMode::Fast)
        .finish();
    let visible = VisibleSchema::load(&schema, Audience::Everything).await;
    let mut differences = Vec::new();
    for case in cases.cases {
        let (theirs, document, variables, data) = match case {
            VariableCase::Executed(verdict, document, variables, data) => {
                (verdict, document, variables, data)
            }
            VariableCase::Refused(verdict, document, variables) => {
                (verdict, document, variables, None)
            }
        };
        let (ours, our_data) = execute(&schema, &visible, &document, variables.clone()).await;
        let data = data.map_or(Value::Null, |data| json!(data));
        // All fields are non-null, so a failed field leaves no data. Tollgate may refuse such a
        // request before it executes it.
        let failed = theirs == Verdict::Executed && data.is_null();
        let is_same_verdict = theirs == ours || failed && ours == Verdict::Refused;
        if !is_same_verdict || !is_same(&data, &our_data) {
            differences.push(format!(
                "{document} {variables}: graphql-js {theirs:?} {data}, Tollgate {ours:?} {our_data}"
            ));
        }
    }
    assert!(differences.is_empty(), "{} differences: {differences:#?}", differences.len());
}

/// Returns Tollgate's verdict and the data of the response.
async fn execute(
    schema: &Schema<Query, EmptyMutation, EmptySubscription>,
    visible: &VisibleSchema,
    document: &str,
    variables: Value,
) -> (Verdict, Value) {
    if verdict_of(document, visible) != Verdict::Valid {
        return (Verdict::Invalid, Value::Null);
    }
    let (parsed, index) = (document_cache::parse(document).expect("it is valid"), &visible.index);
    let operation = find_operation(&parsed.document, None).expect("there is one operation");
    let mut variables = Variables::from_json(variables);
    drop_undeclared_variables(operation, &mut variables);
    add_defaults(operation, &mut variables);
    let coerced =
        variable_coercion::coerce(operation, &mut variables, index, index, Role::Operator);
    if coerced.is_err() {
        return (Verdict::Refused, Value::Null);
    }
    let operation = collect(&parsed.document, &operation.node, &variables, index);
    let Ok(operation) = operation else { return (Verdict::Refused, Value::Null) };
    let request = to_request(operation.clone(), variables);
    let mut response = schema.execute(request).await;
    complete_response(&mut response, &operation, index);
    let is_request_error =
        !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty());
    if is_request_error {
        return (Verdict::Refused, Value::Null);
    }
    (Verdict::Executed, response.data.into_json().expect("the value is plain JSON"))
}

/// Returns whether two responses are equal. A field returns its arguments as JSON in a string, and
/// equal numbers can be written in different ways.
fn is_same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::String(theirs), Value::String(ours)) if theirs != ours => {
            match (serde_json::from_str(theirs), serde_json::from_str(ours)) {
                (Ok(theirs @ Value::Object(_)), Ok(ours)) => is_same(&theirs, &ours),
                _ => false,
            }
        }
        (Value::Number(theirs), Value::Number(ours)) => theirs.as_f64() == ours.as_f64(),
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len()
                && theirs.iter().zip(ours).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(theirs), Value::Object(ours)) => {
            theirs.len() == ours.len()
                && theirs
                    .iter()
                    .all(|(name, one)| ours.get(name).is_some_and(|other| is_same(one, other)))
        }
        (theirs, ours) => theirs == ours,
    }
}

// The schema of variables.graphql. Its fields return their arguments as JSON.

#[derive(Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Color {
    Red,
    Green,
}

#[derive(OneofObject, Serialize)]
#[serde(rename_all = "lowercase")]
enum Either {
    Id(ID),
    Name(String),
}

#[derive(InputObject, Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch {
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    int: MaybeUndefined<i32>,
    #[graphql(default_with = "Some(7)")]
    int_default: Option<i32>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    string: MaybeUndefined<String>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    color: MaybeUndefined<Color>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    list: MaybeUndefined<Vec<Option<i32>>>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    inner: MaybeUndefined<Box<Patch>>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    either: MaybeUndefined<Either>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined", serialize_with = "scalar")]
    json: MaybeUndefined<JsonObject>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined", serialize_with = "scalar")]
    cents: MaybeUndefined<Cents>,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined", serialize_with = "scalar")]
    date_time: MaybeUndefined<DateTime>,
}

#[derive(InputObject, Serialize)]
#[serde(rename_all = "camelCase")]
struct Strict {
    int: i32,
    #[graphql(default = 8)]
    int_default: i32,
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    string: MaybeUndefined<String>,
}

#[derive(Serialize)]
struct Echo<T: Serialize> {
    #[serde(skip_serializing_if = "MaybeUndefined::is_undefined")]
    x: MaybeUndefined<T>,
}

fn echo<T: Serialize>(x: MaybeUndefined<T>) -> String {
    serde_json::to_string(&Echo { x }).expect("the value is plain JSON")
}

fn echo_scalar<T: InputType>(x: MaybeUndefined<T>) -> String {
    echo(x.map_value(|x| x.to_value().into_json().expect("the value is plain JSON")))
}

fn scalar<T: InputType, S: Serializer>(
    x: &MaybeUndefined<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    x.to_value().into_json().expect("the value is plain JSON").serialize(serializer)
}

struct Group;

#[Object]
impl Group {
    async fn int(&self, x: MaybeUndefined<i32>) -> String {
        echo(x)
    }

    async fn float(&self, x: MaybeUndefined<f64>) -> String {
        echo(x)
    }

    async fn group(&self) -> Group {
        Group
    }
}

struct Query;

#[Object]
impl Query {
    async fn int(&self, x: MaybeUndefined<i32>) -> String {
        echo(x)
    }

    async fn int_default(&self, #[graphql(default_with = "Some(7)")] x: Option<i32>) -> String {
        echo(x.map_or(MaybeUndefined::Null, MaybeUndefined::Value))
    }

    async fn int_required(&self, x: i32) -> String {
        echo(MaybeUndefined::Value(x))
    }

    async fn int_required_default(&self, #[graphql(default = 8)] x: i32) -> String {
        echo(MaybeUndefined::Value(x))
    }

    async fn float(&self, x: MaybeUndefined<f64>) -> String {
        echo(x)
    }

    async fn string(&self, x: MaybeUndefined<String>) -> String {
        echo(x)
    }

    async fn boolean(&self, x: MaybeUndefined<bool>) -> String {
        echo(x)
    }

    async fn id(&self, x: MaybeUndefined<ID>) -> String {
        echo(x)
    }

    async fn color(&self, x: MaybeUndefined<Color>) -> String {
        echo(x)
    }

    async fn colors(&self, x: MaybeUndefined<Vec<Color>>) -> String {
        echo(x)
    }

    async fn list(&self, x: MaybeUndefined<Vec<Option<i32>>>) -> String {
        echo(x)
    }

    async fn list_required(&self, x: Vec<i32>) -> String {
        echo(MaybeUndefined::Value(x))
    }

    async fn matrix(&self, x: MaybeUndefined<Vec<Option<Vec<Option<i32>>>>>) -> String {
        echo(x)
    }

    async fn patch(&self, x: MaybeUndefined<Patch>) -> String {
        echo(x)
    }

    async fn patches(&self, x: MaybeUndefined<Vec<Patch>>) -> String {
        echo(x)
    }

    async fn strict(&self, x: MaybeUndefined<Strict>) -> String {
        echo(x)
    }

    async fn either(&self, x: MaybeUndefined<Either>) -> String {
        echo(x)
    }

    async fn cents(&self, x: MaybeUndefined<Cents>) -> String {
        echo_scalar(x)
    }

    async fn json(&self, x: MaybeUndefined<JsonObject>) -> String {
        echo_scalar(x)
    }

    async fn date_time(&self, x: MaybeUndefined<DateTime>) -> String {
        echo_scalar(x)
    }

    async fn date(&self, x: MaybeUndefined<Date>) -> String {
        echo_scalar(x)
    }

    async fn group(&self) -> Group {
        Group
    }
}
