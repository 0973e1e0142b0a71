//! The bounded queue between requests and a writer. It takes all messages of a call or none; one team has at most
//! half of it; messages whose client has disconnected are dropped. The number of messages and the bytes of their
//! words are both bounded. Teams take turns: a batch takes one message of each team, then the next of
//! each, so that a team with a full queue delays another team's message by one batch.

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

/// Messages that wait for one writer at most: about half a second of its work.
pub const WAITING_MAX: usize = 8_192;
/// Of these, messages of one team at most.
pub const WAITING_OF_TEAM_MAX: usize = WAITING_MAX / 2;
/// Messages of one batch at most.
pub const BATCH_MAX: usize = 256;
/// Bytes of words that wait for one writer at most: eight of its largest batches, about a second of its work.
const WAITING_BYTES_MAX: usize = 8 * BATCH_BYTES_MAX;
/// Of these, bytes of one team at most: what four of its accounts write at once.
pub const WAITING_BYTES_OF_TEAM_MAX: usize = WAITING_BYTES_MAX / 2;
/// Bytes of words of one batch at most, which the writer holds several times: as rows, as the statement's
/// parameters and in the driver. The largest call fits into it.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
const _: () = assert!(CALL_BYTES_MAX <= BATCH_BYTES_MAX);

/// Bytes of words of one message at most: an e-mail's text and HTML, its subject and metadata.
const BYTES_MAX: usize = 2 * EMAIL_BYTES_MAX + 4 * SUBJECT_CHARS_MAX + METADATA_BYTES_MAX;

/// What a batch counts for at most when the wait is estimated.
const BATCH_TIME_MAX: Duration = Duration::from_secs(2);

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
    deadline: Deadline,
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
    deadline: Deadline,
    ticket: Arc<Ticket>,
    reply: oneshot::Receiver<Reply>,
}

impl Waiting {
    /// Waits for the verdict. Whose patience ends before a writer took the message is told that
    /// nothing was charged; afterwards, that the outcome is not known.
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

/// How much waits.
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
    teams: HashMap<Uuid, OfTeam>,
    /// The teams that have something waiting, in the order of their turns.
    turns: VecDeque<Uuid>,
    load: Load,
    taken: Count,
    is_closed: bool,
}

/// What waits of one team, in order.
#[derive(Default)]
struct OfTeam {
    waiting: VecDeque<Entry>,
    load: Load,
}

impl Queue {
    /// Puts all messages of one caller in, or none.
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
        let is_room = state.load.fits(more, WAITING_MAX, WAITING_BYTES_MAX)
            && of_team.fits(more, WAITING_OF_TEAM_MAX, WAITING_BYTES_OF_TEAM_MAX)
            && Instant::now() + self.expected_wait(state.ahead_of(of_team)) < deadline.until;
        if !is_room {
            return Err(Unavailable::Overloaded);
        }
        let mut waiting = Vec::with_capacity(messages.len());
        let entries = messages.into_iter().map(|message| {
            let ticket = Arc::new(Ticket::default());
            let (reply, receiver) = oneshot::channel();
            let ours = Arc::clone(&ticket);
            waiting.push(Waiting { deadline: deadline.clone(), ticket: ours, reply: receiver });
            let sending = Sending { caller: *caller, message };
            Entry { sending, deadline: deadline.clone(), ticket, reply }
        });
        state.put(caller.team_id, entries, more);
        drop(state);
        self.arrived.notify_one();
        Ok(waiting)
    }

    /// What arrived since the last batch, within [`BATCH_MAX`] and [`BATCH_BYTES_MAX`], by turns of the
    /// teams and in the order of each; waits for the first. `None` once the queue is closed and empty.
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
        self.state().load.messages
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

    fn expected_wait(&self, ahead: Load) -> Duration {
        let batches = ahead.messages.div_ceil(BATCH_MAX).max(ahead.bytes.div_ceil(BATCH_BYTES_MAX));
        let batches = u32::try_from(batches).unwrap_or(u32::MAX);
        Duration::from_micros(self.batch_micros.load(Ordering::Relaxed)).saturating_mul(batches)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the queue in hand")
    }
}

impl State {
    fn put(&mut self, team_id: Uuid, entries: impl Iterator<Item = Entry>, more: Load) {
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

    /// At most so much is taken before the next message of a team with so much waiting: as many turns of
    /// every team, each of one message.
    fn ahead_of(&self, of_team: Load) -> Load {
        let by_turns = (of_team.messages + 1).saturating_mul(self.turns.len());
        let of_others = (self.load.bytes - of_team.bytes).min(by_turns.saturating_mul(BYTES_MAX));
        Load { messages: self.load.messages.min(by_turns), bytes: of_team.bytes + of_others }
    }

    fn take(&mut self) -> Vec<Entry> {
        let mut batch = Vec::with_capacity(self.load.messages.min(BATCH_MAX));
        let mut bytes = 0;
        let mut too_large = Vec::new();
        while batch.len() < BATCH_MAX {
            let Some(team_id) = self.turns.pop_front() else { break };
            let Some((entry, size)) = self.next_of(team_id, BATCH_BYTES_MAX - bytes) else {
                too_large.push(team_id);
                continue;
            };
            // A caller that hung up is not charged; one that gave up was told so.
            if !entry.deadline.is_over() && entry.ticket.turn(TAKEN) {
                bytes += size;
                batch.push(entry);
            }
        }
        // Theirs is the first turn of the next batch.
        too_large.into_iter().rev().for_each(|team_id| self.turns.push_front(team_id));
        batch
    }

    /// The next message of a team and its bytes, if there are no more than so many. The team's next turn is the last.
    fn next_of(&mut self, team_id: Uuid, bytes_max: usize) -> Option<(Entry, usize)> {
        let team = self.teams.get_mut(&team_id)?;
        let bytes = team.waiting.front()?.sending.message.bytes();
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
