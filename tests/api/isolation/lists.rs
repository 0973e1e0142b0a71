//! Lists, searches and totals contain only what belongs to the caller's account and environment.

use db_test::db_test;
use serde_json::{Value, json};
use tollgate::db::RowSecurity;

use super::{
    POSTGRES, SQLITE, Things, UNFILTERED, Walls, arguments::LISTS, assert_unknown, house, send,
};
use crate::harness::{Apps, Sqlite, TestSubAccount, text};

/// What each list shows is the caller's own, also after a cursor of somebody else's list, and before one.
#[db_test]
async fn anothers_cursor_shows_what_is_ones_own(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
        let keys = [&own.subs[0].key, &own.subs[1].key, &own.team.key, &foreign.team.key];

        for (path, call) in LISTS {
            let ask = async |key: &str, page: &str| {
                let query =
                    call.replace("PAGE", page).replace("LIST", "edges { cursor node { id } }");
                t.ask(key, &format!("{{ {query} }}")).await
            };
            let mut lists = Vec::new();
            for key in keys {
                lists.push((key, edges(&ask(key, "first: 100").await.body["data"])));
            }
            for (key, list) in &lists {
                let cursors = lists.iter().flat_map(|(_, other)| other);
                for (cursor, _) in cursors {
                    for (page, from) in [("after", "first"), ("before", "last")] {
                        let page = format!("{page}: \"{cursor}\", {from}: 100");
                        for (_, id) in edges(&ask(key, &page).await.body["data"]) {
                            assert!(list.iter().any(|(_, own)| *own == id), "{path}: {id}");
                        }
                    }
                }
            }
            if *path != "Query.teams" {
                assert!(lists.iter().any(|(_, list)| !list.is_empty()), "{path} shows something");
            }
            // The ledger and the audit log tell a main account of its sub-accounts; all else is one account's.
            let [(_, one), (_, other), ..] = &lists[..] else { panic!("four lists") };
            assert!(one.iter().all(|(_, id)| other.iter().all(|(_, same)| same != id)), "{path}");
        }
    }
}

