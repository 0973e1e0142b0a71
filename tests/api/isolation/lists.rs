//! Lists, searches and totals contain only data that belongs to the caller's account and environment.

use db_test::db_test;
use serde_json::{Value, json};
use tollgate::db::RowSecurity;

use super::{
    AccountData, POSTGRES, Protection, SQLITE, UNFILTERED, arguments::LISTS, assert_unknown, send,
    team_data,
};
use crate::harness::{Apps, Sqlite, TestSubAccount, text};

/// The test reads each list in both directions.
#[db_test]
async fn a_cursor_of_another_account_shows_only_the_callers_rows(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let (own, foreign) = (team_data(&t, "own").await, team_data(&t, "foreign").await);
        let keys = [&own.subs[0].key, &own.subs[1].key, &own.team.key, &foreign.team.key];

        for (path, call) in LISTS {
            let ask = async |key: &str, page: &str| {
                let query =
                    call.replace("PAGE", page).replace("LIST", "edges { cursor node { id } }");
                t.ask(key, &format!("{{ {query} }}")).await
            };
            let mut lists = Vec::new();
            for key in keys {
                lists.push((key, cursors_and_ids(&ask(key, "first: 100").await.body["data"])));
            }
            for (key, list) in &lists {
                let cursors = lists.iter().flat_map(|(_, other)| other);
                for (cursor, _) in cursors {
                    for (page, from) in [("after", "first"), ("before", "last")] {
                        let page = format!("{page}: \"{cursor}\", {from}: 100");
                        for (_, id) in cursors_and_ids(&ask(key, &page).await.body["data"]) {
                            assert!(list.iter().any(|(_, own)| *own == id), "{path}: {id}");
                        }
                    }
                }
            }
            if *path != "Query.teams" {
                assert!(lists.iter().any(|(_, list)| !list.is_empty()), "{path} shows something");
            }
            // A main account's ledger and audit log include entries of its sub-accounts. All other lists belong to one
            // account.
            let [(_, one), (_, other), ..] = &lists[..] else { panic!("four lists") };
            assert!(one.iter().all(|(_, id)| other.iter().all(|(_, same)| same != id)), "{path}");
        }
    }
}

/// Returns the cursors and ids of the list in a response, or nothing if the request was refused.
fn cursors_and_ids(data: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![data];
    while let Some(value) = open.pop() {
        let Value::Object(fields) = value else { continue };
        match fields.get("edges") {
            Some(edges) => {
                let edges = edges.as_array().expect("a list of edges");
                let edge = |edge: &Value| (text(&edge["cursor"]), text(&edge["node"]["id"]));
                found.extend(edges.iter().map(edge));
            }
            None => open.extend(fields.values()),
        }
    }
    found
}

#[db_test]
async fn each_account_lists_only_its_own_data(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let own = team_data(&t, "own").await;
        team_data(&t, "foreign").await;

        let query = "{ contacts { totalCount nodes { id addresses { id } } } \
                 phoneNumbers { totalCount nodes { id } } templates { totalCount nodes { id } } \
                 senders { totalCount nodes { id } } optOuts { totalCount } }";
        for (at, key) in [&own.team.key, &own.subs[0].key, &own.subs[1].key].into_iter().enumerate()
        {
            let AccountData { contact, address, number, template, sender, .. } = &own.accounts[at];
            let one = |node: Value| json!({ "totalCount": 1, "nodes": [node] });
            let expected = json!({
                "contacts": one(json!({ "id": contact, "addresses": [{ "id": address }] })),
                "phoneNumbers": one(json!({ "id": number })),
                "templates": one(json!({ "id": template })),
                "senders": one(json!({ "id": sender })),
                "optOuts": { "totalCount": 1 },
            });
            assert_eq!(*t.ask(key, query).await.data(), expected);
        }
    }
}

