//! Collects committed changes and publishes them to the listeners of this process, by team. Changes for other
//! processes are queued here; `postgres` sends them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    thread::available_parallelism,
    time::Duration,
};

use chrono::{DateTime, Utc};
use entity::{account, message};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, broadcast},
    task::yield_now,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{app::App, clock::Clock};

/// How long changes are collected before they are published.
const COLLECT_DELAY: Duration = Duration::from_millis(50);
/// Maximum number of events that a slow listener may lag behind; beyond that it gets [`Event::Lagged`].
const LAG_MAX: usize = 64;
/// How long another process's announcement of the teams that it listens to is valid.
pub(super) const INTEREST_TTL: Duration = Duration::from_secs(30);
/// Maximum number of changes of one team that are pending for other processes; beyond that, these get
/// [`Event::Lagged`].
pub(super) const PENDING_MAX: usize = 10_000;

/// Maximum number of concurrent reads by all listeners, so that connections are left for requests. A team has one.
const READS_MAX: usize = 2;

/// A change that was committed.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub team_id: Uuid,
    /// The account whose settings, money or message changed; `None` if only the team's money changed.
    pub account_id: Option<Uuid>,
    pub message_id: Option<Uuid>,
}

impl Change {
    /// The money, the settings or the status of an account changed.
    pub fn of_account(account: &account::Model) -> Self {
        Self { team_id: account.team_id, account_id: Some(account.id), message_id: None }
    }

    /// A message changed, and perhaps its account's money.
    pub fn of_message(message: &message::Model) -> Self {
        Self {
            team_id: message.team_id,
            account_id: Some(message.account_id),
            message_id: Some(message.id),
        }
    }
}

/// The accounts that changed, each with its changed messages.
pub type Changed = BTreeMap<Uuid, BTreeSet<Uuid>>;

/// An event with the time at which it was published.
#[derive(Debug)]
pub struct ReceivedEvent {
    pub event: Event,
    /// By the app's clock.
    pub at: DateTime<Utc>,
    /// The same time: a read that began at `since` or later includes the change.
    pub since: Instant,
}

/// A change, as listeners see it.
#[derive(Clone, Debug)]
pub enum Event {
    Changed(Changed),
    /// Money, limits or statuses may have changed.
    Refresh,
    /// Events may have been lost.
    Lagged,
}

/// The listeners of this process, and the changes to publish.
pub struct Events {
    /// The id of this process, to recognise its own notifications.
    pub(super) process: Uuid,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    /// Wakes the task that publishes collected changes.
    pub(super) change_collected: Notify,
    /// Wakes the task that sends changes to other processes.
    pub(super) pending_added: Notify,
    /// Wakes the task that announces the teams with listeners to other processes.
    pub(super) interest_changed: Notify,
    /// Limits the concurrent reads of all teams.
    pub(super) reads: Semaphore,
}

#[derive(Default)]
pub(super) struct State {
    /// The teams that are listened to in this process.
    pub(super) local: HashMap<Uuid, LocalTeam>,
    /// The teams that other processes listen to, by process.
    pub(super) remote: HashMap<Uuid, RemoteInterest>,
    /// Changes to publish, by team.
    pub(super) collected: HashMap<Uuid, Changed>,
    /// Changes to send to other processes, by team.
    pub(super) pending: HashMap<Uuid, Pending>,
}

/// Shared by the listeners of one team.
pub(super) struct LocalTeam {
    sender: broadcast::Sender<Arc<ReceivedEvent>>,
    turns: Arc<Turns>,
}

/// The turns of one team. They limit how many of its listeners compete with other teams' listeners.
struct Turns {
    read: Semaphore,
    show: Arc<Semaphore>,
}

/// Changed accounts and messages; `None` if there are too many to list.
pub(super) type Pending = Option<BTreeSet<(Uuid, Option<Uuid>)>>;

/// The teams that another process listens to.
pub(super) struct RemoteInterest {
    pub(super) until: Instant,
    /// `None` if there are too many to list: all teams.
    pub(super) teams: Option<HashSet<Uuid>>,
}

/// A listener's turn to process one event. It ends when this is dropped.
pub type Turn = OwnedSemaphorePermit;

/// Maximum number of events of one team that are processed concurrently: half of the processors.
pub fn turns_of_team() -> usize {
    available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}

/// Receives the events of one team.
pub struct Listener {
    receiver: broadcast::Receiver<Arc<ReceivedEvent>>,
    turns: Arc<Turns>,
    clock: Arc<dyn Clock>,
}

