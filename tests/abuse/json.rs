//! JSON bombs, and similar queries, for every entry point that parses a client's input. The server must refuse each of
//! them with an error code, and must not crash.

use std::{fmt::Debug, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use db_test::db_test;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    Database::{self},
    attack::{Attack, RETRY_PAUSE},
    bombs::{Bomb, bombs, documents},
    fixture::Fixture,
    raw_client::{RawClient, code_in},
    report,
    requests::{head, post_body},
    socket::{PROTOCOL_PING, Socket, SocketError, TEXT, frame, init},
};

/// Maximum size of the body of a request to `/graphql`, and of a message on a socket, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1_024;
/// Maximum size of the body of a request to `/sandbox/inbound`, in bytes.
const INBOUND_BYTES_MAX: usize = 16 * 1_024;
/// Maximum length of a parameter in a URL, in characters. The server does not parse a request head that is longer.
const PARAMETER_CHARS_MAX: usize = 30_000;
/// How long the response to a bomb may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Number of connections that send bombs concurrently.
const CONNECTIONS: usize = 8;

/// A request that contains a bomb.
#[derive(Clone)]
struct BombRequest {
    name: String,
    transport: Transport,
}

#[derive(Clone)]
enum Transport {
    Http(Arc<[u8]>),
    /// Frames for a socket. Each frame is sent after the response to the previous frame.
    Socket(Vec<Arc<[u8]>>),
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn json_bombs(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let sub_account = fixture.sub_account().await;
    let requests = bomb_requests(&sub_account.test, &sub_account.live);

    let mut is_alive = true;
    for request in &requests {
        let without_code =
            timeout(ANSWER_WITHIN, response_without_code(&fixture, &request.transport)).await;
        let without_code = without_code.unwrap_or_else(|_| Some("nothing".to_owned()));
        if without_code.is_some() {
            // If the process crashes, it ends only shortly after the connections are closed.
            sleep(Duration::from_millis(200)).await;
        }
        if let Some(status) = fixture.server.ended() {
            fixture.fail(format!("{}: the process ended by {status}", request.name));
            fixture.start_again().await;
            is_alive = false;
        } else if let Some(answer) = without_code {
            fixture.fail(format!("{}: no error code, but {answer}", request.name));
        }
    }
    report(&format!("  {} bombs, {database:?}", requests.len()));
    if is_alive {
        fixture
            .attack("JSON bombs by every way, 8 connections", &["BAD_USER_INPUT"], async |attack| {
                flood(attack, &requests).await;
            })
            .await;
    }
    fixture.finish().await;
}

/// Sends a bomb. Returns the response, or `None` if the bomb was refused with an error code.
async fn response_without_code(fixture: &Fixture, transport: &Transport) -> Option<String> {
    match transport {
        Transport::Http(request) => {
            let answer = RawClient::new(fixture.server.address).ask(request).await;
            let has_code = answer.as_ref().is_ok_and(|brief| brief.code().is_some());
            (!has_code).then(|| briefly(&answer))
        }
        Transport::Socket(frames) => {
            let said = converse(fixture.server.address, frames).await;
            let has_code = match &said {
                Ok(text) => code_in(text).is_some(),
                Err(SocketError::Closed(code)) => !matches!(code, 1005 | 1006),
                Err(_) => false,
            };
            (!has_code).then(|| briefly(&said))
        }
    }
}

fn briefly(answer: &impl Debug) -> String {
    format!("{answer:?}").chars().take(60).collect()
}

/// Sends the frames, and returns the response to the last one.
async fn converse(address: SocketAddr, frames: &[Arc<[u8]>]) -> Result<String, SocketError> {
    let mut socket = Socket::open(None, address).await?;
    let mut said = Err(SocketError::Broken(ErrorKind::NotConnected));
    for frame in frames {
        // The server may respond before the whole bomb has been sent.
        let _ = socket.send(frame).await;
        said = Ok(socket.next().await?);
    }
    said
}

async fn flood(attack: &mut Attack, bombs: &[BombRequest]) {
    let requests: Vec<Arc<[u8]>> = bombs
        .iter()
        .filter_map(|request| match &request.transport {
            Transport::Http(request) => Some(Arc::clone(request)),
            Transport::Socket(_) => None,
        })
        .collect();
    attack.repeat(CONNECTIONS / 2, &requests);
    for connection in 0..CONNECTIONS / 2 {
        let (mut bombs, tally, target) = (bombs.to_vec(), Arc::clone(&attack.tally), attack.target);
        bombs.retain(|request| matches!(request.transport, Transport::Socket(_)));
        let first = connection * bombs.len() / CONNECTIONS;
        bombs.rotate_left(first);
        attack.client(async move {
            for request in bombs.iter().cycle() {
                let Transport::Socket(frames) = &request.transport else { continue };
                let said = converse(target, frames).await;
                tally.said(&said);
                if matches!(said, Err(SocketError::Broken(_))) {
                    sleep(RETRY_PAUSE).await;
                }
            }
        });
    }
    attack.run().await;
}

/// Returns each bomb as a request to each entry point that accepts a bomb of this size.
fn bomb_requests(test_key: &str, live_key: &str) -> Vec<BombRequest> {
    let mut requests = Vec::new();
    for Bomb { name, json } in bombs() {
        let mut add = |by: &str, transport| {
            requests.push(BombRequest { name: format!("{name}, by {by}"), transport });
        };
        for (by, body) in [
            ("the body", json.clone()),
            (
                "variables",
                format!(r#"{{"query":"{{account{{name}}}}","variables":{{"x":{json}}}}}"#),
            ),
            ("all variables", format!(r#"{{"query":"{{account{{name}}}}","variables":{json}}}"#)),
            (
                "extensions",
                format!(r#"{{"query":"{{account{{name}}}}","extensions":{{"x":{json}}}}}"#),
            ),
            ("an unknown member", format!(r#"{{"query":"{{account{{name}}}}","x":{json}}}"#)),
        ] {
            if body.len() <= BODY_BYTES_MAX {
                add(by, Transport::Http(post_body(test_key, &body)));
            }
        }
        for parameter in ["variables", "extensions"] {
            let value = encoded(&format!(r#"{{"x":{json}}}"#));
            if value.len() <= PARAMETER_CHARS_MAX {
                let request =
                    get(test_key, &format!("query=%7Baccount%7Bname%7D%7D&{parameter}={value}"));
                add(&format!("{parameter} of a GET"), Transport::Http(request));
            }
        }
        let inbound =
            format!(r#"{{"channel":"SMS","from":"+12025550123","text":"Hello","x":{json}}}"#);
        if inbound.len() <= INBOUND_BYTES_MAX {
            add("/sandbox/inbound", Transport::Http(inbound_post(live_key, &inbound)));
        }
        for (by, message) in [
            ("a socket's first message", json.clone()),
            (
                "connection_init",
                format!(r#"{{"type":"connection_init","payload":{{"x":{json}}}}}"#),
            ),
        ] {
            if message.len() <= BODY_BYTES_MAX {
                add(by, Transport::Socket(vec![frame(TEXT, message.as_bytes()).into()]));
            }
        }
        for (by, message) in [
            ("a socket's second message", json.clone()),
            ("a subscription's variables", subscription("variables", &json)),
            ("a subscription's extensions", subscription("extensions", &json)),
            ("a complete", format!(r#"{{"type":"complete","id":{json}}}"#)),
        ] {
            if message.len() <= BODY_BYTES_MAX {
                // The server does not respond to an accepted subscription, but responds to the ping that is sent after
                // the subscription.
                let bomb = [frame(TEXT, message.as_bytes()), frame(TEXT, PROTOCOL_PING)].concat();
                add(by, Transport::Socket(vec![init(test_key).into(), bomb.into()]));
            }
        }
    }
    for (name, query) in documents() {
        let body = json!({ "query": query }).to_string();
        let message = format!(r#"{{"id":"1","type":"subscribe","payload":{body}}}"#);
        let message = frame(TEXT, message.as_bytes()).into();
        for (by, transport) in [
            ("the body", Transport::Http(post_body(test_key, &body))),
            ("a subscription", Transport::Socket(vec![init(test_key).into(), message])),
        ] {
            requests.push(BombRequest { name: format!("{name}, by {by}"), transport });
        }
    }
    requests
}

fn subscription(member: &str, bomb: &str) -> String {
    let query = json!("subscription{balanceChanged{totalSpent}}");
    format!(
        r#"{{"id":"1","type":"subscribe","payload":{{"query":{query},"{member}":{{"x":{bomb}}}}}}}"#
    )
}

fn get(key: &str, parameters: &str) -> Arc<[u8]> {
    format!(
        "GET /graphql?{parameters} HTTP/1.1\r\nHost: tollgate\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
    .into_bytes()
    .into()
}

fn inbound_post(key: &str, body: &str) -> Arc<[u8]> {
    let head = head(key).replacen("/graphql", "/sandbox/inbound", 1);
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes().into()
}

/// Escapes only the characters that a URL must not contain, because the length of a URL is limited.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' => encoded.push_str("%22"),
            '{' => encoded.push_str("%7B"),
            '}' => encoded.push_str("%7D"),
            other => encoded.push(other),
        }
    }
    encoded
}
