//! Moving a number from one account of a team to another, by the team's main account. No money
//! moves: what is paid is paid, and the next month is the new account's.

use entity::{
    account::AccountStatus,
    audit_entry::AuditAction,
    phone_number::{self, Column, Entity},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::{NOT_FOUND, has_room, references, write};
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
    /// Why a phone number was not transferred.
    pub enum TransferPhoneNumberRefusal {
        /// No account of the team has such a phone number.
        NotFound,
        /// The team has no such account.
        AccountNotFound,
        /// The account is INACTIVE; reactivate it first.
        AccountInactive,
        /// The account has 1,000 numbers.
        TooManyNumbers,
        /// Its account uses it; detach it.
        NumberInUse,
    }
}

/// Moves a number that any account of the team has. Its name is its old account's own and does not
/// go along (R3). A number that is in use moves only if it is to be detached. Moving it to where it
/// is changes nothing.
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
        let message = "The account is inactive; reactivate it first.";
        return Err(refused(Refusal::AccountInactive, &["input", "to"], message));
    }
    if !has_room(&txn, target.id).await? {
        let message = "The account has 1,000 phone numbers; release one that is not needed.";
        return Err(refused(Refusal::TooManyNumbers, &["input", "to"], message));
    }
    if references::find(&txn, &found).await?.is_some() {
        if !is_detached {
            // R3: not what uses it.
            let message = "Its account uses the number; transfer it with detach: true.";
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
