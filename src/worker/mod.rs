//! The worker. It claims due messages, submits them to carriers and settles the outcomes. It also renews phone numbers,
//! processes the backlog of account changes, deletes old TEST messages, and stores when keys were last used and how
//! many calls were refused. A crash loses only the most recent of these uses and counts.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use sea_orm::DbErr;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    app::App,
    carrier::{Report, SendError},
    domain::{
        Fault,
        api_key::authentication,
        audit_log,
        message::{
            backlog::{self, BacklogPosition},
            delivery::{self, CARRIER_DEADLINE, Claimed, Outcome, Step},
            test_retention,
        },
        phone_number,
    },
};

mod clock_watch;

pub use clock_watch::ClockWatch;

/// Interval at which the worker checks for messages that other processes have accepted.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Minimum pause between two rounds of delivery, so that messages are delivered in batches and not one by one. A round
/// flushes to disk twice, and locks the team while it settles outcomes. Both delay concurrent sends.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Average batch size above which the writers are considered to be under pressure.
const BATCH_UNDER_PRESSURE: u64 = 4;
/// While the writers are under pressure, a pause is this many times as long as the round before it. Delivery then gets
/// only a tenth of the time, because accepting messages has priority.
const PAUSE_RATIO_UNDER_PRESSURE: u32 = 9;
/// Maximum pause while the writers are under pressure. It ensures that a slow carrier or database does not delay
/// delivery for long.
const PAUSE_UNDER_PRESSURE_MAX: Duration = Duration::from_secs(1);
/// Interval of phone number renewals.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which the worker checks for a backlog that other processes have created.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a step of the backlog is this many times as long as the step. Other writes can proceed during the
/// pause.
const PAUSE_RATIO_IN_BACKLOG: u32 = 3;
/// Interval at which counts of repeated refusals are written to the audit log.
const REFUSAL_COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two truncations of the write-ahead log.
const WAL_TRUNCATION_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of clock checks while the clock is not trusted.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which old TEST messages are deleted, and also the pause between two batches of deletions.
const DELETE_INTERVAL: Duration = Duration::from_mins(1);
const DELETE_PAUSE: Duration = Duration::from_millis(200);
/// Pause after a database failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The result of one round of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub messages: usize,
    /// Whether more messages may be due.
    pub has_more: bool,
}

/// Runs until `stop` is canceled, and then finishes the work in progress. While the clock is not trusted, nothing is
/// delivered, renewed or deleted, and the backlog is not processed.
pub async fn run(
    app: Arc<App>,
    key_uses: mpsc::Receiver<Uuid>,
    watch: ClockWatch,
    stop: CancellationToken,
) {
    compare_with_database(&app, &watch).await;
    // The tasks run concurrently, so that many simultaneous renewals do not delay messages.
    tokio::join!(
        deliver(&app, key_uses, &watch, &stop),
        renew_numbers(&app, &watch, &stop),
        work_off_backlog(&app, &watch, &stop),
        delete_test_messages(&app, &watch, &stop),
        write_refusal_counts(&app, &stop),
        truncate_wal(&app, &stop),
    );
}

async fn deliver(
    app: &App,
    mut key_uses: mpsc::Receiver<Uuid>,
    watch: &ClockWatch,
    stop: &CancellationToken,
) {
    let mut taken = app.writers.taken();
    while !stop.is_cancelled() {
        note_key_uses(app, &mut key_uses).await;
        if !is_clock_right(app, watch) {
            sleep_unless_stopped(CLOCK_CHECK_INTERVAL, stop).await;
            continue;
        }
        let started = Instant::now();
        let delivered = deliver_due(app).await;
        let since = app.writers.taken() - taken;
        let pause_ratio = match since.messages.checked_div(since.batches) {
            Some(BATCH_UNDER_PRESSURE..) => PAUSE_RATIO_UNDER_PRESSURE,
            Some(_) => 1,
            None => 0,
        };
        taken = app.writers.taken();
        let pause = (started.elapsed() * pause_ratio).min(PAUSE_UNDER_PRESSURE_MAX);
        // A wake-up starts the next round, but not before the end of the pause. Without a wake-up, the next round
        // starts at the next poll.
        let (pause, poll) = match delivered {
            Ok(Delivered { has_more: true, .. }) => (pause, Duration::ZERO),
            Ok(_) => (pause.max(PAUSE_MIN), POLL_INTERVAL),
            Err(fault) => {
                tracing::error!(%fault, "Due messages could not be delivered; retrying");
                (RETRY_DELAY, RETRY_DELAY)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { sleep(pause).await; app.due.notified().await } => {}
            () = sleep(poll.max(pause)) => {}
        }
    }
    note_key_uses(app, &mut key_uses).await;
}

async fn renew_numbers(app: &App, watch: &ClockWatch, stop: &CancellationToken) {
    let mut position = None;
    while !stop.is_cancelled() {
        if !is_clock_right(app, watch) {
            sleep_unless_stopped(CLOCK_CHECK_INTERVAL, stop).await;
            compare_with_database(app, watch).await;
            continue;
        }
        position = phone_number::renewal::renew(app, position).await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "Phone numbers could not be renewed; retrying");
            None
        });
        if position.is_none() {
            sleep_unless_stopped(RENEWAL_INTERVAL, stop).await;
            compare_with_database(app, watch).await;
        }
    }
}

