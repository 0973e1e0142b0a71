//! Lists: pages in both directions, cursors, total counts, the filters and orders of sub-accounts,
//! and a fixed number of statements per list.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{TestApp, TestTeam, text};

/// A list of the main account. `ARGS` in the query is replaced by the page's arguments, `SELECT` by the selection; `at`
/// is the JSON pointer to the list in the response.
struct List {
    query: &'static str,
    at: &'static str,
    /// The numbers of the rows, in the order of the list. Rows are numbered in the order of their creation.
    rows: [usize; 7],
}

const NEWEST_FIRST: [usize; 7] = [6, 5, 4, 3, 2, 1, 0];
const fn list(query: &'static str, at: &'static str, rows: [usize; 7]) -> List {
    List { query, at, rows }
}

const LISTS: [List; 12] = [
    list("{ subAccounts(ARGS) SELECT }", "/subAccounts", NEWEST_FIRST),
    list(
        "{ team { subAccounts(orderBy: { by: CREATED_AT, direction: ASC }, ARGS) SELECT } }",
        "/team/subAccounts",
        [0, 1, 2, 3, 4, 5, 6],
    ),
    list(
        "{ subAccounts(orderBy: { by: NAME, direction: ASC }, ARGS) SELECT }",
        "/subAccounts",
        [1, 5, 0, 2, 3, 6, 4],
    ),
    list(
        "{ subAccounts(orderBy: { by: NAME }, ARGS) SELECT }",
        "/subAccounts",
        [4, 6, 3, 2, 0, 5, 1],
    ),
    list(
        "{ subAccounts(orderBy: { by: TOTAL_SPENT, direction: ASC }, ARGS) SELECT }",
        "/subAccounts",
        [0, 1, 3, 5, 6, 2, 4],
    ),
    list(
        "{ subAccounts(orderBy: { by: TOTAL_SPENT, direction: DESC }, ARGS) SELECT }",
        "/subAccounts",
        [4, 2, 6, 5, 3, 1, 0],
    ),
    list("{ messages(ARGS) SELECT }", "/messages", NEWEST_FIRST),
    list("{ contacts(ARGS) SELECT }", "/contacts", NEWEST_FIRST),
    list("{ optOuts(ARGS) SELECT }", "/optOuts", NEWEST_FIRST),
    list("{ phoneNumbers(ARGS) SELECT }", "/phoneNumbers", NEWEST_FIRST),
    list("{ account { apiKeys(ARGS) SELECT } }", "/account/apiKeys", NEWEST_FIRST),
    list("{ ledger(filter: { kind: [TOP_UP] }, ARGS) SELECT }", "/ledger", NEWEST_FIRST),
];
const SELECT: &str = "{ edges { cursor node { id } } nodes { id } \
                      pageInfo { hasPreviousPage hasNextPage startCursor endCursor } }";

impl List {
    fn query(&self, args: &str, select: &str) -> String {
        self.query.replace("ARGS", args).replace("SELECT", select)
    }

    async fn page(&self, t: &TestApp, team: &TestTeam, args: &str, select: &str) -> Value {
        let answer = t.ask(&team.key, &self.query(args, select)).await;
        answer.data().pointer(self.at).expect("the list is in the answer").clone()
    }
}

fn ids(page: &Value) -> Vec<String> {
    let nodes = page["nodes"].as_array().expect("a list of nodes");
    nodes.iter().map(|node| text(&node["id"])).collect()
}

