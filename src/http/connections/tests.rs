//! A client at the other end of a connection, slow in every way, by a clock that does not wait.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const ASK: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";
const LONG_BYTES: usize = 1024 * 1024;

/// A client's end of a connection, whose buffers hold a kilobyte, and its token to stop it.
fn connect() -> (DuplexStream, CancellationToken) {
    let (near, stream) = duplex(1_024);
    let router = Router::new()
        .route("/short", get(async || "short"))
        .route("/long", get(async || "x".repeat(LONG_BYTES)))
        .route("/slow", post(async || sleep(ANSWER_DEADLINE * 10).await));
    let place = Shares::new(1, 1).take(None).expect("a place");
    let (stop, pace) = (CancellationToken::new(), Arc::default());
    let address = "203.0.113.7:4711".parse().expect("an address");
    let stream = Watched { stream, pace, _place: place };
    tokio::spawn(converse(stream, address, router, stop.clone()));
    (near, stop)
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
    let latest = deadline + LOOK_EVERY + Duration::from_secs(2);
    let is_within = found >= deadline && found <= latest;
    assert!(is_within, "{found:?} instead of {deadline:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_has_ten_seconds() {
    let (mut near, _stop) = connect();
    near.write_all(ASK).await.expect("it is read");
    sleep(LOOK_EVERY).await;
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
        sleep(REST_DEADLINE.saturating_sub(LOOK_EVERY)).await;
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
    let (_, taken) = end(&mut near, ANSWER_DEADLINE.saturating_sub(LOOK_EVERY)).await;
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
