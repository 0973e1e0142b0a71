//! Every argument of the schema that identifies an object (by an id, an externalId or a cursor), with a call that uses
//! the argument. For mutations, the calls are taken from the table of the audit log's tests. If any other argument has
//! no row in this file, `every_argument_that_names_something_has_a_row` fails.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{
    Name,
    indexmap::IndexMap,
    parser::{
        parse_query, parse_schema,
        types::{
            DocumentOperations, InputValueDefinition, Selection, Type, TypeDefinition, TypeKind,
            TypeSystemDefinition,
        },
    },
};
use async_graphql_value::Value;

use crate::audit_log::calls::{Call, Stage, calls};

/// Arguments that identify objects of an account, each with a call. In a call, `$id` is the value of the argument, and
/// `OWN_…` is replaced by the id of an object that belongs to the caller.
const NAMING: &[(&str, &str)] = &[
    ("Query.message(id)", "message(id: $id) { id to text }"),
    ("Query.contact(id)", "contact(id: $id) { id displayName addresses { address } }"),
    ("Query.template(id)", "template(id: $id) { id name bodies { text } }"),
    ("Query.templatePreview(id)", "templatePreview(id: $id) { channel text }"),
    ("Query.sender(id)", "sender(id: $id) { id name telegram }"),
    ("Query.phoneNumber(id)", "phoneNumber(id: $id) { id number name }"),
    (
        "Query.messageQuote(input.contactId)",
        "messageQuote(input: { contactId: $id, text: \"Hi\" }) { cost ERRORS }",
    ),
    (
        "Query.messageQuote(input.templateId)",
        "messageQuote(input: { to: \"+12025550123\", templateId: $id }) { cost ERRORS }",
    ),
    (
        "Query.messageQuote(input.senderId)",
        "messageQuote(input: { to: \"42\", channel: TELEGRAM, text: \"Hi\", senderId: $id }) \
         { cost ERRORS }",
    ),
    (
        "Mutation.sendMessage(input.contactId)",
        "sendMessage(input: { contactId: $id, text: \"Hi\" }) { message { id } ERRORS }",
    ),
    (
        "Mutation.sendMessage(input.templateId)",
        "sendMessage(input: { to: \"+12025550123\", templateId: $id }) { message { id } ERRORS }",
    ),
    (
        "Mutation.sendMessage(input.senderId)",
        "sendMessage(input: { to: \"42\", channel: TELEGRAM, text: \"Hi\", senderId: $id }) \
         { message { id } ERRORS }",
    ),
    (
        "Mutation.sendMessages(input.contactId)",
        "sendMessages(input: [{ contactId: $id, text: \"Hi\" }]) { message { id } ERRORS }",
    ),
    (
        "Mutation.sendMessages(input.templateId)",
        "sendMessages(input: [{ to: \"+12025550123\", templateId: $id }]) { message { id } ERRORS }",
    ),
    (
        "Mutation.sendMessages(input.senderId)",
        "sendMessages(input: [{ to: \"42\", channel: TELEGRAM, text: \"Hi\", senderId: $id }]) \
         { message { id } ERRORS }",
    ),
    ("Mutation.cancelMessage(id)", "cancelMessage(id: $id) { message { id } ERRORS }"),
];

/// Like [`NAMING`], for arguments that identify objects that a team's main account manages or an operator sees.
const MANAGING: &[(&str, &str)] = &[
    ("Query.subAccount(by.id)", "subAccount(by: { id: $id }) { id name }"),
    ("Query.subAccount(by.externalId)", "subAccount(by: { externalId: $id }) { id name }"),
    ("Query.ledger(filter.account.id)", "ledger(filter: { account: { id: $id } }) NODES"),
    (
        "Query.ledger(filter.account.externalId)",
        "ledger(filter: { account: { externalId: $id } }) NODES",
    ),
    ("Team.ledger(filter.account.id)", "team { ledger(filter: { account: { id: $id } }) NODES }"),
    (
        "Team.ledger(filter.account.externalId)",
        "team { ledger(filter: { account: { externalId: $id } }) NODES }",
    ),
    ("Query.auditLog(filter.account.id)", "auditLog(filter: { account: { id: $id } }) NODES"),
    (
        "Query.auditLog(filter.account.externalId)",
        "auditLog(filter: { account: { externalId: $id } }) NODES",
    ),
    ("Query.auditLog(filter.actorKeyId)", "auditLog(filter: { actorKeyId: $id }) NODES"),
    ("Team.auditLog(filter.actorKeyId)", "team { auditLog(filter: { actorKeyId: $id }) NODES }"),
    (
        "Team.auditLog(filter.account.id)",
        "team { auditLog(filter: { account: { id: $id } }) NODES }",
    ),
    (
        "Team.auditLog(filter.account.externalId)",
        "team { auditLog(filter: { account: { externalId: $id } }) NODES }",
    ),
    ("Query.teamById(id)", "teamById(id: $id) { id name }"),
];

