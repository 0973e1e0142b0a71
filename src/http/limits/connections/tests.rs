//! A client at the other end of a connection, slow in every way, by a clock that does not wait.

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
    pace::SMALL_BYTES,
    stream::{
        HEADS_BYTES_OF_PEER_MAX, LINGER_BYTES, LINGER_DEADLINE, LINGER_SILENCE,
        LINGERING_OF_PEER_MAX, MESSAGES_BYTES_OF_TEAM_MAX, UNKNOWN_BYTES_MAX,
    },
    *,
};

const ASK: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";
const LONG_BYTES: usize = 1024 * 1024;

/// A client's end of a connection, whose buffers hold a kilobyte, and its token to stop it.
fn connect() -> (DuplexStream, CancellationToken) {
    connect_among(&Arc::default())
}

/// The same, of one address's connections that share these allowances.
fn connect_among(allowances: &Arc<Allowances>) -> (DuplexStream, CancellationToken) {
    let (near, stream) = duplex(1_024);
    let router = Router::new()
        .route("/short", get(async || "short"))
        .route("/long", get(async || "x".repeat(LONG_BYTES)))
        .route("/slow", post(async || sleep(ANSWER_DEADLINE * 10).await))
        .route("/unread", any(async || StatusCode::UNAUTHORIZED))
        .route("/read", post(async |body| format!("{}", length(body).await)));
    let place = Quota::new(1, 1).take(None).expect("a place");
    let stop = CancellationToken::new();
    let address: SocketAddr = "203.0.113.7:4711".parse().expect("an address");
    let stream = GuardedStream::new(stream, Some(address.ip()), place, Arc::clone(allowances));
    tokio::spawn(converse(stream, address, router, stop.clone()));
    (near, stop)
}

async fn length(body: Body) -> usize {
    to_bytes(body, LONG_BYTES).await.expect("a body").len()
}

/// How long it takes until the connection is closed; what comes is not taken before `late`.
async fn end(near: &mut DuplexStream, late: Duration) -> (Duration, usize) {
    let begun = Instant::now();
    sleep(late).await;
    let mut bytes = Vec::new();
    let _ = near.read_to_end(&mut bytes).await;
    (begun.elapsed(), bytes.len())
}

