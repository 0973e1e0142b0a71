//! The bounded queue between requests and a writer: room for all of a call's messages or for none,
//! at most half of it for one team, and nothing taken for a caller who has gone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{PricedMessage, Verdict};
use crate::domain::{Fault, Unavailable, caller::AccountCaller, template_work::TemplateTime};

/// Messages that wait for one writer at most: about half a second of its work.
pub const WAITING_MAX: usize = 8_192;
/// Of these, messages of one team at most.
pub const WAITING_OF_TEAM_MAX: usize = WAITING_MAX / 2;
/// Messages of one batch at most.
pub const BATCH_MAX: usize = 256;

/// What a batch counts for at most when the wait is estimated.
const BATCH_TIME_MAX: Duration = Duration::from_secs(2);

/// How long a caller waits for the answer, whether it has hung up, and what its templates took meanwhile.
#[derive(Clone, Debug)]
pub struct Patience {
    pub until: Instant,
    pub gone: CancellationToken,
    pub template_time: TemplateTime,
}

impl Patience {
    /// A caller that waits until then and may hang up before.
    pub fn until(until: Instant) -> Self {
        Self { until, gone: CancellationToken::new(), template_time: TemplateTime::default() }
    }

    pub fn is_over(&self) -> bool {
        self.gone.is_cancelled() || self.until <= Instant::now()
    }
}

/// A message to be judged, and who sends it.
#[derive(Clone, Debug)]
pub struct Sending {
    pub caller: AccountCaller,
    pub message: PricedMessage,
}

/// What one message gets for an answer.
pub type Reply = Result<Verdict, Fault>;

/// A message in the queue.
pub(super) struct Entry {
    pub sending: Sending,
    patience: Patience,
    ticket: Arc<Ticket>,
    reply: oneshot::Sender<Reply>,
}

impl Entry {
    /// Answers whoever still waits.
    pub fn answer(self, reply: Reply) {
        // Nobody listens any more: what was accepted is stored, and a repeat will find it.
        let _ = self.reply.send(reply);
    }
}

/// Decides who was first: the writer that takes an entry, or the caller that gives it up.
#[derive(Default)]
struct Ticket(AtomicU8);

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Ticket {
    fn turn(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The caller's end of an [`Entry`].
pub(super) struct Waiting {
    patience: Patience,
    ticket: Arc<Ticket>,
    reply: oneshot::Receiver<Reply>,
}

impl Waiting {
    /// Waits for the verdict. Whose patience ends before a writer took the message is told that
    /// nothing was charged; afterwards, that the outcome is not known.
    pub async fn verdict(self) -> Reply {
        let Self { patience, ticket, mut reply } = self;
        let reply = tokio::select! {
            biased;
            reply = &mut reply => Some(reply),
            () = tokio::time::sleep_until(patience.until) => None,
            () = patience.gone.cancelled() => None,
        };
        match reply {
            Some(Ok(reply)) => reply,
            None | Some(Err(_)) if ticket.turn(GIVEN_UP) => Err(Unavailable::NotInTime.into()),
            // Taken, and not answered yet; or the writer broke off with it.
            None | Some(Err(_)) => Err(Unavailable::OutcomeUnknown.into()),
        }
    }
}

/// A queue before one writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    /// How long a batch takes, on average of late; 0 before the first.
    batch_micros: AtomicU64,
}

/// How many batches, of how many messages together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub batches: u64,
    pub messages: u64,
}

impl std::ops::Sub for Count {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { batches: self.batches - earlier.batches, messages: self.messages - earlier.messages }
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    by_team: HashMap<Uuid, usize>,
    taken: Count,
    is_closed: bool,
}

impl Queue {
    /// Puts all messages of one caller in, or none.
    pub fn push(
        &self,
        caller: &AccountCaller,
        messages: Vec<PricedMessage>,
        patience: &Patience,
    ) -> Result<Vec<Waiting>, Unavailable> {
        let count = messages.len();
        let mut state = self.state();
        if state.is_closed {
            return Err(Unavailable::Stopping);
        }
        let of_team = state.by_team.get(&caller.team_id).copied().unwrap_or(0);
        let is_room = state.waiting.len() + count <= WAITING_MAX
            && of_team + count <= WAITING_OF_TEAM_MAX
            && Instant::now() + self.expected_wait(state.waiting.len()) < patience.until;
        if !is_room {
            return Err(Unavailable::Overloaded);
        }
        *state.by_team.entry(caller.team_id).or_default() += count;
        let waiting = messages.into_iter().map(|message| {
            let ticket = Arc::new(Ticket::default());
            let (reply, receiver) = oneshot::channel();
            state.waiting.push_back(Entry {
                sending: Sending { caller: *caller, message },
                patience: patience.clone(),
                ticket: Arc::clone(&ticket),
                reply,
            });
            Waiting { patience: patience.clone(), ticket, reply: receiver }
        });
        let waiting = waiting.collect();
        drop(state);
        self.arrived.notify_one();
        Ok(waiting)
    }

    /// What arrived since the last batch, at most [`BATCH_MAX`], in order; waits for the first.
    /// `None` once the queue is closed and empty.
    pub async fn next_batch(&self) -> Option<Vec<Entry>> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.state();
                let batch = state.take();
                if !batch.is_empty() {
                    state.taken.batches += 1;
                    state.taken.messages += batch.len() as u64;
                    return Some(batch);
                }
                if state.is_closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// Takes nothing more; what waits is still worked off.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.arrived.notify_one();
    }

    /// What was taken so far.
    pub fn taken(&self) -> Count {
        self.state().taken
    }

    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Notes how long a batch took.
    pub fn note_batch_time(&self, took: Duration) {
        // One long stall must not make the queue refuse for long.
        let took = u64::try_from(took.min(BATCH_TIME_MAX).as_micros()).unwrap_or(u64::MAX);
        let before = self.batch_micros.load(Ordering::Relaxed);
        self.batch_micros.store(before - before / 8 + took / 8, Ordering::Relaxed);
    }

    fn expected_wait(&self, ahead: usize) -> Duration {
        let batches = u32::try_from(ahead.div_ceil(BATCH_MAX)).unwrap_or(u32::MAX);
        Duration::from_micros(self.batch_micros.load(Ordering::Relaxed)).saturating_mul(batches)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the queue in hand")
    }
}

impl State {
    fn take(&mut self) -> Vec<Entry> {
        let mut batch = Vec::with_capacity(self.waiting.len().min(BATCH_MAX));
        while batch.len() < BATCH_MAX {
            let Some(entry) = self.waiting.pop_front() else { break };
            let team_id = entry.sending.caller.team_id;
            if let Some(count) = self.by_team.get_mut(&team_id) {
                *count -= 1;
                if *count == 0 {
                    self.by_team.remove(&team_id);
                }
            }
            // Who has gone is not charged; who gave up has been told so.
            if !entry.patience.is_over() && entry.ticket.turn(TAKEN) {
                batch.push(entry);
            }
        }
        batch
    }
}
