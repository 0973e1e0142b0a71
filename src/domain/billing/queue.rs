//! The bounded queue in front of a writer. It takes either all messages of a call or none. Both the number of messages
//! and their bytes of content are limited, and one team can use at most half of each limit. Messages of disconnected
//! clients are dropped. Teams take turns: a batch takes one message from each team, then a second message from each
//! team, and so on. So a team with a full queue delays the messages of other teams by at most one batch.

use crate::domain::deadline::Deadline;
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
use uuid::Uuid;

use super::{PricedMessage, Verdict};
use crate::domain::{
    Fault, Unavailable,
    caller::AccountCaller,
    channel::content::{EMAIL_BYTES_MAX, SUBJECT_CHARS_MAX},
    validate::METADATA_BYTES_MAX,
    write_rate::CALL_BYTES_MAX,
};

/// Maximum number of messages waiting for one writer. A writer needs about half a second to process them.
pub const WAITING_MAX: usize = 8_192;
/// Maximum number of messages of one team waiting for one writer.
pub const WAITING_OF_TEAM_MAX: usize = WAITING_MAX / 2;
/// Maximum number of messages in a batch.
pub const BATCH_MAX: usize = 256;
/// Maximum number of bytes of content waiting for one writer: eight of the largest batches. A writer needs about a
/// second to process them.
const WAITING_BYTES_MAX: usize = 8 * BATCH_BYTES_MAX;
/// Maximum number of bytes of content of one team waiting for one writer: the bursts of four accounts.
pub const WAITING_BYTES_OF_TEAM_MAX: usize = WAITING_BYTES_MAX / 2;
/// Maximum number of bytes of content in a batch. The content is in memory several times: in the rows, in the
/// parameters of the statement, and in the driver. The largest call fits into one batch.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
const _: () = assert!(CALL_BYTES_MAX <= BATCH_BYTES_MAX);

/// Maximum number of bytes of content in a message. The largest message is an e-mail with text, HTML, a subject and
/// metadata.
const MESSAGE_BYTES_MAX: usize = 2 * EMAIL_BYTES_MAX + 4 * SUBJECT_CHARS_MAX + METADATA_BYTES_MAX;

/// Maximum duration of a batch that the estimate of the waiting time assumes.
const BATCH_TIME_MAX: Duration = Duration::from_secs(2);

/// A message to accept or refuse, with its caller.
#[derive(Clone, Debug)]
pub struct SendRequest {
    pub caller: AccountCaller,
    pub message: PricedMessage,
}

/// The reply to one message.
pub type Reply = Result<Verdict, Fault>;

/// A message in the queue.
pub(super) struct Entry {
    pub request: SendRequest,
    deadline: Deadline,
    ticket: Arc<Ticket>,
    reply: oneshot::Sender<Reply>,
}

impl Entry {
    /// Sends the reply to the caller.
    pub fn reply_with(self, reply: Reply) {
        // Sending fails if the caller no longer waits. An accepted message is stored nevertheless, and a retry replays
        // it.
        let _ = self.reply.send(reply);
    }
}

/// Determines whether the writer takes an entry before the caller stops waiting for the reply. Only one of them can
/// succeed.
#[derive(Default)]
struct Ticket(AtomicU8);

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Ticket {
    /// Changes the state from [`WAITING`] to `to`. Returns false if the other side has already changed the state.
    fn set(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The caller's end of an [`Entry`], which receives the reply.
pub(super) struct Waiting {
    deadline: Deadline,
    ticket: Arc<Ticket>,
    reply: oneshot::Receiver<Reply>,
}

impl Waiting {
    /// Waits for the verdict until the deadline.
    ///
    /// # Errors
    /// [`Unavailable::NotInTime`] if no writer took the message before the deadline: nothing was charged.
    /// [`Unavailable::OutcomeUnknown`] if a writer took the message and did not reply.
    pub async fn verdict(self) -> Reply {
        let Self { deadline, ticket, mut reply } = self;
        let reply = tokio::select! {
            biased;
            reply = &mut reply => Some(reply),
            () = tokio::time::sleep_until(deadline.until) => None,
            () = deadline.gone.cancelled() => None,
        };
        match reply {
            Some(Ok(reply)) => reply,
            None | Some(Err(_)) if ticket.set(GIVEN_UP) => Err(Unavailable::NotInTime.into()),
            // A writer took the message, but has not replied yet or has panicked.
            None | Some(Err(_)) => Err(Unavailable::OutcomeUnknown.into()),
        }
    }
}

/// The queue of one writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    /// The moving average of the duration of a batch, in microseconds; 0 before the first batch.
    batch_micros: AtomicU64,
}

/// A number of batches, and of the messages in them.
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

/// A number of messages and their bytes of content.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    messages: usize,
    bytes: usize,
}

impl Load {
    fn of(messages: &[PricedMessage]) -> Self {
        let bytes = messages.iter().map(PricedMessage::bytes).sum();
        Self { messages: messages.len(), bytes }
    }

    fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
    }

    fn subtract(&mut self, less: Self) {
        self.messages -= less.messages;
        self.bytes -= less.bytes;
    }

    fn fits(self, more: Self, messages_max: usize, bytes_max: usize) -> bool {
        self.messages + more.messages <= messages_max && self.bytes + more.bytes <= bytes_max
    }
}

#[derive(Default)]
struct State {
    teams: HashMap<Uuid, TeamQueue>,
    /// The teams with waiting messages, in the order of their turns.
    turns: VecDeque<Uuid>,
    load: Load,
    taken: Count,
    is_closed: bool,
}

/// The waiting messages of one team, in order.
#[derive(Default)]
struct TeamQueue {
    waiting: VecDeque<Entry>,
    load: Load,
}

