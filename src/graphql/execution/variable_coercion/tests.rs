use std::collections::{HashMap, HashSet};

use async_graphql::parser::{parse_query, types::DocumentOperations};
use serde_json::json;

use super::*;
use crate::graphql::{errors::code_of, scalars::to_value};

fn named(name: &str) -> TypeRef {
    TypeRef::Named(name.to_owned())
}

/// Returns a schema with the input object `Note`, the enum `Kind`, the `@oneOf` input object `Ref`
/// and a scalar. Only the full schema has `Note.secret` and `Kind.HIDDEN`.
fn index(is_full: bool) -> SchemaIndex {
    let required = |of_type| TypeRef::NonNull(Box::new(of_type));
    let fields = |fields: &[(&str, TypeRef)]| -> HashMap<String, schema_index::Argument> {
        let fields = fields.iter().map(|(name, of_type)| {
            let default = (*name == "size").then(|| "5".to_owned());
            ((*name).to_owned(), schema_index::Argument { of_type: of_type.clone(), default })
        });
        fields.collect()
    };
    let mut note = fields(&[
        ("text", required(named("String"))),
        ("size", required(named("Int"))),
        ("stars", named("Int")),
        ("kinds", TypeRef::List(Box::new(required(named("Kind"))))),
        ("at", named("DateTime")),
        ("price", named("Cents")),
        ("data", named("JSONObject")),
        ("inner", named("Note")),
        ("secret", named("Int")),
    ]);
    let mut kinds = HashSet::from(["GOOD", "BAD", "HIDDEN"].map(str::to_owned));
    if !is_full {
        note.remove("secret");
        kinds.remove("HIDDEN");
    }
    let ids = fields(&[("id", named("ID")), ("name", named("String"))]);
    let with_fields =
        |input_fields| schema_index::Type { input_fields, ..schema_index::Type::default() };
    SchemaIndex(HashMap::from([
        ("Note".to_owned(), with_fields(note)),
        (
            "Kind".to_owned(),
            schema_index::Type { enum_values: kinds, ..schema_index::Type::default() },
        ),
        ("Ref".to_owned(), schema_index::Type { is_one_of: true, ..with_fields(ids) }),
        ("DateTime".to_owned(), schema_index::Type::default()),
    ]))
}

/// Returns the coerced value of a variable, or the code and the message of the error.
fn coerced(
    of_type: &str,
    value: Option<serde_json::Value>,
) -> Result<serde_json::Value, (String, String)> {
    let document = parse_query(format!("query($x: {of_type}) {{ a(x: $x) }}"));
    let DocumentOperations::Single(operation) = document.expect("a document").operations else {
        panic!("expected one operation without a name");
    };
    let variables = value.map_or_else(|| json!({}), |value| json!({ "x": value }));
    let mut variables = Variables::from_value(to_value(variables));
    match coerce(&operation, &mut variables, &index(false), &index(true), Role::SubAccount) {
        Ok(()) => {
            let value = variables.get("x").cloned().unwrap_or(Value::String("(none)".to_owned()));
            Ok(value.into_json().expect("plain JSON"))
        }
        Err(refused) => {
            let code = code_of(&refused).expect("the error has a code");
            Err((code.as_str().to_owned(), refused.message))
        }
    }
}

#[test]
fn valid_values_are_coerced_to_their_types() {
    for (of_type, value, expected) in [
        ("String", json!("a"), json!("a")),
        ("String", json!(null), json!(null)),
        ("ID!", json!("1"), json!("1")),
        ("ID!", json!(17), json!("17")),
        ("ID!", json!(5.0), json!("5")),
        ("Boolean", json!(true), json!(true)),
        ("Int", json!(-2_147_483_648_i64), json!(-2_147_483_648_i64)),
        ("Int", json!(5.0), json!(5)),
        ("Int", "1e2".parse().expect("JSON"), json!(100)),
        ("ID!", "12E1".parse().expect("JSON"), json!("120")),
        ("Float", json!(1), json!(1)),
        ("Kind", json!("GOOD"), json!("GOOD")),
        ("[Kind!]", json!("GOOD"), json!(["GOOD"])),
        ("[Kind!]", json!(["GOOD", "BAD"]), json!(["GOOD", "BAD"])),
        ("[Kind]", json!([null]), json!([null])),
        ("Cents", json!(0.04), json!(0.04)),
        ("DateTime", json!("2026-01-01T00:00:00Z"), json!("2026-01-01T00:00:00Z")),
        ("Date", json!("2026-01-01"), json!("2026-01-01")),
        ("JSONObject", json!({ "a": [1] }), json!({ "a": [1] })),
        ("Ref!", json!({ "id": 1 }), json!({ "id": "1" })),
        ("Note!", json!({ "text": "a", "kinds": "BAD" }), json!({ "text": "a", "kinds": ["BAD"] })),
        (
            "Note",
            json!({ "text": "a", "stars": null, "inner": { "text": "b" } }),
            json!({ "text": "a", "stars": null, "inner": { "text": "b" } }),
        ),
    ] {
        assert_eq!(coerced(of_type, Some(value.clone())), Ok(expected), "{of_type} {value}");
    }
    assert_eq!(coerced("String", None), Ok(json!("(none)")));
}

