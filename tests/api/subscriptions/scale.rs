//! Many subscriptions: the total number of reads, the maximum number of subscriptions, and that neither another team
//! nor a slow client delays them.

use std::{cell::Cell, collections::BTreeSet, net::SocketAddr, time::Duration};

use db_test::db_test;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tollgate::{domain::events, http::SUBSCRIPTIONS_OF_ACCOUNT_MAX};

use crate::harness::{Apps, Received, Setup, Socket, TestApp, TestTeam, text};

const BALANCE: &str = "subscription { balanceChanged { balance } }";
const ACCOUNTS: &str = "subscription { accountUpdated { totalSpent } }";
const MESSAGES: &str = "subscription { messageUpdated { id } }";

/// Maximum number of operations on one socket.
const OF_SOCKET: usize = 50;
/// The price of an SMS: 100 cents.
const PRICE_MICROS: i64 = 1_000_000;

thread_local! {
    /// The number of statements that read messages by their ids. Each test and its server have their own thread.
    static READS: Cell<usize> = const { Cell::new(0) };
}

fn counting(sql: &str) -> String {
    if sql.contains("FROM \"message\"") && sql.contains("\"message\".\"id\" IN (") {
        READS.set(READS.get() + 1);
    }
    sql.to_owned()
}

/// Opens sockets with this key that have this many subscriptions in total. The ids of the subscriptions are numbers
/// that continue from one socket to the next.
async fn subscribed(
    address: SocketAddr,
    key: &str,
    count: usize,
    query: impl Fn(usize) -> String,
) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for at in 0..count {
        if at % OF_SOCKET == 0 {
            sockets.push(Socket::with_key(address, key).await);
        }
        let socket = sockets.last_mut().expect("one was opened");
        socket.subscribe(&at.to_string(), &query(at)).await;
        for received in socket.before_pong().await {
            let Received::Message(message) = received else { panic!("only events: {received:?}") };
            assert!(is_creation(&message["payload"]["data"]), "{message}");
        }
    }
    sockets
}

/// Returns whether this is the event for the creation of the sub-account. It can arrive late: when a process begins to
/// listen to notifications, it reads what has changed shortly before.
fn is_creation(data: &Value) -> bool {
    *data == json!({ "accountUpdated": { "totalSpent": 0 } })
}

/// Returns the first events of each subscription, `events` per subscription, in the order of the subscriptions.
async fn events_of_each(sockets: &mut [Socket], count: usize, events: usize) -> Vec<Vec<Value>> {
    let mut found = vec![Vec::new(); count];
    for (of_socket, socket) in found.chunks_mut(OF_SOCKET).zip(sockets) {
        while of_socket.iter().any(|of_one| of_one.len() < events) {
            let Received::Message(mut message) = socket.next().await else {
                panic!("an event was expected");
            };
            assert_eq!(message["type"], "next", "{message}");
            let number: usize = text(&message["id"]).parse().expect("a number");
            let data = message["payload"]["data"].take();
            if !is_creation(&data) {
                of_socket[number % OF_SOCKET].push(data);
            }
        }
    }
    assert!(
        found.iter().all(|of_one| of_one.len() == events),
        "{events} events of each subscription"
    );
    found
}

/// Returns one event of each subscription.
async fn one_event_of_each(sockets: &mut [Socket], count: usize) -> Vec<Value> {
    events_of_each(sockets, count, 1).await.into_iter().flatten().collect()
}

