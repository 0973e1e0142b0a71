//! What has changed, told to whoever listens, on every process.
//!
//! After its commit a change is [told](Events::tell). What is told is gathered for a moment and then goes
//! to the listeners of its team: here at once, and by `NOTIFY` to those of other processes on the same
//! `PostgreSQL` (`postgres`). Nobody's listening costs a change next to nothing: processes tell each other
//! which teams they listen to.
//!
//! News say where to look, never what is there: who listens reads the rows, as far as it may see them. Every
//! two seconds the teams that are listened to are looked at for changes of money and settings that nobody
//! told, such as those of the command line. A message's change that another process could not tell, because it
//! did not know yet who listens or the database did not take its letter, is not made up for: its next one
//! is told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use entity::{account, message};
use sea_orm::DbBackend;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, broadcast},
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::App;

mod net;
mod postgres;

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(50);
/// News that a slow listener may be behind before it has to look at everything again.
const BEHIND_MAX: usize = 64;
/// How long the word of another process counts: what it listens to.
const WORD_HOLDS: Duration = Duration::from_secs(30);

/// Listeners that read at once at most, so that they leave connections to requests.
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
#[derive(Clone, Debug)]
pub enum News {
    Changed(Changed),
    /// Something about money, limits or statuses may have changed.
    LookAgain,
    /// Something may have been missed.
    Missed,
}

/// The listeners of this process, and what is to be told.
pub struct Events {
    /// Tells this process's own letters from others'.
    process: Uuid,
    state: Mutex<State>,
    /// Wakes the teller.
    gathered: Notify,
    /// Wakes whoever tells other processes what changed.
    set_aside: Notify,
    /// Wakes whoever tells other processes what is listened to here.
    listening: Notify,
    /// Turns to read what changed.
    reads: Semaphore,
}

#[derive(Default)]
struct State {
    here: HashMap<Uuid, broadcast::Sender<Arc<News>>>,
    elsewhere: HashMap<Uuid, Elsewhere>,
    gathered: HashMap<Uuid, Changed>,
    /// What other processes are to be told.
    aside: HashMap<Uuid, Changed>,
}

/// What another process listens to.
struct Elsewhere {
    until: Instant,
    /// `None`: too many teams to name.
    teams: Option<HashSet<Uuid>>,
}

/// One end of what is told of a team.
pub struct Listener(broadcast::Receiver<Arc<News>>);

impl Listener {
    /// The next news.
    pub async fn next(&mut self) -> Arc<News> {
        match self.0.recv().await {
            Ok(news) => news,
            Err(broadcast::error::RecvError::Lagged(_)) => Arc::new(News::Missed),
            // Its sender is gone with the server.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Events {
    /// `process` is an id of this process alone.
    pub fn new(process: Uuid) -> Self {
        Self {
            process,
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
        let sender = state.here.entry(team_id);
        let sender = sender.or_insert_with(|| broadcast::Sender::new(BEHIND_MAX));
        if sender.receiver_count() == 0 {
            self.listening.notify_one();
        }
        Listener(sender.subscribe())
    }

    /// A listener's turn to read what changed; they have it one after another.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.reads.acquire().await.expect("the turns are never closed")
    }

    /// Tells changes that were just committed.
    pub fn tell(&self, changes: impl IntoIterator<Item = Change>) {
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
    fn tell_here(&self, team_id: Uuid, news: News) {
        let mut state = self.state();
        let Some(sender) = state.here.get(&team_id) else { return };
        if sender.send(Arc::new(news)).is_err() {
            state.here.remove(&team_id);
        }
    }

    /// Something may have been missed of every team.
    fn tell_missed(&self) {
        for team_id in self.teams() {
            self.tell_here(team_id, News::Missed);
        }
    }

    /// The teams that are listened to here.
    fn teams(&self) -> Vec<Uuid> {
        let mut state = self.state();
        state.here.retain(|_, sender| sender.receiver_count() > 0);
        state.here.keys().copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the listeners")
    }
}

impl State {
    fn is_heard(&self, team_id: Uuid) -> bool {
        let is_heard_here =
            || self.here.get(&team_id).is_some_and(|sender| sender.receiver_count() > 0);
        is_heard_here() || self.is_heard_elsewhere(team_id)
    }

    fn is_heard_elsewhere(&self, team_id: Uuid) -> bool {
        let now = Instant::now();
        self.elsewhere.values().any(|process| {
            let is_of_these = |teams: &HashSet<Uuid>| teams.contains(&team_id);
            process.until > now && process.teams.as_ref().is_none_or(is_of_these)
        })
    }
}

/// Tells what is gathered, and looks for what nobody told, for ever.
pub async fn run(app: &App) {
    let across = async {
        if app.db.backend() == DbBackend::Postgres {
            postgres::run(app).await;
        }
    };
    tokio::join!(tell_gathered(app), across, net::run(app));
}

/// Here at once; what is for other processes is put aside, for they may be slow to reach.
async fn tell_gathered(app: &App) {
    loop {
        app.events.gathered.notified().await;
        sleep(GATHER).await;
        let gathered = std::mem::take(&mut app.events.state().gathered);
        for (team_id, changed) in gathered {
            let mut state = app.events.state();
            if state.is_heard_elsewhere(team_id) {
                let aside = state.aside.entry(team_id).or_default();
                for (account_id, messages) in &changed {
                    aside.entry(*account_id).or_default().extend(messages);
                }
                app.events.set_aside.notify_one();
            }
            drop(state);
            app.events.tell_here(team_id, News::Changed(changed));
        }
    }
}
