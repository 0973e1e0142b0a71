//! Exchanges events between processes on the same `PostgreSQL`, by `LISTEN` and `NOTIFY` on one channel. All changes
//! are sent, because another process may have listeners of any team. Notifications are sent by separate statements,
//! because a `NOTIFY` in the accept path's transaction would serialize all commits.

use std::{mem::take, time::Duration};

use sea_orm::{
    ConnectionTrait, Statement,
    sqlx::{Executor as _, postgres::PgListener},
};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::hub::{COLLECT_DELAY, Changed, Event, State};
use crate::{
    app::App,
    domain::{Fault, Unavailable},
    json,
};

const CHANNEL: &str = "tollgate_changes";
/// Maximum number of changes in a notification. A notification must have less than 8,000 bytes. A change contains the
/// ids of an account and of a message. Each id takes 39 bytes, including its quotation marks and comma.
const CHANGES_MAX: usize = 75;
/// Timeout of a statement that sends notifications. The statement uses the same connections as changes to the data.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time without a notification, the connection is pinged, because it may have been lost.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The changes in one team, as sent to other processes.
#[derive(Serialize, Deserialize)]
struct Notification {
    /// The process that sends the notification.
    from: Uuid,
    team: Uuid,
    /// The changes; `None` if there are too many to list.
    changed: Option<Changed>,
}

/// Receives and sends notifications, forever.
pub async fn run(app: &App) {
    app.events.state().notifies_others = true;
    tokio::join!(receive(app), publish_pending(app));
}

/// Sends pending changes to other processes. All of them are sent in one statement, because each statement is a commit.
async fn publish_pending(app: &App) {
    loop {
        app.events.pending_added.notified().await;
        sleep(COLLECT_DELAY).await;
        let notifications = app.events.state().take_notifications(app.events.process);
        if notifications.is_empty() {
            continue;
        }
        let sent = timeout(PUBLISH_TIMEOUT, send(app, &notifications)).await;
        if let Err(fault) = sent.unwrap_or(Err(Unavailable::Silent.into())) {
            tracing::warn!(%fault, "Could not send changes to other processes; retrying");
            // The next statement is small. It only makes the other processes read these teams again.
            let lagged = notifications.into_iter().map(|note| (note.team, None));
            app.events.state().pending.extend(lagged);
            sleep(RETRY_DELAY).await;
            app.events.pending_added.notify_one();
        }
    }
}

impl State {
    /// Takes the pending changes of all teams.
    fn take_notifications(&mut self, from: Uuid) -> Vec<Notification> {
        let mut notifications = Vec::new();
        for (team, pending) in take(&mut self.pending) {
            let Some(changes) = pending else {
                notifications.push(Notification { from, team, changed: None });
                continue;
            };
            let changes: Vec<_> = changes.into_iter().collect();
            // If no account is listed, only the team's money changed.
            let only_team = changes.is_empty().then_some(&[][..]);
            for part in changes.chunks(CHANGES_MAX).chain(only_team) {
                let mut changed = Changed::new();
                for (account_id, message_id) in part {
                    changed.entry(*account_id).or_default().extend(message_id);
                }
                notifications.push(Notification { from, team, changed: Some(changed) });
            }
        }
        notifications
    }
}

/// Sends notifications in one statement.
async fn send(app: &App, notifications: &[Notification]) -> Result<(), Fault> {
    let text = |note| serde_json::to_string(note).expect("ids are plain JSON");
    let texts: Vec<String> = notifications.iter().map(text).collect();
    // The commit need not wait for the disk, because a crash loses the notification in any case.
    let sql = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, note) \
               FROM unnest($2::text[]) AS note";
    let notify =
        Statement::from_sql_and_values(app.db.backend(), sql, [CHANNEL.into(), texts.into()]);
    app.db.write.execute_raw(notify).await?;
    Ok(())
}

async fn receive(app: &App) {
    loop {
        match listen(app).await {
            Ok(()) => {}
            Err(fault) => {
                tracing::warn!(%fault, "Notifications from other processes could not be received; retrying");
            }
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Receives notifications until the connection is lost.
async fn listen(app: &App) -> Result<(), Fault> {
    let mut listener = app.db.listener().await?;
    // A listener that reconnects by itself would hide that notifications were lost.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // Notifications that were sent before this moment are lost.
    app.events.publish_lagged();
    loop {
        let Ok(received) = timeout(PING_AFTER, listener.try_recv()).await else {
            ping(&mut listener).await?;
            continue;
        };
        let Some(received) = received? else { return Ok(()) };
        match json::parse::<Notification>(received.payload().as_bytes()) {
            Ok(notification) if notification.from == app.events.process => {}
            Ok(Notification { team, changed, .. }) => {
                app.events.publish_locally(team, changed.map_or(Event::Lagged, Event::Changed));
            }
            Err(failure) => {
                tracing::warn!(%failure, "A notification from another process is not valid");
            }
        }
    }
}

async fn ping(listener: &mut PgListener) -> Result<(), Fault> {
    timeout(PING_TIMEOUT, listener.execute("SELECT 1"))
        .await
        .map_err(|_| Unavailable::Silent)??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::events::hub::PENDING_MAX;

    fn ids(count: usize) -> BTreeSet<Uuid> {
        (0..count as u128).map(|id| Uuid::from_u128(u128::MAX - id)).collect()
    }

    fn add_pending(state: &mut State, changed: &Changed) {
        let team_id = Uuid::from_u128(1);
        if changed.is_empty() {
            state.add_pending(team_id, None, None);
        }
        for (account_id, messages) in changed {
            if messages.is_empty() {
                state.add_pending(team_id, Some(*account_id), None);
            }
            for message_id in messages {
                state.add_pending(team_id, Some(*account_id), Some(*message_id));
            }
        }
    }

    /// Takes the notifications. Each notification is serialized and parsed, and must be smaller than 8,000 bytes,
    /// because `PostgreSQL` refuses larger ones.
    fn taken(state: &mut State) -> Vec<Option<Changed>> {
        let parsed = |note: Notification| {
            let text = serde_json::to_string(&note).expect("plain JSON");
            assert!(text.len() < 8_000, "{} bytes", text.len());
            json::parse::<Notification>(text.as_bytes()).expect("valid JSON").changed
        };
        let notifications = state.take_notifications(Uuid::max());
        assert!(state.take_notifications(Uuid::max()).is_empty());
        notifications.into_iter().map(parsed).collect()
    }

    #[test]
    fn notifications_list_every_change_once() {
        let mut state = State::default();
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
            add_pending(&mut state, &all);
            add_pending(&mut state, &all);
            let (mut received, mut received_sizes) = (Changed::new(), Vec::new());
            for part in taken(&mut state) {
                let part = part.expect("a list of changes");
                received_sizes.push(part.values().map(|messages| messages.len().max(1)).sum());
                for (account_id, messages) in part {
                    received.entry(account_id).or_default().extend(messages);
                }
            }
            assert_eq!((received, received_sizes), (all, sizes));
        }
    }

    #[test]
    fn too_many_changes_are_sent_as_lagged() {
        let mut state = State::default();
        add_pending(&mut state, &Changed::from([(Uuid::max(), ids(PENDING_MAX))]));
        assert!(taken(&mut state).iter().all(Option::is_some));
        add_pending(&mut state, &Changed::from([(Uuid::nil(), ids(PENDING_MAX + 1))]));
        add_pending(&mut state, &Changed::from([(Uuid::nil(), ids(1))]));
        assert_eq!(taken(&mut state), [None]);
    }
}
