//! The queries whose statements are examined.

/// A query for a list. `PAGE` in the query is replaced with the arguments of the page, and `NODES` with a selection.
pub struct List {
    /// The connections of the schema that this query tests, as `Type.field`. Empty if another query tests the same
    /// connection.
    pub fields: &'static [&'static str],
    pub key: Key,
    pub query: &'static str,
    /// Whether an index must provide the order. If false, the statement may sort the rows that match the filter.
    pub is_plain: bool,
}

#[derive(Clone, Copy)]
pub enum Key {
    Main,
    Sub,
    Operator,
}

pub const NODES: &str = "nodes { id } pageInfo { startCursor endCursor } totalCount";

const fn plain(fields: &'static [&'static str], key: Key, query: &'static str) -> List {
    List { fields, key, query, is_plain: true }
}

const fn filtered(key: Key, query: &'static str) -> List {
    List { fields: &[], key, query, is_plain: false }
}

/// Queries for every connection of the schema, with the filters and orders of the connection.
pub const LISTS: &[List] = &[
    plain(&["Query.messages"], Key::Sub, "messages(PAGE) { NODES }"),
    plain(&[], Key::Sub, "messages(filter: { to: \"+12025550123\" }, PAGE) { NODES }"),
    plain(
        &[],
        Key::Sub,
        "messages(filter: { status: [DELIVERED], channel: [SMS] }, PAGE) { NODES }",
    ),
    plain(&[], Key::Sub, "messages(filter: { status: [SCHEDULED, FAILED] }, PAGE) { NODES }"),
    plain(
        &[],
        Key::Sub,
        "messages(filter: { createdAt: { from: \"2026-01-01T00:00:00Z\" } }, PAGE) { NODES }",
    ),
    plain(&["Query.contacts"], Key::Sub, "contacts(PAGE) { NODES }"),
    plain(&[], Key::Sub, "contacts(filter: { search: \"nn\" }, PAGE) { NODES }"),
    plain(&[], Key::Sub, "contacts(filter: { tags: [\"vip\"] }, PAGE) { NODES }"),
    plain(&[], Key::Sub, "contacts(filter: { tags: [\"vip\", \"vip\"] }, PAGE) { NODES }"),
    plain(&[], Key::Sub, "contacts(filter: { channel: [SMS] }, PAGE) { NODES }"),
    plain(&["Query.optOuts"], Key::Sub, "optOuts(PAGE) { NODES }"),
    plain(&[], Key::Sub, "optOuts(filter: { search: \"1202\", channel: [SMS] }, PAGE) { NODES }"),
    plain(&["Query.phoneNumbers"], Key::Sub, "phoneNumbers(PAGE) { NODES }"),
    plain(&["Query.senders"], Key::Sub, "senders(PAGE) { NODES }"),
    plain(&["Query.templates"], Key::Sub, "templates(PAGE) { NODES }"),
    plain(&["Query.ledger"], Key::Main, "ledger(PAGE) { NODES }"),
    plain(&[], Key::Sub, "ledger(PAGE) { NODES }"),
    plain(&[], Key::Main, "ledger(filter: { kind: [ADJUSTMENT] }, PAGE) { NODES }"),
    plain(&[], Key::Sub, "ledger(filter: { kind: [ADJUSTMENT, REFUND] }, PAGE) { NODES }"),
    plain(
        &[],
        Key::Main,
        "ledger(filter: { account: { id: \"00000002-0000-7000-8000-000000000007\" } }, PAGE) { NODES }",
    ),
    plain(&["Query.subAccounts"], Key::Main, "subAccounts(PAGE) { NODES }"),
    plain(&[], Key::Main, "subAccounts(orderBy: { by: NAME }, PAGE) { NODES }"),
    filtered(Key::Main, "subAccounts(orderBy: { by: TOTAL_SPENT }, PAGE) { NODES }"),
    plain(
        &[],
        Key::Main,
        "subAccounts(filter: { search: \"7\", isBlocked: false }, PAGE) { NODES }",
    ),
    // The keys of several accounts are read in one statement. The statement may sort the keys of each account, because
    // an account has only a few keys.
    List {
        fields: &["Account.apiKeys"],
        key: Key::Main,
        query: "account { apiKeys(PAGE) { NODES } }",
        is_plain: false,
    },
    plain(&["Team.subAccounts"], Key::Main, "team { subAccounts(PAGE) { NODES } }"),
    plain(&["Team.ledger"], Key::Main, "team { ledger(PAGE) { NODES } }"),
    plain(&["Query.auditLog"], Key::Main, "auditLog(PAGE) { NODES }"),
    plain(&[], Key::Operator, "auditLog(PAGE) { NODES }"),
    plain(&[], Key::Main, "auditLog(filter: { action: [ADD_OPT_OUT] }, PAGE) { NODES }"),
    plain(
        &[],
        Key::Main,
        "auditLog(filter: { account: { id: \"00000002-0000-7000-8000-000000000008\" } }, PAGE) { NODES }",
    ),
    filtered(Key::Main, "auditLog(filter: { outcome: [REFUSED] }, PAGE) { NODES }"),
    filtered(Key::Main, "auditLog(filter: { outcome: [DONE, REPLAYED] }, PAGE) { NODES }"),
    filtered(
        Key::Main,
        "auditLog(filter: { actorKeyId: \"00000003-0000-7000-8000-000000000008\" }, PAGE) { NODES }",
    ),
    plain(&["Team.auditLog"], Key::Main, "team { auditLog(PAGE) { NODES } }"),
    plain(&["Query.teams"], Key::Operator, "teams(PAGE) { NODES }"),
];

