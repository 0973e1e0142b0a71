//! Buys a phone number from the operator's inventory.

use entity::{
    account::AccountStatus,
    audit_entry::AuditAction,
    phone_number::{self, Column, Entity, PhoneNumberStatus},
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{TOO_MANY_NUMBERS, can_hold_another, checked_name, inventory, month_after, normalised};
use crate::{
    app::App,
    domain::{
        Failure, Fault,
        account::{self as accounts, team_lock::lock_team},
        api_key::authentication::begin_in_team_as_account,
        audit_log::{Entry, Settings, cents},
        billing::{FeeRefusal, NumberFees},
        caller::LiveAccountCaller,
        events::Change,
        refused,
        validate::{self, IDEMPOTENCY_KEY_RULE, NAME_RULE},
    },
};

entity::api_enum! {
    /// Reasons why purchasePhoneNumber is refused. If several apply, the first in the order of these values is
    /// returned. Nothing is charged.
    pub enum PurchasePhoneNumberRefusal {
        /// The number is not in E.164 format.
        NumberInvalid,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The idempotencyKey is empty, longer than 255 characters, or contains control characters.
        IdempotencyKeyInvalid,
        /// The idempotencyKey was already used for a purchase with a different input, or the number bought with it was
        /// transferred to another account.
        IdempotencyConflict,
        /// The account is SUSPENDED.
        AccountSuspended,
        /// The account is INACTIVE.
        AccountInactive,
        /// The account already has 1,000 phone numbers.
        TooManyNumbers,
        /// The number is not available, because an account already has it or this server does not sell it.
        NumberUnavailable,
        /// The totalSpent of the account has reached its creditLimit.
        CreditLimitReached,
        /// The balance of the team is lower than the upfront price plus the first monthly price.
        InsufficientBalance,
    }
}

#[derive(Clone, Debug, Default)]
pub struct Purchase {
    pub number: String,
    pub name: Option<String>,
    pub idempotency_key: Option<String>,
}

/// A number that was bought by this call, or by an earlier call with the same idempotency key.
#[derive(Debug)]
pub struct Purchased {
    pub number: phone_number::Model,
    pub is_replay: bool,
}

/// Buys a number. The upfront price and the first month are charged in the same transaction. Status,
/// credit limit and balance are checked in the same order as for a message. A refused purchase stores nothing.
pub async fn purchase(
    app: &App,
    caller: &LiveAccountCaller,
    purchase: Purchase,
) -> Result<Purchased, Failure<PurchasePhoneNumberRefusal>> {
    use PurchasePhoneNumberRefusal as Refusal;
    let number = normalised(&purchase.number).ok_or_else(|| {
        let rule = "The number must be in E.164, such as +12025550123.";
        refused(Refusal::NumberInvalid, &["input", "number"], rule)
    })?;
    let name = checked_name(purchase.name)
        .map_err(|()| refused(Refusal::NameInvalid, &["input", "name"], NAME_RULE))?;
    let checked_key = |key: String| validate::idempotency_key(&key).ok_or(());
    let key = purchase.idempotency_key.map(checked_key).transpose().map_err(|()| {
        let field = &["input", "idempotencyKey"];
        refused(Refusal::IdempotencyKeyInvalid, field, IDEMPOTENCY_KEY_RULE)
    })?;
    let input_hash = hash(&number, name.as_deref());

    let action = AuditAction::PurchasePhoneNumber;
    let txn = begin_in_team_as_account(app, caller).await?;
    if let Some(key) = &key
        && let Some(number) = find_earlier_purchase(&txn, caller, key, &input_hash).await?
    {
        txn.commit(app, Entry::of(action, number.id).replayed()).await?;
        return Ok(Purchased { number, is_replay: true });
    }
    let account = accounts::own_in(&txn, caller.account()).await?;
    match account.status {
        AccountStatus::Active => {}
        AccountStatus::Suspended => {
            let message = "The account is suspended. The team's main account can reactivate it.";
            return Err(refused(Refusal::AccountSuspended, &[], message));
        }
        AccountStatus::Inactive => {
            let message = "The account is inactive. The team's main account can reactivate it.";
            return Err(refused(Refusal::AccountInactive, &[], message));
        }
    }
    if !can_hold_another(&txn, account.id).await? {
        return Err(refused(Refusal::TooManyNumbers, &[], TOO_MANY_NUMBERS));
    }
    let id = app.new_id();
    let stock = inventory::take(app, &txn, &number, id).await?.ok_or_else(|| {
        let message = "The number is not available. availablePhoneNumbers lists available numbers.";
        refused(Refusal::NumberUnavailable, &["input", "number"], message)
    })?;
    let now = app.clock.now();
    let bought = phone_number::Model {
        id,
        team_id: account.team_id,
        account_id: account.id,
        buyer_id: account.id,
        number: stock.number,
        country: stock.country,
        number_type: stock.number_type,
        has_sms: stock.has_sms,
        has_whatsapp: stock.has_whatsapp,
        name,
        status: PhoneNumberStatus::Active,
        upfront_price_micros: stock.upfront_price_micros,
        monthly_price_micros: stock.monthly_price_micros,
        months_paid: 1,
        charged_at: now,
        renews_at: month_after(now, 1)?,
        suspended_at: None,
        released_at: None,
        idempotency_key: key,
        input_hash,
        created_at: now,
        updated_at: now,
    };
    let team = lock_team(&txn, account.team_id).await?;
    let mut fees = NumberFees::of(app, &team.ok_or(Fault::Broken("an account's team exists"))?);
    fees.buy(&account, &bought)?.map_err(|refusal| match refusal {
        FeeRefusal::CreditLimitReached => {
            let message = "The account's totalSpent has reached its creditLimit. The team's main account can raise \
                           the creditLimit.";
            refused(Refusal::CreditLimitReached, &[], message)
        }
        FeeRefusal::InsufficientBalance => {
            let message = "The team's balance is lower than the upfront price plus the first monthly price.";
            refused(Refusal::InsufficientBalance, &[], message)
        }
    })?;
    Entity::insert(bought.clone().into_active_model()).exec_without_returning(&txn).await?;
    fees.write(&txn).await?;
    let made = Settings::from([
        ("name", json!(bought.name)),
        ("upfrontPrice", cents(bought.upfront_price_micros)),
        ("monthlyPrice", cents(bought.monthly_price_micros)),
    ]);
    txn.commit(app, Entry::of(action, bought.id).made(made)).await?;
    app.events.publish([Change::of_account(&account)]);
    Ok(Purchased { number: bought, is_replay: false })
}

/// Returns the number that the account bought with this idempotency key, if any.
async fn find_earlier_purchase(
    txn: &DatabaseTransaction,
    caller: &LiveAccountCaller,
    key: &str,
    input_hash: &[u8],
) -> Result<Option<phone_number::Model>, Failure<PurchasePhoneNumberRefusal>> {
    let refusal = PurchasePhoneNumberRefusal::IdempotencyConflict;
    let field = &["input", "idempotencyKey"];
    // The idempotency key belongs to the buyer, even if the number has been transferred.
    let earlier = Entity::of_team(caller.team_id())
        .filter(Column::BuyerId.eq(caller.account_id()))
        .filter(Column::IdempotencyKey.eq(key))
        .one(txn)
        .await?;
    match earlier {
        None => Ok(None),
        Some(number) if number.input_hash != input_hash => {
            let message =
                "Another purchase used this idempotencyKey. Use a new key for a new purchase.";
            Err(refused(refusal, field, message))
        }
        // An account must not see the number of another account.
        Some(number) if number.account_id != caller.account_id() => {
            let message = "The number bought under this idempotencyKey was transferred to another \
                           account. Use a new key for a new purchase.";
            Err(refused(refusal, field, message))
        }
        Some(number) => Ok(Some(number)),
    }
}

/// Returns the hash of the input. A call with the same idempotency key is a repetition only if its hash is the same.
fn hash(number: &str, name: Option<&str>) -> Vec<u8> {
    Sha256::digest(json!([number, name]).to_string().as_bytes()).to_vec()
}
