//! What changes, as streams: the caller's balance, its messages, and a main account's sub-accounts. News
//! (`events`) say where to look; the rows are read as the caller may see them, once for all its account's
//! listeners. A change that is quickly followed by another is told as one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use chrono::{DateTime, TimeDelta, Utc};
use entity::{account, api_key::Environment, message};
use futures_util::Stream;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Fault,
    account::BalanceView,
    caller::{AccountCaller, MainCaller},
    events::{Event, Listener, Turn, shared_read::SharedReads},
    message::list as message_list,
};
use crate::{app::App, db::has_id, limits::memory_budget::Reservation};

/// Rows that are read at once.
const READ_MAX: usize = 25;
/// Of the messages of an account, how many of the newest are looked at when news were missed.
const NEWEST: u64 = 1_000;
/// How far the clocks of several processes may lie apart.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(10);
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often shared reads that nobody needs any more are dropped.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(2);

/// Accounts of which a listener remembers what it told last.
const TOLD_MAX: usize = 1_000;

/// An event, and the turn in which it is to be shown.
pub struct Update<T> {
    pub row: T,
    pub turn: Turn,
}

/// Ids of messages, and when each changed.
type Newest = Arc<[(Uuid, DateTime<Utc>)]>;
type Accounts = Arc<HashMap<Uuid, account::Model>>;

/// What the listeners of an account read, once for all of them.
#[derive(Default)]
pub struct Updates {
    balances: SharedReads<Uuid, BalanceView>,
    messages: SharedReads<(Uuid, Environment, Vec<Uuid>), Arc<Messages>>,
    newest: SharedReads<(Uuid, Environment), Newest>,
    /// By team.
    accounts: SharedReads<(Uuid, Vec<Uuid>), Accounts>,
    changed_accounts: SharedReads<(Uuid, DateTime<Utc>), Arc<[Uuid]>>,
}

struct Messages {
    rows: HashMap<Uuid, message::Model>,
    _room: Reservation,
}

impl Updates {
    async fn remove_expired(&self) {
        self.balances.remove_expired().await;
        self.messages.remove_expired().await;
        self.newest.remove_expired().await;
        self.accounts.remove_expired().await;
        self.changed_accounts.remove_expired().await;
    }
}

/// Drops shared reads that no listener needs any more, until the server stops.
pub async fn run(app: &App) {
    loop {
        sleep(CLEANUP_INTERVAL).await;
        app.updates.remove_expired().await;
    }
}

/// The money as the caller's key sees it, whenever it differs from what it was when this returned.
pub async fn balances(
    app: Arc<App>,
    caller: AccountCaller,
) -> Result<impl Stream<Item = Update<BalanceView>>, Fault> {
    let mut listener = app.events.listen(caller.team_id);
    let mut known = balance(&app, &listener, caller, Instant::now()).await?;
    Ok(stream! {
        loop {
            let since = listener.next().await.since;
            let read = || balance(&app, &listener, caller, since);
            let (now, turn) = steadily(&listener, read).await;
            if now != known {
                known = now;
                yield Update { row: now, turn };
            }
        }
    })
}

/// Reads in a task that nobody drops, for a listener may go at any time, and a transaction that is dropped
/// while it begins can leave its connection inside it (`db`).
async fn balance(
    app: &Arc<App>,
    listener: &Listener,
    caller: AccountCaller,
    since: Instant,
) -> Result<BalanceView, Fault> {
    let read = || async {
        let _turn = app.events.read_turn(listener).await;
        let app = Arc::clone(app);
        let read = tokio::spawn(async move { super::account::balance(&app, &caller).await });
        read.await.unwrap_or(Err(Fault::Broken("a balance can be read")))
    };
    app.updates.balances.get(caller.account_id, since, read).await
}

/// The caller's messages whenever they change: all, or the one with this id.
pub fn messages(
    app: Arc<App>,
    caller: AccountCaller,
    only: Option<Uuid>,
) -> impl Stream<Item = Update<message::Model>> {
    let mut listener = app.events.listen(caller.team_id);
    stream! {
        let mut heard_until = app.clock.now();
        loop {
            let heard = listener.next().await;
            let ids: Vec<Uuid> = match &heard.news {
                Event::Refresh => continue,
                Event::Changed(changed) => {
                    changed.get(&caller.account_id).into_iter().flatten().copied().collect()
                }
                Event::Lagged => {
                    let read = || newest(&app, &listener, &caller, heard.since);
                    let (newest, _turn) = steadily(&listener, read).await;
                    let since = heard_until - CLOCKS_APART;
                    let changed = newest.iter().rev().filter(|(_, updated_at)| *updated_at >= since);
                    changed.map(|(id, _)| *id).collect()
                }
            };
            heard_until = heard.at;
            for ids in ids.chunks(READ_MAX) {
                for id in ids.iter().filter(|id| only.is_none_or(|only| only == **id)) {
                    // Each in its turn, for the listener may be slow to take the one before.
                    let read = || message(&app, &listener, &caller, ids, *id, heard.since);
                    let (row, turn) = steadily(&listener, read).await;
                    if let Some(row) = row {
                        yield Update { row, turn };
                    }
                }
            }
        }
    }
}

