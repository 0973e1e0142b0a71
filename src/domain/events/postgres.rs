//! News between processes on one `PostgreSQL`: each listens on one channel, tells which teams it listens
//! to, and notifies of changes that others listen to. The notifications are sent by statements of their
//! own, for one in the accept path's transaction would hold up every other commit.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Statement};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{Changed, Elsewhere, News, WORD_HOLDS};
use crate::{
    App,
    domain::{Fault, Unavailable},
    json,
};

const CHANNEL: &str = "tollgate_events";
/// `PostgreSQL` takes less than 8,000 bytes; an id in quotes and a comma are 39.
const IDS_MAX: usize = 150;
/// How long the letters about a team may take; their pool is one that changes wait for too.
const TELL_DEADLINE: Duration = Duration::from_secs(2);
const REST_AFTER_FAULT: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Letter {
    from: Uuid,
    note: Note,
}

#[derive(Serialize, Deserialize)]
enum Note {
    Changed {
        team: Uuid,
        accounts: Changed,
    },
    /// What the process listens to; `None`: too many teams to name.
    Listening(Option<Vec<Uuid>>),
    /// A process that has just begun to hear asks what the others listen to.
    Ask,
}

/// Hears what others tell, and tells them what is listened to here.
pub async fn run(app: &App) {
    tokio::join!(hear(app), tell_listening(app), tell_aside(app));
}

/// Tells other processes what was put aside for them.
async fn tell_aside(app: &App) {
    loop {
        app.events.set_aside.notified().await;
        let aside = std::mem::take(&mut app.events.state().aside);
        for (team_id, changed) in aside {
            if timeout(TELL_DEADLINE, tell(app, team_id, &changed)).await.is_err() {
                tracing::warn!("Other processes were not told of a change: the database is slow");
            }
        }
    }
}

/// Tells other processes what changed in a team.
async fn tell(app: &App, team_id: Uuid, changed: &Changed) {
    let mut letter = Changed::new();
    let mut ids = 0;
    for (account_id, messages) in changed {
        let whole = if messages.is_empty() {
            vec![None]
        } else {
            messages.iter().copied().map(Some).collect()
        };
        for message_id in whole {
            letter.entry(*account_id).or_default().extend(message_id);
            ids += 2;
            if ids >= IDS_MAX {
                send(app, Note::Changed { team: team_id, accounts: std::mem::take(&mut letter) })
                    .await;
                ids = 0;
            }
        }
    }
    if !letter.is_empty() || changed.is_empty() {
        send(app, Note::Changed { team: team_id, accounts: letter }).await;
    }
}

/// A letter that is lost is made up for by the net, as far as money and settings go; of messages it is not.
async fn send(app: &App, note: Note) {
    let letter = Letter { from: app.events.process, note };
    let text = serde_json::to_string(&letter).expect("ids are plain JSON");
    let values = [CHANNEL.into(), text.into()];
    let notify =
        Statement::from_sql_and_values(app.db.backend(), "SELECT pg_notify($1, $2)", values);
    if let Err(fault) = app.db.write.execute_raw(notify).await {
        tracing::warn!(%fault, "Other processes were not told of a change");
    }
}

/// Whenever something new is listened to, and often enough that the word does not run out: also that nothing
/// is, for the letter comes back, and tells that the line is not dead.
async fn tell_listening(app: &App) {
    loop {
        let teams = app.events.teams();
        send(app, Note::Listening((teams.len() < IDS_MAX).then_some(teams))).await;
        tokio::select! {
            () = app.events.listening.notified() => {}
            () = sleep(WORD_HOLDS / 3) => {}
        }
    }
}

async fn hear(app: &App) {
    loop {
        match listen(app).await {
            Ok(()) => {}
            Err(fault) => tracing::warn!(%fault, "Other processes cannot be heard; trying again"),
        }
        sleep(REST_AFTER_FAULT).await;
    }
}

/// Hears until the connection breaks for longer than a moment, or nothing is heard, not even what is sent here.
async fn listen(app: &App) -> Result<(), Fault> {
    let mut listener = app.db.listener().await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Whatever was told while nobody listened is lost.
        app.events.tell_missed();
        app.events.listening.notify_one();
        send(app, Note::Ask).await;
        loop {
            let heard = timeout(WORD_HOLDS, listener.try_recv()).await;
            let Some(notification) = heard.map_err(|_| Unavailable::Silent)?? else { break };
            match json::parse::<Letter>(notification.payload().as_bytes()) {
                Ok(letter) if letter.from == app.events.process => {}
                Ok(letter) => app.events.take(letter),
                Err(failure) => tracing::warn!(%failure, "Another process told something strange"),
            }
        }
    }
}

impl super::Events {
    fn take(&self, letter: Letter) {
        match letter.note {
            Note::Ask => self.listening.notify_one(),
            Note::Changed { team, accounts } => self.tell_here(team, News::Changed(accounts)),
            Note::Listening(teams) => {
                let until = Instant::now() + WORD_HOLDS;
                let teams = teams.map(|teams| teams.into_iter().collect());
                let mut state = self.state();
                state.elsewhere.retain(|_, process| process.until > Instant::now());
                state.elsewhere.insert(letter.from, Elsewhere { until, teams });
            }
        }
    }
}
