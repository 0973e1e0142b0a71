//! Group commit: writers take the waiting messages, decide on them in order, commit them in one transaction, and only
//! then reply. No timer delays a batch: a batch consists of the messages that arrived during the last commit. So an
//! idle server does not delay messages, and a busy server has larger batches.
//!
//! A writer owns its connection and its transactions, so a dropped request cannot leave a transaction open. A batch can
//! fail in these ways:
//!
//! - a deadlock, a serialization failure, or a connection lost before COMMIT: the batch is retried;
//! - a connection lost during COMMIT: the database is asked whether the batch was committed;
//! - a database that cannot be reached or is too busy: UNAVAILABLE, nothing was charged;
//! - any other error: the batch is bisected until the message that causes the error is found, and only that message
//!   fails.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use entity::api_key::Environment;
use tokio::{
    runtime,
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    Draft, PricedMessage,
    batch::{BatchOutcome, judge, new_row},
    queue::{Count, Entry, Queue, Reply, SendRequest, Waiting},
    store::{Interrupted, Statements, Store},
};
use crate::{
    clock::{self, Clock},
    db::WriterDb,
    domain::{
        Fault, Unavailable,
        caller::AccountCaller,
        channel::schedule::Schedule,
        deadline::Deadline,
        events::{Change, Events},
    },
    metrics::Metrics,
    money::Micros,
};

/// Maximum number of attempts to commit a batch.
const ATTEMPTS_MAX: u32 = 3;
/// Pause before a retry.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// How long the writer tries to find out whether a batch was committed. After this time it replies that the outcome is
/// unknown.
const DOUBT_DEADLINE: Duration = Duration::from_secs(8);
/// Maximum size of a batch whose messages are committed one by one, on the fast path if possible.
const SINGLE_COMMITS_MAX: usize = 2;

/// Parts of the server that the writers notify.
#[derive(Clone)]
pub struct WriterHooks {
    /// Notified after every commit with messages to deliver.
    pub accepted: Arc<Notify>,
    pub events: Arc<Events>,
    pub metrics: Arc<Metrics>,
}

/// The writers of this process, each with its own queue.
pub struct Writers {
    queues: Vec<Arc<Queue>>,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Writers {
    /// Starts a writer on each of these databases, each in its own thread. On the shared threads of a busy server, a
    /// writer would have to wait for a free thread after each reply from the database. Measured: with its own thread, a
    /// writer processes 20 % more messages per second.
    pub fn start(
        dbs: Vec<WriterDb>,
        statements: Statements,
        clock: &Arc<dyn Clock>,
        hooks: &WriterHooks,
    ) -> Self {
        let queues: Vec<Arc<Queue>> = dbs.iter().map(|_| Arc::default()).collect();
        let threads = dbs.into_iter().zip(&queues).map(|(db, queue)| {
            let writer = Writer {
                store: Store::new(db, statements),
                clock: Arc::clone(clock),
                queue: Arc::clone(queue),
                hooks: hooks.clone(),
            };
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system can create a runtime");
            let thread = thread::Builder::new().name("tollgate-writer".to_owned());
            let thread = thread.spawn(move || runtime.block_on(writer.run()));
            thread.expect("the system can create a thread")
        });
        let threads = std::sync::Mutex::new(threads.collect());
        Self { queues, threads }
    }

    /// Adds all messages of one call, or none of them, to the queue of the team's writer.
    pub(super) fn enqueue(
        &self,
        caller: &AccountCaller,
        messages: Vec<PricedMessage>,
        deadline: &Deadline,
    ) -> Result<Vec<Waiting>, Unavailable> {
        // The low bits of a UUIDv7 are random, so teams are spread evenly over the queues.
        let index = caller.team_id.as_u128() % self.queues.len() as u128;
        let queue = &self.queues[usize::try_from(index).expect("the index is a small number")];
        queue.push(caller, messages, deadline)
    }

    /// Returns the number of batches and messages that the writers have taken so far. While these numbers grow fast,
    /// other work on the database should pause.
    pub fn taken(&self) -> Count {
        self.queues.iter().map(|queue| queue.taken()).fold(Count::default(), |sum, more| Count {
            batches: sum.batches + more.batches,
            messages: sum.messages + more.messages,
        })
    }

    /// Returns the number of waiting messages.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting()).sum()
    }

