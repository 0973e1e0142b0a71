//! Subscriptions over `graphql-transport-ws`: its close codes, events as each key may see them, on every
//! process, and the end of a socket with the end of its key.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use chrono::TimeDelta;
use db_test::{db_test, needs_postgres};
use futures_util::{FutureExt as _, StreamExt as _, future::join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tollgate::domain::{api_key::authentication, events, subscriptions};

use crate::harness::{Came, Database, Postgres, Setup, Socket, TestApp, doubling, text};

const BALANCE: &str =
    "subscription { balanceChanged { balance isSubAccount totalSpent creditLimit } }";
const MESSAGES: &str = "subscription { messageUpdated { id status cost } }";
const ACCOUNTS: &str = "subscription { accountUpdated { id status totalSpent creditLimit } }";

fn error(id: &str, code: &str, came: &Came) -> bool {
    let Came::Message(message) = came else { return false };
    message["id"] == id
        && message["type"] == "error"
        && message["payload"][0]["extensions"]["code"] == code
}

#[db_test]
#[tokio::test]
async fn a_socket_is_closed_as_the_protocol_says(database: Database) {
    let t = TestApp::start(database).await;
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
        while matches!(came, Came::Message(_)) {
            came = socket.next().await;
        }
        assert_eq!(came, Came::Closed(code), "{messages:?}");
    }
    let mut silent = Socket::silent(server.address).await;
    assert_eq!(silent.next().await, Came::Closed(4408));
    assert_eq!(Socket::open(server.address, &[]).await.err(), Some(400));
    let older = [("sec-websocket-protocol", "graphql-ws")];
    assert_eq!(Socket::open(server.address, &older).await.err(), Some(400));
    t.close().await;
}