/// One of several messages, which are read together.
async fn message(
    app: &App,
    listener: &Listener,
    caller: &AccountCaller,
    ids: &[Uuid],
    id: Uuid,
    since: Instant,
) -> Result<Option<message::Model>, Fault> {
    let read = || async {
        let _turn = app.events.read_turn(listener).await;
        let reservation = app.memory_budget.of(Some(caller.team_id));
        let rows = message_list::find_many(app, caller, ids, &reservation).await?;
        Ok(Arc::new(Messages { rows, _room: reservation }))
    };
    let key = (caller.account_id, caller.environment, ids.to_vec());
    let messages = app.updates.messages.get(key, since, read).await?;
    Ok(messages.rows.get(&id).cloned())
}

/// The newest messages of the caller, newest first, and when each last changed.
async fn newest(
    app: &App,
    listener: &Listener,
    caller: &AccountCaller,
    since: Instant,
) -> Result<Arc<[(Uuid, DateTime<Utc>)]>, Fault> {
    let read = || async {
        let _turn = app.events.read_turn(listener).await;
        let rows: Vec<(Uuid, DateTime<Utc>)> =
            message::Entity::owned_by(caller.account_id, caller.environment)
                .select_only()
                .columns([message::Column::Id, message::Column::UpdatedAt])
                .order_by_desc(message::Column::Id)
                .limit(NEWEST)
                .into_tuple()
                .all(&app.read_as(caller))
                .await?;
        Ok(rows.into())
    };
    app.updates.newest.get((caller.account_id, caller.environment), since, read).await
}

/// The team's sub-accounts whenever their settings, status or money change.
pub fn sub_accounts(app: Arc<App>, main: MainCaller) -> impl Stream<Item = Update<account::Model>> {
    let mut listener = app.events.listen(main.team_id());
    stream! {
        let mut told: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
        let mut heard_until = app.clock.now();
        loop {
            let heard = listener.next().await;
            let ids: Arc<[Uuid]> = match &heard.news {
                Event::Changed(changed) => changed.keys().copied().collect(),
                Event::Refresh | Event::Lagged => {
                    let changed_since = heard_until - CLOCKS_APART;
                    let read = || changed(&app, &listener, &main, changed_since, heard.since);
                    steadily(&listener, read).await.0
                }
            };
            heard_until = heard.at;
            for ids in ids.chunks(READ_MAX) {
                for id in ids {
                    let read = || sub_account(&app, &listener, &main, ids, *id, heard.since);
                    let (Some(row), turn) = steadily(&listener, read).await else { continue };
                    if told.get(&row.id) == Some(&row.updated_at) {
                        continue;
                    }
                    if told.len() >= TOLD_MAX {
                        // Some changes may be told twice.
                        told.clear();
                    }
                    told.insert(row.id, row.updated_at);
                    yield Update { row, turn };
                }
            }
        }
    }
}

/// One of several sub-accounts, which are read together.
async fn sub_account(
    app: &App,
    listener: &Listener,
    main: &MainCaller,
    ids: &[Uuid],
    id: Uuid,
    since: Instant,
) -> Result<Option<account::Model>, Fault> {
    let read = || async {
        let _turn = app.events.read_turn(listener).await;
        let rows = account::Entity::of_team(main.team_id())
            .filter(account::Column::IsSubAccount.eq(true))
            .filter(has_id(app.db.backend(), ids.iter().copied()))
            .all(&app.read_as(main))
            .await?;
        Ok(Arc::new(rows.into_iter().map(|row| (row.id, row)).collect()))
    };
    let accounts = app.updates.accounts.get((main.team_id(), ids.to_vec()), since, read).await?;
    Ok(accounts.get(&id).cloned())
}

/// The sub-accounts that changed after a moment, in order.
async fn changed(
    app: &App,
    listener: &Listener,
    main: &MainCaller,
    changed_since: DateTime<Utc>,
    since: Instant,
) -> Result<Arc<[Uuid]>, Fault> {
    let read = || async {
        let _turn = app.events.read_turn(listener).await;
        let ids: Vec<Uuid> = account::Entity::of_team(main.team_id())
            .select_only()
            .column(account::Column::Id)
            .filter(account::Column::IsSubAccount.eq(true))
            .filter(account::Column::UpdatedAt.gte(changed_since))
            .order_by_asc(account::Column::Id)
            .into_tuple()
            .all(&app.read_as(main))
            .await?;
        Ok(ids.into())
    };
    let key = (main.team_id(), changed_since);
    app.updates.changed_accounts.get(key, since, read).await
}

/// Reads in a turn of the team until it can be read: a stream outlives a database that is away for a while.
async fn steadily<T, F>(listener: &Listener, read: impl Fn() -> F) -> (T, Turn)
where
    F: Future<Output = Result<T, Fault>>,
{
    loop {
        let turn = listener.turn().await;
        match read().await {
            Ok(found) => return (found, turn),
            Err(fault) => tracing::warn!(%fault, "A change could not be read; trying again"),
        }
        drop(turn);
        sleep(RETRY_DELAY).await;
    }
}