/// Creates a team with seven rows in every list. Some sub-accounts have the same name or the same total.
async fn staged(t: &TestApp) -> TestTeam {
    t.set_sms_price(10_000).await;
    let team = t.team(0).await;
    for (at, name) in ["B", "a", "b", "B", "C", "A", "B"].into_iter().enumerate() {
        let topped_up = t.top_up(&team, json!(100), &format!("top-up {at}")).await;
        assert_eq!(topped_up.refusals(), [""; 0]);
        let sub = t.sub_account(&team, json!({ "name": name })).await;
        if at == 2 || at == 4 {
            assert!(t.sends(&sub.key).await);
        }
        assert!(t.sends(&team.key).await);
        t.contact(&team.key, &[&format!("+1202555010{at}")]).await;
        t.opt_out(&team.key, &format!("+1202555010{at}")).await;
        t.phone_number(&team.key, &format!("+1202555990{at}")).await;
        if at > 0 {
            t.api_key(&team, &team.main_account_id, "TEST").await;
        }
    }
    team
}

/// The pages together contain each row once, even if several rows have the same value in the column by which the list
/// is sorted.
#[db_test]
async fn pages_in_both_directions_add_up_to_the_whole_list(t: &TestApp) {
    let team = staged(t).await;

    for list in &LISTS {
        let whole = list.page(t, &team, "first: 100", SELECT).await;
        let mut made = ids(&whole);
        assert_eq!(made.len(), 7, "{}", list.query);
        made.sort_unstable();
        let expected: Vec<String> = list.rows.iter().map(|row| made[*row].clone()).collect();
        assert_eq!(ids(&whole), expected, "{}", list.query);
        let total = list.page(t, &team, "first: 1", "{ totalCount }").await;
        assert_eq!(total, json!({ "totalCount": 7 }));

        for (size, from, more, back) in [
            ("first", "after", "hasNextPage", "hasPreviousPage"),
            ("last", "before", "hasPreviousPage", "hasNextPage"),
        ] {
            let is_backward = size == "last";
            let mut read: Vec<String> = Vec::new();
            let mut cursor = String::new();
            for (count, has_more, has_back) in [(3, true, false), (3, true, true), (1, false, true)]
            {
                let page = list.page(t, &team, &format!("{size}: 3{cursor}"), SELECT).await;
                let edges = page["edges"].as_array().expect("a list of edges");
                let info = &page["pageInfo"];

                assert_eq!(edges.len(), count, "{}", list.query);
                assert_eq!([&info[more], &info[back]], [&json!(has_more), &json!(has_back)]);
                assert_eq!(info["startCursor"], edges[0]["cursor"]);
                assert_eq!(info["endCursor"], edges[count - 1]["cursor"]);
                for (edge, id) in edges.iter().zip(ids(&page)) {
                    assert_eq!(edge["node"]["id"], json!(id));
                }
                let end = if is_backward { "startCursor" } else { "endCursor" };
                cursor = format!(", {from}: {}", info[end]);
                let at = if is_backward { 0 } else { read.len() };
                read.splice(at..at, ids(&page));
            }
            assert_eq!(read, expected, "{size} of {}", list.query);
        }

        let (start, end) = (&whole["edges"][0]["cursor"], &whole["edges"][6]["cursor"]);
        let middle = list.page(t, &team, &format!("after: {start}, before: {end}"), SELECT).await;
        assert_eq!(ids(&middle), expected[1..6], "{}", list.query);
    }
}

/// `first` and `last` cannot be combined.
#[db_test]
async fn a_page_has_20_rows_by_default_and_100_at_most(t: &TestApp) {
    let team = staged(t).await;

    for list in &LISTS {
        for args in ["first: 101", "first: -1", "last: 101", "last: -1", "first: 1, last: 1"] {
            let answer = t.ask(&team.key, &list.query(args, SELECT)).await;
            assert_eq!(answer.codes(), ["BAD_USER_INPUT"], "{args} of {}", list.query);
        }
        for (args, count) in [("first: 100", 7), ("last: 100", 7), ("first: 0", 0), ("last: 0", 0)]
        {
            let page = list.page(t, &team, args, SELECT).await;
            assert_eq!(ids(&page).len(), count, "{args} of {}", list.query);
        }
        let (info, none) = ("{ pageInfo { hasNextPage startCursor endCursor } }", json!(null));
        let empty = list.page(t, &team, "first: 0", info).await;
        let expected = json!({ "hasNextPage": true, "startCursor": none, "endCursor": none });
        assert_eq!(empty["pageInfo"], expected);
    }

    let message = json!({ "to": "+12025550123", "text": "Hi" });
    let query =
        "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) { replayed } }";
    t.ask_with(&team.key, query, json!({ "input": vec![message; 14] })).await;
    let page = LISTS[6].page(t, &team, "first: null", SELECT).await;
    assert_eq!((ids(&page).len(), &page["pageInfo"]["hasNextPage"]), (20, &json!(true)));
}

