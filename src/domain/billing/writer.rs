//! The group commit: writers that take what is waiting, judge it in order, commit it in one
//! transaction, and only then answer. No timer delays a batch: it is what arrived during the last
//! commit, so an idle server adds nothing and a busy one makes larger batches.
//!
//! A writer owns its connection and its transactions, so a request that is dropped can never leave
//! one open. What can go wrong with a batch:
//!
//! - a deadlock, a serialization failure, or a connection lost before COMMIT: it is tried again;
//! - a connection lost during COMMIT: one of the batch's messages is looked for, and the truth told;
//! - a database that cannot be reached or is too busy: UNAVAILABLE, nothing was charged;
//! - any other error: the batch is halved down to the one bad message, which alone fails.

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
    queue::{Count, Entry, Queue, Reply, Sending, Waiting},
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

/// How often a batch is tried again after a deadlock or a lost connection.
const TRIES_MAX: u32 = 3;
/// Rest before a batch is tried again.
const REST: Duration = Duration::from_millis(20);
/// How long a batch in doubt is asked about before its senders are told that nobody knows.
const DOUBT_DEADLINE: Duration = Duration::from_secs(8);
/// Messages that go the shortest way, each by itself.
const SHORT_BATCH_MAX: usize = 2;

/// Who is told of what the writers do.
#[derive(Clone)]
pub struct WriterHooks {
    /// Woken after every commit: there is something to deliver.
    pub accepted: Arc<Notify>,
    pub events: Arc<Events>,
    pub metrics: Arc<Metrics>,
}

/// The writers of this process.
pub struct Writers {
    queues: Vec<Arc<Queue>>,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Writers {
    /// Starts a writer on each of these ways to the database, with a thread of its own: among the requests of
    /// a busy server it would wait for a turn each time that the database has answered. Measured: a fifth more
    /// sends a second.
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
            let runtime = runtime.expect("the system lets a program wait for its database");
            let thread = thread::Builder::new().name("tollgate-writer".to_owned());
            let thread = thread.spawn(move || runtime.block_on(writer.run()));
            thread.expect("the system lets a program have threads")
        });
        let threads = std::sync::Mutex::new(threads.collect());
        Self { queues, threads }
    }

    /// Hands messages of one caller to the writer of its team: all of them, or none.
    pub(super) fn enqueue(
        &self,
        caller: &AccountCaller,
        messages: Vec<PricedMessage>,
        deadline: &Deadline,
    ) -> Result<Vec<Waiting>, Unavailable> {
        // The low bits of a UUIDv7 are random, so teams spread evenly.
        let lane = caller.team_id.as_u128() % self.queues.len() as u128;
        let queue = &self.queues[usize::try_from(lane).expect("a lane is a small number")];
        queue.push(caller, messages, deadline)
    }

    /// What the writers have taken so far. While it grows fast, other work on the database should hold
    /// back.
    pub fn taken(&self) -> Count {
        self.queues.iter().map(|queue| queue.taken()).fold(Count::default(), |sum, more| Count {
            batches: sum.batches + more.batches,
            messages: sum.messages + more.messages,
        })
    }

    /// Messages that wait to be judged.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting()).sum()
    }

    /// Whether one of them takes nothing more: it was closed, or broke off.
    pub fn are_closed(&self) -> bool {
        self.queues.iter().any(|queue| queue.is_closed())
    }

    /// Takes nothing more, and works off what waits.
    pub async fn close(&self) {
        for queue in &self.queues {
            queue.close();
        }
        let threads = std::mem::take(&mut *self.threads.lock().expect("nobody panics with these"));
        let ended =
            spawn_blocking(|| threads.into_iter().map(JoinHandle::join).collect::<Vec<_>>());
        let ended = ended.await.expect("to wait for threads does not fail");
        if ended.iter().any(Result::is_err) {
            tracing::error!("A writer broke off");
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
            for _ in 0..self.store.turns_before_batch() {
                tokio::task::yield_now().await;
            }
            let Some(batch) = self.queue.next_batch().await else { return };
            let begun = Instant::now();
            self.hooks.metrics.note_batch(batch.len());
            self.process_batch(batch).await;
            self.queue.note_batch_time(begun.elapsed());
        }
    }

    /// Answers every message of a batch.
    async fn process_batch(&mut self, batch: Vec<Entry>) {
        if batch.len() <= SHORT_BATCH_MAX {
            for entry in batch {
                let reply = self.commit_one(&entry.sending).await;
                entry.answer(reply);
            }
            return;
        }
        let mut pieces = VecDeque::from([batch]);
        while let Some(piece) = pieces.pop_front() {
            let sendings: Vec<&Sending> = piece.iter().map(|entry| &entry.sending).collect();
            match self.commit(&sendings).await {
                Ok(replies) => answer(piece, replies),
                Err(fault) => match bisect(piece, &fault) {
                    Ok(parts) => {
                        tracing::warn!(%fault, "A batch failed and is tried again in parts");
                        parts.into_iter().rev().for_each(|part| pieces.push_front(part));
                    }
                    Err(piece) => {
                        let replies = vec![Err(fault); piece.len()];
                        answer(piece, replies);
                    }
                },
            }
        }
    }

    /// One message: by the shortest route where that can be, or else by the ordinary one.
    async fn commit_one(&mut self, sending: &Sending) -> Reply {
        if let Some((draft, cost)) = sending.fast_path() {
            let row = new_row(sending, draft, cost, self.clock.now(), self.new_id());
            match self.store.accept_one(BatchOutcome::of_one(row), self.new_id()).await {
                Ok(Some(judged)) => return only(self.announce(judged)),
                Err(Interrupted::InDoubt(judged, _)) => {
                    if self.was_committed(&judged).await? {
                        return only(self.announce(*judged));
                    }
                    // The statement may still be on its way, and holds no lock until it arrives: another
                    // try could charge twice.
                    return Err(Unavailable::OutcomeUnknown.into());
                }
                // Something stands against it, or against this route: the ordinary one sees what.
                Ok(None) | Err(Interrupted::Before(_)) => {}
            }
        }
        only(self.commit(&[sending]).await?)
    }

    /// Commits messages together and gives their replies, or the fault for which none was committed.
    async fn commit(&mut self, sendings: &[&Sending]) -> Result<Vec<Reply>, Fault> {
        let clock = Arc::clone(&self.clock);
        let decide = |ground| {
            let new_id = || clock::new_id(&*clock);
            judge(ground, sendings.iter().copied(), clock.now(), &new_id)
        };
        for tries in 1.. {
            let fault = match self.store.commit(sendings, &decide).await {
                Ok(judged) => return Ok(self.announce(judged)),
                Err(Interrupted::InDoubt(judged, fault)) => {
                    if self.was_committed(&judged).await? {
                        return Ok(self.announce(*judged));
                    }
                    fault
                }
                Err(Interrupted::Before(fault)) => fault,
            };
            if tries == TRIES_MAX || !fault.is_worth_another_try() {
                return Err(fault);
            }
            tracing::warn!(%fault, "A batch is tried again");
            sleep(REST).await;
        }
        unreachable!("the tries are counted")
    }

    /// Asks until the database tells how a transaction in doubt has ended.
    async fn was_committed(&mut self, judged: &BatchOutcome) -> Result<bool, Fault> {
        let until = Instant::now() + DOUBT_DEADLINE;
        loop {
            match self.store.was_committed(judged).await {
                Ok(was_committed) => return Ok(was_committed),
                Err(fault) if Instant::now() < until => {
                    tracing::warn!(%fault, "It is not known yet whether a batch was committed");
                    sleep(REST).await;
                }
                Err(fault) => {
                    tracing::error!(%fault, "It is not known whether a batch was committed");
                    return Err(Fault::Unavailable(Unavailable::OutcomeUnknown));
                }
            }
        }
    }

    /// Tells the worker that there is something to deliver, and whoever listens what has changed.
    fn announce(&self, judged: BatchOutcome) -> Vec<Reply> {
        if !judged.charges.is_empty() {
            self.hooks.accepted.notify_one();
            self.hooks.events.publish(judged.accepted().map(|(row, _)| Change::of_message(row)));
        }
        judged.replies
    }

    fn new_id(&self) -> Uuid {
        clock::new_id(&*self.clock)
    }
}

