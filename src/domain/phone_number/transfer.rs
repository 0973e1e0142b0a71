//! Moves a phone number from one account of a team to another; only the team's main account may do this. No money
//! moves: past fees stay with the old account, and the next month is charged to the new one.

use entity::{
    account::AccountStatus,
    audit_entry::AuditAction,
    phone_number::{self, Column, Entity},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::{NOT_FOUND, TOO_MANY_NUMBERS, can_hold_another, references, write};
use crate::{
    app::App,
    domain::{
        Failure,
        account::AccountRef,
        api_key::authentication::begin_as_main,
        audit_log::{Entry, Settings},
        caller::LiveMainCaller,
        refused,
    },
};

entity::api_enum! {
    /// Reasons why transferPhoneNumber is refused.
    pub enum TransferPhoneNumberRefusal {
        /// No account of the team has such a phone number.
        NotFound,
        /// The team has no such account.
        AccountNotFound,
        /// The account is INACTIVE. Reactivate it first.
        AccountInactive,
        /// The account already has 1,000 phone numbers.
        TooManyNumbers,
        /// The number is in use. Set detach to true to transfer it nevertheless.
        NumberInUse,
    }
}

/// Transfers a number to another account of the team. The name that the old account gave to the number is removed, so
/// that the new account does not see this name. A number in use is transferred only with `is_detached`. A transfer to
/// the same account changes nothing.
pub async fn transfer(
    app: &App,
    main: &LiveMainCaller,
    id: Option<Uuid>,
    to: &AccountRef,
    is_detached: bool,
) -> Result<phone_number::Model, Failure<TransferPhoneNumberRefusal>> {
    use TransferPhoneNumberRefusal as Refusal;
    let txn = begin_as_main(app, main).await?;
    let found = Entity::of_team(main.team_id())
        .filter(Column::Id.eq(id.unwrap_or_default()))
        .filter(Entity::is_held())
        .one(&txn)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], NOT_FOUND))?;
    let target = to.find_in(main.team_id(), &txn).await?.ok_or_else(|| {
        let message = "The team has no such account.";
        refused(Refusal::AccountNotFound, &["input", "to"], message)
    })?;
    let entry = Entry::of(AuditAction::TransferPhoneNumber, found.id).to(&target);
    if target.id == found.account_id {
        txn.commit(app, entry).await?;
        let name = found.name.filter(|_| target.id == main.account_id());
        return Ok(phone_number::Model { name, ..found });
    }
    if target.status == AccountStatus::Inactive {
        let message = "The account is inactive. Reactivate it first.";
        return Err(refused(Refusal::AccountInactive, &["input", "to"], message));
    }
    if !can_hold_another(&txn, target.id).await? {
        return Err(refused(Refusal::TooManyNumbers, &["input", "to"], TOO_MANY_NUMBERS));
    }
    if references::blocking_use(&txn, &found).await?.is_some() {
        if !is_detached {
            // The main account does not see the senders and messages of the account, so the error message names none.
            let message = "The number is in use. Set detach: true to transfer it anyway.";
            return Err(refused(Refusal::NumberInUse, &["id"], message));
        }
        references::detach(app, &txn, &found).await?;
    }
    let to = phone_number::ActiveModel {
        account_id: Set(target.id),
        name: Set(None),
        ..Default::default()
    };
    let moved = write(app, &txn, &found, to).await?;
    let account =
        |number: &phone_number::Model| Settings::from([("accountId", json!(number.account_id))]);
    txn.commit(app, entry.changed(account(&found), account(&moved))).await?;
    for account_id in [found.account_id, moved.account_id] {
        app.senders.forget(account_id);
    }
    Ok(moved)
}
