//! The protocol `graphql-transport-ws`: authentication, close codes, and the reasons for which the server closes a
//! socket.

use std::time::Duration;

use db_test::db_test;
use serde_json::json;
use tokio::time::Instant;

use super::{ACCOUNTS, BALANCE, listening};
use crate::harness::{Received, Socket, TestApp, doubling};

fn error(id: &str, code: &str, came: &Received) -> bool {
    let Received::Message(message) = came else { return false };
    message["id"] == id
        && message["type"] == "error"
        && message["payload"][0]["extensions"]["code"] == code
}

#[db_test]
async fn a_socket_is_closed_with_the_codes_of_the_protocol(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let init = |key: &str| {
        let payload = json!({ "authorization": format!("Bearer {key}") });
        json!({ "type": "connection_init", "payload": payload })
    };
    let subscribe =
        |id: &str| json!({ "id": id, "type": "subscribe", "payload": { "query": BALANCE } });

    for (messages, code) in [
        (vec!["{".to_owned()], 4400),
        (vec!["[]".to_owned()], 4400),
        (vec![json!({ "type": "unknown" }).to_string()], 4400),
        (vec![json!({ "type": "connection_init", "payload": 7 }).to_string()], 4400),
        (vec![init(&team.key).to_string(), json!({ "type": "subscribe" }).to_string()], 4400),
        (
            vec![init(&team.key).to_string(), json!({ "type": "subscribe", "id": "" }).to_string()],
            4400,
        ),
        (vec![subscribe("a").to_string()], 4401),
        (vec![init("tg_live_wrong").to_string()], 4403),
        (vec![json!({ "type": "connection_init" }).to_string()], 4403),
        (vec![json!({ "type": "connection_init", "payload": { "apiKey": 7 } }).to_string()], 4403),
        (vec![init(&team.key).to_string(), init(&team.key).to_string()], 4429),
        (
            vec![
                init(&team.key).to_string(),
                subscribe("a").to_string(),
                subscribe("a").to_string(),
            ],
            4409,
        ),
        (vec![init(&team.key).to_string(), format!("\"{}\"", "x".repeat(256 * 1024))], 1009),
    ] {
        let mut socket = Socket::silent(server.address).await;
        for message in &messages {
            socket.send_text(message.clone()).await;
        }
        let mut came = socket.next().await;
        while matches!(came, Received::Message(_)) {
            came = socket.next().await;
        }
        assert_eq!(came, Received::Closed(code), "{messages:?}");
    }
    let mut silent = Socket::silent(server.address).await;
    assert_eq!(silent.next().await, Received::Closed(4408));
    assert_eq!(Socket::open(server.address, &[]).await.err(), Some(400));
    let older = [("sec-websocket-protocol", "graphql-ws")];
    assert_eq!(Socket::open(server.address, &older).await.err(), Some(400));
}

