//! Queries of phone numbers: those of the caller's account, and those for sale.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::inventory_number as rows;

use super::{PhoneNumber, PhoneNumberType};
use crate::{
    domain::{account::stored, phone_number::list as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        loaders::PhoneNumberId,
        message::Channel,
        scalars::Cents,
        team::sub_account::parse_id,
    },
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
        self.0.capabilities().into_iter().map(Into::into).collect()
    }

    /// One-time price in cents, charged with the purchase.
    async fn upfront_price(&self) -> Cents {
        stored(self.0.upfront_price_micros).into()
    }

    /// Monthly price in cents. The first month is charged with the purchase.
    async fn monthly_price(&self) -> Cents {
        stored(self.0.monthly_price_micros).into()
    }
}

/// Conditions on phone numbers. A number must meet all conditions that are given.
#[derive(InputObject)]
pub struct AvailablePhoneNumberFilter {
    /// Only numbers of this country, given as an ISO 3166-1 alpha-2 code such as US.
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
    /// Phone number with this id, including RELEASED ones; null if the account of the key in use
    /// has no such number. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
    ) -> Result<Option<PhoneNumber>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(PhoneNumberId(id)).await?.map(PhoneNumber))
    }

    /// Phone numbers of the account of the key in use, newest first, without RELEASED ones.
    /// Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn phone_numbers(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Number of items to return from the start of the list (0 to 100, default 20)."
        )]
        first: Option<i32>,
        #[graphql(desc = "Return only items after this cursor.")] after: Option<String>,
        #[graphql(
            desc = "Number of items to return from the end of the list (0 to 100), instead of \
                    first."
        )]
        last: Option<i32>,
        #[graphql(desc = "Return only items before this cursor.")] before: Option<String>,
    ) -> Result<List<PhoneNumber>> {
        let page = page_args(ctx, first, after, last, before)?;
        let found = domain::list(ctx.app()?, &ctx.account()?, &page).await?;
        Ok(list(found, PhoneNumber))
    }

    /// Phone numbers that are for sale, ordered by number. Another account can buy a number in the
    /// meantime; purchasePhoneNumber is then refused. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn available_phone_numbers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Conditions on the phone numbers.")] filter: AvailablePhoneNumberFilter,
        #[graphql(desc = "Number of items to return (0 to 100, default 20).")] first: Option<i32>,
    ) -> Result<Vec<AvailablePhoneNumber>> {
        let filter = domain::AvailablePhoneNumberFilter {
            country: filter.country,
            number_type: filter.number_type.map(Into::into),
            contains: filter.contains,
            capabilities: filter
                .capabilities
                .map(|channels| channels.into_iter().map(Into::into).collect()),
        };
        let found = domain::list_available(ctx.app()?, &ctx.account()?, &filter, first).await?;
        Ok(found.into_iter().map(AvailablePhoneNumber).collect())
    }
}
