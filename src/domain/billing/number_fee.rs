//! Fees for phone numbers. A purchase charges the upfront price and the first month, after the same checks as for a
//! message. Each further month is charged regardless of the credit limit. The balance never becomes negative. Each fee
//! has a ledger entry. A unique index on (phone number, month) prevents a second fee for the same month.

use super::movements::{Cause, Movements, add_to_total_spent};
use std::collections::BTreeMap;

use entity::{account, ledger_entry::LedgerKind, phone_number, team};
use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use super::{usage, usage_counters, verdict::is_at_limit};
use crate::{app::App, domain::Fault, money::Micros};

/// The month number that means the upfront price.
const UPFRONT: i32 = 0;

/// The reason why a purchase cannot be paid; the credit limit is checked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeRefusal {
    CreditLimitReached,
    InsufficientBalance,
}

/// The phone number fees of one locked team. They are collected first and then written together.
pub struct NumberFees<'app> {
    app: &'app App,
    movements: Movements<'app>,
    by_account: BTreeMap<Uuid, Micros>,
    counted: BTreeMap<usage_counters::Slot, usage::Figures>,
}

impl<'app> NumberFees<'app> {
    pub fn of(app: &'app App, locked: &team::Model) -> Self {
        let movements = Movements::of(app, locked);
        Self { app, movements, by_account: BTreeMap::new(), counted: BTreeMap::new() }
    }

    /// Charges the upfront price and the first month of a number: both or none.
    pub fn buy(
        &mut self,
        account: &account::Model,
        number: &phone_number::Model,
    ) -> Result<Result<(), FeeRefusal>, Fault> {
        let fees = [(UPFRONT, number.upfront_price_micros), (1, number.monthly_price_micros)];
        let price = sum(&fees);
        let credit_limit = account.credit_limit_micros.map(Micros::from_db);
        let total_spent = Micros::from_db(account.total_spent_micros);
        if price != Some(Micros::ZERO)
            && is_at_limit(credit_limit, total_spent, price.unwrap_or(Micros::MAX))
        {
            return Ok(Err(FeeRefusal::CreditLimitReached));
        }
        let is_paid = self.pay(account, number, &fees)?;
        Ok(if is_paid { Ok(()) } else { Err(FeeRefusal::InsufficientBalance) })
    }

    /// Charges the price of the next month. Returns false and charges nothing if the balance is too low.
    pub fn renew(
        &mut self,
        account: &account::Model,
        number: &phone_number::Model,
    ) -> Result<bool, Fault> {
        self.pay(account, number, &[(number.months_paid + 1, number.monthly_price_micros)])
    }

    /// Charges all of these fees, or none of them. Each fee is a month and a price.
    fn pay(
        &mut self,
        account: &account::Model,
        number: &phone_number::Model,
        fees: &[(i32, i64)],
    ) -> Result<bool, Fault> {
        let so_far = self.by_account.get(&account.id).copied().unwrap_or_default();
        let Some(price) = sum(fees) else { return Ok(false) };
        let Some(charged) = so_far.checked_add(price) else { return Ok(false) };
        let fits = Micros::from_db(account.total_spent_micros).checked_add(charged).is_some();
        if price > self.movements.balance || !fits {
            return Ok(false);
        }
        for &(month, price) in fees.iter().filter(|(_, price)| *price > 0) {
            let cause = Cause {
                account_id: Some(account.id),
                number_month: Some((number.id, month)),
                ..Cause::default()
            };
            self.movements
                .add(LedgerKind::NumberFee, -Micros::from_db(price), cause)
                .ok_or(Fault::Broken("a charged fee does not exceed the balance"))?;
        }
        if price > Micros::ZERO {
            self.by_account.insert(account.id, charged);
            let slot = usage_counters::Slot::of_fee(number, self.app.clock.now());
            self.counted.entry(slot).or_default().charged_micros += price.get();
        }
        Ok(true)
    }

    /// Writes the charges. The rows of the phone numbers must already exist.
    pub async fn write(self, txn: &DatabaseTransaction) -> Result<(), Fault> {
        self.movements.write(txn).await?;
        for (account_id, charged) in self.by_account {
            add_to_total_spent(self.app, txn, account_id, charged).await?;
        }
        usage_counters::add(self.app, txn, self.counted).await
    }
}

/// Returns the sum of the fees; `None` if it exceeds the maximum amount. No balance can pay such a sum.
fn sum(fees: &[(i32, i64)]) -> Option<Micros> {
    fees.iter().try_fold(Micros::ZERO, |sum, (_, price)| sum.checked_add(Micros::from_db(*price)))
}