#[db_test]
#[tokio::test]
async fn the_key_comes_with_the_init_or_the_header(database: Database) {
    let t = TestApp::start(database).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let bearer = format!("Bearer {}", team.key);
    let headers =
        [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", bearer.as_str())];
    let ack = Came::Message(json!({ "type": "connection_ack" }));

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
    t.close().await;
}

/// Whatever is asked over a socket passes the same door as a POST.
#[db_test]
#[tokio::test]
async fn queries_and_mutations_go_over_the_socket_too(database: Database) {
    let t = TestApp::start(database).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let mut socket = Socket::with_key(server.address, &sub.key).await;
    let doubling = doubling(60, "{ account { ...F0 } }");

    socket.subscribe("q", "{ account { name } }").await;
    assert_eq!(socket.event("q").await, json!({ "account": { "name": "Client" } }));
    let complete = |id: &str| Came::Message(json!({ "id": id, "type": "complete" }));
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
    t.close().await;
}

/// The balance as each key sees it; a key that may not see it hears of its own account alone.
#[db_test]
#[tokio::test]
async fn each_key_hears_of_the_money_that_it_may_see(database: Database) {
    let t = TestApp::start(database).await;
    t.set_sms_price(PRICE_MICROS).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let open = t.sub_account(&team, json!({ "name": "Open", "creditLimit": 500 })).await;
    let hidden = json!({ "name": "Hidden", "teamBalanceVisible": false });
    let hidden = t.sub_account(&team, hidden).await;
    let mut of_main = listening(server.address, &team.key, BALANCE).await;
    let mut of_open = listening(server.address, &open.key, BALANCE).await;
    let mut of_hidden = listening(server.address, &hidden.key, BALANCE).await;
    let view = |balance: Value, spent: Value, limit: Value| {
        let is_sub_account = !spent.is_null();
        json!({ "balanceChanged": { "balance": balance, "isSubAccount": is_sub_account,
            "totalSpent": spent, "creditLimit": limit } })
    };

    assert!(t.sends(&open.key).await);
    assert_eq!(of_main.event("a").await, view(json!(900), json!(null), json!(null)));
    assert_eq!(of_open.event("a").await, view(json!(900), json!(100), json!(500)));

    // The first that the hidden one hears of is its own.
    assert!(t.sends(&hidden.key).await);
    assert_eq!(of_hidden.event("a").await, view(json!(null), json!(100), json!(null)));
    assert_eq!(of_main.event("a").await, view(json!(800), json!(null), json!(null)));
    assert_eq!(of_open.event("a").await, view(json!(800), json!(100), json!(500)));

    assert_eq!(t.top_up(&team, json!(50), "more").await.refusals(), [""; 0]);
    assert_eq!(of_open.event("a").await, view(json!(850), json!(100), json!(500)));
    set_limit(&t, &team.key, &hidden.id, json!(700)).await;
    assert_eq!(of_hidden.event("a").await, view(json!(null), json!(100), json!(700)));
    t.close().await;
}

/// A message is told of when it is accepted and whenever its status changes, to its account alone.
#[db_test]
#[tokio::test]
async fn messages_are_told_of_to_their_own_account(database: Database) {
    let t = TestApp::start(database).await;
    t.set_sms_price(PRICE_MICROS).await;
    let (team, other, server) = (t.team(10_000).await, t.team(10_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let sibling = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let mut own = listening(server.address, &sub.key, MESSAGES).await;
    let mut strangers = Vec::new();
    for key in [&team.key, &sibling.key, &other.key, &test_key] {
        strangers.push(listening(server.address, key, MESSAGES).await);
    }

    let answer = t.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    let id = &answer.data()["sendMessage"]["message"]["id"];
    let event =
        |status: &str| json!({ "messageUpdated": { "id": id, "status": status, "cost": 100 } });
    assert_eq!(own.event("a").await, event("QUEUED"));
    for stranger in &mut strangers {
        // Of one that is not its own, by its id.
        let query = format!("subscription {{ messageUpdated(id: {id}) {{ id status }} }}");
        stranger.subscribe("b", &query).await;
        assert_eq!(stranger.before_pong().await, []);
    }
    t.deliver().await;
    let mut statuses = Vec::new();
    while statuses.last() != Some(&json!("DELIVERED")) {
        statuses.push(own.event("a").await["messageUpdated"]["status"].take());
    }
    assert!(
        statuses
            .iter()
            .all(|status| ["SENDING", "SENT", "DELIVERED"].map(Value::from).contains(status))
    );

    // What they hear first is what they send themselves, and nothing of what came before.
    for (key, stranger) in
        [&team.key, &sibling.key, &other.key, &test_key].into_iter().zip(&mut strangers)
    {
        let answer = t.send(key, json!({ "to": "+12025550124", "text": "Hi" })).await;
        let own_id = &answer.data()["sendMessage"]["message"]["id"];
        assert_eq!(stranger.event("a").await["messageUpdated"]["id"], *own_id);
    }
    t.close().await;
}

#[db_test]
#[tokio::test]
async fn one_message_is_followed_by_its_id(database: Database) {
    let t = TestApp::start(database).await;
    let (team, server) = (t.team(10_000).await, t.serve().await);
    let answer = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    let id = &answer.data()["sendMessage"]["message"]["id"];
    let one = format!("subscription {{ messageUpdated(id: {id}) {{ id status }} }}");
    let junk = "subscription { messageUpdated(id: \"junk\") { id status } }";
    let mut socket = listening(server.address, &team.key, &one).await;
    socket.subscribe("junk", junk).await;
    assert_eq!(socket.before_pong().await, []);

    assert!(t.sends(&team.key).await, "another");
    t.deliver().await;
    let mut status = Value::Null;
    while status != "DELIVERED" {
        let mut event = socket.event("a").await["messageUpdated"].take();
        assert_eq!(event["id"], *id);
        status = event["status"].take();
    }
    t.close().await;
}

/// The main account hears of each of its sub-accounts, and of no other team's.
#[db_test]
#[tokio::test]
async fn a_main_account_hears_of_its_sub_accounts(database: Database) {
    let t = TestApp::start(database).await;
    t.set_sms_price(PRICE_MICROS).await;
    let (team, other, server) = (t.team(1_000).await, t.team(1_000).await, t.serve().await);
    let foreign = t.sub_account(&other, json!({})).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 500 })).await;
    // As far as clocks may lie apart: a look for what nobody told does not find what was there before.
    t.step(TimeDelta::seconds(11));
    let mut socket = listening(server.address, &team.key, ACCOUNTS).await;
    let event = |status: &str, spent: i64, limit: i64| {
        json!({ "accountUpdated":
            { "id": sub.id, "status": status, "totalSpent": spent, "creditLimit": limit } })
    };

    assert!(t.sends(&foreign.key).await);
    assert!(t.sends(&team.key).await, "its own money is no sub-account's");
    t.step(TimeDelta::seconds(1));
    assert!(t.sends(&sub.key).await);
    assert_eq!(socket.event("a").await, event("ACTIVE", 100, 500));
    t.step(TimeDelta::seconds(1));
    set_limit(&t, &team.key, &sub.id, json!(100)).await;
    assert_eq!(socket.event("a").await, event("ACTIVE", 100, 100));
    t.step(TimeDelta::seconds(1));
    let suspend =
        "mutation($id: ID!) { suspendSubAccount(account: { id: $id }) { errors { code } } }";
    assert_eq!(t.ask_with(&team.key, suspend, json!({ "id": sub.id })).await.refusals(), [""; 0]);
    assert_eq!(socket.event("a").await, event("SUSPENDED", 100, 100));
    let made = t.sub_account(&team, json!({})).await;
    assert_eq!(socket.event("a").await["accountUpdated"]["id"], made.id);
    t.close().await;
}

