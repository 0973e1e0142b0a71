//! Listing the audit log: which entries each role sees, and the filters and pages of the list.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use super::{
    FIELDS,
    calls::{STAGED_PRIVATE, staged},
    newest,
};
use crate::harness::{TestApp, UNKNOWN_IDS, text};

/// A main account does not see other teams' entries, its sub-accounts' changes to their own data, or the keys of
/// operators. A sub-account sees no entries.
#[db_test]
async fn a_main_account_sees_the_entries_of_its_team_and_an_operator_all(t: &TestApp) {
    let stage = staged(t).await;
    let foreign = t.team(0).await;
    t.contact(&stage.team.key, &["+12025550179"]).await;
    let quiet = "mutation { setQuietHours { errors { code } } }";
    assert_eq!(t.ask(&stage.sub.key, quiet).await.refusals(), [""; 0]);
    let create = "mutation { createSubAccount(input: { name: \"No\" }) { errors { code } } }";
    assert_eq!(t.ask(&stage.sub.key, create).await.codes(), ["FORBIDDEN"]);

    let shown = |entries: Vec<Value>| -> Vec<Value> {
        let names = ["action", "actor", "account"];
        entries.iter().map(|entry| json!(names.map(|name| entry[name].clone()))).collect()
    };
    let (sub, other) = (json!({ "id": stage.sub.id }), json!({ "id": stage.other.id }));
    let main = json!({ "id": stage.team.main_account_id });
    let own = newest(t, &stage.team.key, 100).await;
    let operators = own.iter().filter(|entry| entry["actor"] == "OPERATOR").collect::<Vec<_>>();
    assert_eq!(operators.len(), 2);
    assert!(operators.iter().all(|entry| entry["actorKey"] == json!(null)));
    let by_sub = own.iter().find(|entry| entry["actor"] == "SUB_ACCOUNT").expect("an entry");
    assert_eq!(by_sub["actorKey"], json!({ "id": stage.sub.key_id }));
    assert_eq!(
        shown(own.clone()),
        [
            json!(["CREATE_SUB_ACCOUNT", "SUB_ACCOUNT", sub]),
            json!(["SET_QUIET_HOURS", "SUB_ACCOUNT", sub]),
            json!(["CREATE_CONTACT", "MAIN_ACCOUNT", main]),
            json!(["CREATE_SUB_ACCOUNT", "MAIN_ACCOUNT", other]),
            json!(["CREATE_SUB_ACCOUNT", "MAIN_ACCOUNT", sub]),
            json!(["TOP_UP_TEAM", "OPERATOR", null]),
            json!(["CREATE_TEAM", "OPERATOR", null]),
        ]
    );
    let query = format!("{{ team {{ auditLog(first: 100) {{ nodes {{ {FIELDS} }} }} }} }}");
    let of_team = t.ask(&stage.team.key, &query).await;
    assert_eq!(of_team.data()["team"]["auditLog"]["nodes"], json!(own));

    // An operator also sees private entries and the entries of all teams.
    let query = "query($id: ID!) { auditLog { totalCount } \
                 teamById(id: $id) { auditLog { totalCount } } }";
    let counts = t.ask_with(&t.operator, query, json!({ "id": stage.team.id })).await;
    let private = STAGED_PRIVATE;
    let of_command_line = 2;
    let expected = json!({
        "auditLog": { "totalCount": own.len() + private + 1 + of_command_line },
        "teamById": { "auditLog": { "totalCount": own.len() + private } },
    });
    assert_eq!(*counts.data(), expected);
    let entry = newest(t, &t.operator, 100).await.pop().expect("the first key's");
    assert_eq!(
        (&entry["action"], &entry["actor"], &entry["actorKey"], &entry["requestId"]),
        (&json!("CREATE_API_KEY"), &json!("COMMAND_LINE"), &json!(null), &json!(null))
    );

    let theirs = newest(t, &foreign.key, 100).await;
    assert_eq!(shown(theirs), [json!(["CREATE_TEAM", "OPERATOR", null])]);
    for query in ["{ auditLog { totalCount } }", "{ team { auditLog { totalCount } } }"] {
        assert_eq!(t.ask(&stage.sub.key, query).await.codes(), ["FORBIDDEN"]);
    }
    let test_key = t.api_key(&stage.team, &stage.team.main_account_id, "TEST").await;
    assert_eq!(newest(t, &test_key, 100).await[1..], own);
}