/// Checks whether the clock is trusted, and publishes the result for `/readyz`.
fn is_clock_right(app: &App, watch: &ClockWatch) -> bool {
    let is_right = watch.is_right(&*app.clock);
    app.is_clock_right.store(is_right, Ordering::Relaxed);
    is_right
}

async fn compare_with_database(app: &App, watch: &ClockWatch) {
    if let Err(fault) = watch.ask_database(app).await {
        tracing::warn!(%fault, "The database's time could not be read; retrying");
    }
}

/// Sleeps for this duration, or until `stop` is canceled.
async fn sleep_unless_stopped(duration: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(duration) => {}
    }
}

async fn write_refusal_counts(app: &App, stop: &CancellationToken) {
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = stop.cancelled() => is_last = true,
            () = sleep(REFUSAL_COUNT_INTERVAL) => {}
        }
        if let Err(fault) = audit_log::refusals::write_counts(app).await {
            tracing::warn!(%fault, "Refusal counts could not be written to the audit log; retrying");
        }
    }
}

/// Truncates the write-ahead log of `SQLite` after erasures, so that erased data is removed from the disk. The log is
/// also truncated at startup, in case an earlier process was interrupted.
async fn truncate_wal(app: &App, stop: &CancellationToken) {
    truncate_after_erasures(|| app.db.empty_log(), &app.erased, stop).await;
}

async fn truncate_after_erasures<F>(
    truncate: impl Fn() -> F,
    erased: &Notify,
    stop: &CancellationToken,
) where
    F: Future<Output = Result<bool, DbErr>>,
{
    while !stop.is_cancelled() {
        let is_truncated = truncate().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "The write-ahead log could not be truncated; retrying");
            false
        });
        // Truncating the log blocks all writes, so it is not repeated immediately.
        sleep_unless_stopped(WAL_TRUNCATION_INTERVAL, stop).await;
        if is_truncated {
            tokio::select! {
                () = stop.cancelled() => {}
                () = erased.notified() => {}
            }
        }
    }
}

