//! Bodies that arrive in various ways. The clock is paused.

use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::HttpBody;
use futures_util::{FutureExt as _, future::join_all, stream};
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

use super::*;
use crate::graphql::errors::code_of;

const KIB: usize = 1024;
const LIMIT: usize = 256 * KIB;

/// Returns a body whose parts each arrive after a delay in milliseconds.
fn parts(parts: impl IntoIterator<Item = (u64, usize)>) -> Body {
    let parts: Vec<(u64, usize)> = parts.into_iter().collect();
    Body::from_stream(stream::unfold(parts.into_iter(), async |mut parts| {
        let (millis, bytes) = parts.next()?;
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
        Some((Ok::<_, axum::Error>(vec![b'x'; bytes]), parts))
    }))
}

/// A body with a declared length.
struct Declared(Body, u64);

impl HttpBody for Declared {
    type Data = <Body as HttpBody>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

fn declared(bytes: u64, body: Body) -> Body {
    Body::new(Declared(body, bytes))
}

/// Returns a body whose first bytes have arrived and whose rest never arrives.
fn unfinished(bytes: usize) -> Body {
    let first = stream::once(async move { Ok::<_, axum::Error>(vec![b'x'; bytes]) });
    Body::from_stream(futures_util::StreamExt::chain(first, stream::once(pending())))
}

/// Receives a body. Returns the body's length or the code of the error, and the time that receiving took.
async fn received(
    bodies: &Bodies,
    (key, team): (u128, u128),
    body: Body,
) -> (Result<usize, Code>, Duration) {
    let started = Instant::now();
    let until = started + Duration::from_secs(10);
    let (key, team) = (Uuid::from_u128(key), Some(Uuid::from_u128(team)));
    let received = bodies.receive(key, team, body, LIMIT, until).await;
    let received = received.map(|body| body.len());
    (received.map_err(|refused| code_of(&refused).expect("a code")), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_too_slowly_is_refused() {
    let bodies = Bodies::default();
    let seconds = Duration::from_secs;
    for (what, body, expected, after) in [
        ("immediately", Body::from("x".repeat(LIMIT)), Ok(LIMIT), seconds(0)),
        (
            "one byte too many",
            Body::from("x".repeat(LIMIT + 1)),
            Err(Code::PayloadTooLarge),
            seconds(0),
        ),
        ("too many by parts", parts([(0, LIMIT), (0, 1)]), Err(Code::PayloadTooLarge), seconds(0)),
        ("small and slow", parts([(600, 100); 3]), Ok(300), Duration::from_millis(1_800)),
        ("byte by byte", parts([(100, 1); 1_000]), Err(Code::Unavailable), seconds(4)),
        ("never", unfinished(1), Err(Code::Unavailable), seconds(4)),
        ("not beyond its first part", unfinished(100 * KIB), Err(Code::Unavailable), seconds(4)),
        (
            "nothing in the first two seconds",
            parts([(1_900, 1), (1_000, 3 * KIB)]),
            Ok(3 * KIB + 1),
            Duration::from_millis(2_900),
        ),
        (
            "short, and late",
            declared(600, parts([(0, 1), (4_900, 599)])),
            Ok(600),
            Duration::from_millis(4_900),
        ),
        ("short, and never", declared(600, unfinished(599)), Err(Code::Unavailable), seconds(5)),
        (
            "short, byte by byte",
            declared(4 * 1_024 - 1, parts([(100, 1); 1_000])),
            Err(Code::Unavailable),
            seconds(5),
        ),
        (
            "not short",
            declared(4 * 1_024, parts([(100, 1); 1_000])),
            Err(Code::Unavailable),
            seconds(4),
        ),
        ("a kilobyte a second", parts([(990, KIB); 8]), Ok(8 * KIB), Duration::from_millis(7_920)),
        ("a little less", parts([(1_000, KIB - 1); 8]), Err(Code::Unavailable), seconds(4)),
        ("too long", parts([(1_000, 2 * KIB); 20]), Err(Code::Unavailable), seconds(10)),
        ("in many parts", parts(vec![(0, 1); PARTS_MAX]), Ok(PARTS_MAX), seconds(0)),
        ("in too many", parts(vec![(0, 1); PARTS_MAX + 1]), Err(Code::BadUserInput), seconds(0)),
    ] {
        let (received, took) = received(&bodies, (1, 1), body).await;
        assert_eq!(received, expected, "{what}");
        // Timers have a resolution of milliseconds.
        assert!(took.abs_diff(after) < Duration::from_millis(50), "{what}: {took:?}");
    }
}

/// A body that arrives together with the request's head needs no permit.
#[tokio::test(start_paused = true)]
async fn the_bodies_in_transit_of_a_key_and_of_a_team_are_limited() {
    let bodies = Bodies::default();
    let slow = || parts([(1_000, 1)]);
    let immediately = TRANSIT_AFTER + Duration::from_millis(1);
    let hot = (0..=AWAITED_OF_KEY_MAX).map(|_| received(&bodies, (1, 1), slow()));
    let second = (0..AWAITED_OF_KEY_MAX).map(|_| received(&bodies, (2, 1), slow()));
    let after = async {
        sleep(Duration::from_millis(500)).await;
        assert_eq!(received(&bodies, (1, 1), Body::from("x")).await.0, Ok(1));
        let (of_team, took) = received(&bodies, (3, 1), slow()).await;
        assert!(of_team == Err(Code::Unavailable) && took <= immediately, "{took:?}");
        assert_eq!(received(&bodies, (4, 2), slow()).await.0, Ok(1));
    };

    let (hot, second, ()) = tokio::join!(join_all(hot), join_all(second), after);

    let refused = hot.iter().filter(|(body, took)| body.is_err() && *took <= immediately).count();
    assert_eq!(refused, 1);
    assert!(second.iter().all(|(body, _)| *body == Ok(1)));
    assert_eq!(received(&bodies, (3, 1), slow()).await.0, Ok(1));
}

/// The bytes of a body count against the quota until the body is dropped. Small bodies are not counted.
#[tokio::test(start_paused = true)]
async fn the_bytes_of_bodies_are_limited() {
    let bodies = Bodies::default();
    let until = Instant::now() + Duration::from_secs(10);
    let receive = |team: u128, bytes: usize| {
        let (key, body) = (Uuid::from_u128(team), Body::from("x".repeat(bytes)));
        let received = bodies.receive(key, Some(key), body, LIMIT, until);
        received.now_or_never().expect("the body has arrived")
    };
    let mut held = Vec::new();
    for team in [1, 2] {
        for _ in 0..HELD_BYTES_OF_TEAM_MAX / LIMIT {
            held.push(receive(team, LIMIT).expect("within the quota"));
        }
        assert!(receive(team, BYTES_UNCOUNTED).is_ok());
        assert!(receive(team, BYTES_UNCOUNTED + 1).is_err());
    }
    assert!(receive(3, BYTES_UNCOUNTED + 1).is_err());
    held.pop();
    assert!(receive(3, LIMIT).is_ok() && receive(1, LIMIT).is_err());
    held.clear();
    assert!(receive(1, LIMIT).is_ok());
}
