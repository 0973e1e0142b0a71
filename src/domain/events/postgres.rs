//! Events between processes on the same `PostgreSQL`, by `LISTEN` and `NOTIFY` on one channel. Each process announces
//! the teams that it listens to, and sends the changes that others listen to. Notifications have statements of their
//! own, because a `NOTIFY` in the accept path's transaction would serialise all commits.

use std::{collections::hash_map::Entry, time::Duration};

use sea_orm::{ConnectionTrait, Statement};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::hub::{Changed, Event, Events, INTEREST_TTL, RemoteInterest, State};
use crate::{
    app::App,
    domain::{Fault, Unavailable},
    json,
};

const CHANNEL: &str = "tollgate_events";
/// A notification must have less than 8,000 bytes; an id with quotes and comma has 39.
const IDS_MAX: usize = 150;
/// A change has the ids of an account and of a message.
const CHANGES_MAX: usize = IDS_MAX / 2;
/// Timeout of a notification, which uses the same connections as changes.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Envelope {
    from: Uuid,
    note: Notification,
}

#[derive(Serialize, Deserialize)]
enum Notification {
    Changed {
        team: Uuid,
        accounts: Changed,
    },
    /// More changed in the team than can be listed.
    Lagged {
        team: Uuid,
    },
    /// The teams that the process listens to; `None` if there are too many to list.
    Listening(Option<Vec<Uuid>>),
    /// A process that has just connected asks the others for their [`Listening`](Self::Listening).
    Ask,
}

/// Receives and sends notifications, forever.
pub async fn run(app: &App) {
    tokio::join!(receive(app), publish_interest(app), publish_pending(app));
}

/// Sends pending changes to other processes: one notification of each team in turn.
async fn publish_pending(app: &App) {
    loop {
        let teams: Vec<Uuid> = app.events.state().pending.keys().copied().collect();
        if teams.is_empty() {
            app.events.pending_added.notified().await;
        }
        for team_id in teams {
            let Some(note) = app.events.state().next_notification(team_id) else { continue };
            if timeout(PUBLISH_TIMEOUT, send(app, note)).await.is_err() {
                tracing::warn!("A change was not sent to other processes: the database is slow");
            }
        }
    }
}

impl State {
    /// Takes as many pending changes of the team as fit into one notification.
    fn next_notification(&mut self, team_id: Uuid) -> Option<Notification> {
        let Entry::Occupied(mut pending) = self.pending.entry(team_id) else { return None };
        let Some(changes) = pending.get_mut() else {
            pending.remove();
            return Some(Notification::Lagged { team: team_id });
        };
        let mut accounts = Changed::new();
        for _ in 0..CHANGES_MAX {
            let Some((account_id, message_id)) = changes.pop_first() else { break };
            accounts.entry(account_id).or_default().extend(message_id);
        }
        if changes.is_empty() {
            pending.remove();
        }
        Some(Notification::Changed { team: team_id, accounts })
    }
}

/// Sends a notification. If it is lost, polling finds changes of money and settings, but not of messages.
async fn send(app: &App, note: Notification) {
    let envelope = Envelope { from: app.events.process, note };
    let text = serde_json::to_string(&envelope).expect("ids are plain JSON");
    let values = [CHANNEL.into(), text.into()];
    let notify =
        Statement::from_sql_and_values(app.db.backend(), "SELECT pg_notify($1, $2)", values);
    if let Err(fault) = app.db.write.execute_raw(notify).await {
        tracing::warn!(%fault, "A change was not sent to other processes");
    }
}

/// Announces the teams with listeners when they change, and before the announcement expires. An empty announcement is
/// sent too: the process receives it itself, which shows that the connection works.
async fn publish_interest(app: &App) {
    loop {
        let teams = app.events.teams();
        send(app, Notification::Listening((teams.len() < IDS_MAX).then_some(teams))).await;
        tokio::select! {
            () = app.events.interest_changed.notified() => {}
            () = sleep(INTEREST_TTL / 3) => {}
        }
    }
}

