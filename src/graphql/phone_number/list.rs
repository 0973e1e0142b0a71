//! Queries for phone numbers: those of the caller's account, and those for sale.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::inventory_number as rows;

use super::PhoneNumber;
use crate::{
    domain::phone_number::list as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        enums::{Channel, PhoneNumberType, values},
        input::{all, parse_id},
        loaders::PhoneNumberId,
        scalars::Cents,
    },
    money::Micros,
};

/// The GraphQL object `AvailablePhoneNumber`.
pub struct AvailablePhoneNumber(rows::Model);

/// A phone number that is for sale.
#[Object]
impl AvailablePhoneNumber {
    /// Phone number in E.164 format.
    async fn number(&self) -> &str {
        &self.0.number
    }

    /// Country of the number as an ISO 3166-1 alpha-2 code.
    async fn country(&self) -> &str {
        &self.0.country
    }

    /// Type of the number.
    #[graphql(name = "type")]
    async fn number_type(&self) -> PhoneNumberType {
        self.0.number_type.into()
    }

    /// Channels that the number can be used on: SMS, WHATSAPP, or both.
    async fn capabilities(&self) -> Vec<Channel> {
        all(self.0.capabilities())
    }

    /// One-time price in cents, charged at purchase.
    async fn upfront_price(&self) -> Cents {
        Micros::from_db(self.0.upfront_price_micros).into()
    }

    /// Monthly price in cents. The first month is charged at purchase.
    async fn monthly_price(&self) -> Cents {
        Micros::from_db(self.0.monthly_price_micros).into()
    }
}

/// Filter for phone numbers. A number must meet all given conditions.
#[derive(InputObject)]
pub struct AvailablePhoneNumberFilter {
    /// Only numbers of this country (an ISO 3166-1 alpha-2 code such as US).
    country: String,
    /// Only numbers of this type.
    #[graphql(name = "type")]
    number_type: Option<PhoneNumberType>,
    /// Only numbers that contain this sequence of digits (1 to 15 digits).
    contains: Option<String>,
    /// Only numbers that can be used on all of these channels. Only SMS and WHATSAPP are allowed.
    capabilities: Option<Vec<Channel>>,
}

#[derive(Default)]
pub struct PhoneNumberQuery;

#[Object]
impl PhoneNumberQuery {
    /// Phone number with this id, even if it is RELEASED; null if your account has no such number.
    /// Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
    ) -> Result<Option<PhoneNumber>> {
        Ok(ctx.load(parse_id(&id).map(PhoneNumberId)).await?.map(PhoneNumber))
    }

    /// Phone numbers of your account, newest first, except RELEASED ones. Requires a key of an
    /// account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn phone_numbers(&self, ctx: &Context<'_>) -> Result<List<PhoneNumber>> {
        let found = domain::list(ctx.app()?, &ctx.account()?, &page_args(ctx)?).await?;
        Ok(list(found, PhoneNumber))
    }

    /// Phone numbers that are for sale, ordered by number. If another account buys a number first,
    /// purchasePhoneNumber is refused. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn available_phone_numbers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the phone numbers.")] filter: AvailablePhoneNumberFilter,
        #[graphql(desc = "Number of items to return (0 to 100, default 20).")] first: Option<i32>,
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
