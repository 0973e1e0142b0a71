//! Phone numbers of the caller's account: buying, naming and releasing them.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use entity::phone_number as rows;

use super::{
    access::{self, ContextExt, RoleGuard},
    errors::{UserError, outcome},
    loaders::SenderOf,
    message::Channel,
    scalars::{Cents, DateTime},
    sender::Sender,
    team::sub_account::{parse_id, patch},
};
use crate::domain::{
    account::stored,
    phone_number::{self as domain, renewal::releases_at},
};

pub mod list;
pub mod transfer;

/// Type of a phone number.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::PhoneNumberType")]
pub enum PhoneNumberType {
    /// Number of a city or region.
    Local,
    /// Number of the whole country, not tied to a city or region.
    National,
    /// Number of a mobile network.
    Mobile,
    /// Number that is free of charge for the caller.
    TollFree,
}

/// Status of a phone number.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::PhoneNumberStatus")]
pub enum PhoneNumberStatus {
    /// The number is paid for and can be used.
    Active,
    /// The monthly fee could not be charged, and the number cannot be used. As soon as the balance
    /// is sufficient, the fee is charged and the number is ACTIVE again. If that does not happen
    /// until releasesAt, the number is released.
    Suspended,
    /// The number no longer belongs to the account.
    Released,
}

/// The GraphQL object `PhoneNumber`.
pub struct PhoneNumber(pub rows::Model);

/// A phone number that the account bought, or that was transferred to it.
#[Object]
impl PhoneNumber {
    /// Id of the phone number. If the same number is bought again, it gets a different id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

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

    /// Name that the account gave the number; null if it has none.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Status of the number.
    async fn status(&self) -> PhoneNumberStatus {
        self.0.status.into()
    }

    /// One-time price in cents that was charged with the purchase.
    async fn upfront_price(&self) -> Cents {
        stored(self.0.upfront_price_micros).into()
    }

    /// Monthly price in cents. It is fixed at the time of the purchase.
    async fn monthly_price(&self) -> Cents {
        stored(self.0.monthly_price_micros).into()
    }

    /// When the next month begins and is charged. For a SUSPENDED or RELEASED number, it is the end
    /// of the last paid month.
    async fn renews_at(&self) -> DateTime {
        DateTime(self.0.renews_at)
    }

    /// When a SUSPENDED number is released unless its fee is paid before; null for other statuses.
    async fn releases_at(&self) -> Option<DateTime> {
        releases_at(&self.0).map(DateTime)
    }

    /// When the number was released; null if it was not released.
    async fn released_at(&self) -> Option<DateTime> {
        self.0.released_at.map(DateTime)
    }

    /// Sender that uses the number; null if there is none.
    async fn sender(&self, ctx: &Context<'_>) -> Result<Option<Sender>> {
        Ok(ctx.rows()?.load_one(SenderOf(self.0.id)).await?.map(Sender))
    }