#[db_test]
async fn a_socket_is_authenticated_by_its_init_message_or_a_header(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let bearer = format!("Bearer {}", team.key);
    let headers =
        [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", bearer.as_str())];
    let ack = Received::Message(json!({ "type": "connection_ack" }));

    let mut by_header = Socket::open(server.address, &headers).await.expect("a socket");
    by_header.send(json!({ "type": "connection_init" })).await;
    assert_eq!(by_header.next().await, ack);
    let mut by_name = Socket::silent(server.address).await;
    let payload = json!({ "apiKey": team.key });
    by_name.send(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(by_name.next().await, ack);

    let wrong =
        [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", "Bearer tg_live_x")];
    assert_eq!(Socket::open(server.address, &wrong).await.err(), Some(401));
}

#[db_test]
async fn queries_and_mutations_over_a_socket_follow_the_rules_of_a_post(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let mut socket = Socket::with_key(server.address, &sub.key).await;
    let doubling = doubling(60, "{ account { ...F0 } }");

    socket.subscribe("q", "{ account { name } }").await;
    assert_eq!(socket.event("q").await, json!({ "account": { "name": "Client" } }));
    let complete = |id: &str| Received::Message(json!({ "id": id, "type": "complete" }));
    assert_eq!(socket.next().await, complete("q"));

    let send = "mutation { sendMessage(input: { to: \"+12025550123\", text: \"Hi\" }) \
                { message { cost } errors { code } } }";
    socket.subscribe("m", send).await;
    let sent = socket.event("m").await;
    assert_eq!(sent["sendMessage"]["errors"], json!([]));
    assert_eq!(socket.next().await, complete("m"));
    let before = t.everything().await;

    for (query, code) in [
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "subscription { balanceChanged { balance } messageUpdated { id } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "subscription { ...F } fragment F on Subscription { balanceChanged { balance } messageUpdated { id } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "subscription { balanceChanged @include(if: true) { balance } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("mutation { createSubAccount(input: { name: \"x\" }) { plainKey } }", "FORBIDDEN"),
        (ACCOUNTS, "FORBIDDEN"),
        (&doubling, "QUERY_TOO_LARGE"),
        ("subscription($id: ID!) { messageUpdated(id: $id) { id } }", "BAD_USER_INPUT"),
    ] {
        socket.subscribe("x", query).await;
        let came = socket.next().await;
        assert!(error("x", code, &came), "{query}: {came:?}");
    }
    let by_fragment =
        "subscription { ...F } fragment F on Subscription { balanceChanged { balance } }";
    for at in 0..50 {
        let query = if at == 0 { by_fragment } else { BALANCE };
        socket.subscribe(&format!("s{at}"), query).await;
    }
    assert_eq!(socket.before_pong().await, []);
    socket.subscribe("one more", BALANCE).await;
    assert!(error("one more", "RATE_LIMITED", &socket.next().await));
    assert_eq!(t.everything().await, before);
}

/// The socket is closed within two seconds.
#[db_test]
async fn a_socket_is_closed_when_its_key_is_revoked_or_its_account_not_active(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let account = "account: { id: $id }";
    for (action, variables) in [
        ("revokeApiKey(id: $id)", "key"),
        (&*format!("suspendSubAccount({account})"), "account"),
        (&*format!("deactivateSubAccount({account})"), "account"),
    ] {
        let sub = t.sub_account(&team, json!({})).await;
        let mut ended = listening(server.address, &sub.key, BALANCE).await;
        let mut goes_on = listening(server.address, &team.key, BALANCE).await;
        let id = if variables == "key" { &sub.key_id } else { &sub.id };
        let query = format!("mutation($id: ID!) {{ {action} {{ errors {{ code }} }} }}");
        let begun = Instant::now();

        assert_eq!(t.ask_with(&team.key, &query, json!({ "id": id })).await.refusals(), [""; 0]);

        assert_eq!(ended.next().await, Received::Closed(4403), "{action}");
        // The poll runs every second; the timeout allows for a slow machine.
        assert!(begun.elapsed() < Duration::from_secs(10), "{action}");
        assert_eq!(goes_on.before_pong().await, []);
        let mut again = Socket::silent(server.address).await;
        let payload = json!({ "apiKey": sub.key });
        again.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(again.next().await, Received::Closed(4403), "{action}");
    }
}

#[db_test]
async fn a_server_that_stops_closes_its_sockets_with_a_code(t: &TestApp) {
    let (team, mut server) = (t.team(1_000).await, t.serve().await);
    let mut socket = listening(server.address, &team.key, BALANCE).await;
    let mut silent = Socket::silent(server.address).await;

    server.stop.cancel();

    assert_eq!(socket.next().await, Received::Closed(1001));
    assert_eq!(silent.next().await, Received::Closed(1001));
    (&mut server.task).await.expect("it ends in order");
}

/// The limit is smaller because the document stays in memory until the subscription ends.
#[db_test]
async fn the_document_of_a_subscription_has_a_smaller_limit(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let mut socket = Socket::with_key(server.address, &team.key).await;
    let fields =
        |count: usize| format!("subscription {{ messageUpdated {{ {} }} }}", "id ".repeat(count));
    let spread = |count: usize| {
        format!(
            "subscription {{ messageUpdated {{ {} }} }} fragment F on Message {{ id id id }}",
            "...F ".repeat(count)
        )
    };
    let directives = |count: usize| {
        format!("subscription {{ messageUpdated {{ {} }} }}", "id @skip(if: false) ".repeat(count))
    };
    let text = |bytes: usize| {
        let query = fields(1);
        format!("{query}#{}", "x".repeat(bytes - query.len() - 1))
    };

    for (at, (query, is_taken)) in [
        // The limit also includes the root field.
        (fields(99), true),
        (fields(100), false),
        (spread(33), true),
        (spread(34), false),
        // The document has six tokens, and eight more for each directive.
        (directives(36), true),
        (directives(37), false),
        (text(4_096), true),
        (text(4_097), false),
    ]
    .into_iter()
    .enumerate()
    {
        socket.subscribe(&at.to_string(), &query).await;
        let came = socket.before_pong().await;
        if is_taken {
            assert_eq!(came, [], "{query}");
            continue;
        }
        let [Received::Message(came)] = &came[..] else { panic!("{query}: {came:?}") };
        assert_eq!(
            (&came["id"], &came["type"]),
            (&json!(at.to_string()), &json!("error")),
            "{query}"
        );
        assert_eq!(came["payload"][0]["extensions"]["code"], "QUERY_TOO_LARGE", "{query}");
    }
}
