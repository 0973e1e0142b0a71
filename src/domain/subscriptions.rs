//! Streams of changes to the caller's balance, to its messages, and to a main account's sub-accounts. An event
//! (`events`) contains the ids of changed rows. The rows are then read with the caller's permissions, once for all
//! listeners of the account. Changes in quick succession may be combined.

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
    events::{Event, Listener, Turn},
    message::list as message_list,
};
use crate::{
    app::App,
    db::has_id,
    limits::{memory_budget::Reservation, read_through_cache::ReadThroughCache},
};

/// Maximum number of rows that one statement reads.
const READ_MAX: usize = 25;
/// How many of an account's newest messages are checked for changes after events were lost.
const NEWEST_MAX: u64 = 1_000;
/// Maximum difference between the clocks of several processes.
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::seconds(10);
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a shared read is kept.
const SHARED_READ_TTL: Duration = Duration::from_secs(1);
/// Maximum number of shared reads of one type. A value that was removed too early is read again.
const SHARED_READS_MAX: u64 = 1_000;
/// How often expired shared reads are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum number of accounts for which a listener remembers the last version that it sent.
const SENT_ACCOUNTS_MAX: usize = 1_000;

/// A changed row, and the turn in which its event is processed.
pub struct Update<T> {
    pub row: T,
    pub turn: Turn,
}

/// Message ids, each with the time of its last change.
type Newest = Arc<[(Uuid, DateTime<Utc>)]>;
type Accounts = Arc<HashMap<Uuid, account::Model>>;

/// Reads that the listeners of an account share, because they need the same value at nearly the same time.
pub struct Updates {
    balances: ReadThroughCache<Uuid, BalanceView>,
    messages: ReadThroughCache<(Uuid, Environment, Vec<Uuid>), Arc<Messages>>,
    newest: ReadThroughCache<(Uuid, Environment), Newest>,
    /// Sub-accounts by team and ids.
    accounts: ReadThroughCache<(Uuid, Vec<Uuid>), Accounts>,
    changed_accounts: ReadThroughCache<(Uuid, DateTime<Utc>), Arc<[Uuid]>>,
}

struct Messages {
    rows: HashMap<Uuid, message::Model>,
    _reservation: Reservation,
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

impl Default for Updates {
    fn default() -> Self {
        Self {
            balances: ReadThroughCache::of_newest(SHARED_READS_MAX, SHARED_READ_TTL),
            messages: ReadThroughCache::of_newest(SHARED_READS_MAX, SHARED_READ_TTL),
            newest: ReadThroughCache::of_newest(SHARED_READS_MAX, SHARED_READ_TTL),
            accounts: ReadThroughCache::of_newest(SHARED_READS_MAX, SHARED_READ_TTL),
            changed_accounts: ReadThroughCache::of_newest(SHARED_READS_MAX, SHARED_READ_TTL),
        }
    }
}

/// Removes expired shared reads, forever.
pub async fn run(app: &App) {
    loop {
        sleep(CLEANUP_INTERVAL).await;
        app.updates.remove_expired().await;
    }
}

/// Streams the balance and the limits that the caller's key may see, whenever they change after this function has
/// returned.
pub async fn balances(
    app: Arc<App>,
    caller: AccountCaller,
) -> Result<impl Stream<Item = Update<BalanceView>>, Fault> {
    let mut listener = app.events.listen(caller.team_id);
    let mut last = balance(&app, &listener, caller, Instant::now()).await?;
    Ok(stream! {
        loop {
            let since = listener.next().await.since;
            let read = || balance(&app, &listener, caller, since);
            let (now, turn) = read_until_ok(&listener, read).await;
            if now != last {
                last = now;
                yield Update { row: now, turn };
            }
        }
    })
}

/// Reads in a separate task. A listener may be dropped at any time, and a transaction that is dropped while it
/// begins can leave its connection inside the transaction (`db`).
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
        read.await.unwrap_or(Err(Fault::Broken("the task that reads a balance does not panic")))
    };
    app.updates.balances.get_since(caller.account_id, since, read).await
}

