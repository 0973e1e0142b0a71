//! Tests the limits of the queue in messages and bytes, and the turns of the teams.

use entity::{api_key::Environment, message::Channel};

use super::*;
use crate::{
    domain::{
        billing::Draft,
        channel::{content::Content, recipient::Recipient, schedule::Schedule},
    },
    money::Micros,
};

const HOT: u128 = 1;
const OTHER: u128 = 2;
const THIRD: u128 = 3;

fn caller(team: u128) -> AccountCaller {
    AccountCaller {
        key_id: Uuid::from_u128(team),
        team_id: Uuid::from_u128(team),
        account_id: Uuid::from_u128(team),
        environment: Environment::Live,
        is_sub_account: false,
    }
}

/// Creates a message with this many bytes of content. Up to two of them are metadata.
fn message(bytes: usize) -> PricedMessage {
    let metadata = "{}".get(..bytes.min(2)).map(str::to_owned);
    let text = "x".repeat(bytes.saturating_sub(2));
    let recipient =
        Recipient { channel: Channel::Email, address: "a@example.com".to_owned(), country: None };
    let draft = Draft {
        recipient,
        contact_id: None,
        content: Content { text, ..Content::default() },
        origin: None,
        segments: 1,
        cost: Ok(Micros::ZERO),
        simulated: None,
    };
    PricedMessage {
        draft: Ok(draft),
        metadata,
        schedule: Schedule::default(),
        idempotency_key: None,
        input_hash: Vec::new(),
    }
}

fn push(queue: &Queue, team: u128, sizes: &[usize]) -> Result<Vec<Waiting>, Unavailable> {
    let messages = sizes.iter().map(|bytes| message(*bytes)).collect();
    let deadline = Deadline::until(Instant::now() + Duration::from_mins(1));
    queue.push(&caller(team), messages, &deadline)
}

/// Takes the next batch, and returns the team and the size of each message.
async fn next(queue: &Queue) -> Vec<(u128, usize)> {
    let batch = queue.next_batch().await.expect("a batch");
    let taken = batch.iter().map(|entry| {
        let SendRequest { caller, message } = &entry.request;
        (caller.team_id.as_u128(), message.bytes())
    });
    taken.collect()
}

#[tokio::test]
async fn a_batch_has_at_most_256_messages_and_8_mebibytes() {
    let queue = Queue::default();
    let half = BATCH_BYTES_MAX / 2;
    let _waiting = push(&queue, HOT, &[1; BATCH_MAX + 1]).expect("it fits");
    assert_eq!(next(&queue).await.len(), BATCH_MAX);
    assert_eq!(next(&queue).await, [(HOT, 1)]);

    let _waiting = push(&queue, HOT, &[half, half, 1]).expect("it fits");
    assert_eq!(next(&queue).await, [(HOT, half), (HOT, half)]);
    assert_eq!(next(&queue).await, [(HOT, 1)]);
    let _waiting = push(&queue, HOT, &[half, half + 1, 1]).expect("it fits");
    // Messages are taken in order, even if a later one would fit.
    assert_eq!(next(&queue).await, [(HOT, half)]);
    assert_eq!(next(&queue).await, [(HOT, half + 1), (HOT, 1)]);
    assert_eq!(queue.waiting(), 0);
    assert!(queue.state().teams.is_empty() && queue.state().turns.is_empty());
}

