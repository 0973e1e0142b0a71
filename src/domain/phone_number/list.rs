//! Reads phone numbers. A key sees only the numbers of its own account, and the available numbers of the
//! inventory.

use std::collections::{BTreeSet, HashMap};

use entity::{
    inventory_number,
    message::Channel,
    phone_number::{self, Column, Entity, PhoneNumberType},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::NUMBER_DIGITS;
use crate::{
    app::App,
    domain::{
        Fault, bad_input,
        caller::AccountCaller,
        list::List,
        page::{Page, PageArgs},
    },
};

#[derive(Clone, Debug, Default)]
pub struct AvailablePhoneNumberFilter {
    /// The country (ISO 3166-1 alpha-2).
    pub country: String,
    pub number_type: Option<PhoneNumberType>,
    /// Consecutive digits of the number.
    pub contains: Option<String>,
    /// The number has all of these capabilities.
    pub capabilities: Option<Vec<Channel>>,
}

/// Returns one page of the account's numbers, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    page: &PageArgs,
) -> Result<Page<phone_number::Model>, Fault> {
    let keyset = page.keyset("phone_numbers")?;
    let rows = Entity::owned_by(caller.account_id).filter(Entity::is_held());
    let list = List::newest_first(rows, Column::Id, |row| row.id);
    list.page(&app.read_as(caller), keyset).await
}

/// Returns the caller's numbers with these ids. Released numbers are included, because ledger entries still refer to
/// them.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, phone_number::Model>, Fault> {
    let rows = Entity::owned_by(caller.account_id)
        .filter(Column::Id.is_in(ids.iter().copied()))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Returns the first available numbers, ordered by number. `first` has the same limits as the size of a page.
pub async fn list_available(
    app: &App,
    caller: &AccountCaller,
    filter: &AvailablePhoneNumberFilter,
    first: Option<i32>,
) -> Result<Vec<inventory_number::Model>, Fault> {
    let page = PageArgs { first, ..PageArgs::default() };
    let limit = page.keyset("available_phone_numbers")?.limit();
    Ok(available(filter)?.limit(limit).all(&app.read_as(caller)).await?)
}

fn available(
    filter: &AvailablePhoneNumberFilter,
) -> Result<Select<inventory_number::Entity>, Fault> {
    use inventory_number::Column;
    let country = &filter.country;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(bad_input("The country must be two letters, such as US."));
    }
    let mut select = inventory_number::Entity::find()
        .filter(inventory_number::Entity::is_available())
        .filter(Column::Country.eq(country.to_ascii_uppercase()));
    if let Some(number_type) = filter.number_type {
        select = select.filter(Column::NumberType.eq(number_type));
    }
    if let Some(digits) = &filter.contains {
        let is_part = (1..=*NUMBER_DIGITS.end()).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_part {
            return Err(bad_input("The filter's contains is not valid (expected 1 to 15 digits)."));
        }
        select = select.filter(Column::Number.contains(digits));
    }
    // The set removes duplicates.
    for channel in filter.capabilities.iter().flatten().collect::<BTreeSet<_>>() {
        let has_it = match channel {
            Channel::Sms => Column::HasSms.eq(true),
            Channel::Whatsapp => Column::HasWhatsapp.eq(true),
            Channel::Email | Channel::Telegram => {
                return Err(bad_input(
                    "A phone number can only have the capabilities SMS and WHATSAPP.",
                ));
            }
        };
        select = select.filter(has_it);
    }
    Ok(select.order_by_asc(Column::Number))
}