/// A filter's time range includes its start and excludes its end.
#[db_test]
async fn entries_are_filtered_by_action_outcome_key_account_and_time(t: &TestApp) {
    let team = t.team(0).await;
    t.step(TimeDelta::minutes(1));
    let sub = t.sub_account(&team, json!({ "externalId": "s-1" })).await;
    t.step(TimeDelta::minutes(1));
    t.api_key(&team, &sub.id, "TEST").await;
    t.step(TimeDelta::minutes(1));
    t.api_key(&team, &team.main_account_id, "TEST").await;
    let (main_key, operators_key) = (t.key_id(&team.key).await, t.key_id(&t.operator).await);
    let time = |from: Value, to: Value| json!({ "createdAt": { "from": from, "to": to } });
    let minute = |minute: u8| json!(format!("2026-03-16T12:0{minute}:00Z"));
    let (all, none) =
        (vec!["CREATE_API_KEY", "CREATE_API_KEY", "CREATE_SUB_ACCOUNT", "CREATE_TEAM"], vec![]);
    let query = "query($filter: AuditLogFilter) { auditLog(filter: $filter) \
                 { totalCount nodes { action } } }";
    let of_team = "query($filter: AuditLogFilter, $id: ID!) { teamById(id: $id) { \
                   auditLog(filter: $filter) { totalCount nodes { action } } } }";

    for (filter, actions) in [
        (json!(null), all.clone()),
        (json!({}), all.clone()),
        (json!({ "action": ["CREATE_TEAM", "CREATE_SUB_ACCOUNT"] }), vec![all[2], all[3]]),
        (json!({ "action": ["UPDATE_SUB_ACCOUNT"] }), none.clone()),
        (json!({ "action": [] }), none.clone()),
        (json!({ "outcome": ["DONE"] }), all.clone()),
        (json!({ "outcome": ["REFUSED", "REPLAYED"] }), none.clone()),
        (json!({ "outcome": [] }), none.clone()),
        (json!({ "actorKeyId": main_key }), all[..3].to_vec()),
        (
            json!({ "actorKeyId": main_key, "outcome": ["DONE"], "action": ["CREATE_API_KEY"] }),
            all[..2].to_vec(),
        ),
        (json!({ "actorKeyId": sub.key_id }), none.clone()),
        (json!({ "actorKeyId": UNKNOWN_IDS[0] }), none.clone()),
        (json!({ "actorKeyId": UNKNOWN_IDS[1] }), none.clone()),
        (json!({ "account": { "id": sub.id } }), vec![all[0], all[2]]),
        (json!({ "account": { "externalId": "s-1" } }), vec![all[0], all[2]]),
        (json!({ "account": { "id": team.main_account_id } }), vec![all[0]]),
        (json!({ "account": { "id": UNKNOWN_IDS[0] } }), none.clone()),
        (json!({ "account": { "id": UNKNOWN_IDS[1] } }), none.clone()),
        (json!({ "account": { "externalId": "S-1" } }), none.clone()),
        (json!({ "account": { "id": sub.id }, "action": ["CREATE_API_KEY"] }), vec![all[0]]),
        (time(json!(null), json!(null)), all.clone()),
        (time(minute(1), minute(3)), vec![all[1], all[2]]),
        (time(minute(3), json!(null)), vec![all[0]]),
        (time(json!(null), minute(1)), vec![all[3]]),
        (time(minute(3), minute(1)), none),
    ] {
        let nodes: Vec<Value> = actions.iter().map(|action| json!({ "action": action })).collect();
        let expected = json!({ "totalCount": nodes.len(), "nodes": nodes });
        let found = t.ask_with(&team.key, query, json!({ "filter": filter })).await;
        assert_eq!(found.data()["auditLog"], expected, "{filter}");
        let variables = json!({ "filter": filter, "id": team.id });
        let found = t.ask_with(&t.operator, of_team, variables).await;
        assert_eq!(found.data()["teamById"]["auditLog"], expected, "{filter}");
    }
    // A main account does not see which operator's key was used.
    let by_operator = json!({ "filter": { "actorKeyId": operators_key }, "id": team.id });
    let found = t.ask_with(&team.key, query, json!({ "filter": by_operator["filter"] })).await;
    assert_eq!(found.data()["auditLog"]["totalCount"], 0);
    let found = t.ask_with(&t.operator, of_team, by_operator).await;
    assert_eq!(found.data()["teamById"]["auditLog"]["nodes"], json!([{ "action": "CREATE_TEAM" }]));
    // An `externalId` is unique only within a team, so it cannot filter the audit log of all teams.
    let by_id = json!({ "filter": { "account": { "id": sub.id } } });
    let found = t.ask_with(&t.operator, query, by_id).await;
    assert_eq!(found.data()["auditLog"]["totalCount"], 2);
    let by_external_id = json!({ "filter": { "account": { "externalId": "s-1" } } });
    let found = t.ask_with(&t.operator, query, by_external_id).await;
    assert_eq!(found.codes(), ["BAD_USER_INPUT"]);
}

