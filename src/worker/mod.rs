//! The worker: claims due messages, hands them to carriers, settles what came of it, and notes which
//! keys were used and how often calls were refused; renews phone numbers; does what changes of accounts leave to be
//! done; deletes TEST messages whose time is over. A crash loses nothing but the last of these notes.

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

/// How long the worker rests when nothing woke it: rows of other processes are found this late.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The least rest between two rounds, so that messages that come one by one are delivered in batches: a round
/// flushes twice and holds the team while it settles, which a send at that moment waits for.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Messages of an average batch from which on accepting is under pressure.
const BATCH_UNDER_PRESSURE: u64 = 4;
/// Under pressure the worker rests so many times as long as it worked: accepting
/// goes first, and delivery keeps a tenth of the time.
const PAUSE_RATIO_UNDER_PRESSURE: u32 = 9;
/// A slow carrier or database must not make the rest a long one.
const PAUSE_UNDER_PRESSURE_MAX: Duration = Duration::from_secs(1);
/// How late the month of a phone number may be charged: nobody waits for that.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// How late the worker finds what another process's change of an account has left to be done.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(1);
/// Between two steps of that the worker rests so many times as long as a step took, for whatever else is
/// written.
const PAUSE_RATIO_IN_BACKLOG: u32 = 3;
/// How late the audit log may count refusals that repeat.
const REFUSAL_COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// The least rest between two times that the write-ahead log is emptied.
const EMPTY_LOG_INTERVAL: Duration = Duration::from_secs(5);
/// How often a wrong clock is looked at.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How late TEST messages are deleted, and the rest between two steps of it.
const DELETE_INTERVAL: Duration = Duration::from_mins(1);
const DELETE_PAUSE: Duration = Duration::from_millis(200);
/// Rest after a failure of the database.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What one round of delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub messages: usize,
    /// More may be due.
    pub has_more: bool,
}

/// Delivers what is due, renews phone numbers, does what changes of accounts have left to be done, and notes key
/// uses and refusals until `stop`; then finishes what it has begun. While the clock is wrong, nothing is delivered,
/// renewed, worked off or deleted.
pub async fn run(
    app: Arc<App>,
    key_uses: mpsc::Receiver<Uuid>,
    watch: ClockWatch,
    stop: CancellationToken,
) {
    ask_database(&app, &watch).await;
    // Side by side: many months that begin at once must not hold up messages.
    tokio::join!(
        deliver(&app, key_uses, &watch, &stop),
        renew(&app, &watch, &stop),
        work_off(&app, &watch, &stop),
        delete_tests(&app, &watch, &stop),
        count_refusals(&app, &stop),
        empty_log(&app, &stop),
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
            rest(CLOCK_CHECK_INTERVAL, stop).await;
            continue;
        }
        let begun = Instant::now();
        let delivered = deliver_due(app).await;
        let since = app.writers.taken() - taken;
        let rests = match since.messages.checked_div(since.batches) {
            Some(BATCH_UNDER_PRESSURE..) => PAUSE_RATIO_UNDER_PRESSURE,
            Some(_) => 1,
            None => 0,
        };
        taken = app.writers.taken();
        let least = (begun.elapsed() * rests).min(PAUSE_UNDER_PRESSURE_MAX);
        let (least, rest) = match delivered {
            Ok(Delivered { has_more: true, .. }) => (least, Duration::ZERO),
            Ok(_) => (least.max(PAUSE_MIN), POLL_INTERVAL),
            Err(fault) => {
                tracing::error!(%fault, "Due messages could not be delivered; trying again");
                (RETRY_DELAY, RETRY_DELAY)
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

async fn renew(app: &App, watch: &ClockWatch, stop: &CancellationToken) {
    let mut place = None;
    while !stop.is_cancelled() {
        if !is_clock_right(app, watch) {
            rest(CLOCK_CHECK_INTERVAL, stop).await;
            ask_database(app, watch).await;
            continue;
        }
        place = phone_number::renewal::renew(app, place).await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "Phone numbers could not be renewed; trying again");
            None
        });
        if place.is_none() {
            rest(RENEWAL_INTERVAL, stop).await;
            ask_database(app, watch).await;
        }
    }
}

/// Whether the clock is trusted, as `/readyz` says it.
fn is_clock_right(app: &App, watch: &ClockWatch) -> bool {
    let is_right = watch.is_right(&*app.clock);
    app.is_clock_right.store(is_right, Ordering::Relaxed);
    is_right
}

async fn ask_database(app: &App, watch: &ClockWatch) {
    if let Err(fault) = watch.ask_database(app).await {
        tracing::warn!(%fault, "The database did not say what time it is; it is asked again");
    }
}

async fn rest(rest: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(rest) => {}
    }
}

