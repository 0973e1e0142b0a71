//! Connections, by clients that speak past HTTP, or say too much, or come in too great a number.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
};

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{self, Database, Postgres, Running, Sqlite, TestApp, text};

/// What comes back until the server ends the connection.
async fn said_to(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let mut answer = Vec::new();
    // The server may have enough before it has read all.
    let _ = stream.write_all(request).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

/// What hyper refuses before there is a request has a status and no body.
#[rstest]
#[tokio::test]
async fn what_is_no_http_is_refused_and_closed(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let server = t.serve().await;
    let long = "x".repeat(60_000);
    let many: String = (0..101).map(|at| format!("x-{at}: x\r\n")).collect();
    let twice =
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12";
    for (request, status) in [
        ("\0\0\0\0\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET /\u{e9} HTTP/1.1\r\nhost: \r\r\n\r\n".to_owned(), "400 Bad Request"),
        (twice.to_owned(), "400 Bad Request"),
        (format!("GET /{long}{long} HTTP/1.1\r\n\r\n"), "414 URI Too Long"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431 Request Header Fields Too Large"),
        (
            format!("GET / HTTP/1.1\r\na: {long}\r\nb: {long}\r\nc: {long}\r\n\r\n"),
            "431 Request Header Fields Too Large",
        ),
    ] {
        let answer = said_to(server.address, request.as_bytes()).await;
        let what = &request[..request.len().min(60)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{what}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{what}: {answer}");
    }
    t.close().await;
}

/// A body that ends before its length is no request; that it is not too large is said too.
#[rstest]
#[tokio::test]
async fn a_body_that_breaks_off_is_refused(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let before = t.everything().await;
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"query\":",
        team.key
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream.shutdown().await.expect("it was open");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    if !answer.is_empty() {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\"BAD_USER_INPUT\""), "{answer}");
    }
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// The demo under a limit of open files, as the shell's `ulimit` has it.
fn demo(limit: &str) -> (Running, SocketAddr) {
    let program = env!("CARGO_BIN_EXE_tollgate");
    let script = format!("ulimit {limit} && exec {program} demo --json --listen 127.0.0.1:0");
    let (running, started) = harness::demo(Command::new("sh").args(["-c", &script]));
    let url = text(&started["url"]);
    let address = url.trim_start_matches("http://").split('/').next().expect("an address");
    (running, address.parse().expect("an address"))
}

/// As many files as the system allows may be open, not only as many as the shell began with.
#[tokio::test]
async fn the_limit_of_open_files_is_raised() {
    let (server, address) = demo("-S -n 100");
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(said_to(address, request).await.starts_with("HTTP/1.1 200 "));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.0.id()));
    let limits = limits.expect("a process has limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{files}");
    assert_ne!(words[3], "100", "{files}");
}

/// Three quarters of the open files are for connections, half of those for one address: nobody keeps others
/// out, and the server is there again once they have gone.
#[tokio::test]
async fn one_address_has_half_of_the_connections() {
    let (_server, address) = demo("-n 120");
    let connect = async |from: Ipv4Addr| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((IpAddr::V4(from), 0).into()).expect("an address of this machine");
        socket.connect(address).await.expect("it listens")
    };
    let is_answered = async |mut stream: TcpStream| {
        let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        let _ = stream.write_all(request).await;
        let _ = stream.read_to_string(&mut answer).await;
        answer.starts_with("HTTP/1.1 200 ")
    };
    let (hot, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let mut held = Vec::new();
    for _ in 0..45 {
        held.push(connect(hot).await);
    }

    assert!(!is_answered(connect(hot).await).await, "one more than half");
    assert!(is_answered(connect(other).await).await, "another address");
    for _ in 0..45 {
        held.push(connect(other).await);
    }
    let third = Ipv4Addr::new(127, 0, 0, 3);
    assert!(!is_answered(connect(third).await).await, "one more than all");
    drop(held);
    let mut tries = 0;
    while !is_answered(connect(third).await).await {
        tries += 1;
        assert!(tries < 1_000, "it takes no connection any more");
    }
}
