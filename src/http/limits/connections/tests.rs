//! Slow clients and malformed requests on in-memory connections. The clock is paused.

use axum::{
    body::to_bytes,
    http::StatusCode,
    routing::{any, get, post},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::timeout,
};
use uuid::Uuid;

use super::{
    connection_state::{HEAD_TIMEOUT, IDLE_TIMEOUT, SMALL_BYTES, WRITE_TIMEOUT},
    guarded_stream::{
        DISCARD_BYTES_MAX, DISCARD_IDLE_TIMEOUT, DISCARD_TIMEOUT, DISCARDING_OF_PEER_MAX,
        HEADS_BYTES_OF_PEER_MAX, MESSAGES_BYTES_OF_TEAM_MAX, UNAUTHENTICATED_BYTES_MAX,
    },
    *,
};

const REQUEST: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";
const LONG_BYTES: usize = 1024 * 1024;

/// Opens a connection with buffers of 1 KiB. Returns the client's end and the token that stops the server.
fn connect() -> (DuplexStream, CancellationToken) {
    connect_with(&Arc::default())
}

/// Opens a connection like [`connect`] does, from one address and with these quotas.
fn connect_with(quotas: &Arc<ConnectionQuotas>) -> (DuplexStream, CancellationToken) {
    let (client, stream) = duplex(1_024);
    let router = Router::new()
        .route("/short", get(async || "short"))
        .route("/long", get(async || "x".repeat(LONG_BYTES)))
        .route("/slow", post(async || sleep(WRITE_TIMEOUT * 10).await))
        .route("/unread", any(async || StatusCode::UNAUTHORIZED))
        .route("/read", post(async |body| format!("{}", length(body).await)));
    let permit = Quota::new(1, 1).take(None).expect("a permit");
    let stop = CancellationToken::new();
    let address: SocketAddr = "203.0.113.7:4711".parse().expect("an address");
    let stream = GuardedStream::new(stream, Some(address.ip()), permit, Arc::clone(quotas));
    tokio::spawn(serve_connection(stream, address, router, stop.clone()));
    (client, stop)
}

async fn length(body: Body) -> usize {
    to_bytes(body, LONG_BYTES).await.expect("a body").len()
}

/// Starts reading after `delay`. Returns the time until the connection is closed, and the number of received bytes.
async fn read_to_close(client: &mut DuplexStream, delay: Duration) -> (Duration, usize) {
    let started = Instant::now();
    sleep(delay).await;
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes).await;
    (started.elapsed(), bytes.len())
}