/// The test shows that the protection [`UNFILTERED`] really removes the filters. Tests with this protection therefore
/// check row security alone.
#[db_test(postgres)]
async fn without_filters_and_row_security_every_account_sees_everything(apps: &Apps) {
    let t = Protection { row_security: RowSecurity::Off, ..UNFILTERED }.start(apps).await;
    let own = team_data(&t, "own").await;
    team_data(&t, "foreign").await;

    let query = "query($id: ID!) { message(id: $id) { to } messages { totalCount } contacts { totalCount } \
                 phoneNumbers { totalCount } templates { totalCount } senders { totalCount } \
                 optOuts { totalCount } }";
    let id = json!({ "id": own.accounts[2].message });
    let answer = t.ask_with(&own.subs[0].key, query, id).await;
    let all = json!({ "totalCount": 6 });
    let expected = json!({
        "message": { "to": "+12025550122" }, "messages": all, "contacts": all, "phoneNumbers": all,
        "templates": all, "senders": all, "optOuts": all,
    });
    assert_eq!(*answer.data(), expected);
    let query = "{ subAccounts { totalCount } ledger { totalCount } }";
    let expected = json!({ "subAccounts": { "totalCount": 4 }, "ledger": { "totalCount": 8 } });
    assert_eq!(*t.ask(&own.team.key, query).await.data(), expected);
}

#[db_test]
async fn a_search_for_text_of_another_account_finds_nothing(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let own = team_data(&t, "own").await;

        for (key, texts) in [
            (&own.team.key, ["+12025550121", "+12025550122"]),
            (&own.subs[0].key, ["+12025550120", "+12025550122"]),
        ] {
            for list in ["messages(filter: { to: $id })", "contacts(filter: { search: $id })"] {
                let query =
                    format!("query($id: String!) {{ {list} {{ totalCount nodes {{ id }} }} }}");
                let texts = texts.map(str::to_owned);
                let before = t.everything().await;
                let unknown = t.ask_with(key, &query, json!({ "id": "+12025550199" })).await;
                for text in texts {
                    let found = t.ask_with(key, &query, json!({ "id": text })).await;
                    assert_eq!(found.body, unknown.body, "{list} with {text:?}");
                }
                assert_eq!(t.everything().await, before);
            }
        }
    }
}

#[db_test]
async fn each_sub_account_sees_only_its_own_messages_ledger_and_usage(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        t.set_sms_price(10_000).await;
        let own_team = team_data(&t, "own").await;
        send(&t, &own_team.subs[1].key, "+12025550123").await;
        let query = "{ messages { totalCount nodes { to } } ledger { totalCount nodes { account { id } } } \
                 account { id totalSpent usage { totals { messages spent } } } }";

        for (sub, to) in [
            (&own_team.subs[0], vec!["+12025550121"]),
            (&own_team.subs[1], vec!["+12025550123", "+12025550122"]),
        ] {
            let count = to.len();
            let messages: Vec<Value> = to.iter().map(|to| json!({ "to": to })).collect();
            let entries = vec![json!({ "account": { "id": sub.id } }); count];
            let usage = json!({ "totals": { "messages": count, "spent": count } });
            let expected = json!({
                "messages": { "totalCount": count, "nodes": messages },
                "ledger": { "totalCount": count, "nodes": entries },
                "account": { "id": sub.id, "totalSpent": count, "usage": usage },
            });
            assert_eq!(*t.ask(&sub.key, query).await.data(), expected);
        }
    }
}

/// In the ledger, the main account sees the charges for these messages.
#[db_test]
async fn a_main_account_does_not_see_its_sub_accounts_messages(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let own_team = team_data(&t, "own").await;

        let own = t.ask(&own_team.team.key, "{ messages { totalCount nodes { id } } }").await;
        let expected =
            json!({ "totalCount": 1, "nodes": [{ "id": own_team.accounts[0].message }] });
        assert_eq!(own.data()["messages"], expected);
        let query =
            "{ ledger(filter: { kind: [CHARGE] }) { nodes { messageId message { id text } } } }";
        let ledger = t.ask(&own_team.team.key, query).await;
        let [main, first, second] = &own_team.accounts;
        let (main, first, second) = (&main.message, &first.message, &second.message);
        let shown = json!({ "id": main, "text": "Hello" });
        let entries = [(second, json!(null)), (first, json!(null)), (main, shown)];
        let entries = entries.map(|(id, message)| json!({ "messageId": id, "message": message }));
        assert_eq!(ledger.data()["ledger"]["nodes"], json!(entries));
    }
}

