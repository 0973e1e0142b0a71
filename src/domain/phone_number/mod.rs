//! Phone numbers of an account: bought from the operator's inventory, named and released. At most one account has a
//! number at the same time. An operation that changes which account has a number first locks the team and then locks
//! the number's row in the inventory.

use chrono::{DateTime, Months, Utc};
use entity::{
    audit_entry::AuditAction,
    phone_number::{self, Column, Entity, PhoneNumberStatus},
};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait,
    QueryFilter, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, Fault,
    api_key::authentication::{begin_as_account, begin_in_team_as_account},
    audit_log::{Entry, Settings},
    caller::LiveAccountCaller,
    refused,
    validate::{self, NAME_RULE},
};
use crate::app::App;

pub mod inventory;
pub mod inventory_import;
pub mod list;
pub mod purchase;
pub(in crate::domain) mod references;
pub mod renewal;
pub mod transfer;

/// Allowed number of digits of a number in E.164.
pub const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Maximum length of a number as input, in bytes, with spaces, dots, hyphens and brackets.
const NUMBER_BYTES_MAX: usize = 64;

/// Maximum number of phone numbers of an account.
pub const NUMBERS_MAX: u64 = 1_000;

pub(super) const NOT_FOUND: &str = "There is no such phone number.";
pub(super) const TOO_MANY_NUMBERS: &str =
    "The account already has 1,000 phone numbers (the maximum). Release one first.";

entity::api_enum! {
    /// Reasons why updatePhoneNumber is refused.
    pub enum UpdatePhoneNumberRefusal {
        /// The account has no such phone number.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
    }

    /// Reasons why releasePhoneNumber is refused.
    pub enum ReleasePhoneNumberRefusal {
        /// The account has no such phone number.
        NotFound,
        /// A sender uses the number, or a message is waiting to be sent from it. The error message says which.
        NumberInUse,
    }
}

/// Returns the number in E.164 format; `None` if the input is invalid. The input may contain spaces, dots, hyphens and
/// brackets.
pub fn normalised(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let number: String = text.chars().filter(|char| !" .-()".contains(*char)).collect();
    let digits = number.strip_prefix('+')?;
    let is_number = NUMBER_DIGITS.contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    is_number.then_some(number)
}

/// Returns the time that is `months` after `created_at`. The months are always counted from `created_at`, so that a
/// short month does not shift later renewals: 31 January, 28 February, 31 March.
pub(super) fn month_after(created_at: DateTime<Utc>, months: i32) -> Result<DateTime<Utc>, Fault> {
    u32::try_from(months)
        .ok()
        .and_then(|months| created_at.checked_add_months(Months::new(months)))
        .ok_or(Fault::Broken("a phone number's renewals are within the calendar"))
}

/// Returns whether an account has fewer numbers than the maximum. The caller holds the team's lock.
pub(super) async fn can_hold_another(
    txn: &DatabaseTransaction,
    account_id: Uuid,
) -> Result<bool, Fault> {
    let held = Entity::owned_by(account_id).filter(Entity::is_held());
    Ok(held.count(txn).await? < NUMBERS_MAX)
}

/// Changes the account's name for a number. `None` keeps the name, and `Some(None)` removes it.
pub async fn update(
    app: &App,
    caller: &LiveAccountCaller,
    id: Option<Uuid>,
    name: Option<Option<String>>,
) -> Result<phone_number::Model, Failure<UpdatePhoneNumberRefusal>> {
    use UpdatePhoneNumberRefusal as Refusal;
    let mut to = phone_number::ActiveModel::default();
    if let Some(name) = name {
        let name = checked_name(name)
            .map_err(|()| refused(Refusal::NameInvalid, &["input", "name"], NAME_RULE))?;
        to.name = Set(name);
    }
    let txn = begin_as_account(app, caller).await?;
    let found = Entity::owned_by(caller.account_id())
        // A malformed id is treated like an unknown one.
        .filter(Column::Id.eq(id.unwrap_or_default()))
        .filter(Entity::is_held())
        .lock_exclusive()
        .one(&txn)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], NOT_FOUND))?;
    let changed = write(app, &txn, &found, to).await?;
    let name = |number: &phone_number::Model| Settings::from([("name", json!(number.name))]);
    let entry = Entry::of(AuditAction::UpdatePhoneNumber, changed.id);
    txn.commit(app, entry.changed(name(&found), name(&changed))).await?;
    Ok(changed)
}