/// A cursor that was edited is refused too.
#[db_test]
async fn a_cursor_of_another_list_or_order_is_refused(t: &TestApp) {
    let team = staged(t).await;
    let mut cursors = Vec::new();
    for list in &LISTS {
        let page = list.page(t, &team, "first: 1", SELECT).await;
        cursors.push(text(&page["pageInfo"]["endCursor"]));
    }

    for (list, own) in LISTS.iter().zip(&cursors) {
        let mut refused: Vec<String> = cursors.iter().filter(|of| *of != own).cloned().collect();
        assert_eq!(refused.len(), LISTS.len() - 1, "{}", list.query);
        let swapped = if own.ends_with('A') { "B" } else { "A" };
        refused.push(format!("{}{swapped}", &own[..own.len() - 1]));
        refused.push(format!("{own}A"));
        refused.extend(["", "x", "not a cursor", "AAAAAAAAAAAAAAAA"].map(str::to_owned));
        for cursor in refused {
            for from in ["after", "before"] {
                let args = format!("{from}: {}", json!(cursor));
                let answer = t.ask(&team.key, &list.query(&args, SELECT)).await;
                assert_eq!(answer.codes(), ["BAD_USER_INPUT"], "{args} of {}", list.query);
            }
        }
    }
}

#[db_test]
async fn the_total_count_costs_one_statement_and_only_when_selected(t: &TestApp) {
    let team = staged(t).await;
    let fragment = "{ ...counted } } fragment counted on AccountConnection { n: totalCount";

    for list in &LISTS {
        let mut statements = Vec::new();
        for select in ["{ nodes { id } }", "{ nodes { id } totalCount }"] {
            // The cache of keys is cleared, so that each request reads its key.
            t.app.keys.forget_all();
            let start = t.statements();
            list.page(t, &team, "first: 2", select).await;
            statements.push(t.statements() - start);
        }
        assert_eq!(statements[1], statements[0] + 1, "{}", list.query);
    }
    let aliased = LISTS[0].page(t, &team, "first: 2", "{ n: totalCount }").await;
    assert_eq!(aliased, json!({ "n": 7 }));
    let in_fragment = LISTS[0].page(t, &team, "first: 2", fragment).await;
    assert_eq!(in_fragment, json!({ "n": 7 }));
}