async fn work_off_backlog(app: &App, watch: &ClockWatch, stop: &CancellationToken) {
    let mut position = BacklogPosition::default();
    while !stop.is_cancelled() {
        // With a wrong clock, refunds would get wrong dates and messages that are not due yet would be treated as due.
        if !is_clock_right(app, watch) {
            sleep_unless_stopped(CLOCK_CHECK_INTERVAL, stop).await;
            continue;
        }
        let started = Instant::now();
        let has_more = backlog::step(app, &mut position).await;
        let step_pause = started.elapsed() * PAUSE_RATIO_IN_BACKLOG;
        let (pause, poll) = match has_more {
            Ok(true) => (step_pause, step_pause),
            Ok(false) => (Duration::ZERO, BACKLOG_INTERVAL),
            Err(fault) => {
                tracing::error!(%fault, "Updating the waiting messages of a changed account failed; retrying");
                (RETRY_DELAY, RETRY_DELAY)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { sleep(pause).await; app.backlog.notified().await } => {}
            () = sleep(poll) => {}
        }
    }
}

async fn delete_test_messages(app: &App, watch: &ClockWatch, stop: &CancellationToken) {
    let mut position = None;
    while !stop.is_cancelled() {
        app.writes.remove_expired();
        // If the clock is ahead, messages would be deleted too early.
        if !is_clock_right(app, watch) {
            sleep_unless_stopped(CLOCK_CHECK_INTERVAL, stop).await;
            continue;
        }
        position = match test_retention::delete_ended(app, position).await {
            Ok(deleted) => deleted.position,
            Err(fault) => {
                tracing::error!(%fault, "TEST messages could not be deleted; retrying");
                None
            }
        };
        sleep_unless_stopped(if position.is_some() { DELETE_PAUSE } else { DELETE_INTERVAL }, stop)
            .await;
    }
}

/// Runs one round of delivery: claims due messages, submits them or polls their reports, and settles the outcomes.
pub async fn deliver_due(app: &App) -> Result<Delivered, Fault> {
    let claim = delivery::claim(app).await?;
    let delivered = Delivered { messages: claim.messages.len(), has_more: claim.has_more };
    let outcomes = claim.messages.into_iter().map(|claimed| async move {
        let outcome = process(app, &claimed).await;
        (claimed, outcome)
    });
    let outcomes: Vec<(Claimed, Outcome)> = join_all(outcomes).await;
    delivery::settle(app, outcomes).await?;
    Ok(delivered)
}

/// Writes the pending key uses to the database.
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
        tracing::warn!(%fault, "The last use of some keys could not be written");
    }
}

/// Executes the step for which a message was claimed.
async fn process(app: &App, claimed: &Claimed) -> Outcome {
    let message = &claimed.message;
    let Some(carrier) = app.carriers.of(message) else {
        return outcome_without_carrier(claimed.step);
    };
    let is_over = crate::domain::channel::schedule::is_over(message, app.clock.now());
    match claimed.step {
        Step::Expire => Outcome::Expired,
        // The carrier may already have received the message, so the message must not be sent again.
        Step::Resume if !carrier.may_repeat() || is_over => Outcome::Unknown {
            code: "CUT_OFF".to_owned(),
            text: "The server stopped while it was submitting the message to the carrier."
                .to_owned(),
        },
        Step::Send | Step::Resume => {
            match tokio::time::timeout(CARRIER_DEADLINE, carrier.send(message)).await {
                Ok(Ok(())) => Outcome::Sent,
                Ok(Err(SendError::Rejected { code, text })) => Outcome::Failed { code, text },
                Ok(Err(SendError::Unknown { code, text })) => Outcome::Unknown { code, text },
                Err(_) => Outcome::Unknown {
                    code: "NO_ANSWER".to_owned(),
                    text: "The carrier did not respond in time.".to_owned(),
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

/// Returns the outcome for a message whose carrier no longer exists, because the server was restarted without it.
fn outcome_without_carrier(step: Step) -> Outcome {
    let text = "This server no longer has a carrier for the channel.".to_owned();
    match step {
        Step::Expire => Outcome::Expired,
        Step::Send => Outcome::Failed { code: "CHANNEL_UNAVAILABLE".to_owned(), text },
        Step::Resume | Step::Report => {
            Outcome::Unknown { code: "CHANNEL_UNAVAILABLE".to_owned(), text }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_is_truncated_after_erasures_at_most_every_five_seconds() {
        let (truncations, erased, stop) =
            (AtomicUsize::new(0), Notify::new(), CancellationToken::new());
        let truncate = || async {
            let count = truncations.fetch_add(1, Ordering::Relaxed) + 1;
            // A reader blocks the second attempt.
            Ok(count != 2)
        };
        let erase = async {
            let count = || truncations.load(Ordering::Relaxed);
            sleep(Duration::from_mins(1)).await;
            assert_eq!(count(), 1, "once at startup");
            for _ in 0..199 {
                erased.notify_one();
                sleep(Duration::from_millis(100)).await;
            }
            // The log was truncated at 0, 5, 10 and 15 seconds.
            assert_eq!(count(), 1 + 4);
            erased.notify_one();
            sleep(Duration::from_mins(1)).await;
            assert_eq!(count(), 1 + 5);
            stop.cancel();
        };
        tokio::join!(truncate_after_erasures(truncate, &erased, &stop), erase);
    }
}
