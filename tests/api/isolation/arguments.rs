//! Every argument of the schema that names an object, with a call that uses it: an id, an
//! externalId or a cursor. An argument without a row here fails
//! `every_argument_that_names_an_object_has_a_row`.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::types::{InputValueDefinition, Type, TypeKind, TypeSystemDefinition};

/// Arguments that name data of an account. `$id` stands for the id under test, `OWN_…` for the
/// caller's own ids.
pub const NAMING: &[(&str, &str)] = &[
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
    (
        "Mutation.updateContact(id)",
        "updateContact(id: $id, input: { displayName: \"Mine\" }) { contact { id } ERRORS }",
    ),
    ("Mutation.deleteContact(id)", "deleteContact(id: $id) { contactId messagesErased ERRORS }"),
    (
        "Mutation.addContactAddress(contactId)",
        "addContactAddress(contactId: $id, input: { address: \"mine@example.com\" }) \
         { contact { id } ERRORS }",
    ),
    (
        "Mutation.updateContactAddress(id)",
        "updateContactAddress(id: $id, input: { label: \"mine\" }) { contact { id } ERRORS }",
    ),
    (
        "Mutation.removeContactAddress(id)",
        "removeContactAddress(id: $id) { contact { id } ERRORS }",
    ),
    (
        "Mutation.mergeContacts(input.keepId)",
        "mergeContacts(input: { keepId: $id, mergeId: \"OWN_CONTACT\" }) { contact { id } ERRORS }",
    ),
    (
        "Mutation.mergeContacts(input.mergeId)",
        "mergeContacts(input: { keepId: \"OWN_CONTACT\", mergeId: $id }) { contact { id } ERRORS }",
    ),
    (
        "Mutation.updateTemplate(id)",
        "updateTemplate(id: $id, input: { name: \"Mine\" }) { template { id } ERRORS }",
    ),
    ("Mutation.deleteTemplate(id)", "deleteTemplate(id: $id) { templateId ERRORS }"),
    (
        "Mutation.createSender(input.phoneNumberId)",
        "createSender(input: { name: \"Mine\", phoneNumberId: $id }) { sender { id } ERRORS }",
    ),
    (
        "Mutation.updateSender(id)",
        "updateSender(id: $id, input: { name: \"Mine\" }) { sender { id } ERRORS }",
    ),
    (
        "Mutation.updateSender(input.phoneNumberId)",
        "updateSender(id: \"OWN_SENDER\", input: { phoneNumberId: $id }) { sender { id } ERRORS }",
    ),
    ("Mutation.deleteSender(id)", "deleteSender(id: $id) { senderId ERRORS }"),
    (
        "Mutation.updatePhoneNumber(id)",
        "updatePhoneNumber(id: $id, input: { name: \"Mine\" }) { phoneNumber { id } ERRORS }",
    ),
    (
        "Mutation.releasePhoneNumber(id)",
        "releasePhoneNumber(id: $id) { phoneNumber { id } ERRORS }",
    ),
];

