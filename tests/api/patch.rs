//! Updates. An omitted field keeps its value, and null clears a field that can be cleared. A field whose variable has
//! no value is omitted (sections 3.10 and 6.4.1 of the GraphQL specification). If the schema has a new field, the tests
//! fail until the field has a row here.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::types::{InputObjectType, TypeKind, TypeSystemDefinition};
use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{TestApp, TestTeam, text};

/// How a field is passed to a mutation, or omitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    AbsentByVariable,
    AbsentInLiteral,
    NullByVariable,
    NullInLiteral,
    ByVariable,
    InLiteral,
}

use Given::{
    AbsentByVariable, AbsentInLiteral, ByVariable, InLiteral, NullByVariable, NullInLiteral,
};

const WAYS: [Given; 6] =
    [AbsentByVariable, AbsentInLiteral, NullByVariable, NullInLiteral, ByVariable, InLiteral];

/// A field of an input, with the values that the test uses.
struct Row {
    field: &'static str,
    /// The initial value. `cleared` is the value after null, and `given` is another value.
    stored: Value,
    cleared: Value,
    given: Value,
}

fn row(field: &'static str, stored: Value, cleared: Value, given: Value) -> Row {
    Row { field, stored, cleared, given }
}

/// A mutation that updates an object.
struct Patch {
    mutation: &'static str,
    input: &'static str,
    /// The selection in the payload. It must contain the object with its id.
    selection: &'static str,
    rows: Vec<Row>,
}

fn patches() -> Vec<Patch> {
    let name = |stored| row("name", json!(stored), json!(stored), json!("Other"));
    let bodies = json!([{ "channel": "SMS", "text": "Hello" }]);
    let other_bodies = json!([{ "channel": "SMS", "text": "Bye" }]);
    let variables = json!([{ "name": "who", "default": null }]);
    let other_variables = json!([{ "name": "who", "default": "you" }]);
    vec![
        Patch {
            mutation: "updateSubAccount",
            input: "UpdateSubAccountInput",
            selection: "account { id name externalId creditLimit metadata teamBalanceVisible }",
            rows: vec![
                name("Client"),
                row("externalId", json!("client"), Value::Null, json!("other")),
                row("creditLimit", json!(9_000), Value::Null, json!(5)),
                row("metadata", json!({ "a": 1 }), Value::Null, json!({ "b": 2 })),
                row("teamBalanceVisible", json!(false), json!(false), json!(true)),
            ],
        },
        Patch {
            mutation: "updateApiKey",
            input: "UpdateApiKeyInput",
            selection: "apiKey { id name }",
            rows: vec![name("Default")],
        },
        Patch {
            mutation: "updateContact",
            input: "UpdateContactInput",
            selection: "contact { id displayName locale timeZone tags metadata }",
            rows: vec![
                row("displayName", json!("Ada"), Value::Null, json!("Eve")),
                row("locale", json!("en"), Value::Null, json!("de")),
                row("timeZone", json!("Europe/Vienna"), Value::Null, json!("Europe/Paris")),
                row("tags", json!(["vip"]), json!([]), json!(["new"])),
                row("metadata", json!({ "a": 1 }), Value::Null, json!({ "b": 2 })),
            ],
        },
        Patch {
            mutation: "updateContactAddress",
            input: "UpdateContactAddressInput",
            selection: "contact { addresses { id address label isPrimary } }",
            rows: vec![
                row("address", json!("+12025550102"), json!("+12025550102"), json!("+12025550103")),
                row("label", json!("work"), Value::Null, json!("home")),
                row("isPrimary", json!(false), json!(false), json!(true)),
            ],
        },
        Patch {
            mutation: "updatePhoneNumber",
            input: "UpdatePhoneNumberInput",
            selection: "phoneNumber { id name }",
            rows: vec![row("name", json!("Hotline"), Value::Null, json!("Other"))],
        },
        Patch {
            mutation: "updateSender",
            input: "UpdateSenderInput",
            selection: "sender { id name phoneNumber { number } email emailName whatsapp telegram isDefault }",
            rows: vec![
                name("Sender"),
                row("email", json!("a@b.io"), Value::Null, json!("c@d.io")),
                row("emailName", json!("Acme"), Value::Null, json!("Other")),
                row("whatsapp", json!("+12025550109"), Value::Null, json!("+12025550110")),
                row("telegram", json!("@acmebot"), Value::Null, json!("@otherbot")),
                row("isDefault", json!(false), json!(false), json!(true)),
            ],
        },
        Patch {
            mutation: "updateTemplate",
            input: "UpdateTemplateInput",
            selection: "template { id name bodies { channel text } variables { name default } }",
            rows: vec![
                name("Template"),
                row("bodies", bodies.clone(), bodies, other_bodies),
                row("variables", variables, json!([]), other_variables),
            ],
        },
    ]
}

