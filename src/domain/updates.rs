//! What changes, as streams: the caller's balance, its messages, and a main account's sub-accounts. News
//! (`events`) say where to look; the rows are read as the caller may see them. A change that is quickly
//! followed by another is told as one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use chrono::{DateTime, TimeDelta, Utc};
use entity::{account, message};
use futures_util::Stream;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    Fault,
    account::BalanceView,
    caller::{AccountCaller, MainCaller},
    events::News,
    message_list,
    room::Room,
};
use crate::{App, db::has_id};

/// Rows that are read at once.
const READ_MAX: usize = 25;
/// Of the messages of an account, how many of the newest are looked at when news were missed.
const NEWEST: u64 = 1_000;
/// How far the clocks of several processes may lie apart.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(10);
const REST_AFTER_FAULT: Duration = Duration::from_secs(1);

/// The money as the caller's key sees it, whenever it differs from what it was when this returned.
pub async fn balances(
    app: Arc<App>,
    caller: AccountCaller,
) -> Result<impl Stream<Item = BalanceView>, Fault> {
    let mut news = app.events.listen(caller.team_id);
    let mut known = balance(&app, caller).await?;
    // From now on it reads when it is its turn among the listeners (`events`).
    let app = Arc::new(app.beyond_request());
    Ok(stream! {
        loop {
            news.next().await;
            let now = steadily(&app, || balance(&app, caller)).await;
            if now != known {
                known = now;
                yield now;
            }
        }
    })
}

/// Reads in a task that nobody drops, for a listener may go at any time, and a transaction that is dropped
/// while it begins can leave its connection inside it (`db`).
async fn balance(app: &Arc<App>, caller: AccountCaller) -> Result<BalanceView, Fault> {
    let app = Arc::clone(app);
    let read = tokio::spawn(async move { super::account::balance(&app, &caller).await });
    read.await.unwrap_or(Err(Fault::Broken("a balance can be read")))
}

/// The caller's messages whenever they change: all, or the one with this id.
pub fn messages(
    app: Arc<App>,
    caller: AccountCaller,
    only: Option<Uuid>,
) -> impl Stream<Item = message::Model> {
    let mut news = app.events.listen(caller.team_id);
    stream! {
        let mut heard_until = app.clock.now();
        loop {
            let heard = news.next().await;
            let now = app.clock.now();
            let changed = match &*heard {
                News::LookAgain => continue,
                News::Changed(changed) => {
                    changed.get(&caller.account_id).into_iter().flatten().copied().collect()
                }
                News::Missed => {
                    let since = heard_until - CLOCKS_APART;
                    steadily(&app, || newest_since(&app, &caller, since)).await
                }
            };
            heard_until = now;
            let wanted: Vec<Uuid> =
                changed.into_iter().filter(|id| only.is_none_or(|only| only == *id)).collect();
            for ids in wanted.chunks(READ_MAX) {
                // Until all are told, for the listener may be slow to take them.
                let (mut rows, _room) = steadily(&app, || read(&app, &caller, ids)).await;
                for id in ids {
                    if let Some(row) = rows.remove(id) {
                        yield row;
                    }
                }
            }
        }
    }
}

async fn read(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
) -> Result<(HashMap<Uuid, message::Model>, Room), Fault> {
    let room = app.rooms.of(Some(caller.team_id));
    let rows = message_list::find_many(app, caller, ids, &room).await?;
    Ok((rows, room))
}

/// The newest messages of the caller that changed after a moment, oldest first.
async fn newest_since(
    app: &App,
    caller: &AccountCaller,
    since: DateTime<Utc>,
) -> Result<Vec<Uuid>, Fault> {
    let rows: Vec<(Uuid, DateTime<Utc>)> =
        message::Entity::owned_by(caller.account_id, caller.environment)
            .select_only()
            .columns([message::Column::Id, message::Column::UpdatedAt])
            .order_by_desc(message::Column::Id)
            .limit(NEWEST)
            .into_tuple()
            .all(&app.read_as(caller))
            .await?;
    let changed = rows.into_iter().rev().filter(|(_, updated_at)| *updated_at >= since);
    Ok(changed.map(|(id, _)| id).collect())
}

/// The team's sub-accounts whenever their settings, status or money change.
pub fn sub_accounts(app: Arc<App>, main: MainCaller) -> impl Stream<Item = account::Model> {
    let mut news = app.events.listen(main.team_id());
    stream! {
        let mut told: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
        let mut heard_until = app.clock.now();
        loop {
            let heard = news.next().await;
            let now = app.clock.now();
            let since = heard_until - CLOCKS_APART;
            let rows = steadily(&app, || changed_sub_accounts(&app, &main, &heard, since)).await;
            heard_until = now;
            for row in rows {
                if told.insert(row.id, row.updated_at) != Some(row.updated_at) {
                    yield row;
                }
            }
        }
    }
}

async fn changed_sub_accounts(
    app: &App,
    main: &MainCaller,
    heard: &News,
    since: DateTime<Utc>,
) -> Result<Vec<account::Model>, Fault> {
    let which = match heard {
        News::Changed(changed) => has_id(app.db.backend(), changed.keys().copied()),
        News::LookAgain | News::Missed => account::Column::UpdatedAt.gte(since),
    };
    let rows = account::Entity::of_team(main.team_id())
        .filter(account::Column::IsSubAccount.eq(true))
        .filter(which)
        .order_by_asc(account::Column::Id)
        .all(&app.read_as(main))
        .await?;
    Ok(rows)
}

/// Reads until it can be read: a stream outlives a database that is away for a while.
async fn steadily<T, F>(app: &App, read: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Fault>>,
{
    loop {
        let turn = app.events.turn().await;
        let read = read().await;
        drop(turn);
        match read {
            Ok(found) => return found,
            Err(fault) => tracing::warn!(%fault, "A change could not be read; trying again"),
        }
        sleep(REST_AFTER_FAULT).await;
    }
}