/// The filter's text may contain characters that are special in SQL.
#[db_test]
async fn sub_accounts_are_filtered_by_status_text_block_and_metadata(t: &TestApp) {
    let (team, poor) = (t.team(100).await, t.team(0).await);
    for input in [
        json!({ "name": "Ärzte Süd", "externalId": "K-100%", "metadata": { "plan": "gold" } }),
        json!({ "name": "ärzte_nord", "externalId": "k200", "metadata": { "plan": "o'neil \"x\"" } }),
        json!({ "name": "Back\\slash", "metadata": { "plan": 5, "a.b": "c" } }),
        json!({ "name": "Limited", "creditLimit": 0, "metadata": { "pl'an\"": "gold" } }),
        json!({ "name": "Suspended" }),
    ] {
        t.sub_account(&team, input).await;
    }
    t.sub_account(&poor, json!({ "name": "Poor" })).await;
    t.execute("UPDATE account SET status = 'SUSPENDED' WHERE name = 'Suspended'").await;
    let (south, north, back) = ("Ärzte Süd", "ärzte_nord", "Back\\slash");
    let metadata = |key: &str, value: &str| json!({ "metadata": { "key": key, "value": value } });
    let search = |text: &str| json!({ "search": text });
    let query = "query($filter: SubAccountFilter) { subAccounts(filter: $filter, \
                 orderBy: { by: NAME, direction: ASC }) { totalCount nodes { name } } }";

    for (key, filter, names) in [
        (&team.key, json!(null), vec![back, "Limited", "Suspended", south, north]),
        (&team.key, json!({}), vec![back, "Limited", "Suspended", south, north]),
        (&team.key, search("ÄRZTE"), vec![south, north]),
        (&team.key, search(" sÜd "), vec![south]),
        (&team.key, search("k-1"), vec![south]),
        (&team.key, search("K2"), vec![north]),
        (&team.key, search("%"), vec![south]),
        (&team.key, search("_"), vec![north]),
        (&team.key, search("\\"), vec![back]),
        (&team.key, search("'"), vec![]),
        (&team.key, search(&"é".repeat(200)), vec![]),
        (&team.key, json!({ "status": ["SUSPENDED"] }), vec!["Suspended"]),
        (&team.key, json!({ "status": ["SUSPENDED", "INACTIVE"] }), vec!["Suspended"]),
        (&team.key, json!({ "status": [] }), vec![]),
        (&team.key, json!({ "isBlocked": true }), vec!["Limited", "Suspended"]),
        (&team.key, json!({ "isBlocked": false }), vec![back, south, north]),
        (&team.key, json!({ "isBlocked": true, "status": ["ACTIVE"] }), vec!["Limited"]),
        (&team.key, json!({ "isBlocked": true, "search": "ärzte" }), vec![]),
        (&team.key, metadata("plan", "gold"), vec![south]),
        (&team.key, metadata("plan", "o'neil \"x\""), vec![north]),
        (&team.key, metadata("pl'an\"", "gold"), vec!["Limited"]),
        (&team.key, metadata("a.b", "c"), vec![back]),
        (&team.key, metadata("plan", "5"), vec![]),
        (&team.key, metadata("plan", "go"), vec![]),
        (&poor.key, json!({ "isBlocked": true }), vec!["Poor"]),
        (&poor.key, json!({ "isBlocked": false }), vec![]),
    ] {
        let answer = t.ask_with(key, query, json!({ "filter": filter })).await;
        let nodes: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        let expected = json!({ "totalCount": names.len(), "nodes": nodes });
        assert_eq!(answer.body, json!({ "data": { "subAccounts": expected } }), "{filter}");
    }
    let too_long = json!({ "filter": { "search": "é".repeat(201) } });
    assert_eq!(t.ask_with(&team.key, query, too_long).await.codes(), ["BAD_USER_INPUT"]);
}

#[db_test]
async fn a_list_of_sub_accounts_costs_four_statements_whatever_its_length(t: &TestApp) {
    let team = t.team(100).await;
    let query = "{ subAccounts(first: 50) { nodes { name totalSpent apiKeys(first: 5) \
                 { nodes { prefix } } usage { totals { spent } } } } }";

    let mut made = 0;
    for count in [2, 50] {
        for _ in made..count {
            t.sub_account(&team, json!({})).await;
        }
        made = count;
        t.app.keys.forget_all();
        let start = t.statements();
        let answer = t.ask(&team.key, query).await;
        let statements = t.statements() - start;

        let nodes = answer.data()["subAccounts"]["nodes"].as_array().expect("a list of nodes");
        assert_eq!(nodes.len(), count);
        // The query runs one statement each for the caller's key, the page of accounts, their keys, and their usage.
        assert_eq!(statements, 4, "for {count} sub-accounts");
    }
}