/// Queries with a filter or order that must use an index: the key, the query, a part of the SQL by which the test finds
/// the statement, and the index. With the index, the statement reads only matching rows, however many rows the account
/// has.
pub const INDEXED: &[(Key, &str, &str, &str)] = &[
    (
        Key::Sub,
        "messages(filter: { to: \"+12025550199\" }) { NODES }",
        "FROM \"message\"",
        "message_to_recipient",
    ),
    (
        Key::Sub,
        "messages(filter: { status: [UNKNOWN, FAILED] }) { NODES }",
        "FROM \"message\"",
        "message_of_rare_status",
    ),
    (
        Key::Sub,
        "messages(filter: { createdAt: { to: \"2026-01-01T00:00:00Z\" } }) { NODES }",
        "FROM \"message\"",
        "message_of_account",
    ),
    (
        Key::Sub,
        "contacts(filter: { tags: [\"nobody\"] }) { NODES }",
        "JOIN \"contact_tag\"",
        "contact_tag_of_account",
    ),
    (
        Key::Main,
        "ledger(filter: { kind: [TOP_UP] }) { NODES }",
        "FROM \"ledger_entry\"",
        "ledger_entry_of_team_but_charges",
    ),
    (
        Key::Sub,
        "ledger(filter: { kind: [REFUND] }) { NODES }",
        "FROM \"ledger_entry\"",
        "ledger_entry_of_account_but_charges",
    ),
    (
        Key::Main,
        "subAccounts(orderBy: { by: NAME }) { NODES }",
        "ORDER BY \"account\".\"search_text\"",
        "account_by_name",
    ),
    (
        Key::Main,
        "auditLog(filter: { account: { id: \"00000002-0000-7000-8000-000000000008\" } }) { NODES }",
        "FROM \"audit_entry\"",
        "audit_entry_seen_of_account",
    ),
    (Key::Main, "account { apiKeys { NODES } }", "AS \"accounts\"", "api_key_of_account"),
];

/// Searches whose results are not divided into pages.
pub const SEARCHES: [&str; 2] = [
    "availablePhoneNumbers(filter: { country: \"US\" }, first: 100) { number }",
    "availablePhoneNumbers(filter: { country: \"us\", type: LOCAL, contains: \"30310999\", \
     capabilities: [SMS, WHATSAPP] }) { number }",
];
