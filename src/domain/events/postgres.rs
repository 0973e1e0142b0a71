//! News between processes on one `PostgreSQL`: each listens on one channel, tells which teams it listens
//! to, and notifies of changes that others listen to. The notifications are sent by statements of their
//! own, for one in the accept path's transaction would hold up every other commit.

use std::{collections::hash_map::Entry, time::Duration};

use sea_orm::{ConnectionTrait, Statement};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::hub::{Changed, Elsewhere, Event, Events, State, WORD_HOLDS};
use crate::{
    app::App,
    domain::{Fault, Unavailable},
    json,
};

const CHANNEL: &str = "tollgate_events";
/// `PostgreSQL` takes less than 8,000 bytes; an id in quotes and a comma are 39.
const IDS_MAX: usize = 150;
/// Of each change, the ids of an account and of a message.
const CHANGES_MAX: usize = IDS_MAX / 2;
/// How long a letter may take; the connections are those that changes wait for too.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Envelope {
    from: Uuid,
    note: Note,
}

#[derive(Serialize, Deserialize)]
enum Note {
    Changed {
        team: Uuid,
        accounts: Changed,
    },
    /// More of the team changed than is named.
    Lagged {
        team: Uuid,
    },
    /// What the process listens to; `None`: too many teams to name.
    Listening(Option<Vec<Uuid>>),
    /// A process that has just begun to hear asks what the others listen to.
    Ask,
}

/// Hears what others tell, and tells them what is listened to here.
pub async fn run(app: &App) {
    tokio::join!(hear(app), publish_interest(app), publish_pending(app));
}

/// Tells other processes what was put aside for them, by turns: one letter of each team at a time.
async fn publish_pending(app: &App) {
    loop {
        let teams: Vec<Uuid> = app.events.state().aside.keys().copied().collect();
        if teams.is_empty() {
            app.events.set_aside.notified().await;
        }
        for team_id in teams {
            let Some(note) = app.events.state().next_note(team_id) else { continue };
            if timeout(PUBLISH_TIMEOUT, send(app, note)).await.is_err() {
                tracing::warn!("Other processes were not told of a change: the database is slow");
            }
        }
    }
}

impl State {
    /// Takes what fits into one letter from what was put aside.
    fn next_note(&mut self, team_id: Uuid) -> Option<Note> {
        let Entry::Occupied(mut aside) = self.aside.entry(team_id) else { return None };
        let Some(changes) = aside.get_mut() else {
            aside.remove();
            return Some(Note::Lagged { team: team_id });
        };
        let mut accounts = Changed::new();
        for _ in 0..CHANGES_MAX {
            let Some((account_id, message_id)) = changes.pop_first() else { break };
            accounts.entry(account_id).or_default().extend(message_id);
        }
        if changes.is_empty() {
            aside.remove();
        }
        Some(Note::Changed { team: team_id, accounts })
    }
}

/// A letter that is lost is made up for by the net, as far as money and settings go; of messages it is not.
async fn send(app: &App, note: Note) {
    let envelope = Envelope { from: app.events.process, note };
    let text = serde_json::to_string(&envelope).expect("ids are plain JSON");
    let values = [CHANNEL.into(), text.into()];
    let notify =
        Statement::from_sql_and_values(app.db.backend(), "SELECT pg_notify($1, $2)", values);
    if let Err(fault) = app.db.write.execute_raw(notify).await {
        tracing::warn!(%fault, "Other processes were not told of a change");
    }
}

/// Whenever something new is listened to, and often enough that the word does not run out: also that nothing
/// is, for the letter comes back, and tells that the line is not dead.
async fn publish_interest(app: &App) {
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
        sleep(RETRY_DELAY).await;
    }
}