#[tokio::test]
async fn a_team_can_use_half_of_the_bytes_of_the_queue() {
    let queue = Queue::default();
    let mut waiting = Vec::new();
    for team in [HOT, OTHER] {
        for _ in 0..WAITING_BYTES_OF_TEAM_MAX / CALL_BYTES_MAX {
            waiting.extend(push(&queue, team, &[CALL_BYTES_MAX]).expect("it fits"));
        }
        let refused = push(&queue, team, &[1]);
        assert!(
            matches!(refused, Err(Unavailable::Overloaded)),
            "one byte above the limit of a team"
        );
    }
    // A message without content does not use any of the limit in bytes.
    waiting.extend(push(&queue, HOT, &[0]).expect("it fits"));
    waiting.extend(push(&queue, THIRD, &[0]).expect("it fits"));
    let refused = push(&queue, THIRD, &[1]);
    assert!(
        matches!(refused, Err(Unavailable::Overloaded)),
        "one byte above the limit of the queue"
    );

    assert_eq!(next(&queue).await.len(), BATCH_BYTES_MAX / CALL_BYTES_MAX + 1);
    // Space for two calls of each team is free now, because these calls were taken.
    waiting.extend(push(&queue, HOT, &[CALL_BYTES_MAX, CALL_BYTES_MAX]).expect("it fits"));
    assert!(push(&queue, HOT, &[1]).is_err());
    let partly_fits = push(&queue, THIRD, &[CALL_BYTES_MAX, CALL_BYTES_MAX, 1]);
    assert!(matches!(partly_fits, Err(Unavailable::Overloaded)), "a call is taken as a whole");
    waiting.extend(push(&queue, THIRD, &[CALL_BYTES_MAX, CALL_BYTES_MAX]).expect("it fits"));
}

/// A team with a full queue delays another team's message by one batch.
#[tokio::test]
async fn teams_take_turns() {
    let queue = Queue::default();
    let _hot = push(&queue, HOT, &vec![1; WAITING_OF_TEAM_MAX]).expect("it fits");
    assert!(push(&queue, HOT, &[1]).is_err(), "one above the limit of a team");
    let _other = push(&queue, OTHER, &[2, 3]).expect("it fits");
    let _third = push(&queue, THIRD, &[4]).expect("it fits");

    let taken = next(&queue).await;
    let first = [(HOT, 1), (OTHER, 2), (THIRD, 4), (HOT, 1), (OTHER, 3), (HOT, 1)];
    assert_eq!(&taken[..6], &first[..]);
    assert!(taken.len() == BATCH_MAX && taken[6..].iter().all(|taken| *taken == (HOT, 1)));
}

/// A long message of another team delays a team's next message by one turn, even if more messages of that other team
/// are waiting.
#[tokio::test]
async fn the_expected_wait_takes_turns_into_account() {
    let queue = Queue::default();
    let mut waiting = Vec::new();
    for team in [HOT, OTHER] {
        // 30 MiB in calls of 2 MiB.
        for _ in 0..15 {
            waiting.extend(push(&queue, team, &[CALL_BYTES_MAX / 10; 10]).expect("it fits"));
        }
    }
    queue.note_batch_time(BATCH_TIME_MAX);
    // The estimate is a quarter of a second for each of the 8 waiting batches.
    assert_eq!(queue.batch_micros.load(Ordering::Relaxed), 250_000);
    let within = |team: u128, millis: u64| {
        let deadline = Deadline::until(Instant::now() + Duration::from_millis(millis));
        queue.push(&caller(team), vec![message(10)], &deadline)
    };

    assert!(matches!(within(HOT, 1_500), Err(Unavailable::Overloaded)));
    waiting.extend(within(THIRD, 1_500).expect("it is the third message of the next batch"));
    let taken = next(&queue).await;
    assert_eq!(taken[2], (THIRD, 10));
    assert!(matches!(within(THIRD, 100), Err(Unavailable::Overloaded)), "a batch takes longer");
}

/// A message that is too large for the rest of a batch is the first message of the next batch. Messages of other teams
/// still fill the current batch.
#[tokio::test]
async fn a_message_that_does_not_fit_is_the_first_of_the_next_batch() {
    let queue = Queue::default();
    let rest = BATCH_BYTES_MAX - CALL_BYTES_MAX;
    let _hot = push(&queue, HOT, &[rest + 1, 5]).expect("it fits");
    let _other = push(&queue, OTHER, &[CALL_BYTES_MAX, 6]).expect("it fits");
    let _third = push(&queue, THIRD, &[7, 8]).expect("it fits");

    assert_eq!(next(&queue).await, [(HOT, rest + 1), (THIRD, 7), (HOT, 5), (THIRD, 8)]);
    assert_eq!(next(&queue).await, [(OTHER, CALL_BYTES_MAX), (OTHER, 6)]);
}