impl Listener {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Arc<ReceivedEvent> {
        match self.receiver.recv().await {
            Ok(received) => received,
            Err(broadcast::error::RecvError::Lagged(_)) => {
                Arc::new(ReceivedEvent::now(Event::Lagged, &*self.clock))
            }
            // The sender is dropped when the server stops.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Waits for a turn of the team. A listener with many events lets others run after each one.
    pub async fn turn(&self) -> Turn {
        yield_now().await;
        Arc::clone(&self.turns.show).acquire_owned().await.expect("the semaphore is never closed")
    }
}

impl ReceivedEvent {
    fn now(event: Event, clock: &dyn Clock) -> Self {
        Self { event, at: clock.now(), since: Instant::now() }
    }
}

impl Events {
    /// `process` is a unique id of this process.
    pub fn new(process: Uuid, clock: Arc<dyn Clock>) -> Self {
        Self {
            process,
            clock,
            state: Mutex::default(),
            change_collected: Notify::new(),
            pending_added: Notify::new(),
            interest_changed: Notify::new(),
            reads: Semaphore::new(READS_MAX),
        }
    }

    /// Listens to a team from now on.
    pub fn listen(&self, team_id: Uuid) -> Listener {
        let mut state = self.state();
        let of_team = state.local.entry(team_id).or_insert_with(|| LocalTeam {
            sender: broadcast::Sender::new(LAG_MAX),
            turns: Arc::new(Turns {
                read: Semaphore::new(1),
                show: Arc::new(Semaphore::new(turns_of_team())),
            }),
        });
        if of_team.sender.receiver_count() == 0 {
            self.interest_changed.notify_one();
        }
        Listener {
            receiver: of_team.sender.subscribe(),
            turns: Arc::clone(&of_team.turns),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Waits for a turn to read: first for the listener's turn in its team, then for the team's turn among all
    /// teams. A team waits for at most one read of each other team.
    pub async fn read_turn<'a>(&'a self, listener: &'a Listener) -> [SemaphorePermit<'a>; 2] {
        let of_team = listener.turns.read.acquire().await.expect("the semaphore is never closed");
        let of_all = self.reads.acquire().await.expect("the semaphore is never closed");
        [of_team, of_all]
    }

    /// Publishes committed changes.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>) {
        let mut state = self.state();
        if state.local.is_empty() && state.remote.is_empty() {
            return;
        }
        let mut is_collected = false;
        for Change { team_id, account_id, message_id } in changes {
            if !state.has_listeners(team_id) {
                continue;
            }
            is_collected = true;
            let collected = state.collected.entry(team_id).or_default();
            if let Some(account_id) = account_id {
                collected.entry(account_id).or_default().extend(message_id);
            }
        }
        if is_collected {
            self.change_collected.notify_one();
        }
    }

    /// Publishes an event to the team's listeners in this process.
    pub(super) fn publish_locally(&self, team_id: Uuid, event: Event) {
        let sender = self.state().local.get(&team_id).map(|of_team| of_team.sender.clone());
        // The lock, which every commit takes, is released first: waking thousands of listeners takes time.
        if let Some(sender) = sender {
            let _ = sender.send(Arc::new(ReceivedEvent::now(event, &*self.clock)));
        }
    }

    /// Publishes [`Event::Lagged`] to all teams with listeners.
    pub(super) fn publish_lagged(&self) {
        for team_id in self.teams() {
            self.publish_locally(team_id, Event::Lagged);
        }
    }

    /// The teams with listeners in this process.
    pub(super) fn teams(&self) -> Vec<Uuid> {
        let mut state = self.state();
        state.local.retain(|_, of_team| of_team.sender.receiver_count() > 0);
        state.local.keys().copied().collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }
}

impl State {
    fn has_listeners(&self, team_id: Uuid) -> bool {
        let has_local_listeners =
            || self.local.get(&team_id).is_some_and(|of_team| of_team.sender.receiver_count() > 0);
        has_local_listeners() || self.has_remote_listeners(team_id)
    }

    fn has_remote_listeners(&self, team_id: Uuid) -> bool {
        let now = Instant::now();
        self.remote.values().any(|process| {
            let contains_team = |teams: &HashSet<Uuid>| teams.contains(&team_id);
            process.until > now && process.teams.as_ref().is_none_or(contains_team)
        })
    }

    pub(super) fn add_pending(&mut self, team_id: Uuid, changed: &Changed) {
        let pending = self.pending.entry(team_id).or_insert_with(|| Some(BTreeSet::new()));
        let Some(changes) = pending else { return };
        for (account_id, messages) in changed {
            if messages.is_empty() {
                changes.insert((*account_id, None));
            }
            changes.extend(messages.iter().map(|message_id| (*account_id, Some(*message_id))));
        }
        if changes.len() > PENDING_MAX {
            *pending = None;
        }
    }
}

/// Publishes collected changes in this process, and queues them for other processes, where the delivery may be slow.
pub(super) async fn publish_collected(app: &App) {
    loop {
        app.events.change_collected.notified().await;
        sleep(COLLECT_DELAY).await;
        let collected = std::mem::take(&mut app.events.state().collected);
        for (team_id, changed) in collected {
            let mut state = app.events.state();
            if state.has_remote_listeners(team_id) {
                state.add_pending(team_id, &changed);
                app.events.pending_added.notify_one();
            }
            drop(state);
            app.events.publish_locally(team_id, Event::Changed(changed));
        }
    }
}