/// Streams the caller's messages whenever they change: all messages, or only the message with the id `only`.
pub fn messages(
    app: Arc<App>,
    caller: AccountCaller,
    only: Option<Uuid>,
) -> impl Stream<Item = Update<message::Model>> {
    let mut listener = app.events.listen(caller.team_id);
    stream! {
        let mut seen_until = app.clock.now();
        loop {
            let received = listener.next().await;
            let ids: Vec<Uuid> = match &received.event {
                Event::Refresh => continue,
                Event::Changed(changed) => {
                    changed.get(&caller.account_id).into_iter().flatten().copied().collect()
                }
                Event::Lagged => {
                    let read = || newest(&app, &listener, &caller, received.since);
                    let (newest, _turn) = read_until_ok(&listener, read).await;
                    let since = seen_until - CLOCK_SKEW_MAX;
                    let changed = newest.iter().rev().filter(|(_, updated_at)| *updated_at >= since);
                    changed.map(|(id, _)| *id).collect()
                }
            };
            seen_until = received.at;
            for ids in ids.chunks(READ_MAX) {
                for id in ids.iter().filter(|id| only.is_none_or(|only| only == **id)) {
                    // Each message is processed in its own turn, because the listener may be slow to process the
                    // previous message.
                    let read = || message(&app, &listener, &caller, ids, *id, received.since);
                    let (row, turn) = read_until_ok(&listener, read).await;
                    if let Some(row) = row {
                        yield Update { row, turn };
                    }
                }
            }
        }
    }
}

/// Returns one of several messages that are read together.
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
        Ok::<_, Fault>(Arc::new(Messages { rows, _reservation: reservation }))
    };
    let key = (caller.account_id, caller.environment, ids.to_vec());
    let messages = app.updates.messages.get_since(key, since, read).await?;
    Ok(messages.rows.get(&id).cloned())
}

/// Returns the newest messages of the caller, newest first.
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
                .limit(NEWEST_MAX)
                .into_tuple()
                .all(&app.read_as(caller))
                .await?;
        Ok(rows.into())
    };
    app.updates.newest.get_since((caller.account_id, caller.environment), since, read).await
}

/// Streams the team's sub-accounts whenever their settings, status or money change.
pub fn sub_accounts(app: Arc<App>, main: MainCaller) -> impl Stream<Item = Update<account::Model>> {
    let mut listener = app.events.listen(main.team_id());
    stream! {
        let mut sent: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
        let mut seen_until = app.clock.now();
        loop {
            let received = listener.next().await;
            let ids: Arc<[Uuid]> = match &received.event {
                Event::Changed(changed) => changed.keys().copied().collect(),
                Event::Refresh | Event::Lagged => {
                    let changed_since = seen_until - CLOCK_SKEW_MAX;
                    let read = || changed(&app, &listener, &main, changed_since, received.since);
                    read_until_ok(&listener, read).await.0
                }
            };
            seen_until = received.at;
            for ids in ids.chunks(READ_MAX) {
                for id in ids {
                    let read = || sub_account(&app, &listener, &main, ids, *id, received.since);
                    let (Some(row), turn) = read_until_ok(&listener, read).await else { continue };
                    if sent.get(&row.id) == Some(&row.updated_at) {
                        continue;
                    }
                    if sent.len() >= SENT_ACCOUNTS_MAX {
                        // As a result, some changes may be sent twice.
                        sent.clear();
                    }
                    sent.insert(row.id, row.updated_at);
                    yield Update { row, turn };
                }
            }
        }
    }
}

/// Returns one of several sub-accounts that are read together.
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
        Ok::<_, Fault>(Arc::new(rows.into_iter().map(|row| (row.id, row)).collect()))
    };
    let accounts =
        app.updates.accounts.get_since((main.team_id(), ids.to_vec()), since, read).await?;
    Ok(accounts.get(&id).cloned())
}

/// Returns the sub-accounts that changed at `changed_since` or later, by id.
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
    app.updates.changed_accounts.get_since(key, since, read).await
}

/// Reads in a turn of the team, and retries until the read succeeds. So a stream survives an outage of the database.
async fn read_until_ok<T, F>(listener: &Listener, read: impl Fn() -> F) -> (T, Turn)
where
    F: Future<Output = Result<T, Fault>>,
{
    loop {
        let turn = listener.turn().await;
        match read().await {
            Ok(value) => return (value, turn),
            Err(fault) => {
                tracing::warn!(%fault, "The data of a subscription event could not be read; retrying");
            }
        }
        drop(turn);
        sleep(RETRY_DELAY).await;
    }
}