async fn receive(app: &App) {
    loop {
        match listen(app).await {
            Ok(()) => {}
            Err(fault) => {
                tracing::warn!(%fault, "Notifications of other processes cannot be received; retrying");
            }
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Receives notifications until the connection cannot be restored, or nothing arrives for [`INTEREST_TTL`], not even
/// this process's own announcements.
async fn listen(app: &App) -> Result<(), Fault> {
    let mut listener = app.db.listener().await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Notifications that were sent while the connection was down are lost.
        app.events.publish_lagged();
        app.events.interest_changed.notify_one();
        send(app, Notification::Ask).await;
        loop {
            let received = timeout(INTEREST_TTL, listener.try_recv()).await;
            let Some(notification) = received.map_err(|_| Unavailable::Silent)?? else { break };
            match json::parse::<Envelope>(notification.payload().as_bytes()) {
                Ok(envelope) if envelope.from == app.events.process => {}
                Ok(envelope) => app.events.handle(envelope),
                Err(failure) => {
                    tracing::warn!(%failure, "A notification of another process is not valid");
                }
            }
        }
    }
}

impl Events {
    fn handle(&self, envelope: Envelope) {
        match envelope.note {
            Notification::Ask => self.interest_changed.notify_one(),
            Notification::Changed { team, accounts } => {
                self.publish_locally(team, Event::Changed(accounts));
            }
            Notification::Lagged { team } => self.publish_locally(team, Event::Lagged),
            Notification::Listening(teams) => {
                let until = Instant::now() + INTEREST_TTL;
                let teams = teams.map(|teams| teams.into_iter().collect());
                let mut state = self.state();
                state.remote.retain(|_, process| process.until > Instant::now());
                state.remote.insert(envelope.from, RemoteInterest { until, teams });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::events::hub::PENDING_MAX;

    fn ids(count: usize) -> BTreeSet<Uuid> {
        (0..count as u128).map(|id| Uuid::from_u128(u128::MAX - id)).collect()
    }

    /// Serialises and parses a notification. `PostgreSQL` refuses one of 8,000 bytes.
    fn changed(note: Notification) -> Changed {
        let text =
            serde_json::to_string(&Envelope { from: Uuid::max(), note }).expect("plain JSON");
        assert!(text.len() < 8_000, "{} bytes", text.len());
        let envelope: Envelope = json::parse(text.as_bytes()).expect("valid JSON");
        let Notification::Changed { accounts, .. } = envelope.note else {
            panic!("changes were expected")
        };
        accounts
    }

    #[test]
    fn notifications_list_every_change_once() {
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
            state.add_pending(team_id, &all);
            state.add_pending(team_id, &all);
            let mut received = Changed::new();
            for size in sizes {
                let part = changed(state.next_notification(team_id).expect("pending changes"));
                assert_eq!(
                    part.values().map(|messages| messages.len().max(1)).sum::<usize>(),
                    size
                );
                for (account_id, messages) in part {
                    received.entry(account_id).or_default().extend(messages);
                }
            }
            assert_eq!(received, all);
            assert!(state.next_notification(team_id).is_none() && state.pending.is_empty());
        }
    }

    #[test]
    fn too_many_changes_are_sent_as_lagged() {
        let (mut state, team_id) = (State::default(), Uuid::from_u128(1));
        state.add_pending(team_id, &Changed::from([(Uuid::max(), ids(PENDING_MAX))]));
        assert!(matches!(state.next_notification(team_id), Some(Notification::Changed { .. })));
        state.add_pending(team_id, &Changed::from([(Uuid::nil(), ids(CHANGES_MAX + 1))]));
        state.add_pending(team_id, &Changed::from([(Uuid::nil(), ids(1))]));
        assert!(matches!(state.next_notification(team_id), Some(Notification::Lagged { .. })));
        assert!(state.next_notification(team_id).is_none() && state.pending.is_empty());
    }
}
