//! Changes on their way to the listeners of this process: gathered for a moment, then delivered team by team.

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

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(50);
/// News that a slow listener may be behind before it has to look at everything again.
const BEHIND_MAX: usize = 64;
/// How long the word of another process counts: what it listens to.
pub(super) const WORD_HOLDS: Duration = Duration::from_secs(30);
/// Changes of one team that wait for other processes at most; beyond that, these are told to look at everything.
pub(super) const ASIDE_MAX: usize = 10_000;

/// Reads of listeners that run at once at most, so that connections are left for requests. A team has one.
const READS_MAX: usize = 2;

/// A change that was committed.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub team_id: Uuid,
    /// The account whose settings, money or message changed; `None` if only the team's money did.
    pub account_id: Option<Uuid>,
    pub message_id: Option<Uuid>,
}

impl Change {
    /// The money, the settings or the status of an account changed.
    pub fn of_account(account: &account::Model) -> Self {
        Self { team_id: account.team_id, account_id: Some(account.id), message_id: None }
    }

    /// A message changed, and its account's money with it, perhaps.
    pub fn of_message(message: &message::Model) -> Self {
        Self {
            team_id: message.team_id,
            account_id: Some(message.account_id),
            message_id: Some(message.id),
        }
    }
}

/// Accounts that changed, each with those of its messages that did.
pub type Changed = BTreeMap<Uuid, BTreeSet<Uuid>>;

/// What a listener hears.
#[derive(Debug)]
pub struct Heard {
    pub news: Event,
    /// When it was told, by the app's clock.
    pub at: DateTime<Utc>,
    /// The same moment: a read that began no earlier shows what the news are about.
    pub since: Instant,
}

/// What has changed.
#[derive(Clone, Debug)]
pub enum Event {
    Changed(Changed),
    /// Something about money, limits or statuses may have changed.
    Refresh,
    /// Something may have been missed.
    Lagged,
}

/// The listeners of this process, and what is to be told.
pub struct Events {
    /// Tells this process's own letters from others'.
    pub(super) process: Uuid,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    /// Wakes the teller.
    pub(super) gathered: Notify,
    /// Wakes whoever tells other processes what changed.
    pub(super) set_aside: Notify,
    /// Wakes whoever tells other processes what is listened to here.
    pub(super) listening: Notify,
    /// Turns of all teams to read what changed.
    pub(super) reads: Semaphore,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) here: HashMap<Uuid, OfTeam>,
    pub(super) elsewhere: HashMap<Uuid, Elsewhere>,
    pub(super) gathered: HashMap<Uuid, Changed>,
    /// What other processes are to be told.
    pub(super) aside: HashMap<Uuid, Aside>,
}

/// What the listeners of one team share.
pub(super) struct OfTeam {
    sender: broadcast::Sender<Arc<Heard>>,
    turns: Arc<Turns>,
}

/// The turns of one team. However many listeners it has, only so many of them compete with other teams'.
struct Turns {
    read: Semaphore,
    show: Arc<Semaphore>,
}

/// Changes of accounts and of their messages; `None`: too many to name.
pub(super) type Aside = Option<BTreeSet<(Uuid, Option<Uuid>)>>;

/// What another process listens to.
pub(super) struct Elsewhere {
    pub(super) until: Instant,
    /// `None`: too many teams to name.
    pub(super) teams: Option<HashSet<Uuid>>,
}

/// A listener's turn to show one event. It ends when this is dropped.
pub type Turn = OwnedSemaphorePermit;

/// Events of one team that are shown at once at most: executing them takes half of the processors.
pub fn turns_of_team() -> usize {
    available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}

/// One end of what is told of a team.
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Heard>>,
    turns: Arc<Turns>,
    clock: Arc<dyn Clock>,
}

