//! Documents and variables against what graphql-js says of them. `tests/specification` has the cases, and the script
//! that makes them.

#![expect(clippy::disallowed_methods, reason = "the JSON is our own")]

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{
    EmptyMutation, EmptySubscription, Enum, ID, InputObject, InputType, MaybeUndefined, Object,
    OneofObject, Schema,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::*;
use crate::graphql::{
    execution,
    scalars::{Cents, Date, DateTime, JsonObject},
};

/// Where we differ, and why.
const DOCUMENTS_THAT_DIFFER: &str =
    include_str!("../../../../tests/specification/differences.json");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Syntax,
    Invalid,
    Valid,
    /// Valid, and its variables are not.
    Refused,
    Executed,
}

#[derive(Deserialize)]
struct Documents {
    documents: Vec<(Verdict, String)>,
    /// A verdict, the document that was changed, from where to where, and what is there instead.
    mutants: Vec<(Verdict, usize, usize, usize, String)>,
}

#[derive(Deserialize)]
struct Difference {
    document: String,
    ours: Verdict,
    reason: String,
}

#[tokio::test]
async fn documents_are_judged_as_graphql_js_does() {
    let text = include_str!("../../../../tests/specification/documents.json");
    let cases: Documents = serde_json::from_str(text).expect("the cases can be read");
    let mut all = cases.documents.clone();
    for (verdict, base, from, to, text) in cases.mutants {
        let base = &cases.documents[base].1;
        all.push((verdict, format!("{}{text}{}", &base[..from], &base[to..])));
    }
    let schemas = SCHEMAS.get_or_init(Schemas::new).await;
    let ours = all.iter().map(|(_, document)| judge(document, &schemas.full));
    let differ = all.iter().zip(ours).filter(|((theirs, _), ours)| theirs != ours);
    let differ: BTreeMap<&str, Verdict> =
        differ.map(|((_, document), ours)| (document.as_str(), ours)).collect();

    let known: Vec<Difference> =
        serde_json::from_str(DOCUMENTS_THAT_DIFFER).expect("the differences can be read");
    assert!(known.iter().all(|difference| !difference.reason.is_empty()));
    let known: BTreeMap<&str, Verdict> =
        known.iter().map(|difference| (difference.document.as_str(), difference.ours)).collect();
    let news: BTreeSet<_> = differ.iter().filter(|(text, _)| !known.contains_key(*text)).collect();
    assert!(news.is_empty(), "{} differ: {news:#?}", news.len());
    assert_eq!(differ, known, "a difference is gone; take it out of differences.json");
}

fn judge(text: &str, full: &Seen) -> Verdict {
    let known = match execution::document_cache::read(text) {
        Ok(known) => known,
        Err(refused) if errors::code_of(&refused) == Some(Code::GraphqlParseFailed) => {
            return Verdict::Syntax;
        }
        Err(_) => return Verdict::Invalid,
    };
    let cost = cost::check_cost(&known.document, &Variables::default(), &full.shape);
    if cost.is_err_and(|refused| errors::code_of(&refused) != Some(Code::QueryTooLarge))
        || validate_document(&known.document, text, full, full, Role::Operator).is_err()
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
async fn arguments_have_the_values_that_graphql_js_gives_them() {
    let text = include_str!("../../../../tests/specification/variables.json");
    let cases: VariableCases = serde_json::from_str(text).expect("the cases can be read");
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription)
        .validation_mode(ValidationMode::Fast)
        .finish();
    let seen = Seen::by(&schema, Audience::Everything).await;
    let mut differ = Vec::new();
    for case in cases.cases {
        let (theirs, document, given, data) = match case {
            VariableCase::Executed(verdict, document, given, data) => {
                (verdict, document, given, data)
            }
            VariableCase::Refused(verdict, document, given) => (verdict, document, given, None),
        };
        let (ours, answer) = answer(&schema, &seen, &document, given.clone()).await;
        let data = data.map_or(Value::Null, |data| json!(data));
        // The schema's fields are required, so a field that fails leaves no data; we may refuse the request before.
        let failed = theirs == Verdict::Executed && data.is_null();
        let is_same_verdict = theirs == ours || failed && ours == Verdict::Refused;
        if !is_same_verdict || !is_same(&data, &answer) {
            differ.push(format!("{document} {given}: {theirs:?} {data}, and we {ours:?} {answer}"));
        }
    }
    assert!(differ.is_empty(), "{} differ: {differ:#?}", differ.len());
}

async fn answer(
    schema: &Schema<Query, EmptyMutation, EmptySubscription>,
    seen: &Seen,
    document: &str,
    given: Value,
) -> (Verdict, Value) {
    if judge(document, seen) != Verdict::Valid {
        return (Verdict::Invalid, Value::Null);
    }
    let known = execution::document_cache::read(document).expect("it was read before");
    let operation = find_operation(&known.document, None).expect("there is one");
    let mut variables = Variables::from_json(given);
    keep_declared(operation, &mut variables);
    complete_variables(operation, &mut variables);
    if variable_coercion::coerce(
        operation,
        &mut variables,
        &seen.shape,
        &seen.shape,
        Role::Operator,
    )
    .is_err()
    {
        return (Verdict::Refused, Value::Null);
    }
    let operation = collect(&known.document, &operation.node, &variables, &seen.shape);
    let Ok(operation) = operation else { return (Verdict::Refused, Value::Null) };
    let request = to_request(operation.clone(), variables);
    let mut response = schema.execute(request).await;
    response_completion::complete_response(&mut response, &operation, &seen.shape);
    let is_request_error =
        !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty());
    if is_request_error {
        return (Verdict::Refused, Value::Null);
    }
    (Verdict::Executed, response.data.into_json().expect("it is JSON"))
}

/// Whether two answers are the same; what a field echoes is JSON in a string, and numbers may be written differently.
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

// The schema of variables.graphql: its fields say what their arguments are, as JSON.

#[derive(Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Colour {
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
    colour: MaybeUndefined<Colour>,
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
    moment: MaybeUndefined<DateTime>,
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
    serde_json::to_string(&Echo { x }).expect("it is JSON")
}

fn echo_scalar<T: InputType>(x: MaybeUndefined<T>) -> String {
    echo(x.map_value(|x| x.to_value().into_json().expect("it is JSON")))
}

fn scalar<T: InputType, S: Serializer>(
    x: &MaybeUndefined<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    x.to_value().into_json().expect("it is JSON").serialize(serializer)
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

    async fn colour(&self, x: MaybeUndefined<Colour>) -> String {
        echo(x)
    }

    async fn colours(&self, x: MaybeUndefined<Vec<Colour>>) -> String {
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

    async fn moment(&self, x: MaybeUndefined<DateTime>) -> String {
        echo_scalar(x)
    }

    async fn day(&self, x: MaybeUndefined<Date>) -> String {
        echo_scalar(x)
    }

    async fn group(&self) -> Group {
        Group
    }
}
