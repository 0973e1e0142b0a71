//! The memory budget limits the text that requests keep in memory until their clients have received the responses. The
//! budget applies in total and per team, over HTTP and over sockets.

use std::{net::SocketAddr, time::Duration};

use db_test::db_test;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};
use tollgate::limits::memory_budget::{PART_BYTES, Reservation, WAITING_BYTES_OF_TEAM_MAX};
use uuid::Uuid;

use crate::harness::{Database, Postgres, Received, Socket, Sqlite, TestApp, TestTeam};

/// Maximum number of bytes of text that the requests of a team may keep in memory.
const OF_TEAM: usize = 48 * 1024 * 1024;
/// A query whose response has 11 million bytes, which is more than the operating system buffers.
const LARGE: &str = "{ messages(first: 11) { nodes { text } } }";
/// Number of bytes that the response to [`LARGE`] reserves. The budget is reserved in parts of `PART_BYTES`.
const HELD_BY_LARGE: usize = 11_000_000 / PART_BYTES * PART_BYTES;

/// Creates a team with 15 messages of a million bytes each. The long texts are written with SQL.
async fn team_of_long_texts(t: &TestApp, database: Database) -> TestTeam {
    let team = t.team(1_000).await;
    let many = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) { errors { code } } }";
    let message = json!({ "to": "+12025550123", "text": "Hi" });
    let sent = t.ask_with(&team.key, many, json!({ "input": vec![message; 15] })).await;
    assert_eq!(sent.codes(), [""; 0]);
    let id = team.id.replace('-', "");
    let (text, id) = match database {
        Sqlite => ("replace(hex(zeroblob(500000)), '00', 'xx')", format!("x'{id}'")),
        Postgres => ("repeat('x', 1000000)", format!("'{id}'")),
    };
    t.execute(&format!("UPDATE message SET text = {text} WHERE team_id = {id}")).await;
    team
}

/// Reserves the rest of the team's budget, as if for two very large requests.
fn take_all(t: &TestApp, team: &TestTeam) -> [Reservation; 2] {
    let team_id: Uuid = team.id.parse().expect("an id");
    let memory_budget =
        [t.app.memory_budget.of(Some(team_id)), t.app.memory_budget.of(Some(team_id))];
    for room in &memory_budget {
        while room.take(PART_BYTES).is_ok() {}
    }
    memory_budget
}