    /// Returns whether any writer no longer accepts messages, because it was closed or has panicked.
    pub fn are_closed(&self) -> bool {
        self.queues.iter().any(|queue| queue.is_closed())
    }

    /// Closes the writers: new messages are refused. Waits until all waiting messages are processed.
    pub async fn close(&self) {
        for queue in &self.queues {
            queue.close();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().expect("no panic while the lock is held"));
        let ended =
            spawn_blocking(|| threads.into_iter().map(JoinHandle::join).collect::<Vec<_>>());
        let ended = ended.await.expect("joining the threads does not panic");
        if ended.iter().any(Result::is_err) {
            tracing::error!("A writer panicked");
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.close();
        }
    }
}

struct Writer {
    store: Store,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    hooks: WriterHooks,
}

impl Writer {
    async fn run(mut self) {
        loop {
            for _ in 0..self.store.yields_before_batch() {
                tokio::task::yield_now().await;
            }
            let Some(batch) = self.queue.next_batch().await else { return };
            let started = Instant::now();
            self.hooks.metrics.note_batch(batch.len());
            self.process_batch(batch).await;
            self.queue.note_batch_time(started.elapsed());
        }
    }

    /// Commits a batch and replies to each of its messages.
    async fn process_batch(&mut self, batch: Vec<Entry>) {
        if batch.len() <= SINGLE_COMMITS_MAX {
            for entry in batch {
                let reply = self.commit_one(&entry.request).await;
                entry.reply_with(reply);
            }
            return;
        }
        let mut pieces = VecDeque::from([batch]);
        while let Some(piece) = pieces.pop_front() {
            let requests: Vec<&SendRequest> = piece.iter().map(|entry| &entry.request).collect();
            match self.commit(&requests).await {
                Ok(replies) => reply_to_all(piece, replies),
                Err(fault) => match bisect(piece, &fault) {
                    Ok(parts) => {
                        tracing::warn!(%fault, "A batch failed; retrying it in parts");
                        parts.into_iter().rev().for_each(|part| pieces.push_front(part));
                    }
                    Err(piece) => {
                        let replies = vec![Err(fault); piece.len()];
                        reply_to_all(piece, replies);
                    }
                },
            }
        }
    }

    /// Commits one message, on the fast path if possible.
    async fn commit_one(&mut self, request: &SendRequest) -> Reply {
        if let Some((draft, cost)) = request.fast_path() {
            let row = new_row(request, draft, cost, self.clock.now(), self.new_id());
            match self.store.accept_one(BatchOutcome::of_one(row), self.new_id()).await {
                Ok(Some(outcome)) => return single_reply(self.announce(outcome)),
                Err(Interrupted::InDoubt(outcome, _)) => {
                    if self.was_committed(&outcome).await? {
                        return single_reply(self.announce(*outcome));
                    }
                    // The statement may not have reached the database yet, and then it has not taken a lock that a
                    // retry would wait for. So a retry could charge the message twice.
                    return Err(Unavailable::OutcomeUnknown.into());
                }
                // The ordinary path decides, because the message may have to be refused or the fast path is not
                // possible.
                Ok(None) | Err(Interrupted::Before(_)) => {}
            }
        }
        single_reply(self.commit(&[request]).await?)
    }