impl Listener {
    /// The next news.
    pub async fn next(&mut self) -> Arc<Heard> {
        match self.receiver.recv().await {
            Ok(heard) => heard,
            Err(broadcast::error::RecvError::Lagged(_)) => {
                Arc::new(Heard::now(Event::Lagged, &*self.clock))
            }
            // Its sender is gone with the server.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Waits for a turn of the team. A listener with many events lets others go first after each.
    pub async fn turn(&self) -> Turn {
        yield_now().await;
        Arc::clone(&self.turns.show).acquire_owned().await.expect("the turns are never closed")
    }
}

impl Heard {
    fn now(news: Event, clock: &dyn Clock) -> Self {
        Self { news, at: clock.now(), since: Instant::now() }
    }
}

impl Events {
    /// `process` is an id of this process alone.
    pub fn new(process: Uuid, clock: Arc<dyn Clock>) -> Self {
        Self {
            process,
            clock,
            state: Mutex::default(),
            gathered: Notify::new(),
            set_aside: Notify::new(),
            listening: Notify::new(),
            reads: Semaphore::new(READS_MAX),
        }
    }

    /// Listens to a team from now on.
    pub fn listen(&self, team_id: Uuid) -> Listener {
        let mut state = self.state();
        let of_team = state.here.entry(team_id).or_insert_with(|| OfTeam {
            sender: broadcast::Sender::new(BEHIND_MAX),
            turns: Arc::new(Turns {
                read: Semaphore::new(1),
                show: Arc::new(Semaphore::new(turns_of_team())),
            }),
        });
        if of_team.sender.receiver_count() == 0 {
            self.listening.notify_one();
        }
        Listener {
            receiver: of_team.sender.subscribe(),
            turns: Arc::clone(&of_team.turns),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Waits for a turn to read, first the listener's among its team, then its team's among all: a team
    /// waits for at most one read of each other team.
    pub async fn read_turn<'a>(&'a self, listener: &'a Listener) -> [SemaphorePermit<'a>; 2] {
        let of_team = listener.turns.read.acquire().await.expect("the turns are never closed");
        let of_all = self.reads.acquire().await.expect("the turns are never closed");
        [of_team, of_all]
    }

    /// Tells changes that were just committed.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>) {
        let mut state = self.state();
        if state.here.is_empty() && state.elsewhere.is_empty() {
            return;
        }
        let mut is_heard = false;
        for Change { team_id, account_id, message_id } in changes {
            if !state.is_heard(team_id) {
                continue;
            }
            is_heard = true;
            let gathered = state.gathered.entry(team_id).or_default();
            if let Some(account_id) = account_id {
                gathered.entry(account_id).or_default().extend(message_id);
            }
        }
        if is_heard {
            self.gathered.notify_one();
        }
    }

    /// Tells news to the listeners of a team here.
    pub(super) fn publish_locally(&self, team_id: Uuid, news: Event) {
        let sender = self.state().here.get(&team_id).map(|of_team| of_team.sender.clone());
        // Without the lock, which every commit takes: waking thousands of listeners takes a while.
        if let Some(sender) = sender {
            let _ = sender.send(Arc::new(Heard::now(news, &*self.clock)));
        }
    }

    /// Something may have been missed of every team.
    pub(super) fn publish_lagged(&self) {
        for team_id in self.teams() {
            self.publish_locally(team_id, Event::Lagged);
        }
    }

    /// The teams that are listened to here.
    pub(super) fn teams(&self) -> Vec<Uuid> {
        let mut state = self.state();
        state.here.retain(|_, of_team| of_team.sender.receiver_count() > 0);
        state.here.keys().copied().collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the listeners")
    }
}

impl State {
    pub(super) fn is_heard(&self, team_id: Uuid) -> bool {
        let is_heard_here =
            || self.here.get(&team_id).is_some_and(|of_team| of_team.sender.receiver_count() > 0);
        is_heard_here() || self.is_heard_elsewhere(team_id)
    }

    pub(super) fn is_heard_elsewhere(&self, team_id: Uuid) -> bool {
        let now = Instant::now();
        self.elsewhere.values().any(|process| {
            let is_of_these = |teams: &HashSet<Uuid>| teams.contains(&team_id);
            process.until > now && process.teams.as_ref().is_none_or(is_of_these)
        })
    }

    pub(super) fn set_aside(&mut self, team_id: Uuid, changed: &Changed) {
        let aside = self.aside.entry(team_id).or_insert_with(|| Some(BTreeSet::new()));
        let Some(changes) = aside else { return };
        for (account_id, messages) in changed {
            if messages.is_empty() {
                changes.insert((*account_id, None));
            }
            changes.extend(messages.iter().map(|message_id| (*account_id, Some(*message_id))));
        }
        if changes.len() > ASIDE_MAX {
            *aside = None;
        }
    }
}

/// Here at once; what is for other processes is put aside, for they may be slow to reach.
pub(super) async fn publish_gathered(app: &App) {
    loop {
        app.events.gathered.notified().await;
        sleep(GATHER).await;
        let gathered = std::mem::take(&mut app.events.state().gathered);
        for (team_id, changed) in gathered {
            let mut state = app.events.state();
            if state.is_heard_elsewhere(team_id) {
                state.set_aside(team_id, &changed);
                app.events.set_aside.notify_one();
            }
            drop(state);
            app.events.publish_locally(team_id, Event::Changed(changed));
        }
    }
}