    /// When the number was bought.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the number last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// Phone number to buy.
#[derive(InputObject)]
pub struct PurchasePhoneNumberInput {
    /// Phone number in E.164 format, as listed by availablePhoneNumbers.
    number: String,
    /// Name for the number (1 to 200 characters). If omitted, it has none.
    name: Option<String>,
    /// Key of your choice (1 to 255 characters), unique per account. A repeat with the same input
    /// returns the number that was bought first and charges nothing. A repeat with a different
    /// input is refused. Only a completed purchase uses up its key.
    idempotency_key: Option<String>,
}

/// Properties of the phone number to change. Omitted properties are not changed.
#[derive(InputObject)]
pub struct UpdatePhoneNumberInput {
    /// Name of the number (1 to 200 characters). Null removes it.
    name: MaybeUndefined<String>,
}

/// Why a phone number was not bought: the first reason in the order of these values. Nothing was
/// charged.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::PurchasePhoneNumberRefusal")]
pub enum PurchasePhoneNumberErrorCode {
    /// The number is not in E.164.
    NumberInvalid,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// The idempotencyKey is empty, longer than 255 characters, or has control characters.
    IdempotencyKeyInvalid,
    /// Another number was bought under this idempotencyKey, or the account has that one no more
    /// because it was transferred.
    IdempotencyConflict,
    /// The account is SUSPENDED.
    AccountSuspended,
    /// The account is INACTIVE.
    AccountInactive,
    /// The account has 1,000 numbers.
    TooManyNumbers,
    /// The number is not available: somebody has it, or this server does not sell it.
    NumberUnavailable,
    /// The account's totalSpent has reached its creditLimit.
    CreditLimitReached,
    /// The team's balance is lower than the upfront fee and the first month.
    InsufficientBalance,
}

/// Why a phone number was not changed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdatePhoneNumberRefusal")]
pub enum UpdatePhoneNumberErrorCode {
    /// The account has no such phone number.
    NotFound,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
}

/// Why a phone number was not released.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::ReleasePhoneNumberRefusal")]
pub enum ReleasePhoneNumberErrorCode {
    /// The account has no such phone number.
    NotFound,
    /// A sender has it, or a message waits to go out from it; the message says which.
    NumberInUse,
}

/// The answer to purchasePhoneNumber.
#[derive(SimpleObject)]
pub struct PurchasePhoneNumberPayload {
    /// The number as it is now; null if refused.
    phone_number: Option<PhoneNumber>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<PurchasePhoneNumberErrorCode>>,
    /// Whether it was bought before, under the same idempotencyKey. Nothing was charged now.
    replayed: bool,
}

/// The answer to updatePhoneNumber.
#[derive(SimpleObject)]
pub struct UpdatePhoneNumberPayload {
    /// The number as it is now; null if refused.
    phone_number: Option<PhoneNumber>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdatePhoneNumberErrorCode>>,
}

/// The answer to releasePhoneNumber.
#[derive(SimpleObject)]
pub struct ReleasePhoneNumberPayload {
    /// The number as it is now, RELEASED; null if refused.
    phone_number: Option<PhoneNumber>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<ReleasePhoneNumberErrorCode>>,
}

#[derive(Default)]
pub struct PhoneNumberMutation;

#[Object]
impl PhoneNumberMutation {
    /// Buys a phone number for the account of the key in use (maximum 1,000 numbers per account).
    /// The upfront price and the first month are charged in one step and, like a message, checked
    /// against creditLimit and balance. Each further month is charged when it begins, regardless of
    /// the creditLimit. Use an idempotencyKey so that a repeat is safe. Requires a LIVE key of an
    /// account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn purchase_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Phone number to buy.")] input: PurchasePhoneNumberInput,
    ) -> Result<Option<PurchasePhoneNumberPayload>> {
        let account = ctx.account()?.live()?;
        let PurchasePhoneNumberInput { number, name, idempotency_key } = input;
        let purchase = domain::Purchase { number, name, idempotency_key };
        Ok(Some(match outcome(domain::purchase(ctx.app()?, &account, purchase).await)? {
            Ok(purchased) => PurchasePhoneNumberPayload {
                phone_number: Some(PhoneNumber(purchased.number)),
                errors: vec![],
                replayed: purchased.is_replay,
            },
            Err(errors) => {
                PurchasePhoneNumberPayload { phone_number: None, errors, replayed: false }
            }
        }))
    }

    /// Changes the name of a phone number of the account of the key in use. Requires a LIVE key of
    /// an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdatePhoneNumberInput,
    ) -> Result<Option<UpdatePhoneNumberPayload>> {
        let account = ctx.account()?.live()?;
        let done = domain::update(ctx.app()?, &account, parse_id(&id), patch(input.name)).await;
        Ok(Some(match outcome(done)? {
            Ok(number) => {
                UpdatePhoneNumberPayload { phone_number: Some(PhoneNumber(number)), errors: vec![] }
            }
            Err(errors) => UpdatePhoneNumberPayload { phone_number: None, errors },
        }))
    }

    /// Releases a phone number of the account of the key in use immediately and permanently. Any
    /// account can then buy it. The rest of the current month is not refunded. Releasing a RELEASED
    /// number changes nothing. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn release_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
    ) -> Result<Option<ReleasePhoneNumberPayload>> {
        let account = ctx.account()?.live()?;
        let done = domain::release(ctx.app()?, &account, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(number) => ReleasePhoneNumberPayload {
                phone_number: Some(PhoneNumber(number)),
                errors: vec![],
            },
            Err(errors) => ReleasePhoneNumberPayload { phone_number: None, errors },
        }))
    }
}
