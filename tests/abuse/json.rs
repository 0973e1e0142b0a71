//! JSON bombs, and queries of the same kind, by every way that a client's bytes are parsed: each is refused by name,
//! and ends nothing.

use std::{fmt::Debug, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use db_test::db_test;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    Database::{self},
    attack::{Attack, REST_AFTER_FAILURE},
    bombs::{Bomb, bombs, documents},
    requests::{head, post_body},
    say,
    socket::{PROTOCOL_PING, Shut, Socket, TEXT, frame, init},
    stage::Stage,
    wire::{Wire, code_in},
};

/// Bytes of a body of `/graphql`, and of a message on a socket.
const BODY_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of a body of `/sandbox/inbound`.
const INBOUND_BYTES_MAX: usize = 16 * 1_024;
/// Characters of a parameter in an address: with more, a head is too long to be HTTP for the server.
const PARAMETER_CHARS_MAX: usize = 30_000;
/// How long a bomb may go unanswered.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Connections that send bombs at once.
const CONNECTIONS: usize = 8;

/// Something with a bomb in it, and the way that it goes.
#[derive(Clone)]
struct Shot {
    name: String,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Http(Arc<[u8]>),
    /// The frames that are sent on a socket, each after an answer to the one before it.
    Socket(Vec<Arc<[u8]>>),
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn json_bombs(database: Database) {
    let mut stage = Stage::start(database).await;
    let sub_account = stage.sub_account().await;
    let shots = shots(&sub_account.test, &sub_account.live);

    let mut is_alive = true;
    for shot in &shots {
        let unnamed = timeout(ANSWER_WITHIN, unnamed_answer(&stage, &shot.way)).await;
        let unnamed = unnamed.unwrap_or_else(|_| Some("nothing".to_owned()));
        if unnamed.is_some() {
            // A process that ends does so a moment after its connections.
            sleep(Duration::from_millis(200)).await;
        }
        if let Some(status) = stage.server.ended() {
            stage.fails(format!("{}: the process ended by {status}", shot.name));
            stage.start_again().await;
            is_alive = false;
        } else if let Some(answer) = unnamed {
            stage.fails(format!("{}: not refused by name, but {answer}", shot.name));
        }
    }
    say(&format!("  {} bombs, {database:?}", shots.len()));
    if is_alive {
        stage
            .attack("JSON bombs by every way, 8 connections", &["BAD_USER_INPUT"], async |attack| {
                flood(attack, &shots).await;
            })
            .await;
    }
    stage.finish().await;
}

/// What came instead of a refusal that says what it is.
async fn unnamed_answer(stage: &Stage, way: &Way) -> Option<String> {
    match way {
        Way::Http(request) => {
            let answer = Wire::new(stage.server.address).ask(request).await;
            let is_named = answer.as_ref().is_ok_and(|brief| brief.code().is_some());
            (!is_named).then(|| briefly(&answer))
        }
        Way::Socket(frames) => {
            let said = converse(stage.server.address, frames).await;
            let is_named = match &said {
                Ok(text) => code_in(text).is_some(),
                Err(Shut::Closed(code)) => !matches!(code, 1005 | 1006),
                Err(_) => false,
            };
            (!is_named).then(|| briefly(&said))
        }
    }
}

fn briefly(answer: &impl Debug) -> String {
    format!("{answer:?}").chars().take(60).collect()
}

/// Sends each frame, and gives the answer to the last.
async fn converse(address: SocketAddr, frames: &[Arc<[u8]>]) -> Result<String, Shut> {
    let mut socket = Socket::open(None, address).await?;
    let mut said = Err(Shut::Broken(ErrorKind::NotConnected));
    for frame in frames {
        // The answer to the bomb may come before all of it is sent.
        let _ = socket.send(frame).await;
        said = Ok(socket.next().await?);
    }
    said
}

async fn flood(attack: &mut Attack, shots: &[Shot]) {
    let requests: Vec<Arc<[u8]>> = shots
        .iter()
        .filter_map(|shot| match &shot.way {
            Way::Http(request) => Some(Arc::clone(request)),
            Way::Socket(_) => None,
        })
        .collect();
    attack.repeat(CONNECTIONS / 2, &requests);
    for connection in 0..CONNECTIONS / 2 {
        let (mut shots, tally, target) = (shots.to_vec(), Arc::clone(&attack.tally), attack.target);
        shots.retain(|shot| matches!(shot.way, Way::Socket(_)));
        let first = connection * shots.len() / CONNECTIONS;
        shots.rotate_left(first);
        attack.client(async move {
            for shot in shots.iter().cycle() {
                let Way::Socket(frames) = &shot.way else { continue };
                let said = converse(target, frames).await;
                tally.said(&said);
                if matches!(said, Err(Shut::Broken(_))) {
                    sleep(REST_AFTER_FAILURE).await;
                }
            }
        });
    }
    attack.lasts().await;
}

/// Each bomb, by each way that takes as many bytes.
fn shots(test_key: &str, live_key: &str) -> Vec<Shot> {
    let mut shots = Vec::new();
    for Bomb { name, json } in bombs() {
        let mut add = |by: &str, way| shots.push(Shot { name: format!("{name}, by {by}"), way });
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
                add(by, Way::Http(post_body(test_key, &body)));
            }
        }
        for parameter in ["variables", "extensions"] {
            let value = encoded(&format!(r#"{{"x":{json}}}"#));
            if value.len() <= PARAMETER_CHARS_MAX {
                let request =
                    get(test_key, &format!("query=%7Baccount%7Bname%7D%7D&{parameter}={value}"));
                add(&format!("{parameter} of a GET"), Way::Http(request));
            }
        }
        let inbound =
            format!(r#"{{"channel":"SMS","from":"+12025550123","text":"Hello","x":{json}}}"#);
        if inbound.len() <= INBOUND_BYTES_MAX {
            add("/sandbox/inbound", Way::Http(inbound_post(live_key, &inbound)));
        }
        for (by, message) in [
            ("a socket's first message", json.clone()),
            (
                "connection_init",
                format!(r#"{{"type":"connection_init","payload":{{"x":{json}}}}}"#),
            ),
        ] {
            if message.len() <= BODY_BYTES_MAX {
                add(by, Way::Socket(vec![frame(TEXT, message.as_bytes()).into()]));
            }
        }
        for (by, message) in [
            ("a socket's second message", json.clone()),
            ("a subscription's variables", subscription("variables", &json)),
            ("a subscription's extensions", subscription("extensions", &json)),
            ("a complete", format!(r#"{{"type":"complete","id":{json}}}"#)),
        ] {
            if message.len() <= BODY_BYTES_MAX {
                // A subscription that is taken says nothing, but a ping after it is answered.
                let bomb = [frame(TEXT, message.as_bytes()), frame(TEXT, PROTOCOL_PING)].concat();
                add(by, Way::Socket(vec![init(test_key).into(), bomb.into()]));
            }
        }
    }
    for (name, query) in documents() {
        let body = json!({ "query": query }).to_string();
        let message = format!(r#"{{"id":"1","type":"subscribe","payload":{body}}}"#);
        let message = frame(TEXT, message.as_bytes()).into();
        for (by, way) in [
            ("the body", Way::Http(post_body(test_key, &body))),
            ("a subscription", Way::Socket(vec![init(test_key).into(), message])),
        ] {
            shots.push(Shot { name: format!("{name}, by {by}"), way });
        }
    }
    shots
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

/// Encodes what must not stand in an address, and no more, for an address has a bound.
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
