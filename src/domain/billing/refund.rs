//! Refunds (R12): a message that reached no provider is paid back once, in full: balance up,
//! `totalSpent` down, one ledger entry. The unique index on (message, kind) is the last wall.

use std::collections::{BTreeMap, HashMap};

use entity::{
    ledger_entry::LedgerKind,
    message::{self, MessageStatus},
    team,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, FromQueryResult, Order,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};
use uuid::Uuid;

use super::{Cause, Movements, add_to_total_spent, lock_team};
use crate::{
    App,
    db::{has_id, id_list},
    domain::{Fault, account::stored, usage},
    money::Micros,
};

/// Messages that are canceled with one statement.
const CANCEL_BATCH: u64 = 500;

/// Pays back messages that have just been set to a status that means refunded, in the same
/// transaction and under the locks of their `teams`. What was paid back before is left alone.
pub async fn refund(
    app: &App,
    txn: &DatabaseTransaction,
    teams: &[team::Model],
    messages: Vec<Uuid>,
) -> Result<(), Fault> {
    let now = app.clock.now();
    let backend = app.db.backend();
    let values = [id_list(backend, messages), now.into()];
    let mark = Statement::from_sql_and_values(backend, app.texts.mark_refunded, values);
    let rows = message::Model::find_by_statement(mark).all(txn).await?;

    let mut by_team: HashMap<Uuid, Movements> =
        teams.iter().map(|team| (team.id, Movements::of(app, team))).collect();
    let mut by_account: BTreeMap<Uuid, Micros> = BTreeMap::new();
    let mut counted: BTreeMap<usage::Slot, usage::Figures> = BTreeMap::new();
    for row in rows {
        if let Some(slot) = usage::Slot::of(&row, now) {
            let figures = counted.entry(slot).or_default();
            figures.failed += 1;
            figures.refunded_micros += row.cost_micros;
        }
        let cost = stored(row.cost_micros);
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
            .ok_or(Fault::Broken("a refund returns what the balance once held"))?;
        let sum = by_account.entry(row.account_id).or_default();
        *sum = sum.checked_add(cost).ok_or(Fault::Broken("refunds fit the bound of money"))?;
    }
    for movements in by_team.into_values() {
        movements.write(txn).await?;
    }
    for (account_id, sum) in by_account {
        add_to_total_spent(app, txn, account_id, -sum).await?;
    }
    usage::add(app, txn, counted).await
}

/// Cancels and refunds whatever of an account waits for delivery, scheduled or queued, under the lock of
/// its team: what a deactivation means for accepted messages (R4). Gives the canceled messages.
pub async fn cancel_waiting(
    app: &App,
    txn: &DatabaseTransaction,
    team_id: Uuid,
    account_id: Uuid,
) -> Result<Vec<message::Model>, Fault> {
    let because = ("ACCOUNT_INACTIVE", "The account was deactivated before delivery.");
    let mut all = Vec::new();
    loop {
        let ids: Vec<Uuid> = message::Entity::find()
            .select_only()
            .column(message::Column::Id)
            .filter(message::Column::TeamId.eq(team_id))
            .filter(message::Column::AccountId.eq(account_id))
            .filter(message::Entity::is_waiting())
            .filter(message::Entity::is_unclaimed())
            .order_by(message::Column::Id, Order::Asc)
            .limit(CANCEL_BATCH)
            .into_tuple()
            .all(txn)
            .await?;
        if ids.is_empty() {
            return Ok(all);
        }
        all.extend(cancel(app, txn, team_id, ids, because).await?);
    }
}

/// Cancels those of these messages of a team that no worker has claimed, and refunds them, under the
/// team's lock. Gives the canceled messages as they were before the refund.
pub async fn cancel(
    app: &App,
    txn: &DatabaseTransaction,
    team_id: Uuid,
    messages: Vec<Uuid>,
    (code, text): (&str, &str),
) -> Result<Vec<message::Model>, Fault> {
    let canceled = message::ActiveModel {
        status: Set(MessageStatus::Canceled),
        error_code: Set(Some(code.to_owned())),
        error_message: Set(Some(text.to_owned())),
        due_at: Set(None),
        // A worker that is about to let it expire settles it no more.
        lease_id: Set(None),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    // The worker may have claimed some in the meantime: those are on their way.
    let rows = message::Entity::update_many()
        .set(canceled)
        .filter(has_id(app.db.backend(), messages))
        .filter(message::Entity::is_unclaimed())
        .exec_with_returning(txn)
        .await?;
    if !rows.is_empty() {
        let team =
            lock_team(txn, team_id).await?.ok_or(Fault::Broken("an account's team exists"))?;
        refund(app, txn, &[team], rows.iter().map(|row| row.id).collect()).await?;
    }
    Ok(rows)
}