/// As exact as the looks, and as the client's own, of a second or two.
#[track_caller]
fn assert_within(found: Duration, deadline: Duration) {
    let latest = deadline + POLL_INTERVAL + Duration::from_secs(2);
    let is_within = found >= deadline && found <= latest;
    assert!(is_within, "{found:?} instead of {deadline:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_has_ten_seconds() {
    let (mut near, _stop) = connect();
    near.write_all(ASK).await.expect("it is read");
    sleep(POLL_INTERVAL).await;
    let begun = Instant::now();
    for byte in ASK.iter().cycle() {
        if near.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(900)).await;
        assert!(begun.elapsed() < REST_DEADLINE, "it goes on for ever");
    }
    assert_within(begun.elapsed(), HEAD_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_has_ten_seconds() {
    let (mut near, _stop) = connect();
    near.write_all(&ASK[..20]).await.expect("it is read");
    assert_within(end(&mut near, Duration::ZERO).await.0, HEAD_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_may_rest_and_ask_again() {
    let (mut near, _stop) = connect();
    for _ in 0..3 {
        sleep(REST_DEADLINE.saturating_sub(POLL_INTERVAL)).await;
        near.write_all(ASK).await.expect("it is read");
        let mut answer = [0; 1_024];
        let count = near.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("short"), "{answer}");
    }
    assert_within(end(&mut near, Duration::ZERO).await.0, REST_DEADLINE);
    let (mut silent, _stop) = connect();
    assert_within(end(&mut silent, Duration::ZERO).await.0, REST_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_is_given_up() {
    let (mut near, _stop) = connect();
    near.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
    // A kilobyte a second: not that it takes nothing ends it, but that it takes too long.
    let begun = Instant::now();
    let (mut taken, mut bytes) = (0, [0; 1_024]);
    loop {
        sleep(Duration::from_secs(1)).await;
        match near.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => taken += count,
        }
    }
    assert_within(begun.elapsed(), ANSWER_DEADLINE);
    assert!(taken < LONG_BYTES / 4, "{taken}");

    let (mut near, _stop) = connect();
    near.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("it is read");
    let (_, taken) = end(&mut near, ANSWER_DEADLINE.saturating_sub(POLL_INTERVAL)).await;
    assert!(taken > LONG_BYTES, "whoever is in time gets all: {taken}");
}

#[tokio::test(start_paused = true)]
async fn what_is_worked_on_is_waited_for() {
    let (mut near, _stop) = connect();
    near.write_all(
        b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await
    .expect("it is read");
    let (waited, bytes) = end(&mut near, Duration::ZERO).await;
    assert_eq!(waited, ANSWER_DEADLINE * 10);
    assert!(bytes > 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_closes_what_rests_and_answers_what_was_begun() {
    let (mut resting, stop) = connect();
    tokio::task::yield_now().await;
    stop.cancel();
    assert_eq!(end(&mut resting, Duration::ZERO).await, (Duration::ZERO, 0));

    let (mut working, stop) = connect();
    working
        .write_all(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        .await
        .expect("it is read");
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let (waited, bytes) = end(&mut working, Duration::ZERO).await;
    assert_eq!(waited + Duration::from_secs(1), ANSWER_DEADLINE * 10);
    assert!(bytes > 0);
}

/// Sends a request of so many bytes, of which nothing is read, and gives the answer. It reads nothing before it has
/// sent all, as many clients do.
async fn ask_unread(near: &mut DuplexStream, head: &str, mut body: usize) -> String {
    let head = format!("{head}\r\nhost: x\r\n\r\n");
    near.write_all(head.as_bytes()).await.expect("it is read");
    while body > 0 {
        let part = body.min(64 * 1024);
        near.write_all(&b"x".repeat(part)).await.expect("it is read");
        body -= part;
    }
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8(answer).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_refusal_arrives_whatever_is_left_of_its_request() {
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
        // The rest of the body, or the next request: nobody can tell once the answer is there.
        (length(8_000), 1, 401),
    ] {
        let (mut near, _stop) = connect();
        let answer = ask_unread(&mut near, &head, body).await;
        let what = &head[..60.min(head.len())];
        assert!(answer.starts_with("HTTP/1.") && answer[9..].starts_with(&status.to_string()));
        let is_said = answer.contains("connection: close\r\n") || head.contains("HTTP/1.0");
        assert!(is_said, "{what}: {answer}");
    }
    // The connection goes on where nothing is left.
    let (mut near, _stop) = connect();
    for _ in 0..2 {
        near.write_all(b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("it is read");
        let mut answer = [0; 1_024];
        let count = near.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("close"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_lingers_only_so_long() {
    let unread = "POST /unread HTTP/1.1\r\ncontent-length: 100000000";
    let tick = Duration::from_millis(100);
    let before = LINGER_SILENCE.saturating_sub(tick);
    for (silence, is_there) in [(before, true), (LINGER_SILENCE + tick, false)] {
        let (mut near, _stop) = connect();
        ask_unread(&mut near, unread, 1).await;
        sleep(silence).await;
        assert_eq!(near.write_all(b"x").await.is_ok(), is_there);
    }
    let (mut near, _stop) = connect();
    ask_unread(&mut near, unread, 1).await;
    let begun = Instant::now();
    while near.write_all(b"x").await.is_ok() {
        sleep(tick).await;
    }
    assert!(begun.elapsed().abs_diff(LINGER_DEADLINE) <= tick, "{:?}", begun.elapsed());
    let (mut near, _stop) = connect();
    ask_unread(&mut near, unread, LINGER_BYTES / 2).await;
    assert!(near.write_all(&vec![0; LINGER_BYTES / 4]).await.is_ok());
    assert!(near.write_all(&vec![0; LINGER_BYTES / 2]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn so_many_connections_linger_and_others_are_closed_at_once() {
    let unread = "POST /unread HTTP/1.1\r\ncontent-length: 100000000";
    let allowances = Arc::default();
    let mut lingering = Vec::new();
    for at in 0..=LINGERING_OF_PEER_MAX {
        let (mut near, _stop) = connect_among(&allowances);
        ask_unread(&mut near, unread, 1).await;
        assert_eq!(near.write_all(b"x").await.is_ok(), at < LINGERING_OF_PEER_MAX);
        lingering.push(near);
    }
    drop(lingering);
    sleep(LINGER_SILENCE).await;
    let (mut near, _stop) = connect_among(&allowances);
    ask_unread(&mut near, unread, 1).await;
    assert!(near.write_all(b"x").await.is_ok());
    // Nothing is left of this one.
    let (mut near, _stop) = connect_among(&allowances);
    near.write_all(b"GET /short HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("it is read");
    end(&mut near, Duration::ZERO).await;
    assert!(near.write_all(b"x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_large_head_ends_its_connection_and_a_body_is_read_whole() {
    for (bytes, ends) in [(SMALL_BYTES / 2, false), (SMALL_BYTES + 1_024, true)] {
        let (mut near, _stop) = connect();
        let head = format!("GET /short HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(bytes));
        near.write_all(head.as_bytes()).await.expect("it is read");
        let mut answer = [0; 1_024];
        let count = near.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(answer.contains("connection: close\r\n"), ends, "{answer}");
        assert_eq!(near.write_all(ASK).await.is_err(), ends);
    }
    let (mut near, _stop) = connect();
    for bytes in [1, 200_000, 8_191, 8_192, 8_193] {
        let head = format!("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
        near.write_all(head.as_bytes()).await.expect("it is read");
        near.write_all(&b"x".repeat(bytes)).await.expect("it is read");
        let mut answer = [0; 1_024];
        let count = near.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.ends_with(&format!("\r\n\r\n{bytes}")), "{answer}");
    }
}

/// What is held of heads is bounded for one address, and given back once they are whole.
#[tokio::test(start_paused = true)]
async fn unfinished_heads_have_a_bound() {
    const BEGINNING: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\nx: ";
    const REST: usize = 30_000;
    let allowances = Arc::default();
    let begin = async || {
        let (mut near, _stop) = connect_among(&allowances);
        near.write_all(BEGINNING).await.expect("it is read");
        near.write_all(&b"x".repeat(REST)).await.expect("it is read");
        let mut answer = [0; 1_024];
        match timeout(Duration::from_millis(1), near.read(&mut answer)).await {
            Err(_) => Ok(near),
            Ok(count) => Err(answer[..count.expect("an answer")].to_vec()),
        }
    };
    let mut held = Vec::new();
    let refused = loop {
        match begin().await {
            Ok(near) => held.push(near),
            Err(refused) => break String::from_utf8(refused).expect("text"),
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    assert_eq!(held.len(), HEADS_BYTES_OF_PEER_MAX / (BEGINNING.len() + REST));
    let (mut small, _stop) = connect_among(&allowances);
    small.write_all(ASK).await.expect("it is read");
    assert!(small.read(&mut [0; 1_024]).await.expect("an answer") > 0);
    let mut whole = held.pop().expect("one of many");
    whole.write_all(b"\r\n\r\n").await.expect("it is read");
    assert!(end(&mut whole, Duration::ZERO).await.1 > 0);
    let mut next = begin().await.expect("it is read");
    next.write_all(b"\r\n\r\n").await.expect("it is read");
    assert!(end(&mut next, Duration::ZERO).await.1 > 0);
}

/// Reads all that the other end says; whether it may say so much.
async fn takes(
    socket: &mut GuardedStream<DuplexStream>,
    near: &mut DuplexStream,
    bytes: usize,
) -> bool {
    let said = async {
        let _ = near.write_all(&vec![0; bytes]).await;
    };
    let mut read = vec![0; bytes];
    let (read, ()) = tokio::join!(socket.read_exact(&mut read), said);
    read.is_ok()
}

/// A message that a socket sends is held for its team, and its buffer as well until it is gone.
#[tokio::test]
async fn messages_of_sockets_have_a_bound() {
    let allowances: Arc<Allowances> = Arc::default();
    let socket = |team: Option<u128>| {
        // All that is said fits, so that nobody waits.
        let (near, stream) = duplex(LONG_BYTES);
        let place = Quota::new(1, 1).take(None).expect("a place");
        let socket = GuardedStream::new(stream, None, place, Arc::clone(&allowances));
        socket.pace().end(StatusCode::SWITCHING_PROTOCOLS);
        if let Some(team) = team {
            socket.pace().note_team(Some(Uuid::from_u128(team)));
        }
        (socket, near)
    };
    let (mut stranger, mut near) = socket(None);
    assert!(takes(&mut stranger, &mut near, UNKNOWN_BYTES_MAX).await);
    assert!(!takes(&mut stranger, &mut near, 1).await);

    let mut held = Vec::new();
    for _ in 0..MESSAGES_BYTES_OF_TEAM_MAX / LONG_BYTES {
        let (mut hot, mut near) = socket(Some(1));
        // The second message goes into the buffer of the first.
        for _ in 0..2 {
            assert!(takes(&mut hot, &mut near, LONG_BYTES).await);
            hot.pace().note_message();
        }
        held.push((hot, near));
    }
    let (mut late, mut near) = socket(Some(1));
    assert!(takes(&mut late, &mut near, SMALL_BYTES).await);
    assert!(!takes(&mut late, &mut near, 1).await);
    let (mut other, mut near) = socket(Some(2));
    assert!(takes(&mut other, &mut near, LONG_BYTES).await);
    let (hot, near) = &mut held[0];
    assert!(takes(hot, near, SMALL_BYTES + 1).await);
    assert!(!hot.pace().give_back(), "the next message is not whole");
    hot.pace().note_message();
    assert!(hot.pace().give_back());
    let (mut next, mut near) = socket(Some(1));
    assert!(takes(&mut next, &mut near, LONG_BYTES).await);
}