#[db_test]
async fn pages_in_both_directions_add_up_to_the_whole_log(t: &TestApp) {
    let stage = staged(t).await;
    for at in 0..5 {
        t.sub_account(&stage.team, json!({ "name": format!("Client {at}") })).await;
        t.opt_out(&stage.sub.key, &format!("+1202555018{at}")).await;
    }

    for (key, total) in [(&stage.team.key, 9_usize), (&t.operator, 16 + STAGED_PRIVATE)] {
        let whole = t.ask(key, "{ auditLog(first: 100) { totalCount nodes { id } } }").await;
        let whole = &whole.data()["auditLog"];
        assert_eq!(whole["totalCount"], total);
        let whole = whole["nodes"].as_array().expect("nodes").clone();
        let mut forward = Vec::new();
        let mut backward = Vec::new();
        for (size, place, cursor, more, pages) in [
            ("first", "after", "endCursor", "hasNextPage", &mut forward),
            ("last", "before", "startCursor", "hasPreviousPage", &mut backward),
        ] {
            let query = format!(
                "query($place: String) {{ auditLog({size}: 4, {place}: $place) \
                 {{ nodes {{ id }} pageInfo {{ {cursor} {more} }} }} }}"
            );
            let mut at = json!(null);
            loop {
                let page = t.ask_with(key, &query, json!({ "place": at })).await;
                let page = page.data()["auditLog"].clone();
                pages.push(page["nodes"].as_array().expect("nodes").clone());
                at = page["pageInfo"][cursor].clone();
                if page["pageInfo"][more] == false {
                    break;
                }
            }
        }
        backward.reverse();
        assert_eq!(forward.concat(), whole);
        assert_eq!(backward.concat(), whole);
        assert!(forward.iter().rev().skip(1).all(|page| page.len() == 4));
    }
    let entries = t.ask(&stage.team.key, "{ auditLog(first: 1) { edges { cursor } } }").await;
    let cursor = text(&entries.data()["auditLog"]["edges"][0]["cursor"]);
    let ledger = format!("{{ ledger(after: \"{cursor}\") {{ totalCount }} }}");
    assert_eq!(t.ask(&stage.team.key, &ledger).await.codes(), ["BAD_USER_INPUT"]);
}