async fn send(t: &TestApp, key: &str) -> String {
    let answer = t.send(key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    text(&answer.data()["sendMessage"]["message"]["id"])
}

/// Each subscriber receives the fields that it selected.
#[db_test]
async fn a_message_is_read_once_for_all_subscribers_of_its_account(apps: &Apps) {
    let setup = Setup { rewrite_sql: Some(counting), ..Setup::default() };
    let t = apps.start_with(setup).await;
    t.set_sms_price(PRICE_MICROS).await;
    let (team, server) = (t.team(10_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let first = send(&t, &sub.key).await;
    let query = |at: usize| match at % 4 {
        0 => "subscription { messageUpdated { id } }".to_owned(),
        1 => "subscription { messageUpdated { cost to } }".to_owned(),
        2 => "subscription { messageUpdated { words: text } }".to_owned(),
        _ => format!("subscription {{ messageUpdated(id: \"{first}\") {{ status }} }}"),
    };
    let mut sockets = subscribed(server.address, &sub.key, 120, query).await;
    READS.set(0);

    let cancel = "mutation($id: ID!) { cancelMessage(id: $id) { errors { code } } }";
    let canceled = t.ask_with(&sub.key, cancel, json!({ "id": first })).await;
    assert_eq!(canceled.refusals(), [""; 0]);

    for (at, data) in one_event_of_each(&mut sockets, 120).await.into_iter().enumerate() {
        let shown = match at % 4 {
            0 => json!({ "id": first }),
            1 => json!({ "cost": 100, "to": "+12025550123" }),
            2 => json!({ "words": "Hi" }),
            _ => json!({ "status": "CANCELED" }),
        };
        assert_eq!(data, json!({ "messageUpdated": shown }));
    }
    assert_eq!(READS.get(), 1);
}

#[db_test]
async fn many_messages_are_read_in_parts_and_received_once_in_order(apps: &Apps) {
    let setup = Setup { rewrite_sql: Some(counting), ..Setup::default() };
    let t = apps.start_with(setup).await;
    let (team, server) = (t.team(100_000).await, t.serve().await);
    let query = |_| MESSAGES.to_owned();
    let mut sockets = subscribed(server.address, &team.key, 2 * OF_SOCKET, query).await;
    READS.set(0);

    let many = "mutation($input: [SendMessageInput!]!) \
                { sendMessages(input: $input) { message { id } } }";
    let message = json!({ "to": "+12025550123", "text": "Hi" });
    let sent = t.ask_with(&team.key, many, json!({ "input": vec![message; 60] })).await;
    let sent = sent.data()["sendMessages"].as_array().expect("a list");
    let ids: BTreeSet<String> = sent.iter().map(|sent| text(&sent["message"]["id"])).collect();
    assert_eq!(ids.len(), 60);

    let expected: Vec<Value> =
        ids.iter().map(|id| json!({ "messageUpdated": { "id": id } })).collect();
    for found in events_of_each(&mut sockets, 2 * OF_SOCKET, ids.len()).await {
        assert_eq!(found, expected);
    }
    assert!((3..=60).contains(&READS.get()), "{} reads", READS.get());
}

#[db_test]
async fn balances_and_accounts_are_read_once_for_all_subscribers(t: &TestApp) {
    t.set_sms_price(PRICE_MICROS).await;
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let query =
        |at: usize| if at.is_multiple_of(2) { BALANCE.to_owned() } else { ACCOUNTS.to_owned() };
    let mut sockets = subscribed(server.address, &team.key, 300, query).await;
    let before = t.app.db.read.statements();

    send(t, &sub.key).await;

    for (at, data) in one_event_of_each(&mut sockets, 300).await.into_iter().enumerate() {
        let shown = if at.is_multiple_of(2) {
            json!({ "balanceChanged": { "balance": 900 } })
        } else {
            json!({ "accountUpdated": { "totalSpent": 100 } })
        };
        assert_eq!(data, shown);
    }
    // The events need four statements. The other statements are the polls by the fallback and for the keys, every
    // second or two.
    let statements = t.app.db.read.statements() - before;
    assert!(statements < 150, "{statements} statements for 300 listeners");
}

/// The limit applies to all keys and sockets of the account in total. Other accounts are not affected. When one
/// subscription ends, another can begin.
#[db_test]
async fn the_number_of_subscriptions_of_an_account_is_limited(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let query = |_| MESSAGES.to_owned();
    let count = SUBSCRIPTIONS_OF_ACCOUNT_MAX - 1;
    let mut sockets = subscribed(server.address, &sub.key, count, query).await;
    let before = t.everything().await;

    let mut last = Socket::with_key(server.address, &test_key).await;
    last.subscribe("fits", MESSAGES).await;
    assert_eq!(last.before_pong().await, []);
    for (key, is_refused) in [(&sub.key, true), (&test_key, true), (&team.key, false)] {
        let mut socket = Socket::with_key(server.address, key).await;
        socket.subscribe("a", BALANCE).await;
        let error = json!({
            "message": "Too many open subscriptions (maximum 500 per account, 3072 per team and 6144 per server). \
                        End one, then try again.",
            "extensions": { "code": "RATE_LIMITED" },
        });
        let refused = Received::Message(json!({ "id": "a", "type": "error", "payload": [error] }));
        let came = if is_refused { vec![refused] } else { Vec::new() };
        assert_eq!(socket.before_pong().await, came);
    }
    sockets[0].send(json!({ "id": "7", "type": "complete" })).await;
    assert_eq!(sockets[0].before_pong().await, []);
    last.subscribe("fits again", MESSAGES).await;
    assert_eq!(last.before_pong().await, []);
    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn a_team_with_stuck_subscribers_does_not_delay_another(t: &TestApp) {
    let (hot, other, server) = (t.team(1_000).await, t.team(1_000).await, t.serve().await);
    let query =
        |at: usize| if at.is_multiple_of(2) { BALANCE.to_owned() } else { MESSAGES.to_owned() };
    let mut of_hot = subscribed(server.address, &hot.key, 2 * OF_SOCKET, query).await;
    let mut of_other = subscribed(server.address, &other.key, 2, query).await;
    let listener = t.app.events.listen(hot.id.parse().expect("an id"));
    let mut held = Vec::new();
    for _ in 0..events::turns_of_team() {
        held.push(listener.turn().await);
    }
    let reading = t.app.events.read_turn(&listener).await;

    send(t, &hot.key).await;
    send(t, &other.key).await;

    one_event_of_each(&mut of_other, 2).await;
    for socket in &mut of_hot {
        assert_eq!(socket.before_pong().await, []);
    }
    assert!(
        t.app.events.read_turn(&listener).now_or_never().is_none(),
        "a team reads once at a time"
    );
    drop((held, reading));
    one_event_of_each(&mut of_hot, 2 * OF_SOCKET).await;
}

/// A client with the same key as the slow client is not delayed either. The memory budget includes the events that wait
/// for the slow client until the client disconnects.
#[db_test]
async fn a_slow_client_delays_no_other_client(t: &TestApp) {
    let (team, server) = (t.team(10_000).await, t.serve().await);
    // Each event has three million bytes, so a few of them fill the system's buffers.
    let aliases: String = (0..30).map(|at| format!("a{at}: text ")).collect();
    let large = |_| format!("subscription {{ messageUpdated {{ {aliases} }} }}");
    let slow = subscribed(server.address, &team.key, 1, large).await;
    let mut quick = subscribed(server.address, &team.key, 1, |_| MESSAGES.to_owned()).await;

    let long = json!({ "to": "ada@example.com", "subject": "Hi", "text": "x".repeat(100_000) });
    for _ in 0..8 {
        let answer = t.send(&team.key, long.clone()).await;
        let id = &answer.data()["sendMessage"]["message"]["id"];
        let event = one_event_of_each(&mut quick, 1).await;
        assert_eq!(event, [json!({ "messageUpdated": { "id": id } })]);
    }

    until(|| t.app.memory_budget.bytes() > 0).await;
    drop(slow);
    until(|| t.app.memory_budget.bytes() == 0).await;
}

async fn until(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the condition does not become true");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The schema that an operator sees contains no subscriptions.
#[db_test]
async fn an_operator_has_no_subscriptions(t: &TestApp) {
    let (team, server): (TestTeam, _) = (t.team(1_000).await, t.serve().await);
    let roots =
        "{ __schema { subscriptionType { name } } __type(name: \"Subscription\") { name } }";
    let named = json!({ "name": "Subscription" });
    for (key, root) in [(&t.operator, Value::Null), (&team.key, named)] {
        let shown = t.ask(key, roots).await;
        assert_eq!(
            *shown.data(),
            json!({ "__schema": { "subscriptionType": root }, "__type": root })
        );
    }
    let mut socket = Socket::with_key(server.address, &t.operator).await;
    socket.subscribe("a", BALANCE).await;
    let Received::Message(refused) = socket.next().await else { panic!("a refusal was expected") };
    assert_eq!(refused["payload"][0]["extensions"]["code"], "FORBIDDEN");
}