impl Queue {
    /// Adds all messages of one call or none.
    pub fn push(
        &self,
        caller: &AccountCaller,
        messages: Vec<PricedMessage>,
        deadline: &Deadline,
    ) -> Result<Vec<Waiting>, Unavailable> {
        let more = Load::of(&messages);
        let mut state = self.state();
        if state.is_closed {
            return Err(Unavailable::Stopping);
        }
        let of_team = state.teams.get(&caller.team_id).map(|team| team.load).unwrap_or_default();
        let fits = state.load.fits(more, WAITING_MAX, WAITING_BYTES_MAX)
            && of_team.fits(more, WAITING_OF_TEAM_MAX, WAITING_BYTES_OF_TEAM_MAX)
            && Instant::now() + self.expected_wait(state.ahead_of(of_team)) < deadline.until;
        if !fits {
            return Err(Unavailable::Overloaded);
        }
        let mut waiting = Vec::with_capacity(messages.len());
        let entries = messages.into_iter().map(|message| {
            let ticket = Arc::new(Ticket::default());
            let (reply, receiver) = oneshot::channel();
            let callers_ticket = Arc::clone(&ticket);
            waiting.push(Waiting {
                deadline: deadline.clone(),
                ticket: callers_ticket,
                reply: receiver,
            });
            let request = SendRequest { caller: *caller, message };
            Entry { request, deadline: deadline.clone(), ticket, reply }
        });
        state.add(caller.team_id, entries, more);
        drop(state);
        self.arrived.notify_one();
        Ok(waiting)
    }

    /// Waits for messages and takes the next batch, within [`BATCH_MAX`] and [`BATCH_BYTES_MAX`]. Teams take turns, and
    /// the messages of each team are taken in order. Returns `None` when the queue is closed and empty.
    pub async fn next_batch(&self) -> Option<Vec<Entry>> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.state();
                let batch = state.take_batch();
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

    /// Closes the queue. New messages are refused, but the waiting messages are still processed.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.arrived.notify_one();
    }

    /// Returns the number of batches and messages taken so far.
    pub fn taken(&self) -> Count {
        self.state().taken
    }

    /// Returns the number of waiting messages.
    pub fn waiting(&self) -> usize {
        self.state().load.messages
    }

    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Records the duration of a batch.
    pub fn note_batch_time(&self, took: Duration) {
        // The duration is limited, so that one long stall does not make the queue refuse messages for a long time.
        let took = u64::try_from(took.min(BATCH_TIME_MAX).as_micros()).unwrap_or(u64::MAX);
        let before = self.batch_micros.load(Ordering::Relaxed);
        self.batch_micros.store(before - before / 8 + took / 8, Ordering::Relaxed);
    }

    fn expected_wait(&self, ahead: Load) -> Duration {
        let batches = ahead.messages.div_ceil(BATCH_MAX).max(ahead.bytes.div_ceil(BATCH_BYTES_MAX));
        let batches = u32::try_from(batches).unwrap_or(u32::MAX);
        Duration::from_micros(self.batch_micros.load(Ordering::Relaxed)).saturating_mul(batches)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }
}

impl State {
    fn add(&mut self, team_id: Uuid, entries: impl Iterator<Item = Entry>, more: Load) {
        if more.messages == 0 {
            return;
        }
        let team = self.teams.entry(team_id).or_default();
        if team.waiting.is_empty() {
            self.turns.push_back(team_id);
        }
        team.waiting.extend(entries);
        team.load.add(more);
        self.load.add(more);
    }

    /// Returns the maximum load that is taken before the next message of a team that already has the load `of_team` in
    /// the queue. Until then, every team has at most the same number of turns, each with one message.
    fn ahead_of(&self, of_team: Load) -> Load {
        let by_turns = (of_team.messages + 1).saturating_mul(self.turns.len());
        let of_others =
            (self.load.bytes - of_team.bytes).min(by_turns.saturating_mul(MESSAGE_BYTES_MAX));
        Load { messages: self.load.messages.min(by_turns), bytes: of_team.bytes + of_others }
    }

    fn take_batch(&mut self) -> Vec<Entry> {
        let mut batch = Vec::with_capacity(self.load.messages.min(BATCH_MAX));
        let mut bytes = 0;
        let mut skipped = Vec::new();
        while batch.len() < BATCH_MAX {
            let Some(team_id) = self.turns.pop_front() else { break };
            let Some((entry, size)) = self.next_of(team_id, BATCH_BYTES_MAX - bytes) else {
                skipped.push(team_id);
                continue;
            };
            // A disconnected caller is not charged. A caller that stopped waiting has already received its reply.
            if !entry.deadline.is_over() && entry.ticket.set(TAKEN) {
                bytes += size;
                batch.push(entry);
            }
        }
        // Teams whose message did not fit into the batch have the first turns in the next batch.
        skipped.into_iter().rev().for_each(|team_id| self.turns.push_front(team_id));
        batch
    }

    /// Takes the next message of a team if it has at most `bytes_max` bytes, and moves the team to the end of the
    /// rotation.
    fn next_of(&mut self, team_id: Uuid, bytes_max: usize) -> Option<(Entry, usize)> {
        let team = self.teams.get_mut(&team_id)?;
        let bytes = team.waiting.front()?.request.message.bytes();
        if bytes > bytes_max {
            return None;
        }
        let entry = team.waiting.pop_front()?;
        let taken = Load { messages: 1, bytes };
        team.load.subtract(taken);
        self.load.subtract(taken);
        if team.waiting.is_empty() {
            self.teams.remove(&team_id);
        } else {
            self.turns.push_back(team_id);
        }
        Some((entry, bytes))
    }
}

#[cfg(test)]
mod tests;
