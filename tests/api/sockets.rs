//! How many sockets may be open of those that have not said who they are, and what the log says of a socket.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::json;
use tollgate::http::STRANGERS_OF_PEER_MAX;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{Came, Database, Postgres, Socket, Sqlite, TestApp};

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

/// One address has only so many sockets that have not said who they are; others are let in, and so is the
/// next one once one has said it.
#[rstest]
#[tokio::test]
async fn one_address_keeps_nobody_out(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let mut silent: Vec<Socket> =
        join_all((0..STRANGERS_OF_PEER_MAX).map(|_| Socket::silent(server.address))).await;

    assert_eq!(Socket::open(server.address, &[PROTOCOL]).await.err(), Some(503));
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    assert!(Socket::open_from(other, server.address, &[PROTOCOL]).await.is_ok());

    let known = silent.last_mut().expect("one of many");
    let payload = json!({ "apiKey": team.key });
    known.send(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(known.next().await, Came::Message(json!({ "type": "connection_ack" })));
    assert!(Socket::open(server.address, &[PROTOCOL]).await.is_ok());
    t.close().await;
}

/// What a socket's operations log has the request id of its upgrade.
#[rstest]
#[tokio::test]
async fn the_log_of_a_socket_has_its_request_id(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _until_the_end = tracing::subscriber::set_default(subscriber);
    t.execute("UPDATE account SET metadata = 'broken'").await;

    let headers = [PROTOCOL, ("x-request-id", "socket-17")];
    let mut socket = Socket::open(server.address, &headers).await.expect("a socket");
    let payload = json!({ "apiKey": team.key });
    socket.send(json!({ "type": "connection_init", "payload": payload })).await;
    socket.next().await;
    socket.subscribe("a", "{ account { metadata } }").await;
    let Came::Message(answer) = socket.next().await else { panic!("an answer was expected") };
    let error = &answer["payload"]["errors"][0];
    assert_eq!(error["extensions"]["code"], "INTERNAL_SERVER_ERROR");

    let text = log.text();
    let line = text.lines().find(|line| line.contains("A request failed")).expect("a line");
    assert!(line.contains("request{request.id=\"socket-17\""), "{line}");
    assert!(!text.contains(&team.key), "{text}");
    t.execute("UPDATE account SET metadata = NULL").await;
    t.close().await;
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics with the log").clone();
        String::from_utf8(bytes).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
