//! The only code that moves money: it alone writes a team's balance, a sub-account's total, and the
//! ledger.
//!
//! The rule: one lock, the team's row. Every path that charges, refunds, tops up, or changes a limit,
//! a status or a team's key takes it before it writes anything, and reads the rest in later
//! statements: what was read under the lock holds until the commit, and there is one lock order. On `SQLite` the
//! IMMEDIATE transaction is that lock. Checks and charge are thereby one atomic step (R10), whatever
//! the number of clients, connections and processes.
//!
//! - [`accept`]: priced messages in, verdicts out, by way of a bounded [`queue`].
//! - [`writer`]: takes what waits and commits it together: message, ledger entry, balance, total and
//!   usage in one transaction, or none of them (R7). What survives a crash is what was answered.
//! - [`batch`]: the judgement of a batch in order, a pure function, by the [`verdict`] on each (R8).
//! - [`store`]: the statements of a batch, on each database.
//! - [`refund`]: back once, in full, what reached no provider (R12).
//! - [`number_fee`]: what phone numbers cost, when they are bought and each month.
//! - [`deposit`]: top-ups and adjustments by operators.

use std::collections::BTreeSet;

use entity::{account, ledger_entry, team};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use super::Fault;
use crate::{app::App, db::has_id, money::Micros};

mod accept;
mod batch;
mod deposit;
pub mod ledger_list;
mod number_fee;
pub mod price;
pub mod price_import;
mod queue;
pub mod reconciliation;
mod refund;
mod store;
pub mod usage;
pub mod usage_counters;
mod verdict;
mod writer;

pub use accept::{accept, accept_one, quote};
pub use deposit::{AdjustRefusal, Adjustment, Deposited, TopUp, TopUpRefusal, adjust, top_up};
pub use number_fee::{FeeRefusal, NumberFees};
pub use queue::{Deadline, WAITING_OF_TEAM_MAX};
pub use refund::{cancel, cancel_waiting, newest_waiting, refund, waiting};
pub use store::Statements;
pub use verdict::{
    AccountState, Draft, Judgement, PriceRefusal, PricedMessage, SendRefusal, Verdict,
};
pub use writer::{WriterHooks, Writers};

/// Locks the team until the transaction ends and gives its row as of then; `None` if there is none.
pub async fn lock_team(
    txn: &DatabaseTransaction,
    team_id: Uuid,
) -> Result<Option<team::Model>, Fault> {
    Ok(team::Entity::find_by_id(team_id).lock_exclusive().one(txn).await?)
}

/// Locks several teams, in id order, until the transaction ends.
pub async fn lock_teams(
    txn: &DatabaseTransaction,
    teams: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<team::Model>, Fault> {
    let teams: BTreeSet<Uuid> = teams.into_iter().collect();
    if teams.is_empty() {
        return Ok(Vec::new());
    }
    let teams = team::Entity::find().filter(has_id(txn.get_database_backend(), teams));
    Ok(teams.order_by_asc(team::Column::Id).lock_exclusive().all(txn).await?)
}

/// Movements of one locked team's balance, collected and then written together.
struct Movements<'app> {
    app: &'app App,
    team_id: Uuid,
    opening: Micros,
    balance: Micros,
    entries: Vec<ledger_entry::Model>,
}

/// What is moved, and for whom.
#[derive(Default)]
struct Cause {
    account_id: Option<Uuid>,
    message_id: Option<Uuid>,
    /// A phone number, and the month that is paid: 0 is the upfront fee.
    number_month: Option<(Uuid, i32)>,
    idempotency_key: Option<String>,
    note: Option<String>,
}

impl<'app> Movements<'app> {
    fn of(app: &'app App, locked: &team::Model) -> Self {
        let opening = Micros::from_db(locked.balance_micros);
        Self { app, team_id: locked.id, opening, balance: opening, entries: Vec::new() }
    }

    /// Adds one movement; `None`, and nothing added, if the balance would leave its bounds.
    fn add(
        &mut self,
        kind: ledger_entry::LedgerKind,
        amount: Micros,
        cause: Cause,
    ) -> Option<&ledger_entry::Model> {
        let balance =
            self.balance.checked_add(amount).filter(|balance| *balance >= Micros::ZERO)?;
        self.balance = balance;
        self.entries.push(ledger_entry::Model {
            id: self.app.new_id(),
            team_id: self.team_id,
            account_id: cause.account_id,
            message_id: cause.message_id,
            phone_number_id: cause.number_month.map(|(id, _)| id),
            phone_number_month: cause.number_month.map(|(_, month)| month),
            kind,
            amount_micros: amount.get(),
            balance_after_micros: balance.get(),
            idempotency_key: cause.idempotency_key,
            note: cause.note,
            created_at: self.app.clock.now(),
        });
        self.entries.last()
    }

    /// Writes the entries and the balance; the guard in the statement must agree with the lock.
    async fn write(self, txn: &DatabaseTransaction) -> Result<(), Fault> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = self.entries.into_iter().map(IntoActiveModel::into_active_model);
        ledger_entry::Entity::insert_many(entries).exec_without_returning(txn).await?;
        let updated = team::Entity::update_many()
            .col_expr(team::Column::BalanceMicros, Expr::value(self.balance.get()))
            .col_expr(team::Column::UpdatedAt, Expr::value(self.app.clock.now()))
            .filter(team::Column::Id.eq(self.team_id))
            .filter(team::Column::BalanceMicros.eq(self.opening.get()))
            .exec(txn)
            .await?;
        match updated.rows_affected {
            1 => Ok(()),
            _ => Err(Fault::Broken("a locked team's balance changes by its holder only")),
        }
    }
}

/// Adds to a sub-account's total, under the lock of its team. A main account has none (R7).
async fn add_to_total_spent(
    app: &App,
    txn: &DatabaseTransaction,
    account_id: Uuid,
    amount: Micros,
) -> Result<(), Fault> {
    let total = Expr::col(account::Column::TotalSpentMicros).add(amount.get());
    account::Entity::update_many()
        .col_expr(account::Column::TotalSpentMicros, total)
        .col_expr(account::Column::UpdatedAt, Expr::value(app.clock.now()))
        .filter(account::Column::Id.eq(account_id))
        .filter(account::Column::IsSubAccount.eq(true))
        .exec(txn)
        .await?;
    Ok(())
}
