//! Phone numbers of the key's own account: bought, named, and given back.

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
use crate::{
    domain::phone_number::{self as domain, renewal::releases_at},
    money::Micros,
};

pub mod list;
pub mod transfer;

/// What kind of number it is in its country.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::PhoneNumberType")]
pub enum PhoneNumberType {
    /// Of a place.
    Local,
    /// Of the whole country, and of no place.
    National,
    /// Of a mobile network.
    Mobile,
    /// Free for whoever calls it.
    TollFree,
}

/// Whether a phone number can be used.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::PhoneNumberStatus")]
pub enum PhoneNumberStatus {
    /// Paid for.
    Active,
    /// Its month could not be paid. It is charged, and ACTIVE again, as soon as the balance allows
    /// it, until releasesAt.
    Suspended,
    /// The account has it no more.
    Released,
}

/// GraphQL's `PhoneNumber`, described there.
pub struct PhoneNumber(pub rows::Model);

/// A phone number that the account bought, or that was transferred to it.
#[Object]
impl PhoneNumber {
    /// The id. A number that is bought again has another one.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

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
        self.0.capabilities().into_iter().map(Into::into).collect()
    }

    /// What the account calls it; null if it has no name.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Whether it can be used.
    async fn status(&self) -> PhoneNumberStatus {
        self.0.status.into()
    }

    /// What it cost once, in cents, when it was bought.
    async fn upfront_price(&self) -> Cents {
        Micros::from_db(self.0.upfront_price_micros).into()
    }

    /// What each month costs, in cents: as it was when it was bought.
    async fn monthly_price(&self) -> Cents {
        Micros::from_db(self.0.monthly_price_micros).into()
    }

    /// When the next month begins and is charged; the end of the last paid month once it is
    /// SUSPENDED or RELEASED.
    async fn renews_at(&self) -> DateTime {
        DateTime(self.0.renews_at)
    }

    /// When a SUSPENDED number is released, unless its month is paid before; null otherwise.
    async fn releases_at(&self) -> Option<DateTime> {
        releases_at(&self.0).map(DateTime)
    }

    /// When it was released; null while the account has it.
    async fn released_at(&self) -> Option<DateTime> {
        self.0.released_at.map(DateTime)
    }

    /// The sender that has it; null if none has.
    async fn sender(&self, ctx: &Context<'_>) -> Result<Option<Sender>> {
        Ok(ctx.rows()?.load_one(SenderOf(self.0.id)).await?.map(Sender))
    }

    /// When it was bought.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// A phone number to be bought.
#[derive(InputObject)]
pub struct PurchasePhoneNumberInput {
    /// One of availablePhoneNumbers, in E.164.
    number: String,
    /// What the account calls it, 1 to 200 characters; no name if left out.
    name: Option<String>,
    /// 1 to 255 characters, yours to make, for each account. A repeat with the same input answers
    /// with the number that was bought first and charges nothing; with another input it is refused.
    /// Only a purchase that was made claims its key.
    idempotency_key: Option<String>,
}

/// What to change of a phone number. What is left out is kept; null clears.
#[derive(InputObject)]
pub struct UpdatePhoneNumberInput {
    /// What the account calls it, 1 to 200 characters. Null: no name.
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
    /// Buys a phone number for the account of the key in use: its upfront fee and its first month
    /// are charged in the same step, like a message, against creditLimit and balance. Each further
    /// month is charged when it begins, whatever the creditLimit. Use an idempotencyKey to repeat
    /// it safely. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn purchase_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which number.")] input: PurchasePhoneNumberInput,
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

    /// Changes what the account of the key in use calls its phone number. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdatePhoneNumberInput,
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

    /// Gives a phone number of the account of the key in use back, at once and for good: anybody
    /// may buy it then. What is left of its month is not paid back. Releasing what is RELEASED
    /// changes nothing. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn release_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
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