/// The same for what a main account manages and what an operator does.
pub const MANAGING: &[(&str, &str)] = &[
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
    (
        "Mutation.updateSubAccount(account.id)",
        "updateSubAccount(account: { id: $id }, input: { name: \"Mine\" }) { account { id } ERRORS }",
    ),
    (
        "Mutation.updateSubAccount(account.externalId)",
        "updateSubAccount(account: { externalId: $id }, input: { name: \"Mine\" }) \
         { account { id } ERRORS }",
    ),
    (
        "Mutation.suspendSubAccount(account.id)",
        "suspendSubAccount(account: { id: $id }) { account { id } ERRORS }",
    ),
    (
        "Mutation.suspendSubAccount(account.externalId)",
        "suspendSubAccount(account: { externalId: $id }) { account { id } ERRORS }",
    ),
    (
        "Mutation.reactivateSubAccount(account.id)",
        "reactivateSubAccount(account: { id: $id }) { account { id } ERRORS }",
    ),
    (
        "Mutation.reactivateSubAccount(account.externalId)",
        "reactivateSubAccount(account: { externalId: $id }) { account { id } ERRORS }",
    ),
    (
        "Mutation.deactivateSubAccount(account.id)",
        "deactivateSubAccount(account: { id: $id }) { account { id } keysRevoked ERRORS }",
    ),
    (
        "Mutation.deactivateSubAccount(account.externalId)",
        "deactivateSubAccount(account: { externalId: $id }) { account { id } keysRevoked ERRORS }",
    ),
    (
        "Mutation.createApiKey(account.id)",
        "createApiKey(account: { id: $id }, input: { name: \"Mine\" }) \
         { apiKey { id } plainKey ERRORS }",
    ),
    (
        "Mutation.createApiKey(account.externalId)",
        "createApiKey(account: { externalId: $id }, input: { name: \"Mine\" }) \
         { apiKey { id } plainKey ERRORS }",
    ),
    (
        "Mutation.updateApiKey(id)",
        "updateApiKey(id: $id, input: { name: \"Mine\" }) { apiKey { id } ERRORS }",
    ),
    ("Mutation.rotateApiKey(id)", "rotateApiKey(id: $id) { apiKey { id } plainKey ERRORS }"),
    ("Mutation.revokeApiKey(id)", "revokeApiKey(id: $id) { apiKey { id } ERRORS }"),
    (
        "Mutation.transferPhoneNumber(id)",
        "transferPhoneNumber(id: $id, input: { to: { id: \"OWN_ACCOUNT\" } }) \
         { phoneNumber { id } ERRORS }",
    ),
    (
        "Mutation.transferPhoneNumber(input.to.id)",
        "transferPhoneNumber(id: \"OWN_NUMBER\", input: { to: { id: $id } }) \
         { phoneNumber { id } ERRORS }",
    ),
    (
        "Mutation.transferPhoneNumber(input.to.externalId)",
        "transferPhoneNumber(id: \"OWN_NUMBER\", input: { to: { externalId: $id } }) \
         { phoneNumber { id } ERRORS }",
    ),
    ("Query.teamById(id)", "teamById(id: $id) { id name }"),
    (
        "Mutation.topUpTeam(input.teamId)",
        "topUpTeam(input: { teamId: $id, amount: 1, idempotencyKey: \"mine\" }) \
         { team { id } ERRORS }",
    ),
    (
        "Mutation.adjustTeamBalance(input.teamId)",
        "adjustTeamBalance(input: { teamId: $id, amount: 1, note: \"Mine\", \
         idempotencyKey: \"mine\" }) { team { id } ERRORS }",
    ),
];

/// Lists, by the fields that accept cursors.
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

/// Tested over a socket, in `subscriptions/audience.rs`.
pub const SUBSCRIBING: &[&str] = &["Subscription.messageUpdated(id)"];

/// The document of a call.
pub fn document(path: &str, call: &str) -> String {
    let operation = if path.starts_with("Mutation") { "mutation" } else { "query" };
    let of_type = if path.ends_with(".externalId)") { "String!" } else { "ID!" };
    let call = call.replace("ERRORS", "errors { code message field }");
    let call = call.replace("NODES", "{ totalCount nodes { id } }");
    format!("{operation}($id: {of_type}) {{ {call} }}")
}

/// The paths of all arguments of the schema that name an object.
fn paths() -> BTreeSet<String> {
    let document = async_graphql::parser::parse_schema(tollgate::graphql::sdl()).expect("a schema");
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(found) => Some(found.node),
        _ => None,
    });
    let types: Vec<_> = types.collect();
    let inputs = types.iter().filter_map(|found| match &found.kind {
        TypeKind::InputObject(input) => Some((found.name.node.as_str(), &input.fields)),
        _ => None,
    });
    let inputs: BTreeMap<_, _> = inputs.collect();

    let mut paths = BTreeSet::new();
    for found in &types {
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
                    // A new `externalId` names no existing object.
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

/// A new one must be tested with ids of others.
#[test]
fn every_argument_that_names_an_object_has_a_row() {
    let rows = NAMING.iter().chain(MANAGING).map(|(path, _)| (*path).to_owned());
    let cursors = LISTS
        .iter()
        .flat_map(|(path, _)| ["after", "before"].map(|argument| format!("{path}({argument})")));
    let others = SUBSCRIBING.iter().map(|path| (*path).to_owned());
    let rows: Vec<String> = rows.chain(cursors).chain(others).collect();
    let known: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), known.len(), "a path has one row");
    assert_eq!(paths(), known);
}