    /// Commits messages together and returns their replies.
    ///
    /// # Errors
    /// None of the messages was committed, except with [`Unavailable::OutcomeUnknown`].
    async fn commit(&mut self, requests: &[&SendRequest]) -> Result<Vec<Reply>, Fault> {
        let clock = Arc::clone(&self.clock);
        let decide = |state| {
            let new_id = || clock::new_id(&*clock);
            judge(state, requests.iter().copied(), clock.now(), &new_id)
        };
        for attempt in 1.. {
            let fault = match self.store.commit(requests, &decide).await {
                Ok(outcome) => return Ok(self.announce(outcome)),
                Err(Interrupted::InDoubt(outcome, fault)) => {
                    if self.was_committed(&outcome).await? {
                        return Ok(self.announce(*outcome));
                    }
                    fault
                }
                Err(Interrupted::Before(fault)) => fault,
            };
            if attempt == ATTEMPTS_MAX || !fault.is_retryable() {
                return Err(fault);
            }
            tracing::warn!(%fault, "Retrying a batch");
            sleep(RETRY_DELAY).await;
        }
        unreachable!("the last attempt returns")
    }

    /// Retries, for a limited time, until it is known whether an in-doubt transaction was committed.
    async fn was_committed(&mut self, outcome: &BatchOutcome) -> Result<bool, Fault> {
        let until = Instant::now() + DOUBT_DEADLINE;
        loop {
            match self.store.was_committed(outcome).await {
                Ok(was_committed) => return Ok(was_committed),
                Err(fault) if Instant::now() < until => {
                    tracing::warn!(%fault, "It is still unknown whether a batch was committed");
                    sleep(RETRY_DELAY).await;
                }
                Err(fault) => {
                    tracing::error!(%fault, "It is unknown whether a batch was committed");
                    return Err(Fault::Unavailable(Unavailable::OutcomeUnknown));
                }
            }
        }
    }

    /// Notifies the worker of new messages, publishes the changes, and returns the replies.
    fn announce(&self, outcome: BatchOutcome) -> Vec<Reply> {
        if !outcome.charges.is_empty() {
            self.hooks.accepted.notify_one();
            self.hooks.events.publish(outcome.accepted().map(|(row, _)| Change::of_message(row)));
        }
        outcome.replies
    }

    fn new_id(&self) -> Uuid {
        clock::new_id(&*self.clock)
    }
}

impl Drop for Writer {
    /// Closes the queue even after a panic, so that no caller waits for a stopped writer.
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl SendRequest {
    /// Returns the draft and its cost if the fast path can accept the message. This requires that the message is LIVE,
    /// not free, not scheduled, and sent to an address.
    fn fast_path(&self) -> Option<(&Draft, Micros)> {
        let draft = self.message.draft.as_ref().ok()?;
        let is_live = self.caller.environment == Environment::Live;
        let is_simple =
            is_live && self.message.schedule == Schedule::default() && draft.contact_id.is_none();
        let cost = draft.cost.ok().filter(|cost| is_simple && *cost > Micros::ZERO)?;
        Some((draft, cost))
    }
}

/// Returns the reply to a message that was committed alone.
fn single_reply(mut replies: Vec<Reply>) -> Reply {
    replies.pop().unwrap_or(Err(Fault::Broken("each message of a batch has a reply")))
}

fn reply_to_all(piece: Vec<Entry>, replies: Vec<Reply>) {
    debug_assert_eq!(piece.len(), replies.len(), "each message has a reply");
    for (entry, reply) in piece.into_iter().zip(replies) {
        entry.reply_with(reply);
    }
}

/// Divides a failed batch into parts to retry: by team if a lock timed out, or in halves if one message may be
/// the cause.
///
/// # Errors
/// The batch is returned if it cannot be divided.
fn bisect(mut piece: Vec<Entry>, fault: &Fault) -> Result<Vec<Vec<Entry>>, Vec<Entry>> {
    if fault.is_lock_timeout() {
        let mut by_team: BTreeMap<Uuid, Vec<Entry>> = BTreeMap::new();
        for entry in piece {
            by_team.entry(entry.request.caller.team_id).or_default().push(entry);
        }
        let mut parts: Vec<Vec<Entry>> = by_team.into_values().collect();
        return if parts.len() > 1 { Ok(parts) } else { Err(parts.pop().unwrap_or_default()) };
    }
    if piece.len() < 2 || !fault.is_about_a_row() {
        return Err(piece);
    }
    let rest = piece.split_off(piece.len() / 2);
    Ok(vec![piece, rest])
}
