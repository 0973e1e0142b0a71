//! Refunds. A message that becomes FAILED, EXPIRED or CANCELED is refunded once and in full, with one ledger entry: the
//! balance increases and `totalSpent` decreases. A unique index on (message, kind) prevents a second refund.

use super::movements::{Cause, Movements, add_to_total_spent};
use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use entity::{
    account,
    api_key::{self, Environment},
    ledger_entry::LedgerKind,
    message::{self, Channel, Column, Entity, MessageStatus},
    team,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait as _,
    FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select, Statement,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

use super::{usage, usage_counters};
use crate::{
    app::App,
    db::{has_id, id_list},
    domain::{Fault, account::team_lock::lock_team, message_batch::MessageBatch},
    money::Micros,
};

/// A message that was just marked as refunded, without its content.
#[derive(FromQueryResult)]
struct Refunded {
    id: Uuid,
    team_id: Uuid,
    account_id: Uuid,
    environment: Environment,
    channel: Channel,
    country: Option<String>,
    cost_micros: i64,
}

impl Refunded {
    /// Returns the usage counter for the refund; `None` for a TEST message, because TEST messages are not counted.
    fn slot(&self, now: DateTime<Utc>) -> Option<usage_counters::Slot> {
        (self.environment == Environment::Live).then(|| usage_counters::Slot {
            account_id: self.account_id,
            team_id: self.team_id,
            day: now.date_naive(),
            channel: Some(self.channel),
            country: self.country.clone().unwrap_or_default(),
        })
    }
}

/// Refunds messages that were set to FAILED, EXPIRED or CANCELED in the same transaction, under the locks of
/// their `teams`. Messages that are already refunded are skipped.
pub async fn refund(
    app: &App,
    txn: &DatabaseTransaction,
    teams: &[team::Model],
    messages: Vec<Uuid>,
) -> Result<(), Fault> {
    let now = app.clock.now();
    let backend = app.db.backend();
    let values = [id_list(backend, messages), now.into()];
    let mark = Statement::from_sql_and_values(backend, app.statements.mark_refunded, values);
    let rows = Refunded::find_by_statement(mark).all(txn).await?;

    let mut by_team: HashMap<Uuid, Movements> =
        teams.iter().map(|team| (team.id, Movements::of(app, team))).collect();
    let mut by_account: BTreeMap<Uuid, Micros> = BTreeMap::new();
    let mut counted: BTreeMap<usage_counters::Slot, usage::Figures> = BTreeMap::new();
    for row in rows {
        if let Some(slot) = row.slot(now) {
            let figures = counted.entry(slot).or_default();
            figures.failed += 1;
            figures.refunded_micros += row.cost_micros;
        }
        let cost = Micros::from_db(row.cost_micros);
        if cost == Micros::ZERO {
            continue;
        }
        let cause = Cause {
            account_id: Some(row.account_id),
            message_id: Some(row.id),
            ..Cause::default()
        };
        by_team
            .get_mut(&row.team_id)
            .ok_or(Fault::Broken("the team of a refund is locked"))?
            .add(LedgerKind::Refund, cost, cause)
            .ok_or(Fault::Broken("a refund keeps the balance within its bounds"))?;
        let sum = by_account.entry(row.account_id).or_default();
        *sum =
            sum.checked_add(cost).ok_or(Fault::Broken("the sum of refunds is a valid amount"))?;
    }
    for movements in by_team.into_values() {
        movements.write(txn).await?;
    }
    for (account_id, sum) in by_account {
        add_to_total_spent(app, txn, account_id, -sum).await?;
    }
    usage_counters::add(app, txn, counted).await
}

/// Selects the messages of an account that are waiting for delivery (scheduled or queued). The query uses the index
/// `message_waiting`.
pub fn waiting(team_id: Uuid, account_id: Uuid) -> Select<Entity> {
    Entity::find()
        .filter(Column::TeamId.eq(team_id))
        .filter(Column::AccountId.eq(account_id))
        .filter(Entity::is_waiting())
        .filter(Entity::is_unclaimed())
}

/// Returns the newest message of an account that is waiting for delivery. The caller holds the team's lock.
pub async fn newest_waiting(
    txn: &DatabaseTransaction,
    account: &account::Model,
) -> Result<Option<Uuid>, Fault> {
    let newest = waiting(account.team_id, account.id)
        .select_only()
        .column(Column::Id)
        .order_by_desc(Column::Id);
    Ok(newest.into_tuple().one(txn).await?)
}

/// Cancels and refunds waiting messages of a deactivated account, up to the size of one transaction. The caller holds
/// the team's lock. The messages are found by the generation of their key. Their ids do not show whether they were
/// accepted before the deactivation, because clocks differ between processes and can be set back. Returns the canceled
/// messages, and whether there are more.
pub async fn cancel_waiting(
    app: &App,
    txn: &DatabaseTransaction,
    account: &account::Model,
) -> Result<(Vec<Uuid>, bool), Fault> {
    let reason = ("ACCOUNT_INACTIVE", "The account was deactivated before delivery.");
    let is_retired = Query::select()
        .expr(Expr::val(1))
        .from(api_key::Entity)
        .and_where(
            Expr::col((api_key::Entity, api_key::Column::Id)).equals((Entity, Column::ApiKeyId)),
        )
        .and_where(api_key::Column::Generation.lt(account.key_generation))
        .to_owned();
    let waiting = waiting(account.team_id, account.id)
        .filter(Expr::exists(is_retired))
        .order_by_asc(Column::Id);
    let MessageBatch { messages, has_more } =
        crate::domain::message_batch::batch_of(txn, waiting).await?;
    if messages.is_empty() {
        return Ok((messages, false));
    }
    Ok((cancel(app, txn, account.team_id, messages, reason).await?, has_more))
}

/// Cancels and refunds those of the messages that no worker has claimed. The caller holds the team's lock. Returns the
/// canceled messages.
pub async fn cancel(
    app: &App,
    txn: &DatabaseTransaction,
    team_id: Uuid,
    messages: Vec<Uuid>,
    (code, text): (&str, &str),
) -> Result<Vec<Uuid>, Fault> {
    let canceled = message::ActiveModel {
        status: Set(MessageStatus::Canceled),
        error_code: Set(Some(code.to_owned())),
        error_message: Set(Some(text.to_owned())),
        due_at: Set(None),
        // Without the lease, a worker that is about to expire the message can no longer settle it.
        lease_id: Set(None),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    // A worker may have claimed some of the messages in the meantime. Such messages are being delivered and cannot be
    // canceled.
    let mut update = Entity::update_many()
        .set(canceled)
        .filter(has_id(app.db.backend(), messages))
        .filter(Entity::is_unclaimed());
    let update = QueryTrait::query(&mut update).returning_col(Column::Id).to_owned();
    let rows = txn.query_all(&update).await?;
    let canceled: Vec<Uuid> =
        rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
    if !canceled.is_empty() {
        let team =
            lock_team(txn, team_id).await?.ok_or(Fault::Broken("an account's team exists"))?;
        refund(app, txn, &[team], canceled.clone()).await?;
    }
    Ok(canceled)
}