/// The fields of lists that accept cursors, each with a call.
pub const LISTS: &[(&str, &str)] = &[
    ("Query.messages", "messages(PAGE) { LIST }"),
    ("Query.contacts", "contacts(PAGE) { LIST }"),
    ("Query.optOuts", "optOuts(PAGE) { LIST }"),
    ("Query.templates", "templates(PAGE) { LIST }"),
    ("Query.senders", "senders(PAGE) { LIST }"),
    ("Query.phoneNumbers", "phoneNumbers(PAGE) { LIST }"),
    ("Query.ledger", "ledger(PAGE) { LIST }"),
    ("Query.subAccounts", "subAccounts(PAGE) { LIST }"),
    ("Query.auditLog", "auditLog(PAGE) { LIST }"),
    ("Team.subAccounts", "team { subAccounts(PAGE) { LIST } }"),
    ("Team.ledger", "team { ledger(PAGE) { LIST } }"),
    ("Team.auditLog", "team { auditLog(PAGE) { LIST } }"),
    ("Account.apiKeys", "account { apiKeys(PAGE) { LIST } }"),
    ("Query.teams", "teams(PAGE) { LIST }"),
];

/// Arguments that `subscriptions/audience.rs` tests over a socket.
pub const SUBSCRIBING: &[&str] = &["Subscription.messageUpdated(id)"];

/// Returns the paths of arguments, each with a call: arguments for managed objects if `is_managing`, and otherwise
/// arguments for an account's own objects.
pub fn rows(is_managing: bool) -> Vec<(String, String)> {
    let written = if is_managing { MANAGING } else { NAMING };
    let mut rows: Vec<_> =
        written.iter().map(|(path, call)| ((*path).to_owned(), (*call).to_owned())).collect();
    let (types, stage) = (types(), Stage::of_words());
    for call in calls(&stage).iter().filter(|call| (call.key != stage.sub.key) == is_managing) {
        let before = format!("Mutation.{}(", call.mutation);
        for path in paths(&types) {
            let Some(argument) = path.strip_prefix(&before) else { continue };
            let argument: Vec<&str> = argument.trim_end_matches(')').split('.').collect();
            rows.push((path.clone(), naming(call, &argument, &types)));
        }
    }
    rows
}

/// Writes a mutation's successful call, with `$id` in place of the argument at this path. The call selects all ids and
/// errors of the payload.
fn naming(call: &Call<'_>, path: &[&str], types: &[TypeDefinition]) -> String {
    let document = parse_query(format!("mutation {{ {}{} }}", call.mutation, call.accepted));
    let operations = document.expect("a call").operations;
    let DocumentOperations::Single(operation) = operations else { panic!("one operation") };
    let Selection::Field(field) = &operation.node.selection_set.node.items[0].node else {
        panic!("a field")
    };
    let arguments = field.node.arguments.iter();
    let mut arguments: Value = Value::Object(
        arguments.map(|(name, value)| (name.node.clone(), value.node.clone())).collect(),
    );
    set(&mut arguments, path);
    let Value::Object(arguments) = arguments else { panic!("arguments by name") };
    let arguments: Vec<String> =
        arguments.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let selection = selection(call.mutation, types);
    format!("{}({}) {{ {selection} }}", call.mutation, arguments.join(", "))
}