/// The cursors and ids of the list in an answer; none where it was refused.
fn edges(data: &Value) -> Vec<(String, String)> {
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

/// R3: what an account has is listed to it and to nobody else.
#[db_test]
async fn each_account_lists_its_own_things(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let own = house(&t, "own").await;
        house(&t, "foreign").await;

        let query = "{ contacts { totalCount nodes { id addresses { id } } } \
                 phoneNumbers { totalCount nodes { id } } templates { totalCount nodes { id } } \
                 senders { totalCount nodes { id } } optOuts { totalCount } }";
        for (at, key) in [&own.team.key, &own.subs[0].key, &own.subs[1].key].into_iter().enumerate()
        {
            let Things { contact, address, number, template, sender, .. } = &own.things[at];
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

/// So the filters are really gone where [`UNFILTERED`] proves that row security does without them.
#[db_test(postgres)]
async fn without_either_wall_each_lists_everybodys_things(apps: &Apps) {
    let t = Walls { row_security: RowSecurity::Off, ..UNFILTERED }.start(apps).await;
    let own = house(&t, "own").await;
    house(&t, "foreign").await;

    let query = "query($id: ID!) { message(id: $id) { to } messages { totalCount } contacts { totalCount } \
                 phoneNumbers { totalCount } templates { totalCount } senders { totalCount } \
                 optOuts { totalCount } }";
    let id = json!({ "id": own.things[2].message });
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

/// R3: a text of somebody else's is found by nobody else.
#[db_test]
async fn anothers_texts_find_nothing(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let own = house(&t, "own").await;

        for (key, texts) in [
            (&own.team.key, ["+12025550121", "+12025550122"]),
            (&own.subs[0].key, ["+12025550120", "+12025550122"]),
        ] {
            for list in ["messages(filter: { to: $id })", "contacts(filter: { search: $id })"] {
                let query =
                    format!("query($id: String!) {{ {list} {{ totalCount nodes {{ id }} }} }}");
                let texts = texts.map(str::to_owned);
                let before = t.everything().await;
                let nobodys = t.ask_with(key, &query, json!({ "id": "+12025550199" })).await;
                for text in texts {
                    let found = t.ask_with(key, &query, json!({ "id": text })).await;
                    assert_eq!(found.body, nobodys.body, "{list} with {text:?}");
                }
                assert_eq!(t.everything().await, before);
            }
        }
    }
}

/// C1, C6, C16, C18, R3: messages, ledger, usage and totals of a sub-account are its own.
#[db_test]
async fn each_sub_account_sees_its_own_work_only(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        t.set_sms_price(10_000).await;
        let house = house(&t, "own").await;
        send(&t, &house.subs[1].key, "+12025550123").await;
        let query = "{ messages { totalCount nodes { to } } ledger { totalCount nodes { account { id } } } \
                 account { id totalSpent usage { totals { messages spent } } } }";

        for (sub, to) in [
            (&house.subs[0], vec!["+12025550121"]),
            (&house.subs[1], vec!["+12025550123", "+12025550122"]),
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

/// C11, R3: the main account sees of a sub-account its money, not its messages.
#[db_test]
async fn the_main_account_does_not_see_its_sub_accounts_messages(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let house = house(&t, "own").await;

        let own = t.ask(&house.team.key, "{ messages { totalCount nodes { id } } }").await;
        let expected = json!({ "totalCount": 1, "nodes": [{ "id": house.things[0].message }] });
        assert_eq!(own.data()["messages"], expected);
        let query =
            "{ ledger(filter: { kind: [CHARGE] }) { nodes { messageId message { id text } } } }";
        let ledger = t.ask(&house.team.key, query).await;
        let [main, first, second] = &house.things;
        let (main, first, second) = (&main.message, &first.message, &second.message);
        let shown = json!({ "id": main, "text": "Hello" });
        let entries = [(second, json!(null)), (first, json!(null)), (main, shown)];
        let entries = entries.map(|(id, message)| json!({ "messageId": id, "message": message }));
        assert_eq!(ledger.data()["ledger"]["nodes"], json!(entries));
    }
}

/// R15: LIVE and TEST keys of one account do not see each other's messages.
#[db_test]
async fn environments_do_not_see_each_other(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let house = house(&t, "own").await;
        let message = "query($id: ID!) { message(id: $id) { id environment } }";

        for (live, account_id, live_message) in [
            (&house.team.key, &house.team.main_account_id, &house.things[0].message),
            (&house.subs[0].key, &house.subs[0].id, &house.things[1].message),
        ] {
            let test = t.api_key(&house.team, account_id, "TEST").await;
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

/// C4, C17, R2: teams list and count their own accounts, keys and usage only.
#[db_test]
async fn lists_stay_within_their_team(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let houses = [house(&t, "one").await, house(&t, "two").await];
        let query = "{ subAccounts(filter: { search: \"o\" }) { totalCount nodes { id apiKeys \
                 { totalCount nodes { id } } } } ledger { totalCount } \
                 team { id usage(groupBy: [ACCOUNT]) { totals { messages } buckets { account { id } } } } }";

        for house in &houses {
            let answer = t.ask(&house.team.key, query).await;
            let node = |sub: &TestSubAccount| {
                let keys = json!({ "totalCount": 1, "nodes": [{ "id": sub.key_id }] });
                json!({ "id": sub.id, "apiKeys": keys })
            };
            let nodes = [node(&house.subs[1]), node(&house.subs[0])];
            let accounts = [&house.team.main_account_id, &house.subs[0].id, &house.subs[1].id];
            let buckets = accounts.map(|id| json!({ "account": { "id": id } }));
            let usage = json!({ "totals": { "messages": 3 }, "buckets": buckets });
            assert_eq!(
                *answer.data(),
                json!({
                    "subAccounts": { "totalCount": 2, "nodes": nodes }, "ledger": { "totalCount": 4 },
                    "team": { "id": house.team.id, "usage": usage },
                })
            );
        }
    }
}

/// R3: text that no row can hold, for PostgreSQL keeps no NUL, finds nothing like any other.
#[db_test]
async fn text_that_no_row_can_hold_finds_nothing(apps: &Apps) {
    let walls = if apps.database == Sqlite { SQLITE } else { POSTGRES };
    let t = walls.start(apps).await;
    let house = house(&t, "own").await;
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
        let nobody = t.ask_with(&house.team.key, query, json!({ "id": "nobody's" })).await;
        for text in ["\0", "own\0", "own-1\0"] {
            let answer = t.ask_with(&house.team.key, query, json!({ "id": text })).await;
            if answer.body != nobody.body {
                differing.push((query, text, answer.body));
            }
        }
    }

    assert_eq!(differing, []);
    assert_eq!(t.everything().await, before);
}
