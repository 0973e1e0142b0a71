//! Finding phone numbers: those of the key's own account, and those that are to be had.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::inventory_number as rows;

use super::PhoneNumber;
use crate::{
    domain::{account::stored, phone_number::list as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        enums::{Channel, PhoneNumberType, values},
        input::{all, parse_id},
        loaders::PhoneNumberId,
        scalars::Cents,
    },
};

/// GraphQL's `AvailablePhoneNumber`, described there.
pub struct AvailablePhoneNumber(rows::Model);

/// A phone number that can be bought.
#[Object]
impl AvailablePhoneNumber {
    /// The number in E.164.
    async fn number(&self) -> &str {
        &self.0.number
    }

    /// The country as ISO 3166-1 alpha-2.
    async fn country(&self) -> &str {
        &self.0.country
    }

    /// What kind of number it is.
    #[graphql(name = "type")]
    async fn number_type(&self) -> PhoneNumberType {
        self.0.number_type.into()
    }

    /// The channels that it can be used on: SMS, WHATSAPP, or both.
    async fn capabilities(&self) -> Vec<Channel> {
        all(self.0.capabilities())
    }

    /// What it costs once, in cents, when it is bought.
    async fn upfront_price(&self) -> Cents {
        stored(self.0.upfront_price_micros).into()
    }

    /// What each month costs, in cents; the first is charged when it is bought.
    async fn monthly_price(&self) -> Cents {
        stored(self.0.monthly_price_micros).into()
    }
}

/// Which numbers to list: those that fit every part that is given.
#[derive(InputObject)]
pub struct AvailablePhoneNumberFilter {
    /// Those of this country, as ISO 3166-1 alpha-2.
    country: String,
    /// Those of this kind.
    #[graphql(name = "type")]
    number_type: Option<PhoneNumberType>,
    /// Those that have these digits in a row, 1 to 15.
    contains: Option<String>,
    /// Those that can be used on all of these channels; a number can do SMS and WHATSAPP.
    capabilities: Option<Vec<Channel>>,
}

#[derive(Default)]
pub struct PhoneNumberQuery;

#[Object]
impl PhoneNumberQuery {
    /// One phone number that the account of the key in use has, or had until it was released; null
    /// if there is none.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
    ) -> Result<Option<PhoneNumber>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(PhoneNumberId(id)).await?.map(PhoneNumber))
    }

    /// The phone numbers that the account of the key in use has, newest first; released ones are
    /// left out.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn phone_numbers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<PhoneNumber>> {
        let page = page_args(ctx, first, after, last, before)?;
        let found = domain::list(ctx.app()?, &ctx.account()?, &page).await?;
        Ok(list(found, PhoneNumber))
    }

    /// Phone numbers that can be bought now, by number. Somebody else may be faster:
    /// purchasePhoneNumber says so.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn available_phone_numbers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: AvailablePhoneNumberFilter,
        #[graphql(desc = "How many, 0 to 100; 20 if left out.")] first: Option<i32>,
    ) -> Result<Vec<AvailablePhoneNumber>> {
        let filter = domain::AvailablePhoneNumberFilter {
            country: filter.country,
            number_type: filter.number_type.map(|of_type| of_type.0),
            contains: filter.contains,
            capabilities: values(filter.capabilities),
        };
        let found = domain::list_available(ctx.app()?, &ctx.account()?, &filter, first).await?;
        Ok(found.into_iter().map(AvailablePhoneNumber).collect())
    }
}