/// Returns a number to the inventory immediately; the rest of its month is not refunded. Releasing a RELEASED number
/// changes nothing.
pub async fn release(
    app: &App,
    caller: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<phone_number::Model, Failure<ReleasePhoneNumberRefusal>> {
    use ReleasePhoneNumberRefusal as Refusal;
    let txn = begin_in_team_as_account(app, caller).await?;
    let found = Entity::owned_by(caller.account_id())
        .filter(Column::Id.eq(id.unwrap_or_default()))
        .one(&txn)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], NOT_FOUND))?;
    let released = if found.status == PhoneNumberStatus::Released {
        found.clone()
    } else if let Some(in_use) = references::blocking_use(&txn, &found).await? {
        return Err(refused(Refusal::NumberInUse, &["id"], in_use));
    } else {
        return_to_inventory(app, &txn, &found).await?
    };
    let status = |number: &phone_number::Model| {
        Settings::from([("status", json!(number.status.to_value()))])
    };
    let entry = Entry::of(AuditAction::ReleasePhoneNumber, released.id);
    txn.commit(app, entry.changed(status(&found), status(&released))).await?;
    Ok(released)
}

/// Sets a number to RELEASED and makes it available in the inventory. The caller holds the team's lock.
pub(super) async fn return_to_inventory(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<phone_number::Model, Fault> {
    let now = app.clock.now();
    let to = phone_number::ActiveModel {
        status: Set(PhoneNumberStatus::Released),
        suspended_at: Set(None),
        released_at: Set(Some(now)),
        ..Default::default()
    };
    let released = write(app, txn, number, to).await?;
    inventory::put_back(app, txn, number).await?;
    Ok(released)
}

/// Updates a number that an account has: writes the columns that are set in `to`. The caller holds the lock of the team
/// or of the row.
pub(super) async fn write(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
    mut to: phone_number::ActiveModel,
) -> Result<phone_number::Model, Fault> {
    to.updated_at = Set(app.clock.now());
    let rows = Entity::update_many()
        .set(to)
        .filter(Column::Id.eq(number.id))
        .filter(Entity::is_held())
        .exec_with_returning(txn)
        .await?;
    rows.into_iter().next().ok_or(Fault::Broken("a locked phone number is not released"))
}

fn checked_name(name: Option<String>) -> Result<Option<String>, ()> {
    name.map(|name| validate::name(&name).ok_or(())).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_keep_the_day_of_the_purchase() {
        let bought: DateTime<Utc> = "2026-01-31T10:00:00Z".parse().expect("a time");
        let renewals: Vec<String> = [1, 2, 3, 13, 25]
            .map(|months| month_after(bought, months).expect("a day").to_rfc3339())
            .to_vec();

        assert_eq!(
            renewals,
            [
                "2026-02-28T10:00:00+00:00",
                "2026-03-31T10:00:00+00:00",
                "2026-04-30T10:00:00+00:00",
                "2027-02-28T10:00:00+00:00",
                "2028-02-29T10:00:00+00:00",
            ]
        );
    }

    #[test]
    fn a_number_has_seven_to_fifteen_digits() {
        for (text, expected) in [
            (" +1 (202) 555-0.123 ", Some("+12025550123")),
            ("+1234567", Some("+1234567")),
            ("+123456", None),
            ("+123456789012345", Some("+123456789012345")),
            ("+1234567890123456", None),
            ("+02025550123", None),
            ("12025550123", None),
            ("+1202555o123", None),
            ("+1202555٠123", None),
            ("+", None),
            ("", None),
        ] {
            assert_eq!(normalised(text).as_deref(), expected, "{text:?}");
        }
    }
}
