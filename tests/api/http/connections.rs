//! Connections of clients that do not speak HTTP, send too much, or open too many connections.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
};

use db_test::db_test;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tollgate::http;

use crate::harness::{self, Running, TestApp, text};

/// Sends a request and returns all bytes that the server sends until it closes the connection.
async fn said_to(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let mut answer = Vec::new();
    // The server may refuse the request before it has read everything.
    let _ = stream.write_all(request).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

/// hyper refuses the request with a status and without a body.
#[db_test]
async fn a_request_that_is_not_http_is_refused_and_the_connection_closed(t: &TestApp) {
    let server = t.serve().await;
    let long = "x".repeat(60_000);
    let many: String = (0..101).map(|at| format!("x-{at}: x\r\n")).collect();
    let twice =
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12";
    // A valid request whose head has this size.
    let whole = |bytes: usize| {
        let frame = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: \r\n\r\n".len();
        let filler = "x".repeat(bytes - frame);
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {filler}\r\n\r\n")
    };
    let answer = said_to(server.address, whole(32 * 1024).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let with = |headers: &str| format!("GET /healthz HTTP/1.1\r\n{headers}\r\n\r\n");
    for (request, status) in [
        (whole(32 * 1024 + 1), "431 Request Header Fields Too Large"),
        (with("x: y"), "400 Bad Request"),
        (with("host: x\r\nhost: x"), "400 Bad Request"),
        (with("host: x y"), "400 Bad Request"),
        (with("host: x\r\ntransfer-encoding: gzip, chunked"), "501 Not Implemented"),
        (with("host: x\r\ntransfer-encoding: gzip"), "400 Bad Request"),
        ("GET /healthz HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(), "400 Bad Request"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET /\u{e9} HTTP/1.1\r\nhost: \r\r\n\r\n".to_owned(), "400 Bad Request"),
        (twice.to_owned(), "400 Bad Request"),
        (format!("GET /{long}{long} HTTP/1.1\r\n\r\n"), "431 Request Header Fields Too Large"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431 Request Header Fields Too Large"),
        (
            format!("GET / HTTP/1.1\r\na: {long}\r\nb: {long}\r\nc: {long}\r\n\r\n"),
            "431 Request Header Fields Too Large",
        ),
    ] {
        let answer = said_to(server.address, request.as_bytes()).await;
        let what = &request[..request.len().min(60)];
        let answer = answer.replacen("HTTP/1.0", "HTTP/1.1", 1);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{what}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{what}: {answer}");
    }
}

/// The error for an incomplete body does not say that the body is too large.
#[db_test]
async fn a_body_that_ends_before_its_length_is_refused(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let before = t.everything().await;
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"query\":",
        team.key
    );
    stream.write_all(head.as_bytes()).await.expect("the server reads the request");
    stream.shutdown().await.expect("it was open");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    if !answer.is_empty() {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\"BAD_USER_INPUT\""), "{answer}");
    }
    assert_eq!(t.everything().await, before);
}

/// The test covers each status of a refusal and several sizes of the body.
#[db_test]
async fn a_client_that_sends_a_large_body_first_still_receives_the_refusal(t: &TestApp) {
    let settings = http::Settings { has_sandbox: true, ..http::Settings::default() };
    let (team, server) = (t.team(1_000).await, t.serve_with(settings).await);
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let before = t.everything().await;
    let json = "content-type: application/json\r\n";
    let bearer = |key: &str| format!("authorization: Bearer {key}\r\n{json}");
    let (known, wrong) = (bearer(&team.key), bearer("tg_live_wrong"));
    let untyped = known.replace("json", "xml");
    let unacceptable = format!("{known}accept: text/html\r\n");
    let chunked = format!("{known}transfer-encoding: chunked\r\n");
    let expecting = format!("{wrong}expect: 100-continue\r\n");
    let two_hosts = format!("{known}host: y\r\n");
    for (line, headers, status) in [
        ("POST /graphql", known.clone(), 413),
        ("POST /graphql", chunked, 413),
        ("POST /graphql", json.to_owned(), 401),
        ("POST /graphql", wrong.clone(), 401),
        ("POST /graphql", expecting, 401),
        ("PUT /graphql", known.clone(), 405),
        ("POST /graphql", unacceptable, 406),
        ("POST /graphql", untyped, 415),
        ("POST /graphql", two_hosts, 400),
        ("POST /graphiql", json.to_owned(), 405),
        ("POST /healthz", json.to_owned(), 405),
        ("POST /elsewhere", json.to_owned(), 404),
        ("POST /sandbox/inbound", known, 413),
        ("POST /sandbox/inbound", json.to_owned(), 401),
        ("POST /sandbox/inbound", bearer(&test_key), 403),
        ("POST /graphql", wrong, 429),
    ] {
        for size in [300_000, 1_000_000, 8_000_000] {
            // Repeats the request until this address has reached its limit of invalid keys.
            while status == 429 && answered(server.address, line, &headers, 2).await != 429 {}
            let answer = answered(server.address, line, &headers, size).await;
            // The rate limit may have allowed one more invalid key in the meantime.
            assert!(answer == status || (status, answer) == (429, 401), "{line} {size} {headers}");
        }
    }
    assert_eq!(t.everything().await, before);
}