/// Checks that `found` is not before `deadline` and not too long after it. The tolerance is the server's poll interval
/// plus two seconds for the client's own steps.
#[track_caller]
fn assert_within(found: Duration, deadline: Duration) {
    let latest = deadline + POLL_INTERVAL + Duration::from_secs(2);
    let is_within = found >= deadline && found <= latest;
    assert!(is_within, "{found:?} instead of {deadline:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_sent_byte_by_byte_times_out_after_ten_seconds() {
    let (mut client, _stop) = connect();
    client.write_all(REQUEST).await.expect("the server reads");
    sleep(POLL_INTERVAL).await;
    let started = Instant::now();
    for byte in REQUEST.iter().cycle() {
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(900)).await;
        assert!(started.elapsed() < IDLE_TIMEOUT, "the connection is not closed");
    }
    assert_within(started.elapsed(), HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_head_times_out_after_ten_seconds() {
    let (mut client, _stop) = connect();
    client.write_all(&REQUEST[..20]).await.expect("the server reads");
    assert_within(read_to_close(&mut client, Duration::ZERO).await.0, HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays_open_until_its_timeout() {
    let (mut client, _stop) = connect();
    for _ in 0..3 {
        sleep(IDLE_TIMEOUT.saturating_sub(POLL_INTERVAL)).await;
        client.write_all(REQUEST).await.expect("the server reads");
        let mut answer = [0; 1_024];
        let count = client.read(&mut answer).await.expect("a response");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("short"), "{answer}");
    }
    assert_within(read_to_close(&mut client, Duration::ZERO).await.0, IDLE_TIMEOUT);
    let (mut silent, _stop) = connect();
    assert_within(read_to_close(&mut silent, Duration::ZERO).await.0, IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_too_slowly_is_aborted() {
    let (mut client, _stop) = connect();
    client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    // A client that reads 1 KiB a second is not idle, but too slow.
    let started = Instant::now();
    let (mut taken, mut bytes) = (0, [0; 1_024]);
    loop {
        sleep(Duration::from_secs(1)).await;
        match client.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => taken += count,
        }
    }
    assert_within(started.elapsed(), WRITE_TIMEOUT);
    assert!(taken < LONG_BYTES / 4, "{taken}");

    let (mut client, _stop) = connect();
    client
        .write_all(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("the server reads");
    let (_, taken) = read_to_close(&mut client, WRITE_TIMEOUT.saturating_sub(POLL_INTERVAL)).await;
    assert!(taken > LONG_BYTES, "a client within the time limit gets everything: {taken}");
}

#[tokio::test(start_paused = true)]
async fn a_running_handler_has_no_timeout() {
    let (mut client, _stop) = connect();
    client
        .write_all(
            b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        )
        .await
        .expect("the server reads");
    let (waited, bytes) = read_to_close(&mut client, Duration::ZERO).await;
    assert_eq!(waited, WRITE_TIMEOUT * 10);
    assert!(bytes > 0);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_closes_idle_connections_and_finishes_requests() {
    let (mut idle, stop) = connect();
    tokio::task::yield_now().await;
    stop.cancel();
    assert_eq!(read_to_close(&mut idle, Duration::ZERO).await, (Duration::ZERO, 0));

    let (mut working, stop) = connect();
    working
        .write_all(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        .await
        .expect("the server reads");
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let (waited, bytes) = read_to_close(&mut working, Duration::ZERO).await;
    assert_eq!(waited + Duration::from_secs(1), WRITE_TIMEOUT * 10);
    assert!(bytes > 0);
}

/// Sends a request whose body the server does not read, and returns the response. Like many clients, this client reads
/// nothing until it has sent everything.
async fn send_unread(client: &mut DuplexStream, head: &str, mut body: usize) -> String {
    let head = format!("{head}\r\nhost: x\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("the server reads");
    while body > 0 {
        let part = body.min(64 * 1024);
        client.write_all(&b"x".repeat(part)).await.expect("the server reads");
        body -= part;
    }
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("a response");
    String::from_utf8(answer).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_refusal_arrives_even_if_its_request_was_not_read() {
    let length = |bytes: usize| format!("POST /unread HTTP/1.1\r\ncontent-length: {bytes}");
    let chunked = "POST /unread HTTP/1.1\r\ntransfer-encoding: chunked".to_owned();
    let expecting = format!("{}\r\nexpect: 100-continue", length(8_000_000));
    let older = "POST /unread HTTP/1.0\r\ncontent-length: 8000000".to_owned();
    let large = format!("GET /short HTTP/1.1\r\nx: {}", "x".repeat(HEAD_BYTES_MAX));
    let twice = "POST /unread HTTP/1.1\r\nhost: y\r\ncontent-length: 8000000".to_owned();
    for (head, body, status) in [
        (length(200_000), 200_000, 401),
        (length(8_000_000), 8_000_000, 401),
        (length(8_000_000), 1, 401),
        (chunked, 8_000_000, 401),
        (expecting, 8_000_000, 401),
        (older, 8_000_000, 401),
        (large, 8_000_000, 431),
        (twice, 8_000_000, 400),
        (length(2), 2, 401),
        // Bytes that arrive later could belong to the rest of this body or to the next request.
        (length(8_000), 1, 401),
    ] {
        let (mut client, _stop) = connect();
        let answer = send_unread(&mut client, &head, body).await;
        let what = &head[..60.min(head.len())];
        assert!(answer.starts_with("HTTP/1.") && answer[9..].starts_with(&status.to_string()));
        let says_close = answer.contains("connection: close\r\n") || head.contains("HTTP/1.0");
        assert!(says_close, "{what}: {answer}");
    }
    // The connection stays open if there is no unread input.
    let (mut client, _stop) = connect();
    for _ in 0..2 {
        client
            .write_all(b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("the server reads");
        let mut answer = [0; 1_024];
        let count = client.read(&mut answer).await.expect("a response");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("close"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn discarding_unread_input_is_limited() {
    let unread = "POST /unread HTTP/1.1\r\ncontent-length: 100000000";
    let tick = Duration::from_millis(100);
    let before = DISCARD_IDLE_TIMEOUT.saturating_sub(tick);
    for (idle, is_open) in [(before, true), (DISCARD_IDLE_TIMEOUT + tick, false)] {
        let (mut client, _stop) = connect();
        send_unread(&mut client, unread, 1).await;
        sleep(idle).await;
        assert_eq!(client.write_all(b"x").await.is_ok(), is_open);
    }
    let (mut client, _stop) = connect();
    send_unread(&mut client, unread, 1).await;
    let started = Instant::now();
    while client.write_all(b"x").await.is_ok() {
        sleep(tick).await;
    }
    assert!(started.elapsed().abs_diff(DISCARD_TIMEOUT) <= tick, "{:?}", started.elapsed());
    let (mut client, _stop) = connect();
    send_unread(&mut client, unread, DISCARD_BYTES_MAX / 2).await;
    assert!(client.write_all(&vec![0; DISCARD_BYTES_MAX / 4]).await.is_ok());
    assert!(client.write_all(&vec![0; DISCARD_BYTES_MAX / 2]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn too_many_connections_with_unread_input_are_closed_immediately() {
    let unread = "POST /unread HTTP/1.1\r\ncontent-length: 100000000";
    let quotas = Arc::default();
    let mut discarding = Vec::new();
    for at in 0..=DISCARDING_OF_PEER_MAX {
        let (mut client, _stop) = connect_with(&quotas);
        send_unread(&mut client, unread, 1).await;
        assert_eq!(client.write_all(b"x").await.is_ok(), at < DISCARDING_OF_PEER_MAX);
        discarding.push(client);
    }
    drop(discarding);
    sleep(DISCARD_IDLE_TIMEOUT).await;
    let (mut client, _stop) = connect_with(&quotas);
    send_unread(&mut client, unread, 1).await;
    assert!(client.write_all(b"x").await.is_ok());
    // The server has read this request completely.
    let (mut client, _stop) = connect_with(&quotas);
    client
        .write_all(b"GET /short HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("the server reads");
    read_to_close(&mut client, Duration::ZERO).await;
    assert!(client.write_all(b"x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_large_head_closes_its_connection_and_a_body_does_not() {
    for (bytes, ends) in [(SMALL_BYTES / 2, false), (SMALL_BYTES + 1_024, true)] {
        let (mut client, _stop) = connect();
        let head = format!("GET /short HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(bytes));
        client.write_all(head.as_bytes()).await.expect("the server reads");
        let mut answer = [0; 1_024];
        let count = client.read(&mut answer).await.expect("a response");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(answer.contains("connection: close\r\n"), ends, "{answer}");
        assert_eq!(client.write_all(REQUEST).await.is_err(), ends);
    }
    let (mut client, _stop) = connect();
    for bytes in [1, 200_000, 8_191, 8_192, 8_193] {
        let head = format!("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("the server reads");
        client.write_all(&b"x".repeat(bytes)).await.expect("the server reads");
        let mut answer = [0; 1_024];
        let count = client.read(&mut answer).await.expect("a response");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.ends_with(&format!("\r\n\r\n{bytes}")), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_unfinished_heads_are_limited_until_they_are_complete() {
    const BEGINNING: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\nx: ";
    const FILLER: usize = 30_000;
    let quotas = Arc::default();
    let begin = async || {
        let (mut client, _stop) = connect_with(&quotas);
        client.write_all(BEGINNING).await.expect("the server reads");
        client.write_all(&b"x".repeat(FILLER)).await.expect("the server reads");
        let mut answer = [0; 1_024];
        match timeout(Duration::from_millis(1), client.read(&mut answer)).await {
            Err(_) => Ok(client),
            Ok(count) => Err(answer[..count.expect("a response")].to_vec()),
        }
    };
    let mut held = Vec::new();
    let refused = loop {
        match begin().await {
            Ok(client) => held.push(client),
            Err(refused) => break String::from_utf8(refused).expect("text"),
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    assert_eq!(held.len(), HEADS_BYTES_OF_PEER_MAX / (BEGINNING.len() + FILLER));
    let (mut small, _stop) = connect_with(&quotas);
    small.write_all(REQUEST).await.expect("the server reads");
    assert!(small.read(&mut [0; 1_024]).await.expect("a response") > 0);
    let mut complete = held.pop().expect("one of many");
    complete.write_all(b"\r\n\r\n").await.expect("the server reads");
    assert!(read_to_close(&mut complete, Duration::ZERO).await.1 > 0);
    let mut next = begin().await.expect("the server reads");
    next.write_all(b"\r\n\r\n").await.expect("the server reads");
    assert!(read_to_close(&mut next, Duration::ZERO).await.1 > 0);
}

/// Sends this many bytes to the WebSocket. Returns whether the server accepts them.
async fn accepts(
    socket: &mut GuardedStream<DuplexStream>,
    client: &mut DuplexStream,
    bytes: usize,
) -> bool {
    let send = async {
        let _ = client.write_all(&vec![0; bytes]).await;
    };
    let mut read = vec![0; bytes];
    let (read, ()) = tokio::join!(socket.read_exact(&mut read), send);
    read.is_ok()
}

/// The bytes of a large message count against the team's quota until the message's buffer is freed.
#[tokio::test]
async fn the_bytes_of_websocket_messages_are_limited() {
    let quotas: Arc<ConnectionQuotas> = Arc::default();
    let socket = |team: Option<u128>| {
        // Everything fits into the buffer, so no write has to wait.
        let (client, stream) = duplex(LONG_BYTES);
        let permit = Quota::new(1, 1).take(None).expect("a permit");
        let socket = GuardedStream::new(stream, None, permit, Arc::clone(&quotas));
        socket.state().end_request(StatusCode::SWITCHING_PROTOCOLS);
        if let Some(team) = team {
            socket.state().note_team(Some(Uuid::from_u128(team)));
        }
        (socket, client)
    };
    let (mut unauthenticated, mut client) = socket(None);
    assert!(accepts(&mut unauthenticated, &mut client, UNAUTHENTICATED_BYTES_MAX).await);
    assert!(!accepts(&mut unauthenticated, &mut client, 1).await);

    let mut held = Vec::new();
    for _ in 0..MESSAGES_BYTES_OF_TEAM_MAX / LONG_BYTES {
        let (mut hot, mut client) = socket(Some(1));
        // The second message uses the buffer of the first.
        for _ in 0..2 {
            assert!(accepts(&mut hot, &mut client, LONG_BYTES).await);
            hot.state().note_message();
        }
        held.push((hot, client));
    }
    let (mut late, mut client) = socket(Some(1));
    assert!(accepts(&mut late, &mut client, SMALL_BYTES).await);
    assert!(!accepts(&mut late, &mut client, 1).await);
    let (mut other, mut client) = socket(Some(2));
    assert!(accepts(&mut other, &mut client, LONG_BYTES).await);
    let (hot, client) = &mut held[0];
    assert!(accepts(hot, client, SMALL_BYTES + 1).await);
    assert!(!hot.state().release_message(), "the next message is incomplete");
    hot.state().note_message();
    assert!(hot.state().release_message());
    let (mut next, mut client) = socket(Some(1));
    assert!(accepts(&mut next, &mut client, LONG_BYTES).await);
}