#[test]
fn an_invalid_value_is_refused_with_its_path() {
    let note = |name: &str, value: serde_json::Value| {
        let mut note = json!({ "text": "Hello" });
        note[name] = value;
        note
    };
    for (of_type, value, expected) in [
        ("String", json!(1), "$x is not valid: expected a string"),
        ("Boolean", json!("true"), "$x is not valid: expected true or false"),
        ("ID", json!(1.5), "$x is not valid: expected a string or an integer"),
        ("Int", json!(2_147_483_648_i64), "$x is not valid: expected a 32-bit integer"),
        ("Int", "1e-1".parse().expect("JSON"), "$x is not valid: expected a 32-bit integer"),
        ("Int", "1e10".parse().expect("JSON"), "$x is not valid: expected a 32-bit integer"),
        ("Int", json!("5"), "$x is not valid: expected a 32-bit integer"),
        ("Int", json!(1.5), "$x is not valid: expected a 32-bit integer"),
        ("Kind", json!("good"), "$x is not valid: \"good\" is not a value of Kind"),
        ("Kind", json!(1), "$x is not valid: expected a value of Kind"),
        ("[Kind!]", json!([null]), "$x[0] is not valid: expected a non-null value"),
        ("[Kind!]", json!(["GOOD", "x"]), "$x[1] is not valid: \"x\" is not a value of Kind"),
        ("Cents", json!("1"), "$x is not valid: expected a number of cents, such as 4500 or 0.04"),
        (
            "DateTime",
            json!("nonsense"),
            "$x is not valid: expected an RFC 3339 time, such as 2026-11-23T10:00:00Z",
        ),
        ("Date", json!("2026-02-30"), "$x is not valid: expected a date in the form YYYY-MM-DD"),
        ("JSONObject", json!([1]), "$x is not valid: expected a JSON object"),
        (
            "Ref",
            json!({}),
            "$x is not valid: expected exactly one field of Ref, with a non-null value",
        ),
        (
            "Ref",
            json!({ "id": null }),
            "$x is not valid: expected exactly one field of Ref, with a non-null value",
        ),
        (
            "Ref",
            json!({ "id": 1, "name": "a" }),
            "$x is not valid: expected exactly one field of Ref, with a non-null value",
        ),
        ("Ref", json!("a"), "$x is not valid: expected an object (Ref)"),
        ("Note", json!({}), "$x is not valid: Note requires the field \"text\""),
        ("Note", note("text", json!(null)), "$x.text is not valid: expected a non-null value"),
        (
            "Note",
            note("inner", json!({ "stars": 5 })),
            "$x.inner is not valid: Note requires the field \"text\"",
        ),
        ("Note", note("nothing", json!(1)), "$x is not valid: Note has no field \"nothing\""),
        (
            "[Note!]",
            json!([note("stars", json!("5"))]),
            "$x[0].stars is not valid: expected a 32-bit integer",
        ),
    ] {
        let expected =
            ("GRAPHQL_VALIDATION_FAILED".to_owned(), format!("The variable {expected}."));
        assert_eq!(coerced(of_type, Some(value.clone())), Err(expected), "{of_type} {value}");
    }
    for value in [None, Some(json!(null))] {
        let expected = ("BAD_USER_INPUT".to_owned(), "The variable $x is required.".to_owned());
        assert_eq!(coerced("String!", value), Err(expected));
    }
    for (of_type, value, name) in
        [("Note", note("secret", json!(1)), "secret"), ("[Kind]", json!(["HIDDEN"]), "HIDDEN")]
    {
        let expected = (
            "FORBIDDEN".to_owned(),
            format!("{name:?} is not available to a sub-account's key. Use a key of another role."),
        );
        assert_eq!(coerced(of_type, Some(value)), Err(expected));
    }
}