/// Waits until requests have reserved this many bytes. The function itself reserves nothing, because a reservation
/// would affect the requests.
async fn until_held(t: &TestApp, bytes: usize) {
    let begun = Instant::now();
    while t.app.memory_budget.bytes() != bytes {
        let held = t.app.memory_budget.bytes();
        assert!(begun.elapsed() < Duration::from_mins(1), "{held} bytes are held, not {bytes}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[db_test]
async fn a_team_that_has_used_its_budget_can_read_only_short_texts(
    t: &TestApp,
    database: Database,
) {
    let (team, server) = (team_of_long_texts(t, database).await, t.serve().await);
    let other = team_of_long_texts(t, database).await;
    let held = take_all(t, &team);
    assert_eq!(t.app.memory_budget.bytes(), OF_TEAM);

    let refused = t.ask(&team.key, LARGE).await;
    assert_eq!((refused.status.as_u16(), refused.codes()), (200, vec!["UNAVAILABLE"]));
    let mut socket = Socket::with_key(server.address, &team.key).await;
    socket.subscribe("a", LARGE).await;
    let Received::Message(message) = socket.next().await else { panic!("an answer was expected") };
    assert_eq!(message["payload"]["errors"][0]["extensions"]["code"], "UNAVAILABLE");
    assert_eq!(t.ask(&team.key, "{ account { name } }").await.codes(), [""; 0]);
    assert_eq!(t.ask(&other.key, LARGE).await.codes(), [""; 0]);
    drop(held);
    assert_eq!(t.ask(&team.key, LARGE).await.codes(), [""; 0]);

    t.execute("UPDATE message SET text = 'Hi'").await;
}

/// If the call has charged no messages, the whole call fails.
#[db_test]
async fn charged_messages_are_answered_even_if_a_repeat_in_the_same_call_exceeds_the_budget(
    t: &TestApp,
    database: Database,
) {
    let team = t.team(1_000).await;
    let keyed = json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": "key" });
    assert_eq!(t.send(&team.key, keyed.clone()).await.refusals(), [""; 0]);
    let long = match database {
        Sqlite => "replace(hex(zeroblob(75000)), '00', 'xx')",
        Postgres => "repeat('x', 150000)",
    };
    t.execute(&format!("UPDATE message SET text = {long}")).await;
    let query = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                 { message { to } replayed errors { code field } } }";
    let both = json!({ "input": [keyed, { "to": "+12025550124", "text": "New" }] });
    let held = take_all(t, &team);

    let answer = t.ask_with(&team.key, query, both.clone()).await;
    assert_eq!(answer.codes(), [""; 0]);
    let unread = json!({ "message": null, "replayed": false,
                         "errors": [{ "code": "OVERLOADED", "field": [] }] });
    let accepted = json!({ "message": { "to": "+12025550124" }, "replayed": false, "errors": [] });
    assert_eq!(answer.data()["sendMessages"], json!([unread, accepted]));
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 2);
    let before = t.everything().await;
    let repeat = t.ask_with(&team.key, query, json!({ "input": [both["input"][0]] })).await;
    assert_eq!(repeat.codes(), ["UNAVAILABLE"]);
    assert_eq!(t.everything().await, before);

    drop(held);
    let repeat = t.ask_with(&team.key, query, json!({ "input": [both["input"][0]] })).await;
    let replayed = json!([{ "message": { "to": "+12025550123" }, "replayed": true, "errors": [] }]);
    assert_eq!(repeat.data()["sendMessages"], replayed);
    assert_eq!(t.everything().await, before);
    t.execute("UPDATE message SET text = 'Hi'").await;
}

/// If the connection closes before the client has received the response, the budget is released when the connection
/// closes.
#[db_test]
async fn an_answer_holds_its_budget_until_the_client_has_received_it(
    t: &TestApp,
    database: Database,
) {
    let (team, server) = (team_of_long_texts(t, database).await, t.serve().await);

    let stream = asked(server.address, &team.key).await;
    until_held(t, HELD_BY_LARGE).await;
    drop(stream);
    until_held(t, 0).await;

    let mut stream = asked(server.address, &team.key).await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("the whole answer");
    assert!(bytes.len() > 11_000_000);
    until_held(t, 0).await;

    t.execute("UPDATE message SET text = 'Hi'").await;
}

async fn asked(address: SocketAddr, key: &str) -> TcpStream {
    let body = json!({ "query": LARGE }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all((head + &body).as_bytes()).await.expect("the server reads the request");
    stream
}

/// Messages that are waiting to be sent to the client are dropped.
#[db_test]
async fn a_socket_whose_client_does_not_read_is_closed(t: &TestApp, database: Database) {
    let (team, server) = (team_of_long_texts(t, database).await, t.serve().await);
    let mut socket = Socket::with_key(server.address, &team.key).await;
    for at in 0..2 {
        socket.subscribe(&at.to_string(), LARGE).await;
    }

    until_held(t, 2 * HELD_BY_LARGE).await;
    until_held(t, 0).await;

    let mut answers = 0;
    while let Received::Message(message) = socket.next().await {
        answers += usize::from(message["type"] == "next");
    }
    assert_eq!(answers, 0, "no answer was read");
    t.execute("UPDATE message SET text = 'Hi'").await;
}

/// The limit applies to the total size of the waiting messages, not to the size of a single message. The server closes
/// the socket so that the client notices that messages were missed. Other teams are not affected.
#[db_test]
async fn a_team_with_too_many_waiting_messages_loses_its_next_socket(t: &TestApp) {
    let (team, other, server) = (t.team(1_000).await, t.team(1_000).await, t.serve().await);
    let team_id: Uuid = team.id.parse().expect("an id");
    let query = "subscription { messageUpdated { to } }";
    let event = json!({ "messageUpdated": { "to": "+12025550123" } });
    // The message is `{"id":"a","payload":{"data":…},"type":"next"}`.
    let bytes = json!({ "id": "a", "type": "next", "payload": { "data": event } });
    let bytes = bytes.to_string().len();
    for (left, fits) in [(bytes, true), (bytes - 1, false)] {
        let mut sockets = Vec::new();
        for key in [&team.key, &other.key] {
            let mut socket = Socket::with_key(server.address, key).await;
            socket.subscribe("a", query).await;
            assert_eq!(socket.before_pong().await, []);
            sockets.push(socket);
        }
        let held = t.app.memory_budget.wait(Some(team_id), WAITING_BYTES_OF_TEAM_MAX - left);
        assert!(held.is_some());
        for key in [&team.key, &other.key] {
            assert!(t.sends(key).await);
        }
        if fits {
            assert_eq!(sockets[0].event("a").await, event);
        } else {
            assert_eq!(sockets[0].next().await, Received::Closed(1013));
        }
        assert_eq!(sockets[1].event("a").await, event);
    }
}

/// If the response is too large for the budget, the socket stays open.
#[db_test]
async fn an_answer_over_the_budget_of_a_socket_ends_its_operation_with_an_error(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let team_id: Uuid = team.id.parse().expect("an id");
    let message = json!({ "to": "+12025550123", "text": "x".repeat(1_000) });
    assert_eq!(t.send(&team.key, message).await.refusals(), [""; 0]);
    let mut socket = Socket::with_key(server.address, &team.key).await;
    let held = t.app.memory_budget.wait(Some(team_id), WAITING_BYTES_OF_TEAM_MAX - 1_000);
    assert!(held.is_some());

    socket.subscribe("long", "{ messages { nodes { text } } }").await;
    let Received::Message(refused) = socket.next().await else { panic!("a message was expected") };
    assert_eq!([&refused["id"], &refused["type"]], [&json!("long"), &json!("error")]);
    assert_eq!(refused["payload"][0]["extensions"]["code"], "UNAVAILABLE");
    socket.subscribe("short", "{ messages { nodes { to } } }").await;
    let Received::Message(next) = socket.next().await else { panic!("a message was expected") };
    assert_eq!(next["payload"]["data"]["messages"]["nodes"][0]["to"], "+12025550123");
}

/// Text in rows that are read for the response is counted too.
#[db_test]
async fn text_counts_as_often_as_it_is_answered_and_as_long_as_its_json(t: &TestApp) {
    let team = t.team(1_000).await;
    let aliases = |field: &str, count: usize| -> String {
        (0..count).map(|at| format!("a{at}: {field} ")).collect()
    };
    for at in 0..10 {
        let text = "\u{1}".repeat(20_000);
        let message = json!({ "to": "ada@example.com", "subject": format!("{at}"), "text": text });
        assert_eq!(t.send(&team.key, message).await.refusals(), [""; 0]);
    }
    let tags: Vec<String> = (0..50).map(|at| format!("{at:02}{}", "😀".repeat(62))).collect();
    let metadata = json!({ "x": "x".repeat(16_000) });
    let create = "mutation($input: CreateContactInput!) { createContact(input: $input) { errors { code } } }";
    for at in 0..40 {
        let address = json!({ "channel": "SMS", "address": format!("+120255501{at:02}") });
        let input = json!({ "addresses": [address], "tags": tags, "metadata": metadata });
        let created = t.ask_with(&team.key, create, json!({ "input": input })).await;
        assert_eq!(created.codes(), [""; 0]);
    }
    // The 20,000 characters of a message become 120,000 bytes of JSON. For 10 messages, each `text` field adds 1.2 MB,
    // so 27 fields fit and 28 do not.
    let texts =
        |count| format!("{{ messages(last: 10) {{ nodes {{ {} }} }} }}", aliases("text", count));
    // The 50 tags of 250 bytes are counted when they are read and when they are returned. For 40 contacts, each `tags`
    // field adds 1.2 MB.
    let tags =
        |count| format!("{{ contacts(first: 40) {{ nodes {{ {} }} }} }}", aliases("tags", count));
    // Each page reads 40 rows of 16 KB.
    let pages = |count| format!("{{ {} }}", aliases("contacts(first: 40) { nodes { id } }", count));
    assert_eq!(t.ask(&team.key, &texts(27)).await.codes(), [""; 0]);
    assert_eq!(t.ask(&team.key, &tags(25)).await.codes(), [""; 0]);
    assert_eq!(t.ask(&team.key, &pages(30)).await.codes(), [""; 0]);
    let values = json!({ "a": vec![0; 990] });
    for _ in 0..10 {
        let message = json!({ "to": "+12025550123", "text": "Hi", "metadata": values });
        assert_eq!(t.send(&team.key, message).await.refusals(), [""; 0]);
    }
    // Each of the 990 values uses 160 bytes in addition to the text of the value.
    let metadata = |count| {
        format!("{{ messages(first: 10) {{ nodes {{ {} }} }} }}", aliases("metadata", count))
    };
    assert_eq!(t.ask(&team.key, &metadata(20)).await.codes(), [""; 0]);
    for too_much in [texts(28), tags(28), metadata(22)] {
        let refused = t.ask(&team.key, &too_much).await;
        let codes = refused.codes();
        assert!(codes.iter().all(|code| *code == "QUERY_TOO_LARGE") && !codes.is_empty());
    }
    assert_eq!(t.app.memory_budget.bytes(), 0);
}
