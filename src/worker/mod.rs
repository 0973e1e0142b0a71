//! The worker: claims due messages, hands them to carriers, settles what came of it, and notes which
//! keys were used. It keeps nothing in memory that a crash could lose.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App,
    carrier::{Report, SendError},
    domain::{
        Fault, authentication,
        delivery::{self, CARRIER_DEADLINE, Claimed, Outcome, Step},
    },
};

/// How long the worker rests when nothing woke it: rows of other processes are found this late.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// Rest after a failure of the database.
const REST_AFTER_FAULT: Duration = Duration::from_secs(1);

/// Delivers what is due and notes key uses until `stop`; then finishes what it has begun.
pub async fn run(app: Arc<App>, mut key_uses: mpsc::Receiver<Uuid>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        note_key_uses(&app, &mut key_uses).await;
        let rest = match deliver_due(&app).await {
            // More may be due than one claim takes.
            Ok(claimed) if claimed > 0 => continue,
            Ok(_) => POLL_EVERY,
            Err(fault) => {
                tracing::error!(%fault, "Due messages could not be delivered; trying again");
                REST_AFTER_FAULT
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.due.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
    note_key_uses(&app, &mut key_uses).await;
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
    match claimed.step {
        Step::Resume if !carrier.may_repeat() => Outcome::Unknown {
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
        Step::Send => Outcome::Failed { code: "CHANNEL_UNAVAILABLE".to_owned(), text },
        Step::Resume | Step::Report => {
            Outcome::Unknown { code: "CHANNEL_UNAVAILABLE".to_owned(), text }
        }
    }
}