/// A key that ends, or whose account is not ACTIVE any more, has its sockets closed within two seconds.
#[db_test]
#[tokio::test]
async fn a_socket_ends_with_its_key(database: Database) {
    let t = TestApp::start(database).await;
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

        assert_eq!(ended.next().await, Came::Closed(4403), "{action}");
        // Generous, for machines that are busy; the look is once a second.
        assert!(begun.elapsed() < Duration::from_secs(10), "{action}");
        assert_eq!(goes_on.before_pong().await, []);
        let mut again = Socket::silent(server.address).await;
        let payload = json!({ "apiKey": sub.key });
        again.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(again.next().await, Came::Closed(4403), "{action}");
    }
    t.close().await;
}

/// Two processes on one PostgreSQL: what one does is told by the other, and a key that one revokes ends the
/// sockets of the other.
#[needs_postgres]
#[tokio::test]
async fn news_cross_processes() {
    let t = TestApp::start(Postgres).await;
    t.set_sms_price(PRICE_MICROS).await;
    let other = t.beside(Setup::default()).await;
    let (team, server, _other_server) = (t.team(1_000).await, t.serve().await, other.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let mut balance = listening(server.address, &sub.key, BALANCE).await;
    let mut messages = listening(server.address, &sub.key, MESSAGES).await;
    let mut accounts = listening(server.address, &team.key, ACCOUNTS).await;
    // Processes tell each other what they listen to; until that is heard, only the net tells.
    let mut told = HashSet::new();
    while told.is_empty() {
        let answer = other.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
        told.insert(answer.data()["sendMessage"]["message"]["id"].clone());
        assert_eq!(
            t.top_up(&team, json!(100), &format!("{}", told.len())).await.refusals(),
            [""; 0]
        );
        let event = messages.event("a").await["messageUpdated"].take();
        assert!(told.contains(&event["id"]), "{event}");
    }
    let spent = balance.event("a").await["balanceChanged"]["totalSpent"].take();
    assert_eq!(spent, json!(100));
    assert_eq!(accounts.event("a").await["accountUpdated"]["totalSpent"], json!(100));

    let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { errors { code } } }";
    let answer = other.ask_with(&team.key, revoke, json!({ "id": sub.key_id })).await;
    assert_eq!(answer.refusals(), [""; 0]);
    let ends = join_all([&mut balance, &mut messages].map(|socket| async {
        loop {
            if let Came::Closed(code) = socket.next().await {
                return code;
            }
        }
    }));
    assert_eq!(ends.await, [4403, 4403]);
    other.close().await;
    t.close().await;
}

#[db_test]
#[tokio::test]
async fn a_server_that_stops_says_so_to_its_sockets(database: Database) {
    let t = TestApp::start(database).await;
    let (team, mut server) = (t.team(1_000).await, t.serve().await);
    let mut socket = listening(server.address, &team.key, BALANCE).await;
    let mut silent = Socket::silent(server.address).await;

    server.stop.cancel();

    assert_eq!(socket.next().await, Came::Closed(1001));
    assert_eq!(silent.next().await, Came::Closed(1001));
    (&mut server.task).await.expect("it ends in order");
    t.close().await;
}

