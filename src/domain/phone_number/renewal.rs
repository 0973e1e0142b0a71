//! Renews phone numbers. Each month is charged once, at its beginning. The credit limit does not prevent the charge,
//! but the balance never becomes negative. A number whose month cannot be paid becomes SUSPENDED. As soon as the
//! balance is sufficient, the month is charged and the number becomes ACTIVE again. If this does not happen within a
//! grace period, the number returns to the inventory. Numbers of an INACTIVE account are never charged.
//!
//! Due dates are stored in the rows, so a restart loses nothing. At most one missed month is charged per day. So even
//! if the clock is years ahead, only one month is charged too early. Each number is checked again under the team's
//! lock, so two processes never charge the same month; the ledger's unique index enforces this as well.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    account::{self, AccountStatus},
    phone_number::{self, Column, Entity, PhoneNumberStatus},
    team,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

use super::{month_after, references, return_to_inventory, write};
use crate::{
    app::App,
    db::has_id,
    domain::{Fault, account::team_lock::lock_team, billing::NumberFees, events::Change},
};

/// How long an account keeps a number whose month could not be paid.
pub const GRACE: TimeDelta = TimeDelta::days(7);
/// Minimum time between two charges of a number.
pub const MONTHS_APART: TimeDelta = TimeDelta::days(1);
/// Maximum number of phone numbers in one batch of renewals.
pub const RENEWED_TOGETHER_MAX: u64 = 100;

/// Returns when a suspended number returns to the inventory if its month is not paid.
pub fn releases_at(number: &phone_number::Model) -> Option<DateTime<Utc>> {
    number.suspended_at.map(|since| since + GRACE)
}

/// The last number of a batch; the next batch begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalPosition {
    renews_at: DateTime<Utc>,
    id: Uuid,
}

/// Renews the next batch of due numbers; `None` if there are no due numbers after `after`. An error in one team does
/// not delay other teams. The numbers of that team are tried again in the next round.
pub async fn renew(
    app: &App,
    after: Option<RenewalPosition>,
) -> Result<Option<RenewalPosition>, Fault> {
    let now = app.clock.now();
    let due = due(now, after).limit(RENEWED_TOGETHER_MAX).all(&app.db.read).await?;
    let last = due.last().map(|row| RenewalPosition { renews_at: row.renews_at, id: row.id });
    let mut by_team: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for row in due {
        by_team.entry(row.team_id).or_default().push(row.id);
    }
    for (team_id, numbers) in by_team {
        if let Err(fault) = renew_of_team(app, team_id, numbers, now).await {
            tracing::error!(team.id = %team_id, %fault, "A team's phone numbers could not be renewed");
        }
    }
    Ok(last)
}

/// Selects numbers that are due: a new month is to be charged, an unpaid month can now be paid, or the grace period has
/// ended.
pub fn due(now: DateTime<Utc>, after: Option<RenewalPosition>) -> Select<Entity> {
    // There is one subquery over both tables, because with two subqueries PostgreSQL may read all accounts.
    let can_be_paid = Query::select()
        .expr(Expr::value(1))
        .from(account::Entity)
        .inner_join(
            team::Entity,
            Expr::col((team::Entity, team::Column::Id))
                .equals((account::Entity, account::Column::TeamId)),
        )
        .and_where(
            Expr::col((account::Entity, account::Column::Id)).equals((Entity, Column::AccountId)),
        )
        .and_where(account::Column::Status.ne(AccountStatus::Inactive))
        .and_where(
            Expr::col((team::Entity, team::Column::BalanceMicros))
                .gte(Expr::col((Entity, Column::MonthlyPriceMicros))),
        )
        .to_owned();
    let is_actionable = Condition::any()
        .add(Column::Status.eq(PhoneNumberStatus::Active))
        .add(Column::SuspendedAt.lte(now - GRACE))
        .add(Expr::exists(can_be_paid));
    let mut select = Entity::find()
        .filter(Entity::is_held())
        .filter(Column::RenewsAt.lte(now))
        .filter(was_not_just_charged(now))
        .filter(is_actionable);
    if let Some(RenewalPosition { renews_at, id }) = after {
        let same = Column::RenewsAt.eq(renews_at).and(Column::Id.gt(id));
        select = select.filter(Condition::any().add(Column::RenewsAt.gt(renews_at)).add(same));
    }
    select.order_by_asc(Column::RenewsAt).order_by_asc(Column::Id)
}

