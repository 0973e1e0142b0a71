//! Phone numbers of the key's own account: bought, named, and given back.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, phone_number as rows};

use super::{
    access::{self, ContextExt},
    audit_log::audited,
    enums::{Channel, PhoneNumberStatus, PhoneNumberType},
    input::{all, parse_id, patch},
    loaders::SenderOf,
    payload::payload,
    scalars::{Cents, DateTime},
    sender::Sender,
};
use crate::domain::{
    account::stored,
    audit_log::refused_call::Target,
    phone_number::{self as domain, renewal::releases_at},
};

pub mod list;
pub mod transfer;

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
        all(self.0.capabilities())
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
        stored(self.0.upfront_price_micros).into()
    }

    /// What each month costs, in cents: as it was when it was bought.
    async fn monthly_price(&self) -> Cents {
        stored(self.0.monthly_price_micros).into()
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

payload! {
    /// The answer to purchasePhoneNumber.
    PurchasePhoneNumberPayload, domain::PurchasePhoneNumberRefusal,
    domain::Purchased as purchased => {
        /// The number as it is now; null if refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(purchased.number)),
        /// Whether it was bought before, under the same idempotencyKey. Nothing was charged now.
        replayed: bool = purchased.is_replay,
    }
}

payload! {
    /// The answer to updatePhoneNumber.
    UpdatePhoneNumberPayload, domain::UpdatePhoneNumberRefusal, rows::Model as number => {
        /// The number as it is now; null if refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(number)),
    }
}

payload! {
    /// The answer to releasePhoneNumber.
    ReleasePhoneNumberPayload, domain::ReleasePhoneNumberRefusal, rows::Model as number => {
        /// The number as it is now, RELEASED; null if refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(number)),
    }
}

#[derive(Default)]
pub struct PhoneNumberMutation;

#[Object]
impl PhoneNumberMutation {
    /// Buys a phone number for the account of the key in use: its upfront fee and its first month
    /// are charged in the same step, like a message, against creditLimit and balance. Each further
    /// month is charged when it begins, whatever the creditLimit. Use an idempotencyKey to repeat
    /// it safely. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn purchase_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which number.")] input: PurchasePhoneNumberInput,
    ) -> Result<Option<PurchasePhoneNumberPayload>> {
        let PurchasePhoneNumberInput { number, name, idempotency_key } = input;
        let purchase = domain::Purchase { number, name, idempotency_key };
        let done = audited(ctx, AuditAction::PurchasePhoneNumber, Target::Nothing, async {
            domain::purchase(ctx.app()?, &ctx.live_account()?, purchase).await
        });
        PurchasePhoneNumberPayload::of(done.await)
    }

    /// Changes what the account of the key in use calls its phone number. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn update_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdatePhoneNumberInput,
    ) -> Result<Option<UpdatePhoneNumberPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::UpdatePhoneNumber, Target::Id(id), async {
            domain::update(ctx.app()?, &ctx.live_account()?, id, patch(input.name)).await
        });
        UpdatePhoneNumberPayload::of(done.await)
    }

    /// Gives a phone number of the account of the key in use back, at once and for good: anybody
    /// may buy it then. What is left of its month is not paid back. Releasing what is RELEASED
    /// changes nothing. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn release_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
    ) -> Result<Option<ReleasePhoneNumberPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::ReleasePhoneNumber, Target::Id(id), async {
            domain::release(ctx.app()?, &ctx.live_account()?, id).await
        });
        ReleasePhoneNumberPayload::of(done.await)
    }
}
