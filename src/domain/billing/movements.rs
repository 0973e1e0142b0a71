//! Movements: changes to the balance of a locked team. Ledger entries and the new balance are written together.

use entity::{account, ledger_entry, team};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter,
    sea_query::Expr,
};
use uuid::Uuid;

use crate::{app::App, domain::Fault, money::Micros};

/// The movements of one locked team's balance. They are collected first and then written together.
pub(super) struct Movements<'app> {
    pub(super) app: &'app App,
    pub(super) team_id: Uuid,
    pub(super) opening: Micros,
    pub(super) balance: Micros,
    pub(super) entries: Vec<ledger_entry::Model>,
}

/// The reason for a movement.
#[derive(Default)]
pub(super) struct Cause {
    pub(super) account_id: Option<Uuid>,
    pub(super) message_id: Option<Uuid>,
    /// A phone number and the paid month; month 0 is the upfront price.
    pub(super) number_month: Option<(Uuid, i32)>,
    pub(super) idempotency_key: Option<String>,
    pub(super) note: Option<String>,
}

impl<'app> Movements<'app> {
    pub(super) fn of(app: &'app App, locked: &team::Model) -> Self {
        let opening = Micros::from_db(locked.balance_micros);
        Self { app, team_id: locked.id, opening, balance: opening, entries: Vec::new() }
    }

    /// Adds a movement. Returns `None` and adds nothing if the balance would leave its bounds.
    pub(super) fn add(
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

    /// Writes the entries and the balance. The statement checks that the balance is still the one that was read under
    /// the lock.
    pub(super) async fn write(self, txn: &DatabaseTransaction) -> Result<(), Fault> {
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
            _ => Err(Fault::Broken(
                "a locked team's balance is changed only by the holder of the lock",
            )),
        }
    }
}

/// Adds to a sub-account's total, under the lock of its team. Does nothing for a main account, because no total is kept
/// for it.
pub(super) async fn add_to_total_spent(
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
