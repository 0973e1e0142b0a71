//! Collects committed changes by team, and publishes them to the listeners in this process. Changes for other processes
//! are queued here. The module `postgres` sends them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    thread::available_parallelism,
    time::Duration,
};

use chrono::{DateTime, Utc};
use entity::{account, message};
use tokio::{
    sync::{Notify, broadcast},
    task::yield_now,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{
    app::App,
    clock::Clock,
    db::{FairScheduler, Slot},
};

/// How long changes are collected before they are published.
pub(super) const COLLECT_DELAY: Duration = Duration::from_millis(50);
/// Maximum number of events by which a slow listener may lag behind. A listener that lags further behind gets
/// [`Event::Lagged`].
const LAG_MAX: usize = 64;
/// Maximum number of changes in one team that are pending for other processes; if there are more, these processes get
/// [`Event::Lagged`].
pub(super) const PENDING_MAX: usize = 10_000;

/// Maximum number of concurrent reads by all listeners. It is low, so that enough connections are left for requests.
/// One team may use half of these reads, which is one.
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
    /// Creates the change to the money, the settings or the status of an account.
    pub fn of_account(account: &account::Model) -> Self {
        Self { team_id: account.team_id, account_id: Some(account.id), message_id: None }
    }

    /// Creates the change to a message, and perhaps to its account's money.
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
    /// The time of publication by the app's clock.
    pub at: DateTime<Utc>,
    /// The same moment as [`Self::at`], as an `Instant`. A read that began at this moment or later includes the change.
    pub since: Instant,
}

/// A change, as sent to listeners.
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
    /// The id of this process, by which it recognizes its own notifications.
    pub(super) process: Uuid,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    /// Wakes the task that publishes collected changes.
    pub(super) change_collected: Notify,
    /// Wakes the task that sends changes to other processes.
    pub(super) pending_added: Notify,
    /// Limits the concurrent reads of all teams. A team waits for at most one read of each other team.
    reads: FairScheduler,
    /// Limits how many listeners of one team compete with other teams' listeners.
    turns: Arc<FairScheduler>,
}

#[derive(Default)]
pub(super) struct State {
    /// The teams that have listeners in this process.
    pub(super) local: HashMap<Uuid, broadcast::Sender<Arc<ReceivedEvent>>>,
    /// Whether changes are sent to other processes, which may listen to any team.
    pub(super) notifies_others: bool,
    /// Changes to publish in this process, by team.
    pub(super) collected: HashMap<Uuid, Changed>,
    /// Changes to send to other processes, by team.
    pub(super) pending: HashMap<Uuid, Pending>,
}

/// Changed accounts and messages; `None` if there are too many to list.
pub(super) type Pending = Option<BTreeSet<(Uuid, Option<Uuid>)>>;

/// A listener's turn to process one event. The turn ends when this value is dropped.
pub type Turn = Slot;

/// Returns the maximum number of events of one team that are processed concurrently: half of the number of processors.
pub fn turns_of_team() -> usize {
    available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}

/// Receives the events of one team.
pub struct Listener {
    team_id: Uuid,
    receiver: broadcast::Receiver<Arc<ReceivedEvent>>,
    turns: Arc<FairScheduler>,
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
            // The channel is closed only when the server stops.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Waits for a turn of the team. A listener with many events lets other listeners run after each event.
    pub async fn turn(&self) -> Turn {
        yield_now().await;
        self.turns.acquire_for_team(self.team_id).await
    }
}

impl ReceivedEvent {
    fn now(event: Event, clock: &dyn Clock) -> Self {
        Self { event, at: clock.now(), since: Instant::now() }
    }
}

impl Events {
    /// Creates the hub. `process` is a unique id of this process.
    pub fn new(process: Uuid, clock: Arc<dyn Clock>) -> Self {
        Self {
            process,
            clock,
            state: Mutex::default(),
            change_collected: Notify::new(),
            pending_added: Notify::new(),
            reads: FairScheduler::with_total(READS_MAX),
            turns: Arc::new(FairScheduler::new(2 * turns_of_team())),
        }
    }

    /// Starts to listen to a team.
    pub fn listen(&self, team_id: Uuid) -> Listener {
        let mut state = self.state();
        let sender = state.local.entry(team_id).or_insert_with(|| broadcast::Sender::new(LAG_MAX));
        Listener {
            team_id,
            receiver: sender.subscribe(),
            turns: Arc::clone(&self.turns),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Waits for a turn of the listener's team to read.
    pub async fn read_turn(&self, listener: &Listener) -> Turn {
        self.reads.acquire_for_team(listener.team_id).await
    }

    /// Publishes committed changes.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>) {
        let mut state = self.state();
        for Change { team_id, account_id, message_id } in changes {
            // A change is collected only if the team has listeners now. Later listeners must not receive changes from
            // before they began to listen.
            if state.has_listeners(team_id) {
                let collected = state.collected.entry(team_id).or_default();
                if let Some(account_id) = account_id {
                    collected.entry(account_id).or_default().extend(message_id);
                }
                self.change_collected.notify_one();
            }
            if state.notifies_others {
                state.add_pending(team_id, account_id, message_id);
                self.pending_added.notify_one();
            }
        }
    }

    /// Publishes an event to the team's listeners in this process.
    pub(super) fn publish_locally(&self, team_id: Uuid, event: Event) {
        let sender = self.state().local.get(&team_id).cloned();
        // The lock is released first, because every commit takes it and waking thousands of listeners takes time.
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

    /// Returns the teams with listeners in this process.
    pub(super) fn teams(&self) -> Vec<Uuid> {
        let mut state = self.state();
        state.local.retain(|_, sender| sender.receiver_count() > 0);
        state.local.keys().copied().collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }
}

impl State {
    fn has_listeners(&self, team_id: Uuid) -> bool {
        self.local.get(&team_id).is_some_and(|sender| sender.receiver_count() > 0)
    }

    pub(super) fn add_pending(
        &mut self,
        team_id: Uuid,
        account_id: Option<Uuid>,
        message_id: Option<Uuid>,
    ) {
        let pending = self.pending.entry(team_id).or_insert_with(|| Some(BTreeSet::new()));
        let Some(changes) = pending else { return };
        changes.extend(account_id.map(|account_id| (account_id, message_id)));
        if changes.len() > PENDING_MAX {
            *pending = None;
        }
    }
}

/// Publishes collected changes in this process.
pub(super) async fn publish_collected(app: &App) {
    loop {
        app.events.change_collected.notified().await;
        sleep(COLLECT_DELAY).await;
        let collected = std::mem::take(&mut app.events.state().collected);
        for (team_id, changed) in collected {
            app.events.publish_locally(team_id, Event::Changed(changed));
        }
    }
}