/// Creates the object that the mutation's [`Patch`] expects. Returns the object's id.
async fn object(
    t: &TestApp,
    team: &TestTeam,
    mutation: &str,
    numbers: &mut impl Iterator<Item = String>,
) -> String {
    let mut number = || numbers.next().expect("there is no last number");
    match mutation {
        "updateSubAccount" => {
            let input = json!({ "externalId": "client", "creditLimit": 9_000, "metadata": { "a": 1 },
                                "teamBalanceVisible": false });
            t.sub_account(team, input).await.id
        }
        "updateApiKey" => t.sub_account(team, json!({})).await.key_id,
        "updateContact" => {
            let input = json!({ "displayName": "Ada", "locale": "en", "timeZone": "Europe/Vienna",
                                "tags": ["vip"], "metadata": { "a": 1 },
                                "addresses": [{ "address": "+12025550101" }] });
            let made = t.create_contact(&team.key, input).await;
            text(&made.data()["createContact"]["contact"]["id"])
        }
        "updateContactAddress" => {
            let input = json!({ "addresses": [
                { "address": "+12025550101" }, { "address": "+12025550102", "label": "work" },
            ] });
            let made = t.create_contact(&team.key, input).await;
            text(&made.data()["createContact"]["contact"]["addresses"][1]["id"])
        }
        "updatePhoneNumber" => {
            let number = number();
            t.stock(&format!("{number},US,LOCAL,SMS,0,1\n")).await;
            let input = json!({ "number": number, "name": "Hotline" });
            let bought = t.purchase(&team.key, input).await;
            text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"])
        }
        "updateSender" => {
            // The first sender of an account becomes its default sender, so the updated sender is not the default.
            t.sender(&team.key, json!({})).await;
            let number = t.phone_number(&team.key, &number()).await;
            let input = json!({ "phoneNumberId": number, "email": "a@b.io", "emailName": "Acme",
                                "whatsapp": "+12025550109", "telegram": "@acmebot" });
            t.sender(&team.key, input).await
        }
        "updateTemplate" => {
            let bodies = json!([{ "channel": "SMS", "text": "Hello" }]);
            t.template(&team.key, bodies, json!([{ "name": "who" }])).await
        }
        other => panic!("{other} has no object to patch"),
    }
}

/// Returns the object with this id.
fn find<'a>(value: &'a Value, id: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) if members.get("id").is_some_and(|found| found == id) => Some(value),
        Value::Object(members) => members.values().find_map(|value| find(value, id)),
        Value::Array(items) => items.iter().find_map(|value| find(value, id)),
        _ => None,
    }
}

/// Returns the declaration of the variable, the literal of the input's field, and the variables of the request.
fn written(field: &str, of_type: &str, given: Given, value: &Value) -> (String, String, Value) {
    let (declared, literal, variables) = match given {
        AbsentByVariable => (true, format!("{field}: $v"), json!({})),
        AbsentInLiteral => (false, String::new(), json!({})),
        NullByVariable => (true, format!("{field}: $v"), json!({ "v": null })),
        NullInLiteral => (false, format!("{field}: null"), json!({})),
        ByVariable => (true, format!("{field}: $v"), json!({ "v": value })),
        InLiteral => (false, format!("{field}: {}", in_graphql(value)), json!({})),
    };
    (if declared { format!("($v: {of_type})") } else { String::new() }, literal, variables)
}

