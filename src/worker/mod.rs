//! The worker: claims due messages, hands them to carriers, settles what came of it, and notes which
//! keys were used; renews phone numbers; deletes TEST messages whose time is over. It keeps nothing in memory that a crash could lose.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App,
    carrier::{Report, SendError},
    domain::{
        Fault, authentication,
        delivery::{self, CARRIER_DEADLINE, CLAIM_MAX, Claimed, Outcome, Step},
        phone_number_renewal, schedule, test_retention,
    },
};

/// How long the worker rests when nothing woke it: rows of other processes are found this late.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// The least rest between two rounds, so that messages that come one by one are delivered in batches: a round
/// flushes twice and holds the team while it settles, which a send at that moment waits for.
const REST_MIN: Duration = Duration::from_millis(50);
/// Messages of an average batch from which on accepting is under pressure.
const BATCH_UNDER_PRESSURE: u64 = 4;
/// Under pressure the worker rests so many times as long as it worked: accepting
/// goes first, and delivery keeps a tenth of the time.
const RESTS_WHILE_PRESSED: u32 = 9;
/// A slow carrier or database must not make the rest a long one.
const REST_UNDER_PRESSURE_MAX: Duration = Duration::from_secs(1);
/// How late the month of a phone number may be charged: nobody waits for that.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How late TEST messages are deleted, and the rest between two steps of it.
const DELETE_EVERY: Duration = Duration::from_mins(1);
const DELETE_REST: Duration = Duration::from_millis(200);
/// Rest after a failure of the database.
const REST_AFTER_FAULT: Duration = Duration::from_secs(1);

/// Delivers what is due, renews phone numbers, deletes TEST messages and notes key uses until `stop`; then
/// finishes what it has begun.
pub async fn run(app: Arc<App>, key_uses: mpsc::Receiver<Uuid>, stop: CancellationToken) {
    // Side by side: many months that begin at once must not hold up messages.
    tokio::join!(deliver(&app, key_uses, &stop), renew(&app, &stop), delete_tests(&app, &stop));
}

async fn deliver(app: &App, mut key_uses: mpsc::Receiver<Uuid>, stop: &CancellationToken) {
    let mut taken = app.writers.taken();
    while !stop.is_cancelled() {
        note_key_uses(app, &mut key_uses).await;
        let begun = Instant::now();
        let delivered = deliver_due(app).await;
        let since = app.writers.taken() - taken;
        let rests = match since.messages.checked_div(since.batches) {
            Some(BATCH_UNDER_PRESSURE..) => RESTS_WHILE_PRESSED,
            Some(_) => 1,
            None => 0,
        };
        taken = app.writers.taken();
        let least = (begun.elapsed() * rests).min(REST_UNDER_PRESSURE_MAX);
        let (least, rest) = match delivered {
            // More may be due than one claim takes.
            Ok(CLAIM_MAX..) => (least, Duration::ZERO),
            Ok(_) => (least.max(REST_MIN), POLL_EVERY),
            Err(fault) => {
                tracing::error!(%fault, "Due messages could not be delivered; trying again");
                (REST_AFTER_FAULT, REST_AFTER_FAULT)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { sleep(least).await; app.due.notified().await } => {}
            () = sleep(rest.max(least)) => {}
        }
    }
    note_key_uses(app, &mut key_uses).await;
}

async fn renew(app: &App, stop: &CancellationToken) {
    let mut place = None;
    while !stop.is_cancelled() {
        place = phone_number_renewal::renew(app, place).await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "Phone numbers could not be renewed; trying again");
            None
        });
        if place.is_none() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(RENEW_EVERY) => {}
            }
        }
    }
}

async fn delete_tests(app: &App, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let rest = match test_retention::delete_ended(app).await {
            Ok(test_retention::DELETED_TOGETHER_MAX..) => DELETE_REST,
            Ok(_) => DELETE_EVERY,
            Err(fault) => {
                tracing::error!(%fault, "TEST messages could not be deleted; trying again");
                DELETE_EVERY
            }
        };
        app.writes.tidy();
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(rest) => {}
        }
    }
}

/// Claims once, acts on what was claimed, settles it, and says how many messages that were.
pub async fn deliver_due(app: &App) -> Result<usize, Fault> {
    let claimed = delivery::claim(app).await?;
    let count = claimed.len();
    let acted = claimed.into_iter().map(|claimed| async move {
        let outcome = act(app, &claimed).await;
        (claimed, outcome)
    });
    let settled: Vec<(Claimed, Outcome)> = join_all(acted).await;
    delivery::settle(app, settled).await?;
    Ok(count)
}

/// Writes down the uses of keys that are waiting to be noted.
pub async fn note_key_uses(app: &App, key_uses: &mut mpsc::Receiver<Uuid>) {
    let mut keys = Vec::new();
    while let Ok(key) = key_uses.try_recv() {
        keys.push(key);
    }
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return;
    }
    if let Err(fault) = authentication::note_uses(app, keys).await {
        tracing::warn!(%fault, "The last use of some keys could not be noted");
    }
}

async fn act(app: &App, claimed: &Claimed) -> Outcome {
    let message = &claimed.message;
    let Some(carrier) = app.carriers.of(message) else {
        return without_carrier(claimed.step);
    };
    let is_over = schedule::is_over(message, app.clock.now());
    match claimed.step {
        Step::Expire => Outcome::Expired,
        // It may have gone out, and it may go out no more: nobody knows.
        Step::Resume if !carrier.may_repeat() || is_over => Outcome::Unknown {
            code: "CUT_OFF".to_owned(),
            text: "The server stopped while it handed the message over.".to_owned(),
        },
        Step::Send | Step::Resume => {
            match tokio::time::timeout(CARRIER_DEADLINE, carrier.send(message)).await {
                Ok(Ok(())) => Outcome::Sent,
                Ok(Err(SendError::Rejected { code, text })) => Outcome::Failed { code, text },
                Ok(Err(SendError::Unknown { code, text })) => Outcome::Unknown { code, text },
                Err(_) => Outcome::Unknown {
                    code: "NO_ANSWER".to_owned(),
                    text: "The carrier gave no answer in time.".to_owned(),
                },
            }
        }
        Step::Report => {
            match tokio::time::timeout(CARRIER_DEADLINE, carrier.report(message)).await {
                Ok(Report::Delivered) => Outcome::Delivered,
                Ok(Report::Undelivered { code, text }) => Outcome::Undelivered { code, text },
                Ok(Report::Pending) | Err(_) => Outcome::Pending,
            }
        }
    }
}

/// The server was started without the carrier that the message was accepted for.
fn without_carrier(step: Step) -> Outcome {
    let text = "This server has no carrier for the channel any more.".to_owned();
    match step {
        Step::Expire => Outcome::Expired,
        Step::Send => Outcome::Failed { code: "CHANNEL_UNAVAILABLE".to_owned(), text },
        Step::Resume | Step::Report => {
            Outcome::Unknown { code: "CHANNEL_UNAVAILABLE".to_owned(), text }
        }
    }
}