/// Returns the condition that the last charge is older than [`MONTHS_APART`]. A charge in the future was made with a
/// wrong clock and is ignored.
fn was_not_just_charged(now: DateTime<Utc>) -> Condition {
    Condition::any().add(Column::ChargedAt.lte(now - MONTHS_APART)).add(Column::ChargedAt.gt(now))
}

async fn renew_of_team(
    app: &App,
    team_id: Uuid,
    numbers: Vec<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let txn = app.db.begin_write().await?;
    let team = lock_team(&txn, team_id).await?;
    let team = team.ok_or(Fault::Broken("a phone number's team exists"))?;
    let numbers = Entity::of_team(team_id)
        .filter(has_id(app.db.backend(), numbers))
        .filter(Entity::is_held())
        .filter(Column::RenewsAt.lte(now))
        .filter(was_not_just_charged(now))
        .order_by_asc(Column::RenewsAt)
        .order_by_asc(Column::Id)
        .all(&txn)
        .await?;
    let accounts: HashMap<Uuid, account::Model> = account::Entity::of_team(team_id)
        .filter(account::Column::Id.is_in(numbers.iter().map(|number| number.account_id)))
        .all(&txn)
        .await?
        .into_iter()
        .map(|row| (row.id, row))
        .collect();

    let mut fees = NumberFees::of(app, &team);
    let mut changes = Vec::new();
    let mut released = Vec::new();
    for number in &numbers {
        let account = accounts
            .get(&number.account_id)
            .ok_or(Fault::Broken("a phone number and its account are in the same team"))?;
        let may_pay = account.status != AccountStatus::Inactive;
        if may_pay && fees.renew(account, number)? {
            changes.push(Change::of_account(account));
            set_renewed(app, &txn, number).await?;
        } else if number.suspended_at.is_none() {
            set_suspended(app, &txn, number).await?;
        } else if releases_at(number).is_some_and(|at| at <= now) {
            released.push(number);
        }
    }
    // Inventory rows are locked in the order of numbers, as in an import, so that a renewal and an import cannot
    // deadlock.
    released.sort_by(|one, other| one.number.cmp(&other.number));
    for number in released {
        tracing::info!(phone_number.id = %number.id, "An unpaid phone number was returned to the inventory");
        references::detach(app, &txn, number).await?;
        return_to_inventory(app, &txn, number).await?;
    }
    fees.write(&txn).await?;
    txn.commit().await?;
    for account_id in accounts.keys() {
        app.senders.forget(*account_id);
    }
    app.events.publish(changes);
    Ok(())
}

async fn set_renewed(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    let months_paid = number.months_paid + 1;
    let to = phone_number::ActiveModel {
        status: Set(PhoneNumberStatus::Active),
        suspended_at: Set(None),
        months_paid: Set(months_paid),
        charged_at: Set(app.clock.now()),
        renews_at: Set(month_after(number.created_at, months_paid)?),
        ..Default::default()
    };
    write(app, txn, number, to).await?;
    Ok(())
}

async fn set_suspended(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    tracing::info!(phone_number.id = %number.id, "A phone number was suspended because its monthly price could not \
                                                  be paid");
    let to = phone_number::ActiveModel {
        status: Set(PhoneNumberStatus::Suspended),
        suspended_at: Set(Some(app.clock.now())),
        ..Default::default()
    };
    write(app, txn, number, to).await?;
    Ok(())
}