/// Sends a request with its whole body before reading anything. Returns the status of the response.
async fn answered(address: SocketAddr, line: &str, headers: &str, size: usize) -> u16 {
    let (length, chunk) = if headers.contains("chunked") {
        (String::new(), format!("{size:x}\r\n"))
    } else {
        (format!("content-length: {size}\r\n"), String::new())
    };
    let head = format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}{length}\r\n{chunk}");
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("it is read");
    stream.write_all(&b"x".repeat(size)).await.expect("it is read");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("a response");
    let status = std::str::from_utf8(&answer).expect("text").strip_prefix("HTTP/1.1 ");
    status.expect("a response").parse().expect("a status")
}

/// Bytes that the client sends after the refusal are read and discarded.
#[db_test]
async fn a_body_that_stops_is_refused_within_seconds_and_the_connection_closed(t: &TestApp) {
    let settings = http::Settings { has_sandbox: true, ..http::Settings::default() };
    let (team, server) = (t.team(1_000).await, t.serve_with(settings).await);
    let before = t.everything().await;
    for path in ["/graphql", "/sandbox/inbound"] {
        for expects in ["", "expect: 100-continue\r\n"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{expects}\
                 content-type: application/json\r\ncontent-length: 10000\r\n\r\n{{",
                team.key
            );
            let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
            stream.write_all(head.as_bytes()).await.expect("it is read");
            let mut answer = String::new();
            while !answer.contains("HTTP/1.1 503 ") {
                let byte = stream.read_u8().await.expect("a response");
                answer.push(char::from(byte));
            }
            stream.write_all(&[b' '; 9_999]).await.expect("it is read");
            stream.read_to_string(&mut answer).await.expect("the end, and no reset");
            assert!(answer.contains("\"UNAVAILABLE\""), "{answer}");
        }
    }
    assert_eq!(t.everything().await, before);
}

/// The metrics server has its own connections, but their limits are those of other connections.
#[db_test]
async fn metrics_are_served_on_a_few_connections_of_their_own(t: &TestApp) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let served = tokio::spawn(http::ops::metrics::serve(listener, t.app.clone()));
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let bad = b"GET /metrics HTTP/1.1\r\n\r\n";
    assert!(said_to(address, request).await.starts_with("HTTP/1.1 200 "));
    assert!(said_to(address, bad).await.starts_with("HTTP/1.1 400 "));

    let mut held = Vec::new();
    while held.len() < 32 {
        let mut stream = TcpStream::connect(address).await.expect("the server listens");
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        // If the server closes this connection, an earlier connection has not ended yet.
        if stream.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {
            held.push(stream);
        }
    }
    assert_eq!(said_to(address, request).await, "");
    drop(held);
    while !said_to(address, request).await.starts_with("HTTP/1.1 200 ") {
        tokio::task::yield_now().await;
    }
    served.abort();
}

/// Starts the demo with a limit on open files. `limit` contains the arguments of the shell's `ulimit`.
fn demo(limit: &str) -> (Running, SocketAddr) {
    let program = env!("CARGO_BIN_EXE_tollgate");
    let script = format!("ulimit {limit} && exec {program} demo --json --listen 127.0.0.1:0");
    let (running, started) = harness::demo(Command::new("sh").args(["-c", &script]));
    let url = text(&started["url"]);
    let address = url.trim_start_matches("http://").split('/').next().expect("an address");
    (running, address.parse().expect("an address"))
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_to_what_the_system_allows() {
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

/// Three quarters of the open files may be connections. The server accepts new connections after earlier ones have
/// ended.
#[tokio::test]
async fn one_address_uses_at_most_half_of_the_connections() {
    let (_server, address) = demo("-n 120");
    let connect = async |from: Ipv4Addr| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((IpAddr::V4(from), 0).into()).expect("an address of this machine");
        socket.connect(address).await.expect("the server listens")
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
        assert!(tries < 1_000, "no more connections are accepted");
    }
}