/// Puts `$id` at this path. An input that identifies an account keeps only this field, because it may have only one.
fn set(value: &mut Value, path: &[&str]) {
    let [name, inner @ ..] = path else {
        *value = Value::Variable(Name::new("id"));
        return;
    };
    if !matches!(value, Value::Object(_)) {
        *value = Value::Object(IndexMap::new());
    }
    let Value::Object(fields) = value else { return };
    if fields.keys().all(|name| ["id", "externalId"].contains(&name.as_str())) && inner.is_empty() {
        fields.clear();
    }
    set(fields.entry(Name::new(*name)).or_insert(Value::Null), inner);
}

/// Returns the selection of the ids, scalars and errors in a mutation's payload.
fn selection(mutation: &str, types: &[TypeDefinition]) -> String {
    let fields = |name: &str| {
        let found = types.iter().find(|found| found.name.node == name)?;
        match &found.kind {
            TypeKind::Object(object) => Some(&object.fields),
            _ => None,
        }
    };
    let payload = fields("Mutation").expect("mutations").iter();
    let mut payload = payload.filter(|field| field.node.name.node == mutation);
    let payload = base(&payload.next().expect("the mutation").node.ty.node);
    let selected = fields(&payload).expect("a payload").iter().map(|field| {
        let (name, of_type) = (&field.node.name.node, base(&field.node.ty.node));
        match fields(&of_type) {
            _ if name == "errors" => "ERRORS".to_owned(),
            Some(_) => format!("{name} {{ id }}"),
            None => name.to_string(),
        }
    });
    selected.collect::<Vec<_>>().join(" ")
}

/// Returns the document that makes a call.
pub fn document(path: &str, call: &str) -> String {
    let operation = if path.starts_with("Mutation") { "mutation" } else { "query" };
    let of_type = if path.ends_with(".externalId)") { "String!" } else { "ID!" };
    let call = call.replace("ERRORS", "errors { code message field }");
    let call = call.replace("NODES", "{ totalCount nodes { id } }");
    format!("{operation}($id: {of_type}) {{ {call} }}")
}

/// Returns the types of the schema.
fn types() -> Vec<TypeDefinition> {
    let document = parse_schema(tollgate::graphql::sdl()).expect("a schema");
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(found) => Some(found.node),
        _ => None,
    });
    types.collect()
}

/// Returns the paths of all arguments of the schema that identify an object.
fn paths(types: &[TypeDefinition]) -> BTreeSet<String> {
    let inputs = types.iter().filter_map(|found| match &found.kind {
        TypeKind::InputObject(input) => Some((found.name.node.as_str(), &input.fields)),
        _ => None,
    });
    let inputs: BTreeMap<_, _> = inputs.collect();

    let mut paths = BTreeSet::new();
    for found in types {
        let TypeKind::Object(object) = &found.kind else { continue };
        for field in &object.fields {
            let field = &field.node;
            for argument in &field.arguments {
                let mut open = vec![(String::new(), &argument.node)];
                while let Some((before, value)) = open.pop() {
                    let value: &InputValueDefinition = value;
                    let (name, base) = (value.name.node.as_str(), base(&value.ty.node));
                    let path = format!("{before}{name}");
                    let is_cursor = before.is_empty() && ["after", "before"].contains(&name);
                    // The `externalId` that a mutation sets does not identify an existing object.
                    let is_own_name = path == "input.externalId"
                        && ["createSubAccount", "updateSubAccount"]
                            .contains(&field.name.node.as_str());
                    if base == "ID" || is_cursor || name == "externalId" && !is_own_name {
                        paths.insert(format!("{}.{}({path})", found.name.node, field.name.node));
                    }
                    for inner in inputs.get(base.as_str()).into_iter().copied().flatten() {
                        open.push((format!("{path}."), &inner.node));
                    }
                }
            }
        }
    }
    paths
}

fn base(of: &Type) -> String {
    of.to_string().replace(['[', ']', '!'], "")
}

/// A new argument of the schema must be tested with ids of other accounts.
#[test]
fn every_argument_that_names_something_has_a_row() {
    let calls = [false, true].into_iter().flat_map(rows).map(|(path, _)| path);
    let cursors = LISTS
        .iter()
        .flat_map(|(path, _)| ["after", "before"].map(|argument| format!("{path}({argument})")));
    let others = SUBSCRIBING.iter().map(|path| (*path).to_owned());
    let rows: Vec<String> = calls.chain(cursors).chain(others).collect();
    let known: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), known.len(), "a path has one row");
    assert_eq!(paths(&types()), known);
}