/// Hears until the connection breaks for longer than a moment, or nothing is heard, not even what is sent here.
async fn listen(app: &App) -> Result<(), Fault> {
    let mut listener = app.db.listener().await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Whatever was told while nobody listened is lost.
        app.events.publish_lagged();
        app.events.listening.notify_one();
        send(app, Note::Ask).await;
        loop {
            let heard = timeout(WORD_HOLDS, listener.try_recv()).await;
            let Some(notification) = heard.map_err(|_| Unavailable::Silent)?? else { break };
            match json::parse::<Envelope>(notification.payload().as_bytes()) {
                Ok(envelope) if envelope.from == app.events.process => {}
                Ok(envelope) => app.events.take(envelope),
                Err(failure) => tracing::warn!(%failure, "Another process told something strange"),
            }
        }
    }
}

impl Events {
    fn take(&self, envelope: Envelope) {
        match envelope.note {
            Note::Ask => self.listening.notify_one(),
            Note::Changed { team, accounts } => {
                self.publish_locally(team, Event::Changed(accounts))
            }
            Note::Lagged { team } => self.publish_locally(team, Event::Lagged),
            Note::Listening(teams) => {
                let until = Instant::now() + WORD_HOLDS;
                let teams = teams.map(|teams| teams.into_iter().collect());
                let mut state = self.state();
                state.elsewhere.retain(|_, process| process.until > Instant::now());
                state.elsewhere.insert(envelope.from, Elsewhere { until, teams });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::events::hub::ASIDE_MAX;

    fn ids(count: usize) -> BTreeSet<Uuid> {
        (0..count as u128).map(|id| Uuid::from_u128(u128::MAX - id)).collect()
    }

    /// PostgreSQL refuses a letter of 8,000 bytes.
    fn changed(note: Note) -> Changed {
        let text =
            serde_json::to_string(&Envelope { from: Uuid::max(), note }).expect("plain JSON");
        assert!(text.len() < 8_000, "{} bytes", text.len());
        let envelope: Envelope = json::parse(text.as_bytes()).expect("a letter");
        let Note::Changed { accounts, .. } = envelope.note else { panic!("changes were expected") };
        accounts
    }

    #[test]
    fn letters_name_every_change_once() {
        let (mut state, team_id) = (State::default(), Uuid::from_u128(1));
        let many_messages = Changed::from([(Uuid::max(), ids(CHANGES_MAX + 1))]);
        let accounts_with = |messages: &BTreeSet<Uuid>| -> Changed {
            ids(CHANGES_MAX).into_iter().map(|id| (id, messages.clone())).collect()
        };
        for (all, sizes) in [
            (Changed::new(), vec![0]),
            (accounts_with(&BTreeSet::new()), vec![CHANGES_MAX]),
            (accounts_with(&ids(1)), vec![CHANGES_MAX]),
            (many_messages, vec![CHANGES_MAX, 1]),
        ] {
            state.set_aside(team_id, &all);
            state.set_aside(team_id, &all);
            let mut found = Changed::new();
            for size in sizes {
                let part = changed(state.next_note(team_id).expect("a letter"));
                assert_eq!(
                    part.values().map(|messages| messages.len().max(1)).sum::<usize>(),
                    size
                );
                for (account_id, messages) in part {
                    found.entry(account_id).or_default().extend(messages);
                }
            }
            assert_eq!(found, all);
            assert!(state.next_note(team_id).is_none() && state.aside.is_empty());
        }
    }

    #[test]
    fn what_is_too_much_to_name_is_told_as_missed() {
        let (mut state, team_id) = (State::default(), Uuid::from_u128(1));
        state.set_aside(team_id, &Changed::from([(Uuid::max(), ids(ASIDE_MAX))]));
        assert!(matches!(state.next_note(team_id), Some(Note::Changed { .. })));
        state.set_aside(team_id, &Changed::from([(Uuid::nil(), ids(CHANGES_MAX + 1))]));
        state.set_aside(team_id, &Changed::from([(Uuid::nil(), ids(1))]));
        assert!(matches!(state.next_note(team_id), Some(Note::Lagged { .. })));
        assert!(state.next_note(team_id).is_none() && state.aside.is_empty());
    }
}