fn in_graphql(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "channel" => format!("channel: {}", text(value)),
                    _ => format!("{name}: {}", in_graphql(value)),
                })
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(in_graphql).collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Returns the input objects of the schema whose names `are_wanted` accepts.
fn inputs(are_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, InputObjectType> {
    let document = async_graphql::parser::parse_schema(tollgate::graphql::sdl()).expect("a schema");
    let types = document.definitions.into_iter().filter_map(|definition| {
        let TypeSystemDefinition::Type(found) = definition else { return None };
        let TypeKind::InputObject(input) = found.node.kind else { return None };
        Some((found.node.name.node.to_string(), input))
    });
    types.filter(|(name, _)| are_wanted(name)).collect()
}

#[db_test]
async fn an_update_changes_only_the_fields_that_are_given(t: &TestApp) {
    let mut numbers = (1..).map(|number| format!("+1202556{number:04}"));
    let mut inputs = inputs(|name| name.starts_with("Update"));
    for patch in patches() {
        let input = inputs.remove(patch.input).expect("an input of the schema");
        let types: BTreeMap<String, String> = input
            .fields
            .iter()
            .map(|field| (field.node.name.node.to_string(), field.node.ty.node.to_string()))
            .collect();
        let rows: BTreeSet<&str> = patch.rows.iter().map(|row| row.field).collect();
        let mut fields: BTreeSet<&str> = types.keys().map(String::as_str).collect();
        // The payload shows this field as `phoneNumber`, so the next test covers the field.
        fields.remove("phoneNumberId");
        assert_eq!(rows, fields, "{}", patch.input);

        for row in &patch.rows {
            for given in WAYS {
                let team = t.team(1_000).await;
                let id = object(t, &team, patch.mutation, &mut numbers).await;
                let target = match patch.mutation {
                    "updateSubAccount" => format!("account: {{ id: \"{id}\" }}"),
                    _ => format!("id: \"{id}\""),
                };
                let (declared, literal, variables) =
                    written(row.field, &types[row.field], given, &row.given);
                let query = format!(
                    "mutation{declared} {{ {}({target}, input: {{ {literal} }}) \
                     {{ {} errors {{ code message }} }} }}",
                    patch.mutation, patch.selection
                );
                let answer = t.ask_with(&team.key, &query, variables).await;
                let what = format!("{}.{} {given:?}: {}", patch.input, row.field, answer.body);
                let payload = &answer.data()[patch.mutation];
                let found = find(payload, &id).unwrap_or_else(|| panic!("{what}"));
                let expected = match given {
                    AbsentByVariable | AbsentInLiteral => &row.stored,
                    NullByVariable | NullInLiteral => &row.cleared,
                    ByVariable | InLiteral => &row.given,
                };
                assert_eq!(&found[row.field], expected, "{what}");
                for other in patch.rows.iter().filter(|other| other.field != row.field) {
                    // Clearing the e-mail address also clears its display name.
                    let goes_with_it = (row.field, other.field) == ("email", "emailName");
                    let is_cleared = goes_with_it && expected.is_null();
                    let expected = if is_cleared { &Value::Null } else { &other.stored };
                    assert_eq!(&found[other.field], expected, "{what}");
                }
            }
        }
    }
    assert!(inputs.is_empty(), "inputs without rows: {:?}", inputs.keys());
}

#[db_test]
async fn a_sender_keeps_its_phone_number_unless_another_or_null_is_given(t: &TestApp) {
    let team = t.team(1_000).await;
    let mut numbers = (1..).map(|number| format!("+1202556{number:04}"));
    for given in WAYS {
        let id = object(t, &team, "updateSender", &mut numbers).await;
        let other = numbers.next().expect("there is no last number");
        let value = json!(t.phone_number(&team.key, &other).await);
        let (declared, literal, variables) = written("phoneNumberId", "ID", given, &value);
        let query = format!(
            "mutation{declared} {{ updateSender(id: \"{id}\", input: {{ {literal} }}) \
             {{ sender {{ phoneNumber {{ id number }} }} errors {{ code }} }} }}"
        );
        let answer = t.ask_with(&team.key, &query, variables).await;
        let number = &answer.data()["updateSender"]["sender"]["phoneNumber"];
        match given {
            AbsentByVariable | AbsentInLiteral => assert_ne!(number["number"], json!(other)),
            NullByVariable | NullInLiteral => assert_eq!(number, &Value::Null, "{given:?}"),
            ByVariable | InLiteral => assert_eq!(number["id"], value, "{given:?}"),
        }
        if number.is_null() {
            assert!(matches!(given, NullByVariable | NullInLiteral), "{given:?}");
        }
    }
}

#[db_test]
async fn the_default_of_a_field_applies_where_its_variable_has_no_value(t: &TestApp) {
    let team = t.team(1_000).await;
    let with_default = inputs(|_| true).into_iter().flat_map(|(name, input)| {
        let fields = input.fields.into_iter().filter(|field| field.node.default_value.is_some());
        fields.map(move |field| format!("{name}.{}", field.node.name.node)).collect::<Vec<_>>()
    });
    let with_default: Vec<String> = with_default.collect();
    let expected = [
        "AddContactAddressInput.isPrimary",
        "CreateSenderInput.isDefault",
        "RotateApiKeyInput.graceSeconds",
        "SubAccountOrder.direction",
    ];
    assert_eq!(with_default, expected, "a new default needs a case below");

    let (contact, _) = t.contact(&team.key, &["+12025550101"]).await;
    let add = format!(
        "mutation($v: Boolean) {{ addContactAddress(contactId: \"{contact}\", input: \
         {{ address: \"+12025550102\", isPrimary: $v }}) {{ contact {{ addresses {{ isPrimary }} }} errors {{ code }} }} }}"
    );
    let added = t.ask(&team.key, &add).await;
    let addresses = &added.data()["addContactAddress"]["contact"]["addresses"];
    assert_eq!(addresses, &json!([{ "isPrimary": true }, { "isPrimary": false }]));

    t.sender(&team.key, json!({ "isDefault": true })).await;
    let make = "mutation($v: Boolean) { createSender(input: { name: \"Second\", isDefault: $v }) \
                { sender { isDefault } errors { code } } }";
    let made = t.ask(&team.key, make).await;
    assert_eq!(made.data()["createSender"]["sender"]["isDefault"], json!(false));

    let sub = t.sub_account(&team, json!({})).await;
    let rotate = format!(
        "mutation($v: Int) {{ rotateApiKey(id: \"{}\", input: {{ graceSeconds: $v }}) \
         {{ errors {{ code }} }} }}",
        sub.key_id
    );
    let rotated = t.ask(&team.key, &rotate).await;
    assert_eq!(rotated.data()["rotateApiKey"]["errors"], json!([]));
    assert_eq!(t.ask(&sub.key, "{ viewer { role } }").await.status, 401, "no grace");

    t.sub_account(&team, json!({ "name": "Newer" })).await;
    let list = "query($v: OrderDirection) { subAccounts(orderBy: { by: CREATED_AT, direction: $v }) \
                { nodes { name } } }";
    let listed = t.ask(&team.key, list).await;
    let names = json!([{ "name": "Newer" }, { "name": "Client" }]);
    assert_eq!(listed.data()["subAccounts"]["nodes"], names);

    // An argument whose variable has no value is omitted too. If it were null, the request would fail, because null is
    // not a valid page size.
    let page = "query($v: Int) { messages(first: $v) { pageInfo { hasNextPage } } }";
    assert_eq!(t.ask(&team.key, page).await.status, 200);
}
