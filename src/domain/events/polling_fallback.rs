//! Fallback for changes that were not published: the teams with listeners are polled every two seconds.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::{account, team};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::hub::Event;
use crate::{app::App, db::has_id, domain::Fault};

const POLL_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// When each team and its accounts last changed.
type Polls = HashMap<Uuid, (DateTime<Utc>, Option<DateTime<Utc>>)>;

pub async fn run(app: &App) {
    let mut last = Polls::new();
    loop {
        sleep(POLL_INTERVAL).await;
        let teams = app.events.teams();
        match timeout(PROBE_TIMEOUT, poll(app, &teams)).await {
            Ok(Ok(polls)) => {
                for (team_id, poll) in &polls {
                    if last.get(team_id).is_some_and(|last| last != poll) {
                        app.events.publish_locally(*team_id, Event::Refresh);
                    }
                }
                last = polls;
            }
            Ok(Err(fault)) => tracing::warn!(%fault, "Polling for changes failed"),
            Err(_) => tracing::warn!("Polling for changes failed: the database does not respond"),
        }
    }
}

async fn poll(app: &App, teams: &[Uuid]) -> Result<Polls, Fault> {
    if teams.is_empty() {
        return Ok(Polls::new());
    }
    let rows: Vec<(Uuid, DateTime<Utc>)> = team::Entity::find()
        .select_only()
        .columns([team::Column::Id, team::Column::UpdatedAt])
        .filter(has_id(app.db.backend(), teams.iter().copied()))
        .into_tuple()
        .all(&app.db.read)
        .await?;
    let accounts: Vec<(Uuid, Option<DateTime<Utc>>)> = account::Entity::find()
        .select_only()
        .column(account::Column::TeamId)
        .column_as(account::Column::UpdatedAt.max(), "updated_at")
        .filter(account::Column::TeamId.is_in(teams.iter().copied()))
        .group_by(account::Column::TeamId)
        .into_tuple()
        .all(&app.db.read)
        .await?;
    let accounts: HashMap<Uuid, Option<DateTime<Utc>>> = accounts.into_iter().collect();
    let poll = |(id, updated_at)| (id, (updated_at, accounts.get(&id).copied().flatten()));
    Ok(rows.into_iter().map(poll).collect())
}