/// Who is so far behind that news were missed is told what changed meanwhile, also what nobody told, each
/// message once and the oldest first; and nothing of what was there before.
#[db_test]
#[tokio::test]
async fn missed_news_are_made_up_for(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(10_000).await;
    let sibling = t.sub_account(&team, json!({})).await;
    let silent = t.beside(Setup::default()).await;
    let send = async |t: &TestApp, key: &str| {
        let answer = t.send(key, json!({ "to": "+12025550123", "text": "Hi" })).await;
        text(&answer.data()["sendMessage"]["message"]["id"])
    };
    send(&t, &team.key).await;
    t.step(TimeDelta::seconds(11));

    let caller = authentication::authenticate(&t.app, &team.key).await.expect("a look");
    let caller = caller.expect("a caller").account().expect("an account");
    let mut late = Box::pin(subscriptions::messages(Arc::clone(&t.app), caller, None));
    // It listens from here on, and hears nothing until it is asked again.
    assert!(late.next().now_or_never().is_none());
    let mut expected = vec![send(&silent, &team.key).await];
    send(&t, &sibling.key).await;
    let told = async {
        // Those of a listener that is not late; of each it hears before the next is sent.
        let mut news = t.app.events.listen(team.id.parse().expect("an id"));
        for _ in 0..BEHIND {
            t.step(TimeDelta::milliseconds(10));
            expected.push(send(&t, &team.key).await);
            news.next().await;
        }
    };
    tokio::select! {
        () = events::run(&t.app) => unreachable!("it tells for ever"),
        () = told => {}
    }
    let mut found = Vec::new();
    while found.len() < expected.len() {
        let event = timeout(SOON, late.next()).await.expect("one more").expect("no end");
        found.push(event.row.id.to_string());
    }
    assert_eq!(found, expected);
    drop(late);
    silent.close().await;
    t.close().await;
}

/// More news than a listener may be behind.
const BEHIND: usize = 70;
const SOON: Duration = Duration::from_secs(20);

/// 100 cents.
const PRICE_MICROS: i64 = 1_000_000;

/// A socket with this key on which `a` is listened to.
async fn listening(address: SocketAddr, key: &str, query: &str) -> Socket {
    let mut socket = Socket::with_key(address, key).await;
    socket.subscribe("a", query).await;
    assert_eq!(socket.before_pong().await, []);
    socket
}

async fn set_limit(t: &TestApp, key: &str, id: &str, limit: Value) {
    let query = "mutation($id: ID!, $limit: Cents) { updateSubAccount(account: { id: $id }, \
                 input: { creditLimit: $limit }) { errors { code } } }";
    let answer = t.ask_with(key, query, json!({ "id": id, "limit": limit })).await;
    assert_eq!(answer.refusals(), [""; 0]);
}

/// A change that nobody tells, for the process that made it hears of no listener, is found by looking.
#[db_test]
#[tokio::test]
async fn what_nobody_tells_is_found(database: Database) {
    let t = TestApp::start(database).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let mut balances = Socket::with_key(server.address, &team.key).await;
    let mut accounts = Socket::with_key(server.address, &team.key).await;
    for (socket, id, query) in
        [(&mut balances, "balance", BALANCE), (&mut accounts, "accounts", ACCOUNTS)]
    {
        socket.subscribe(id, query).await;
        assert_eq!(socket.before_pong().await, []);
    }

    // It does not serve, so it hears of no listener. Each change may still come before the first look.
    let other = t.beside(Setup::default()).await;
    let mut balance = 1_000;
    for tries in 1.. {
        assert!(tries < 10, "nobody looks");
        t.step(TimeDelta::seconds(1));
        balance += 500;
        let answer = other.top_up(&team, json!(500), &format!("untold-{balance}")).await;
        assert_eq!(answer.refusals(), [""; 0]);
        if let Ok(event) = timeout(Duration::from_secs(3), balances.event("balance")).await {
            assert_eq!(event["balanceChanged"]["balance"], balance);
            break;
        }
    }
    t.step(TimeDelta::seconds(1));
    let raise = "mutation($id: ID!) { updateSubAccount(account: { id: $id }, \
                 input: { creditLimit: 77 }) { errors { code } } }";
    let answer = other.ask_with(&team.key, raise, json!({ "id": sub.id })).await;
    assert_eq!(answer.refusals(), [""; 0]);
    // What changed shortly before it listened may be told first.
    while accounts.event("accounts").await["accountUpdated"]["creditLimit"] != 77 {}
    drop(other);
    t.close().await;
}

/// A subscription holds its document for as long as it lasts, so that has bounds of its own.
#[db_test]
#[tokio::test]
async fn its_document_is_small(database: Database) {
    let t = TestApp::start(database).await;
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
        // The field at the root is one of them.
        (fields(99), true),
        (fields(100), false),
        (spread(33), true),
        (spread(34), false),
        // Six tokens around, and eight for each.
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
        let [Came::Message(came)] = &came[..] else { panic!("{query}: {came:?}") };
        assert_eq!(
            (&came["id"], &came["type"]),
            (&json!(at.to_string()), &json!("error")),
            "{query}"
        );
        assert_eq!(came["payload"][0]["extensions"]["code"], "QUERY_TOO_LARGE", "{query}");
    }
    t.close().await;
}