async fn count_refusals(app: &App, stop: &CancellationToken) {
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = stop.cancelled() => is_last = true,
            () = sleep(REFUSAL_COUNT_INTERVAL) => {}
        }
        if let Err(fault) = audit_log::refusals::write_counts(app).await {
            tracing::warn!(%fault, "Refusals could not be counted in the audit log; trying again");
        }
    }
}

/// Empties the write-ahead log of `SQLite` after erasures; at the start too, for one that was cut off.
async fn empty_log(app: &App, stop: &CancellationToken) {
    empty_when_erased(|| app.db.empty_log(), &app.erased, stop).await;
}

async fn empty_when_erased<F>(empty: impl Fn() -> F, erased: &Notify, stop: &CancellationToken)
where
    F: Future<Output = Result<bool, DbErr>>,
{
    while !stop.is_cancelled() {
        let is_empty = empty().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "The write-ahead log could not be emptied; trying again");
            false
        });
        // However many are erased meanwhile: all that is written waits for each emptying.
        rest(EMPTY_LOG_INTERVAL, stop).await;
        if is_empty {
            tokio::select! {
                () = stop.cancelled() => {}
                () = erased.notified() => {}
            }
        }
    }
}

async fn work_off(app: &App, watch: &ClockWatch, stop: &CancellationToken) {
    let mut position = BacklogPosition::default();
    while !stop.is_cancelled() {
        // Refunds would be entered at a wrong moment, and what is due later would be taken for due.
        if !is_clock_right(app, watch) {
            rest(CLOCK_CHECK_INTERVAL, stop).await;
            continue;
        }
        let begun = Instant::now();
        let stepped = backlog::step(app, &mut position).await;
        let rest = begun.elapsed() * PAUSE_RATIO_IN_BACKLOG;
        let (least, rest) = match stepped {
            Ok(true) => (rest, rest),
            Ok(false) => (Duration::ZERO, BACKLOG_INTERVAL),
            Err(fault) => {
                tracing::error!(%fault, "A step of a backlog could not be done; trying again");
                (RETRY_DELAY, RETRY_DELAY)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { sleep(least).await; app.backlog.notified().await } => {}
            () = sleep(rest) => {}
        }
    }
}

async fn delete_tests(app: &App, watch: &ClockWatch, stop: &CancellationToken) {
    let mut place = None;
    while !stop.is_cancelled() {
        app.writes.remove_expired();
        // A clock that is ahead would end messages that are to be kept.
        if !is_clock_right(app, watch) {
            rest(CLOCK_CHECK_INTERVAL, stop).await;
            continue;
        }
        place = match test_retention::delete_ended(app, place).await {
            Ok(deleted) => deleted.position,
            Err(fault) => {
                tracing::error!(%fault, "TEST messages could not be deleted; trying again");
                None
            }
        };
        rest(if place.is_some() { DELETE_PAUSE } else { DELETE_INTERVAL }, stop).await;
    }
}

/// Claims once, acts on what was claimed, and settles it.
pub async fn deliver_due(app: &App) -> Result<Delivered, Fault> {
    let claim = delivery::claim(app).await?;
    let delivered = Delivered { messages: claim.messages.len(), has_more: claim.has_more };
    let acted = claim.messages.into_iter().map(|claimed| async move {
        let outcome = act(app, &claimed).await;
        (claimed, outcome)
    });
    let settled: Vec<(Claimed, Outcome)> = join_all(acted).await;
    delivery::settle(app, settled).await?;
    Ok(delivered)
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
    let is_over = crate::domain::channel::schedule::is_over(message, app.clock.now());
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Erasures one after another empty the log every five seconds, the last one too; without any it rests.
    #[tokio::test(start_paused = true)]
    async fn the_log_is_emptied_every_five_seconds_at_most() {
        let (emptied, erased, stop) =
            (AtomicUsize::new(0), Notify::new(), CancellationToken::new());
        let empty = || async {
            let times = emptied.fetch_add(1, Ordering::Relaxed) + 1;
            // The second time something is in the way.
            Ok(times != 2)
        };
        let erase = async {
            let times = || emptied.load(Ordering::Relaxed);
            sleep(Duration::from_mins(1)).await;
            assert_eq!(times(), 1, "once at the start");
            for _ in 0..199 {
                erased.notify_one();
                sleep(Duration::from_millis(100)).await;
            }
            // At 0, 5, 10 and 15 seconds.
            assert_eq!(times(), 1 + 4);
            erased.notify_one();
            sleep(Duration::from_mins(1)).await;
            assert_eq!(times(), 1 + 5);
            stop.cancel();
        };
        tokio::join!(empty_when_erased(empty, &erased, &stop), erase);
    }
}