#[db_test]
async fn live_and_test_keys_do_not_see_each_others_messages(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let own_team = team_data(&t, "own").await;
        let message = "query($id: ID!) { message(id: $id) { id environment } }";

        for (live, account_id, live_message) in [
            (&own_team.team.key, &own_team.team.main_account_id, &own_team.accounts[0].message),
            (&own_team.subs[0].key, &own_team.subs[0].id, &own_team.accounts[1].message),
        ] {
            let test = t.api_key(&own_team.team, account_id, "TEST").await;
            let test_message = send(&t, &test, "+12025550124").await;

            for (key, own, other, environment) in [
                (live, live_message, &test_message, "LIVE"),
                (&test, &test_message, live_message, "TEST"),
            ] {
                let shown = json!({ "id": own, "environment": environment });
                let found = t.ask_with(key, message, json!({ "id": own })).await;
                assert_eq!(found.data()["message"], shown);
                assert_unknown(&t, key, message, std::slice::from_ref(other)).await;
                let list = t.ask(key, "{ messages { totalCount nodes { id environment } } }").await;
                let expected = json!({ "totalCount": 1, "nodes": [shown] });
                assert_eq!(list.data()["messages"], expected);
            }
        }
    }
}

#[db_test]
async fn teams_list_and_count_only_their_own_accounts_keys_and_usage(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let teams = [team_data(&t, "one").await, team_data(&t, "two").await];
        let query = "{ subAccounts(filter: { search: \"o\" }) { totalCount nodes { id apiKeys \
                 { totalCount nodes { id } } } } ledger { totalCount } \
                 team { id usage(groupBy: [ACCOUNT]) { totals { messages } buckets { account { id } } } } }";

        for own_team in &teams {
            let answer = t.ask(&own_team.team.key, query).await;
            let node = |sub: &TestSubAccount| {
                let keys = json!({ "totalCount": 1, "nodes": [{ "id": sub.key_id }] });
                json!({ "id": sub.id, "apiKeys": keys })
            };
            let nodes = [node(&own_team.subs[1]), node(&own_team.subs[0])];
            let accounts =
                [&own_team.team.main_account_id, &own_team.subs[0].id, &own_team.subs[1].id];
            let buckets = accounts.map(|id| json!({ "account": { "id": id } }));
            let usage = json!({ "totals": { "messages": 3 }, "buckets": buckets });
            assert_eq!(
                *answer.data(),
                json!({
                    "subAccounts": { "totalCount": 2, "nodes": nodes }, "ledger": { "totalCount": 4 },
                    "team": { "id": own_team.team.id, "usage": usage },
                })
            );
        }
    }
}

/// PostgreSQL cannot store a NUL character.
#[db_test]
async fn a_search_with_a_nul_character_finds_nothing(apps: &Apps) {
    let protection = if apps.database == Sqlite { SQLITE } else { POSTGRES };
    let t = protection.start(apps).await;
    let own_team = team_data(&t, "own").await;
    let before = t.everything().await;
    let mut queries = Vec::new();
    for arguments in [
        "messages(filter: { to: $id })",
        "subAccounts(filter: { search: $id })",
        "subAccounts(filter: { metadata: { key: $id, value: \"gold\" } })",
        "subAccounts(filter: { metadata: { key: \"plan\", value: $id } })",
    ] {
        queries.push(format!("query($id: String!) {{ {arguments} {{ totalCount }} }}"));
    }
    let mut differing = Vec::new();
    for query in &queries {
        let unknown = t.ask_with(&own_team.team.key, query, json!({ "id": "nobody's" })).await;
        for text in ["\0", "own\0", "own-1\0"] {
            let answer = t.ask_with(&own_team.team.key, query, json!({ "id": text })).await;
            if answer.body != unknown.body {
                differing.push((query, text, answer.body));
            }
        }
    }

    assert_eq!(differing, []);
    assert_eq!(t.everything().await, before);
}