impl Drop for Writer {
    /// However it ends: nobody is to wait for a writer that is not there.
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Sending {
    /// What the message says and costs, if the shortest route can judge it: LIVE, not free, without
    /// a schedule, and to an address.
    fn fast_path(&self) -> Option<(&Draft, Micros)> {
        let draft = self.message.draft.as_ref().ok()?;
        let is_live = self.caller.environment == Environment::Live;
        let is_plain =
            is_live && self.message.schedule == Schedule::default() && draft.contact_id.is_none();
        let cost = draft.cost.ok().filter(|cost| is_plain && *cost > Micros::ZERO)?;
        Some((draft, cost))
    }
}

/// The reply to a message that was judged alone.
fn only(mut replies: Vec<Reply>) -> Reply {
    replies.pop().unwrap_or(Err(Fault::Broken("a message that is judged has a reply")))
}

fn answer(piece: Vec<Entry>, replies: Vec<Reply>) {
    debug_assert_eq!(piece.len(), replies.len(), "each message has its reply");
    for (entry, reply) in piece.into_iter().zip(replies) {
        entry.answer(reply);
    }
}

/// Parts of a failed batch that are worth a try by themselves: its teams where one is locked for too
/// long, halves where one message may be bad. A batch that cannot be divided is given back.
fn bisect(mut piece: Vec<Entry>, fault: &Fault) -> Result<Vec<Vec<Entry>>, Vec<Entry>> {
    if fault.is_lock_timeout() {
        let mut by_team: BTreeMap<Uuid, Vec<Entry>> = BTreeMap::new();
        for entry in piece {
            by_team.entry(entry.sending.caller.team_id).or_default().push(entry);
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
